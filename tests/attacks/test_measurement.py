"""What a measurement's identity depends on, and what it does not."""

from __future__ import annotations

from dataclasses import replace

from checker.plan.measurement import knowledge_of
from checker.policy import ResolvedAttacker

KNOWN = ResolvedAttacker(
    name="k",
    title="K",
    static=("sex", "age"),
    events=10,
    access="samples",
    gating=True,
    cites=(),
)


def test_knowledge_is_named_by_what_is_known_and_nothing_else() -> None:
    assert knowledge_of(KNOWN) == {"static": ["age", "sex"], "events": 10}
    renamed = replace(KNOWN, name="l", title="L", access="logprobs", gating=False)
    assert knowledge_of(renamed) == knowledge_of(KNOWN)
    assert knowledge_of(replace(KNOWN, static=("age", "sex"))) == knowledge_of(KNOWN)


def test_chosen_events_are_part_of_what_is_known_in_any_order() -> None:
    chosen = replace(KNOWN, random=5, code_types=("LAB//*", "A*"))
    assert knowledge_of(chosen) == {
        "static": ["age", "sex"],
        "events": 10,
        "random": 5,
        "codeTypes": ["A*", "LAB//*"],
    }
    turned = replace(chosen, code_types=("A*", "LAB//*"))
    assert knowledge_of(turned) == knowledge_of(chosen)
