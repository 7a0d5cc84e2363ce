"""Shipped sources against the sheet on which each was compared with its text, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import pytest

from checker.policy import load_documents, load_policy
from checker.policy.cited import leads_somewhere
from checker.policy.documents.elements import Citation
from checker.policy.lint import lint

POLICIES = Path(__file__).parents[2] / "policies"
FILES = [path for path in sorted(POLICIES.rglob("*.yaml")) if path.parent.name != "tests"]


@cache
def cited() -> dict[str, dict[str, Citation]]:
    """Return every shipped citation: by its name, then by the file it is written in."""
    found: dict[str, dict[str, Citation]] = {}
    for path in FILES:
        for one in load_documents(path):
            for name, citation in getattr(one.document.spec, "citations", {}).items():
                place = one.place(("spec", "citations", name))
                if place.file == str(path):
                    found.setdefault(name, {})[path.stem] = citation
    return found


def note_of(citation: Citation) -> str:
    return " ".join((citation.note or "").split())


@dataclass(frozen=True)
class Row:
    """What the sheet says of a source: how it was seen, where, and what a true note has to say."""

    basis: str
    seen: str | None
    url: str = ""
    jurisdiction: str | None = None
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    every_person: bool = False
    gone_from: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


SHEET = {
    "edpb-28-2024": Row(
        "guidance", "quoted", "https://www.edpb.europa.eu/", "European Union and EEA",
        ("for each person", "queries", "anybody else", "on purpose or not", "(55)", "58", "share"),
        every_person=True, gone_from=("baseline-gated", "baseline-internal", "demo", "starter"),
    ),
    "ny-phl-2782": Row("legal-duty", "text", "https://www.nysenate.gov/", "New York (USA)",
                       ("exceptions", "2780", "no duty on everybody")),
    "part-2": Row("legal-duty", "text", "https://regulations.justia.com/", "United States",
                  ("16 April 2024", "16 February 2026", "164.514(b)", "to be confirmed")),
    "ca-ab-352": Row("legal-duty", "secondary",
                     "https://leginfo.legislature.ca.gov/faces/billTextClient.xhtml"
                     "?bill_id=202320240AB352", "California (USA)",
                     ("gender-affirming care", "not about gender identity",
                      "no rule on what a model", "to be confirmed")),
    "gina": Row("context", "quoted", "https://www.law.cornell.edu/uscode/text/42/2000ff",
                "United States", ("relative", "only the person's own manifest disease"),
                ("not seen",), also=("hipaa-genetic-information",)),
    "cms-cell-size": Row("analogy", "text", "https://resdac.org/node/1506", "United States",
                         ("derivable", "zero may", "no probability"),
                         ("share whatever", "at least 11")),
    "ema-0070": Row("analogy", "secondary", "https://www.ema.europa.eu/", "European Union and EEA",
                    ("greatest risk", "one of two ways", "to be confirmed")),
    "el-emam-2012": Row("analogy", "text", "https://jmir.org/2012/1/e33", None,
                        ("Safe Harbor", "0.0084", "attempt")),
    "iom-2015": Row("", None),  # gone: its numbers were not seen, and 0.33 rests on nothing
    "graimatter": Row("guidance", "text", "https://arxiv.org/abs/2211.01656", "United Kingdom",
                      ("before a model leaves",), gone_from=("baseline-internal",)),
    "ehrshot-licence": Row("evidence", "text", "https://", None, ("justifies no number",)),
    "hipaa-safe-harbor": Row("analogy", "text", "https://www.ecfr.gov/", "United States",
                             ("relatives", "employers", "household", "any other unique", "(b)(1)")),
    "nist-ai-100-2": Row("guidance", "secondary", "https://csrc.nist.gov/", "United States",
                         ("no number", "not its body")),
    "ico-anonymisation-2025": Row("guidance", "text", "https://ico.org.uk/", "United Kingdom",
                                  ("sufficiently remote", "starting point")),
    "tonekaboni-2025": Row("evidence", "text", "https://arxiv.org/abs/2510.12950", None,
                           ("Sets no limit", "not compared")),
    "benitez-malin-2010": Row("evidence", "text", "https://pmc.ncbi.nlm.nih.gov/articles/PMC3000773",
                              None, ("10 to 60 %",), ("not seen",)),
    "sweeney-2013": Row("evidence", "text", "https://arxiv.org/abs/1307.1370", None,
                        ("35 of 81",), ("not seen",)),
    "loukides-2010": Row("evidence", "text", "https://pubmed.ncbi.nlm.nih.gov/20442151", None,
                         ("96 %",), ("not seen",), also=("cimino-2012",)),
    "gdpr-9": Row("legal-duty", "not-seen", "https://eur-lex.europa.eu/", "European Union and EEA",
                  ("special categories", "to be confirmed")),
    "gdpr-10": Row("legal-duty", "not-seen", "https://eur-lex.europa.eu/", "European Union and EEA",
                   ("convictions", "to be confirmed")),
    "nih-not-od-25-081": Row("legal-duty", "text", "https://grants.nih.gov/", "United States",
                             ("neither shared nor kept", "closed out")),
    "physionet-llm": Row("legal-duty", "text", "https://physionet.org/", None,
                         ("third parties", "to be confirmed")),
    "ehds": Row("legal-duty", "quoted", "http://data.europa.eu/", "European Union and EEA",
                ("not personal", "2029")),
    "sacro-ml": Row("guidance", "text", "https://pypi.org/project/sacroml", "United Kingdom",
                    ("no release",)),
    "edpb-draft-02-2026-inference": Row("guidance", "text", "https://www.edpb.europa.eu/",
                                        "European Union and EEA",
                                        ("draft", "population", "with and without", "groups")),
    "edpb-draft-02-2026-every-person": Row("guidance", "text", "https://www.edpb.europa.eu/",
                                           "European Union and EEA",
                                           ("draft", "every person", "one success"),
                                           every_person=True),
}  # fmt: skip


@pytest.mark.parametrize("name", SHEET)
def test_a_row_of_the_sheet_is_right_wherever_it_is_shipped_or_gone(name: str) -> None:
    row, found = SHEET[name], cited().get(name, {})
    if not row.basis:
        assert not found
        return
    assert found
    assert {place.partition("@")[0] for place in found}.isdisjoint(row.gone_from)
    for one in found.values():
        assert (one.basis, one.seen, one.jurisdiction) == (row.basis, row.seen, row.jurisdiction)
        assert (one.url or "").startswith(row.url)
        assert one.every_person == row.every_person
        note = note_of(one)
        assert [words for words in row.says if words not in note] == []
        assert [words for words in row.never if words in note] == []
    for other in row.also:
        assert other in cited()


def test_every_shipped_source_has_a_row_of_the_sheet_or_is_a_choice() -> None:
    beside = {one for row in SHEET.values() for one in row.also}
    unknown = {
        name
        for name, places in cited().items()
        if name not in SHEET and name not in beside
        if any(one.basis != "institutional-choice" for one in places.values())
    }
    assert unknown == set()


def test_a_source_says_the_same_wherever_it_is_shipped() -> None:
    for name, places in cited().items():
        if any(one.basis == "institutional-choice" for one in places.values()):
            continue  # whose choice it is differs from policy to policy
        first, *others = places.values()
        assert [one for one in others if one != first] == [], name


def test_what_was_not_read_is_said_to_be_confirmed_and_duties_say_whose_they_are() -> None:
    for name, places in cited().items():
        for one in places.values():
            if one.seen in ("secondary", "not-seen") and one.basis != "guidance":
                assert "to be confirmed" in note_of(one), name
            if one.basis in ("legal-duty", "guidance"):
                assert one.addressee, name
                assert one.jurisdiction or name == "physionet-llm", name  # a contract's, anywhere
                assert one.as_of, name
            if one.basis != "institutional-choice":
                assert one.seen, name
                assert one.url, name
                assert leads_somewhere(one.url), name


def test_nothing_that_phigate_ships_cites_against_itself() -> None:
    for path in FILES:
        found = [one.message for one in lint(load_documents(path), on=date(2026, 11, 1))]
        doubted = ("legal duty", "every single person", "browser")
        assert [one for one in found if any(words in one for words in doubted)] == []


def test_no_limit_of_a_fifth_or_more_leans_on_anything_but_a_choice() -> None:
    for path in POLICIES.glob("baseline-*.yaml"):
        if path.stem.startswith("baseline-common"):
            continue
        spec = load_policy(path).document.spec
        for name, control in spec.controls.items():
            if control.attribute_class and any(
                one.allowed >= 0.2 for one in control.limits.values()
            ):
                bases = {spec.citations[one].basis for one in control.cites}
                assert "institutional-choice" in bases, name
                assert "edpb-28-2024" not in control.cites, name
                assert "el-emam-malin-2015" not in control.cites, name


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "www.edpb.europa.eu", "https://", "https://a b.org/x", "https://host:x/",
     "https://localhost/", "ftp://a.org/x", "https://u@a.org/", "https://a.org:0/"],
)  # fmt: skip
def test_addresses_that_no_browser_opens_are_told(url: str) -> None:
    assert not leads_somewhere(url)


@pytest.mark.parametrize("url", ["https://a.org", "http://a.org:8080/x?y=z#p", "https://ä.org/ö"])
def test_addresses_on_the_web_are_left_alone(url: str) -> None:
    assert leads_somewhere(url)
