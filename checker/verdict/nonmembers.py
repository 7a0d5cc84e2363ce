"""Does the model know the nonmembers? Then what is subtracted, or compared with, is memory too.

A model that was trained on both splits has no excess at all, however much it remembers (METHODS §3,
*Nonmembers unknown to the model*). Two things tell: pieces of nonmembers' records come out of it
word for word, and where spare patients are declared, its scores tell nonmembers from them. Spare
patients whom tables of tokens tell from nonmembers show nothing, whatever the model's scores say:
who knows the scores can pick spare patients for whom these agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy
from numpy.typing import NDArray

from checker import stats
from checker.kinds import TABLES
from checker.planning.cells import metric_of
from checker.planning.model import AuditPlan
from checker.planning.nonmembers import (
    CHANCE,
    COMPARED,
    QUERIES,
    SPARE,
    SPARE_LEVEL,
    SPARE_TABLES,
    looks_for_nonmembers,
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

EXCUSED_ERRORS: Final = 2.0
"""Standard errors by which a model may tell spare patients from nonmembers better than tables do
and still be said to see the same."""

PROVEN: Final = 1 - false_alarms.NONMEMBERS
"""Confidence of the bound that proves it."""

PLACE: Final = "place"
SPREAD: Final = "spread"

Scores = NDArray[np.float64]
_Sides = tuple[Scores, Scores]


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
    lengths = {int(job.inputs.get("length", 0)) for job in asked if looks_for_nonmembers(job)}
    names = tuple(job.digest for job in asked)
    if not asked or len(lengths) != 1 or not all(map(looks_for_nonmembers, asked)):
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
    if pc.count_distinct(table["patient"]).as_py() != n:
        text = "Not decided: somebody was looked for in the model twice, and would count twice."
        return AdmissibilityCheck(REASON, title, None, text, limit=MOST_KNOWN, evidence=names)
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
    beside = plan.job(SPARE_TABLES)
    tables = None if beside is None else evidence.get(beside.digest)
    without = None if tables is None else _sides(tables)
    if beside is None or without is None:
        text = "Not decided: nobody looked whether spare patients differ from nonmembers anyway."
        return AdmissibilityCheck(SPARE, title, None, text)
    names = (job.digest, *(one.digest for one in scored), beside.digest)
    spare = evidence[job.digest]
    judged = [evidence[one.digest] for one in scored]
    compared: dict[str, _Sides] = {}
    for name, column in COMPARED.items():
        if all(column in table.column_names for table in (spare, *judged)):
            compared[name] = _outside(judged, column), spare[column].to_numpy().astype(np.float64)
    if not compared or not all(len(side) for pair in compared.values() for side in pair):
        text = "Not decided: nonmembers or spare patients have no scores to compare."
        return AdmissibilityCheck(SPARE, title, None, text, evidence=names)
    told, differ = _clearest(compared), _clearest(without)
    found = (
        f"{told.nonmembers} nonmembers and {told.others} spare patients are told apart by the"
        f" model's {told.name} with {told.measure} (p = {told.p:.2g}, two-sided)"
    )
    correction = f"correction for {2 * len(compared)} tests"
    if not told.proven:
        found = f"{found}, which is no proof after {correction}."
    else:
        found = f"{found}, also after {correction}."
        if not differ.proven:
            text = f"{found} {_which(told)}"
            return AdmissibilityCheck(SPARE, title, False, text, limit=0.5, evidence=names)
        like = _clearest(without, by=told.by)
        if told.by == PLACE and not _excused(told, like):
            less = like.proven and _same_side(told, like)
            than = "That is less than the model tells." if less else "The model tells otherwise."
            text = f"{found} {differ.words} {than} {_which(told)}"
            return AdmissibilityCheck(SPARE, title, False, text, limit=0.5, evidence=names)
    if differ.proven:
        text = (
            f"{found} {differ.words} So they are other kinds of patients, or were chosen, and"
            " nobody can say what the model knows of them."
        )
        return AdmissibilityCheck(UNLIKE, title, False, text, limit=0.5, evidence=names)
    return AdmissibilityCheck(SPARE, title, True, found, limit=0.5, evidence=names)


def _which(told: _Apart) -> str:
    """Return what a model says by telling what tables don't."""
    if told.by == SPREAD:
        return "It was trained on some of them, or spare patients were chosen by its scores."
    who = "Nonmembers" if told.auroc > 0.5 else "Spare patients"
    return f"{who} look more like patients that it was trained on."


