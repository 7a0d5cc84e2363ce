"""Every error phigate raises on purpose, and the exit code each one ends in.

    PhigateError
    ├── DocumentError      2  a policy or target that does not say what it must, line by line
    ├── UsageError         2  an invalid command
    ├── PluginError        2  an unknown, duplicate or broken probe or target backend
    ├── DataError          4  patients, splits, codes or vocabulary that cannot be audited
    ├── TargetError        4  a model that cannot be loaded, or that fails preflight
    ├── EvidenceError      4  evidence that is missing, changed or cannot be written
    ├── ExecutorError      4  a cluster that cannot be reached, or that has no workers left
    ├── MissingExtra       4  an optional part of phigate that is not installed
    └── InsufficientData   4  too little data for an estimate; judge() makes it *inconclusive*

A failed audit is a result, not an exception: `fail` and `inconclusive` are verdicts and have exit
codes (1 and 3) without an error behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What the process says to the pipeline that called it; the same for every output format."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    INCONCLUSIVE = 3
    INCOMPLETE = 4


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a document, and where.

    `line` and `column` count from 1; 0 means that the problem has no place of its own.
    """

    file: str
    line: int
    column: int
    message: str
    path: str = ""

    def __str__(self) -> str:
        """Render as `file:line:column: path: message`, a form that editors make clickable."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (place, self.path, self.message) if part)


class Note(str):
    """What phigate itself adds to any error by `add_note`, told from the notes of libraries."""

    __slots__ = ()


class PhigateWarning(UserWarning):
    """What went otherwise than asked and stops nothing; commands say it on standard error."""


class PhigateError(Exception):
    """The root of all errors that phigate raises on purpose."""

    exit_code: ExitCode = ExitCode.INCOMPLETE


class DocumentError(PhigateError):
    """One or more documents are invalid; all problems of a file come at once."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: list[Problem] | tuple[Problem, ...]) -> None:
        """Keep the problems in file order."""
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(PhigateError):
    """The command is invalid as it was given."""

    exit_code = ExitCode.USAGE


class PluginError(PhigateError):
    """A probe or target backend is unknown, named twice, or fails to import."""

    exit_code = ExitCode.USAGE


class DataError(PhigateError):
    """The patients, splits, codes or vocabulary cannot be audited as they are.

    Args:
        message: what is wrong and what to do next.
        file: the file or folder it was found in, where there is one.
    """

    def __init__(self, message: str, *, file: Path | str | None = None) -> None:
        """Prefix the message with the file, where there is one."""
        self.file = None if file is None else str(file)
        super().__init__(message if file is None else f"{file}: {message}")


class TargetError(PhigateError):
    """The model cannot be loaded, or contradicts itself in preflight."""


class EvidenceError(PhigateError):
    """Evidence is missing, was changed, or cannot be written."""


class ExecutorError(PhigateError):
    """There is nowhere to run jobs, or nowhere any more; those that were finished are kept."""


class MissingExtra(PhigateError):
    """An optional part of phigate is not installed; the sentence ends with the command to type."""


class InsufficientData(PhigateError):
    """Too little data for an estimate that could be relied on.

    Args:
        what: what was counted, in the plural ("nonmembers with the class").
        needed: how many the method needs.
        got: how many there are.
        reason: the verdict's reason in kebab case.
    """

    def __init__(
        self, what: str, *, needed: int, got: int, reason: str = "too-few-positives"
    ) -> None:
        """Say what is missing in one sentence."""
        self.what, self.needed, self.got, self.reason = what, needed, got, reason
        super().__init__(f"{got} {what}, but the method needs {needed}")
