"""Which classes a word or a code leads to: by name, synonym, what a class says, or its codes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from checker.cli.code_matches import match_texts
from checker.cli.console import plain_table, told
from checker.errors import UsageError
from checker.plugins import is_one_slip
from checker.policy.documents import AttributeClassSpec

How = Literal["name", "synonym", "description", "code", "note"]
_RANKS: tuple[How, ...] = ("name", "synonym", "code", "description", "note")
_ABOUT = frozenset({"name", "synonym", "code"})
"""What of a class is about it; other texts may mention anything."""

_NAMED = 3
_SHORTEST = 3
"""Letters that a word of a search or of a class needs for one to be the beginning of the other."""

_TELLING = 5
"""Letters of a word from which on one that resembles it was probably meant; "OCD" is not "old"."""

_AROUND = 40


@dataclass(frozen=True, slots=True)
class ClassFound:
    """Why a class was found.

    Args:
        name, title: of the class.
        how: what of it answers the search; a code before what is merely said.
        where: the words or codes that do.
    """

    name: str
    title: str
    how: How
    where: str


def find_classes(classes: Mapping[str, AttributeClassSpec], sought: str) -> list[ClassFound]:
    """Return the classes that a search leads to, the nearest first.

    Args:
        classes: by name.
        sought: words, all of which have to begin a word of one of the class's texts (or be begun by
            one of its synonyms), in any order and case; or a code, in any spelling that data have.

    Raises:
        UsageError: there is nothing to look for.
    """
    words = _words(sought)
    if not words:
        raise UsageError("write what to look for: words of a diagnosis, or a code")
    found = []
    for name, spec in classes.items():
        answers = [answer for how, text in _texts(name, spec) if (answer := _at(words, how, text))]
        answers += [("code", by) for by in _codes(name, spec, sought)]
        if answers:
            how, where = min(answers, key=lambda one: _RANKS.index(one[0]))
            found.append(ClassFound(name, spec.title, how, where))
    return sorted(found, key=lambda one: _RANKS.index(one.how))  # stable


def meant(classes: Mapping[str, AttributeClassSpec], sought: str) -> str:
    """Return what a search that led nowhere probably meant, or where all classes are listed.

    Only a slip of the hand is put right: what is further off than that is another disease. Of
    several words one may lead somewhere by itself.
    """
    words = _words(sought)
    known = sorted(
        {
            (word, how == "synonym" and len(own) == 1)
            for name, spec in classes.items()
            for how, text in _texts(name, spec)
            for own in (_words(text),)
            for word in own
            if len(word) >= _TELLING
        }
    )
    mended = " ".join(_without_slip(word, known) for word in words)
    if mended != " ".join(words) and find_classes(classes, mended):
        return f"; did you mean '{mended}'?"
    for word in words if len(words) > 1 else ():
        found = [one.name for one in find_classes(classes, word) if one.how in _ABOUT]
        if found:
            more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
            return f"; '{word}' alone leads to {', '.join(found[:_NAMED])}{more}"
    return "; `phigate classes list` names all"


def _without_slip(word: str, known: Sequence[tuple[str, bool]]) -> str:
    """Return the known word that was probably meant, or the word.

    Args:
        word: as it was typed.
        known: words of the classes, and whether all words that begin with one are meant.
    """
    if len(word) < _TELLING:
        return word
    whole = (one for one, _ in known if is_one_slip(word, one))
    begun = (
        one
        for one, is_stem in known
        if is_stem and any(is_one_slip(word[: len(one) + by], one) for by in (-1, 0, 1))
    )
    return next(itertools.chain(whole, begun), word)


def _texts(name: str, spec: AttributeClassSpec) -> Iterator[tuple[How, str]]:
    """Yield all that a class says, and what kind of text it is."""
    yield "name", name
    yield "name", spec.title
    for word in spec.words:
        yield "synonym", word
    for text in (spec.description, spec.sensitivity, *spec.also_sensitive):
        if text:
            yield "description", text
    for codes in spec.codes:
        if codes.note:
            yield "note", codes.note
    reasons = [proxy.why for proxy in spec.proxies]
    reasons += [excluded.why for excluded in spec.exclude]
    reasons += [trap.why for trap in spec.traps]
    for why in reasons:
        if why:
            yield "note", why
    for note in spec.notes:
        yield "note", note


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _at(words: list[str], how: How, text: str) -> tuple[How, str] | None:
    """Return how and where a text answers a search, or None."""
    own = _words(text)
    # "schizo" stands for all words that begin so, the "pre" of "pre-term labor" for none
    stems = how == "synonym" and len(own) == 1

    def answers(word: str) -> bool:
        begun = len(word) >= _SHORTEST and any(one.startswith(word) for one in own)
        stem = stems and any(len(one) >= _SHORTEST and word.startswith(one) for one in own)
        return word in own or begun or stem

    return (how, _snippet(text, words)) if all(map(answers, words)) else None


def _snippet(text: str, words: list[str]) -> str:
    """Return the part of a text around the first word that was sought."""
    line = " ".join(text.split())
    at = max(line.casefold().find(words[0]), 0)
    start, end = max(0, at - _AROUND), at + _AROUND
    cut = ("…" if start else "") + line[start:end] + ("…" if end < len(line) else "")
    return cut


def _codes(name: str, spec: AttributeClassSpec, sought: str) -> Iterator[str]:
    """Yield what catches a code that was sought, one text a reading."""
    for match in match_texts({name: spec}, [sought]):
        for standing, values in match.classes.values():
            yield f"{match.system} {match.code}, {standing}, by {', '.join(values)}"


def print_found(found: list[ClassFound], console: Console) -> None:
    """Print the classes that were found, and why."""
    table = plain_table("class", "title", "found in", "")
    for one in found:
        table.add_row(told(one.name), told(one.title), one.how, told(one.where))
    console.print(table)
    if not any(one.how in _ABOUT for one in found):
        console.print("No class is about this; the texts of these mention it.")
