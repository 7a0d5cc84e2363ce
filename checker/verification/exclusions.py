"""The list of nonmembers who were set aside: is it what the evidence names?"""

from __future__ import annotations

from collections.abc import Iterator

from checker.attacks.api import columns_of
from checker.errors import EvidenceError
from checker.evidence import EvidenceStore, read_file
from checker.run.exclusions import EXCLUSIONS_FILE, exclusions_text
from checker.run.stored import Run
from checker.verification.statement import Statement


def check_exclusions(run: Run) -> Iterator[Statement]:
    """Compare the list with whom the evidence sets aside; a run below another has none.

    Raises:
        EvidenceError: the evidence is missing or was changed.
    """
    job = run.plan.job("overlap")
    entry = next((one for one in run.manifest.entries if job and one.job == job.digest), None)
    if entry is None or entry.file.startswith("../"):
        return
    expected = exclusions_text(EvidenceStore(run.folder, columns_of).load(entry))
    path = run.folder / EXCLUSIONS_FILE
    try:
        found = read_file(path).decode("utf-8", "replace") if path.exists() else None
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    if found == expected:
        if expected is not None:
            yield Statement(True, f"{EXCLUSIONS_FILE} names whom the evidence sets aside")
    elif found is None:
        yield Statement(False, f"{EXCLUSIONS_FILE} is missing, and nonmembers were set aside")
    elif expected is None:
        yield Statement(False, f"{EXCLUSIONS_FILE} lies here, and nobody was set aside")
    else:
        yield Statement(False, f"{EXCLUSIONS_FILE} was changed: the evidence names others")
