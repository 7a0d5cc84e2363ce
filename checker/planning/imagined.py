"""Plans of cohorts that nobody has: what a policy could decide with patients of a known kind.

A plan counts a cohort's own patients. Before there is one, a profile of patients says who has which
class and how far an attacker who knows so much can reach; with it the cells of a policy get samples
of any size, and everything that `plan` announces follows (METHODS §6, *How many patients*). Splits
are taken to be dealt by lot, descriptions to be right and confirmed by the trainer's tokens, and
nobody to have a near-duplicate. Nobody is spare, so that nonmembers teach the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated

from pydantic import Field

from checker.attacks.api import load_attack
from checker.attacks.families import Power, Sample
from checker.canonical import JsonModel, digest
from checker.errors import EvidenceError
from checker.json_text import read_json
from checker.planning.cells import control_cell, decides
from checker.planning.model import (
    AuditPlan,
    Cell,
    ClassSnapshot,
    Cost,
    DataSnapshot,
    Job,
    TargetSnapshot,
)
from checker.planning.protocol import planning_of
from checker.planning.release import comparability_of, with_prospects
from checker.planning.snapshots import policy_snapshot
from checker.policy import Located, load_target, resolve_attacker
from checker.policy.classes import pooled
from checker.policy.documents import Knowledge, LeakagePolicy, PolicySpec
from checker.policy.documents.target import Expectation
from checker.policy.library import library_names
from checker.records.prompt_format import FORMAT_PATIENTS_NEEDED
from checker.resources import resource

FILE = "policies/operating/cohorts.json"
NOTHING, STATIC, ALL = "nothing", "static", "all"
Share = Annotated[float, Field(ge=0, le=1)]


class CohortProfile(JsonModel):
    """Patients of one kind.

    Args:
        name: short, as a command takes it.
        title: what records these are.
        source: which data set it was counted in.
        classes: how many patients have exactly these classes of the library; "" is none, and
            others are joined by spaces.
        horizon_tokens: of the continuations that `within_reach` was counted for.
        within_reach: share of those who have a class and whose code an attacker reaches: "nothing"
            known, "static" facts, the first so many events, or "all" up to the code.
        distinct_prompts: share of prompts that are distinct, by the same.
    """

    name: str
    title: str
    source: str
    classes: dict[str, int]
    horizon_tokens: int
    within_reach: dict[str, Share]
    distinct_prompts: dict[str, Share]

    @property
    def patients(self) -> int:
        """How many it was counted in."""
        return sum(self.classes.values())

    def share(self, spec: PolicySpec, name: str) -> float:
        """Return the share of patients who have a policy's class, a pool's or a library's."""
        parts = set(pooled(spec.attribute_classes, name))
        having = sum(n for held, n in self.classes.items() if parts & {*held.split()})
        return having / self.patients

    def reach(self, knows: Knowledge, *, horizon_tokens: int) -> float:
        """Return the share of those who have a class that an attacker reaches.

        A shorter horizon than was counted reaches in proportion less.
        """
        found = self.within_reach[_rung(knows, self.within_reach)]
        if knows.chooses_events:  # is asked right before the class
            return found
        return found * min(1.0, horizon_tokens / self.horizon_tokens)

    def distinct(self, knows: Knowledge) -> float:
        """Return the share of an attacker's prompts that are distinct."""
        return self.distinct_prompts[_rung(knows, self.distinct_prompts)]


class CohortProfiles(JsonModel):
    """The profiles that phigate ships."""

    cohorts: list[CohortProfile]


