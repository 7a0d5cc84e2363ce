"""A run that is killed at a random moment, by any signal, and resumed: is its evidence the same?

One audit of the leaking simulated target runs to its end. Then it is begun again and again in new
folders with the same key of pseudonyms, and each time stopped after a random share of the time
that the whole took, by Ctrl-C, SIGTERM, SIGHUP and SIGKILL in turn; after four that are stopped
once come four that are stopped twice. The same command then finishes it. Evidence and manifest
have to be the same bytes as those of the whole run, no temporary file may be left, and a signal
that can be caught has to end the command in 130 with a sentence on how to go on. Exits 1 where
one of these does not hold.

    python -m benchmarks.kills --kills 40
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import THREE_CLASSES
from checker.testing import offer_simulated_backend
from checker.testing.toy_targets import write_targets

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
AS_OF = "2999-01-01T00:00Z"
FAILS = 1
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Stopped:
    """What a stopped command left behind.

    Args:
        code: its exit code; negative where the signal itself ended it.
        said: on standard error.
        finished: evidence files that it left beside those that were there before.
    """

    code: int
    said: str
    finished: int


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit that can be run in any number of folders.

    Args:
        folder: holds documents, models and patients.
    """

    folder: Path

    @classmethod
    def write(cls, folder: Path) -> Audit:
        """Write documents, models and patients, and run the whole audit once in `whole`."""
        offer_simulated_backend()
        write_targets(folder, seed=0)
        shutil.copy(THREE_CLASSES, folder / "policy.yaml")
        audit = cls(folder)
        audit.finish("whole")
        return audit

    def arguments(self, run: str) -> list[str]:
        """Give a run's folder the key of pseudonyms of the whole one; return its command."""
        folder = self.folder / run
        folder.mkdir(mode=0o700, exist_ok=True)
        key = self.folder / "whole" / "pseudonym.key"
        if key.exists() and run != "whole":
            shutil.copy(key, folder)
        documents = (str(self.folder / name) for name in ("policy.yaml", "leaking.yaml"))
        options = ("--out", str(folder), "--as-of", AS_OF, "--format", "json")
        return ["check", *documents, *options]

    def start(self, run: str) -> subprocess.Popen[str]:
        """Begin the audit in a run's folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "checker.cli", *self.arguments(run)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def finish(self, run: str) -> str:
        """Run the audit to its end and return what it said.

        Raises:
            RuntimeError: it ended in another verdict than the leaking target's.
        """
        process = self.start(run)
        _, said = process.communicate()
        if process.returncode != FAILS:
            raise RuntimeError(f"the audit ended in {process.returncode}: {said}")
        return said

    def stop(self, run: str, number: signal.Signals, *, after: float) -> Stopped:
        """Begin the audit and stop it by a signal after some seconds, if it is still there."""
        before = len(self.evidence(run))
        process = self.start(run)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        _, said = process.communicate()
        return Stopped(process.returncode, said, len(self.evidence(run)) - before)

    def evidence(self, run: str) -> dict[str, bytes]:
        """Return evidence by the names of its files."""
        return {p.name: p.read_bytes() for p in (self.folder / run).glob("evidence/*.parquet")}

    def differences(self, run: str) -> list[str]:
        """Say in what a finished run differs from the whole one."""
        folder, whole = self.folder / run, self.folder / "whole"
        found = []
        if self.evidence(run) != self.evidence("whole"):
            found.append("its evidence is not the same bytes")
        if (folder / "manifest.json").read_bytes() != (whole / "manifest.json").read_bytes():
            found.append("its manifest is not the same bytes")
        left = sorted(path.name for path in folder.rglob("*.tmp"))
        if left:
            found.append(f"it left {', '.join(left)}")
        return found


def wrongly_stopped(stopped: Stopped, number: signal.Signals) -> str | None:
    """Say what is wrong with how a command ended, or None.

    A signal that comes while the interpreter starts, before any of phigate's code, ends the process
    as it always did: it did nothing and said nothing. One that comes after the verdict stops
    nothing.
    """
    began = stopped.finished or stopped.said
    if stopped.code == FAILS or (stopped.code == -number and not began):
        return None
    if number == signal.SIGKILL:
        return None if stopped.code == -number else f"SIGKILL ended it in {stopped.code}"
    if stopped.code != INTERRUPTED or "run the same command again" not in stopped.said:
        return f"{number.name} ended it in {stopped.code}: {stopped.said[-300:]}"
    return "Traceback" if "Traceback" in stopped.said else None


def heed_signals() -> dict[int, Any]:
    """Let processes that are started heed signals that a shell ignored, and return what was before.

    Whatever runs in the background of a shell, or under nohup, hands that on.
    """
    before: dict[int, Any] = {}
    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            before[number] = signal.signal(number, signal.SIG_DFL)
    return before


def main() -> None:
    heed_signals()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    wrong: list[str] = []
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        audit = Audit.write(Path(folder))
        whole = time.monotonic() - started
        for kill in range(arguments.kills):
            run, number = f"run-{kill}", SIGNALS[kill % len(SIGNALS)]
            for _ in range(1 + kill // len(SIGNALS) % 2):
                stopped = audit.stop(run, number, after=float(rng.uniform(0.05, whole)))
                ends[f"{number.name}: {stopped.code}"] += 1
                said = wrongly_stopped(stopped, number)
                wrong += [f"kill {kill}: {said}"] if said else []
            audit.finish(run)
            wrong += [f"kill {kill} ({number.name}): {one}" for one in audit.differences(run)]
            shutil.rmtree(audit.folder / run)
            print(f"kill {kill} ({number.name}): {len(wrong)} faults so far", flush=True)
    print(f"{arguments.kills} runs killed and resumed; ends: {dict(sorted(ends.items()))}")
    for one in wrong:
        print(one)
    if wrong:
        raise SystemExit(1)
    print("evidence and manifest are the same bytes each time, and nothing is left over")


if __name__ == "__main__":
    main()
