"""Reading documents: YAML and its traps, shapes, places, schemas and the starter files."""

from __future__ import annotations

import hashlib
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from auditing import THREE_CLASSES
from jsonschema import Draft7Validator

from checker.errors import DocumentError, ExitCode, Problem
from checker.policy import (
    DOCUMENT_KINDS,
    check_pair,
    document_schema,
    load_documents,
    load_policy,
    load_target,
    parse_documents,
)
from checker.yaml import reading

ROOT = Path(__file__).parents[2]
STARTER = ROOT / "policies" / "starter"
STARTERS = [
    ("LeakagePolicy", "policy.yaml"),
    ("AuditTarget", "target.yaml"),
    ("Submission", "submission.yaml"),
]

POLICY = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata:
  name: ward
  version: "1.0"
spec:
  context: internal
  attackers:
    relative: {title: Relative, knows: {static: [age], events: 10}}
  attributeClasses:
    hiv:
      title: HIV
      codes:
        - {system: icd9cm, tier: definitive, values: ["042", "V08"]}
  controls:
    hiv-disclosure:
      title: Tell no HIV status
      attributeClass: hiv
      probe: attribute-disclosure
      metric: excess_disclosure
      limits:
        relative: {fail: 0.05}
"""


def problems_of(text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(DocumentError) as caught:
        parse_documents(text, file="p.yaml")
    assert all(problem.file == "p.yaml" for problem in caught.value.problems)
    assert all(problem.line >= 1 and problem.column >= 1 for problem in caught.value.problems)
    return caught.value.problems


def changed(old: str, new: str, text: str = POLICY) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def only(text: str | bytes) -> Problem:
    (problem,) = problems_of(text)
    return problem


# --- what is read -------------------------------------------------------------------------------


def test_a_policy_is_read_with_its_digest_and_lines() -> None:
    policy = load_policy(Path("p.yaml"), text=POLICY)
    assert policy.document.spec.controls["hiv-disclosure"].limits["relative"].fail == 0.05
    assert policy.sha256 == hashlib.sha256(POLICY.encode()).hexdigest()
    assert policy.file == "p.yaml"
    assert policy.place(("spec", "controls", "hiv-disclosure"))[1:] == (16, 5)
    assert policy.place(("spec", "attributeClasses", "hiv", "codes", 0, "values", 1))[1:] == (
        14,
        62,
    )


def test_a_place_that_is_not_there_is_that_of_its_nearest_ancestor() -> None:
    policy = load_policy(Path("p.yaml"), text=POLICY)
    assert policy.place(("spec", "controls", "hiv-disclosure", "severity"))[1:] == (16, 5)
    assert policy.place(("nothing",))[1:] == (1, 1)


def test_a_problem_names_place_path_and_message() -> None:
    policy = load_policy(Path("p.yaml"), text=POLICY)
    problem = policy.problem(("spec", "controls", "hiv-disclosure", "subgroups", 0), "is odd")
    assert str(problem) == "p.yaml:16:5: spec.controls.hiv-disclosure.subgroups[0]: is odd"


def test_a_file_may_hold_a_policy_and_a_target(tmp_path: Path) -> None:
    file = tmp_path / "both.yaml"
    target = (STARTER / "target.yaml").read_text()
    file.write_text(f"{POLICY}---\n{target}")
    assert [d.document.kind for d in load_documents(file)] == ["LeakagePolicy", "AuditTarget"]
    assert load_policy(file).document.metadata.name == "ward"
    assert load_target(file).document.metadata.name == "change-me-model"
    first_line = POLICY.count("\n") + 2 + target.split("apiVersion")[0].count("\n")
    assert load_target(file).place(("apiVersion",))[1:] == (first_line, 1)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing() -> None:
    content = b"\xef\xbb\xbf" + POLICY.replace("\n", "\r\n").encode()
    (policy,) = parse_documents(content, file="p.yaml")
    assert policy.place(("spec", "context"))[1:] == (7, 3)


def test_an_alias_stands_for_its_anchor_and_its_parts_are_located_there() -> None:
    text = changed("relative: {fail: 0.05}", "relative: &l {fail: 0.05}")
    text += "    again:\n      title: Again\n      attributeClass: hiv\n"
    text += "      probe: attribute-disclosure\n      metric: disclosure_rate\n"
    text += "      limits:\n        relative: *l\n"
    (policy,) = parse_documents(text, file="p.yaml")
    assert policy.document.spec.controls["again"].limits["relative"].fail == 0.05
    assert policy.place(("spec", "controls", "again", "limits", "relative"))[1:] == (29, 9)
    assert policy.place(("spec", "controls", "again", "limits", "relative", "fail"))[1:] == (22, 23)


@pytest.mark.parametrize("date", ["2026-13-45", "20301231", "2030-W01-1", "tomorrow", "1"])
def test_what_is_no_date_is_refused(date: str) -> None:
    problem = only(changed("  name: ward\n", f"  name: ward\n  reviewBy: {date}\n"))
    assert problem.message == f"'{date}' is not a date such as 2026-10-01"


@pytest.mark.parametrize("date", ["2030-01-31", '"2030-01-31"'])
def test_a_date_may_be_quoted_or_not(date: str) -> None:
    text = changed("  name: ward\n", f"  name: ward\n  reviewBy: {date}\n")
    (policy,) = parse_documents(text, file="p.yaml")
    assert policy.document.metadata.review_by.isoformat() == "2030-01-31"


# --- traps of YAML ------------------------------------------------------------------------------


# YAML 1.1 reads them as 34, 250.0, 750 (base 60), 31, false, a date, infinity and 1000.0
@pytest.mark.parametrize("code", ["042", "250.00", "30.1", "no", "On", "2026-11-01", "1e3", "007"])
def test_a_code_is_the_text_that_stands_in_the_file(code: str) -> None:
    text = changed("icd9cm", "local", changed('"042"', code))
    (policy,) = parse_documents(text, file="p.yaml")
    assert policy.document.spec.attribute_classes["hiv"].codes[0].values == [code, "V08"]


@pytest.mark.parametrize("version", ["2.10", "1", "0x1F", "2026-11-01", "1e3", "off"])
def test_a_version_is_the_text_that_stands_in_the_file(version: str) -> None:
    (policy,) = parse_documents(changed('"1.0"', version), file="p.yaml")
    assert policy.document.metadata.version == version


@pytest.mark.parametrize("name", ["no", "10", "2026-01-01", "1.5", "y"])
def test_a_name_is_the_text_that_stands_in_the_file(name: str) -> None:
    text = changed("    relative: {title", f"    {name}: {{title")
    (policy,) = parse_documents(changed("relative: {fail", f"{name}: {{fail", text), file="p.yaml")
    assert list(policy.document.spec.attackers) == [name]
    assert list(policy.document.spec.controls["hiv-disclosure"].limits) == [name]


@pytest.mark.parametrize(
    ("written", "read"),
    [("1e-3", 0.001), ("2E-2", 0.02), ("+.5", 0.5), ("1", 1.0), ("1.", 1.0), ("5.0e-1", 0.5)],
)
def test_a_number_is_read_where_a_number_is_expected(written: str, read: float) -> None:
    (policy,) = parse_documents(changed("0.05", written), file="p.yaml")
    assert policy.document.spec.controls["hiv-disclosure"].limits["relative"].fail == read


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('"0.05"', "expected a number, but found '0.05'; remove the quotes"),
        ("1e-999999999", "expected a number, but found 1e-999999999"),  # which would be read as 0
        ("1e999", "expected a number, but found 1e999"),  # which would be read as infinite
        (".inf", "expected a number, but found '.inf'"),
        (".nan", "expected a number, but found '.nan'"),
        ("5 %", "expected a number, but found '5 %'; write the fraction 0.05"),
        ("no", "expected a number, but found 'no'"),
        (
            "010",
            "expected a number, but found '010'; write it in decimal digits, without a leading"
            " zero",
        ),
    ],
)
def test_what_is_no_number_is_explained(written: str, message: str) -> None:
    problem = only(changed("0.05", written))
    assert (problem.message, problem.line, problem.column) == (message, 22, 20)


@pytest.mark.parametrize("written", ["010", "1:30", "0x10", "1_0"])  # YAML 1.1: 8, 90, 16, 10
def test_a_number_that_people_read_otherwise_is_refused(written: str) -> None:
    text = changed("  context", f"  parameters: {{minCell: {written}}}\n  context")
    assert only(text).message == (
        f"expected a whole number, but found '{written}'; write it in decimal digits, without a"
        " leading zero"
    )


@pytest.mark.parametrize(
    ("written", "rest"),
    [
        ("1.5", "1.5"),
        ("1e1", "1e1; write 10"),
        ("1,000", "'1,000'; write 1000"),  # and not 1.000, which is 1
        ("9" * 30, "9" * 30),
        ("9" * 5000, "'"),
    ],
)
def test_a_number_that_is_not_whole_is_refused_where_a_whole_one_is_expected(
    written: str, rest: str
) -> None:
    text = changed("  context", f"  parameters:\n    minCell: {written}\n  context")
    assert only(text).message.startswith(f"expected a whole number, but found {rest}")


@pytest.mark.parametrize(("written", "read"), [("true", True), ("no", False), ("TRUE", True)])
def test_a_truth_value_is_read_where_one_is_expected(written: str, read: bool) -> None:
    text = changed("      title: HIV\n", f"      title: HIV\n      benign: {written}\n")
    (policy,) = parse_documents(text, file="p.yaml")
    assert policy.document.spec.attribute_classes["hiv"].benign is read
    quoted = changed("      title: HIV\n", f'      title: HIV\n      benign: "{written}"\n')
    assert only(quoted).message == f"expected true or false, but found '{written}'"


# --- characters that are not what they seem -----------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"V08"', '"V08\u200b"', "it holds U+200B ZERO WIDTH SPACE; nobody can see it"),
        ('"V08"', '"V\u00ad08"', "it holds U+00AD SOFT HYPHEN; nobody can see it, so remove it"),
        ('"V08"', '"V08\u00a0"', "it holds U+00A0 NO-BREAK SPACE; write a space"),
        ('"V08"', '"V01–V08"', "it holds U+2013 EN DASH; write 'V01-V08'"),
        ('"V08"', '"Ⅴ08"', "it holds U+2164 ROMAN NUMERAL FIVE; write 'V08'"),
        ('"V08"', '"V0８"', "it holds U+FF18 FULLWIDTH DIGIT EIGHT; write 'V08'"),
        ("icd9cm, tier: definitive, values: [", 'local, tier: strong, values: ["С05 A", ',
         "it holds U+0421 CYRILLIC CAPITAL LETTER ES, which only looks like another letter"),
        ("static: [age]", "static: [“age”]", "it holds U+201C LEFT DOUBLE QUOTATION MARK"),
        ("metric: exc", "metric: еxc", "it holds U+0435 CYRILLIC SMALL LETTER IE"),
        ("metric: exc", '"metric\u200b": exc', "it holds U+200B ZERO WIDTH SPACE"),
        ("hiv-disclosure:", "hiv–disclosure:", "it holds U+2013 EN DASH; write 'hiv-disclosure'"),
        ("attributeClass: hiv", "attributeClass: hıv",
         "it holds U+0131 LATIN SMALL LETTER DOTLESS I"),
        ("context: internal", "context: intеrnal", "it holds U+0435 CYRILLIC SMALL LETTER IE"),
        ("fail: 0.05", "fail: −0.05", "it holds U+2212 MINUS SIGN; write '-0.05'"),
    ],
)  # fmt: skip
def test_a_character_that_is_not_what_it_seems_is_named(old: str, new: str, words: str) -> None:
    assert any(words in problem.message for problem in problems_of(changed(old, new)))


@pytest.mark.parametrize("code", ["STATION//WÖCHNERINNEN", "ОТДЕЛЕНИЕ//5", "科室//精神", "λ//κ"])
def test_letters_of_other_languages_are_no_trap(code: str) -> None:
    text = changed("icd9cm", "local", changed('"042"', code))
    (policy,) = parse_documents(text, file="p.yaml")
    assert policy.document.spec.attribute_classes["hiv"].codes[0].values[0] == code


def test_what_is_only_read_may_hold_what_its_author_likes() -> None:
    text = changed("Tell no HIV status", "“Tell no HIV status” – Müller, Ελένη B")
    (policy,) = parse_documents(text, file="p.yaml")
    assert "–" in policy.document.spec.controls["hiv-disclosure"].title


def test_a_code_of_a_code_system_is_ascii() -> None:
    problem = only(changed('"V08"', '"Ü08"'))
    assert "it holds U+00DC LATIN CAPITAL LETTER U WITH DIAERESIS" in problem.message


def test_a_duplicate_key_is_named_with_both_lines() -> None:
    problem = only(changed("  context: internal\n", "  context: internal\n  context: gated\n"))
    assert problem.message == "the key 'context' stands twice, on lines 7 and 8; keep one"
    assert (problem.line, problem.column) == (8, 3)


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, 1, "the file is empty"),
        ("# only a comment\n", 1, 1, "the file is empty"),
        ("---\n...\n", 2, 1, "this document is empty"),
        ("hello", 1, 1, "a document is a mapping"),
        ("- a\n- b\n", 1, 1, "a document is a mapping"),
        ("a: [b\nc: d\n", 2, 2, "this is not YAML"),
        ("a: b: c\n", 1, 5, "a text that holds ': ' must be quoted"),
        ("a: 'b\n", 2, 1, "this is not YAML"),
        ("a:\n\tb: c\n", 2, 1, "indented with a tab"),
        ("a: @b\n", 1, 4, "must be quoted"),
        ("a: &x [*x]\n", 1, 8, "the alias *x stands inside its own anchor"),
        ("a: &x {b: *x}\n", 1, 11, "the alias *x stands inside its own anchor"),
        ("a: *x\n", 1, 4, "the alias *x has no anchor"),
        ("a: &x 1\n---\na: *x\n", 3, 4, "the alias *x has no anchor"),
        ("[" * 200_000, 1, 33, "nests deeper than 32 levels"),
        ("{a: " * 50_000, 1, 129, "nests deeper than 32 levels"),  # 32 times 4 characters before
        ("".join(" " * i + "-\n" for i in range(500)), 33, 33, "nests deeper"),
        ("a: b\n---\n" * 30, 40, 1, "at most 20 documents"),
        ("a: \x00\n", 1, 4, "the character U+0000"),
        ("a: b\nc: \x1b[31m\n", 2, 4, "the character U+001B"),
        ("a: \ud800\n", 1, 4, "the character U+D800"),
        ("%YAML 3.0\n---\na: b\n", 1, 1, "this is not YAML"),
        ("a: " + "x" * (1 << 20), 1, 1, "larger than 1,048,576 bytes"),
        (b"a: b\nc: \xff\n", 2, 4, "not UTF-8 text: byte 0xff"),
        ("a: b\n".encode("utf-16"), 1, 1, "not UTF-8 text"),
    ],
)
def test_what_is_no_document_is_refused_with_its_place(
    text: str | bytes, line: int, column: int, words: str
) -> None:
    problem = problems_of(text)[0]
    assert words in problem.message
    assert (problem.line, problem.column) == (line, column)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("!!python/object/apply:os.system [echo]", "the tag !!python/object/apply:os.system"),
        ("!!python/name:os.system ''", "the tag !!python/name:os.system"),
        ("!!binary aGk=", "the tag !!binary"),
        ("!local x", "the tag !local"),
        ("", "there is no value here"),
        ("~", "YAML reads ~ as no value"),
        ("null", "YAML reads null as no value"),
        ('"\\0"', "the character U+0000"),
        ("{<<: {a: b}}", "merge keys"),
        ("{? [a] : b}", "a key must be text, not a list"),
        ("{? {a: b} : c}", "a key must be text, not a mapping"),
        ("{!!str a: b}", "the tag of the key 'a'"),
        ('{"\\0": b}', "a key holds the character U+0000"),
        ("{~: b}", "YAML reads ~ as no value"),
        ("{? : b}", "a key is missing before ':'"),
        ("{" + "k" * 300 + ": b}", "a key is longer than 200 characters"),
    ],
)
def test_a_value_that_no_document_may_hold_is_refused_with_its_place(
    value: str, words: str
) -> None:
    found = [p for p in problems_of(changed("ward", value)) if words in p.message]
    assert [p.line for p in found] == [4]


def test_aliases_that_multiply_are_cut_off() -> None:
    letters = "abcdefghij"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, letter in pairwise(letters):
        lines.append(f"{letter}: &{letter} [{', '.join(['*' + before] * 10)}]")
    assert "at most 100,000 values" in only("\n".join(lines)).message


def test_aliases_that_nest_are_cut_off() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 50)]
    assert any("deeper than 32 levels" in p.message for p in problems_of("\n".join(lines)))


def test_a_thousand_mistakes_are_cut_to_a_hundred() -> None:
    problems = problems_of(changed('"042"', ", ".join(["[042]"] * 1000)))
    assert len(problems) == 101
    assert problems[-1].message == "and 900 more problems from here on"


@pytest.mark.parametrize("text", ["a: 'b", 'a: "\\ud800"', 'a: "\\U00110000"', "[" * 99, POLICY])
def test_the_parser_in_plain_python_reads_the_same(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_Loader", yaml.SafeLoader)
    if text == POLICY:
        assert parse_documents(text, file="p.yaml")[0].place(("spec", "context"))[1:] == (7, 3)
    else:
        assert problems_of(text)


# --- kinds --------------------------------------------------------------------------------------


KINDS = " or ".join([", ".join([*DOCUMENT_KINDS][:-1]), [*DOCUMENT_KINDS][-1]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("phigate/v1", "phigate/v2", "unknown apiVersion 'phigate/v2'; did you mean 'phigate/v1'?"),
        (
            "LeakagePolicy",
            "LeakPolicy",
            "unknown kind 'LeakPolicy'; did you mean 'LeakagePolicy'?",
        ),
        ("LeakagePolicy", "Pod", f"unknown kind 'Pod'; expected {KINDS}"),
        ("kind: LeakagePolicy\n", "", f"'kind' is missing; expected {KINDS}"),
        ("kind: LeakagePolicy", "kind: [a]", f"'kind' must be {KINDS}"),
    ],
)
def test_an_unknown_kind_or_version_is_named(old: str, new: str, message: str) -> None:
    assert only(changed(old, new)).message == message


def test_the_wrong_kind_of_file_is_said_before_anything_else() -> None:
    with pytest.raises(
        DocumentError, match="this is of kind LeakagePolicy, but an AuditTarget"
    ) as e:
        load_target(Path("p.yaml"), text=POLICY + "nonsense: 1\n")
    assert [(p.line, p.column) for p in e.value.problems] == [(2, 1)]
    assert e.value.exit_code is ExitCode.USAGE


def test_two_policies_in_one_file_are_one_too_many() -> None:
    with pytest.raises(DocumentError, match="holds 2 documents of kind LeakagePolicy"):
        load_policy(Path("p.yaml"), text=f"{POLICY}---\n{POLICY}")


@pytest.mark.parametrize("name", ["absent.yaml", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_a_problem_without_a_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        load_policy(tmp_path / name)
    assert [p.line for p in caught.value.problems] == [0]


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        (
            "metric: exc",
            "metrik: exc",
            "spec.controls.hiv-disclosure.metrik",
            "unknown key 'metrik'; did you mean 'metric'?",
        ),
        (
            "context: internal",
            "context: intern",
            "spec.context",
            "expected 'public-weights', 'gated' or 'internal', but found 'intern';"
            " did you mean 'internal'?",
        ),
        (
            "tier: definitive",
            "tier: no",
            "spec.attributeClasses.hiv.codes[0].tier",
            "expected 'definitive', 'strong', 'suggestive' or 'exposure', but found 'no'",
        ),
        (
            "fail: 0.05",
            "fail: 5",
            "spec.controls.hiv-disclosure.limits.relative.fail",
            "5 must be at most 1",
        ),
        (
            "events: 10",
            "events: -1",
            "spec.attackers.relative.knows.events",
            "-1 must be at least 0",
        ),
        (
            "events: 10",
            "events: al",
            "spec.attackers.relative.knows.events",
            "expected a whole number or 'all', but found 'al'; did you mean 'all'?",
        ),
        (
            "static: [age]",
            "static: age",
            "spec.attackers.relative.knows.static",
            "expected a list or 'all', but found 'age'; write it in brackets: [age]",
        ),
        (
            "static: [age]",
            "static: [age, [7]]",
            "spec.attackers.relative.knows.static[1]",
            "expected text, but found a list",
        ),
        (
            "      title: HIV\n",
            "      title: [HIV]\n",
            "spec.attributeClasses.hiv.title",
            "expected text, but found a list",
        ),
        (
            "hiv-disclosure:",
            "HIV disclosure:",
            "spec.controls.HIV disclosure",
            "'HIV disclosure' does not fit: lower-case letters, digits, hyphens and dots",
        ),
        (
            "{fail: 0.05}",
            "{fail: 0.05, warn: 0.1}",
            "spec.controls.hiv-disclosure.limits.relative",
            "'warn' must not be above 'fail'",
        ),
        (
            "{fail: 0.05}",
            "{maxCount: false, minN: 9}",
            "spec.controls.hiv-disclosure.limits.relative.maxCount",
            "expected a whole number, but found 'false'",
        ),
        (
            '["042", "V08"]',
            "[]",
            "spec.attributeClasses.hiv.codes[0].values",
            "this must not be empty",
        ),
        (
            "  context",
            "  gate: {maxEvidenceAge: 90}\n  context",
            "spec.gate.maxEvidenceAge",
            "a duration is written like P90D (90 days)",
        ),
        (
            "      title: Tell no HIV status\n",
            "",
            "spec.controls.hiv-disclosure.title",
            "'title' is missing; expected text",
        ),
    ],
)
def test_a_wrong_shape_is_one_plain_sentence(old: str, new: str, path: str, message: str) -> None:
    problem = only(changed(old, new))
    assert (problem.path, problem.message) == (path, message)


@pytest.mark.parametrize(
    ("subgroup", "message"),
    [
        (
            "al",
            "expected 'all', 'rare_code' or a mapping with static, rareCode or ageOver,"
            " but found 'al'; did you mean 'all'?",
        ),
        (
            "[all]",
            "expected 'all', 'rare_code' or a mapping with static, rareCode or ageOver,"
            " but found a list",
        ),
        ("{statc: race}", "unknown key 'statc'; did you mean 'static'?"),
        (
            "{static: race, ageOver: 85}",
            "a subgroup has exactly one of 'static', 'rareCode', 'ageOver'",
        ),
        ("{ageOver: 850}", "850 must be at most 120"),
    ],
)
def test_a_union_gives_one_message_for_a_place(subgroup: str, message: str) -> None:
    text = changed("      limits:", f"      subgroups: [all, {subgroup}]\n      limits:")
    assert only(text).message == message


def test_all_problems_of_a_file_come_at_once_in_the_order_of_its_lines() -> None:
    text = changed("internal", "intern", changed('"042"', "[042]", changed("fail:", "fial:")))
    problems = problems_of(text)
    assert [p.line for p in problems] == [7, 14, 22]
    assert problems[-1].message == "unknown key 'fial'; did you mean 'fail'?"


# --- nothing gets through -----------------------------------------------------------------------


def _values(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    for key, child in children:
        here = (*path, key)
        found += _values(child, here) if isinstance(child, dict | list) else [here]
    return found


def _replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value, default=str))
    here = copy
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = new
    return copy


@pytest.mark.parametrize("path", [THREE_CLASSES, STARTER / "target.yaml"])
def test_whatever_value_is_replaced_by_nonsense_is_found_at_a_line(path: Path) -> None:
    value = yaml.safe_load(path.read_text())
    places = _values(value)
    assert len(places) > (100 if path == THREE_CLASSES else 20)
    for place in places:
        text = json.dumps(_replaced(value, place, {"no such": ["thing"]}), indent=1)
        problems_of(text)


def test_whatever_key_is_misspelt_is_found_at_a_line() -> None:
    value = yaml.safe_load((STARTER / "target.yaml").read_text())
    for path in _values(value):
        if isinstance(path[-1], str) and path[-2:-1] != ("static",):
            text = json.dumps(value, default=str).replace(f'"{path[-1]}":', '"xx":', 1)
            assert any("'xx'" in p.message for p in problems_of(text)) or path[-1] in (
                "kind",
                "apiVersion",
            )


def test_a_damaged_file_is_valid_or_a_document_error_with_lines() -> None:
    rng = random.Random(20260101)
    content = THREE_CLASSES.read_bytes()
    junk = [b"\x00", b"\xff", b"\t", b"- ", b": ", b"{", b"]", b'"', b"'", b"&a ", b"*a", b"!!x "]
    junk += [
        b"\n",
        b"# ",
        b"? ",
        b"<<: ",
        b"042",
        b"no",
        b".inf",
        b"|",
        b"\xed\xa0\x80",
        b"%",
        b"@",
    ]
    errors = 0
    for _ in range(120):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(damaged))
            damaged[start : start + rng.choice([0, 0, 1, 20])] = rng.choice(junk)
        problems: tuple[Problem, ...] = ()
        try:
            parse_documents(bytes(damaged), file="p.yaml")
        except DocumentError as error:
            problems = error.problems
        assert all(p.line >= 1 and p.column >= 1 for p in problems)
        assert all(str(p).encode() for p in problems)  # what cannot be written fails later
        errors += bool(problems)
    assert errors >= 60


# --- starters and schemas -----------------------------------------------------------------------


def test_the_starters_are_valid_without_a_warning_and_fit_each_other() -> None:
    policy = load_policy(STARTER / "policy.yaml")
    target = load_target(STARTER / "target.yaml")
    assert policy.warnings == ()
    assert target.warnings == ()
    check_pair(policy, target)


def test_every_citation_of_the_starter_is_used_and_every_control_cites() -> None:
    spec = load_policy(STARTER / "policy.yaml").document.spec
    (own,) = {*spec.citations} - {*load_policy(Path("baseline-gated@2")).document.spec.citations}
    assert own in spec.controls["substance-use"].cites
    assert all(control.cites for control in spec.controls.values())


def test_the_starters_name_a_schema_that_is_there() -> None:
    for kind, name in STARTERS:
        first = (STARTER / name).read_text().splitlines()[0]
        relative = first.removeprefix("# yaml-language-server: $schema=")
        assert (STARTER / relative).resolve() == ROOT / "schemas" / f"{kind}.json"


@pytest.mark.parametrize("kind", DOCUMENT_KINDS)
def test_a_schema_is_draft_07(kind: str) -> None:
    schema = document_schema(kind)
    Draft7Validator.check_schema(schema)
    text = json.dumps(schema)
    for keyword in ("$defs", "prefixItems", "unevaluated", "dependentRequired", '"null"'):
        assert keyword not in text
    assert schema["$id"] == f"urn:phigate:v1:{kind}"
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"


def _as_json(text: str) -> Any:
    return json.loads(json.dumps(yaml.safe_load(text), default=str))


@pytest.mark.parametrize(("kind", "name"), STARTERS)
def test_a_starter_passes_its_schema(kind: str, name: str) -> None:
    Draft7Validator(document_schema(kind)).validate(_as_json((STARTER / name).read_text()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("metric: exc", "metrik: exc"),
        ("context: internal", "context: intern"),
        ('"042"', "[042]"),
        ("fail: 0.05", "fail: -1"),
        ("{fail: 0.05}", "{warn: 0.01}"),
        ("hiv-disclosure:", "HIV disclosure:"),
        ("  name: ward\n", ""),
        ("name: ward", "name:"),
        ("      limits:", "      subgroups: [{static: a, ageOver: 3}]\n      limits:"),
    ],
)
def test_schema_and_reader_refuse_the_same(old: str, new: str) -> None:
    validator = Draft7Validator(document_schema("LeakagePolicy"))
    assert validator.is_valid(_as_json(POLICY))
    text = changed(old, new)
    assert not validator.is_valid(_as_json(text))
    assert problems_of(text)
