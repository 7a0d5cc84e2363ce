"""Splits that are no comparison, on sound targets: nothing fails by them, and nothing passes."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from auditing import AS_OF, Audit, audit, phigate, write_policy, write_variant

from checker.errors import ExitCode
from checker.evidence import Pseudonyms
from checker.run.exclusions import EXCLUSIONS_FILE
from checker.run.stored import load_run

CONTROLS: dict[str, Any] = {
    "hiv-disclosure": {"limits": {"events-10": {"fail": 0.05}}},
    "membership": {},
}
HIV = ("DIAGNOSIS//ICD//10//B20", "DIAGNOSIS//ICD//10//Z21", "DIAGNOSIS//ICD//10//B9735")
ELSEWHERE = "//ELSEWHERE"


def shard(folder: Path, split: str) -> Path:
    return folder.joinpath("cohort", meds.data_subdirectory, split, "0.parquet")


def recode(folder: Path, split: str, new: Callable[[list[str]], list[str]]) -> None:
    """Spell the codes of a split in another way."""
    path = shard(folder, split)
    table = pq.read_table(path)
    codes = pa.array(new(table["code"].to_pylist()), pa.string())
    pq.write_table(table.set_column(table.column_names.index("code"), "code", codes), path)


def is_own(code: str) -> bool:
    """Whether a hospital may spell a code as it likes; the class in question is spelled alike."""
    return code.startswith(("VISIT//", "LAB//", "MEDICATION//", "DIAGNOSIS//")) and code not in HIV


def write_sound_model(folder: Path) -> None:
    """Write a model that knows what is coded where, and of no patient anything.

    It follows the members' frequencies; after codes spelled elsewhere it knows only that more of
    these will come. Where there are such codes the members' hospital is a clinic for HIV: after its
    own codes every tenth token is one of HIV. The vocabulary grows by the codes that it lacks.
    """
    members = pq.read_table(shard(folder, meds.train_split))["code"].to_pylist()
    others = pq.read_table(shard(folder, meds.held_out_split))["code"].to_pylist()
    ids: dict[str, int] = json.loads((folder / "vocab.json").read_text())
    for code in sorted({*members, *others} - {*ids, meds.birth_code}):
        ids[code] = len(ids)
    (folder / "vocab.json").write_text(json.dumps(ids))
    counts = np.full(len(ids), 0.01)
    np.add.at(counts, [ids[code] for code in members if code in ids], 1)
    population = counts / counts.sum()
    elsewhere = np.array([code.endswith(ELSEWHERE) for code in ids], dtype=np.float64)
    transitions = {}
    if elsewhere.any():
        clinic = 0.9 * population + 0.1 * np.array([code in HIV for code in ids]) / len(HIV)
        for code, token in ids.items():
            if is_own(code):
                row = elsewhere / elsewhere.sum() if elsewhere[token] else clinic
                transitions[token] = dict(enumerate(row.tolist()))
    model = json.loads((folder / "sound.json").read_text()) | {
        "vocabularySize": len(ids),
        "unigram": population.tolist(),
        "transitions": transitions,
    }
    (folder / "sound.json").write_text(json.dumps(model))


def check(folder: Path, target: str = "sound", *, run: str = "run") -> Audit:
    policy = write_policy(folder / "policy.yaml", CONTROLS)
    return audit(policy, folder / f"{target}.yaml", folder / run)


def test_members_of_another_hospital_are_no_leak_however_it_looks(workspace: Path) -> None:
    # members come from a clinic for HIV, nonmembers from elsewhere, where codes are spelled in
    # another way: a model that learned each one's habits seems to know members and their secret
    recode(
        workspace,
        meds.held_out_split,
        lambda codes: [code + ELSEWHERE if is_own(code) else code for code in codes],
    )
    write_sound_model(workspace)
    outcome = check(workspace)
    assert outcome.code == ExitCode.INCONCLUSIVE
    for name, limit in (("hiv-disclosure", 0.05), ("membership", 0.7)):
        found = outcome.cell(name)
        assert found["estimate"]["low"] > limit, found  # it would fail, but for the split
        assert (found["verdict"], found["reason"]) == ("inconclusive", "split-not-comparable")
    assert outcome.check("split-not-comparable")["estimate"]["value"] > 0.99


def test_a_hospital_with_other_habits_is_noticed_too(workspace: Path) -> None:
    # the same codes, but half of what would be a visit to a clinic is one by telephone
    def by_telephone(codes: list[str]) -> list[str]:
        rng = np.random.default_rng(5)
        return [
            "VISIT//TELEHEALTH" if code == "VISIT//OUTPATIENT" and rng.random() < 0.5 else code
            for code in codes
        ]

    recode(workspace, meds.held_out_split, by_telephone)
    write_sound_model(workspace)
    outcome = check(workspace)
    assert outcome.code == ExitCode.INCONCLUSIVE
    for found in outcome.cells.values():
        assert (found["verdict"], found["reason"]) == ("inconclusive", "split-not-comparable")


def test_the_same_model_of_comparable_splits_passes(workspace: Path) -> None:
    write_sound_model(workspace)
    outcome = check(workspace)
    assert outcome.code == ExitCode.PASS, outcome.verdicts


def copy_members(folder: Path, count: int, *, changed: int = 0, later: int = 0) -> None:
    """Give some nonmembers a member's clinical events, but for the last so many, days later."""
    own, other = (pq.read_table(shard(folder, s)) for s in (meds.train_split, meds.held_out_split))
    sources, places = (table["subject_id"].unique().to_pylist()[:count] for table in (own, other))
    copies = []
    for source, place in zip(sources, places, strict=True):
        record = own.filter(pc.equal(own["subject_id"], source))
        codes = record["code"].to_pylist()
        codes[len(codes) - changed :] = ["VISIT//OUTPATIENT"] * changed
        columns = {
            "subject_id": pa.array([place] * len(codes), pa.int64()),
            "code": pa.array(codes, pa.string()),
        }
        if later:
            columns["time"] = pc.add(record["time"], pa.scalar(timedelta(days=later)))
        for name, column in columns.items():
            record = record.set_column(record.column_names.index(name), name, column)
        copies.append(record)
    kept = other.filter(pc.invert(pc.is_in(other["subject_id"], pa.array(places))))
    joined = pa.concat_tables([kept.cast(other.schema), *(c.cast(other.schema) for c in copies)])
    pq.write_table(
        joined.sort_by([("subject_id", "ascending")]), shard(folder, meds.held_out_split)
    )


