"""Whether a model got worse: what a pipeline stops at when it compares two reports.

Only what decides is looked at, in either report. Worse is a difference that is shown, a verdict
that was better before, a bound more times beyond its limit, and whatever would be an easier way to
get better than a better model: a test that is no longer asked, no longer decides, is asked another
way, may leak more, is waived, or needs less certainty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from checker.policy.documents import Limit
from checker.report.comparison import UNMEASURED, CellChange, Comparison
from checker.report.matrix import WORST_FIRST
from checker.report.model import CellReport, Report

_Kind = Literal["policy", "test"]
"""Whether a policy alone can make a test differ so, or only its model, its patients or a waiver."""

_BETTER_FIRST = WORST_FIRST[::-1]


def regressions(found: Comparison, before: Report, after: Report) -> list[str]:
    """Return what got worse, a phrase each; empty where nothing is shown to have.

    Args:
        found: the comparison of the two.
        before: the earlier report.
        after: the later one, of the same audience.
    """
    return list(_regressions(found, before, after))


def _regressions(found: Comparison, before: Report, after: Report) -> Iterator[str]:
    if after.summary.exit_code and not before.summary.exit_code:
        yield f"release was allowed and is blocked now: {after.verdict}"
    if after.policy.confidence < before.policy.confidence:
        yield (
            f"bounds hold at {after.policy.confidence:g} confidence,"
            f" and held at {before.policy.confidence:g}"
        )
    earlier = {cell.id: cell for cell in before.cells}
    later = {cell.id: cell for cell in after.cells}
    is_other = before.policy.sha256 != after.policy.sha256
    by_policy: dict[str, list[str]] = {}
    for change in found.changes:
        was, now = earlier.get(change.id), later.get(change.id)
        if was is None or not (was.gating or (now is not None and now.gating)):
            continue
        worse: list[tuple[_Kind, str]] = [("policy", "is no longer asked")]
        if now is not None:
            worse = [*_worse(was, now, change)]
            if not worse and _blocks_less(was, now, before, after):
                worse = [("test", f"is {now.verdict} and no longer blocks")]
        for kind, words in worse:
            if is_other and kind == "policy":
                by_policy.setdefault(words, []).append(change.id)
            else:
                yield f"{change.id}: {words}"
    if by_policy:
        yield _other_policy(by_policy, before, after)
    yield from _controls(before, after)
    yield from _prerequisites(before, after)


def _other_policy(by_policy: dict[str, list[str]], before: Report, after: Report) -> str:
    """Return once, and not for each test, what a change of the policy alone made different.

    All tests are named: one that got easier is what a change of many others would hide.

    Args:
        by_policy: what became of which tests, by that.
        before: the earlier report.
        after: the later one.
    """
    was, now = (f"{one.policy.name} {one.policy.version}" for one in (before, after))
    told = []
    for what, names in by_policy.items():
        many = f"{len(names)} test{'s' if len(names) > 1 else ''}"
        told.append(f"{what}: {many} ({', '.join(names)})")
    return f"judged by {now}, and by {was} before; {'; '.join(told)}"


def _worse(was: CellReport, now: CellReport, change: CellChange) -> Iterator[tuple[_Kind, str]]:
    """Yield in what a test got worse, or easier, and of which kind that is."""
    if was.gating and not now.gating:
        yield "policy", "no longer decides"
    if _is_looser(was.limit, now.limit):
        yield "policy", "its limit was raised"
    if now.waiver is not None and was.waiver is None:
        yield "test", f"is waived now, by {now.waiver}"
    if change.direction == "not-comparable" and change.why != UNMEASURED:
        yield "policy", f"cannot be compared: {change.why}"
    asked_nobody = now.verdict == "not_applicable" != was.verdict
    if asked_nobody or _BETTER_FIRST.index(now.verdict) > _BETTER_FIRST.index(was.verdict):
        yield "test", f"was {was.verdict}, is {now.verdict}"
    elif change.direction == "worse":
        yield "test", "more is told than before"
    elif change.direction == "withheld" and (times := _times(now)) > max(1, _times(was)):
        yield "test", f"is shown to be at least {times} times its limit, and was not before"


def _blocks_less(was: CellReport, now: CellReport, before: Report, after: Report) -> bool:
    """Whether what blocked a release does not do so now, although it does not pass."""
    stopped = was.id in before.summary.blocked_by and now.id not in after.summary.blocked_by
    return stopped and now.verdict != "pass" and now.waiver is None


def _is_looser(was: Limit, now: Limit) -> bool:
    """Whether a limit allows more, or asks fewer before it says that nothing ever occurs."""
    if was.fail is not None:
        return now.fail is not None and now.fail > was.fail
    return now.fail is not None or (now.min_n or 0) < (was.min_n or 0)


def _times(cell: CellReport) -> int:
    """Return how many times its limit a cell is shown to be, whichever way its audience sees it."""
    if cell.estimate is None or not cell.limit.fail:
        return cell.times_limit or 0
    return int(cell.estimate.low / cell.limit.fail)


def _controls(before: Report, after: Report) -> Iterator[str]:
    later = {control.id: control for control in after.controls}
    for was in before.controls:
        now = later.get(was.id)
        if now is not None and now.on_inconclusive == "warn" != was.on_inconclusive:
            yield f"{was.id}: no longer blocks where nothing is shown either way"


def _prerequisites(before: Report, after: Report) -> Iterator[str]:
    later = {one.id: one for one in after.prerequisites}
    for was in before.prerequisites:
        now = later.get(was.id)
        if now is None:
            yield f"{was.id}: is no longer presupposed"
        elif _BETTER_FIRST.index(now.verdict) > _BETTER_FIRST.index(was.verdict):
            yield f"{was.id}: was {was.verdict}, is {now.verdict}"
