"""Whether a file speaks of phigate at all, told from its text without reading it as YAML.

A hook is shown every YAML file of a repository. Those of other programs are none of phigate's
business, whatever their syntax; one of phigate's that is broken must still be found. So the head of
a document decides, wherever in the file it stands, and no file's name.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from checker.errors import DocumentError
from checker.policy.parsing import DOCUMENT_KINDS, read_bytes

_KEY = r"(?m)^[ \t{,\"'-]*{}[\"']?[ \t]*:[ \t]*[\"']?"
_OURS = re.compile(_KEY.replace("{}", "apiVersion") + "phigate/")
_KIND = re.compile(_KEY.replace("{}", "kind") + f"({'|'.join(DOCUMENT_KINDS)})\\b")


def kinds_named(path: Path) -> frozenset[str] | None:
    """Return the kinds of phigate's documents that a file's text names.

    Args:
        path: of any file.

    Returns:
        None where nothing in the file says that it is phigate's. A file that only says so in its
        `apiVersion` names no kind; one that cannot be read could be anything, so it names all.
    """
    try:
        text = _decoded(read_bytes(path)).lstrip("\ufeff")
    except DocumentError:
        return frozenset(DOCUMENT_KINDS)
    kinds = frozenset(found[1] for found in _KIND.finditer(text))
    return kinds if kinds or _OURS.search(text) else None


def files_in(place: Path) -> Iterator[Path]:
    """Yield a file as it is named, and of a folder the YAML files in it that speak of phigate.

    Args:
        place: a file, whatever it holds, or a folder; what is hidden in it does not count.
    """
    if not place.is_dir():
        yield place
        return
    for file in sorted(place.rglob("*.y*ml")):
        hidden = any(part.startswith(".") for part in file.relative_to(place).parts)
        if file.is_file() and not hidden and kinds_named(file) is not None:
            yield file


def _decoded(content: bytes) -> str:
    for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        if content.startswith(mark):
            return content.decode("utf-16", errors="replace")
    return content.decode("utf-8", errors="replace")
