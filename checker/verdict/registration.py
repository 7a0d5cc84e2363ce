"""What a policy that requires a ledger makes of an audit that was not registered in one.

Audited until it passes, a model that is beyond its limits passes in the end. Where the policy says
`gate.requireLedger`, only an attempt that was registered before the model was asked anything may
pass; of any other nobody knows which try it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from checker.verdict.finding import Finding

_UNREGISTERED = (
    "The policy requires an attempt ledger (gate.requireLedger), and this audit was not registered"
    " in one before it was measured."
)


def without_passes(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings of an audit that was not registered: what would pass is not decided."""
    reason = "attempt-not-registered"
    return [
        replace(
            one,
            verdict="inconclusive",
            reason=reason,
            warned=False,
            explanation=f"{one.explanation} {_UNREGISTERED}",
        )
        if one.verdict == "pass"
        else one
        for one in findings
    ]


def beyond_any_ceiling(cell: str, ceiling: float) -> str:
    """Say why no waiver applies to an audit that was not registered."""
    return f"No waiver applies, so the cell blocks: {_UNREGISTERED[:1].lower()}{_UNREGISTERED[1:]}"
