"""Families of metrics: what each promises, and that a new one needs nothing but itself."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import date
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import pyarrow as pa
import pytest
import report_builder as build
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import Bench

from checker import plugins, stats
from checker.attacks import families
from checker.attacks.api import (
    GROUP,
    Attack,
    CellEvidence,
    Measuring,
    Metric,
    Observations,
    Params,
    by_name,
    load_attack,
)
from checker.attacks.families import (
    Auroc,
    AurocDifference,
    AveragePrecision,
    DifferenceInDifferences,
    ExposedMembers,
    Family,
    Gap,
    MeanDifference,
    Measurement,
    Power,
    Rate,
    RateDifference,
    Sample,
    SetDifference,
    SplitAuroc,
    TruePositiveRate,
)
from checker.attacks.families.samples import Clusters, Ranked
from checker.attacks.membership_inference.measure import MembershipMeasuring
from checker.attacks.tables import booleans
from checker.attacks.wording import AttackWords, MetricWords
from checker.errors import DocumentError, InsufficientData
from checker.planning.builder import PlanBuilder
from checker.planning.cells import control_cell, metric_of
from checker.planning.model import Cell
from checker.planning.sample_size import sample_needed
from checker.plugins import BUILT_IN
from checker.policy import load_policy, resolve_attacker
from checker.policy.documents import Limit
from checker.policy.lint import lint
from checker.report.disclosure_control import for_audience
from checker.stats.estimate import Estimate

FAMILIES: list[Family[Any]] = [
    value()
    for name in families.__all__
    if isinstance(value := getattr(families, name), type)
    and issubclass(value, Family)
    and value is not Family
]
COUNTED: list[Family[Any]] = [Rate(), RateDifference(), DifferenceInDifferences()]


def named(family: Family[Any]) -> str:
    return type(family).__name__


# --- facts --------------------------------------------------------------------------------------


def test_families_load_no_number_crunching() -> None:
    code = "import sys, checker.attacks.families; print({'numpy', 'scipy'} & {*sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_equal_families_are_one_key_and_parameters_tell_them_apart() -> None:
    assert Rate() == Rate()
    assert len({Rate(), Rate(), RateDifference()}) == 2
    assert TruePositiveRate(0.1) != TruePositiveRate(0.01)
    assert len({TruePositiveRate(0.1), TruePositiveRate(0.1)}) == 1


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_whatever_rests_on_the_split_has_a_placebo(family: Family[Any]) -> None:
    own = type(family).placebo is not Family.placebo
    # where the threshold is the nonmembers' own, halves of them say nothing of it
    theirs = isinstance(family, TruePositiveRate | ExposedMembers)
    expected = family.is_excess or (family.separates_splits and not theirs)
    assert own == expected


def test_every_metric_that_is_built_in_has_a_family_that_is_exported() -> None:
    known = {type(family) for family in FAMILIES}
    for name in BUILT_IN[GROUP]:
        for metric in load_attack(name).metrics.values():
            assert type(metric.family) in known


def test_a_control_over_a_reference_changes_the_family_where_there_is_one() -> None:
    params = load_attack("attribute-disclosure").params()
    metrics = load_attack("attribute-disclosure").metrics
    excess = metrics["excess_disclosure"].in_control(contrast="reference", params=params)
    assert excess.family == DifferenceInDifferences()
    assert not excess.may_stop_early  # no bounds hold after every patient of two models
    rate = metrics["disclosure_rate"].in_control(contrast="reference", params=params)
    assert rate.family == Rate()


def test_a_true_positive_rate_is_at_the_price_that_the_control_names() -> None:
    attack = load_attack("membership-inference")
    params = attack.params.model_validate({"fpr": 0.05})
    metric = attack.metrics["membership_tpr_at_fpr"].in_control(
        contrast="nonmembers", params=params
    )
    assert metric.family == TruePositiveRate(0.05)


# --- clusters -----------------------------------------------------------------------------------


@given(hits=st.integers(0, 60), misses=st.integers(0, 60))
@settings(deadline=None, derandomize=True)
def test_patients_with_prompts_of_their_own_are_counted_one_by_one(hits: int, misses: int) -> None:
    clusters = Clusters.of_counts(hits, hits + misses)
    if hits + misses == 0:
        with pytest.raises(InsufficientData):
            clusters.counted()
        return
    found, patients = clusters.counted()
    assert found == pytest.approx(hits)
    assert patients == hits + misses


def test_patients_who_share_a_prompt_count_as_kish_says() -> None:
    # two prompts, of three and of one patient: n is 4² / (9 + 1) = 1.6, so one; the rate is 3/4
    clusters = Clusters.by_prompt(np.array([1.0, 1, 1, 0]), np.array([5, 5, 5, 9]))
    assert clusters.value.tolist() == [1.0, 0.0]
    assert clusters.counted() == (0.75, 1)


def test_differences_are_discordant_in_one_direction_or_the_other() -> None:
    clusters = Clusters(np.array([1.0, -1.0, 0.0, 0.5]), np.ones(4, dtype=np.int64))
    assert clusters.discordant() == (1.5, 1.0, 4)


def test_nobody_is_named_for_who_is_missing() -> None:
    nobody = Clusters.of_counts(0, 0, of="eligible members")
    with pytest.raises(InsufficientData, match="0 eligible members"):
        Rate().measure(nobody, confidence=0.95)


def test_where_more_are_planned_bounds_hold_at_every_number() -> None:
    value, size = np.array([1.0] * 3 + [0.0] * 47), np.ones(50, dtype=np.int64)
    inside, outside = (Clusters(value, size, partial=True) for _ in range(2))
    found = RateDifference().measure(inside, outside, confidence=0.95)
    expected = stats.sequential_difference(3, 50, 3, 50, confidence=0.95)
    assert found.estimate == expected
    assert found.members == stats.sequential_rate(3, 50, confidence=0.95)


# --- what zero hits give, and what a sample can decide ------------------------------------------


def hitless(family: Family[Any], n: int) -> Measurement:
    clusters = Clusters.of_counts(0, n)
    return family.measure(clusters, clusters, confidence=0.95)


@pytest.mark.parametrize("family", COUNTED, ids=named)
@pytest.mark.parametrize("n", [20, 59, 84, 300])
def test_the_plan_announces_the_bound_that_zero_hits_have(family: Family[Any], n: int) -> None:
    found = hitless(family, n)
    bound = family.zero_hit_bound(found, confidence=0.95)
    announced = family.power(0.05, Sample(members=n, nonmembers=n), confidence=0.95, base_rate=0.02)
    assert bound is not None
    assert bound == pytest.approx(announced.zero_hit_bound)
    assert found.estimate.high == pytest.approx(bound)
    assert announced.can_pass == (bound <= 0.05)


@pytest.mark.parametrize(
    ("family", "needed"),
    [(Rate(), 59), (RateDifference(), 59), (MeanDifference(), 69),
     (DifferenceInDifferences(), 84), (SetDifference(), 59)],
    ids=lambda value: named(value) if isinstance(value, Family) else str(value),
)  # fmt: skip
def test_the_fewest_are_those_whom_zero_hits_pass(family: Family[Any], needed: int) -> None:
    # 1 - 0.05^(1/59) = 0.0495, and √2 · (1 - 0.05^(1/84)) = 0.0495. Of a mean nobody knows that its
    # values are coins: bets of c = 0.85 win 69 · ln(1 + 0.85 · 0.05/0.95) = 3.02 where ln 20 = 3.00
    # exclude 0.05.
    assert family.positives_needed(0.05, confidence=0.95) == needed
    for n, enough in ((needed - 1, False), (needed, True)):
        sample = Sample(members=n, nonmembers=n, rollouts=n)
        assert family.power(0.05, sample, confidence=0.95, base_rate=0).can_pass is enough


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_a_sample_of_nobody_can_decide_nothing(family: Family[Any]) -> None:
    nobody = Sample(members=0, nonmembers=0)
    limit = 0.6 if family.largest is not None else 3.0
    found = family.power(limit, nobody, confidence=0.95, base_rate=0.02)
    assert not found.can_pass
    assert not found.pass_probability


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_more_patients_never_take_a_pass_away(family: Family[Any]) -> None:
    limit = 0.6 if family.largest is not None else 3.0
    able = [
        family.power(
            limit,
            Sample(members=n, nonmembers=n, rollouts=n, members_negative=n, nonmembers_negative=n),
            confidence=0.95,
            base_rate=0.02,
        ).can_pass
        for n in (10, 60, 160, 320, 1000)
    ]
    assert able == sorted(able)


def test_average_precision_lacks_patients_without_the_class_too() -> None:
    few = Sample(members=400, nonmembers=400, members_negative=50, nonmembers_negative=400)
    assert not AveragePrecision().power(0.5, few, confidence=0.95, base_rate=0.0).can_pass
    ranked = Ranked(np.arange(450.0), np.arange(450) < 400, np.arange(450) >= 400)
    with pytest.raises(InsufficientData):
        AveragePrecision().measure(ranked, confidence=0.95)


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_a_chance_is_announced_by_what_ranks_and_by_nothing_else(family: Family[Any]) -> None:
    limit = 15.0 if isinstance(family, ExposedMembers) else 0.7
    chance = family.chance_of_pass(limit, positives=3000, patients=10_000, confidence=0.95)
    ranks = isinstance(
        family, Auroc | AurocDifference | SplitAuroc | TruePositiveRate | ExposedMembers
    )
    assert (chance is not None) == ranks
    if chance is not None:
        assert chance > 0.99


# --- placebos -----------------------------------------------------------------------------------


def misses(placebo: Any, null: float) -> int:
    """How many of 60 placebos at 99 % miss what they should hold."""
    return sum(not stats.contains(placebo(np.random.default_rng(i)), null) for i in range(60))


@pytest.mark.parametrize(
    "family",
    [RateDifference(), MeanDifference(), DifferenceInDifferences(), AurocDifference(),
     SplitAuroc()],
    ids=named,
)  # fmt: skip
def test_halves_of_one_group_seldom_differ(family: Family[Any]) -> None:
    rng = np.random.default_rng(7)
    n = 400
    groups: dict[bool, Any] = {
        True: Clusters((rng.random(n) < 0.2).astype(np.float64), np.ones(n, dtype=np.int64)),
        False: Ranked(rng.random(n), np.arange(n) % 2 == 0, np.arange(n) % 2 == 1),
    }
    group = groups[family.is_share]
    if isinstance(family, SplitAuroc):
        group = group.score

    def placebo(rng: np.random.Generator) -> Estimate:
        found = family.placebo(group, confidence=0.99, rng=rng)
        assert found is not None
        return found

    # two bounds at 99 %: more than 5 of 60 in 0.1 % of such tests
    assert misses(placebo, family.null_value) <= 5


def test_halves_that_are_too_small_to_rank_are_no_placebo() -> None:
    few = Ranked(np.arange(120.0), np.arange(120) < 60, np.arange(120) >= 60)
    assert AurocDifference().placebo(few, confidence=0.95, rng=np.random.default_rng(0)) is None


def test_the_placebo_of_a_gap_takes_half_as_many() -> None:
    values = np.random.default_rng(3).gamma(2.0, 1.0, 300)
    found = Gap().placebo(values, confidence=0.99, rng=np.random.default_rng(0))
    assert found is not None
    assert found.low < 0 < found.high
    with pytest.raises(InsufficientData):
        Gap().placebo(values[:299], confidence=0.99, rng=np.random.default_rng(0))


# --- a family of one's own ----------------------------------------------------------------------


class MedianGap(Family[Any]):
    """How much higher the median is for members, bounded by order statistics of each group."""

    name: ClassVar[str] = "median-gap"
    is_excess: ClassVar[bool] = True
    needs_identifying_prompts: ClassVar[bool] = False
    largest: ClassVar[float | None] = 4.0

    def measure(self, members: Any, nonmembers: Any, *, confidence: float) -> Measurement:
        inside, outside = (self._median(group, confidence) for group in (members, nonmembers))
        gap = Estimate(
            inside.value - outside.value,
            inside.low - outside.high,
            inside.high - outside.low,
            inside.n + outside.n,
            confidence,
            "order statistics",
        )
        return Measurement(gap, inside, outside)

    def _median(self, values: Any, confidence: float) -> Estimate:
        if len(values) < 20:
            raise InsufficientData(
                "patients", needed=20, got=len(values), reason="too-few-patients"
            )
        reach = stats.clopper_pearson(len(values) / 2, len(values), confidence=confidence)
        low, middle, high = np.quantile(values, [float(reach[0]), 0.5, float(reach[1])])
        return Estimate(middle, low, high, len(values), confidence, "order statistics")

    def placebo(
        self, nonmembers: Any, *, confidence: float, rng: np.random.Generator
    ) -> Estimate | None:
        shuffled = rng.permutation(nonmembers)
        return self.measure(shuffled[::2], shuffled[1::2], confidence=confidence).estimate

    def power(self, limit: float, sample: Sample, *, confidence: float, base_rate: float) -> Power:
        return Power.of_sizes(sample, needed=20)

    def chance_of_pass(
        self, limit: float, *, positives: int, patients: int, confidence: float
    ) -> float | None:
        return 0.0 if limit < 0.1 else 1.0


class ToyParams(Params):
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class ToyObservations(Observations):
    member: Any
    score: Any


class ToyMeasuring(Measuring[Any, ToyParams]):
    def observations(self, evidence: CellEvidence) -> Any:
        table = pa.concat_tables(evidence.tables["scores"])
        return ToyObservations(booleans(table, "member"), table["loss"].to_numpy())

    def group(self, metric: Metric, observations: Any, *, member: bool, params: ToyParams) -> Any:
        return observations.score[observations.member == member] * params.scale


TOY = Attack(
    name="toy",
    package="toy_attack",
    access="logprobs",
    params=ToyParams,
    needs_whole_record=True,
    metrics=by_name(
        Metric(
            "median_gap",
            MedianGap(),
            words=MetricWords("median gap", "higher", "number", "A gap.", "excess"),
        )
    ),
)
WORDS = AttackWords("Toy", "Medians are compared.", "It shows little.", "Toy: who scores higher?")

POLICY = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: ward, version: "1.0"}
spec:
  context: internal
  attackers:
    insider: {title: Insider, knows: {static: [age], events: all}, access: logprobs}
  controls:
    medians:
      title: No higher medians
      probe: toy
      metric: median_gap
      params: {scale: 2.0}
      limits:
        insider: {fail: LIMIT}
      cites: [a-law]
  citations:
    a-law: {title: A law, basis: legal-duty, addressee: hospitals}
"""


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed attack with a metric of the family above."""

    class Entry:
        name, group = "toy", GROUP

        def load(self) -> Attack:
            return TOY

    monkeypatch.setattr(
        "checker.plugins._third_party", lambda group: {"toy": Entry()} if group == GROUP else {}
    )
    for name, parts in (
        ("toy_attack", {}),
        ("toy_attack.measure", {"MEASURE": ToyMeasuring()}),
        ("toy_attack.words", {"WORDS": WORDS}),
    ):
        module = module_from_spec(ModuleSpec(name, None))
        vars(module).update(parts)
        monkeypatch.setitem(sys.modules, name, module)


def policy_of(limit: float) -> Any:
    return load_policy(Path("p.yaml"), text=POLICY.replace("LIMIT", str(limit)))


def cell_of(limit: float, *, n: int, jobs: list[str] | None = None) -> Cell:
    spec = policy_of(limit).document.spec
    return control_cell(
        spec,
        "medians",
        resolve_attacker(spec, "insider"),
        "all",
        ToyParams(scale=2.0),
        sample=Sample(members=n, nonmembers=n),
        missing_capability=None,
        labels=None,
        jobs=jobs or [],
    )


@pytest.mark.usefixtures("toy")
def test_a_new_family_says_which_limits_policies_may_set() -> None:
    assert policy_of(0.5).warnings == ()
    with pytest.raises(DocumentError, match="5 must be at most 4"):
        policy_of(5.0)
    with pytest.raises(DocumentError, match="is not a share of patients"):
        load_policy(Path("p.yaml"), text=POLICY.replace("fail: LIMIT", "maxCount: 0, minN: 9"))


@pytest.mark.usefixtures("toy")
def test_a_new_family_says_which_limits_are_out_of_reach() -> None:
    assert lint([policy_of(0.5)], on=date(2029, 1, 1)) == ()
    (warning,) = lint([policy_of(0.05)], on=date(2029, 1, 1))
    assert "chance of a pass 0%" in warning.message


@pytest.mark.usefixtures("toy")
def test_a_new_family_is_planned() -> None:
    assert cell_of(0.5, n=40).power == Power(can_pass=True)
    assert cell_of(0.5, n=19).power == Power(
        can_pass=False, needed_more=1, needed_more_nonmembers=1
    )
    metric = metric_of(cell_of(0.5, n=40))
    assert metric.family == MedianGap()
    fewest = sample_needed(metric, Limit(fail=0.5), confidence=0.95, base_rate=0.02)
    assert fewest == (20, None)


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("shift", "n", "verdict", "reason"),
    [
        (0.0, 300, "pass", None),
        (1.0, 300, "fail", None),
        (0.25, 30, "inconclusive", "bounds-straddle-limit"),
        (0.0, 15, "inconclusive", "too-few-patients"),
    ],
)
def test_a_new_family_is_judged(shift: float, n: int, verdict: str, reason: str | None) -> None:
    bench = Bench()
    bench.membership("toy", shift=shift, n=n)  # its evidence, but not its cell
    (membership,) = bench.cells
    bench.cells[:] = [cell_of(0.5, n=n, jobs=membership.jobs)]
    (finding,) = bench.judge().findings
    assert (finding.verdict, finding.reason) == (verdict, reason)
    if n == 300:
        assert finding.measurement is not None
        # scores of a ladder on [0, 1), twice as far apart by the attack's parameter
        assert finding.measurement.estimate.value == pytest.approx(2 * shift, abs=0.01)
        assert finding.placebo is not None


def raising(*_: Any, **__: Any) -> Any:
    raise KeyError("a patient \n\x1b[31m" + 300 * "x")


def leaving(*_: Any, **__: Any) -> Any:
    raise SystemExit(0)


def no_number(*_: Any, confidence: float, **__: Any) -> Measurement:
    return Measurement(Estimate(math.nan, math.nan, math.nan, 5, confidence, "made up"))


def no_estimate(*_: Any, **__: Any) -> Any:
    return Measurement(cast("Any", SimpleNamespace(low=0.0, high=0.0, n=9)))


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("place", "fault", "says"),
    [
        ("observations", raising, "KeyError"),
        ("group", raising, "KeyError"),
        ("measure", raising, "KeyError"),
        ("measure", leaving, "SystemExit: 0"),
        ("measure", no_number, "bounds out of order"),
        ("measure", no_estimate, "no Measurement"),
        ("placebo", raising, "KeyError"),
        ("detection", raising, "KeyError"),
        ("roc", raising, "KeyError"),
    ],
)
def test_an_attack_of_somebody_else_that_fails_ends_in_error_alone(
    monkeypatch: pytest.MonkeyPatch, place: str, fault: Any, says: str
) -> None:
    bench = Bench()
    bench.membership("toy", shift=0.0, n=300)
    (membership,) = bench.cells
    bench.cells.append(cell_of(0.5, n=300, jobs=membership.jobs))
    before = {one.cell.probe: one for one in bench.judge().findings}
    assert before["toy"].verdict == "pass"
    monkeypatch.setattr(ToyMeasuring, place, fault)
    judged = bench.judge()
    found = {one.cell.probe: one for one in judged.findings}
    assert (found["toy"].verdict, found["toy"].reason) == ("error", "measure-crashed")
    assert says in found["toy"].explanation
    assert "\n" not in found["toy"].explanation
    assert len(found["toy"].explanation) < 300
    assert found[membership.probe].verdict == before[membership.probe].verdict
    assert judged.verdict != "pass"


def test_a_built_in_attack_that_fails_is_a_mistake_to_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    bench.membership("m", shift=0.0, n=300)
    monkeypatch.setattr(MembershipMeasuring, "group", raising)
    with pytest.raises(KeyError):
        bench.judge()


def test_another_version_of_a_plug_in_asks_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "toys_of_old"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "run.py").write_text("DRAWS = 3")
    monkeypatch.syspath_prepend(str(tmp_path))
    attack = replace(TOY, package="toys_of_old", kinds={"toys": ("toy",)})
    dist = SimpleNamespace(name="phigate-toys", version="1.0")
    entry = SimpleNamespace(name="toy", group=GROUP, load=lambda: attack, dist=dist)
    monkeypatch.setattr(
        "checker.plugins._third_party", lambda group: {"toy": entry} if group == GROUP else {}
    )

    def job() -> str:
        plugins._package_digest.cache_clear()
        made = PlanBuilder.job(cast("Any", None), "toys", "t", {"above": 1}, runs_on="evidence")
        assert made.inputs["plugin"]["distribution"] == "phigate-toys"
        return made.digest

    first = job()
    assert job() == first
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "run.pyc").write_bytes(b"compiled")
    assert job() == first
    (package / "run.py").write_text("DRAWS = 4")
    changed = job()
    assert changed != first
    dist.version = "1.1"
    assert job() not in {first, changed}
    own = PlanBuilder.job(cast("Any", None), "canaries", "t", {}, runs_on="target")
    assert "plugin" not in own.inputs


@pytest.mark.usefixtures("toy")
def test_a_new_family_that_is_no_share_is_shared_rounded_outward() -> None:
    cell = build.membership_cell(0.251, 0.212, 0.287, probe="toy", metric="median_gap", roc=None)
    (shown,) = for_audience(build.report_of([cell], "pass"), "shared").cells
    assert shown.estimate is not None
    assert (shown.estimate.low, shown.estimate.high) == (0.21, 0.29)
