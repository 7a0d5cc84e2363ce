"""Signals that ask a command to stop: each ends it like Ctrl-C, with what is finished kept.

A scheduler stops a job with SIGTERM, a terminal that closes with SIGHUP; both would end the process
where it stands, in the middle of a file and without a word. Here they raise `KeyboardInterrupt`,
so that files are left whole, workers are closed and the user is told how to go on. What was to be
ignored stays ignored (`nohup`). SIGKILL can be caught by nobody; a run survives it because files
appear whole or not at all.

Once the command has ended, a signal stops nothing any more: the verdict is out, and its exit code
is what a pipeline has to get, however long the interpreter takes to end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

EXIT_CODE = 130
"""As shells say it of Ctrl-C, whichever signal it was."""

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A command was asked to stop.

    Not the class itself: where that one passes through code made from text (`exec`, as dataclasses
    are), Python remembers it and kills its own process with SIGINT at the end, handled or not.
    """


@dataclass(slots=True)
class Interruption:
    """Whether a command was asked to stop.

    Args:
        by: name of the first signal, or None. It is kept apart from the exception, which a library
            may have turned into one of its own.
    """

    by: str | None = None

    @property
    def sentence(self) -> str:
        """What the user is told."""
        how = "interrupted" if self.by in (None, "SIGINT") else f"stopped by {self.by}"
        return (
            f"{how}; jobs that were finished are kept: run the same command again, and an audit"
            " goes on from there"
        )

    def stoppable(self, command: Callable[[], T]) -> T:
        """Run a command, which signals stop by raising `Stopped` in it.

        Outside of this call they are noted and raise nothing: whoever says what went wrong, or
        hands on a verdict, is not to end in a traceback.
        """
        if self.by is not None:  # while modules were imported
            raise Stopped
        return command()


@contextmanager
def interruptible(*, to_the_end: bool = False) -> Iterator[Interruption]:
    """Let signals that ask to stop raise `KeyboardInterrupt` in what is run `stoppable`.

    Args:
        to_the_end: the process ends next, so what it would end by is ignored from then on. Without
            it handlers are put back. Only `SIG_IGN` lasts through the end of an interpreter, which
            puts the default in the place of any handler and goes on for a while.
    """
    interruption = Interruption()

    def stop(number: int, frame: FrameType | None) -> None:
        interruption.by = interruption.by or signal.Signals(number).name
        # by the stack and not by a flag, which a second signal could come before
        while frame is not None:
            if frame.f_code is Interruption.stoppable.__code__:
                raise Stopped
            frame = frame.f_back

    before = {}
    if threading.current_thread() is threading.main_thread():  # elsewhere nobody may set them
        for number in _SIGNALS:
            # None: somebody else's, not set from Python
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, stop)
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if to_the_end else handler)