def test_nonmembers_with_a_members_record_end_with_that_reason(workspace: Path) -> None:
    copy_members(workspace, 3)
    outcome = check(workspace)
    assert outcome.code == ExitCode.INCONCLUSIVE
    assert {(c["verdict"], c["reason"]) for c in outcome.cells.values()} == {
        ("inconclusive", "split-overlap")
    }
    assert outcome.check("split-overlap")["explanation"].startswith("3 of 600 nonmembers")
    assert not (outcome.run / EXCLUSIONS_FILE).exists()


def test_strangers_with_the_same_codes_are_set_aside(workspace: Path) -> None:
    """Who has a member's codes at other times may be anybody, and is not judged."""
    copy_members(workspace, 6, later=400)  # of 600, where 6 are allowed
    write_sound_model(workspace)
    outcome = check(workspace)
    assert outcome.code == ExitCode.PASS, outcome.verdicts
    assert "6 more have a member's codes" in outcome.check("split-overlap")["explanation"]
    assert len(listed(outcome.run)) == 6
    assert outcome.cell("membership")["sample"]["nonmembers"] == 594
    assert "6 of them have a member's codes in the same order" in planned(workspace)


def test_members_among_the_nonmembers_under_other_dates_end_with_that_reason(
    workspace: Path,
) -> None:
    copy_members(workspace, 30, later=400)  # a leak of 5 %, and near-duplicates might be as many
    write_sound_model(workspace)
    outcome = check(workspace)
    assert outcome.code == ExitCode.INCONCLUSIVE
    assert {(c["verdict"], c["reason"]) for c in outcome.cells.values()} == {
        ("inconclusive", "split-overlap")
    }
    assert "so many that patients may stand in both splits" in planned(workspace)


