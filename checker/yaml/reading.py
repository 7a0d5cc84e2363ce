"""YAML text as nodes that know where they stand.

Decides what a document may be made of, before anybody asks what it says: UTF-8 text of bounded
size, depth and number of values; mappings whose keys are text and stand once; no tags, no merge
keys, no empty values. Each scalar is the text that stands in the file: what it means is for the
type that expects it (`scalars`).

Parsing events are turned into nodes here rather than by PyYAML's composer and constructor: those
recurse as deep as the file nests, expand aliases without bound, silently keep the last of duplicate
keys, and guess types from spelling. An alias shares its anchor's nodes, but counts and nests as if
they stood there again, for whoever walks a document walks them again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NoReturn

import yaml

from checker.errors import DocumentError, Problem
from checker.yaml.characters import misleading_character
from checker.yaml.source import KeyPath, Node, Place, Source, dotted, short
from checker.yaml.syntax import continued_item, explain, missing_space

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_DOCUMENTS = 20
MAX_KEY = 200
MAX_PROBLEMS = 100
MAX_VALUES = 100_000
"""Per document, after aliases are expanded."""

# libyaml's parser where it was built in: the same events, some forty times faster.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_NULLS = ("", "~", "null", "Null", "NULL")
"""What YAML reads as no value where it stands without quotes."""
_UNREADABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # YAML 1.1, section 4.1.1
)


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
    found = list(_Reader(text, file).sources())
    if not found:
        _refuse(file, 1, 1, "the file is empty; a document starts with apiVersion and kind")
    return found


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


def _events(text: str, file: str) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        _refuse(file, *explain(error, text))
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # what the pure-Python parser lets through: \U00110000 in quotes, an endless %YAML version
        _refuse(file, 1, 1, f"this is not YAML: {str(error).splitlines()[0]}")


class _Reader:
    """Turns events into nodes; it recurses no deeper than `MAX_DEPTH`."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.lines = text.split("\n")
        self.events = _events(text, file)
        self.anchors: dict[str, Node | None] = {}
        """By name; None until the anchor's own value has ended."""
        self.problems: list[Problem] = []
        self.count = 0

    def sources(self) -> Iterator[Source]:
        """Yield the documents of the file."""
        found = 0
        for event in self.events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            found += 1
            if found > MAX_DOCUMENTS:
                message = f"a file holds at most {MAX_DOCUMENTS} documents"
                _refuse(self.file, *_start(event), message)
            self.anchors, self.problems, self.count = {}, [], 0
            root = self._node(next(self.events), ())
            yield Source(self.file, root, tuple(self.problems))

    def _complain(self, place: Place, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(*place, message, dotted(path)))

    def _place(self, event: Any) -> Place:
        return Place(self.file, *_start(event))

    def _node(self, event: Any, path: KeyPath, at: Place | None = None) -> Node:
        """Return the value that an event begins.

        Args:
            event: its first.
            path: to it.
            at: its key, where it counts as written.
        """
        own = self._place(event)
        place = at or own
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(event, path, place)
        self._counts(own)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, path, place)
        elif len(path) >= MAX_DEPTH:
            _refuse(*own, f"this nests deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.MappingStartEvent):
            node = Node(self._mapping(path), place)
        else:
            node = Node([*self._items(path)], place)
        if event.tag is not None:
            shown = f"!!{event.tag.removeprefix(_TAG)}" if event.tag.startswith(_TAG) else event.tag
            self._complain(own, path, f"the tag {short(shown)} is not allowed; remove it")
            node = Node(None, place, broken=True)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _counts(self, place: Place, values: int = 1) -> None:
        self.count += values
        if self.count > MAX_VALUES:
            message = f"a document holds at most {MAX_VALUES:,} values, aliases counted each time"
            _refuse(*place, message)

    def _aliased(self, event: Any, path: KeyPath, place: Place) -> Node:
        own = self._place(event)
        if event.anchor not in self.anchors:
            _refuse(*own, f"the alias *{event.anchor} has no anchor before it")
        node = self.anchors[event.anchor]
        if node is None:
            _refuse(*own, f"the alias *{event.anchor} stands inside its own anchor")
        values, height = _extent(node)
        self._counts(own, values)
        if len(path) + height > MAX_DEPTH:
            self._complain(own, path, f"this nests deeper than {MAX_DEPTH} levels")
            return Node(None, place, broken=True)
        return replace(node, place=place)

    def _scalar(self, event: Any, path: KeyPath, place: Place) -> Node:
        text, plain = str(event.value), bool(event.implicit[0])
        self._refuse_swallowed_item(event)
        message = None
        if control := _UNREADABLE.search(text):  # from an escape such as "\0"
            message = f"a text holds {_control(control[0])}"
        elif plain and text in _NULLS and event.tag is None:
            absent = "there is no value here; write one, or remove the key"
            message = _null(text) if text else absent
            message = message if path else "this document is empty; remove its '---' line"
        if message is None:
            return Node(text, place, text, plain)
        self._complain(self._place(event), path, message)
        return Node(None, place, broken=True)

    def _refuse_swallowed_item(self, event: Any) -> None:
        """Refuse a list item that YAML reads as more of the text above it."""
        first, last = event.start_mark.line, event.end_mark.line
        number = continued_item(self.lines, first, last) if event.implicit[0] else None
        if number is not None:
            column = len(self.lines[number]) - len(self.lines[number].lstrip()) + 1
            message = (
                f"YAML reads this line as more of the text on line {first + 1}; begin it at that"
                " text's '-', or quote the text"
            )
            _refuse(self.file, number + 1, column, message)

    def _items(self, path: KeyPath) -> Iterator[Node]:
        for index, event in enumerate(self.events):
            if isinstance(event, yaml.SequenceEndEvent):
                return
            yield self._node(event, (*path, index))

    def _mapping(self, path: KeyPath) -> dict[str, Node]:
        values: dict[str, Node] = {}
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            place = self._place(event)
            key = self._key(event, path)
            child = next(self.events)
            here = path if key is None else (*path, key)
            empty = isinstance(child, yaml.ScalarEvent) and child.implicit[0] and not child.value
            if empty and self._is_rest_of_number(event, values, path):
                continue
            meant = missing_space(key) if key is not None and empty and event.implicit[0] else None
            if meant is not None and key is not None:  # {fail:0.05}, a key without a value
                self._complain(place, here, f"a space is missing after the colon; write {meant}")
                values[key] = Node(None, place, broken=True)
                continue
            said = len(self.problems)
            node = self._node(child, here, place)
            if key is not None and key not in values:
                values[key] = node
            else:
                del self.problems[said:]  # of what is left out anyway
            if key is not None and values[key] is not node:
                message = (
                    f"the key '{short(key)}' stands twice, on lines {values[key].place.line} and"
                    f" {place.line}; keep one"
                )
                self._complain(place, here, message)
        return values

    def _is_rest_of_number(self, event: Any, values: dict[str, Node], path: KeyPath) -> bool:
        """Report {fail: 0,05}, which is an entry and another one without a value."""
        last = next(reversed(values), None)
        if last is None or not isinstance(event, yaml.ScalarEvent):
            return False
        before, key = values[last], event.value
        whole = before.text if before.plain and before.text is not None else ""
        if not (re.fullmatch("[0-9]+", key) and re.fullmatch("-?[0-9]+", whole)):
            return False
        thousands = re.fullmatch("[1-9][0-9]{0,2},[0-9]{3}", f"{whole},{key}")
        meant = f"{whole}{key}, or {whole}.{key}" if thousands else f"{whole}.{key}"
        message = (
            f"{whole},{key} is two entries to YAML, which wants a decimal point; write {meant}"
        )
        self._complain(before.place, (*path, last), message)
        values[last] = replace(before, content=None, broken=True)
        return True

    def _key(self, event: Any, path: KeyPath) -> str | None:
        """Return a key as written, or None where there is none to go on with."""
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            self._complain(place, path, "a key must be text, not an alias; write it out")
            return None
        if not isinstance(event, yaml.ScalarEvent):
            kind = "list" if isinstance(event, yaml.SequenceStartEvent) else "mapping"
            said = len(self.problems)
            self._node(event, path)
            del self.problems[said:]
            self._complain(place, path, f"a key must be text, not a {kind}")
            return None
        text, plain = str(event.value), bool(event.implicit[0])
        if event.anchor is not None:
            self.anchors[event.anchor] = Node(text, place, text, plain)
        message = None
        if len(text) > MAX_KEY:
            message = f"a key is longer than {MAX_KEY} characters"
        elif control := _UNREADABLE.search(text):
            message = f"a key holds {_control(control[0])}"
        elif plain and text == "<<":
            message = "merge keys (<<) are not allowed; write the keys out"
        elif plain and text in _NULLS:
            message = _null(text) if text else "a key is missing before ':'"
        elif (strange := misleading_character(text)) is not None:
            message = f"the key '{short(text)}' is not what it seems: {strange}"
        elif event.tag is not None:
            message = f"the tag of the key '{short(text)}' is not allowed"
        if message is None:
            return text
        self._complain(place, path, message)
        return None


def _start(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _extent(node: Node) -> tuple[int, int]:
    """Return how many values a node holds, itself included, and how deep they nest."""
    parts = node.content.values() if node.is_mapping else node.content if node.is_list else ()
    below = [_extent(part) for part in parts]
    return 1 + sum(values for values, _ in below), max((1 + deep for _, deep in below), default=0)


def _null(text: str) -> str:
    return f'YAML reads {text} as no value; remove it, or write "{text}" if it is text'
