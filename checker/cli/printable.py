"""Text from outside as a terminal may be given it."""

from __future__ import annotations

from checker.report.wording.plain import plain


def printable(text: str) -> str:
    """Return text that can only be read, line by line: see `checker.report.wording.plain`."""
    if text.isprintable():
        return text
    return "\n".join(
        "\t".join(plain(part) for part in line.split("\t")) for line in text.split("\n")
    )
