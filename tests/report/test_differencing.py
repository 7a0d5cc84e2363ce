"""Two cohorts that differ by one patient, and what the difference of their shared reports tells.

A verdict is a function of the counts, and rounded counts have steps: both are shown, and docs name
what can be concluded from them. Everything else must be the same to the byte, and whoever tries all
counts that a shared report leaves possible must find every few among them, or the verdicts alone
had ruled them out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import disclosure_worlds as worlds
import numpy as np
import pytest
from disclosure_worlds import DESIGNS, MIN_CELL, Counts, Design, Group, Place, World
from properties import at_night
from report_cases import PAPER

from checker.plugins import BUILT_IN, load_plugin
from checker.policy.documents import Limit
from checker.report.formats.api import ReportFormat
from checker.stats import rate
from checker.stats.intervals import clopper_pearson

HITS = range(16)
PAIRS = ((10, 11), (24, 25), (58, 59), (84, 85), (354, 355))
"""Numbers of patients around what is few, a step, the least that can pass at 5 %, and one that
cannot tell few from none at 5 %."""

QUICK = ("rate", "none may be", "two close limits", "two attackers")


def world(design: Design, counts: Counts) -> World:
    return design.world([counts] * len(design.attackers))


def neighbours() -> Iterator[tuple[Counts, Counts]]:
    """Yield counts that differ by one patient of one split, hit or not."""
    for low, high in PAIRS:
        for hits in HITS:
            here = [Counts.of(hits, n, 1, 85) for n in (low, high) if hits <= n]
            more = [Counts.of(hits + 1, n, 1, 85) for n in (low, high) if hits + 1 <= n]
            yield from zip(here, more, strict=False)  # one hit more
            if len(here) == 2:
                yield here[0], here[1]  # one patient more, not hit
                yield here[0], Counts.of(hits + 1, high, 1, 85)  # one more, hit
    for low, high in PAIRS[2:4]:
        for hits in HITS:
            yield Counts.of(3, 85, hits, low), Counts.of(3, 85, hits + 1, low)
            yield Counts.of(3, 85, hits, low), Counts.of(3, 85, hits, high)


@pytest.mark.parametrize("name", QUICK)
def test_one_patient_changes_nothing_but_what_docs_name(name: str) -> None:
    design, found = DESIGNS[name], Counter[str]()
    for one, other in neighbours():
        first, second = (world(design, counts) for counts in (one, other))
        same = design.told(first).text == design.told(second).text
        named = worlds.named_difference(design, first, second)
        assert same or named is not None, (one, other)
        found["equal" if same else str(named)] += 1
    assert found["verdict"] > 0  # it is easy to change nothing by saying nothing
    assert found["equal"] > 4 * (found.total() - found["equal"])


def test_a_step_is_shown_where_numbers_are() -> None:
    # 10, 11, 24 and 25 of 400, all within a limit of 20 %: few, about 20, about 20, about 30
    design = Design("wide", worlds.limits(0.2, metric="disclosure_rate"))
    few, *shown = (design.shared(world(design, Counts.of(x, 400))) for x in (10, 11, 24, 25))
    assert few.cells[0].estimate is None
    values = [report.cells[0].estimate for report in shown]
    assert [value and value.value for value in values] == [0.05, 0.05, 0.075]


@cache
def possible(name: str) -> list[World]:
    design = DESIGNS[name]
    sizes = (4, 12, 22, 37, 58, 59, 76, 93, 110, 160, 225, 260, 345, 355, 480, 620)
    return [world(design, Counts.of(x, n, 0, n)) for n in sizes for x in range(min(n, 14) + 1)]


@pytest.mark.parametrize("name", ["one limit, warned", "two close limits", "two metrics"])
def test_whoever_tries_all_counts_is_left_with_every_few(name: str) -> None:
    design = DESIGNS[name]
    by_verdicts = worlds.by_verdicts(design, possible(name))
    by_report = worlds.by_report(design, possible(name))
    assert len(by_report) > len(by_verdicts) - 1
    for text, left in by_report.items():
        few = few_of(left)
        if few:  # else no few are consistent with what is shown
            assert few == few_of(by_verdicts[design.told(left[0]).verdicts]), text


def few_of(left: list[World]) -> set[int]:
    """Return the fewest hits that are left to choose from, of the first test's members."""
    return {one[0].members.hits for one in left if one[0].members.hits < MIN_CELL}


