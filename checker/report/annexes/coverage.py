"""Which kinds of attack were run, how strongly and with which result; which were not, and why.

Passed tests speak for the attacks that were tried. So the kinds that guidance names are listed
whether or not anything of them was run, and what was asked for and left undecided is not counted as
run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from checker.report.annexes.questions import SEEN, AttackKind, attack_kinds
from checker.report.index import ReportIndex
from checker.report.matrix import worst_first
from checker.report.model import CellReport, Report
from checker.report.wording.cells import reason_of
from checker.report.wording.findings import found_words
from checker.report.wording.measures import probe_words
from checker.report.wording.numbers import grouped
from checker.report.wording.plain import shorten
from checker.report.wording.terms import ACCESS, CANNOT_PASS, CONTEXTS, VERDICT_WORDS

_SHOWN = 6
_TITLE = 120


@dataclass(frozen=True, slots=True)
class Covered:
    """What became of a kind of attack.

    Args:
        id: of the kind.
        title: of it.
        meaning: what is done.
        named: where it is named; None where that was not seen.
        standing: "run", "asked for, not decided" or "not run".
        strength: who attacked whom, how often; sentences.
        result: what came of it, or why there is nothing; sentences.
    """

    id: str
    title: str
    meaning: str
    named: str | None
    standing: str
    strength: tuple[str, ...]
    result: tuple[str, ...]

    @property
    def words(self) -> str:
        """What came of it, in a paragraph."""
        return f"{self.title}: {self.standing}. {' '.join(self.result)}"


def coverage(report: Report) -> tuple[Covered, ...]:
    """Return every kind of attack with what became of it; attacks of no kind come last."""
    kinds = attack_kinds()
    found = [
        _covered(report, kind, [cell for cell in report.cells if kind.has(cell.probe, cell.metric)])
        for kind in kinds
    ]
    others = [
        cell
        for cell in report.cells
        if not any(kind.has(cell.probe, cell.metric) for kind in kinds)
    ]
    if others:
        titles = dict.fromkeys(shorten(probe_words(cell.probe).title, _TITLE) for cell in others)
        kind = AttackKind(
            id="others",
            title="Other attacks",
            meaning=f"Tests of no kind that is named here: {', '.join(titles)}.",
        )
        found.append(_covered(report, kind, others))
    return tuple(found)


def was_run(cell: CellReport) -> bool:
    """Whether a test gave a result: a verdict on the model, or a number without one."""
    return cell.verdict in {"pass", "fail"} or cell.estimate is not None


def _covered(report: Report, kind: AttackKind, cells: list[CellReport]) -> Covered:
    ran = [cell for cell in cells if was_run(cell)]
    return Covered(
        id=kind.id,
        title=kind.title,
        meaning=kind.meaning,
        named=_named(kind),
        standing="run" if ran else "asked for, not decided" if cells else "not run",
        strength=tuple(_strength(report, cells)) if cells else (),
        result=tuple(_result(report, kind, cells, ran)),
    )


def _named(kind: AttackKind) -> str | None:
    return kind.named.place if kind.named is not None and kind.named.known in SEEN else None


def _strength(report: Report, cells: list[CellReport]) -> list[str]:
    deciding = sum(cell.gating for cell in cells)
    tests = f"{grouped(len(cells))} test{'s' if len(cells) > 1 else ''}"
    titles = list(dict.fromkeys(shorten(probe_words(cell.probe).title, _TITLE) for cell in cells))
    said = [f"{tests}, deciding: {grouped(deciding)}. {', '.join(titles)}."]
    asked = {cell.attacker for cell in cells}
    attackers = [
        f"{shorten(one.title, _TITLE)} ({shorten(ACCESS.get(one.access, one.access))})"
        for one in report.policy.attackers
        if one.id in asked
    ]
    if attackers:
        said.append(f"Attackers: {_listed(attackers)}.")
    classes = list(
        dict.fromkeys(
            ReportIndex.of(report).class_of(cell) for cell in cells if cell.attribute_class
        )
    )
    if classes:
        said.append(f"About: {_listed([shorten(name, _TITLE) for name in classes])}.")
    return said


def _result(
    report: Report, kind: AttackKind, cells: list[CellReport], ran: list[CellReport]
) -> list[str]:
    said = [_results(report, cells)] if cells else [kind.lacking]
    if ran:
        worst = worst_first(ran)[0]
        said.append(
            f"Worst: {shorten(ReportIndex.of(report).title_of(worst), _TITLE)},"
            f" {shorten(ReportIndex.of(report).attacker_of(worst), _TITLE)}: {found_words(worst)}."
        )
        if all(cell.can_only_fail for cell in cells):
            said.append(f"Such an attack {CANNOT_PASS}.")
    elif cells:
        why = Counter(reason.short for cell in cells if (reason := reason_of(cell)) is not None)
        said += [f"Why: {_listed([shorten(one, _TITLE) for one in why])}."] if why else []
    if kind.partly is not None:
        said += [kind.partly] if cells else []
        context = CONTEXTS.get(report.policy.context, shorten(report.policy.context))
        said.append(
            f"Whoever has the weights can run all such attacks; this report is about {context}."
        )
    return said


def _results(report: Report, cells: list[CellReport]) -> str:
    counts = Counter(cell.verdict for cell in cells)
    return f"{_listed([f'{n} {VERDICT_WORDS[verdict]}' for verdict, n in counts.items()])}."


def _listed(words: list[str]) -> str:
    more = len(words) - _SHOWN
    return "; ".join([*words[:_SHOWN], *([f"and {grouped(more)} more"] if more > 0 else [])])
