"""Canary exposure in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords

WORDS = AttackWords(
    title="Canary exposure",
    meaning=(
        "Made-up patients were planted in the training data, a fair coin having decided which. The"
        " better the model tells those planted from those left out, the more it keeps of single"
        " records that stood there once."
    ),
    limits=(
        "It speaks of what the model keeps of records it saw as often as the canaries. The bound on"
        " ε can fail a model and never pass one: no attack bounds ε from above."
    ),
    row="Canaries: are planted patients told from those left out?",
    counted=("planted canaries", "canaries left out"),
    samples=("{members} canaries planted, {nonmembers} left out",),
)
