"""Compile a policy, a target and its cohort into cells and de-duplicated jobs.

A control becomes a cell for each attacker its limits name and each subgroup. Cells are lowered to
jobs (`lowering`, `jobs`); what several cells need is run once, whoever needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from checker.attacks.api import load_probe
from checker.attacks.canary_exposure.planted import PlantedCanaries
from checker.plan.cells import control_cell
from checker.plan.classes import match_classes
from checker.plan.jobs import FORMAT_PATIENTS, JobBook, Who
from checker.plan.lowering import Draft, Work, curtailments, lower, score_percents
from checker.plan.model import AuditPlan, Cost
from checker.plan.power import comparability_power
from checker.plan.snapshots import (
    class_snapshots,
    data_snapshot,
    policy_snapshot,
    target_snapshot,
)
from checker.plan.subgroups import Slice, slices
from checker.plan.workload import Workload
from checker.policy import Located, check_pair, resolve_attacker
from checker.policy.documents import AuditTarget, ControlSpec, LeakagePolicy
from checker.records.census import check_fields
from checker.records.cohort import Cohort
from checker.records.tokenization import Tokenizer
from checker.targets import TargetDescription

__all__ = ["FORMAT_PATIENTS", "CompiledAudit", "compile_plan"]


@dataclass(frozen=True, slots=True)
class CompiledAudit:
    """A plan, and the patients behind its jobs."""

    plan: AuditPlan
    workload: Workload


def compile_plan(
    policy: Located[LeakagePolicy],
    target: Located[AuditTarget],
    *,
    cohort: Cohort,
    tokenizer: Tokenizer,
    description: TargetDescription,
    reference: TargetDescription | None = None,
    canaries: Mapping[str, PlantedCanaries] | None = None,
) -> CompiledAudit:
    """Compile an audit plan; no model is loaded.

    Args:
        policy: validated, with its lines.
        target: validated, with its lines.
        cohort: members and nonmembers.
        tokenizer: of the target.
        description: what the model is and can do.
        reference: the same of the reference model, where the target names one.
        canaries: planted ones, by the manifest's path as the policy writes it.

    Returns:
        The plan and the work behind it. Equal inputs give equal plans, to the byte.

    Raises:
        DocumentError: the policy asks for something the target does not define, or none of its
            classes matches anything in the data and in the vocabulary.
        DataError: prompts do not fit the model.
    """
    check_pair(policy, target)
    descriptions: dict[Who, TargetDescription] = {"target": description}
    if reference is not None:
        descriptions["reference"] = reference
    book = JobBook(
        policy=policy,
        target=target,
        cohort=cohort,
        tokenizer=tokenizer,
        descriptions=descriptions,
        members=tokenizer.encode(cohort.members, cohort.codes),
        nonmembers=tokenizer.encode(cohort.nonmembers, cohort.codes),
        ranks=match_classes(policy, target, cohort=cohort, tokenizer=tokenizer),
        slices={},
        canaries=canaries or {},
    )
    check_fields(
        target.document.spec.tokenization, members=book.members, nonmembers=book.nonmembers
    )
    drafts = list(_drafts(book))
    # labels and scores record every slice, so all of them are known before the first job
    book.slices |= {draft.piece.name: draft.piece for draft in drafts}
    book.score_percents = score_percents(drafts)
    book.admissibility()
    curtailed = curtailments(book, drafts)
    spec = policy.document.spec
    cells = []
    # the checks that every cell rests on are nobody's own
    alone = Work(forward=sum(job.forward_tokens for job in book.jobs.values()))
    for draft in drafts:
        lowered = lower(book, draft, curtailed=curtailed)
        alone += lowered.alone
        cells.append(
            control_cell(
                spec,
                draft.control_name,
                draft.attacker,
                draft.piece.name,
                draft.params,
                sample=lowered.sample.model_copy(
                    update={"subgroup_members": int(draft.piece.members.sum())}
                ),
                missing_capability=lowered.missing,
                labels=lowered.labels,
                jobs=lowered.jobs,
            )
        )
    jobs = list(book.jobs.values())
    plan = AuditPlan(
        policy=policy_snapshot(policy),
        target=target_snapshot(
            target, description, reference=reference, vocabulary=tokenizer.vocabulary
        ),
        data=data_snapshot(
            cohort,
            book.members,
            book.nonmembers,
            tokenizer=tokenizer,
            vocabulary_size=description.vocabulary_size,
            max_length=book.max_length,
            window=book.window,
        ),
        classes=class_snapshots(spec, book.ranks),
        cells=cells,
        jobs=jobs,
        comparability=comparability_power(
            len(cohort.members),
            len(cohort.nonmembers),
            tolerance=spec.parameters.admissibility_tolerance,
            confidence=spec.parameters.confidence,
        ),
        cost=Cost(
            forward_tokens=sum(job.forward_tokens for job in jobs),
            rollout_tokens=sum(job.rollout_tokens for job in jobs),
            forward_tokens_unshared=alone.forward,
            rollout_tokens_unshared=alone.rollout,
        ),
        seed=book.seed,
        confidence=spec.parameters.confidence,
        sequential=book.is_sequential,
    )
    return CompiledAudit(plan, _workload(book))


def _drafts(book: JobBook) -> Iterator[Draft]:
    """Expand controls to cells, in the policy's order."""
    spec = book.policy.document.spec
    for name, control in spec.controls.items():
        params = load_probe(control.probe).params_type.model_validate(control.params)
        pieces = _slices(book, control)
        for attacker_name in control.limits:
            attacker = resolve_attacker(spec, attacker_name)
            for piece in pieces:
                yield Draft(name, control, attacker, piece, params)


def _slices(book: JobBook, control: ControlSpec) -> list[Slice]:
    return [
        piece
        for subgroup in control.subgroups
        for piece in slices(
            subgroup, cohort=book.cohort, members=book.members, nonmembers=book.nonmembers
        )
    ]


def _workload(book: JobBook) -> Workload:
    return Workload(
        cohort=book.cohort,
        tokenizer=book.tokenizer,
        members=book.members,
        nonmembers=book.nonmembers,
        sources=book.sources,
        slices=book.slices,
        labels=book.label_sets,
        prompts=book.prompt_jobs,
        scored=book.scored,
        canaries=book.canary_jobs,
        max_length=book.max_length,
        window=book.window,
        code_systems=tuple((s.match, s.system) for s in book.target.document.spec.code_systems),
        policy_folder=book.policy_folder,
        bos_id=book.known_bos(),
    )
