"""Spare patients and nonmembers, as tables of tokens find them, without any model (METHODS §3).

A model scores a record by how common its tokens are before anything else. So where tables of the
members' tokens already tell nonmembers from spare patients, a model that does so too has shown
nothing of itself. `phigate plan` looks before a model is asked, for other spare patients have to be
named then; the plan of a run does not, since no verdict hangs on it.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.planning import AuditPlan, CompiledAudit
from checker.planning.nonmembers import MIN_K, SPARE, TABLES
from checker.planning.release import with_prospects
from checker.planning.task import Task
from checker.planning.workload import Workload, record_windows
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
    columns = dict(zip(TABLES, np.concatenate(scores).T, strict=True))
    spare = np.repeat([False, True], [len(own) for own in scores])
    return pa.table({"spare": spare, **columns})


def _scored(
    tables: TokenTables, records: TokenizedRecords, workload: Workload
) -> NDArray[np.float64]:
    """Return [n, 4] in nats, higher is likelier; whoever has nothing to score is left out."""
    rows = []
    for index in range(len(records)):
        record = records.record(index)
        windows = record_windows(
            record.tokens, record.kind, max_length=workload.max_length, window=workload.window
        )
        pieces = [(tokens, first) for tokens, first in windows if len(tokens) > 1]
        if not pieces:
            continue
        row: list[float] = []
        for table in (tables.unigram_loss, tables.bigram_loss):
            told = -np.concatenate([table(tokens)[first - 1 :] for tokens, first in pieces])
            row += [loss(told), min_k(told, k_percent=MIN_K)]
        rows.append(row)
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(TABLES))
