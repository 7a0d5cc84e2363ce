"""The kinds of jobs that several attacks share, and the columns of what each observes.

A kind that belongs to one attack stands in the attack's face (`checker.attacks.api.Attack.kinds`).
"""

from __future__ import annotations

SHARED: dict[str, tuple[str, ...]] = {
    "labels": ("patient", "member", "positive", "eligible", "prompt", "subgroups", "base_score"),
    "rollouts": ("prompt", "sample", "tokens"),
    # and two columns for each k that a control asks for: "min-k@20.0", "min-k++@20.0"
    "scores": ("patient", "member", "subgroups", "tokens", "loss"),
    # of spare patients, with two columns for each k as scores have
    "spare-scores": ("patient", "tokens", "loss"),
    "extraction": (
        "patient",
        "member",
        "subgroups",
        "prompt",
        "windows",
        "common",
        "log_probability",
        "greedy",
        "rare_log_probability",
        "rare_greedy",
    ),
    "embeddings": ("prompt", "embedding"),
    "overlap": ("exact", "near", "members", "nonmembers", "compared", "set_aside"),
    "comparability": ("patient", "member", "score"),
    # and, of the declared format, the losses of two tables: "unigram", "bigram"
    "prompt-format": ("patient", "variant", "loss"),
    "other-descriptions": ("patient", "telling", "tokens", "loss"),
    "record-parts": ("patient", "part", "loss", "table"),
    "expected-tokens": ("compared", "members", "different", "place", "position"),
    "expected-loss": ("patient", "tokens", "loss"),
}


def score_column(score: str, k_percent: float) -> str:
    """Return the column of "scores" that holds a score of the lowest k percent of tokens."""
    return f"{score}@{float(k_percent)}"
