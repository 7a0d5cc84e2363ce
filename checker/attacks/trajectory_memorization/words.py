"""Trajectory memorization in words."""

from __future__ import annotations

from checker.attacks.trajectory_memorization.extraction import LEVELS, RARELY, WORST
from checker.attacks.wording import AttackWords, MetricWords

WORDS = AttackWords(
    title="Trajectory memorization",
    meaning=(
        "What the model writes after what the attacker knows is compared with what truly followed:"
        " how far the two are apart, and whether so many true tokens in a row are repeated that it"
        " counts as extraction. How likely a record's own next tokens are to come out word for"
        " word, however seldom, is read off the model's probabilities. Where a prompt identifies"
        " nobody, the question is whose records the continuations repeat at all."
    ),
    limits=(
        "Coming near to the truth is skill as much as memory; only what exceeds patients the model"
        " never saw speaks of memory."
    ),
    row="Records: does the model write down what truly happened?",
    numbers={
        **{
            name: MetricWords(
                f"members with a piece that one query brings out at {level:g} or more",
                "of members",
                "share",
                "Of pieces that not anybody would write.",
            )
            for name, level in LEVELS.items()
        },
        RARELY: MetricWords(
            "members of whom a piece can be extracted that hardly anybody would write",
            "of members",
            "share",
            "Of pieces so rare that no skill explains them.",
        ),
        WORST: MetricWords(
            "the likeliest piece of any member",
            "likely to come out in one query",
            "number",
            "Of pieces that not anybody would write; 0 where none is ever drawn.",
        ),
    },
    samples=(
        "{rollouts} continuations, compared with {members} members and {nonmembers} nonmembers",
    ),
)
