"""Does the model know the nonmembers? Then what is subtracted, or compared with, is memory too.

A model that was trained on both splits has no excess at all, however much it remembers (METHODS §3,
*Nonmembers unknown to the model*). Two things tell: pieces of nonmembers' records come out of it
word for word, and where spare patients are declared, its scores tell nonmembers from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from checker import stats
from checker.planning.cells import metric_of
from checker.planning.extraction import KIND
from checker.planning.model import AuditPlan, Job
from checker.planning.nonmembers import (
    CHANCE,
    COMPARED,
    QUERIES,
    SPARE,
    WINDOW,
    extraction_settings,
)
from checker.stats import false_alarms
from checker.stats.extraction import least_log_probability
from checker.verdict.checks import AdmissibilityCheck

REASON: Final = "nonmembers-known-to-model"

MOST_KNOWN: Final = 0.01
"""Share of the nonmembers of whom a piece may come out of the model."""

PROVEN: Final = 1 - false_alarms.NONMEMBERS
"""Confidence of the bound that proves it."""

Scores = NDArray[np.float64]


def nonmember_checks(plan: AuditPlan, evidence: Mapping[str, pa.Table]) -> list[AdmissibilityCheck]:
    """Judge whether the model knows the nonmembers.

    Args:
        plan: names the jobs.
        evidence: tables by job digest.

    Returns:
        One check, two where spare patients are declared; none where no cell rests on nonmembers.
    """
    if not any(metric_of(cell).rests_on_split for cell in plan.cells):
        return []
    checks = [_extractable(plan, evidence)]
    if plan.target.document.spec.data.spare_splits:
        checks.append(_unlike_spare(plan, evidence))
    return checks


def nonmember_objection(
    checks: Mapping[str, AdmissibilityCheck], *, verdict: str
) -> tuple[str, str] | None:
    """Return reason and sentence of the first of these checks that keeps a cell from counting.

    A cell that fails does so in spite of it: what was subtracted, or compared with, is too much.

    Args:
        checks: by name.
        verdict: of the cell; what was not decided keeps it from a pass, and from nothing else.
    """
    for name in (REASON, SPARE):
        check = checks.get(name)
        if check is None or verdict == "fail":
            continue
        if check.holds is False or (check.holds is None and verdict == "pass"):
            return REASON, check.explanation
    return None


def _extractable(plan: AuditPlan, evidence: Mapping[str, pa.Table]) -> AdmissibilityCheck:
    title = "No piece of a nonmember's record comes out of the model"
    jobs = {job.digest: job for job in plan.jobs}
    asked = [jobs[name] for name in plan.nonmember_jobs if name in jobs]
    lengths = {int(job.inputs.get("length", 0)) for job in asked if _looks_for_nonmembers(job)}
    names = tuple(job.digest for job in asked)
    if not asked or len(lengths) != 1 or not all(map(_looks_for_nonmembers, asked)):
        text = (
            "Not decided: the target gives no log-probabilities, or the records are too short, so"
            " nobody knows whether the model was trained on the nonmembers too."
        )
        return AdmissibilityCheck(REASON, title, None, text, limit=MOST_KNOWN)
    if any(name not in evidence for name in names):
        text = "Nonmembers were not looked for in the model."
        return AdmissibilityCheck(REASON, title, None, text, limit=MOST_KNOWN)
    (length,) = lengths
    table = pa.concat_tables([evidence[name] for name in names])
    n = table.num_rows
    everybody = plan.data.lot[1]
    if 2 * n < everybody or not n:
        text = f"Not decided: only {n} of {everybody} nonmembers were looked for."
        return AdmissibilityCheck(REASON, title, None, text, limit=MOST_KNOWN, evidence=names)
    logs = table["rare_log_probability"].fill_null(-np.inf).to_numpy()
    least = least_log_probability(queries=QUERIES, chance=CHANCE)
    known = (logs >= least) | table["rare_greedy"].to_numpy().astype(np.bool_)
    found = stats.rate(int(known.sum()), n, confidence=PROVEN)
    holds = found.low <= MOST_KNOWN
    text = (
        f"Of {int(known.sum())} of {n} nonmembers a piece of {length} tokens that hardly anybody"
        f" would write comes out word for word, greedily or with a chance of {CHANCE:g} in"
        f" {QUERIES} queries; the lower bound {found.low:.1%} (at {PROVEN:.1%}) is"
        f" {'not ' if holds else ''}above {MOST_KNOWN:.0%}."
    )
    return AdmissibilityCheck(REASON, title, holds, text, found.reported(), MOST_KNOWN, names)


def _looks_for_nonmembers(job: Job) -> bool:
    """Whether a job asks the model for nonmembers' records as this check wants it."""
    length = job.inputs.get("length", 0)
    if job.kind != KIND or job.runs_on != "target" or not 1 <= length <= WINDOW:
        return False
    wanted = {**extraction_settings(length).inputs(), "member": False}
    return all(job.inputs.get(name) == value for name, value in wanted.items())


