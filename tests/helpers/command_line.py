"""The command line in this process, as a user would run it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from checker.cli import run_command


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@dataclass(frozen=True)
class Checked:
    """Documents, a target, and a finished run of theirs.

    Args:
        folder: holds `policy.yaml`, the simulated targets, and the run in `run`.
        outcome: what `phigate check` left behind.
    """

    folder: Path
    outcome: Outcome

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "run"


def run_phigate(*arguments: object) -> Outcome:
    """Run `phigate`; a traceback fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["phigate", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = run_command()
    assert "Traceback" not in err.getvalue(), err.getvalue()
    assert "phigate itself failed" not in err.getvalue(), err.getvalue()
    return Outcome(code, out.getvalue(), err.getvalue())