def _excused(told: _Apart, like: _Apart) -> bool:
    """Whether a model tells no more than tables do, and on the same side; the rest is memory."""
    most = abs(like.auroc - 0.5) + EXCUSED_ERRORS * like.error
    return _same_side(told, like) and abs(told.auroc - 0.5) <= most


def _same_side(told: _Apart, like: _Apart) -> bool:
    return (like.auroc > 0.5) == (told.auroc > 0.5)


def spare_difference(table: pa.Table) -> str | None:
    """Return how tables of tokens tell nonmembers from spare patients; None where it may be chance.

    Args:
        table: of the kind "spare-tables".
    """
    sides = _sides(table)
    told = None if sides is None else _clearest(sides)
    return told.words if told is not None and told.proven else None


def _sides(table: pa.Table) -> dict[str, _Sides] | None:
    """Return what tables say of nonmembers and of spare patients; None where there are none."""
    spare = table["spare"].to_numpy(zero_copy_only=False).astype(np.bool_)
    if spare.all() or not spare.any():
        return None
    scores = {
        words: table[column].to_numpy().astype(np.float64) for column, words in TABLES.items()
    }
    return {words: (score[~spare], score[spare]) for words, score in scores.items()}


@dataclass(frozen=True, slots=True)
class _Apart:
    """The score that tells nonmembers from others best, and whether that is proved.

    `by` is whether one side lies higher, or farther from the middle of both, which the AUROC is of.
    """

    name: str
    by: str
    auroc: float
    p: float
    proven: bool
    nonmembers: int
    others: int

    @property
    def measure(self) -> str:
        of = " of the distance from the middle" if self.by == SPREAD else ""
        return f"AUROC {self.auroc:.3f}{of}"

    @property
    def words(self) -> str:
        return (
            f"Without any model, {self.name} in the members' records tells nonmembers from spare"
            f" patients ({self.measure}, p = {self.p:.2g})."
        )

    @property
    def error(self) -> float:
        """Standard deviation of the AUROC where nothing differs."""
        return math.sqrt((self.nonmembers + self.others + 1) / (12 * self.nonmembers * self.others))


def _clearest(compared: Mapping[str, _Sides], *, by: str | None = None) -> _Apart:
    """Return what tells two groups apart best, by all tests or by those of one kind."""
    tests = {
        (name, kind): sides
        for name, pair in compared.items()
        for kind, sides in _tested(*pair).items()
        if by in (None, kind)
    }
    p_values = {
        test: float(scipy.stats.mannwhitneyu(*sides).pvalue) for test, sides in tests.items()
    }
    proven = stats.holm(list(p_values.values()), alpha=SPARE_LEVEL)
    clearest = min(p_values, key=lambda test: p_values[test])
    inside, outside = tests[clearest]
    auroc = float(
        scipy.stats.mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside))
    )
    p, n, m = p_values[clearest], len(inside), len(outside)
    return _Apart(*clearest, auroc, p, bool(proven.any()), nonmembers=n, others=m)


def _outside(tables: list[pa.Table], column: str) -> Scores:
    """Return one score of all nonmembers."""
    parts = [
        table[column].to_numpy().astype(np.float64)[~table["member"].to_numpy().astype(np.bool_)]
        for table in tables
    ]
    found: Scores = np.concatenate([np.empty(0), *parts])
    return found


def _tested(nonmembers: Scores, spare: Scores) -> dict[str, _Sides]:
    """Return what is ranked: scores, and how far their ranks lie from the middle, [..., n or m]."""
    ranks = scipy.stats.rankdata(np.concatenate([nonmembers, spare], axis=-1), axis=-1)
    far = np.abs(ranks - (ranks.shape[-1] + 1) / 2)
    n = nonmembers.shape[-1]
    return {PLACE: (nonmembers, spare), SPREAD: (far[..., :n], far[..., n:])}


def told_apart(nonmembers: Scores, spare: Scores) -> Scores:
    """Return the p, counting both sides, with which ranks tell two groups apart.

    Who picks half of the spare patients among the likeliest and half among the least likely leaves
    ranks as they were on average, and not their distances from the middle.

    Args:
        nonmembers: [..., n] of one score, or of many.
        spare: [..., m] of the same.

    Returns:
        [..., 2] in (0, 1], by place and by spread.

    Reference:
        Mann & Whitney 1947, Ann. Math. Stat. 18:50; Ansari & Bradley 1960, Ann. Math. Stat.
        31:1174.
    """
    tested = _tested(nonmembers, spare).values()
    found: Scores = np.stack(
        [scipy.stats.mannwhitneyu(*sides, axis=-1).pvalue for sides in tested], axis=-1
    )
    return found