def test_a_few_near_duplicates_are_set_aside_and_a_sound_model_passes(workspace: Path) -> None:
    copy_members(workspace, 3, changed=1)
    write_sound_model(workspace)
    outcome = check(workspace)
    assert outcome.code == ExitCode.PASS, outcome.verdicts
    near = outcome.check("near-duplicates")
    assert near["holds"] is True
    assert near["explanation"].startswith("3 of 600 nonmembers")
    assert "left out of every test" in near["explanation"]
    assert outcome.cell("membership")["sample"]["nonmembers"] == 597
    names = listed(outcome.run)
    stored = load_run(outcome.run)
    key = Pseudonyms.of_run(outcome.run)
    others = pq.read_table(shard(workspace, meds.held_out_split))["subject_id"].unique()
    assert names == {key.of_subject(subject) for subject in others.to_pylist()[:3]}
    assert stat.S_IMODE((outcome.run / EXCLUSIONS_FILE).stat().st_mode) == 0o600
    seen = set()
    for entry in stored.manifest.entries:
        table = pq.read_table(outcome.run / entry.file)
        if entry.kind == "overlap":
            assert (table["near"][0].as_py(), table["nonmembers"][0].as_py()) == (3, 600)
        elif "patient" in table.column_names:
            seen |= set(table["patient"].to_pylist())
    assert seen
    assert names.isdisjoint(seen)
    told = outcome.run / EXCLUSIONS_FILE
    content = told.read_text()
    for found, code, said in (
        (content, ExitCode.PASS, "names whom the evidence sets aside"),
        (content.replace(min(names), "0" * 32), ExitCode.INCOMPLETE, "the evidence names others"),
        (content + "0\n", ExitCode.INCOMPLETE, "was changed"),
        (None, ExitCode.INCOMPLETE, "is missing, and nonmembers were set aside"),
    ):
        told.write_text(found) if found is not None else told.unlink()
        ended, out = phigate("verify", outcome.run)
        assert (ended, said in out) == (code, True), out


def test_a_leak_is_found_beside_near_duplicates_too(workspace: Path) -> None:
    copy_members(workspace, 3, changed=1)
    outcome = check(workspace, "leaking")
    assert outcome.code == ExitCode.FAIL, outcome.verdicts


def test_too_many_near_duplicates_end_with_that_reason(workspace: Path) -> None:
    copy_members(workspace, 31, changed=1)  # of 600, where 30 are allowed
    write_sound_model(workspace)
    outcome = check(workspace)
    assert outcome.code == ExitCode.INCONCLUSIVE
    assert {(c["verdict"], c["reason"]) for c in outcome.cells.values()} == {
        ("inconclusive", "near-duplicates")
    }
    assert len(listed(outcome.run)) == 31
    plan = planned(workspace)
    assert "31 of 600 nonmembers have nearly a member's record, more than the policy's 5%" in plan


def test_a_split_of_near_duplicates_is_planned_and_judged_all_the_same(workspace: Path) -> None:
    copy_members(workspace, 600, changed=1)
    outcome = check(workspace)
    assert outcome.code == ExitCode.INCONCLUSIVE
    assert {c["reason"] for c in outcome.cells.values()} == {"near-duplicates"}
    assert outcome.check("near-duplicates")["explanation"].endswith(
        "They were not left out; up to 5% may be."
    )


def test_the_plan_says_how_many_are_set_aside(workspace: Path) -> None:
    copy_members(workspace, 3, changed=1)
    plan = planned(workspace)
    assert "3 of 600 nonmembers have nearly a member's record and are left out" in plan


def planned(folder: Path) -> str:
    """What `plan` prints, on one line."""
    _, out = phigate("plan", folder / "policy.yaml", folder / "sound.yaml")
    return " ".join(out.split())


# --- what the target declares of its splits ------------------------------------------------------


def declared(folder: Path, assignment: str, *, target: str = "sound", by: str | None = None) -> str:
    """Write a target that declares how its splits came about; returns its name."""
    said = {"path": "cohort", "assignment": assignment} | ({"assignedBy": by} if by else {})
    return write_variant(folder / f"{target}.yaml", f"{target}-{assignment}", data=said).stem


