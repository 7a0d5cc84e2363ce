"""Splits that are no comparison, on sound targets: nothing fails by them, and nothing passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from auditing import Audit, audit, write_policy

from checker.errors import ExitCode

CONTROLS: dict[str, Any] = {
    "hiv-disclosure": {"limits": {"events-10": {"fail": 0.05}}},
    "membership": {},
}
HIV = ("DIAGNOSIS//ICD//10//B20", "DIAGNOSIS//ICD//10//Z21", "DIAGNOSIS//ICD//10//B9735")
ELSEWHERE = "@ELSEWHERE"


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


def check(folder: Path) -> Audit:
    policy = write_policy(folder / "policy.yaml", CONTROLS)
    return audit(policy, folder / "sound.yaml", folder / "run")


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


def copy_members(folder: Path, count: int, *, changed: int) -> None:
    """Give some nonmembers a member's clinical events, but for the last so many."""
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
        for name, column in columns.items():
            record = record.set_column(record.column_names.index(name), name, column)
        copies.append(record)
    kept = other.filter(pc.invert(pc.is_in(other["subject_id"], pa.array(places))))
    joined = pa.concat_tables([kept.cast(other.schema), *(c.cast(other.schema) for c in copies)])
    pq.write_table(
        joined.sort_by([("subject_id", "ascending")]), shard(folder, meds.held_out_split)
    )


@pytest.mark.parametrize(("changed", "reason"), [(0, "split-overlap"), (1, "near-duplicates")])
def test_nonmembers_with_a_members_record_end_with_that_reason(
    workspace: Path, changed: int, reason: str
) -> None:
    copy_members(workspace, 3, changed=changed)
    outcome = check(workspace)
    assert outcome.code == ExitCode.INCONCLUSIVE
    assert {(c["verdict"], c["reason"]) for c in outcome.cells.values()} == {
        ("inconclusive", reason)
    }
    assert outcome.check(reason)["explanation"].startswith("3 of 600 nonmembers")
