"""What belongs into a run's folder, and whose the folder is: one plan's, and so one model's.

Beside a new verdict must lie nothing that speaks of another model: neither evidence, nor a report
that was left behind, nor a file that somebody put there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from checker.errors import EvidenceError
from checker.evidence import INTERNAL_REPORTS, load_json_file, read_file
from checker.ledger import ATTEMPT_FILE
from checker.planning import AuditPlan
from checker.plugins import load_plugin, plugin_names
from checker.run.exclusions import EXCLUSIONS_FILE
from checker.run.exposures import EXPOSURES_FILE
from checker.run.log import LOG_FILE

ATTESTATION = "attestation.json"
"""As `checker.attestation` names it, which loads cryptography."""

RUN_FILES = frozenset(
    (
        "plan.json", "manifest.json", "run.json", "waivers.json", "submission.json",
        "pseudonym.key", ".lock",
        ATTEMPT_FILE, ATTESTATION, EXCLUSIONS_FILE, EXPOSURES_FILE, LOG_FILE,
    )
)  # fmt: skip
COMPARISONS = frozenset(
    f"{name}.{ending}" for name in ("comparison", "trend") for ending in ("html", "md", "json")
)
EVIDENCE_NAME = re.compile(r"[0-9a-f]{64}\.parquet")
DERIVED_NAME = re.compile(r"judged-by-.+")
"""Folders of runs that another policy was put over, see `checker.run.stored.derive_run`."""

_LEFT_BY_A_KILL = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_LEFT_BY_THE_SYSTEM = re.compile(r"\.DS_Store|Thumbs\.db|desktop\.ini|\.nfs[0-9a-f]+|\.directory")
_SHOWN = 3


def report_files() -> frozenset[str]:
    """Return the names of all report formats' files.

    Raises:
        PluginError: a format cannot be loaded.
    """
    formats = (load_plugin("phigate.reports", name) for name in plugin_names("phigate.reports"))
    return frozenset(one.filename for one in formats)


def foreign_files(run: Path) -> list[str]:
    """Return what lies in a run's folder and is no part of a run, by its path in it.

    Folders that are no part are named whole, with a final `/`.

    Raises:
        EvidenceError: a folder cannot be read.
    """
    return sorted(_foreign(run, report_files(), ""))


def derived_folders(run: Path) -> list[str]:
    """Return the folders in which the run was judged by other policies, by path, inner ones last.

    Raises:
        OSError: a folder cannot be read.
    """
    found: list[str] = []
    pending = [""]
    while pending:
        where = pending.pop()
        for path in sorted((run / where).iterdir()):
            if _is_derived(path):
                found.append(f"{where}{path.name}")
                pending.append(f"{where}{path.name}/")
    return found


def unfinished_files(run: Path) -> list[Path]:
    """Return what writers that were killed left behind in a run's folder."""
    folders = [run, *(run / name for name in derived_folders(run))]
    folders += [one / inner for one in folders for inner in ("evidence", INTERNAL_REPORTS)]
    return [
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if _LEFT_BY_A_KILL.fullmatch(path.name) and not path.is_dir()
    ]


def check_belongs(run: Path, plan: AuditPlan, *, fresh: bool) -> None:
    """Check that a folder is new, or holds this very plan's run, or is to be emptied.

    The same plan goes on where it was interrupted. What asks anything else, of any other model,
    takes a folder of its own, but for one in which nothing was measured yet.

    Args:
        run: the folder, which need not be there.
        plan: what is to be run in it.
        fresh: whether what an earlier run left is deleted first.

    Raises:
        EvidenceError: it is a file, holds anything but a run, or another plan's run.
    """
    if not run.exists():
        return
    if not run.is_dir():
        raise EvidenceError(f"{run}: is a file; --out names the folder of a run")
    strangers = foreign_files(run)
    if strangers:
        more = len(strangers) - _SHOWN
        shown = ", ".join(strangers[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        raise EvidenceError(
            f"{run}: holds {shown}, which is no part of a run; name a new folder with --out, or"
            " move away what is not the run's"
        )
    if fresh or not _has_measured(run):
        return
    other = _other_than(run / "plan.json", plan)
    if other is not None:
        raise EvidenceError(
            f"{run}: {other}; a folder is for one plan and one model, so name a new one with --out,"
            " or empty this one first with --fresh"
        )


def is_left_behind(run: Path, plan: AuditPlan) -> bool:
    """Whether a folder holds another plan of which nothing was measured.

    A model that could not be opened leaves it, a file of draws that was refused above all: what is
    mended is another plan, and hides nothing.
    """
    path = run / "plan.json"
    return path.exists() and not _has_measured(run) and _other_than(path, plan) is not None


def _has_measured(run: Path) -> bool:
    """Whether a run has a manifest, as it has from the first evidence or failed check on.

    A kill may fall between the first evidence and the manifest.
    """
    if (run / "manifest.json").exists():
        return True
    return (run / "plan.json").exists() and any((run / "evidence").glob("*"))


def check_apart(run: Path, model: Path) -> None:
    """Check that a run is not written into a model's folder, all files of which are the model.

    Raises:
        EvidenceError: it would be.
    """
    if model.is_dir() and run.resolve().is_relative_to(model.resolve()):
        raise EvidenceError(
            f"{run}: lies in the model's folder {model}, all of which is hashed as the model; name"
            " a folder elsewhere with --out"
        )


def _other_than(path: Path, plan: AuditPlan) -> str | None:
    """Say whose run a folder holds, or None where it is this plan's."""
    if not path.exists():
        return "holds evidence and no plan"
    if read_file(path) == plan.to_bytes():
        return None
    try:
        kept = load_json_file(path, AuditPlan)
    except EvidenceError:
        return "holds a run of another version of phigate"
    if kept.target.model_sha256 != plan.target.model_sha256:
        return f"holds the run of another model ({kept.target.model_sha256[:12]}…)"
    if kept.policy.document_sha256 != plan.policy.document_sha256:
        meta = kept.policy.document.metadata
        return f"holds a run under another policy or edition of it ({meta.name} {meta.version})"
    if kept.data.sha256 != plan.data.sha256:
        return "holds a run on other patients"
    if (kept.target.backend, kept.target.reference_backend) != (
        plan.target.backend,
        plan.target.reference_backend,
    ):
        return "holds a run through another version of the backend"
    if kept.target.document_sha256 != plan.target.document_sha256:
        return "holds a run of a target that is described otherwise"
    return "holds the run of another plan"


def _foreign(folder: Path, reports: frozenset[str], where: str) -> Iterator[str]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise EvidenceError(f"{folder}: cannot be read: {error.strerror or error}") from error
    for path in entries:
        name, place = path.name, where + path.name
        if not path.is_dir():
            if not _is_part(name, reports, where):
                yield place
        elif where == "" and name in ("evidence", INTERNAL_REPORTS):
            yield from _foreign(path, reports, f"{name}/")
        elif where == "" and _is_derived(path):
            for inner in _foreign(path, reports, ""):
                yield f"{name}/{inner}"
        else:
            yield f"{place}/"


def _is_derived(path: Path) -> bool:
    """Whether this is the folder of a run below a run, and no link to one."""
    return bool(DERIVED_NAME.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()


def _is_part(name: str, reports: frozenset[str], where: str) -> bool:
    if _LEFT_BY_A_KILL.fullmatch(name) or _LEFT_BY_THE_SYSTEM.fullmatch(name):
        return True
    if where == "evidence/":
        return EVIDENCE_NAME.fullmatch(name) is not None
    return name in reports or name in COMPARISONS or (where == "" and name in RUN_FILES)
