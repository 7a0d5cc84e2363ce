"""How often the one-run bounds for ε exceed the truth, where the truth is known.

The mechanism is Gaussian: of m canaries the coin of each is told with noise of standard deviation
σ, so that it is μ-Gaussian differentially private with μ = 1 / σ and nothing less. The auditor
guesses by the told numbers, on a share of the canaries that is fixed beforehand. *Beyond* are
audits whose lower bound lies above the truth; at 95 % confidence that may be one in twenty. How
near a bound comes to the truth is its power.

    python -m benchmarks.canary_epsilon [--audits 2000]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from checker import stats

CONFIDENCE = 0.95
DELTA = 1e-5
CANARIES = (200, 1000)
SHARES = (0.05, 0.2, 1.0)
NOISES = (2.0, 1.0, 0.5)


@dataclass(frozen=True)
class Tally:
    """What became of audits of one mechanism.

    Args:
        truth: ε at `DELTA`, exactly.
        beyond, beyond_gaussian: audits whose bound for (ε, δ), or for Gaussian noise, exceeds it.
        mean, mean_gaussian: of the bounds.
        audits: how many.
    """

    truth: float
    beyond: int
    beyond_gaussian: int
    mean: float
    mean_gaussian: float
    audits: int

    def at_most(self, beyond: int) -> float:
        """Return the upper 95 % bound of the share of audits that a count stands for."""
        return float(stats.clopper_pearson(beyond, self.audits, confidence=0.95)[1])


def right_guesses(
    rng: np.random.Generator, *, audits: int, canaries: int, share: float, noise: float
) -> Counter[int]:
    """Return how often so many guesses were right."""
    guesses = max(2, round(share * canaries))
    as_out = guesses // 2
    right: Counter[int] = Counter()
    for _ in range(audits):
        coin = rng.random(canaries) < 0.5
        ranked = coin[np.argsort(coin + noise * rng.standard_normal(canaries))]
        right[int((~ranked[:as_out]).sum() + ranked[canaries - (guesses - as_out) :].sum())] += 1
    return right


def tally(*, audits: int, canaries: int, share: float, noise: float, seed: int = 0) -> Tally:
    """Audit one mechanism many times."""
    rng = np.random.default_rng([seed, canaries, round(100 * share), round(100 * noise)])
    right = right_guesses(rng, audits=audits, canaries=canaries, share=share, noise=noise)
    truth = stats.gaussian_epsilon(1 / noise, delta=DELTA)
    guesses = max(2, round(share * canaries))
    bounds = {}
    for correct in right:
        mu = stats.gaussian_mu_lower_bound(
            correct, guesses=guesses, canaries=canaries, confidence=CONFIDENCE
        )
        plain = stats.epsilon_lower_bound(
            correct, guesses=guesses, canaries=canaries, delta=DELTA, confidence=CONFIDENCE
        )
        bounds[correct] = plain, stats.gaussian_epsilon(mu, delta=DELTA)
    return Tally(
        truth=truth,
        beyond=sum(n for correct, n in right.items() if bounds[correct][0] > truth),
        beyond_gaussian=sum(n for correct, n in right.items() if bounds[correct][1] > truth),
        mean=sum(n * bounds[correct][0] for correct, n in right.items()) / audits,
        mean_gaussian=sum(n * bounds[correct][1] for correct, n in right.items()) / audits,
        audits=audits,
    )


def _rows(audits: int) -> Iterator[str]:
    yield "| canaries | guessed on | σ | ε | (ε, δ): beyond, mean | Gaussian: beyond, mean |"
    yield "|---|---|---|---|---|---|"
    for canaries in CANARIES:
        for share in SHARES:
            for noise in NOISES:
                one = tally(audits=audits, canaries=canaries, share=share, noise=noise)
                shown = [
                    f"{beyond / audits:.2%} (at most {one.at_most(beyond):.2%}), {mean:.2f}"
                    for beyond, mean in (
                        (one.beyond, one.mean),
                        (one.beyond_gaussian, one.mean_gaussian),
                    )
                ]
                known = f"{canaries} | {share:.0%} | {noise:g} | {one.truth:.2f}"
                yield f"| {known} | {' | '.join(shown)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--audits", type=int, default=2000)
    for row in _rows(parser.parse_args().audits):
        print(row, flush=True)


if __name__ == "__main__":
    main()
