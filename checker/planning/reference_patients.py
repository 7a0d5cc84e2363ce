"""Who teaches the checker's own reference model, and who is therefore not judged.

A small language model that never saw a member says how easy a record is for anybody. It is trained
on patients who are neither members nor judged: a third of the nonmembers, drawn by lot
(`checker.planning.lots`), or spare patients where the target has as many. Fewer would teach it less
than nobody's declaring any, and whoever chooses a few can choose such as teach it little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.planning.builder import PlanBuilder
from checker.planning.lots import SHARE, lot
from checker.records.tokenization import TokenizedRecords

VALIDATION_SHARE = 0.1
"""Of the reference's patients, who only decide when its training ends."""

SPARE_NEEDED = 50
"""Fewer spare patients teach nothing, however few the nonmembers are; then these do."""

SPARE_PATIENTS = "spare, but for who is judged"
"""Who spare patients are, as jobs say it: none who nearly equals a member or a nonmember."""

TOKENS_A_PASS = 300_000
"""A reference of this size learns little more from a larger sample, and a CPU takes minutes."""

LONGEST = 4
"""Times the median record: no more of one patient is learned from. A few records without end would
be all that a model is taught, and whoever hands patients in can write them."""

RECIPE: dict[str, int | float] = {
    "layers": 2,
    "width": 96,
    "heads": 4,
    "context": 256,
    "batch": 16,
    "learning_rate": 3e-3,
    "dropout": 0.1,
    "weight_decay": 0.01,
    "initial_std": 0.02,
    "max_epochs": 20,
}
"""How it is trained, as its job says; `checker.targets.engine.reference` reads it."""


@dataclass(frozen=True, slots=True)
class ReferencePatients:
    """Whom a reference model is trained on.

    Args:
        records: patients, of whom some are chosen.
        taught: [t] int64, whom it is trained on, in an order drawn by lot.
        validation: [v] int64, who decide when training ends.
        known: [k] int32, ascending ids of every token that any record of the audit holds.
    """

    records: TokenizedRecords
    taught: NDArray[np.int64]
    validation: NDArray[np.int64]
    known: NDArray[np.int32]


def third_of(nonmembers: int) -> int:
    """Return how many of so many nonmembers teach the reference where spare patients don't."""
    return int(nonmembers * SHARE)


def spare_needed(nonmembers: int) -> int:
    """Return how many spare patients teach it in the place of so many nonmembers' third.

    >>> spare_needed(600), spare_needed(90)
    (200, 50)
    """
    return max(SPARE_NEEDED, third_of(nonmembers))


def teaches_spare(builder: PlanBuilder) -> bool:
    """Whether spare patients teach the reference, so that all nonmembers are judged."""
    return len(builder.spare) >= spare_needed(len(builder.nonmembers))


def held_back(builder: PlanBuilder) -> NDArray[np.bool_]:
    """Return which nonmembers teach the reference and are not judged: [nonmembers] bool."""
    if teaches_spare(builder):
        return np.zeros(len(builder.nonmembers), dtype=np.bool_)
    return builder.drawn("reference")[False]


def reference_patients(builder: PlanBuilder) -> ReferencePatients:
    """Return whom the reference is trained on: the only place that decides it."""
    spare = teaches_spare(builder)
    records = builder.spare if spare else builder.nonmembers
    order = lot(records, seed=builder.seed, purpose="reference training")
    if not spare:
        order = order[held_back(builder)[order]]
    count = max(1, round(VALIDATION_SHARE * len(order))) if len(order) > 1 else 0
    audited = (builder.members, builder.nonmembers, builder.spare)
    known = np.unique(np.concatenate([split.tokens for split in audited]))
    return ReferencePatients(records, order[count:], order[:count], known.astype(np.int32))


def reference_training(builder: PlanBuilder, *, number: int = 0) -> str:
    """Return the job that trains the checker's own reference model.

    It depends on the patients, their tokens and the policy's seed, on no model, and on nothing that
    a control asks: every attack that needs a reference shares it.

    Args:
        builder: collects jobs.
        number: of several references, from 0; they differ in initial weights and order.
    """
    found = reference_patients(builder)
    lengths = np.diff(found.records.offsets)
    tokens = min(TOKENS_A_PASS, int(lengths[found.taught].sum()))
    inputs = builder.data_inputs()
    del inputs["maxLength"]  # whole records are learned from, whatever the target's context
    job = builder.job(
        "reference-training",
        "training of a reference model of the checker's own"
        + (f", number {number + 1}" if number else ""),
        {
            **inputs,
            "patients": SPARE_PATIENTS if teaches_spare(builder) else "a third of the nonmembers",
            "number": number,
            "recipe": RECIPE,
            "tokensAPass": TOKENS_A_PASS,
            "seed": builder.seed,
        },
        runs_on="cohort",
        training_tokens=int(tokens * RECIPE["max_epochs"]),
    )
    builder.job_inputs[job.digest] = found
    return builder.add(job)


def training_pieces(
    records: TokenizedRecords,
    chosen: NDArray[np.int64],
    *,
    lengths: NDArray[np.int64],
    context: int,
    tokens: int,
) -> list[list[NDArray[np.int32]]]:
    """Cut records into pieces that fit a model's context, until there are so many tokens.

    Args:
        records: patients as tokens.
        chosen: whose, in the order they are taken.
        lengths: [chosen] tokens that are learned from, of each (`learned_lengths`).
        context: most tokens of a piece.
        tokens: no further record is begun when there are so many; at least 1.

    Returns:
        Of each record that was begun its arrays of 2 to `context` token ids; of the last of
        `chosen` nothing where there were enough before.
    """
    pieces: list[list[NDArray[np.int32]]] = []
    taken = 0
    for index, length in zip(chosen.tolist(), lengths.tolist(), strict=True):
        if taken >= tokens:
            break
        record = records.record(index).tokens[:length]
        own = [record[start : start + context] for start in range(0, len(record), context)]
        pieces.append([piece for piece in own if len(piece) > 1])
        taken += sum(map(len, pieces[-1]))
    return pieces


def learned_lengths(lengths: NDArray[np.int64], *, context: int) -> NDArray[np.int64]:
    """Return how many tokens of each record are learned from: [n], from lengths of n records.

    >>> learned_lengths(np.array([10, 200, 300, 900_000]), context=256).tolist()
    [10, 200, 300, 1000]
    """
    if not len(lengths):
        return lengths
    return np.minimum(lengths, max(context, int(LONGEST * np.median(lengths))))


def reference_tensors(table: pa.Table) -> dict[str, NDArray[np.float32]]:
    """Return a trained reference's weights by name, as the job that trained it left them."""
    return dict(_arrays(table))


def _arrays(table: pa.Table) -> Iterator[tuple[str, NDArray[np.float32]]]:
    values = table["values"].combine_chunks()
    flat = values.flatten().to_numpy()
    ends = np.concatenate([[0], np.cumsum(values.value_lengths().to_numpy())])
    names, shapes = table["tensor"].to_pylist(), table["shape"].to_pylist()
    for number, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        yield name, flat[ends[number] : ends[number + 1]].reshape(shape)
