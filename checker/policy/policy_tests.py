"""What is wrong with a policy test in itself, whatever its policy says."""

from __future__ import annotations

from checker.errors import Problem
from checker.policy.documents import PolicyTest
from checker.policy.source import Located

__all__ = ["policy_test_problems"]


def policy_test_problems(test: Located[PolicyTest]) -> list[Problem]:
    """Return what is wrong with a policy test in itself: names and cells that stand twice."""
    problems = []
    names: set[str] = set()
    for index, case in enumerate(test.document.spec.cases):
        here = ("spec", "cases", index)
        if case.name in names:
            problems.append(test.problem((*here, "name"), "another case has this name; rename one"))
        names.add(case.name)
        cells: set[str] = set()
        for place, made_up in enumerate(case.cells):
            if _whole(made_up.cell) in cells:
                message = f"'{made_up.cell}' stands twice in this case; keep one"
                problems.append(test.problem((*here, "cells", place, "cell"), message))
            cells.add(_whole(made_up.cell))
    return problems


def _whole(cell: str) -> str:
    return cell if cell.count("/") > 1 else f"{cell}/all"
