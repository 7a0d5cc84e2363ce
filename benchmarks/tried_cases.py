"""Cases tried one after another in a process that is kept, under limits of time and memory.

A case is a question to the library that is to end in an answer or a `PhigateError`. It is asked in
a worker process, so that one that dies takes no other along; the worker goes on with the next case
and is replaced only when it died or had to be killed. Time is limited twice: an alarm raises within
Python, and a worker that sits in native code beyond it is killed from outside.
"""

from __future__ import annotations

import multiprocessing
import os
import resource as limits
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checker.errors import PhigateError

SECONDS = 10
BYTES = 2 * 2**30
GRACE = 10.0
"""Seconds that a worker has to raise, beyond what a case may take, before it is killed."""


class TooLong(BaseException):
    """A case took longer than it may; no handler of errors keeps it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What should not have happened.

    Args:
        kind: of the case.
        case: its number.
        what: the exception or the limit.
        where: last lines of the traceback, innermost last.
        seconds: how long it took.
    """

    kind: str
    case: int
    what: str
    where: str
    seconds: float


Outcome = tuple[str, Fault | None]
"""What came out in a word, and the fault or None."""

Try = Callable[[str, int], Outcome]
"""Tries the case of a kind with a number."""


def ask(kind: str, case: int, question: Callable[[], str], *, seconds: float = SECONDS) -> Outcome:
    """Ask, and say what came out.

    Args:
        kind: of the case.
        case: its number.
        question: returns the outcome in a word, or raises.
        seconds: that it may take.
    """
    before = _resident("VmRSS")
    _forget_peak()
    started = time.monotonic()
    try:
        with alarm(seconds):
            outcome = question()
    except PhigateError as error:
        str(error).encode("utf-8", "replace")
        outcome = type(error).__name__
    except TooLong:
        return "fault", Fault(kind, case, f"over {seconds:g} s", _innermost(), seconds)
    except BaseException as error:
        what = f"{type(error).__name__}: {str(error)[:200]}"
        return "fault", Fault(kind, case, what, _innermost(), time.monotonic() - started)
    took, grown = time.monotonic() - started, _resident("VmHWM") - before
    if grown > BYTES:
        return "fault", Fault(kind, case, f"took {grown / 2**30:.1f} GB", "", took)
    return outcome, None


def try_in_worker(
    attempt: Try, kind: str, cases: range, *, seconds: float = SECONDS
) -> Iterator[Outcome]:
    """Try cases of a kind in a process of their own; one that dies is a fault, and others go on.

    Args:
        attempt: tries one of them.
        kind: of the cases.
        cases: their numbers.
        seconds: that each may take.
    """
    context = multiprocessing.get_context("fork")
    left = cases
    while left:
        results, results_in = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(attempt, kind, left, results_in))
        process.start()
        results_in.close()
        done, why = 0, "the process died"
        try:
            while done < len(left):
                if not results.poll(seconds + GRACE):
                    process.kill()
                    why = f"had to be killed after {seconds + GRACE:g} s"
                    break
                try:
                    yield results.recv()
                except EOFError:
                    break
                done += 1
        finally:
            if done < len(left):  # whoever asked has had enough, or the process is stuck
                process.kill()
            process.join()
            results.close()
        if done == len(left):
            return
        case = left[done]
        yield "fault", Fault(kind, case, f"{why} ({process.exitcode})", "", 0.0)
        left = left[done + 1 :]


def _work(attempt: Try, kind: str, cases: range, results: Any) -> None:
    if not os.environ.get("PHIGATE_DEBUG"):
        _limited()
    for case in cases:
        try:
            outcome = attempt(kind, case)
        except Exception as error:  # whoever tries was to catch all, so this is its own mistake
            what = f"{error}: {type(error.__cause__).__name__}: {error.__cause__}"
            outcome = "fault", Fault(kind, case, what, _innermost(), 0.0)
        results.send(outcome)


def _limited() -> None:
    """Let nothing take much more memory than is taken now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now = pages * os.sysconf("SC_PAGE_SIZE")
    limits.setrlimit(limits.RLIMIT_AS, (now + 2 * BYTES, limits.RLIM_INFINITY))
    devnull = os.open(os.devnull, os.O_WRONLY)  # native libraries write where Python does not look
    os.dup2(devnull, 2)


class alarm:
    """Raise `TooLong` in the main thread when the time is up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        def ring(*_: object) -> None:
            raise TooLong

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _innermost() -> str:
    frames = traceback.extract_tb(sys.exc_info()[2])
    here = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
    return " > ".join(here[-7:])


def _resident(what: str) -> int:
    """Return a number of bytes from the process's status, as Linux keeps it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {what}")


def _forget_peak() -> None:
    """Let the peak of resident memory begin anew, or one large case would hide the next."""
    Path("/proc/self/clear_refs").write_text("5")
