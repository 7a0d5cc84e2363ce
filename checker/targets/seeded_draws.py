"""Whether a model draws the tokens that seed, key and sample give, and not others as likely.

Draws by another seed are as good as any, until a run is repeated or two prompts are compared under
the same random numbers. The model's own masses tell: a token is drawn by the inverse of the
distribution function, so the uniform of its step lies between how likely tokens of lower ids are
and how likely they are together with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from checker.targets.protocol import MassModel, Sampler, Tokens
from checker.targets.sampling import uniforms

STEPS = 8
"""Tokens of each continuation that are looked at."""

SAMPLES = 2
"""Continuations of each prompt."""

SEEDS = ((0, 1.0), (1 << 40 | 7, 0.8))
"""Seeds and temperatures of samplers; top-p stays 1, for rounding may move a token across it."""


def seeded_deviation(model: MassModel, prompts: Sequence[Tokens], *, eos_id: int | None) -> float:
    """Return how far a uniform lies outside of what its token takes up of [0, 1), at the most.

    Every other prompt is continued by each of the samplers.

    Args:
        model: offers "samples" and "masses".
        prompts: n arrays of ids that leave room for `STEPS` more; their numbers are their keys.
        eos_id: of the model; masses leave it out.
    """
    numbered = list(enumerate(prompts, start=1))
    return max(
        _deviation(
            model, numbered[number :: len(SEEDS)], eos_id, Sampler(temperature, 1.0, STEPS, seed)
        )
        for number, (seed, temperature) in enumerate(SEEDS)
    )


def _deviation(
    model: MassModel, numbered: Sequence[tuple[int, Tokens]], eos_id: int | None, sampler: Sampler
) -> float:
    keys, prompts = [key for key, _ in numbered], [prompt for _, prompt in numbered]
    drawn = model.rollout(prompts, keys=keys, samples=SAMPLES, sampler=sampler)
    ids = np.arange(model.info.vocabulary_size)
    worst = 0.0
    rows = [
        (key, sample, prompt, tokens)
        for (key, prompt), own in zip(numbered, drawn, strict=True)
        for sample, tokens in enumerate(own)
        if len(tokens)
    ]
    for key, sample, prompt, tokens in rows:
        below = ids < tokens[:, None]
        watch = np.concatenate([below, ids <= tokens[:, None], np.ones((1, len(ids)), bool)])
        masses = model.masses([prompt], [tokens], sampler=sampler, watch=watch)[0]
        steps = np.arange(len(tokens))
        end = 0.0 if eos_id is None else (1.0 - masses[steps, -1]) * (eos_id < tokens)
        low = masses[steps, steps] + end
        high = masses[steps, len(tokens) + steps] + end
        chances = uniforms([(key, sample)], sampler=sampler)[0, : len(tokens)]
        outside = np.maximum(low - chances, chances - high)
        worst = max(worst, float(outside.max()))
    return worst
