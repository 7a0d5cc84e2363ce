"""Progress on standard error: bars with rate and time left; silent where there is no terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

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

from checker.cli.console import told
from checker.cli.rounded_plan import magnitude
from checker.planning import Job


class _Rate(ProgressColumn):
    """Tokens a second, worked out when the bar is drawn: rich looks at all recent steps for it."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing before there is one."""
        return Text(f"{task.speed:,.0f} tokens/s" if task.speed else "")


class TerminalProgress:
    """Progress bars on standard error; silent where there is no terminal to draw on."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.total: TaskID | None = None
        self.at_work: dict[str, Job] = {}
        self.done_in: Counter[str] = Counter()

    def __enter__(self) -> TerminalProgress:
        """Begin to draw."""
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing."""
        self.bars.stop()

    def start(self, jobs: list[Job], *, reused: int) -> None:
        """Tell what is left."""
        tokens = sum(job.forward_tokens + job.rollout_tokens for job in jobs)
        note = f", {reused} found finished" if reused else ""
        # logs are read by many: an exact number of tokens says how many patients are asked
        self.console.print(f"{len(jobs)} jobs to run{note}; about {magnitude(tokens):,} tokens")
        self.total = self.bars.add_task("tokens", total=max(tokens, 1))

    def job(self, job: Job) -> Callable[[int], None]:
        """Begin a job; others may be under way."""
        self.at_work[job.digest] = job
        self._describe()
        return partial(self._advance, job)

    def _advance(self, job: Job, tokens: int) -> None:
        assert self.total is not None
        self.done_in[job.digest] += tokens
        self.bars.advance(self.total, tokens)

    def done(self, job: Job) -> None:
        """Finish a job: rollouts that ended early leave tokens that need no work."""
        assert self.total is not None
        rest = job.forward_tokens + job.rollout_tokens - self.done_in.pop(job.digest, 0)
        self.bars.update(self.total, advance=max(rest, 0))
        if self.at_work.pop(job.digest, None) is not None:
            self._describe()

    def _describe(self) -> None:
        """Name the job that has been under way longest, and say how many others are."""
        assert self.total is not None
        if self.at_work:
            first, *others = self.at_work.values()
            more = f" (and {len(others)} more)" if others else ""
            self.bars.update(self.total, description=told(first.title + more))


class TrainingProgress:
    """One line that counts epochs, on standard error."""

    def __init__(self, console: Console) -> None:
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.line: TaskID | None = None

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
