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


def seeded_deviation(
    model: MassModel, prompts: Sequence[Tokens], *, eos_id: int | None, seed: int = 0
) -> float:
    """Return how far a uniform lies outside of what its token takes up of [0, 1), at the most.

    Args:
        model: offers "samples" and "masses".
        prompts: n arrays of ids that leave room for `STEPS` more; their numbers are their keys.
        eos_id: of the model; masses leave it out.
        seed: of the draws.
    """
    sampler = Sampler(temperature=1.0, top_p=1.0, horizon_tokens=STEPS, seed=seed)
    keys = range(1, 1 + len(prompts))
    drawn = [rows[0] for rows in model.rollout(prompts, keys=keys, samples=1, sampler=sampler)]
    ids = np.arange(model.info.vocabulary_size)
    worst = 0.0
    for key, prompt, tokens in zip(keys, prompts, drawn, strict=True):
        if not len(tokens):
            continue
        below = ids < tokens[:, None]
        watch = np.concatenate([below, ids <= tokens[:, None], np.ones((1, len(ids)), bool)])
        masses = model.masses([prompt], [tokens], sampler=sampler, watch=watch)[0]
        steps = np.arange(len(tokens))
        end = 0.0 if eos_id is None else (1.0 - masses[steps, -1]) * (eos_id < tokens)
        low = masses[steps, steps] + end
        high = masses[steps, len(tokens) + steps] + end
        chances = uniforms([(key, 0)], sampler=sampler)[0, : len(tokens)]
        outside = np.maximum(low - chances, chances - high)
        worst = max(worst, float(outside.max()))
    return worst
