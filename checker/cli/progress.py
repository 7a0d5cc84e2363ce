"""Progress on standard error: bars at a terminal, and elsewhere a line now and then.

A log is read by many, so it gets shares and rounded rates: an exact number of tokens says how many
patients are asked. What is left is told whenever a run begins and whenever it is stopped.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from checker.cli.console import Verbosity, told, verbosity
from checker.cli.rounded_plan import magnitude
from checker.errors import Note
from checker.planning import Job

FIRST_BEAT_S = 10.0
BEAT_S = 60.0
"""Seconds to the first line and between further ones, where there is no terminal to draw on."""


_RANGE = re.compile(r" \d+–\d+")


class _Rate(ProgressColumn):
    """Tokens a second, worked out when the bar is drawn: rich looks at all recent steps for it."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing before there is one."""
        return Text(f"{task.speed:,.0f} tokens/s" if task.speed else "")


class TerminalProgress:
    """Progress of a run on standard error, as much of it as was asked for.

    Args:
        console: where it is shown; bars where it is a terminal, else lines.
        clock: seconds of any origin.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.clock = clock
        self.quiet = verbosity() is Verbosity.QUIET
        self.verbose = verbosity() is Verbosity.VERBOSE
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal or self.quiet,
        )
        self.total: TaskID | None = None
        self.at_work: dict[str, Job] = {}
        self.done_in: Counter[str] = Counter()
        self.begun_at: dict[str, float] = {}
        self.jobs = self.jobs_done = self.reused = self.tokens = self.tokens_done = 0
        self.begun = clock()
        self._ended = threading.Event()
        self._beats: threading.Thread | None = None

    def __enter__(self) -> TerminalProgress:
        """Begin to draw, or to say something now and then."""
        self.bars.start()
        if not self.console.is_terminal and not self.quiet:
            # of its own, for a single job may take long and tell nothing meanwhile
            self._beats = threading.Thread(target=self._beat, daemon=True)
            self._beats.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and let what stopped the run tell how much of it is left."""
        self._ended.set()
        if self._beats is not None:
            self._beats.join()
        self.bars.stop()
        left = self.jobs - self.jobs_done
        if error is not None and left:
            tokens = magnitude(max(self.tokens - self.tokens_done, 0))
            verb = "is" if left == 1 else "are"
            of = self.jobs + self.reused
            error.add_note(Note(f"{left} of {of} jobs {verb} left, about {tokens:,} tokens"))

    def start(self, jobs: list[Job], *, reused: int) -> None:
        """Tell what is left."""
        self.jobs, self.tokens = len(jobs), sum(job.all_tokens for job in jobs)
        self.reused = reused
        self.begun = self.clock()
        note = f", {reused} found finished" if reused else ""
        if not self.quiet:
            shown = f"about {magnitude(self.tokens):,} tokens"
            self.console.print(f"{len(jobs)} jobs to run{note}; {shown}")
        self.total = self.bars.add_task("tokens", total=max(self.tokens, 1))

    def job(self, job: Job) -> Callable[[int], None]:
        """Begin a job; others may be under way."""
        self.at_work[job.digest] = job
        self.begun_at[job.digest] = self.clock()
        self._describe()
        return partial(self._advance, job)

    def _advance(self, job: Job, tokens: int) -> None:
        assert self.total is not None
        # a server that is asked again does some of it twice, and no job is more than whole
        counted = min(tokens, max(job.all_tokens - self.done_in[job.digest], 0))
        self.done_in[job.digest] += counted
        self.tokens_done += counted
        self.bars.advance(self.total, counted)

    def done(self, job: Job) -> None:
        """Finish a job: rollouts that ended early leave tokens that need no work."""
        assert self.total is not None
        rest = max(job.all_tokens - self.done_in.pop(job.digest, 0), 0)
        self.bars.update(self.total, advance=rest)
        self.tokens_done += rest
        self.jobs_done += 1
        begun = self.begun_at.pop(job.digest, None)
        if self.verbose:
            took = "" if begun is None else f" in {span(self.clock() - begun)}"
            self.console.print(
                f"{self.jobs_done} of {self.jobs} jobs: {told(self._title(job))}{took}"
            )
        if self.at_work.pop(job.digest, None) is not None:
            self._describe()

    def _describe(self) -> None:
        """Name the job that has been under way longest, and say how many others are."""
        assert self.total is not None
        if self.at_work:
            self.bars.update(self.total, description=self._at_work())

    def _at_work(self) -> str:
        jobs = list(self.at_work.values())
        if not jobs:  # the last one ended while its line was written
            return ""
        more = f" (and {len(jobs) - 1} more)" if len(jobs) > 1 else ""
        return told(self._title(jobs[0]) + more)

    def _title(self, job: Job) -> str:
        """Return a job's title; in a log without the range of records, which says how many."""
        return job.title if self.console.is_terminal else _RANGE.sub("", job.title)

    def _beat(self) -> None:
        wait = FIRST_BEAT_S
        while not self._ended.wait(wait):
            wait = BEAT_S
            self.console.print(self.line())

    def line(self) -> str:
        """Return how far the run is, with its rate and about how long it will go on."""
        elapsed = self.clock() - self.begun
        if not self.jobs:
            return f"{span(elapsed)}: getting ready"
        parts = [f"{self.jobs_done} of {self.jobs} jobs"]
        if self.tokens:
            parts.append(f"{self.tokens_done / self.tokens:.0%} of the tokens")
        if self.tokens_done and elapsed > 0:
            rate = self.tokens_done / elapsed
            left = max(self.tokens - self.tokens_done, 0) / rate
            parts.append(f"about {magnitude(round(rate)):,} tokens/s")
            parts.append(f"{span(left)} left")
        now = f"; now: {self._at_work()}" if self.at_work else ""
        return f"{span(elapsed)}: {', '.join(parts)}{now}"


def span(seconds: float) -> str:
    """Return a time in words.

    >>> span(42), span(63), span(7384)
    ('42 s', '1 min 3 s', '2 h 3 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class TrainingProgress:
    """Epochs on standard error: one line at a terminal, elsewhere a new one now and then."""

    def __init__(self, console: Console) -> None:
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal or verbosity() is Verbosity.QUIET,
            transient=True,
        )
        self.line: TaskID | None = None
        self.console = console
        self.said_at = time.monotonic()

    def __enter__(self) -> TrainingProgress:
        """Begin to draw."""
        self.bars.start()
        self.line = self.bars.add_task("training", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        self.bars.stop()

    def epoch(self, model: str, number: int, loss: float) -> None:
        """Tell of an epoch."""
        assert self.line is not None
        text = f"{model}: epoch {number}, loss {loss:.2f} nats a token"
        self.bars.update(self.line, description=text)
        if self.bars.disable and verbosity() is not Verbosity.QUIET:
            now = time.monotonic()
            if now - self.said_at >= FIRST_BEAT_S:
                self.said_at = now
                self.console.print(text)
