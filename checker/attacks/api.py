"""Probes: one attack each, with the metrics that a policy may limit.

A probe says what it needs (access, an attribute class, the whole record), what its parameters are,
and how observations become an estimate. It runs no model: the plan lowers its cells to jobs, the
audit runs them, and the judge hands the probe what was observed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ConfigDict

from checker.canonical import ClosedModel
from checker.plugins import load_plugin
from checker.policy.documents import Access
from checker.stats.estimate import Estimate

__all__ = [
    "Access",
    "CellEvidence",
    "Detection",
    "Measurement",
    "Metric",
    "Observations",
    "Observes",
    "Params",
    "Probe",
    "load_probe",
]

Observes = Literal[
    "disclosure", "membership", "trajectories", "embeddings", "perturbations", "canaries"
]
"""What a probe looks at; `checker.plan.lowering` has a function for each."""

_T = TypeVar("_T")

Family = Literal[
    "rate",
    "rate-difference",
    "mean-difference",
    "auroc",
    "auroc-difference",
    "tpr",
    "auprc",
    "auprc-difference",
    "set-difference",
    "gap",
    "bits",
    "epsilon",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number a probe can report.

    Args:
        name: as written in policies.
        title: in words, for reports.
        family: decides interval and power: a rate or a difference of two rates, a mean in [0, 1] or
            a difference of two, an AUROC or AUPRC or a difference of two, a true-positive rate,
            a share of rollouts found in one set of records beyond another ("set-difference"), a
            gap between distances, bits of exposure, an ε of differential privacy.
        limitable: False for metrics that are only ever reported.
        separates_splits: True for metrics of how well members are told from nonmembers.
        can_pass: False where the attack can show leakage and never its absence.
        thresholded: each patient's outcome is whether q exceeds the threshold, and nothing else.
        has_contrast: a control may take it over a reference model instead of nonmembers alone.
        takes_everybody: patients without the class are measured too.
        identifying_prompts: None says that it means nothing where patients share prompts whenever
            it is an excess; False that it means as much there.
        of_patients: False where no patients are counted, so that none make up a subgroup.
        unit: of the number, "" for fractions.
        largest: a limit cannot lie above it; None where nothing bounds the metric.
    """

    name: str
    title: str
    family: Family
    limitable: bool = True
    separates_splits: bool = False
    can_pass: bool = True
    thresholded: bool = False
    has_contrast: bool = False
    takes_everybody: bool = False
    identifying_prompts: bool | None = None
    of_patients: bool = True
    unit: str = ""
    largest: float | None = 1.0

    @property
    def is_excess(self) -> bool:
        """Whether it subtracts what the same attack finds among nonmembers."""
        return self.family.endswith("-difference") or self.family == "gap"

    @property
    def rests_on_split(self) -> bool:
        """Whether it means leakage only where members and nonmembers are comparable."""
        return self.is_excess or self.separates_splits

    @property
    def needs_identifying_prompts(self) -> bool:
        """Whether it says nothing where many patients share a prompt (METHODS §1)."""
        if self.identifying_prompts is not None:
            return self.identifying_prompts
        return self.family not in {"rate", "tpr"} and not self.separates_splits

    @property
    def null_value(self) -> float:
        """What it is when nothing leaks, for metrics with a placebo."""
        return 0.5 if self.family == "auroc" else 0.0


