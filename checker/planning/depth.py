"""How deep an audit looks: which patients and tokens no attacker of a policy reaches (METHODS §1).

A verdict on a class is one on the positives within some attacker's reach: whose code lies behind
every horizon, in no window, or under no token that a record has, was never asked for. And what no
prompt is followed by, and nothing scores, may be known to the model by heart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.planning.builder import PlanBuilder
from checker.planning.model import AuditPlan, Cell, ClassDepth, Depth, Job, TokenDepth
from checker.planning.workload import LabelSet
from checker.records.prompts.source import blocks

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Reach:
    """What one label set says of n patients, of either split.

    Args:
        member: [n] bool.
        positive: [n] bool, who has the class.
        eligible: [n] bool, of whom a code of it is within reach.
        asked: [n] bool, who was drawn to be asked; None where nobody was left out.
        decides: whether a verdict that counts for the release rests on it.
    """

    member: Flags
    positive: Flags
    eligible: Flags
    asked: Flags | None
    decides: bool


def class_depth(reaches: Sequence[Reach]) -> ClassDepth:
    """Count the positives of a class whom no attacker reaches.

    Where patients are drawn by lot, one label set asks more of them than another; counted are those
    whom all of them ask, each of which was as likely to be among them.

    Args:
        reaches: of all its attackers, at least one; rows are the same patients.
    """
    looked_at = reaches[0].positive.copy()
    for one in reaches:
        if one.asked is not None:
            looked_at &= one.asked & one.positive
    reached = np.logical_or.reduce([one.eligible for one in reaches])
    deciding = [one.eligible for one in reaches if one.decides]
    decided = np.logical_or.reduce(deciding) if deciding else reached
    counts = {}
    for name, own in (("members", reaches[0].member), ("nonmembers", ~reaches[0].member)):
        whose = looked_at & own
        counts[name] = int(whose.sum())
        counts[f"{name}_beyond"] = int((whose & ~reached).sum())
        counts[f"{name}_beyond_deciding"] = int((whose & ~decided).sum())
    return ClassDepth(**counts)


def depth_labels(cells: Iterable[Cell], jobs: Iterable[Job]) -> dict[str, dict[str, bool]]:
    """Return the label sets that each class is asked for by, and whether one decides."""
    kinds = _kinds(jobs)
    found: dict[str, dict[str, bool]] = {}
    for cell in cells:
        if cell.attribute_class is None or cell.labels is None or not _draws(cell, kinds):
            continue
        own = found.setdefault(cell.attribute_class, {})
        own[cell.labels] = own.get(cell.labels, False) or cell.gating
    return found


def measure_depth(builder: PlanBuilder, cells: Sequence[Cell]) -> Depth:
    """Count what no attacker of a plan reaches, when all its jobs are known."""
    jobs = builder.jobs.values()
    classes = {
        name: class_depth(
            [_reach(builder.label_sets[own], is_deciding) for own, is_deciding in labels.items()]
        )
        for name, labels in depth_labels(cells, jobs).items()
    }
    return Depth(classes=classes, tokens=_token_depth(builder, cells, _kinds(jobs)))


def depth_under(plan: AuditPlan, cells: Sequence[Cell]) -> Depth:
    """Return what is known of a plan's depth for the cells of another policy.

    A class is taken over where it is asked for by the same label sets, by whatever name; of
    attackers that only one of the policies has, nothing can be said without the patients.
    """
    measured = {
        tuple(sorted(labels.items())): plan.depth.classes.get(name)
        for name, labels in depth_labels(plan.cells, plan.jobs).items()
    }
    classes = {
        name: found
        for name, labels in depth_labels(cells, plan.jobs).items()
        if (found := measured.get(tuple(sorted(labels.items())))) is not None
    }
    same = _asked(cells) == _asked(plan.cells)
    return Depth(classes=classes, tokens=plan.depth.tokens if same else None)


def _asked(cells: Iterable[Cell]) -> set[str]:
    return {job for cell in cells for job in cell.judged_from}


def _kinds(jobs: Iterable[Job]) -> dict[str, str]:
    return {job.digest: job.kind for job in jobs}


def _draws(cell: Cell, kinds: Mapping[str, str]) -> bool:
    return any(kinds.get(job) == "rollouts" for job in cell.jobs)


def _reach(labels: LabelSet, is_deciding: bool) -> Reach:
    splits = (labels.members, labels.nonmembers)
    sizes = [len(own.positive) for own in splits]
    drawn = [own.drawn for own in splits if own.drawn is not None]
    return Reach(
        member=np.arange(sum(sizes)) < sizes[0],
        positive=np.concatenate([own.positive for own in splits]),
        eligible=np.concatenate([own.eligible for own in splits]),
        asked=~np.isnan(np.concatenate(drawn)) if drawn else None,
        decides=is_deciding,
    )


def _token_depth(
    builder: PlanBuilder, cells: Sequence[Cell], kinds: Mapping[str, str]
) -> TokenDepth:
    """Count tokens of the members who stand for everybody.

    Whatever is drawn follows a prompt within a window that is scored too, so that of a record that
    is scored only what lies outside the window is beyond.
    """
    offsets = builder.members.offsets
    lengths = np.diff(offsets)
    continued = np.zeros(len(lengths), dtype=np.int64)
    wanted = {cell.labels for cell in cells if cell.labels is not None and _draws(cell, kinds)}
    asked = [own for name, own in builder.label_sets.items() if name in wanted]
    for rows in blocks(lengths):
        continued[rows] = _continued(asked, offsets, rows)
    is_scored = np.zeros(len(lengths), dtype=np.bool_)
    for job in _scoring(builder):
        members = [place for is_member, place in builder.scored[job] if is_member]
        is_scored[[place for place in members if place < len(lengths)]] = True
    covered = np.where(is_scored, np.maximum(builder.scored_lengths[True], continued), continued)
    return TokenDepth(
        by_windows=bool((covered == builder.scored_lengths[True])[is_scored].all())
        and bool(is_scored.all()),
        members=len(lengths),
        tokens=int(lengths.sum()),
        continued=int(continued.sum()),
        scored=int((covered - continued).sum()),
    )


def _scoring(builder: PlanBuilder) -> Iterator[str]:
    """Yield the jobs that look at whole records of the model under audit."""
    for name in builder.scored:
        job = builder.jobs[name]
        if job.runs_on == "target" and job.inputs.get("windows") != "cut":
            yield name


def _continued(
    asked: Sequence[LabelSet], offsets: NDArray[np.int64], rows: slice
) -> NDArray[np.int64]:
    """Return of how many tokens of each record a continuation could tell: [rows] int64."""
    first = int(offsets[rows.start])
    bounds = offsets[rows.start : rows.stop + 1] - first
    steps = np.zeros(int(bounds[-1]) + 1, dtype=np.int32)
    for labels in asked:
        own = labels.members
        is_run = np.array([key is not None for key in own.keys[rows]], dtype=np.bool_)
        begin, end = own.behind[rows][is_run].T - first
        np.add.at(steps, begin, 1)
        np.add.at(steps, np.minimum(begin + labels.recipe.horizon_tokens, end), -1)
    told = np.concatenate([[0], np.cumsum(np.cumsum(steps)[:-1] > 0)])
    found: NDArray[np.int64] = told[bounds[1:]] - told[bounds[:-1]]
    return found
