"""What lies in a run's folder and no digest, comparison or signature of the run covers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from checker.evidence import INTERNAL_REPORTS
from checker.ledger import ATTEMPT_FILE
from checker.plugins import load_plugin, plugin_names
from checker.report.model import Report
from checker.run.stored import WAIVERS, Run
from checker.verification.salts import KEY_FILE
from checker.verification.statement import Statement

COMPARISONS = ("comparison.html", "comparison.json")
SHOWN = 5


def check_foreign(run: Run, report: Report, *, signed: bool) -> Iterator[Statement]:
    """Name what nobody looked at: in a signed run a stranger is broken, elsewhere only said.

    Args:
        run: the run.
        report: its shared report.
        signed: whether somebody answers for this folder by a signature.
    """
    compared, strange, left = [], [], []
    for path in sorted(run.folder.rglob("*")):
        name = path.relative_to(run.folder).as_posix()
        if path.is_dir() or name.startswith("judged-by-"):
            continue
        if path.name in COMPARISONS and _is_of_reports(path, run):
            compared.append(name)
        elif path.parent == run.folder / "evidence" and path.suffix == ".parquet":
            left.append(name)
        else:
            strange.append(name)
    known = _known(run, report)
    strange = [name for name in strange if name not in known]
    left = [name for name in left if name not in known]
    if compared:
        text = "is made of two runs, and was not compared: neither the report nor a signature"
        yield Statement(None, f"{_listed(compared)} {text} covers it")
    if left:
        yield Statement(
            None, f"{_listed(left)}: evidence that this report does not rest on, not looked at"
        )
    if strange:
        text = f"{_listed(strange)}: not of this run, and nothing covers it"
        yield Statement(False if signed else None, text)
    derived = sorted(path.name for path in run.folder.glob("judged-by-*"))
    if derived:
        text = "judged by another policy, to be verified by itself"
        yield Statement(None, f"{_listed(derived)}: {text}")


def _is_of_reports(path: Path, run: Run) -> bool:
    return path.parent in (run.folder, run.folder / INTERNAL_REPORTS)


def _known(run: Run, report: Report) -> set[str]:
    """Return the names of all files that some other check looks at, or that need none."""
    from checker.attestation import ATTESTATION_FILE  # cryptography is slow to import

    names = plugin_names("phigate.reports")
    formats = [load_plugin("phigate.reports", name).filename for name in names]
    known = {"plan.json", "manifest.json", "run.json", ATTESTATION_FILE, KEY_FILE, ".lock"}
    known |= {entry.file for entry in run.manifest.entries}
    known |= {*formats, *(f"{INTERNAL_REPORTS}/{name}" for name in formats)}
    if report.provenance.waivers_sha256 is not None:
        known.add(WAIVERS)
    if report.provenance.attempt is not None:
        known.add(ATTEMPT_FILE)
    return known


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
