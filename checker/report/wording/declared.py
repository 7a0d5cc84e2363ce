"""What a target's owner declares, repeated as a declaration: nobody has checked it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

_NAMED = 5

_HOW = {
    "random": "patients were dealt to the splits by lot",
    "other": "patients came to the splits in another way than by lot",
}


_ON_TRUST = {
    "flight": "The model answered from a server of its owner's: its numbers were held against each"
    " other, but that the files in this report are what answered, and that nothing else is behind"
    " them, is the owner's word.",
    "generations": "Its continuations were read from a file: that the model drew them, all that it"
    " drew and by lot, is the owner's word, so what leaks was found, and nothing else was shown.",
}
"""By backend."""


def assignment_words(assignment: Literal["random", "other"], assigned_by: str | None = None) -> str:
    """Say how patients came to their splits, and who says how.

    Args:
        assignment: as the target declares it.
        assigned_by: in the words of the target; text of somebody else, to be escaped.
    """
    return _HOW[assignment] + (f" ({assigned_by})" if assigned_by else "")


def local_words(vocabularies: Sequence[str]) -> str:
    """Say what was not looked for because the target declares codes to be its own, or nothing.

    Args:
        vocabularies: their names, escaped for where the sentence will stand.
    """
    if not vocabularies:
        return ""
    return (
        f"Nor does it say anything about codes of {listed(vocabularies)}: the target declares them"
        " to be local, and only a class that names them itself finds them."
    )


def untold_words(classes: Sequence[str]) -> str:
    """Say of which classes patients were not asked, for no token names what they have, or nothing.

    Args:
        classes: by their names in the policy.
    """
    if not classes:
        return ""
    return (
        f"It says nothing of patients who have {listed(classes)} by codes that no token of"
        " the target names: they were not asked, and whether the model knows these codes by"
        " another token is its owner's to say."
    )


def backend_words(backend: str) -> str:
    """Say what the way in which a model was opened leaves to its owner's word, or nothing."""
    return _ON_TRUST.get(backend, "")


def listed(names: Sequence[str]) -> str:
    """Return the first few names in a sentence, and how many more there are."""
    more = len(names) - _NAMED
    named = [*names[:_NAMED], *([f"{more} more"] if more > 0 else [])]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
