"""A valid document that knows its lines, its digest, and the documents that it rests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Generic, TypeVar

from pydantic import Field

from checker.canonical import JsonModel, digest
from checker.errors import Problem
from checker.policy.documents import Document
from checker.yaml import KeyPath, Place, Say, Source

T_co = TypeVar("T_co", bound=Document, covariant=True)


class Origin(JsonModel):
    """A document that a policy rests on: one that it extends, takes a class from, or is itself.

    `sha256` is that of the whole file's bytes. `file` is as it was found; plans and reports name it
    without its folder.
    """

    kind: str
    name: str
    version: str
    file: str
    sha256: str
    review_by: date | None = Field(None, exclude=True)

    @property
    def reference(self) -> str:
        """Its name with its version."""
        return f"{self.name}@{self.version}"


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
    def origin(self) -> Origin:
        """The document itself, as those that rest on it name it."""
        head = self.document.metadata
        return Origin(
            kind=self.document.kind,
            name=head.name,
            version=head.version,
            file=self.file,
            sha256=self.sha256,
            review_by=head.review_by,
        )

    @property
    def file(self) -> str:
        """The file as it was named by whoever asked to read it."""
        return self.source.file

    def place(self, path: KeyPath) -> Place:
        """Return where a key or list item was written, or its nearest ancestor, in whichever file.

        Args:
            path: keys as in the file and list indices from 0:
                ("spec", "controls", "hiv-disclosure", "limits").
        """
        return self.source.place(path)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Say what is wrong at a path."""
        return self.source.problem(path, message)

    def complaints(self, problems: list[Problem]) -> Say:
        """Return what adds to a list whatever is said to be wrong."""

        def say(path: KeyPath, message: str) -> None:
            problems.append(self.problem(path, message))

        return say