def _unlike_spare(plan: AuditPlan, evidence: Mapping[str, pa.Table]) -> AdmissibilityCheck:
    title = "To the model, nonmembers look like spare patients, who are not judged"
    job = plan.job(SPARE)
    scored = [one for one in plan.jobs_of("scores") if one.runs_on == "target"]
    if job is None or job.digest not in evidence or any(s.digest not in evidence for s in scored):
        text = (
            "Not decided: spare patients were not compared, for the target gives no"
            " log-probabilities or the audit was not run to its end."
        )
        return AdmissibilityCheck(SPARE, title, None, text)
    names = (job.digest, *(one.digest for one in scored))
    spare = evidence[job.digest]
    tables = [evidence[one.digest] for one in scored]
    compared: dict[str, tuple[Scores, Scores]] = {}
    for name, column in COMPARED.items():
        if all(column in table.column_names for table in (spare, *tables)):
            compared[name] = _outside(tables, column), spare[column].to_numpy().astype(np.float64)
    if not compared or not all(len(side) for pair in compared.values() for side in pair):
        text = "Not decided: nonmembers or spare patients have no scores to compare."
        return AdmissibilityCheck(SPARE, title, None, text, evidence=names)
    p_values = {name: float(told_apart(*pair)) for name, pair in compared.items()}
    proven = dict(
        zip(
            p_values,
            stats.holm(list(p_values.values()), alpha=false_alarms.NONMEMBERS),
            strict=True,
        )
    )
    clearest = min(p_values, key=lambda name: p_values[name])
    nonmembers, others = compared[clearest]
    auroc = float(mannwhitneyu(nonmembers, others).statistic / (len(nonmembers) * len(others)))
    found = (
        f"{len(nonmembers)} nonmembers and {len(others)} spare patients are told apart by the"
        f" model's {clearest} with AUROC {auroc:.3f} (p = {p_values[clearest]:.2g}, two-sided)"
    )
    if not any(proven.values()):
        text = f"{found}, which is no proof after correction for {len(proven)} scores."
        return AdmissibilityCheck(SPARE, title, True, text, limit=0.5, evidence=names)
    which = (
        "Nonmembers look more like patients that it was trained on"
        if auroc > 0.5
        else "Spare patients look more like patients that it was trained on"
    )
    text = f"{found}, also after correction for {len(proven)} scores. {which}."
    return AdmissibilityCheck(SPARE, title, False, text, limit=0.5, evidence=names)


def _outside(tables: list[pa.Table], column: str) -> Scores:
    """Return one score of all nonmembers."""
    parts = [
        table[column].to_numpy().astype(np.float64)[~table["member"].to_numpy().astype(np.bool_)]
        for table in tables
    ]
    found: Scores = np.concatenate([np.empty(0), *parts])
    return found


def told_apart(nonmembers: Scores, spare: Scores) -> Scores:
    """Return the p, counting both sides, with which one ranking tells two groups apart.

    Args:
        nonmembers: [..., n] of one score, or of many.
        spare: [..., m] of the same.

    Returns:
        [...] in (0, 1], exact where one group is small and nothing is tied.

    Reference:
        Mann & Whitney 1947, Ann. Math. Stat. 18:50.
    """
    found: Scores = mannwhitneyu(nonmembers, spare, axis=-1).pvalue
    return found
