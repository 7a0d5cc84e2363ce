"""Probes: one attack each, with the metrics that a policy may limit.

A probe says what it needs (access, an attribute class, the whole record), what its parameters are,
and how observations become an estimate. It runs no model: the plan lowers its cells to jobs, the
audit runs them, and the judge hands the probe what was observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import ConfigDict

from checker.canonical import ClosedModel
from checker.plugins import load_plugin
from checker.policy.documents import Access
from checker.stats.estimate import Estimate

__all__ = ["Access", "Measurement", "Metric", "Params", "Probe", "load_probe"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number a probe can report.

    Args:
        name: as written in policies.
        title: in words, for reports.
        family: decides interval and power: a rate, a difference of two rates, a mean in [0, 1] or
            a difference of two, an AUROC, a difference of AUROCs, a true-positive rate.
        limitable: False for metrics that are only ever reported.
        separates_splits: True for metrics of how well members are told from nonmembers.
    """

    name: str
    title: str
    family: Literal[
        "rate", "rate-difference", "mean-difference", "auroc", "auroc-difference", "tpr"
    ]
    limitable: bool = True
    separates_splits: bool = False

    @property
    def is_excess(self) -> bool:
        """Whether it subtracts what the same attack finds among nonmembers."""
        return self.family in {"rate-difference", "mean-difference", "auroc-difference"}

    @property
    def rests_on_split(self) -> bool:
        """Whether it means leakage only where members and nonmembers are comparable."""
        return self.is_excess or self.separates_splits

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


class Probe(Protocol):
    """What every probe declares; policy validation reads it, the plan and the judge use it."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper_test: ClassVar[str | None]
    access: ClassVar[Access]
    needs_attribute_class: ClassVar[bool]
    needs_whole_record: ClassVar[bool]
    metrics: ClassVar[Mapping[str, Metric]]
    params_type: ClassVar[type[Params]]

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
