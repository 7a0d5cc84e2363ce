"""Whatever file is broken, does phigate say so in a sentence, soon, and in little memory?

Each case breaks one file of a sound audit (`tests/helpers/broken_files.py`) and hands it to the
door of the library it is read through: documents, a folder's defaults, vocabularies, checkpoints'
`config.json`, MEDS and token tables, and of a finished, signed run its evidence, manifest, plan,
times, waivers, ledger, report and signature; digests are corrected behind the change where only a
wrong content is meant. What may come out is a result or a `PhigateError`. Anything else is a fault,
and so are a dead process, more than 10 seconds, and more than 2 GB above what was in use before.
One case in ten goes through the command instead, where a traceback or "phigate itself failed" is a
fault.

A case is named by its kind and its number, which seeds all of it; `--first` repeats one. Exits 1
when there was a fault.

Cases are tried by `benchmarks.tried_cases`; `--minutes` ends early on a busy machine, and the table
says how far it came.

    python -m benchmarks.broken_inputs --cases 600 --out outcomes.json
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks import THREE_CLASSES
from benchmarks.tried_cases import SECONDS, Fault, Outcome, ask, try_in_worker
from checker import clock, library
from checker.attestation import (
    load_private_key,
    load_public_key,
    make_keys,
    read_attestation,
    sign_statement,
)
from checker.canonical import digest, sha256_hex
from checker.cli import cli, run_command
from checker.cli.defaults import SETTABLE, defaults_for
from checker.evidence import write_atomically
from checker.ledger import make_ledger, mend_ledger, read_ledger
from checker.policy import load_documents
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.report.comparison import compare_reports
from checker.report.formats.json import load_report
from checker.resources import resource
from checker.run.stored import judge_run, judge_run_again, load_run, load_waivers, write_reports
from checker.testing import offer_simulated_backend
from checker.testing.toy_targets import write_targets
from checker.verification import Statement, attest_run, verify_attestation

HELPERS = Path(__file__).parents[1] / "tests" / "helpers"
if str(HELPERS) not in sys.path:
    sys.path.append(str(HELPERS))
from broken_files import (  # noqa: E402  where the tests have their helpers
    NUMBERS,
    broken_bytes,
    broken_document,
    broken_json,
    broken_table,
    broken_value,
    json_bytes,
    not_utf8,
    pick,
)
from made_tables import table_of as token_table_of  # noqa: E402

COMMAND_EVERY = 10
AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
POLICIES = resource("policies")


@dataclass(frozen=True, slots=True)
class World:
    """A sound audit to break.

    Args:
        folder: documents, cohort, vocabulary, a finished run in `run`, keys, ledger, checkpoint.
    """

    folder: Path

    def copy(self, to: Path) -> World:
        """Copy all but the cohort's and the models' large files, which are linked."""
        shutil.copytree(self.folder, to, dirs_exist_ok=True)
        return World(to)


def make_world(folder: Path) -> World:
    """Write documents and patients, audit them, sign the run, and save a tiny checkpoint."""
    write_targets(folder, seed=0)
    policy = yaml.safe_load(THREE_CLASSES.read_text())
    policy["spec"]["waivers"] = {
        "approverRoles": ["privacy-officer", "irb-chair"],
        "maxDuration": "P180D",
    }
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    make_ledger(folder / "ledger.jsonl")
    planned = library.plan(
        library.load_policy(folder / "policy.yaml"), library.load_target(folder / "leaking.yaml")
    )
    (folder / "waiver.yaml").write_text(_waiver(planned.plan.target.model_sha256))
    library.audit(
        planned,
        out=folder / "run",
        waivers=library.read_waivers([folder / "waiver.yaml"]),
        ledger=folder / "ledger.jsonl",
        as_of=AS_OF,
    )
    make_keys(folder / "private.pem", folder / "public.pem", passphrase=None)
    _sign(folder)
    _write_checkpoint(folder)
    _write_vocabularies(folder)
    _write_token_table(folder)
    _write_needs(folder)
    return World(folder)


def _waiver(model: str) -> str:
    guide = (POLICIES / "README.md").read_text()
    document = yaml.safe_load(guide.split("```yaml file=waiver.yaml\n")[1].split("```")[0])
    known = yaml.safe_load(THREE_CLASSES.read_text())["metadata"]
    document["spec"] |= {
        "policy": {"ref": f"{known['name']}@{known['version']}"},
        "control": "hiv-disclosure",
        "attacker": "events-10",
        "model": {"name": "leaking", "sha256": model},
        "startsOn": "2026-10-15",
        "expiresOn": "2026-12-31",
        "ceiling": 0.9,
    }
    for approval in document["spec"]["approvals"]:
        approval["on"] = "2026-10-14"
    for unasked in ("subgroup", "attributeClass", "extends"):
        document["spec"].pop(unasked, None)
    return yaml.safe_dump(document, sort_keys=False)


def _sign(folder: Path) -> None:
    signer = load_private_key(folder / "private.pem")
    sign_statement(folder / "run" / "attestation.json", attest_run(folder / "run"), signer)


def _write_checkpoint(folder: Path) -> None:
    from tiny_models import save_gpt2

    size = len(json.loads((folder / "vocab.json").read_text()))
    save_gpt2(folder / "checkpoint", vocabulary=size, context=128)
    target = yaml.safe_load((folder / "leaking.yaml").read_text())
    target["spec"]["model"] = {"backend": "huggingface", "path": "checkpoint", "device": "cpu"}
    (folder / "checkpoint.yaml").write_text(yaml.safe_dump(target))


def _write_vocabularies(folder: Path) -> None:
    ids: dict[str, int] = json.loads((folder / "vocab.json").read_text())
    added = [{"content": token, "id": ids[token]} for token in list(ids)[:4]]
    tokenizer = {"model": {"type": "WordLevel", "vocab": ids}, "added_tokens": added}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    table = pa.table({"code": list(ids), "code/vocab_index": pa.array(ids.values(), pa.int64())})
    pq.write_table(table, folder / "codes.parquet")


def _write_token_table(folder: Path) -> None:
    target = yaml.safe_load((folder / "leaking.yaml").read_text())
    tokenization = target["spec"]["tokenization"]
    rules = TokenizationSpec.model_validate(tokenization)
    tokenizer = Tokenizer(
        rules, vocabulary=load_vocabulary(folder / tokenization["vocabulary"]), base=folder
    )
    cohort = load_cohort(DataSpec.model_validate(target["spec"]["data"]), base=folder)
    tables = [
        token_table_of(tokenizer.encode(some, cohort.codes), some, cohort.codes)
        for some in (cohort.members, cohort.nonmembers)
    ]
    pq.write_table(pa.concat_tables(tables), folder / "tokens.parquet")
    tokenization["records"] = "tokens.parquet"
    tokenization.pop("time", None)  # the table says it
    (folder / "tabled.yaml").write_text(yaml.safe_dump(target, sort_keys=False))


def _write_needs(folder: Path) -> None:
    """Write the policy with what is asked by need, what must come first, and what heirs may do."""
    policy = yaml.safe_load((folder / "policy.yaml").read_text())
    prerequisites = yaml.safe_load((POLICIES / "release-prerequisites.yaml").read_text())
    policy["spec"]["parameters"]["sampling"] = {"patients": "auto", "curtailed": True}
    policy["spec"]["prerequisites"] = prerequisites["spec"]["prerequisites"]
    (folder / "needs.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))


# --- the kinds of cases -------------------------------------------------------------------------

Case = tuple[Callable[[], object], tuple[object, ...]]
"""What asks the library, and the command's arguments that ask the same; none where none does."""

