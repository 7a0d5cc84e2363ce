"""From matplotlib's SVG to a part of the page.

A drawing is made to live inside the report: its colours are classes that the page's style sheet
sets for light and for dark (the attributes beside them are for readers without it), its text is
text, its ids are its own, and it needs no inline style, which the page's content security policy
forbids.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from checker.report.palette import ROLES
from checker.report.wording.plain import plain

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


def for_page(raw: bytes, key: str, title: str, description: str) -> str:
    """Turn matplotlib's file into an element that obeys the page.

    Args:
        raw: the file.
        key: prefixes its ids.
        title: what is drawn.
        description: everything the drawing shows, in words.
    """
    root = ET.fromstring(raw)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}:
                parent.remove(child)
    used = _references(root)
    for element in root.iter():
        _unstyle(element)
        _own_ids(element, key, used)
    _flatten(root)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("class", "drawing")
    root.set("role", "img")
    root.set("aria-labelledby", f"{key}-title {key}-desc")
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(f"{{{_SVG}}}{tag}", {"id": f"{key}-{tag}"})
        element.text = plain(text)
        root.insert(place, element)
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    return ET.tostring(root, encoding="unicode")


def _flatten(parent: ET.Element) -> None:
    """Take away groups that group nothing: most of matplotlib's, once their ids are gone."""
    children: list[ET.Element] = []
    for child in parent:
        _flatten(child)
        child.tail = None
        is_idle = child.tag == f"{{{_SVG}}}g" and not child.attrib
        is_empty = child.tag in {f"{{{_SVG}}}g", f"{{{_SVG}}}defs"} and not len(child)
        children += [] if is_empty else child if is_idle else [child]
    if len(children):
        parent.text = None
    parent[:] = children


def _references(root: ET.Element) -> set[str]:
    """Return the ids that something in the drawing points to."""
    used = set()
    for element in root.iter():
        for value in element.attrib.values():
            if value.startswith("url(#"):
                used.add(value[5:-1])
            elif value.startswith("#"):
                used.add(value[1:])
    return used


def _unstyle(element: ET.Element) -> None:
    """Turn an inline style into attributes, and the colours of roles into classes."""
    rules = element.attrib.pop("style", "").split(";")
    style = {
        name.strip(): value.strip()
        for name, colon, value in (rule.partition(":") for rule in rules)
        if colon
    }
    style.pop("font-family", None)  # the page's font
    classes = []
    for name, value in style.items():
        element.set(name, value)
        if name in {"fill", "stroke"} and value in ROLES:
            classes.append(f"{name}-{ROLES[value]}")
    if classes:
        element.set("class", " ".join(classes))


def _own_ids(element: ET.Element, key: str, used: set[str]) -> None:
    """Prefix the ids that are pointed to, and drop the others: a page must not repeat an id."""
    name = element.attrib.pop("id", None)
    if name in used:
        element.set("id", f"{key}-{name}")
    for attribute, value in element.attrib.items():
        if value.startswith("url(#"):
            element.set(attribute, f"url(#{key}-{value[5:]}")
        elif attribute == f"{{{_XLINK}}}href" and value.startswith("#"):
            element.set(attribute, f"#{key}-{value[1:]}")
