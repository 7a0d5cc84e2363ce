"""Verify a run against its own report: all that can be looked at, in one order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from checker.errors import EvidenceError
from checker.report.formats.json import load_report
from checker.run.belonging import derived_folders
from checker.run.measured import require_measured
from checker.run.stored import Run, load_run
from checker.verification.attempts import check_attempt, check_in_ledger, check_required_ledger
from checker.verification.demands import (
    check_declarations,
    check_demands,
    check_empty,
    check_measurements,
    check_plugins,
    check_policy,
)
from checker.verification.exclusions import check_exclusions, check_exposures
from checker.verification.figures import check_figures
from checker.verification.files import check_digests, check_evidence, check_jobs
from checker.verification.foreign_files import check_foreign
from checker.verification.judging import check_judgement, check_later
from checker.verification.model_files import check_model
from checker.verification.renderings import check_renderings
from checker.verification.salts import check_salts
from checker.verification.signatures import check_signed, vouched_renderings
from checker.verification.statement import Statement

if TYPE_CHECKING:  # cryptography is loaded only where there is a signature to look at
    from securesystemslib.signer import Key


UNSIGNED = (
    "without a signature that was checked (--key) a run cannot show who made it, nor that plan,"
    " evidence and report were not made up together, as somebody can who knows phigate; a ledger"
    " and the institution's own policy and model (--ledger, --policy, --model) show a part of it"
)
"""What a run cannot show by itself; the threat model has the table."""


def verify_run(
    folder: Path,
    *,
    as_of: datetime | None = None,
    keys: Sequence[Key] = (),
    attestation: Path | None = None,
    ledger: Path | None = None,
    model: Path | None = None,
    policy: Path | None = None,
    signed: bool = True,
) -> list[Statement]:
    """Check a run against its own report.

    Args:
        folder: the run's.
        as_of: also ask whether the verdict still holds at this time, when evidence may have become
            too old and waivers may have expired.
        keys: public keys, each of which must have signed the report.
        attestation: where the signature is; default: with the run.
        ledger: the institution's, in which the attempt must stand.
        model: the model's folder, or its only file, which must be the one that was audited.
        policy: the institution's, which must be what the run was judged by.
        signed: whether to look at the signature; not before there is one.

    Returns:
        Statements in the order they were checked; the run is verified when none fails to hold.

    Raises:
        EvidenceError: the run has no report that could be read at all.
        DocumentError: the policy is invalid.
        UsageError: `as_of` lies before the newest measurement.
    """
    report = load_report(folder / "report.json")
    try:
        run = load_run(folder)
    except EvidenceError as error:
        statements = [Statement(False, str(error))]
        if signed:
            statements += check_signed(folder, report, None, keys=keys, attestation=attestation)
        return statements
    if as_of is not None:
        require_measured(run.manifest, run.times, as_of=as_of)
    statements = [
        *check_digests(run, report),
        check_demands(run),
        *check_jobs(run),
        *check_evidence(run),
    ]
    if policy is not None:
        statements.append(check_policy(run, policy))
    else:
        statements.append(Statement(None, "no policy was looked at; --policy names its file"))
    if all(statement.holds is not False for statement in statements):
        statements += [check_measurements(run), *check_plugins(run), check_empty(run)]
        statements += check_declarations(run)
        statements += [*check_figures(run), *check_salts(run), *check_exclusions(run)]
        statements += check_exposures(run)
    statements.append(check_attempt(run, report))
    if all(statement.holds is not False for statement in statements):
        statements += check_required_ledger(run, report, ledger=ledger)
        statements += check_judgement(run, report)
        if as_of is not None:
            statements += check_later(run, report, as_of)
    else:
        statements.append(Statement(False, "not judged again: the files above do not hold"))
    vouched = vouched_renderings(folder, keys=keys, attestation=attestation)
    statements += check_renderings(run, report, vouched=vouched)
    if ledger is not None:
        statements += check_in_ledger(run, report, ledger)
    elif report.provenance.attempt is not None:
        statements.append(Statement(None, "no ledger was looked at; --ledger names one"))
    if signed:
        statements += check_signed(folder, report, run, keys=keys, attestation=attestation)
    statements += [*check_foreign(run, report), *check_derived(run)]
    if not keys:
        statements.append(Statement(None, UNSIGNED))
    if model is not None:
        statements += check_model(run.plan.target.model_files, model)
    else:
        said = f"{report.target.name} {report.target.version}"
        text = f"no model was looked at; --model names the one that {said} is to be"
        statements.append(Statement(None, text))
    return statements


def check_derived(run: Run) -> Iterator[Statement]:
    """Runs under other policies that lie below this one: pages in them may say anything.

    Each is verified as it stands. That it holds says nothing of its policy, which may be anybody's.
    """
    for name in derived_folders(run.folder):
        if "/" in name:
            continue  # which the run around it says
        try:
            found = verify_run(run.folder / name, signed=False)
            broken = [one.text for one in found if one.holds is False]
        except EvidenceError as error:
            broken = [str(error)]
        if broken:
            yield Statement(False, f"{name}/ is no run that holds: {broken[0]}")
        else:
            yield Statement(
                None, f"{name}/ is a run under another policy: it holds, and nobody signed it here"
            )
