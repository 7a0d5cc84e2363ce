"""The report's colours by role, as they are on paper.

The page's style sheet has them again, with their counterparts for the dark, and a test holds the
two together. They stand here for what no style sheet reaches: drawings carry them as attributes
beside their classes, for readers that apply none, such as the one that writes the PDF.
"""

from __future__ import annotations

from dataclasses import dataclass

from checker.report.model import CellReport

PAPER = "#ffffff"
INK = "#1d2429"
MUTED = "#59626a"
RULE = "#dcd7cb"
MEMBERS = "#b3431e"
NONMEMBERS = "#37708f"


@dataclass(frozen=True, slots=True)
class VerdictColours:
    """The colours of a verdict: of its words, behind them, and of its shapes and lines."""

    ink: str
    tint: str
    line: str


VERDICTS = {
    "pass": VerdictColours("#0a5a49", "#e7f3ee", "#2f8a74"),
    "fail": VerdictColours("#8e1d12", "#fbeae5", "#c5432f"),
    "inconclusive": VerdictColours("#6a4a00", "#fbf2da", "#a97a00"),
    "error": VerdictColours("#4c2e7e", "#f0ebf9", "#7a5bb5"),
    "not_applicable": VerdictColours(MUTED, PAPER, MUTED),
    "untested": VerdictColours(MUTED, PAPER, MUTED),
}


def colours_of(cell: CellReport | None) -> VerdictColours:
    """Return the colours of a cell: of its verdict, or of what is open where it was warned about.

    A square without a cell is out of the policy's scope.
    """
    if cell is None:
        return VERDICTS["untested"]
    return VERDICTS["inconclusive" if cell.warned else cell.verdict]


ROLES = {
    PAPER: "paper",
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    MEMBERS: "members",
    NONMEMBERS: "nonmembers",
    **{
        getattr(colours, use): f"{'open' if verdict == 'inconclusive' else verdict}-{use}"
        for verdict, colours in VERDICTS.items()
        for use in ("ink", "tint", "line")
        if colours.line != MUTED
    },
}
"""From a colour to the name of its custom property in the style sheet, without the dashes."""
