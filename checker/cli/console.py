"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from checker.errors import ExitCode, PhigateError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from checker.verification import Statement


def say(message: str) -> None:
    """Tell the user something on standard error, if there is one."""
    if sys.stderr is not None:
        click.echo(printable(message), err=True)


def write(text: str) -> None:
    """Write a result to standard output.

    A reader that has gone away (`| head`) is no error; a result that cannot be written is.
    """
    if sys.stdout is None:
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        sys.stdout = None  # what is left in its buffer must not fail again at exit
        raise PhigateError(
            f"standard output cannot be written: {error.strerror or error}"
        ) from error


def show(draw: Callable[[Console], None]) -> None:
    """Write what is drawn for people: with colours on a terminal, plain and wide elsewhere."""
    from rich.console import Console

    at_terminal = sys.stdout is not None and sys.stdout.isatty()
    # a log has no width of its own: tables must not wrap in it
    console = Console(highlight=False, width=None if at_terminal else 160)
    with console.capture() as drawn:
        draw(console)
    write(drawn.get().rstrip("\n"))


def plain_table(*headings: str, numbers: Sequence[str] = ()) -> Table:
    """Return an empty table without lines; the headings named in `numbers` are right-aligned."""
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left")
    return table


def printable(text: str) -> str:
    """Keep control characters of hostile documents off the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def error_console() -> Console:
    """Return a console on standard error, for progress."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def emit_json(value: Any) -> None:
    """Write a result for machines."""
    write(json.dumps(value, indent=2, ensure_ascii=False))


def show_statements(statements: list[Statement], *, as_json: bool) -> None:
    """Print one line for each thing that was looked at; exits 4 when one does not hold."""
    if as_json:
        emit_json([{"holds": s.holds, "text": s.text} for s in statements])
    else:
        words = {True: "holds  ", False: "BROKEN ", None: "open   "}
        for statement in statements:
            write(printable(f"{words[statement.holds]} {statement.text}"))
    if any(statement.holds is False for statement in statements):
        raise click.exceptions.Exit(int(ExitCode.INCOMPLETE))
