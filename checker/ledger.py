"""The attempt ledger: which try at a release this is (METHODS §6, *Second tries*).

A model that is beyond its limits passes one audit in twenty at 95 % confidence; audited on fresh
patients until it passes, it passes in the end. So an institution keeps one ledger for all its runs.
An *attempt* is registered before the model is asked anything, and attempt k is judged at α/2^(k-1).

What makes an attempt. Attempts are counted for a model (the digest of its files) and a policy. Two
plans are the same attempt when they ask the model the same (`evidence_sha256`): to repeat an
audit, to resume it, or to judge the same evidence by other limits draws nothing anew. METHODS
§6 counts them by the policy's *name*, which is stricter than by its digest: there a new
comment, version number or seed would make every attempt the first one, while a plan that asks
nothing new would become a second one for a corrected title. What this cannot see: the same
demands under another policy's name, a model saved again in other bytes, a ledger that was never
given, and another device, whose numbers may differ in the last digits.

The file. One JSON object a line; each holds the SHA-256 of the line before, so a line that is
changed, taken out or put in breaks the chain behind it. The end of a chain protects itself least:
lines taken off there are missed by the runs, reports and signatures that name them
(`phigate verify RUN --ledger`), and by the last digest, where it was noted (`phigate ledger verify
--holds`). Writers lock the file, so several may share it, and append whole lines; a last line cut
short by a crash was never given out as an attempt, and `phigate ledger mend` takes it off.

Confidential like the runs, though it holds no patient and no count: it names data and models.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from checker.canonical import JsonModel, canonical_json, digest, sha256_hex
from checker.errors import EvidenceError, UsageError
from checker.evidence import read_file, write_atomically
from checker.json_text import read_json
from checker.planning import AuditPlan
from checker.version import PHIGATE_VERSION

ATTEMPT_FILE = "attempt.json"
FIRST = "0" * 64
"""What the first line has in place of the digest of the line before."""

_NO_LEDGER = "its last line is not that of an attempt ledger"
_BEGINNINGS = (b'{"asOf":null,"at":"', b'{"asOf":"')  # keys are sorted
_SHA256 = r"^[0-9a-f]{64}$"


class LedgerEntry(JsonModel):
    """One line: an attempt that was registered, or a verdict that was reached on one.

    `previous` is the SHA-256 of the line before. `evidence_sha256` is over everything that the
    model is asked. `policy_sha256` and `plan_sha256` are those of the moment; they may differ
    between lines of one attempt, for the same evidence can be judged by other limits. A verdict
    says what it was reached on: the manifest of the evidence, the waivers, the time judged for and
    the version of phigate. Lines that earlier versions wrote lack these.
    """

    schema_version: Literal["1"] = "1"
    kind: Literal["attempt", "verdict"]
    previous: str = Field(pattern=_SHA256)
    at: str
    attempt: int = Field(ge=1)
    target: str
    target_version: str
    model_sha256: str
    policy: str
    policy_version: str
    policy_sha256: str
    data_sha256: str
    plan_sha256: str
    evidence_sha256: str
    verdict: Literal["pass", "fail", "inconclusive", "error"] | None = None
    as_of: str | None = None
    manifest_sha256: str | None = Field(default=None, pattern=_SHA256)
    waivers_sha256: str | None = Field(default=None, pattern=_SHA256)
    phigate_version: str | None = None

    def is_same_release(self, other: LedgerEntry) -> bool:
        """Whether two lines speak of one model under one policy."""
        return (self.model_sha256, self.policy) == (other.model_sha256, other.policy)

    def is_same_attempt(self, other: LedgerEntry) -> bool:
        """Whether two lines speak of one model, under one policy, asked the same."""
        return self.is_same_release(other) and self.evidence_sha256 == other.evidence_sha256

    @property
    def grounds(self) -> tuple[object, ...] | None:
        """All that a verdict follows from, so that on equal grounds it is the same; or None.

        Judging is pure: who finds two verdicts on the same grounds knows that one was not reached
        by this version of phigate from that evidence.
        """
        if self.kind != "verdict" or self.manifest_sha256 is None:
            return None
        attempt = (self.model_sha256, self.policy, self.evidence_sha256, self.attempt)
        judged = (self.plan_sha256, self.manifest_sha256, self.waivers_sha256, self.as_of)
        return (*attempt, *judged, self.phigate_version)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A registered attempt, as its line in the ledger says it.

    Args:
        line: the bytes of the line, without its end.
        entry: the same, read.
    """

    line: bytes
    entry: LedgerEntry = field(repr=False)

    @property
    def number(self) -> int:
        """Which try at this release it is, from 1."""
        return self.entry.attempt

    @property
    def sha256(self) -> str:
        """The digest that the line after it holds."""
        return sha256_hex(self.line)

    def speaks_of(self, plan: AuditPlan) -> bool:
        """Whether it is the attempt that a plan's evidence belongs to."""
        return self.entry.is_same_attempt(_entry_of(plan))


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger as it was read.

    Args:
        path: of the file.
        lines: in the file's order, those in front of the first problem.
        problem: one sentence on what is wrong at the line behind them, or None.
    """

    path: Path
    lines: tuple[Attempt, ...]
    problem: str | None

    @property
    def entries(self) -> list[LedgerEntry]:
        """What the lines say."""
        return [line.entry for line in self.lines]

    @property
    def head(self) -> str:
        """Digest of the last line; noted, it shows later that no line was removed."""
        return self.lines[-1].sha256 if self.lines else FIRST

    def place_of(self, sha256: str) -> int | None:
        """Return the number, from 1, of the line with a digest, or None."""
        places = (number for number, line in enumerate(self.lines, 1) if line.sha256 == sha256)
        return next(places, None)

    def attempts_at(self, plan: AuditPlan) -> list[Attempt]:
        """Return the attempts at a plan's release, in order."""
        wanted = _entry_of(plan)
        return [
            line
            for line in self.lines
            if line.entry.kind == "attempt" and line.entry.is_same_release(wanted)
        ]

    def find(self, plan: AuditPlan) -> Attempt | None:
        """Return the attempt that a plan's evidence belongs to, or None where it is a new one."""
        return next((one for one in self.attempts_at(plan) if one.speaks_of(plan)), None)

    def contradictions(self, plan: AuditPlan | None = None) -> list[tuple[int, int]]:
        """Return the numbers, from 1, of lines that give two verdicts on the same grounds.

        Args:
            plan: only of verdicts on this plan; default: of all.
        """
        first: dict[tuple[object, ...], int] = {}
        found = []
        for number, entry in enumerate(self.entries, 1):
            grounds = entry.grounds
            if grounds is None or (plan is not None and entry.plan_sha256 != plan.sha256):
                continue
            earlier = first.setdefault(grounds, number)
            if self.entries[earlier - 1].verdict != entry.verdict:
                found.append((earlier, number))
        return found

    def has_verdict(self, verdict: LedgerEntry) -> bool:
        """Whether a verdict stands in it on the same grounds."""
        return any(
            entry.grounds == verdict.grounds and entry.verdict == verdict.verdict
            for entry in self.entries
        )

    def last_verdict(self, plan: AuditPlan) -> str | None:
        """Return the verdict that was last reached on a plan, or None where there is none."""
        wanted = _entry_of(plan)
        verdicts = [
            entry.verdict
            for entry in self.entries
            if entry.kind == "verdict"
            and entry.is_same_attempt(wanted)
            and entry.plan_sha256 == wanted.plan_sha256
        ]
        return verdicts[-1] if verdicts else None


