"""Times of a report as machines read them."""

from __future__ import annotations

from datetime import UTC, datetime

from checker.errors import EvidenceError
from checker.report.wording.plain import plain, shorten


def instant(stamp: str) -> datetime:
    """Read a time of the report, in UTC; one without an offset is taken to be in UTC.

    Raises:
        EvidenceError: it is no time, so that somebody else than phigate wrote the report.
    """
    try:
        when = datetime.fromisoformat(stamp)
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise EvidenceError(
            f"report.json: '{shorten(stamp, 40)}' is no ISO 8601 time; `phigate judge` writes the"
            " report again from the evidence"
        ) from error


def moment(stamp: str) -> str:
    """Return an ISO 8601 time as "2026-11-23 20:00 UTC"; anything else as it is."""
    try:
        when = datetime.fromisoformat(stamp)
    except ValueError:
        return plain(stamp)
    if when.tzinfo is None:
        return plain(stamp)
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
