"""What a check of the instrument says, whichever part of the judge makes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.stats.estimate import ReportedEstimate
from checker.stats.student import t_test

FORMAT_MARGIN = 0.02
"""A variant must be better by this share of the declared format's loss to count: no model is
indifferent to its own format by less, and a model that ignores a field must not be failed on it."""


def surely_higher(
    losses: NDArray[np.float64], others: NDArray[np.float64], *, level: float
) -> bool:
    """Whether patients' losses are higher than others of the same patients, and not by chance.

    Args:
        losses: [n], nats.
        others: [n], of the same patients in the same order.
        level: of the one-sided paired t-test.
    """
    if np.ptp(losses - others) == 0:  # every patient agrees to the last digit: no test needed
        return bool(losses.mean() > others.mean())
    return t_test(losses - others) < level


@dataclass(frozen=True, slots=True)
class AdmissibilityCheck:
    """One check that excess means memorisation here; `holds` is None where it was not decided.

    `name` is in kebab case, and the reason of the cells that it blocks. `estimate` and `limit` are
    what was compared, where there is a number; `evidence` are the digests of the jobs it rests on.
    """

    name: str
    title: str
    holds: bool | None
    explanation: str
    estimate: ReportedEstimate | None = None
    limit: float | None = None
    evidence: tuple[str, ...] = ()
