"""Evidence: what the probes observed, stored so that anyone can check and judge it again.

A run's folder holds `plan.json`, `evidence/<key>.parquet`, `manifest.json`, `report.json` and the
renderings. A file is named by the digest of everything its job depends on; the manifest holds the
SHA-256 of its bytes. Files are written under a temporary name, synced and renamed, so a file that
has its final name is whole; a job whose file exists and matches the manifest is not run again.
Resume, caching and judging again are one mechanism.

Patients appear under a keyed pseudonym (HMAC-SHA-256), prompts under a keyed digest. The key lies
beside the evidence with mode 0600 and is needed only to repeat a run; who passes evidence
on leaves it behind. Evidence is confidential all the same.

Times are kept in `run.json`, apart from the manifest, so that equal evidence has equal digests.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, Field, ValidationError

from checker.canonical import JsonModel, sha256_hex
from checker.errors import EvidenceError, PluginError
from checker.evidence_columns import strange_column
from checker.evidence_rows import strange_rows
from checker.json_text import read_json

JsonFile = TypeVar("JsonFile", bound=BaseModel)
KEY_BYTES = 32
_SMALL = 1 << 16
"""Bytes of a file whose table is kept in memory."""
INTERNAL_REPORTS = "internal"
"""Folder, inside a run's, of the reports that show small cells: for the audit team only."""


def read_file(path: Path) -> bytes:
    """Read a file of a run.

    Whoever can write in the folder can put a pipe or a device there, which would never end.

    Raises:
        EvidenceError: it is missing, unreadable, or no ordinary file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise EvidenceError(f"{path}: is no ordinary file")
            return stream.read()
    except MemoryError as error:
        raise EvidenceError(f"{path}: is larger than this machine's memory") from error
    except OSError as error:
        raise EvidenceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a name that no file can have
        raise EvidenceError(f"{str(path)!r}: is no name of a file") from error


def make_folder(path: Path, *, mode: int) -> None:
    """Make a folder, and those above it; one that is there keeps its mode.

    Args:
        path: of the folder.
        mode: exactly this under any umask where it is for the owner alone, such as 0o700; else as
            the umask says, but never beyond the owner's reach. Folders above are as the umask says.

    Raises:
        OSError: it cannot be made.
    """
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):  # another process made it meanwhile
            one.mkdir(0o777)
            made = one.stat().st_mode & 0o777
            one.chmod(mode if one == path and not mode & 0o077 else made | 0o700)
    path.mkdir(exist_ok=True)  # says so where it is a file


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file whole or not at all.

    Args:
        path: of the file; a folder that is missing is made, for the owner alone where the file is.
        content: what it will hold.
        mode: exactly this under any umask where it is for the owner alone, such as 0o600; else as
            the umask says, but never beyond the owner's reach.

    Raises:
        EvidenceError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    private = not mode & 0o077
    try:
        make_folder(path.parent, mode=0o700 if private else 0o755)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            made = os.fstat(stream.fileno()).st_mode & 0o777
            os.fchmod(stream.fileno(), mode if private else made | 0o600)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:  # Ctrl-C too must leave nothing behind
        with suppress(OSError):  # a parent that is a file, or gone: what is raised below says it
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            text = f"{path}: cannot be written: {error.strerror or error}"
            raise EvidenceError(text) from error
        raise


class ManifestEntry(JsonModel):
    """One job's evidence: the job it answers, its file, and what the file must hash to."""

    job: str
    kind: str
    file: str = Field(pattern=r"^(\.\./)*evidence/[^/\x00]+\.parquet$")
    sha256: str
    rows: int


class Manifest(JsonModel):
    """What a run's evidence consists of, in the order of the plan's jobs.

    `crashed` holds, by job digest, why a job could not be completed; `left_out` names jobs that
    were not run because every cell that asked for them was decided before. `salt` is known to
    holders of the run alone: the manifest's digest stands in reports, and without it the numbers of
    rows could be found by trying them.
    """

    schema_version: Literal["1"] = "1"
    salt: str
    plan_sha256: str
    environment: dict[str, Any]
    preflight: dict[str, float]
    entries: list[ManifestEntry]
    crashed: dict[str, str]
    left_out: list[str] = Field(default_factory=list)


