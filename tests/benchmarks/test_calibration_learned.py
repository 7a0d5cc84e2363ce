"""The learned score's calibration in short, and that it sees a score judged on itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks import calibration_learned
from benchmarks.calibration_learned import audit_point
from benchmarks.calibration_shadows import draw, fit
from checker.attacks.membership_inference.learner import learned_scores

AUDITS = 40


@pytest.mark.parametrize("leak", ["no leak", "leak"])
def test_few_bounds_lie_on_the_wrong_side_of_the_truth(leak: str) -> None:
    point = audit_point(300, 250, leak, audits=AUDITS, fresh=400)
    # a sound estimator exceeds this in 1 of 1,000 such studies
    allowed = int(binom.isf(1e-3, AUDITS, 0.05))
    assert all(count <= allowed for count in point.false.values()), point


def test_bounds_hold_beside_shadows_that_the_judged_taught() -> None:
    for point in (fit(audits=30, shadows=2), draw(audits=30, shadows=2)):
        allowed = int(binom.isf(1e-3, point.audits, 0.05))
        assert all(count <= allowed for count in point.false.values()), point
    assert point.auroc > 0.6  # there is something to find


def test_a_score_judged_on_whom_it_was_fitted_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def on_itself(
        features: NDArray[np.float64],
        is_member: NDArray[np.bool_],
        fitted: NDArray[np.bool_],
        **scored: Any,
    ) -> NDArray[np.float64]:
        # as many as are judged, but scored by a classifier that has seen them
        asked = scored.get("scored")
        asked = ~fitted if asked is None else asked
        return learned_scores(features, is_member, fitted | asked, scored=asked)

    monkeypatch.setattr(calibration_learned, "learned_scores", on_itself)
    point = audit_point(300, 250, "no leak", audits=20, fresh=400)
    assert point.unmet
