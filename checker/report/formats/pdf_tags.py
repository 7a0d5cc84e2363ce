"""What WeasyPrint's tags leave open of PDF/UA-1, mended before a PDF is written.

Works on the objects of `pydyf.PDF`, the list of what a file will hold: dictionaries, arrays, and
content streams that are lists of operators. Nothing here imports it.

* What stands in the margins of a page (the running line, its number) repeats, and has no place in
  the order of reading: it becomes an artifact (ISO 14289-1, 7.1).
* Header cells say whether they head a column or a row (7.5).
* Links say in words where they lead (7.18.5).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

_HEADINGS = ("h1", "h2", "h3", "h4", "caption", "th", "dt")
_LONGEST = 100


def places(root: ET.Element) -> dict[str, str]:
    """Return by id what stands at each place of a page that can be linked to, in a few words."""
    found = {}
    for element in root.iter():
        name = element.get("id")
        if name is None:
            continue
        heading = next((one for one in element.iter() if one.tag in _HEADINGS), element)
        words = " ".join("".join(heading.itertext()).split())
        found[name] = words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"
    return found


def mend_tags(pdf: Any, string: Any, links: Mapping[str, str]) -> None:
    """Mend the structure of a PDF that is about to be written.

    Args:
        pdf: a `pydyf.PDF`.
        string: `pydyf.String`.
        links: by name of a place, what stands there.
    """
    objects = {one.reference: one for one in pdf.objects}
    root = objects[pdf.catalog["StructTreeRoot"]]
    _make_artifacts(pdf, objects, root)
    for element in _elements(objects, root):
        if element["S"] == "/TH":
            group = objects[objects[element["P"]]["P"]]
            element["A"]["Scope"] = "/Column" if group["S"] == "/THead" else "/Row"
    for one in pdf.objects:
        if isinstance(one, dict) and one.get("Subtype") == "/Link" and "Dest" in one:
            one["Contents"] = string(links.get(one["Dest"].string, one["Dest"].string))
    if "AF" in pdf.catalog:  # WeasyPrint names each attachment twice
        pdf.catalog["AF"][:] = dict.fromkeys(pdf.catalog["AF"])


def _elements(objects: Mapping[bytes, Any], root: Any) -> Iterator[Any]:
    """Yield the structure elements that hang in the tree."""
    waiting = list(root["K"])
    while waiting:
        found = objects.get(waiting.pop()) if waiting else None
        if isinstance(found, dict) and found.get("Type") == "/StructElem":
            yield found
            waiting += [kid for kid in found["K"] if isinstance(kid, bytes)]


def _make_artifacts(pdf: Any, objects: Mapping[bytes, Any], root: Any) -> None:
    """Mark as artifacts what is marked in a page and hangs in no tree: the margins' content."""
    in_tree = {element.reference for element in _elements(objects, root)}
    numbers = objects[root["ParentTree"]]["Nums"]
    owners = dict(zip(numbers[::2], numbers[1::2], strict=True))
    for page in (one for one in pdf.objects if isinstance(one, dict)):
        if page.get("Type") != "/Page":
            continue
        parents, content = owners[page["StructParents"]], objects[page["Contents"]].stream
        for place, operand in enumerate(content):
            if not isinstance(operand, dict) or "MCID" not in operand:
                continue
            number = operand["MCID"]
            if parents[number] not in in_tree:
                content[place - 1] = "/Artifact"
                operand.clear()
                operand["Type"] = "/Pagination"
                parents[number] = "null"
