"""Attribute disclosure in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords

WORDS = AttackWords(
    title="Attribute disclosure",
    meaning=(
        "The model continues what the attacker knows of a patient, several times; every code of the"
        " class has been removed from what the attacker knows. q is how likely a continuation is to"
        " name the class: estimated from how likely each of its steps was to, or else the share of"
        " continuations that did. A patient counts as disclosed when q exceeds the threshold. Only"
        " patients count who have the class and in whose true record it follows within the horizon."
    ),
    limits=(
        "It says nothing where many patients share a prompt, or of what lies beyond the horizon."
    ),
)
