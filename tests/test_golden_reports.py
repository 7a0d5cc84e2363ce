"""The examples in `reports/examples` are what the formats write, byte for byte.

After a change that is meant, write them anew and read the difference:

    PHIGATE_UPDATE_GOLDEN=1 pytest tests/test_golden_reports.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from report_cases import case

from checker.canonical import sha256_hex
from checker.plugins import BUILT_IN, load_plugin
from checker.report.formats import ReportFormat

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "reports" / "examples"
REPORTS = {"failing": "failing, shared", "passing": "passing, shared"}
# pages, which the libraries that draw them have a say in
PAGES = {"html", "pdf"}
FORMATS = sorted({*BUILT_IN["phigate.reports"]} - PAGES)


def written(name: str, report: str) -> tuple[str, bytes]:
    found: ReportFormat = load_plugin("phigate.reports", name)
    return found.filename, found.render(case(REPORTS[report]))


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize("name", FORMATS)
def test_the_example_is_what_the_format_writes(name: str, report: str) -> None:
    filename, content = written(name, report)
    path = EXAMPLES / report / filename
    if os.environ.get("PHIGATE_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        pytest.skip(f"wrote {path.relative_to(ROOT)}")
    assert path.read_bytes() == content, (
        f"{path.relative_to(ROOT)} is not what `{name}` writes; if the change is meant, run"
        " PHIGATE_UPDATE_GOLDEN=1 pytest tests/test_golden_reports.py"
    )


def test_every_example_is_of_a_format() -> None:
    known = {load_plugin("phigate.reports", name).filename for name in BUILT_IN["phigate.reports"]}
    for report in REPORTS:
        assert {path.name for path in (EXAMPLES / report).iterdir()} <= known


SCRIPT = """
import json
from test_golden_reports import FORMATS, REPORTS, written
from checker.canonical import sha256_hex
print(json.dumps({f"{n} {r}": sha256_hex(written(n, r)[1]) for n in FORMATS for r in REPORTS}))
"""


def test_bytes_depend_on_neither_process_nor_hash_seed_nor_folder(tmp_path: Path) -> None:
    def digests(seed: str, folder: Path) -> dict[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,  # another order of every set
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
                "TZ": "Asia/Kathmandu",
                "LC_ALL": "C",
            },
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    here = {f"{n} {r}": sha256_hex(written(n, r)[1]) for n in FORMATS for r in REPORTS}
    assert digests("1", ROOT) == here
    assert digests("20261126", tmp_path) == here
