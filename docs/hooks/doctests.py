"""Doctests of docstrings as examples: left in the text, `[0.95, 0.975]` would be read as a link."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_DOCTEST = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)


class Doctests(griffe.Extension):
    """Puts every doctest into a section of examples."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = _DOCTEST.sub(
                lambda found: "Examples:\n" + textwrap.indent(found[0], "    "), obj.docstring.value
            )
