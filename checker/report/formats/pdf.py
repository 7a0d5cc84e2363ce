"""The report as a PDF, for committees and archives: the HTML page on paper, with its data attached.

There are two: what a board reads, on four pages at most, and the whole page as technical annex.
WeasyPrint lays out the pages that `formats.html` makes, under their print style; this is the only
module that imports it, and only when a PDF is asked for. What comes out is written for PDF/UA-1
(ISO 14289-1), for readers who listen, and for PDF/A-3a (ISO 19005-3), which is the part of that
standard that lets a file hold another: `report.json` of the same audience is attached as the source
of what is read. WeasyPrint writes one variant at a time, so the claim to the other is added
to its metadata. Tests look for what both ask; veraPDF, the validator, needs Java and is not run.

Equal reports give equal bytes on one machine. Which fonts a machine has decides where lines end, so
`phigate verify` on another one must not call a PDF changed because it cannot be made there again:
the file names the libraries and fonts it was made with, and is compared only where these are alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from types import ModuleType
from typing import Any
from xml.sax.saxutils import escape

from checker.errors import PhigateWarning, PluginError
from checker.extras import install_command
from checker.report.formats.api import ReportFormat
from checker.report.formats.html import render_board, render_html
from checker.report.formats.json import render_json
from checker.report.formats.pdf_tags import mend_tags, places
from checker.report.model import Report
from checker.version import PHIGATE_VERSION

_SVG = "{http://www.w3.org/2000/svg}"
_TOOL = re.compile(rb"<xmp:CreatorTool>(.*?)</xmp:CreatorTool>", re.DOTALL)
_EXTRA = install_command("pdf")
_BOXES_SHOWN = 8
_SYSTEM = "apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core"

_UA_METADATA = """<rdf:Description xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/" rdf:about="">
<pdfuaid:part>1</pdfuaid:part>
</rdf:Description>
<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
 xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#"
 xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">
<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
<pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>
<pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>
<pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>
<pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource">
<pdfaProperty:name>part</pdfaProperty:name>
<pdfaProperty:valueType>Integer</pdfaProperty:valueType>
<pdfaProperty:category>internal</pdfaProperty:category>
<pdfaProperty:description>Part of ISO 14289 the file conforms to</pdfaProperty:description>
</rdf:li></rdf:Seq></pdfaSchema:property>
</rdf:li></rdf:Bag></pdfaExtension:schemas>
</rdf:Description>
"""
"""The claim to PDF/UA-1; PDF/A wants every property described that it does not know itself."""


def lacking() -> str | None:
    """Say what this machine lacks to write PDFs, and how to get it; None where nothing is."""
    try:
        _weasyprint()
    except PluginError as error:
        return str(error)
    return None


def _weasyprint() -> ModuleType:
    """Import WeasyPrint, which in turn loads Pango and fontconfig.

    Raises:
        PluginError: one of them is not installed.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints before it raises
            import weasyprint
    except ModuleNotFoundError as error:
        raise PluginError(f"PDF reports need WeasyPrint, which is an extra: {_EXTRA}") from error
    except OSError as error:
        raise PluginError(
            "PDF reports need Pango and a font, which are packages of the system; on Debian and"
            f" Ubuntu: {_SYSTEM}"
        ) from error
    module: ModuleType = weasyprint
    return module


def render_pdf(report: Report) -> bytes:
    """Render what a board reads, on four pages at most, with `report.json` attached.

    Raises:
        PluginError: WeasyPrint or what it needs of the system is not installed.
    """
    return on_paper(render_board(report), report)


def render_technical_pdf(report: Report) -> bytes:
    """Render the whole report on paper, methods and digests with it: the technical annex.

    Raises:
        PluginError: WeasyPrint or what it needs of the system is not installed.
    """
    return on_paper(render_html(report), report)


