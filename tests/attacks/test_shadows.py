"""Models taught on half of the patients who are asked about, and what they add to T4's score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from auditing import phigate, write_policy
from numpy.typing import NDArray

from checker.attacks.membership_inference import learner
from checker.attacks.membership_inference.learner import learned_scores
from checker.attacks.membership_inference.plan import ShadowPatients
from checker.attacks.membership_inference.run import shadow_features, shadow_lessons
from checker.planning import AuditPlan, Cell, with_policy
from checker.planning.reference_patients import RECIPE, learned_lengths, training_pieces
from checker.policy import load_policy
from checker.run.prepare import Prepared, prepare
from checker.stats import auroc
from checker.targets.engine.reference import train_shadow

N = 400


def policy_with(folder: Path, shadows: int, **params: Any) -> Path:
    control: dict[str, Any] = {
        "probe": "membership-inference",
        "params": {"shadows": shadows, **params},
        "metric": "membership_auroc",
        "limits": {"record": {"fail": 0.7}},
    }
    return write_policy(folder / f"shadows-{shadows}.yaml", {"membership": control})


@pytest.fixture(scope="module")
def without(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> AuditPlan:
    policy = policy_with(tmp_path_factory.mktemp("without"), 0)
    return prepare(policy, simulated_targets / "sound.yaml").audit.plan


@pytest.fixture(scope="module")
def beside_four(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    policy = policy_with(tmp_path_factory.mktemp("beside"), 4)
    return prepare(policy, simulated_targets / "sound.yaml")


def test_each_pair_teaches_everybody_once_and_the_plan_counts_it(
    simulated_targets: Path, tmp_path: Path, without: AuditPlan, beside_four: Prepared
) -> None:
    target = simulated_targets / "sound.yaml"
    prepared, plan = beside_four, beside_four.audit.plan
    assert without.jobs_of("membership-shadows") == []
    jobs = plan.jobs_of("membership-shadows")
    assert len({job.digest for job in jobs}) == 4
    (learned,) = plan.jobs_of("membership-scores")
    assert {job.digest for job in jobs} <= set(learned.needs)
    assert plan.cost.training_tokens > without.cost.training_tokens
    code, said = phigate("plan", policy_with(tmp_path, 4), target)
    assert code == 0
    assert "4 models beside on halves of those who are asked about" in " ".join(said.split())
    found = [prepared.audit.workload.inputs[job.digest] for job in jobs]
    lots = []
    for one in found:
        assert isinstance(one, ShadowPatients)
        lots.append(set(one.order))
        member = np.array([is_member for is_member, _ in one.patients])
        # as many members as there are of all, whoever is drawn
        assert abs(member[one.order].mean() - member.mean()) < 0.01
    everybody = set(range(len(found[0].patients)))
    assert lots[0] | lots[1] == lots[2] | lots[3] == everybody
    assert not lots[0] & lots[1]
    assert lots[0] != lots[2]
    assert _same_cohort_other_shadows(without, plan)


def _same_cohort_other_shadows(one: AuditPlan, other: AuditPlan) -> bool:
    """The model is asked the same with shadows and without; what is learned from it is not."""
    asked, learned = (
        [[job.digest for job in plan.jobs_of(kind)] for plan in (one, other)]
        for kind in ("membership-features", "membership-scores")
    )
    return asked[0] == asked[1] and learned[0] != learned[1]


def test_what_was_measured_with_another_number_of_shadows_answers_nobody(
    tmp_path: Path, beside_four: Prepared
) -> None:
    plan = beside_four.audit.plan
    (made,) = plan.cells

    def judged_for(shadows: int, **params: Any) -> Cell:
        (cell,) = with_policy(plan, load_policy(policy_with(tmp_path, shadows, **params))).cells
        return cell

    cell = judged_for(4)
    assert (cell.jobs, cell.params, cell.sample) == (made.jobs, made.params, made.sample)
    for other in (judged_for(0), judged_for(2), judged_for(6), judged_for(4, references=2)):
        assert (other.jobs, other.sample.members) == ([], 0)  # not run


def test_with_and_without_shadows_the_model_is_asked_once(
    simulated_targets: Path, tmp_path: Path, without: AuditPlan
) -> None:
    controls = {
        f"{what}-{count}": {
            "probe": "membership-inference",
            "params": {"shadows": count},
            "metric": metric,
            "limits": {"record": {"fail": 0.7}},
        }
        for what, metric in (("all", "membership_auroc"), ("few", "membership_tpr_at_fpr"))
        for count in (0, 2, 4)
    }
    target = simulated_targets / "sound.yaml"
    plan = prepare(write_policy(tmp_path / "all.yaml", controls), target).audit.plan
    asked = [[job for job in one.jobs if job.runs_on == "target"] for one in (plan, without)]
    assert asked[0] == asked[1]
    assert plan.cost.forward_tokens == without.cost.forward_tokens
    # who trains two models has trained them for four, and a number learns once for all metrics
    assert len(plan.jobs_of("membership-shadows")) == 4
    assert len(plan.jobs_of("membership-scores")) == 3


def test_half_a_shadow_is_refused(tmp_path: Path, simulated_targets: Path) -> None:
    with pytest.raises(Exception, match="multiple of 2"):
        prepare(policy_with(tmp_path, 3), simulated_targets / "sound.yaml")


def test_a_shadow_says_after_each_pass_what_it_says_of_records_and_learns_its_own() -> None:
    rng = np.random.default_rng(0)
    records = [rng.integers(0, 12, 10).astype(np.int32) for _ in range(24)]
    recipe = {**RECIPE, "max_epochs": 12, "dropout": 0.0, "width": 32}
    passes: list[list[float]] = []
    train_shadow(
        records[:12],
        records,
        known=np.arange(12, dtype=np.int32),
        recipe=recipe,
        seed=1,
        each=lambda scores: passes.append([float(one.logprob.mean()) for one in scores]),
    )
    said = np.array(passes)
    assert said.shape == (12, 24)
    taught, others = said[-1, :12].mean(), said[-1, 12:].mean()
    assert taught > said[0, :12].mean()
    assert taught > others + 0.2  # what was taught is known by heart, for nothing else is there


def test_a_record_without_end_is_not_all_that_a_model_is_taught(
    beside_four: Prepared,
) -> None:
    workload = beside_four.audit.workload
    plain = workload.split(False)
    endless = np.tile(plain.record(0).tokens, 50_000 // len(plain.record(0).tokens))
    records = replace(
        plain,
        tokens=np.concatenate([endless, plain.tokens]),
        offsets=np.concatenate([[0], plain.offsets + len(endless)]),
    )
    everybody = np.arange(len(records.offsets) - 1)  # the endless one is the first by lot
    lengths = learned_lengths(np.diff(records.offsets), context=256)
    pieces = training_pieces(records, everybody, lengths=lengths, context=256, tokens=20_000)
    assert sum(map(len, pieces[0])) < 1_000
    assert len(pieces) > 20_000 / 256


@pytest.mark.parametrize("endless", [True, False])
def test_who_is_said_to_have_taught_a_shadow_did(beside_four: Prepared, *, endless: bool) -> None:
    """Though one split's records are so long that its own median would allow twenty times more."""
    workload = beside_four.audit.workload
    splits = {}
    for who in (True, False):
        plain, times = workload.split(who), 40 if who is endless else 1
        own = [np.tile(plain.record(i).tokens, times) for i in range(200)]
        splits[who] = replace(
            plain,
            tokens=np.concatenate(own),
            offsets=np.concatenate([[0], np.cumsum([len(one) for one in own])]),
        )
    few = 60 if endless else 200  # of the endless, so that the middle record is a short one
    patients = [(True, i) for i in range(few)] + [(False, i) for i in range(260 - few)]
    chosen = ShadowPatients(patients, list(range(260)), np.zeros(0, np.int32))
    pieces, is_taught = shadow_lessons(splits, chosen, context=64, tokens=6_000)
    shares = [is_taught[:few].mean(), is_taught[few:].mean()]
    assert 0 < shares[0] == pytest.approx(shares[1], abs=0.02)
    # nobody else's tokens, and nobody's missing: each brings what any record of that length does
    lengths = learned_lengths(
        np.array([len(splits[who].record(i).tokens) for who, i in patients]), context=64
    )
    assert sum(map(len, pieces)) == lengths[is_taught].sum()


