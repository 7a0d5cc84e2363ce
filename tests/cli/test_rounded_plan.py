"""`plan --rounded`: what a log may hold, and nothing that a count can be worked out from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from command_line import Command

from checker.cli.rounded_plan import rounded_error
from checker.errors import DataError

MIN_CELL = 11


def numbers(value: Any, key: str = "") -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [one for name, inner in value.items() for one in numbers(inner, name)]
    if isinstance(value, list):
        return [one for inner in value for one in numbers(inner, key)]
    return [(key, value)] if isinstance(value, int | float) and value is not True else []


def plan(phigate: Command, folder: Path, *more: str) -> Any:
    outcome = phigate("plan", folder / "policy.yaml", folder / "sound.yaml", "--json", *more)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def without_members(folder: Path, count: int) -> None:
    """Take so many of the members' patients away, with their splits."""
    shard = folder / "cohort" / "data" / "train" / "0.parquet"
    table = pq.read_table(shard)
    gone = pc.unique(table["subject_id"]).slice(0, count)
    for path in (shard, folder / "cohort" / "metadata" / "subject_splits.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.invert(pc.is_in(table["subject_id"], gone))), path)


def test_no_count_is_exact(phigate: Command, workspace: Path) -> None:
    without_members(workspace, 3)  # 597 members, and positives that are no round number
    exact, rounded = plan(phigate, workspace), plan(phigate, workspace, "--rounded")
    assert exact["data"]["members"] == 597
    assert rounded["data"]["members"] == 600
    for key, value in numbers(rounded):
        if key in ("members", "nonmembers"):
            assert value % (MIN_CELL - 1) == 0
            assert value >= MIN_CELL - 1
    assert {key for key, _ in numbers(rounded)} <= {
        "minCell", "members", "nonmembers", "events", "tokens", "unknownShare", "limit",
        "forwardTokens", "rolloutTokens", "canPass", "gating", "asksNonmembers",
    }  # fmt: skip
    text = phigate("plan", workspace / "policy.yaml", workspace / "sound.yaml", "--rounded").out
    assert "597" not in text
    assert exact["data"]["sha256"] not in json.dumps(rounded)
    for word in ("needs", "if nothing leaks"):
        assert word not in text


def test_one_patient_more_or_less_is_not_seen(phigate: Command, workspace: Path) -> None:
    # a cost at the very edge of what is rounded up shows one patient: this one lies elsewhere
    policy = (workspace / "policy.yaml").read_text()
    assert "horizonTokens: 32" in policy
    (workspace / "policy.yaml").write_text(policy.replace("horizonTokens: 32", "horizonTokens: 30"))
    before = plan(phigate, workspace, "--rounded")
    without_members(workspace, 1)
    after = plan(phigate, workspace, "--rounded")
    assert after == before


def test_few_and_none_are_withheld_alike(phigate: Command, workspace: Path) -> None:
    text = (workspace / "policy.yaml").read_text()
    assert "minCell" not in text or "minCell: 11" in text
    many = plan(phigate, workspace, "--rounded")
    # 80 members: zero hits pass at 5 %, and two do not, so a pass and their number say "none"
    disclosure = [cell for cell in many["cells"] if "disclosure" in cell["metric"]]
    assert disclosure
    assert all(cell["members"] is None for cell in disclosure)
    assert any(cell["canPass"] for cell in disclosure)
    assert any(cell["members"] == 600 for cell in many["cells"])
    (workspace / "policy.yaml").write_text(
        re.sub(r"  parameters:\n", "  parameters:\n    minCell: 100\n", text, count=1)
    )
    outcome = phigate("plan", workspace / "policy.yaml", workspace / "sound.yaml", "--rounded")
    assert outcome.code == 0, outcome.err
    assert "withheld" in outcome.out
    assert "about 80" not in outcome.out


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "3 of the 600 subjects listed as 'train' have no events",
            "fewer than 11 of the about 600 subjects listed as 'train' have no events",
        ),
        (
            "123 of 456 members have a code like 'X'; at least 90% are expected",
            "about 120 of about 460 members have a code like 'X'; at least 90% are expected",
        ),
        ("row 17 has no 'code'", "row 17 has no 'code'"),
        ("file 2026/12.parquet: 0 patients", "file 2026/12.parquet: fewer than 11 patients"),
    ],
)
def test_counts_in_errors_are_rounded_too(message: str, shown: str) -> None:
    found = rounded_error(DataError(message, file="data 7 of 12"), min_cell=MIN_CELL)
    assert str(found) == f"data 7 of 12: {shown}"


def test_an_error_of_the_data_is_rounded_by_the_command(phigate: Command, workspace: Path) -> None:
    shard = workspace / "cohort" / "data" / "train" / "0.parquet"
    table = pq.read_table(shard)
    gone = pc.unique(table["subject_id"]).slice(0, 3)
    pq.write_table(table.filter(pc.invert(pc.is_in(table["subject_id"], gone))), shard)
    documents = (workspace / "policy.yaml", workspace / "sound.yaml")
    exact, rounded = phigate("plan", *documents), phigate("plan", *documents, "--rounded")
    assert exact.code == rounded.code == 4
    assert "3 of the 600" in exact.err
    assert "fewer than 11 of the about 600" in rounded.err
