"""What verification says: one sentence about one thing, and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that was looked at, and what was found.

    Args:
        holds: True, False, or None where it was not checked.
        text: one sentence.
    """

    holds: bool | None
    text: str
