"""Attribute disclosure in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords, MetricWords

_METRICS = {
    "disclosure_rate": MetricWords(
        "disclosed members", "of members", "share",
        "Share of eligible members whose class the model tells.",
        "members-alone",
    ),
    "excess_disclosure": MetricWords(
        "disclosed members beyond nonmembers", "of members beyond nonmembers", "share",
        "Share of eligible members whose class the model tells, beyond the same share of patients"
        " it never saw, in percentage points.",
        "excess", "share of patients disclosed",
    ),
    "excess_mean_q": MetricWords(
        "mean share of naming continuations beyond nonmembers",
        "of continuations beyond nonmembers", "share",
        "Mean share of a member's continuations that name the class, beyond the same mean for"
        " patients the model never saw.",
        "excess", "mean share of naming continuations",
    ),
    "attribute_auroc": MetricWords(
        "AUROC for the class among members", "AUROC for the class, 0.5 is chance", "auroc",
        "How well the share of naming continuations tells members with the class from members"
        " without it.",
        "members-alone",
    ),
    "excess_attribute_auroc": MetricWords(
        "AUROC for the class beyond nonmembers", "AUROC beyond nonmembers, 0 is none",
        "auroc-difference",
        "How much better the share of naming continuations ranks members than patients the model"
        " never saw.",
        "excess", "AUROC for the class",
    ),
    "attribute_auprc": MetricWords(
        "average precision for the class among members", "average precision for the class",
        "precision",
        "Mean precision over all cut-offs when members are ranked by the share of naming"
        " continuations; chance gives the share of patients who have the class.",
        "members-alone",
    ),
    "excess_attribute_auprc": MetricWords(
        "average precision for the class beyond nonmembers",
        "average precision beyond nonmembers", "precision-difference",
        "How much more precisely the share of naming continuations ranks members than patients the"
        " model never saw.",
        "excess", "average precision for the class",
    ),
    "precision": MetricWords(
        "precision: named members who have the class", "of named members", "share",
        "Share of the members named at the threshold who have the class.",
    ),
    "recall": MetricWords(
        "recall: eligible members who are named", "of eligible members", "share",
        "Share of the eligible members who are named at the threshold.",
    ),
}  # fmt: skip

WORDS = AttackWords(
    title="Attribute disclosure",
    meaning=(
        "The model continues what the attacker knows of a patient, several times; every code of the"
        " class has been removed from what the attacker knows. A patient counts as disclosed when"
        " more than the threshold share of the continuations name the class. Only patients count"
        " who have the class and in whose true record it follows within the horizon."
    ),
    limits=(
        "It says nothing where many patients share a prompt, or of what lies beyond the horizon."
    ),
    metrics=_METRICS,
)
