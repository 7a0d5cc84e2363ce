"""Tampering: what `verify` finds of every single edit, and what an unsigned run cannot show.

A run that is signed and registered is edited in every way that touches one file: bytes are flipped,
put in and taken out, each value of its JSON files is changed for another of the same type, and
files are removed, exchanged and added. By day a seeded sample of the edits is tried, at night all.
Then a forger who knows phigate makes everything fit again, and the table in the threat model says
which of that is found with what.
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from auditing import AS_OF, phigate
from properties import at_night
from signed_runs import Signed

from checker.attestation import load_public_key
from checker.canonical import canonical_json, digest, sha256_hex
from checker.errors import ExitCode, PhigateError
from checker.verification import Statement, verify_run

ROOT = Path(__file__).parents[2]
JSON_FILES = (
    "report.json", "plan.json", "manifest.json", "run.json", "waivers.json", "attempt.json",
)  # fmt: skip
NOT_LOOKED_AT = (".lock", "log.txt")  # no verdict and no figure rests on them
LEAVES = at_night(10**6, otherwise=24)
PLACES = at_night(10**6, otherwise=24)


@pytest.fixture(scope="module")
def whole(signed_run: Signed, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A registered, waived and signed run; whoever edits it puts it back."""
    folder = tmp_path_factory.mktemp("tampering") / "work"
    signed = Signed(shutil.copytree(signed_run.folder, folder))
    assert broken(signed) == []
    return signed


@pytest.fixture
def forged(whole: Signed, tmp_path: Path) -> Signed:
    """A copy, to be made up anew."""
    return Signed(shutil.copytree(whole.folder, tmp_path / "work"))


def looked(signed: Signed, *, key: bool = True, outside: bool = True) -> list[Statement]:
    """All statements of `verify RUN --key --ledger --policy --model`, or of less."""
    given: dict[str, Any] = {}
    if outside:
        given = {
            "ledger": signed.ledger,
            "model": signed.folder / "leaking.json",
            "policy": signed.folder / "policy.yaml",
        }
    keys = [load_public_key(signed.folder / "officer.pub")] if key else []
    return verify_run(signed.run, keys=keys, **given)


def broken(signed: Signed, *, key: bool = True, outside: bool = True) -> list[str]:
    """What does not hold; an error that phigate raises on purpose is a finding as well."""
    try:
        statements = looked(signed, key=key, outside=outside)
    except PhigateError as error:
        return [str(error)]
    return [one.text for one in statements if one.holds is False]


def opened(signed: Signed) -> set[str]:
    return {one.text for one in looked(signed) if one.holds is None}


def files(signed: Signed) -> list[Path]:
    found = (path for path in sorted(signed.run.rglob("*")) if path.is_file())
    return [path for path in found if path.name not in NOT_LOOKED_AT]


def sampled(cases: list[Any], count: int) -> list[Any]:
    """Return some of the cases, the same ones in every run."""
    return cases if len(cases) <= count else random.Random(7).sample(cases, count)


# --- single edits -------------------------------------------------------------------------------


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def insert(content: bytes, place: int) -> bytes:
    return content[:place] + b" " + content[place:]


def delete(content: bytes, place: int) -> bytes:
    return content[:place] + content[place + 1 :]


def test_every_edit_of_bytes_is_found(whole: Signed) -> None:
    before = opened(whole)
    cases = [
        (path, edit, share)
        for path in files(whole)
        for edit in (flip, insert, delete)
        for share in (0.0, 0.2, 0.5, 0.8, 1.0)
    ]
    for path, edit, share in sampled(cases, PLACES):
        content = path.read_bytes()
        path.write_bytes(edit(content, min(int(share * len(content)), len(content) - 1)))
        try:
            found = bool(broken(whole))
            # who writes the same envelope in other bytes changes nothing that was signed, nor
            # does who puts a space into the key; the first is said
            if not found and path.name == "attestation.json":
                found = opened(whole) > before
            if not found and path.name == "pseudonym.key":
                found = bytes.fromhex(path.read_text()) == bytes.fromhex(content.decode())
            assert found, (path.name, edit.__name__, share)
        finally:
            path.write_bytes(content)


