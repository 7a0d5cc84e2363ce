"""Documents written for whoever answers a few questions, and parts put into a policy that is there.

What is there stays as it is, comments and all: a new control or class is put in as lines of text
below `controls:` or `attributeClasses:`. Nothing is written that would not be valid afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from checker.errors import DocumentError, UsageError
from checker.policy.documents import API_VERSION, LeakagePolicy
from checker.policy.loading import load_only, parse_documents
from checker.policy.located import Located
from checker.policy.parsing import STANDARD_INPUT, read_bytes

Section = Literal["controls", "attributeClasses", "citations"]
"""The parts of a policy's `spec` that hold something by name."""


def document_text(kind: str, *, name: str, spec: Mapping[str, Any], **head: str) -> str:
    """Return a document as YAML, in the order in which it is read.

    Args:
        kind: of DOCUMENT_KINDS.
        name: of its metadata.
        spec: plain.
        head: the rest of its metadata.
    """
    return _dumped(
        {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": name, **head},
            "spec": dict(spec),
        }
    )


def checked(text: str, *, file: Path) -> Located[Any]:
    """Return the one document that a text is, so that no invalid one is written.

    Raises:
        DocumentError: with all that is wrong, at the lines it would have had.
    """
    (located,) = parse_documents(text, file=str(file))
    return located


def with_part(file: Path, section: Section, name: str, value: Mapping[str, Any]) -> str:
    """Return a policy's text with a control, class or citation more.

    Args:
        file: holds one policy, which is valid as it is, and may hold other documents.
        section: where it belongs.
        name: of the new part.
        value: plain.

    Raises:
        DocumentError: the policy is invalid, or would be with it.
        UsageError: there is one of that name, or the policy is written in a way (in braces) that no
            line can be put into; the text to put in by hand is part of the message.
    """
    if file == STANDARD_INPUT:
        raise UsageError("-: a part can be put into a file, and not into what comes through a pipe")
    policy = load_only(LeakagePolicy, file)
    if policy.file != str(file):
        raise UsageError(
            f"{file} is shipped with phigate and stays as it is; write one that extends it:"
            f" phigate new policy my-policy.yaml --extends {file}"
        )
    text = read_bytes(file).decode("utf-8-sig")
    changed = part_put_in(text, section, name, value, file=str(file))
    load_only(LeakagePolicy, file, text=changed)
    return changed


def part_put_in(
    text: str, section: Section, name: str, value: Mapping[str, Any], *, file: str
) -> str:
    """Return a policy's text with a part more, whether or not that is valid; see `with_part`."""
    spec = _spec_of(text)
    known = _child(spec, section)
    if known is not None and _child(known[1], name) is not None:
        raise UsageError(f"{file} has a part '{name}' under spec.{section} already; name it apart")
    lines = text.splitlines(keepends=True)
    body: dict[str, Any]
    whole: dict[str, Any] = {section: {name: dict(value)}}
    if known is None and isinstance(spec, yaml.MappingNode) and not spec.flow_style and spec.value:
        place = spec.value[-1][1].end_mark.line
        place = _last_written(lines, spec.value[-1][0].start_mark.line, place)
        indent, body = spec.value[0][0].start_mark.column, whole
    elif known is not None and _is_block(known[1]):
        place = known[0].start_mark.line + 1
        indent, body = known[1].value[0][0].start_mark.column, {name: dict(value)}
    else:
        raise UsageError(
            f"{file}: spec.{section} is written in braces, so that no line can be put in; add this"
            f" by hand:\n{_dumped(whole)}"
        )
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"  # the last line of a file may lack it
    end = "\r\n" if "\r\n" in text else "\n"
    new = [" " * indent + line + end for line in _dumped(body).splitlines()]
    return "".join([*lines[:place], *new, *lines[place:]])


def _spec_of(text: str) -> yaml.Node:
    """Return the node of the one policy's spec; what was read strictly before parses here too."""
    for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
        kind, spec = _child(document, "kind"), _child(document, "spec")
        if kind is not None and kind[1].value == "LeakagePolicy" and spec is not None:
            node: yaml.Node = spec[1]
            return node
    raise DocumentError([])  # pragma: no cover - there is one, or it had been refused


def _child(node: yaml.Node, key: str) -> tuple[Any, Any] | None:
    """Return the nodes of a key and its value, or None."""
    return next((pair for pair in _pairs(node) if pair[0].value == key), None)


def _pairs(node: yaml.Node) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, yaml.MappingNode):
        yield from node.value


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.MappingNode) and not node.flow_style and bool(node.value)


def _last_written(lines: list[str], start: int, end: int) -> int:
    """Return the line after the last that says something, from `start` and before `end`."""
    while end - 1 > start and not lines[end - 1].split("#")[0].strip():
        end -= 1
    return max(end, start + 1)


def _dumped(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=100)