def _rung(knows: Knowledge, rungs: dict[str, float]) -> str:
    if knows.chooses_events:
        return ALL
    known = max(int(knows.events or 0), (knows.tokens or 0) // 2)  # half tell of events or fewer
    if not known:
        return STATIC if knows.static else NOTHING
    below = [int(rung) for rung in rungs if rung.isdecimal() and int(rung) <= known]
    return str(max(below)) if below else STATIC


@cache
def shipped_profiles() -> dict[str, CohortProfile]:
    """Return the shipped profiles by name."""
    path = resource(FILE)
    found = CohortProfiles.model_validate(read_json(path.read_bytes()))
    return {one.name: one for one in found.cohorts}


def profiles_sha256() -> str:
    """Return the digest of what the shipped profiles say."""
    return digest([one.model_dump(mode="json") for one in shipped_profiles().values()])


def imagined_plan(
    policy: Located[LeakagePolicy], profile: CohortProfile, *, members: int, nonmembers: int
) -> AuditPlan:
    """Return the plan of a cohort of so many patients of one kind; it is shown and never run.

    Subgroups other than all are left out, for how many patients are of one is a cohort's own, and
    so are controls that rest on a file of their own, such as planted canaries.

    Args:
        policy: resolved.
        profile: of whom.
        members: of the training split, > 0.
        nonmembers: apart, > 0.

    Raises:
        EvidenceError: nothing decides, or a class that does is none of the library.
    """
    spec = policy.document.spec
    jobs = _jobs()
    if strange := _own_classes(spec):
        raise EvidenceError(
            f"{policy.file}: how many patients have {', '.join(strange[:3])} is known of a target's"
            " patients alone, for only the library's classes were counted"
        )
    cells = list(_cells(spec, profile, members=members, nonmembers=nonmembers))
    if not cells:
        raise EvidenceError(f"{policy.file}: nothing in it decides that can be imagined")
    plan = AuditPlan(
        policy=policy_snapshot(policy),
        target=_target(),
        data=DataSnapshot(
            name=profile.name, sha256="0" * 64, members=members, nonmembers=nonmembers, events=0,
            tokens=0, tokens_left_out=0, unknown_events=0, unknown_share=0.0, commonest_unknown={},
            unused_tokens=[], unexplained_tokens=[],
        ),
        classes={
            name: ClassSnapshot(
                title=name,
                codes_in_data=int(profile.share(spec, name) > 0),
                watch=[1],
                unmatched=[],
            )
            for name in spec.attribute_classes
        },
        cells=cells,
        jobs=jobs,
        comparability=Power(can_pass=True),
        nonmember_jobs=["extraction"],
        cost=Cost(
            forward_tokens=0, forward_tokens_unshared=0, rollout_tokens=0, rollout_tokens_unshared=0
        ),
        seed=spec.parameters.seed,
        confidence=spec.parameters.confidence,
        sequential=spec.parameters.sampling.sequential,
    )  # fmt: skip
    return with_prospects(plan.model_copy(update={"comparability": comparability_of(plan)}))


def _own_classes(spec: PolicySpec) -> list[str]:
    """Return the classes that a deciding control asks for and the library does not have."""
    asked = [
        part
        for control in spec.controls.values()
        if control.attribute_class
        and any(decides(spec, control, resolve_attacker(spec, name)) for name in control.limits)
        for part in pooled(spec.attribute_classes, control.attribute_class)
    ]
    known = set(library_names())
    return [name for name in dict.fromkeys(asked) if name not in known]


def _cells(
    spec: PolicySpec, profile: CohortProfile, *, members: int, nonmembers: int
) -> Iterator[Cell]:
    for name, control in spec.controls.items():
        attack = load_attack(control.probe)
        planning, params = planning_of(attack), attack.params.model_validate(control.params)
        if planning.path(params) is not None or "all" not in control.subgroups:
            continue
        for attacker_name in control.limits:
            attacker = resolve_attacker(spec, attacker_name)
            if not decides(spec, control, attacker):
                continue  # it is shown whatever it finds, and lets through and stops nothing
            distinct = profile.distinct(attacker.knows)
            if control.attribute_class is None:
                sample = planning.imagined(
                    params, attack.metrics[control.metric], members=members, nonmembers=nonmembers
                )
                if planning.rollouts(params) is not None:
                    sample = sample.model_copy(update={"distinct_prompt_share": distinct})
            else:
                share = profile.share(spec, control.attribute_class)
                horizon = getattr(params, "horizon_tokens", profile.horizon_tokens)
                reached = profile.reach(attacker.knows, horizon_tokens=horizon)
                sample = _of_class(share, reached, members, nonmembers, distinct=distinct)
            yield control_cell(
                spec, name, attacker, "all", params, sample=sample, missing_capability=None,
                labels="labels" if control.attribute_class else None,
                jobs=["rollouts"] if planning.rollouts(params) else ["scores"],
            )  # fmt: skip


def _of_class(
    share: float, reached: float, members: int, nonmembers: int, *, distinct: float
) -> Sample:
    positive, other = round(share * members), round(share * nonmembers)
    return Sample(
        members=round(reached * share * members),
        nonmembers=round(reached * share * nonmembers),
        members_positive=positive,
        nonmembers_positive=other,
        members_negative=members - positive,
        nonmembers_negative=nonmembers - other,
        subgroup_members=members,
        distinct_prompt_share=distinct,
    )


def _jobs() -> list[Job]:
    """Return the jobs that checks look for: every check is there."""
    enough = {"patients": FORMAT_PATIENTS_NEEDED}
    found = {
        "labels": {}, "prompt-format": enough, "other-descriptions": {}, "record-parts": {},
        "expected-tokens": {}, "rollouts": {"watch": [[1]]}, "scores": {}, "extraction": {},
    }  # fmt: skip
    on_cohort = {"labels", "expected-tokens"}
    return [
        Job(
            digest=kind,
            kind=kind,
            title=kind,
            inputs=inputs,
            runs_on="cohort" if kind in on_cohort else "target",
        )
        for kind, inputs in found.items()
    ]


@cache
def _target() -> TargetSnapshot:
    """Return a target that can do everything, of a trainer who says what the tokens are."""
    document = load_target(resource("policies/starter/target.yaml")).document
    spec = document.spec
    declared = spec.model_copy(
        update={
            "data": spec.data.model_copy(update={"assignment": "random"}),
            "expect": Expectation.model_validate({"tokens": "./sample.parquet"}),
        }
    )
    return TargetSnapshot(
        document=document.model_copy(update={"spec": declared}),
        document_sha256="0" * 64, sha256="0" * 64,
        model_sha256="0" * 64, model_files={}, vocabulary_sha256="0" * 64, vocabulary_size=2,
        context_length=None, capabilities=["embeddings", "logprobs", "masses", "samples"],
    )  # fmt: skip
