"""As many patients are asked as cells take, drawn by lot; whoever is rare is never thinned out."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from auditing import phigate
from judging import AS_OF

from checker.attacks.api import columns_of
from checker.errors import ExitCode
from checker.evidence import EvidenceStore, tables_by_job
from checker.planning import CompiledAudit, compile_plan
from checker.planning.drawn import lot_order
from checker.planning.rejudge import with_policy
from checker.policy import load_policy, load_target
from checker.records.cohort import Cohort, load_cohort
from checker.records.duplicates import record_digests
from checker.records.prompts.shared import distinct_share, sharers
from checker.records.sample import TokenSample
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.run.stored import judge_run, load_run
from checker.testing.hospital import (
    CLASS_CODES,
    Hospital,
    disclosure,
    write_hospital,
    write_policy,
    write_simulated_target,
)
from checker.testing.simulated import SimulatedBackend
from checker.verdict.comparability import base_rate_scores
from checker.verification.demands import _strange
from checker.verification.run import verify_run

HOSPITAL = Hospital(3200, 3200, events=24, codes=120, classes=3, prevalence=0.3, recurrence=0.1)
SETTINGS = {"samples": 4, "horizon_tokens": 20}
MODEL = "d" * 64
"""Digest of a model's files."""

MEMBERSHIP = {
    "title": "Nobody may tell who was in the training data",
    "probe": "membership-inference",
    "params": {"score": "loss"},
    "metric": "membership_auroc",
    "limits": {"record": {"fail": 0.6}},
}
REPEATED = {
    "title": "No true continuation may be repeated",
    "probe": "trajectory-memorization",
    "params": {"samples": 2, "horizonTokens": 10, "minRun": 3},
    "metric": "excess_extraction",
    "limits": {"events-10": {"fail": 0.1}},
}


def told(name: str, *, levels: tuple[str, ...] = ("events-10",), **control: Any) -> dict[str, Any]:
    return {**disclosure(name, levels=levels, **SETTINGS), **control}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospital")
    write_hospital(folder, HOSPITAL)
    write_simulated_target(folder, context_length=256)
    return folder


@cache
def cohort_of(folder: Path) -> Cohort:
    return load_cohort(load_target(folder / "target.yaml").document.spec.data, base=folder)


def compiled(
    folder: Path,
    controls: Mapping[str, Any],
    patients: int | str,
    *,
    cohort: Cohort | None = None,
    sample: TokenSample | None = None,
    **parameters: Any,
) -> CompiledAudit:
    parameters["sampling"] = {"patients": patients}
    policy = write_policy(folder / "policy.yaml", dict(controls), parameters=parameters)
    target = load_target(folder / "target.yaml")
    spec = target.document.spec
    return compile_plan(
        load_policy(policy),
        target,
        cohort=cohort or cohort_of(folder),
        tokenizer=Tokenizer(
            spec.tokenization, vocabulary=load_vocabulary(folder / "vocab.json"), base=folder
        ),
        description=SimulatedBackend().describe(spec.model, folder),
        sample=sample,
    )


def asked(audit: CompiledAudit, control: str) -> dict[bool, set[int]]:
    """Return the subjects of a control's first cell who are eligible, members under True."""
    (cell,) = (one for one in audit.plan.cells if one.control == control)
    assert cell.labels is not None
    found = audit.workload.labels[cell.labels]
    cohort = audit.workload.cohort
    return {
        side: set(records.subject_id[found.split(side).eligible].tolist())
        for side, records in ((True, cohort.members), (False, cohort.nonmembers))
    }


# --- who is drawn -------------------------------------------------------------------------------


