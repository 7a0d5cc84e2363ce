"""What people see on a terminal: the plan as a table, and progress with rate and time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from checker.attacks.families import Power
from checker.ledger import Ledger
from checker.plan import AuditPlan, Cell, ClassSnapshot, Job
from checker.plan.cells import metric_of
from checker.records.prompts import DISTINCT_PROMPTS_NEEDED
from checker.report.wording.measures import probe_words
from checker.report.wording.plain import shorten
from checker.verdict.policy_tests import CaseResult

__all__ = [
    "TerminalProgress",
    "TrainingProgress",
    "print_ledger",
    "print_plan",
    "print_policy_tests",
]

UNDERPOWERED = 0.8
UNMATCHED_SHOWN = 8


def print_plan(plan: AuditPlan, console: Console) -> None:
    """Print who is there to be measured, what cannot pass, and what the audit will cost."""
    console.print(
        f"[bold]{escape(plan.data.name)}[/]: {plan.data.members:,} members,"
        f" {plan.data.nonmembers:,} nonmembers, {plan.data.tokens:,} tokens"
        f" ({plan.data.unknown_share:.2%} of events unknown to the vocabulary"
        + (
            f"; {plan.data.tokens_left_out:,} tokens outside the window)"
            if plan.data.tokens_left_out
            else ")"
        )
    )
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for heading, justify in (
        ("cell", "left"),
        ("metric", "left"),
        ("limit", "right"),
        ("members", "right"),
        ("nonmembers", "right"),
        ("0 hits give", "right"),
        ("can it pass?", "left"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    min_cell = plan.policy.document["spec"]["parameters"]["minCell"]
    for cell in plan.cells:
        limit = cell.limit
        table.add_row(
            escape(cell.id) + ("" if cell.gating else " [dim](reported only)[/]"),
            cell.metric,
            f"{limit.fail:g}" if limit.fail is not None else f"none of {limit.min_n}",
            _counted(cell.sample.members, cell.sample.members_positive),
            _nonmembers(cell),
            f"≤ {cell.power.zero_hit_bound:.3f}" if cell.power.zero_hit_bound is not None else "–",
            prospects(cell, min_cell=min_cell, absent_from=plan.class_absent_from(cell)),
        )
    console.print(table)
    for name, found in plan.classes.items():
        if found.absent_from is not None:
            console.print(f"[bold]class {escape(name)} is not measured[/]: {_absence(found)}")
        elif found.unmatched:
            values = escape(", ".join(found.unmatched[:UNMATCHED_SHOWN]))
            more = len(found.unmatched) - UNMATCHED_SHOWN
            tail = f" and {more} more" if more > 0 else ""
            console.print(f"class {escape(name)}: no code here matches {values}{tail}")
    if plan.data.unexplained_tokens:
        names = escape(", ".join(plan.data.unexplained_tokens[:UNMATCHED_SHOWN]))
        console.print(
            f"[bold]The vocabulary holds tokens that no record becomes and no code explains:[/]"
            f" {names}. If the model was trained with them, describe them under tokenization"
            " (time, values, age, specials)."
        )
    cost = plan.cost
    console.print(
        f"{len(plan.jobs)} jobs: {cost.forward_tokens:,} tokens forward and at most"
        f" {cost.rollout_tokens:,} generated ({cost.forward_tokens_unshared:,} and"
        f" {cost.rollout_tokens_unshared:,} if nothing were shared)."
    )
    if not plan.comparability.can_pass:
        console.print(
            "[bold]The splits are too small to be shown comparable[/], so no excess and no"
            f" membership metric can pass: {_missing(plan.comparability, 'members')}."
        )
    sampling = plan.policy.document["spec"]["parameters"]["sampling"]
    if sampling["sequential"] or sampling["curtailed"]:
        console.print(
            "Fewer are generated where the policy's sampling finds that the rest cannot change what"
            " is decided."
        )
    deciding = [cell for cell in plan.cells if cell.gating and not cell.power.can_pass]
    one_sided = sum(
        not metric_of(cell).can_pass and cell.on_inconclusive == "block" for cell in deciding
    )
    hopeless = sum(metric_of(cell).can_pass and not _is_empty(cell) for cell in deciding)
    if hopeless:
        console.print(
            f"[bold]{_cells(hopeless)} cannot pass with this sample[/], whatever the model."
        )
    if one_sided:
        console.print(
            f"{_cells(one_sided)} can fail and never pass, whatever the sample: another control"
            " must decide, or onInconclusive: warn."
        )


def print_ledger(ledger: Ledger, console: Console) -> None:
    """Print the lines of an attempt ledger; digests are cut to what tells them apart."""
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for heading in ("at", "model", "policy", "attempt", "", "evidence", "line"):
        table.add_column(heading)
    for line in ledger.lines:
        entry = line.entry
        model = f"{entry.target} {entry.target_version} ({entry.model_sha256[:12]})"
        shown = (
            (entry.at, 40),
            (model, 80),
            (f"{entry.policy} {entry.policy_version}", 60),
            (entry.attempt, 8),
            (entry.verdict or "registered", 20),
            (entry.evidence_sha256[:12], 20),
            (line.sha256[:12], 20),
        )
        table.add_row(*(escape(shorten(text, length)) for text, length in shown))
    console.print(table)


def print_policy_tests(results: Sequence[CaseResult], console: Console) -> None:
    """Print what became of each case, and why where it is not what was expected."""
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for heading in ("test", "case", "cell", "expected", "got", ""):
        table.add_column(heading)
    for result in results:
        for place, check in enumerate(result.checks):
            table.add_row(
                escape(result.test) if place == 0 else "",
                escape(result.case) if place == 0 else "",
                escape(check.what),
                escape(check.expected),
                escape(check.got),
                "[green]✓[/]" if check.holds else "[bold red]✗[/]",
            )
    if results:
        console.print(table)
    failing = [result for result in results if not result.holds]
    for result in failing:
        console.print(
            f"[bold red]✗[/] {escape(f'{result.file}:{result.line}')}: {escape(result.case)}"
        )
        for check in result.checks:
            if not check.holds:
                text = f"{check.what}: expected {check.expected}, got {check.got}."
                console.print(f"  {escape(text)} {escape(check.explanation)}")
    console.print(
        f"{len(results)} cases, {len(failing)} not as expected"
        + (f"; policy {escape(', '.join(sorted({r.policy for r in results})))}" if results else "")
    )


def _cells(count: int) -> str:
    return f"{count} deciding cell{'s' if count > 1 else ''}"


def _is_empty(cell: Cell) -> bool:
    """Whether nobody belongs to a cell's subgroup, so that it will not be applicable."""
    return cell.subgroup != "all" and cell.sample.subgroup_members == 0


