"""Compile a policy, a target and its cohort into cells and de-duplicated jobs.

A control becomes a cell for each attacker its limits name and each subgroup. What jobs a
cell takes its attack says (`planning`); what several cells need is run once (`builder`, `sharing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from checker.attacks.api import load_attack
from checker.planning.builder import PlanBuilder, Who, longest_sequence
from checker.planning.cells import control_cell
from checker.planning.classes import ClassRanks, match_classes
from checker.planning.code_checks import check_codes, check_named, check_told
from checker.planning.depth import measure_depth
from checker.planning.drawing import draw_patients
from checker.planning.drawn import Draw, DrawnSplit
from checker.planning.model import AuditPlan, Cell, Cost, Job
from checker.planning.nonmembers import nonmember_checks, score_percents, spare_checks
from checker.planning.overlap import ComparedCohort, SplitOverlap, compare_splits
from checker.planning.power import comparability_power
from checker.planning.protocol import (
    PlannedCell,
    Work,
    curtailments,
    plan_cell,
    planning_of,
    threshold_tests,
    watched_classes,
)
from checker.planning.reference import check_reference
from checker.planning.release import with_prospects
from checker.planning.snapshots import (
    class_snapshots,
    data_snapshot,
    policy_snapshot,
    target_snapshot,
)
from checker.planning.subgroups import Slice, slices
from checker.planning.workload import Workload
from checker.policy import Located, check_pair, resolve_attacker
from checker.policy.documents import AuditTarget, ControlSpec, LeakagePolicy, PolicySpec
from checker.records.census import check_fields
from checker.records.cohort import Cohort
from checker.records.sample import SampledPatients, TokenSample
from checker.records.tokenization import Records, Tokenizer
from checker.targets import TargetDescription


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
    files: Mapping[tuple[str, str], Any] | None = None,
    sample: TokenSample | None = None,
) -> CompiledAudit:
    """Compile an audit plan; no model is loaded.

    Args:
        policy: validated, with its lines.
        target: validated, with its lines.
        cohort: members and nonmembers.
        tokenizer: of the target.
        description: what the model is and can do.
        reference: the same of the reference model, where the target names one.
        files: what attacks read from files of their own (`Planning.read`), by the attack's name and
            the path as the policy writes it.
        sample: the trainer's own sequences, where the target names them.

    Returns:
        The plan and the work behind it. Equal inputs give equal plans, to the byte.

    Raises:
        DocumentError: the policy asks for something the target does not define, or none of its
            classes matches anything in the data and in the vocabulary, or the target names a token
            of them as something else, or the reference is the model under audit itself.
        DataError: a static field or a birth is missing, an attacker's codes match nothing, or codes
            of the classes are not read.
    """
    check_pair(policy, target)
    descriptions: dict[Who, TargetDescription] = {"target": description}
    if reference is not None:
        check_reference(target, description, reference)
        descriptions["reference"] = reference
    compared = compare_splits(cohort, tokenizer=tokenizer)
    cohort = compared.cohort  # from here on nobody knows those who are set aside
    census = check_codes(policy, target, cohort=cohort)
    check_fields(
        target.document.spec.tokenization,
        members=compared.members,
        nonmembers=compared.nonmembers,
        spare=compared.spare,
    )
    check_named(policy, target, compared=compared, tokenizer=tokenizer)
    ranks = match_classes(policy, target, cohort=cohort, tokenizer=tokenizer)
    if (records := target.document.spec.tokenization.records) is not None:
        check_told(ranks, compared, file=records)
    planned = list(_planned_cells(policy.document.spec, compared, files or {}))
    draw = draw_patients(
        policy.document.spec,
        target.document,
        planned,
        compared=compared,
        tokenizer=tokenizer,
        ranks=ranks,
        max_length=longest_sequence(target, descriptions),
        model=description.sha256,
    )
    builder = _builder(policy, target, compared, draw, tokenizer, descriptions, ranks)
    everybody = {cell.piece.name: int(cell.piece.members.sum()) for cell in planned}
    planned = [replace(cell, piece=draw.of(cell.piece)) for cell in planned]
    # labels and scores record every slice, so all of them are known before the first job
    builder.slices |= {cell.piece.name: cell.piece for cell in planned}
    builder.score_percents = score_percents(builder, _score_percents(planned))
    splits = {True: cohort.members, False: cohort.nonmembers}
    sampled = None
    if sample is not None:
        sampled = SampledPatients.of(sample, splits, cohort.codes, tokenizer=tokenizer)
    builder.admissibility(
        sample=sampled,
        uses_reference=any("reference" in cell.models for cell in planned),
    )
    metrics = [cell.metric for cell in planned]
    spare_checks(builder, metrics)
    builder.curtailed = curtailments(builder, planned)
    builder.watched = watched_classes(builder, planned)
    builder.threshold_tests = threshold_tests(builder, planned)
    spec = policy.document.spec
    of_checks = set(builder.jobs)
    cells, alone = _cells(builder, planned, everybody)
    of_cells = builder.jobs.keys() - of_checks
    nonmember_jobs = nonmember_checks(builder, metrics)
    alone += Work(forward=sum(builder.jobs[name].forward_tokens for name in nonmember_jobs))
    # the checks' come first, also those that are known last; otherwise in the order of being added
    jobs = sorted(builder.jobs.values(), key=lambda job: job.digest in of_cells)
    plan = AuditPlan(
        policy=policy_snapshot(policy),
        target=target_snapshot(
            target, description, reference=reference, vocabulary=tokenizer.vocabulary
        ),
        data=data_snapshot(
            compared,
            builder.asked,
            draw,
            tokenizer=tokenizer,
            vocabulary_size=description.vocabulary_size,
            max_length=builder.max_length,
            window=builder.window,
            census=census,
            patients=spec.parameters.sampling.patients,
        ),
        classes=class_snapshots(
            spec, builder.ranks, compared=compared, census=census, tokenizer=tokenizer
        ),
        cells=cells,
        jobs=jobs,
        comparability=comparability_power(
            len(builder.members),
            len(builder.nonmembers),
            assignment=target.document.spec.data.assignment,
            tolerance=spec.parameters.admissibility_tolerance,
            confidence=spec.parameters.confidence,
        ),
        nonmember_jobs=nonmember_jobs,
        depth=measure_depth(builder, cells),
        cost=_cost(jobs, alone),
        seed=builder.seed,
        confidence=spec.parameters.confidence,
        sequential=builder.is_sequential,
    )
    return CompiledAudit(with_prospects(plan), _workload(builder, compared.overlap))


def _cells(
    builder: PlanBuilder, planned: Iterable[PlannedCell[Any]], everybody: Mapping[str, int]
) -> tuple[list[Cell], Work]:
    """Add each cell's jobs, and return the cells and what they would cost one by one.

    Args:
        builder: with the checks that every cell rests on, which belong to no cell.
        planned: pieces are of those who were drawn.
        everybody: members of each subgroup, drawn or not.
    """
    cells = []
    alone = Work(forward=sum(job.forward_tokens for job in builder.jobs.values()))
    for cell in planned:
        found = plan_cell(builder, cell)
        alone += found.alone
        of_all = {"subgroup_members": everybody[cell.piece.name]}
        cells.append(
            control_cell(
                builder.policy.document.spec,
                cell.control_name,
                cell.attacker,
                cell.piece.name,
                cell.params,
                sample=found.sample.model_copy(update=of_all),
                missing_capability=found.missing,
                labels=found.labels,
                jobs=list(found.jobs),
            )
        )
    return cells, alone


def _cost(jobs: Sequence[Job], alone: Work) -> Cost:
    return Cost(
        forward_tokens=sum(job.forward_tokens for job in jobs),
        rollout_tokens=sum(job.rollout_tokens for job in jobs),
        forward_tokens_unshared=alone.forward,
        rollout_tokens_unshared=alone.rollout,
        training_tokens=sum(job.training_tokens for job in jobs),
    )


def _builder(
    policy: Located[LeakagePolicy],
    target: Located[AuditTarget],
    compared: ComparedCohort,
    draw: Draw,
    tokenizer: Tokenizer,
    descriptions: Mapping[Who, TargetDescription],
    ranks: dict[str, ClassRanks],
) -> PlanBuilder:
    """Tokenize who was drawn."""
    cohort = replace(
        compared.cohort,
        members=_drawn(compared.cohort.members, draw.splits[True]),
        nonmembers=_drawn(compared.cohort.nonmembers, draw.splits[False]),
        spare=_drawn(compared.cohort.spare, draw.spare),
    )
    asked = {
        side: tokenizer.encode(records, cohort.codes, partial=True)
        for side, records in ((True, cohort.members), (False, cohort.nonmembers))
    }
    return PlanBuilder(
        policy=policy,
        target=target,
        cohort=cohort,
        tokenizer=tokenizer,
        descriptions=descriptions,
        members=asked[True].first(draw.splits[True].lot),
        nonmembers=asked[False].first(draw.splits[False].lot),
        spare=tokenizer.encode(cohort.spare, cohort.codes, partial=True),
        asked=asked,
        draw=draw,
        ranks=ranks,
        slices={},
    )


def _drawn(records: Records, split: DrawnSplit) -> Records:
    if len(split.patients) == split.whole and split.is_whole:
        return records
    return records.select(split.patients)


def _planned_cells(
    spec: PolicySpec, compared: ComparedCohort, files: Mapping[tuple[str, str], Any]
) -> Iterator[PlannedCell[Any]]:
    """Expand controls to cells, in the policy's order, with their subgroups of everybody."""
    for name, control in spec.controls.items():
        attack = load_attack(control.probe)
        params = attack.params.model_validate(control.params)
        path = planning_of(attack).path(params)
        file = None if path is None else files[attack.name, path]
        pieces = _slices(compared, control)
        for attacker_name in control.limits:
            attacker = resolve_attacker(spec, attacker_name)
            for piece in pieces:
                yield PlannedCell(name, control, attack, params, attacker, piece, file)


