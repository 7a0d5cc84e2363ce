"""Characters that people do not see, or take for others: they are named where they do harm.

A code, name or pattern is compared character by character. One that was pasted from a word
processor may hold a space that nobody sees, a curly quotation mark, a long dash, or a Cyrillic
letter that looks like a Latin one; it then matches nothing, and what matches nothing is not
audited (Unicode Technical Report 36, "Security Considerations").
"""

from __future__ import annotations

import unicodedata

_MEANT = {
    **dict.fromkeys("‘’‚‛′ʹʼ", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("‐‑‒–—―−⁃", "-"),
    **dict.fromkeys("⁄∕", "/"),
    **dict.fromkeys("∗⁎", "*"),
    "…": "...",
    "·": ".",
}
"""What was probably typed before a program made it prettier."""
_LONGEST_ADVICE = 60
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0\u00ad\u034f\u180e")
"""Beside those whose category says so."""
_ALIKE = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")
"""Scripts with letters that look like Latin ones; wrong only beside Latin ones."""


def misleading_character(text: str) -> str | None:
    """Say which character of a text is not what it seems, or return None.

    >>> misleading_character("F10–F16")
    "it holds U+2013 EN DASH; write 'F10-F16'"
    >>> misleading_character("STATION//Wöchnerinnen")
    """
    latin = any(c.isascii() and c.isalpha() for c in text)
    for character in text:
        if not character.isascii() and (_is_misleading(character) or (latin and _looks(character))):
            return _named(character, text)
    return None


def foreign_character(text: str) -> str | None:
    """Say which character of a text that must be ASCII is not, or return None."""
    found = next((character for character in text if not character.isascii()), None)
    return None if found is None else _named(found, text)


def _is_misleading(character: str) -> bool:
    # a form for compatibility (full-width, ligature, no-break space) is another spelling
    return (
        character in _MEANT
        or _is_invisible(character)
        or unicodedata.category(character)[0] == "Z"
        or unicodedata.normalize("NFKC", character) != unicodedata.normalize("NFC", character)
    )


def _is_invisible(character: str) -> bool:
    return character in _INVISIBLE or unicodedata.category(character) in ("Cf", "Cc", "Co")


def _looks(character: str) -> bool:
    return unicodedata.name(character, "").startswith(_ALIKE)


def _typed(character: str) -> str:
    return _MEANT.get(character) or unicodedata.normalize("NFKC", character)


def _named(character: str, text: str) -> str:
    name = f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
    meant = _typed(character).strip()
    if _is_invisible(character):
        advice = "; nobody can see it, so remove it"
    elif unicodedata.category(character)[0] == "Z":
        advice = "; write a space"
    elif meant.isascii() and meant:
        whole = "".join(map(_typed, text))
        shown = whole if len(whole) <= _LONGEST_ADVICE and whole.isascii() else meant
        advice = f"; write '{shown}'"
    else:
        advice = ", which only looks like another letter" if _looks(character) else ""
    return f"it holds {name}{advice}"
