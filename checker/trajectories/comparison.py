"""Continuations held against what truly followed: what a `trajectories` job observes of a patient.

Both sides are cut to the horizon: what lies beyond could not have been reached. A run is counted in
the model's own tokens, time tokens included, because that is what "word for word" means to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.trajectories.baselines import Baselines
from checker.trajectories.distance import trajectory_distances
from checker.trajectories.labels import LabelVectors
from checker.trajectories.reading import TrajectoryReader
from checker.trajectories.runs import longest_shared_runs

__all__ = ["Comparison", "compare_continuations"]

Tokens = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was seen of n patients, in their order.

    Args:
        distance: [n] float64, mean distance of the patient's continuations to the true one.
        longest_run: [n] int64, most tokens in a row that any of them has in common with it.
        random_distance: [n] float64, distance of one random trajectory to the true one.
        frequent_distance: [n] float64, distance of the most frequent codes to the true one.
    """

    distance: NDArray[np.float64]
    longest_run: NDArray[np.int64]
    random_distance: NDArray[np.float64]
    frequent_distance: NDArray[np.float64]


def compare_continuations(
    truths: Sequence[Tokens],
    rollouts: Sequence[Sequence[Tokens]],
    *,
    horizon_tokens: int,
    reader: TrajectoryReader,
    labels: LabelVectors,
    baselines: Baselines,
    rng: np.random.Generator,
) -> Comparison:
    """Compare each patient's continuations with the true one.

    Args:
        truths: [n] arrays of at least one token: what follows the prompt.
        rollouts: for each patient at least one continuation.
        horizon_tokens: both sides are cut to this many tokens.
        reader: of the target's tokens.
        labels: of the same.
        baselines: of the same, from nonmembers.
        rng: draws the random baseline, one trajectory a patient in their order.

    Raises:
        ValueError: a patient without a continuation, true or drawn: there is nothing to compare.
    """
    if not all(len(truth) for truth in truths) or not all(len(drawn) for drawn in rollouts):
        raise ValueError("every patient needs a true continuation and at least one drawn one")
    cut = [truth[:horizon_tokens] for truth in truths]
    drawn = [[rollout[:horizon_tokens] for rollout in own] for own in rollouts]
    distances = np.empty((len(cut), 3))
    for i, (tokens, own) in enumerate(zip(cut, drawn, strict=True)):
        truth = reader.read(tokens)
        others = [reader.read(rollout) for rollout in own]
        others.append(baselines.random(len(tokens), rng=rng))
        others.append(baselines.most_frequent(len(truth)))
        found = trajectory_distances(truth, others, labels=labels)
        distances[i] = found[:-2].mean(), found[-2], found[-1]
    sizes = np.array([len(own) for own in drawn], dtype=np.int64)
    row = np.repeat(np.arange(len(cut)), sizes)
    runs = longest_shared_runs([cut[i] for i in row], [rollout for own in drawn for rollout in own])
    longest = np.zeros(len(cut), dtype=np.int64)
    np.maximum.at(longest, row, runs)
    return Comparison(distances[:, 0], longest, distances[:, 1], distances[:, 2])
