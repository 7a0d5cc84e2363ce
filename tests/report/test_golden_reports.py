"""The examples in `reports/examples` are what the formats write, byte for byte.

Where a PDF's lines end is for Pango and the fonts of a machine to say. Where those are others than
the example's, the PDF must still have the same bookmarks, the same words for its drawings and the
same data.

After a change that is meant, write them anew and read the difference:

    PHIGATE_UPDATE_GOLDEN=1 pytest tests/report/test_golden_reports.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pypdf
import pytest
from report_cases import ALIKE, PAPER, case

from checker.canonical import sha256_hex
from checker.plugins import BUILT_IN, load_plugin
from checker.report.formats import ReportFormat

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "reports" / "examples"
REPORTS = {"failing": "failing, shared", "passing": "passing, shared"}
FORMATS = sorted({*BUILT_IN["phigate.reports"]} - ALIKE - (PAPER - {"pdf"}))


def lacking(name: str) -> str | None:
    found: ReportFormat = load_plugin("phigate.reports", name)
    return found.lacking()


ALWAYS_HERE = [name for name in FORMATS if name != "pdf"]  # whose own tests ask the same of it


def written(name: str, report: str) -> tuple[str, bytes]:
    found: ReportFormat = load_plugin("phigate.reports", name)
    return found.filename, found.render(case(REPORTS[report]))


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("name", FORMATS)
def test_the_example_is_what_the_format_writes(name: str, report: str) -> None:
    if (missing := lacking(name)) is not None:
        assert not os.environ.get("PHIGATE_REQUIRE_PDF"), missing
        pytest.skip(missing)
    filename, content = written(name, report)
    path = EXAMPLES / report / filename
    if os.environ.get("PHIGATE_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        pytest.skip(f"wrote {path.relative_to(ROOT)}")
    example, found = path.read_bytes(), load_plugin("phigate.reports", name)
    if found.made_elsewhere(example, content) is not None:
        assert said(example) == said(content)
        return
    assert example == content, (
        f"{path.relative_to(ROOT)} is not what `{name}` writes; if the change is meant, run"
        " PHIGATE_UPDATE_GOLDEN=1 pytest tests/report/test_golden_reports.py"
    )


def said(content: bytes) -> dict[str, Any]:
    """Return what a PDF says wherever its pages and lines end."""
    pdf = pypdf.PdfReader(BytesIO(content))
    return {
        "title": pdf.metadata.title if pdf.metadata else None,
        "bookmarks": bookmarks(pdf.outline),
        "drawings": alternatives(pdf.root_object["/StructTreeRoot"]),
        "data": {name: [*contents] for name, contents in pdf.attachments.items()},
    }


def alternatives(element: Any) -> list[str]:
    """Return what is said instead of each drawing below an element of the structure."""
    found = [str(element["/Alt"])] if element.get("/S") == "/Figure" else []
    children = element.get("/K", [])
    for child in children if isinstance(children, list) else [children]:
        child = child.get_object()
        if isinstance(child, dict):
            found += alternatives(child)
    return found


def bookmarks(outline: list[Any]) -> list[Any]:
    return [bookmarks(one) if isinstance(one, list) else one.title for one in outline]


def test_every_example_is_of_a_format() -> None:
    known = {load_plugin("phigate.reports", name).filename for name in BUILT_IN["phigate.reports"]}
    for report in REPORTS:
        assert {path.name for path in (EXAMPLES / report).iterdir()} <= known


IMPORTED_FROM = (ROOT, ROOT / "tests", Path(__file__).parent)
SCRIPT = """
import json
from test_golden_reports import ALWAYS_HERE, REPORTS, written
from checker.canonical import sha256_hex
print(json.dumps({
    f"{n} {r}": sha256_hex(written(n, r)[1]) for n in ALWAYS_HERE for r in REPORTS
}))
"""


def test_bytes_depend_on_neither_process_nor_hash_seed_nor_folder(tmp_path: Path) -> None:
    def digests(seed: str, folder: Path) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,  # another order of every set
                "PYTHONPATH": os.pathsep.join(
                    (str(ROOT), str(ROOT / "tests" / "helpers"), str(Path(__file__).parent))
                ),
                "TZ": "Asia/Kathmandu",
                "LC_ALL": "C",
            },
            capture_output=True,
            text=True,
            check=True,
        )
        found: dict[str, str] = json.loads(done.stdout)
        return found

    here = {f"{n} {r}": sha256_hex(written(n, r)[1]) for n in ALWAYS_HERE for r in REPORTS}
    assert digests("20261126", tmp_path) == here  # another process, seed and folder at once
