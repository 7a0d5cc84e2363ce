"""Mistakes that people make in YAML files, made on purpose: seeded, and each known to be one."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import numpy as np
import yaml
from pydantic import BaseModel

from checker.plugins import load_plugin
from checker.policy import DOCUMENT_KINDS

WRONG_VALUES = ("[]", "{}", "[[1]]", "{a: 1}", '"nonsense of no kind"', "-17.5", "true")


@dataclass(frozen=True)
class Spot:
    """A key or a value in a text.

    Args:
        start, end: where it stands.
        text: as written, without quotes.
        known: the words that may stand there.
        line: from 1.
    """

    start: int
    end: int
    text: str
    known: tuple[str, ...]
    line: int


def slip(word: str, rng: np.random.Generator) -> str:
    """Return a word with one letter too many, too few, wrong, or swapped with the next."""
    letters = string.ascii_letters
    while True:
        place = int(rng.integers(len(word)))
        letter = letters[int(rng.integers(len(letters)))]
        kind = rng.choice(["insert", "delete", "replace", "swap"])
        if kind == "insert":
            other = word[:place] + letter + word[place:]
        elif kind == "delete":
            other = word[:place] + word[place + 1 :]
        elif kind == "replace":
            other = word[:place] + letter + word[place + 1 :]
        else:
            other = word[:place] + word[place : place + 2][::-1] + word[place + 2 :]
        if other not in ("", word):
            return other


def spots(text: str) -> Iterator[Spot]:
    """Yield the keys that a document's types know, and the values that are one of a few words."""
    yield from _spots(*_root(text))


def required_lines(text: str) -> Iterator[tuple[int, int]]:
    """Yield first and last line (from 1) of entries that a document cannot do without."""
    for mapping, models in _mappings(*_root(text)):
        if mapping.flow_style:
            continue
        needed = [
            {f.alias for f in model.model_fields.values() if f.is_required()} for model in models
        ]
        for key, value in mapping.value:
            if needed and all(key.value in one for one in needed):
                last = value.end_mark.line + (value.end_mark.column > 0)
                yield key.start_mark.line + 1, last


def typed_values(text: str) -> Iterator[Spot]:
    """Yield plain values whose type is not text."""
    for mapping, models in _mappings(*_root(text)):
        for key, value in mapping.value:
            types = _types_of(models, key.value)
            if isinstance(value, yaml.ScalarNode) and types and str not in types:
                yield _spot(value, ())


def _root(text: str) -> tuple[yaml.Node, list[Any]]:
    """Return a document's node and the type of its kind."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None
    return root, [DOCUMENT_KINDS[yaml.safe_load(text)["kind"]]]


def _spot(node: yaml.Node, known: tuple[str, ...]) -> Spot:
    start, end = node.start_mark, node.end_mark
    text = node.value if isinstance(node, yaml.ScalarNode) else ""
    return Spot(start.index, end.index, text, known, start.line + 1)


def _spots(node: yaml.Node, types: list[Any]) -> Iterator[Spot]:
    for mapping, models in _mappings(node, types):
        if models:
            names = tuple(str(f.alias) for m in models for f in m.model_fields.values())
            yield from (_spot(key, names) for key, _ in mapping.value if not key.style)
        for key, value in mapping.value:
            choices = tuple(
                str(word)
                for one in _types_of(models, key.value)
                if get_origin(one) is Literal
                for word in get_args(one)
            )
            if choices and isinstance(value, yaml.ScalarNode) and value.value in choices:
                yield _spot(value, choices)
        fields = {key.value: value for key, value in mapping.value}
        if "probe" in fields and "metric" in fields:  # words that a plug-in knows
            probe = load_plugin("phigate.probes", fields["probe"].value)
            metrics = tuple(name for name, one in probe.metrics.items() if one.limitable)
            yield _spot(fields["metric"], metrics)
            names = tuple(str(f.alias) for f in probe.params.model_fields.values())
            if "params" in fields:
                yield from (_spot(key, names) for key, _ in fields["params"].value)


def _mappings(
    node: yaml.Node, types: list[Any]
) -> Iterator[tuple[yaml.MappingNode, list[type[BaseModel]]]]:
    """Yield each mapping with the models that it may be of; none for mappings by free names."""
    flat = [one for kind in types for one in _unwrapped(kind)]
    if isinstance(node, yaml.MappingNode):
        models = [one for one in flat if isinstance(one, type) and issubclass(one, BaseModel)]
        yield node, models
        free = [get_args(one)[1] for one in flat if get_origin(one) is dict]
        for key, value in node.value:
            yield from _mappings(value, [*_types_of(models, key.value), *free])
    elif isinstance(node, yaml.SequenceNode):
        inner = [get_args(one)[0] for one in flat if get_origin(one) is list]
        for value in node.value:
            yield from _mappings(value, inner)


def _types_of(models: list[type[BaseModel]], key: str) -> list[Any]:
    return [
        one
        for model in models
        for field in model.model_fields.values()
        if field.alias == key
        for one in _unwrapped(field.annotation)
    ]


def _unwrapped(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if hasattr(annotation, "__metadata__"):
        yield from _unwrapped(get_args(annotation)[0])
    elif origin is not None and origin not in (list, dict, Literal):
        for branch in get_args(annotation):
            yield from _unwrapped(branch)
    elif annotation is not type(None):
        yield annotation
