"""What an attack is: its face, which policies are checked against, and the parts behind it.

An attack is a package. Its *face*, the package itself, names it and says what it needs, which
parameters it takes and which metrics a policy may limit; it imports nothing above this module, so
that reading a policy loads no attack's code. Its parts are modules of the package, imported when
they are used, each with one object that is called like the module, in capitals:

| module    | object    | what it does                                             |
| --------- | --------- | -------------------------------------------------------- |
| `plan`    | `PLAN`    | turns cells into jobs (`checker.planning.protocol.Planning`) |
| `run`     | `RUN`     | runs jobs of its own kinds (`checker.planning.task.Running`) |
| `measure` | `MEASURE` | turns observations into an estimate (`Measuring`)        |
| `words`   | `WORDS`   | says the attack in reports (`checker.attacks.wording.AttackWords`) |

A plug-in without `words` is shown by its name.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import ConfigDict

from checker.attacks.families import Family, Measurement
from checker.attacks.wording import MetricWords
from checker.canonical import ClosedModel
from checker.errors import PluginError
from checker.kinds import SHARED
from checker.plugins import BUILT_IN, load_plugin, plugin_names, plugin_version

if TYPE_CHECKING:  # slow to import, and reading a policy needs none of them
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from checker.stats.estimate import Estimate

GROUP = "phigate.probes"
"""Entry points of attacks; a policy calls an attack `probe`."""

Access = Literal["samples", "logprobs", "embeddings"]
"""What an attacker sees of a model, the least first."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Metric:
    """A number an attack can report.

    Args:
        name: as written in policies.
        family: how the number behaves: its bounds, its power, its admissible limits.
        outcome: what of a patient it is made of, where the attack observes more than one thing; the
            attack's own word.
        over_reference: the family where a control takes it over a reference model instead of
            nonmembers alone; None where it cannot.
        limitable: False for metrics that are only ever reported.
        can_pass: False where the attack can show leakage and never its absence.
        thresholded: each patient's outcome is whether q exceeds the threshold, and nothing else.
        hangs_on_prompt: False where it means as much when patients share a prompt, whatever its
            family.
        sound_rate_of: `sound_rate` under a control's parameters; None where they do not matter.
        sound_rate: share of patients whom a model without memory hits by chance, where the attack
            knows it better than a policy's `expectedBaseRate`; only plans use it.
        words: what reports call it; a metric without any is shown by its name.
    """

    name: str
    family: Family[Any]
    outcome: str = ""
    over_reference: Family[Any] | None = None
    limitable: bool = True
    can_pass: bool = True
    thresholded: bool = False
    hangs_on_prompt: bool = True
    sound_rate_of: Callable[[Any], float] | None = None
    sound_rate: float | None = None
    words: MetricWords | None = None

    def in_control(self, *, contrast: str, params: Params) -> Metric:
        """Return the metric as a control with this contrast and these parameters measures it."""
        over = self.over_reference if contrast == "reference" else None
        rate = self.sound_rate_of(params) if self.sound_rate_of else self.sound_rate
        return replace(self, family=(over or self.family).with_params(params), sound_rate=rate)

    @property
    def rests_on_split(self) -> bool:
        """Whether it means leakage only where members and nonmembers are comparable."""
        return self.family.is_excess or self.family.separates_splits

    @property
    def needs_identifying_prompts(self) -> bool:
        """Whether it says nothing where many patients share a prompt (METHODS §1)."""
        return self.hangs_on_prompt and self.family.needs_identifying_prompts

    @property
    def may_stop_early(self) -> bool:
        """Whether patients can be drawn in batches until a cell is decided (METHODS §6).

        What can never pass is decided by a failure alone, and its attack asks the disclosed members
        again once all are drawn: it has nothing to stop early, and keeps the whole of its error.
        """
        return self.thresholded and self.family.has_sequence and self.can_pass


