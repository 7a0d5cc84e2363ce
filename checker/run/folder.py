"""A run's folder, locked by one process at a time."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checker.errors import EvidenceError
from checker.evidence import INTERNAL_REPORTS
from checker.ledger import ATTEMPT_FILE
from checker.plugins import load_plugin, plugin_names
from checker.run.exclusions import EXCLUSIONS_FILE

_EVIDENCE_NAME = re.compile(r"[0-9a-f]{64}\.parquet")


@contextmanager
def locked_folder(run: Path) -> Iterator[None]:
    """Lock a run's folder for this process: two writers would overwrite each other's manifest.

    Raises:
        EvidenceError: it cannot be written, or another process has locked it.
    """
    try:
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(run / ".lock", os.O_WRONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise EvidenceError(f"{run}: cannot be written: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EvidenceError(f"{run}: another phigate is working in this folder") from error
        yield
    finally:
        os.close(descriptor)


def clear_folder(run: Path) -> None:
    """Delete a run's evidence, plan, manifest and reports, and nothing that it did not write.

    Raises:
        EvidenceError: something cannot be deleted.
    """
    try:
        for path in (run / "evidence").glob("*.parquet"):
            if _EVIDENCE_NAME.fullmatch(path.name):
                path.unlink()
        own = ("plan.json", "manifest.json", "run.json", "waivers.json")
        for name in (*own, ATTEMPT_FILE, EXCLUSIONS_FILE):
            (run / name).unlink(missing_ok=True)
        for folder in (run, run / INTERNAL_REPORTS):
            for name in plugin_names("phigate.reports"):
                (folder / load_plugin("phigate.reports", name).filename).unlink(missing_ok=True)
    except OSError as error:
        raise EvidenceError(f"{run}: cannot be cleared: {error.strerror or error}") from error
