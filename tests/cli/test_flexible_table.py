"""Tables are as wide as they may be, and no two rows come to look alike for want of room."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from command_line import Command
from rich.console import Console

from checker.cli.console import plain_table


def drawn(width: int, *rows: tuple[str, ...]) -> list[str]:
    table = plain_table("cell", "limit", "note", numbers=("limit",))
    for row in rows:
        table.add_row(*row)
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return stream.getvalue().splitlines()


ROWS = (
    ("hiv-disclosure/events-5/all", "0.05", "[dim]reported only[/]"),
    ("hiv-disclosure/events-10/all", "0.05", ""),
)


def test_a_table_that_fits_is_one() -> None:
    lines = drawn(80, *ROWS)
    assert lines[0].split() == ["cell", "┃", "limit", "┃", "note"]
    assert len(lines) == 4


def test_where_words_do_not_fit_each_row_is_a_block() -> None:
    lines = drawn(38, *ROWS)
    assert [line.rstrip() for line in lines] == [
        "hiv-disclosure/events-5/all",
        "    limit: 0.05; note: reported only",
        "hiv-disclosure/events-10/all",
        "    limit: 0.05",
    ]


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120, 200])
def test_no_name_of_a_plan_is_cut_at_any_width(
    phigate: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("checker.cli.console.WIDTH", width)
    shown = phigate("limits", workspace / "policy.yaml").out
    together = "".join(shown.split())
    for name in ("serious-mental-illness-disclosure", "common-chronic-disclosure", "events-10"):
        assert name in together
    assert "…" not in shown
    if width in (80, 200):
        plan = phigate("plan", workspace / "policy.yaml", workspace / "sound.yaml").out
        for name in ("serious-mental-illness-disclosure/events-10", "hiv-disclosure/demographics"):
            assert f"{name}/all" in plan
        assert "…" not in plan
