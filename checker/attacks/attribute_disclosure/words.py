"""Attribute disclosure in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords

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
)
