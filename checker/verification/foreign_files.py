"""What lies in a run's folder beside the run: nobody vouches for it, and people may read it."""

from __future__ import annotations

from collections.abc import Iterator

from checker.errors import EvidenceError
from checker.run.belonging import derived_folders, foreign_files
from checker.run.stored import Run
from checker.verification.statement import Statement


def check_foreign(run: Run) -> Iterator[Statement]:
    """Report files that are no part of a run, evidence that is not judged, and runs of their own.

    A file that is no part of the run may say anything, also that another model may be released.
    """
    try:
        strangers = foreign_files(run.folder)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    for name in strangers:
        yield Statement(
            False, f"{name} is no part of the run, and nothing vouches for it; move it elsewhere"
        )
    known = {entry.file for entry in run.manifest.entries}
    unused = [
        path
        for path in (run.folder / "evidence").glob("*.parquet")
        if f"evidence/{path.name}" not in known and f"evidence/{path.name}" not in strangers
    ]
    if unused:
        yield Statement(
            None,
            f"{len(unused)} evidence files are not in the manifest: they were measured in another"
            " environment, and are not judged",
        )
    for name in derived_folders(run.folder):
        yield Statement(None, f"{name}/ is a run under another policy, and is verified by itself")
