"""A table that turns its rows into blocks where a terminal has no room for its columns.

Names of cells, classes and files have no spaces to break at. Where the longest of each column do
not fit side by side, folding them makes every row unreadable, and cutting them makes rows alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_ROOM = 10_000
"""Columns in which every table has its own width."""


class FlexibleTable(Table):
    """A rich table that is drawn as blocks, a row each, where its words do not fit."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table, or blocks."""
        own = Measurement.get(console, options.update(max_width=_ROOM), self)
        if own.minimum <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        for row in self._rows_of_cells():
            head, *rest = (_text(console, cell) for cell in row)
            yield head
            said = [
                Text.assemble(f"{column.header}: " if column.header else "", cell)
                for column, cell in zip(self.columns[1:], rest, strict=True)
                if cell.plain.strip()
            ]
            if said:
                yield Padding(Text("; ").join(said), (0, 0, 0, 4))

    def _rows_of_cells(self) -> Iterator[tuple[Any, ...]]:
        return zip(*(list(column.cells) for column in self.columns), strict=True)


def _text(console: Console, cell: Any) -> Text:
    return console.render_str(cell) if isinstance(cell, str) else Text(str(cell))
