"""What of a cohort's codes is not read, counted over events and patients.

A class finds its codes in systems that phigate reads. A disease that part of the patients have in
another vocabulary, or in a spelling that nobody meant, is looked for in the rest alone, and what is
told of those others is never measured. So it is counted and named, and more than a little is an
error (METHODS §3, "The whole cohort").

What counts are codes that *claim* a vocabulary: they name one that phigate does not read, or one
that it reads beside a text that is no code of it; and whatever calls itself a diagnosis. Item
numbers of a hospital's own laboratory, wards, payment groups claim none: only a `local` value can
mean them, and the author of a policy knows that. Diagnoses, procedures, drugs and measurements are
each counted for themselves: of MIMIC-IV's events 0.5 % are diagnoses, and half of them unread would
be nothing among all. A drug that is named in words is read, whatever its number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from checker.codes import Claim, CodeReader, Kind, Reading, kind_of
from checker.errors import DataError
from checker.policy.documents import CodeSystemSpec
from checker.records.cohort import Cohort
from checker.yaml import short

UNREAD_SHARE: Final = 0.05
"""Of the events of each kind, so many may be unread."""
EXAMPLES: Final = 3
_NAMED: Final = 4
_AT_ONCE: Final = 1 << 16
"""Events that are counted at once: numbers of NumPy's own take eight bytes each."""
_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Problem = Literal["unread", "malformed", "lost-zeros", "restored", "declared"]


@dataclass(frozen=True, slots=True)
class ClaimedCodes:
    """Codes that claim one vocabulary and are not read, or not as they stand.

    Args:
        vocabulary: its name, or what stands before the codes.
        kind: what they are of, where that can be told.
        problem: as in `checker.codes.Claim`; `declared` where the target calls them `local`.
        detail: what is wrong with the commonest of them, where that is known.
        codes, events, patients: how many.
        examples: the commonest, as the data set spells them.
    """

    vocabulary: str
    kind: Kind | None
    problem: Problem
    detail: str
    codes: int
    events: int
    patients: int
    examples: tuple[str, ...]

    @property
    def is_unread(self) -> bool:
        """Whether no code was read, and nobody said that none should be."""
        return self.problem in ("unread", "malformed", "lost-zeros")


@dataclass(frozen=True, slots=True)
class CodeCensus:
    """What of a cohort's codes is not read.

    Args:
        events: all events of each kind.
        claims: commonest first.
        lost: what stands before ICD-9 codes whose zeros are lost for good.
        suspect: what stands before many ICD-9 codes none of which begins with a zero.
        doubtful: by its place, what an ICD-9 code would be with a zero in front, where none of its
            column, however short, begins with one.
    """

    events: dict[Kind, int]
    claims: tuple[ClaimedCodes, ...]
    lost: tuple[str, ...]
    suspect: tuple[str, ...]
    doubtful: dict[int, tuple[Reading, ...]]


def cohort_reader(systems: Iterable[CodeSystemSpec], cohort: Cohort) -> CodeReader:
    """Return what reads the codes of a cohort, with all that the data set shows of them.

    Args:
        systems: a target's `codeSystems`.
        cohort: the patients, and the dictionary of codes.
    """
    used = np.zeros(len(cohort.codes), dtype=np.bool_)
    used[cohort.members.code] = True
    used[cohort.nonmembers.code] = True
    occurring = []
    for entry in np.flatnonzero(used).tolist():
        code = cohort.codes[entry]
        # a code whose system stands in a column of its own is a code of that column
        stated = [parent for parent in cohort.parents[entry] if parent.endswith(f"/{code}")]
        occurring += [code, *stated]
    return CodeReader(
        [(one.match, one.system) for one in systems],
        codes=cohort.codes,
        parents=cohort.parents,
        occurring=occurring,
    )


def take_census(cohort: Cohort, reader: CodeReader) -> CodeCensus:
    """Count what of a cohort's codes is not read.

    Args:
        cohort: the patients, and the dictionary of codes.
        reader: as `cohort_reader` gives it.
    """
    n_events = event_counts(cohort)
    totals = dict.fromkeys(_KINDS, 0)
    groups: dict[tuple[str, Kind | None, Problem], list[int]] = {}
    details: dict[int, str] = {}
    doubtful: dict[int, tuple[Reading, ...]] = {}
    for entry in np.flatnonzero(n_events).tolist():
        claim, problem, kind = _assess(entry, cohort, reader)
        if meant := reader.doubtful(cohort.codes[entry]):
            doubtful[entry] = meant
        if kind is not None:
            totals[kind] += int(n_events[entry])
        if claim is not None and problem is not None:
            groups.setdefault((claim.vocabulary, kind, problem), []).append(entry)
            details[entry] = claim.detail
    patients = patient_counts(cohort, list(groups.values()))
    claims = []
    for ((vocabulary, kind, problem), entries), count in zip(groups.items(), patients, strict=True):
        entries.sort(key=lambda entry: (-int(n_events[entry]), entry))
        claims.append(
            ClaimedCodes(
                vocabulary,
                kind,
                problem,
                details[entries[0]],
                codes=len(entries),
                events=int(n_events[entries].sum()),
                patients=count,
                examples=tuple(cohort.codes[entry] for entry in entries[:EXAMPLES]),
            )
        )
    claims.sort(key=lambda one: (-one.events, one.vocabulary))
    return CodeCensus(
        totals, tuple(claims), tuple(reader.zeros.lost), tuple(reader.zeros.suspect), doubtful
    )


