"""The numbers of Tonekaboni et al. 2025 beside phigate's: which is which, and what differs.

Whoever repeats the paper's tests holds two tables side by side, and equal names do not mean equal
numbers. The toolkit is github.com/sanatonek/EHR-FM_memorization as of commit 7cf6a2e, read and run
beside (`benchmarks/paper_figures.py`); METHODS §2 has the same table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from checker.report.model import Report

REPLICATION: Final = "paper-t1-t6"
"""The shipped policy that repeats the paper's tests."""


PAPER_COLUMNS: Final = ("Paper or toolkit", "Here", "Known difference")


@dataclass(frozen=True, slots=True)
class PaperNumber:
    """A number of the paper or its toolkit.

    Args:
        theirs: what they call it.
        metrics: of phigate, as policies name them; the first carries it.
        here: where it stands in a report of phigate.
        differs: what is known to differ.
    """

    theirs: str
    metrics: tuple[str, ...]
    here: str
    differs: str


PAPER_NUMBERS: Final = (
    PaperNumber(
        "T1, distance to the true trajectory",
        ("distance_gap",),
        "distance_gap, the members' part",
        "Time tokens set the clock here and are not moved; the toolkit embeds and moves them like"
        " codes. Its clock adds 0.1 to 1.5 for a token of time and is never divided; here time is"
        " days as a share of the longer span, so that no pair costs more than twice its codes."
        " Codes are compared by their words and hierarchy unless a text encoder is named.",
    ),
    PaperNumber(
        "T1, of random codes",
        ("distance_gap",),
        "random_distance, beside it",
        "The toolkit draws codes from the first 5,000 entries of a table of frequencies and gives"
        " them no time; here tokens, those of time included, come as often as among nonmembers.",
    ),
    PaperNumber(
        "T2, AUROC and AUPRC",
        ("excess_attribute_auroc", "excess_attribute_auprc"),
        "excess_attribute_auroc and excess_attribute_auprc, the members' part",
        "The toolkit leaves the diagnosis in the prompt and calls a patient positive wherever in"
        " the record it stands, so that what he was told counts as found; here its codes leave the"
        " prompt, and a positive has one within the horizon behind it. It counts continuations of"
        " under ten tokens as not naming; here they count as drawn. Average precision leaves each"
        " positive out of his own precision here, and takes 100 patients of either kind.",
    ),
    PaperNumber(
        "T2, precision and recall",
        ("excess_attribute_auroc", "excess_attribute_auprc", "excess_disclosure"),
        "precision and recall, beside these",
        "As above. Both are taken where over half of the continuations name the diagnosis.",
    ),
    PaperNumber(
        "T3, AUROC",
        ("excess_probe_auroc",),
        "excess_probe_auroc, the members' part",
        "The toolkit ranks by the classifier's yes or no, which makes its AUROC the balanced"
        " accuracy; here the score ranks, and the embedded prompt holds no code of the diagnosis.",
    ),
    PaperNumber(
        "T4, AUROC of Min-20%",
        ("membership_auroc",),
        "membership_auroc with score min-k",
        "The toolkit scores padding as tokens of the record, so that long and short records score"
        " apart, and adds 1e-10 to every probability; here only the record's own tokens count.",
    ),
    PaperNumber(
        "T5, who is told on no more at another age",
        ("memorized_share",),
        "memorized_share and the curve over the age",
        "The toolkit has no code that judges it; here everybody told on is drawn afresh, and only"
        " a difference that chance does not explain counts.",
    ),
    PaperNumber(
        "T6, subgroups",
        ("excess_disclosure",),
        "the same tests of rare_code and age>85",
        "Who has a rare code is decided by the other members' records, so that members and"
        " nonmembers are comparable.",
    ),
)


def paper_numbers(report: Report) -> list[PaperNumber]:
    """Return what to hold against the paper, of a policy that repeats its tests; else nothing."""
    policy = report.policy
    names = {policy.name, *(origin.name for origin in policy.origins)}
    if REPLICATION not in names:
        return []
    measured = {control.metric for control in report.controls}
    return [one for one in PAPER_NUMBERS if measured & set(one.metrics)]