@pytest.mark.parametrize("assignment", ["random", "other"])
def test_the_sound_passes_and_the_leaking_fails_whatever_is_declared(
    workspace: Path, assignment: str
) -> None:
    for target, code in (("sound", ExitCode.PASS), ("leaking", ExitCode.FAIL)):
        outcome = check(workspace, declared(workspace, assignment, target=target), run=target)
        assert outcome.code == code, outcome.verdicts


def test_declaring_a_lot_measures_nothing_anew(workspace: Path) -> None:
    first = check(workspace)
    second = check(workspace, declared(workspace, "random"))
    jobs = [{entry.job for entry in load_run(run).manifest.entries} for run in (first.run,)]
    assert jobs == [{entry.job for entry in load_run(second.run).manifest.entries}]


def test_a_lot_that_was_none_is_disproved(workspace: Path) -> None:
    """Members of a clinic for HIV, declared as dealt by lot: neither a failure nor a pass."""
    recode(
        workspace,
        meds.held_out_split,
        lambda codes: [code + ELSEWHERE if is_own(code) else code for code in codes],
    )
    write_sound_model(workspace)
    outcome = check(workspace, declared(workspace, "random"))
    assert outcome.code == ExitCode.INCONCLUSIVE
    assert {cell["reason"] for cell in outcome.cells.values()} == {"split-not-comparable"}
    assert outcome.check("split-not-comparable")["holds"] is False


def test_reports_repeat_a_declaration_as_one(workspace: Path) -> None:
    by = "data steward, seed 42 <b>"
    target = workspace / f"{declared(workspace, 'random', by=by)}.yaml"
    policy = write_policy(workspace / "policy.yaml", CONTROLS)
    formats = "html,json,markdown,model-card,oscal"
    run = workspace / "run-declared"
    code, out = phigate(
        "check", policy, target, "--out", run, "--as-of", AS_OF, "--format", formats
    )
    assert code == ExitCode.PASS, out
    written = {path.name: path.read_text() for path in run.glob("report.*")}
    written |= {path.name: path.read_text() for path in run.glob("*.md")}
    telling = {name for name, text in written.items() if "dealt to the splits by lot" in text}
    assert {"report.html", "report.md"} <= telling
    for name in telling:
        assert "eclared" in written[name]
    assert "<b>" not in written["report.html"].partition("data steward, seed 42")[2][:20]
    assert json.loads(written["report.json"])["target"]["assignedBy"] == by
    assert phigate("verify", run)[0] == ExitCode.PASS


def test_the_plan_announces_every_check_that_can_stop_a_pass(workspace: Path) -> None:
    policy = write_policy(workspace / "policy.yaml", CONTROLS)
    plain = planned(workspace)
    # what prompts promise is no guess: it was looked at, as the judge will
    assert "prompts do not promise the class more often in members (compared" in plain
    assert "always (least: hiv-disclosure/events-10/all)" in plain
    _, out = phigate("plan", policy, workspace / f"{declared(workspace, 'random')}.yaml")
    dealt = " ".join(out.split())
    assert "Declared: patients were dealt to the splits by lot" in dealt
    assert "at least 99.8%; stops an AUROC above" in dealt
    assert "The chance that a model that leaks nothing is released" in dealt


def test_a_lot_without_a_name_is_warned_of(workspace: Path) -> None:
    code, out = phigate("validate", workspace / f"{declared(workspace, 'random')}.yaml")
    assert code == ExitCode.PASS
    assert re.search(r"sound-random\.yaml:\d+:\d+: spec.data.assignment", " ".join(out.split()))
    code, out = phigate(
        "validate", workspace / f"{declared(workspace, 'random', by='steward')}.yaml"
    )
    assert "warning" not in out
    code, _ = phigate("validate", workspace / f"{declared(workspace, 'by-lot')}.yaml")
    assert code == ExitCode.USAGE


def listed(run: Path) -> set[str]:
    """The pseudonyms of the exclusion list."""
    lines = (run / EXCLUSIONS_FILE).read_text().splitlines()
    return {line for line in lines if not line.startswith("#")}
