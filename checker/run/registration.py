"""Whether an attempt was registered before the model was asked anything."""

from __future__ import annotations

from datetime import UTC, datetime

from checker.evidence import Manifest, RunTimes
from checker.ledger import Attempt
from checker.planning import AuditPlan


def is_registered(
    plan: AuditPlan, manifest: Manifest, times: RunTimes | None, attempt: Attempt | None
) -> bool:
    """Return whether a run's attempt was registered before its first observation of a model.

    One that is registered afterwards may be the best of many that never were; so may one whose
    measurements have no date.

    Args:
        plan: that was run.
        manifest: which evidence there is.
        times: when it was measured, where that is known.
        attempt: as a ledger registered it, or None.

    Raises:
        EvidenceError: a time of measurement is not a time.
    """
    if attempt is None or times is None:
        return False
    asked = {job.digest for job in plan.jobs if job.depends_on_model}
    observed = [entry for entry in manifest.entries if entry.job in asked]
    oldest = times.oldest(observed)
    if not observed:
        return True
    try:
        moment = datetime.fromisoformat(attempt.entry.at)
    except ValueError:
        return False
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return oldest is not None and moment <= oldest
