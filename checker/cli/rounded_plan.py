"""A plan for logs that others read: counts are rounded, and those of few patients withheld.

`plan` counts patients exactly, for whoever writes the policy. A pipeline's log is read by more
people than that, so with `--rounded` no number in it is exact: a count below the policy's minCell
is withheld, none like any other; others are rounded to multiples of one less, as in shared reports.
What a count can be worked out from is left out: how many patients are missing, the chance of a
pass, jobs and their inputs, digests of plan and data, which codes nobody has.

A count of patients and the verdict that a shared report will give of them can say how many were
hit: about 80 and a pass at 5 % say none. So as there, a class's counts are withheld unless every
few hits among so many would be judged alike by all limits of the class. Whether its cells can pass
stays, as verdicts do, but is said of them together: which limit of several can be shown to be kept,
and which not, has the count between them.
"""

from __future__ import annotations

import math
import re
from typing import Any

from rich.console import Console

from checker.attacks.api import load_attack
from checker.cli.console import plain_table, told
from checker.errors import DataError
from checker.planning import AuditPlan, Cell
from checker.planning.cells import metric_of
from checker.report.disclosure_control.outcomes import few_are_judged_alike
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
    telling = {cell.attribute_class for cell in plan.cells if _tells(cell, plan, min_cell)}
    asked = [cell for cell in plan.cells if _is_of_patients(cell)]
    able = {
        name: all(
            cell.power.can_pass
            for cell in asked
            if cell.attribute_class == name and metric_of(cell).can_pass
        )
        for name in telling
    }
    shown = min_cell if None not in telling else None
    return {
        "rounded": True,
        "minCell": min_cell,
        "policy": {"name": policy.name, "version": policy.version, "sha256": plan.policy.sha256},
        "target": {"name": target.name, "version": target.version},
        "data": {
            "name": plan.data.name,
            "members": _count(plan.data.members, shown),
            "nonmembers": _count(plan.data.nonmembers, shown),
            "spare": _count(plan.data.spare, shown) if plan.data.spare else None,
            "events": magnitude(plan.data.events),
            "tokens": magnitude(plan.data.tokens),
            "unknownShare": round(plan.data.unknown_share, 2),
        },
        "cells": [
            _cell(
                cell,
                plan,
                min_cell,
                can_all_pass=able.get(cell.attribute_class) if _is_of_patients(cell) else None,
            )
            for cell in plan.cells
        ],
        "cost": {
            "forwardTokens": magnitude(plan.cost.forward_tokens),
            "rolloutTokens": magnitude(plan.cost.rollout_tokens),
        },
    }


def print_rounded_plan(plan: AuditPlan, console: Console) -> None:
    """Print the same for people."""
    found = rounded_plan(plan)
    data, min_cell = found["data"], found["minCell"]
    console.print(
        f"[bold]{told(data['name'])}[/]: {_shown(data['members'])} members,"
        f" {_shown(data['nonmembers'])} nonmembers, about {data['tokens']:,} tokens"
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
            _shown(cell["members"]),
            _shown(cell["nonmembers"]) if cell["asksNonmembers"] else "–",
            told(cell["prospect"]),
        )
    console.print(table)
    cost = found["cost"]
    console.print(
        f"About {cost['forwardTokens']:,} tokens forward and {cost['rolloutTokens']:,} generated."
    )
    if min_cell > 1:
        console.print(
            f"Counts are rounded to multiples of {min_cell - 1}. Withheld are those of fewer than"
            f" {min_cell} patients, and those from which a verdict would tell how many of them were"
            " hit; `phigate plan` without --rounded has them all."
        )


def rounded_error(error: DataError, *, min_cell: int) -> DataError:
    """Return an error whose counts are rounded like those of the plan."""
    prefix = "" if error.file is None else f"{error.file}: "
    message = str(error).removeprefix(prefix)

    def rounded(found: re.Match[str]) -> str:
        digits = next(group for group in found.groups() if group is not None)
        count = _count(int(digits.replace(",", "")), min_cell)
        return f"fewer than {min_cell}" if count is None else _shown(count)

    return DataError(_COUNT.sub(rounded, message), file=error.file)


def _is_of_patients(cell: Cell) -> bool:
    return load_attack(cell.probe).measures_patients


def _tells(cell: Cell, plan: AuditPlan, min_cell: int) -> bool:
    """Whether how many are asked, and a verdict, would tell how many of them were hit."""
    family, limit, rounding = metric_of(cell).family, cell.limit, Rounding(min_cell)
    if min_cell == 1 or not _is_of_patients(cell) or not family.is_share:
        return False
    if not family.of_patients:  # continuations are as many as the policy asks for
        return False
    if limit.fail is None or family.is_paired or plan.sequential:
        return True
    sizes = [cell.sample.members, *([cell.sample.nonmembers] if family.is_excess else [])]
    if min(sizes) < min_cell:
        return True
    return not all(
        few_are_judged_alike(
            one,
            sizes,
            # half of the error goes to the threshold
            confidence=(1 + plan.confidence) / 2 if family.has_common_n else plan.confidence,
            tests=len(plan.cells),
            rounding=rounding,
            zero_hits=family.decided_by_zero_hits,
        )
        for one in (limit.fail, limit.warn)
        if one is not None
    )


def _cell(
    cell: Cell, plan: AuditPlan, min_cell: int, *, can_all_pass: bool | None
) -> dict[str, Any]:
    asks_nonmembers = probe_words(cell.probe).asks_nonmembers
    shown = min_cell if can_all_pass is None else None
    members = _count(cell.sample.members, shown)
    nonmembers = _count(cell.sample.nonmembers, shown)
    can_pass = cell.power.can_pass if can_all_pass is None else can_all_pass
    return {
        "id": cell.id,
        "metric": cell.metric,
        "limit": cell.limit.fail,
        "gating": cell.gating,
        "members": members,
        "nonmembers": nonmembers if asks_nonmembers else None,
        "asksNonmembers": asks_nonmembers,
        "canPass": can_pass,
        "prospect": _prospect(cell, plan, can_pass, together=can_all_pass is not None),
    }


def _prospect(cell: Cell, plan: AuditPlan, can_pass: bool, *, together: bool) -> str:
    if cell.missing_capability is not None:
        return f"not tested: the target gives no {cell.missing_capability}"
    if plan.class_absent_from(cell) == "vocabulary":
        return "not tested: class not in the vocabulary"
    if not metric_of(cell).can_pass:
        return "cannot pass, can only fail"
    if can_pass:
        return "yes"
    return "not all of this class can pass" if together else "cannot pass with these patients"


def _count(count: int, min_cell: int | None) -> int | None:
    """Round a count; None where it is few, or where no count may be shown."""
    return None if min_cell is None or count < min_cell else Rounding(min_cell).count(count)


def magnitude(count: int) -> int:
    """Round to two digits.

    >>> magnitude(1234567), magnitude(7)
    (1200000, 7)
    """
    if not count:
        return 0
    step = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return int(step * round(count / step))


def _shown(count: int | None) -> str:
    return "withheld" if count is None else f"about {count:,}"
