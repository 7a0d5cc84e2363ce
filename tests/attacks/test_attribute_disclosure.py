"""T2: what the continuations' q tells of a class, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from measuring import measured, placebo_of
from numpy.typing import NDArray

from checker.attacks.attribute_disclosure import ATTACK, AttributeDisclosureParams
from checker.attacks.attribute_disclosure.measure import DisclosureObservations
from checker.attacks.families import Measurement
from checker.errors import InsufficientData
from checker.stats.estimate import Estimate

RANKINGS = ["attribute_auroc", "attribute_auprc"]


def observed(
    *groups: tuple[str, Sequence[float] | NDArray[np.float64]],
    shared_by: int = 1,
    member: bool = True,
) -> DisclosureObservations:
    """Patients of one split by kind: eligible, beyond the horizon, or without the class."""
    kinds = [kind for kind, q in groups for _ in q]
    n = len(kinds)
    q = np.array([value for _, own in groups for value in own], dtype=np.float64)
    return DisclosureObservations(
        member=np.full(n, member),
        positive=np.array([kind != "without" for kind in kinds]),
        is_eligible=np.array([kind == "eligible" for kind in kinds]),
        q=q,
        above=q > 0.5,
        prompt=np.arange(n) // shared_by,
        base=None,
        unanswered=0,
    )


def together(
    first: DisclosureObservations, second: DisclosureObservations
) -> DisclosureObservations:
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("member", "positive", "is_eligible", "q", "above")
    }
    prompt = np.concatenate([first.prompt, second.prompt + len(first.prompt)])
    return DisclosureObservations(**columns, prompt=prompt, base=None, unanswered=0)


def measure(metric: str, observations: DisclosureObservations) -> Measurement:
    return measured(
        ATTACK,
        metric,
        observations,
        params=AttributeDisclosureParams(),
        contrast=contrast_of(observations),
    )


def contrast_of(observations: DisclosureObservations) -> str:
    return "nonmembers" if observations.reference_q is None else "reference"


def placebo(metric: str, observations: DisclosureObservations) -> Estimate | None:
    return placebo_of(
        ATTACK,
        metric,
        observations,
        params=AttributeDisclosureParams(),
        contrast=contrast_of(observations),
    )


# --- precision and recall -----------------------------------------------------------------------


def test_recall_is_of_the_eligible_and_precision_of_the_named() -> None:
    observations = observed(
        ("eligible", [0.9] * 6 + [0.5] * 4),  # 0.5 does not exceed the threshold
        ("beyond", [0.9] * 2),
        ("without", [0.6] * 4 + [0.1] * 84),
    )
    reported = measure("disclosure_rate", observations).reported
    # six of ten eligible; of the twelve named, six eligible and two beyond the horizon have it
    assert (reported["recall"].value, reported["recall"].n) == (0.6, 10)
    assert reported["precision"].value == pytest.approx(8 / 12)
    assert reported["precision"].n == 12


def test_there_is_no_precision_where_nobody_without_the_class_was_asked() -> None:
    reported = measure("disclosure_rate", observed(("eligible", [0.9] * 10))).reported
    assert list(reported) == ["recall"]


def test_named_patients_of_one_prompt_are_one_observation() -> None:
    # four patients a prompt: twelve named are three prompts
    observations = observed(
        ("eligible", [0.9] * 8), ("without", [0.9] * 4), ("without", [0.1] * 8), shared_by=4
    )
    precision = measure("disclosure_rate", observations).reported["precision"]
    assert precision.value == pytest.approx(2 / 3)
    assert precision.n == 3


@pytest.mark.parametrize("metric", [*ATTACK.metrics])
def test_every_limitable_metric_comes_with_precision_and_recall(metric: str) -> None:
    if not ATTACK.metrics[metric].limitable:
        return
    q = np.arange(400) / 400
    split = observed(("eligible", q[200:]), ("without", q[:200]))
    nonmembers = observed(("eligible", q[::2]), ("without", q[1::2]), member=False)
    reported = measure(metric, together(split, nonmembers)).reported
    # members: the 199 eligible above 0.5, and nobody without the class
    assert reported["recall"].value == pytest.approx(199 / 200)
    assert reported["precision"].value == 1.0


# --- ranking ------------------------------------------------------------------------------------


def split_of(leak: float, *, member: bool, seed: int = 0) -> DisclosureObservations:
    """150 eligible and 350 without the class, the former's q higher by `leak` on average."""
    rng = np.random.default_rng([seed, int(member)])
    return observed(
        ("eligible", np.clip(rng.beta(2, 8, 150) + leak, 0, 1)),
        ("without", rng.beta(2, 8, 350)),
        member=member,
    )


