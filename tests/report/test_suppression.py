"""What a shared report gives away: nothing that could be traced to fewer patients than `minCell`.

That a count cannot be worked out is shown by a second world: other patients, another count, and the
same report to the byte. Whatever a reader does with the report, with all of it together, the two
worlds cannot be told apart.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Any, Literal

import numpy as np
import pytest
import report_builder as build
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from properties import at_night, examples

from checker.attacks.families import Sample
from checker.policy.documents import Limit
from checker.report.disclosure_control import for_audience
from checker.report.disclosure_control.outcomes import OF_COUNTS, Outcomes, few_are_judged_alike
from checker.report.disclosure_control.rounding import Rounding
from checker.report.disclosure_control.suppression import Suppression
from checker.report.formats.json import render_json
from checker.report.model import CellReport, EvidenceRef, Report
from checker.report.wording.reasons import REASONS, UNDECIDED
from checker.stats import rate, rate_difference, tpr_at_fpr
from checker.stats.estimate import ReportedEstimate

MIN_CELL = 11
RACES = ("A", "B", "C")
ATTACKERS = ("events-5", "events-10")
Bits = NDArray[np.bool_]


# --- worlds -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """Patients with a class: race [n] int, older than 85 [n], and by attacker eligible and hit."""

    race: NDArray[np.int64]
    old: Bits
    eligible: dict[str, Bits]
    hit: dict[str, Bits]

    def among(self, subgroup: str) -> Bits:
        if subgroup == "all":
            return np.ones(len(self.race), dtype=np.bool_)
        if subgroup == "age>85":
            return self.old
        of_race: Bits = self.race == RACES.index(subgroup.removeprefix("race="))
        return of_race

    def with_newcomers(self, count: int, race: int, old: bool, attacker: str) -> Split:
        """Add patients whom only one attacker can be asked about, and who are not hit."""
        nobody = np.zeros(count, dtype=np.bool_)
        return Split(
            np.concatenate([self.race, np.full(count, race)]),
            np.concatenate([self.old, np.full(count, old)]),
            {
                n: np.concatenate([bits, nobody | (n == attacker)])
                for n, bits in self.eligible.items()
            },
            {n: np.concatenate([bits, nobody]) for n, bits in self.hit.items()},
        )

    def counts(self, attacker: str, subgroup: str) -> tuple[int, int]:
        chosen = self.among(subgroup) & self.eligible[attacker]
        return int((chosen & self.hit[attacker]).sum()), int(chosen.sum())


@dataclass(frozen=True)
class World:
    members: Split
    nonmembers: Split


SUBGROUPS = ("all", *(f"race={race}" for race in RACES), "age>85")
LIMITS = {"excess_disclosure": 0.05, "disclosure_rate": 0.25}
PLACES = [
    *itertools.product(["excess_disclosure"], ATTACKERS, SUBGROUPS),
    *itertools.product(["disclosure_rate"], ["events-10"], SUBGROUPS),
]


def random_world(rng: np.random.Generator) -> World:
    """Draw a world; its sizes, leaks and backgrounds cover what happens and what is rare."""

    def split(n: int, leak: float) -> Split:
        race = rng.choice(3, size=n, p=rng.dirichlet([6, 3, 0.7]))
        eligible = {name: rng.random(n) < rng.uniform(0.6, 1.0) for name in ATTACKERS}
        hit = {name: rng.random(n) < leak for name in ATTACKERS}
        return Split(race, rng.random(n) < rng.uniform(0.02, 0.5), eligible, hit)

    leak = rng.choice([0.0, 0.02, 0.1, 0.4, 0.9, 1.0])
    background = rng.choice([0.0, 0.02, 0.1])
    return World(split(int(rng.integers(40, 700)), leak),
                 split(int(rng.integers(40, 700)), background))  # fmt: skip


TEMPLATE = build.disclosure_cell("hiv", "events-5", members=(20, 40), nonmembers=(20, 40))


@cache
def number(hits: int, n: int) -> ReportedEstimate:
    return rate(hits, n, confidence=0.95).reported()


def cells(world: World) -> list[CellReport]:
    """What the report of a world says to the audit team."""
    return [
        cell(
            metric,
            attacker,
            subgroup,
            world.members.counts(attacker, subgroup),
            world.nonmembers.counts(attacker, subgroup),
        )
        for metric, attacker, subgroup in PLACES
    ]


def cell(
    metric: str, attacker: str, subgroup: str, members: tuple[int, int], nonmembers: tuple[int, int]
) -> CellReport:
    fields = {
        "id": f"{metric}/{attacker}/{subgroup}", "control": metric, "metric": metric,
        "attacker": attacker, "subgroup": subgroup, "limit": Limit(fail=LIMITS[metric]),
        "sample": Sample(members=members[1], nonmembers=nonmembers[1]),
    }  # fmt: skip
    if min(members[1], nonmembers[1]) < MIN_CELL:
        nothing: dict[str, Any] = {
            "estimate": None,
            "members": None,
            "nonmembers": None,
            "reported": {},
        }
        why = {"verdict": "inconclusive", "reason": "subgroup-too-small", "bound_side": None}
        return TEMPLATE.model_copy(update={**fields, **nothing, **why})
    inside, outside, estimate = number(*members), number(*nonmembers), number(*members)
    if metric == "excess_disclosure":
        excess = rate_difference(*members, *nonmembers, confidence=0.95)
        estimate = excess.reported()
    return TEMPLATE.model_copy(update={
        **fields,
        "estimate": estimate,
        "members": inside,
        "nonmembers": outside if metric == "excess_disclosure" else None,
        "verdict": build.verdict_of(estimate, LIMITS[metric])[0],
        "reason": build.verdict_of(estimate, LIMITS[metric])[1],
        "bound_side": side_of(estimate, LIMITS[metric]),
    })  # fmt: skip


def side_of(estimate: ReportedEstimate, limit: float) -> str:
    assert estimate.high is not None
    return "beyond" if estimate.low > limit else "within" if estimate.high <= limit else "straddles"


BASE = build.report_of([TEMPLATE], "inconclusive")


def shared(world: World) -> list[CellReport]:
    """All that a shared report says of a world: everything but its cells is the same for all."""
    told = for_audience(BASE.model_copy(update={"cells": cells(world)}), "shared")
    return told.cells


# --- second worlds ----------------------------------------------------------------------------


def second_world(
    world: World, attacker: str, subgroup: str, side: str, *, hits: int, more: int, crowd: int
) -> World | None:
    """Give a subgroup `hits` more hits and `more` patients, and take them from everybody else.

    Patients are chosen, or made up, so that they differ in nothing else. None where there are not
    enough. `crowd` further patients who are not hit belong to the commonest race.
    """
    before: Split = getattr(world, side).with_newcomers(crowd, 0, False, attacker)
    race = RACES.index(subgroup[-1]) if subgroup.startswith("race") else 0
    split = before.with_newcomers(max(0, more), race, subgroup == "age>85", attacker)
    inside = split.among(subgroup)
    alike = split.race == 0 if subgroup == "age>85" else ~split.old
    eligible, hit = split.eligible[attacker].copy(), split.hit[attacker].copy()
    for group, sign in ((inside, 1), (~inside, -1)):
        change = sign * hits
        free = np.flatnonzero(group & alike & eligible & (hit != (change > 0)))[: abs(change)]
        if len(free) < abs(change) and sign > 0:
            return None
        hit[free] = change > 0
        if sign < 0 or more < 0:
            free = np.flatnonzero(group & alike & eligible & ~hit)[: abs(more)]
            eligible[free] = sign < 0 and more < 0
    changed = replace(
        split,
        eligible={**split.eligible, attacker: eligible},
        hit={**split.hit, attacker: hit},
    )
    return replace(world, **{side: changed})


def second_worlds(world: World, attacker: str, subgroup: str, side: str) -> Iterator[World]:
    """Yield worlds in which another number of a subgroup is hit."""
    x, _ = getattr(world, side).counts(attacker, subgroup)
    targets = [1, 2, 3, 5, 8, 10] if x == 0 else [0, x - 1, x + 1, 1, 5]
    sizes = (0, 3, -3, 20, 50, 100, 200, 400)
    for crowd, more, target in itertools.product((0, 40, 150, 400), sizes, targets):
        if target == x or not 0 <= target < MIN_CELL:
            continue
        found = second_world(
            world, attacker, subgroup, side, hits=target - x, more=more, crowd=crowd
        )
        if found is not None and getattr(found, side).counts(attacker, subgroup)[0] != x:
            yield found


def drifting_worlds(
    world: World, attacker: str, subgroup: str, side: str, rng: np.random.Generator
) -> Iterator[World]:
    """Yield worlds in which a few patients of any kind are hit or not, asked or not, otherwise.

    For what a verdict ties together: another count here takes another one elsewhere.
    """
    x, _ = getattr(world, side).counts(attacker, subgroup)
    for _ in range(3000):
        splits = {}
        for name in ("members", "nonmembers"):
            split: Split = getattr(world, name)
            crowd = int(rng.choice([0, 0, 5, 30, 100]))
            split = split.with_newcomers(
                crowd, int(rng.integers(3)), bool(rng.integers(2)), attacker
            )
            eligible, hit = split.eligible[attacker].copy(), split.hit[attacker].copy()
            for bits in (eligible, hit):
                chosen = rng.permutation(len(bits))[: int(rng.integers(5))]
                bits[chosen] = ~bits[chosen]
                if name == side:
                    inside = rng.permutation(np.flatnonzero(split.among(subgroup)))
                    chosen = inside[: int(rng.integers(1, 4))]
                    bits[chosen] = ~bits[chosen]
            splits[name] = replace(
                split,
                eligible={**split.eligible, attacker: eligible},
                hit={**split.hit, attacker: hit},
            )
        if splits[side].counts(attacker, subgroup)[0] != x:
            yield World(**splits)


def few(world: World) -> Iterator[tuple[str, str, str]]:
    """Yield where fewer than `minCell` patients were hit, none included."""
    for attacker, subgroup in itertools.product(ATTACKERS, SUBGROUPS):
        for side in ("members", "nonmembers"):
            hits, n = getattr(world, side).counts(attacker, subgroup)
            if hits < MIN_CELL and n:
                yield attacker, subgroup, side


@pytest.mark.parametrize("seed", range(0, at_night(500, otherwise=100), 50))
def test_no_small_count_can_be_worked_out_from_a_shared_report(seed: int) -> None:
    shown = 0
    for world_seed in range(seed, seed + 50):
        rng = np.random.default_rng(world_seed)
        world = random_world(rng)
        places = list(few(world))
        told = shared(world)
        shown += any(one.estimate is not None for one in told)
        if places:
            place = places[int(rng.integers(len(places)))]
            others = chain(second_worlds(world, *place), drifting_worlds(world, *place, rng))
            assert any(shared(other) == told for other in others), (world_seed, place)
    assert shown > 10  # it is easy to give nothing away by saying nothing


def test_an_exact_report_is_one_of_a_single_world() -> None:
    # the control of the test above: where nothing is withheld no second world tells the same
    world = random_world(np.random.default_rng(3))
    told = cells(world)
    for place in itertools.islice(few(world), 4):
        others = itertools.islice(second_worlds(world, *place), 20)
        assert all(cells(other) != told for other in others)


def inverted(found: CellReport, metric_of: str, n: int) -> set[int]:
    """Return the counts that a bound, taken for a Clopper-Pearson one at this n, stands for."""
    part = getattr(found, metric_of)
    if part is None:
        return set()
    return {
        hits
        for hits in range(n + 1)
        if abs(number(hits, n).high - part.high) < 1e-6
        or abs(number(hits, n).low - part.low) < 1e-6
    }


def test_inverting_the_intervals_finds_the_count_in_an_exact_report_only() -> None:
    exact = cell("disclosure_rate", "events-10", "all", (7, 300), (3, 300))
    told = for_audience(BASE.model_copy(update={"cells": [exact]}), "shared").cells[0]
    assert inverted(exact, "estimate", 300) == {7}
    assert told.estimate is None
    large = cell("disclosure_rate", "events-10", "all", (43, 304), (3, 300))
    told = for_audience(BASE.model_copy(update={"cells": [large]}), "shared").cells[0]
    assert inverted(large, "estimate", 304) == {43}
    assert told.estimate is not None
    assert told.estimate.n == 300
    assert 43 not in inverted(told, "estimate", 304)


def told_of(members: tuple[int, int], nonmembers: tuple[int, int]) -> CellReport:
    found = cell("excess_disclosure", "events-10", "all", members, nonmembers)
    return for_audience(BASE.model_copy(update={"cells": [found]}), "shared").cells[0]


def test_none_is_rendered_like_any_few() -> None:
    assert told_of((0, 2000), (0, 2000)).verdict == "pass"
    assert len({render(told_of((hits, 2000), (0, 2000))) for hits in range(MIN_CELL)}) == 1
    assert render(told_of((11, 2000), (0, 2000))) != render(told_of((10, 2000), (0, 2000)))


def render(found: CellReport) -> str:
    return found.model_dump_json()


def test_nearly_all_is_rendered_like_all() -> None:
    assert len({render(told_of((80 - rest, 80), (0, 80))) for rest in range(MIN_CELL)}) == 1


def test_a_withheld_cell_still_says_verdict_limit_and_side_and_withholds_n() -> None:
    found = told_of((0, 80), (0, 80))
    assert (found.verdict, found.bound_side, found.limit.fail) == ("pass", "within", 0.05)
    assert found.sample is None
    assert {"estimate", "members", "sample"} <= set(found.withheld)
    assert "80" not in found.explanation
    assert "within the limit of 5" in found.explanation
    assert found.power is None  # whether zero hits would have passed says how many there were


def test_n_is_said_where_it_could_not_pin_the_count() -> None:
    # at n = 2,000 zero and ten hits lie within a limit of 5 % alike, at n = 80 one hit does not
    cells = [
        cell("disclosure_rate", "events-10", "all", (0, n), (0, n)).model_copy(
            update={"limit": Limit(fail=0.05), "bound_side": "within", "verdict": "pass"}
        )
        for n in (80, 2000)
    ]
    auroc = build.membership_cell(0.52, 0.49, 0.55).model_copy(
        update={"attribute_class": "hiv", "attacker": "events-10", "subgroup": "all"}
    )
    told = [
        for_audience(BASE.model_copy(update={"cells": [one, auroc]}), "shared").cells[1]
        for one in cells
    ]
    assert told[0].estimate is None
    assert told[0].sample is None
    assert told[1].estimate is not None
    assert (told[1].estimate.value, told[1].estimate.n) == (0.52, 1200)


@pytest.mark.parametrize(("n", "shown"), [(600, True), (200, False)])
def test_few_caught_at_a_threshold_hide_how_many_there_are(n: int, shown: bool) -> None:
    # none to ten caught of 600 lie within a limit of 5 % alike; of 200 they do not
    caught = tpr_at_fpr(np.arange(n, dtype=np.float64), np.arange(n) + 0.5, fpr=0.01,
                        confidence=0.95)  # fmt: skip
    assert caught.value * n < MIN_CELL
    auroc = build.membership_cell(0.52, 0.49, 0.55, sample=Sample(members=n, nonmembers=n))
    tpr = auroc.model_copy(
        update={
            "id": "tpr",
            "metric": "membership_tpr_at_fpr",
            "estimate": caught.reported(),
            "limit": Limit(fail=0.05),
            "verdict": "pass" if caught.high <= 0.05 else "inconclusive",
            "roc": None,
        }
    )
    told = for_audience(BASE.model_copy(update={"cells": [tpr, auroc]}), "shared")
    assert told.cells[0].estimate is None
    assert (told.cells[1].estimate is not None) is shown
    assert (told.target.members is not None) is shown


def told_together(**subgroups: tuple[tuple[int, int], tuple[int, int]]) -> dict[str, bool]:
    """Whether each of some subgroups, given as counts of members and nonmembers, shows numbers."""
    names = {"whole": "all", "old": "age>85", "a": "race=A", "b": "race=B", "c": "race=C"}
    found = [
        cell("excess_disclosure", "events-10", names[name], *counts)
        for name, counts in subgroups.items()
    ]
    told = for_audience(BASE.model_copy(update={"cells": found}), "shared").cells
    return {name: one.estimate is not None for name, one in zip(subgroups, told, strict=True)}


def test_the_others_of_a_partition_do_not_tell_what_one_withholds() -> None:
    whole, a, b = ((190, 300), (60, 300)), ((90, 150), (20, 100)), ((58, 100), (20, 100))
    few, many = ((2, 50), (20, 100)), ((42, 50), (20, 100))
    assert told_together(whole=whole, a=a, b=b, c=few) == {
        "whole": True, "a": False, "b": False, "c": False,
    }  # fmt: skip
    assert all(told_together(whole=whole, a=a, b=b, c=many).values())


def test_a_subgroup_that_leaves_few_outside_is_withheld() -> None:
    whole = ((180, 300), (60, 300))
    assert told_together(whole=whole, old=((120, 200), (30, 200))) == {"whole": True, "old": True}
    for old in (((175, 200), (30, 200)), ((120, 295), (30, 200)), ((120, 200), (55, 200))):
        assert told_together(whole=whole, old=old) == {"whole": True, "old": False}


counts = st.tuples(st.integers(0, 900), st.integers(11, 900)).map(
    lambda pair: (min(pair), max(max(pair), MIN_CELL))
)


@examples(50)
@given(members=counts, nonmembers=counts)
def test_a_shared_interval_holds_the_true_one(
    members: tuple[int, int], nonmembers: tuple[int, int]
) -> None:
    exact = cell("excess_disclosure", "events-10", "all", members, nonmembers)
    told = for_audience(BASE.model_copy(update={"cells": [exact]}), "shared").cells[0]
    for name in ("estimate", "members", "nonmembers"):
        one, other = getattr(exact, name), getattr(told, name)
        if one is not None and other is not None:
            assert other.low <= one.low + 1e-6
            assert other.high >= one.high - 1e-6
            assert other.low <= other.value <= other.high
    assert told.verdict == exact.verdict
    sides = {"pass": "within", "fail": "beyond"}
    withheld = sides.get(exact.verdict)  # which side an undecided interval lies on is a count
    assert told.bound_side == (withheld if told.estimate is None else exact.bound_side)


@given(n=st.integers(1, 5000), min_cell=st.integers(2, 40))
def test_counts_that_are_rounded_alike_lie_between_the_ends(n: int, min_cell: int) -> None:
    rounding = Rounding(min_cell)
    low, high = rounding.ends(n)
    assert low <= n <= high
    assert {rounding.count(m) for m in range(low, high + 1)} == {rounding.count(n)}


def test_what_no_one_may_trace_is_left_out_elsewhere_too() -> None:
    internal = build.every_verdict_report()
    told = for_audience(internal, "shared")
    assert told.audience == "shared"
    assert all(entry.rows is None for entry in told.provenance.evidence)
    assert told.target.members is None or told.target.members % 10 == 0
    assert all(one.placebo is None and one.p_value is None for one in told.cells)
    assert [one.verdict for one in told.cells] == [one.verdict for one in internal.cells]
    assert told.verdict == internal.verdict
    assert told.summary.counts == internal.summary.counts


EVERYBODY_MAY_SEE = {
    "id", "control", "attribute_class", "attacker", "subgroup", "probe", "metric", "contrast",
    "can_only_fail", "gating", "verdict", "warned", "limit", "severity", "citations", "waiver",
    "needs",
    "q_from",  # what the model offers, whoever the patients are
}  # fmt: skip
CHANGED = {
    "explanation", "estimate", "members", "nonmembers", "reported", "p_value", "placebo", "sample",
    "power", "withheld", "roc", "standing_out", "reason", "bound_side", "times_limit",
    "stopped_early", "evidence", "above_none", "remedy",
}  # fmt: skip


def test_every_field_of_a_cell_is_either_harmless_or_dealt_with() -> None:
    # a new field has to be thought about before it reaches a shared report
    assert set(CellReport.model_fields) == EVERYBODY_MAY_SEE | CHANGED
    whole = TEMPLATE.model_copy(update={"id": "-"})
    told = for_audience(BASE.model_copy(update={"cells": [whole]}), "shared").cells[0]
    assert {
        name for name in EVERYBODY_MAY_SEE if getattr(told, name) != getattr(whole, name)
    } == set()


def test_batches_of_evidence_do_not_count_patients() -> None:
    # drawn in sequence, a batch is 32 patients: three of them, and a pass at 5 %, were no hit
    def told_with(batches: int) -> Report:
        jobs = [f"{place:064x}" for place in range(batches)]
        entries = [
            EvidenceRef(job=job, kind="rollouts", title="continuations for events-10",
                        file=f"evidence/{job}.parquet", sha256=job, rows=32)
            for job in jobs
        ]  # fmt: skip
        labels = BASE.provenance.evidence[0]
        passing = told_of_evidence([labels.job, *jobs])
        provenance = BASE.provenance.model_copy(update={"evidence": [labels, *entries]})
        report = BASE.model_copy(update={"cells": [passing], "provenance": provenance})
        return for_audience(report, "shared")

    def told_of_evidence(jobs: list[str]) -> CellReport:
        found = cell("excess_disclosure", "events-10", "all", (0, 80), (0, 80))
        return found.model_copy(update={"evidence": jobs, "stopped_early": len(jobs) < 4})

    one, other = (told_with(batches) for batches in (2, 9))
    assert render_json(one) == render_json(other)
    assert len(one.cells[0].evidence) == 2
    assert len(one.provenance.evidence) == 2


def test_records_of_two_models_stay_two_kinds_of_evidence() -> None:
    titles = [
        f"token log-probabilities of records {records}{whose}"
        for whose in ("", " (reference model)")
        for records in ("1\N{EN DASH}1024", "1025\N{EN DASH}1400")
    ]
    entries = [
        EvidenceRef(
            job=build.digest(place), kind="scores", title=title, file="-", sha256="-", rows=9
        )
        for place, title in enumerate(titles)
    ]
    provenance = BASE.provenance.model_copy(update={"evidence": entries})
    told = for_audience(BASE.model_copy(update={"provenance": provenance}), "shared")
    assert [one.title for one in told.provenance.evidence] == [
        "token log-probabilities of records",
        "token log-probabilities of records (reference model)",
    ]


UNDECIDED_BY = ("bounds-straddle-limit", "too-few-positives", "horizon-too-short",
                "class-not-in-data", "exceeds-uncorrected", "no-variation")  # fmt: skip


def test_what_left_a_cell_undecided_does_not_tell_zero_from_few() -> None:
    found = cell("excess_disclosure", "events-10", "all", (2, 80), (0, 80))
    nothing = dict.fromkeys(("estimate", "members", "nonmembers", "bound_side"))
    told = set()
    for reason in UNDECIDED_BY:
        changes: dict[str, Any] = {"reason": reason, "verdict": "inconclusive"}
        if reason == "class-not-in-data":
            changes |= {**nothing, "reported": {}, "sample": Sample(members=0, nonmembers=0)}
        one = found.model_copy(update=changes)
        told.add(render(for_audience(BASE.model_copy(update={"cells": [one]}), "shared").cells[0]))
    assert len(told) == 1
    assert UNDECIDED in told.pop()


@pytest.mark.parametrize(
    ("limit", "n", "alike"),
    # 10 of 336 are the first to pass at 5 %; all rounded alike, and those below, have to
    [
        (0.05, 80, False),
        (0.05, 354, False),
        (0.05, 355, True),
        (0.01, 355, False),
        (0.2, 355, True),
    ],
)
def test_before_they_are_known_few_hits_are_alike_where_there_are_many(
    limit: float, n: int, alike: bool
) -> None:
    rounding = Rounding(MIN_CELL)
    found = few_are_judged_alike(limit, [n], confidence=0.95, tests=12, rounding=rounding)
    assert found is alike


SAID_AS_IT_IS = {
    # what the target offers, or whether it was run: of no patient
    "capability-missing", "class-not-in-vocabulary", "evidence-too-old", "not-run", "probe-crashed",
    "attempt-not-registered", "too-few-rollouts", "too-few-canaries", "cannot-show-absence",
    # an error, as its verdict says: of a plug-in's own code, whose words are left out
    "measure-crashed",
    # checks of the whole audit, which docs name
    "split-not-comparable", "split-overlap", "near-duplicates", "reference-knows-members",
    "placebo-failed", "worse-than-chance", "attack-not-shown-to-work", "expectation-not-met",
    "expectation-missing", "prompt-not-identifying", "prompts-too-long", "empty-records",
    "nonmembers-known-to-model", "spare-not-comparable", "declared-privacy-refuted",
    # what the owner declares of the model and its release: of no patient
    "not-declared", "declared-not-to-hold", "declaration-of-another-model",
    "declared-for-another-release", "declared-in-future", "declaration-outdated",
    # that few are there, or nobody, which docs name
    "subgroup-empty", "subgroup-too-small",
}  # fmt: skip


def test_every_reason_is_said_or_withheld_on_purpose() -> None:
    # a new reason that hangs on how many there were, or were hit, belongs into `outcomes.OF_COUNTS`
    withheld = OF_COUNTS | {"exceeds-uncorrected"}
    assert set(REASONS) - {UNDECIDED} == SAID_AS_IT_IS | withheld
    assert not SAID_AS_IT_IS & withheld


def test_what_was_not_run_says_so() -> None:
    nothing = dict.fromkeys(("estimate", "members", "nonmembers", "bound_side"))
    found = cell("excess_disclosure", "events-10", "all", (2, 80), (0, 80)).model_copy(
        update={**nothing, "reported": {}, "verdict": "inconclusive", "reason": "not-run"}
    )
    other = cell("excess_disclosure", "events-5", "all", (0, 80), (0, 80))
    told = for_audience(BASE.model_copy(update={"cells": [found, other]}), "shared").cells[0]
    assert (told.reason, told.withheld) == ("not-run", ["power", "sample"])


def test_what_is_only_reported_and_never_judged_hides_nothing_of_its_class() -> None:
    # nine of 74 at 1 %: by any count it would have been said that the prompts tell nobody apart
    never = build.demographics_cell("hiv")
    leak = build.disclosure_cell("hiv", "events-5", members=(61, 142), nonmembers=(4, 139))
    report = build.report_of([never, leak], "fail")
    told = for_audience(report, "shared").cells
    assert [one.estimate is None for one in told] == [True, False]
    assert told[1].sample == Sample(members=140, nonmembers=140)
    gating = never.model_copy(update={"gating": True})
    controls = [one.model_copy(update={"on_inconclusive": "warn"}) for one in report.controls]
    report = report.model_copy(update={"cells": [gating, leak], "controls": controls})
    # where the summary tells that it is beyond its limit, that is a verdict
    assert for_audience(report, "shared").cells[1].estimate is None


def test_counts_of_tests_and_codes_are_left_out_of_the_prose() -> None:
    told = for_audience(build.failing_report(), "shared")
    assert "over all tests that were measured" in told.summary.multiplicity_statement
    assert not re.search(r"over the \d|\d tests", told.summary.multiplicity_statement)
    assert {one.codes_in_data for one in told.policy.attribute_classes} == {None}


counted = st.tuples(st.integers(0, 120), st.integers(11, 400)).map(
    lambda pair: (min(pair), max(max(pair), MIN_CELL))
)


@examples(60)
@given(members=counted, nonmembers=counted, limit=st.sampled_from([0.01, 0.05, 0.2]))
def test_alike_means_that_every_count_rounded_alike_is_judged_alike(
    members: tuple[int, int], nonmembers: tuple[int, int], limit: float
) -> None:
    found = cell("excess_disclosure", "events-10", "all", members, nonmembers).model_copy(
        update={"limit": Limit(fail=limit)}
    )
    rounding = Rounding(MIN_CELL)
    alike = Outcomes(BASE.model_copy(update={"cells": [found]}), rounding).are_alike(found)
    rng = np.random.default_rng([*members, *nonmembers])
    judged = set()
    for _ in range(40):
        counts = []
        for hits, n in (members, nonmembers):
            least, most = rounding.ends(n)
            size = int(rng.integers(least, most + 1))
            if n - hits < MIN_CELL <= hits:  # nearly all
                counts.append((size - int(rng.integers(min(size, MIN_CELL))), size))
            else:
                few, many = rounding.ends(hits)
                counts.append((min(size, int(rng.integers(few, many + 1))), size))
        excess = rate_difference(*counts[0], *counts[1], confidence=0.95)
        none = rate_difference(0, counts[0][1], 0, counts[1][1], confidence=0.95)
        within = "pass" if excess.high <= limit else "open"
        judged.add("fail" if excess.low > limit else "short" if none.high > limit else within)
    assert not alike or len(judged) == 1


def test_canaries_are_nobody() -> None:
    planted = build.membership_cell(0.52, 0.49, 0.55).model_copy(
        update={"probe": "canary-exposure", "metric": "exposure_bits"}
    )
    told = for_audience(BASE.model_copy(update={"cells": [planted]}), "shared").cells[0]
    assert told.model_copy(update={"explanation": planted.explanation}) == planted


def test_what_keeps_canaries_from_a_verdict_is_said_without_numbers_of_patients() -> None:
    undecided = build.membership_cell(0.52, 0.49, 0.55).model_copy(
        update={
            "probe": "canary-exposure",
            "metric": "exposure_bits",
            "verdict": "inconclusive",
            "reason": "attack-not-shown-to-work",
            "explanation": "Not decided: only 7 members have events to compare, of 30 needed.",
        }
    )
    told = for_audience(BASE.model_copy(update={"cells": [undecided]}), "shared").cells[0]
    assert "members have" not in told.explanation


@pytest.mark.parametrize("hits", [0, 3, 493])
def test_that_nobody_may_be_recited_withholds_no_size_and_no_factor(hits: int) -> None:
    def recited(name: str, hits: int, limit: Limit, verdict: str) -> CellReport:
        found = cell("disclosure_rate", "events-10", "all", (hits, 1500), (0, 1000))
        return found.model_copy(update={
            "id": name, "control": name, "attribute_class": None, "limit": limit,
            "verdict": verdict, "reason": None,
            "bound_side": None if limit.fail is None else "beyond",
        })  # fmt: skip

    nobody = recited("nobody", hits, Limit(max_count=0, min_n=299), "fail" if hits else "pass")
    share = recited("share", 1487, Limit(fail=0.01), "fail")
    report = BASE.model_copy(
        update={
            "cells": [share, nobody],
            "target": BASE.target.model_copy(update={"members": 1500, "nonmembers": 1000}),
        }
    )
    told = for_audience(report, "shared")
    assert (told.target.members, told.target.nonmembers) == (1500, 1000)
    assert told.cells[0].estimate is not None
    assert Suppression(report).times_limit(share) == 10
    assert (told.cells[1].estimate is None) is (hits < MIN_CELL)


def test_n_is_withheld_from_every_attacker_who_asks_about_the_same_patients() -> None:
    passing = cell("disclosure_rate", "events-10", "all", (0, 80), (0, 80)).model_copy(
        update={"limit": Limit(fail=0.05)}
    )
    other = cell("disclosure_rate", "events-5", "all", (40, 80), (0, 80))
    told = for_audience(BASE.model_copy(update={"cells": [passing, other]}), "shared").cells
    assert [one.sample for one in told] == [None, None]
    assert [one.estimate for one in told] == [None, None]


def test_a_policy_without_a_smallest_cell_has_nothing_withheld() -> None:
    policy = BASE.policy.model_copy(update={"min_cell": 1})
    report = BASE.model_copy(update={"policy": policy})
    told = for_audience(report, "shared")
    assert told.cells == report.cells
    assert json.loads(render_json(told))["audience"] == "shared"


def test_a_shared_report_cannot_be_turned_back() -> None:
    with pytest.raises(ValueError, match="does not hold"):
        for_audience(for_audience(BASE, "shared"), "internal")


def precision_of(named: tuple[int, int], **fields: object) -> ReportedEstimate | None:
    found = cell("excess_disclosure", "events-10", "all", (120, 300), (20, 300))
    beside = {"precision": number(*named)}
    told = BASE.model_copy(
        update={"cells": [found.model_copy(update={"reported": beside} | fields)]}
    )
    return for_audience(told, "shared").cells[0].reported.get("precision")


def test_precision_is_shown_of_rounded_counts_and_never_of_few() -> None:
    assert precision_of((10, 60)) is None
    assert precision_of((0, 60)) is None
    assert precision_of((9, 10)) is None
    shown = precision_of((120, 150))
    assert shown is not None
    assert shown.n == 150
    assert "rounded" in shown.method
    exact = number(120, 150)
    assert shown.low < exact.low
    assert shown.high is not None
    assert exact.high is not None
    assert shown.high > exact.high
    # all counts that are rounded alike give the same, so that none can be told from it
    assert {repr(precision_of((hits, 150))) for hits in range(115, 125)} == {repr(shown)}


def test_that_nearly_all_are_named_rightly_is_one_value_all_included() -> None:
    assert {repr(precision_of((150 - wrong, 150))) for wrong in range(11)} == {
        repr(precision_of((150, 150)))
    }


def test_precision_of_a_part_of_the_patients_is_withheld() -> None:
    assert precision_of((120, 150), subgroup="rare_code") is None


@pytest.mark.parametrize("verdict", ["pass", "fail", "inconclusive"])
def test_how_many_stand_out_is_told_to_nobody_outside(
    verdict: Literal["pass", "fail", "inconclusive"],
) -> None:
    bounds = {"pass": (0, 3.5, 7), "fail": (61, 63.7, 66), "inconclusive": (9, 12.1, 17)}[verdict]
    low, value, high = bounds
    cell = build.membership_cell(0.517, 0.488, 0.546).model_copy(
        update={
            "id": "standing-out/record/all",
            "metric": "exposed_members",
            "limit": Limit(fail=15.0),
            "verdict": verdict,
            "reason": "bounds-straddle-limit" if verdict == "inconclusive" else None,
            "explanation": f"{value} ({low} to {high}): bounds and the limit of 15.",
            "estimate": ReportedEstimate(value, low, high, 613, 0.95, "negative hypergeometric"),
            "above_none": low > 0,
        }
    )
    shared = for_audience(build.report_of([cell], verdict), "shared")
    (shown,) = shared.cells
    assert shown.estimate is None
    assert "estimate" in shown.withheld
    assert shown.times_limit is None
    for number in (*bounds, 613):
        assert not re.search(rf"(?<![0-9.]){number:g}(?![0-9.])", shown.explanation)
    # which of few it was hangs on nothing that is shown
    other = cell.model_copy(
        update={"estimate": ReportedEstimate(value, low, high + 1, 613, 0.95, "x")}
    )
    again = for_audience(build.report_of([other], verdict), "shared")
    assert again.cells == shared.cells
    assert shown.above_none is (True if verdict == "fail" else None)
