"""Made-up audits of a few counts, judged as real ones are, for whoever tries to work them out.

A world is the counts behind every test of a class: patients hit and patients asked, of members and
nonmembers. Estimates, verdicts, power and Holm's correction are phigate's own, so that whatever a
shared report shows of a world is what it would show of an audit with these counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import report_builder as build

from checker.attacks.api import load_attack
from checker.attacks.families import Power, Sample
from checker.attacks.families.samples import Clusters
from checker.errors import InsufficientData
from checker.planning.model import Cell
from checker.policy.documents import Limit
from checker.report.assemble import _bound_side as side_of
from checker.report.disclosure_control import for_audience
from checker.report.model import CellReport, Report
from checker.stats import p_value
from checker.verdict import Finding, compare_with_limit, overall_verdict
from checker.verdict.judging import _holm as after_holm
from checker.verdict.limits import shortage_reason

CONFIDENCE = 0.95
MIN_CELL = 11


@dataclass(frozen=True, slots=True)
class Group:
    """Patients of one split: how many were hit, of how many."""

    hits: int
    n: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What an attacker finds: members and nonmembers of whom the class can be asked."""

    members: Group
    nonmembers: Group

    @classmethod
    def of(cls, hits: int, n: int, others: int = 0, other_n: int | None = None) -> Counts:
        return cls(Group(hits, n), Group(others, n if other_n is None else other_n))

    def neighbours(self) -> Iterator[tuple[str, Counts]]:
        """Yield counts that differ by one patient: hit or not, there or not, in either split."""
        for name in ("members", "nonmembers"):
            one: Group = getattr(self, name)
            if one.hits < one.n:
                yield f"one hit among {name}", self._with(name, Group(one.hits + 1, one.n))
            yield f"one more of {name}, not hit", self._with(name, Group(one.hits, one.n + 1))
            yield f"one more of {name}, hit", self._with(name, Group(one.hits + 1, one.n + 1))

    def _with(self, name: str, group: Group) -> Counts:
        return replace(self, **{name: group})


@dataclass(frozen=True)
class Place:
    """One test of the class: which limit is asked of which attacker, by which metric."""

    limit: Limit
    attacker: str = "events-10"
    metric: str = "excess_disclosure"
    gating: bool = True
    subgroup: str = "all"

    @property
    def control(self) -> str:
        limit = self.limit.fail if self.limit.max_count is None else "none"
        return f"{self.metric}-{limit}-{self.limit.warn}"

    @property
    def id(self) -> str:
        return f"{self.control}/{self.attacker}/{self.subgroup}"


World = tuple[Counts, ...]
"""Counts by place; places of one attacker, metric or not, have the same."""


@dataclass(frozen=True)
class Design:
    """The tests of a policy on one class.

    Args:
        places: in the policy's order.
    """

    name: str
    places: tuple[Place, ...]

    @property
    def attackers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(place.attacker for place in self.places))

    def world(self, counts: Sequence[Counts]) -> World:
        """Return the counts of every place, given those of each attacker."""
        by_attacker = dict(zip(self.attackers, counts, strict=True))
        return tuple(by_attacker[place.attacker] for place in self.places)

    def report(self, world: World) -> Report:
        """Return the internal report of a world."""
        judged = [judge(place, counts) for place, counts in zip(self.places, world, strict=True)]
        findings = after_holm([one for one, _ in judged], alpha=1 - CONFIDENCE)
        cells = [
            _cell(place, counts, finding)
            for place, counts, finding in zip(self.places, world, findings, strict=True)
        ]
        gating = [one for one in findings if one.cell.gating]
        blocking = sorted(
            (one for one in findings if one.blocks), key=lambda one: one.verdict != "fail"
        )
        verdict = overall_verdict(findings)
        summary = BASE.summary.model_copy(
            update={
                "exit_code": {"pass": 0, "fail": 1, "inconclusive": 3, "error": 4}[verdict],
                "decision": f"It is {verdict}.",
                "blocked_by": [one.cell.id for one in blocking],
                "multiplicity_statement": f"{sum(one.is_tested for one in findings)} were tested.",
                "counts": {
                    name: sum(one.verdict == name for one in gating)
                    for name in ("pass", "fail", "inconclusive", "not_applicable", "error")
                },
                "gating_cells": len(gating),
                "reported_only_cells": len(findings) - len(gating),
            }
        )
        controls = [_control(place) for place in {one.control: one for one in self.places}.values()]
        return BASE.model_copy(
            update={"verdict": verdict, "cells": cells, "summary": summary, "controls": controls}
        )

    def shared(self, world: World) -> Report:
        """Return what everybody may see of a world."""
        return for_audience(self.report(world), "shared")

    def told(self, world: World) -> Told:
        """Return the same in short: its text, its verdicts and what it shows."""
        return _told(self, world)