Maker = Callable[[World, np.random.Generator], Case]


def _document(world: World, rng: np.random.Generator) -> Case:
    choices = [
        POLICIES / "demo.yaml", POLICIES / "starter" / "policy.yaml",
        POLICIES / "starter" / "target.yaml", POLICIES / "baseline-gated@2.2.0.yaml",
        POLICIES / "tests" / "demo.yaml", POLICIES / "library" / "hiv.yaml",
        POLICIES / "release-prerequisites.yaml", world.folder / "needs.yaml",
        world.folder / "waiver.yaml",
    ]  # fmt: skip
    path = world.folder / "broken.yaml"
    path.write_bytes(broken_document(pick(rng, choices).read_text(), rng))
    return lambda: load_documents(path), ("validate", path)


def _plan(world: World, target: str = "leaking.yaml") -> Case:
    policy, path = world.folder / "policy.yaml", world.folder / target

    def question() -> object:
        return library.plan(library.load_policy(policy), library.load_target(path))

    return question, ("plan", policy, path)


def _vocabulary(world: World, rng: np.random.Generator) -> Case:
    name = pick(rng, ("vocab.json", "tokenizer.json", "codes.parquet"))
    path = world.folder / name
    content = path.read_bytes()
    if name == "codes.parquet":
        if rng.random() < 0.3:
            path.write_bytes(broken_bytes(content, rng))
        else:
            pq.write_table(broken_table(pq.read_table(path), rng), path)
    else:
        path.write_bytes(broken_json(content, rng))
    target = yaml.safe_load((world.folder / "leaking.yaml").read_text())
    target["spec"]["tokenization"]["vocabulary"] = name
    (world.folder / "leaking.yaml").write_text(yaml.safe_dump(target))
    planned, arguments = _plan(world)

    def both() -> object:
        load_vocabulary(path)
        return planned()

    return both, arguments


