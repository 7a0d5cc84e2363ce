"""Extraction read off scores: how likely each patient's best window is to come out word for word.

One teacher-forced pass gives the probability of every window of a sequence. What anybody would
write is told from it by models that never saw the patient, each asked for the same windows; the
largest of their probabilities decides. Tokens of a run that three patients hold word for word are
certain, but for its first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.planning.extraction import HELD_BY_ALL
from checker.planning.reference_patients import reference_tensors
from checker.planning.task import Task
from checker.records.held_runs import RUN, HeldRuns
from checker.records.ngrams import NgramModel
from checker.records.prompts import prompt_key
from checker.records.tokenization import KIND_SPECIAL, TokenizedRecords
from checker.stats.extraction import IMPOSSIBLE, BestWindow, windows_of
from checker.targets.channels import told_anew
from checker.targets.sampled_scores import sampled_scores

Tokens = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A sequence to score: of whom, and the first token that a window may hold."""

    patient: int
    tokens: Tokens
    begin: int


def extraction(task: Task) -> pa.Table:
    """How likely each patient's best window is to be drawn, and whether it is recited greedily.

    Once of windows that not anybody would write, once of those among them that the model also finds
    so much likelier that no skill explains it, and once of those that hardly anybody would write by
    the tables alone: a check rests on these, and it asks who taught a trained model too.
    """
    inputs, patients = task.job.inputs, task.workload.scored[task.job.digest]
    length = int(inputs["length"])
    asks_behind_cuts = inputs["windows"] == "cut"
    pieces = list(_behind_cuts(task, length) if asks_behind_cuts else _of_records(task))
    scored = sampled_scores(
        task.model,
        [piece.tokens for piece in pieces],
        temperature=float(inputs["temperature"]),
        top_p=float(inputs["topP"]),
        window=length,
        progress=task.advance,
    )
    own = [None if side else i for side, i in (patients[piece.patient] for piece in pieces)]
    tables, trained = _told(task, [piece.tokens for piece in pieces], own=own)
    holders = _holders(task, length=min(length, RUN))
    best, telling, rare = ([BestWindow() for _ in patients] for _ in range(3))
    for piece, scores, *references in zip(pieces, scored, *tables, *trained, strict=True):
        held = _held_tokens(task, holders, piece, references[: len(tables)])
        told = [np.where(held, 0.0, one) for one in references]
        assert scores.whole is not None  # `sampled_scores` fills it in
        samplers = (scores.logprob, scores.whole)
        windows = windows_of(samplers, scores.first, told, length=length, begin=piece.begin)
        for found, limit, gain, count in (
            (best, "common", -math.inf, None),
            (telling, "common", float(inputs["gain"]), None),
            (rare, "rare", -math.inf, len(tables)),
        ):
            common = float(inputs[limit])
            found[piece.patient] |= windows.best(common=common, gain=gain, references=count)
    return pa.table(
        {
            "patient": pa.array([task.patient(*row) for row in patients], pa.string()),
            "member": pa.array([side for side, _ in patients], pa.bool_()),
            "subgroups": pa.array(
                [task.workload.subgroups_of(*row) for row in patients], pa.list_(pa.string())
            ),
            "prompt": pa.array(_names(task, pieces, count=len(patients)), pa.string()),
            "windows": pa.array([one.windows for one in best], pa.int64()),
            "common": pa.array([one.common for one in best], pa.int64()),
            "log_probability": pa.array([one.log_probability for one in best], pa.float64()),
            "greedy": pa.array([one.greedy for one in best], pa.bool_()),
            "telling_log_probability": pa.array(
                [one.log_probability for one in telling], pa.float64()
            ),
            "telling_greedy": pa.array([one.greedy for one in telling], pa.bool_()),
            "rare_log_probability": pa.array([one.log_probability for one in rare], pa.float64()),
            "rare_greedy": pa.array([one.greedy for one in rare], pa.bool_()),
        }
    )


def _of_records(task: Task) -> Iterator[_Piece]:
    """Yield the pieces of whole records that the model sees, without what ends a record."""
    workload = task.workload
    for number, (is_member, index) in enumerate(workload.scored[task.job.digest]):
        record = workload.split(is_member).record(index)
        told = len(record) - int(len(record) > 1 and record.kind[-1] == KIND_SPECIAL)
        for tokens, begin in workload.pieces_of(record.tokens[:told], record.kind[:told]):
            yield _Piece(number, tokens, begin)


def _behind_cuts(task: Task, length: int) -> Iterator[_Piece]:
    """Yield each patient's prompt with the window that truly follows it."""
    workload = task.workload
    found = workload.labels[task.labels_digest()]
    patients = workload.scored[task.job.digest]
    is_member = bool(task.job.inputs["member"])
    prompts = found.recipe.build(workload.sources[is_member], everybody=False)
    tokens, behind = workload.split(is_member).tokens, found.split(is_member).behind
    for number, (_, index) in enumerate(patients):
        prompt, start = prompts.prompt(index), behind[index, 0]
        told = told_anew(np.concatenate([prompt, tokens[start : start + length]]))
        yield _Piece(number, told, len(prompt))


