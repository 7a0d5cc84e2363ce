"""YAML text as nodes that know where they stand.

Decides what a document may be made of, before anybody asks what it says: UTF-8 text of bounded
size, depth and number of values; mappings whose keys are text and stand once; no tags, no merge
keys, no empty values. Each scalar is the text that stands in the file: what it means is for the
type that expects it (`scalars`).

Parsing events are turned into nodes here rather than by PyYAML's composer and constructor: those
recurse as deep as the file nests, expand aliases without bound, silently keep the last of duplicate
keys, and guess types from spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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
    roots = _read_events(text, file)
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


# --- what the parser says, as a tree ------------------------------------------------------------


@dataclass(slots=True)
class _Parsed:
    """A scalar, list or mapping; a mapping's children alternate between keys and values."""

    event: Any
    line: int
    column: int
    children: list[_Parsed] = field(default_factory=list)
    open: bool = False


def _read_events(text: str, file: str) -> list[_Parsed]:
    """Parse without recursion: a file may nest a million brackets."""
    roots: list[_Parsed] = []
    stack: list[_Parsed] = []
    anchors: dict[str, _Parsed] = {}
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
            node = _Parsed(event, line, column)
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
    event: yaml.AliasEvent, anchors: dict[str, _Parsed], line: int, column: int, file: str
) -> _Parsed:
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


# --- the tree as nodes --------------------------------------------------------------------------


class _Construction:
    """Turns what one document's events say into nodes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.count = 0

    def source(self, root: _Parsed) -> Source:
        node = self._node(root, root, ())
        return Source(self.file, node, tuple(self.problems))

    def _complain(self, parsed: _Parsed, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(self.file, parsed.line, parsed.column, message, dotted(path)))

    def _broken(self, parsed: _Parsed, at: _Parsed, path: KeyPath, message: str) -> Node:
        """Note a value that cannot be read; None stands for it."""
        self._complain(parsed, path, message)
        return Node(None, Place(self.file, at.line, at.column), broken=True)

    def _node(self, parsed: _Parsed, at: _Parsed, path: KeyPath) -> Node:
        """Return a value.

        Args:
            parsed: the value.
            at: its key or list item, where it counts as written.
            path: to it.
        """
        self.count += 1
        if self.count > MAX_VALUES:
            message = f"a document holds at most {MAX_VALUES:,} values, aliases counted each time"
            _refuse(self.file, parsed.line, parsed.column, message)
        if len(path) > MAX_DEPTH:  # aliases can nest deeper than the text does
            return self._broken(parsed, at, path, f"this nests deeper than {MAX_DEPTH} levels")
        place = Place(self.file, at.line, at.column)
        tag = parsed.event.tag
        if tag is not None:
            shown = f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag
            message = f"the tag {short(shown)} is not allowed; remove it"
            return self._broken(parsed, at, path, message)
        if isinstance(parsed.event, yaml.MappingStartEvent):
            return Node(self._mapping(parsed, path), place)
        if isinstance(parsed.event, yaml.SequenceStartEvent):
            items = [self._node(one, one, (*path, i)) for i, one in enumerate(parsed.children)]
            return Node(items, place)
        text, plain = str(parsed.event.value), bool(parsed.event.implicit[0])
        if control := _UNREADABLE.search(text):  # from an escape such as "\0"
            return self._broken(parsed, at, path, f"a text holds {_control(control[0])}")
        if plain and text in _NULLS:
            message = (
                _null(text) if text else "there is no value here; write one, or remove the key"
            )
            message = message if path else "this document is empty; remove its '---' line"
            return self._broken(parsed, at, path, message)
        return Node(text, place, text, plain)

    def _mapping(self, parsed: _Parsed, path: KeyPath) -> dict[str, Node]:
        values: dict[str, Node] = {}
        first: dict[str, int] = {}
        for name, child in zip(parsed.children[::2], parsed.children[1::2], strict=True):
            if self._is_rest_of_number(name, child, values, path):
                continue
            key = self._key(name, path)
            if key is None:
                continue
            here = (*path, key)
            if (meant := _glued(key, name, child)) is not None:
                message = f"a space is missing after the colon; write {meant}"
                values[key] = self._broken(name, name, here, message)
                continue
            if key in values:
                message = (
                    f"the key '{short(key)}' stands twice, on lines {first[key]} and"
                    f" {name.line}; keep one"
                )
                self._complain(name, here, message)
                continue
            first[key] = name.line
            values[key] = self._node(child, name, here)
        return values

    def _is_rest_of_number(
        self, parsed: _Parsed, child: _Parsed, values: dict[str, Node], path: KeyPath
    ) -> bool:
        """Report {fail: 0,05}, which is an entry and another one without a value."""
        is_text = isinstance(parsed.event, yaml.ScalarEvent)
        key, last = str(parsed.event.value) if is_text else "", next(reversed(values), None)
        before = values[last] if last is not None else None
        if last is None or before is None or not before.plain or not _is_empty(child):
            return False
        whole = before.text or ""
        if not (re.fullmatch("[0-9]+", key) and re.fullmatch("-?[0-9]+", whole)):
            return False
        message = (
            f"{whole},{key} is two entries to YAML, which wants a decimal point; write"
            f" {whole}.{key}"
        )
        self.problems.append(Problem(*before.place, message, dotted((*path, last))))
        values[last] = replace(before, content=None, broken=True)
        return True

    def _key(self, parsed: _Parsed, path: KeyPath) -> str | None:
        """Return a key as written, or None where there is none to go on with."""
        if not isinstance(parsed.event, yaml.ScalarEvent):
            kind = "list" if isinstance(parsed.event, yaml.SequenceStartEvent) else "mapping"
            self._complain(parsed, path, f"a key must be text, not a {kind}")
            return None
        text, plain = str(parsed.event.value), bool(parsed.event.implicit[0])
        if len(text) > MAX_KEY:
            self._complain(parsed, path, f"a key is longer than {MAX_KEY} characters")
        elif control := _UNREADABLE.search(text):
            self._complain(parsed, path, f"a key holds {_control(control[0])}")
        elif plain and text == "<<":
            self._complain(parsed, path, "merge keys (<<) are not allowed; write the keys out")
        elif plain and text in _NULLS:
            self._complain(parsed, path, _null(text) if text else "a key is missing before ':'")
        elif (strange := misleading_character(text)) is not None:
            self._complain(parsed, path, f"the key '{short(text)}' is not what it seems: {strange}")
        else:
            if parsed.event.tag is not None:
                self._complain(parsed, path, f"the tag of the key '{short(text)}' is not allowed")
            return text
        return None


def _glued(key: str, parsed: _Parsed, child: _Parsed) -> str | None:
    """Return what was meant by {fail:0.05}, which is a key without a value."""
    return missing_space(key) if _is_empty(child) and parsed.event.implicit[0] else None


def _is_empty(parsed: _Parsed) -> bool:
    return isinstance(parsed.event, yaml.ScalarEvent) and bool(
        parsed.event.implicit[0] and not parsed.event.value
    )


def _null(text: str) -> str:
    return f'YAML reads {text} as no value; remove it, or write "{text}" if it is text'
