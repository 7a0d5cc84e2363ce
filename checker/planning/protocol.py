"""From a cell to the jobs it is judged from: what an attack's `plan` part is, and is handed.

The plan knows no attack. It asks the cell's attack, through `Planning`, who is there to be measured
and which jobs that takes; the builder adds those that are not there yet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import pyarrow as pa

from checker.attacks.api import Attack, Metric, Params
from checker.attacks.families import Sample
from checker.canonical import digest
from checker.planning.builder import PlanBuilder, Who
from checker.planning.cells import decides
from checker.planning.model import Cell, Job
from checker.planning.power import prompts_too_long
from checker.planning.sharing import RolloutSettings
from checker.planning.subgroups import Slice
from checker.policy import Located, ResolvedAttacker
from checker.policy.documents import ControlSpec, LeakagePolicy
from checker.records.cohort import Cohort
from checker.records.tokenization import Tokenizer

_ParamsT = TypeVar("_ParamsT", bound=Params)


@dataclass(frozen=True, slots=True)
class PlannedCell(Generic[_ParamsT]):
    """A cell before its jobs are known.

    Args:
        control_name, control: what is demanded.
        attack, params: by which attack, set how.
        attacker: who attacks.
        piece: of whom.
        file: what the attack read from its own file, see `Planning.read`.
    """

    control_name: str
    control: ControlSpec
    attack: Attack
    params: _ParamsT
    attacker: ResolvedAttacker
    piece: Slice
    file: Any = None

    @property
    def metric(self) -> Metric:
        """The control's metric."""
        return self.attack.metrics[self.control.metric]

    @property
    def class_name(self) -> str:
        """The attribute class, of an attack that needs one."""
        assert self.control.attribute_class is not None  # validation asks for it
        return self.control.attribute_class

    @property
    def models(self) -> tuple[Who, ...]:
        """Whose answers the metric takes."""
        both = self.control.contrast == "reference" or self.params.needs_reference
        return ("target", "reference") if both else ("target",)


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens a model has to process: prompts and records, and at most so many new ones."""

    forward: int = 0
    rollout: int = 0

    def __add__(self, other: Work) -> Work:
        """Return both together."""
        return Work(self.forward + other.forward, self.rollout + other.rollout)

    def times(self, count: int) -> Work:
        """Return the same done so often."""
        return Work(self.forward * count, self.rollout * count)


@dataclass(frozen=True, slots=True)
class CellJobs:
    """What a cell is judged from.

    Args:
        sample: who is there to be measured.
        labels: the job that says who has the class, where there is one.
        jobs: digests, in the order they are run.
        missing: what the target lacks, so that nothing is run; None where it lacks nothing.
        alone: what the cell would cost if it shared nothing: each of its patients asked by himself,
            for this cell only.
    """

    sample: Sample
    labels: str | None = None
    jobs: Sequence[str] = ()
    missing: str | None = None
    alone: Work = Work()


@dataclass(frozen=True, slots=True)
class DrawnFrom:
    """Whom a cell is about, so that a part of them can be drawn by lot and asked for all.

    Args:
        of: who has the class and is within reach ("class"), who has a continuation ("records"),
            everybody ("everybody"), or nobody of the cohort ("nobody").
        horizon_tokens: how far a code counts as within reach, or what must follow.
        min_tokens: tokens that must follow the cut, of "records".
        judged: which share of the members, and of the nonmembers, who are drawn is judged, each in
            (0, 1]; the others teach the attack.
        fewest: so many of a split, or all, make the attack as strong as all would.
        min_events: who has fewer events cannot be measured.
        beside_lot: where all members have to be asked, its jobs ask those beside the lot too, so
            that nobody else asks more for it.
    """

    of: Literal["class", "records", "everybody", "nobody"]
    horizon_tokens: int = 1
    min_tokens: int | None = None
    judged: tuple[float, float] = (1.0, 1.0)
    fewest: int = 0
    min_events: int = 0
    beside_lot: bool = False


@dataclass(frozen=True, slots=True)
class RolloutUse:
    """How an attack draws continuations.

    Args:
        settings: of the drawing.
        threshold: what thresholded metrics compare q with.
        estimated: of the drawing where the model says how likely each step is to name the class, so
            that q is estimated from that; None where hits are what is counted.
        decided: most samples by which an estimate is compared with the threshold.
    """

    settings: RolloutSettings
    threshold: float | None = None
    estimated: RolloutSettings | None = None
    decided: int = 0

    @property
    def may_take_more(self) -> bool:
        """Whether q is estimated from fewer samples than a threshold may be decided by."""
        return self.estimated is not None and self.estimated.samples < self.decided

    def of_model(self, *, gives_masses: bool) -> RolloutSettings:
        """Return how continuations of a model are drawn that gives masses, or does not."""
        return self.estimated if gives_masses and self.estimated is not None else self.settings


@dataclass(frozen=True, slots=True)
class SampleEvidence:
    """What a cell's sample can be counted from again, once its jobs were run.

    Args:
        labels: of the cell's labels, where it has any.
        tables: by kind, the tables that the cell is judged from.
        everybody: labels of any cell, for who is in which split and subgroup; None where the plan
            has none.
    """

    labels: pa.Table | None
    tables: Mapping[str, Sequence[pa.Table]]
    everybody: pa.Table | None


class Planning(ABC, Generic[_ParamsT]):
    """How an attack's cells become jobs.

    Attributes:
        reads: kinds, a job of one of which each model must have answered before a cell of the
            attack can be measured; empty where the attack does without.
        joins_labels: a cell without labels cannot be measured.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    joins_labels: ClassVar[bool] = False

    def kinds_read(self, cell: Cell) -> frozenset[str]:
        """Return `reads` for a cell; an attack whose metrics read different jobs says which."""
        return self.reads

    def needs_labels(self, cell: Cell) -> bool:
        """Return `joins_labels` for a cell."""
        return self.joins_labels

    @abstractmethod
    def sample(self, builder: PlanBuilder, cell: PlannedCell[_ParamsT]) -> Sample:
        """Count who is there to be measured."""

    @abstractmethod
    def jobs(self, builder: PlanBuilder, cell: PlannedCell[_ParamsT], sample: Sample) -> CellJobs:
        """Add the jobs of a cell to a plan, and say which they are.

        Args:
            builder: collects the jobs.
            cell: one that the target has all capabilities for.
            sample: as counted.
        """

    def imagined(
        self, params: _ParamsT, metric: Metric, *, members: int, nonmembers: int
    ) -> Sample:
        """Return who of a cohort of so many would be measured where no class is asked for.

        Everybody, unless the attack needs some of them for itself.
        """
        return Sample(members=members, nonmembers=nonmembers, subgroup_members=members)

    def rollouts(self, params: _ParamsT) -> RolloutUse | None:
        """Say how continuations are drawn; None where the attack draws none."""
        return None

    def drawn_from(self, params: _ParamsT, metric: Metric, *, has_spare: bool) -> DrawnFrom | None:
        """Say from whom a cell's patients may be drawn; None where all have to be asked.

        A draw must be as likely to hold any patient whom the cell is about as any other, and the
        attack must be no weaker for it.

        Args:
            params: of the attack.
            metric: that is measured.
            has_spare: spare patients teach what nonmembers would teach otherwise.
        """
        return None

    def score_percents(self, params: _ParamsT) -> Sequence[float]:
        """Return every k, in percent, that it wants membership scores of."""
        return ()

    def path(self, params: _ParamsT) -> str | None:
        """Return the file or folder that the parameters name, as written; None where none."""
        return None

    def read(
        self, path: Path, *, cohort: Cohort, tokenizer: Tokenizer, max_length: int | None
    ) -> Any:
        """Read the attack's own file, for `PlannedCell.file`.

        Raises:
            DocumentError, DataError: it cannot be used.
        """
        return None

    def demands(self, job: Job, cell: Cell, *, watch: Sequence[int]) -> Mapping[str, Any]:
        """Return inputs that a job of the attack's own kinds must have for a cell to rest on it.

        Args:
            job: of one of the attack's own kinds.
            cell: of the attack, in camelCase as in `plan.json`.
            watch: token ids of the cell's class.
        """
        return {}

    def recount(self, cell: Cell, evidence: SampleEvidence) -> Mapping[str, float]:
        """Count a cell's sample again from evidence: fields of `Sample`, as far as it shows them.

        Args:
            cell: of the attack, with jobs.
            evidence: of the cell.
        """
        return {}


