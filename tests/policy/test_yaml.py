"""`checker.yaml` by itself: nodes with places, scalars by type, characters, and its examples.

Here and not in `tests/yaml`, which would stand before PyYAML where tests import it.
"""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from checker import yaml as package
from checker.errors import DocumentError
from checker.yaml import Node, Source, misleading_character, read_sources, typed

MODULES = [f"checker.yaml.{module.name}" for module in pkgutil.iter_modules(package.__path__)]


def read(text: str) -> Source:
    (source,) = read_sources(text, file="f.yaml")
    return source


class Inner(BaseModel):
    share: float | None = None
    count: int | Literal["all"] = 0
    name: str | None = None
    level: Literal[5, 10] = 5
    on: bool = False


class Outer(BaseModel):
    parts: dict[str, Inner] = {}
    numbers: list[Annotated[int, Field(ge=0)]] = []
    either: list[Literal["all"] | Inner] = []
    words: list[str] | Literal["all"] = []
    loose: dict[str, object] = {}


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings_give_what_they_say(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_a_scalar_is_its_text_and_knows_whether_it_was_quoted() -> None:
    source = read('a: 042\nb: "042"\nc: [no, 1e3]\n')
    assert source.value == {"a": "042", "b": "042", "c": ["no", "1e3"]}
    nodes = [source.at(path) for path in (("a",), ("b",), ("c", 1))]
    assert [(n.text, n.plain) for n in nodes if n] == [("042", True), ("042", False), ("1e3", True)]


def test_a_key_has_the_place_of_its_value_and_an_item_its_own() -> None:
    source = read("a:\n  b: [x,\n      y]\n")
    assert source.place(("a", "b")) == ("f.yaml", 2, 3)
    assert source.place(("a", "b", 1)) == ("f.yaml", 3, 7)
    assert source.place(("a", "b", 1, "nothing")) == ("f.yaml", 3, 7)


def test_scalars_are_read_as_the_types_that_expect_them() -> None:
    source = read(
        "parts: {x: {share: 1e-3, count: 10, name: 10, on: yes, level: 10},"
        " y: {count: all, share: 2}}\n"
        'numbers: [1, "2", 03]\neither: [all, {count: 7}]\nwords: [1, true]\nloose: {k: 1}\n'
    )
    assert typed(source.root, [Outer]).value == {
        "parts": {
            "x": {"share": 0.001, "count": 10, "name": "10", "on": True, "level": 10},
            "y": {"count": "all", "share": 2},
        },
        "numbers": [1, "2", "03"],  # what is quoted or no number stays text, for pydantic to refuse
        "either": ["all", {"count": 7}],
        "words": ["1", "true"],
        "loose": {"k": "1"},
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [("0,05", "0.05"), ("1,000", "1000, or 1.000"), ("0,050", "0.050"), ("12,5", "12.5")],
)
def test_a_comma_in_a_number_is_no_advice_to_ask_for_a_thousandth(written: str, meant: str) -> None:
    (problem,) = read(f"a: {{b: {written}}}").problems
    assert problem.message.endswith(f" which wants a decimal point; write {meant}")


def test_reading_scalars_twice_changes_nothing() -> None:
    once = typed(read("parts: {x: {share: 0.5, count: 3}}").root, [Outer])
    assert typed(once, [Outer]) == once


def test_what_is_broken_is_said_once_however_often_it_is_referred_to() -> None:
    source = read("a: &x {b: 1, b: 2}\nc: [*x, *x]\n")
    assert [problem.path for problem in source.problems] == ["a.b"]
    assert source.value["c"] == [{"b": "1"}, {"b": "1"}]


@pytest.mark.parametrize("text", ["{*a : 1}", "&a x: {*a : 1}"])
def test_a_key_is_written_out(text: str) -> None:
    (problem,) = read(text).problems
    assert problem.message == "a key must be text, not an alias; write it out"


def test_a_key_may_be_an_anchor() -> None:
    assert read("&k a: *k\nb: *k\n").value == {"a": "a", "b": "a"}


def test_what_a_wrong_key_holds_is_beside_the_point() -> None:
    source = read("? [a, {b: c, b: d}]\n: {e: 1, e: 2}\nf: g\n")
    assert source.value == {"f": "g"}
    assert [problem.message for problem in source.problems] == ["a key must be text, not a list"]


def test_aliases_count_and_nest_as_if_written_out() -> None:
    ten = "a: &a [" + ", ".join("x" * 10) + "]\n"
    assert len(read(ten + "b: [*a, *a]\n").value["b"]) == 2
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 40)]
    assert any("deeper than 32 levels" in p.message for p in read("\n".join(lines)).problems)
    bomb = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 25)]
    with pytest.raises(DocumentError, match="at most 100,000 values"):
        read("\n".join(bomb))


@pytest.mark.parametrize("text", ["Wöchnerinnen", "ОТДЕЛЕНИЕ 5", "科室", "F10-F16", "a b", ""])
def test_ordinary_text_misleads_nobody(text: str) -> None:
    assert misleading_character(text) is None


@pytest.mark.parametrize(
    "character", "\u200b\u200d\ufeff\u00ad\u2060\u202e\u3164\u00a0\u2028\ufb01"
)
def test_invisible_and_compatible_characters_mislead(character: str) -> None:
    said = misleading_character(f"F1{character}0")
    assert said is not None
    assert f"U+{ord(character):04X}" in said


def test_parts_of_a_node_are_replaced_without_changing_it() -> None:
    node = read("a: 1\nb: 2\n").root
    other = node.but(a=None, b=Node.written([1], node.place))
    assert (node.value, other.value) == ({"a": "1", "b": "2"}, {"b": [1]})
