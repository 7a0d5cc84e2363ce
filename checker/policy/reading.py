"""YAML text as plain values that know where they stand.

Decides what a document may be made of, before anybody asks what it says: UTF-8 text of bounded
size, depth and number of values; mappings whose keys are text and stand once; no tags, no merge
keys, no empty values. Everything else of YAML 1.1 (the specification that PyYAML follows) is read
as usual, and each scalar's spelling is kept, so that a code `042`, which YAML reads as 34, can be
shown as it was written.

Parsing events are turned into values here rather than by PyYAML's composer and constructor: those
recurse as deep as the file nests, expand aliases without bound, silently keep the last of duplicate
keys, and raise ValueError on a date like 2026-13-45.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from checker.errors import DocumentError, Problem
from checker.policy.source import KeyPath, Scalar, Source, dotted, short
from checker.policy.syntax import continued_item, explain, missing_space

__all__ = ["MAX_BYTES", "MAX_PROBLEMS", "read_sources"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_DOCUMENTS = 20
MAX_KEY = 200
MAX_PROBLEMS = 100
MAX_VALUES = 100_000
"""Per document, after aliases are expanded."""

# libyaml's parser where it was built in: the same events, some forty times faster.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Any = Resolver()
_TAG = "tag:yaml.org,2002:"
_UNREADABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # YAML 1.1, section 4.1.1
)
_READ: dict[str, Callable[[yaml.ScalarNode], Any]] = {
    "int": SafeConstructor().construct_yaml_int,
    "float": SafeConstructor().construct_yaml_float,
    "bool": SafeConstructor().construct_yaml_bool,
    "timestamp": SafeConstructor().construct_yaml_timestamp,
}
_NOUNS = {"int": "number", "float": "number", "timestamp": "date", "bool": "truth value"}


def read_sources(content: bytes | str, *, file: str) -> list[Source]:
    """Read a file's documents.

    Args:
        content: the file, at most MAX_BYTES.
        file: its name, for problems.

    Returns:
        At least one document; each carries its problems.

    Raises:
        DocumentError: the text is no YAML, or holds what no document may hold.
    """
    text = _decode(content, file)
    roots = _read_nodes(text, file)
    if not roots:
        _refuse(file, 1, 1, "the file is empty; a document starts with apiVersion and kind")
    return [_Construction(file).source(root) for root in roots]


def _refuse(file: str, line: int, column: int, message: str) -> NoReturn:
    raise DocumentError([Problem(file, line, column, message)])


def _decode(content: bytes | str, file: str) -> str:
    size = len(content)
    if size > MAX_BYTES:
        _refuse(file, 1, 1, f"the file is larger than {MAX_BYTES:,} bytes")
    text = content if isinstance(content, str) else ""
    if isinstance(content, bytes):
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line, column = _place(content[: error.start].decode("utf-8", "replace"))
            byte = content[error.start]
            _refuse(file, line, column, f"the file is not UTF-8 text: byte 0x{byte:02x}")
    bad = [
        Problem(file, *_place(text[: match.start()]), f"{_control(match[0])} cannot stand here")
        for match, _ in zip(_UNREADABLE.finditer(text), range(MAX_PROBLEMS), strict=False)
    ]
    if bad:
        raise DocumentError(bad)
    return text


def _place(before: str) -> tuple[int, int]:
    """Return line and column of what follows `before`."""
    lines = re.split(r"\r\n|\r|\n", before)
    return len(lines), len(lines[-1]) + 1


def _control(character: str) -> str:
    return f"the character U+{ord(character):04X}"


# --- events to nodes ----------------------------------------------------------------------------


@dataclass(slots=True)
class _Node:
    """A scalar, list or mapping; a mapping's children alternate between keys and values."""

    event: Any
    line: int
    column: int
    children: list[_Node] = field(default_factory=list)
    open: bool = False


