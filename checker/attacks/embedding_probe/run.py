"""T3: an attacker who knows some members' labels, and every patient's embedding.

Tonekaboni et al. (arXiv 2510.12950), test T3. The attacker fits a classifier on a share of the
members, hyperparameters chosen by cross-validation inside that share, and applies it once to all
other members and to all nonmembers (nested validation with one frozen outer split: scores of
several fits would not be independent, and DeLong's bounds would be too short). One classifier
judges both groups, so what it finds in nonmembers is what embeddings tell of anybody.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from checker.attacks.tables import booleans
from checker.planning.task import Running, Task

MIN_LABELLED = 2
"""Of either kind: with fewer there is nothing to cross-validate, and no classifier."""

MOST_FOLDS = 5


def probe_scores(task: Task) -> pa.Table:
    """Scores of the patients whose label the attacker does not know."""
    labels = task.needed("labels")[0]
    prompts = labels["prompt"].to_pylist()
    vectors = _vectors(task)
    member, positive = booleans(labels, "member"), booleans(labels, "positive")
    asked = np.array([prompt in vectors for prompt in prompts], dtype=np.bool_)
    inside = np.flatnonzero(asked & member)
    rng = task.rng
    count = max(1, round(float(task.job.inputs["labelShare"]) * len(inside)))
    taught = np.sort(rng.permutation(inside)[:count])
    tested = np.setdiff1d(np.flatnonzero(asked), taught)
    scores = np.empty(0)
    smaller = min(int(positive[taught].sum()), int((~positive[taught]).sum()))
    if smaller >= MIN_LABELLED and len(tested):
        model = _classifier(
            str(task.job.inputs["classifier"]),
            folds=min(MOST_FOLDS, smaller),
            seed=int(rng.integers(2**31)),
        )
        # matrices this small are slower on many threads, whose number would change the last digits
        with warnings.catch_warnings(), threadpool_limits(limits=1):
            # an attacker who stops early is still an attacker; his score says how good he is
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(np.stack([vectors[prompts[i]] for i in taught]), positive[taught])
        scores = model.predict_proba(np.stack([vectors[prompts[i]] for i in tested]))[:, 1]
    else:  # no classifier: the judge finds no scores and says so
        tested = tested[:0]
    columns: dict[str, Any] = {
        name: labels[name].take(pa.array(tested))
        for name in ("patient", "member", "subgroups", "positive")
    }
    return pa.table({**columns, "score": pa.array(scores, pa.float64())})


def _vectors(task: Task) -> dict[str, NDArray[np.float32]]:
    """Return each prompt's embedding by the prompt's name."""
    found: dict[str, NDArray[np.float32]] = {}
    for table in task.needed("embeddings"):
        names = table["prompt"].to_pylist()
        flat = table["embedding"].combine_chunks().flatten().to_numpy()
        found |= dict(zip(names, flat.reshape(len(names), -1), strict=True))
    return found


def _classifier(kind: str, *, folds: int, seed: int) -> Any:
    """Return a classifier that chooses how much to regularise by cross-validation."""
    inner = StratifiedKFold(folds, shuffle=True, random_state=seed)
    if kind == "logistic":
        model, grid = LogisticRegression(max_iter=1000), {"C": [0.001, 0.01, 0.1, 1.0]}
        name = "logisticregression"
    else:
        model = MLPClassifier(hidden_layer_sizes=(64,), max_iter=100, random_state=seed)
        grid, name = {"alpha": [0.001, 0.1, 10.0]}, "mlpclassifier"
    return GridSearchCV(
        make_pipeline(StandardScaler(), model),
        {f"{name}__{key}": values for key, values in grid.items()},
        scoring="roc_auc",
        cv=inner,
    )


RUN = Running({"probe-scores": probe_scores})
