"""The command `phigate`: one verb a command, each a few lines over the library.

Results go to standard output for people, or as JSON for machines with `--json`; progress and errors
go to standard error. Exit codes are the same for every format: 0 pass, 1 fail, 2 usage or invalid
document, 3 inconclusive that blocks, 4 the audit could not be completed.

Each command has the module of its name (test: `policy_tests`). `program` puts them together and
says what went wrong; `options` and `console` are what they share, `auditing` what those share that
end in a verdict. A table or a bar that takes a page has a module too. Commands import what they
need when they run, so that help and errors come at once.

Nothing but `interruption` is imported before the process answers to signals.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

from checker.cli.interruption import interruptible

if TYPE_CHECKING:
    from checker.cli.program import cli, run_command

__all__ = ["cli", "main", "run_command"]


def main() -> NoReturn:
    """Be the process `phigate`: run the command, and end in its exit code whatever comes then."""
    with interruptible(to_the_end=True) as interruption:
        from checker.cli.program import exit_code

        code = exit_code(interruption)
    sys.exit(code)


def __getattr__(name: str) -> Any:
    """Import a command, or what runs one, when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'checker.cli' has no attribute '{name}'")
    from checker.cli import program

    return getattr(program, name)
