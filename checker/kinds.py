"""The kinds of jobs that several attacks share, and the columns of what each observes.

A kind that belongs to one attack stands in the attack's face (`checker.attacks.api.Attack.kinds`).
"""

from __future__ import annotations

SHARED: dict[str, tuple[str, ...]] = {
    "labels": ("patient", "member", "positive", "eligible", "prompt", "subgroups", "base_score"),
    "rollouts": ("prompt", "sample", "tokens"),
    # and two columns for each k that a control asks for: "min-k@20.0", "min-k++@20.0"
    "scores": ("patient", "member", "subgroups", "tokens", "loss"),
    "embeddings": ("prompt", "embedding"),
    # the weights of a small model that the checker trains itself, a row a tensor
    "reference-training": ("tensor", "shape", "values"),
    "overlap": ("exact", "near", "members", "nonmembers", "compared", "set_aside"),
    "comparability": ("patient", "member", "score"),
    # and, of the declared format, the losses of two tables: "unigram", "bigram"
    "prompt-format": ("patient", "variant", "loss"),
    "expected-tokens": ("compared", "different", "place", "position"),
    "expected-loss": ("patient", "tokens", "loss"),
}


def score_column(score: str, k_percent: float) -> str:
    """Return the column of "scores" that holds a score of the lowest k percent of tokens."""
    return f"{score}@{float(k_percent)}"