def _defaults(world: World, rng: np.random.Generator) -> Case:
    """A folder's defaults, of options that can be set there and of others."""
    path = world.folder / "phigate.toml"
    tables = {
        table: {str(key): "reports" for key in rng.choice(SETTABLE, 2)}
        for table in ("defaults", "check", pick(rng, ("ledger.list", "plan", "judge", "nothing")))
    }
    tables["check"][pick(rng, ("format", "as-of", "policy", "workers"))] = "html"
    said: dict[str, Any] = broken_value(tables, rng)
    lines = [
        f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in own.items())
        if isinstance(own, dict)
        else f"{table} = {json.dumps(own)}\n"
        for table, own in (said if isinstance(said, dict) else {"check": said}).items()
    ]
    text = "".join(lines).encode("utf-8", "surrogatepass")
    path.write_bytes(broken_bytes(text, rng) if rng.random() < 0.3 else text)
    words = pick(rng, ("check", "plan", "judge", "ledger list"))
    return lambda: defaults_for(cli, words.split(), file=path), ()


def _token_table(world: World, rng: np.random.Generator) -> Case:
    path = world.folder / "tokens.parquet"
    if rng.random() < 0.2:
        path.write_bytes(broken_bytes(path.read_bytes(), rng))
    else:
        pq.write_table(broken_table(pq.read_table(path), rng), path)
    return _plan(world, "tabled.yaml")


def _config(world: World, rng: np.random.Generator) -> Case:
    path = world.folder / "checkpoint" / "config.json"
    config = json.loads(path.read_bytes())
    if rng.random() < 0.5:  # a number of no sensible size
        numbers = [key for key, value in config.items() if isinstance(value, int | float)]
        key = pick(rng, [*numbers, "vocab_size", "n_layer", "n_embd", "n_positions", "n_head"])
        config[key] = pick(rng, (*NUMBERS, 100_000, 10**9, 10**15, "12", [3]))
        path.write_bytes(json_bytes(config))
    else:
        path.write_bytes(broken_json(path.read_bytes(), rng))
    policy, target = world.folder / "policy.yaml", world.folder / "checkpoint.yaml"

    def question() -> object:
        planned = library.plan(library.load_policy(policy), library.load_target(target))
        return planned.open_target()

    return question, ("plan", policy, target)


def _weights(world: World, rng: np.random.Generator) -> Case:
    path = world.folder / "checkpoint" / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if rng.random() < 0.5:
        path.write_bytes(broken_bytes(content, rng))
    else:
        header = broken_json(content[8 : 8 + length].rstrip(), rng)
        path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    policy, target = world.folder / "policy.yaml", world.folder / "checkpoint.yaml"

    def question() -> object:
        planned = library.plan(library.load_policy(policy), library.load_target(target))
        return planned.open_target()

    return question, ("plan", policy, target)


