"""Trajectory memorization in words."""

from __future__ import annotations

from checker.attacks.wording import AttackWords

WORDS = AttackWords(
    title="Trajectory memorization",
    meaning=(
        "What the model writes after what the attacker knows is compared with what truly followed:"
        " how far the two are apart, and whether so many true tokens in a row are repeated that it"
        " counts as extraction. Where a prompt identifies nobody, the question is whose records the"
        " continuations repeat at all."
    ),
    limits=(
        "Coming near to the truth is skill as much as memory; only what exceeds patients the model"
        " never saw speaks of memory."
    ),
    row="Records: does the model write down what truly happened?",
    samples=(
        "{rollouts} continuations, compared with {members} members and {nonmembers} nonmembers",
    ),
)
