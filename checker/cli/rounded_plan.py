"""A plan for logs that others read: counts are rounded, and those of few patients withheld.

`plan` counts patients exactly, for whoever writes the policy. A pipeline's log is read by more
people than that, so with `--rounded` no number in it is exact: a count below the policy's minCell
is withheld, none like any other; others are rounded to multiples of one less, as in shared reports.
What a count can be worked out from is left out: how many patients are missing, the chance of a
pass, jobs and their inputs, digests of plan and data, which codes nobody has. Whether a cell can
pass stays, as verdicts do; it says on which side of its threshold a count lies.
"""

from __future__ import annotations

import math
import re
from typing import Any

from rich.console import Console

from checker.cli.console import plain_table, told
from checker.errors import DataError
from checker.planning import AuditPlan, Cell
from checker.planning.cells import metric_of
from checker.report.disclosure_control.rounding import Rounding
from checker.report.wording.measures import probe_words

_COUNTED = (
    r"subjects?|patients?|members?|nonmembers?|positives?|events?|records?|canaries|births?|of\b"
)
_COUNT = re.compile(
    rf"(?<![\w./-])(\d[\d,]*)(?=\s+(?:(?:more|other|listed|distinct)\s+)?(?:{_COUNTED}))"
    r"|(?<=\bof )(\d[\d,]*)|(?<=\bof the )(\d[\d,]*)"
)


def rounded_plan(plan: AuditPlan) -> dict[str, Any]:
    """Return what a plan says, with no exact count of patients, events or tokens.

    Args:
        plan: as compiled; its policy says how few are withheld.

    Returns:
        JSON data; a count that is withheld is None.
    """
    min_cell = plan.policy.document.spec.parameters.min_cell
    policy, target = plan.policy.document.metadata, plan.target.document.metadata
    return {
        "rounded": True,
        "minCell": min_cell,
        "policy": {"name": policy.name, "version": policy.version, "sha256": plan.policy.sha256},
        "target": {"name": target.name, "version": target.version},
        "data": {
            "name": plan.data.name,
            "members": _count(plan.data.members, min_cell),
            "nonmembers": _count(plan.data.nonmembers, min_cell),
            "spare": _count(plan.data.spare, min_cell) if plan.data.spare else None,
            "events": _magnitude(plan.data.events),
            "tokens": _magnitude(plan.data.tokens),
            "unknownShare": round(plan.data.unknown_share, 2),
        },
        "cells": [_cell(cell, plan, min_cell) for cell in plan.cells],
        "cost": {
            "forwardTokens": _magnitude(plan.cost.forward_tokens),
            "rolloutTokens": _magnitude(plan.cost.rollout_tokens),
        },
    }


def print_rounded_plan(plan: AuditPlan, console: Console) -> None:
    """Print the same for people."""
    found = rounded_plan(plan)
    data, min_cell = found["data"], found["minCell"]
    console.print(
        f"[bold]{told(data['name'])}[/]: {_shown(data['members'], min_cell)} members,"
        f" {_shown(data['nonmembers'], min_cell)} nonmembers, about {data['tokens']:,} tokens"
        f" (about {data['unknownShare']:.0%} of events unknown to the vocabulary)"
    )
    table = plain_table(
        "cell", "metric", "limit", "members", "nonmembers", "can it pass?", numbers=("limit",)
    )
    for cell in found["cells"]:
        table.add_row(
            told(cell["id"]) + ("" if cell["gating"] else " [dim](reported only)[/]"),
            cell["metric"],
            "–" if cell["limit"] is None else f"{cell['limit']:g}",
            _shown(cell["members"], min_cell),
            _shown(cell["nonmembers"], min_cell) if cell["asksNonmembers"] else "–",
            told(cell["prospect"]),
        )
    console.print(table)
    cost = found["cost"]
    console.print(
        f"About {cost['forwardTokens']:,} tokens forward and {cost['rolloutTokens']:,} generated."
    )
    if min_cell > 1:
        console.print(
            f"Counts are rounded to multiples of {min_cell - 1}, and those of fewer than"
            f" {min_cell} patients are withheld; `phigate plan` without --rounded has them all."
        )


def rounded_error(error: DataError, *, min_cell: int) -> DataError:
    """Return an error whose counts are rounded like those of the plan."""
    prefix = "" if error.file is None else f"{error.file}: "
    message = str(error).removeprefix(prefix)

    def rounded(found: re.Match[str]) -> str:
        digits = next(group for group in found.groups() if group is not None)
        return _shown(_count(int(digits.replace(",", "")), min_cell), min_cell)

    return DataError(_COUNT.sub(rounded, message), file=error.file)


def _cell(cell: Cell, plan: AuditPlan, min_cell: int) -> dict[str, Any]:
    asks_nonmembers = probe_words(cell.probe).asks_nonmembers
    members = _count(cell.sample.members, min_cell)
    nonmembers = _count(cell.sample.nonmembers, min_cell)
    withheld = members is None or (asks_nonmembers and nonmembers is None)
    return {
        "id": cell.id,
        "metric": cell.metric,
        "limit": cell.limit.fail,
        "gating": cell.gating,
        "members": members,
        "nonmembers": nonmembers if asks_nonmembers else None,
        "asksNonmembers": asks_nonmembers,
        "canPass": cell.power.can_pass,
        "prospect": _prospect(cell, plan, min_cell, withheld=withheld),
    }


def _prospect(cell: Cell, plan: AuditPlan, min_cell: int, *, withheld: bool) -> str:
    if cell.missing_capability is not None:
        return f"not tested: the target gives no {cell.missing_capability}"
    if plan.class_absent_from(cell) == "vocabulary":
        return "not tested: class not in the vocabulary"
    if not metric_of(cell).can_pass:
        return "cannot pass, can only fail"
    if cell.power.can_pass:
        return "yes"
    # nobody at all reads like a few: that there is none tells of everybody
    return f"cannot pass: fewer than {min_cell}" if withheld else "cannot pass: too few"


def _count(count: int, min_cell: int) -> int | None:
    return None if count < min_cell else Rounding(min_cell).count(count)


def _magnitude(count: int) -> int:
    """Round to two digits."""
    if not count:
        return 0
    step = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return int(step * round(count / step))


def _shown(count: int | None, min_cell: int) -> str:
    return f"fewer than {min_cell}" if count is None else f"about {count:,}"
