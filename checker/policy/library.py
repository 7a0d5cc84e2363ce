"""The attribute classes that phigate ships, one file a class in `policies/library/`.

A policy refers to a class as `library/NAME@N`: version N is the first number of the file's
`metadata.version`, which changes whenever codes, exclusions or tiers do, so that what a policy
measures never changes behind its back. Superseded versions stay in `older/` as `NAME@N.yaml`, and
policies that name them go on measuring what they measured.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from checker.plugins import suggestion
from checker.policy.documents import AttributeClassLibrary
from checker.policy.located import Located
from checker.policy.parsing import parse_one
from checker.resources import resource

_FOLDER: Final = "policies/library"
_REFERENCE = re.compile(r"library/(?P<name>[a-z0-9.-]+)@(?P<version>[0-9]{1,6})")


def library_names() -> list[str]:
    """Return the names of the shipped classes, sorted."""
    return sorted(path.stem for path in resource(_FOLDER).glob("*.yaml"))


def library_class(reference: str) -> Located[AttributeClassLibrary]:
    """Return the shipped class that `library/NAME@N` refers to.

    Its `document.spec` is an `AttributeClassSpec`, ready to stand in a policy.

    Args:
        reference: for example "library/hiv@1".

    Raises:
        ValueError: it leads nowhere, in one sentence that says what does.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        meant = next((one for one in library_names() if one in reference.split("/")), None)
        example = f"library/{meant}@{_major(meant)}" if meant else "library/NAME@N"
        raise ValueError(f"'{reference[:60]}' is no reference to a class; write {example}")
    name = match["name"]
    names = library_names()
    if name not in names:
        known = {one: f"library/{one}@{_meant(one, match['version'])}" for one in names}
        hint = suggestion(name, known, written=known) or "; `phigate classes list` shows all"
        raise ValueError(f"the library has no class '{name[:60]}'{hint}")
    versions = _versions(name)
    if match["version"] not in versions:
        shipped = " and ".join(f"library/{name}@{version}" for version in versions)
        raise ValueError(f"this version of phigate ships {shipped}, not @{match['version']}")
    return _load(versions[match["version"]])


def library_classes() -> dict[str, Located[AttributeClassLibrary]]:
    """Return the newest version of all shipped classes by name."""
    return {name: _load(name) for name in library_names()}


def older_references() -> list[str]:
    """Return the references to all superseded versions, sorted."""
    return sorted(f"library/{path.stem}" for path in resource(_FOLDER).glob("older/*.yaml"))


def _major(name: str) -> str:
    return _load(name).document.metadata.major


def _meant(name: str, version: str) -> str:
    """Return the version of a class to name: that asked for if it is there, or the newest."""
    return version if version in _versions(name) else _major(name)


def _versions(name: str) -> dict[str, str]:
    """Return the shipped versions of a class, and the file of each without its suffix."""
    older = {
        reference.rpartition("@")[2]: f"older/{reference.removeprefix('library/')}"
        for reference in older_references()
        if reference.startswith(f"library/{name}@")
    }
    return {**older, _major(name): name}


@cache  # documents are frozen, and the files are part of the installation
def _load(file: str) -> Located[AttributeClassLibrary]:
    return parse_one(AttributeClassLibrary, resource(f"{_FOLDER}/{file}.yaml"))