class World:
    """Records of very different difficulty, under a target and shadows of one recipe.

    Args:
        leak: by how much a record is likelier to a model that was taught on it.
    """

    def __init__(self, leak: float, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        hard = rng.normal(-2.5, 0.5, 2 * N)
        self.member = np.arange(2 * N) < N
        names = [f"p{i}" for i in range(2 * N)]

        def said(taught: NDArray[np.bool_], stage: float = 0.0) -> NDArray[np.float64]:
            return hard + stage + leak * taught + rng.normal(0, 0.1, 2 * N)

        self.table = pa.table({"patient": names, "classic@loss": said(self.member)})
        self.shadows = []
        for _ in range(2):
            half = rng.random(2 * N) < 0.5
            for taught in (half, ~half):
                # it knows less before the pass that is as far as the target, and more after it
                passes = np.stack(
                    [said(taught, -1.0), said(taught), said(taught) + 0.8 * taught], axis=1
                )
                order = rng.permutation(2 * N)
                self.shadows.append(
                    pa.table(
                        {
                            "patient": [names[i] for i in order],
                            "taught": taught[order],
                            "logprob": pa.array(passes[order].tolist(), pa.list_(pa.float32())),
                        }
                    )
                )
        self.fitted = rng.random(2 * N) < 1 / 3


def told(world: World) -> tuple[float, float]:
    """AUROC of the loss, and of what is learned beside shadows, on the same judged patients."""
    seen, unseen = shadow_features(world.table, world.shadows, world.fitted & ~world.member)
    assert (seen.shape, unseen.shape) == ((2 * N, 4), (2 * N, 2))
    judged = world.member[~world.fitted]
    found = learned_scores(seen, world.member, world.fitted)
    blind = learned_scores(unseen, world.member, world.fitted)
    low, high = (
        getattr(auroc(blind[judged], blind[~judged], confidence=0.999), side)
        for side in ("low", "high")
    )
    assert low < 0.5 < high  # shadows alone know nothing of who is a member
    loss = world.table["classic@loss"].to_numpy()[~world.fitted]
    return tuple(auroc(one[judged], one[~judged], confidence=0.95).value for one in (loss, found))  # type: ignore[return-value]


def test_shadows_tell_how_hard_a_record_is_and_so_who_was_taught() -> None:
    loss, learned = told(World(leak=0.2))
    assert loss < 0.65
    assert learned > 0.8


def test_a_model_that_finds_a_few_absurd_chooses_no_other_pass() -> None:
    world = World(leak=0.2)
    said = world.table["classic@loss"].to_numpy().copy()
    others = world.fitted & ~world.member
    plain = shadow_features(world.table, world.shadows, others)
    said[np.flatnonzero(others)[:3]] = -1e6
    absurd = world.table.set_column(1, "classic@loss", pa.array(said))
    found = shadow_features(absurd, world.shadows, others)
    assert np.array_equal(found[1], plain[1])  # what shadows alone say of everybody


def test_of_a_model_that_saw_nobody_shadows_tell_nothing() -> None:
    _, learned = told(World(leak=0.0, seed=1))
    assert 0.43 < learned < 0.57


def test_a_column_alone_is_taken_where_it_says_more() -> None:
    rng = np.random.default_rng(2)
    member = np.arange(300) < 150
    clear = member + rng.normal(0, 0.7, 300)
    noise = rng.normal(0, 1, (300, 60))
    fitted = rng.random(300) < 1 / 3
    features = np.column_stack([noise, clear])
    judged = member[~fitted]

    def auc(alone: list[int]) -> float:
        found = learned_scores(features, member, fitted, alone=alone)
        return auroc(found[judged], found[~judged], confidence=0.95).value

    assert auc([60]) > auc([]) + 0.05
    # a column that is nothing is not taken
    assert auc([0]) == auc([])


def known_found(seed: int, *, alone: list[int]) -> float:
    """Share of 36 known members of 600 above all nonmembers but one, beside two columns of noise.

    Averages hardly see so few, and by chance the two columns may tell "more". Another column hides
    them in some cohorts however the columns are chosen.
    """
    rng = np.random.default_rng(seed)
    member = np.arange(1000) < 600
    features = rng.normal(0, 0.5, (1000, 22))
    features[:, :20] += rng.normal(0, 1, (1000, 1))
    known = rng.permutation(600)[:36]
    features[known, :20] += 6
    fitted = rng.random(1000) < 1 / 3
    scores = learned_scores(features, member, fitted, alone=alone)
    judged = np.flatnonzero(~fitted)
    highest = np.sort(scores[~member[judged]])[-2]
    return float((scores[np.isin(judged, known)] > highest).mean())


def test_a_part_that_tells_nothing_loses_nobody_whom_all_columns_find(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds = range(1, 11)

    def lost() -> int:
        return sum(one - known_found(seed, alone=[20, 21]) > 0.2
                   for seed, one in zip(seeds, whole, strict=True))  # fmt: skip

    whole = [known_found(seed, alone=[]) for seed in seeds]
    assert sum(one > 0.5 for one in whole) >= 5  # there is something to lose
    assert lost() == 0
    monkeypatch.setattr(learner, "BEYOND_CHANCE", -np.inf)
    assert lost() >= 3