class Params(ClosedModel):
    """Base of every attack's parameters: closed and strict, camelCase in policies."""

    model_config = ConfigDict(strict=True)

    @property
    def needs_reference(self) -> bool:
        """Whether they ask for a reference model, whatever the control's contrast."""
        return False

    @property
    def asks_everybody(self) -> bool:
        """Whether patients without the class are asked too, whatever the metric."""
        return False

    @property
    def needs_whole_record(self) -> bool:
        """Whether they ask for an attacker who holds the record, though the attack need not."""
        return False

    @property
    def reads_reference(self) -> bool:
        """Whether what a declared reference model says is read beside the model's own numbers."""
        return False

    @property
    def compares_splits(self) -> bool:
        """Whether the attack shows by itself that the splits are alike without the model.

        Its observations have `blind_scores` then, which take the place of a bag of codes.
        """
        return False

    @property
    def named_fields(self) -> Mapping[str, Sequence[str]]:
        """Fields of the target that a policy named, by the key that names them.

        Only what was written: defaults fit whatever a target declares.
        """
        return {}

    @property
    def strengths(self) -> frozenset[str]:
        """Numbers of which more only make the attack stronger.

        What a stronger attack found answers a policy that asks for a weaker one.
        """
        return frozenset()

    @property
    def paths(self) -> frozenset[str]:
        """Keys whose value is a file or folder, relative to the document that says so."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class Attack:
    """The face of an attack.

    Args:
        name: as written in policies.
        package: that holds its parts.
        access: the least that an attacker must see of the model.
        params: what a control may set.
        metrics: by name; see `by_name`.
        needs_attribute_class: it asks for an attribute class; otherwise it takes none.
        takes_pools: that may be a pool of several, of which each patient has his own.
        needs_whole_record: of the attacker's knowledge.
        measures_patients: False where made-up records are asked, of whom any number may be told.
        compares_base_rates: its observations have `base_scores`, so an excess of a cell counts only
            where prompts promise the class alike in members and nonmembers.
        kinds: jobs of its own by their kind, with the columns of what each observes.
    """

    name: str
    package: str
    access: Access
    params: type[Params]
    metrics: Mapping[str, Metric]
    needs_attribute_class: bool = False
    takes_pools: bool = False
    needs_whole_record: bool = False
    measures_patients: bool = True
    compares_base_rates: bool = False
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def measuring(self) -> Measuring[Any, Any]:
        """What turns its observations into estimates."""
        return self.part("measure", Measuring)

    def part(self, module: str, kind: type[_T]) -> _T:
        """Import a part, an object of type `kind`.

        Raises:
            PluginError: it cannot be imported, or is something else.
        """
        name = f"{self.package}.{module}"
        try:
            found = getattr(importlib.import_module(name), module.upper())
        except Exception as error:  # whatever a module of somebody else's does
            raise PluginError(
                f"the {module} part of attack '{self.name}' cannot be imported:"
                f" {type(error).__name__}: {error}"
            ) from error
        if not isinstance(found, kind):
            raise PluginError(
                f"{name}: {module.upper()} is of type {type(found).__name__}, not a {kind.__name__}"
            )
        return found


def by_name(*metrics: Metric) -> dict[str, Metric]:
    """Return an attack's metrics by their names."""
    return {metric.name: metric for metric in metrics}


def load_attack(name: str) -> Attack:
    """Return the face of the attack called `name`.

    Raises:
        PluginError: there is none, it cannot be imported, it is no attack, or it calls a kind of
            job or a metric like another attack does.
    """
    attack = _face(name)
    if name not in BUILT_IN[GROUP]:  # a test looks at those
        _refuse_shared_names(attack)
    return attack


def columns_of(kind: str) -> tuple[str, ...]:
    """Return the columns of what jobs of a kind observe.

    Raises:
        PluginError: no attack that is installed has such jobs.
    """
    return SHARED[kind] if kind in SHARED else owner_of(kind).kinds[kind]


def owner_of(kind: str) -> Attack:
    """Return the attack whose own kind of job this is.

    Raises:
        PluginError: no attack that is installed has such jobs.
    """
    for name in attack_names():
        attack = _face(name)
        if kind in attack.kinds:
            return attack
    raise PluginError(f"no attack that is installed has jobs of kind '{kind}'")


