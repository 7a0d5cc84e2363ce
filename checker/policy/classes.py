"""What an attribute class says, checked: its codes, its exclusions, and the traps it must avoid.

A class that is read wrongly measures the wrong thing without anybody noticing, so a class carries
its own tests: each trap names a code that is easily mistaken and what the class must make of it,
and a class that makes something else of it is an invalid document. A library class adds where its
codes come from and who has reviewed it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from checker import codes
from checker.codes import CodeSystem
from checker.errors import Problem
from checker.policy.documents import (
    AttributeClassSpec,
    Citation,
    Day,
    Element,
    Metadata,
    Name,
    Text,
)
from checker.policy.source import KeyPath, Located, short

__all__ = [
    "AttributeClassLibrary",
    "ClassSource",
    "LibraryClassSpec",
    "Review",
    "class_problems",
    "library_problems",
]

_Say = Callable[[KeyPath, str], None]
"""Notes a problem at a path."""


class ClassSource(Element):
    """Where codes were taken from, and under which terms."""

    systems: Annotated[list[CodeSystem], Field(min_length=1)] = Field(
        description="every entry of these systems comes from here", examples=[["icd10cm"]]
    )
    title: Text = Field(examples=["ICD-10-CM, fiscal year 2026, April release"])
    publisher: Text | None = Field(None, examples=["CDC/NCHS and CMS"])
    licence: Text | None = Field(None, examples=["public domain"])
    url: Text | None = None


class Review(Element):
    """Who stands behind a class."""

    status: Literal["draft", "reviewed"] = Field(
        description="`reviewed` only where a clinician has signed the class off"
    )
    by: Text = Field(description="who derived it, or who signed it off")
    on: Day | None = Field(None, description="the day it was signed off")
    note: Text | None = None


class LibraryClassSpec(AttributeClassSpec):
    """An attribute class with its provenance."""

    sources: Annotated[list[ClassSource], Field(min_length=1)] = Field(
        description="of the codes; every system in use has one"
    )
    review: Review
    citations: dict[Name, Citation] = Field(
        {}, description="law and guidance that singles the class out; none of it sets a number"
    )


class AttributeClassLibrary(Element):
    """One attribute class of a library; `library/NAME@N` refers to major version N of it."""

    api_version: Literal["phigate/v1"]
    kind: Literal["AttributeClassLibrary"]
    metadata: Metadata
    spec: LibraryClassSpec


def class_problems(spec: AttributeClassSpec, path: KeyPath, say: _Say) -> None:
    """Check the codes of a class.

    Args:
        spec: the class.
        path: where it stands in its document.
        say: notes a problem.
    """
    seen: dict[codes.CodePattern, str] = {}
    for index, code_set in enumerate(spec.codes):
        for position, value in enumerate(code_set.values):
            here = (*path, "codes", index, "values", position)
            try:
                pattern = codes.parse_value(code_set.system, value)
            except ValueError as error:
                say(here, str(error))
                continue
            # but for globs, the spelling is not what matches: F10.2 and F102 are one code
            key = pattern if pattern.system == "local" else replace(pattern, value="")
            if key in seen:
                say(here, f"the code '{short(value)}' stands here twice, first as {seen[key]}")
            seen.setdefault(key, code_set.tier)


def library_problems(library: Located[AttributeClassLibrary]) -> list[Problem]:
    """Return all that is wrong with a library class."""
    problems: list[Problem] = []
    class_problems(
        library.document.spec,
        ("spec",),
        lambda path, message: problems.append(library.problem(path, message)),
    )
    return problems