class RunTimes(JsonModel):
    """When a run took place and how it was started; apart from the manifest on purpose.

    `measured` holds, by evidence file, when it was measured; a file that is reused keeps its time.
    """

    started: str
    finished: str | None = None
    command: str
    measured: dict[str, str] = Field(default_factory=dict)

    def oldest(self, entries: list[ManifestEntry]) -> datetime | None:
        """Return when the oldest of some evidence was measured, in UTC; None where one is unknown.

        Raises:
            EvidenceError: a time is not a time.
        """
        if any(entry.file not in self.measured for entry in entries):
            return None
        return min(self._moments(entries), default=None)

    def newest(self, entries: list[ManifestEntry]) -> datetime | None:
        """Return when the newest of some evidence was measured, of what is known, in UTC.

        Raises:
            EvidenceError: a time is not a time.
        """
        return max(self._moments(entries), default=None)

    def _moments(self, entries: list[ManifestEntry]) -> list[datetime]:
        stamps = [self.measured[entry.file] for entry in entries if entry.file in self.measured]
        try:
            moments = [datetime.fromisoformat(stamp) for stamp in stamps]
            return [m.astimezone(UTC) if m.tzinfo else m.replace(tzinfo=UTC) for m in moments]
        except (ValueError, OverflowError) as error:
            raise EvidenceError(
                f"run.json: a time of measurement is not a time: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Keyed names for patients and prompts."""

    key: bytes

    @classmethod
    def of_run(cls, run: Path) -> Pseudonyms:
        """Take the run's key, or make one (mode 0600) when it has none yet."""
        path = run / "pseudonym.key"
        if not path.exists():
            write_atomically(path, secrets.token_hex(KEY_BYTES).encode(), mode=0o600)
        try:
            key = bytes.fromhex(read_file(path).decode().strip())
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise EvidenceError(
                f"{path}: is not a key of {2 * KEY_BYTES} hexadecimal digits; restore it, or delete"
                " it to measure everything anew under a new one"
            )
        return cls(key)

    @property
    def fingerprint(self) -> str:
        """Names the key and does not give it away: evidence under another key is other evidence."""
        return self.of("key", b"")

    def of_subject(self, subject: int) -> str:
        """Return a patient's pseudonym."""
        return self.of("patient", str(subject).encode())

    def of(self, kind: Literal["patient", "prompt", "key", "salt"], value: bytes) -> str:
        """Return 32 hex digits that name something to holders of the key only."""
        return hmac.digest(self.key, f"{kind}:".encode() + value, "sha256").hex()[:32]


@dataclass(frozen=True, slots=True)
class EvidenceStore:
    """The evidence files of one run, by key.

    Args:
        run: its folder.
        columns_of: returns the columns that evidence of a kind has, and raises `PluginError` for a
            kind that nothing installed knows.
    """

    run: Path
    columns_of: Callable[[str], Sequence[str]]

    def file(self, key: str) -> str:
        """Return where the evidence with this key is kept, below the run's folder."""
        return f"evidence/{key}.parquet"

    def path(self, key: str) -> Path:
        """Return where the evidence with this key is kept."""
        return self.run / self.file(key)

    def put(self, key: str, *, job: str, kind: str, table: pa.Table) -> ManifestEntry:
        """Store a job's observations and return the manifest's entry for them."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", store_schema=True)
        content = sink.getvalue().to_pybytes()
        write_atomically(self.path(key), content, mode=0o600)
        return self._entry(key, job=job, kind=kind, content=content, rows=table.num_rows)

    def find(self, key: str, *, job: str, kind: str) -> ManifestEntry | None:
        """Return the entry of evidence that is there already, or None.

        A file under its final name is whole (it was renamed there); that it still is what the
        manifest of an earlier run said is for the caller to compare.
        """
        if not self.path(key).exists():
            return None
        content = read_file(self.path(key))
        rows = _parse(content, self.path(key)).num_rows
        return self._entry(key, job=job, kind=kind, content=content, rows=rows)

    def load(self, entry: ManifestEntry) -> pa.Table:
        """Read a job's observations.

        Raises:
            EvidenceError: the file is missing, is not the one the manifest speaks of, or holds
                something else than evidence of its kind.
        """
        path = self.run / entry.file
        content = read_file(path)
        if sha256_hex(content) != entry.sha256:
            raise EvidenceError(
                f"{path}: was changed after the run; its SHA-256 is not the manifest's."
                " Delete it and run the audit again to measure it anew"
            )
        table = _parse(content, path)
        try:
            columns = self.columns_of(entry.kind)
        except PluginError as error:
            raise EvidenceError(f"{path}: {error}") from error
        missing = sorted(set(columns) - set(table.column_names))
        strange = (
            (f"it lacks {missing[0]}" if missing else None)
            or strange_column(table, kind=entry.kind)
            or strange_rows(table, kind=entry.kind)
        )
        if strange is not None:
            raise EvidenceError(f"{path}: is no {entry.kind} evidence: {strange}")
        return table

    def _entry(self, key: str, *, job: str, kind: str, content: bytes, rows: int) -> ManifestEntry:
        return ManifestEntry(
            job=job,
            kind=kind,
            file=self.file(key),
            sha256=sha256_hex(content),
            rows=rows,
        )


def _parse(content: bytes, path: Path) -> pa.Table:
    try:
        return _small_table(content) if len(content) <= _SMALL else _table(content)
    except (pa.ArrowException, OSError) as error:
        raise EvidenceError(
            f"{path}: is not a whole parquet file; delete it and run again"
        ) from error


@lru_cache(maxsize=300)  # opening one takes longer than reading it, and `verify` asks four times
def _small_table(content: bytes) -> pa.Table:
    return _table(content)


def _table(content: bytes) -> pa.Table:
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        return file.read()


def load_json_file(path: Path, model: type[JsonFile]) -> JsonFile:
    """Read one of a run's JSON files.

    Raises:
        EvidenceError: it is missing, or not what this version of phigate writes.
    """
    content = read_file(path)
    try:
        read_json(content)
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise EvidenceError(f"{path}: {place}: {first['msg']}") from error
    except ValueError as error:
        raise EvidenceError(f"{path}: {error}") from error


def tables_by_job(store: EvidenceStore, manifest: Manifest) -> Mapping[str, pa.Table]:
    """Load all evidence of a run, each file checked against the manifest."""
    return {entry.job: store.load(entry) for entry in manifest.entries}
