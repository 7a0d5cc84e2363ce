"""Canary exposure in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords, MetricWords

_METRICS = {
    "exposure_bits": MetricWords(
        "mean exposure of planted canaries", "mean exposure; 1.44 bits is chance", "bits",
        "How high planted canaries rank among those left out: each bit halves the rank. A model"
        " that keeps nothing has about 1.44 bits.",
        "coin",
    ),
    "epsilon_lower_bound": MetricWords(
        "lower bound of ε", "ε at the least; 0 shows nothing", "epsilon",
        "The ε of differential privacy that the guesses rule out everything below of. Nothing"
        " bounds it from above.",
        "coin",
    ),
}  # fmt: skip

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
    metrics=_METRICS,
    counted=("planted canaries", "canaries left out"),
    samples=("{members} canaries planted, {nonmembers} left out",),
)
