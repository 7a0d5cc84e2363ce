"""The auditor's record of all canaries, and the refusal of one that no coin decided.

The one-run bound for ε (Steinke, Nasr & Jagielski 2023, arXiv 2305.08846) holds because each canary
was included by an independent fair coin, and for no other reason. So the coin is not a number in a
file that one has to believe: it is one bit of HMAC-SHA-256 over the canary's events, keyed by the
seed, and anyone who holds the manifest can throw it again. Patients picked by hand cannot be given
a seed under which all their coins come out right, in whatever order they are listed: that would
take 2^m seeds. The hash, unlike a generator's stream, is the same in every version of every
library. Whoever writes both the records and the training set can still cheat; this keeps out
mistakes, and lists of ordinary patients above all.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Annotated, Final, Literal

import scipy
from pydantic import Field, ValidationError, model_validator

from checker.canonical import JsonModel, canonical_json, sha256_hex
from checker.errors import DataError, DocumentError, Problem
from checker.json_text import read_json
from checker.yaml import dotted

IMPOSSIBLE: Final = 1e-9
"""A share of included canaries that fair coins give more rarely than this was not made by them."""

_MOST_PROBLEMS: Final = 20

SubjectId = Annotated[int, Field(ge=-(2**63), lt=2**63)]
TimeUs = Annotated[int, Field(ge=-(2**62), lt=2**62)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CanarySettings(JsonModel):
    """How canaries are made.

    Args:
        seed: of everything that is drawn. Whoever knows it and the data set can make the manifest
            again, so it is kept from whoever trains.
        count: m, canaries of which a coin decides.
        events: dated events in each.
        beacons: further records that are certainly included, to see that the attack works.
        repeats: how often each beacon stands in the shard, under a subject of its own each time.
        natural: share of the canaries, and of the beacons, that begin and end like patients.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)]
    count: Annotated[int, Field(ge=20, le=100_000)] = 1000
    events: Annotated[int, Field(ge=4, le=1000)] = 32
    beacons: Annotated[int, Field(ge=0, le=1000)] = 10
    repeats: Annotated[int, Field(ge=1, le=1000)] = 20
    natural: Annotated[float, Field(ge=0, le=1)] = 0.0


class CanaryEvents(JsonModel):
    """One made-up record; event i has the code, time and value at place i.

    Args:
        codes: of each event, in the data set's spelling.
        times_us: microseconds since 1970-01-01; None, at the beginning only, for static facts.
        values: numeric values, None where there is none.
    """

    codes: Annotated[tuple[str, ...], Field(min_length=1)]
    times_us: tuple[TimeUs | None, ...]
    values: tuple[float | None, ...]

    @model_validator(mode="after")
    def _check(self) -> CanaryEvents:
        if not len(self.codes) == len(self.times_us) == len(self.values):
            raise ValueError("codes, timesUs and values must be equally long")
        dated = [time for time in self.times_us if time is not None]
        undated: tuple[None, ...] = (None,) * (len(self.codes) - len(dated))
        if not dated or self.times_us != (*undated, *sorted(dated)):
            raise ValueError("timesUs must be ascending, those without a time first, and hold one")
        return self


class Canary(JsonModel):
    """One of the m canaries.

    Args:
        subject_id: in the shard, where it is included.
        included: the coin.
        record: what it holds.
        natural: whether it begins and ends like a patient.
    """

    subject_id: SubjectId
    included: bool
    record: CanaryEvents
    natural: bool = False


class Beacon(JsonModel):
    """A record that is certainly in the shard, once for each subject id."""

    subject_ids: Annotated[tuple[SubjectId, ...], Field(min_length=1)]
    record: CanaryEvents
    natural: bool = False


