"""The short version of `benchmarks/drawn_patients.py`."""

from __future__ import annotations

import pytest

from benchmarks.drawn_patients import Setup, Truth, audit, table

SETUP = Setup(patients=1500, positives=420)


@pytest.mark.parametrize(("truth", "verdict"), [("nothing", "pass"), ("twice", "fail")])
def test_a_draw_is_judged_as_everybody_would_be(truth: Truth, verdict: str) -> None:
    found = audit(3, truth=truth, setup=SETUP)
    assert [one.verdict for one in found] == [verdict] * 4  # two cells, two declarations
    assert {one.asked for one in found} == {300}  # of more
    assert "passed" in table([(3, one) for one in found])
