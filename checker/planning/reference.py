"""Is the reference model another model than the one under audit? Asked before anything is run.

A reference that is the target itself cancels every leak: what it subtracts is what it should show.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from checker.errors import DocumentError, Problem
from checker.policy import Located
from checker.policy.documents import AuditTarget
from checker.targets import TargetDescription

_BESIDE_WEIGHTS = frozenset({".json", ".txt", ".md", ".model", ".yaml", ".yml", ".jinja", ".py"})
"""Endings of files that two models of one architecture and vocabulary may well share."""


def check_reference(
    target: Located[AuditTarget], description: TargetDescription, reference: TargetDescription
) -> None:
    """Refuse a reference whose files are the target's own.

    A model that shares *some* weight files is allowed: a base model is a fair reference of what was
    fine-tuned from it, and lies beside its adapter. Weights that were saved anew in other files are
    found by what the reference says of the members (`checker.verdict.reference_check`).

    Args:
        target: names the reference.
        description: of the model under audit.
        reference: of the reference model.

    Raises:
        DocumentError: the two are one model, or have the same weight files.
    """
    problems: list[Problem] = []
    say = target.complaints(problems)
    path = ("spec", "reference", "path")
    if reference.sha256 == description.sha256:
        say(
            path,
            "the reference is the model under audit itself: all of its files are the same, so every"
            " leak would be subtracted from itself. Name a model that was trained without the"
            " members, or leave reference out",
        )
    elif _weights(description) and _weights(description) == _weights(reference):
        say(
            path,
            "the reference has the weights of the model under audit: only files beside them differ,"
            " so every leak would be subtracted from itself. Name a model that was trained without"
            " the members, or leave reference out",
        )
    if problems:
        raise DocumentError(problems)


def _weights(description: TargetDescription) -> frozenset[str]:
    """Return the digests of the files that hold a model's weights, wherever they lie."""
    return frozenset(
        sha256
        for name, sha256 in description.files.items()
        if PurePosixPath(name).suffix.lower() not in _BESIDE_WEIGHTS
    )