def evidence_sha256(plan: AuditPlan) -> str:
    """Return the digest of everything that a plan asks a model, whatever is demanded of it."""
    return digest(sorted(job.digest for job in plan.jobs if job.depends_on_model))


def make_ledger(path: Path) -> None:
    """Start an empty ledger.

    It is never made implicitly: a mistyped path or a share that is not mounted would start the
    count anew, and every attempt would be the first.

    Raises:
        UsageError: the file is there already.
        EvidenceError: it cannot be written.
    """
    try:
        path.open("xb").close()
    except FileExistsError as error:
        raise UsageError(f"{path}: is there already; attempts are added to it") from error
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_ledger(path: Path) -> Ledger:
    """Read a ledger and follow its chain.

    Raises:
        EvidenceError: there is no such file, or it cannot be read.
    """
    with _locked(path, "rb") as stream:
        return _read(path, stream)


def register_attempt(path: Path, *, plan: AuditPlan, at: datetime) -> Attempt:
    """Return the attempt that a plan is, and register it if it is a new one.

    Args:
        path: of the ledger.
        plan: that is about to be run or judged.
        at: the current time.

    Raises:
        EvidenceError: the ledger cannot be written, or its chain is broken.
    """
    with _locked(path, "r+b") as stream:
        ledger = _require_sound(_read(path, stream))
        known = ledger.find(plan)
        if known is not None:
            return known
        number = len(ledger.attempts_at(plan)) + 1
        entry = _entry_of(plan, kind="attempt", attempt=number, previous=ledger.head, at=_utc(at))
        return _append(stream, path, entry)


