"""The report's colours by role, as they are on paper.

The page's style sheet has them again, with their counterparts for the dark, and a test holds the
two together. They stand here for what no style sheet reaches: drawings carry them as attributes
beside their classes, for readers that apply none, such as the one that writes the PDF.
"""

from __future__ import annotations

from dataclasses import dataclass

from checker.report.model import CellReport

__all__ = [
    "INK",
    "MEMBERS",
    "MUTED",
    "NONMEMBERS",
    "PAPER",
    "ROLES",
    "RULE",
    "VERDICTS",
    "Tones",
    "tones_of",
]

PAPER = "#ffffff"
INK = "#1d2429"
MUTED = "#59626a"
RULE = "#dcd7cb"
MEMBERS = "#b3431e"
NONMEMBERS = "#37708f"


@dataclass(frozen=True, slots=True)
class Tones:
    """The colours of a verdict: of its words, behind them, and of its shapes and lines."""

    ink: str
    tint: str
    line: str


VERDICTS = {
    "pass": Tones("#0a5a49", "#e7f3ee", "#2f8a74"),
    "fail": Tones("#8e1d12", "#fbeae5", "#c5432f"),
    "inconclusive": Tones("#6a4a00", "#fbf2da", "#a97a00"),
    "error": Tones("#4c2e7e", "#f0ebf9", "#7a5bb5"),
    "not_applicable": Tones(MUTED, PAPER, MUTED),
    "untested": Tones(MUTED, PAPER, MUTED),
}


def tones_of(cell: CellReport | None) -> Tones:
    """Return the colours of a cell: of its verdict, or of what is open where it passed with care.

    A square that no cell stands in was not tested.
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
        getattr(tones, tone): f"{'open' if verdict == 'inconclusive' else verdict}-{tone}"
        for verdict, tones in VERDICTS.items()
        for tone in ("ink", "tint", "line")
        if tones.line != MUTED
    },
}
"""From a colour to the name of its custom property in the style sheet, without the dashes."""
