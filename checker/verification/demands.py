"""What the run was judged by: the demands of its plan, and whether they are the institution's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from checker.plan import AuditPlan, demanded_cells
from checker.policy import load_policy
from checker.runs import Run
from checker.verification.statement import Statement

__all__ = ["check_demands", "check_policy"]

DIFFERENCES_SHOWN = 3


def check_demands(run: Run) -> Statement:
    """The cells of the plan are those that the policy it holds gives: none missing, none milder."""
    spec = run.policy.spec
    if run.plan.confidence != spec.parameters.confidence:
        return Statement(False, "plan.json: its confidence is not that of its policy")
    if run.plan.sequential != spec.parameters.sampling.sequential:
        return Statement(False, "plan.json: how patients are drawn is not what its policy says")
    asked = {cell.id: cell for cell in demanded_cells(run.plan, spec)}
    found = {cell.id: cell for cell in run.plan.cells}
    if missing := asked.keys() - found.keys():
        return Statement(False, f"plan.json: lacks what its policy asks for: {min(missing)}")
    if strange := found.keys() - asked.keys():
        return Statement(False, f"plan.json: has what its policy does not ask for: {min(strange)}")
    for name, cell in asked.items():
        changed = [
            field for field in type(cell).model_fields
            if getattr(cell, field) != getattr(found[name], field)
        ]  # fmt: skip
        if changed:
            what = ", ".join(changed)
            return Statement(False, f"plan.json: {what} of {name} is not what its policy says")
    return Statement(True, f"all {len(found)} cells are what the plan's policy asks for")


def check_policy(run: Run, path: Path) -> Statement:
    """The policy that the plan holds is the one that the institution keeps.

    A run whose plan, manifest and report were all rewritten fits together; what it was judged by
    is then another policy than this one.

    Raises:
        DocumentError: it is no valid policy.
    """
    kept, held = load_policy(path), run.plan.policy
    differences = list(_differences(
        kept.document.model_dump(mode="json", exclude_none=True), held.document
    ))  # fmt: skip
    if differences:
        shown = ", ".join(differences[:DIFFERENCES_SHOWN])
        more = len(differences) - DIFFERENCES_SHOWN
        shown += f" and {more} more" if more > 0 else ""
        return Statement(
            False,
            f"{path.name} is not the policy that the run was judged by: they differ in {shown}",
        )
    if _files_of(run.plan) != [kept.sha256, *(origin.sha256 for origin in kept.origins)]:
        text = f"{path.name} was written anew since, and asks for what the run was judged by"
        return Statement(True, text)
    return Statement(True, f"{path.name} is the policy that the run was judged by")


def _files_of(plan: AuditPlan) -> list[str]:
    return [plan.policy.sha256, *(origin.sha256 for origin in plan.policy.origins)]


def _differences(kept: Any, held: Any, where: str = "") -> Iterator[str]:
    """Yield the dotted paths at which two documents differ."""
    if not (isinstance(kept, dict) and isinstance(held, dict)):
        if kept != held:
            yield where
        return
    for key in dict.fromkeys([*kept, *held]):
        below = f"{where}.{key}" if where else key
        if key in kept and key in held:
            yield from _differences(kept[key], held[key], below)
        else:
            yield below