def version_of_kind(kind: str) -> dict[str, str] | None:
    """Return which code runs jobs of a kind, where it is a plug-in's own; None where phigate's.

    Another version of it may observe something else under the same parameters, so this is part of
    what a job's digest is of.

    Raises:
        PluginError: no attack that is installed has such jobs.
    """
    if kind in SHARED:
        return None
    attack = owner_of(kind)
    return plugin_version(GROUP, attack.name, package=attack.package)


def _face(name: str) -> Attack:
    found = load_plugin(GROUP, name)
    if not isinstance(found, Attack):
        raise PluginError(
            f"plug-in '{name}' of {GROUP} is of type {type(found).__name__}, not an"
            f" {Attack.__module__}.{Attack.__name__}"
        )
    if found.name != name:
        raise PluginError(f"plug-in '{name}' of {GROUP} calls itself '{found.name}'")
    return found


def attack_names() -> list[str]:
    """Return all names, built-in attacks first: they are asked without importing any other."""
    return [*BUILT_IN[GROUP], *(n for n in plugin_names(GROUP) if n not in BUILT_IN[GROUP])]


def _refuse_shared_names(attack: Attack) -> None:
    """Evidence is found by the kind of its job, words by the name of their metric."""
    for name, metric in attack.metrics.items():
        if name != metric.name:
            raise PluginError(
                f"attack '{attack.name}' lists its metric '{metric.name}' as '{name}'; use by_name"
            )
    others = [_face(name) for name in attack_names() if name != attack.name]
    for what, own, theirs in (
        ("kind of job", attack.kinds, {*SHARED, *(k for one in others for k in one.kinds)}),
        ("metric", attack.metrics, {m for one in others for m in one.metrics}),
    ):
        for name in own:
            if name in theirs:
                raise PluginError(
                    f"attack '{attack.name}' has a {what} called '{name}', and so has another;"
                    " rename it"
                )


