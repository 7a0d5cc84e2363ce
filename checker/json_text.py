"""JSON files of others as data: read strictly, with one sentence on what is wrong.

Python's own reader takes the last of two equal keys where others take the first, knows NaN, which
JSON does not, hands on halves of surrogate pairs that no file can hold again, and gives up with a
`RecursionError` where brackets nest without end. A report that says two things, and a file that
ends a run with a traceback, are refused here instead.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

MAX_DEPTH = 100
"""Levels of brackets; no file that phigate reads has more than a dozen."""

MAX_DIGITS = 40
"""Of an integer; nothing is counted here that has more than twenty."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_STRING_OF_A_LINE = re.compile(rb'"(?:[^"\\\r\n]|\\[^\r\n])*+"?')
_BRACKET = re.compile(rb"[\[\]{}]")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json(content: bytes, *, infinite: bool = False) -> Any:
    """Return what a JSON text says.

    Args:
        content: UTF-8; a byte order mark before it is passed over.
        infinite: take NaN and Infinity, which Python writes for numbers that JSON does not have.

    Raises:
        ValueError: it is no JSON, or says something twice, or what no JSON can say; the message is
            a sentence about "it", without a capital or a full stop.
    """
    text = json_text(content)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=float if infinite else _no_constant,
            parse_float=float if infinite else _finite,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        # the same error, with its line, in a sentence that begins like the others
        raise json.JSONDecodeError(f"is not valid JSON: {error.msg}", text, error.pos) from error
    return value


def json_text(content: bytes) -> str:
    """Return a JSON file's text, after what must hold before any reader looks at it.

    Raises:
        ValueError: it is not UTF-8, nests too deeply, or spells half of a surrogate pair.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not valid JSON: byte {error.start + 1} is not UTF-8") from error
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", content)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"nests deeper than {MAX_DEPTH} levels")
    if _SURROGATE.search(content) and _has_lone_half(text):
        raise ValueError("holds half of a surrogate pair (such as \\ud800), which is no character")
    return text


def too_deep_line(lines: Iterable[bytes]) -> int | None:
    """Return the first line, from 1, where brackets nest deeper than MAX_DEPTH; None for none.

    For JSON Lines, which a reader may begin anywhere at a line's beginning: no string goes on
    there, and brackets may, for some readers let an object go on in the next line.
    """
    depth = 0
    for number, line in enumerate(lines, start=1):
        for bracket in _BRACKET.findall(_STRING_OF_A_LINE.sub(b"", line)):
            # one that closes nothing must not make room for another that opens
            depth = depth + 1 if bracket in b"[{" else max(depth - 1, 0)
            if depth > MAX_DEPTH:
                return number
    return None


def _has_lone_half(text: str) -> bool:
    """Whether an escape spells half of a surrogate pair without the other beside it."""
    expected: int | None = None
    for escape in _ESCAPE.finditer(text):
        code = int(escape[1], 16) if escape[1] else 0
        is_low = 0xDC00 <= code <= 0xDFFF
        if is_low != (expected == escape.start()):
            return True
        if expected is not None and not is_low:
            return True
        expected = escape.end() if 0xD800 <= code <= 0xDBFF else None
    return expected is not None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key in counts if counts[key] > 1)
        raise ValueError(f"says '{twice[:60]}' twice in one object, so readers may differ")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"holds {word}, which is no number of JSON")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"holds an integer of {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"holds {digits[:20]}, which is larger than any number here")
    return number
