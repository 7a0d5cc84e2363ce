"""What a document's types expect at a path: the walk from a pydantic model down to a value."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from checker.yaml.source import KeyPath


@dataclass(frozen=True, slots=True)
class Form:
    """What a text that must fit a pattern is made of, in words; stands in the type's `Annotated`.

    Args:
        words: as in "it does not fit: ...".
    """

    words: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What may stand at a path.

    Args:
        kinds: the types, unions unwrapped; none where no type knows the path.
        description: of the field.
        form: of a text, in words, where it has one.
    """

    kinds: list[Any]
    description: str | None = None
    form: str | None = None

    @property
    def models(self) -> list[type[BaseModel]]:
        """Those that are mappings with known keys."""
        return [kind for kind in self.kinds if is_model(kind)]

    @property
    def keys(self) -> list[str]:
        """The keys that a mapping there may have."""
        return [key for model in self.models for key in keys_of(model)]


def expected_at(model: type[BaseModel], path: KeyPath, *, of_key: bool = False) -> Expected:
    """Return what may stand at a path below a model.

    Args:
        model: of the whole.
        path: keys as in the file, and indices.
        of_key: whether the path's last key itself is asked for, rather than its value.
    """
    found = Expected([model])
    for position, step in enumerate(path):
        found = below(found.kinds, step, of_key=of_key and position == len(path) - 1)
    return found


def below(kinds: Iterable[Any], step: str | int, *, of_key: bool = False) -> Expected:
    """Return what may stand one step below some types."""
    found: list[Any] = []
    description = form = None
    for kind in kinds:
        metadata: Iterable[Any] = ()
        if is_model(kind):
            named = kind.model_fields.items()
            field = next((one for name, one in named if (one.alias or name) == step), None)
            if field is None:
                continue
            annotation, metadata, description = field.annotation, field.metadata, field.description
        elif get_origin(kind) in (dict, list):
            annotation = get_args(kind)[0 if of_key else -1]
        else:
            continue
        found += alternatives(annotation)
        extras = [*metadata, *_extras(annotation)]
        infos = [one for one in extras if isinstance(one, FieldInfo)]
        extras += [one for info in infos for one in info.metadata]
        description = description or next((i.description for i in infos if i.description), None)
        form = form or next((one.words for one in extras if isinstance(one, Form)), None)
    return Expected(found, description, form)


def alternatives(annotation: Any) -> Iterator[Any]:
    """Unwrap Annotated and unions; None is no alternative, for a key can be left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from alternatives(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for branch in get_args(annotation):
            yield from alternatives(branch)
    elif annotation is not type(None):
        yield annotation


def is_model(kind: Any) -> bool:
    """Whether a type is a mapping with known keys."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def keys_of(model: type[BaseModel]) -> list[str]:
    """Return a model's keys as a file has them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _extras(annotation: Any) -> Iterator[Any]:
    """Yield what stands beside the types in `Annotated`, in each branch of a union."""
    if get_origin(annotation) is Annotated:
        yield from get_args(annotation)[1:]
    elif get_origin(annotation) in (Union, types.UnionType):
        for branch in get_args(annotation):
            yield from _extras(branch)
