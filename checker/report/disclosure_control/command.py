"""A run's command as it may be passed on: names of files, and no option that could hold a secret.

Paths tell users, projects and machines, and an address may carry a password. So options are kept by
name: of those that are not listed here neither name nor value stands in a shared report, whatever
later versions or plug-ins add. The internal report has the command as it was given.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

_FLAGS = frozenset({"--resume", "--fresh", "--no-waivers", "--json"})
_FILES = frozenset({"--out", "--waivers", "--policy", "--cohort"})
_WORDS = frozenset(
    {
        "--format", "--audience", "--device", "--executor", "--workers", "--threads-per-worker",
        "--as-of", "--seed", "--max-patients", "--max-tokens",
    }
)  # fmt: skip
"""Options whose value is a word of phigate's own, a number or a time."""

_WORD = re.compile(r"[\w.,:+-]{1,60}", re.ASCII)


def shared_command(command: str) -> str:
    """Return a command line with the names of its files alone, and only options known to be safe.

    Args:
        command: as a shell takes it, or text that is none.

    Returns:
        A command line; empty where nothing can be told from it.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation mark that somebody put into the file
        return ""
    return shlex.join(_kept(words))


def _kept(words: list[str]) -> Iterator[str]:
    place = 0
    while place < len(words):
        option, equals, value = words[place].partition("=")
        place += 1
        if not option.startswith("-"):
            yield _name(f"{option}{equals}{value}")
            continue
        if option in _FLAGS:
            yield option
            continue
        # what stands behind an unknown option may be its value: in doubt it is not shown
        known = option in _FILES or option in _WORDS
        if not equals and place < len(words) and (known or not words[place].startswith("-")):
            value, place = words[place], place + 1
        if option in _FILES:
            yield from (option, _name(value))
        elif option in _WORDS and _WORD.fullmatch(value):
            yield from (option, value)


def _name(path: str) -> str:
    """Return a path's last part, by the separators of any system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or "."