@dataclass(frozen=True)
class Told:
    """A shared report in short.

    Args:
        text: everything that differs between reports of one policy.
        verdicts: what no report hides: each verdict, whether it is a warning, whether it blocks.
        shows: whether any count stands in it.
        times: how many times their limit failures exceed.
    """

    text: str
    verdicts: tuple[tuple[str, bool, bool], ...]
    shows: bool
    times: tuple[int | None, ...]


@lru_cache(maxsize=100_000)
def _told(design: Design, world: World) -> Told:
    report = design.shared(world)
    return Told(
        text_of(report),
        tuple(
            (cell.verdict, cell.warned, cell.id in report.summary.blocked_by)
            for cell in report.cells
        ),
        any(cell.estimate is not None or cell.sample is not None for cell in report.cells),
        tuple(cell.times_limit for cell in report.cells),
    )


def forget() -> None:
    """Forget what was told: where a test changes how it is made."""
    _told.cache_clear()


BASE = build.report_of([build.membership_cell(0.52, 0.49, 0.55)], "pass")


@cache
def verdict_of(place: Place, counts: Counts) -> tuple[str, bool]:
    """Return a place's verdict on its own, and whether it is a warning; cheaper than a finding."""
    finding, _ = _judged(place, counts, named=False)
    return finding.verdict, finding.warned


@cache
def judge(place: Place, counts: Counts) -> tuple[Finding, bool]:
    """Return a place's finding on its own, and whether there was something to measure."""
    return _judged(place, counts, named=True)


def _judged(place: Place, counts: Counts, *, named: bool) -> tuple[Finding, bool]:
    cell = _planned(place, counts)
    family = load_attack(cell.probe).metrics[cell.metric].family
    small = min(counts.members.n, counts.nonmembers.n)

    def measured(confidence: float) -> Any:
        members, nonmembers = (
            Clusters.of_counts(one.hits, one.n) for one in (counts.members, counts.nonmembers)
        )
        return family.measure(members, nonmembers, confidence=confidence)

    try:
        found = measured(CONFIDENCE)
    except InsufficientData as lack:
        reason = lack.reason
        if reason == "too-few-positives":
            reason = shortage_reason(cell, confidence=CONFIDENCE)
        return Finding(cell, "inconclusive", f"{lack}.", reason), False
    finding = compare_with_limit(cell, found, confidence=CONFIDENCE)
    if named and finding.verdict == "fail" and cell.limit.fail is not None:
        p = p_value(lambda level: float(measured(level).estimate.low), limit=cell.limit.fail)
        finding = replace(finding, p_value=p)
    if place.subgroup != "all" and small < MIN_CELL and finding.verdict != "fail":
        return Finding(cell, "inconclusive", "Too small.", "subgroup-too-small"), False
    return finding, True


def _planned(place: Place, counts: Counts) -> Cell:
    attack = load_attack("attribute-disclosure")
    family = attack.metrics[place.metric].family
    sample = _sample(counts)
    power = Power(can_pass=False)
    if place.limit.fail is not None and min(counts.members.n, counts.nonmembers.n):
        needed = family.positives_needed(place.limit.fail, confidence=CONFIDENCE)
        missing = max(0, needed - counts.members.n)
        power = Power(can_pass=not missing, needed_more=missing or None, zero_hit_bound=0.01)
    return Cell(
        id=place.id,
        control=place.control,
        attribute_class="hiv",
        attacker=place.attacker,
        subgroup=place.subgroup,
        probe="attribute-disclosure",
        params=attack.params().model_dump(mode="json"),
        metric=place.metric,
        limit=place.limit,
        severity="high",
        gating=place.gating,
        on_inconclusive="block" if place.subgroup == "all" else "warn",
        measurement="0" * 64,
        labels=None,
        jobs=[],
        sample=sample,
        power=power,
    )


def _sample(counts: Counts) -> Sample:
    # a third more have the class beyond the horizon: which of the two is short is a reason
    return Sample(
        members=counts.members.n,
        nonmembers=counts.nonmembers.n,
        subgroup_members=counts.members.n,
        members_positive=counts.members.n * 4 // 3,
        nonmembers_positive=counts.nonmembers.n * 4 // 3,
    )