def test_what_an_audit_costs_does_not_grow_with_the_cohort(hospital: Path, tmp_path: Path) -> None:
    larger = Hospital(6400, 6400, events=24, codes=120, classes=3, prevalence=0.3, recurrence=0.1)
    write_hospital(tmp_path, larger)
    write_simulated_target(tmp_path, context_length=256)
    controls = {"hiv": told("hiv"), "membership": MEMBERSHIP, "repeated": REPEATED}
    plans = [compiled(folder, controls, "auto").plan for folder in (hospital, tmp_path)]
    sizes = [(plan.data.members, plan.data.lot, len(plan.jobs)) for plan in plans]
    assert [size[0] for size in sizes] == [3200, 6400]
    assert sizes[0][1:] == sizes[1][1:] == ((2000, 2000), sizes[0][2])
    costs = [plan.cost.rollout_tokens for plan in plans]
    assert costs[0] == costs[1]
    assert abs(plans[0].cost.forward_tokens / plans[1].cost.forward_tokens - 1) < 0.02
    for plan in plans:
        samples = [cell.sample for cell in plan.cells]
        assert [(one.members, one.nonmembers) for one in samples] == [
            (300, 300), (2000, 2000), (300, 300)
        ]  # fmt: skip
        chances = [cell.power.pass_probability or 0 for cell in plan.cells]
        assert min(chances) >= 1 - 0.05 / 3


def test_who_is_rare_is_never_thinned_out(hospital: Path) -> None:
    everybody = compiled(
        hospital, {"hiv": told("hiv", limits={"events-10": {"fail": 0.01}})}, "all"
    )
    drawn = compiled(hospital, {"hiv": told("hiv", limits={"events-10": {"fail": 0.01}})}, "auto")
    assert drawn.plan.data.lot == (2000, 2000)  # of nobody else there have to be more
    assert asked(drawn, "hiv") == asked(everybody, "hiv")
    assert drawn.plan.cells[0].sample.members > 600
    assert drawn.plan.cells[0].power == everybody.plan.cells[0].power


def test_a_stricter_policy_draws_more_and_finds_what_was_measured(hospital: Path) -> None:
    controls = {"hiv": told("hiv"), "membership": MEMBERSHIP, "repeated": REPEATED}
    some, more = (compiled(hospital, controls, patients) for patients in (1100, 2200))
    few, many = (compiled(hospital, {"hiv": told("hiv")}, patients) for patients in (300, 700))
    for side in (True, False):
        assert asked(few, "hiv")[side] < asked(many, "hiv")[side]
        assert asked(some, "repeated")[side] < asked(more, "repeated")[side]
    kinds = Counter(
        job.kind
        for job in more.plan.jobs
        if job.digest in {one.digest for one in some.plan.jobs} and job.uses_model
    )
    assert kinds["scores"] == 2  # the first 1,024 members, and nonmembers
    assert kinds["rollouts"] >= 8
    kept = {job.digest for job in few.plan.jobs if job.kind == "rollouts"}
    assert len(kept & {job.digest for job in many.plan.jobs}) == 2


def test_one_class_draws_nobody_for_another(hospital: Path) -> None:
    # patients with two classes would come to the second more often than they are
    alone = compiled(hospital, {"hiv": told("hiv")}, 200)
    both = compiled(hospital, {"psychosis": told("psychosis"), "hiv": told("hiv")}, 200)
    assert asked(both, "hiv") == asked(alone, "hiv")
    assert both.plan.data.asked > alone.plan.data.asked
    (cell,) = (one for one in both.plan.cells if one.control == "hiv")
    assert cell.sample.members_negative == alone.plan.cells[0].sample.members_negative


def test_the_draw_hangs_on_seed_model_and_records_alone(hospital: Path) -> None:
    digests = record_digests(cohort_of(hospital).members)
    order = lot_order(digests, seed=7, model=MODEL)
    assert sorted(order.tolist()) == list(range(3200))
    turned = np.random.default_rng(0).permutation(3200)
    assert (
        digests[turned][lot_order(digests[turned], seed=7, model=MODEL)] == digests[order]
    ).all()
    without = lot_order(digests[1:], seed=7, model=MODEL) + 1
    assert without.tolist() == [place for place in order.tolist() if place]
    for other in (
        lot_order(digests, seed=8, model=MODEL),
        lot_order(digests, seed=7, model="e" * 64),
    ):
        assert len(set(order[:400].tolist()) & set(other[:400].tolist())) < 100


