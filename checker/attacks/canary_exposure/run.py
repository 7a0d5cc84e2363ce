"""Ask a model for its scores of canaries and beacons."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from checker.attacks.canary_exposure.planted import PlantedCanaries
from checker.planning.task import Running, Task
from checker.stats import scores
from checker.targets import Progress, TargetModel


def canaries(task: Task) -> pa.Table:
    """Scores of canaries and beacons."""
    return score_canaries(task.input, task.model, progress=task.advance)


def score_canaries(
    planted: PlantedCanaries, model: TargetModel, *, progress: Progress | None = None
) -> pa.Table:
    """Ask the model: the mean log-probability of each record's tokens, nats.

    Returns:
        Columns canary (int32, its place in the manifest; beacons count on from m), included,
        beacon, natural (bool) and score (float64; higher is more member-like), one row each.
    """
    found = model.score(planted.sequences, progress=progress)
    return pa.table(
        {
            "canary": pa.array(np.arange(len(planted), dtype=np.int32)),
            "included": pa.array(planted.included),
            "beacon": pa.array(planted.beacon),
            "natural": pa.array(planted.natural),
            "score": pa.array([scores.loss(one.logprob) for one in found], pa.float64()),
        }
    )


RUN = Running({"canaries": canaries})
