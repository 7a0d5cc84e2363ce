"""Canary exposure: how well planted canaries are told from their unplanted twins.

Two questions are
asked of one score, a record's mean token log-probability (or its ratio to a reference model's).

*Exposure* (Carlini et al. 2019, USENIX Security '19:267): log2(N) - log2(rank) of an included
canary among the N - 1 that were left out, from 0 to log2(N) bits. A model that memorised nothing
does not score 0: ranks are then even over 1 to N, which gives log2(N) - log2(N!)/N on average, 1.43
bits for 500 left out and 1.44 = log2(e) in the limit. Limits are to be set above that, and well
below log2(N), where the mean hangs on a handful of twins and its bounds are wide.

*A lower bound for ε* (Steinke, Nasr & Jagielski 2023, arXiv 2305.08846): guess "included" for the
highest scores, "left out" for the lowest, abstain between, and count what is right. Nothing bounds
ε from above, so it can fail a model and never pass one. How many guesses to make must not be chosen
by how they turn out: it is fixed in the policy, or chosen on one half of the canaries and counted
on the other.

A low exposure counts only where the attack is shown to work; see `CanaryMeasuring.detection`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import scipy
from numpy.typing import NDArray

from checker import stats
from checker.attacks.api import CellEvidence, Detection, Measuring, Metric, Observations
from checker.attacks.canary_exposure import CanaryExposureParams
from checker.attacks.families.samples import Guesses
from checker.attacks.tables import booleans
from checker.stats.epsilon import epsilon_lower_bound
from checker.stats.estimate import Estimate

Scores = NDArray[np.float64]

GAUSSIAN: Final = "epsilon_lower_bound_gaussian"

GUESS_SHARES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Shares of the canaries to guess on that `thresholdSelection: split` chooses from."""


@dataclass(frozen=True, slots=True)
class CanaryObservations(Observations):
    """Scores of m canaries in the manifest's order, and of the beacons.

    Args:
        included: [m] bool, the coin.
        score: [m] float64, higher is more member-like.
        beacon_score: [b] float64, of records that certainly were trained on, several times.
        natural: [m] bool, those that begin and end like patients; None where nothing says so.
        beacon_natural: [b] bool, the same of beacons.
    """

    included: NDArray[np.bool_]
    score: Scores
    beacon_score: Scores
    natural: NDArray[np.bool_] | None = None
    beacon_natural: NDArray[np.bool_] | None = None

    @property
    def kinds(self) -> Iterator[tuple[str, CanaryObservations]]:
        """Yield the canaries of each kind there is, by its name; one, where all are of one."""
        if self.natural is None or self.beacon_natural is None:
            yield "", self
            return
        for name, kind in (("implausible ", False), ("natural ", True)):
            own, beacons = self.natural == kind, self.beacon_natural == kind
            if own.any():
                part = CanaryObservations(
                    self.included[own], self.score[own], self.beacon_score[beacons]
                )
                yield (name if not own.all() else ""), part

    @property
    def planted(self) -> Scores:
        """Scores of the included canaries."""
        return self.score[self.included]

    @property
    def left_out(self) -> Scores:
        """Scores of the canaries that were left out."""
        return self.score[~self.included]


class CanaryMeasuring(Measuring[CanaryObservations, CanaryExposureParams]):
    """Takes scores of canaries; the estimators ask for enough of them themselves."""

    bounds_privacy = True

    def observations(self, evidence: CellEvidence) -> CanaryObservations:
        """Put the scores of the manifest's canaries and beacons together."""
        table = _in_order(evidence.tables["canaries"])
        score = table["score"].to_numpy().astype(np.float64)
        if evidence.params.score == "reference-ratio":
            other = _in_order(evidence.reference["canaries"])
            score = score - other["score"].to_numpy().astype(np.float64)
        beacon, natural = booleans(table, "beacon"), booleans(table, "natural")
        score = _comparable(score, natural=natural, beacon=beacon)
        return CanaryObservations(
            included=booleans(table, "included")[~beacon],
            score=score[~beacon],
            beacon_score=score[beacon],
            natural=natural[~beacon],
            beacon_natural=natural[beacon],
        )

    def group(
        self,
        metric: Metric,
        observations: CanaryObservations,
        *,
        member: bool,
        params: CanaryExposureParams,
    ) -> Scores | Guesses:
        """Return the scores of planted or left-out canaries, or what was guessed of both."""
        if metric.outcome == "guesses":
            return _guessed(observations, params=params)
        return observations.planted if member else observations.left_out

    def reported(
        self,
        metric: Metric,
        observations: CanaryObservations,
        *,
        params: CanaryExposureParams,
        confidence: float,
    ) -> dict[str, Estimate]:
        """Bound ε once more by the same guesses, as if noise were Gaussian."""
        if metric.outcome != "guesses":
            return {}
        guesses = _guessed(observations, params=params)
        return {GAUSSIAN: _gaussian(guesses, confidence=confidence)} if guesses.delta else {}

    def privacy_bound(
        self,
        observations: CanaryObservations,
        *,
        params: CanaryExposureParams,
        delta: float,
        confidence: float,
    ) -> float:
        """Guess as the control says; its own δ is that of its own limit."""
        guesses = _guessed(observations, params=params)
        return epsilon_lower_bound(
            guesses.correct,
            guesses=guesses.n,
            canaries=guesses.canaries,
            delta=delta,
            confidence=confidence,
        )

    def detection(self, observations: CanaryObservations, *, confidence: float) -> Detection:
        """Say whether what must be found was found; otherwise a low exposure shows nothing.

        A sound model does not show its canaries, and nor does one that was never trained on them,
        or that is asked in the wrong format. Beacons tell these apart: they stand in the shard many
        times over, and any attack that works on this model finds them. Either beacons or canaries
        must score above the canaries left out, by the rank-sum test of Mann & Whitney (1947), each
        at half of 1 - `confidence`. Where some canaries are natural, that must be so of each kind:
        a filter of outliers before training takes out the implausible ones alone.

        Args:
            observations: with at least one canary left out.
            confidence: with which a blind attack is seen to be blind, in (0, 1).
        """
        shown = [_detected(own, kind, confidence=confidence) for kind, own in observations.kinds]
        missed = [one for one in shown if not one.shown]
        return Detection(not missed, " ".join(one.explanation for one in missed or shown))


