"""Times of a report as machines read them."""

from __future__ import annotations

from datetime import UTC, datetime

from checker.errors import EvidenceError
from checker.report.wording.plain import shorten

__all__ = ["instant"]


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
