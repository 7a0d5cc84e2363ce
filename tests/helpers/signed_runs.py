"""A run that is registered, waived and signed, and how a forger changes it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

from auditing import AS_OF, phigate, write_policy
from waiver_texts import waiver_text

from checker.canonical import sha256_hex
from checker.errors import ExitCode
from checker.ledger import load_attempt
from checker.run import stored
from checker.run.stored import judge_run, load_run, load_waivers, write_reports

RULES = {"approverRoles": ["privacy-officer"], "maxDuration": "P180D"}


@dataclass(frozen=True)
class Signed:
    """A run with everything that can be verified, and what it is verified with."""

    folder: Path

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "run"

    @property
    def ledger(self) -> Path:
        """The institution's ledger."""
        return self.folder / "ledger.jsonl"

    def verify(self, *more: object, key: str = "officer.pub") -> tuple[int, list[str], list[str]]:
        """Exit code, and what holds and what is broken, by all that can be given."""
        code, out = phigate(
            "verify", self.run, "--key", self.folder / key, "--ledger", self.ledger,
            "--model", self.folder / "leaking.json", "--policy", self.folder / "policy.yaml", *more,
        )  # fmt: skip
        holds = [line[8:] for line in out.splitlines() if line.startswith("holds")]
        broken = [line[8:] for line in out.splitlines() if line.startswith("BROKEN")]
        return code, holds, broken

    def unsigned(self) -> tuple[int, str]:
        """Exit code and output without key, ledger, model and policy."""
        return phigate("verify", self.run)

    def edit(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change one of the run's JSON files, in the form that phigate writes."""
        path = self.run / name
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def fit_manifest(self) -> None:
        """Make the manifest name a changed plan."""
        plan = sha256_hex((self.run / "plan.json").read_bytes())
        self.edit("manifest.json", lambda manifest: manifest.update(planSha256=plan))

    def judge_as_if_nothing_were(self) -> None:
        """Make manifest and report fit a changed plan, as a forger would who knows phigate."""
        self.fit_manifest()
        self.judge_again()

    def judge_again(self) -> None:
        """Write the report that follows from what lies there now.

        A forger leaves out what keeps phigate from judging evidence of another plan.
        """
        run = load_run(self.run)
        with mock.patch.object(stored, "check_answers"):
            judged = judge_run(
                run,
                as_of=datetime.fromisoformat(AS_OF),
                waivers=load_waivers(self.run),
                attempt=load_attempt(self.run),
            )
        write_reports(self.run, judged, formats=("json",))


def make_signed(folder: Path, targets: Path, *, formats: str = "json,html") -> Signed:
    """Audit a leaking model, waive what it fails, register, judge and sign it."""
    shutil.copytree(targets, folder)
    controls: dict[str, Any] = {
        "membership": {"limits": {"record": {"fail": 0.7}}},
        "hiv-disclosure": {"limits": {"events-10": {"fail": 0.05}}},
    }
    policy = write_policy(folder / "policy.yaml", controls)
    policy.write_text(policy.read_text() + f"  waivers: {json.dumps(RULES)}\n")
    documents = ("check", policy, folder / "leaking.yaml", "--out", folder / "run")
    settings = ("--as-of", AS_OF, "--format", formats, "--ledger", folder / "ledger.jsonl")
    assert phigate("ledger", "make", folder / "ledger.jsonl")[0] == ExitCode.PASS
    assert phigate(*documents, *settings)[0] == ExitCode.FAIL
    report = json.loads((folder / "run" / "report.json").read_text())
    (folder / "waivers.yaml").write_text(
        "---\n".join(
            waiver_text(
                name=f"w-{place}",
                policy={"ref": "three-classes@1.1.0"},
                control=name.split("/")[0],
                attacker=name.split("/")[1],
                model={"name": "leaking", "sha256": report["target"]["modelSha256"]},
                ceiling=0.99,
            )
            for place, name in enumerate(report["summary"]["blockedBy"])
        )
    )
    judging = ("judge", folder / "run", "--waivers", folder / "waivers.yaml")
    assert phigate(*judging, *settings)[0] == ExitCode.PASS
    for name in ("officer", "stranger"):
        assert phigate("keys", "make", folder / name)[0] == ExitCode.PASS
    assert "WARNED" in phigate("sign", folder / "run", "--key", folder / "officer.key")[1]
    return Signed(folder)
