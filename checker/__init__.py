"""phigate: the release gate for clinical foundation models.

An institution's YAML policy is compiled into an audit plan; the plan's attacks run against a
clinical model; what they observe becomes evidence; a pure function judges the evidence against the
policy; the report cites it.

The functions here are what its commands do (`checker.library`). They are imported when they are
asked for: `import checker` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from checker.version import PHIGATE_VERSION as __version__

if TYPE_CHECKING:
    from checker.library import (
        Policy,
        Target,
        Waiver,
        audit,
        collect,
        examine_target,
        judge,
        load_policy,
        load_target,
        plan,
        read_waivers,
        verify,
    )
    from checker.report.model import Report

__all__ = [
    "Policy",
    "Report",
    "Target",
    "Waiver",
    "__version__",
    "audit",
    "collect",
    "examine_target",
    "judge",
    "load_policy",
    "load_target",
    "plan",
    "read_waivers",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a function of the library when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'checker' has no attribute '{name}'")
    from checker import library

    return getattr(library, name)
