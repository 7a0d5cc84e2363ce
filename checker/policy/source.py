"""Where everything in a document was written: values, scalars, files and lines.

A `Source` is one document's plain value with the place of each key and list item, and each scalar
as it was spelled; a `Located` is the valid document that was made of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Generic, NamedTuple, TypeVar

from checker.canonical import digest
from checker.errors import Problem
from checker.policy.documents import Element

__all__ = [
    "KeyPath",
    "Located",
    "Origin",
    "Place",
    "Say",
    "Scalar",
    "Source",
    "dotted",
    "short",
]

KeyPath = tuple[str | int, ...]
"""Keys and list indices (from 0) from a document's root to a value."""

Say = Callable[[KeyPath, str], None]
"""Notes what is wrong at a path."""

T_co = TypeVar("T_co", bound=Element, covariant=True)


class Place(NamedTuple):
    """Where something was written; line and column from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        """Render as `file:line:column`, a form that editors make clickable."""
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar as written.

    Args:
        text: without quotes.
        plain: not quoted, so that YAML decided what it is.
    """

    text: str
    plain: bool


@dataclass(frozen=True, slots=True)
class Source:
    """One document of a file.

    Args:
        file: as given by whoever asked to read it.
        value: dicts, lists, str, int, float, bool, date; None at the paths in `broken`.
        places: (line, column) of each key and list item, from 1; of the document at ().
        scalars: each scalar as written.
        broken: where a value could not be read, which is among `problems` already.
        problems: all that is wrong so far.
        files: of what was inherited, the file it was written in; all else stands in `file`.
    """

    file: str
    value: Any
    places: Mapping[KeyPath, tuple[int, int]]
    scalars: Mapping[KeyPath, Scalar]
    broken: frozenset[KeyPath]
    problems: tuple[Problem, ...]
    files: Mapping[KeyPath, str] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place:
        """Return where a key or list item was written, or its nearest ancestor."""
        here = path
        while here and here not in self.places:
            here = here[:-1]
        return Place(self.files.get(here, self.file), *self.places[here])

    def locate(self, path: KeyPath) -> tuple[int, int]:
        """Return line and column, from 1, of a key or list item, or of its nearest ancestor."""
        place = self.place(path)
        return place.line, place.column

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Say what is wrong at a path."""
        return Problem(*self.place(path), message, dotted(path))


@dataclass(frozen=True, slots=True)
class Origin:
    """One of the documents that a policy was resolved from.

    Args:
        kind, name, version: as in its head.
        file: as it was found.
        sha256: of the whole file's bytes, in hex.
        review_by: as in its head.
    """

    kind: str
    name: str
    version: str
    file: str
    sha256: str
    review_by: date | None = None


@dataclass(frozen=True, slots=True)
class Located(Generic[T_co]):
    """A valid document that knows the lines it came from.

    Args:
        document: the policy, target or whatever else was read.
        source: what it was read from.
        sha256: of the whole file's bytes, in hex.
        warnings: what is allowed but probably not meant.
        origins: the other documents that parts of it come from, nearest first.
    """

    document: T_co
    source: Source = field(repr=False)
    sha256: str
    warnings: tuple[Problem, ...] = ()
    origins: tuple[Origin, ...] = ()

    @property
    def identity(self) -> str:
        """SHA-256 of its file, or of that and all it rests on: equal for equal demands."""
        if not self.origins:
            return self.sha256
        return digest([self.sha256, *(origin.sha256 for origin in self.origins)])

    @property
    def file(self) -> str:
        """The file as it was named by whoever asked to read it."""
        return self.source.file

    def locate(self, path: KeyPath) -> tuple[int, int]:
        """Return line and column, from 1, of a key or list item, or of its nearest ancestor.

        Args:
            path: keys as in the file and list indices from 0:
                ("spec", "controls", "hiv-disclosure", "limits").
        """
        return self.source.locate(path)

    def place(self, path: KeyPath) -> Place:
        """Return where a key or list item was written, in whichever file that was."""
        return self.source.place(path)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Say what is wrong at a path."""
        return self.source.problem(path, message)

    def complaints(self, problems: list[Problem]) -> Say:
        """Return what adds to a list whatever is said to be wrong."""

        def say(path: KeyPath, message: str) -> None:
            problems.append(self.problem(path, message))

        return say


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