class Params(ClosedModel):
    """Base of every probe's parameters: closed and strict, camelCase in policies."""

    model_config = ConfigDict(strict=True)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A cell's estimate, and the two rates or AUROCs an excess is the difference of.

    Args:
        estimate: of the metric.
        members: the members' part, where the metric has parts.
        nonmembers: the nonmembers' part.
        reported: further metrics that are only ever reported, by name.
    """

    estimate: Estimate
    members: Estimate | None = None
    nonmembers: Estimate | None = None
    reported: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Detection:
    """Whether an attack finds what it must find if it works.

    Args:
        shown: it does, beyond chance.
        explanation: one sentence with the numbers.
    """

    shown: bool
    explanation: str


class Observations(Protocol):
    """What the judge asks of any probe's observations before and beside measuring."""

    @property
    def unanswered(self) -> int:
        """Patients whom the evidence should speak of and does not."""
        ...

    def distinct_prompt_share(self, *, everybody: bool) -> float | None:
        """Share of distinct prompts in the split where it is lower; None where it cannot matter."""
        ...

    def eligible(self, *, member: bool) -> int | None:
        """Sampling units of one split; None where the probe itself asks for enough."""
        ...

    def base_scores(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Expected probability of the class for eligible members and nonmembers, model-free.

        None where no class is in question or none was computed.
        """
        ...


@dataclass(frozen=True, slots=True)
class CellEvidence:
    """All evidence of one cell.

    Args:
        labels: who is who, where the cell has such a job.
        tables: by kind of job, the tables of the model under audit, in the plan's order.
        reference: the same of the reference model; empty where none was asked.
        watch: token ids that make a hit.
        subgroup: whose rows count.
        params: the probe's.
        contrast: what an excess is taken over.
        partial: the cell may stop before all its patients are drawn.
        memo: keeps what several cells of a judgement share; see `once`.
    """

    labels: pa.Table | None
    tables: Mapping[str, Sequence[pa.Table]]
    reference: Mapping[str, Sequence[pa.Table]]
    watch: Sequence[int]
    subgroup: str
    params: Any
    contrast: Literal["nonmembers", "reference"] = "nonmembers"
    partial: bool = False
    memo: dict[Any, Any] = field(default_factory=dict)

    def once(self, compute: Callable[..., _T], /, *args: Any, **kwargs: Any) -> _T:
        """Return `compute(*args, **kwargs)`, computed once for all cells of a judgement.

        What was computed before is found by the function and all of its arguments, so that nothing
        a number depends on can be left out of the key. Tables are compared by identity: the
        evidence of a judgement does not change.
        """
        key = (compute, _key(args), _key(sorted(kwargs.items())))
        if key not in self.memo:
            # the arguments stay with the result: another table must not get a freed one's identity
            self.memo[key] = compute(*args, **kwargs), (args, kwargs)
        found: _T = self.memo[key][0]
        return found


def _key(value: Any) -> Hashable:
    """Return an argument as part of a key."""
    if isinstance(value, pa.Table):
        return "table", id(value)
    if isinstance(value, list | tuple):
        return tuple(_key(one) for one in value)
    if value is None or isinstance(value, str | int | float | bool | bytes):
        return type(value).__name__, value
    raise TypeError(f"what was computed from {type(value).__name__} cannot be found again")


class Probe(Protocol):
    """What every probe declares; policy validation reads it, the plan and the judge use it.

    Probes subclass it for the answers that most of them share.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper_test: ClassVar[str | None]
    access: ClassVar[Access]
    observes: ClassVar[Observes]
    needs_attribute_class: ClassVar[bool]
    needs_whole_record: ClassVar[bool]
    metrics: ClassVar[Mapping[str, Metric]]
    params_type: ClassVar[type[Params]]

    @classmethod
    def needs_reference(cls, params: Any) -> bool:
        """Whether these parameters ask for a reference model, whatever the control's contrast."""
        return False

    @classmethod
    def variants_at_most(cls, params: Any) -> int:
        """Return how often at most a prompt is run again in another form, for the plan's cost."""
        return 0

    @classmethod
    def detection(cls, observations: Any, *, confidence: float) -> Detection | None:
        """Say whether the attack is shown to work here; None where nothing was planted to show it.

        An attack that is not shown to work can fail a model and not pass one.
        """
        return None

    @classmethod
    def roc(
        cls, observations: Any, *, params: Any, confidence: float
    ) -> Sequence[tuple[float, Estimate]]:
        """Return the true-positive rate by false-positive rate; empty where nothing is ranked."""
        return ()

    @classmethod
    def observations(cls, evidence: CellEvidence) -> Any:
        """Turn a cell's evidence into what `measure` and `placebo` take (`Observations`)."""
        ...

    @classmethod
    def measure(
        cls, metric: str, observations: Any, *, params: Any, confidence: float
    ) -> Measurement:
        """Turn observations into an estimate with one-sided bounds at `confidence`.

        Raises:
            InsufficientData: too little to estimate from.
        """
        ...

    @classmethod
    def placebo(
        cls,
        metric: str,
        observations: Any,
        *,
        params: Any,
        confidence: float,
        rng: np.random.Generator,
    ) -> Estimate | None:
        """Measure the same between two random halves of the nonmembers, where nothing can differ.

        Returns:
            A difference whose bounds hold 0, or an AUROC whose bounds hold 0.5, unless the
            instrument is broken for this data; None for metrics that compare nothing.
        """
        ...


def load_probe(name: str) -> Any:
    """Return the probe class called `name`.

    Raises:
        PluginError: no such probe, or it cannot be imported.
    """
    return load_plugin("phigate.probes", name)
