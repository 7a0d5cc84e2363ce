"""Slices of patients that a control is also judged on (T6 of arXiv 2510.12950)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.policy.documents import Subgroup
from checker.records.cohort import Cohort
from checker.records.tokenization import Records, Survey

RARE_CODE_OTHERS = 10
"""`rare_code` without a number: a code that at most this many *other* members have."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A named subgroup: which members and nonmembers belong to it, [n] bool each."""

    name: str
    members: NDArray[np.bool_]
    nonmembers: NDArray[np.bool_]


def slices(
    subgroup: str | Subgroup,
    *,
    cohort: Cohort,
    members: Survey,
    nonmembers: Survey,
) -> Iterator[Slice]:
    """Yield the slices a policy's subgroup stands for: one, or one for each value of a field."""
    if subgroup == "all":
        yield Slice(
            "all",
            np.ones(len(cohort.members), dtype=np.bool_),
            np.ones(len(cohort.nonmembers), dtype=np.bool_),
        )
    elif isinstance(subgroup, str) or subgroup.rare_code is not None:
        others = RARE_CODE_OTHERS if isinstance(subgroup, str) else int(subgroup.rare_code or 0)
        name = "rare_code" if isinstance(subgroup, str) else f"rare_code<={others}"
        yield _rare_code(name, cohort, others=others)
    elif subgroup.age_over is not None:
        years = subgroup.age_over
        yield Slice(f"age>{years}", members.age_years > years, nonmembers.age_years > years)
    else:
        yield from _static_values(str(subgroup.static), members, nonmembers)


def _patients_with_code(records: Records, n_codes: int) -> tuple[NDArray[np.int64], ...]:
    """Return the distinct (patient, code) pairs of a split as two arrays."""
    row = np.repeat(np.arange(len(records)), np.diff(records.offsets))
    pair = np.unique(row * np.int64(n_codes) + records.code)
    return pair // n_codes, pair % n_codes


def _rare_code(name: str, cohort: Cohort, *, others: int) -> Slice:
    """A patient is never counted among the others, or members and nonmembers would differ."""
    n_codes = max(len(cohort.codes), 1)
    member_row, member_code = _patients_with_code(cohort.members, n_codes)
    having = np.bincount(member_code, minlength=n_codes)
    outsider_row, outsider_code = _patients_with_code(cohort.nonmembers, n_codes)
    is_member = np.zeros(len(cohort.members), dtype=np.bool_)
    is_member[member_row[having[member_code] - 1 <= others]] = True
    is_outsider = np.zeros(len(cohort.nonmembers), dtype=np.bool_)
    is_outsider[outsider_row[having[outsider_code] <= others]] = True
    return Slice(name, is_member, is_outsider)


def _static_values(field: str, members: Survey, nonmembers: Survey) -> Iterator[Slice]:
    inside = np.array(members.static_values[field], dtype=object)
    outside = np.array(nonmembers.static_values[field], dtype=object)
    for value in sorted({v for v in (*inside, *outside) if v is not None}):
        yield Slice(f"{field}={value}", inside == value, outside == value)