def _meds(world: World, rng: np.random.Generator) -> Case:
    root = world.folder / "cohort"
    files = sorted(path for path in root.rglob("*") if path.suffix in {".parquet", ".json"})
    path = pick(rng, files)
    if path.suffix == ".json":
        path.write_bytes(broken_json(path.read_bytes(), rng))
    elif rng.random() < 0.2:
        path.write_bytes(broken_bytes(path.read_bytes(), rng))
    elif rng.random() < 0.2:  # text that is none, where a code or a description stands
        table = pq.read_table(path)
        names = [f.name for f in table.schema if pa.types.is_string(f.type)]
        if names:
            place = table.column_names.index(pick(rng, names))
            text = not_utf8(table.num_rows)
            table = table.set_column(place, table.column_names[place], text)
        pq.write_table(table, path)
    else:
        pq.write_table(broken_table(pq.read_table(path), rng), path)
    return _plan(world)


def _judged(world: World) -> Case:
    run = world.folder / "run"

    def question() -> object:
        shared = load_report(run / "report.json")
        whole = judge_run(load_run(run), as_of=AS_OF, waivers=load_waivers(run))
        write_reports(run, whole, formats=("json", "markdown", "sarif", "junit"))
        return shared

    return question, (
        "judge",
        run,
        "--format",
        "json,markdown,sarif",
        "--as-of",
        AS_OF.isoformat(),
    )


def _verified(world: World) -> Case:
    run, public = world.folder / "run", world.folder / "public.pem"
    ledger = world.folder / "ledger.jsonl"

    def question() -> object:
        return library.verify(run, keys=[load_public_key(public)], ledger=ledger)

    return question, ("verify", run, "--key", public, "--ledger", ledger)


def _judged_or_verified(world: World, rng: np.random.Generator) -> Case:
    makers: tuple[Callable[[World], Case], ...] = (_judged, _verified)
    return pick(rng, makers)(world)


def _evidence(world: World, rng: np.random.Generator) -> Case:
    run = world.folder / "run"
    manifest = json.loads((run / "manifest.json").read_bytes())
    entry = pick(rng, manifest["entries"])
    path = run / entry["file"]
    table = broken_table(pq.read_table(path), rng)
    if rng.random() < 0.1:
        other = pick(rng, manifest["entries"])
        table = pq.read_table(run / other["file"])
    pq.write_table(table, path)
    entry |= {"sha256": sha256_hex(path.read_bytes()), "rows": table.num_rows}
    (run / "manifest.json").write_bytes(json_bytes(manifest))
    _correct_report(run)
    return _judged_or_verified(world, rng)


def _correct_report(run: Path) -> None:
    """Let the manifest name the plan that lies there, and the report both."""
    manifest = json.loads((run / "manifest.json").read_bytes())
    if isinstance(manifest, dict):
        manifest["planSha256"] = sha256_hex((run / "plan.json").read_bytes())
        (run / "manifest.json").write_bytes(json_bytes(manifest))
    report = json.loads((run / "report.json").read_bytes())
    for name in ("plan", "manifest", "waivers"):
        path = run / f"{name}.json"
        if path.exists():
            report["provenance"][f"{name}Sha256"] = sha256_hex(path.read_bytes())
    (run / "report.json").write_bytes(json_bytes(report))


def _run_file(name: str) -> Maker:
    def make(world: World, rng: np.random.Generator) -> Case:
        run = world.folder / "run"
        path = run / name
        path.write_bytes(broken_json(path.read_bytes(), rng))
        if rng.random() < 0.7:
            # a file may be too broken to be corrected
            with suppress(ValueError, TypeError, RecursionError):
                _correct_report(run)
        return _judged_or_verified(world, rng)

    return make


def _plan_cells(world: World, rng: np.random.Generator) -> Case:
    """A plan that says otherwise what is judged from what, and all digests made to fit."""
    run = world.folder / "run"
    path = run / "plan.json"
    plan = json.loads(path.read_bytes())
    place = pick(rng, ("cells", "cells", "classes", "jobs", "data"))
    plan[place] = broken_value(plan[place], rng)
    if rng.random() < 0.5:
        for job in plan["jobs"] if isinstance(plan["jobs"], list) else []:
            with suppress(ValueError, TypeError, KeyError, RecursionError):
                job["digest"] = digest(job["inputs"])
    path.write_bytes(json_bytes(plan))
    with suppress(ValueError, TypeError, RecursionError):
        _correct_report(run)
    return _judged_or_verified(world, rng)