def folder_of(policy: Located[LeakagePolicy], control: str, path: str) -> Path:
    """Return what a path in a control's parameters is relative to: the folder of who wrote it.

    An inherited control reads its author's files, whatever stands beside the policy that inherits.

    Args:
        policy: that holds the control.
        control: by name.
        path: as written in one of the parameters.
    """
    written = policy.document.spec.controls[control].params
    key = next((key for key, value in written.items() if value == path), "")
    return Path(policy.place(("spec", "controls", control, "params", key)).file).resolve().parent


def planning_of(attack: Attack) -> Planning[Any]:
    """Return what plans an attack's cells."""
    return attack.part("plan", Planning)


def plan_cell(builder: PlanBuilder, cell: PlannedCell[Any]) -> CellJobs:
    """Add the jobs of a cell to a plan.

    Returns:
        What was added; no jobs where the cell's class is absent, or its prompts are too long.
    """
    if _is_absent(builder, cell):
        nobody = Sample(members=0, nonmembers=0, members_positive=0, nonmembers_positive=0)
        return CellJobs(nobody)
    planning = planning_of(cell.attack)
    sample = planning.sample(builder, cell)
    if prompts_too_long(sample):
        return CellJobs(sample)
    for who in cell.models:
        missing = builder.lacks(cell.attack.access, who=who)
        if missing is not None:
            return CellJobs(sample, missing=missing)
    return planning.jobs(builder, cell, sample)


