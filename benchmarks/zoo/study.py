"""Audits the entries under the shipped policies, and writes what came of it as a page."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks import deciding_alone
from benchmarks.zoo.entries import ENTRIES, POLICIES, Entry
from benchmarks.zoo.keeping import Zoo
from checker import stats
from checker.errors import PhigateError
from checker.library import Policy, audit, load_policy, load_target, plan
from checker.report.model import CellReport, Report
from checker.resources import resource
from checker.run.stored import load_run

COLUMNS: Final = ("demo", "public", "gated", "internal")
"""In the order in which policies are asked."""

Cell = tuple[str, str | None, float | None, float | None, float | None, float | None]
"""Verdict, reason, estimate with its bounds, and limit of a deciding cell."""


@dataclass(frozen=True)
class Outcome:
    """What a policy says of an entry.

    Args:
        entry, seed, policy: which.
        verdict: of the audit, or "refused".
        reason: of a refusal.
        cells: those that decide.
        oracle: AUROC of the best attack there is, where the model is a table.
        seconds: of processor time, the model's making included with the first policy.
    """

    entry: str
    seed: int
    policy: str
    verdict: str
    reason: str = ""
    cells: dict[str, Cell] = field(default_factory=dict)
    oracle: float | None = None
    seconds: float = 0.0

    @property
    def known(self) -> Entry:
        """The entry itself."""
        return ENTRIES[self.entry]

    @property
    def is_wrong(self) -> bool:
        """Whether a leak is released, or a sound model is said to leak."""
        return self.verdict == ("pass" if self.known.leaks else "fail")


def policy_of(column: str, folder: Path) -> Policy:
    """Return a shipped policy by the name of its column, without what it only shows.

    A copy of it is kept in a folder.
    """
    path = folder / f"{column}.yaml"
    if not path.exists():
        name = POLICIES[column]
        shipped = load_policy(name if "@" in name else resource(f"policies/{name}.yaml"))
        document = deciding_alone(shipped)
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load_policy(path)


def measure(entry: Entry, zoo: Zoo, columns: Sequence[str] = COLUMNS) -> list[Outcome]:
    """Make an entry's model and say what each of some policies says of it.

    Each is an audit of its own. The other baselines come behind the strictest, and ask the model
    only what that did not: how many models beside the score is learned with.
    """
    folder = zoo.folder / "entries" / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    clock = _Clock()
    target = folder / "target.yaml"
    target.write_text(yaml.safe_dump(_document(entry, zoo), sort_keys=False))
    oracle = None if entry.know is None else round(zoo.oracle_auroc(entry.know), 4)
    found = []
    for column in columns:
        try:
            report = _report(column, target, folder)
        except PhigateError as error:
            line = " ".join(str(error).split()).replace(str(folder), "…")
            found.append(Outcome(entry.name, zoo.seed, column, "refused", line[:200], {}, oracle))
            continue
        cells = {cell.id: _cell(cell) for cell in report.cells if cell.gating}
        found.append(
            Outcome(
                entry.name, zoo.seed, column, report.verdict, "", cells, oracle, clock.seconds()
            )
        )
    return found


def _document(entry: Entry, zoo: Zoo) -> dict[str, Any]:
    if entry.know is not None:
        name = zoo.write_tables(f"zoo-{entry.name}", entry.know)
    else:
        from benchmarks.zoo.training import train_entry  # torch only where a model is trained

        name = train_entry(entry, zoo)
    document = replace(zoo, kind="table" if entry.know is not None else "trained").target(name)
    document["spec"]["expect"] = {"tokens": "../../sample.parquet"}
    if entry.bend is not None:
        entry.bend(document)
    return document


def _report(column: str, target: Path, folder: Path) -> Report:
    planned = plan(policy_of(column, folder.parent), load_target(target))
    out, shelf = folder / column, folder.parent / f"{column}-shelf"
    forget_other_plan(out, planned.plan.to_bytes())
    behind = column in ("gated", "internal")
    if behind and not out.exists():
        if not (folder / "public").exists():
            _report("public", target, folder)
        _hand_on(folder / "public", out)
    elif not out.exists() and shelf.exists():
        shutil.copytree(shelf, out)
    report = audit(planned, out=out)
    if not behind and not shelf.exists():
        _hand_on(out, shelf, {job.digest for job in planned.plan.jobs if not job.depends_on_model})
    return report


def forget_other_plan(out: Path, own: bytes) -> None:
    """Remove a kept run of another plan: patients, policy or phigate have changed since."""
    kept = out / "plan.json"
    if kept.exists() and kept.read_bytes() != own:
        shutil.rmtree(out)


def _hand_on(run: Path, to: Path, jobs: Container[str] | None = None) -> None:
    """Keep what was measured for another run; of some jobs alone, where they are given.

    What no model was asked for need not be measured anew for other entries of these patients, and
    what the strictest baseline asks of a model not for the others: every run finds finished what
    its folder holds under the key of one of its jobs.
    """
    making = to.with_name(f"making-{to.name}")
    shutil.rmtree(making, ignore_errors=True)
    (making / "evidence").mkdir(parents=True)
    for entry in load_run(run).manifest.entries:
        if jobs is None or entry.job in jobs:
            shutil.copy(run / entry.file, making / entry.file)
    for name in ("pseudonym.key", "run.json"):
        shutil.copy(run / name, making / name)
    making.replace(to)


def _cell(cell: CellReport) -> Cell:
    one = cell.estimate
    if one is None:
        return cell.verdict, cell.reason, None, None, None, cell.limit.fail
    value, low, high = (
        None if number is None else round(float(number), 4)
        for number in (one.value, one.low, one.high)
    )
    return cell.verdict, cell.reason, value, low, high, cell.limit.fail


class _Clock:
    """Processor seconds since it was last asked."""

    def __init__(self) -> None:
        self._last = time.process_time()

    def seconds(self) -> float:
        now = time.process_time()
        self._last, took = now, now - self._last
        return round(took, 1)


# --- the file -------------------------------------------------------------------------------------


def read(path: Path) -> list[Outcome]:
    """Read what was measured; a line that a kill cut short is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        row["cells"] = {name: tuple(cell) for name, cell in row["cells"].items()}
        if row["entry"] in ENTRIES:
            found.append(Outcome(**row))
    return found


