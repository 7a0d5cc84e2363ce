"""Fixtures that several test files share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.simulated_gate import write_targets
from checker.cli import main
from checker.testing import offer_simulated_backend

# processes that tests start import this working copy, whatever is installed
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)
offer_simulated_backend()
for variable in ("PHIGATE_LEDGER", "PHIGATE_KEY_PASSPHRASE"):
    os.environ.pop(variable, None)  # no test may write into the ledger of whoever runs it


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def phigate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line as a user would; a traceback fails the test."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["phigate", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert "phigate itself failed" not in err, err
        return Outcome(int(leaving.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def simulated_targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cohort with a leaking and a sound simulated target; read only."""
    folder = tmp_path_factory.mktemp("simulated")
    write_targets(folder, seed=0)
    return folder


@pytest.fixture
def workspace(simulated_targets: Path, tmp_path: Path) -> Path:
    """A copy of the simulated targets, with the demo policy as `policy.yaml`, to be changed."""
    folder = tmp_path / "work"
    shutil.copytree(simulated_targets, folder)
    policies = Path(__file__).parents[1] / "policies"
    shutil.copy(policies / "demo.yaml", folder / "policy.yaml")
    return folder


LONGEST = ("test_demo", "test_memory", "test_gate", "test_ray", "test_families", "test_report_pdf")
"""Files that take longest; begun last, one would keep a whole suite waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files come first, in an order of files that is otherwise kept."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
