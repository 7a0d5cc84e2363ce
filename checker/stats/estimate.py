"""A number that never travels without its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReportedEstimate:
    """A value with one-sided bounds, as a report gives it to its audience.

    Each bound holds on its own at `confidence`: the truth lies above `low` with at least that
    confidence, and below `high` with at least that confidence (so both together hold at
    2·confidence − 1). Rates and AUROCs are fractions in [0, 1], differences lie in [−1, 1].

    `high` is None where nothing bounds the value from above, as no audit bounds an ε. `n` counts
    sampling units (patients, or distinct prompts where they are shared); it is None where it is
    withheld, and where there is none, as of a difference of two reports. `method` says how the
    bounds were made, for example "clopper-pearson".
    """

    value: float
    low: float
    high: float | None
    n: int | None
    confidence: float
    method: str

    def __post_init__(self) -> None:
        """Refuse an interval that contradicts itself; NaN fails every comparison."""
        high = math.inf if self.high is None else self.high
        if not self.low <= self.value <= high:
            raise ValueError(f"bounds out of order: {self.low} <= {self.value} <= {high}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie in (0, 1), got {self.confidence}")


@dataclass(frozen=True, slots=True)
class Estimate(ReportedEstimate):
    """A measured value: its `n` is known, and `high` is infinite where nothing bounds the value."""

    high: float
    n: int

    def reported(self) -> ReportedEstimate:
        """Return it as a report holds it; JSON knows no infinity."""
        high = None if math.isinf(self.high) else self.high
        return ReportedEstimate(self.value, self.low, high, self.n, self.confidence, self.method)
