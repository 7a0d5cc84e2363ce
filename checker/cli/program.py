"""The command `phigate` itself: which commands there are, and what a user sees when one fails."""

from __future__ import annotations

import io
import os
import shlex
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import click

from checker.cli import (
    canaries,
    check,
    classes,
    completion,
    demo,
    diff,
    explain,
    init,
    judge,
    keys,
    ledger,
    limits,
    new,
    plan,
    policy_tests,
    power,
    report,
    run,
    schema,
    sign,
    standing_out,
    targets,
    validate,
    verify,
)
from checker.cli.console import Verbosity, begin, emit_error, say, say_error, set_verbosity
from checker.cli.defaults import DEFAULTS_FILE, defaults_for, place_for
from checker.cli.interruption import EXIT_CODE, Interruption, interruptible
from checker.errors import ExitCode, Note, PhigateError, PhigateWarning
from checker.report.wording.plain import plain_lines
from checker.version import PHIGATE_VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(PHIGATE_VERSION, prog_name="phigate")
def cli() -> None:
    """The release gate for clinical foundation models.

    Write a policy, describe the model, and run `phigate check POLICY TARGET`.
    """


for _command in (
    init.init,
    new.new,
    validate.validate,
    explain.explain,
    limits.limits,
    diff.diff,
    policy_tests.run_policy_tests,
    schema.schema,
    power.power,
    plan.plan,
    check.check,
    run.run,
    judge.judge,
    report.report,
    verify.verify,
    standing_out.standing_out,
    sign.sign,
    keys.keys,
    ledger.ledger,
    classes.classes,
    targets.target,
    canaries.canaries,
    demo.demo,
    completion.completion,
):
    cli.add_command(_command)


def _louder(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked:
        set_verbosity(Verbosity.QUIET if param.name == "quiet" else Verbosity.VERBOSE)


def _give_verbosity(command: click.Command) -> None:
    """Let every command be asked to say less or more, in one way."""
    if isinstance(command, click.Group):
        for one in command.commands.values():
            _give_verbosity(one)
        return
    said = {
        "quiet": "Say no more than results, warnings and errors.",
        "verbose": "Say more: of each job when it ended and how long it took, where jobs run.",
    }
    for name, what in said.items():
        flags = [f"-{name[0]}", f"--{name}"]
        option = click.Option(flags, is_flag=True, expose_value=False, callback=_louder, help=what)
        command.params.append(option)


_give_verbosity(cli)


def _say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say a warning of ours in a sentence; those of libraries are for who debugs."""
    if issubclass(category, PhigateWarning):
        say(f"warning: {message}")  # which makes it harmless
    elif os.environ.get("PHIGATE_DEBUG"):
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def run_command() -> int:
    """Run the command that `sys.argv` names and return its exit code; the process goes on."""
    with interruptible() as interruption:
        return exit_code(interruption)


def exit_code(interruption: Interruption) -> int:
    """Run the command; whatever happens, the user sees a sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a label that cannot be shown must not end a run
    warnings.showwarning = _say_warning
    begin()
    sys.argv = [sys.argv[0], *sys.argv[1:]]  # a list of our own, for defaults are put into it
    try:
        return int(interruption.stoppable(_run) or 0)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)  # it repeats arguments, which may be anything
        return _failed(error, ExitCode.USAGE, shown.getvalue().rstrip())
    except (click.Abort, KeyboardInterrupt) as stop:
        return _failed(stop, EXIT_CODE, interruption.sentence)
    except Exception as error:
        if interruption.by is not None:  # a library made an error of its own of it
            return _failed(error, EXIT_CODE, interruption.sentence)
        if isinstance(error, PhigateError):
            return _failed(error, error.exit_code, None)
        if os.environ.get("PHIGATE_DEBUG"):
            raise
        sentence = (
            f"phigate itself failed ({type(error).__name__}: {error}). Please report it;"
            " PHIGATE_DEBUG=1 shows where it happened"
        )
        return _failed(error, ExitCode.INCOMPLETE, sentence)


def _run() -> Any:
    """Run the command that the arguments and the folder's defaults name."""
    _take_defaults(sys.argv)
    return cli.main(prog_name="phigate", standalone_mode=False)


def _take_defaults(words: list[str]) -> None:
    """Put the defaults of this folder behind the command's name, where what is typed overrides."""
    file = Path(os.environ.get("PHIGATE_CONFIG") or DEFAULTS_FILE)
    added = defaults_for(cli, words[1:], file=file)
    if added:
        place = 1 + place_for(cli, words[1:])
        words[place:place] = added
        if not {"-q", "--quiet"} & set(words):
            say(f"{file}: {shlex.join(added)}")


def _notes(error: BaseException) -> list[str]:
    """Return what phigate noted of an error, or of those that it was made of, each once.

    Libraries note things too, and what they say may be of the data.
    """
    notes: list[str] = []
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:  # an error may be its own cause
        seen.append(cause)
        notes += [one for one in getattr(cause, "__notes__", []) if isinstance(one, Note)]
        cause = cause.__cause__ or cause.__context__
    return [*dict.fromkeys(notes)]


def _failed(error: BaseException, code: int, sentence: str | None) -> int:
    """Say an error to people, and with --json to machines too; return its exit code.

    Args:
        error: what ended the command.
        code: it ends in.
        sentence: what people read; None for one of phigate's own errors, which say it themselves.
    """
    notes = _notes(error)
    if sentence is None:
        assert isinstance(error, PhigateError)
        say_error(error)
        for note in notes:
            say(note)
    else:
        say("; ".join([sentence, *notes]))
    words = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if "--json" in words:
        told = error.format_message() if isinstance(error, click.ClickException) else sentence
        message = "; ".join([told or str(error), *notes])
        with suppress(PhigateError):  # standard output is closed: it was said on the other one
            emit_error(error, code=int(code), message=plain_lines(message))
    return int(code)