def _read_nodes(text: str, file: str) -> list[_Node]:
    """Parse without recursion: a file may nest a million brackets."""
    roots: list[_Node] = []
    stack: list[_Node] = []
    anchors: dict[str, _Node] = {}
    lines = text.split("\n")
    for event in _events(text, file):
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop().open = False
            continue
        if isinstance(event, yaml.DocumentStartEvent):
            anchors.clear()
            if len(roots) == MAX_DOCUMENTS:
                _refuse(file, line, column, f"a file holds at most {MAX_DOCUMENTS} documents")
        if not isinstance(event, yaml.NodeEvent):
            continue
        if isinstance(event, yaml.AliasEvent):
            node = _dereference(event, anchors, line, column, file)
        else:
            node = _Node(event, line, column)
            if isinstance(event, yaml.ScalarEvent):
                _refuse_swallowed_item(event, lines, file)
            if event.anchor is not None:
                anchors[event.anchor] = node
        (stack[-1].children if stack else roots).append(node)
        if isinstance(event, yaml.CollectionStartEvent):
            node.open = True
            stack.append(node)
            if len(stack) > MAX_DEPTH:
                _refuse(file, line, column, f"this nests deeper than {MAX_DEPTH} levels")
    return roots


def _refuse_swallowed_item(event: Any, lines: list[str], file: str) -> None:
    """Refuse a list item that YAML reads as more of the text above it."""
    first, last = event.start_mark.line, event.end_mark.line
    if not event.implicit[0] or first == last:
        return
    number = continued_item(lines, first, last)
    if number is not None:
        column = len(lines[number]) - len(lines[number].lstrip()) + 1
        message = (
            f"YAML reads this line as more of the text on line {first + 1}; begin it at that text's"
            " '-', or quote the text"
        )
        _refuse(file, number + 1, column, message)


def _dereference(
    event: yaml.AliasEvent, anchors: dict[str, _Node], line: int, column: int, file: str
) -> _Node:
    target = anchors.get(str(event.anchor))
    if target is None:
        _refuse(file, line, column, f"the alias *{event.anchor} has no anchor before it")
    if target.open:
        _refuse(file, line, column, f"the alias *{event.anchor} stands inside its own anchor")
    return replace(target, line=line, column=column)


