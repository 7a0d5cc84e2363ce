"""Error rates that need no simulation: all outcomes of counts, added up.

Part of the calibration study, `benchmarks.calibration`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any, Final

import numpy as np
from scipy.stats import binom, multinomial

from checker import stats
from checker.run.model_jobs import _is_settled, _undecided_draws
from checker.stats import power
from checker.stats.intervals import difference_limits
from checker.stats.paired import paired_limits

CONFIDENCE: Final = 0.95


def enumerated() -> list[dict[str, Any]]:
    """Add up exactly how often targets at the limit pass, and fail, over a grid.

    Returns:
        For each family the greatest chance of a false pass and of a false fail, where it occurs,
        and the number of grid points.
    """
    return [_worst(family, grid) for family, grid in _GRIDS.items()]


_LIMITS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
_BACKGROUNDS: Final = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6)


def _worst(family: str, grid: Callable[[], Iterator[tuple[Any, ...]]]) -> dict[str, Any]:
    found = list(grid())
    passes, fails = (max(found, key=itemgetter(place)) for place in (0, 1))
    return {
        "family": family,
        "points": len(found),
        "false_pass": passes[0],
        "false_pass_at": passes[2],
        "false_fail": fails[1],
        "false_fail_at": fails[2],
    }


def _rate_grid() -> Iterator[tuple[float, float, str]]:
    for n in (30, 59, 93, 124, 200, 300, 473, 600, 1000):
        hits = np.arange(n + 1)
        low, high = stats.clopper_pearson(hits, n, confidence=CONFIDENCE)
        for limit in _LIMITS:
            mass = binom.pmf(hits, n, limit)
            yield (
                float(mass[high <= limit].sum()),
                float(mass[low > limit].sum()),
                f"n {n}, limit {limit:g}",
            )


def _difference_grid() -> Iterator[tuple[float, float, str]]:
    sizes = ((30, 30), (60, 60), (100, 100), (200, 200), (600, 600), (30, 120), (120, 30),
             (60, 300), (300, 60), (150, 600), (600, 150),
             (90, 30), (240, 60), (450, 30), (800, 100), (1200, 60))  # fmt: skip
    for n1, n2 in sizes:
        x1, x2 = np.arange(n1 + 1)[:, None], np.arange(n2 + 1)
        _, low, high = difference_limits(x1, n1, x2, n2, confidence=CONFIDENCE)
        zero_hits = power.zero_hit_bound_difference(n1, n2, confidence=CONFIDENCE)
        for limit in _LIMITS:
            passes = (high <= limit) & (zero_hits <= limit)
            fails = low > limit
            for background in _BACKGROUNDS:
                first = binom.pmf(x1[:, 0], n1, background + limit)
                second = binom.pmf(x2, n2, background)
                yield (
                    float(first @ passes @ second),
                    float(first @ fails @ second),
                    f"n {n1} and {n2}, limit {limit:g}, background {background:g}",
                )


def _paired_grid() -> Iterator[tuple[float, float, str]]:
    for n in (30, 60, 100, 200):
        b, c = np.divmod(np.arange((n + 1) ** 2), n + 1)
        b, c = b[b + c <= n], c[b + c <= n]
        _, low, high = paired_limits(b, c, n, confidence=CONFIDENCE)
        for limit in _LIMITS:
            for other in (0.0, 0.01, 0.05, 0.1, 0.3):
                mass = multinomial.pmf(
                    np.stack([b, c, n - b - c], axis=1), n,
                    [other + limit, other, 1 - 2 * other - limit],
                )  # fmt: skip
                yield (
                    float(mass[high <= limit].sum()),
                    float(mass[low > limit].sum()),
                    f"n {n}, limit {limit:g}, second only {other:g}",
                )


_GRIDS: Final = {
    "rate": _rate_grid,
    "rate-difference": _difference_grid,
    "paired": _paired_grid,
}


def curtailed(*, samples: int = 20, threshold: float = 0.5) -> list[dict[str, float]]:
    """Compute exactly what stopping a patient's rollouts once they are settled spares."""
    result = []
    for q in (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        still, disclosed_share, spent, done = {0: 1.0}, 0.0, 0.0, 0
        while still:
            step = min(samples - done, max(1, _undecided_draws(threshold, samples, done)))
            done += step
            after: dict[int, float] = {}
            for hits, mass in still.items():
                for more, chance in enumerate(binom.pmf(np.arange(step + 1), step, q)):
                    after[hits + more] = after.get(hits + more, 0.0) + mass * float(chance)
            still = {}
            for hits, mass in after.items():
                if _is_settled(hits, done, samples, threshold):
                    spent += mass * done
                    disclosed_share += mass * (hits / samples > threshold)
                else:
                    still[hits] = mass
        full = float(binom.sf(int(samples * threshold), samples, q))
        result.append(
            {"q": q, "saved": 1 - spent / samples, "changed": abs(disclosed_share - full)}
        )
    return result
