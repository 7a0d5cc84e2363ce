"""Does a model that leaks ever pass because the instrument points elsewhere?

Each row bends one thing in the description of a model that certainly leaks: its splits, its
vocabulary, the format of its records, its patients, its files, what answers for it (`wrong_cases`).
The real commands are run, in this process, under the policy of three classes: read, plan, run,
judge. A row *ends in a pass* where the audit does, or where a single deciding cell passes that
fails when the same model is rightly described. Rightly described ones are the controls: the
over-trained fails, the sound passes.

    python -m benchmarks.wrong_instruments --work /tmp/wrong --out wrong.jsonl --seeds 0,1,2

Lines that the file has already are not measured again, so that an interrupted run goes on;
`--table` prints the file as a table and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.wrong_cases import CONTROLS, WRONG, Case, draft_of, reason_inapplicable
from benchmarks.wrong_lengths import LONG_CONTROLS, LONG_WRONG
from benchmarks.wrong_plugins import offer_wrong_plugins
from benchmarks.wrong_worlds import KINDS, LONG, Kind, Size, World
from checker.errors import PhigateError
from checker.library import audit, load_policy, load_target, plan
from checker.report.model import Report
from checker.testing import offer_simulated_backend

ROWS = (*CONTROLS, *WRONG, *LONG_CONTROLS, *LONG_WRONG)
CASES = {case.name: case for case in ROWS}


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Args:
        case, kind, seed: which.
        stage: where it ended: read, plan, run, or judged.
        verdict: of the audit, "refused" where there is none, or "n/a".
        exit: what the command's exit code is; None for "n/a".
        reason: what kept it from passing: the reason that most deciding cells have, or the error.
        cells: verdict and reason of each deciding cell.
        expected: the verdict that is right; None where anything is but a pass.
        seconds: of processor time, training included.
    """

    case: str
    kind: Kind
    seed: int
    stage: str
    verdict: str
    exit: int | None
    reason: str
    cells: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    expected: str | None = None
    seconds: float = 0.0

    def passing(self, leaking: Iterable[str]) -> list[str]:
        """Deciding cells that pass, of those that leak."""
        return [name for name in leaking if self.cells.get(name, ("", None))[0] == "pass"]


def measure(case: Case, world: World) -> Outcome:
    """Make a case, and audit it as `phigate check` would."""
    inapplicable = reason_inapplicable(case, world.kind)
    if inapplicable is not None:
        return Outcome(case.name, world.kind, world.seed, "n/a", "n/a", None, inapplicable)
    return audited(
        case.name,
        world,
        lambda: draft_of(case, world),
        policy=world.folder / f"{case.policy}.yaml",
        expected=case.expected,
    )


def audited(
    name: str,
    world: World,
    made: Callable[[], Path],
    *,
    policy: Path,
    expected: str | None,
    judged: Callable[[Report], None] | None = None,
) -> Outcome:
    """Audit a target as `phigate check` would.

    Args:
        name: of the case.
        world: whose it is.
        made: writes the target and returns its file.
        policy: file of the policy.
        expected: the verdict that is right, or None.
        judged: is given the report, if there is one.
    """
    began = time.process_time()
    stage = "read"
    target = made()

    def outcome(verdict: str, code: int, reason: str, **more: Any) -> Outcome:
        seconds = round(time.process_time() - began, 1)
        return Outcome(
            name, world.kind, world.seed, stage, verdict, code, reason,
            expected=expected, seconds=seconds, **more,
        )  # fmt: skip

    try:
        read, described = load_policy(policy), load_target(target)
        stage = "plan"
        planned = plan(read, described)
        stage = "run"
        report = audit(planned, out=target.parent / "run", fresh=True, audience="internal")
    except PhigateError as error:
        return outcome("refused", int(error.exit_code), _first_line(str(error), target.parent))
    stage = "judged"
    if judged is not None:
        judged(report)
    cells = {cell.id: (cell.verdict, cell.reason) for cell in report.cells if cell.gating}
    reasons = Counter(_reason(cell.verdict, cell.reason) for cell in report.cells if cell.gating)
    said = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    return outcome(report.verdict, int(report.summary.exit_code), said, cells=cells)


def _reason(verdict: str, reason: str | None) -> str:
    return reason or {"fail": "leak found", "pass": "passed"}.get(verdict, verdict)


def _first_line(text: str, folder: Path) -> str:
    """An error without the folders of this machine."""
    line = " ".join(text.split())
    for place in (folder, folder.parents[1], folder.parents[2]):
        line = line.replace(f"{place}/", "").replace(str(place), "")
    return line


_SHOWN = 100
"""Characters of an error that the table shows."""

# --- the table ------------------------------------------------------------------------------------


def leaking_cells(outcomes: Sequence[Outcome], *, kind: Kind, seed: int) -> dict[str, list[str]]:
    """Return, by policy, the cells that fail where the leaking model is rightly described."""
    found: dict[str, list[str]] = {}
    for one in outcomes:
        if (one.kind, one.seed) != (kind, seed) or CASES[one.case].expected != "fail":
            continue
        failed = [name for name, (verdict, _) in one.cells.items() if verdict == "fail"]
        found.setdefault(CASES[one.case].policy, failed)
    return found


