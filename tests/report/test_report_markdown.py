"""Markdown: what a pull request is told, and what hostile text cannot make of it."""

from __future__ import annotations

import html
import re
from functools import cache
from html.parser import HTMLParser

import pytest
import report_builder as build
from cmarkgfm import github_flavored_markdown_to_html
from cmarkgfm.cmark import Options
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from properties import examples
from report_cases import CASES, case

from checker.report.formats.markdown import render_markdown
from checker.report.formats.markdown_syntax import escape, escape_markup, table
from checker.report.wording.plain import plain

# GitHub refuses a longer comment
LONGEST_COMMENT = 65_536
# what a forge looks for in the text that Markdown has become
REACHING_OUT = re.compile(
    r"(?:^|\W)@\w|(?:^|\W)#\d|(?:^|\s)[!%$&~^]\w|\b[A-Z]{2,}-\d|:[\w+-]+:|^/\w", re.MULTILINE
)
OWN_TAGS = {
    "h2", "h3", "p", "strong", "code", "blockquote", "table", "thead", "tbody", "tr", "th", "td",
    "ul", "li",
}  # fmt: skip


class Page(HTMLParser):
    """What Markdown has become: its elements, and its text a block at a time."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.blocks: list[str] = [""]
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {name for name, _ in attrs} - {"align"}, attrs
        if tag not in {"strong", "code"}:
            self.blocks.append("")

    def handle_data(self, data: str) -> None:
        self.blocks[-1] += data

    def handle_comment(self, data: str) -> None:
        self.tags.append("!--")

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.blocks))


def as_github(text: str) -> Page:
    """Render as GitHub does, raw HTML and all."""
    return Page(github_flavored_markdown_to_html(text, options=Options.CMARK_OPT_UNSAFE))


@cache
def markdown(name: str) -> str:
    return render_markdown(case(name))


@cache
def page_of(name: str) -> Page:
    return as_github(markdown(name))


# --- what it says -------------------------------------------------------------------------------


def test_the_comment_begins_with_the_decision_and_of_what() -> None:
    shared = markdown("failing, shared")
    assert shared.startswith("## Release is blocked: a limit is exceeded\n")
    text = page_of("failing, shared").text
    assert "ehr-gpt 2026-11, judged by general-hospital-release 2.1.0" in text
    assert "as of 2026-11-23 20:00 UTC" in text
    assert "not proof of anonymity" in text


def test_an_internal_comment_is_confidential_from_its_first_line() -> None:
    assert markdown("failing").startswith("**Confidential: for the audit team**\n")


def test_the_matrix_says_each_verdict_in_a_word_with_its_bound() -> None:
    text = page_of("every verdict").text
    for words in (
        "fail, at least 32.1 %", "pass, warned, at most 1.8 %", "error", "not applicable",
        "fail, waived", "out of scope",
    ):  # fmt: skip
        assert words in text, words


def test_what_blocks_is_listed_worst_first_with_found_and_allowed() -> None:
    text = page_of("failing").text
    blocks = text[text.index("What blocks the release") :]
    # 104/142 - 6/139 = 68.9 %, 61/142 - 4/139 = 40.1 %
    assert blocks.index("68.9 %") < blocks.index("40.1 %")
    assert "allowed: at most 5 %" in blocks
    assert "What blocks the release" not in page_of("passing").text


def test_an_inconclusive_finding_says_why() -> None:
    assert "too few patients with the class" in page_of("inconclusive").text


def test_a_withheld_cell_says_on_which_side_it_lies() -> None:
    text = page_of("every verdict, shared").text
    assert "exact numbers withheld" in text
    assert "whatever could be traced to fewer than 11 of them is withheld" in text


def test_waivers_are_shown_with_what_became_of_them() -> None:
    text = page_of("every verdict").text
    assert "waiver-2026-04 of hypertension-disclosure/events-10/all: applies" in text
    assert "waiver-2026-05 of hiv-disclosure/events-5/all: void" in text
    assert "approved by R. Diaz (privacy-officer, 2026-10-30)" in text


def test_a_large_report_stays_a_comment_and_counts_what_it_left_out() -> None:
    report = case("failing")
    fail = report.cells[1]
    cells = [
        fail.model_copy(update={"id": f"{fail.id}-{n}", "attacker": f"a-{n % 20}"})
        for n in range(600)
    ]
    attackers = [report.policy.attackers[0].model_copy(update={"id": f"a-{n}"}) for n in range(20)]
    classes = [
        report.policy.attribute_classes[0].model_copy(update={"id": name})
        for name in ("hiv", *(f"c-{n}" for n in range(40)))
    ]
    policy = report.policy.model_copy(update={"attackers": attackers, "attribute_classes": classes})
    summary = report.summary.model_copy(update={"blocked_by": [cell.id for cell in cells]})
    large = report.model_copy(update={"cells": cells, "policy": policy, "summary": summary})
    text = render_markdown(large)
    assert len(text) < 20_000
    assert "590 more in the full report" in text
    assert "Only in the full report: 29 more rows, 12 more columns." in text
    assert " / 27 more" in text  # 30 cells in a square


@pytest.mark.parametrize("name", CASES)
def test_a_comment_is_never_too_long_for_a_forge(name: str) -> None:
    assert len(markdown(name)) < LONGEST_COMMENT
    assert len(markdown(name).encode()) < 2 * LONGEST_COMMENT


# --- what it cannot do --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_hostile_text_makes_no_element_of_its_own(name: str) -> None:
    found = page_of(name).tags
    assert set(found) <= OWN_TAGS
    if name.startswith("poisoned"):
        assert found == page_of("prerequisites").tags


@pytest.mark.parametrize("name", CASES)
def test_markdown_it_sees_neither_html_nor_links_nor_images(name: str) -> None:
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown(name))
    kinds = {token.type for token in tokens}
    kinds |= {child.type for token in tokens for child in token.children or []}
    assert not {kind for kind in kinds if re.match("html|link|image|s_|fence|code_block|hr", kind)}


@pytest.mark.parametrize("name", CASES)
def test_nobody_is_mentioned_and_nothing_referred_to(name: str) -> None:
    for block in page_of(name).blocks:
        found = REACHING_OUT.search(block.strip())
        assert found is None, block[max(0, found.start() - 30) : found.end() + 30]


def test_mentions_references_and_links_would_be_found() -> None:
    for text in ("ask @admin", "see #12", "see !34", "GH-56", ":shipit:", "/close"):
        assert REACHING_OUT.search(as_github(text).text.strip()), text
    assert "a" in as_github_unchecked("www.evil.example")
    assert "a" in as_github_unchecked("mail a@evil.example")
    assert "script" in as_github_unchecked("<img src=x onerror=y><script>z</script>")


def as_github_unchecked(text: str) -> list[str]:
    page = github_flavored_markdown_to_html(text, options=Options.CMARK_OPT_UNSAFE)
    return re.findall(r"<(?:&lt;)?([a-z]+)", page.replace("&lt;", "<"))


def test_hostile_text_can_still_be_read() -> None:
    text = page_of("poisoned: markdown").text.replace("\u200b", "")
    assert "Neighbor[x](javascript:alert(1)) ![p](http://evil.example" in text


# --- the escape itself --------------------------------------------------------------------------

SNIPPETS = st.sampled_from(
    [
        "[x](y)", "![", "](", "<b>", "<!--", "&amp;", "&#64;", "*", "**", "_", "__", "~~", "`",
        "```", "|", "\\", "\\|", "#", "# ", "- ", "+ ", "1. ", "1) ", "> ", "---", "===", "    ",
        "\t", "$$", "@a", "#1", "!1", "GH-1", ":a:", "http://a.b", "https://a.b/c", "www.a.b",
        "mailto:a@b.c", "a@b.c", "[^1]", "[ ]", "[x]", "{{", "%1", "~a", "$1", "&1", "^1", "é",
        "\u202e", "\n", "\x00", "<http://a.b>", "xmpp:a@b.c", "ftp://a.b", "\U0001f3e5",
    ]
)  # fmt: skip
TEXTS = st.lists(SNIPPETS | st.text(max_size=4), max_size=8).map("".join)


def shown(text: str) -> str:
    """What a reader sees of a text: runs of space are one, ends are none."""
    return re.sub(r"\s+", " ", plain(text)).strip()


@examples(40)
@given(TEXTS)
def test_any_text_is_shown_as_it_is_wherever_it_stands(text: str) -> None:
    escaped = escape(text)
    lines = [f"## {escaped}", "", f"* {escaped}", "", f"a {escaped}", ""]
    lines += table(["one", "two"], [[escaped, "end"]])
    page = as_github("\n".join(lines))
    assert page.tags == [
        "h2", "ul", "li", "p", "table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td",
    ]  # fmt: skip
    found = [re.sub(r"\s+", " ", b.replace("\u200b", "")).strip() for b in page.blocks]
    said = [one for one in found if one]
    wanted = shown(text)
    expected = [wanted, wanted, f"a {wanted}".strip(), "one", "two", wanted, "end"]
    assert said == [one for one in expected if one]
    for block in page.blocks:
        assert not re.search(r"@\w|#\d|:[\w+-]+:", block), block


@examples(40)
@given(TEXTS)
def test_any_text_is_shown_as_it_is_by_another_parser(text: str) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    page = Page(parser.render(f"* {escape_markup(text)}\n"))
    assert page.tags == ["ul", "li"]
    assert re.sub(r"\s+", " ", page.text).strip() == shown(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The model must not tell a member's HIV status", None),
        ("Benitez & Malin 2010", r"Benitez \& Malin 2010"),
        ("N.Y. Pub. Health Law §2782", None),
        ("2400 members (train), 0.5 is chance", None),
        ("3. Apply", r"3\. Apply"),
        ("72.5 % of members", None),
        ("- item", r"\- item"),
        ("two\nlines", "two lines"),
        ("@admin closes #12", r"\@&#8203;admin closes \#&#8203;12"),
        ("ICD-10", "ICD-&#8203;10"),
    ],
)
def test_only_what_means_something_is_escaped(text: str, expected: str | None) -> None:
    assert escape(text) == (text if expected is None else expected)


def test_an_escaped_text_says_the_same_to_a_reader() -> None:
    assert html.unescape(escape("@admin")).replace("\u200b", "") == "\\@admin"
    assert build.failing_report().policy.citations[3].title == "Benitez & Malin 2010"


def test_attackers_against_whom_nothing_was_asked_make_room_for_others() -> None:
    report = case("failing")
    idle = [
        report.policy.attackers[0].model_copy(update={"id": f"idle-{n}", "title": f"Idle {n}"})
        for n in range(9)
    ]
    policy = report.policy.model_copy(update={"attackers": [*idle, *report.policy.attackers]})
    text = render_markdown(report.model_copy(update={"policy": policy}))
    head = next(line for line in text.splitlines() if line.startswith("| What leaks |"))
    assert "Idle" not in head
    for attacker in report.policy.attackers:
        asked = any(cell.attacker == attacker.id for cell in report.cells)
        assert (escape(attacker.title) in head) == asked
    assert "0 more rows, " in text


def test_a_policy_that_only_shows_lists_the_worst_of_each_requirement() -> None:
    report = build.showing_report()
    text = render_markdown(report)
    listed = text.partition("### What was found, at its worst")[2].partition("\n\n###")[0]
    for control in report.controls:
        assert escape(control.title) in listed
    assert "No test decides." in text
    assert "too little is known" not in text
    assert "The paper's numbers" not in text  # another policy repeats its tests
    policy = report.policy.model_copy(update={"name": "paper-t1-t6"})
    told = render_markdown(report.model_copy(update={"policy": policy}))
    assert "| T4, AUROC of Min\\-20% |" in told or "| T4, AUROC of Min-20% |" in told
    assert "T3, AUROC" not in told  # this report holds no such number
