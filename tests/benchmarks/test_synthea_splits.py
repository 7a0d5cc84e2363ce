"""What `benchmarks/synthea_splits.py` deals and counts; its audits need Synthea's patients."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import meds
import pyarrow.parquet as pq
from meds_builder import write_meds

from benchmarks.synthea_splits import Outcome, deal, dictionary, names, read, table

PASSED = Outcome(
    split="500-0", policy="internal", mapped=True, announced=0.0, verdict="inconclusive",
    hopeless=("hiv",), others=0.9, stopped=(), aside=1, failed=(), seconds=1.0,
)  # fmt: skip
STOPPED = replace(
    PASSED, split="500-1", others=0.5, stopped=(("grave", "bounds-straddle-limit"),), aside=0
)


def test_a_lot_deals_everybody_once(tmp_path: Path) -> None:
    patients = [[("DX//1", 0.0)]] * 8
    data = write_meds(
        tmp_path / "data", {"train": patients[:5], "held_out": patients[5:]},
        descriptions={"DX//1": "Alcoholism"},
    )  # fmt: skip
    before = pq.read_table(data / meds.subject_splits_filepath)["subject_id"].to_pylist()
    splits = []
    for number in (0, 1):
        deal(data, patients=6, number=number)
        dealt = pq.read_table(data / meds.subject_splits_filepath)
        assert sorted(dealt["subject_id"].to_pylist()) == sorted(before)
        assert Counter(dealt["split"].to_pylist()) == {"train": 3, "held_out": 3, "tuning": 2}
        splits.append(dict(zip(*(dealt[c].to_pylist() for c in dealt.column_names), strict=True)))
    assert splits[0] != splits[1]


def test_only_snomed_is_mapped_by_its_words(tmp_path: Path) -> None:
    titles = {"CONDITION//SNOMED//1": "Alcoholism", "OBS//LOINC//1": "Alcoholism", "DX//2": None}
    data = write_meds(
        tmp_path / "data", {"train": [[(code, 0.0) for code in titles]]},
        descriptions={code: title for code, title in titles.items() if title},
    )  # fmt: skip
    assert dictionary(data) == ["code,parent", "CONDITION//SNOMED//1,ICD10CM/F10.20"]


def test_what_passed_stands_beside_what_was_announced(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text("".join(json.dumps(asdict(one)) + "\n" for one in (PASSED, STOPPED)))
    assert read(kept) == [PASSED, STOPPED]
    told = table(read(kept))
    assert "internal, 500: 2 audits, 2 inconclusive; announced 0.0% on average" in told
    assert "near-duplicates in 1, at most 1" in told
    assert "all that can pass passed in 1 of 2, announced 70.0%" in told
    assert "could not pass: hiv (2)" in told
    assert "did not pass: grave bounds-straddle-limit (1)" in told
    assert names((500,), lots=2) == ["shipped", "500-0", "500-1"]
