"""The short version of `benchmarks/drawn_patients.py`."""

from __future__ import annotations

import pytest

from benchmarks.drawn_patients import Setup, Truth, audit, table
from checker.verdict.assignment import Assignment

SETUP = Setup(patients=1800, positives=420)


@pytest.mark.parametrize(
    ("truth", "assignment", "verdict"),
    [("nothing", "other", "pass"), ("twice", "random", "fail")],
)
def test_a_draw_is_judged_as_everybody_would_be(
    truth: Truth, assignment: Assignment, verdict: str
) -> None:
    found = audit(3, truth=truth, assignment=assignment, setup=SETUP)
    assert {one.cell: one.verdict for one in found} == dict.fromkeys(("class", "pool"), verdict)
    assert {one.asked for one in found} == {300}  # of more
    assert "passed" in table([(3, one) for one in found])
