"""Files broken on purpose: bytes, JSON, tables and documents, each by a generator of one seed.

What is made here is what disks, other programs and people make of files, and what somebody writes
who wants to see a tool fall over: bytes that are not UTF-8, lone surrogates, numbers of no size,
nesting without end, keys that stand twice, columns of another type.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from mutations import WRONG_VALUES, Spot, required_lines, slip, spots, typed_values

LONG = "x" * 300_000
DEEP = 100_000

WORDS = (
    "", " ", "\x00", "\x1b[2J\x1b]0;owned\x07", "\u202eabc\u2066", "\ud800", "a\udfffb", "é" * 300,
    "../../etc/passwd", "/dev/zero", "{0} %s %n", "<script>", "NaN", "null", "-0", "9" * 400, LONG,
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 2**31 - 1, 2**31, 2**63, 10**12, -(10**12), 10**400, 0.5, -0.0, 1e-320, 1e308,
    -1e308, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"": None}, ["x"], {"a": [1]})


_T = TypeVar("_T")


def pick(rng: np.random.Generator, choices: Sequence[_T]) -> _T:
    """Return one of some choices."""
    return choices[int(rng.integers(len(choices)))]


# --- bytes --------------------------------------------------------------------------------------


def broken_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut, flip, replace, repeat or re-encode bytes, as disks and editors do."""
    place = int(rng.integers(len(content) + 1))
    length = int(rng.integers(1, 64))
    kind = rng.integers(9)
    if kind == 0:
        return content[:place]
    if kind == 1:
        changed = bytearray(content)
        for _ in range(int(rng.integers(1, 9))):
            if changed:
                changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
        return bytes(changed)
    if kind == 2:
        return content[:place] + rng.bytes(length) + content[place + length :]
    if kind == 3:
        return content[:place] + content[place + length :]
    if kind == 4:
        return content + content[place:]
    if kind == 5:
        return b"\xef\xbb\xbf" + content
    if kind == 6:
        return content[:place] + b"\xff\xfe\xc3" + content[place:]
    if kind == 7:
        return content.decode("utf-8", "replace").encode("utf-16")
    return b"\x00" * length


# --- JSON ---------------------------------------------------------------------------------------


def nasty(rng: np.random.Generator) -> Any:
    """Return a value that nobody expects where it stands."""
    kinds: tuple[Sequence[Any], ...] = (WORDS, NUMBERS, OTHERS)
    # its own copy: a list that stands in two places and is changed in one may come to hold itself
    return copy.deepcopy(pick(rng, pick(rng, kinds)))


def broken_value(value: Any, rng: np.random.Generator) -> Any:
    """Return JSON data with one to three changes: values, keys and entries."""
    changed = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 4))):
        _change_somewhere(changed, rng)
    return changed


def _change_somewhere(value: Any, rng: np.random.Generator) -> None:
    inside = value
    while True:  # go down a random way, and stop anywhere
        keys: list[Any] = (
            list(inside)
            if isinstance(inside, dict)
            else list(range(len(inside)))
            if isinstance(inside, list)
            else []
        )
        if not keys:
            return
        key = pick(rng, keys)
        deeper = inside[key]
        if isinstance(deeper, dict | list) and deeper and rng.random() < 0.8:
            inside = deeper
            continue
        break
    kind = rng.integers(6)
    if kind == 0:
        del inside[key]
    elif kind == 1 and isinstance(inside, dict):
        inside[str(pick(rng, WORDS))] = inside.pop(key)
    elif kind == 2 and isinstance(inside, list):
        inside.append(copy.deepcopy(deeper))
    elif kind == 3 and isinstance(deeper, str) and deeper:
        inside[key] = slip(deeper, rng)
    elif kind == 4:
        inside[key] = copy.deepcopy(inside[pick(rng, keys)])
    else:
        inside[key] = nasty(rng)


def json_bytes(value: Any, rng: np.random.Generator | None = None) -> bytes:
    """Write JSON as other programs may: surrogates as escapes or as bytes that are not UTF-8."""
    as_ascii = rng is None or rng.random() < 0.7
    return json.dumps(value, ensure_ascii=as_ascii).encode("utf-8", "surrogatepass")


def broken_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Break a JSON file: mostly what it says, sometimes its nesting, its keys or its bytes."""
    kind = rng.integers(10)
    if kind < 6:
        return json_bytes(broken_value(json.loads(content), rng), rng)
    if kind == 6:
        return broken_bytes(content, rng)
    if kind == 7:
        opening = pick(rng, (b"[", b'{"a":'))
        deep = opening * DEEP
        place = content.find(b":", int(rng.integers(len(content))))
        return deep if place < 0 else content[: place + 1] + deep + content[place + 1 :]
    if kind == 8:  # the first key of some object again, with another value
        places = [i for i, char in enumerate(content) if char == ord("{")]
        place = pick(rng, places) + 1 if places else 0
        rest = content[place:]
        key = rest[: rest.find(b":")]
        again = json_bytes(nasty(rng), rng)
        return content[:place] + key + b":" + again + b"," + rest
    value = nasty(rng)
    return json_bytes(value, rng)


# --- tables -------------------------------------------------------------------------------------


def not_utf8(count: int) -> pa.Array:
    """Return text that is none: no writer that checks makes it, and readers hand it on."""
    raw = pa.array([b"DIAG\xff\xfe//%d" % i for i in range(count)], pa.binary())
    return pa.Array.from_buffers(pa.string(), count, raw.buffers())


def broken_table(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Change columns, types or values of a table."""
    for _ in range(int(rng.integers(1, 3))):
        table = _broken_once(table, rng)
    return table


