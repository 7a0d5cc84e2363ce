"""Who imports whom in the package, read from the source: nothing is run, nothing is left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted((ROOT / "checker").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


@cache
def imports() -> dict[str, frozenset[str]]:
    """The modules of the package that each imports, in functions and for type checkers too."""
    return {name: frozenset(_imported(name)) - {name} for name in trees()}


def _imported(name: str) -> Iterator[str]:
    for node in ast.walk(trees()[name]):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name in trees())
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative imports are not followed here"
            for one in node.names:
                inner = f"{node.module}.{one.name}"
                yield from (
                    m for m in (inner if inner in trees() else node.module,) if m in trees()
                )


def cycles(graph: Mapping[str, frozenset[str]] | None = None) -> list[list[str]]:
    """Groups of modules of which each reaches each other by imports (Tarjan 1972)."""
    graph = imports() if graph is None else graph
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return found