def record_verdict(
    path: Path,
    *,
    attempt: Attempt,
    plan: AuditPlan,
    manifest_sha256: str,
    waivers_sha256: str | None = None,
    verdict: str,
    as_of: str,
    at: datetime,
) -> None:
    """Add what an attempt led to; the same verdict on the same grounds is not said twice.

    Another verdict on the same grounds is written down as well: a ledger that contradicts itself
    tells what was done, and `phigate ledger verify` says so.

    Args:
        path: of the ledger.
        attempt: registered in it.
        plan: that was judged; its policy may be another edition than that of the attempt's line.
        manifest_sha256: of the evidence that was judged.
        waivers_sha256: of the waivers that were judged with, or None.
        verdict: of the report.
        as_of: the time judged for, ISO 8601.
        at: the current time.

    Raises:
        EvidenceError: the ledger cannot be written, its chain is broken, or it lacks the attempt.
    """
    with _locked(path, "r+b") as stream:
        ledger = _require_sound(_read(path, stream))
        if ledger.place_of(attempt.sha256) is None:
            raise EvidenceError(
                f"{path}: lacks the line {attempt.sha256[:12]}… that registers this attempt;"
                " it was taken out, or this is another ledger"
            )
        entry = verdict_entry(
            plan,
            attempt=attempt.number,
            previous=ledger.head,
            at=_utc(at),
            verdict=verdict,
            as_of=as_of,
            manifest_sha256=manifest_sha256,
            waivers_sha256=waivers_sha256,
        )
        if not ledger.has_verdict(entry) or ledger.last_verdict(plan) != verdict:
            _append(stream, path, entry)


def upcoming_attempt(path: Path, *, plan: AuditPlan) -> int:
    """Return which attempt a plan is or would be; nothing is registered.

    Raises:
        EvidenceError: the ledger cannot be read, or its chain is broken.
    """
    ledger = _require_sound(read_ledger(path))
    known = ledger.find(plan)
    return known.number if known else len(ledger.attempts_at(plan)) + 1


def mend_ledger(path: Path) -> str:
    """Take off a last line that was cut short, or end one that lacks only its end.

    What is taken off is kept in a file beside the ledger.

    Returns:
        What was done, in words.

    Raises:
        EvidenceError: the ledger cannot be read or written, or it is no ledger.
    """
    with _locked(path, "r+b") as stream:
        whole, end, torn = stream.readall().rpartition(b"\n")
        ledger = _require_sound(_parse(path, whole + end))
        if not torn:
            return "the last line is whole; nothing was changed"
        if not _may_begin(torn, ledger.lines):
            raise EvidenceError(f"{path}: {_NO_LEDGER}; nothing was changed")
        try:
            if _problem(torn, len(ledger.lines) + 1, ledger.lines) is None:
                stream.write(b"\n")
                os.fsync(stream.fileno())
                return "the last line lacked nothing but its end, and has it now"
            kept = path.with_name(f"{path.name}.{sha256_hex(torn)[:12]}.torn")
            write_atomically(kept, torn, mode=0o600)
            stream.truncate(len(whole) + len(end))
            os.fsync(stream.fileno())
        except OSError as error:
            raise EvidenceError(f"{path}: cannot be written: {error.strerror or error}") from error
        return f"took off {len(torn)} bytes, which are kept in {kept}"


def record_attempt(folder: Path, attempt: Attempt) -> None:
    """Keep an attempt's line with the run, so that it can be judged again without the ledger.

    Raises:
        EvidenceError: the folder cannot be written.
    """
    write_atomically(folder / ATTEMPT_FILE, attempt.line + b"\n", mode=0o600)


def load_attempt(folder: Path) -> Attempt | None:
    """Read the attempt that a run was registered as, or None where no ledger was kept.

    Raises:
        EvidenceError: the file is not the line of a ledger.
    """
    path = folder / ATTEMPT_FILE
    if not path.exists():
        return None
    content = read_file(path)
    line = content.removesuffix(b"\n")
    try:
        if line == content:
            raise EvidenceError(f"{path}: lacks its end; it was cut short or changed")
        return Attempt(line, _entry(line))
    except ValueError as error:
        raise EvidenceError(f"{path}: is not the line of an attempt ledger") from error


def verdict_entry(plan: AuditPlan, **said: Any) -> LedgerEntry:
    """Return the line that says of a plan what verdict was reached on which grounds.

    Args:
        plan: that was judged.
        said: the other fields of a `LedgerEntry`.
    """
    return _entry_of(plan, kind="verdict", **{"phigate_version": PHIGATE_VERSION, **said})


# --- lines --------------------------------------------------------------------------------------


def _entry(line: bytes) -> LedgerEntry:
    """Read a line; raises ValueError where it is none, or says something twice."""
    read_json(line)
    return LedgerEntry.model_validate_json(line)


