"""What the token scores of whole records say of membership: the numbers a learned score is made of.

Everything is computed for many records at once: their tokens stand one after another, and a record
is a range of positions.

Reference (METHODS §2, T4): Min-K% (Shi et al. 2024, arXiv 2310.16789), Min-K%++ (Zhang et al. 2024,
arXiv 2404.02936), the error zone (Ilić, Stanojević & Cvejoski 2026, arXiv 2601.12104) and InfoRMIA
(Tao & Shokri 2025, arXiv 2510.05582).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.kinds import score_column
from checker.stats.scores import STD_FLOOR

QUANTILES = (0.05, 0.2, 0.5, 0.8, 0.95)
QUARTERS = 4

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TokenColumns:
    """Token scores of k records under one model, N scored tokens in all.

    Args:
        logprob: [N] nats, log p of each token.
        mean, std: [N] nats, of log p(·) under the model itself; None where it does not say.
        first: [N] bool, no token was likelier; None where the model does not say.
        offsets: [k + 1] int64, where each record begins, and the end; every record has a token.
    """

    logprob: Values
    mean: Values | None
    std: Values | None
    first: NDArray[np.bool_] | None
    offsets: NDArray[np.int64]

    @property
    def z(self) -> Values | None:
        """Log-probabilities in standard deviations from the model's own expectation: Min-K%++'s."""
        if self.mean is None or self.std is None:
            return None
        z: Values = (self.logprob - self.mean) / np.maximum(self.std, STD_FLOOR)
        return z


def attack_features(
    target: TokenColumns, references: dict[str, TokenColumns], *, percents: Sequence[float]
) -> dict[str, Values]:
    """Return what an attacker computes of each record from target and reference models.

    Args:
        target: the model under audit.
        references: by name, models that saw none of the records.
        percents: every k of Min-K%, in percent.

    Returns:
        By name, [k] float64 each, all finite; the same names for equal capabilities.
    """
    features = _one_model(target, percents=percents)
    for name, reference in references.items():
        gain = target.logprob - reference.logprob
        features |= _described(f"gain.{name}", gain, target.offsets)
        features[f"gain.{name}.lowest"] = _lowest(gain, target.offsets, percent=20.0)
        if target.first is not None:
            features[f"error-zone.{name}"] = _error_zone(gain, ~target.first, target.offsets)
        if target.mean is not None and reference.mean is not None:
            # InfoRMIA's token score with each model's own entropy in the place of the divergence
            # between them, for whole distributions never leave a model
            surprise = (target.logprob - target.mean) - (reference.logprob - reference.mean)
            features |= _described(f"information.{name}", surprise, target.offsets)
    return features


def blind_features(
    references: dict[str, TokenColumns], *, percents: Sequence[float]
) -> dict[str, Values]:
    """Return the same of the reference models alone: no number of the target is in it."""
    features: dict[str, Values] = {}
    for name, reference in references.items():
        found = _one_model(reference, percents=percents)
        features |= {f"{name}.{feature}": values for feature, values in found.items()}
        features[f"{name}.tokens"] = np.log1p(np.diff(reference.offsets))
    return features


def classic_scores(
    target: TokenColumns, references: dict[str, TokenColumns], *, percents: Sequence[float]
) -> dict[str, Values]:
    """Return the scores that have names of their own, [k] each; higher is more member-like."""
    scores = {"loss": means(target.logprob, target.offsets)}
    z = target.z
    for k in percents:
        scores[score_column("min-k", k)] = _lowest(target.logprob, target.offsets, percent=k)
        if z is not None:
            scores[score_column("min-k++", k)] = _lowest(z, target.offsets, percent=k)
    for name, reference in references.items():
        scores[f"{name}-ratio"] = means(target.logprob - reference.logprob, target.offsets)
    return scores


def mixture(models: Sequence[TokenColumns]) -> TokenColumns:
    """Return several models of the same records as one that believes each of them equally.

    Args:
        models: at least one, all with a mean and a spread. The mixture's own are taken as their
            mean, for whole distributions never leave a model.
    """
    if len(models) == 1:
        return models[0]
    logprob = np.logaddexp.reduce([one.logprob for one in models]) - np.log(len(models))
    means_of = [one.mean for one in models if one.mean is not None]
    spreads = [one.std for one in models if one.std is not None]
    firsts = [one.first for one in models if one.first is not None]
    complete = len(means_of) == len(spreads) == len(models)
    return TokenColumns(
        logprob,
        np.mean(means_of, axis=0) if complete else None,
        np.mean(spreads, axis=0) if complete else None,
        np.mean(firsts, axis=0) >= 0.5 if len(firsts) == len(models) else None,
        models[0].offsets,
    )


def _one_model(model: TokenColumns, *, percents: Sequence[float]) -> dict[str, Values]:
    """Describe records by one model's scores."""
    features = _described("logprob", model.logprob, model.offsets)
    z = model.z
    if z is not None:
        features |= _described("z", z, model.offsets)
    for k in percents:
        features[f"min-k.{float(k)}"] = _lowest(model.logprob, model.offsets, percent=k)
        if z is not None:
            features[f"min-k++.{float(k)}"] = _lowest(z, model.offsets, percent=k)
    if model.first is not None:
        features["ranked-first"] = means(model.first.astype(np.float64), model.offsets)
    return features