def test_nobody_is_spared_by_a_model_that_knows_policy_and_patients(
    hospital: Path, tmp_path: Path
) -> None:
    """Who was asked of one model is no more and no less asked of the next."""
    controls = {"hiv": told("hiv"), "membership": MEMBERSHIP}
    known = compiled(hospital, controls, "auto")
    trained = shutil.copytree(hospital, tmp_path / "trained")
    model = trained / "model.json"
    content = json.loads(model.read_text())
    share = content["unigram"]
    share[-1], share[-2] = share[-2], share[-1]
    model.write_text(json.dumps(content))
    audit = compiled(trained, controls, "auto", cohort=cohort_of(hospital))
    assert audit.plan.data.lot == known.plan.data.lot == (2000, 2000)
    for side in (True, False):
        spared = asked(known, "hiv")[side]
        met = asked(audit, "hiv")[side]
        assert len(spared) == len(met) == 300
        assert 40 < len(met - spared) < 260
    lots = [set(one.workload.cohort.members.subject_id[:2000].tolist()) for one in (known, audit)]
    assert 650 < len(lots[0] - lots[1]) < 850  # 2000 of 3200 twice: 750 of the first alone
    jobs = [{job.digest for job in one.plan.jobs} for one in (known, audit)]
    assert not jobs[0] & jobs[1]


def test_everybody_is_drawn_as_often_as_everybody_else(hospital: Path) -> None:
    digests = record_digests(cohort_of(hospital).members)[:60]
    drawn = Counter(
        place
        for seed in range(2000)
        for place in lot_order(digests, seed=seed, model=MODEL)[:15].tolist()
    )
    counts = np.array([drawn[place] for place in range(60)])
    expected = 2000 * 15 / 60
    spread = ((counts - expected) ** 2).sum() / (expected * (1 - 15 / 60))
    assert spread < 98.3  # chi-squared, 59 degrees of freedom, 0.1 %


def test_who_is_drawn_is_part_of_the_jobs(hospital: Path) -> None:
    controls = {"hiv": told("hiv"), "membership": MEMBERSHIP}
    plans = [
        compiled(hospital, controls, 300),
        compiled(hospital, controls, 301),
        compiled(hospital, controls, 300, seed=8),
        compiled(hospital, controls, "all"),
    ]
    for kind in ("labels", "comparability", "prompt-format"):
        digests = [job.digest for audit in plans for job in audit.plan.jobs_of(kind)]
        assert len(set(digests)) == len(digests)


# --- what a draw must not hide ------------------------------------------------------------------


def test_one_who_must_not_be_repeated_is_looked_for_among_all(hospital: Path) -> None:
    control = {**REPEATED, "metric": "extraction_rate"}
    never = {**control, "limits": {"events-10": {"maxCount": 0, "minN": 50}}}
    plan = compiled(hospital, {"never": never}, "auto").plan
    everybody = compiled(hospital, {"never": never}, "all").plan
    assert plan.cells[0].sample.members == everybody.cells[0].sample.members > 2000


NOBODY_RECITED = {
    "title": "Nobody's record may come out",
    "probe": "trajectory-memorization",
    "params": {"length": 4, "windows": "any"},
    "metric": "extractable_share",
    "limits": {"record": {"maxCount": 0, "minN": 50}},
}