def _cell(place: Place, counts: Counts, finding: Finding) -> CellReport:
    cell, found = finding.cell, finding.measurement
    fields = {name: getattr(cell, name) for name in CELL_FIELDS}
    hits = counts.members.hits + counts.nonmembers.hits
    beside = {"precision": build.rate(counts.members.hits, hits)} if hits else {}
    return CellReport(
        **fields,
        verdict=finding.verdict,
        warned=finding.warned,
        reason=finding.reason,
        explanation=finding.explanation,
        p_value=finding.p_value,
        bound_side=side_of(found.estimate if found else None, cell.limit.fail),
        estimate=found.estimate.reported() if found else None,
        members=found.members.reported() if found and found.members else None,
        nonmembers=found.nonmembers.reported() if found and found.nonmembers else None,
        reported=beside if found else {},
        sample=cell.sample,
        power=cell.power,
        evidence=[build.digest(1), build.digest(2)],
        citations=[],
    )


CELL_FIELDS = (
    "id", "control", "attribute_class", "attacker", "subgroup", "probe", "metric", "contrast",
    "limit", "severity", "gating",
)  # fmt: skip


@cache
def _control(place: Place) -> Any:
    cell = build.disclosure_cell("hiv", place.attacker, members=(0, 80), nonmembers=(0, 80))
    changes = {"control": place.control, "metric": place.metric}
    return build.control([cell.model_copy(update=changes)])


# --- what docs name ---------------------------------------------------------------------------


def rounded(count: int) -> str:
    """Return what a shared report may show of a count, as docs/methods.md §8 lists it."""
    if count < MIN_CELL:
        return "few"
    if count < 25:
        return "11 to 24"
    least = (count + 5) // 10 * 10 - 5
    return f"{least} to {least + 9}"


def named_difference(design: Design, one: World, other: World) -> str | None:
    """Return by which difference that docs name two worlds may be told apart, or None by none."""
    first, second = design.told(one), design.told(other)
    if first.verdicts != second.verdicts:
        return "verdict"
    if first.times != second.times:
        return "times the limit"
    if (first.shows or second.shows) and steps(one) != steps(other):
        return "step of a rounded count"
    return None


def steps(world: World) -> list[tuple[str, ...]]:
    """Return every count of a world as it would be rounded, those that were not hit included.

    Whoever is hit is named, and of those named some have the class: precision is a rate of its own.
    """
    return [
        (rounded(one.hits), rounded(one.n), "nearly all" if one.n - one.hits < MIN_CELL else "")
        for counts in world
        for one in (counts.members, counts.nonmembers, _named(counts))
    ]


def _named(counts: Counts) -> Group:
    return Group(counts.members.hits, counts.members.hits + counts.nonmembers.hits)


# --- what an adversary works out --------------------------------------------------------------


def by_report(design: Design, worlds: Iterable[World]) -> dict[str, list[World]]:
    """Return the worlds that are consistent with each shared report, by its text.

    The adversary knows the policy, the program and every world that is possible: what is shown of
    each is computed anew, and those that show the same are what is left to choose from.
    """
    found: dict[str, list[World]] = {}
    for world in worlds:
        found.setdefault(design.told(world).text, []).append(world)
    return found


def by_verdicts(
    design: Design, worlds: Iterable[World]
) -> dict[tuple[tuple[str, bool, bool], ...], list[World]]:
    """Return the worlds that are consistent with each list of verdicts."""
    found: dict[tuple[tuple[str, bool, bool], ...], list[World]] = {}
    for world in worlds:
        found.setdefault(design.told(world).verdicts, []).append(world)
    return found


def text_of(report: Report) -> str:
    """Return all that differs between reports of one policy: cells and summary."""
    told = [cell.model_dump_json() for cell in report.cells]
    target = report.target.model_dump_json()
    return "\n".join([report.verdict, report.summary.model_dump_json(), target, *told])


# --- policies ---------------------------------------------------------------------------------


def limits(*fails: float, warn: float | None = None, **changes: Any) -> tuple[Place, ...]:
    return tuple(Place(Limit(fail=fail, warn=warn), **changes) for fail in fails)


DESIGNS = {
    one.name: one
    for one in (
        Design("one limit", limits(0.05)),
        Design("one limit, warned", limits(0.05, warn=0.03)),
        Design("rate", limits(0.05, metric="disclosure_rate")),
        Design("none may be", (Place(Limit(max_count=0, min_n=59), metric="disclosure_rate"),)),
        Design("two close limits", limits(0.0375, 0.04, metric="disclosure_rate")),
        Design("many limits", limits(0.01, 0.03, 0.0375, 0.04, 0.05, 0.1, 0.2)),
        Design(
            "two attackers",
            (*limits(0.05, attacker="events-5"), *limits(0.05, 0.1, attacker="events-10")),
        ),
        Design(
            "two metrics",
            (*limits(0.05), *limits(0.05, 0.1, metric="disclosure_rate")),
        ),
        Design(
            "a limit only reported",
            (*limits(0.05), *limits(0.03, gating=False)),
        ),
    )
}