def _detected(observations: CanaryObservations, kind: str, *, confidence: float) -> Detection:
    """Say whether canaries of one kind, or their beacons, are told from those left out."""
    found = []
    for name, scores in (
        (f"{kind}beacons", observations.beacon_score),
        (f"included {kind}canaries", observations.planted),
    ):
        auroc, p = _above(scores, observations.left_out)
        if p <= (1 - confidence) / 2:
            text = f"The {len(scores)} {name} score above those left out (AUROC {auroc:.3f})."
            return Detection(True, text)
        found.append(f"the {len(scores)} {name} (AUROC {auroc:.3f})" if len(scores) else "")
    missed = " nor ".join(text for text in found if text) or "anything"
    text = f"The scores do not tell {missed} from the {kind}canaries left out."
    if not len(observations.beacon_score):
        text += f" The manifest has no {kind}beacons, which a working attack would find."
    return Detection(False, text)


# --- guesses ------------------------------------------------------------------------------------


def _guessed(observations: CanaryObservations, *, params: CanaryExposureParams) -> Guesses:
    included, score = observations.included, observations.score
    share = params.guess_share
    if params.threshold_selection == "split":
        # records were drawn alike and in no order, so every other one is a half by lot
        share = _best_share(included[0::2], score[0::2], delta=params.delta)
        included, score = included[1::2], score[1::2]
    guesses = _guesses(len(score), share)
    return Guesses(
        correct=_correct(included, score, guesses),
        n=guesses,
        canaries=len(score),
        delta=params.delta,
        chosen=params.threshold_selection,
    )


def _gaussian(guesses: Guesses, *, confidence: float) -> Estimate:
    """Return the bound by Gaussian trade-off functions; its value is that at confidence 0.5."""
    low, middle = (
        stats.gaussian_epsilon(
            stats.gaussian_mu_lower_bound(
                guesses.correct, guesses=guesses.n, canaries=guesses.canaries, confidence=level
            ),
            delta=guesses.delta,
        )
        for level in (confidence, 0.5)
    )
    return Estimate(
        value=max(low, middle), low=low, high=math.inf, n=guesses.canaries, confidence=confidence,
        method="one training run, Gaussian trade-off function",
    )  # fmt: skip


def _guesses(m: int, share: float) -> int:
    return min(m, max(2, round(share * m)))


def _correct(included: NDArray[np.bool_], score: Scores, guesses: int) -> int:
    """Count right guesses: the highest scores as included, the lowest as left out."""
    order = np.argsort(score, kind="stable")  # ties by the manifest's order, which no coin made
    as_out = guesses // 2
    as_in = guesses - as_out
    return int((~included[order[:as_out]]).sum() + included[order[len(order) - as_in :]].sum())


def _best_share(included: NDArray[np.bool_], score: Scores, *, delta: float) -> float:
    """Return the share of guesses with the highest bound at confidence 0.95 on these canaries."""
    bounds = []
    for share in GUESS_SHARES:
        guesses = _guesses(len(score), share)
        correct = _correct(included, score, guesses)
        bounds.append(
            epsilon_lower_bound(
                correct, guesses=guesses, canaries=len(score), delta=delta, confidence=0.95
            )
        )
    return GUESS_SHARES[int(np.argmax(bounds))]


# --- helpers ------------------------------------------------------------------------------------


def _comparable(score: Scores, *, natural: NDArray[np.bool_], beacon: NDArray[np.bool_]) -> Scores:
    """Put scores of both kinds of canaries on one scale, without looking at the coins.

    A model finds natural ones likelier whether it saw them or not. Each kind loses the median of
    its canaries, planted and left out, and is divided by their median distance from it.
    """
    if natural[~beacon].all() or not natural[~beacon].any():
        return score
    scaled = score.copy()
    for kind in (False, True):
        own = score[(natural == kind) & ~beacon]
        middle = np.median(own)
        spread = float(np.median(np.abs(own - middle)))
        scaled[natural == kind] = (score[natural == kind] - middle) / (spread or 1.0)
    return scaled


def _in_order(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).sort_by("canary")


def _above(scores: Scores, others: Scores) -> tuple[float, float]:
    """Return the AUROC of scores against others, and the p-value of its being 0.5 or less."""
    if not len(scores) or not len(others) or np.ptp(np.concatenate([scores, others])) == 0:
        return 0.5, 1.0
    found = scipy.stats.mannwhitneyu(scores, others, alternative="greater")
    return float(found.statistic) / (len(scores) * len(others)), float(found.pvalue)


MEASURE = CanaryMeasuring()