def _assess(
    entry: int, cohort: Cohort, reader: CodeReader
) -> tuple[Claim | None, Problem | None, Kind | None]:
    """Return what a code claims, what is wrong with it, and what it is of."""
    spelling, description = cohort.codes[entry], cohort.descriptions[entry]
    found = reader.read(spelling, description=description, parents=cohort.parents[entry])
    readings = [one for one in found if one.system != "drug"]
    claim = reader.claim(spelling, description=description)
    if not readings:
        if claim is None:  # its own spelling says nothing, and a parent may name a vocabulary
            named = (reader.claim(parent) for parent in cohort.parents[entry])
            claim = next((one for one in named if one is not None and one.kind), None)
        if claim is None:
            return None, None, kind_of(spelling, "drug" if found else None)
        return claim, claim.problem, claim.kind
    kind = kind_of(spelling, readings[0].system)
    if claim is not None and claim.problem == "restored":
        return claim, "restored", kind
    if all(one.system == "local" for one in readings):
        unsaid = CodeReader().claim(spelling, description=description)
        read = CodeReader().read_own(spelling)
        if unsaid is None and read:
            unsaid = Claim(spelling.partition("//")[0], kind_of(spelling, read[0].system), "unread")
        if unsaid is not None:
            return unsaid, "declared", unsaid.kind
    return None, None, kind


def event_counts(cohort: Cohort) -> NDArray[np.int64]:
    """Return how often each code of a cohort occurs: [codes]."""
    counts = np.zeros(len(cohort.codes), dtype=np.int64)
    for split in (cohort.members, cohort.nonmembers):
        for start in range(0, len(split.code), _AT_ONCE):
            part = split.code[start : start + _AT_ONCE]
            counts += np.bincount(part, minlength=len(cohort.codes))
    return counts


def patient_counts(cohort: Cohort, groups: Sequence[Sequence[int]]) -> list[int]:
    """Return how many patients have a code of each group.

    Args:
        cohort: the patients.
        groups: codes by their place; a code is in one group at most.
    """
    group = np.full(len(cohort.codes), -1, dtype=np.int32)
    for number, entries in enumerate(groups):
        group[entries] = number
    counts = np.zeros(len(groups), dtype=np.int64)
    for split in (cohort.members, cohort.nonmembers):
        pairs: list[NDArray[np.int64]] = []
        for start in range(0, len(split.code), _AT_ONCE):
            of_event = group[split.code[start : start + _AT_ONCE]]
            event = np.flatnonzero(of_event >= 0)
            patient = np.searchsorted(split.offsets, event + start, side="right") - 1
            pairs.append(np.unique(of_event[event] * np.int64(len(split)) + patient))
        if pairs and len(split):
            met = np.unique(np.concatenate(pairs)) // len(split)
            counts += np.bincount(met, minlength=len(groups))
    return [int(count) for count in counts]


# --- what is too much ---------------------------------------------------------------------------


def check_census(census: CodeCensus) -> None:
    """Check that hardly any code of a kind is unread, and that no column of ICD-9 is lost.

    Raises:
        DataError: too much is unread; the vocabularies are named, with counts and examples.
    """
    lost = [
        one
        for one in census.claims
        if one.problem == "lost-zeros" and one.vocabulary.partition("…")[0] in census.lost
    ]
    if lost:
        raise DataError(
            f"ICD-9 codes have lost their leading zeros: {described(lost[0])}. Without dots 42 is"
            " 042 or 004.2, so none of them is read. Write the codes as text, not as numbers, or"
            " say in parent_codes of metadata/codes.parquet which code each of them is"
        )
    for kind, total in census.events.items():
        unread = [one for one in census.claims if one.is_unread and one.kind == kind]
        events = sum(one.events for one in unread)
        if total and events > UNREAD_SHARE * total:
            named = "; ".join(described(one) for one in unread[:_NAMED])
            raise DataError(
                f"{events:,} of {total:,} events of {kind} are in codes that phigate does not read,"
                f" and no class can find them: {named}. Say in the target's codeSystems how they"
                " are spelled, or in parent_codes of metadata/codes.parquet what stands above"
                f" them; what shall stay unread up to {UNREAD_SHARE:.0%} may, and beyond that is"
                " declared with {match: …, system: local}"
            )


def described(one: ClaimedCodes) -> str:
    """Say in words what was counted of a vocabulary."""
    detail = f"; {short(one.detail)}" if one.detail else ""
    examples = ", ".join(short(code) for code in one.examples)
    return (
        f"{short(one.vocabulary)} ({one.codes:,} codes, {one.events:,} events of {one.patients:,}"
        f" patients, such as {examples}{detail})"
    )
