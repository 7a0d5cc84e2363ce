"""Jobs that look for nonmembers in the model: it must not know them (METHODS §3).

A model that was trained on nonmembers too has no excess at all, whatever it remembers. So pieces of
nonmembers' records must not come out of it, and where spare patients are declared their scores must
look like the nonmembers'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from checker.attacks.api import Metric
from checker.kinds import score_column
from checker.planning.builder import PlanBuilder
from checker.planning.extraction import (
    BY_TABLES,
    KIND,
    ExtractionSettings,
    extraction_jobs,
    told_tokens,
)
from checker.planning.model import Job
from checker.planning.reference_patients import SPARE_PATIENTS, held_back
from checker.planning.workload import scored_tokens
from checker.stats import false_alarms

WINDOW: Final = 12
"""Tokens of a window; fewer where half of the nonmembers have none of so many."""

QUERIES: Final = 1000
CHANCE: Final = 0.5

SPARE: Final = "spare-scores"
SPARE_TABLES: Final = "spare-tables"
MIN_K: Final = 20.0
"""Percent of tokens of the scores, and in tables, by which nonmembers and spare patients are
compared."""

COMPARED: Final = {
    "loss": "loss",
    f"Min-K% ({MIN_K:g} %)": score_column("min-k", MIN_K),
    f"Min-K%++ ({MIN_K:g} %)": score_column("min-k++", MIN_K),
}
"""These scores, by the column of "scores" and of "spare-scores" that holds each."""

SPARE_LEVEL: Final = false_alarms.NONMEMBERS / 2
"""Sound audits in which the model's scores, and in which tables, may tell spare patients from
nonmembers: either stops a pass, so that both share what the check may cost."""


def extraction_settings(length: int) -> ExtractionSettings:
    """Return how nonmembers' records are looked for: every window, drawn as samplers are set."""
    return ExtractionSettings(length=length, windows="any", temperature=1.0, top_p=0.95)


def score_percents(builder: PlanBuilder, asked: Sequence[float]) -> tuple[float, ...]:
    """Return every k that scores are computed for: of the cells, and of spare patients."""
    return tuple(sorted({*asked, *([MIN_K] if len(builder.spare) else [])}))


def spare_checks(builder: PlanBuilder, metrics: Iterable[Metric]) -> None:
    """Add what compares nonmembers with spare patients, where a cell rests on nonmembers.

    Args:
        builder: its subgroups and score percents are complete.
        metrics: of all cells.
    """
    if _is_needed(builder, metrics) and len(builder.spare):
        builder.scores(members=False)
        builder.add(builder.job(SPARE, **_spare_scores(builder)))
        builder.add(builder.job(SPARE_TABLES, **_spare_tables(builder)))


def nonmember_checks(builder: PlanBuilder, metrics: Iterable[Metric]) -> list[str]:
    """Add what looks for nonmembers in the model, where a cell rests on their being unknown to it.

    A control that asks the same of them has asked already, but for those who teach its reference.

    Args:
        builder: has the jobs of all cells.
        metrics: of all cells.

    Returns:
        Digests of the jobs that look for pieces of nonmembers' records; none where nothing rests
        on nonmembers, where the target gives no log-probabilities, and where records are too short.
    """
    if not _is_needed(builder, metrics):
        return []
    told = told_tokens(builder, builder.nonmembers)
    length = min(WINDOW, int(np.median(told)) - 1)
    if length < 1:
        return []
    settings = extraction_settings(length)
    alike = (job for job in builder.jobs.values() if looks_for_nonmembers(job))
    found = [job for job in alike if job.inputs["length"] == length]
    if of_all := [job.digest for job in found if not job.needs]:
        return of_all  # without references nobody is left out who taught them
    if not found:
        return extraction_jobs(builder, settings, splits=[False])
    asked = [job.digest for job in found]
    if held_back(builder).any():
        asked += extraction_jobs(builder, settings, splits=[False], teachers_alone=True)
    return asked


def _is_needed(builder: PlanBuilder, metrics: Iterable[Metric]) -> bool:
    return any(one.rests_on_split for one in metrics) and builder.lacks("logprobs") is None


def looks_for_nonmembers(job: Job) -> bool:
    """Whether a job asks the model for nonmembers' records as this check wants it."""
    length = job.inputs.get("length", 0)
    if job.kind != KIND or job.runs_on != "target" or not 1 <= length <= WINDOW:
        return False
    wanted = {**extraction_settings(length).inputs(), "member": False}
    wanted |= BY_TABLES if job.needs else {}
    return all(job.inputs.get(name) == value for name, value in wanted.items())


def _spare_scores(builder: PlanBuilder) -> dict[str, Any]:
    cost = scored_tokens(builder.spare, max_length=builder.max_length, window=builder.window)
    return {
        "title": "token log-probabilities of spare patients' records",
        "inputs": {
            **builder.data_inputs(),
            **builder.model_inputs(),
            "patients": SPARE_PATIENTS,
            "k": list(builder.score_percents),
            "window": builder.window,
        },
        "runs_on": "target",
        "forward_tokens": int(cost.sum()),
    }


def _spare_tables(builder: PlanBuilder) -> dict[str, Any]:
    return {
        "title": "can spare patients be told from nonmembers without a model",
        "inputs": {
            **builder.data_inputs(),
            "patients": SPARE_PATIENTS,
            "k": MIN_K,
            "window": builder.window,
            # tables leave something for every id of the model, also for one that is no token
            "ids": builder.descriptions["target"].vocabulary_size,
        },
        "runs_on": "cohort",
    }
