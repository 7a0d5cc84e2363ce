"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

import click

from checker.errors import DocumentError, ExitCode, PhigateError
from checker.report.wording.plain import plain, plain_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from checker.verification import Statement


class Verbosity(Enum):
    """How much commands say beside their result: `-q`, neither, `-v`."""

    QUIET = "quiet"
    USUAL = "usual"
    VERBOSE = "verbose"


_verbosity = ContextVar("_verbosity", default=Verbosity.USUAL)


_json_written = ContextVar("_json_written", default=False)


def begin() -> None:
    """Begin a command: nothing is written yet, and as much is said as usual."""
    _verbosity.set(Verbosity.USUAL)
    _json_written.set(False)


def set_verbosity(value: Verbosity) -> None:
    """Set how much the command that runs says."""
    _verbosity.set(value)


def verbosity() -> Verbosity:
    """Return how much the command that runs says."""
    return _verbosity.get()


WIDTH = 160
"""Columns of a log, which has no width of its own: tables must not wrap in it."""


def say(message: str) -> None:
    """Tell the user something on standard error, if there is one; text from outside is harmless."""
    if sys.stderr is not None:
        click.echo(plain_lines(message), err=True)


def say_error(error: PhigateError) -> None:
    """Tell the user what went wrong: a line for each problem of a document, else one line."""
    problems = error.problems if isinstance(error, DocumentError) else (error,)
    for one in problems:
        say(plain(one))


def write(text: str) -> None:
    """Write a result for people to standard output; text from outside is harmless."""
    _put(plain_lines(text))


def write_json(text: str) -> None:
    """Write JSON to standard output: what a terminal might obey stands there as an escape."""
    _json_written.set(True)
    _put("".join(char if char == "\n" or char.isprintable() else _escaped(char) for char in text))


def _escaped(char: str) -> str:
    """Return a character as JSON escapes it; beyond the first plane as two halves."""
    return json.dumps(char)[1:-1] if ord(char) > 0x7F else f"\\u{ord(char):04x}"


def _put(text: str) -> None:
    """Put text on standard output as it is.

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
    from checker.cli.harmless import HarmlessConsole

    at_terminal = sys.stdout is not None and sys.stdout.isatty()
    console = HarmlessConsole(highlight=False, width=None if at_terminal else WIDTH)
    with console.capture() as drawn:
        draw(console)
    _put(drawn.get().rstrip("\n"))


def plain_table(*headings: str, numbers: Sequence[str] = ()) -> Table:
    """Return an empty table without lines; the headings named in `numbers` are right-aligned.

    Where there is no room text goes on in the next line, or rows become blocks: cut names would
    look alike.
    """
    from checker.cli.flexible_table import FlexibleTable

    table = FlexibleTable(show_edge=False, pad_edge=False, header_style="bold")
    for heading in headings:
        side: Literal["left", "right"] = "right" if heading in numbers else "left"
        table.add_column(heading, justify=side, overflow="fold")
    return table


def told(text: object) -> str:
    """Return text from outside for a rich markup: one harmless line, without styles of its own."""
    from rich.markup import escape

    return escape(plain(text))


def error_console() -> Console:
    """Return a console on standard error, for progress."""
    from checker.cli.harmless import HarmlessConsole

    return HarmlessConsole(stderr=True, highlight=False)


def emit_json(value: Any) -> None:
    """Write a result for machines."""
    write_json(json.dumps(value, indent=2, ensure_ascii=False))


def tell(text: str, as_json: bool, /, **fields: Any) -> None:
    """Say what was done: a sentence for people, or its parts for machines; paths as text."""
    if not as_json:
        write(text)
        return
    emit_json(json.loads(json.dumps(fields, default=str)))


def emit_error(error: BaseException, *, code: int, message: str) -> None:
    """Write an error for machines to standard output, unless a result was written before."""
    if _json_written.get():
        return
    problems = error.problems if isinstance(error, DocumentError) else ()
    fields = ("file", "line", "column", "path", "message")
    emit_json(
        {
            "error": {
                "kind": type(error).__name__,
                "exitCode": code,
                "message": message,
                "problems": [{field: getattr(one, field) for field in fields} for one in problems],
            }
        }
    )


def show_statements(statements: list[Statement], *, as_json: bool) -> None:
    """Print one line for each thing that was looked at; exits 4 when one does not hold."""
    if as_json:
        emit_json([{"holds": s.holds, "text": s.text} for s in statements])
    else:
        words = {True: "holds  ", False: "BROKEN ", None: "open   "}
        for statement in statements:
            # a line each, or a name with a line break could write a statement of its own
            write(f"{words[statement.holds]} {plain(statement.text)}")
    if any(statement.holds is False for statement in statements):
        raise click.exceptions.Exit(int(ExitCode.INCOMPLETE))
