"""Codes that have the shape of their system and are probably none: what a class says by mistake.

A code that nobody has is no error anywhere: it matches nothing, and the class is asked for fewer
patients than it means. So what gives itself away is warned of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from checker.codes import normal
from checker.codes.check_digits import has_right_digit
from checker.codes.patterns import GLOB_CHARACTERS
from checker.errors import Problem
from checker.policy.documents import AttributeClassLibrary, AttributeClassSpec, LeakagePolicy
from checker.policy.located import Located
from checker.yaml import KeyPath

_MEANT: Final = str.maketrans("OIL", "011")
_ALIKE: Final = {"icd10cm": (1, 3), "icd10pcs": (0, 7)}
"""Characters of a code that are no O, I or L: of ICD-10-CM its category behind the first letter (of
the 74,044 codes of 2024 none has one there), of ICD-10-PCS all, which has neither O nor I."""


def code_warnings(document: Located[Any]) -> Iterator[Problem]:
    """Yield what is doubtful about the codes that a policy's or a library's classes name.

    Args:
        document: of any kind; of a policy only what its own file says.
    """
    if isinstance(document.document, AttributeClassLibrary):
        yield from _of_class(document, ("spec",), document.document.spec)
    elif isinstance(document.document, LeakagePolicy):
        for name, spec in document.document.spec.attribute_classes.items():
            yield from _of_class(document, ("spec", "attributeClasses", name), spec)


def _of_class(document: Located[Any], path: KeyPath, spec: AttributeClassSpec) -> Iterator[Problem]:
    parts = (("codes", spec.codes), ("proxies", spec.proxies), ("exclude", spec.exclude))
    for key, sets in parts:
        for index, one in enumerate(sets):
            for number, value in enumerate(one.values):
                where = (*path, key, index, "values", number)
                message = _doubt(one.system, value)
                if message and document.place(where).file == document.file:
                    yield document.problem(where, message)


def _doubt(system: str, value: str) -> str | None:
    """Say why a value is probably no code of its system, or None."""
    if GLOB_CHARACTERS.search(value):
        return None
    start, end = _ALIKE.get(system, (0, 0))
    for part in value.split("-") if end else ():
        code = normal(system, part)
        letters = {one for one in code[start:end] if one in "OI" or (one == "L" and start)}
        if letters:
            meant = part[:start] + part[start:].upper().translate(_MEANT)
            return (
                f"'{part}' has the letter {min(letters)} where codes of {system} have a digit;"
                f" write '{meant}'"
            )
    if not has_right_digit(system, normal(system, value)):
        return (
            f"no code of {system} is '{value}': its last digit does not check the others, so that a"
            " digit is wrong or two changed places; it matches nobody"
        )
    return None
