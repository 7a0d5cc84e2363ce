"""The kinds of jobs that several attacks share, and the columns of what each observes.

A kind that belongs to one attack stands in the attack's face (`checker.attacks.api.Attack.kinds`).
"""

from __future__ import annotations

from collections.abc import Sequence

from checker.canonical import digest

SHARED: dict[str, tuple[str, ...]] = {
    # `holds` names the classes of a pool that the patient has; of a draw there is `OF_A_DRAW` too
    "labels": (
        "patient", "member", "positive", "eligible", "prompt", "subgroups", "base_score", "holds",
    ),
    # and, for each class that was watched while drawing, its compensator: "compensator@1a2b…"
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
        "telling_log_probability",
        "telling_greedy",
        "rare_log_probability",
        "rare_greedy",
    ),
    "embeddings": ("prompt", "embedding"),
    # the weights of a small model that the checker trains itself, a row a tensor
    "reference-training": ("tensor", "shape", "values"),
    "overlap": ("exact", "near", "same_codes", "members", "nonmembers", "compared", "set_aside"),
    "comparability": ("patient", "member", "score"),
    # a row a nonmember or spare patient, without a name
    "spare-tables": ("spare", "unigram", "unigram_min_k", "bigram", "bigram_min_k"),
    # and, of the declared format alone, the losses of two tables
    "prompt-format": ("patient", "variant", "loss", "unigram", "bigram"),
    "other-descriptions": ("patient", "telling", "tokens", "loss"),
    "record-parts": ("patient", "part", "loss", "table"),
    "expected-tokens": ("compared", "members", "different", "place", "position"),
    "expected-loss": ("patient", "tokens", "loss"),
}  # fmt: skip

OF_A_DRAW = ("drawn", "shared")
"""Columns of labels where not everybody was asked: what share of those like the patient was drawn,
and how many of the whole split have his prompt."""


def compensator_column(watch: Sequence[int]) -> str:
    """Return the column of "rollouts" that holds the compensators of a class.

    Args:
        watch: token ids that make a hit, in any order.
    """
    return f"compensator@{digest(sorted(watch))[:16]}"


def score_column(score: str, k_percent: float) -> str:
    """Return the column of "scores" that holds a score of the lowest k percent of tokens."""
    return f"{score}@{float(k_percent)}"
