"""A comparison of two reports for people: in a terminal, as a page of its own, in a comment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from markupsafe import Markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from checker.report.comparison import CellChange, ComparedCell, Comparison, Direction
from checker.report.formats.markdown_syntax import escape
from checker.report.formats.markdown_syntax import table as markdown_table
from checker.report.formats.templates import content_policy, environment, static_text
from checker.report.wording.audience import CONFIDENTIAL
from checker.report.wording.numbers import bounds, figure
from checker.report.wording.plain import plain, shorten
from checker.report.wording.terms import VERDICT_WORDS

DIRECTIONS: dict[Direction, str] = {
    "worse": "leaks more",
    "better": "leaks less",
    "no-difference-shown": "no difference shown",
    "withheld": "numbers withheld",
    "not-comparable": "not comparable",
    "new": "only in the later report",
    "gone": "only in the earlier report",
}
NOTE = (
    "A difference is shown where its whole interval lies on one side of zero. Each interval stands"
    " for itself: among many tests a few differ by chance."
)
ROWS_SHOWN = 40
"""Of a comment, which may hold 65,536 characters: what it leaves out is counted."""

CHANGE_STYLES = {"worse": "bold red", "better": "green"}


def print_comparison(found: Comparison, console: Console) -> None:
    """Print how each test changed, the worst first."""
    console.print()
    console.print(Text(summary(found), style="bold"))
    for caution in found.cautions:
        console.print(Text(caution, style="yellow"))
    table = Table(show_lines=True, highlight=False)
    for column in ("test", "outcome", "difference", "earlier", "later"):
        table.add_column(column, overflow="fold")  # names cut short would look alike
    for change in found.changes:
        table.add_row(
            Text(f"{shorten(change.title, 80)}\n{plain(change.id)}"),
            Text(outcome(change), style=CHANGE_STYLES.get(change.direction, "")),
            Text(difference(change)),
            Text(cell_words(change.before, change.metric)),
            Text(cell_words(change.after, change.metric)),
        )
    console.print(table)
    console.print(Text(NOTE, style="dim"))


def render_comparison(found: Comparison) -> str:
    """Render a comparison as one self-contained page; equal comparisons give equal bytes."""
    style = static_text("report.css")
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            found=found,
            last=found.after,
            cautions=found.cautions,
            reports=[("Earlier", found.before), ("Later", found.after)],
            style=Markup(style),  # ours, shipped with the package
            policy_header=content_policy(style),
            note=NOTE,
            above=CONFIDENTIAL if found.audience == "internal" else "Shared comparison",
            outcome=outcome,
            difference=difference,
            cell_words=cell_words,
            summary=summary(found),
        )
    )


def render_comparison_markdown(found: Comparison) -> str:
    """Render a comparison for a comment: what changed, and how much more there is."""
    changed = [one for one in found.changes if is_changed(one)]
    shown = changed[:ROWS_SHOWN]
    parts = [[f"**{CONFIDENTIAL}**"]] if found.audience == "internal" else []
    parts += [["### Compared with an earlier run"], [escape(summary(found))]]
    parts += [[f"> {escape(caution)}"] for caution in found.cautions]
    if shown:
        rows = [
            [
                f"{escape(shorten(one.title, 80))}<br>{escape(shorten(one.id, 120))}",
                escape(outcome(one)),
                escape(difference(one)),
                escape(cell_words(one.before, one.metric)),
                escape(cell_words(one.after, one.metric)),
            ]
            for one in shown
        ]
        parts.append(markdown_table(["test", "outcome", "difference", "earlier", "later"], rows))
    left = len(found.changes) - len(shown)
    if more := len(changed) - len(shown):
        parts.append([f"{more} more changed; the page of the comparison has all."])
    if left - more:
        parts.append([f"Of {left - more} no change is shown."])
    parts.append([escape(NOTE)])
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def is_changed(one: CellChange) -> bool:
    """Whether a comment tells of a cell: its leakage, its verdict or its being there changed."""
    verdicts = {found and (found.verdict, found.waived) for found in (one.before, one.after)}
    return one.direction in {"worse", "better"} or len(verdicts) == 2


PAGES: Mapping[str, Callable[[Comparison], str]] = MappingProxyType(
    {"comparison.html": render_comparison, "comparison.md": render_comparison_markdown}
)
"""What a comparison is written as for people, by file name."""


def summary(found: Comparison) -> str:
    """Say in a sentence what got better or worse."""
    before, after = found.before, found.after
    return plain(
        f"{after.target} {after.version} ({after.verdict}) compared with {before.target}"
        f" {before.version} ({before.verdict}): {change_counts(found)}."
    )


def change_counts(found: Comparison) -> str:
    """Return how many tests leak more or less, and how many verdicts turned."""
    worse, better = found.count("worse"), found.count("better")
    said = [f"{_cells(worse)} more, {_cells(better)} less, of {len(found.changes)}"]
    if unknown := len(found.changes) - worse - better - found.count("no-difference-shown"):
        said.append(f"of {unknown} the difference is not known")
    pairs = [(c.before.verdict, c.after.verdict) for c in found.changes if c.before and c.after]
    turns = {
        "fail no longer": sum(old == "fail" != new for old, new in pairs),
        "fail now": sum(old != "fail" == new for old, new in pairs),
        "pass no longer": sum(old == "pass" != new for old, new in pairs),
        "pass now": sum(old != "pass" == new for old, new in pairs),
    }
    said.append(", ".join(f"{count} {turn}" for turn, count in turns.items() if count))
    return "; ".join(filter(None, said))


def _cells(count: int) -> str:
    return f"{count} test{'' if count == 1 else 's'} leak{'s' if count == 1 else ''}"


def outcome(change: CellChange) -> str:
    """Return how a test changed, with the change of its verdict."""
    words = DIRECTIONS[change.direction]
    if change.why is not None:
        words += f": {change.why}"
    before, after = change.before, change.after
    if before is not None and after is not None and before.verdict != after.verdict:
        verdicts = VERDICT_WORDS
        words += f"; {verdicts[before.verdict]} became {verdicts[after.verdict]}"
    return plain(words)


def difference(change: CellChange) -> str:
    """Return a difference with its interval, or a dash."""
    if change.difference is None:
        return "–"
    sign = "+" if change.difference.value > 0 else ""
    return (
        f"{sign}{figure(change.difference.value, change.metric)}"
        f" ({bounds(change.difference, change.metric)})"
    )


def cell_words(found: ComparedCell | None, metric: str) -> str:
    """Return one report's verdict and estimate of a cell."""
    if found is None:
        return "–"
    words = VERDICT_WORDS[found.verdict] + (", waived" if found.waived else "")
    if found.estimate is None:
        return words
    return f"{words}: {figure(found.estimate.value, metric)} ({bounds(found.estimate, metric)})"
