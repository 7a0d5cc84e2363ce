"""With which probability a sampler draws given tokens, and whether greedy decoding takes them.

Top-p is whoever draws' own choice: so the same is said without it, where nothing is ruled out.

A target with the verb `score_sampled` says both. One that only scores and draws says enough:

* Its log-probabilities are those of temperature 1. Top-p divides the probability of what it keeps
  by at least top-p, so p / top-p is the most that a kept token can have. A token that top-p rules
  out is not seen to be, and keeps that bound: what is told apart by these scores is a little
  likelier than the sampler makes it, and never less.
* Greedy decoding takes a token of more than one half, and none below e^-H with H the entropy of
  the distribution: some token has at least that. Windows of tokens in between are drawn at a
  temperature so low that it is greedy decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.targets.protocol import (
    LOGPROB_FLOOR,
    Progress,
    SampledScores,
    Sampler,
    TargetModel,
    Tokens,
    TokenScores,
)

GREEDY_TEMPERATURE: Final = 1e-3
"""A token of half the best one's probability is drawn once in 2 ** 1000."""

_TRIED: Final = 0.95
"""Top-p at which a target is compared with itself."""

_DRAWS: Final = 4
"""Of each window; tokens that are equally likely are drawn by lot even so, and seldom all alike."""

_ROUNDING: Final = 1e-4  # nats; moments are summed in float32


def sampled_scores(
    model: TargetModel,
    sequences: Sequence[Tokens],
    *,
    temperature: float,
    top_p: float,
    window: int,
    progress: Progress | None = None,
) -> list[SampledScores]:
    """Score sequences as a sampler draws, by the verb of the target or by what it has instead.

    Args:
        model: offers log-probabilities; where it has no `score_sampled`, samples too.
        sequences: n arrays of 2 to context_length token ids.
        temperature: > 0; only 1 for a target without `score_sampled`.
        top_p: in (0, 1].
        window: tokens in a row that are looked at together: `first` is right of all of a row of so
            many, and may be False of a token that stands in no such row.
        progress: called with the number of tokens done since the last call.

    Returns:
        One for each sequence, its `whole` filled in.

    Raises:
        TargetError: the target fails, or cannot say it at this temperature.
    """
    own = getattr(model, "score_sampled", None)
    if callable(own):
        found: list[SampledScores] = own(
            sequences, temperature=temperature, top_p=top_p, progress=progress
        )
        if all(one.whole is not None for one in found):
            return found
        plain = found
        if top_p < 1.0:
            plain = own(sequences, temperature=temperature, top_p=1.0)
        return [replace(one, whole=other.logprob) for one, other in zip(found, plain, strict=True)]
    if temperature != 1.0:
        raise TargetError(
            f"what a sampler at temperature {temperature:g} draws cannot be read from scores alone;"
            " set temperature: 1, or give the backend the verb score_sampled"
        )
    scored = model.score(sequences, progress=progress)
    maybe = [one.logprob >= one.mean - _ROUNDING for one in scored]
    surely = [one.logprob > np.log(0.5) + _ROUNDING for one in scored]
    first = _drawn_greedily(model, sequences, maybe, surely, window=window)
    return [
        SampledScores(_at_most(one, top_p=top_p), flags, one.logprob)
        for one, flags in zip(scored, first, strict=True)
    ]


def sampled_deviation(
    model: TargetModel, sequences: Sequence[Tokens], scores: Sequence[TokenScores]
) -> float:
    """Return how far `score_sampled` is from the scores that it has to agree with, in nats.

    Without temperature and top-p the two are one number; under top-p a token keeps its probability,
    raised by at most 1 / top-p, or has none. What greedy decoding takes is nowhere less likely than
    another token can be.

    Args:
        model: has the verb.
        sequences: n arrays of two or more ids.
        scores: of the same, by `score`.
    """
    own = model.score_sampled  # type: ignore[attr-defined]  # the caller has looked
    plain: list[SampledScores] = own(sequences, temperature=1.0, top_p=1.0)
    cut: list[SampledScores] = own(sequences, temperature=1.0, top_p=_TRIED)
    worst = 0.0
    for one, whole, kept in zip(scores, plain, cut, strict=True):
        said = one.logprob if kept.whole is None else kept.whole
        shapes = {column.shape for column in (whole.logprob, whole.first, kept.logprob, said)}
        if shapes != {one.logprob.shape}:
            raise TargetError(
                "preflight: score_sampled must return log-probability and rank of every token of a"
                " record but the first"
            )
        lowered = one.logprob - kept.logprob
        outside = kept.logprob <= LOGPROB_FLOOR
        # likelier tokens hold top-p of the mass, so what is left for one outside is the rest
        above = np.where(outside, one.logprob - np.log(1 - _TRIED), np.maximum(lowered, 0.0))
        below = np.where(outside, 0.0, -lowered + np.log(_TRIED))
        untrue = np.where(whole.first, one.mean - one.logprob, one.logprob - np.log(0.5))
        beside = np.abs(said - one.logprob)
        for deviation in (np.abs(whole.logprob - one.logprob), beside, above, below, untrue):
            worst = max(worst, float(deviation.max(initial=0.0)))
    return worst


def _at_most(scores: TokenScores, *, top_p: float) -> NDArray[np.float32]:
    bound: NDArray[np.float32] = np.minimum(scores.logprob - np.float32(np.log(top_p)), 0.0)
    return bound.astype(np.float32)


def _drawn_greedily(
    model: TargetModel,
    sequences: Sequence[Tokens],
    maybe: Sequence[NDArray[np.bool_]],
    surely: Sequence[NDArray[np.bool_]],
    *,
    window: int,
) -> list[NDArray[np.bool_]]:
    """Return of each token whether greedy decoding takes it, where that could make up a window."""
    first = [flags.copy() for flags in surely]
    asked = []
    for row, (may, sure) in enumerate(zip(maybe, surely, strict=True)):
        for start in _runs(may, length=window):
            part = slice(start, start + window)
            if not sure[part].all():
                asked.append((row, start))
    sampler = Sampler(GREEDY_TEMPERATURE, 1.0, horizon_tokens=window, seed=0)
    prompts = [sequences[row][: start + 1] for row, start in asked]
    drawn = model.rollout(prompts, keys=range(len(prompts)), samples=_DRAWS, sampler=sampler)
    for (row, start), rollouts in zip(asked, drawn, strict=True):
        truth = sequences[row][start + 1 : start + 1 + window]
        if all(np.array_equal(tokens, truth) for tokens in rollouts):
            first[row][start : start + window] = True
    return first


def _runs(flags: NDArray[np.bool_], *, length: int) -> list[int]:
    """Return where so many flags in a row begin."""
    if len(flags) < length:
        return []
    held = np.cumsum(np.concatenate([[0], flags]))
    return np.flatnonzero(held[length:] - held[:-length] == length).tolist()
