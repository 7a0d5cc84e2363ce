"""The resamples of seeded bounds, drawn once and used for thousands of audits.

Probes seed their bootstraps with a constant, so every audit of as many patients resamples the same
places in its sorted values. The calibration study draws those places once: what remains of a mean
is one matrix product. BCa itself is still SciPy's, given the distribution it would have computed.
Bounds of exposures use the same exponentials for every audit, summed where canaries stand at one
twin, instead of gamma variates of those sums: the same law, other draws.

`remembered` puts both in place for as long as it is entered. The study gives some audits of every
design to the untouched estimators as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from scipy.stats import bootstrap as resample

from checker.stats import bootstrap, exposure, precision_recall

Array = NDArray[np.float64]


@contextmanager
def remembered() -> Iterator[None]:
    """Let seeded bounds remember what they draw."""
    with (
        patch.object(scipy.stats, "bootstrap", _resample),
        patch.object(precision_recall, "_counts", _counts),
        patch.object(precision_recall, "_running", _running),
        patch.object(exposure, "_drawn", _drawn),
        patch.object(precision_recall, "auprc", _auprc),
    ):
        yield


def _resample(
    data: list[Array], statistic: Callable[..., Array], *, n_resamples: int, **settings: Any
) -> Any:
    """Stand in for `scipy.stats.bootstrap` where the generator was made for this one call."""
    rng = settings["rng"]
    places = _places(
        tuple(len(sample) for sample in data), rng.bit_generator.state["state"]["state"],
        n_resamples, settings["batch"], lambda: rng,
    )  # fmt: skip
    if statistic is np.mean:
        drawn = places.shares[0] @ data[0]
    elif statistic is bootstrap.mean_difference:
        drawn = places.shares[0] @ data[0] - places.shares[1] @ data[1]
    elif all(np.array_equal(sample, np.arange(len(sample))) for sample in data):
        drawn = statistic(*places.ranks, axis=-1)
    else:
        raise TypeError(f"no short cut for {statistic}")
    before = SimpleNamespace(bootstrap_distribution=drawn)
    return resample(data, statistic, n_resamples=0, bootstrap_result=before, **settings)


_KNOWN: dict[tuple[Any, ...], SimpleNamespace] = {}


def _places(
    sizes: tuple[int, ...], state: int, n: int, batch: int, rng: Callable[[], Any]
) -> SimpleNamespace:
    """Return what SciPy resamples from this state: ranks, and each patient's share of a resample.

    The generator is used up only the first time; nobody asks for more of it.
    """
    key = (sizes, state, n, batch)
    if key not in _KNOWN:
        kept: list[tuple[Array, ...]] = []

        def keep(*drawn: Array, axis: int) -> Array:
            if drawn[0].ndim == 2:
                kept.append(drawn)
            return np.asarray(drawn[0].mean(axis=axis))

        ranks = [np.arange(size, dtype=np.float64) for size in sizes]
        resample(
            ranks, keep, n_resamples=n, batch=batch, vectorized=True, axis=-1,
            method="percentile", rng=rng(),
        )  # fmt: skip
        columns = [np.concatenate(column) for column in zip(*kept, strict=True)]
        shares = [
            precision_recall._counts(column, size) / size
            for column, size in zip(columns, sizes, strict=True)
        ]
        _KNOWN[key] = SimpleNamespace(ranks=columns, shares=shares)
        _CONSTANT.update({id(column): column for column in columns})
    return _KNOWN[key]


_CONSTANT: dict[int, Any] = {}
"""Arrays that are never changed nor freed, by identity, which then names them for good."""


def _by_identity(function: Callable[..., Array]) -> Callable[..., Array]:
    known: dict[tuple[int, ...], Array] = {}

    def once(first: Array, *rest: int) -> Array:
        if id(first) not in _CONSTANT:
            return function(first, *rest)
        key = (id(first), *rest)
        if key not in known:
            known[key] = function(first, *rest)
            _CONSTANT[id(known[key])] = known[key]
        return known[key]

    return once


def _by_content(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let an excess take the members' part that the metric without excess computed before."""
    known: dict[bytes, Any] = {}

    def once(positive: Array, negative: Array, *, rng: Any, **settings: Any) -> Any:
        name = b"|".join(
            (positive.tobytes(), negative.tobytes(), repr(sorted(settings.items())).encode())
        )
        if name not in known:
            known[name] = function(positive, negative, rng=rng, **settings)
        return known[name]

    return once


_counts = _by_identity(precision_recall._counts)
_running = _by_identity(precision_recall._running)
_auprc = _by_content(precision_recall.auprc)


@lru_cache(maxsize=16)
def _drawn(above: bytes, twins: int, seed: int) -> tuple[Array, Array]:
    """Stand in for `checker.stats.exposure._drawn`."""
    counts = np.frombuffer(above, dtype=np.int64)
    at = np.flatnonzero(counts)
    bits, running, further = _exponentials(twins, int(counts.sum()), seed)
    ends = np.cumsum(counts[at])
    weights = running[ends] - running[ends - counts[at]]  # [places, draws]
    total = running[-1] + further
    low, high = (np.einsum("pd,pd->d", weights, bits[place]) for place in (at + 1, at))
    return low / total, (high + further * math.log2(twins + 1)) / total


@cache
def _exponentials(twins: int, canaries: int, seed: int) -> tuple[Array, Array, Array]:
    """Return bits below each twin, running sums of the canaries' weights, and the one further."""
    rng = np.random.default_rng([seed, 2])
    shares, log_ranks = exposure._mean_log_ranks(twins)
    steps = np.cumsum(rng.standard_exponential((exposure.DRAWS, twins + 1)), axis=1)
    share_above = np.zeros((exposure.DRAWS, twins + 2))
    share_above[:, 1:] = steps / steps[:, -1:]
    bits = math.log2(twins + 1) - np.interp(share_above, shares, log_ranks)
    running = np.zeros((canaries + 1, exposure.DRAWS))
    np.cumsum(rng.standard_exponential((canaries, exposure.DRAWS)), axis=0, out=running[1:])
    return np.ascontiguousarray(bits.T), running, rng.standard_exponential(exposure.DRAWS)