def _entry_of(plan: AuditPlan, **said: Any) -> LedgerEntry:
    """Return the line that a plan would have; what is not said is as in a first attempt."""
    policy, target = plan.policy.document.metadata, plan.target.document.metadata
    fields = {
        "kind": "attempt",
        "previous": FIRST,
        "at": "",
        "attempt": 1,
        "target": target.name,
        "target_version": target.version,
        "model_sha256": plan.target.model_sha256,
        "policy": policy.name,
        "policy_version": policy.version,
        "policy_sha256": plan.policy.sha256,
        "data_sha256": plan.data.sha256,
        "plan_sha256": plan.sha256,
        "evidence_sha256": evidence_sha256(plan),
    }
    return LedgerEntry.model_validate({**fields, **said})


def _parse(path: Path, content: bytes) -> Ledger:
    """Follow the chain as far as it holds."""
    lines: list[Attempt] = []
    *whole, torn = content.split(b"\n")
    for number, line in enumerate(whole, 1):
        problem = _problem(line, number, lines)
        if problem is not None:
            return Ledger(path, tuple(lines), f"line {number} {problem}")
        lines.append(Attempt(line, _entry(line)))
    return Ledger(path, tuple(lines), _torn_problem(torn, lines) if torn else None)


def _torn_problem(torn: bytes, before: Sequence[Attempt]) -> str:
    """Say what is wrong with a last line that lacks its end, behind lines that hold."""
    number = len(before) + 1
    if not _may_begin(torn, before):
        return _NO_LEDGER
    if _problem(torn, number, before) is None:
        return f"line {number} lacks its end; `phigate ledger mend` puts it there"
    return (
        f"line {number} is cut short: writing it was interrupted, so it was never given out as an"
        " attempt; `phigate ledger mend` takes it off"
    )


def _may_begin(torn: bytes, before: Sequence[Attempt]) -> bool:
    """Whether a torn line may be that of a ledger; a first one has to look like it."""
    return any(
        torn.startswith(beginning) or (before and beginning.startswith(torn))
        for beginning in _BEGINNINGS
    )


def _problem(line: bytes, number: int, before: Sequence[Attempt]) -> str | None:
    """Say what keeps a line from following those before it, or None."""
    try:
        entry = _entry(line)
    except ValueError:
        return "is not the line of an attempt ledger"
    previous = before[-1].sha256 if before else FIRST
    if entry.previous != previous:
        where = f"line {number - 1}" if before else "the beginning of the file"
        return f"does not follow from {where}: a line was changed, taken out or put in there"
    earlier = [
        one.entry
        for one in before
        if one.entry.kind == "attempt" and one.entry.is_same_release(entry)
    ]
    same = next((one for one in earlier if one.is_same_attempt(entry)), None)
    if entry.kind == "verdict":
        if same is None or same.attempt != entry.attempt:
            return "gives a verdict on an attempt that was not registered"
    elif same is not None:
        return "registers an attempt a second time"
    elif entry.attempt != len(earlier) + 1:
        return f"is attempt {len(earlier) + 1} and says that it is attempt {entry.attempt}"
    return None


def _read(path: Path, stream: FileIO) -> Ledger:
    try:
        return _parse(path, stream.readall())
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror or error}") from error


def _require_sound(ledger: Ledger) -> Ledger:
    """Nothing is counted in, or added to, a ledger that does not hold."""
    if ledger.problem is not None:
        raise EvidenceError(f"{ledger.path}: {ledger.problem}")
    return ledger


def _append(stream: FileIO, path: Path, entry: LedgerEntry) -> Attempt:
    """Write a line whole at the end of what was read, or leave the file as it was."""
    line = canonical_json(entry.model_dump(mode="json"))
    end = stream.tell()
    try:
        if stream.write(line + b"\n") != len(line) + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(stream.fileno())
    except OSError as error:
        stream.truncate(end)
        raise EvidenceError(f"{path}: cannot be written: {error.strerror or error}") from error
    return Attempt(line, entry)


@contextmanager
def _locked(path: Path, mode: Literal["rb", "r+b"]) -> Iterator[FileIO]:
    """Open a ledger, to write for this process alone; waits until others are done."""
    try:
        stream = path.open(mode, buffering=0)
    except FileNotFoundError as error:
        raise EvidenceError(
            f"{path}: there is no such ledger; check the path, or start one with"
            f" `phigate ledger make {shlex.quote(str(path))}`"
        ) from error
    except OSError as error:
        verb = "read" if mode == "rb" else "written"
        raise EvidenceError(f"{path}: cannot be {verb}: {error.strerror or error}") from error
    with stream:
        fcntl.flock(stream.fileno(), fcntl.LOCK_SH if mode == "rb" else fcntl.LOCK_EX)
        yield stream


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