# --- measuring ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CellEvidence:
    """All evidence of one cell.

    Args:
        labels: of the patients, where the cell has such a job.
        tables: by kind of job, the tables of the model under audit, in the plan's order.
        reference: the same of the reference model; empty where none was asked.
        watch: token ids that make a hit.
        parts: of a pool those of each of its classes, by name; of a class none.
        subgroup: whose rows count.
        params: the attack's.
        contrast: what an excess is taken over.
        decides_side: the cell decides by on which side of a threshold q of each patient lies.
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
    decides_side: bool = False
    partial: bool = False
    memo: dict[Any, Any] = field(default_factory=dict)
    parts: Mapping[str, Sequence[int]] = field(default_factory=dict)

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
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return "table", id(value)
    if isinstance(value, list | tuple):
        return tuple(_key(one) for one in value)
    if value is None or isinstance(value, str | int | float | bool | bytes):
        return type(value).__name__, value
    raise TypeError(f"what was computed from {type(value).__name__} cannot be found again")


@dataclass(frozen=True, slots=True)
class Observations:
    """What the judge asks of any attack's observations before and beside measuring.

    Each attack has its own columns and answers what it has an answer to.

    Args:
        unanswered: patients whom the evidence should speak of and does not.
    """

    unanswered: int = field(default=0, kw_only=True)

    def eligible(self, *, member: bool) -> int | None:
        """Return the sampling units of one split; None where measuring itself asks for enough."""
        return None

    def distinct_prompt_share(self, *, everybody: bool) -> float | None:
        """Return the share of distinct prompts in the split where it is lower.

        Args:
            everybody: of all patients; otherwise of the eligible positives only.

        Returns:
            A share in (0, 1]; None where there are no prompts, or it does not matter.
        """
        return None

    def base_scores(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return the class's model-free expected probability, of eligible members and nonmembers.

        None where no class is in question, or none was computed.
        """
        return None

    def blind_scores(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return how member-like members and nonmembers look without any number of the model.

        None where nothing was learned, so that the splits are compared by their codes.
        """
        return None

    def reference_scores(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return how member-like they look to a learner that sees a declared reference alone.

        None where nothing was learned from one.
        """
        return None


@dataclass(frozen=True, slots=True)
class ScoredPatients:
    """How member-like each patient looks, one by one.

    Args:
        members: [n] pseudonyms.
        member_scores: [n] float64, higher is more member-like.
        nonmember_scores: [m] float64.
    """

    members: Sequence[str]
    member_scores: NDArray[np.float64]
    nonmember_scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Detection:
    """Whether an attack finds what it must find if it works.

    Args:
        shown: it does, beyond chance.
        explanation: one sentence with the numbers.
    """

    shown: bool
    explanation: str


_ObservationsT = TypeVar("_ObservationsT", bound=Observations)
_ParamsT = TypeVar("_ParamsT", bound=Params)


class Measuring(ABC, Generic[_ObservationsT, _ParamsT]):
    """How an attack's observations become an estimate; it sees no model and no file.

    Attributes:
        bounds_privacy: it has a `privacy_bound`.
    """

    bounds_privacy: ClassVar[bool] = False

    @abstractmethod
    def observations(self, evidence: CellEvidence) -> _ObservationsT:
        """Turn a cell's evidence into what the other methods take."""

    @abstractmethod
    def group(
        self, metric: Metric, observations: _ObservationsT, *, member: bool, params: _ParamsT
    ) -> Any:
        """Return what the metric's family takes of one split (`checker.attacks.families.samples`).

        None where it takes nothing of this split.

        Raises:
            InsufficientData: too little to estimate from.
        """

    def reported(
        self, metric: Metric, observations: _ObservationsT, *, params: _ParamsT, confidence: float
    ) -> dict[str, Estimate]:
        """Return further numbers by name, which are only ever reported."""
        return {}

    def measure(
        self, metric: Metric, observations: _ObservationsT, *, params: _ParamsT, confidence: float
    ) -> Measurement:
        """Turn observations into an estimate with one-sided bounds at `confidence`.

        Args:
            metric: as the control measures it (`Metric.in_control`).
            observations: of the cell.
            params: of the control.
            confidence: of each bound, in (0, 1).

        Raises:
            InsufficientData: too little to estimate from.
        """
        members, nonmembers = (
            self.group(metric, observations, member=member, params=params)
            for member in (True, False)
        )
        found = metric.family.measure(members, nonmembers, confidence=confidence)
        reported = self.reported(metric, observations, params=params, confidence=confidence)
        return replace(found, reported=reported)

    def placebo(
        self,
        metric: Metric,
        observations: _ObservationsT,
        *,
        params: _ParamsT,
        confidence: float,
        rng: np.random.Generator,
    ) -> Estimate | None:
        """Measure the same between two random halves of the nonmembers, where nothing can differ.

        Returns:
            An estimate whose bounds hold the family's `null_value`, unless the instrument is broken
            for this data; None for metrics that compare nothing.
        """
        nonmembers = self.group(metric, observations, member=False, params=params)
        return metric.family.placebo(nonmembers, confidence=confidence, rng=rng)

    def roc(
        self, observations: _ObservationsT, *, params: _ParamsT, confidence: float
    ) -> Sequence[tuple[float, Estimate]]:
        """Return the true-positive rate by false-positive rate; empty where nothing is ranked."""
        return ()

    def scored_patients(
        self, observations: _ObservationsT, *, params: _ParamsT
    ) -> ScoredPatients | None:
        """Return each patient's score; None where patients are not ranked one by one."""
        return None

    def privacy_bound(
        self, observations: _ObservationsT, *, params: _ParamsT, delta: float, confidence: float
    ) -> float:
        """Return the least ε of differential privacy at a δ that the observations allow.

        Raises:
            InsufficientData: too little was observed.
        """
        raise NotImplementedError  # asked only where `bounds_privacy` says so

    def detection(self, observations: _ObservationsT, *, confidence: float) -> Detection | None:
        """Say whether the attack is shown to work here; None where nothing was planted to show it.

        An attack that is not shown to work can fail a model and not pass one.
        """
        return None
