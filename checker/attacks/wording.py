"""What reports say of an attack, its `words` part, and of its metrics, which bring their own.

Each metric has a *unit*, by which its numbers are written and drawn on one scale; numbers of two
units never share an axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

Unit = Literal[
    "share",
    "auroc",
    "auroc-difference",
    "precision",
    "precision-difference",
    "distance",
    "bits",
    "epsilon",
    "number",
]
"""Shares are read as percentages, bits with their unit, everything else as decimals."""

Against = Literal["excess", "members-alone", "separation", "set", "perturbation", "coin"]
"""What a metric is compared with, so that memory can be told from medicine."""


@dataclass(frozen=True, slots=True)
class MetricWords:
    """A metric in words.

    Args:
        title: what it is, in a table.
        counts: the few words that fit beside the number.
        unit: how it is read, and which numbers it shares a scale with.
        meaning: one sentence on how to read it.
        against: what it is compared with; None for numbers that only stand beside others.
        part: what the members' and the nonmembers' number each are, where there are two.
        parts: names of these two, where they are not simply members and nonmembers.
        of_patients: False for a share of something else, from which nobody could count patients.
        shown_rounded: a share of patients that only stands beside others, of which shared reports
            say what its rounded counts give; any other is withheld.
        told: what happened, in a sentence that a person would say: a clause with "{size}", "the
            model told {size}", or of an AUROC a whole sentence with "{times}" of 100, and "{about}"
            what. Empty where the title has to do.
    """

    title: str
    counts: str
    unit: Unit
    meaning: str
    against: Against | None = None
    part: str = ""
    parts: tuple[str, str] = ("members", "nonmembers")
    of_patients: bool = True
    shown_rounded: bool = False
    told: str = ""


@dataclass(frozen=True, slots=True)
class AttackWords:
    """An attack in words.

    Args:
        title: of the attack.
        meaning: what is done, and what its numbers say.
        limits: what it cannot show.
        row: title of its row in the matrix, where it is about no attribute class.
        numbers: by name, what it reports beside its metrics.
        counted: whom a cell may need more of, inside and outside the training data.
        samples: who was there to be measured, with counts of a cell's sample in braces; the first
            is taken all of whose counts are known. Without any, the usual words are.
        asks_nonmembers: False where nonmembers are never asked.
    """

    title: str
    meaning: str
    limits: str
    row: str = ""
    numbers: Mapping[str, MetricWords] = field(default_factory=dict)
    counted: tuple[str, str] = ("members", "nonmembers")
    samples: tuple[str, ...] = ()
    asks_nonmembers: bool = True

    def number(self, name: str) -> MetricWords | None:
        """Return in words what the attack reports beside its metrics."""
        return self.numbers.get(name)

    def sample(self, counts: Mapping[str, str]) -> str | None:
        """Say who was there to be measured, or None where the usual words do.

        Args:
            counts: as written, by their names in a cell's sample.
        """
        for template in self.samples:
            with suppress(KeyError):
                return template.format_map(counts)
        return None