def _described(name: str, values: Values, offsets: NDArray[np.int64]) -> dict[str, Values]:
    """Return mean, quantiles and the means of a record's quarters."""
    found = {f"{name}.mean": means(values, offsets)}
    ranked = sorted_within(values, offsets)
    length = np.diff(offsets)
    for q in QUANTILES:
        place = (length - 1) * q
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, length - 1)
        low, high = ranked[offsets[:-1] + below], ranked[offsets[:-1] + above]
        found[f"{name}.q{round(100 * q):02}"] = low + (place - below) * (high - low)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    edges = offsets[:-1, None] + (length[:, None] * np.arange(QUARTERS + 1)) // QUARTERS
    counts = np.diff(edges, axis=1)
    quarters = np.diff(sums[edges], axis=1) / np.maximum(counts, 1)
    # a record of three tokens has an empty quarter, which then says what the whole record says
    quarters = np.where(counts > 0, quarters, found[f"{name}.mean"][:, None])
    for number in range(QUARTERS):
        found[f"{name}.quarter{number + 1}"] = quarters[:, number]
    return found


def means(values: Values, offsets: NDArray[np.int64]) -> Values:
    """Return the mean over each record's tokens: [k]."""
    found: Values = np.add.reduceat(values, offsets[:-1]) / np.diff(offsets)
    return found


def sorted_within(values: Values, offsets: NDArray[np.int64]) -> Values:
    """Return the values of each record in ascending order, records where they stood: [N]."""
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    ranked: Values = values[np.lexsort((values, owner))]
    return ranked


def _lowest(values: Values, offsets: NDArray[np.int64], *, percent: float) -> Values:
    """Return the mean of the lowest max(1, ⌊n·k/100⌋) values of each record: [k]."""
    ranked = sorted_within(values, offsets)
    sums = np.concatenate([[0.0], np.cumsum(ranked)])
    count = np.maximum(1, (np.diff(offsets) * percent / 100).astype(np.int64))
    start = offsets[:-1]
    found: Values = (sums[start + count] - sums[start]) / count
    return found


def _error_zone(gain: Values, errors: NDArray[np.bool_], offsets: NDArray[np.int64]) -> Values:
    """Return the share of the shift that goes up, among tokens that the target ranks below others.

    0.5 where nothing shifts, or the target has no errors.
    """
    up = np.add.reduceat(np.where(errors, np.maximum(gain, 0.0), 0.0), offsets[:-1])
    down = np.add.reduceat(np.where(errors, np.maximum(-gain, 0.0), 0.0), offsets[:-1])
    total = up + down
    share: Values = np.where(total > 0, up / np.where(total > 0, total, 1.0), 0.5)
    return share
