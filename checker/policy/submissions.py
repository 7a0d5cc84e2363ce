"""Submissions: what is wrong with one in itself."""

from __future__ import annotations

from checker.errors import Problem
from checker.policy.documents.submission import Submission
from checker.policy.located import Located


def submission_problems(one: Located[Submission]) -> list[Problem]:
    """Return all that is wrong with a submission, whatever report it goes with."""
    spec = one.document.spec
    problems = []
    for place, signature in enumerate(spec.signatures):
        if signature.on is not None and signature.name is None:
            problems.append(
                one.problem(("spec", "signatures", place, "name"), "a day without whoever signed")
            )
    signed = any(signature.on is not None for signature in spec.signatures)
    if spec.about is None and (signed or spec.decision is not None):
        problems.append(
            one.problem(
                ("spec", "about"),
                "a decision or a signature has to say what report it is about: its verdict and"
                " the modelSha256",
            )
        )
    return problems
