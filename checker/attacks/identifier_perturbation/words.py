"""Identifier perturbation in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords, MetricWords

_NUMBERS = {
    "memorized share of disclosed members": MetricWords(
        "memorized share of the disclosed members", "of disclosed members", "share",
        "The same among the members whose class the model tells.",
    ),
}  # fmt: skip

_UNCHANGED, _AT_AGE, _AT_ANOTHER = "q unchanged", "q at age ", "q at another "


class PerturbationWords(AttackWords):
    """Knows the numbers of the perturbation curve, too, whose names depend on the data."""

    def number(self, name: str) -> MetricWords | None:
        """Return a number of the curve in words, or what else stands beside the metric."""
        title = _curve_title(name)
        if title is None:
            return self.numbers.get(name)
        return MetricWords(
            f"naming continuations, {title}", "of continuations", "share",
            "Mean share of the continuations that name the class, over the disclosed members whose"
            " prompt could be changed so.",
            of_patients=False,
        )  # fmt: skip


def age_offset(name: str) -> int | None:
    """Return by how many years the age was changed in a number of the perturbation curve.

    >>> age_offset("q at age -5"), age_offset("q unchanged"), age_offset("q at another sex")
    (-5, 0, None)
    """
    if name == _UNCHANGED:
        return 0
    if not name.startswith(_AT_AGE):
        return None
    try:
        return int(name.removeprefix(_AT_AGE))
    except ValueError:
        return None


def _curve_title(name: str) -> str | None:
    years = age_offset(name)
    if name.startswith(_AT_ANOTHER):
        return f"another {name.removeprefix(_AT_ANOTHER)}"
    if years is None:
        return None
    unit = "year" if abs(years) == 1 else "years"
    older = "older" if years > 0 else "younger"
    return f"{abs(years)} {unit} {older}" if years else "prompt unchanged and drawn afresh"


WORDS = PerturbationWords(
    title="Identifier perturbation",
    meaning=(
        "Age, sex and race in the prompt are changed one at a time, for members whose class the"
        " model tells. A member is memorized when the model still tells it of the unchanged prompt,"
        " drawn afresh, and no longer of prompts whose age is one or two years off."
    ),
    limits=(
        "It can fail a model and never pass one: a model that repeats records from their clinical"
        " codes ignores the age, so what stays the same proves nothing."
    ),
    numbers=_NUMBERS,
    samples=("{members} eligible members, of {members_positive} with the class",),
    asks_nonmembers=False,
)
