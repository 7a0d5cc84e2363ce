"""A run's folder, locked by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checker.errors import EvidenceError
from checker.evidence import INTERNAL_REPORTS, make_folder
from checker.run.belonging import (
    COMPARISONS,
    EVIDENCE_NAME,
    RUN_FILES,
    derived_folders,
    report_files,
    unfinished_files,
)


@contextmanager
def locked_folder(run: Path) -> Iterator[None]:
    """Lock a run's folder for this process: two writers would overwrite each other's manifest.

    What a process that was killed had half written is deleted.

    Raises:
        EvidenceError: it cannot be written, or another process has locked it.
    """
    try:
        make_folder(run, mode=0o700)
        descriptor = os.open(run / ".lock", os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise EvidenceError(f"{run}: cannot be written: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EvidenceError(f"{run}: another phigate is working in this folder") from error
        _prepare(run, descriptor)
        yield
    finally:
        os.close(descriptor)


def _prepare(run: Path, lock: int) -> None:
    try:
        os.fchmod(lock, 0o600)
        for path in unfinished_files(run):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise EvidenceError(f"{run}: cannot be written: {error.strerror or error}") from error


def clear_folder(run: Path) -> None:
    """Delete all of a run, also under other policies, and nothing that phigate did not write.

    The lock stays, for it is held.

    Raises:
        EvidenceError: something cannot be deleted.
    """
    reports = report_files()
    try:
        derived = [run / name for name in reversed(derived_folders(run))]  # inner ones first
        for folder in (*derived, run):
            for path in (folder / "evidence").glob("*.parquet"):
                if EVIDENCE_NAME.fullmatch(path.name):
                    path.unlink()
            for name in (RUN_FILES | reports | COMPARISONS) - {".lock"}:
                (folder / name).unlink(missing_ok=True)
            for name in reports | COMPARISONS:
                (folder / INTERNAL_REPORTS / name).unlink(missing_ok=True)
            for empty in (folder / "evidence", folder / INTERNAL_REPORTS, folder):
                if empty != run and empty.is_dir() and not any(empty.iterdir()):
                    empty.rmdir()
    except OSError as error:
        raise EvidenceError(f"{run}: cannot be cleared: {error.strerror or error}") from error
