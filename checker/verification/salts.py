"""The keyed salts of a run's evidence: was each table kept by the run whose key is there?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from checker.attacks.api import columns_of
from checker.errors import EvidenceError
from checker.evidence import EvidenceStore, Pseudonyms
from checker.run.stored import Run
from checker.verification.statement import Statement

KEY_FILE = "pseudonym.key"
_SALT = re.compile(r"[0-9a-f]{32}")


def check_salts(run: Run) -> Iterator[Statement]:
    """A table's salt is its job's under the run's key; without the key, all differ as they must.

    Raises:
        EvidenceError: evidence is missing or was changed.
    """
    found = _salts(run)
    malformed = [job for job, salt in found.items() if not _SALT.fullmatch(salt)]
    if malformed or len(set(found.values())) < len(found) or not _SALT.fullmatch(run.manifest.salt):
        which = ", ".join(job[:12] for job in malformed[:5]) or "two of them are the same"
        yield Statement(False, f"the salts of the evidence are not those of a run: {which}")
        return
    folder = _folder_of_key(run)
    if folder is None:
        text = f"the salts of {len(found)} evidence files differ as they must; {KEY_FILE}, which"
        yield Statement(None, f"{text} shows whose they are, is not here")
        return
    try:
        names = Pseudonyms.of_run(folder)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    foreign = [job for job, salt in found.items() if names.of("salt", job.encode()) != salt]
    if foreign or names.of("salt", b"manifest") != run.manifest.salt:
        which = ", ".join(job[:12] for job in foreign[:5]) or "the manifest"
        yield Statement(False, f"not kept under this run's {KEY_FILE}: {which}")
    else:
        yield Statement(True, f"all {len(found)} evidence files were kept under this run's key")


def _salts(run: Run) -> dict[str, str]:
    store = EvidenceStore(run.folder, columns_of)
    metadata = {entry.job: store.load(entry).schema.metadata for entry in run.manifest.entries}
    return {job: (one or {}).get(b"salt", b"").decode("latin-1") for job, one in metadata.items()}


def _folder_of_key(run: Run) -> Path | None:
    """Return the folder that holds a run's key; one judged by another policy has its parent's."""
    below = any(entry.file.startswith("../") for entry in run.manifest.entries)
    folder = run.folder.parent if below else run.folder
    return folder if (folder / KEY_FILE).exists() else None