def test_one_who_must_not_be_recited_is_looked_for_and_nobody_else_asks_more(
    hospital: Path,
) -> None:
    share = {
        **NOBODY_RECITED,
        "params": {"length": 3, "windows": "any"},
        "limits": {"record": {"fail": 0.1}},
    }
    others = {"membership": MEMBERSHIP, "recited": share, "hiv": told("hiv")}
    alone = compiled(hospital, others, "auto")
    both = compiled(hospital, {**others, "nobody": NOBODY_RECITED}, "auto")
    assert both.plan.data.lot == alone.plan.data.lot == (2000, 2000)
    assert both.plan.data.asked[0] == 3200
    cells = {cell.control: cell for cell in both.plan.cells}
    assert [cell.sample for cell in both.plan.cells[:3]] == [
        cell.sample for cell in alone.plan.cells
    ]
    assert (cells["nobody"].sample.members, cells["recited"].sample.members) == (3200, 2000)
    own = {job.digest: job for job in both.plan.jobs}
    of_others = {job.digest for job in alone.plan.jobs if job.uses_model or job.training_tokens}
    assert of_others < own.keys()
    members = {
        both.workload.cohort.members.subject_id[index]
        for name in cells["nobody"].jobs
        for is_member, index in both.workload.scored.get(name, [])
        if is_member
    }
    assert len(members) == 3200
    # who else holds a window is looked up among as many, for nonmembers too
    held_by = {
        name: [
            own[job].inputs.get("heldBy")
            for job in cells[name].jobs
            if own[job].kind == "extraction"
        ]
        for name in ("nobody", "recited")
    }
    assert set(held_by["nobody"]) == {"all"}
    assert set(held_by["recited"]) == {None}


def test_a_plan_that_looks_for_one_in_the_lot_alone_does_not_verify(hospital: Path) -> None:
    plan = compiled(hospital, {"nobody": NOBODY_RECITED}, "auto").plan
    spec, (cell,) = plan.policy.document.spec, plan.cells
    jobs = [job for job in plan.jobs if job.digest in cell.jobs]
    assert [_strange(cell, job, plan, spec) for job in jobs] == [None] * len(jobs)
    (first, *_) = (job for job in jobs if job.inputs["member"])
    inputs = {name: value for name, value in first.inputs.items() if name != "members"}
    found = _strange(cell, first.model_copy(update={"inputs": inputs}), plan, spec)
    assert found == "a job of a part of the members, of whom nobody may be hit"


def test_who_looks_for_the_same_windows_reads_the_same_jobs(hospital: Path) -> None:
    share = {**NOBODY_RECITED, "limits": {"record": {"fail": 0.1}}}
    plan = compiled(hospital, {"share": share, "nobody": NOBODY_RECITED}, "auto").plan
    assert plan.cells[0].jobs == plan.cells[1].jobs
    assert plan.cells[0].sample.members == 3200


def test_what_must_not_happen_is_judged_again_from_every_member_alone(hospital: Path) -> None:
    share = {**NOBODY_RECITED, "limits": {"record": {"fail": 0.1}}}
    for control, is_judged in ((NOBODY_RECITED, True), (share, False)):
        plan = compiled(hospital, {"nobody": control, "membership": MEMBERSHIP}, "auto").plan
        policy = write_policy(hospital / "other.yaml", {"nobody": NOBODY_RECITED})
        (cell,) = with_policy(plan, load_policy(policy)).cells
        assert bool(cell.jobs) is is_judged


def test_a_deciding_subgroup_is_asked_whole_where_it_is_small(hospital: Path) -> None:
    groups = ["all", {"ageOver": 78}]
    whole = compiled(hospital, {"hiv": told("hiv", subgroups=groups)}, "all").plan.cells[1]
    drawn = compiled(hospital, {"hiv": told("hiv", subgroups=groups)}, "auto").plan.cells[1]
    assert 0 < whole.sample.members < 300
    assert drawn.sample.members == whole.sample.members
    assert drawn.sample.subgroup_members == whole.sample.subgroup_members


def test_prompts_that_many_share_identify_nobody_in_a_draw_either(hospital: Path) -> None:
    control = {"hiv": told("hiv", levels=("static",))}
    whole, drawn = (compiled(hospital, control, patients) for patients in ("all", 150))
    share = whole.plan.cells[0].sample.distinct_prompt_share
    found = drawn.plan.cells[0].sample.distinct_prompt_share
    keys = [
        [key for key in drawn.workload.labels[str(drawn.plan.cells[0].labels)].members.keys if key]
    ]
    assert len(set(keys[0])) / len(keys[0]) > 0.8  # as if hardly anybody shared one
    assert share is not None
    assert found is not None
    assert found == pytest.approx(share, abs=0.08)
    assert max(share, found) < 0.8
    assert not drawn.plan.cells[0].power.can_pass


