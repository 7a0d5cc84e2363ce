"""Does the model know the nonmembers? Then what is subtracted, or compared with, is memory too.

A model that was trained on both splits has no excess at all, however much it remembers (METHODS §3,
*Nonmembers unknown to the model*). Two things tell: pieces of nonmembers' records come out of it
word for word, and where spare patients are declared, its scores tell nonmembers from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from checker import stats
from checker.planning.cells import metric_of
from checker.planning.extraction import KIND
from checker.planning.model import AuditPlan, Job, SpareDifference
from checker.planning.nonmembers import (
    CHANCE,
    COMPARED,
    QUERIES,
    SPARE,
    SPARE_TABLES,
    TABLES,
    WINDOW,
    extraction_settings,
)
from checker.stats import false_alarms
from checker.stats.extraction import least_log_probability
from checker.verdict.checks import AdmissibilityCheck

REASON: Final = "nonmembers-known-to-model"
UNLIKE: Final = "spare-not-comparable"
"""Instead of `SPARE`, where spare patients differ from nonmembers without any model: the reason of
the cells that it stops, too."""

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
    for name, reason in {REASON: REASON, SPARE: REASON, UNLIKE: UNLIKE}.items():
        check = checks.get(name)
        if check is None or verdict == "fail":
            continue
        if check.holds is False or (check.holds is None and verdict == "pass"):
            return reason, check.explanation
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
    told = _clearest(compared)
    found = (
        f"{told.nonmembers} nonmembers and {told.others} spare patients are told apart by the"
        f" model's {told.name} with AUROC {told.auroc:.3f} (p = {told.p:.2g}, two-sided)"
    )
    if not told.proven:
        text = f"{found}, which is no proof after correction for {len(compared)} scores."
        return AdmissibilityCheck(SPARE, title, True, text, limit=0.5, evidence=names)
    found = f"{found}, also after correction for {len(compared)} scores."
    beside = plan.job(SPARE_TABLES)
    unlike = None if beside is None else evidence.get(beside.digest)
    differ = None if unlike is None else spare_difference(unlike)
    if beside is not None and differ is not None and (differ.auroc > 0.5) == (told.auroc > 0.5):
        text = (
            f"{found} {differ.found} So they are other kinds of patients, and nobody can say what"
            " the model knows of them."
        )
        names = (*names, beside.digest)
        return AdmissibilityCheck(UNLIKE, title, False, text, limit=0.5, evidence=names)
    which = (
        "Nonmembers look more like patients that it was trained on"
        if told.auroc > 0.5
        else "Spare patients look more like patients that it was trained on"
    )
    return AdmissibilityCheck(SPARE, title, False, f"{found} {which}.", limit=0.5, evidence=names)


def spare_difference(table: pa.Table) -> SpareDifference | None:
    """Return how tables of tokens tell nonmembers from spare patients; None where it may be chance.

    Args:
        table: of the kind "spare-tables".
    """
    spare = table["spare"].to_numpy(zero_copy_only=False).astype(np.bool_)
    if spare.all() or not spare.any():
        return None
    scores = {
        words: table[column].to_numpy().astype(np.float64)
        for column, words in zip(TABLES, _TABLE_WORDS, strict=True)
    }
    told = _clearest({words: (score[~spare], score[spare]) for words, score in scores.items()})
    if not told.proven:
        return None
    spread = math.sqrt((told.nonmembers + told.others + 1) / (12 * told.nonmembers * told.others))
    return SpareDifference(
        auroc=told.auroc,
        deviations=abs(told.auroc - 0.5) / spread,
        found=(
            f"Without any model, {told.name} in the members' records tells them apart too (AUROC"
            f" {told.auroc:.3f}, p = {told.p:.2g})."
        ),
    )


_TABLE_WORDS: Final = (
    "how often tokens occur",
    "how often the rarest tokens of a record occur",
    "which token follows which",
    "which rare token follows which",
)


@dataclass(frozen=True, slots=True)
class _Apart:
    """The score that tells nonmembers from others best, and whether that is proved."""

    name: str
    auroc: float
    p: float
    proven: bool
    nonmembers: int
    others: int


def _clearest(compared: Mapping[str, tuple[Scores, Scores]]) -> _Apart:
    p_values = {name: float(told_apart(*pair)) for name, pair in compared.items()}
    proven = stats.holm(list(p_values.values()), alpha=false_alarms.NONMEMBERS)
    clearest = min(p_values, key=lambda name: p_values[name])
    inside, outside = compared[clearest]
    auroc = float(mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside)))
    return _Apart(
        clearest, auroc, p_values[clearest], bool(proven.any()), len(inside), len(outside)
    )


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
