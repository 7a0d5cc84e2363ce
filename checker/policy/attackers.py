"""What an attacker knows and sees, with everything of those it extends.

Knowledge and access only add up along the chain: an attacker is never weaker than the one it
extends.
"""

from __future__ import annotations

from dataclasses import dataclass

from checker.policy.documents import Access, Knowledge, PolicySpec

ACCESS: tuple[Access, ...] = ("samples", "logprobs", "embeddings")
"""From weakest to strongest; each sees what the ones before it see."""


@dataclass(frozen=True, slots=True)
class ResolvedAttacker:
    """An attacker with everything that those it extends know.

    Args:
        name, title: as in the policy.
        knows: its own knowledge and that of all it extends.
        access: the strongest along the chain.
        gating: False where this attacker's cells are only reported.
        cites: its own citations, then inherited ones.
    """

    name: str
    title: str
    knows: Knowledge
    access: Access
    gating: bool
    cites: tuple[str, ...]


def resolve_attacker(spec: PolicySpec, name: str) -> ResolvedAttacker:
    """Flatten an attacker and those it extends; knowledge and access only add up.

    Args:
        spec: a valid policy's body.
        name: one of `spec.attackers`.
    """
    chain = [spec.attackers[step] for step in lineage(spec, name)]
    own = chain[0]
    return ResolvedAttacker(
        name=name,
        title=own.title,
        knows=Knowledge.joined(attacker.knows for attacker in reversed(chain)),
        access=max((a.access for a in chain), key=ACCESS.index),
        gating=own.report == "gate",
        cites=tuple(dict.fromkeys(cite for attacker in chain for cite in attacker.cites)),
    )


def lineage(spec: PolicySpec, name: str) -> list[str]:
    """Return an attacker and those it extends, nearest first, as far as that leads."""
    chain: list[str] = []
    step: str | None = name
    while step is not None and step in spec.attackers and step not in chain:
        chain.append(step)
        step = spec.attackers[step].extends
    return chain
