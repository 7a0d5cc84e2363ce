"""A server that phigate starts and ends: its process, its secret, and its last words.

It ends with phigate, however that ends: its standard input is a pipe of which phigate holds the
other end, and the adapter exits when that closes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

from checker.errors import TargetError
from checker.targets import adapter
from checker.targets.adapter.phigate_adapter import ANNOUNCE_VARIABLE, TOKEN_VARIABLE

_POLL_S = 0.02
_GRACE_S = 2.0
_LINES, _CHARACTERS = 3, 400  # of last words


class ServerProcess:
    """A running server.

    Args:
        command: program and arguments; a program with a slash lies relative to `base`.
        base: the folder in which it runs.
        timeout_s: until when it must say where it listens.

    Raises:
        TargetError: it cannot be started, ends or says nothing in time.
    """

    def __init__(self, command: Sequence[str], *, base: Path, timeout_s: float) -> None:
        self.name = shlex.join(command)
        self.token = secrets.token_hex(16)
        self._folder = tempfile.TemporaryDirectory(prefix="phigate-flight-")  # for its owner alone
        self._log = Path(self._folder.name) / "log"
        announced = Path(self._folder.name) / "location"
        program = command[0] if "/" not in command[0] else str(base / command[0])
        known = os.environ.get("PYTHONPATH")
        paths = [str(Path(adapter.__file__).parent), *([known] if known else [])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            TOKEN_VARIABLE: self.token,
            ANNOUNCE_VARIABLE: str(announced),
        }
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [program, *command[1:]],
                    cwd=base,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for phigate, which ends it
                )
        except OSError as error:
            self._folder.cleanup()
            raise TargetError(
                f"model server '{self.name}': cannot be started: {error.strerror or error}; the"
                " command in model.options is run in the folder of the target"
            ) from error
        self.end = weakref.finalize(self, _end, self._process, self._folder)
        self.location = self._wait_for(announced, timeout_s=timeout_s)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def last_words(self) -> str:
        """The end of what it wrote, in one line; empty where it wrote nothing."""
        try:
            text = self._log.read_bytes()[-10_000:].decode(errors="replace")
        except OSError:
            return ""
        lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
        words = " / ".join(lines[-_LINES:])
        return "".join(one for one in words if one.isprintable())[-_CHARACTERS:]

    def _wait_for(self, announced: Path, *, timeout_s: float) -> str:
        until = time.monotonic() + timeout_s
        while not announced.exists():
            if not self.runs:
                words = self.last_words
                self.end()
                raise TargetError(
                    f"model server '{self.name}': ended with code {self._process.returncode}"
                    f" before it answered{_saying(words)}"
                )
            if time.monotonic() > until:
                words = self.last_words
                self.end()
                raise TargetError(
                    f"model server '{self.name}': did not say where it listens within"
                    f" {timeout_s:g} s; its script has to end in phigate_adapter.serve(…)"
                    f"{_saying(words)}"
                )
            time.sleep(_POLL_S)
        return announced.read_text(encoding="utf-8")


def _saying(words: str) -> str:
    return f"; its last words: {words}" if words else "; it wrote nothing"


def _end(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    # what it started is of its group; the group is gone where nothing of it is left
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    folder.cleanup()
