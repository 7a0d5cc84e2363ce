"""Canary exposure in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords, MetricWords

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
    numbers={
        "epsilon_lower_bound_gaussian": MetricWords(
            "lower bound of ε for Gaussian noise",
            "ε at the least, for Gaussian noise",
            "epsilon",
            "The same guesses, held against every Gaussian trade-off function instead of one (ε, δ)"
            " alone. It holds where training added Gaussian noise, and judges nothing.",
        )
    },
    samples=("{members} canaries planted, {nonmembers} left out",),
)