def leaves(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of everything in a JSON document that holds nothing else."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*where, key))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, (*where, index))
    else:
        yield where


def another(value: Any) -> Any:
    """Return a value of the same type that says something else."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value + 0.001
    if isinstance(value, str):
        return f"{value[:-1]}{'1' if value.endswith('0') else '0'}"
    return "x" if value is None else [*value, "x"] if isinstance(value, list) else {"x": "x"}


def changed(document: Any, where: tuple[Any, ...]) -> Any:
    copy = json.loads(json.dumps(document))
    holder = copy
    for key in where[:-1]:
        holder = holder[key]
    holder[where[-1]] = another(holder[where[-1]])
    return copy


def written(name: str, document: Any) -> bytes:
    if name == "attempt.json":
        return canonical_json(document) + b"\n"
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


@pytest.mark.parametrize("name", JSON_FILES)
def test_every_value_that_is_changed_is_found(whole: Signed, name: str) -> None:
    path = whole.run / name
    content = path.read_bytes()
    document = json.loads(content)
    places = list(leaves(document))
    assert len(places) > 10 or name == "run.json"
    try:
        for where in sampled(places, LEAVES // len(JSON_FILES)):
            path.write_bytes(written(name, changed(document, where)))
            assert broken(whole), where
    finally:
        path.write_bytes(content)
    assert name != "attempt.json" or broken(whole) == []


def test_every_file_that_is_removed_is_missed(whole: Signed) -> None:
    before = opened(whole)
    for path in files(whole):
        content = path.read_bytes()
        path.unlink()
        try:
            if path.name == "pseudonym.key":  # left behind by whoever passes evidence on
                assert broken(whole) == []
                assert any("pseudonym.key" in text for text in opened(whole) - before)
            else:
                assert broken(whole), path.name
        finally:
            path.write_bytes(content)


def test_files_that_are_exchanged_or_added_are_found(whole: Signed) -> None:
    first, second = sorted((whole.run / "evidence").iterdir())[:2]
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    assert len([text for text in broken(whole) if "was changed after the run" in text]) == 2
    first.write_bytes(contents[0])
    second.write_bytes(contents[1])
    for name in ("release.pdf", "evidence/notes.txt", "internal/summary.html", "plan.json.bak"):
        path = whole.run / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("Release is allowed")
        stranger = f"{name} is no part of the run, and nothing vouches for it; move it elsewhere"
        assert stranger in broken(whole), name
        unsigned = looked(whole, key=False)
        assert (False, stranger) in [(one.holds, one.text) for one in unsigned]
        path.unlink()
        if name.startswith("internal"):
            path.parent.rmdir()
    # what is made of two runs may lie there, and is compared with this one
    for name in ("comparison.html", "comparison.json", "near-duplicates.txt"):
        path = whole.run / name
        path.write_text("Release is allowed")
        assert any(name in text for text in broken(whole)), name
        path.unlink()
    # and so may evidence of an earlier plan: it is said
    path = whole.run / "evidence" / f"{'0' * 64}.parquet"
    path.write_text("Release is allowed")
    assert broken(whole) == []
    assert any("000000000000…" in text for text in opened(whole))
    path.unlink()


# --- what a forger makes fit --------------------------------------------------------------------


def in_plan(forged: Signed, change: Callable[[dict[str, Any]], None]) -> None:
    forged.edit("plan.json", change)
    forged.judge_as_if_nothing_were()


def limits_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for control in document["spec"]["controls"].values():
        yield from control["limits"].values()


def limits_in_the_cells(forged: Signed) -> None:
    def loosen(plan: dict[str, Any]) -> None:
        for cell in plan["cells"]:
            cell["limit"]["fail"] = 0.95

    in_plan(forged, loosen)


def limits_in_the_policy(forged: Signed) -> None:
    def loosen(plan: dict[str, Any]) -> None:
        policy = plan["policy"]
        for limit in limits_of(policy["document"]):
            limit["fail"] = 0.95
        policy["documentSha256"] = digest(policy["document"])
        for cell in plan["cells"]:
            cell["limit"]["fail"] = 0.95

    in_plan(forged, loosen)


def split_sizes(forged: Signed) -> None:
    in_plan(forged, lambda plan: plan["data"].update(members=plan["data"]["members"] * 10))


def sample_sizes(forged: Signed) -> None:
    def enlarge(plan: dict[str, Any]) -> None:
        for cell in plan["cells"]:
            if cell["labels"]:
                cell["sample"]["members"] += 100

    in_plan(forged, enlarge)


def sizes_of_membership(forged: Signed) -> None:
    def enlarge(plan: dict[str, Any]) -> None:
        for cell in plan["cells"]:
            if not cell["labels"]:
                cell["sample"]["nonmembers"] += 100

    in_plan(forged, enlarge)


def split_in_one_table(forged: Signed) -> None:
    """A member's score among the nonmembers', where it weighs least."""
    entry = entry_of(forged, "scores")
    table = pq.read_table(forged.run / entry["file"])
    flags = table["member"].to_pylist()
    place = table.schema.get_field_index("member")
    rewrite(forged, entry, table.set_column(place, "member", pa.array([not flags[0], *flags[1:]])))


def class_titles(forged: Signed) -> None:
    in_plan(forged, lambda plan: plan["classes"]["hiv"].update(title="Hay fever"))


def cost(forged: Signed) -> None:
    in_plan(forged, lambda plan: plan["cost"].update(rolloutTokens=1))


def data_set_name(forged: Signed) -> None:
    in_plan(forged, lambda plan: plan["data"].update(name="A much larger hospital 1.0"))


def vocabulary_size(forged: Signed) -> None:
    in_plan(forged, lambda plan: plan["target"].update(vocabularySize=50_000))


def what_the_target_declares(forged: Signed, *, digests: bool = False) -> None:
    def declare(plan: dict[str, Any]) -> None:
        target = plan["target"]
        target["document"]["spec"]["data"].update(assignment="random", assignedBy="the board")
        if digests:
            target["documentSha256"] = digest(target["document"])

    in_plan(forged, declare)


def target_with_its_digest(forged: Signed) -> None:
    what_the_target_declares(forged, digests=True)


def backend(forged: Signed) -> None:
    """Another plug-in is said to have opened the model."""
    told = {"distribution": "borrowed", "version": "1", "sha256": "0" * 64}
    in_plan(forged, lambda plan: plan["target"].update(backend=told))


def model_digest(forged: Signed) -> None:
    def swap(plan: dict[str, Any]) -> None:
        found = {"sound.json": sha256_hex((forged.folder / "sound.json").read_bytes())}
        plan["target"].update(modelFiles=found, modelSha256=digest(found))

    in_plan(forged, swap)


def rewrite(forged: Signed, entry: dict[str, Any], table: pa.Table) -> None:
    """Put another table in the place of a job's evidence, and make manifest and report fit."""
    path = forged.run / entry["file"]
    pq.write_table(table, path)
    sha256 = sha256_hex(path.read_bytes())

    def fit(manifest: dict[str, Any]) -> None:
        for one in manifest["entries"]:
            if one["job"] == entry["job"]:
                one.update(sha256=sha256, rows=table.num_rows)

    forged.edit("manifest.json", fit)
    forged.judge_again()


def entry_of(forged: Signed, kind: str) -> dict[str, Any]:
    entries = json.loads((forged.run / "manifest.json").read_text())["entries"]
    found: dict[str, Any] = next(one for one in entries if one["kind"] == kind)
    return found


def evidence(forged: Signed, *, salt: bytes | None = None) -> None:
    """Scores of members and nonmembers exchanged."""
    entry = entry_of(forged, "overlap")
    table = pq.read_table(forged.run / entry["file"])
    place = table.schema.get_field_index("compared")
    table = table.set_column(place, "compared", pa.array([0]))
    if salt is not None:
        table = table.replace_schema_metadata({**table.schema.metadata, b"salt": salt})
    rewrite(forged, entry, table)


def evidence_of_another_run(forged: Signed) -> None:
    evidence(forged, salt=b"0" * 32)


def rows_in_the_manifest(forged: Signed) -> None:
    def count_more(manifest: dict[str, Any]) -> None:
        manifest["entries"][0]["rows"] += 1

    forged.edit("manifest.json", count_more)
    forged.judge_again()


def environment(forged: Signed) -> None:
    forged.edit("manifest.json", lambda manifest: manifest["environment"].update(device="cuda"))
    forged.judge_again()


def times(forged: Signed) -> None:
    def later(run: dict[str, Any]) -> None:
        run["measured"] = dict.fromkeys(run["measured"], AS_OF)

    forged.edit("run.json", later)
    forged.judge_again()


def waivers(forged: Signed) -> None:
    def prolong(record: dict[str, Any]) -> None:
        for waiver in record["waivers"]:
            waiver["document"]["spec"]["justification"] = "Because"

    forged.edit("waivers.json", prolong)
    forged.judge_again()


def attempt(forged: Signed) -> None:
    line = json.loads((forged.run / "attempt.json").read_text())
    (forged.run / "attempt.json").write_bytes(canonical_json({**line, "attempt": 2}) + b"\n")
    forged.judge_again()


def no_attempt(forged: Signed) -> None:
    (forged.run / "attempt.json").unlink()
    forged.judge_again()


TABLE: dict[str, tuple[Callable[[Signed], None], bool, bool, bool]] = {
    "limits in the plan's cells": (limits_in_the_cells, True, True, True),
    "sizes of the splits": (split_sizes, True, True, True),
    "sizes of a cell's sample": (sample_sizes, True, True, True),
    "sizes of a membership sample": (sizes_of_membership, True, True, True),
    "a patient's split in one table": (split_in_one_table, True, True, True),
    "titles of classes": (class_titles, True, True, True),
    "cost": (cost, True, True, True),
    "what the target declares": (what_the_target_declares, True, True, True),
    "the plug-in that opened the model": (backend, True, True, True),
    "the model's digest": (model_digest, True, True, True),
    "rows in the manifest": (rows_in_the_manifest, True, True, True),
    "evidence of another run": (evidence_of_another_run, True, True, True),
    "limits in the plan's policy": (limits_in_the_policy, False, True, True),
    "what the target declares, with its digest": (target_with_its_digest, False, True, True),
    "observations, with their salt": (evidence, False, True, True),
    "waivers": (waivers, False, True, True),
    "number of the attempt": (attempt, False, True, True),
    "the attempt left out": (no_attempt, False, True, True),
    "name of the data set": (data_set_name, False, True, True),
    "size of the vocabulary": (vocabulary_size, False, True, True),
    "device and libraries": (environment, False, True, True),
    "times of measurement": (times, False, False, True),
}
"""What was forged and made to fit; found in the run alone, with what lies outside, by the key."""


@pytest.mark.parametrize("what", TABLE)
def test_what_a_forger_makes_fit_is_found_as_the_table_says(forged: Signed, what: str) -> None:
    forge, alone, outside, key = TABLE[what]
    forge(forged)
    mine = [text for text in broken(forged, key=False, outside=False) if "attestation" not in text]
    theirs = [text for text in broken(forged, key=False) if "attestation" not in text]
    assert (bool(mine), bool(theirs), bool(broken(forged))) == (alone, outside, key), (mine, theirs)


def test_the_signature_of_another_run_is_found(whole: Signed, forged: Signed) -> None:
    settings = ("--as-of", "2026-11-02", "--format", "json", "--ledger", forged.ledger)
    assert phigate("judge", forged.run, *settings)[0] == ExitCode.PASS
    assert phigate("sign", forged.run, "--key", forged.folder / "officer.key")[0] == ExitCode.PASS
    assert broken(forged) == []
    shutil.copy(whole.run / "attestation.json", forged.run)
    assert any("speaks of another report" in text for text in broken(forged))


def test_the_threat_model_has_the_same_table() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = dict(
        re.findall(r"^\| ([^|]+?) \| ((?:yes|no) \| (?:yes|no) \| (?:yes|no)) \|$", text, re.M)
    )
    words = {True: "yes", False: "no"}
    assert rows == {
        what: " | ".join(words[found] for found in row[1:]) for what, row in TABLE.items()
    }


def test_verify_says_what_an_unsigned_run_cannot_show(whole: Signed) -> None:
    def says(*, key: bool) -> bool:
        texts = (one.text for one in looked(whole, key=key))
        return any("without a signature that was checked (--key) a run cannot" in t for t in texts)

    assert says(key=False)
    assert not says(key=True)
