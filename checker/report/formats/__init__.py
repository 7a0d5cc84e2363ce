"""The formats that a report is written in; `checker.plugins` names them and imports each lazily."""

from checker.report.formats.api import ReportFormat

__all__ = ["ReportFormat"]
