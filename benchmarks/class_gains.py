"""What version 2 of each class catches of a data set that version 1 did not, and the other way.

    python -m benchmarks.class_gains FOLDER [FOLDER ...]

Each folder holds a MEDS data set. Printed for each class: codes and patients, before and after,
with what was gained and lost; patients are those with a definitive or strong code.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from checker.codes import RANK_NONE, find_matches
from checker.policy.classes import class_matcher
from checker.policy.documents import DataSpec
from checker.policy.library import library_class, library_classes, older_references
from checker.records.code_census import cohort_reader
from checker.records.cohort import load_cohort
from checker.records.coverage import count_patients


@dataclass(frozen=True, slots=True)
class Gain:
    """One class on one data set.

    Args:
        name: of the class.
        patients: with a code that counts, before and after; before is None for a new class.
        codes: that leave the prompt, before and after.
        gained, lost: how many of the codes are new, and how many are not of it any more.
    """

    name: str
    patients: tuple[int | None, int]
    codes: tuple[int | None, int]
    gained: int
    lost: int


def measure(folder: Path) -> list[Gain]:
    """Compare the newest version of each class with its version 1 on a data set."""
    cohort = load_cohort(DataSpec(path="."), base=folder)
    reader = cohort_reader([], cohort)
    specs = {name: one.document.spec for name, one in library_classes().items()}
    for reference in older_references():
        specs[reference.removeprefix("library/")] = library_class(reference).document.spec
    found = find_matches(
        {name: class_matcher(spec) for name, spec in specs.items()},
        cohort.codes,
        reader=reader,
        descriptions=cohort.descriptions,
        parents=cohort.parents,
    )
    # codes that the data set only describes are nobody's
    used = np.zeros(len(cohort.codes), dtype=np.bool_)
    used[np.concatenate([cohort.members.code, cohort.nonmembers.code])] = True
    patients = count_patients(specs, cohort, reader=reader)
    gains = []
    for name, one in library_classes().items():
        after = (found[name].ranks > RANK_NONE) & used
        older = f"{name}@1"
        if older in found:
            before = (found[older].ranks > RANK_NONE) & used
        elif one.document.metadata.version == "1.0.0" and name in _NEW:
            before = None
        else:
            before = after
        gains.append(
            Gain(
                name,
                (None if before is None else patients.get(older, patients[name]), patients[name]),
                (None if before is None else int(before.sum()), int(after.sum())),
                int((after & ~before).sum() if before is not None else after.sum()),
                int((before & ~after).sum() if before is not None else 0),
            )
        )
    return gains


_NEW = frozenset(
    {
        "eating-disorder",
        "epilepsy",
        "justice-involvement",
        "obesity",
        "pregnancy-loss-infertility",
        "sexual-behaviour-orientation",
        "social-circumstances",
        "tuberculosis",
    }
)


def main() -> None:
    """Print the gains on each data set."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    for folder in parser.parse_args().folders:
        print(folder.name)
        print(f"{'class':30} {'patients':>15} {'codes':>15} {'gained':>7} {'lost':>5}")
        for one in measure(folder):
            patients, codes = (
                f"{'new' if before is None else before} → {after}"
                for before, after in (one.patients, one.codes)
            )
            print(f"{one.name:30} {patients:>15} {codes:>15} {one.gained:7} {one.lost:5}")


if __name__ == "__main__":
    main()
