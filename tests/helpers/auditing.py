"""Audits by the command line that several tests share: one run, and what it left behind.

The `phigate` fixture of `conftest` is for one test. An audit that many tests look at is run once,
in a fixture of module scope, by `audit`; whoever changes a run's folder works on a copy.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from command_line import run_phigate

MEASURED = datetime(2026, 10, 31, 12, tzinfo=UTC)
"""What the clock says in tests: nothing is judged as of an earlier time than it is measured."""
AS_OF = "2026-11-01T00:00:00+00:00"
LATE = "2999-01-01T00:00:00+00:00"
"""Later than the clock of any machine: for audits in processes of their own, whose clock runs."""
THREE_CLASSES = Path(__file__).parents[2] / "benchmarks" / "three_classes.yaml"
"""The policy that most tests audit under, as studies do."""


def three_classes() -> str:
    """That policy, cut to what costs little and is all that most tests look at.

    The membership score is a classic one, for which nothing is trained, and of the attackers of one
    kind one is left: `test_strongest_gate` and `test_demo` audit under the score that is learned.
    """
    text = THREE_CLASSES.read_text(encoding="utf-8")
    for known, instead in (
        (
            "probe: membership-inference\n",
            "probe: membership-inference\n      params: {score: loss}\n",
        ),
        ("        events-5: {fail: 0.05}\n", ""),
        ("limits: *five-in-a-hundred", "limits: {events-10: {fail: 0.05}}"),
    ):
        assert known in text
        text = text.replace(known, instead)
    return text


@dataclass(frozen=True)
class Audit:
    """Exit code, folder, standard output and report of `phigate check`."""

    code: int
    run: Path
    out: str
    report: dict[str, Any]

    @property
    def cells(self) -> dict[str, dict[str, Any]]:
        """The report's cells by id."""
        return {cell["id"]: cell for cell in self.report["cells"]}

    def cell(self, control: str) -> dict[str, Any]:
        """The one cell of a control that has one."""
        (found,) = (cell for cell in self.cells.values() if cell["control"] == control)
        return found

    @property
    def verdicts(self) -> dict[str, tuple[str, str | None]]:
        """Verdict and reason by cell id."""
        return {name: (cell["verdict"], cell["reason"]) for name, cell in self.cells.items()}

    def check(self, name: str) -> dict[str, Any]:
        """One of the checks that every excess rests on."""
        return next(check for check in self.report["admissibility"] if check["name"] == name)


def phigate(*arguments: object) -> tuple[int, str]:
    """Run the command line; returns exit code and all that was written to the terminal."""
    outcome = run_phigate(*arguments)
    return outcome.code, outcome.out + outcome.err


def audit(policy: Path, target: Path, run: Path) -> Audit:
    """Check a target, and read what the audit team sees.

    Only the JSON report is written, for a page takes longer than the audit.
    """
    code, out = phigate(
        "check", policy, target, "--out", run, "--as-of", AS_OF, "--format", "json",
        "--audience", "internal",
    )  # fmt: skip
    report = run / "internal" / "report.json"
    assert report.exists(), out
    return Audit(code, run, out, json.loads(report.read_text()))


def write_policy(
    path: Path,
    controls: Mapping[str, Mapping[str, Any]],
    *,
    attackers: Mapping[str, Mapping[str, Any]] | None = None,
    **parameters: Any,
) -> Path:
    """Write the policy of three classes with other controls.

    Args:
        path: of the policy.
        controls: by name; a control named as one of its own is that one with these changes.
        attackers: further ones.
        parameters: changes to the policy's.
    """
    document = yaml.safe_load(three_classes())
    spec = document["spec"]
    known = copy.deepcopy(spec["controls"])
    spec["controls"] = {
        name: {"title": f"Control {name}", **known.get(name, {}), **control}
        for name, control in controls.items()
    }
    spec["attackers"] |= {
        name: {"title": f"Attacker {name}", **attacker}
        for name, attacker in (attackers or {}).items()
    }
    spec["parameters"] |= parameters
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def write_made_up_target(path: Path, tokenization: Mapping[str, Any], **spec: Any) -> Path:
    """Write a target of a model that nobody opens: its folder's data under some tokenization."""
    document = {
        "apiVersion": "phigate/v1",
        "kind": "AuditTarget",
        "metadata": {"name": "made-up", "version": "1"},
        "spec": {
            "model": {"path": "model"},
            "tokenization": {"vocabulary": "vocab.json", **tokenization},
            "data": {"path": "data"},
            **spec,
        },
    }
    path.write_text(yaml.safe_dump(document))
    return path


def write_variant(target: Path, name: str, **changes: Any) -> Path:
    """Write a target beside another that differs in parts of its spec."""
    document = yaml.safe_load(target.read_text())
    document["metadata"]["name"] = name
    document["spec"] |= changes
    path = target.with_name(f"{name}.yaml")
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path