@pytest.mark.parametrize(("metric", "chance"), [("attribute_auroc", 0.5), ("attribute_auprc", 0.3)])
def test_a_leaking_target_ranks_members_and_a_sound_one_does_not(
    metric: str, chance: float
) -> None:
    # chance is 0.5 for AUROC, and for average precision the share of positives, 150 of 500
    outside = split_of(0.0, member=False)
    leaking = together(split_of(0.3, member=True), outside)
    sound = together(split_of(0.0, member=True), outside)
    assert measure(metric, leaking).estimate.low > chance + 0.2
    assert measure(metric, sound).estimate.high < chance + 0.2
    excess = f"excess_{metric}"
    found = measure(excess, leaking)
    assert found.estimate.low > 0.1
    assert found.members is not None
    assert found.nonmembers is not None
    assert found.estimate.value == pytest.approx(found.members.value - found.nonmembers.value)
    assert measure(excess, sound).estimate.low < 0 < measure(excess, sound).estimate.high


def test_a_class_beyond_the_horizon_is_neither_found_nor_missed() -> None:
    q = np.linspace(0, 0.4, 150)
    plain = observed(("eligible", q + 0.5), ("without", q))
    more = observed(("eligible", q + 0.5), ("without", q), ("beyond", [0.0] * 100))
    for metric in RANKINGS:
        assert measure(metric, plain).estimate == measure(metric, more).estimate
        assert measure(metric, plain).estimate.value == 1.0


def test_average_precision_of_both_splits_is_at_one_share_of_positives() -> None:
    # the same scores in both splits, but positives are half of the members and a fifth of the
    # nonmembers: nothing is in excess
    q = np.arange(600) / 600
    inside = observed(("eligible", q[300:]), ("without", q[:300] + 0.25))
    outside = observed(("eligible", q[300::2]), ("without", [*(q[:300] + 0.25)] * 2), member=False)
    found = measure("excess_attribute_auprc", together(inside, outside))
    assert found.estimate.value == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("metric", RANKINGS)
def test_too_few_to_rank_are_refused(metric: str) -> None:
    with pytest.raises(InsufficientData):
        measure(metric, observed(("eligible", [0.5] * 49), ("without", [0.1] * 300)))


@pytest.mark.parametrize("metric", [f"excess_{metric}" for metric in RANKINGS])
def test_a_placebo_of_nonmembers_holds_zero_and_is_left_out_for_few(metric: str) -> None:
    many = together(
        split_of(0.0, member=False),
        together(split_of(0.0, member=False, seed=1), split_of(0.3, member=True)),
    )
    found = placebo(metric, many)
    assert found is not None
    assert found.low < 0 < found.high
    assert placebo(metric, observed(("eligible", [0.1] * 60), ("without", [0.1] * 60))) is None


# --- beyond a reference model -------------------------------------------------------------------


def with_reference(
    q: Sequence[float], reference_q: Sequence[float], *, member: bool
) -> DisclosureObservations:
    found = observed(("eligible", q), member=member)
    q_there = np.array(reference_q, dtype=np.float64)
    return replace(found, reference_q=q_there, reference_above=q_there > 0.5)


def contrasted(
    inside: DisclosureObservations, outside: DisclosureObservations
) -> DisclosureObservations:
    both = [split.reference_q for split in (inside, outside) if split.reference_q is not None]
    assert len(both) == 2
    q_there = np.concatenate(both)
    return replace(together(inside, outside), reference_q=q_there, reference_above=q_there > 0.5)


def test_what_a_reference_model_tells_too_is_subtracted() -> None:
    # of 100 members the target tells 40, the reference 30 of the same; of 100 nonmembers both tell
    # the same 10: (0.4 - 0.1) - (0.3 - 0.1) = 0.1
    observations = contrasted(
        with_reference([0.9] * 40 + [0.1] * 60, [0.9] * 30 + [0.1] * 70, member=True),
        with_reference([0.9] * 10 + [0.1] * 90, [0.9] * 10 + [0.1] * 90, member=False),
    )
    found = measure("excess_disclosure", observations)
    assert found.estimate.value == pytest.approx(0.1)
    assert found.estimate.low > 0
    assert found.members is not None
    assert found.members.value == pytest.approx(0.1)
    assert found.nonmembers is not None
    assert found.nonmembers.value == 0.0
    # q differs by 0.8 in ten members of a hundred
    assert measure("excess_mean_q", observations).estimate.value == pytest.approx(0.08)
    zero = placebo("excess_disclosure", observations)
    assert zero is not None
    assert zero.low <= 0 <= zero.high
    # nothing but members' rate is left where nothing is compared
    assert measure("disclosure_rate", observations).estimate.value == 0.4


def test_members_who_are_easier_for_any_model_are_no_leak() -> None:
    observations = contrasted(
        with_reference([0.9] * 40 + [0.1] * 60, [0.1] * 3 + [0.9] * 40 + [0.1] * 57, member=True),
        with_reference([0.1] * 100, [0.1] * 100, member=False),
    )
    # three members each way: discordant, and no difference
    found = measure("excess_disclosure", observations).estimate
    assert found.value == pytest.approx(0.0)
    assert found.low < 0 < found.high
