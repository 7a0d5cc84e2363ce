"""Hands feeds to other tools and prints what they say: `asking.py FEED...`, one JSON line each.

It runs under the tools' own Python, which has no phigate, and asks their own code. What none of
them has is how a patient's record becomes what they want, and that is decided here:

* *memaudit* asks canaries that were planted before training. Here members stand for those that
  were, nonmembers for those that were not. Membership is calibrated by the reference, as its
  headline is; its set-level test has 64 members against 64 held out. A token is a letter, and for
  BLEU a word.
* *PrivacyGuard* gets -1 times the mean loss of a record, for RMIA that as a probability beside the
  reference's and the population's, and for extraction the log-probabilities of the twelve tokens
  behind the first ten.
* *sacroml* audits classifiers and learns an attack from the predicted probabilities of a record's
  classes. It gets the deciles of the probabilities of a record's tokens, which it sorts itself.
"""

from __future__ import annotations

import importlib
import io
import json
import logging
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

FPR = 0.01
TRIES, CHANCE = 1000, 0.5
KNOWN, LENGTH = 10, 12
SEED = 0
FRACTIONS = (25, 50)
REAL_RECORDS = 64
DELTA = 1e-5


class Feed:
    """One model's feed."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as stored:
            self._all: dict[str, Any] = {name: stored[name] for name in stored.files}

    def stored(self, name: str) -> Any:
        """Return one array as it was kept."""
        return self._all[name]

    def records(self, name: str) -> list[Any]:
        """Return what was joined under a name, taken apart."""
        lengths = self._all[f"{name}_lengths"]
        return np.split(self._all[name], np.cumsum(lengths)[:-1])

    def scored(self, split: str, model: str, part: str) -> list[Any]:
        """Return one number of each token but the first, for each record of a split."""
        lengths = self._all[f"{split}_tokens_lengths"] - 1
        return np.split(self._all[f"{split}_{model}_{part}"], np.cumsum(lengths)[:-1])

    def canaries(self, split: str) -> list[int]:
        """Return who is like no patient."""
        return [int(i) for i in self._all[f"{split}_canary"]]


def _of(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


# --- memaudit -------------------------------------------------------------------------------------


def memaudit(feed: Feed) -> dict[str, Any]:
    """Return its membership headline, regurgitation and set-level test."""
    scorer = _of("memaudit.scorers.min_k", "MinKPlusPlusScorer")()
    signals = _of("memaudit.scorers.signals", "TokenSignals")
    scores = {}
    for split in ("member", "nonmember"):
        both = [
            [
                signals(*row)
                for row in zip(
                    *(feed.scored(split, model, p) for p in ("logprob", "mean", "std", "first")),
                    strict=True,
                )
            ]
            for model in ("own", "reference")
        ]
        scores[split] = [scorer.score(*pair) for pair in zip(*both, strict=True)]
    found = _of("memaudit.stats", "tpr_at_fpr")(scores["member"], scores["nonmember"], fpr=FPR)
    chosen = {
        split: np.random.default_rng(SEED).choice(own, size=REAL_RECORDS, replace=False)
        for split, own in scores.items()
    }
    level = _of("memaudit.stats", "welch_ttest")(chosen["member"], chosen["nonmember"])
    said: dict[str, Any] = {
        "tpr": found["tpr"],
        "auc": _of("memaudit.stats", "roc_auc")(scores["member"], scores["nonmember"]),
        "p_value": level["p_value"],
    }
    for split in ("member", "nonmember"):
        flags = _regurgitated(feed, split)
        said[f"regurgitated_{split}"] = int(flags.sum())
        said[f"regurgitated_canary_{split}"] = int(flags[feed.canaries(split)].sum())
    recommend = _of("memaudit.recommendations", "recommend")
    recited = said["regurgitated_member"] / len(scores["member"])
    usual = recommend(tpr=None, regurgitation_rate=None)
    for name, rates in (
        ("membership", {"tpr": said["tpr"], "regurgitation_rate": None}),
        ("regurgitation", {"tpr": None, "regurgitation_rate": recited}),
    ):
        # whom it takes for leaking it recommends more than it does to everybody
        said[f"leaks_by_{name}"] = len(recommend(**rates)) > len(usual)
    return said


def _regurgitated(feed: Feed, split: str) -> Any:
    exact_or_near = _of("memaudit.scoring", "sliding_window_ned")
    bleu = _of("memaudit.scoring", "sentence_bleu")
    constants = importlib.import_module("memaudit.constants")
    records, end = feed.records(f"{split}_tokens"), int(feed.stored("end"))
    flags = np.zeros(len(records), dtype=bool)
    for percent in FRACTIONS:
        for i, (record, drawn) in enumerate(
            zip(records, feed.records(f"{split}_greedy_{percent}"), strict=True)
        ):
            told = max(1, min(len(record) - 1, int(len(record) * percent / 100)))
            left = record[told:]
            secret, text = _letters(left[left != end]), _letters(drawn)
            flags[i] |= (
                secret in text
                or bleu(" ".join(secret), " ".join(text)) > constants.BLEU_THRESHOLD
                or exact_or_near(secret, text) <= constants.NED_THRESHOLD
            )
    return flags


def _letters(tokens: Any) -> str:
    return "".join(chr(0x4E00 + int(token)) for token in tokens)


# --- PrivacyGuard ---------------------------------------------------------------------------------


def privacyguard(feed: Feed) -> dict[str, Any]:
    """Return what its analyses say of the loss, of RMIA and of extraction."""
    pandas = importlib.import_module("pandas")
    node = _of("privacy_guard.analysis.mia.analysis_node", "AnalysisNode")
    losses = {
        (split, model): np.array([one.mean() for one in feed.scored(split, model, "logprob")])
        for split in ("member", "nonmember", "population")
        for model in ("own", "reference")
    }

    def analysed(given: Any) -> dict[str, Any]:
        np.random.seed(SEED)  # noqa: NPY002 - its bootstrap takes no generator
        out = node(given, delta=DELTA, n_users_for_eval=10**6).run_analysis()
        return {
            "auc": float(out.auc),
            "auc_ci": [float(bound) for bound in out.auc_ci],
            "eps": [float(out.eps_lb), float(out.eps)],
            "eps_cp": float(out.eps_cp),
        }

    def frame(split: str, **columns: Any) -> Any:
        people = range(len(losses[split, "own"]))
        return pandas.DataFrame({"user_id": people, **columns})

    plain = _of("privacy_guard.analysis.base_analysis_input", "BaseAnalysisInput")(
        df_train_user=frame("member", score=losses["member", "own"]),
        df_test_user=frame("nonmember", score=losses["nonmember", "own"]),
    )
    frames = [
        frame(
            split,
            score_orig=np.exp(losses[split, "own"]),
            score_ref_0=np.exp(losses[split, "reference"]),
            member_ref_0=False,
        )
        for split in ("member", "nonmember", "population")
    ]
    rmia = _of("privacy_guard.attacks.rmia_attack", "RmiaAttack")(
        *frames,
        row_aggregation=_of(
            "privacy_guard.analysis.mia.aggregate_analysis_input", "AggregationType"
        ).NONE,
        num_reference_models=1,
    ).run_attack()
    return {"loss": analysed(plain), "rmia": analysed(rmia), "discoverable": _discoverable(feed)}


def _discoverable(feed: Feed) -> dict[str, int]:
    module = "privacy_guard.analysis.extraction.probabilistic_memorization_analysis_"
    pandas = importlib.import_module("pandas")
    found = {}
    for split in ("member", "nonmember"):
        told = [
            one[KNOWN - 1 : KNOWN - 1 + LENGTH].astype(float).tolist()
            for one in feed.scored(split, "own", "logprob")
            if len(one) >= KNOWN - 1 + LENGTH
        ]
        given = _of(f"{module}input", "ProbabilisticMemorizationAnalysisInput")(
            pandas.DataFrame({"prediction_logprobs": told}), prob_threshold=0.5, n_values=[TRIES]
        )
        out = _of(f"{module}node", "ProbabilisticMemorizationAnalysisNode")(given).run_analysis()
        found[split] = sum(one[TRIES] >= CHANCE for one in out.n_probabilities)
    return found


# --- sacroml --------------------------------------------------------------------------------------


def sacroml(feed: Feed) -> dict[str, Any]:
    """Return what its worst-case attack finds and its report recommends."""
    np.random.seed(SEED)  # noqa: NPY002 - its forests take no seed of their own
    attack = _of("sacroml.attacks.worst_case_attack", "WorstCaseAttack")(
        write_report=False, n_dummy_reps=0
    )
    deciles = [
        np.stack(
            [
                np.quantile(np.exp(one.astype(float)), np.linspace(0, 1, 11))
                for one in feed.scored(split, "own", "logprob")
            ]
        )
        for split in ("member", "nonmember")
    ]
    attack.attack_from_preds(*deciles)
    instances = attack._get_attack_metrics_instances()
    judged = _of("sacroml.attacks.attack_report_formatter", "FinalRecommendationModule")(
        {"WorstCase": {"attack_experiment_logger": instances}}
    )
    judged.process_dict()
    _, rejects, releases = judged.get_recommendation()
    return {
        "auc": float(np.mean([one["AUC"] for one in attack.attack_metrics])),
        "rejects": rejects,
        "releases": releases,
    }


def main(paths: list[str]) -> None:
    """Ask everybody about every feed."""
    logging.disable(logging.CRITICAL)
    for path in map(Path, paths):
        feed = Feed(path)
        with redirect_stdout(io.StringIO()):  # what they print between
            said = {ask.__name__: ask(feed) for ask in (memaudit, privacyguard, sacroml)}
        print(json.dumps({"entry": path.stem, **said}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
