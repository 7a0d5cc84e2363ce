"""The calibration study in short: error rates at the limit, and that broken bounds are caught."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks import calibration
from benchmarks.calibration import audit_point, sequential_point, shared_prompts
from benchmarks.calibration_exact import curtailed
from benchmarks.calibration_tables import Point, Study, as_json, draw_figure, text
from benchmarks.known_evidence import measured
from benchmarks.known_truths import TRUTHS, Design, designs
from benchmarks.remembered_draws import remembered
from checker import stats
from checker.attacks.api import load_attack
from checker.attacks.families import ExposedMembers
from checker.attacks.families.samples import Clusters
from checker.stats import auc, intervals
from checker.stats.estimate import Estimate

# the smaller size of each family, at both background rates or shapes of scores
SMALL = [design for i, design in enumerate(designs()) if i % 2 == 0]
COUNTED = [d for d in SMALL if d.family not in {"auprc", "auprc-difference", "gap", "bits"}]
RESAMPLED = [d for d in SMALL if d.family in {"auprc", "gap", "bits"}]


def allowed(audits: int) -> int:
    """Errors that a sound estimator exceeds in 1 of 1,000 such studies."""
    return int(binom.isf(1e-3, audits, 0.05))


def errors(point: Point) -> int:
    """The commoner of the verdicts that are wrong at this truth."""
    return max(point.counts[verdict] for verdict in point.false)


def one(family: str, setting: str = "") -> Design:
    return next(d for d in SMALL if d.family == family and setting in d.setting)


def test_every_family_with_limits_that_can_be_passed_is_studied() -> None:
    probes = ("attribute-disclosure", "trajectory-memorization", "embedding-probe",
              "membership-inference", "canary-exposure", "identifier-perturbation")  # fmt: skip
    limited = {
        metric.family.name
        for name in probes
        for metric in load_attack(name).metrics.values()
        if metric.limitable and metric.can_pass
    }
    elsewhere = {ExposedMembers.name}  # a number of people: `benchmarks/exposed_members.py`
    assert limited - elsewhere <= {design.family for design in designs()}
    assert len({design.key for design in designs()}) == len(list(designs()))


@pytest.mark.parametrize("design", COUNTED, ids=lambda design: design.key)
def test_at_the_limit_few_audits_pass_or_fail(design: Design) -> None:
    point = audit_point(design, "at the limit", audits=150, judged=1)
    assert errors(point) <= allowed(150)  # 17
    assert point.contradicted == 0


@pytest.mark.parametrize("design", RESAMPLED, ids=lambda design: design.key)
def test_at_the_limit_few_audits_of_what_is_resampled_pass_or_fail(design: Design) -> None:
    point = audit_point(design, "at the limit", audits=30)
    assert errors(point) <= allowed(30)  # 6


@pytest.mark.parametrize("family", ["rate", "rate-difference", "auroc", "set-difference"])
def test_what_is_far_from_its_limit_is_called_so(family: str) -> None:
    design = one(family)
    sound = audit_point(design, "no leak", audits=60)
    leaking = audit_point(design, "well outside", audits=60, judged=1)
    assert sound.share("pass") > 0.6
    assert sound.counts["fail"] <= 1
    assert leaking.share("fail") > 0.6
    assert leaking.counts["pass"] == 0
    assert leaking.contradicted == 0


def test_as_many_audits_pass_as_the_plan_announces() -> None:
    for family, setting in (
        ("rate", ""), ("rate-difference", ""), ("mean-difference", "as planned"), ("auroc", "")
    ):  # fmt: skip
        point = audit_point(one(family, setting), "no leak", audits=400)
        assert point.announced is not None
        # three standard errors of a share of 400 are at most 7.5 points
        spread = math.sqrt(point.announced * (1 - point.announced) / 400)
        assert point.off_power == pytest.approx(0.0, abs=3 * spread + 0.02)


@pytest.mark.parametrize(
    ("family", "setting"),
    [
        ("rate-difference", ""), ("auroc", ""), ("auprc", ""), ("gap", ""), ("bits", ""),
        ("tpr", ""), ("mean-difference", "compensators"), ("auroc-difference", "compensators"),
        ("rate-difference", "extraction"),
    ],
)  # fmt: skip
def test_the_truth_is_what_the_target_was_asked_for(family: str, setting: str) -> None:
    design = one(family, setting)
    truth = design.truth("well outside")
    draw, rng = design.target(truth), np.random.default_rng(5)
    with remembered():
        found = np.array(
            [measured(design, draw(rng, rng), confidence=0.95).estimate.value for _ in range(30)]
        )
    assert found.mean() == pytest.approx(truth, abs=4 * found.std() / math.sqrt(30) + 0.005)


# --- broken bounds are caught by the same audits --------------------------------------------------


def test_a_threshold_taken_as_known_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def naive(members: Any, nonmembers: Any, *, fpr: float, confidence: float) -> Estimate:
        threshold = np.quantile(nonmembers, 1 - fpr)
        return stats.rate(int((members > threshold).sum()), len(members), confidence=confidence)

    monkeypatch.setattr(stats, "tpr_at_fpr", naive)
    broken = audit_point(one("tpr", "shifted"), "at the limit", audits=200)
    assert errors(broken) > allowed(200)


def test_a_wald_interval_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def wald(x: float, n: int, *, confidence: float) -> Estimate:
        reach = 1.645 * math.sqrt(x / n * (1 - x / n) / n)
        return Estimate(x / n, x / n - reach, x / n + reach, n, confidence, "wald")

    # 6 of 100 have the bound 0.06 + 1.645 · 0.0237 = 0.099, and P(Bin(100, 0.1) <= 6) = 11.7 %
    monkeypatch.setattr(stats, "rate", wald)
    broken = audit_point(one("rate"), "at the limit", audits=400)
    assert errors(broken) > allowed(400)


def test_a_spread_that_is_too_small_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = auc.auroc

    def bold(positive: Any, negative: Any, *, confidence: float) -> Estimate:
        found = sound(positive, negative, confidence=confidence)
        low, high = ((found.value + bound) / 2 for bound in (found.low, found.high))
        return Estimate(found.value, low, high, found.n, confidence, "half of delong")

    monkeypatch.setattr(stats, "auroc", bold)
    broken = audit_point(one("auroc"), "at the limit", audits=100)
    assert errors(broken) > allowed(100)


def test_a_bound_that_forgets_the_error_is_caught_at_the_judge_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the judged audits see the whole judge: a comparison of another mind contradicts them
    monkeypatch.setattr(
        calibration,
        "compare_with_limit",
        lambda cell, found, confidence: type("F", (), {"verdict": "pass"}),
    )
    point = audit_point(one("rate"), "well outside", audits=3, judged=3)
    assert point.contradicted == 3
    assert study_of([point]).unmet


# --- drawing less, shared prompts -----------------------------------------------------------------


@pytest.mark.parametrize("family", ["rate", "rate-difference"])
def test_stopping_early_spares_patients_and_keeps_the_error(family: str) -> None:
    design = next(d for d in designs() if d.family == family and "300" in d.size)
    limit = sequential_point(design, "at the limit", audits=150, judged=1)
    assert errors(limit) <= allowed(150)
    plain = sequential_point(design, "well outside", audits=60, judged=1)
    assert plain.counts["pass"] == 0
    assert plain.drawn < limit.drawn <= 1
    assert limit.contradicted == plain.contradicted == 0


def test_peeking_at_fixed_bounds_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def fixed(hits: Any, n: Any, *, confidence: float) -> Any:
        return intervals.clopper_pearson(hits, n, confidence=0.95)

    monkeypatch.setattr(calibration, "confidence_sequence", fixed)
    design = next(d for d in designs() if d.family == "rate" and "300" in d.size)
    broken = sequential_point(design, "at the limit", audits=300)
    assert errors(broken) > allowed(300)


def test_patients_who_share_prompts_are_not_counted_one_by_one() -> None:
    found = shared_prompts(audits=50)
    assert max(row["by_prompt"] for row in found) <= allowed(50) / 50  # 16 %
    assert max(row["by_patient"] for row in found) > 0.2


def test_counting_by_patient_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def naive(clusters: Clusters) -> tuple[float, int]:
        return float(clusters.value @ clusters.size), int(clusters.size.sum())

    monkeypatch.setattr(Clusters, "counted", naive)
    assert max(row["by_prompt"] for row in shared_prompts(audits=50)) > allowed(50) / 50


def test_curtailed_sampling_spares_half_where_nothing_hits_and_changes_no_outcome() -> None:
    found = {row["q"]: row for row in curtailed()}
    # 20 samples and more than 10 hits for a disclosure: 10 misses settle it
    assert found[0.0]["saved"] == pytest.approx(0.5)
    # drawn 10, then 2 at a time: after 12 hits it is settled
    assert found[1.0]["saved"] == pytest.approx(0.4)
    assert max(row["changed"] for row in found.values()) < 1e-12


def test_remembered_draws_give_the_bounds_of_the_probe() -> None:
    gaps = calibration.short_cuts([one("gap"), one("auprc", "tied"), one("bits")], audits=1)
    assert gaps["gap"] < 1e-12
    assert gaps["auprc"] < 1e-12
    assert gaps["bits"] < 0.05  # other draws of the same law, in bits


def study_of(points: list[Point]) -> Study:
    return Study(points, [], [], [], [], {}, {})


def test_the_study_says_in_text_figures_and_a_drawing_what_it_found(tmp_path: Path) -> None:
    points = [audit_point(one("rate"), name, audits=30, judged=1) for name in TRUTHS]
    found = study_of(points)
    assert "disclosure" not in text(found)
    assert "pass / inconclusive / fail" in text(found)
    document = json.loads(as_json(found))
    # 30 audits cannot show an error rate of at most 7 %: even none gives 1 - 0.05^(1/30) = 9.5 %
    assert any("where 7% is allowed" in sentence for sentence in document["unmet"])
    value, low, high = document["points"][0]["shares"]["pass"]
    assert low <= value <= high
    draw_figure(found, tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")
