"""Verify a run offline: do the files still say what the report says, and who answers for it?

Every digest is computed anew, the evidence is judged again under the report's own time and attempt,
and the result is compared with `report.json`; then the signature, the ledger and the model's files,
where they are given. Each thing that was looked at gets one line: it holds, it does not, or it was
not checked because something it takes was not given. Nothing that was not checked reads as if it
held.

`run` has the order in which a whole run is looked at; each thing that is looked at has its module:
`files`, `judging`, `renderings`, `foreign_files`, `attempts`, `signatures`, `model_files`.
"""

from checker.verification.attempts import verify_ledger_file
from checker.verification.run import verify_run
from checker.verification.signatures import attest_run, verify_attestation
from checker.verification.statement import Statement

__all__ = [
    "Statement",
    "attest_run",
    "verify_attestation",
    "verify_ledger_file",
    "verify_run",
]
