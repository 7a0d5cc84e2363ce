"""The policies that phigate ships to start from, and what a folder needs beside one."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from checker.errors import PhigateWarning, UsageError
from checker.plugins import nearest_or_all
from checker.policy.documents import LeakagePolicy
from checker.policy.inheritance.parents import RENAMED, renamed
from checker.policy.loading import load_only
from checker.resources import resource

STARTER = "starter"


def baselines() -> dict[str, Path]:
    """Return the shipped policies that one can start from, by name."""
    shipped = {path.stem: path for path in sorted(resource("policies").glob("*.yaml"))}
    whole = {
        name: path
        for name, path in shipped.items()
        if not load_only(LeakagePolicy, path).document.spec.abstract
    }
    return {STARTER: resource("policies/starter/policy.yaml"), **whole}


def starter_files(name: str) -> dict[str, str]:
    """Return what a folder needs to start from a shipped policy.

    Args:
        name: one of `baselines()`.

    Returns:
        By file name: the policy, its tests, and a target; what they refer to they find beside them
        or among the shipped documents.

    Raises:
        UsageError: no such policy is shipped.
    """
    known = baselines()
    if name in RENAMED and name not in known:
        warnings.warn(renamed(name), PhigateWarning, stacklevel=2)
        name = RENAMED[name]
    if name not in known:
        hint = nearest_or_all(name, known)
        raise UsageError(f"--baseline {name}: phigate ships no such policy to start from{hint}")
    sources = {
        "policy.yaml": known[name],
        "policy-tests.yaml": resource(f"policies/tests/{name}.yaml"),
        "target.yaml": resource("policies/starter/target.yaml"),
    }
    files = {file: _here(path.read_text(encoding="utf-8")) for file, path in sources.items()}
    tests = re.sub(r"(?m)^  policy: .*$", "  policy: policy.yaml", files["policy-tests.yaml"])
    return {**files, "policy-tests.yaml": tests}


def _here(text: str) -> str:
    """Let the first line point to the schemas that are written beside the file."""
    return re.sub(r"\A(# yaml-language-server: \$schema=)(?:\.\./)+", r"\1", text)
