"""What an attacker knows and sees, with everything of those it extends.

Knowledge and access only add up along the chain: an attacker is never weaker than the one it
extends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from checker.policy.documents import Access, PolicySpec

ACCESS: tuple[Access, ...] = ("samples", "logprobs", "embeddings")
"""From weakest to strongest; each sees what the ones before it see."""


@dataclass(frozen=True, slots=True)
class ResolvedAttacker:
    """An attacker with everything that those it extends know.

    Args:
        name, title: as in the policy.
        static: fields known, inherited ones first, or "all".
        events: the first so many events, "all" but the class in question, or None for none.
        random: so many events more, drawn at random; 0 where all are known.
        code_types: globs; events whose code matches one are known, inherited globs first. None
            where all are known.
        access: the strongest along the chain.
        gating: False where this attacker's cells are only reported.
        cites: its own citations, then inherited ones.
    """

    name: str
    title: str
    static: tuple[str, ...] | Literal["all"]
    events: int | Literal["all"] | None
    access: Access
    gating: bool
    cites: tuple[str, ...]
    random: int = 0
    code_types: tuple[str, ...] = ()

    @property
    def chooses_events(self) -> bool:
        """Whether he knows events by more than their place at the beginning of the record."""
        return self.events == "all" or self.random > 0 or bool(self.code_types)

    @property
    def knows_events(self) -> bool:
        """Whether he may know any event at all, and not only static facts."""
        return self.chooses_events or bool(self.events)


def resolve_attacker(spec: PolicySpec, name: str) -> ResolvedAttacker:
    """Flatten an attacker and those it extends; knowledge and access only add up.

    Args:
        spec: a valid policy's body.
        name: one of `spec.attackers`.
    """
    chain = [spec.attackers[step] for step in lineage(spec, name)]
    known: list[str] = []
    knows_all = False
    for attacker in reversed(chain):
        if attacker.knows.static == "all":
            knows_all = True
        else:
            known += attacker.knows.static or []
    own = chain[0]
    events = max((a.knows.events for a in chain), key=extent)
    chosen = [] if events == "all" else chain  # nothing is left to be chosen from
    return ResolvedAttacker(
        name=name,
        title=own.title,
        static="all" if knows_all else tuple(dict.fromkeys(known)),
        events=events,
        access=max((a.access for a in chain), key=ACCESS.index),
        gating=own.report == "gate",
        cites=tuple(dict.fromkeys(cite for attacker in chain for cite in attacker.cites)),
        random=max((a.knows.random or 0 for a in chosen), default=0),
        code_types=tuple(
            dict.fromkeys(glob for a in reversed(chosen) for glob in a.knows.code_types or [])
        ),
    )


def lineage(spec: PolicySpec, name: str) -> list[str]:
    """Return an attacker and those it extends, nearest first, as far as that leads."""
    chain: list[str] = []
    step: str | None = name
    while step is not None and step in spec.attackers and step not in chain:
        chain.append(step)
        step = spec.attackers[step].extends
    return chain


def extent(events: int | Literal["all"] | None) -> float:
    """Order what is known of the events."""
    return float("inf") if events == "all" else -1.0 if events is None else float(events)
