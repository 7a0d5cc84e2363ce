"""Statistical disclosure control: what a shared report withholds, and what it rounds."""

from checker.report.disclosure_control.shared import for_audience

__all__ = ["for_audience"]
