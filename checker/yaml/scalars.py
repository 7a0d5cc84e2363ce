"""What a scalar's text is, by the type that expects it.

YAML 1.1 guesses what an unquoted scalar means from its spelling: 042 is 34, no is false, 12:30 is
750, and 1e-3 is text. Here a scalar is the text that stands in the file, and only a type that
expects a number or a truth value reads one from it. Whatever it cannot read stays text, which the
type then refuses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

from checker.yaml.expected import alternatives, below
from checker.yaml.source import Node

DECIMAL = re.compile(
    r"[-+]?((0|[1-9][0-9]{0,63})(\.[0-9]{0,64})?|\.[0-9]{1,64})([eE][-+]?[0-9]{1,9})?"
)
"""A number as people and YAML write it: no leading zeros, no base but ten, no thousands."""
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def typed(node: Node, kinds: Iterable[Any]) -> Node:
    """Read the scalars of a node as the types that expect them.

    Args:
        node: whose scalars are text; those that were read before stay as they are.
        kinds: what may stand there; unions are to be unwrapped.

    Returns:
        The node with numbers and truth values where these are expected and written without quotes.
    """
    kinds = list(kinds)
    if node.is_mapping:
        content = {key: typed(one, below(kinds, key).kinds) for key, one in node.content.items()}
        return replace(node, content=content)
    if node.is_list:
        items = [get_args(kind)[0] for kind in kinds if get_origin(kind) is list]
        inner = [kind for item in items for kind in alternatives(item)]
        return replace(node, content=[typed(one, inner) for one in node.content])
    if not node.plain or str in kinds or not isinstance(node.content, str):
        return node
    # `Literal[5, 10]` expects whole numbers
    kinds += [type(one) for kind in kinds if get_origin(kind) is Literal for one in get_args(kind)]
    return replace(node, content=_read(node.content, kinds))


def _read(text: str, kinds: list[Any]) -> str | bool | int | float:
    if bool in kinds and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    numbers = int in kinds or float in kinds  # a whole number will do where any is expected
    if numbers and _WHOLE.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    if float in kinds and DECIMAL.fullmatch(text):
        value = float(text)
        vanished = value == 0 and re.search("[1-9]", re.split("[eE]", text)[0])
        return value if math.isfinite(value) and not vanished else text
    return text
