"""No time is judged for that lies before the newest measurement.

A judgement for an earlier day than the evidence was made on says what nobody could have known on
that day, and would put waivers in force again that have run out since.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from checker.errors import UsageError
from checker.evidence import Manifest, RunTimes, load_json_file
from checker.planning import AuditPlan


def require_measured(manifest: Manifest, times: RunTimes | None, *, as_of: datetime) -> None:
    """Refuse a time before the newest measurement, as far as measurements are dated.

    Args:
        manifest: which evidence there is.
        times: when it was measured, where that is known.
        as_of: the time to judge for, with its zone.

    Raises:
        UsageError: it lies before the newest measurement.
        EvidenceError: a time of measurement is not a time.
    """
    newest = times.newest(manifest.entries) if times else None
    if newest is not None and as_of < newest:
        raise UsageError(
            f"--as-of {_said(as_of)}: is before the newest measurement, {_said(newest)};"
            " judge for a time at or after it, or leave --as-of out to judge for now"
        )


def require_dated(
    manifest: Manifest, times: RunTimes | None, *, as_of: datetime, now: datetime
) -> None:
    """Refuse a time in the past where it is unknown when some of the evidence was measured.

    Args:
        manifest: which evidence there is.
        times: when it was measured, where that is known.
        as_of: the time to judge for, with its zone.
        now: the current time.

    Raises:
        UsageError: the newest measurement may have come after it.
    """
    if as_of >= now.replace(microsecond=0):
        return
    dated = times.measured if times else {}
    if any(entry.file not in dated for entry in manifest.entries):
        raise UsageError(
            f"--as-of {_said(as_of)}: run.json does not say when all of the evidence was measured,"
            " so a time cannot be chosen; leave --as-of out to judge for now, or measure anew"
            " with --fresh"
        )


def require_measurable(
    plan: AuditPlan, run: Path, *, as_of: datetime, now: datetime, fresh: bool
) -> None:
    """Refuse a time in the past before anything is measured that would come after it.

    Args:
        plan: what is about to be run.
        run: the run's folder, where evidence may be already.
        as_of: the time to judge for, with its zone.
        now: the current time.
        fresh: whether what is there is measured anew.

    Raises:
        UsageError: something is left to measure, or the time lies before the newest measurement.
        EvidenceError: the folder holds something else than a run.
    """
    if as_of >= now.replace(microsecond=0):
        return
    manifest = _manifest(run)
    measured = {entry.job for entry in manifest.entries} if manifest else set()
    left = manifest is None or any(
        job.digest not in measured and job.digest not in manifest.left_out for job in plan.jobs
    )
    if fresh or left or manifest is None:
        raise UsageError(
            f"--as-of {_said(as_of)}: lies in the past, and this audit still has to measure; what"
            " is measured now cannot be judged for an earlier time, so leave --as-of out"
        )
    path = run / "run.json"
    times = load_json_file(path, RunTimes) if path.exists() else None
    require_measured(manifest, times, as_of=as_of)


def _manifest(run: Path) -> Manifest | None:
    path = run / "manifest.json"
    return load_json_file(path, Manifest) if path.exists() else None


def _said(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
