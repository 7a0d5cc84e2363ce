"""What forbids a release whatever was measured: prerequisites, and what a target declares of them.

A data licence, the rules of controlled-access data or of a registry may forbid that a model leaves
at all, and no attack can find that out. So a policy names such a prerequisite, and the target's
owner declares whether it holds, with a date and a document. Nobody here reads that document: a
declaration is believed, and shown as one. But it is believed only of what it speaks of. It names
the model's files and the release, so that a target that was copied for the next model, or for a
wider release, does not take its declarations along; and it has a date, so that it ends.

Declared false is a *fail*, whenever that was; what is missing, of another model, for a narrower
release, of the future or too old is *inconclusive* and blocks. Nobody can waive either.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from checker.plugins import suggestion
from checker.policy.documents.policy import PolicySpec, PrerequisiteSpec
from checker.policy.documents.target import Declaration, TargetSpec

_WIDEST_FIRST = ("public-weights", "gated", "internal")


@dataclass(frozen=True, slots=True)
class PrerequisiteFinding:
    """What became of a prerequisite.

    Args:
        name: in the policy.
        spec: what is demanded.
        verdict: pass where it is declared to hold, fail where it is declared not to, and
            inconclusive where nothing that counts is declared.
        explanation: one sentence.
        reason: kebab case; None for a pass.
        declaration: the target's, whether or not it counts.
    """

    name: str
    spec: PrerequisiteSpec
    verdict: Literal["pass", "fail", "inconclusive"]
    explanation: str
    reason: str | None = None
    declaration: Declaration | None = None


def prerequisite_findings(
    policy: PolicySpec, target: TargetSpec, *, model_sha256: str, as_of: datetime | None
) -> tuple[PrerequisiteFinding, ...]:
    """Compare what a policy presupposes with what a target declares, in the policy's order.

    Args:
        policy: the demands.
        target: with its declarations.
        model_sha256: of the model's files, as the plan has it.
        as_of: the time to judge for; None asks no date, as before an audit.
    """
    today = None if as_of is None else as_of.astimezone(UTC).date()
    return tuple(
        _finding(name, spec, policy, target, model_sha256=model_sha256, today=today)
        for name, spec in policy.prerequisites.items()
    )


def _finding(
    name: str,
    spec: PrerequisiteSpec,
    policy: PolicySpec,
    target: TargetSpec,
    *,
    model_sha256: str,
    today: date | None,
) -> PrerequisiteFinding:
    declared = target.declarations.get(name)
    if declared is None:
        near = suggestion(name, target.declarations)
        return PrerequisiteFinding(
            name,
            spec,
            "inconclusive",
            f"The target declares nothing of it{near or '.'}",
            reason="not-declared",
        )
    wrong = _objection(declared, spec, policy, model_sha256, today)
    by_whom = f"Declared by {declared.by} on {declared.on} ({declared.document})"
    if not declared.holds and (wrong is None or wrong.is_of_dates):
        return PrerequisiteFinding(
            name,
            spec,
            "fail",
            f"{by_whom}: it does not hold.",
            reason="declared-not-to-hold",
            declaration=declared,
        )
    if wrong is not None:
        return PrerequisiteFinding(
            name, spec, "inconclusive", wrong.said, wrong.reason, declaration=declared
        )
    return PrerequisiteFinding(name, spec, "pass", f"{by_whom}: it holds.", declaration=declared)


@dataclass(frozen=True, slots=True)
class _Objection:
    """Why a declaration does not speak of this release, and that in a sentence."""

    said: str
    reason: str
    is_of_dates: bool = False


def _objection(
    declared: Declaration,
    spec: PrerequisiteSpec,
    policy: PolicySpec,
    model_sha256: str,
    today: date | None,
) -> _Objection | None:
    if declared.model != model_sha256:
        return _Objection(
            f"The declaration is of another model ({declared.model[:12]}…); this one's files are"
            f" {model_sha256[:12]}….",
            reason="declaration-of-another-model",
        )
    wide, asked = (_WIDEST_FIRST.index(one) for one in (declared.release, policy.context))
    # who may publish may share; who may not share may not publish
    if wide > asked if declared.holds else wide < asked:
        return _Objection(
            f"The declaration is for {declared.release}, and this policy for {policy.context}.",
            reason="declared-for-another-release",
        )
    if today is None:
        return None
    if declared.on > today:
        return _Objection(
            f"The declaration is of {declared.on}, after {today}.",
            reason="declared-in-future",
            is_of_dates=True,
        )
    if spec.max_age is not None and today - declared.on > spec.max_age:
        return _Objection(
            f"The declaration is of {declared.on}, older than {spec.max_age.days} days.",
            reason="declaration-outdated",
            is_of_dates=True,
        )
    return None
