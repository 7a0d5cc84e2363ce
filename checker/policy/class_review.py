"""Whether somebody has signed a class off, and whether what they read is what it says today.

A sign-off names the digest of the codes that were read. It is carried along where a policy takes
the class from a library, and codes may be added there: then the digest does not fit, and the class
is a draft again. So nothing that was added later can pass as reviewed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from checker.canonical import digest
from checker.policy.documents import AttributeClassSpec, PolicyClassSpec

ReviewState = Literal["reviewed", "changed", "draft"]
"""`changed`: it was signed off once, and its codes are others today."""


def codes_digest(spec: AttributeClassSpec) -> str:
    """Return the SHA-256 over what a class catches: codes, exclusions and proxies, in any order."""
    parts: dict[str, list[Any]] = {
        "codes": [[one.system, one.tier, *_sorted(one.values, one.exclude)] for one in spec.codes],
        "exclude": [[one.system, *_sorted(one.values, ())] for one in spec.exclude],
        "proxies": [[one.system, *_sorted(one.values, one.exclude)] for one in spec.proxies],
    }
    return digest({name: sorted(sets, key=str) for name, sets in parts.items()})


def review_state(
    spec: AttributeClassSpec, classes: Mapping[str, PolicyClassSpec] | None = None
) -> ReviewState:
    """Say whether a class is signed off as it stands.

    Args:
        spec: the class.
        classes: all of the policy; a pool is reviewed where all of its classes are.
    """
    if isinstance(spec, PolicyClassSpec) and spec.any_of and classes is not None:
        states = {review_state(classes[name]) for name in spec.any_of if name in classes}
        if states == {"reviewed"}:
            return "reviewed"
        return "draft" if "draft" in states or not states else "changed"
    if spec.reviewed is None:
        return "draft"
    return "reviewed" if spec.reviewed.sha256 == codes_digest(spec) else "changed"


def _sorted(*lists: Any) -> list[list[str]]:
    return [sorted(one) for one in lists]