def _nonmembers(cell: Cell) -> str:
    """Say how many nonmembers are compared; "–" where the attack asks none."""
    if not probe_words(cell.probe).asks_nonmembers:
        return "–"
    return _counted(cell.sample.nonmembers, cell.sample.nonmembers_positive)


def _counted(eligible: int, positive: int | None) -> str:
    return f"{eligible:,}" if positive is None else f"{eligible:,} of {positive:,}"


def _missing(power: Power, members: str, nonmembers: str = "nonmembers") -> str:
    """Say how much more it would take; empty when no number would do."""
    parts = []
    if power.needed_more:
        parts.append(f"{power.needed_more:,} more {members}")
    if power.needed_more_nonmembers:
        parts.append(f"{power.needed_more_nonmembers:,} more {nonmembers}")
    if power.needed_more_rollouts:
        parts.append(f"{power.needed_more_rollouts:,} more continuations (samples)")
    return f"needs {' and '.join(parts)}" if parts else ""


def _absence(found: ClassSnapshot) -> str:
    """Say where nothing stands for a class, what follows, and what to check."""
    if found.absent_from == "data":
        return (
            "no code of this data set stands for it, so its cells end inconclusive. If patients"
            " here have it, check how its codes are spelled, and the target's codeSystems."
        )
    return (
        "no token of the model stands for it, so its cells end inconclusive. Check the vocabulary"
        " and the target's tokenization."
    )


def prospects(
    cell: Cell, *, min_cell: int, absent_from: Literal["data", "vocabulary"] | None = None
) -> str:
    """Say in a few words what a cell's sample can decide.

    Args:
        cell: of the plan.
        min_cell: fewest patients of a subgroup that is judged and shown.
        absent_from: where nothing stands for its class.
    """
    if absent_from is not None:
        return f"not tested: class not in the {absent_from}"
    if cell.missing_capability is not None:
        return f"not tested: the target gives no {cell.missing_capability}"
    if _is_empty(cell):
        return "not applicable: nobody belongs to it"
    if not metric_of(cell).can_pass:
        return "cannot pass, can only fail"
    power, sample = cell.power, cell.sample
    fewest = min(sample.members, sample.nonmembers)
    if cell.subgroup != "all" and metric_of(cell).rests_on_split and fewest < min_cell:
        return f"neither judged nor shown: below minCell {min_cell}"
    if not power.can_pass:
        missing = _missing(power, *_who(cell))
        share = sample.distinct_prompt_share
        if not missing and share is not None and share < DISTINCT_PROMPTS_NEEDED:
            missing = f"only {share:.0%} of the prompts are distinct"
        return f"cannot pass, {missing}" if missing else "cannot pass"
    if power.pass_probability is None:
        return "yes"
    word = "underpowered" if power.pass_probability < UNDERPOWERED else "yes"
    # of a mean, and of two models, the plan has to assume what varies most (`stats.power`)
    varies_most = metric_of(cell).family.varies_less_than_planned
    chance = f"{'at least ' if varies_most else ''}{power.pass_probability:.0%}"
    return f"{word}: {chance} if nothing leaks"


def _who(cell: Cell) -> tuple[str, str]:
    """Name whom a cell may need more of, inside and outside the training data."""
    if cell.attribute_class:
        return "positives", "nonmembers"
    return probe_words(cell.probe).counted


class TerminalProgress:
    """Progress bars on standard error; silent where there is no terminal to draw on."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
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
        self.console.print(f"{len(jobs)} jobs to run{note}; at most {tokens:,} tokens")
        self.total = self.bars.add_task("tokens", total=max(tokens, 1), rate="")

    def job(self, job: Job) -> Callable[[int], None]:
        """Begin a job; others may be under way."""
        self.at_work[job.digest] = job
        self._describe()
        return partial(self._advance, job)

    def _advance(self, job: Job, tokens: int) -> None:
        assert self.total is not None
        self.done_in[job.digest] += tokens
        task = self.bars.tasks[self.total]
        rate = f"{task.speed:,.0f} tokens/s" if task.speed else ""
        self.bars.update(self.total, advance=tokens, rate=rate)

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
            self.bars.update(self.total, description=escape(first.title + more))


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
