"""A signal that asks a run to stop ends it like Ctrl-C; the same command then finishes it.

The short version of `benchmarks/kills.py`, which kills at random moments.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from auditing import three_classes
from command_line import run_phigate

from benchmarks.kills import INTERRUPTED, Audit, Stopped, heed_signals, wrongly_stopped
from checker.cli import interruption
from checker.cli.interruption import interruptible
from checker.errors import EvidenceError, ExitCode
from checker.evidence import write_atomically


@pytest.fixture(scope="module", autouse=True)
def _heeded() -> Iterator[None]:
    before = heed_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def audit(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    folder = shutil.copytree(simulated_targets, tmp_path_factory.mktemp("signals") / "work")
    (folder / "policy.yaml").write_text(three_classes(), encoding="utf-8")
    audit = Audit(folder)
    finish(audit, "whole")
    return audit


def finish(audit: Audit, run: str) -> None:
    """Run the audit to its end, in this process."""
    assert run_phigate(*audit.arguments(run)).code == ExitCode.FAIL


def stop_when(
    audit: Audit, run: str, number: signal.Signals, *, finished: int
) -> tuple[Stopped, list[str]]:
    """Begin an audit and stop it when so many evidence files are there."""
    process = audit.start(run)
    kept = audit.folder / run / "evidence"
    while len(list(kept.glob("*.parquet"))) < finished and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(number)
    _, said = process.communicate()
    left = [path.name for path in (audit.folder / run).rglob("*.tmp")]
    return Stopped(process.returncode, said, len(audit.evidence(run))), left


def test_a_run_that_is_stopped_twice_goes_on_to_the_same_evidence(audit: Audit) -> None:
    lefts: list[int] = []
    wholes: set[str] = set()
    for number, finished in ((signal.SIGTERM, 2), (signal.SIGHUP, 5)):
        stopped, left = stop_when(audit, "cut", number, finished=finished)
        assert wrongly_stopped(stopped, number) is None, stopped
        assert finished <= stopped.finished < len(audit.evidence("whole"))
        assert stopped.code == INTERRUPTED
        assert f"stopped by {number.name}; jobs that were finished are kept" in stopped.said
        assert "run the same command again" in stopped.said
        found = re.search(r"; (\d+) of (\d+) jobs are left, about [\d,]+ tokens", stopped.said)
        assert found is not None, stopped.said
        lefts.append(int(found[1]))
        wholes.add(found[2])
        assert not left
    assert lefts[1] < lefts[0]
    assert len(wholes) == 1  # the audit's, and not those that were left at the second start
    # what a kill leaves in the middle of a file
    torn = audit.folder / "cut" / "evidence" / f".{'0' * 64}.parquet.01234567.tmp"
    torn.write_bytes(b"half")
    finish(audit, "cut")
    assert not torn.exists()
    assert audit.differences("cut") == []


def test_the_benchmark_sees_other_evidence_and_other_ends(audit: Audit) -> None:
    shutil.copytree(audit.folder / "whole", audit.folder / "changed")
    assert audit.differences("changed") == []
    next((audit.folder / "changed").glob("evidence/*.parquet")).write_bytes(b"other")
    assert audit.differences("changed") == ["its evidence is not the same bytes"]
    said = "jobs that were finished are kept: run the same command again"
    for code, words in ((4, said), (INTERRUPTED, "Traceback"), (-signal.SIGTERM, said)):
        assert wrongly_stopped(Stopped(code, words, 3), signal.SIGTERM) is not None
    assert wrongly_stopped(Stopped(INTERRUPTED, said, 3), signal.SIGTERM) is None


def test_nohup_is_kept(tmp_path: Path) -> None:
    script = (
        "import os, signal, time\n"
        "from checker.cli.interruption import interruptible\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "def command():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    time.sleep(0.05)\n"
        "with interruptible() as interruption:\n"
        "    interruption.stoppable(command)\n"
        "print('went on')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "went on\n"


CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in CAUGHT]


def test_handlers_are_put_back() -> None:
    before = handlers()
    with interruptible() as found, pytest.raises(KeyboardInterrupt):
        found.stoppable(lambda: signal.raise_signal(signal.SIGTERM))
    assert found.by == "SIGTERM"
    assert handlers() == before


@pytest.mark.parametrize("arguments", [("--version",), ("validate", "absent.yaml"), ("no-verb",)])
def test_a_command_in_this_process_leaves_its_handlers(arguments: tuple[str, ...]) -> None:
    before = handlers()
    run_phigate(*arguments)
    assert handlers() == before


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_while_an_end_is_told_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    from checker.cli import program

    def command(**_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    said = []

    def say(sentence: str) -> None:
        signal.raise_signal(number)  # the second one, as an impatient user sends it
        said.append(sentence)

    monkeypatch.setattr(program.cli, "main", command)
    monkeypatch.setattr(program, "say", say)
    assert run_phigate().code == interruption.EXIT_CODE
    assert len(said) == 1
    assert "stopped by SIGTERM" in said[0]


def test_a_signal_stops_what_hangs_while_it_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from checker.cli import program

    def command(**_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("the second signal stopped nothing")

    monkeypatch.setattr(program.cli, "main", command)
    outcome = run_phigate()
    assert outcome.code == interruption.EXIT_CODE
    assert "stopped by SIGTERM" in outcome.err


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_after_the_verdict_leaves_its_exit_code(number: signal.Signals) -> None:
    # between the command and the end, in functions that were registered, and when modules go
    script = f"""
import atexit, os, sys
import checker.cli, checker.cli.program as program
def send(*_):
    os.kill(os.getpid(), {int(number)})
class Held:
    def __del__(self, send=send):
        send()
sys.held = Held()
atexit.register(send)
program.cli.main = lambda **_: 3
ended = sys.exit
def exit(code):
    send()
    ended(code)
sys.exit = exit
checker.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.parametrize("number", CAUGHT)
def test_a_signal_while_modules_are_imported_stops_the_command(number: signal.Signals) -> None:
    script = f"""
import os, sys
class Sent:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Sent())
sys.argv = ["phigate", "--version"]
import checker.cli
assert "click" not in sys.modules
checker.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (interruption.EXIT_CODE, "")
    assert "run the same command again" in done.stderr


@pytest.mark.parametrize("error", [RuntimeError("from a library"), EvidenceError("of ours")])
def test_an_error_that_a_library_made_of_the_signal_is_one(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from checker.cli import program

    def command(**_: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise error from None

    monkeypatch.setattr(program.cli, "main", command)
    outcome = run_phigate()
    assert outcome.code == interruption.EXIT_CODE
    assert "stopped by SIGTERM" in outcome.err


def test_an_interrupted_file_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise interruption.Stopped

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "evidence.parquet", b"half")
    assert list(tmp_path.iterdir()) == []
