"""What a policy demands, on a screen: what blocks, of which classes, up to which limits."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from itertools import groupby

from rich.console import Console

from checker.cli.console import plain_table, told
from checker.policy import Located
from checker.policy.attackers import resolve_attacker
from checker.policy.documents import ControlSpec, LeakagePolicy, Limit
from checker.policy.explanation import Explanation

MOST_ROWS = 12
"""Groups of controls that are shown; with limits over two lines each they fill a screen."""

_NAMES_SHOWN = 3


def print_summary(
    policy: Located[LeakagePolicy], rest: Explanation, console: Console, *, named: str
) -> None:
    """Print what a policy demands; controls with equal demands share a row.

    Args:
        policy: with all that it inherits.
        rest: every field of it, to say how much is left out.
        console: at least 60 columns wide.
        named: how whoever asks calls the policy: a file, or a shipped policy's name.
    """
    spec = policy.document.spec
    console.print(f"[bold]{told(policy.origin.reference)}[/]: {told(policy.file)}")
    parents = [one.reference for one in policy.origins if one.kind == "LeakagePolicy"]
    classes = len(policy.origins) - len(parents)
    resting = [told(", ".join(parents))] if parents else []
    resting += [f"{classes} class{'es' if classes > 1 else ''} of a library"] if classes else []
    if resting:
        console.print(f"rests on {' and '.join(resting)}")
    gate = spec.gate
    demands = [f"{', '.join(gate.fail_on)} controls decide"]
    demands += [f"confidence {spec.parameters.confidence:.0%}"]
    if gate.max_evidence_age is not None:
        demands.append(f"evidence at most {_counted(gate.max_evidence_age.days, 'day')} old")
    demands += ["a ledger is required"] if gate.require_ledger else []
    demands += ["what the trainer expects is required"] if gate.require_expectation else []
    console.print(told(f"for {spec.context}; {'; '.join(demands)}"))
    for name, prerequisite in spec.prerequisites.items():
        console.print(told(f"no release unless the target declares {name}: {prerequisite.title}"))
    if not spec.controls:
        return
    shown_only = {n for n in spec.attackers if not resolve_attacker(spec, n).gating}
    table = plain_table("controls", "metric", "limits by attacker", "severity")
    groups = _alike(spec.controls)
    for names, control in groups[:MOST_ROWS]:
        shown = ", ".join(names[:_NAMES_SHOWN])
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        limits = [
            (_limit(limit), f"{name}*" if name in shown_only else name)
            for name, limit in control.limits.items()
        ]
        table.add_row(
            told(shown + more),
            told(control.metric),
            told("; ".join(_by_limit(limits))),
            control.severity + ("" if control.severity in gate.fail_on else " (shown)"),
        )
    console.print(table)
    if len(groups) > MOST_ROWS:
        console.print(f"and {len(groups) - MOST_ROWS} more kinds of controls")
    if shown_only:
        console.print("* is reported, and does not decide.")
    file = told(shlex.quote(named))
    console.print(f"one control, and where it was written: phigate explain {file} CONTROL")
    console.print(f"every limit, with its line:            phigate limits {file}")
    console.print(f"all {len(rest.fields):,} fields: --all")


def _alike(controls: dict[str, ControlSpec]) -> list[tuple[list[str], ControlSpec]]:
    """Return controls that demand the same of their classes, together and in the policy's order."""
    groups: dict[str, tuple[list[str], ControlSpec]] = {}
    for name, control in controls.items():
        demands = control.model_dump(
            include={"probe", "metric", "params", "contrast", "limits", "severity", "enforcement"}
        )
        groups.setdefault(repr(demands), ([], control))[0].append(name)
    return list(groups.values())


def _by_limit(limits: Iterable[tuple[str, str]]) -> list[str]:
    """Return neighbours on the ladder that have one limit together: "0.05 k3, k4, k5"."""
    return [
        f"{limit} {', '.join(name for _, name in one)}"
        for limit, one in groupby(limits, key=lambda pair: pair[0])
    ]


def _limit(limit: Limit) -> str:
    return "none" if limit.fail is None else f"{limit.fail:g}"


def _counted(count: int, one: str) -> str:
    return f"{count} {one if count == 1 else f'{one}s'}"
