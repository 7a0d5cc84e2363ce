"""Trajectory memorization in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords, MetricWords

_METRICS = {
    "extraction_rate": MetricWords(
        "members extracted word for word", "of members extracted", "share",
        "Share of members of whom a continuation repeats that many true tokens in a row.",
        "members-alone",
    ),
    "excess_extraction": MetricWords(
        "members extracted word for word beyond nonmembers", "of members beyond nonmembers",
        "share",
        "Share of members extracted word for word, beyond the same share of patients the model"
        " never saw.",
        "excess", "share of patients extracted word for word",
    ),
    "regurgitation_excess": MetricWords(
        "continuations that repeat members' records beyond nonmembers'",
        "of continuations beyond nonmembers'", "share",
        "Share of continuations that repeat a piece of any member's record, beyond those that"
        " repeat a piece of the records of as many patients the model never saw. The two shares"
        " bound it and need not differ by it.",
        "set", "share of continuations that repeat somebody's record",
        ("repeat a member's record", "repeat a record of as many nonmembers"),
    ),
    "distance_gap": MetricWords(
        "how much nearer to the truth continuations are for members", "nearer than for nonmembers",
        "distance",
        "Mean distance between continuations and what truly followed, of nonmembers minus of"
        " members; 0 is no difference, 2 the most there can be.",
        "excess", "mean distance to what truly followed",
    ),
    "random_distance": MetricWords(
        "distance of tokens drawn by their frequency, members", "of random tokens", "distance",
        "What drawing tokens by their frequency would give.",
    ),
    "frequent_distance": MetricWords(
        "distance of the most frequent codes, members", "of the most frequent codes", "distance",
        "What always writing the most frequent codes would give.",
    ),
}  # fmt: skip

WORDS = AttackWords(
    title="Trajectory memorization",
    meaning=(
        "What the model writes after what the attacker knows is compared with what truly followed:"
        " how far the two are apart, and whether so many true tokens in a row are repeated that it"
        " counts as extraction. Where a prompt identifies nobody, the question is whose records the"
        " continuations repeat at all."
    ),
    limits=(
        "Coming near to the truth is skill as much as memory; only what exceeds patients the model"
        " never saw speaks of memory."
    ),
    row="Records: does the model write down what truly happened?",
    metrics=_METRICS,
    samples=(
        "{rollouts} continuations, compared with {members} members and {nonmembers} nonmembers",
    ),
)
