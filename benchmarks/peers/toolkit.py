"""What the toolkit of Tonekaboni et al. 2025 prints of a feed, by its definitions.

T4 is the AUROC of the mean log-probability of a record's least likely fifth of tokens; T2 who of
those with HIV is named by more than half of ten continuations. It has no threshold for either but
this one half, and no test of members against others: intervals are ours. T1 and T5 have no number
to hold against nonmembers' in it, and T3 is a grid of 81 networks for each class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from benchmarks.paper_reference import toolkit_min_k, toolkit_share
from benchmarks.peers.asking import Feed
from benchmarks.peers.feeding import TRAJECTORIES
from checker import stats

NAMED: Final = 0.5
CONFIDENCE: Final = 0.975  # of each bound


def toolkit(path: Path) -> dict[str, Any]:
    """Return T4 with its interval, and how many T2 names of each split, with a p-value."""
    feed = Feed(path)
    scores = [
        [
            toolkit_min_k(np.exp(one.astype(np.float64)))
            for one in feed.scored(split, "own", "logprob")
        ]
        for split in ("member", "nonmember")
    ]
    t4 = stats.auroc(*scores, confidence=CONFIDENCE)
    named = [named_of(feed, split) for split in ("member", "nonmember")]
    counts = [[int(one.sum()), int((~one).sum())] for one in named]
    return {
        "t4": [t4.value, t4.low, t4.high],
        "t2": {
            "members": [counts[0][0], len(named[0])],
            "nonmembers": [counts[1][0], len(named[1])],
            "p_value": float(fisher_exact(counts, alternative="greater").pvalue),
        },
    }


def named_of(feed: Feed, split: str) -> NDArray[np.bool_]:
    """Return of which patients with HIV more than half of the continuations name it."""
    drawn, watch = feed.records(f"{split}_drawn"), feed.stored("watch").tolist()
    starts = range(0, len(drawn), TRAJECTORIES)
    shares = [toolkit_share(drawn[start : start + TRAJECTORIES], watch) for start in starts]
    return np.array(shares) > NAMED
