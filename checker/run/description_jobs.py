"""Jobs that ask whether the target's description of records is the model's (METHODS §5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.planning.task import Task
from checker.records.other_descriptions import possible_first_tokens, tellings
from checker.records.record_parts import EVENTS, PARTS, KindsOfEvents
from checker.records.token_tables import TokenTables
from checker.records.tokenization import TokenizedRecords


def other_descriptions(task: Task) -> pa.Table:
    """Loss of the beginnings of members' records, as declared and as they could be told otherwise.

    In nats, summed over the event tokens that all tellings of a record share.
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
        )
    )
    scored = task.model.score([one.tokens for one in told], progress=task.advance)
    losses = [
        -float(scores.logprob[one.compared[1:]].sum(dtype=np.float64))
        for one, scores in zip(told, scored, strict=True)
    ]
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
    types = {"patient": pa.string(), "part": pa.string(), "loss": pa.float64()}
    types["table"] = pa.float64()
    return pa.table(columns, schema=pa.schema(list(types.items())))


def _members(task: Task) -> tuple[NDArray[np.int64], TokenizedRecords]:
    """Return the members who are looked at, drawn by lot, and their records as declared."""
    cohort, count = task.workload.cohort, int(task.job.inputs["patients"])
    chosen = task.plan.rng_for("prompt-format").permutation(len(task.workload.members))[:count]
    chosen.sort()
    records = task.workload.tokenizer.encode(
        cohort.members.select(chosen), cohort.codes, partial=True
    )
    return chosen, records
