"""Jobs that train reference models of the checker's own; their weights are the evidence."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pyarrow as pa

from checker.planning.reference_patients import (
    ReferencePatients,
    learned_lengths,
    training_pieces,
)
from checker.planning.task import Task

_kept: dict[str, pa.Table] = {}
"""The last models that were trained in this process, by their job: audits of other models of the
same patients ask for the same ones, and equal jobs give equal weights."""

_MOST_KEPT = 4


def reference_training(task: Task) -> pa.Table:
    """The weights of a small language model of patients who are neither members nor judged."""
    if task.job.digest not in _kept:
        while len(_kept) >= _MOST_KEPT:
            del _kept[next(iter(_kept))]
        _kept[task.job.digest] = _trained(task)
    return _kept[task.job.digest]


def _trained(task: Task) -> pa.Table:
    # torch is loaded only where a model is really trained
    from checker.targets.engine.reference import train_reference

    inputs, found = task.job.inputs, task.input
    assert isinstance(found, ReferencePatients)
    context, lengths = int(inputs["recipe"]["context"]), np.diff(found.records.offsets)
    taught, validation = (
        list(
            chain.from_iterable(
                training_pieces(
                    found.records,
                    chosen,
                    lengths=learned_lengths(lengths[chosen], context=context),
                    context=context,
                    tokens=int(inputs["tokensAPass"]),
                )
            )
        )
        for chosen in (found.taught, found.validation)
    )
    passed = sum(map(len, taught))
    number = int(inputs["number"])
    tensors = train_reference(
        taught,
        validation,
        known=found.known,
        recipe=inputs["recipe"],
        seed=int(task.plan.rng_for(f"{task.job.kind} {number}").integers(2**31)),
        progress=lambda epoch: task.advance(passed),
    )
    return pa.table(
        {
            "tensor": pa.array(list(tensors), pa.string()),
            "shape": pa.array([list(one.shape) for one in tensors.values()], pa.list_(pa.int64())),
            "values": pa.array([one.ravel() for one in tensors.values()], pa.list_(pa.float32())),
        }
    )