@pytest.mark.parametrize(
    ("sizes", "below"),
    [
        ([1] * 30_000, 0.01),
        ([2] * 15_000, 0.01),
        ([5] * 6_000, 0.01),
        ([300] + [1] * 29_700, 0.01),
        ([40] * 40 + [1] * 28_400, 0.02),
        ([2] * 4_000 + [1] * 22_000, 0.08),
        ([5] * 2_000 + [1] * 20_000, 0.25),
    ],
    ids=["nobody", "pairs", "fives", "a crowd", "crowds", "some pairs", "some fives"],
)
def test_how_many_share_a_prompt_is_told_from_a_draw(sizes: list[int], below: float) -> None:
    everybody = sum(sizes)
    names = [f"{n}".encode() for n, size in enumerate(sizes) for _ in range(size)]
    true = distinct_share(sharers(names, everybody=everybody))
    assert true is not None
    assert true == pytest.approx(len(sizes) / everybody)
    rng = np.random.default_rng(1)
    found = [
        distinct_share(
            sharers(
                [names[i] for i in rng.choice(everybody, 5000, replace=False)], everybody=everybody
            )
        )
        for _ in range(20)
    ]
    mean = float(np.mean(np.array(found, dtype=np.float64)))
    assert true - below <= mean <= true + 0.01  # never as if fewer shared one
    assert np.std(np.array(found, dtype=np.float64)) < 0.02


def test_a_predictor_of_the_class_speaks_of_all_whatever_was_drawn() -> None:
    # 3 % have the class; of those who have it all are drawn, of the others a fiftieth
    rng = np.random.default_rng(3)
    n = 40_000
    hint = rng.random(n) < 0.3
    positive = rng.random(n) < np.where(hint, 0.08, 0.01)
    outside = np.arange(n) >= n // 2
    drawn = positive | (rng.random(n) < 0.02)
    share = np.where(positive, 1.0, 0.02)[drawn & outside]
    prompts = [np.array([int(told), 2], dtype=np.int32) for told in hint[drawn]]
    scores = base_rate_scores(
        prompts,
        positive[drawn],
        ~outside[drawn],
        vocabulary_size=3,
        rng=np.random.default_rng(0),
        drawn=share,
    )
    weight = np.where(positive, 1.0, 50.0)[drawn]
    assert np.average(scores, weights=weight) == pytest.approx(positive.mean(), rel=0.1)
    assert 3 < scores[hint[drawn]].mean() / scores[~hint[drawn]].mean() < 8


def test_near_duplicates_and_unknown_codes_are_those_of_everybody(hospital: Path) -> None:
    cohort = cohort_of(hospital)
    members, nonmembers = cohort.members, cohort.nonmembers
    first = members.select(np.arange(3))
    copied = type(nonmembers)(
        subject_id=np.concatenate([nonmembers.subject_id, 10**6 + np.arange(3)]),
        offsets=np.concatenate([nonmembers.offsets, nonmembers.offsets[-1] + first.offsets[1:]]),
        code=np.concatenate([nonmembers.code, first.code]),
        time_us=np.concatenate([nonmembers.time_us, first.time_us]),
        value=np.concatenate([nonmembers.value, first.value]),
    )
    changed = Cohort(**{
        name: getattr(cohort, name)
        for name in ("name", "codes", "descriptions", "parents", "members", "files", "sha256")
    }, nonmembers=copied)  # fmt: skip
    plans = [
        compiled(hospital, {"hiv": told("hiv")}, patients, cohort=changed).plan
        for patients in (50, "all")
    ]
    assert [plan.data.copied for plan in plans] == [3, 3]
    assert plans[0].data.unused_tokens == plans[1].data.unused_tokens
    assert plans[0].data.events == plans[1].data.events
    assert plans[0].data.nonmembers == 3203


