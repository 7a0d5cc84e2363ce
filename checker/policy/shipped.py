"""The policies that phigate ships to start from, and what a folder needs beside one."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from checker.errors import DocumentError, PhigateWarning, UsageError
from checker.plugins import nearest_or_all
from checker.policy.documents import LeakagePolicy
from checker.policy.inheritance.parents import RENAMED, is_path, renamed, version_key
from checker.policy.loading import load_only
from checker.resources import resource

STARTER = "starter"


def baselines() -> dict[str, Path]:
    """Return the shipped policies that one can start from, by name: the newest version of each."""
    newest: dict[str, tuple[list[tuple[int, int, str]], Path]] = {}
    for path in sorted(resource("policies").glob("*.yaml")):
        policy = load_only(LeakagePolicy, path).document
        name, version = policy.metadata.name, version_key(policy.metadata.version)
        if not policy.spec.abstract and (name not in newest or newest[name][0] < version):
            newest[name] = version, path
    whole = {name: path for name, (_, path) in newest.items()}
    return {STARTER: resource("policies/starter/policy.yaml"), **whole}


def references() -> list[str]:
    """Return how the newest version of each is referred to, such as "baseline-gated@2"."""
    return [
        f"{name}@{load_only(LeakagePolicy, path).document.metadata.major}"
        for name, path in baselines().items()
        if name != STARTER
    ]


def starter_files(name: str) -> dict[str, str]:
    """Return what a folder needs to start from a shipped policy.

    Args:
        name: one of `baselines()`, or with a version, such as "baseline-gated@1".

    Returns:
        By file name: the policy, its tests, a target, and what is submitted with a report; what
        they refer to they find beside them or among the shipped documents.

    Raises:
        UsageError: no such policy is shipped.
    """
    policy = _baseline(name)
    tested = STARTER if name == STARTER else policy.stem
    sources = {
        "policy.yaml": policy,
        "policy-tests.yaml": resource(f"policies/tests/{tested}.yaml"),
        "target.yaml": resource("policies/starter/target.yaml"),
        "submission.yaml": resource("policies/starter/submission.yaml"),
    }
    files = {file: _here(path.read_text(encoding="utf-8")) for file, path in sources.items()}
    tests = re.sub(r"(?m)^  policy: .*$", "  policy: policy.yaml", files["policy-tests.yaml"])
    return {**files, "policy-tests.yaml": tests}


def _baseline(name: str) -> Path:
    known = baselines()
    if name in RENAMED and name not in known:
        warnings.warn(renamed(name), PhigateWarning, stacklevel=3)
        name = RENAMED[name]
    if name in known:
        return known[name]
    hint = nearest_or_all(name, known)
    if "@" in name and not is_path(name):
        try:
            found = load_only(LeakagePolicy, Path(name))
        except DocumentError as error:
            raise UsageError(f"--baseline {name}: {error.problems[0].message}") from error
        if not found.document.spec.abstract and Path(found.file).parent == resource("policies"):
            return Path(found.file)
    raise UsageError(f"--baseline {name}: phigate ships no such policy to start from{hint}")


def _here(text: str) -> str:
    """Let the first line point to the schemas that are written beside the file."""
    return re.sub(r"\A(# yaml-language-server: \$schema=)(?:\.\./)+", r"\1", text)