class CanaryManifest(JsonModel):
    """All canaries, included or not: confidential, and never shown to whoever trains.

    Args:
        schema_version: of this file's form.
        made_with: the version of phigate.
        data_name: of the data set they were drawn from.
        data_sha256: of that data set, as its cohort was read.
        tokenization_sha256: of the tokenization under which each event has a token.
        split: the split that the shard is to be trained with.
        shard_sha256: of the shard's bytes.
        settings: how they were made.
        canaries: all m, in the order in which they were drawn.
        beacons: what a working attack must find.
    """

    kind: Literal["CanaryManifest"] = "CanaryManifest"
    schema_version: Literal["1"] = "1"
    made_with: str
    data_name: str
    data_sha256: Sha256
    tokenization_sha256: Sha256
    split: str
    shard_sha256: Sha256
    settings: CanarySettings
    canaries: tuple[Canary, ...]
    beacons: tuple[Beacon, ...]

    @model_validator(mode="after")
    def _check(self) -> CanaryManifest:
        for name, wanted, found in (
            ("canaries", self.settings.count, len(self.canaries)),
            ("beacons", self.settings.beacons, len(self.beacons)),
        ):
            if wanted != found:
                raise ValueError(f"settings announce {wanted} {name}, but there are {found}")
        subjects = self.subject_ids
        if len(set(subjects)) < len(subjects):
            raise ValueError("a subject id stands in it twice")
        if len(set(self.records)) < len(self.records):
            raise ValueError("a record stands in it twice; equal records would share one coin")
        return self

    @property
    def sha256(self) -> str:
        """Digest of the whole manifest."""
        return sha256_hex(canonical_json(self.model_dump(mode="json")))

    @property
    def records(self) -> list[CanaryEvents]:
        """What canaries and then beacons hold."""
        own = [canary.record for canary in self.canaries]
        return own + [beacon.record for beacon in self.beacons]

    @property
    def included(self) -> int:
        """How many of the m canaries the shard holds."""
        return sum(canary.included for canary in self.canaries)

    @property
    def subject_ids(self) -> list[int]:
        """Every subject id that was given out, whether or not it stands in the shard."""
        copies = [subject for beacon in self.beacons for subject in beacon.subject_ids]
        return [canary.subject_id for canary in self.canaries] + copies


def coin(record: CanaryEvents, *, seed: int) -> bool:
    """Decide whether a canary is included: one bit of a keyed hash of its events.

    Args:
        record: the canary's events; equal events have equal coins.
        seed: of the manifest.
    """
    key = f"phigate canary coin {seed}".encode()
    message = canonical_json(record.model_dump(mode="json"))
    return bool(hmac.new(key, message, hashlib.sha256).digest()[0] & 1)


# --- reading ------------------------------------------------------------------------------------


def load_manifest(path: Path) -> CanaryManifest:
    """Read a manifest and refuse one that no coin decided.

    Raises:
        DocumentError: there is no such file, or it is no manifest; with all problems found.
        DataError: inclusion was not decided by the coins of its seed.
    """
    manifest = _parsed(_content(path), path)
    refuse_non_randomised(manifest, file=path)
    return manifest


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        message = "there is no such file; `phigate canaries make` writes a manifest"
    except IsADirectoryError:
        message = "this is a folder; name the manifest's file"
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        message = f"the file cannot be read: {getattr(error, 'strerror', None) or error}"
    raise DocumentError([Problem(str(path), 0, 0, message)])


def _parsed(content: bytes, path: Path) -> CanaryManifest:
    try:
        value = read_json(content)
    except json.JSONDecodeError as error:
        raise DocumentError([Problem(str(path), error.lineno, error.colno, error.msg)]) from error
    except ValueError as error:
        raise DocumentError([Problem(str(path), 0, 0, str(error))]) from error
    if not isinstance(value, dict) or value.get("kind") != "CanaryManifest":
        message = "is no manifest of canaries; name the file that `phigate canaries make` wrote"
        raise DocumentError([Problem(str(path), 0, 0, message)])
    try:
        return CanaryManifest.model_validate_json(content, strict=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems = [
            Problem(str(path), 0, 0, one["msg"].removeprefix("Value error, "), dotted(one["loc"]))
            for one in found[:_MOST_PROBLEMS]
        ]
        if len(found) > _MOST_PROBLEMS:
            more = f"and {len(found) - _MOST_PROBLEMS} more problems"
            problems.append(Problem(str(path), 0, 0, more))
        raise DocumentError(problems) from error


def refuse_non_randomised(manifest: CanaryManifest, *, file: Path | str | None = None) -> None:
    """Refuse a manifest whose inclusion fair coins did not decide: no bound for ε follows from it.

    Args:
        manifest: all canaries.
        file: where it was read from, for the message.

    Raises:
        DataError: a share that fair coins do not give, or a coin that comes out otherwise.
    """
    m, included = len(manifest.canaries), manifest.included
    remedy = "Use a manifest of `phigate canaries make` unchanged, never a list of patients"
    if scipy.stats.binomtest(included, m, 0.5).pvalue < IMPOSSIBLE:
        raise DataError(
            f"{included} of {m} canaries are included, which fair coins do not give; a bound for"
            f" epsilon holds only where a coin decided. {remedy}",
            file=file,
        )
    seed = manifest.settings.seed
    other = [i for i, c in enumerate(manifest.canaries) if coin(c.record, seed=seed) != c.included]
    if other:
        raise DataError(
            f"the coins of its seed do not decide as it says for {len(other)} of {m} canaries, the"
            f" first of them canaries[{other[0]}]; inclusion was not, or is no longer, a coin flip."
            f" {remedy}",
            file=file,
        )