NESTED = Design(
    "few recited, and nobody at length",
    (
        *worlds.limits(0.05, metric="disclosure_rate"),
        Place(Limit(max_count=0, min_n=59), attacker="events-20", metric="disclosure_rate"),
    ),
)
"""Who is hit at length is hit: of the two counts the second is never the greater."""


def test_that_nobody_may_be_hit_at_length_pins_no_count_beside_it() -> None:
    possible = [
        NESTED.world([Counts.of(hits, n), Counts.of(long, n)])
        for n in (12, 59, 64, 93, 225, 345, 1500)
        for hits in (*range(12), 19, 24, 25)
        if hits <= n
        for long in range(min(hits, 12) + 1)
    ]
    by_verdicts, passed = worlds.by_verdicts(NESTED, possible), set()
    for text, left in worlds.by_report(NESTED, possible).items():
        told = NESTED.told(left[0])
        for place in (0, 1):
            few, could = (
                {one[place].members.hits for one in worlds_left} & set(range(MIN_CELL))
                for worlds_left in (left, by_verdicts[told.verdicts])
            )
            assert few in (set(), could), text
        if told.shows and told.verdicts[1][0] == "pass":
            passed |= {one[0].members.n for one in left}
    assert 345 in passed  # of many n is said
    assert not passed & {59, 64}  # the limit asks for 59: "about 60" would be 59 to 64


def test_a_bound_between_two_limits_tells_no_count() -> None:
    # the upper bound lies in (0.0375, 0.04]: that "could pass" at one limit said n was at least 79,
    # and with it that somebody was hit
    design = DESIGNS["two close limits"]
    inside = [
        one
        for n in range(60, 460, 3)
        for x in range(MIN_CELL)
        if 0.0375 < rate(x, n, confidence=0.95).high <= 0.04
        for one in [world(design, Counts.of(x, n, 0, 400))]
    ]
    told = {design.told(one).text for one in inside}
    assert len(told) == 1
    assert few_of(inside) == set(range(MIN_CELL))


def test_shown_counts_stand_for_as_many_as_must_be_hidden() -> None:
    design = Design("wide", worlds.limits(0.2, metric="disclosure_rate"))
    possible = [world(design, Counts.of(x, n, 0, 400)) for n in range(395, 405) for x in range(36)]
    shown = [left for left in worlds.by_report(design, possible).values() if shows(design, left)]
    whole = [left for left in shown if max(one[0].members.hits for one in left) < 35]
    assert whole
    for left in whole:
        assert len({one[0].members.hits for one in left}) >= MIN_CELL - 1
        assert len({one[0].members.n for one in left}) >= MIN_CELL - 1


def shows(design: Design, left: list[World]) -> bool:
    return design.told(left[0]).shows


@pytest.mark.parametrize("name", sorted({*BUILT_IN["phigate.reports"]} - PAPER))
def test_every_format_of_two_such_cohorts_is_the_same_to_the_byte(name: str) -> None:
    found: ReportFormat = load_plugin("phigate.reports", name)
    design = DESIGNS["two close limits"]
    # both undecided: too few, and one hit among enough
    reports = [design.shared(world(design, counts)) for counts in (
        Counts.of(0, 58, 0, 300), Counts.of(1, 92, 0, 300))]  # fmt: skip
    one, other = (found.render(report) for report in reports)
    assert one == other


def sizes(weak: Counts, leak: Counts, *fails: float) -> list[int | None]:
    places = (*worlds.limits(0.05), *worlds.limits(*fails, attacker="events-20"))
    design = Design("sizes", places)
    return [cell.times_limit for cell in design.shared(design.world([weak, leak])).cells]


def test_a_size_is_said_only_where_it_tells_of_no_few() -> None:
    leaks = Counts.of(60, 80)
    assert sizes(Counts.of(0, 80), leaks, 0.05, 0.1) == [None, 5, None]  # beside a pass
    assert sizes(Counts.of(2, 80), leaks, 0.05) == [None, 5]  # beside one that is open
    assert sizes(Counts.of(10, 60), leaks, 0.05) == [None, None]  # beside a failure of few


BESIDE_OPEN = Design(
    "a failure beside an open test",
    (
        *worlds.limits(0.05, attacker="events-5", metric="disclosure_rate"),
        *worlds.limits(0.05, attacker="events-10", metric="disclosure_rate"),
    ),
)
STRICT_BESIDE_OPEN = Design(
    "a strict failure beside an open test",
    (BESIDE_OPEN.places[0], *worlds.limits(0.01, attacker="events-10", metric="disclosure_rate")),
)
"""Of 11 hits or more, to be below five times 1 % takes so many that none hit would pass."""


