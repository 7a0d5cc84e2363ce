"""Text from outside in Markdown: it reads as it stands, and does nothing.

Two things must not happen to a title that somebody else wrote. It must not become markup (a link,
an image, a heading, raw HTML, another table cell), which a backslash before each character that
Markdown knows prevents. And it must not reach out: on the forges that show Markdown, `@name` sends
a message, `#12`, `!12` and `ABC-12` make references, and `:name:` draws a picture. They look for
these in what Markdown has become, where the backslashes are gone, so a zero-width space comes
between the sign and what follows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from checker.report.wording.plain import plain

_MARKUP = re.compile(r"[\\`*_{}\[\]<>|~^&$#@!]")
_BLOCK_START = re.compile(r"^([-+=]|\d{1,9}(?=[.)](?:\s|$)))")
_ADDRESS = re.compile(r":(?=//)|(?<=www)\.|(?<=mailto):|(?<=xmpp):", re.IGNORECASE)
_REACHES_OUT = re.compile(r'[@#!%~$&^*:](?=[\w"+\-])|(?:(?<=[A-Z])|(?<=\b[Gg]h))-(?=\d)')
_GAP = "&#8203;"


def escape_markup(text: object) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _mark(plain(text).strip(), gap="")


def escape(text: object) -> str:
    """Return the same, so that no forge finds a mention, a reference or a picture in it either."""
    return _mark(plain(text).strip(), gap=_GAP)


def _mark(text: str, *, gap: str) -> str:
    marked = {match.start() for match in _MARKUP.finditer(text)}
    marked |= {match.start() for match in _ADDRESS.finditer(text)}
    if (start := _BLOCK_START.match(text)) is not None:
        # "3." begins a list by its full stop, "-" by itself
        marked.add(start.end() if start[0].isdigit() else 0)
    reaching = {match.start() for match in _REACHES_OUT.finditer(text)}
    parts: list[str] = []
    for at, char in enumerate(text):
        parts += ["\\" if at in marked else "", char, gap if at in reaching else ""]
    return "".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table's lines; cells are Markdown already, on one line each."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]
