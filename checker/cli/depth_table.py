"""What no attacker of a plan reaches, in words."""

from __future__ import annotations

from rich.console import Console

from checker.cli.console import told
from checker.planning import AuditPlan
from checker.planning.model import ClassDepth


def print_depth(plan: AuditPlan, console: Console) -> None:
    """Print how many who have a class, and which part of the tokens, nothing looks at."""
    for name, found in plan.depth.classes.items():
        if found.members_beyond_deciding or found.nonmembers_beyond_deciding:
            console.print(told(f"class {name}: {_patients(found)}"), soft_wrap=True)
    tokens = plan.depth.tokens
    shares = None if tokens is None else tokens.shares
    if tokens is not None and shares is not None:
        continued, scored, beyond = shares
        console.print(
            f"Depth: of {tokens.tokens:,} tokens of {tokens.members:,} members, {continued:.1%} may"
            f" be told by continuations, {scored:.1%} are only scored, and at {beyond:.1%} no"
            " attack looks.",
            soft_wrap=True,
        )


def _patients(found: ClassDepth) -> str:
    said = (
        f"{found.members_beyond_deciding:,} of {found.members:,} members and"
        f" {found.nonmembers_beyond_deciding:,} of {found.nonmembers:,} nonmembers who have it are"
        " beyond the reach of every attacker"
    )
    if found.members_beyond != found.members_beyond_deciding:
        said += f" who decides, {found.members_beyond:,} of these members beyond that of any"
    return f"{said} (events: all, or a longer horizonTokens, reaches further)"
