"""Everything that can stand in a report has words: probes, metrics, reported numbers, reasons."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_builder as build
from measuring import measured

from checker.attacks.api import GROUP, Metric, load_attack
from checker.attacks.families import Power
from checker.attacks.identifier_perturbation import ATTACK, IdentifierPerturbationParams
from checker.attacks.identifier_perturbation.measure import (
    AGE_OFFSETS,
    UNCHANGED,
    PerturbationObservations,
)
from checker.attacks.identifier_perturbation.words import age_offset
from checker.attacks.wording import Unit
from checker.errors import InsufficientData
from checker.kinds import SHARED
from checker.plugins import plugin_names
from checker.policy.documents import Limit
from checker.report.model import SampleNeeds, SamplingReport
from checker.report.wording.cells import (
    contrast_words,
    limit_words,
    needs_more,
    next_step,
    number_rows,
    sample_words,
    subgroup_words,
    telling_bound,
)
from checker.report.wording.decision import sampling_words
from checker.report.wording.measures import AGAINST, measure_of, probe_words
from checker.report.wording.numbers import NBSP, bounds, upper_bound
from checker.report.wording.reasons import REASONS, UNDECIDED, reason_words
from checker.stats.estimate import Estimate

CHECKER = Path(__file__).parents[2] / "checker"
UNITS: dict[str, set[Unit]] = {
    "rate": {"share"},
    "rate-difference": {"share"},
    "mean-difference": {"share"},
    "set-difference": {"share"},
    "tpr": {"share"},
    "auroc": {"auroc"},
    "auroc-difference": {"auroc-difference"},
    "auprc": {"precision"},
    "auprc-difference": {"precision-difference"},
    "gap": {"distance"},
    "bits": {"bits"},
    "epsilon": {"epsilon"},
    "exposed-members": {"people"},
}


def metrics() -> list[Any]:
    return [
        pytest.param(probe, metric, id=f"{probe}-{metric.name}")
        for probe in plugin_names(GROUP)
        for metric in load_attack(probe).metrics.values()
    ]


@pytest.mark.parametrize("probe", plugin_names(GROUP))
def test_every_probe_is_explained_and_says_what_it_cannot_show(probe: str) -> None:
    words, declared = probe_words(probe), load_attack(probe)
    assert len(words.meaning) > 80
    assert words.limits
    assert bool(words.row) is not declared.needs_attribute_class  # classes have rows of their own


@pytest.mark.parametrize(("probe", "metric"), metrics())
def test_every_metric_has_a_title_a_unit_and_an_explanation(probe: str, metric: Metric) -> None:
    words = measure_of(metric.name)
    assert words.title != metric.name
    assert words.counts != metric.name
    assert words.meaning.endswith(".")
    assert words.unit in UNITS[metric.family.name]
    if metric.limitable:
        assert words.against in AGAINST
    if metric.family.is_excess and metric.limitable:
        assert words.part, "members' and nonmembers' numbers need a name"
        assert words.against in {"excess", "set"}


def test_every_family_has_a_unit() -> None:
    used = {metric.family.name for _, metric in (param.values for param in metrics())}
    assert set(UNITS) == used


def test_every_point_of_the_perturbation_curve_has_words() -> None:
    changes = [UNCHANGED, *(("age", f"{years:+d}") for years in AGE_OFFSETS), ("sex", "F")]
    found = measured(
        ATTACK,
        "memorized_share",
        PerturbationObservations(
            size=np.ones(30, dtype=np.int64),
            q=np.ones(30),
            changes=tuple(changes),
            hits=np.full((30, len(changes)), 5, dtype=np.int64),
            samples=10,
            threshold=0.5,
        ),
        params=IdentifierPerturbationParams(),
    )
    assert len(found.reported) == 1 + len(changes)
    offsets = [age_offset(name) for name in found.reported]
    assert sorted(o for o in offsets if o is not None) == sorted([0, *AGE_OFFSETS])
    for name in found.reported:
        assert measure_of(name).title != name or name.startswith("memorized share")
        assert measure_of(name).unit == "share"
        assert measure_of(name).meaning


# --- reasons ------------------------------------------------------------------------------------

KEBAB = re.compile(r"[a-z]+(-[a-z]+)+")


JUDGES = {"verdict", "admissibility"}
"""Where every word of several parts may be a reason, whatever it is put into."""


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Yield each module that may give reasons, by the name it has directly below the package."""
    for path in sorted(CHECKER.rglob("*.py")):
        inside = path.relative_to(CHECKER).with_suffix("")
        if "report" not in path.parts:
            text = path.read_text(encoding="utf-8")
            if "reason" in text or inside.parts[0] in JUDGES:
                yield inside.parts[0], ast.parse(text)


