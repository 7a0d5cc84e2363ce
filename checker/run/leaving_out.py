"""Whom a new training may leave out: members who stand out, by the ids that a trainer knows."""

from __future__ import annotations

from pathlib import Path

from checker.attacks.api import columns_of
from checker.canonical import ClosedModel
from checker.errors import DataError, EvidenceError
from checker.evidence import EvidenceStore, Pseudonyms, write_atomically
from checker.policy import load_target
from checker.records.cohort import load_cohort
from checker.run.exposures import Exposures, exposures_of
from checker.run.stored import load_run

ONE_IN = 100
"""Of the nonmembers so many score above the default rank, an accusation in a hundred wrong."""


class Standing(ClosedModel):
    """How many members stand out, and how many of them by chance.

    `members` of `of` score above the nonmember of `rank` among `nonmembers`; `by_chance` would on
    average, and with the run's confidence `at_least` are there because of the training.
    """

    control: str
    rank: int
    members: int
    of: int
    nonmembers: int
    by_chance: float
    at_least: int
    confidence: float

    @property
    def words(self) -> str:
        """The same for people."""
        return (
            f"{self.members:,} of {self.of:,} members score above all but {self.rank - 1:,} of"
            f" {self.nonmembers:,} nonmembers, by the score of {self.control}. Chance puts"
            f" {self.by_chance:.1f} there on average, and nobody can tell which; with"
            f" {self.confidence:g} confidence {self.at_least:,} are there because they were trained"
            " on. Who is above it and was not judged is not known."
        )


def read_exposures(folder: Path) -> tuple[Exposures, float]:
    """Rank the members of a run by its evidence.

    Returns:
        The ranking, and the confidence of the run's bounds.

    Raises:
        EvidenceError: there is no run, it was changed, or its policy ranks nobody.
    """
    run = load_run(folder)
    entries = {entry.job: entry for entry in run.manifest.entries}
    store = EvidenceStore(run.folder, columns_of)
    found = exposures_of(run.plan, lambda job: store.load(entries[job]) if job in entries else None)
    if found is None:
        text = f"{folder}: nobody was ranked: no control of the policy asks for membership, or the"
        raise EvidenceError(f"{text} audit is not finished")
    return found, run.plan.confidence


def standing(found: Exposures, *, rank: int | None, confidence: float) -> Standing:
    """Count the members above the nonmember of a rank; by default of one in a hundred."""
    rank = max(1, found.nonmembers // ONE_IN) if rank is None else min(rank, found.nonmembers)
    return Standing(
        control=found.control,
        rank=rank,
        members=len(found.up_to(rank)),
        of=len(found.members),
        nonmembers=found.nonmembers,
        by_chance=found.by_chance(rank),
        at_least=found.at_least(rank, confidence=confidence),
        confidence=confidence,
    )


def write_subjects(folder: Path, found: Exposures, *, rank: int, target: Path, out: Path) -> None:
    """Write the members above the nonmember of a rank by subject_id, one a line (mode 0600).

    Args:
        folder: of the run, which holds the key of its pseudonyms.
        found: of it.
        rank: of the nonmember, from the top.
        target: describes where the patients are.
        out: new file.

    Raises:
        DocumentError: the target is invalid.
        DataError: the patients cannot be read, or are not those of the run.
        EvidenceError: the run has no key any more, or the file is there or cannot be written.
    """
    if not (folder / "pseudonym.key").exists():
        text = "is missing; without it nobody can be found by a pseudonym"
        raise EvidenceError(f"{folder / 'pseudonym.key'}: {text}")
    if out.exists():
        raise EvidenceError(f"{out}: is there already; name a new file")
    names = Pseudonyms.of_run(folder)
    spec = load_target(target).document.spec.data
    members = load_cohort(spec, base=target.resolve().parent).members.subject_id.tolist()
    known = {names.of_subject(subject): subject for subject in members}
    wanted = found.up_to(rank)
    if strange := [one for one in wanted if one not in known]:
        raise DataError(
            f"{len(strange):,} of {len(wanted):,} members of the run are no members of"
            f" {spec.path}: it is not the data set that was audited",
            file=str(target),
        )
    lines = sorted(known[one] for one in wanted)
    write_atomically(out, "".join(f"{one}\n" for one in lines).encode(), mode=0o600)
