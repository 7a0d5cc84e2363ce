"""What can be known of an audit before a model is asked, and only by looking at the patients."""

from __future__ import annotations

from checker.planning import AuditPlan, CompiledAudit
from checker.run.expected_rates import with_expected_rates
from checker.run.prompt_gaps import with_prompt_gaps
from checker.run.spare_patients import with_spare_difference


def foreseen(audit: CompiledAudit) -> AuditPlan:
    """Return a plan with all that `phigate plan` looks at; the plan of a run has none of it.

    What prompts promise, whether spare patients are of another kind, and what tables of tokens
    would tell: the chances that a plan announces are of these.

    Args:
        audit: with its patients.
    """
    plan = with_spare_difference(audit, with_prompt_gaps(audit))
    return with_expected_rates(audit, plan)
