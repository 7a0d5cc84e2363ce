"""Jobs that ask whether the target's description of records is the model's (METHODS §5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.planning.task import Task
from checker.planning.workload import later_pieces
from checker.records.other_descriptions import possible_first_tokens, tellings
from checker.records.prompt_format import DECLARED
from checker.records.record_parts import EVENTS, PARTS, PIECES, KindsOfEvents
from checker.records.token_tables import TokenTables
from checker.records.tokenization import TokenizedRecord, TokenizedRecords
from checker.targets import Tokens
from checker.targets.channels import told_anew

SEEN_AT_MOST = 4
"""Times the declared length of a piece: so much of a record is told whole beside it."""


def other_descriptions(task: Task) -> pa.Table:
    """Loss of the beginnings of members' records, as declared and as they could be told otherwise.

    In nats, summed over the event tokens that the declared telling compares; what another does not
    tell counts as declared.
    """
    chosen, records = _members(task)
    tokenizer = task.workload.tokenizer
    told = list(
        tellings(
            records,
            tokenizer=tokenizer,
            first_tokens=possible_first_tokens(
                tokenizer, unused=task.plan.data.unused_tokens, bos_id=task.workload.bos_id
            ),
            max_length=task.workload.max_length,
            window=task.workload.window,
        )
    )
    scored = task.model.score([one.tokens for one in told], progress=task.advance)
    losses: list[float] = []
    declared: NDArray[np.float32] = np.empty(0, np.float32)
    for one, scores in zip(told, scored, strict=True):
        if one.name == DECLARED:  # which comes first of each record
            declared = scores.logprob[one.compared[1:]]
        losses.append(one.loss(scores.logprob, declared))
    names = [task.patient(True, index) for index in chosen.tolist()]
    return pa.table(
        {
            "patient": pa.array([names[one.row] for one in told], pa.string()),
            "telling": pa.array([one.name for one in told], pa.string()),
            "tokens": pa.array([int(one.compared[1:].sum()) for one in told], pa.int64()),
            "loss": pa.array(losses, pa.float64()),
        }
    )


def record_parts(task: Task) -> pa.Table:
    """Mean loss of the parts of members' records, in nats, and beside it that of a table.

    The table is made of nonmembers' tokens: which follows which, and for events how often each
    occurs.
    """
    chosen, records = _members(task)
    end = task.workload.max_length
    sequences = [records.record(i) for i in range(len(records))]
    usable = [i for i, record in enumerate(sequences) if len(record) > 1]
    scored = task.model.score([sequences[i].tokens[:end] for i in usable], progress=task.advance)
    tables = TokenTables.fitted(
        task.workload.nonmembers, vocabulary_size=task.plan.target.vocabulary_size
    )
    kinds_of = KindsOfEvents(task.workload.cohort.codes)
    columns: dict[str, list[Any]] = {name: [] for name in ("patient", "part", "loss", "table")}
    for i, scores in zip(usable, scored, strict=True):
        record = sequences[i]
        follows = tables.bigram_loss(record.tokens[:end])
        occurs = tables.unigram_loss(record.tokens[:end])
        kinds = kinds_of.of(record)
        parts = [(part, belongs(record), follows) for part, belongs in PARTS.items()]
        parts += [(part, kinds == place, occurs) for place, part in enumerate(EVENTS)]
        for part, own, table in parts:
            mask = own[1:end]
            if not mask.any():
                continue
            columns["patient"].append(task.patient(True, int(chosen[i])))
            columns["part"].append(part)
            columns["loss"].append(-float(scores.logprob[mask].mean(dtype=np.float64)))
            columns["table"].append(float(table[mask].mean()))
    for i, loss, whole in _in_pieces(task, sequences):
        columns["patient"].append(task.patient(True, int(chosen[i])))
        columns["part"].append(PIECES)
        columns["loss"].append(loss)
        columns["table"].append(whole)
    types = {"patient": pa.string(), "part": pa.string(), "loss": pa.float64()}
    types["table"] = pa.float64()
    return pa.table(columns, schema=pa.schema(list(types.items())))


def _in_pieces(
    task: Task, records: Sequence[TokenizedRecord]
) -> Iterator[tuple[int, float, float]]:
    """Yield whose loss is what where his record is told in pieces, and where more of it is.

    Of records that are told in parts behind their static prefix alone, though the model can see
    more: number of the record, mean loss of the tokens in these parts as declared, and behind all
    that stands before them as far as the model sees.
    """
    limit, window = task.model.info.context_length, task.workload.window
    most = SEEN_AT_MOST * (task.workload.max_length or 0)
    limit = most if limit is None else min(limit, most)
    asked: list[tuple[int, int, int, int]] = []
    told: list[Tokens] = []
    for number, record in enumerate(records):
        prefix, pieces = later_pieces(
            record.kind, max_length=task.workload.max_length, window=window
        )
        seen = min(limit, len(record))
        own = [(start, min(end, seen)) for start, end in pieces if start < min(end, seen)]
        if not own:
            continue
        told.append(record.tokens[:seen])
        asked.append((number, -1, 0, 0))
        for start, end in own:
            if prefix + end - start < 2:
                continue
            piece = np.concatenate([record.tokens[:prefix], record.tokens[start:end]])
            told.append(told_anew(piece))
            asked.append((number, prefix, start, end))
    scored = task.model.score(told, progress=task.advance)
    whole: NDArray[np.float32] = np.empty(0, np.float32)
    losses: dict[int, tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]] = {}
    for (number, prefix, start, end), found in zip(asked, scored, strict=True):
        if prefix < 0:
            whole = found.logprob
            continue
        parts = losses.setdefault(number, ([], []))
        # position i speaks of token i + 1; without a prefix nothing speaks of a piece's first
        own_first = max(prefix, 1)
        parts[0].append(found.logprob[own_first - 1 :])
        parts[1].append(whole[start + own_first - prefix - 1 : end - 1])
    for number, parts in losses.items():
        means = [-float(np.concatenate(own).mean(dtype=np.float64)) for own in parts]
        yield number, means[0], means[1]


def _members(task: Task) -> tuple[NDArray[np.int64], TokenizedRecords]:
    """Return the members who are looked at, drawn by lot, and their records as declared."""
    cohort, count = task.workload.cohort, int(task.job.inputs["patients"])
    chosen = task.plan.rng_for("prompt-format").permutation(len(task.workload.members))[:count]
    chosen.sort()
    records = task.workload.tokenizer.encode(
        cohort.members.select(chosen), cohort.codes, partial=True
    )
    return chosen, records
