"""What a policy names of the shipped documents that there is a newer version of.

Version 1 of a class, or of a baseline, goes on saying what it said, so that what a policy measures
never changes behind its back. That is also how codes that were forgotten in it stay forgotten: so
`phigate validate` says that there is another version, and leaves it at that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from checker.errors import Problem
from checker.policy.documents import LeakagePolicy
from checker.policy.inheritance.parents import versions_of
from checker.policy.library import library_classes
from checker.policy.loading import load_only
from checker.policy.located import Located
from checker.resources import resource
from checker.yaml import KeyPath

_NAMED = re.compile(r"(?P<name>[a-z0-9][a-z0-9.-]*)@(?P<version>[0-9]+)[^@/]*")
_CLASS = re.compile(r"library/(?P<name>[a-z0-9.-]+)@(?P<version>[0-9]+)")


def newer_versions(policy: Located[LeakagePolicy]) -> Iterator[Problem]:
    """Yield where a policy names an older version of a shipped class or policy, and the newer one.

    Nothing of what phigate ships itself: its older versions name what they named.

    Args:
        policy: valid; only what its own file says is looked at.
    """
    shipped = resource("policies")
    if Path(policy.file).resolve().is_relative_to(shipped.resolve()):
        return
    for name in policy.document.spec.attribute_classes:
        path: KeyPath = ("spec", "attributeClasses", name, "use")
        match = _CLASS.fullmatch(_written(policy, path))
        if match is None or policy.place(path).file != policy.file:
            continue
        newest = library_classes()[match["name"]].document.metadata.major
        if int(newest) > int(match["version"]):
            message = (
                f"library/{match['name']} has version {newest} by now; `phigate classes show"
                f" {match['name']}` says what it catches"
            )
            yield policy.problem(path, message)
    extended = policy.source.at(("spec", "extends"))
    for index in range(len(extended.value) if extended is not None else 0):
        path = ("spec", "extends", index, "ref")
        reference = _written(policy, path)
        match = _NAMED.fullmatch(reference)
        if match is None or versions_of(match["name"], Path(policy.file).parent):
            continue  # a policy of the house comes before the shipped one of its name
        files = versions_of(match["name"], shipped)
        majors = [int(load_only(LeakagePolicy, one).document.metadata.major) for one in files]
        if majors and max(majors) > int(match["version"]):
            newer = f"{match['name']}@{max(majors)}"
            message = (
                f"{newer} is there by now; `phigate diff {reference} {newer}` says what it asks"
                " otherwise"
            )
            yield policy.problem(path, message)


def _written(policy: Located[LeakagePolicy], path: KeyPath) -> str:
    """Return what stands at a path; a document that is resolved no longer says it."""
    node = policy.source.at(path)
    return "" if node is None else str(node.value)
