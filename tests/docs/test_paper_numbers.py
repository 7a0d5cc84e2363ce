"""The table of the paper's numbers is one, wherever it stands."""

from __future__ import annotations

from pathlib import Path

from checker.attacks.api import load_attack
from checker.policy import load_policy
from checker.report.wording.paper import PAPER_NUMBERS, REPLICATION

WRITTEN_IN = Path(__file__).parents[2] / "docs" / "methods.md"


def test_methods_hold_the_table_that_reports_show() -> None:
    rows = [f"| {one.theirs} | {one.here} | {one.differs} |" for one in PAPER_NUMBERS]
    assert "\n".join(rows) in WRITTEN_IN.read_text(encoding="utf-8")


def test_the_policy_measures_every_number_of_the_table() -> None:
    controls = load_policy(Path(f"{REPLICATION}@1")).document.spec.controls.values()
    measured = {control.metric for control in controls}
    told = {metric for one in PAPER_NUMBERS for metric in one.metrics}
    assert told <= measured
    known = {name for control in controls for name in load_attack(control.probe).metrics}
    beside = {"precision", "recall", "random_distance"}
    assert beside <= known
    assert all(any(name in one.here for one in PAPER_NUMBERS) for name in beside)
