"""Values that keep the place they were written at while documents are put together.

A `Source` is one document of one file. Where a document is resolved from several, its parts are
moved about as `Node`s, each of which remembers file, line and column, and become a `Source` again
that answers for every part with the file it came from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from checker.policy.source import KeyPath, Place, Scalar, Source

__all__ = ["Node", "tree_of", "with_tree"]


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it was written.

    Args:
        content: a scalar, a dict of nodes, or a list of nodes.
        place: of its key or list item.
        scalar: as written, for scalars.
        broken: it could not be read, which is reported already.
    """

    content: Any
    place: Place
    scalar: Scalar | None = None
    broken: bool = False

    @property
    def value(self) -> Any:
        """The plain value."""
        if isinstance(self.content, dict):
            return {key: node.value for key, node in self.content.items()}
        if isinstance(self.content, list):
            return [node.value for node in self.content]
        return self.content

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return isinstance(self.content, dict)

    @property
    def is_list(self) -> bool:
        """Whether it has items."""
        return isinstance(self.content, list)

    def at(self, path: KeyPath) -> Node | None:
        """Return what stands at a path below, or None."""
        node = self
        for step in path:
            index = node.is_list and isinstance(step, int) and step < len(node.content)
            if not index and not (node.is_mapping and step in node.content):
                return None
            node = node.content[step]
        return node

    def but(self, **changes: Node | None) -> Node:
        """Return this mapping with keys replaced, or left out where None is given."""
        content = {**self.content, **changes}
        return replace(self, content={k: v for k, v in content.items() if v is not None})

    @classmethod
    def written(cls, value: Any, place: Place) -> Node:
        """Return a plain value as if all of it stood at one place."""
        if isinstance(value, dict):
            return cls({key: cls.written(one, place) for key, one in value.items()}, place)
        if isinstance(value, list):
            return cls([cls.written(one, place) for one in value], place)
        return cls(value, place)


def tree_of(source: Source, path: KeyPath = ()) -> Node:
    """Return a document, or the part of it at a path, as nodes."""
    value = source.value
    for step in path:
        value = value[step]
    return _node(source, value, path)


def _node(source: Source, value: Any, path: KeyPath) -> Node:
    content = value
    if isinstance(value, dict):
        content = {key: _node(source, one, (*path, key)) for key, one in value.items()}
    elif isinstance(value, list):
        content = [_node(source, one, (*path, i)) for i, one in enumerate(value)]
    return Node(content, source.place(path), source.scalars.get(path), path in source.broken)


def with_tree(source: Source, tree: Node) -> Source:
    """Return a source that holds a tree instead of what it held; its problems stay."""
    places: dict[KeyPath, Place] = {}
    scalars: dict[KeyPath, Scalar] = {}
    broken: set[KeyPath] = set()

    def visit(node: Node, path: KeyPath) -> None:
        places[path] = node.place
        if node.scalar is not None:
            scalars[path] = node.scalar
        if node.broken:
            broken.add(path)
        if node.is_mapping:
            for key, child in node.content.items():
                visit(child, (*path, key))
        elif node.is_list:
            for index, child in enumerate(node.content):
                visit(child, (*path, index))

    visit(tree, ())
    return replace(
        source,
        value=tree.value,
        places={path: (place.line, place.column) for path, place in places.items()},
        files={path: place.file for path, place in places.items() if place.file != source.file},
        scalars=scalars,
        broken=frozenset(broken),
    )
