"""Parity of the attribute classes between ICD-9-CM and ICD-10-CM, by CMS's equivalence maps.

A class that holds a disease in one revision and not in the other measures less wherever the other
was in use. For each definitive code of one revision this asks whether the map leads to a code of
the other that counts too (definitive or strong). What it does not find is either mended or named
with a reason in `class_parity_exceptions.csv`; a test holds both.

`class_parity.csv.gz` holds what is needed of the maps, the codes that some class has as definitive
and what they lead to, entries without an equivalent left out: general equivalence mappings of
fiscal year 2018, the last that the Centers for Medicare & Medicaid Services published, in the
public domain. Make it anew with the maps as comma-separated files, as the National Bureau of
Economic Research offers them (icd10cmtoicd9gem.csv and icd9toicd10cmgem.csv):

    python -m benchmarks.class_parity --gems FOLDER
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from checker.codes import (
    RANK_DEFINITIVE,
    RANK_STRONG,
    CodePattern,
    CodeReader,
    CodeSystem,
    find_matches,
    parse_value,
)
from checker.policy.classes import class_matcher
from checker.policy.library import library_classes

HERE: Final = Path(__file__).parent
PAIRS: Final = HERE / "class_parity.csv.gz"
EXCEPTIONS: Final = HERE / "class_parity_exceptions.csv"

_MAPS: Final[Mapping[CodeSystem, tuple[str, str, str]]] = {
    "icd10cm": ("icd10cmtoicd9gem.csv", "icd10cm", "icd9cm"),
    "icd9cm": ("icd9toicd10cmgem.csv", "icd9cm", "icd10cm"),
}
OTHER: Final[Mapping[CodeSystem, CodeSystem]] = {"icd10cm": "icd9cm", "icd9cm": "icd10cm"}
"""What a map leads to, by where it begins."""

Maps = Mapping[CodeSystem, Mapping[str, Sequence[str]]]
"""Equivalents of a code, by its system and itself, without dots."""


class Excused(NamedTuple):
    """Codes of a class that need no equivalent.

    Args:
        name: of the class.
        system: of the codes.
        patterns: that the codes match.
        reason: why there is none.
    """

    name: str
    system: CodeSystem
    patterns: tuple[CodePattern, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Parity:
    """Of the definitive codes of a class in one revision, those that have an equivalent in it.

    Args:
        name: of the class.
        system: of the codes.
        kept: codes of which some equivalent is definitive or strong.
        lost: codes of which none is.
    """

    name: str
    system: CodeSystem
    kept: tuple[str, ...]
    lost: tuple[str, ...]

    @property
    def share(self) -> float | None:
        """The share of codes that are kept, in [0, 1]; None where there are none."""
        total = len(self.kept) + len(self.lost)
        return len(self.kept) / total if total else None


def read_maps(path: Path = PAIRS) -> Maps:
    """Read what is kept of the maps."""
    with gzip.open(path, "rt", encoding="ascii", newline="") as stream:
        found: dict[CodeSystem, dict[str, Sequence[str]]] = {"icd10cm": {}, "icd9cm": {}}
        for row in csv.DictReader(stream):
            found[_system(row["system"])][row["code"]] = row["equivalents"].split()
        return found


def read_exceptions(path: Path = EXCEPTIONS) -> list[Excused]:
    """Read which codes have no equivalent, and why."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            Excused(
                row["class"],
                system := _system(row["system"]),
                tuple(parse_value(system, one) for one in row["codes"].split(";")),
                row["reason"],
            )
            for row in csv.DictReader(stream)
        ]


def measure_parity(maps: Maps) -> Iterator[Parity]:
    """Measure all shipped classes in both directions."""
    codes = list(
        dict.fromkeys(
            (spelled, code)
            for system, mapped in maps.items()
            for source, equivalents in mapped.items()
            for spelled, code in ((system, source), *((OTHER[system], one) for one in equivalents))
        )
    )
    place = {code: i for i, code in enumerate(codes)}
    found = find_matches(
        {name: class_matcher(one.document.spec) for name, one in library_classes().items()},
        [f"{system}//{code}" for system, code in codes],
        reader=CodeReader(),
        descriptions=[None] * len(codes),
        parents=[()] * len(codes),
    )
    for name, one in found.items():
        for system, mapped in maps.items():
            kept: list[str] = []
            lost: list[str] = []
            for code, equivalents in mapped.items():
                if one.ranks[place[system, code]] == RANK_DEFINITIVE:
                    ranks = [one.ranks[place[OTHER[system], other]] for other in equivalents]
                    (kept if max(ranks) >= RANK_STRONG else lost).append(code)
            yield Parity(name, system, tuple(kept), tuple(lost))


def _system(text: str) -> CodeSystem:
    if text == "icd10cm":
        return "icd10cm"
    if text == "icd9cm":
        return "icd9cm"
    raise ValueError(f"'{text}' is no revision of ICD that the maps know")


def _whole_maps(folder: Path) -> Maps:
    found: dict[CodeSystem, dict[str, list[str]]] = {}
    for system, (file, source, target) in _MAPS.items():
        equivalents: dict[str, set[str]] = defaultdict(set)
        with (folder / file).open(encoding="ascii", newline="") as stream:
            for row in csv.DictReader(stream):
                if row["no_map"] == "0":
                    equivalents[row[source]].add(row[target])
        found[system] = {code: sorted(to) for code, to in sorted(equivalents.items())}
    return found


def write_maps(folder: Path, path: Path = PAIRS) -> int:
    """Write what is needed of whole maps; return how many codes that is."""
    maps = _whole_maps(folder)
    needed: set[tuple[CodeSystem, str]] = {
        (parity.system, code)
        for parity in measure_parity(maps)
        for code in (*parity.kept, *parity.lost)
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("system", "code", "equivalents"))
    writer.writerows((s, code, " ".join(maps[s][code])) for s, code in sorted(needed))
    # no name and no time in the header, so that the same maps make the same bytes
    with path.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as stream:
        stream.write(text.getvalue().encode("ascii"))
    return len(needed)


def main() -> None:
    """Print the parity of each class, or make the file of maps anew."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--gems", type=Path, help="folder with the whole maps")
    arguments = parser.parse_args()
    if arguments.gems:
        print(f"{write_maps(arguments.gems):,} codes written to {PAIRS.name}")
    totals: dict[CodeSystem, tuple[int, int]] = {"icd10cm": (0, 0), "icd9cm": (0, 0)}
    for one in measure_parity(read_maps()):
        if one.share is not None:
            total = len(one.kept) + len(one.lost)
            kept, all_of_them = totals[one.system]
            totals[one.system] = kept + len(one.kept), all_of_them + total
            print(f"{one.name:32} {one.system:8} {len(one.kept):5} of {total:5} {one.share:7.1%}")
    for system, (kept, total) in totals.items():
        print(f"{'all':32} {system:8} {kept:5} of {total:5} {kept / total:7.1%}")


if __name__ == "__main__":
    main()
