"""The current time: the one place that asks for it, so that tests can say what it is."""

from __future__ import annotations

from datetime import UTC, datetime


def current_time() -> datetime:
    """Return the time of this machine's clock, in UTC."""
    return datetime.now(UTC)
