"""The list of nonmembers who were set aside, for the owner of the data to look into.

The report holds their number. Who they are is the owner's business alone: the list names them by
the run's pseudonyms, in a file that nobody else can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa

from checker.evidence import write_atomically
from checker.planning.model import AuditPlan

EXCLUSIONS_FILE: Final = "near-duplicates.txt"

_HEADING = """\
# Nonmembers who were judged nowhere, because their record nearly equals a member's. One pseudonym a
# line: the first 32 hexadecimal digits of HMAC-SHA-256, under the key in pseudonym.key, over
# "patient:" and the subject_id. Take them, or their double, out of the data set before the next
# training, or find out why the two are so alike.
"""


def write_exclusions(run: Path, *, plan: AuditPlan, evidence: Mapping[str, pa.Table]) -> None:
    """Write who was set aside (mode 0600), or remove an earlier list where nobody was.

    Args:
        run: the run's folder.
        plan: names the job that compared the records.
        evidence: tables by job digest; without the comparison's nothing is known, and none is kept.

    Raises:
        EvidenceError: the folder cannot be written.
    """
    job = plan.job("overlap")
    table = evidence.get(job.digest) if job else None
    content = None if table is None else exclusions_text(table)
    path = run / EXCLUSIONS_FILE
    if content is not None:
        write_atomically(path, content.encode(), mode=0o600)
    elif path.exists():
        path.unlink()


def exclusions_text(table: pa.Table) -> str | None:
    """Return the list of whom a comparison of the records sets aside, or None where it is nobody.

    Args:
        table: evidence of kind "overlap".
    """
    aside = table["set_aside"][0].as_py()
    return _HEADING + "".join(f"{pseudonym}\n" for pseudonym in aside) if aside else None
