"""Do the bounds of a membership score beside shadow models hold, though patients share them?

Shadow models are trained on halves of the patients who are asked about, judged ones among them, so
that what is known of one patient depends on the others. Here a record is a point of `FEATURES`
heavy-tailed numbers, a model is the mean of those who taught it, and its score of a record is their
inner product: likelier where the record taught it, by its own square over their number. Target,
reference and shadows are such models, the shadows drawn and read as the audit does
(`shadow_features`).

Two studies, of 300 members and 250 nonmembers of whom a third is fitted on:

* *fit*: a model that saw nobody is audited, each time with a classifier of its own. The truth is
  AUROC 0.5, and the true-positive rate that was asked for.
* *draw*: one classifier judges many audits of models that were taught their members, and the truth
  is what it finds on average.

    nice python -m benchmarks.calibration_shadows --audits 2000

Exits with 1 where a bound at 95 % lies on the wrong side in more than `MOST` of the audits by the
exact upper bound of 95 %.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.calibration_learned import CONFIDENCE, FPR, MOST, third
from checker import stats
from checker.attacks.membership_inference.learner import learned_scores
from checker.attacks.membership_inference.run import shadow_features

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MEMBERS: Final = 300
NONMEMBERS: Final = 250
FEATURES: Final = 60
TAUGHT_REFERENCE: Final = 125


@dataclass(frozen=True, slots=True)
class Point:
    """What became of many audits.

    Args:
        study: "fit" or "draw".
        shadows: how many.
        audits: how many.
        auroc: mean of those that were measured.
        spread: their standard deviation.
        false: by bound, audits in which it lies on the wrong side of the truth.
    """

    study: str
    shadows: int
    audits: int
    auroc: float
    spread: float
    false: dict[str, int]

    @property
    def upper(self) -> dict[str, float]:
        """Exact 95 % upper bounds of the shares."""
        return {
            name: stats.rate(count, self.audits, confidence=0.95).high
            for name, count in self.false.items()
        }


def audited(
    rng: np.random.Generator, *, leaks: bool, shadows: int
) -> tuple[Array, list[int], Mask]:
    """Draw patients and models.

    Args:
        rng: draws them.
        leaks: the target was taught the members, and others otherwise.
        shadows: how many models are taught halves of the patients.

    Returns:
        Features [n, d], columns that the learner tries alone, and who is fitted on [n]; members
        come first.
    """

    def drawn(n: int) -> Array:
        records: Array = rng.standard_t(4, (n, FEATURES)) / np.sqrt(2)
        return records

    records = drawn(MEMBERS + NONMEMBERS)
    member = np.arange(len(records)) < MEMBERS
    fitted = third(member, rng)
    target = (records[member] if leaks else drawn(MEMBERS)).mean(axis=0)
    own, easy = records @ target, records @ drawn(TAUGHT_REFERENCE).mean(axis=0)
    features = np.stack([own, easy, own - easy], axis=1)
    if not shadows:
        return features, [], fitted
    names = [f"p{number}" for number in range(len(records))]
    tables = []
    for number in range(shadows):
        if number % 2 == 0:
            taught = np.zeros(len(records), dtype=np.bool_)
            for kind in (np.flatnonzero(member), np.flatnonzero(~member)):
                taught[rng.permutation(kind)[: len(kind) // 2]] = True
        else:
            taught = ~taught
        said = records @ records[taught].mean(axis=0)
        passes = pa.array(said[:, None].tolist(), pa.list_(pa.float32()))
        tables.append(pa.table({"patient": names, "taught": taught, "logprob": passes}))
    table = pa.table({"patient": names, "classic@loss": own})
    seen, _ = shadow_features(table, tables, fitted & ~member)
    return np.hstack([features, seen]), list(range(3, 7)), fitted


def fit(*, audits: int, shadows: int) -> Point:
    """Audit models that saw nobody, each with a classifier of its own."""
    member = np.arange(MEMBERS + NONMEMBERS) < MEMBERS
    found = []
    for number in range(audits):
        rng = np.random.default_rng([1, shadows, number])
        features, alone, fitted = audited(rng, leaks=False, shadows=shadows)
        scores, judged = learned_scores(features, member, fitted, alone=alone), member[~fitted]
        found.append((scores[judged], scores[~judged]))
    return _point("fit", shadows, found, auroc=0.5, tpr=FPR)


def draw(*, audits: int, shadows: int) -> Point:
    """Judge models that were taught their members by one classifier, fitted on one audit more."""
    member = np.arange(MEMBERS + NONMEMBERS) < MEMBERS
    rng = np.random.default_rng([2, shadows])
    drawn = [audited(rng, leaks=True, shadows=shadows) for _ in range(audits + 1)]
    alone = drawn[0][1]
    fitted = np.concatenate([drawn[0][2], np.zeros(audits * len(member), dtype=np.bool_)])
    scored = np.concatenate(
        [np.zeros(len(member), dtype=np.bool_), *(~one[2] for one in drawn[1:])]
    )
    scores = learned_scores(
        np.concatenate([one[0] for one in drawn]),
        np.tile(member, audits + 1),
        fitted,
        scored=scored,
        alone=alone,
    ).reshape(audits, -1)
    inside = MEMBERS - MEMBERS // 3  # members come first
    return _point("draw", shadows, [(one[:inside], one[inside:]) for one in scores])


def _point(
    study: str,
    shadows: int,
    found: list[tuple[Array, Array]],
    *,
    auroc: float | None = None,
    tpr: float | None = None,
) -> Point:
    estimates = [
        (
            stats.auroc(*one, confidence=CONFIDENCE),
            stats.tpr_at_fpr(*one, fpr=FPR, confidence=CONFIDENCE),
        )
        for one in found
    ]
    measured = np.array([[one.value for one in pair] for pair in estimates])
    truths = [
        float(mean) if known is None else known
        for mean, known in zip(measured.mean(axis=0), (auroc, tpr), strict=True)
    ]
    false = {}
    for at, name in enumerate(("auroc", "tpr")):
        false[f"{name} pass"] = sum(pair[at].high < truths[at] for pair in estimates)
        false[f"{name} fail"] = sum(pair[at].low > truths[at] for pair in estimates)
    spread = float(measured[:, 0].std())
    return Point(study, shadows, len(found), float(measured[:, 0].mean()), spread, false)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--audits", type=int, default=2000)
    parser.add_argument("--shadows", type=int, nargs="*", default=[0, 2, 4])
    asked = parser.parse_args()
    unmet = []
    for study in (fit, draw):
        for shadows in asked.shadows:
            point = study(audits=asked.audits, shadows=shadows)
            said = ", ".join(
                f"{name} {count / point.audits:.2%} (at most {point.upper[name]:.2%})"
                for name, count in point.false.items()
            )
            name = f"{point.study}, {shadows} shadows"
            print(f"{name}: AUROC {point.auroc:.3f} ± {point.spread:.3f}; {said}", flush=True)
            unmet += [f"{name}: {one}" for one, most in point.upper.items() if most > MOST]
    print("\n".join(unmet) or "every demand is met")
    sys.exit(bool(unmet))


if __name__ == "__main__":
    main()
