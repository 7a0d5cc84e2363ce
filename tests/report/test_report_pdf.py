"""The PDF: the page on paper, for readers who listen and for archives, with its data attached."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pypdf
import pytest
import report_builder as build
from auditing import AS_OF, audit, phigate, write_policy
from command_line import run_phigate

from checker.errors import ExitCode, PhigateWarning, PluginError
from checker.policy.documents import Study
from checker.report.formats import pdf as pdf_format
from checker.report.formats.html import render_board
from checker.report.formats.json import render_json
from checker.report.formats.pdf import PDF, render_pdf, render_technical_pdf
from checker.report.model import Report, SignatureReport, StudyReport

ROOT = Path(__file__).parents[2]
LACKING = PDF.lacking()


@pytest.fixture(scope="module", autouse=True)
def weasyprint_is_there() -> None:
    if LACKING is not None:
        if os.environ.get("PHIGATE_REQUIRE_PDF"):
            pytest.fail(f"PHIGATE_REQUIRE_PDF is set, and {LACKING}")
        pytest.skip(LACKING)


@pytest.fixture(scope="module")
def report() -> Report:
    return build.every_verdict_report()


@pytest.fixture(scope="module")
def complaints() -> list[str]:
    return []


@pytest.fixture(scope="module")
def data(report: Report, complaints: list[str]) -> bytes:
    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(record.getMessage())

    logger, keep = logging.getLogger("weasyprint"), Keep(logging.ERROR)
    logger.addHandler(keep)
    try:
        return render_technical_pdf(report)
    finally:
        logger.removeHandler(keep)


@pytest.fixture(scope="module")
def pdf(data: bytes) -> Any:
    return pypdf.PdfReader(BytesIO(data))


@pytest.fixture(scope="module")
def shared(report: Report) -> Any:
    return pypdf.PdfReader(BytesIO(render_technical_pdf(build.shared(report))))


@pytest.fixture(scope="module")
def board(report: Report) -> Any:
    return pypdf.PdfReader(BytesIO(render_pdf(build.shared(report))))


@pytest.fixture(scope="module")
def elements(pdf: Any) -> list[Any]:
    return list(walk(pdf.trailer["/Root"]["/StructTreeRoot"]))


def walk(element: Any) -> Iterator[Any]:
    """Yield the structure elements below one, in order."""
    kids = element.get("/K", [])
    for kid in kids if isinstance(kids, list) else [kids]:
        found = kid.get_object() if hasattr(kid, "get_object") else kid
        if isinstance(found, dict) and found.get("/Type") == "/StructElem":
            yield found
            yield from walk(found)


def titles(outline: list[Any], depth: int = 0) -> Iterator[tuple[int, str]]:
    for item in outline:
        if isinstance(item, list):
            yield from titles(item, depth + 1)
        else:
            yield depth, str(item.title)


def test_weasyprint_finds_nothing_wrong_with_the_page(data: bytes, complaints: list[str]) -> None:
    assert data.startswith(b"%PDF-1.7")
    assert complaints == []  # a link without a place, a drawing that cannot be drawn, a lost font


def test_the_report_as_data_is_attached(pdf: Any, shared: Any, report: Report) -> None:
    assert list(pdf.attachments) == ["report.json"]
    assert pdf.attachments["report.json"] == [render_json(report).encode()]
    # of the same audience: what a shared page does not show is in no file it holds
    assert shared.attachments["report.json"] == [render_json(build.shared(report)).encode()]
    (named,) = pdf.trailer["/Root"]["/AF"]
    assert named.get_object()["/AFRelationship"] == "/Source"


def test_bookmarks_lead_through_the_report(pdf: Any) -> None:
    found = list(titles(pdf.outline))
    assert found[0] == (0, "Release is blocked: a limit is exceeded")
    sections = [title for depth, title in found if depth == 1]
    assert [s for s in sections if s not in {"Why", "How bad it is", "What follows"}] == [
        "Study, decision and signatures", "What leaks to whom", "Findings",
        "Leakage against what the attacker knows",
        "Passing requirements", "Who might try, and what they know",
        "How it was measured and decided", "Provenance", "References",
    ]  # fmt: skip
    # findings of one requirement are told apart
    assert (2, "fail: The model must not tell a member's HIV status (Neighbor)") in found


def test_every_page_has_its_number_and_its_audience(pdf: Any, shared: Any) -> None:
    count = len(pdf.pages)
    assert 8 <= count <= 30
    for number, page in enumerate(pdf.pages, start=1):
        words = page.extract_text()
        assert f"{number} / {count}" in words
        assert "Confidential: for the audit team" in words
    for page in shared.pages:
        words = page.extract_text()
        assert "what could be traced to fewer than 11 patients is withheld" in words
        assert "Confidential" not in words


def test_the_first_page_holds_decision_ground_claims_and_digests(pdf: Any, report: Report) -> None:
    words = re.sub(r"\s+", " ", pdf.pages[0].extract_text())
    for said in (
        "Release is blocked: a limit is exceeded",
        "Why",
        "trained on (members)",
        "What this is not. No claim of anonymity",
        "This is not proof of anonymity",
        "What follows",
        report.target.model_sha256[:11],
        report.policy.sha256[:11],
        "policy to be reviewed by 2027-10-01",
        "phigate verify",
        "phigate verify",
    ):
        assert said in words, said


def test_a_board_reads_four_pages_at_most(board: Any, report: Report) -> None:
    assert len(board.pages) <= 4
    first, whole = (
        re.sub(r"\s+", " ", words)
        for words in (
            board.pages[0].extract_text(),
            " ".join(page.extract_text() for page in board.pages),
        )
    )
    for said in ("Release is blocked", "Draft.", "Nobody has signed", "What this is not", "limit"):
        assert said in first, said
    for said in ("Lines to sign", "Who might try", "Findings", report.policy.sha256[:11]):
        assert said in whole, said
    assert list(board.attachments) == ["report.json"]
    assert all("Confidential" not in page.extract_text() for page in board.pages)


def test_a_large_policy_is_four_pages_too(report: Report) -> None:
    made = report.cells[0]
    title = "The model must not tell what is known of a member's condition number"
    cells = [
        made.model_copy(update={"id": f"c{i}/{a}/all", "control": f"c{i}", "attacker": a})
        for i in range(20)
        for a in ("events-5", "events-10")
    ]
    controls = [
        report.controls[0].model_copy(update={"id": f"c{i}", "title": f"{title} {i}"})
        for i in range(20)
    ]
    summary = report.summary.model_copy(update={"blocked_by": [cell.id for cell in cells]})
    attackers = [one.model_copy(update={"id": f"{one.id}{i}"}) for i in range(3)
                 for one in report.policy.attackers]  # fmt: skip
    large = report.model_copy(
        update={
            "cells": cells,
            "controls": controls,
            "summary": summary,
            "policy": report.policy.model_copy(
                update={"attackers": [*report.policy.attackers, *attackers]}
            ),
        }
    )
    assert len(pypdf.PdfReader(BytesIO(render_pdf(large))).pages) <= 4


def test_the_longest_texts_that_may_be_written_are_four_pages_too() -> None:
    longest = ("word " * 400)[:1999] + "x"
    line = longest[:300]
    study = {
        "title": longest, "protocol": longest, "principalInvestigator": longest,
        "sponsor": longest, "site": longest, "contact": longest, "intendedUse": longest,
        "data": {"source": longest, "period": longest, "legalBasis": longest},
        "release": {"recipients": longest}, "governance": {"retention": longest},
    }  # fmt: skip
    signed = SignatureReport(role=line, name=line, on="2026-12-01")
    submission = build.submission().model_copy(
        update={
            "number": line, "document_version": line, "replaces": line, "decision": line,
            "signatures": [signed] * 12,
        }
    )  # fmt: skip
    report = build.presupposing_report()
    blocked = [
        one.model_copy(update={"id": f"{one.id}-{i}", "title": longest, "explanation": longest})
        for i in range(3)
        for one in report.prerequisites
    ]
    policy = report.policy
    update = {
        "submission": submission,
        "study": StudyReport(**dict(Study.model_validate(study))),
        "prerequisites": blocked,
        "waivers": [
            one.model_copy(update={"justification": longest})
            for one in report.waivers
            for _ in range(5)
        ],
        "controls": [
            one.model_copy(update={"title": longest, "remediation": [longest]})
            for one in report.controls
        ],
        "policy": policy.model_copy(
            update={
                "title": longest, "owner": longest, "adopted_by": longest,
                "attackers": [
                    one.model_copy(update={"title": longest, "knows": longest})
                    for one in policy.attackers
                ],
                "attribute_classes": [
                    one.model_copy(update={"title": longest}) for one in policy.attribute_classes
                ],
            }
        ),
    }  # fmt: skip
    shared = build.shared(report.model_copy(update=update))
    assert 'href="#prerequisite' not in (html := render_board(shared))
    assert 'href="#waiver' not in html  # which have no place on these pages
    page = pypdf.PdfReader(BytesIO(render_pdf(shared)))
    assert len(page.pages) <= 4
    words = re.sub(r"\s+", " ", " ".join(one.extract_text() for one in page.pages))
    assert "6 more, in the technical annex" in words
    assert "stands whole in the attached report.json" in words
    assert words.count("signed, as entered") == 12


def test_it_claims_to_be_accessible_and_archival_and_says_its_language(pdf: Any) -> None:
    root = pdf.trailer["/Root"]
    packet = root["/Metadata"].get_object().get_data().decode()
    assert "<pdfuaid:part>1</pdfuaid:part>" in packet
    assert 'pdfaid:part="3"' in packet
    assert 'pdfaid:conformance="A"' in packet
    assert root["/Lang"] == "en"
    assert root["/MarkInfo"]["/Marked"]
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert root["/OutputIntents"][0]["/S"] == "/GTS_PDFA1"
    assert pdf.metadata.title.startswith("Release is blocked")
    assert pdf.metadata.creator in packet
    assert "/ID" in pdf.trailer
    for page in pdf.pages:
        assert page["/Tabs"] == "/S"


def test_every_font_is_in_the_file(pdf: Any) -> None:
    fonts = {
        reference.get_object()["/BaseFont"]: reference.get_object()
        for page in pdf.pages
        for reference in page["/Resources"]["/Font"].values()
    }
    assert fonts
    for name, font in fonts.items():
        (inner,) = font["/DescendantFonts"]
        descriptor = inner.get_object()["/FontDescriptor"].get_object()
        assert {"/FontFile2", "/FontFile3"} & set(descriptor), name
        assert "/ToUnicode" in font, name


def test_every_drawing_says_what_it_shows(elements: list[Any]) -> None:
    figures = [element for element in elements if element["/S"] == "/Figure"]
    assert len(figures) > 20
    assert all(element.get("/Alt") for element in figures)
    alternatives = " ".join(str(element["/Alt"]) for element in figures)
    assert "Neighbor: members 43.0" in alternatives  # a chart, in words
    assert "limit 5" in alternatives  # a gauge


def test_header_cells_say_what_they_head(elements: list[Any]) -> None:
    heads = [element for element in elements if element["/S"] == "/TH"]
    scopes = {"/Column": 0, "/Row": 0}
    for head in heads:
        scopes[head["/A"]["/Scope"]] += 1
    assert min(scopes.values()) > 20


def test_lists_hold_items_and_tables_hold_rows(elements: list[Any]) -> None:
    allowed = {
        "/L": {"/LI", "/L", "/Caption"},
        "/Table": {"/TR", "/THead", "/TBody", "/TFoot", "/Caption"},
        "/TR": {"/TH", "/TD"},
    }
    for element in elements:
        kids = [kid.get_object() for kid in element["/K"] if hasattr(kid, "get_object")]
        names = {kid["/S"] for kid in kids if isinstance(kid, dict) and "/S" in kid}
        assert names <= allowed.get(element["/S"], names), element["/S"]


def test_links_are_tagged_and_say_where_they_lead(pdf: Any, elements: list[Any]) -> None:
    tagged = {
        kid.get_object().raw_get("/Obj").idnum
        for element in elements
        if element["/S"] == "/Link"
        for kid in element["/K"]
        if hasattr(kid, "get_object") and isinstance(kid.get_object(), dict)
        and kid.get_object().get("/Type") == "/OBJR"
    }  # fmt: skip
    links = [note for page in pdf.pages for note in page.get("/Annots", [])]
    assert len(links) > 20
    assert {link.idnum for link in links} <= tagged
    said = {str(link.get_object()["/Contents"]) for link in links}
    assert "The model must not tell a member's HIV status" in said
    assert not {words for words in said if words.startswith(("finding-", "evidence-"))}


def test_what_stands_in_the_margins_is_no_part_of_the_reading_order(pdf: Any) -> None:
    for page in pdf.pages:
        content = page.get_contents().get_data()
        artifacts = re.findall(rb"/Artifact\s*<<\s*/Type\s*/Pagination\s*>>\s*BDC", content)
        assert len(artifacts) >= 2  # the running line and the page's number


def test_equal_reports_give_equal_bytes_in_another_process_and_folder(
    data: bytes, tmp_path: Path
) -> None:
    script = (
        "import hashlib, report_builder as b\n"
        "from checker.report.formats.pdf import render_technical_pdf\n"
        "print(hashlib.sha256(render_technical_pdf(b.every_verdict_report())).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONHASHSEED": "12345",
            "TZ": "Pacific/Auckland",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests" / "helpers"))),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout == f"{hashlib.sha256(data).hexdigest()}\n"
    assert other.stderr == ""


def test_hostile_text_is_text_in_the_pdf_too(report: Report) -> None:
    payload = "</style><script>alert(1)</script> \x1b[31m \u202egnp.exe"
    cells = [one.model_copy(update={"explanation": payload}) for one in report.cells[:2]]
    policy = report.policy.model_copy(update={"title": payload, "owner": payload})
    sources = [one.model_copy(update={"url": "file:///etc/passwd"}) for one in policy.citations]
    hostile = report.model_copy(
        update={
            "cells": cells,
            "policy": policy.model_copy(update={"citations": sources}),
            "controls": [one.model_copy(update={"title": payload}) for one in report.controls],
        }
    )
    found = pypdf.PdfReader(BytesIO(render_pdf(hostile)))
    words = re.sub(r"\s+", " ", found.pages[0].extract_text())
    assert "</style><script>alert(1)</script>" in words
    actions = [
        note.get_object().get("/A", {}).get("/S")
        for page in found.pages
        for note in page.get("/Annots", [])
    ]
    assert set(actions) == {None}  # links within the file, and none that could do anything
    assert not {"/OpenAction", "/AA", "/AcroForm"} & set(found.root_object)
    assert not re.search("[\x00-\x08\x0e-\x1f\u202e]", "".join(words))


def test_characters_that_no_font_has_are_named(report: Report) -> None:
    title = "\U0001342e \U00013000 x"  # hieroglyphs: no font that a report asks for has them
    policy = report.policy.model_copy(update={"title": title})
    with pytest.warns(PhigateWarning, match=r"U\+13000\).*U\+1342E\).* the PDF shows boxes"):
        render_pdf(report.model_copy(update={"policy": policy}))


def test_a_command_says_a_warning_and_ends_as_it_would(
    monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    def warned(report: Report) -> bytes:
        warnings.warn("two \x1b[31m boxes", PhigateWarning, stacklevel=1)
        return b"%PDF"

    monkeypatch.setattr(pdf_format, "PDF", replace(pdf_format.PDF, render=warned))
    run = ("check", workspace / "policy.yaml", workspace / "sound.yaml", "--out", workspace / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as outside of tests
        outcome = run_phigate(*run, "--format", "pdf", "--as-of", "2026-12-01")
    assert outcome.code == ExitCode.PASS, outcome.err
    assert "warning: two" in outcome.err
    assert "\x1b" not in outcome.err


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (None, "which is an extra: pip install 'phigate[pdf]'"),
        (
            "print('noise')\nraise OSError('cannot load library libpango-1.0-0')",
            "apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0",
        ),
    ],
)
def test_what_is_missing_is_said_in_one_sentence_before_anything_is_done(
    broken: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "weasyprint"]:
        monkeypatch.delitem(sys.modules, name)
    if broken is None:
        monkeypatch.setitem(sys.modules, "weasyprint", None)
    else:
        (tmp_path / "weasyprint.py").write_text(broken)
        monkeypatch.syspath_prepend(tmp_path)
    assert sentence in str(PDF.lacking())
    with pytest.raises(PluginError):
        render_pdf(build.passing_report())
    # the policy is not even read
    code, out = phigate("check", "no.yaml", "no.yaml", "--out", "run", "--format", "html,pdf")
    assert code == ExitCode.USAGE
    assert out.startswith("--format pdf: PDF reports need")
    assert sentence in out
    assert out.count("\n") == 1


def test_verify_knows_a_changed_pdf_from_one_made_elsewhere(
    simulated_targets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = write_policy(
        tmp_path / "policy.yaml", {"hiv-disclosure": {"limits": {"events-10": {"fail": 0.05}}}}
    )
    run = audit(policy, simulated_targets / "leaking.yaml", tmp_path / "run").run
    assert phigate("report", run, "--format", "pdf")[0] == 0
    path = run / "report.pdf"
    written = path.read_bytes()
    path.write_bytes(written + b"\n% a page more")
    code, out = phigate("verify", run)
    assert code != 0
    assert "report.pdf is not what report.json renders to here" in out

    elsewhere = re.sub(rb"fonts [0-9a-f]{16}", b"fonts 0123456789abcdef", written)
    assert PDF.made_elsewhere(written, written) is None
    assert PDF.made_elsewhere(elsewhere, written) is not None
    path.write_bytes(elsewhere)
    code, out = phigate("verify", run)
    assert code == 0
    assert "report.pdf carries the data of this report, and its pages were not compared" in out
    assert "it was made with other libraries or fonts" in out

    later = ("--as-of", "2026-11-02T00:00:00+00:00", "--format", "pdf")
    phigate("judge", run, *later)
    another = re.sub(rb"fonts [0-9a-f]{16}", b"fonts 0123456789abcdef", path.read_bytes())
    phigate("judge", run, "--as-of", AS_OF, "--format", "json")
    path.write_bytes(another)
    code, out = phigate("verify", run)
    assert code == ExitCode.INCOMPLETE
    assert "report.pdf carries the data of another report" in out

    path.write_bytes(elsewhere)
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    code, out = phigate("verify", run)
    assert code == 0
    assert "its pages were not compared: PDF reports need WeasyPrint" in out
    # of another run, made elsewhere or where it cannot be made: what it carries tells
    path.write_bytes(another)
    code, out = phigate("verify", run)
    assert code == ExitCode.INCOMPLETE
    assert "report.pdf carries the data of another report" in out
    path.write_bytes(written[: len(written) // 2])
    code, out = phigate("verify", run)
    assert code == ExitCode.INCOMPLETE
    assert "report.pdf carries no report.json that could be read" in out
    monkeypatch.setitem(sys.modules, "pypdf", None)
    code, out = phigate("verify", run)
    assert code == 0
    assert "report.pdf was not compared: PDF reports need WeasyPrint" in out
    assert "reading PDFs needs pypdf" in out
