"""Embedding probe in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords

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
    samples=(
        "{members} members and {nonmembers} nonmembers with the class,"
        " {members_negative} and {nonmembers_negative} without it",
        "{members} members and {nonmembers} nonmembers with the class",
    ),
)
