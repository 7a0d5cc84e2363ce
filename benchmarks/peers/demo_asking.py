"""Hands one of the demo's models to PrivacyGuard: `demo_asking.py FEED`, JSON on the output.

It runs under the tools' own Python, which has no phigate, and asks their own code.
"""

from __future__ import annotations

import importlib
import io
import json
import logging
import sys
from contextlib import redirect_stdout
from typing import Any

import numpy as np

LENGTH, QUERIES, CHANCE, TOP_P = 12, 1000, 0.5, 0.95
DELTA = 1e-5
SEED = 0


def _of(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"privacy_guard.{module}"), name)


def extraction(feed: Any) -> dict[str, Any]:
    """Return the chance of each window, and of whom it comes out in so many queries."""
    pandas, torch = importlib.import_module("pandas"), importlib.import_module("torch")
    module = "analysis.extraction.probabilistic_memorization_analysis_from_logits_"
    windows = pandas.DataFrame(
        {
            "prediction_logits": [torch.from_numpy(one) for one in feed["logits"]],
            "target_tokens": [torch.from_numpy(one) for one in feed["tokens"]],
        }
    )
    given = _of(f"{module}input", "ProbabilisticMemorizationAnalysisFromLogitsInput")(
        windows, prob_threshold=CHANCE, n_values=[QUERIES], temperature=1.0, top_p=TOP_P
    )
    out = _of(f"{module}node", "ProbabilisticMemorizationAnalysisFromLogitsNode")(
        given
    ).run_analysis()
    return {
        "probability": out.model_probability.tolist(),
        "discoverable": [one[QUERIES] >= CHANCE for one in out.n_probabilities],
    }


def lira(feed: Any) -> dict[str, float]:
    """Return the AUC of its attack, by the standard deviations that it can take.

    A record's own deviation is its first, one for all records is the mean of these, or what is
    handed over for all: the root of the mean squared deviation, which is ours.
    """
    pandas = importlib.import_module("pandas")
    rows = ("score_orig", "score_mean_in", "score_mean_out", "score_std_in", "score_std_out")
    whole = pandas.DataFrame({name: feed[name] for name in rows})
    whole["user_id"] = range(len(whole))
    said, member = feed["said"], feed["member"]
    pooled = {}
    for name, chosen in (("score_std_in", member), ("score_std_out", ~member)):
        own = np.where(chosen, said, np.nan)
        pooled[name] = float(np.sqrt(np.nanmean((own - np.nanmean(own, axis=0)) ** 2)))
    inside = feed["is_member"]
    found = {}
    for title, fixed, frame in (
        ("each record's deviation", False, whole),
        ("mean deviation", True, whole),
        ("our deviation", True, whole.assign(**pooled)),
    ):
        given = _of("attacks.lira_attack", "LiraAttack")(
            frame[inside].copy(),
            frame[~inside].copy(),
            row_aggregation=_of("analysis.mia.aggregate_analysis_input", "AggregationType").NONE,
            use_fixed_variance=fixed,
            std_dev_type="mix",
            online_attack=True,
        ).run_attack()
        np.random.seed(SEED)  # noqa: NPY002 - its bootstrap takes no generator
        node = _of("analysis.mia.analysis_node", "AnalysisNode")
        out = node(given, delta=DELTA, n_users_for_eval=len(whole)).run_analysis()
        found[title] = float(out.auc)
        found[f"{title}, exactly"] = _auroc(given.df_train_user.score, given.df_test_user.score)
    return found


def _auroc(inside: Any, outside: Any) -> float:
    """Return the share of pairs that its scores order rightly: its own AUC is of a grid."""
    below = np.sort(outside.to_numpy())
    ranks = np.searchsorted(below, inside, "left") + np.searchsorted(below, inside, "right")
    return float(ranks.mean() / (2 * len(below)))


def main(path: str) -> None:
    """Ask about one feed."""
    logging.disable(logging.CRITICAL)
    with np.load(path, allow_pickle=False) as stored:
        feed = {name: stored[name] for name in stored.files}
    with redirect_stdout(io.StringIO()):  # what it prints between
        said: dict[str, Any] = {"extraction": extraction(feed)}
        if "said" in feed:
            said["lira"] = lira(feed)
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1])
