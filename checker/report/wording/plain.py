"""Text from outside as text that can only be read: code labels, titles, messages."""

from __future__ import annotations

import unicodedata


def plain(text: object) -> str:
    """Return text that can only be read: one line, with no control or direction characters.

    Control characters drive terminals and bidirectional overrides reorder what stands beside them;
    both become U+FFFD, so that a reader sees that something was there.
    """
    words = str(text)
    # what Python calls printable is a part of what is harmless here, and soon found
    return words if words.isprintable() else "".join(_harmless(char) for char in words)


def plain_lines(text: str) -> str:
    """Return text of several lines that can only be read: `plain`, but for line breaks and tabs."""
    if text.isprintable():
        return text
    return "\n".join(
        "\t".join(plain(part) for part in line.split("\t")) for line in text.split("\n")
    )


def _harmless(char: str) -> str:
    if char in "\t\n\r\v\f\x85\u2028\u2029":
        return " "
    category = unicodedata.category(char)
    # joiners shape letters in Persian and Indic scripts; all other format characters are invisible
    if category in {"Cc", "Cs", "Co", "Cn"} or (category == "Cf" and char not in "\u200c\u200d"):
        return "\N{REPLACEMENT CHARACTER}"
    return char


def shorten(text: object, length: int = 80) -> str:
    """Return `plain` text of at most `length` characters, with an ellipsis where it was cut."""
    whole = plain(text)
    return whole if len(whole) <= length else whole[: length - 1].rstrip() + "…"


def named(title: object, length: int = 80) -> str:
    """Return a name as `shorten` does, but the brackets that it ends in go first.

    No sentence goes on behind "severe mental illness (psychosis, bipolar disorder, sev…".
    """
    whole = plain(title)
    return shorten(whole if len(whole) <= length else _without_last_brackets(whole), length)


def _without_last_brackets(name: str) -> str:
    """Return a name without the brackets that close at its end, and all that is nested in them."""
    depth = 0
    for start in range(len(name) - 1, -1, -1):
        depth += (name[start] == ")") - (name[start] == "(")
        if depth <= 0:  # at once where it ends in none
            return name[: start - 1] if name[start - 1 : start + 1] == " (" else name
    return name
