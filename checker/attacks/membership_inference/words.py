"""Membership inference in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords

WORDS = AttackWords(
    title="Membership inference",
    meaning=(
        "The model's surprise at a patient's whole record is turned into a score. The better the"
        " score tells patients the model was trained on from patients it never saw, the more the"
        " model gives away who was in its training data; 0.5 is chance."
    ),
    limits=(
        "It says that a record was trained on, not what could be drawn from the model; a stronger"
        " score than those tried may tell more."
    ),
    row="Membership: was this patient in the training data?",
)
