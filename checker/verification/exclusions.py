"""The lists of people that a run keeps for its owner: are they what the evidence names?"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from checker.attacks.api import columns_of
from checker.errors import EvidenceError
from checker.evidence import EvidenceStore, read_file
from checker.run.exclusions import EXCLUSIONS_FILE, exclusions_text
from checker.run.exposures import EXPOSURES_FILE, exposures_of, exposures_text
from checker.run.stored import Run
from checker.verification.statement import Statement


def check_exclusions(run: Run) -> Iterator[Statement]:
    """Compare the list with whom the evidence sets aside; a run below another has none.

    Raises:
        EvidenceError: the evidence is missing or was changed.
    """
    job = run.plan.job("overlap")
    table = _table(run, job.digest) if job else None
    if table is not None and not _is_derived(run):
        yield from _compared(
            run,
            EXCLUSIONS_FILE,
            exclusions_text(table),
            whom="whom the evidence sets aside",
            missing="nonmembers were set aside",
            needless="nobody was set aside",
        )


def check_exposures(run: Run) -> Iterator[Statement]:
    """Compare who is said to stand out with the scores; a run below another has no such list.

    Raises:
        EvidenceError: the evidence is missing or was changed.
    """
    if _is_derived(run):
        return
    found = exposures_of(run.plan, lambda job: _table(run, job))
    confidence = run.plan.confidence
    yield from _compared(
        run,
        EXPOSURES_FILE,
        None if found is None else exposures_text(found, confidence=confidence),
        whom="who stands out by the evidence's scores",
        missing="members were scored one by one",
        needless="no members were scored",
    )


def _is_derived(run: Run) -> bool:
    return any(one.file.startswith("../") for one in run.manifest.entries)


def _table(run: Run, job: str) -> pa.Table | None:
    entry = next((one for one in run.manifest.entries if one.job == job), None)
    return None if entry is None else EvidenceStore(run.folder, columns_of).load(entry)


def _compared(
    run: Run, name: str, expected: str | None, *, whom: str, missing: str, needless: str
) -> Iterator[Statement]:
    path = run.folder / name
    try:
        found = read_file(path).decode("utf-8", "replace") if path.exists() else None
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    if found == expected:
        if expected is not None:
            yield Statement(True, f"{name} names {whom}")
    elif found is None:
        yield Statement(False, f"{name} is missing, and {missing}")
    elif expected is None:
        yield Statement(False, f"{name} lies here, and {needless}")
    else:
        yield Statement(False, f"{name} was changed: the evidence names others")
