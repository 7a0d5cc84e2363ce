"""The manual page `man phigate`, made of what `--help` says: every command on one page.

    python -m checker.cli.man_page > docs/man/phigate.1

A test fails when the page in the repository, which the wheel carries, says anything else.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator

import click

from checker.cli.program import cli
from checker.cli.validate import validate
from checker.errors import ExitCode
from checker.version import PHIGATE_VERSION

_COMMON = {"--json", "--quiet", "--verbose"}

_STATUS = {
    ExitCode.PASS: "pass: the release is allowed, or what was asked for was done",
    ExitCode.FAIL: "fail: the release is not allowed",
    ExitCode.USAGE: "usage, an invalid document, or something named that is not there",
    ExitCode.INCONCLUSIVE: "inconclusive, and the policy blocks on that",
    ExitCode.INCOMPLETE: (
        "the audit could not be completed, or what was to be verified does not hold"
    ),
    130: "stopped by a signal; the same command goes on from there",
}
_ENVIRONMENT = {
    "PHIGATE_LEDGER": "The attempt ledger, where no --ledger is given.",
    "PHIGATE_CONFIG": "A file of defaults other than phigate.toml.",
    "PHIGATE_KEY_PASSPHRASE": "The passphrase of the key to sign with.",
    "PHIGATE_DEBUG": "Set, errors of phigate itself show where they happened.",
}
_FILES = {
    "phigate.toml": "Defaults of options, by command, read from the folder that phigate is run in.",
}


def man_page() -> str:
    """Return the page in roff, ending in a newline."""
    root = click.Context(cli, info_name="phigate")
    summary, _, more = _help(cli).partition("\n\n")
    lines = [
        f'.TH PHIGATE 1 "" "phigate {PHIGATE_VERSION}" "User Commands"',
        ".SH NAME",
        f"phigate \\- {_text(summary)}",
        ".SH SYNOPSIS",
        f".B phigate\n{_text('COMMAND [OPTIONS] [ARGUMENTS]')}",
        ".SH DESCRIPTION",
        *_paragraphs(more),
        ".SH OPTIONS OF EVERY COMMAND",
        *_options(one for one in validate.params if _COMMON & set(one.opts)),
        ".SH COMMANDS",
        *_commands(cli, root),
        *_terms("EXIT STATUS", {str(int(code)): said for code, said in _STATUS.items()}),
        *_terms("ENVIRONMENT", _ENVIRONMENT),
        *_terms("FILES", _FILES),
    ]
    return "\n".join(lines) + "\n"


def _commands(group: click.Group, above: click.Context) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        context = click.Context(command, info_name=name, parent=above)
        if isinstance(command, click.Group):
            yield from _commands(command, context)
            continue
        pieces = [context.command_path, *command.collect_usage_pieces(context)]
        yield f".SS {_text(' '.join(pieces))}"
        yield from _paragraphs(_help(command))
        yield from _options(one for one in command.params if not _COMMON & set(one.opts))


def _options(parameters: Iterable[click.Parameter]) -> Iterator[str]:
    context = click.Context(cli)
    for one in parameters:
        record = one.get_help_record(context) if isinstance(one, click.Option) else None
        if record is not None:
            yield f".TP\n.B {_text(record[0])}\n{_text(record[1])}"


def _terms(heading: str, said: dict[str, str]) -> Iterator[str]:
    yield f".SH {heading}"
    for term, words in said.items():
        yield f".TP\n.B {_text(term)}\n{_text(words)}"


def _paragraphs(text: str) -> list[str]:
    return [f".PP\n{_text(' '.join(one.split()))}" for one in text.split("\n\n") if one.strip()]


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _text(text: str) -> str:
    """Return text as roff shows it; no line of it is taken for an order."""
    shown = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{shown}" if shown.startswith((".", "'")) else shown


if __name__ == "__main__":
    print(man_page(), end="")
