"""Check (b) of a learned membership score: what the same learner tells without the model.

The learned attack is fitted again on what reference models alone say of the records, with no number
of the model under audit. Whatever it tells apart then is a difference of the splits, not memory
(METHODS §3, *Admissibility* (b)). It sees records as the attack sees them, which a bag of codes
does not, and takes its place for the cells that have it.
"""

from __future__ import annotations

from typing import Literal

from checker import stats
from checker.attacks.api import Observations
from checker.errors import InsufficientData

NAME = "split-not-comparable"
KNOWS_MEMBERS = "reference-knows-members"


def blind_objection(
    observations: Observations,
    *,
    assignment: Literal["random", "other"] | None,
    tolerance: float,
    confidence: float,
    proof: float,
) -> tuple[str, str] | None:
    """Return reason and sentence where the splits differ for the learner without the model.

    Args:
        observations: of a cell that has such scores.
        assignment: how patients came to their splits; None where the target does not say.
        tolerance: how far above 0.5 the AUROC may lie, unless patients were dealt by lot.
        confidence: with which the splits must be shown alike.
        proof: confidence of the bound that proves a difference of splits that were dealt by lot.
    """
    scores = observations.blind_scores()
    assert scores is not None  # asked only where there are some
    dealt = assignment == "random"
    try:
        found = stats.auroc(*scores, confidence=proof if dealt else confidence)
    except InsufficientData as lack:
        if dealt:
            return None  # so few prove nothing, and the lot is declared
        return NAME, f"Whether the splits are alike was not decided: {lack}."
    told = (
        "The same learner without any number of the model, from what the reference alone says of"
        f" the records, tells members from nonmembers with AUROC {found.value:.3f}"
    )
    if dealt:
        if found.low <= 0.5:
            return None
        return NAME, (
            f"{told}; its lower bound {found.low:.3f} (at {proof:.2%}) is above 0.5: splits that"
            " were dealt by lot would not differ so."
        )
    limit = 0.5 + tolerance
    if found.high <= limit:
        return None
    return NAME, f"{told}; its upper bound {found.high:.3f} is above {limit:.2f}."


def reference_objection(observations: Observations, *, proof: float) -> tuple[str, str] | None:
    """Return reason and sentence where a declared reference itself tells the members.

    A learner takes what the reference knows for what the model knows, and would fail a sound model.
    A difference is only made too small by such a reference; a learned score is never right then.
    Whether the splits differ is asked first, so that what is left is the reference's own memory.

    Args:
        observations: of a cell that has such scores, where a reference is declared.
        proof: confidence of the bound that has to lie above 0.5.
    """
    scores = observations.reference_scores()
    if scores is None:
        return None
    try:
        found = stats.auroc(*scores, confidence=proof)
    except InsufficientData:
        return None  # the cell itself is judged by as few, and says so
    if found.low <= 0.5:
        return None
    return KNOWS_MEMBERS, (
        "The same learner, from what the declared reference alone says of the records, tells"
        f" members from nonmembers with AUROC {found.value:.3f}; its lower bound {found.low:.3f}"
        f" (at {proof:.2%}) is above 0.5, so the reference has seen members."
    )
