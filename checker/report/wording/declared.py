"""What a target's owner declares, repeated as a declaration: nobody has checked it."""

from __future__ import annotations

from typing import Literal

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