def _report(world: World, rng: np.random.Generator) -> Case:
    run = world.folder / "run"
    path = run / "report.json"
    path.write_bytes(broken_json(path.read_bytes(), rng))
    formats = ("markdown", "sarif", "sarif-github", "junit", "model-card", "oscal")

    def shown() -> object:
        report = load_report(path)
        chosen = pick(rng, formats) if rng.random() < 0.8 else "html"
        write_reports(run, report, formats=["json", chosen])
        compare_reports(report, report)
        return judge_run_again(load_run(run), report)

    written: Case = shown, ("report", run, "--format", ",".join(formats))
    return pick(rng, (written, _verified(world)))


def _envelope(world: World, rng: np.random.Generator) -> Case:
    path = world.folder / "run" / "attestation.json"
    key = load_public_key(world.folder / "public.pem")
    if rng.random() < 0.5:
        path.write_bytes(broken_json(path.read_bytes(), rng))
    else:  # rightly signed, and wrong
        statement = json.loads(read_attestation(path).payload)
        path.unlink()
        signer = load_private_key(world.folder / "private.pem")
        payload = broken_json(json_bytes(statement), rng)
        if rng.random() < 0.5:
            payload = json_bytes(broken_value(statement, rng))
        _sign_bytes(path, payload, signer)
    ledger, model = world.folder / "ledger.jsonl", world.folder / "leaking.json"
    alone = ("verify", "--attestation", path, "--key", world.folder / "public.pem",
             "--ledger", ledger, "--model", model)  # fmt: skip

    def question() -> object:
        return verify_attestation(path, keys=[key], model=model, ledger=ledger)

    by_itself: Case = question, alone
    return pick(rng, (by_itself, _verified(world)))


def _sign_bytes(path: Path, payload: bytes, signer: Any) -> None:
    from securesystemslib.dsse import Envelope

    envelope = Envelope(payload, "application/vnd.in-toto+json", {})
    envelope.sign(signer)
    write_atomically(path, json.dumps(envelope.to_dict()).encode())


def _ledger(world: World, rng: np.random.Generator) -> Case:
    path = world.folder / "ledger.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1]
    place = int(rng.integers(len(lines)))
    if rng.random() < 0.3:
        path.write_bytes(broken_bytes(path.read_bytes(), rng))
    else:
        lines[place] = broken_json(lines[place], rng).replace(b"\n", b" ")
        path.write_bytes(b"\n".join(lines) + pick(rng, (b"\n", b"")))

    def mend() -> object:
        read_ledger(path)
        return mend_ledger(path)

    cases: tuple[Case, ...] = (
        (mend, ("ledger", "list", path)),
        (lambda: read_ledger(path), ("ledger", "verify", path)),
        _verified(world),
    )
    return pick(rng, cases)


def _keys(world: World, rng: np.random.Generator) -> Case:
    public, private = world.folder / "public.pem", world.folder / "private.pem"
    path = pick(rng, (public, private))
    path.write_bytes(broken_bytes(path.read_bytes(), rng))
    if path is public:
        return _verified(world)
    return lambda: load_private_key(private), ("sign", world.folder / "run", "--key", private)


def _waived(world: World, rng: np.random.Generator) -> Case:
    path = world.folder / "waiver.yaml"
    path.write_bytes(broken_document(path.read_text(), rng))
    run = world.folder / "run"

    def question() -> object:
        return library.judge(run, waivers=library.read_waivers([path]), as_of=AS_OF)

    return question, (
        "judge",
        run,
        "--waivers",
        path,
        "--as-of",
        AS_OF.isoformat(),
        "--format",
        "json",
    )


KINDS: dict[str, Maker] = {
    "documents": _document,
    "phigate.toml": _defaults,
    "vocabularies": _vocabulary,
    "config.json": _config,
    "weights": _weights,
    "MEDS tables": _meds,
    "token tables": _token_table,
    "evidence": _evidence,
    "manifest.json": _run_file("manifest.json"),
    "plan.json": _run_file("plan.json"),
    "plan.json, made to fit": _plan_cells,
    "run.json": _run_file("run.json"),
    "waivers.json": _run_file("waivers.json"),
    "attempt.json": _run_file("attempt.json"),
    "report.json": _report,
    "envelopes": _envelope,
    "ledgers": _ledger,
    "keys": _keys,
    "waivers": _waived,
}