def _names(task: Task, pieces: Sequence[_Piece], *, count: int) -> list[str]:
    """Return for each patient what was scored of him, under a name: equal for equal sequences."""
    told: list[list[Tokens]] = [[] for _ in range(count)]
    for piece in pieces:
        told[piece.patient].append(piece.tokens)
    nothing = np.empty(0, dtype=np.int32)
    return [task.prompt_name(prompt_key(np.concatenate([nothing, *own]))) for own in told]


# --- what anybody would write -------------------------------------------------------------------


def _told(
    task: Task, sequences: Sequence[Tokens], *, own: Sequence[int | None]
) -> tuple[list[list[NDArray[np.float64]]], list[list[NDArray[np.float64]]]]:
    """Return what tables, and what trained models, say of sequences without memory of the patient.

    Short n-grams say most of what follows no order, long ones of routines, and a trained model,
    where the job has one, of what takes a longer look back. Whichever finds a window likeliest
    decides.
    """
    ngrams = _fitted(
        task.workload.nonmembers,
        vocabulary_size=task.plan.target.vocabulary_size,
        seed=task.plan.seed,
        rng=task.plan.rng_for("text of nonmembers"),
    )
    trained = [
        _by_reference(reference_tensors(table), sequences)
        for table in task.needed("reference-training")
    ]
    return ngrams.told(sequences, own=own), trained


def _by_reference(
    tensors: Mapping[str, NDArray[np.float32]], sequences: Sequence[Tokens]
) -> list[NDArray[np.float64]]:
    """Return log p of each token behind the first by a reference model of the checker's own.

    It never saw anybody who is asked about. A prompt may hold a time token that stands in no
    record, for gaps grow where events are left out. Of such a sequence the model says nothing, so
    that the tables decide.
    """
    # torch is loaded only where a model was really trained
    from checker.targets.engine.reference import ReferenceModel

    model = ReferenceModel(tensors)
    told = [np.full(len(tokens) - 1, IMPOSSIBLE) for tokens in sequences]
    known = [at for at, tokens in enumerate(sequences) if model.knows(tokens)]
    scored = model.score([sequences[at] for at in known])
    for at, scores in zip(known, scored, strict=True):
        told[at] = scores.logprob.astype(np.float64)
    return told


def _held_tokens(
    task: Task, holders: HeldRuns, piece: _Piece, tables: Sequence[NDArray[np.float64]]
) -> NDArray[np.bool_]:
    """Return which tokens behind the first follow from a run that two other members hold: [L - 1].

    Asked is only of runs that tables find unlikely: of the others they say enough.
    """
    is_member, index = task.workload.scored[task.job.digest][piece.patient]
    logs, begin, length = np.stack(tables), piece.begin, holders.length
    found = np.zeros(logs.shape[1], dtype=np.bool_)
    if len(found) < begin - 1 + length:
        return found
    runs = np.lib.stride_tricks.sliding_window_view(logs[:, begin - 1 :], length, axis=1)
    found[begin - 1 :] = holders.held(
        piece.tokens[begin:],
        runs.sum(axis=2).max(axis=0) < math.log(float(task.job.inputs["common"])),
        record=task.workload.split(is_member).record(index),
        own=index if is_member else None,
    )
    return found


@dataclass(frozen=True, slots=True)
class _Fit:
    records: TokenizedRecords
    vocabulary_size: int
    seed: int
    model: NgramModel


_kept: list[_Fit] = []
"""The tables that were fitted last: the jobs of a run ask for the same ones."""


def _fitted(
    records: TokenizedRecords, *, vocabulary_size: int, seed: int, rng: np.random.Generator
) -> NgramModel:
    for fit in _kept:
        if fit.records is records and (fit.vocabulary_size, fit.seed) == (vocabulary_size, seed):
            return fit.model
    model = NgramModel.fitted(records, vocabulary_size=vocabulary_size, rng=rng)
    _kept[:] = [_Fit(records, vocabulary_size, seed, model)]
    return model


_held: list[tuple[int, HeldRuns]] = []
"""What was looked up last, and by which seed."""


def _holders(task: Task, *, length: int) -> HeldRuns:
    """Return who holds what: of the lot, or of all members where all are asked."""
    of_all = HELD_BY_ALL.items() <= task.job.inputs.items()
    records = task.workload.split(True) if of_all else task.workload.members
    for seed, found in _held:
        if found.records is records and (found.length, seed) == (length, task.plan.seed):
            return found
    rng = task.plan.rng_for("text of members")
    _held[:] = [(task.plan.seed, HeldRuns.of(records, length=length, rng=rng))]
    return _held[0][1]
