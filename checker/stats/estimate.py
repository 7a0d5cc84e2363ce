"""A number that never travels without its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value with one-sided bounds.

    Each bound holds on its own at `confidence`: the truth lies above `low` with at least that
    confidence, and below `high` with at least that confidence (so both together hold at
    2·confidence − 1).

    Args:
        value: the point estimate; rates and AUROCs are fractions in [0, 1], differences in [−1, 1].
        low: lower bound.
        high: upper bound; infinity where nothing bounds the value from above.
        n: sampling units behind the value (patients, or distinct prompts where they are shared).
        confidence: of each bound, in (0, 1).
        method: how the bounds were made, for example "clopper-pearson".
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float
    method: str

    def __post_init__(self) -> None:
        """Refuse an interval that contradicts itself; NaN fails every comparison."""
        if not self.low <= self.value <= self.high:
            raise ValueError(f"bounds out of order: {self.low} <= {self.value} <= {self.high}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie in (0, 1), got {self.confidence}")