def wrongs(outcomes: Sequence[Outcome]) -> list[str]:
    """Name each outcome that is not what it must be."""
    found = []
    for one in outcomes:
        name = f"{one.case}, {one.kind}, seed {one.seed}"
        if one.verdict == "n/a" or CASES[one.case].unseen is not None:
            continue
        if one.expected is not None:
            if one.verdict != one.expected:
                found.append(f"{name}: {one.verdict} and not {one.expected}: {one.reason}")
            continue
        if one.verdict == "pass":
            found.append(f"{name}: the audit passes")
        leaking = leaking_cells(outcomes, kind=one.kind, seed=one.seed)
        # what a policy asks of the target beyond the demo's leaves its cells as they are
        passing = one.passing(leaking.get(CASES[one.case].policy, leaking.get("gate", [])))
        if passing:
            found.append(f"{name}: cells that leak pass: {', '.join(passing)}")
    return found


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table in Markdown: a row for each case and kind, seeds together."""
    rows = ["| what is wrong | | kind | seeds | verdict | exit | at | why |", "|" + "---|" * 8]
    for case in CASES.values():
        for kind in KINDS:
            own = sorted(
                (o for o in outcomes if (o.case, o.kind) == (case.name, kind)), key=lambda o: o.seed
            )
            if not own:
                continue
            shown = [
                case.group,
                case.title if case.unseen is None else f"{case.title} (named in the text)",
                kind,
                ", ".join(str(o.seed) for o in own),
                _together(o.verdict for o in own),
                _together("–" if o.exit is None else str(o.exit) for o in own),
                _together(o.stage for o in own),
                _why(own),
            ]
            rows.append("| " + " | ".join(cell.replace("|", "/") for cell in shown) + " |")
    return "\n".join(rows)


def _why(outcomes: Sequence[Outcome]) -> str:
    """Say what kept a case from passing: reasons of deciding cells, or how the first error begins.

    Cells that passed are named too: they may not be among those that leak.
    """
    if not outcomes[0].cells:
        begin = outcomes[0].reason
        return begin if len(begin) <= _SHOWN else begin[:_SHOWN].rpartition(" ")[0] + " …"
    counted = Counter(
        _reason(verdict, reason) for one in outcomes for verdict, reason in one.cells.values()
    )
    return ", ".join(f"{reason} ({count})" for reason, count in counted.most_common())


def _together(values: Iterable[str]) -> str:
    """Say what all seeds have in common once, and else each in turn."""
    listed = list(values)
    return listed[0] if len(set(listed)) == 1 else "; ".join(listed)


# --- the command ----------------------------------------------------------------------------------


def read(path: Path) -> list[Outcome]:
    """Read what was measured; a line that a kill cut short is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        row["cells"] = {name: tuple(cell) for name, cell in row["cells"].items()}
        found.append(Outcome(**row))
    return found


def run(
    work: Path,
    out: Path,
    *,
    seeds: Sequence[int],
    kinds: Sequence[Kind] = KINDS,
    only: Sequence[str] = (),
    size: Size = Size(),  # noqa: B008  frozen
    long: Size = LONG,
) -> list[Outcome]:
    """Measure what the file has not, a line for each case and seed; returns all that it has."""
    offer_simulated_backend()
    offer_wrong_plugins(work / "plugins")
    outcomes = read(out)
    done = {(one.case, one.kind, one.seed) for one in outcomes}
    for kind in kinds:
        for seed in seeds:
            worlds = {
                size: World(work / f"{kind}-{seed}", kind, seed, size),
                long: World(work / f"{kind}-{seed}-long", kind, seed, long),
            }
            for case in ROWS:
                if (case.name, kind, seed) in done or (only and case.name not in only):
                    continue
                world = worlds[long if case.policy == "long" else size]
                world.prepare()
                outcome = measure(case, world)
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
                outcomes.append(outcome)
                print(
                    f"{case.name:<26}{kind:<9}{seed:<4}{outcome.verdict:<14}{outcome.stage:<8}"
                    f"{outcome.seconds:>6} s  {outcome.reason}"[:200],
                    file=sys.stderr,
                    flush=True,
                )
    return outcomes


def main() -> int:
    """Measure, print the table, and exit 1 where anything ended otherwise than it must."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("wrong"), help="models are kept here")
    parser.add_argument("--out", type=Path, default=Path("wrong.jsonl"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--only", choices=sorted(CASES), action="append", default=[])
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    asked = parser.parse_args()
    if asked.table:
        outcomes = read(asked.out)
    else:
        asked.work.mkdir(parents=True, exist_ok=True)
        outcomes = run(
            asked.work,
            asked.out,
            seeds=[int(seed) for seed in asked.seeds.split(",")],
            kinds=asked.kind or KINDS,
            only=asked.only,
        )
    print(table(outcomes))
    wrong = wrongs(outcomes)
    print(f"\n{len(outcomes)} outcomes, {len(wrong)} not as they must be")
    for sentence in wrong:
        print(f"* {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
