"""The list of members by how much they stand out, for whoever trains the model.

Who stands out is the owner's business alone: the list names members by the run's pseudonyms, in a
file that nobody else can read, and `phigate standing-out` turns it into subjects with the key that
lies beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from checker import stats
from checker.attacks.api import CellEvidence, ScoredPatients, load_attack
from checker.evidence import write_atomically
from checker.planning.learned_splits import ranking_cells
from checker.planning.model import AuditPlan, Cell
from checker.verdict.plugin_errors import MeasureCrash, confined

EXPOSURES_FILE: Final = "standing-out.csv"

_HEADING = """\
# Members by how much they stand out among {m} nonmembers, by the score that {control} is judged
# by. A member of rank r scores above all of them but r - 1. By chance as many members as the fifth
# column says are on average as high as this or higher though nothing was remembered of them, and
# nobody can tell which; share_low and share_high bound, at {level:g} each and one by one, of people
# the model never saw those who score as high. Whoever taught the score is not here.
# A pseudonym is the first 32 hexadecimal digits of HMAC-SHA-256, under the key in pseudonym.key,
# over "patient:" and the subject_id.
patient,rank,share_low,share_high,by_chance,members_so_far
"""


@dataclass(frozen=True, slots=True)
class Exposures:
    """Members in the order of their rank among the nonmembers, the most exposed first.

    Args:
        control: whose score it is.
        members: [n] pseudonyms.
        ranks: [n] int64, ascending; 1 where no nonmember scores as high.
        nonmembers: m, how many there are.
    """

    control: str
    members: tuple[str, ...]
    ranks: tuple[int, ...]
    nonmembers: int

    def up_to(self, rank: int) -> tuple[str, ...]:
        """Return the members of this rank or a higher one."""
        return self.members[: int(np.searchsorted(self.ranks, rank, side="right"))]

    def by_chance(self, rank: int) -> float:
        """Return how many would be there on average, had nobody been trained on."""
        return rank * len(self.members) / (self.nonmembers + 1)

    def at_least(self, rank: int, *, confidence: float) -> int:
        """Return how many of them are there because of the training, at least."""
        n, m = len(self.members), self.nonmembers
        most = stats.most_by_chance(n, m, rank=rank, confidence=confidence)
        return max(0, len(self.up_to(rank)) - most)


def exposures_of(plan: AuditPlan, tables: Callable[[str], pa.Table | None]) -> Exposures | None:
    """Rank the members by the first score of `ranking_cells` of which the evidence is whole.

    Args:
        plan: of the run.
        tables: returns a job's table, or None where it has none.

    Returns:
        None where no cell of the plan ranks members, or the evidence of none is whole.
    """
    ranked = (_ranked(plan, cell, tables) for cell in ranking_cells(plan))
    return next((found for found in ranked if found is not None), None)


def _ranked(
    plan: AuditPlan, cell: Cell, tables: Callable[[str], pa.Table | None]
) -> Exposures | None:
    found = _scored(plan, cell, tables)
    if found is None or not len(found.members) or not len(found.nonmember_scores):
        return None
    if not all(np.isfinite(one).all() for one in (found.member_scores, found.nonmember_scores)):
        return None  # what is no number has no rank, and the judge says so of the cell
    ranks = stats.ranks_among(found.member_scores, found.nonmember_scores)
    # members of one rank by their pseudonyms: in which order their scores are says no more
    order = sorted(range(len(ranks)), key=lambda i: (int(ranks[i]), found.members[i]))
    return Exposures(
        cell.control,
        tuple(found.members[i] for i in order),
        tuple(int(ranks[i]) for i in order),
        len(found.nonmember_scores),
    )


def exposures_text(found: Exposures, *, confidence: float) -> str:
    """Return the file's text."""
    ranks = np.array(found.ranks)
    low, high = stats.clopper_pearson(ranks - 1, found.nonmembers, confidence=confidence)
    so_far = np.searchsorted(ranks, ranks, side="right")
    rows = zip(found.members, found.ranks, low, high, so_far.tolist(), strict=True)
    heading = _HEADING.format(m=found.nonmembers, control=found.control, level=confidence)
    return heading + "".join(
        f"{who},{rank},{below:.6f},{above:.6f},{found.by_chance(rank):.2f},{count}\n"
        for who, rank, below, above, count in rows
    )


def write_exposures(
    run: Path, *, plan: AuditPlan, tables: Callable[[str], pa.Table | None]
) -> None:
    """Write the list (mode 0600), or remove an earlier one where there is none.

    Args:
        run: the run's folder.
        plan: of the run.
        tables: returns a job's table, or None where it has none.

    Raises:
        EvidenceError: evidence was changed, or the folder cannot be written.
    """
    path, found = run / EXPOSURES_FILE, exposures_of(plan, tables)
    if found is not None:
        text = exposures_text(found, confidence=plan.confidence)
        write_atomically(path, text.encode(), mode=0o600)
    elif path.exists():
        path.unlink()


def _scored(
    plan: AuditPlan, cell: Cell, tables: Callable[[str], pa.Table | None]
) -> ScoredPatients | None:
    runs_on = {job.digest: (job.runs_on, job.kind) for job in plan.jobs}
    own: dict[str, list[pa.Table]] = {}
    reference: dict[str, list[pa.Table]] = {}
    for name in cell.jobs:
        table = tables(name)
        if table is None:
            return None
        who, kind = runs_on[name]
        (reference if who == "reference" else own).setdefault(kind, []).append(table)
    attack = load_attack(cell.probe)
    measuring, params = attack.measuring, attack.params.model_validate(cell.params)
    found: ScoredPatients | None = None
    evidence = CellEvidence(
        labels=None, tables=own, reference=reference, watch=[], subgroup="all", params=params
    )
    try:
        with confined(cell.probe):
            observations = measuring.observations(evidence)
            if not observations.unanswered:
                found = measuring.scored_patients(observations, params=params)
    except MeasureCrash:  # its cell ends in error, and says how
        return None
    return found
