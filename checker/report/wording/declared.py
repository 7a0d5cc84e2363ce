"""What a target's owner declares, repeated as a declaration: nobody has checked it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

_NAMED = 5

_HOW = {
    "random": "patients were dealt to the splits by lot",
    "other": "patients came to the splits in another way than by lot",
}


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
    more = len(vocabularies) - _NAMED
    named = [*vocabularies[:_NAMED], *([f"{more} more"] if more > 0 else [])]
    listed = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
    return (
        f"Nor does it say anything about codes of {listed}: the target declares them to be local,"
        " and only a class that names them itself finds them."
    )