def _broken_once(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    names = table.column_names
    if not names:
        return table
    place = int(rng.integers(len(names)))
    name, column = names[place], table.column(place)
    kind = rng.integers(12)
    if kind == 0:
        return table.remove_column(place)
    if kind == 1:
        return table.append_column(name, column)
    if kind == 2:
        return table.slice(0, int(rng.integers(3)))
    if kind == 3:
        return table.take(pa.array(rng.permutation(table.num_rows)))
    if kind == 4:
        return pa.concat_tables([table, table])
    if kind == 5:
        renamed = [*names[:place], slip(name, rng), *names[place + 1 :]]
        return table.rename_columns(renamed)
    if kind == 6:
        return table.set_column(place, name, _other_type(column, rng))
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:  # it was made text that is none before
        return table.set_column(place, name, _other_type(column, rng))
    where = rng.random(len(values)) < pick(rng, (0.01, 0.2, 1.0))
    new = pick(rng, (None, *_values_like(column.type)))
    changed = [new if here else value for value, here in zip(values, where, strict=True)]
    try:
        return table.set_column(place, name, pa.array(changed, column.type))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return table.set_column(place, name, _other_type(column, rng))


def _values_like(kind: pa.DataType) -> tuple[Any, ...]:
    types = pa.types
    if types.is_floating(kind):
        return float("nan"), float("inf"), float("-inf"), 1e300, -1e300, -0.0
    if types.is_integer(kind):
        return 0, -1, 1, 2**31 - 1, -(2**31), 2**62, -(2**63)
    if types.is_boolean(kind):
        return True, False
    if types.is_string(kind) or types.is_large_string(kind):
        return "", "x", "\x1b[31m", "\u202e", LONG[:5000]
    if types.is_list(kind) or types.is_large_list(kind):
        inner = _values_like(kind.value_type)
        return ([], [None], *([one] for one in inner), [*inner] * 3)
    if types.is_timestamp(kind):
        return -(2**62), 2**62, 0
    return ()


def _other_type(column: pa.ChunkedArray, rng: np.random.Generator) -> pa.Array:
    count = len(column)
    makers: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.nulls(count),
        lambda: pa.array([str(i) for i in range(count)]),
        lambda: pa.array(np.arange(count)),
        lambda: pa.array(np.arange(count), pa.uint64()),
        lambda: pa.array(np.linspace(-1, 1, count)),
        lambda: pa.array(np.arange(count) % 2 == 0),
        lambda: pa.array([[i] for i in range(count)], pa.list_(pa.int64())),
        lambda: pa.array([[str(i)] for i in range(count)], pa.list_(pa.string())),
        lambda: pa.array([{"a": i} for i in range(count)], pa.struct([("a", pa.int64())])),
        lambda: pa.array([b"\xff\x00"] * count, pa.binary()),
        lambda: pa.array(np.arange(count), pa.timestamp("ns")),
        lambda: pa.array(["a"] * count).dictionary_encode(),
        lambda: not_utf8(count),
        lambda: (
            column.cast(pa.large_list(column.type.value_type))
            if pa.types.is_list(column.type)
            else pa.array([0.5] * count, pa.float32())
        ),
    )
    return pick(rng, makers)()


# --- documents ----------------------------------------------------------------------------------


def broken_document(text: str, rng: np.random.Generator) -> bytes:
    """Break a YAML document: a slip, a wrong value, a lost entry, odd text, nesting, bytes."""
    kind = rng.integers(8)
    if kind == 0:
        spot = pick(rng, _spots(text))
        return _with(text, spot, slip(spot.text or "x", rng)).encode()
    if kind == 1:
        return _with(text, pick(rng, _typed(text)), pick(rng, WRONG_VALUES)).encode()
    if kind == 2:
        lines = text.splitlines(keepends=True)
        first, last = pick(rng, _required(text))
        return "".join([*lines[: first - 1], *lines[last:]]).encode()
    if kind == 3:
        spot = pick(rng, _spots(text) + _typed(text))
        value = json.dumps(nasty(rng), ensure_ascii=bool(rng.random() < 0.5))
        return _with(text, spot, value).encode("utf-8", "surrogatepass")
    if kind == 4:
        spot = pick(rng, _typed(text))
        deep = pick(rng, ("[" * DEEP, "{a: " * 5_000, "- " * 50_000, "&a [*a, *a]", "!!python/x y"))
        return _with(text, spot, deep).encode()
    if kind == 5:
        lines = text.splitlines(keepends=True)
        place = int(rng.integers(len(lines)))
        return "".join([*lines[:place], lines[place], *lines[place:]]).encode()
    return broken_bytes(text.encode(), rng)


# a document is searched once, however often it is broken
@cache
def _spots(text: str) -> tuple[Spot, ...]:
    return tuple(spots(text))


@cache
def _typed(text: str) -> tuple[Spot, ...]:
    return tuple(typed_values(text))


@cache
def _required(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(required_lines(text))


def _with(text: str, spot: Spot, by: str) -> str:
    return text[: spot.start] + by + text[spot.end :]
