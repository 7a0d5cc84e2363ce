"""How often the sampler itself expected a continuation to name a class: its compensator.

Let τ be the first step of a continuation that draws a token of a class, and P_t the sampler's own
probability, after temperature and top-p, that step t does. Whether τ came, less the sum of P_t over
the steps up to it (or to the horizon, or the end of the record), has mean zero whatever the model
is: a martingale. So the sum is an unbiased estimate of the probability that the class is named, had
from the same draws and for any class (Solo, McDermott, Parker et al. 2026, arXiv 2602.03730, call
it SCOPE; the compensator of a counting process: Brémaud 1981, *Point Processes and Queues*).

A sum of probabilities can exceed one. Where the next P_t would lift it above `MOST`, what is added
from there on is whether the class is named, not how likely that is. Which of the two is added at a
step is known before the step is drawn, so the mean is the same (a martingale stopped), and no
compensator lies outside [0, MOST + 1]. `checker.stats.naming` makes of it what is never above one.

Where a model offers `watched_rollout`, the sums are taken while it draws; else they are had by one
pass over what it drew (`MassModel.masses`), which is also how a class is looked for later in
continuations that were drawn before anybody asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from checker.targets.protocol import (
    MassModel,
    MoreWatched,
    Progress,
    Sampler,
    TargetModel,
    Tokens,
    Watch,
    WatchedRollout,
)

MOST: Final = 1.0
"""What a sum of probabilities may reach; from there on, hits are counted."""


def watch_of(sets: Sequence[Sequence[int]], *, vocabulary_size: int) -> Watch:
    """Return which ids stand for each of C classes: [C, vocabulary_size] bool."""
    watch = np.zeros((len(sets), vocabulary_size), dtype=np.bool_)
    for row, ids in zip(watch, sets, strict=True):
        row[list(ids)] = True
    return watch


def without_end(watch: Watch, *, eos_id: int | None) -> Watch:
    """Return the classes without the token that ends a record: it is never part of what was drawn.

    Args:
        watch: [C, V], the classes.
        eos_id: of the model, or None where only the horizon ends a continuation.
    """
    if eos_id is None or not watch[:, eos_id].any():
        return watch
    kept = watch.copy()
    kept[:, eos_id] = False
    return kept


def watched_rollouts(
    model: TargetModel,
    prompts: Sequence[Tokens],
    *,
    keys: Sequence[int],
    samples: int,
    sampler: Sampler,
    watch: Watch,
    more: MoreWatched | None = None,
    progress: Progress | None = None,
) -> list[list[WatchedRollout]]:
    """Draw continuations as `rollout` does, each with its compensators.

    The model offers "masses"; arguments are those of `TargetModel.rollout`, the classes to watch,
    [C, V], and a `more` that is given the compensators too.

    Raises:
        TargetError: as the model's own verbs.
    """
    own: Any = getattr(model, "watched_rollout", None)
    if own is not None:
        found: list[list[WatchedRollout]] = own(
            prompts,
            keys=keys,
            samples=samples,
            sampler=sampler,
            watch=watch,
            more=more,
            progress=progress,
        )
        return found
    massive = cast("MassModel", model)
    known: list[list[WatchedRollout]] = [[] for _ in prompts]

    def ask(prompt: int, drawn: list[Tokens]) -> int:
        fresh = drawn[len(known[prompt]) :]
        known[prompt] += _scored(massive, [prompts[prompt]] * len(fresh), fresh, sampler, watch)
        return 0 if more is None else more(prompt, known[prompt])

    drawn = model.rollout(
        prompts,
        keys=keys,
        samples=samples,
        sampler=sampler,
        more=None if more is None else ask,
        progress=progress,
    )
    if more is not None:
        return known
    flat = [(prompt, row) for prompt, rows in zip(prompts, drawn, strict=True) for row in rows]
    scored = iter(_scored(massive, [p for p, _ in flat], [row for _, row in flat], sampler, watch))
    return [[next(scored) for _ in rows] for rows in drawn]


def _scored(
    model: MassModel,
    prompts: Sequence[Tokens],
    drawn: Sequence[Tokens],
    sampler: Sampler,
    watch: Watch,
) -> list[WatchedRollout]:
    expected = later_compensators(model, prompts, drawn, sampler=sampler, watch=watch)
    return [WatchedRollout(*pair) for pair in zip(drawn, expected, strict=True)]


def later_compensators(
    model: MassModel,
    prompts: Sequence[Tokens],
    drawn: Sequence[Tokens],
    *,
    sampler: Sampler,
    watch: Watch,
    progress: Progress | None = None,
) -> list[NDArray[np.float32]]:
    """Return the compensators of continuations that were drawn before, by one pass over them.

    Args:
        model: that drew them.
        prompts: n arrays of ids, one for each continuation.
        drawn: n continuations.
        sampler: how they were drawn.
        watch: [C, V], the classes.
        progress: called with the number of tokens done since the last call.

    Returns:
        n arrays [C] float32; equal to those had while drawing, but for rounding.
    """
    masses = model.masses(prompts, drawn, sampler=sampler, watch=watch, progress=progress)
    return [
        compensators(own, tokens, watch=watch) for own, tokens in zip(masses, drawn, strict=True)
    ]


def compensators(
    masses: NDArray[np.float64], drawn: Tokens, *, watch: Watch
) -> NDArray[np.float32]:
    """Sum the masses of one continuation for each class, as the module's docstring says.

    Args:
        masses: [T, C], what each step was to name with which probability.
        drawn: [T] or, where the last step drew the end, [T - 1] ids.
        watch: [C, V], the classes.
    """
    hits = np.zeros(masses.shape, dtype=np.bool_)
    hits[: len(drawn)] = watch[:, drawn].T
    sums: NDArray[np.float32] = summed(masses[None], hits[None])[0]
    return sums


def summed(masses: NDArray[np.float64], hits: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Sum masses of many continuations at once.

    Args:
        masses: [n, T, C]; 0 behind the end of a continuation.
        hits: [n, T, C], whether the step named the class; False behind the end.

    Returns:
        [n, C] float32.
    """
    sums = np.zeros((len(masses), masses.shape[2]))
    waits = np.ones(sums.shape, dtype=np.bool_)  # for the first token of the class
    counts = np.zeros(sums.shape, dtype=np.bool_)  # the sum is as large as it may be
    for step in range(masses.shape[1]):
        mass, hit = masses[:, step], hits[:, step]
        counts |= sums + mass > MOST
        sums += np.where(waits, np.where(counts, hit, mass), 0.0)
        waits &= ~hit
    return sums.astype(np.float32)
