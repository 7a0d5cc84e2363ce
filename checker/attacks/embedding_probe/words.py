"""Embedding probe in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords, MetricWords

_METRICS = {
    "probe_auroc": MetricWords(
        "AUROC for the class from members' embeddings", "AUROC from embeddings, 0.5 is chance",
        "auroc",
        "How well a classifier on embeddings tells members with the class from members without it.",
        "members-alone",
    ),
    "excess_probe_auroc": MetricWords(
        "AUROC for the class from embeddings beyond nonmembers",
        "AUROC from embeddings beyond nonmembers, 0 is none", "auroc-difference",
        "How much better the classifier does on members than on patients the model never saw.",
        "excess", "AUROC for the class from embeddings",
    ),
}  # fmt: skip

WORDS = AttackWords(
    title="Embedding probe",
    meaning=(
        "An attacker who sees the model's internal representations and knows the class of a share"
        " of the members fits a classifier and applies it to the other patients. What it tells of"
        " members beyond patients the model never saw is memory."
    ),
    limits=(
        "It speaks of the classifiers that were fitted; a small share of labels says little about"
        " an attacker who has more."
    ),
    metrics=_METRICS,
    samples=(
        "{members} members and {nonmembers} nonmembers with the class,"
        " {members_negative} and {nonmembers_negative} without it",
        "{members} members and {nonmembers} nonmembers with the class",
    ),
)
