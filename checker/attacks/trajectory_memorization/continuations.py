"""Continuations compared with what truly followed: what a `trajectories` job observes of a patient.

Both sides are cut to the horizon: what lies beyond could not have been reached. A run is counted in
the model's own tokens, time tokens included, because that is what "word for word" means to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from checker.attacks.trajectory_memorization.chance_distances import Baselines
from checker.attacks.trajectory_memorization.code_labels import LabelVectors
from checker.attacks.trajectory_memorization.distance import distances_of_many
from checker.attacks.trajectory_memorization.trajectories import TrajectoryReader
from checker.attacks.trajectory_memorization.verbatim import longest_shared_runs

_PATIENTS_AT_ONCE: Final = 256

Tokens = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class ComparedContinuations:
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
) -> ComparedContinuations:
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
    by_chance = baselines.random_tokens([len(tokens) for tokens in cut], rng=rng)
    distances = np.empty((len(cut), 3))
    for start in range(0, len(cut), _PATIENTS_AT_ONCE):
        part = slice(start, start + _PATIENTS_AT_ONCE)
        read = reader.read_all(cut[part])
        so_many = [len(own) + 1 for own in drawn[part]]
        told = zip(drawn[part], by_chance[part], strict=True)
        others = iter(
            reader.read_all([tokens for own, chance in told for tokens in (*own, chance)])
        )
        found = distances_of_many(
            read,
            [
                [*itertools.islice(others, size), baselines.most_frequent(len(truth))]
                for truth, size in zip(read, so_many, strict=True)
            ],
            labels=labels,
        )
        distances[part] = [(own[:-2].mean(), own[-2], own[-1]) for own in found]
    sizes = np.array([len(own) for own in drawn], dtype=np.int64)
    row = np.repeat(np.arange(len(cut)), sizes)
    runs = longest_shared_runs([cut[i] for i in row], [rollout for own in drawn for rollout in own])
    longest = np.zeros(len(cut), dtype=np.int64)
    np.maximum.at(longest, row, runs)
    return ComparedContinuations(distances[:, 0], longest, distances[:, 1], distances[:, 2])