def curtailments(builder: PlanBuilder, cells: Iterable[PlannedCell[Any]]) -> dict[str, Any]:
    """Find the groups of rollouts of which every use only asks whether q exceeds a threshold.

    Returns:
        By the digest of a group's settings, the thresholds and watch sets of its uses; a group one
        of whose uses needs every sample is not there.
    """
    if not builder.policy.document.spec.parameters.sampling.curtailed:
        return {}
    uses: dict[str, list[Any] | None] = {}
    for cell in cells:
        drawn = planning_of(cell.attack).rollouts(cell.params)
        if drawn is None or _is_absent(builder, cell):
            continue
        for who in cell.models:
            _note_use(uses, builder, cell, drawn, who)
    return {group: found for group, found in uses.items() if found is not None}


def _note_use(
    uses: dict[str, list[Any] | None],
    builder: PlanBuilder,
    cell: PlannedCell[Any],
    drawn: RolloutUse,
    who: Who,
) -> None:
    """Add how a cell uses the draws of one model to the uses of their group."""
    gives_masses = builder.lacks("masses", who=who) is None
    if gives_masses and drawn.estimated is not None:
        return  # what is estimated is drawn until a test decides, see `threshold_tests`
    group = digest(drawn.settings.inputs())
    name = cell.control.attribute_class
    if not cell.metric.thresholded or name is None or drawn.threshold is None:
        uses[group] = None
    elif (found := uses.setdefault(group, [])) is not None:
        for watch in builder.watch_sets(name):
            use = {"threshold": drawn.threshold, "watch": watch}
            if use not in found:
                found.append(use)


def threshold_tests(
    builder: PlanBuilder, cells: Iterable[PlannedCell[Any]]
) -> dict[tuple[str, str, str], RolloutSettings]:
    """Find which classes are asked for on which side of a threshold q lies.

    All cells that ask for a class by one attacker's prompts, in one way, read the same jobs. Those
    that take q itself read the first samples, of which every prompt has as many as any of them
    wants. Classes have jobs of their own, so that no prompt is drawn for what nobody asks of it.
    Where q is estimated from as many samples as may decide there is nothing to test, and nothing is
    drawn for the sake of a cell that decides nothing: it takes what its first samples say, or what
    others have asked for.

    Returns:
        By `RolloutSettings.alike`, class and attacker, how is drawn where a model gives masses;
        where nothing but q itself is wanted there is none.
    """
    spec = builder.policy.document.spec
    wanted: dict[tuple[str, str, str], list[tuple[RolloutUse, bool]]] = {}
    for cell in cells:
        drawn = planning_of(cell.attack).rollouts(cell.params)
        name = cell.control.attribute_class
        if drawn is None or not drawn.may_take_more or name is None or _is_absent(builder, cell):
            continue
        uses = wanted.setdefault((drawn.settings.alike(), name, cell.attacker.name), [])
        uses.append((drawn, cell.metric.thresholded and decides(spec, cell.control, cell.attacker)))
    return {
        key: _tested(uses, builder.watch_sets(key[1]))
        for key, uses in wanted.items()
        if any(is_tested for _, is_tested in uses)
    }


def _tested(
    uses: Sequence[tuple[RolloutUse, bool]], watches: Sequence[list[int]]
) -> RolloutSettings:
    """Return how is drawn for all uses of a class at once."""
    tests: list[dict[str, Any]] = []
    for drawn, is_tested in uses:
        test = {
            "threshold": drawn.threshold,
            "first": drawn.of_model(gives_masses=True).samples,
            "most": drawn.decided,
        }
        if is_tested:
            tests += [own for watch in watches if (own := {**test, "watch": watch}) not in tests]
    first = max(drawn.of_model(gives_masses=True).samples for drawn, _ in uses)
    most = max(first, *(test["most"] for test in tests))
    asked = {"first": first, "tests": tests}
    return replace(uses[0][0].settings, samples=most, threshold_test=asked)


def watched_classes(
    builder: PlanBuilder, cells: Iterable[PlannedCell[Any]]
) -> dict[str, list[list[int]]]:
    """Find the classes whose compensators are wanted, by what draws the continuations.

    All classes that a policy asks for in the same draws are watched at once, whichever of them a
    prompt was first needed for: one more costs a sum over its tokens.

    Returns:
        By `RolloutSettings.alike`, the token ids of each class, in the policy's order.
    """
    found: dict[str, list[list[int]]] = {}
    for cell in cells:
        drawn = planning_of(cell.attack).rollouts(cell.params)
        name = cell.control.attribute_class
        if drawn is None or drawn.estimated is None or name is None or _is_absent(builder, cell):
            continue
        sets = found.setdefault(drawn.estimated.alike(), [])
        sets += [watch for watch in builder.watch_sets(name) if watch not in sets]
    return found


def _is_absent(builder: PlanBuilder, cell: PlannedCell[Any]) -> bool:
    name = cell.control.attribute_class
    return name is not None and builder.ranks[name].is_absent