def test_the_trainers_sample_is_compared_whoever_is_drawn(hospital: Path) -> None:
    cohort = cohort_of(hospital)
    subjects = cohort.members.subject_id[:40]
    sample = TokenSample(subjects, [np.array([1])] * 40, "0" * 64)
    audit = compiled(hospital, {"hiv": told("hiv")}, 60, sample=sample)
    job = audit.plan.job("expected-tokens")
    assert job is not None
    found, records = audit.workload.inputs[job.digest].splits[True]
    assert set(found.tolist()) == set(subjects.tolist())
    assert len(records) == 40


def test_a_policy_that_asks_more_is_not_judged_from_fewer(hospital: Path) -> None:
    def judged(patients: int | str, limit: Mapping[str, float], *, drawn: int | str) -> bool:
        plan = compiled(hospital, {"rate": {**REPEATED, "metric": "extraction_rate"}}, drawn).plan
        control = {**REPEATED, "metric": "extraction_rate", "limits": {"events-10": limit}}
        sampling = {"sampling": {"patients": patients}}
        policy = write_policy(hospital / "other.yaml", {"rate": control}, parameters=sampling)
        (cell,) = with_policy(plan, load_policy(policy)).cells
        return bool(cell.jobs)

    some, never = {"fail": 0.05}, {"maxCount": 0, "minN": 5}
    assert judged("auto", some, drawn="auto")
    assert judged("auto", some, drawn="all")
    assert judged(40, some, drawn=50)
    assert judged(40, never, drawn="all")
    assert not judged("all", some, drawn="auto")
    assert not judged("auto", some, drawn=50)
    assert not judged("auto", never, drawn="auto")  # it would have asked everybody
    assert not judged(60, some, drawn=50)


# --- from end to end ----------------------------------------------------------------------------


def test_a_drawn_audit_is_judged_and_verified(hospital: Path, tmp_path: Path) -> None:
    controls = {
        "hiv": told("hiv", subgroups=["all", {"static": "sex"}]),
        "static": told("hiv", levels=("static",)),
        "membership": MEMBERSHIP,
        "repeated": REPEATED,
    }
    sampling = {"sampling": {"patients": 120}}
    controls["any"] = told("hiv")
    policy = write_policy(hospital / "policy.yaml", controls, parameters=sampling)
    document = yaml.safe_load(policy.read_text())
    classes = document["spec"]["attributeClasses"]
    classes["psychosis"] = {
        **classes["hiv"],
        "codes": [{**classes["hiv"]["codes"][0], "values": list(CLASS_CODES["psychosis"])}],
    }
    classes["grave"] = {"title": "Any grave diagnosis", "anyOf": ["hiv", "psychosis"]}
    document["spec"]["controls"]["any"]["attributeClass"] = "grave"
    policy.write_text(yaml.safe_dump(document))
    code, said = phigate(
        "check", policy, hospital / "target.yaml", "--out", tmp_path / "run", "--as-of", AS_OF,
        "--format", "json",
    )  # fmt: skip
    assert code in (ExitCode.FAIL, ExitCode.INCONCLUSIVE), said
    tmp_path /= "run"
    run = load_run(tmp_path)
    report = judge_run(run, as_of=AS_OF)
    cells = {cell.id: cell for cell in report.cells}
    estimate = cells["hiv/events-10/all"].estimate
    assert estimate is not None
    assert cells["static/static/all"].reason == "prompt-not-identifying"
    assert cells["membership/record/all"].estimate is not None
    assert cells["any/events-10/all"].estimate is not None
    tables = tables_by_job(EvidenceStore(tmp_path, columns_of), run.manifest)
    for job in run.plan.jobs_of("labels"):
        assert {"drawn", "shared"} <= set(tables[job.digest].column_names)
    statements = verify_run(tmp_path)
    assert [one.text for one in statements if one.holds is False] == []