def _score_percents(cells: Iterable[PlannedCell[Any]]) -> tuple[float, ...]:
    """Return every k, in percent, that some membership score of a policy is asked for."""
    asked = {k for cell in cells for k in planning_of(cell.attack).score_percents(cell.params)}
    return tuple(sorted(asked))


def _slices(compared: ComparedCohort, control: ControlSpec) -> list[Slice]:
    return [
        piece
        for subgroup in control.subgroups
        for piece in slices(
            subgroup,
            cohort=compared.cohort,
            members=compared.members,
            nonmembers=compared.nonmembers,
        )
    ]


def _workload(builder: PlanBuilder, overlap: SplitOverlap) -> Workload:
    return Workload(
        cohort=builder.cohort,
        tokenizer=builder.tokenizer,
        members=builder.members,
        nonmembers=builder.nonmembers,
        asked=dict(builder.asked),
        sources=builder.sources,
        slices=builder.slices,
        labels=builder.label_sets,
        prompts=builder.prompt_jobs,
        scored=builder.scored,
        inputs=builder.job_inputs,
        max_length=builder.max_length,
        window=builder.window,
        code_systems=tuple((s.match, s.system) for s in builder.target.document.spec.code_systems),
        bos_id=builder.known_bos(),
        overlap=overlap,
        spare=builder.spare,
    )
