"""What was not seen is printed as not seen, in every format that names sources."""

from __future__ import annotations

import json

import pytest
from report_builder import failing_report

from checker.report.formats.html import render_html
from checker.report.formats.modelcard import render_model_card
from checker.report.formats.oscal import OSCAL
from checker.report.formats.sarif import SARIF
from checker.report.model import CitationText, Report
from checker.report.wording.sources import NOT_SAID, SEEN, basis_words, scope_words, seen_words


def cited(**fields: object) -> CitationText:
    return CitationText.model_validate({"id": "a", "title": "A", "basis": "guidance"} | fields)


def test_what_nobody_says_was_seen_is_printed_as_that() -> None:
    assert basis_words(cited()) == f"guidance; {NOT_SAID}"
    assert basis_words(cited(seen="not-seen")) == "guidance; text not seen"
    assert basis_words(cited(seen="text")) == "guidance"
    assert seen_words(cited(seen="text")) == "text seen"
    assert seen_words(cited(basis="institutional-choice")) is None


def test_a_duty_says_whom_it_binds_and_guidance_whom_it_addresses() -> None:
    assert scope_words(cited()) is None
    where = {"jurisdiction": "Utopia", "addressee": "hospitals", "as_of": "2026-09-26"}
    assert scope_words(cited(**where)) == "Utopia; addressed to hospitals; as of 2026-09-26"
    assert "binds hospitals" in (scope_words(cited(basis="legal-duty", **where)) or "")


@pytest.mark.parametrize("seen", ["quoted", "secondary", "not-seen", None])
def test_every_format_with_sources_says_how_each_was_seen(seen: str | None) -> None:
    report = failing_report()
    first, *rest = report.policy.citations
    source = first.model_copy(update={"seen": seen})
    policy = report.policy.model_copy(update={"citations": [source, *rest]})
    changed: Report = report.model_copy(update={"policy": policy})
    words = NOT_SAID if seen is None else SEEN[seen]  # type: ignore[index]
    for text in (
        render_html(changed),
        render_model_card(changed),
        OSCAL.render(changed).decode(),
        SARIF.render(changed).decode(),
    ):
        assert words in text
    found = json.loads(changed.to_bytes())["policy"]["citations"][0]["seen"]
    assert found == seen
