"""T5: the share of eligible members whom the model tells on only under their own age.

Members are tried when their continuations disclose the class. Measuring again what was chosen for
being high regresses to the mean, so the unchanged prompt is drawn afresh, with the same random
numbers as the changed ones. A member is *memorized* when that fresh q exceeds the threshold, the
mean q over small changes of the age does not, and Fisher's exact test of the two hit counts gives
p ≤ 0.05 (two-sided). Where the age changes nothing, a member is taken for memorized with
probability at most 0.022, whatever his q: enumerated over q for 10, 20 and 50 samples and one to
four small changes, independent draws; common random numbers make it less.

Collapse proves memory. Stability proves nothing: a model that repeats records from their clinical
codes ignores the age. So `memorized_share` can fail a control and never pass one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import pyarrow.compute as pc
import scipy
from numpy.typing import NDArray

from checker import stats
from checker.attacks.api import CellEvidence, Measuring, Metric, Observations
from checker.attacks.families import Measurement
from checker.attacks.families.samples import Clusters
from checker.attacks.identifier_perturbation import IdentifierPerturbationParams
from checker.attacks.rollouts import cell_shares
from checker.attacks.tables import booleans, in_subgroup
from checker.errors import InsufficientData
from checker.stats.estimate import Estimate

AGE_OFFSETS = (-10, -5, -2, -1, 1, 2, 5, 10)
"""Years by which the age is changed."""

SMALL_OFFSETS = (-2, -1, 1, 2)
"""Changes of the age that no disease depends on."""

OTHER_VALUES = 5
"""Of a static field the commonest other values are tried, at most so many."""

SIGNIFICANT = 0.05

Change = tuple[str, str]
"""What was changed, and to what: ("age", "+2"), ("sex", "GENDER//M")."""

UNCHANGED: Change = ("none", "unchanged")


@dataclass(frozen=True, slots=True)
class PerturbationObservations(Observations):
    """What changed identifiers did to the eligible members, by distinct prompt.

    Args:
        size: [k] int64, eligible members with that prompt.
        q: [k] float64 in [0, 1], share of the first continuations that hold the class: it decides
            who is tried, and nothing else.
        changes: c changes that were tried, `UNCHANGED` first.
        hits: [k, c] int64, fresh continuations that hold the class; -1 where a change was not tried
            with a prompt.
        samples: fresh continuations of each prompt and change.
        threshold: disclosed beyond it.
    """

    size: NDArray[np.int64]
    q: NDArray[np.float64]
    changes: tuple[Change, ...]
    hits: NDArray[np.int64]
    samples: int
    threshold: float

    def eligible(self, *, member: bool) -> int | None:
        """Return how many eligible members were asked; nonmembers never are."""
        return int(self.size.sum()) if member else None

    @property
    def is_disclosed(self) -> NDArray[np.bool_]:
        """[k] bool: the first continuations disclose the class, so the prompt was tried."""
        return self.q > self.threshold

    @property
    def small(self) -> NDArray[np.int64]:
        """[c'] where the small changes of the age stand among the changes."""
        wanted = {("age", f"{years:+d}") for years in SMALL_OFFSETS}
        return np.array([i for i, c in enumerate(self.changes) if c in wanted], dtype=np.int64)

    @property
    def is_testable(self) -> NDArray[np.bool_]:
        """[k] bool: disclosed, and the prompt tells an age with a neighbour in the vocabulary."""
        return self.is_disclosed & (self.hits[:, self.small] >= 0).any(axis=1)

    def is_memorized(self) -> NDArray[np.bool_]:
        """Return which prompts lose the class when the age changes a little: [k] bool."""
        memorized = np.zeros(len(self.size), dtype=np.bool_)
        for prompt in np.flatnonzero(self.is_testable).tolist():
            before = int(self.hits[prompt, 0])
            tried = self.hits[prompt, self.small]
            after, draws = int(tried[tried >= 0].sum()), self.samples * int((tried >= 0).sum())
            if before / self.samples > self.threshold >= after / draws:
                table = np.array([[before, self.samples - before], [after, draws - after]])
                memorized[prompt] = scipy.stats.fisher_exact(table).pvalue <= SIGNIFICANT
        return memorized


class PerturbationMeasuring(Measuring[PerturbationObservations, IdentifierPerturbationParams]):
    """Takes hits under changed identifiers.

    Patients who share a prompt share what becomes of it, and are one unit.
    """

    def observations(self, evidence: CellEvidence) -> PerturbationObservations:
        """Join the eligible members with their first continuations and what changes did."""
        labels = evidence.labels
        assert labels is not None  # the plan gives every such cell its labels
        chosen = in_subgroup(labels, evidence.subgroup)
        chosen &= booleans(labels, "member") & booleans(labels, "eligible")
        prompts = labels["prompt"].filter(chosen).to_pylist()
        shares, tried = cell_shares(evidence), _hits(evidence)
        threshold = evidence.params.threshold
        missing = [
            prompt not in shares or (shares[prompt] > threshold and prompt not in tried)
            for prompt in prompts
        ]
        sizes = Counter(p for p, gone in zip(prompts, missing, strict=True) if not gone)
        names = list(sizes)
        changes = dict.fromkeys([UNCHANGED, *(c for found in tried.values() for c in found)])
        return PerturbationObservations(
            size=np.array([sizes[name] for name in names], dtype=np.int64),
            q=np.array([shares[name] for name in names], dtype=np.float64),
            changes=tuple(changes),
            hits=np.array(
                [[tried.get(name, {}).get(change, -1) for change in changes] for name in names],
                dtype=np.int64,
            ).reshape(len(names), len(changes)),
            samples=evidence.params.samples,
            threshold=threshold,
            unanswered=sum(missing),
        )

    def group(
        self,
        metric: Metric,
        observations: PerturbationObservations,
        *,
        member: bool,
        params: IdentifierPerturbationParams,
    ) -> Clusters | None:
        """Return which eligible members are memorized; nonmembers are never asked.

        A disclosed member whose prompt tells no age that can be changed says nothing either way and
        is left out; one who was not disclosed is not memorized.

        Raises:
            InsufficientData: members are disclosed, but the age can be changed in no prompt (reason
                "identifier-not-in-prompt").
        """
        if not member:
            return None
        disclosed, testable = observations.is_disclosed, observations.is_testable
        if disclosed.any() and not testable.any():
            raise InsufficientData(
                "disclosed members whose prompt tells an age that can be changed",
                needed=1,
                got=0,
                reason="identifier-not-in-prompt",
            )
        return _clusters(observations, observations.is_memorized(), testable | ~disclosed)

    def reported(
        self,
        metric: Metric,
        observations: PerturbationObservations,
        *,
        params: IdentifierPerturbationParams,
        confidence: float,
    ) -> dict[str, Estimate]:
        """Return the share among the disclosed, and what each change did to them."""
        among = _mean(
            observations,
            observations.is_memorized(),
            observations.is_testable,
            confidence=confidence,
        )
        share = {} if among is None else {"memorized share of disclosed members": among}
        return share | _curve(observations, confidence=confidence)

    def measure(
        self,
        metric: Metric,
        observations: PerturbationObservations,
        *,
        params: IdentifierPerturbationParams,
        confidence: float,
    ) -> Measurement:
        """Estimate the share of members, with no part beside it: nothing is subtracted."""
        found = super().measure(metric, observations, params=params, confidence=confidence)
        return replace(found, members=None)


def _hits(evidence: CellEvidence) -> dict[str, dict[Change, int]]:
    """Return hits by prompt and change."""
    found: dict[str, dict[Change, int]] = {}
    for table in evidence.tables.get("perturbations", ()):
        if pc.any(pc.not_equal(table["samples"], evidence.params.samples)).as_py():
            raise ValueError("perturbations were drawn with another number of samples than planned")
        columns = (table[name].to_pylist() for name in ("prompt", "identifier", "change", "hits"))
        for prompt, identifier, change, hits in zip(*columns, strict=True):
            found.setdefault(prompt, {})[identifier, change] = hits
    return found


def _clusters(
    observations: PerturbationObservations,
    outcome: NDArray[np.floating] | NDArray[np.bool_],
    chosen: NDArray[np.bool_],
) -> Clusters:
    """Return an outcome in [0, 1] of the members behind some of the prompts."""
    return Clusters(
        outcome[chosen].astype(np.float64), observations.size[chosen], "eligible members"
    )


def _mean(
    observations: PerturbationObservations,
    outcome: NDArray[np.floating] | NDArray[np.bool_],
    chosen: NDArray[np.bool_],
    *,
    confidence: float,
) -> Estimate | None:
    """Estimate the mean of such an outcome; None where nobody is behind the prompts."""
    if not observations.size[chosen].sum():
        return None
    found = _clusters(observations, outcome, chosen)
    return stats.rate(*found.counted(), confidence=confidence)


def _curve(observations: PerturbationObservations, *, confidence: float) -> dict[str, Estimate]:
    """Estimate the mean fresh q of disclosed members under each change.

    Ages stand in order with the unchanged one in between; of a static field the mean over its other
    values is taken.
    """
    curve: dict[str, Estimate] = {}
    order = sorted(range(len(observations.changes)), key=lambda i: _place(observations.changes[i]))
    for title, places in groupby(order, key=lambda i: _title(observations.changes[i])):
        hits = observations.hits[:, list(places)]
        drawn = (hits >= 0).sum(axis=1)
        q = np.where(hits >= 0, hits, 0).sum(axis=1) / (np.maximum(drawn, 1) * observations.samples)
        estimate = _mean(observations, q, drawn > 0, confidence=confidence)
        if estimate is not None:
            curve[title] = estimate
    return curve


def _title(change: Change) -> str:
    identifier, value = change
    if change == UNCHANGED:
        return "q unchanged"
    return f"q at age {value}" if identifier == "age" else f"q at another {identifier}"


def _place(change: Change) -> tuple[int, int, str, str]:
    identifier, value = change
    if change == UNCHANGED or identifier == "age":
        return 0, 0 if change == UNCHANGED else int(value), "", ""
    return 1, 0, identifier, value


MEASURE = PerturbationMeasuring()