# --- trying one ---------------------------------------------------------------------------------


def try_case(world: World, kind: str, case: int, *, seconds: float = SECONDS) -> Outcome:
    """Break a copy of the world and ask; returns what came out in a word, and the fault or None.

    Raises:
        RuntimeError: the case itself could not be made, which is a mistake of the benchmark.
    """
    rng = np.random.default_rng([case, *kind.encode()])
    with tempfile.TemporaryDirectory(dir=world.folder.parent) as folder:
        own = world.copy(Path(folder))
        try:
            question, arguments = KINDS[kind](own, rng)
        except Exception as error:
            raise RuntimeError(f"{kind} {case} could not be made") from error
        by_command = bool(arguments) and case % COMMAND_EVERY == COMMAND_EVERY - 1

        def answer() -> str:
            return _told(arguments) if by_command else _word(question())

        return ask(kind, case, answer, seconds=seconds)


def _word(answer: object) -> str:
    """Say whether something was accepted, or found broken by what verifies."""
    statements = answer[0] if isinstance(answer, tuple) else answer
    if isinstance(statements, list) and any(
        isinstance(one, Statement) and one.holds is False for one in statements
    ):
        return "found broken"
    return "accepted"


def _told(arguments: tuple[object, ...]) -> str:
    """Run the command; a traceback is a fault."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["phigate", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = run_command()
    said = err.getvalue()
    if "Traceback" in said or "phigate itself failed" in said or code not in (0, 1, 2, 3, 4):
        raise AssertionError(f"the command {arguments[0]} ended in {code}: {said[-300:]}")
    wrong = [c for c in out.getvalue() + said if c in "\x1b\x07\u202e\u2066"]
    if wrong:
        raise AssertionError(f"the command {arguments[0]} wrote {wrong[:3]} to the terminal")
    return f"exit {code}"


def table_of(outcomes: Mapping[str, Counter[str]]) -> str:
    """Return kinds by outcomes as a Markdown table, with sums."""
    words = sorted({word for found in outcomes.values() for word in found})
    head = ["kind", *words, "cases"]
    rows = [
        [kind, *(str(found[word]) for word in words), str(found.total())]
        for kind, found in outcomes.items()
    ]
    whole = sum(outcomes.values(), Counter[str]())
    rows.append(["all", *(str(whole[word]) for word in words), str(whole.total())])
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=625, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this; repeatable")
    parser.add_argument("--minutes", type=float, default=600, help="begin no case after so many")
    parser.add_argument("--out", type=Path, help="outcomes and faults as JSON")
    arguments = parser.parse_args()
    offer_simulated_backend()
    clock.current_time = lambda: AS_OF  # measured, waived and judged at one time, whatever the day
    cases = range(arguments.first, arguments.first + arguments.cases)
    begun = time.monotonic()
    faults: list[Fault] = []
    outcomes: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder) / "world")
        for kind in arguments.kind or KINDS:
            found, started = outcomes.setdefault(kind, Counter()), time.monotonic()
            for outcome, fault in try_in_worker(partial(try_case, world), kind, cases):
                found[outcome] += 1
                if fault is not None:
                    faults.append(fault)
                    print(fault, flush=True)
                if time.monotonic() - begun > 60 * arguments.minutes:
                    break
            took = time.monotonic() - started
            print(f"{kind}: {took:.0f} s, {dict(sorted(found.items()))}", flush=True)
    print(table_of(outcomes))
    seen: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults:
        place = fault.where.split(" > ")[-1]
        seen.setdefault((fault.what.split(":")[0], place), []).append(fault)
    for (what, place), alike in sorted(seen.items(), key=lambda item: -len(item[1])):
        one = alike[0]
        print(f"{len(alike)} x {what} at {place}: {one.kind} {one.case}: {one.what}")
        print(f"    {one.where}")
    if arguments.out:
        record = {"outcomes": outcomes, "faults": [asdict(fault) for fault in faults]}
        arguments.out.write_text(json.dumps(record, indent=2))
    if faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
