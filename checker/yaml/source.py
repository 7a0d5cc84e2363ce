"""Where everything in a document was written: values, scalars, files and lines.

A `Node` is a value with its place; a `Source` is one document of a file, as the node at its root.
Where a document is resolved from several files its parts are moved about as nodes, each of which
still answers with the file and line that it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from checker.errors import Problem

KeyPath = tuple[str | int, ...]
"""Keys and list indices (from 0) from a document's root to a value."""

Say = Callable[[KeyPath, str], None]
"""Notes what is wrong at a path."""


class Place(NamedTuple):
    """Where something was written; line and column from 1, or 0 where there are no lines."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """Render as `file:line:column`, a form that editors make clickable."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it was written.

    Args:
        content: a dict of nodes, a list of nodes, or a scalar: its text, until a type that expects
            a number or a truth value has read it; None where it is broken.
        place: of its key or list item.
        text: of a scalar, as written but without quotes.
        plain: a scalar without quotes.
        broken: it could not be read, which is reported already.
    """

    content: Any
    place: Place
    text: str | None = None
    plain: bool = False
    broken: bool = False

    @property
    def value(self) -> Any:
        """The plain value."""
        if isinstance(self.content, dict):
            return {key: node.value for key, node in self.content.items()}
        if isinstance(self.content, list):
            return [node.value for node in self.content]
        return self.content

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return isinstance(self.content, dict)

    @property
    def is_list(self) -> bool:
        """Whether it has items."""
        return isinstance(self.content, list)

    @property
    def holds_broken(self) -> bool:
        """Whether it, or a part of it, could not be read."""
        parts = self.content.values() if self.is_mapping else self.content if self.is_list else ()
        return self.broken or any(part.holds_broken for part in parts)

    def at(self, path: KeyPath) -> Node | None:
        """Return what stands at a path below, or None."""
        node = self
        for step in path:
            index = node.is_list and isinstance(step, int) and step < len(node.content)
            if not index and not (node.is_mapping and step in node.content):
                return None
            node = node.content[step]
        return node

    def but(self, **changes: Node | None) -> Node:
        """Return this mapping with keys replaced, or left out where None is given."""
        content = {**self.content, **changes}
        return replace(self, content={k: v for k, v in content.items() if v is not None})

    @classmethod
    def written(cls, value: Any, place: Place) -> Node:
        """Return a plain value as if all of it stood at one place."""
        if isinstance(value, dict):
            return cls({key: cls.written(one, place) for key, one in value.items()}, place)
        if isinstance(value, list):
            return cls([cls.written(one, place) for one in value], place)
        return cls(value, place)


@dataclass(frozen=True)
class Source:
    """One document of a file.

    Args:
        file: as given by whoever asked to read it.
        root: the document.
        problems: all that is wrong so far.
    """

    file: str
    root: Node
    problems: tuple[Problem, ...] = ()

    @cached_property
    def value(self) -> Any:
        """The document as dicts, lists and scalars."""
        return self.root.value

    def at(self, path: KeyPath) -> Node | None:
        """Return what stands at a path, or None."""
        return self.root.at(path)

    def place(self, path: KeyPath) -> Place:
        """Return where a key or list item was written, or its nearest ancestor."""
        node = self.root
        for step in path:
            below = node.at((step,))
            if below is None:
                break
            node = below
        return node.place

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Say what is wrong at a path."""
        return Problem(*self.place(path), message, dotted(path))


def dotted(path: KeyPath) -> str:
    """Return a path as people write it.

    >>> dotted(("spec", "controls", "hiv", "subgroups", 1))
    'spec.controls.hiv.subgroups[1]'
    """
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def short(text: str) -> str:
    """Cut a text that would drown the sentence it stands in."""
    return text if len(text) <= 60 else f"{text[:57]}..."
