"""Is what the model draws what it says it draws? Every rollout of an audit answers (METHODS §5).

Whether a continuation names a class, less its compensator, has mean zero whatever the model is, so
over all continuations of a job the sum must be zero within its standard error. A model that names a
class more often than its own probabilities say, or never, is not described by them, and q rests on
them. Preflight asks the same of a few draws at temperature 1; this asks it of all of them, as they
were drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
from scipy.special import ndtri

from checker.attacks.rollouts import hits_and_compensators
from checker.planning.model import AuditPlan, Cell, Job
from checker.stats import false_alarms
from checker.targets.draw_agreement import MOST_STANDARD_ERRORS, standard_errors
from checker.verdict.checks import AdmissibilityCheck

NAME = "draws"
REASON = "attack-not-shown-to-work"


def draws_check(plan: AuditPlan, evidence: Mapping[str, pa.Table]) -> AdmissibilityCheck | None:
    """Compare what was drawn in each job with what the sampler expected of each class.

    Args:
        plan: names the jobs.
        evidence: tables by job digest.

    Returns:
        The check, whose evidence are the jobs that fail, or all that were compared; None where no
        model says how likely it was to name a class.
    """
    found = list(_compared(plan, evidence))
    if not found:
        return None
    # four standard errors, and more where so many sums would have one beyond them by chance
    most = max(MOST_STANDARD_ERRORS, -float(ndtri(false_alarms.NAMING / 2 / len(found))))
    title = "The model names classes as often as it says that it will"
    beyond = [one for one in found if one[2] > most]
    if beyond:
        _, total, size, drawn = max(beyond, key=lambda one: one[2])
        text = (
            f"In {len(beyond)} of {len(found)} comparisons the model does not draw what its own"
            f" probabilities say: in the worst, {drawn} continuations named a class"
            f" {abs(total):.1f} times {'more' if total > 0 else 'less'} often than was to be"
            f" expected ({size:.1f} standard errors; {most:.1f} are allowed)."
        )
        digests = tuple(dict.fromkeys(one[0].digest for one in beyond))
        return AdmissibilityCheck(NAME, title, False, text, evidence=digests)
    worst = max(size for _, _, size, _ in found)
    text = (
        f"In {len(found)} comparisons of classes that were named with how likely that was, the"
        f" largest difference is {worst:.1f} standard errors; {most:.1f} are allowed."
    )
    digests = tuple(dict.fromkeys(one[0].digest for one in found))
    return AdmissibilityCheck(NAME, title, True, text, evidence=digests)


def draws_objection(
    check: AdmissibilityCheck | None, *, cell: Cell, jobs: Mapping[str, Job]
) -> tuple[str, str] | None:
    """Return reason and sentence where a cell rests on what a model draws that failed the check.

    Args:
        check: as `draws_check` returned it.
        cell: to be judged.
        jobs: of the plan, by digest.
    """
    if check is None or check.holds is not False:
        return None
    failed = {jobs[digest].runs_on for digest in check.evidence}
    rests_on = [jobs[digest] for digest in cell.jobs]
    rests_on += [jobs[name] for job in rests_on for name in job.needs]
    if any(job.rollout_tokens and job.runs_on in failed for job in rests_on):
        return REASON, check.explanation
    return None


def _compared(
    plan: AuditPlan, evidence: Mapping[str, pa.Table]
) -> Iterator[tuple[Job, float, float, int]]:
    """Yield for each job and class hits beyond expectation, in standard errors, and of how many."""
    for job in plan.jobs_of("rollouts"):
        table = evidence.get(job.digest)
        for watch in job.inputs.get("watch", ()):
            pair = None if table is None else hits_and_compensators(table, watch)
            if pair is None:
                continue
            hits, expected = pair
            total = float(hits.sum() - expected.sum())
            # a step's variance is at most its probability
            size = standard_errors(total, variance=float(expected.sum()), largest=1.0)
            yield job, total, size, len(hits)