def on_paper(html: str, report: Report) -> bytes:
    """Lay a page made from a report out as PDF, with the report's data attached.

    Args:
        html: the page, which needs nothing but itself.
        report: what it was made from.

    Raises:
        PluginError: WeasyPrint or what it needs of the system is not installed.
    """
    weasyprint = _weasyprint()

    class Nothing(weasyprint.urls.URLFetcher):  # type: ignore[misc, name-defined]
        """Fetches nothing: the page holds all it needs, and no label may make it ask for more."""

        def fetch(self, url: str, headers: Any = None) -> Any:
            raise ValueError(f"the report may not load {url}")

    page = weasyprint.HTML(string=html, base_url=None, url_fetcher=Nothing())
    _say_drawings(page.etree_element)
    links = places(page.etree_element)
    # a property that only printers of pages know, and a validator of the HTML calls an error
    outline = weasyprint.CSS(string=".finding h3 { bookmark-label: attr(data-label) }")
    document = page.render(stylesheets=[outline], pdf_variant="pdf/a-3a", pdf_tags=True)
    data, moment = render_json(report), _moment(report)
    document.metadata.generator = None  # `_finish` writes a longer one
    document.metadata.created = document.metadata.modified = moment.isoformat(timespec="seconds")
    attachment = weasyprint.Attachment(
        string=data,
        name="report.json",
        description="The report as data: what these pages were made from",
        relationship="Source",
        created=moment,
        modified=moment,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its colour profile open
        written: bytes = document.write_pdf(
            finisher=partial(_finish, links=links),
            pdf_variant="pdf/a-3a",
            pdf_tags=True,
            output_intent="srgb",
            pdf_identifier=hashlib.sha256(data.encode()).hexdigest()[:32],
            attachments=[attachment],
        )
    _warn_of_boxes(document)
    return written


def _warn_of_boxes(document: Any) -> None:
    """Name the characters that no font here has: readers of the PDF see boxes in their place."""
    codes = sorted({code for font in document.fonts.values() for code in font.missing})
    if not codes:
        return
    shown = " ".join(f"{chr(code)} (U+{code:04X})" for code in codes[:_BOXES_SHOWN])
    more = f" and {len(codes) - _BOXES_SHOWN} more" if len(codes) > _BOXES_SHOWN else ""
    warnings.warn(
        f"no font on this machine has the characters {shown}{more}; the PDF shows boxes in their"
        " place. Install fonts that have them (on Debian and Ubuntu: fonts-noto-cjk,"
        " fonts-noto-core) and write the report again",
        PhigateWarning,
        stacklevel=2,
    )


def _moment(report: Report) -> datetime:
    """Return the time the report was judged for, which is when the PDF says it was made."""
    try:
        moment = datetime.fromisoformat(report.provenance.as_of)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return moment.astimezone(UTC)


def _say_drawings(root: ET.Element) -> None:
    """Give each drawing all of its words as title, which becomes the alternative in the PDF."""
    for drawing in root.iter(f"{_SVG}svg"):
        title, said = drawing.find(f"{_SVG}title"), drawing.find(f"{_SVG}desc")
        if title is None:
            title = ET.SubElement(drawing, f"{_SVG}title")
            title.text = drawing.get("data-alt") or "drawing"
        elif said is not None:
            title.text = f"{title.text}. {said.text}"


def _finish(document: Any, pdf: Any, *, links: Mapping[str, str]) -> None:
    """Mend the tags, and complete the metadata: the second standard, and what made the file."""
    import pydyf  # WeasyPrint's own

    mend_tags(pdf, pydyf.String, links)
    made_with = _made_with(document)
    pdf.info["Creator"] = pydyf.String(made_with)  # PDF/A wants it equal to the packet's
    (metadata,) = (
        one for one in pdf.objects if getattr(one, "extra", {}).get("Type") == "/Metadata"
    )
    (packet,) = metadata.stream
    tool = (
        '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" rdf:about="">'
        f"<xmp:CreatorTool>{escape(made_with)}</xmp:CreatorTool></rdf:Description>\n"
    )
    more = (_UA_METADATA + tool).encode()
    metadata.stream = [packet.replace(b"</rdf:RDF>", more + b"</rdf:RDF>")]
    metadata.compress = False  # so that it is found without unpacking the file


def _made_with(document: Any) -> str:
    """Name the libraries and fonts that decided where each line ends."""
    from weasyprint import VERSION
    from weasyprint.text.ffi import pango

    fonts = hashlib.sha256()
    for content in sorted({font.file_content for font in document.fonts.values()}):
        fonts.update(hashlib.sha256(content).digest())
    layout = pango.pango_version()  # 15012 is 1.50.12
    return (
        f"phigate {PHIGATE_VERSION}; WeasyPrint {VERSION};"
        f" Pango {layout // 10000}.{layout // 100 % 100}.{layout % 100};"
        f" fonts {fonts.hexdigest()[:16]}"
    )


def made_elsewhere(found: bytes, rendered: bytes) -> str | None:
    """Say why a PDF need not equal the one rendered here, or None where it must."""
    theirs, ours = _TOOL.search(found), _TOOL.search(rendered)
    if theirs is None or ours is None or theirs[1] == ours[1]:
        return None
    return "it was made with other libraries or fonts than are here"


def attached(found: bytes) -> bytes:
    """Return the `report.json` that a PDF carries.

    Raises:
        PluginError: pypdf is not installed.
        ValueError: it is no PDF that can be read, or carries something else.
    """
    try:
        import pypdf
    except ModuleNotFoundError as error:
        raise PluginError(f"reading PDFs needs pypdf, which is an extra: {_EXTRA}") from error
    try:
        held = pypdf.PdfReader(io.BytesIO(found)).attachments
        (content,) = held["report.json"]
        if len(held) != 1:
            raise ValueError("it carries other files too")
    except Exception as error:  # pypdf raises whatever a broken file leads it to
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return bytes(content)


PDF = ReportFormat("report.pdf", render_pdf, lacking, made_elsewhere, attached)
TECHNICAL_PDF = ReportFormat(
    "report.annex.technical.pdf", render_technical_pdf, lacking, made_elsewhere, attached
)