def run(
    zoo: Zoo,
    out: Path,
    *,
    entries: Iterable[Entry],
    columns: Sequence[str] = COLUMNS,
    say: Any = print,
) -> list[Outcome]:
    """Measure what the file has not of some entries and policies, and return all that it has."""
    outcomes = read(out)
    done = {(one.entry, one.seed, one.policy) for one in outcomes}
    for entry in entries:
        left = [one for one in columns if (entry.name, zoo.seed, one) not in done]
        if not left:
            continue
        zoo.prepare()
        found = measure(entry, zoo, left)
        with out.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(one)) + "\n" for one in found)
        outcomes += found
        say(f"{entry.name:28}" + "".join(f"{one.policy} {one.verdict:14}" for one in found)
            + f"{sum(one.seconds for one in found):5.1f} s")  # fmt: skip
    return outcomes


# --- the page -------------------------------------------------------------------------------------

_CONFIDENCE: Final = 0.975  # of each bound


def page(outcomes: Sequence[Outcome]) -> str:
    """Return the table and its sums in Markdown."""
    columns = list(POLICIES)
    lines = [
        "| model | why | right | the best attack | " + " | ".join(columns) + " |",
        "|" + "---|" * (4 + len(columns)),
    ]
    for entry in ENTRIES.values():
        own = [one for one in outcomes if one.entry == entry.name]
        if not own:
            continue
        said = [[one for one in own if one.policy == column] for column in columns]
        oracle = own[0].oracle
        shown = "–" if oracle is None else f"{oracle:.2f}"
        lines.append(
            f"| {entry.title} | {entry.why} | {entry.right} | {shown} | "
            + " | ".join(_said(of_policy) for of_policy in said)
            + " |"
        )
    return "\n".join(lines)


def _said(outcomes: Sequence[Outcome]) -> str:
    """What a policy said, of how many seeds if several, and the cell that shows it best."""
    if not outcomes:
        return "–"
    counted = Counter(one.verdict for one in outcomes).most_common()
    verdicts = ", ".join(
        verdict if len(outcomes) == 1 else f"{verdict} ({count})" for verdict, count in counted
    )
    return verdicts + _because(next(one for one in outcomes if one.verdict == counted[0][0]))


def _because(one: Outcome) -> str:
    if one.verdict == "refused":
        return f": {one.reason}"
    if one.verdict == "fail" and one.cells:
        failed = [(name, c) for name, c in one.cells.items() if c[0] == "fail"]
        name, cell = max(failed, key=lambda item: (item[1][3] or 0.0) / (item[1][5] or 1.0))
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        return f": {name.split('/')[0]} {_interval(cell)}{more}"
    if one.verdict == "inconclusive":
        reasons = Counter(cell[1] for cell in one.cells.values() if cell[0] == "inconclusive")
        return ": " + ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(2))
    return ""


def _interval(cell: Cell) -> str:
    value, low, high, limit = cell[2:]
    if value is None or low is None or high is None:
        return ""
    digits = 0 if high > 1.5 else 2 if value > 0.005 else 4
    allowed = "none" if limit is None else f"{limit:g}"  # of nobody
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}), limit {allowed}"


def sums(outcomes: Sequence[Outcome]) -> str:
    """Say how many were judged as they should be, by policy, with exact intervals of 95 %."""
    lines = [
        "| policy | leaks released | leaks found | sound released | sound said to leak |",
        "|---|---|---|---|---|",
    ]
    for column in POLICIES:
        own = [one for one in outcomes if one.policy == column]
        leaking = [one for one in own if one.known.leaks]
        clear = [one for one in leaking if one.known.right == "fail"]
        sound = [one for one in own if not one.known.leaks]
        counts = [
            share_of([one.verdict == "pass" for one in leaking]),
            share_of([one.verdict == "fail" for one in clear]),
            share_of([one.verdict == "pass" for one in sound]),
            share_of([one.verdict == "fail" for one in sound]),
        ]
        lines.append(f"| {column} | " + " | ".join(counts) + " |")
    return "\n".join(lines)


def share_of(hits: Sequence[bool]) -> str:
    if not hits:
        return "–"
    found = stats.rate(sum(hits), len(hits), confidence=_CONFIDENCE)
    return f"{sum(hits)} of {len(hits)} ({found.low:.0%} to {found.high:.0%})"


def wrongs(outcomes: Iterable[Outcome]) -> list[str]:
    """Name each outcome that must not be."""
    return [
        f"{one.entry}, seed {one.seed}: {one.policy} says {one.verdict}"
        for one in outcomes
        if one.is_wrong
    ]


_MARKS: Final = ("<!-- what was measured -->", "<!-- end -->")


def write_page(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Put both tables between the page's marks."""
    write_between(path, _MARKS, f"{sums(outcomes)}\n\n{page(outcomes)}")


def write_between(path: Path, marks: tuple[str, str], shown: str) -> None:
    """Put text between two marks of a page, in place of what stands there."""
    begin, end = marks
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n\n{shown}\n\n{end}{after}", encoding="utf-8")
