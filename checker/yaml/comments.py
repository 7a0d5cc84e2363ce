"""Text that a `#` cuts off without a word: to YAML all behind it is a comment."""

from __future__ import annotations

import re

import yaml

_CUT = re.compile(r" #(?=\S| \d)[^\n]*")


def texts_cut_off(text: str) -> list[tuple[int, int, str]]:
    r"""Return where an unquoted text ends at a ` #` that was probably meant to belong to it.

    A comment behind a value has a space after its `#`; what has none ("bed #3", "#1 reason"), or a
    number, is rather part of a sentence.

    Args:
        text: YAML that can be read.

    Returns:
        Line and column of each `#`, from 1, and what is lost.

    >>> texts_cut_off("a: our #1 rule # of all\nb: 5 # a note\nc: ward # 7")
    [(1, 8, '#1 rule # of all'), (3, 9, '# 7')]
    """
    if not _CUT.search(text):
        return []
    lines = text.splitlines()
    found = []
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.ScalarToken) and token.plain:
            line, column = token.end_mark.line, token.end_mark.column
            cut = _CUT.match(lines[line], column) if line < len(lines) else None
            if cut and any(letter.isalpha() for letter in token.value):
                found.append((line + 1, column + 2, cut[0].strip()))
    return found
