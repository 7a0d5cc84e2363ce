"""What is written otherwise on the site than in the repository: links, and the names of files.

The same Markdown is read in the repository and on the site. In the repository a page links to
`../CONTRIBUTING.md` or `../policies/demo.yaml`, which lie outside the site: the first of these are
taken into it (`GUESTS`), and a link to any other file becomes its name. Docstrings cite
`METHODS §4`; on the site that is a link to the section. A block of code that is a file bears
its name behind the language (`file=NAME`), which the site shows as its title: left as it stands, it
would open no block there.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[2]

GUESTS = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "policies/README.md": "policy-guide.md",
    "examples/ci/README.md": "pipelines.md",
}
"""Files outside docs/ that are pages of the site, by their place in the repository."""

_LINK = re.compile(r"(!?)\[([^\]\n]*)\]\(([^)#\s:]+)(#[^)\s]*)?\)")
_FILE = re.compile(r"^(```\w+) file=(\S+)$", re.MULTILINE)
_CITATION = re.compile(r"METHODS §(\d)")
_SECTION = re.compile(r"^## (\d)\. (.+)$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Take the guests in."""
    for place, page in GUESTS.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn what holds in the repository, links and blocks of code, into what holds on the site."""
    here = page.file.src_uri
    source = next((place for place, guest in GUESTS.items() if guest == here), f"docs/{here}")

    def on_site(link: re.Match[str]) -> str:
        picture, text, path, anchor = link.groups(default="")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if place in GUESTS:
            place = f"docs/{GUESTS[place]}"
        inside = PurePosixPath(place).parts[:1] == ("docs",)
        if inside and (place.removeprefix("docs/") in _guest_pages() or (ROOT / place).is_file()):
            start = posixpath.dirname(here) or "."
            return f"{picture}[{text}]({posixpath.relpath(place[5:], start)}{anchor})"
        names_it = text.startswith("`") or text == PurePosixPath(place).stem
        return text if names_it else f"{text} (`{place}`)"

    return _FILE.sub(r'\1 title="\2"', _LINK.sub(on_site, markdown))


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Link every citation of the methods to its section.

    Raises:
        PluginError: a block of code was not read as one.
    """
    if re.search(r"^(<p>)?```", html, re.MULTILINE):
        raise PluginError(f"{page.file.src_uri}: a block of code is shown as text")
    methods = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    anchors = {number: _slug(f"{number}. {title}") for number, title in _SECTION.findall(methods)}

    def linked(citation: re.Match[str]) -> str:
        target = f"methods.html#{anchors[citation[1]]}"
        return f'<a href="{get_relative_url(target, page.url)}">{citation[0]}</a>'

    return _CITATION.sub(linked, html)


def _guest_pages() -> set[str]:
    return set(GUESTS.values())


def _slug(heading: str) -> str:
    """Return a heading's anchor, as both the site and the repository's host make it."""
    words = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
    return re.sub(r"\s", "-", words)
