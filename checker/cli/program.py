"""The command `phigate` itself: which commands there are, and what a user sees when one fails."""

from __future__ import annotations

import io
import os
import sys
import warnings
from typing import NoReturn, TextIO

import click

from checker.cli import (
    canaries,
    check,
    classes,
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
    targets,
    validate,
    verify,
)
from checker.cli.console import say, say_error
from checker.cli.interruption import EXIT_CODE, Interruption, interruptible
from checker.errors import ExitCode, PhigateError, PhigateWarning
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
    sign.sign,
    keys.keys,
    ledger.ledger,
    classes.classes,
    targets.target,
    canaries.canaries,
    demo.demo,
):
    cli.add_command(_command)


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


def main() -> NoReturn:
    """Be the process `phigate`: run the command, and end in its exit code whatever comes then."""
    with interruptible(to_the_end=True) as interruption:
        code = _exit_code(interruption)
    sys.exit(code)


def run_command() -> int:
    """Run the command that `sys.argv` names and return its exit code; the process goes on."""
    with interruptible() as interruption:
        return _exit_code(interruption)


def _exit_code(interruption: Interruption) -> int:
    """Run the command; whatever happens, the user sees a sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a label that cannot be shown must not end a run
    warnings.showwarning = _say_warning
    try:
        return int(interruption.stoppable(lambda: cli.main(standalone_mode=False)) or 0)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)  # it repeats arguments, which may be anything
        say(shown.getvalue().rstrip())
        return int(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        say(interruption.sentence)
        return EXIT_CODE
    except Exception as error:
        if interruption.by is not None:  # a library made an error of its own of it
            say(interruption.sentence)
            return EXIT_CODE
        if isinstance(error, PhigateError):
            say_error(error)
            return int(error.exit_code)
        if os.environ.get("PHIGATE_DEBUG"):
            raise
        say(
            f"phigate itself failed ({type(error).__name__}: {error}). Please report it;"
            " PHIGATE_DEBUG=1 shows where it happened"
        )
        return int(ExitCode.INCOMPLETE)
