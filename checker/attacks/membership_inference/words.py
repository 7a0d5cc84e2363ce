"""Membership inference in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords, MetricWords

_SCORES = {
    "loss": "by the loss alone",
    "min_k": "by Min-K% alone",
    "min_k++": "by Min-K%++ alone",
    "own_ratio": "by the ratio to phigate's reference alone",
    "reference_ratio": "by the ratio to the declared reference alone",
}

WORDS = AttackWords(
    title="Membership inference",
    meaning=(
        "The model's surprise at a patient's whole record is turned into a score. The better the"
        " score tells patients the model was trained on from patients it never saw, the more the"
        " model gives away who was in its training data; 0.5 is chance. The strongest score is"
        " learned from a third of the patients, beside a small reference model that phigate trains"
        " itself, and judged on the others; with shadows it is learned beside so many more models,"
        " each trained on half of the very patients who are asked about."
    ),
    limits=(
        "It says that a record was trained on, not what could be drawn from the model; a stronger"
        " score than those tried may tell more. Without shadows it is the attack of somebody who"
        " trains no model on the records he asks about; with them it is another attack and not"
        " always a stronger one, for it can miss a few people whom the first finds."
    ),
    row="Membership: was this patient in the training data?",
    numbers={
        f"membership_auroc_{name}": MetricWords(
            f"AUROC {words}", "AUROC", "auroc", "The same patients, ranked by a simpler score."
        )
        for name, words in _SCORES.items()
    }
    | {
        f"membership_tpr_at_fpr_{name}": MetricWords(
            f"members recognized {words}",
            "of members recognized",
            "share",
            "The same patients, ranked by a simpler score.",
        )
        for name, words in _SCORES.items()
    }
    | {
        f"exposed_members_{name}": MetricWords(
            f"members who stand out {words}",
            "members who stand out",
            "people",
            "The same patients, ranked by a simpler score.",
        )
        for name, words in _SCORES.items()
    },
)