def _events(text: str, file: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        _refuse(file, *explain(error, text))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # what the pure-Python parser lets through: \U00110000 in quotes, an endless %YAML version
        _refuse(file, 1, 1, f"this is not YAML: {str(error).splitlines()[0]}")


# --- nodes to values ----------------------------------------------------------------------------


class _Construction:
    """Turns one document's nodes into values, and notes the place of each."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[KeyPath, tuple[int, int]] = {}
        self.scalars: dict[KeyPath, Scalar] = {}
        self.broken: set[KeyPath] = set()
        self.problems: list[Problem] = []
        self.count = 0

    def source(self, root: _Node) -> Source:
        self.places[()] = (root.line, root.column)
        value = self._value(root, ())
        return Source(
            self.file,
            value,
            self.places,
            self.scalars,
            frozenset(self.broken),
            tuple(self.problems),
        )

    def _complain(self, node: _Node, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(self.file, node.line, node.column, message, dotted(path)))

    def _broken(self, node: _Node, path: KeyPath, message: str) -> None:
        """Note a value that cannot be read; None stands for it."""
        self._complain(node, path, message)
        self.broken.add(path)

    def _value(self, node: _Node, path: KeyPath) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            message = f"a document holds at most {MAX_VALUES:,} values, aliases counted each time"
            _refuse(self.file, node.line, node.column, message)
        if len(path) > MAX_DEPTH:  # aliases can nest deeper than the text does
            return self._broken(node, path, f"this nests deeper than {MAX_DEPTH} levels")
        tag = node.event.tag
        if tag is not None:
            shown = f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag
            message = f"the tag {short(shown)} is not allowed; remove it, and quote what is text"
            return self._broken(node, path, message)
        if isinstance(node.event, yaml.MappingStartEvent):
            return self._mapping(node, path)
        if isinstance(node.event, yaml.SequenceStartEvent):
            return self._list(node, path)
        return self._scalar(node, path)

    def _list(self, node: _Node, path: KeyPath) -> list[Any]:
        items = []
        for index, child in enumerate(node.children):
            here = (*path, index)
            self.places[here] = (child.line, child.column)
            items.append(self._value(child, here))
        return items

    def _mapping(self, node: _Node, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, child in zip(node.children[::2], node.children[1::2], strict=True):
            if self._is_rest_of_number(key_node, child, values, path):
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            here = (*path, key)
            if self._is_glued(key, key_node, child, here):
                continue
            if key in values:
                message = (
                    f"the key '{short(key)}' stands twice, on lines {first[key]} and"
                    f" {key_node.line}; keep one"
                )
                self._complain(key_node, here, message)
                continue
            first[key] = key_node.line
            self.places[here] = (key_node.line, key_node.column)
            values[key] = self._value(child, here)
        return values

    def _is_glued(self, key: str, node: _Node, child: _Node, here: KeyPath) -> bool:
        """Report {fail:0.05}, which is a key without a value."""
        meant = missing_space(key)
        if meant is None or not _is_empty(child) or not node.event.implicit[0]:
            return False
        self._broken(node, here, f"a space is missing after the colon; write {meant}")
        return True

    def _is_rest_of_number(
        self, node: _Node, child: _Node, values: dict[str, Any], path: KeyPath
    ) -> bool:
        """Report {fail: 0,05}, which is an entry and another one without a value."""
        is_text = isinstance(node.event, yaml.ScalarEvent)
        key, last = str(node.event.value) if is_text else "", next(reversed(values), None)
        before = self.scalars.get((*path, last)) if last is not None else None
        if before is None or not before.plain or not _is_empty(child):
            return False
        if not (re.fullmatch("[0-9]+", key) and re.fullmatch("-?[0-9]+", before.text)):
            return False
        here = (*path, str(last))
        message = (
            f"{before.text},{key} is two entries to YAML, which wants a decimal point; write"
            f" {before.text}.{key}"
        )
        self.problems.append(Problem(self.file, *self.places[here], message, dotted(here)))
        self.broken.add(here)
        values[str(last)] = None
        return True

    def _key(self, node: _Node, path: KeyPath) -> str | None:
        """Return a key as written, or None where there is none to go on with."""
        if not isinstance(node.event, yaml.ScalarEvent):
            kind = "list" if isinstance(node.event, yaml.SequenceStartEvent) else "mapping"
            self._complain(node, path, f"a key must be text, not a {kind}")
            return None
        text, plain = str(node.event.value), bool(node.event.implicit[0])
        if len(text) > MAX_KEY:
            self._complain(node, path, f"a key is longer than {MAX_KEY} characters")
            return None
        if node.event.tag is not None:
            self._complain(node, path, f"the tag of the key '{short(text)}' is not allowed")
        elif control := _UNREADABLE.search(text):
            self._complain(node, path, f"a key holds {_control(control[0])}")
            return None
        elif plain and text == "<<":
            self._complain(node, path, "merge keys (<<) are not allowed; write the keys out")
            return None
        elif plain and _kind(text) == "null":
            self._complain(node, path, "a key is missing before ':'" if not text else _null(text))
            return None
        elif plain and (kind := _kind(text)) != "str":
            message = f"the key {short(text)} is not quoted: YAML reads it as a {_NOUNS[kind]}"
            self._complain(node, path, f'{message}, not as text; write "{short(text)}"')
        return text

    def _scalar(self, node: _Node, path: KeyPath) -> Any:
        text, plain = str(node.event.value), bool(node.event.implicit[0])
        self.scalars[path] = Scalar(text, plain)
        if control := _UNREADABLE.search(text):  # from an escape such as "\0"
            return self._broken(node, path, f"a text holds {_control(control[0])}")
        kind = _kind(text) if plain else "str"
        if kind == "str":
            return text
        if kind == "null":
            if not path:
                return self._broken(node, path, "this document is empty; remove its '---' line")
            message = "there is no value here; write one, or remove the key" if not text else ""
            return self._broken(node, path, message or _null(text))
        try:
            return _read(text, kind)
        except (ValueError, OverflowError) as error:
            noun = _NOUNS[kind]
            message = f"{short(text)} is no valid {noun} ({error}); quote it if it is text"
            return self._broken(node, path, message)


def _is_empty(node: _Node) -> bool:
    return isinstance(node.event, yaml.ScalarEvent) and bool(
        node.event.implicit[0] and not node.event.value
    )


def _kind(text: str) -> str:
    """Return what YAML 1.1 takes an unquoted scalar for: str, int, float, bool, null, timestamp."""
    tag: str = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))
    kind = tag.removeprefix(_TAG)
    return kind if kind in _READ or kind == "null" else "str"


def _read(text: str, kind: str) -> Any:
    """Return the value of an unquoted scalar.

    Raises:
        ValueError: it is none, or a number beyond 64 bits or all bounds.
        OverflowError: a time beyond the calendar.
    """
    if len(text) > 64:
        raise ValueError("it is too long")
    value = _READ[kind](yaml.ScalarNode(_TAG + kind, text))
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("it needs more than 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it is not finite")
    return value


def _null(text: str) -> str:
    return f'YAML reads {text} as no value; remove it, or write "{text}" if it is text'
