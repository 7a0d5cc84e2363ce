"""The report as a file for machines: `report.json`, and the way back.

The file is the report model itself: camelCase keys in the order of its fields, two spaces, a final
newline, non-ASCII text as it is. Equal reports give equal bytes, so its digest can be signed.
"""

from __future__ import annotations

from pathlib import Path

from checker.errors import EvidenceError
from checker.evidence import load_json_file
from checker.report.formats.api import ReportFormat
from checker.report.model import Report


def render_json(report: Report) -> str:
    """Return the text of `report.json`."""
    return report.to_bytes().decode()


def load_report(path: Path) -> Report:
    """Read a `report.json` that this version of phigate wrote.

    Raises:
        EvidenceError: the file is missing, or is not a report of this version.
    """
    if not path.exists():
        raise EvidenceError(
            f"{path}: there is no such file; is {path.parent} the folder of a run? `phigate judge`"
            " writes the report from a run's evidence"
        )
    try:
        return load_json_file(path, Report)
    except EvidenceError as error:
        raise EvidenceError(
            f"{error}. The file has to be a report.json that phigate wrote; `phigate judge` writes"
            " it again from the evidence"
        ) from error


JSON = ReportFormat.of_text("report.json", render_json)
