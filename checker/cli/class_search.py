"""Which classes a word or a code leads to: by name, synonym, what a class says, or its codes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from rich.console import Console

from checker.cli.code_matches import match_texts
from checker.cli.console import plain_table, told
from checker.errors import UsageError
from checker.policy.documents import AttributeClassSpec

How = Literal["name", "synonym", "description", "code", "note"]
_RANKS: tuple[How, ...] = ("name", "synonym", "code", "description", "note")
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
    """Return "; did you mean …?" for a search that led nowhere, or where all classes are listed."""
    known = {
        word for name, spec in classes.items() for _, t in _texts(name, spec) for word in _words(t)
    }
    long = sorted(word for word in known if len(word) >= _TELLING)
    # what is further off than a slip of the hand is another disease
    near = get_close_matches(sought.casefold(), long, n=1, cutoff=0.85)
    if near and len(sought) >= _TELLING:
        return f"; did you mean '{near[0]}'?"
    return "; `phigate classes list` names all"


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
    stems = how == "synonym"  # "schizo" stands for all words that begin so

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
