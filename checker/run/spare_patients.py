"""Spare patients and nonmembers, as tables of tokens find them, without any model (METHODS §3).

A model scores a record by how common its tokens are before anything else. So where tables of the
members' tokens already tell nonmembers from spare patients, a model's scores of both show nothing,
and the judge lets nothing pass that rests on nonmembers. `phigate plan` looks before a model is
asked, for other spare patients have to be named then; the plan of a run does not, since the judge
has the evidence.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from checker.kinds import TABLES
from checker.planning import AuditPlan, CompiledAudit
from checker.planning.nonmembers import MIN_K, SPARE
from checker.planning.release import with_prospects
from checker.planning.task import Task
from checker.planning.workload import Workload
from checker.records.token_tables import TokenTables
from checker.records.tokenization import TokenizedRecords
from checker.stats.scores import loss, min_k
from checker.verdict.nonmembers import spare_difference


def spare_tables(task: Task) -> pa.Table:
    """What tables of the members' tokens say of nonmembers and of spare patients."""
    return _tables(task.workload, size=task.plan.target.vocabulary_size)


def with_spare_difference(audit: CompiledAudit, plan: AuditPlan) -> AuditPlan:
    """Return a plan that announces what spare patients unlike the nonmembers leave of a release.

    As it is where none are compared.

    Args:
        audit: with its patients.
        plan: of the audit, with all else that was looked at before.
    """
    if plan.job(SPARE) is None:
        return plan
    table = _tables(audit.workload, size=plan.target.vocabulary_size)
    return with_prospects(plan.model_copy(update={"spare_difference": spare_difference(table)}))


def _tables(workload: Workload, *, size: int) -> pa.Table:
    tables = TokenTables.fitted(workload.members, vocabulary_size=size)
    scores = [_scored(tables, own, workload) for own in (workload.nonmembers, workload.spare)]
    rows = [row for own in scores for row in own]
    spare = np.repeat([False, True], [len(own) for own in scores])
    columns = {name: pa.array([row[name] for row in rows], pa.float64()) for name in TABLES}
    return pa.table({"spare": spare, **columns})


def _scored(
    tables: TokenTables, records: TokenizedRecords, workload: Workload
) -> list[dict[str, float]]:
    """Return each record's scores in nats, higher is likelier; who has none is left out."""
    rows = []
    for index in range(len(records)):
        record = records.record(index)
        pieces = workload.pieces_of(record.tokens, record.kind)
        if not pieces:
            continue
        row: dict[str, float] = {}
        for name, table in (("unigram", tables.unigram_loss), ("bigram", tables.bigram_loss)):
            told = -np.concatenate([table(tokens)[first - 1 :] for tokens, first in pieces])
            row |= {name: loss(told), f"{name}_min_k": min_k(told, k_percent=MIN_K)}
        rows.append(row)
    return rows
