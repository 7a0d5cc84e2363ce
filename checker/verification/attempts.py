"""Which attempt at a release it is, by the run's own record and by the institution's ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from checker.errors import EvidenceError
from checker.ledger import ATTEMPT_FILE, Ledger, load_attempt, read_ledger, verdict_entry
from checker.report.model import Report
from checker.run.registration import is_registered
from checker.run.stored import Run
from checker.verification.statement import Statement


def verify_ledger_file(path: Path, *, noted: Sequence[str] = ()) -> list[Statement]:
    """Follow a ledger's chain.

    Args:
        path: of the ledger.
        noted: digests of lines that must still stand in it.

    Raises:
        EvidenceError: it cannot be read.
    """
    ledger = read_ledger(path)
    count = len(ledger.lines)
    if ledger.problem is None and not count:
        text = "it has no line: nothing was registered yet, or all lines were removed"
        statements = [Statement(None, text)]
    elif ledger.problem is None:
        statements = [Statement(True, f"the chain holds over {count} lines; note {ledger.head}")]
    else:
        statements = [Statement(False, f"the chain holds over {count} lines; {ledger.problem}")]
    statements += [_contradiction(ledger, *lines) for lines in ledger.contradictions()]
    for sha256 in noted:
        place = ledger.place_of(sha256)
        where = "is in no line: lines were removed" if place is None else f"is line {place}"
        statements.append(Statement(place is not None, f"{sha256[:12]}… {where}"))
    return statements


def check_attempt(run: Run, report: Report) -> Statement:
    """Which attempt the report says it is, by the run's own record."""
    said = report.provenance.attempt
    if said is None:
        return Statement(None, "attempt unknown: the report was judged without a ledger")
    try:
        kept = load_attempt(run.folder)
    except EvidenceError as error:
        return Statement(False, str(error))
    if kept is None or kept.sha256 != said.ledger_entry or kept.number != said.number:
        was = "is missing" if kept is None else "was changed"
        return Statement(
            False,
            f"{ATTEMPT_FILE} {was}: the report says attempt {said.number}, by the ledger entry"
            f" {said.ledger_entry[:12]}…",
        )
    if not kept.speaks_of(run.plan):
        return Statement(False, f"{ATTEMPT_FILE} registers another model, policy or evidence")
    return Statement(True, f"{ATTEMPT_FILE} registers attempt {kept.number}, as the report says")


def check_required_ledger(run: Run, report: Report, *, ledger: Path | None) -> Iterator[Statement]:
    """What the policy's demand for a ledger comes to, where it makes it.

    Raises:
        EvidenceError: the run's record of its attempt cannot be read.
    """
    if not run.policy.spec.gate.require_ledger:
        return
    said = report.provenance.attempt
    attempt = load_attempt(run.folder) if said is not None else None
    if not is_registered(run.plan, run.manifest, run.times, attempt):
        text = "the policy requires a ledger (gate.requireLedger), and the audit was not registered"
        yield Statement(None, f"{text} before it was measured: nothing in it passes")
    elif ledger is None:
        text = "the policy requires a ledger (gate.requireLedger): only --ledger shows whether the"
        yield Statement(None, f"{text} attempt stands in it")
    else:
        text = "the policy requires a ledger, and the attempt was registered before it was measured"
        yield Statement(True, text)


def check_in_ledger(run: Run, report: Report, path: Path) -> Iterator[Statement]:
    """Whether the institution's ledger has the attempt and its verdict."""
    try:
        ledger = read_ledger(path)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    said = report.provenance.attempt
    if ledger.problem is not None:
        yield Statement(False, f"{path}: {ledger.problem}")
    elif said is None:
        known = ledger.find(run.plan)
        found = f"has it as attempt {known.number}" if known else "does not hold this audit"
        yield Statement(
            False,
            f"the report was judged without a ledger, and {path} {found};"
            " `phigate judge RUN --ledger` judges it as what it is",
        )
    else:
        place = _stands(ledger, said.ledger_entry, said.number)
        yield place
        if place.holds:
            yield _recorded(run, report, ledger, said.number)
        for lines in ledger.contradictions(run.plan):
            yield _contradiction(ledger, *lines)


def check_line(path: Path, entry: str, number: object) -> Iterator[Statement]:
    """Whether a ledger has the line that registers an attempt."""
    try:
        ledger = read_ledger(path)
    except EvidenceError as error:
        yield Statement(False, str(error))
        return
    if ledger.problem is not None:
        yield Statement(False, f"{path}: {ledger.problem}")
    else:
        yield _stands(ledger, entry, number)


def _stands(ledger: Ledger, entry: str, number: object) -> Statement:
    place = ledger.place_of(entry)
    if place is None:
        return Statement(
            False,
            f"{ledger.path}: lacks the line {entry[:12]}… that registers attempt {number}; it was"
            " changed or taken out, or this is another ledger",
        )
    return Statement(
        True, f"attempt {number} is line {place} of {len(ledger.lines)} in {ledger.path}"
    )


def _recorded(run: Run, report: Report, ledger: Ledger, attempt: int) -> Statement:
    """Whether the report's verdict stands in a ledger as reached on the report's own grounds."""
    said, last = report.provenance, ledger.last_verdict(run.plan)
    try:
        verdict = verdict_entry(
            run.plan,
            attempt=attempt,
            verdict=report.verdict,
            as_of=said.as_of,
            manifest_sha256=said.manifest_sha256,
            waivers_sha256=said.waivers_sha256,
            phigate_version=said.phigate_version,
        )
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        return Statement(False, f"the report says what no ledger holds: {place}")
    if last != report.verdict:
        told = "no verdict on this plan" if last is None else f"another verdict, {last}"
    elif ledger.has_verdict(verdict):
        text = f"the ledger has this verdict on this plan and this evidence: {last}"
        return Statement(True, text)
    else:
        told = f"the verdict {last} on this plan, but on other evidence or waivers, or as of"
        told += " another time"
    return Statement(False, f"the ledger has {told}; `phigate judge RUN --ledger` adds it")


def _contradiction(ledger: Ledger, earlier: int, later: int) -> Statement:
    said, again = ledger.entries[earlier - 1], ledger.entries[later - 1]
    return Statement(
        False,
        f"lines {earlier} and {later} contradict each other: {said.verdict} and {again.verdict} on"
        f" one plan ({said.plan_sha256[:12]}…), on the same evidence and as of the same time",
    )
