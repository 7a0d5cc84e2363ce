"""What every page that phigate writes is made with: templates, style, and what a page may do.

No network and no font but the reader's own. The content security policy in a page lets nothing
load, and only the style sheet and the script that were put in (by their hashes) apply, so that even
a mistake in a template could not make a hostile code label do anything. Jinja2 escapes everything;
`plain` takes away what escaping does not: control characters and direction overrides.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from checker.report.wording import (
    audience,
    cells,
    decision,
    declared,
    depth,
    findings,
    measures,
    numbers,
    paper,
    people,
    prerequisites,
    sources,
    standing,
    submission,
    terms,
    times,
)
from checker.report.wording.numbers import grouped
from checker.report.wording.plain import plain, shorten
from checker.resources import resource

_WORDS = (
    audience,
    cells,
    decision,
    declared,
    depth,
    findings,
    measures,
    numbers,
    paper,
    people,
    prerequisites,
    sources,
    standing,
    submission,
    terms,
    times,
)
"""The modules whose words templates use, by the modules' names."""


def static_text(name: str) -> str:
    """Return one of the shipped files that go into pages."""
    return resource(f"reports/static/{name}").read_text(encoding="utf-8")


def content_policy(style: str, script: str | None = None) -> str:
    """Return what a page may do: apply its own style sheet and script, and nothing else."""
    allowed = "" if script is None else f" script-src '{_hash(script)}';"
    return (
        f"default-src 'none'; style-src '{_hash(style)}';{allowed}"
        " base-uri 'none'; form-action 'none'"
    )


def _hash(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


@cache
def environment() -> Environment:
    """Return the templates, set up so that whatever they print can only be read."""
    made = Environment(
        loader=FileSystemLoader(resource("reports/templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printable,
    )
    made.filters |= {
        "web_link": _web_link,
        "short": shorten,
        "isolated": _isolated,
        "flat": _flat,
        "grouped": grouped,
    }
    made.globals |= {module.__name__.rpartition(".")[2]: module for module in _WORDS}
    return made


def _printable(value: Any) -> Any:
    """Everything a template prints passes here, before it is escaped."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _isolated(value: object, length: int) -> Markup:
    """Return words from outside, cut, and set apart so that their direction stays their own."""
    return Markup("<bdi>{}</bdi>").format(escape(shorten(value, length)))


def _web_link(url: str | None) -> str | None:
    """Return an address that may stand in a link: the web, and nothing that could run."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and parts.netloc else None


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested mappings as "a.b" and text, in order."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name}.")
        elif isinstance(inner, list):
            yield f"{prefix}{name}", ", ".join(str(item) for item in inner)
        else:
            yield f"{prefix}{name}", str(inner)
