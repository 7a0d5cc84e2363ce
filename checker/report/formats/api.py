"""What a report format is: a file's name, and a function from the report to its bytes.

Each format has a module of its own, which ends in a `ReportFormat`; `phigate.reports` in
`checker.plugins` names them, lazily, so that a format's library is imported when it is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from checker.report.model import Report


@dataclass(frozen=True, slots=True)
class ReportFormat:
    """How a report is written in one format.

    Args:
        filename: of the file in a run's folder, such as "report.html".
        render: a pure function; equal reports give equal bytes.
        lacking: says in a sentence what this machine lacks to render it, or None.
        made_elsewhere: given a file as found and as rendered here, says why the two need not be
            equal, or None where they must be.
        attached: given a file as found, returns the `report.json` that it carries; raises
            PluginError where this machine lacks what reads it, and ValueError where there is none.
    """

    filename: str
    render: Callable[[Report], bytes]
    lacking: Callable[[], str | None] = lambda: None
    made_elsewhere: Callable[[bytes, bytes], str | None] = lambda _found, _rendered: None
    attached: Callable[[bytes], bytes] | None = None

    @classmethod
    def of_text(cls, filename: str, render: Callable[[Report], str]) -> ReportFormat:
        """Make a format of a function that returns text; the file is UTF-8."""
        return cls(filename, lambda report: render(report).encode())

    @classmethod
    def of_json(cls, filename: str, render: Callable[[Report], Mapping[str, Any]]) -> ReportFormat:
        """Make a format of a function that returns an object; the file looks like `report.json`."""
        return cls.of_text(filename, lambda report: _json_text(render(report)))


def _json_text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that hold something: what a report does not say is left out of a format."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
