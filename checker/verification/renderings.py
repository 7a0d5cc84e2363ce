"""Renderings of a report, made again from report.json and compared, as far as this machine can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from checker.canonical import sha256_hex
from checker.errors import EvidenceError, PluginError
from checker.evidence import read_file
from checker.plugins import load_plugin, plugin_names
from checker.report.formats.api import ReportFormat
from checker.report.formats.json import JSON, load_report
from checker.report.model import Report
from checker.run.stored import Run, report_folder
from checker.verification.statement import Statement


def check_renderings(
    run: Run, report: Report, *, vouched: Mapping[str, str] | None = None
) -> Iterator[Statement]:
    """What people read must be what was judged: each rendering is made again and compared.

    Args:
        run: the run.
        report: its shared report.
        vouched: SHA-256 of those that were signed, by name; None where no key was given. Where one
            was, somebody is to answer for every page: what cannot be compared here must be signed.
    """
    yield from _rendered(run, report, run.folder, vouched)
    folder = report_folder(run.folder, "internal")
    if not (folder / "report.json").exists() and not any(folder.glob("report.*")):
        return
    try:
        internal = load_report(folder / "report.json")
    except EvidenceError as error:
        yield Statement(False, f"renderings in {folder.name} were not compared: {error}")
        return
    # of internal pages none is signed: a digest of theirs would let counts be guessed
    yield from _rendered(run, internal, folder, None if vouched is None else {})


def _rendered(
    run: Run, report: Report, folder: Path, vouched: Mapping[str, str] | None
) -> Iterator[Statement]:
    for name in plugin_names("phigate.reports"):
        if name == "json":
            continue
        written: ReportFormat = load_plugin("phigate.reports", name)
        path = folder / written.filename
        if path.exists():
            name = str(path.relative_to(run.folder))
            if (vouched or {}).get(name) == sha256_hex(read_file(path)):
                yield Statement(True, f"{name} is the one that was signed")
                continue
            found = _rendering(path, written, report, name=name)
            if vouched is not None and found.holds is None:
                why = "no signature that was checked covers it"
                what = "take it away or sign it" if folder == run.folder else "take it away"
                found = Statement(False, f"{found.text}; {why}, so {what}")
            yield found


def _rendering(path: Path, written: ReportFormat, report: Report, *, name: str) -> Statement:
    """Compare one rendering, as far as this machine can make it again."""
    found, lacking = read_file(path), written.lacking()
    if lacking is not None:
        return _carries(found, written, report, name=name, why=lacking)
    rendered = written.render(report)
    if found == rendered:
        return Statement(True, f"{name} is what report.json renders to")
    elsewhere = written.made_elsewhere(found, rendered)
    if elsewhere is not None:
        return _carries(found, written, report, name=name, why=elsewhere)
    return Statement(
        False,
        f"{name} is not what report.json renders to here: it was changed, or another version"
        " wrote it; `phigate report` writes it anew",
    )


def _carries(
    found: bytes, written: ReportFormat, report: Report, *, name: str, why: str
) -> Statement:
    """Compare the data that a file carries, where it cannot be made again here.

    That it carries the data of this report does not show that its pages say the same.
    """
    if written.attached is None:
        return Statement(None, f"{name} was not compared: {why}")
    try:
        carried = written.attached(found)
    except PluginError as error:
        return Statement(None, f"{name} was not compared: {why}; {error}")
    except ValueError as error:
        return Statement(False, f"{name} carries no report.json that could be read ({error})")
    if carried != JSON.render(report):
        return Statement(
            False,
            f"{name} carries the data of another report; `phigate report` writes it anew",
        )
    return Statement(
        None,
        f"{name} carries the data of this report, and its pages were not compared: {why};"
        " `phigate report` writes it anew",
    )
