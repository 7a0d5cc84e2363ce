"""YAML text as values that know their lines, and what is wrong with it in words."""

from __future__ import annotations

from checker.yaml.characters import foreign_character, misleading_character
from checker.yaml.comments import texts_cut_off
from checker.yaml.expected import Form
from checker.yaml.reading import MAX_BYTES, MAX_PROBLEMS, read_sources
from checker.yaml.scalars import typed
from checker.yaml.shape import mended, shape_problems
from checker.yaml.source import KeyPath, Node, Place, Say, Source, dotted, short

__all__ = [
    "MAX_BYTES",
    "MAX_PROBLEMS",
    "Form",
    "KeyPath",
    "Node",
    "Place",
    "Say",
    "Source",
    "dotted",
    "foreign_character",
    "mended",
    "misleading_character",
    "read_sources",
    "shape_problems",
    "short",
    "texts_cut_off",
    "typed",
]
