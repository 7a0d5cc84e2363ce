"""Which code opens a model is part of what its jobs are: another edition of it asks anew."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from auditing import AS_OF, write_policy
from command_line import Command

from checker import plugins
from checker.errors import ExitCode
from checker.planning import AuditPlan
from checker.run.prepare import prepare
from checker.testing import offer_simulated_backend

CODE = """
from checker.testing.simulated import SimulatedBackend

class Backend(SimulatedBackend):
    name = "borrowed"
"""


@dataclass(frozen=True)
class PlugIn:
    """A distribution with one backend, and documents of an audit that goes through it."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def _distribution(self) -> Path:
        return self.folder / "site" / "borrowed-1.dist-info"

    def install(self, version: str, code: str = CODE) -> None:
        """Write the package, and forget what was known of an earlier one."""
        package = self.folder / "site" / "borrowed_backend"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text(code)
        self._distribution.mkdir(exist_ok=True)
        (self._distribution / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: borrowed\nVersion: {version}\n"
        )
        entry = "[phigate.targets]\nborrowed = borrowed_backend:Backend\n"
        (self._distribution / "entry_points.txt").write_text(entry)
        forget()

    @property
    def policy(self) -> Path:
        """Asks one thing of the scores, and has them after a second."""
        controls = {"membership": {"params": {"score": "loss"}}}
        return write_policy(self.folder / "gate.yaml", controls)

    def plan(self, name: str = "borrowed.yaml") -> AuditPlan:
        return prepare(self.policy, self.folder / name).plan

    def arguments(self, *more: object) -> tuple[object, ...]:
        return (
            "check", self.policy, self.folder / "borrowed.yaml", "--out", self.run,
            "--as-of", AS_OF, "--format", "json", *more,
        )  # fmt: skip


def forget() -> None:
    plugins._third_party.cache_clear()
    plugins._package_digest.cache_clear()


@pytest.fixture
def plug_in(
    simulated_targets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PlugIn]:
    offer_simulated_backend()
    work = tmp_path / "work"
    shutil.copytree(simulated_targets, work)
    target = yaml.safe_load((work / "sound.yaml").read_text())
    target["spec"]["model"]["backend"] = "borrowed"
    (work / "borrowed.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
    found = PlugIn(work)
    found.install("1.0")
    monkeypatch.syspath_prepend(str(work / "site"))
    forget()
    yield found
    monkeypatch.undo()
    forget()


def test_another_edition_of_a_backend_names_the_jobs_that_ask_the_model_anew(
    plug_in: PlugIn,
) -> None:
    first = plug_in.plan()
    told = first.target.backend
    assert told is not None
    assert (told["distribution"], told["version"]) == ("borrowed", "1.0")
    asked = {job.digest for job in first.jobs if job.depends_on_model}
    others = {job.digest for job in first.jobs} - asked
    assert asked
    assert others
    assert all(job.inputs["backend"] == told for job in first.jobs if job.runs_on == "target")
    assert plug_in.plan().sha256 == first.sha256
    for version, code in (("1.0", CODE + "\n# draws otherwise\n"), ("1.1", CODE)):
        plug_in.install(version, code)
        again = {job.digest for job in plug_in.plan().jobs}
        assert others <= again
        assert not asked & again


def test_what_phigate_brings_along_names_no_code(plug_in: PlugIn) -> None:
    plan = plug_in.plan("sound.yaml")  # simulated, which stands in phigate itself
    assert plan.target.backend is None
    assert all("backend" not in job.inputs for job in plan.jobs)
    assert plugins.backend_version("huggingface") is None
    assert plugins.backend_version("no-such-backend") is None


def test_evidence_of_another_edition_is_not_gone_on_with_and_verify_says_so(
    plug_in: PlugIn, phigate: Command
) -> None:
    assert phigate(*plug_in.arguments()).code == ExitCode.PASS
    held = phigate("verify", plug_in.run)
    assert held.code == ExitCode.PASS
    assert "backend" not in held.out
    plug_in.install("1.1")
    changed = phigate("verify", plug_in.run)
    assert changed.code == ExitCode.PASS  # evidence is judged without a model
    (line,) = [line for line in changed.out.splitlines() if "backend" in line]
    assert line.startswith("open")
    assert "asked through the backend borrowed of borrowed 1.0 (" in line
    assert "installed here is borrowed 1.1 (" in line
    refused = phigate(*plug_in.arguments())
    assert refused.code == ExitCode.INCOMPLETE
    assert "through another version of the backend" in refused.err


def test_a_target_s_document_has_a_digest_that_covers_what_a_command_changed(
    plug_in: PlugIn,
) -> None:
    own, moved = (
        prepare(plug_in.policy, plug_in.folder / "borrowed.yaml", device=device).plan.target
        for device in (None, "cuda:1")
    )
    assert own.sha256 == moved.sha256  # of one file
    assert own.document_sha256 != moved.document_sha256
    for snapshot in (own, moved):
        assert snapshot.is_unchanged
        assert not snapshot.model_copy(update={"document_sha256": "0" * 64}).is_unchanged
