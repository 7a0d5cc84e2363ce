"""What a report format is: a file's name, and a function from the report to its bytes.

Each format has a module of its own, which ends in a `ReportFormat`; `phigate.reports` in
`checker.plugins` names them, lazily, so that a format's library is imported when it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from checker.report.model import Report

__all__ = ["ReportFormat"]


@dataclass(frozen=True, slots=True)
class ReportFormat:
    """How a report is written in one format.

    Args:
        filename: of the file in a run's folder, such as "report.html".
        render: a pure function; equal reports give equal bytes.
        lacking: says in a sentence what this machine lacks to render it, or None.
        made_elsewhere: given a file as found and as rendered here, says why the two need not be
            equal, or None where they must be.
    """

    filename: str
    render: Callable[[Report], bytes]
    lacking: Callable[[], str | None] = lambda: None
    made_elsewhere: Callable[[bytes, bytes], str | None] = lambda _found, _rendered: None

    @classmethod
    def of_text(cls, filename: str, render: Callable[[Report], str]) -> ReportFormat:
        """Make a format of a function that returns text; the file is UTF-8."""
        return cls(filename, lambda report: render(report).encode())
