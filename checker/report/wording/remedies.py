"""What would decide a test, in words: for reports, for `plan` and for their headlines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from checker.planning.remedies import CHEAPEST, Remedy
from checker.report.wording.numbers import grouped
from checker.report.wording.plain import plain


def remedy_words(remedy: Remedy, *, who: tuple[str, str]) -> str:
    """Return a remedy as a sentence.

    Args:
        remedy: of a test.
        who: whom the test measures, inside and outside the training data.
    """
    chance = _chance(remedy)
    match remedy.kind:
        case "declare":
            return (
                "Say in the target how patients came to their splits (data.assignment, by whom in"
                " data.assignedBy): of splits dealt by lot nothing has to be shown but that no"
                " difference is proved."
            )
        case "expect":
            return (
                "Add expect.tokens to the target: token sequences of 20 members or more, as the"
                " trainer's own data loader makes them."
            )
        case "ask":
            return (
                f"Ask everybody (parameters.sampling.patients: all): about {_count(remedy, who)}"
                f" are there{chance}."
            )
        case "attacker":
            name = (
                f"the attacker '{plain(remedy.attacker)}'"
                if remedy.attacker
                else "an attacker with knows.events: all, told all that comes before the class"
            )
            return f"Let {name} decide: {_count(remedy, who)} are within reach{chance}."
        case "spare":
            return (
                f"Declare {grouped(remedy.members or 0)} or more patients who were kept apart"
                " (data.spare): they teach the attack in the place of nonmembers, of whom"
                f" {grouped(remedy.nonmembers or 0)} can then be judged{chance}."
            )
        case "patients":
            more = [
                f"{grouped(count)} more {what}"
                for count, what in zip((remedy.members, remedy.nonmembers), who, strict=True)
                if count
            ]
            times = f", about {_times(remedy.times)} as many patients" if remedy.times else ""
            if not more:
                return f"Audit on more patients{times}{chance}."
            return f"Audit on {' and '.join(more)}{times}{chance}."


def cheapest_words(remedies: Sequence[Remedy | None]) -> str | None:
    """Return the one next step that would decide most of the tests that are open, in a sentence.

    Args:
        remedies: of each of them; None where no number and no line would do.

    Returns:
        None where there is none, or none of them can be said.
    """
    known = [one for one in remedies if one is not None]
    if not known:
        return None
    kinds = Counter(one.kind for one in known)
    kind = min(kinds, key=CHEAPEST.index)
    own = [one for one in known if one.kind == kind]
    step = {
        "declare": "say in the target how patients came to their splits (data.assignment)",
        "expect": "add expect.tokens to the target",
        "ask": "ask everybody (parameters.sampling.patients: all)",
        "attacker": "let an attacker decide who reaches more patients, as each test names him",
        "spare": "declare patients who were kept apart (data.spare)",
    }.get(kind) or _cohort_words(own)
    many = len(own) if len(own) > 1 else "one"
    return f"Cheapest next step: {step}. {_of(many, len(remedies))} for that."


def _of(many: int | str, of: int) -> str:
    if of == 1:
        return "The one test that is open waits"
    if many == of:
        return f"All {grouped(of)} tests that are open wait"
    verb = "waits" if many == "one" else "wait"
    return f"{str(many).capitalize()} of the {grouped(of)} tests that are open {verb}"


def _cohort_words(own: Sequence[Remedy]) -> str:
    """Say how much larger a cohort decides all of them."""
    times = [one.times for one in own if one.times is not None]
    if not times:
        return "audit on more patients, as each test says how many"
    # of whom there is nobody yet, nobody knows how much larger a cohort has enough
    least = "at least " if len(times) < len(own) else ""
    return f"audit on {least}about {_times(max(times))} as many patients"


def _times(factor: float) -> str:
    """Return how many times; from ten on, tenths of it would pretend to be known."""
    return f"{factor:g} times" if factor < 10 else f"{grouped(math.ceil(factor))} times"


def _count(remedy: Remedy, who: tuple[str, str]) -> str:
    counts = ((remedy.members, who[0]), (remedy.nonmembers, who[1]))
    return " and ".join(f"{grouped(count)} {what}" for count, what in counts if count)


def _chance(remedy: Remedy) -> str:
    if remedy.chance is None:
        return ""
    # rounded down: nobody is promised what is not there
    return f"; a model that leaks nothing then passes with {math.floor(100 * remedy.chance)} %"