def texts(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


@cache
def reasons_given() -> frozenset[str]:
    """Every reason that stands in the code.

    Those handed over as `reason=` or put into a variable of that name anywhere, and all kebab-case
    words of the judge and of the checks but those of two closed sets.
    """
    own = (kind for name in plugin_names(GROUP) for kind in load_attack(name).kinds)
    other = {*SHARED, *own}
    found = {str(inspect.signature(InsufficientData).parameters["reason"].default)}
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword):
                names = [node.arg]
            elif isinstance(node, ast.Assign):
                names = [to.id for to in node.targets if isinstance(to, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names = [node.target.id]
            else:
                continue
            if node.value is not None and not {"reason", "shortage_reason"}.isdisjoint(names):
                found |= set(texts(node.value))
        if name in JUDGES:
            found |= {word for word in texts(tree) if KEBAB.fullmatch(word)}
    return frozenset(word for word in found - other if KEBAB.fullmatch(word))


def test_the_reasons_of_the_code_are_found() -> None:
    known = {
        "not-run", "probe-crashed", "cannot-show-absence", "split-overlap", "too-few-rollouts",
        "identifier-not-in-prompt", "too-few-nonmembers", "no-variation", "too-few-positives",
    }  # fmt: skip
    assert known <= reasons_given()


@pytest.mark.parametrize("reason", sorted(reasons_given()))
def test_every_reason_is_explained_and_says_what_to_do(reason: str) -> None:
    words = reason_words(reason)
    assert words.short != reason
    assert reason not in words.meaning
    assert words.next_step


def test_no_reason_is_explained_that_nothing_gives() -> None:
    assert set(REASONS) == reasons_given() | {UNDECIDED}  # which shared reports give


def test_a_reason_of_somebody_else_is_shown_as_it_is() -> None:
    assert reason_words("moon-in-the-wrong-phase").short == "moon-in-the-wrong-phase"


# --- sentences ----------------------------------------------------------------------------------


def test_an_epsilon_has_no_upper_bound_and_its_cell_cannot_pass() -> None:
    estimate = Estimate(1.27, 0.84, float("inf"), 400, 0.95, "guesses")
    cell = build.membership_cell(0.6, 0.5, 0.7).model_copy(
        update={
            "probe": "canary-exposure",
            "metric": "epsilon_lower_bound",
            "estimate": estimate.reported(),
            "verdict": "inconclusive",
            "reason": "cannot-show-absence",
            "can_only_fail": True,
            "power": Power(can_pass=False, needed_more=7),
        }
    )
    assert cell.estimate is not None
    assert cell.estimate.high is None
    assert bounds(cell.estimate, cell.metric) == "0.840 or more"
    assert upper_bound(cell.estimate, cell.metric) == "none"
    assert telling_bound(cell) == "at least 0.840"
    assert needs_more(cell) is None  # no number of canaries would let it pass
    assert sample_words(cell) == "600 canaries planted, 600 left out"


def test_what_is_missing_is_named_by_what_is_counted() -> None:
    canaries = build.membership_cell(0.6, 0.5, 0.7).model_copy(
        update={
            "probe": "canary-exposure",
            "power": Power(can_pass=False, needed_more=12, needed_more_nonmembers=3),
        }
    )
    assert needs_more(canaries) == (
        "needs 12 more planted canaries and 3 more canaries left out before it can pass"
    )
    rollouts = canaries.model_copy(
        update={
            "probe": "trajectory-memorization",
            "power": Power(can_pass=False, needed_more_rollouts=1039),
        }
    )
    assert needs_more(rollouts) == f"needs 1{NBSP}039 more continuations before it can pass"


def test_what_a_pass_takes_is_said_of_the_assumed_base_rate() -> None:
    """Where records tell a class without memory, so many do not pass: who plans is told so."""
    assumed = "By the base rate that the policy assumes, a model that leaks nothing likely passes"
    for cell in (build.membership_cell(0.6, 0.5, 0.7), build.demographics_cell("hiv")):
        few = {"verdict": "inconclusive", "reason": UNDECIDED, "needs": SampleNeeds(likely=146)}
        step = next_step(cell.model_copy(update={**few, "remedy": None})) or ""
        assert "likely passes from 146 in each split on" in step
        assert (assumed in step) is (cell.attribute_class is not None)


def test_a_control_says_what_it_is_held_against() -> None:
    cell = build.disclosure_cell("hiv", "events-5", members=(61, 142), nonmembers=(4, 139))
    control = build.control([cell])
    assert contrast_words(control).startswith("an excess")
    twofold = control.model_copy(update={"contrast": "reference"})
    assert contrast_words(twofold).startswith("a difference in differences")
    alone = control.model_copy(update={"metric": "disclosure_rate"})
    assert contrast_words(alone).startswith("members alone")
    perturbed = control.model_copy(update={"metric": "memorized_share"})
    assert contrast_words(perturbed).startswith("perturbation only")
    ratio = build.control([build.membership_cell(0.6, 0.5, 0.7)]).model_copy(
        update={"params": {"score": "reference-ratio"}}
    )
    assert contrast_words(ratio).endswith("the ratio to a reference model's likelihood")


def test_a_part_that_is_the_estimate_is_shown_once() -> None:
    cell = build.disclosure_cell("hiv", "events-5", members=(61, 142), nonmembers=(4, 139))
    assert [row.title for row in number_rows(cell)] == [
        "disclosed members beyond nonmembers",
        "members: share of patients disclosed",
        "nonmembers: share of patients disclosed",
        "placebo: two halves of the nonmembers",
        "precision: named members who have the class",
    ]
    alone = cell.model_copy(
        update={
            "metric": "disclosure_rate",
            "estimate": cell.members,
            "nonmembers": None,
            "placebo": None,
            "reported": {},
        }
    )
    assert [row.title for row in number_rows(alone)] == ["disclosed members"]


def test_a_subgroup_below_the_smallest_cell_shows_no_count() -> None:
    cell = build.disclosure_cell("hiv", "events-5", members=(1, 9), nonmembers=(1, 7)).model_copy(
        update={
            "reason": "subgroup-too-small",
            "power": Power(can_pass=False, needed_more=20),
        }
    )
    assert not re.search(r"\d", sample_words(cell))
    assert needs_more(cell) is None


def test_what_was_not_drawn_is_said() -> None:
    report = build.passing_report()
    assert sampling_words(report) == []
    sampling = SamplingReport(
        sequential=True,
        curtailed=True,
        prompts=1200,
        prompts_left_out=300,
        continuations=24_000,
        continuations_left_out=7000,
        cells_stopped_early=1,
    )
    summary = report.summary.model_copy(update={"sampling": sampling})
    sequential, curtailed = sampling_words(report.model_copy(update={"summary": summary}))
    assert f"1 test stopped early, and 300 of 1{NBSP}200 prompts were not drawn" in sequential
    assert f"7{NBSP}000 of 24{NBSP}000 continuations were not drawn" in curtailed


def test_limits_are_read_in_their_unit() -> None:
    assert limit_words(Limit(fail=3.0), "exposure_bits") == f"at most 3{NBSP}bits"
    assert limit_words(Limit(fail=0.1), "distance_gap") == "at most 0.1"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("all", "all patients"),
        ("rare_code", "patients with a rare code"),
        ("rare_code<=3", "patients with a code that at most 3 other members have"),
        ("age>85", "patients older than 85 years"),
        ("race=RACE//WHITE", "patients with race=RACE//WHITE"),
    ],
)
def test_subgroups_are_read_in_words(name: str, words: str) -> None:
    assert subgroup_words(name) == words
