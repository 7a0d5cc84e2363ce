"""Verify a run offline: do the files still say what the report says?

Every digest is computed anew, the evidence is judged again under the report's own time, and the
result is compared with `report.json`, each with one line of what holds and what does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from checker.canonical import sha256_hex
from checker.errors import EvidenceError
from checker.evidence import EvidenceStore, read_file
from checker.plugins import load_plugin, plugin_names
from checker.report.formats import ReportFormat
from checker.report.json import load_report, render_json
from checker.report.model import Report
from checker.runs import Run, judge_run, load_run, load_waivers

__all__ = ["Statement", "verify_run"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that was checked, whether it holds, and what was found."""

    holds: bool
    text: str


def verify_run(folder: Path, *, as_of: datetime | None = None) -> list[Statement]:
    """Check a run against its own report.

    Args:
        folder: the run's.
        as_of: also ask whether the verdict still holds at this time, when evidence may have become
            too old and waivers may have expired.

    Returns:
        Statements in the order they were checked; the run is verified when all hold.

    Raises:
        EvidenceError: the run cannot be read at all.
    """
    report = load_report(folder / "report.json")
    run = load_run(folder)
    statements = [*_digests(run, report), *_evidence(run)]
    if all(statement.holds for statement in statements):
        statements.append(_judged_again(run, report))
        if as_of is not None:
            statements.append(_still_holds(run, report, as_of))
    else:
        statements.append(Statement(False, "not judged again: the files above do not hold"))
    return [*statements, *_renderings(run, report)]


def _digests(run: Run, report: Report) -> Iterator[Statement]:
    for name, said in (
        ("plan.json", report.provenance.plan_sha256),
        ("manifest.json", report.provenance.manifest_sha256),
    ):
        found = sha256_hex(read_file(run.folder / name))
        if found == said:
            yield Statement(True, f"{name} is the one the report speaks of ({said[:12]}…)")
        else:
            yield Statement(
                False, f"{name} was changed: the report says {said[:12]}…, it is {found[:12]}…"
            )
    if report.provenance.waivers_sha256 is not None:
        yield _waivers(run, report.provenance.waivers_sha256)


def _waivers(run: Run, said: str) -> Statement:
    path = run.folder / "waivers.json"
    if not path.exists():
        return Statement(False, "waivers.json is missing, and the report was judged with waivers")
    found = sha256_hex(read_file(path))
    if found == said:
        return Statement(True, f"waivers.json is the one the report speaks of ({said[:12]}…)")
    return Statement(
        False, f"waivers.json was changed: the report says {said[:12]}…, it is {found[:12]}…"
    )


def _evidence(run: Run) -> Iterator[Statement]:
    store = EvidenceStore(run.folder)
    wrong = 0
    for entry in run.manifest.entries:
        try:
            store.load(entry)
        except EvidenceError as error:
            wrong += 1
            yield Statement(False, str(error))
    if not wrong:
        count = len(run.manifest.entries)
        yield Statement(True, f"all {count} evidence files are those of the manifest")
    left_out = set(run.manifest.left_out)  # judging again shows whether the cells need them
    present = {entry.job for entry in run.manifest.entries} | left_out
    missing = [job for job in run.plan.jobs if job.digest not in present]
    if missing:
        names = ", ".join(job.digest[:12] for job in missing)
        yield Statement(False, f"{len(missing)} jobs of the plan have no evidence: {names}")


def _renderings(run: Run, report: Report) -> Iterator[Statement]:
    """What people read must be what was judged: each rendering is made again and compared."""
    for name in plugin_names("phigate.reports"):
        if name == "json":
            continue
        written: ReportFormat = load_plugin("phigate.reports", name)
        path = run.folder / written.filename
        if path.exists():
            yield _rendering(path, written, report)


def _rendering(path: Path, written: ReportFormat, report: Report) -> Statement:
    """Compare one rendering, as far as this machine can make it again."""
    lacking = written.lacking()
    if lacking is not None:
        return Statement(True, f"{path.name} was not compared: {lacking}")
    found, rendered = read_file(path), written.render(report)
    if found == rendered:
        return Statement(True, f"{path.name} is what report.json renders to")
    elsewhere = written.made_elsewhere(found, rendered)
    if elsewhere is not None:
        return Statement(True, f"{path.name} was not compared: {elsewhere}")
    return Statement(
        False,
        f"{path.name} is not what report.json renders to here: it was changed, or another version"
        " wrote it; `phigate report` writes it anew",
    )


def _still_holds(run: Run, report: Report, as_of: datetime) -> Statement:
    waivers = load_waivers(run.folder) if report.provenance.waivers_sha256 else None
    later = judge_run(run, as_of=as_of, waivers=waivers)
    when = as_of.astimezone(UTC).isoformat(timespec="seconds")
    if later.summary.exit_code == report.summary.exit_code:
        return Statement(True, f"as of {when} the verdict is the same: {later.verdict}")
    return Statement(
        False, f"as of {when} the verdict is {later.verdict}: {later.summary.decision}"
    )


def _judged_again(run: Run, report: Report) -> Statement:
    try:
        as_of = datetime.fromisoformat(report.provenance.as_of)
    except ValueError:
        return Statement(False, "report.json was judged for a time that is none")
    waivers = load_waivers(run.folder) if report.provenance.waivers_sha256 else None
    again = judge_run(run, as_of=as_of, waivers=waivers)
    if render_json(again) == render_json(report):
        return Statement(True, f"judged again, the evidence gives the same report: {again.verdict}")
    differing = [
        name for name in type(report).model_fields if getattr(report, name) != getattr(again, name)
    ]
    return Statement(
        False,
        f"judged again, the evidence says {again.verdict} and the report {report.verdict};"
        f" they differ in {', '.join(differing)}",
    )
