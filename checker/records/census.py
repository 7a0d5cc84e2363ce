"""Is the whole cohort there, as the target declares it?

A declared field that hardly anybody has was declared for other data (another release, another
spelling), and prompts without it look like no record that the model was trained on: an over-trained
model then tells nothing, and reads as safe. So a field is there for most patients, or the target
says that it is not (METHODS §3, "The whole cohort").
"""

from __future__ import annotations

import numpy as np

from checker.errors import DataError
from checker.policy.documents import TokenizationSpec
from checker.records.tokenization import Survey

FIELD_SHARE = 0.9
"""Of the patients of each split, so many have every declared field unless the target says less."""


def check_fields(
    spec: TokenizationSpec,
    *,
    members: Survey,
    nonmembers: Survey,
    spare: Survey,
) -> None:
    """Check that the declared static fields, and births where an age is declared, are there.

    Args:
        spec: the target's `tokenization`; its `present` says how many must have a field.
        members: the patients that the model was trained on.
        nonmembers: the patients that it never saw.
        spare: further ones, who are not judged.

    Raises:
        DataError: a field is there for fewer patients of a split.
    """
    splits = {"members": members, "nonmembers": nonmembers, "spare patients": spare}
    for split, records in splits.items():
        has = {
            name: np.array([value is not None for value in values], dtype=np.bool_)
            for name, values in records.static_values.items()
        }
        if spec.age:
            has["age"] = records.age_years >= 0
        for name, there in has.items():
            wanted = spec.present.get(name, FIELD_SHARE)
            if len(there) and there.mean() < wanted:
                raise DataError(_sentence(name, spec, split, int(there.sum()), len(there), wanted))


def _sentence(
    name: str, spec: TokenizationSpec, split: str, found: int, n: int, wanted: float
) -> str:
    if name == "age":
        what = "a birth (MEDS_BIRTH) to count an age from"
        where = "tokenization.age"
    else:
        entry = spec.static[name]
        codes = entry if isinstance(entry, str) else entry.codes
        what = f"a code like '{codes}' for the static field '{name}'"
        where = f"tokenization.static.{name}"
    return (
        f"{found} of {n} {split} have {what}; at least {wanted:.0%} are expected. Correct {where}"
        f" or the data; where so few really have it, say so: tokenization.present: {{{name}: …}}"
    )