def left_beside_open(design: Design) -> Iterator[tuple[str, set[int], set[int]]]:
    """Yield for each report of a failure beside an open test which few are left, and could be."""
    made = [
        design.world([Counts.of(x, n), Counts.of(hits, n)])
        for n in (12, 20, 30, 45, 58, 59, 76, 93, 124, 160, 210, 335, 480)
        for x in range(min(n, 13) + 1)
        for hits in sorted({4, 7, 9, 11, 12, 14, 20, n // 4, n // 3, n // 2, 3 * n // 4, n})
        if hits <= n
    ]
    seen = [
        one for one in made if [v[0] for v in design.told(one).verdicts] == ["inconclusive", "fail"]
    ]
    could = few_of(seen)
    for text, left in worlds.by_report(design, seen).items():
        if few := few_of(left):
            yield text, few, could


@pytest.mark.parametrize("design", [BESIDE_OPEN, STRICT_BESIDE_OPEN], ids=lambda one: one.name)
def test_a_size_beside_an_open_test_leaves_every_few(design: Design) -> None:
    found = list(left_beside_open(design))
    assert all(few == could for _, few, could in found)
    said = {size for text, _, _ in found for size in (2, 5, 10) if f'"timesLimit":{size}' in text}
    assert said == ({2, 5, 10} if design is BESIDE_OPEN else {5, 10})


def test_without_the_search_a_size_would_rule_out_that_none_was_hit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("checker.report.disclosure_control.sizes._leaves_all", lambda *_: True)
    worlds.forget()
    found = list(left_beside_open(STRICT_BESIDE_OPEN))
    worlds.forget()
    assert any(0 in could and 0 not in few for _, few, could in found)


# --- subgroups --------------------------------------------------------------------------------

PARTS = Design(
    "subgroups",
    tuple(
        Place(Limit(fail=0.05), subgroup=name, metric="disclosure_rate")
        for name in ("all", "race=A", "race=B", "age>85")
    ),
)
Part = tuple[int, int]
"""Hits and patients."""


def parted(a: Part, b: Part, old: Part) -> World:
    """Return the counts of everybody, of two races, and of those of the first who are old."""
    groups = ((a[0] + b[0], a[1] + b[1]), a, b, old)
    return tuple(Counts(Group(*members), Group(0, 200)) for members in groups)


def test_one_patient_of_a_subgroup_changes_nothing_but_what_docs_name() -> None:
    rng, found = np.random.default_rng(20251128), Counter[str]()
    for _ in range(at_night(200, otherwise=8)):
        sizes = rng.choice([5, 12, 30, 59, 60, 93, 150, 350, 400], size=2)
        hits = rng.binomial(sizes, rng.choice([0.0, 0.01, 0.03, 0.3, 0.8], size=2))
        (x, y), (n, m) = hits.tolist(), sizes.tolist()
        old = int(rng.integers(n))
        told_on = int(rng.hypergeometric(x, n - x, old)) if old else 0
        here = parted((x, n), (y, m), (told_on, old))
        others = [
            parted((x + 1, n + 1), (y, m), (told_on + 1, old + 1)),
            parted((x, n + 1), (y, m), (told_on, old)),
            parted((x, n), (min(y + 1, m), m), (told_on, old)),
        ]
        for other in others:
            same = PARTS.told(here).text == PARTS.told(other).text
            named = worlds.named_difference(PARTS, here, other)
            assert same or named is not None, (here, other)
            found["equal" if same else str(named)] += 1
    assert found["equal"] > found["verdict"] > 0


def test_docs_say_what_a_verdict_tells() -> None:
    methods = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
    said = " ".join(methods[methods.index("### What cannot be hidden") :].split())

    def least(hits: int, limit: float) -> int:
        """Return the fewest patients among whom so many hits pass."""
        n = np.arange(hits + 1, 2000)
        _, high = clopper_pearson(hits, n, confidence=0.95)
        return int(n[np.argmax(high <= limit)])

    at_5 = [least(hits, 0.05) for hits in range(MIN_CELL)]
    passes = (
        f"0 hits of {at_5[0]} to {at_5[1] - 1}, at most 1 of {at_5[1]} to {at_5[2] - 1}, at most 2"
        f" of {at_5[2]} to {at_5[3] - 1}; from {at_5[10]} on every few pass"
    )
    assert passes in said
    first, second, third, last = (least(hits, 0.01) for hits in (0, 1, 2, 10))
    assert f"At 1 % these are {first}, {second}, {third} and {last:,}." in said
