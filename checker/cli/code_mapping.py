"""`phigate classes map`: a data set's codes by the institution's maps, for people and machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rich.console import Console

from checker.cli.console import plain_table, told
from checker.errors import UsageError
from checker.policy import load_target
from checker.policy.documents import AttributeClassSpec, CodeSystemSpec, DataSpec
from checker.records.code_census import cohort_reader
from checker.records.code_maps import MAPPED_CODES, CodeMapping, map_codes, write_mapped_codes
from checker.records.cohort import load_cohort
from checker.records.coverage import count_patients

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class DoneMapping:
    """A mapping that was written.

    Args:
        mapping: what the maps say.
        path: of the new table.
        codes: the same inside the data set's folder, as a target names it.
        patients: of each class, before and after.
    """

    mapping: CodeMapping
    path: Path
    codes: str
    patients: Mapping[str, tuple[int, int]]


def map_target(
    target: Path,
    maps: Sequence[Path],
    *,
    classes: Mapping[str, AttributeClassSpec],
    out: str | None,
) -> DoneMapping:
    """Map the codes of a data set, write the new table, and count patients by it.

    Args:
        target: a file with an AuditTarget, or the folder of a MEDS data set.
        maps: files.
        classes: to count patients of.
        out: the new table inside the data set's folder.

    Raises:
        UsageError: there is such a table, or it would lie outside the folder.
        DocumentError: the target is invalid.
        DataError: the patients or a map cannot be read.
    """
    spec, base, systems = _data(target)
    codes = out or MAPPED_CODES
    if PurePosixPath(codes).is_absolute() or ".." in PurePosixPath(codes).parts:
        raise UsageError(
            f"--out {codes}: leads out of the data set; write a path inside its folder"
        )
    root = base / spec.path
    if (root / codes).exists():
        raise UsageError(f"{root / codes} is there already, and is never overwritten; give --out")
    cohort = load_cohort(spec, base=base)
    reader = cohort_reader(systems, cohort)
    mapping = map_codes(cohort, maps, reader=reader)
    before = count_patients(classes, cohort, reader=reader)
    path = write_mapped_codes(root, mapping.mapped, old=spec.codes, new=codes)
    later = load_cohort(spec.model_copy(update={"codes": codes}), base=base)
    after = count_patients(classes, later, reader=cohort_reader(systems, later))
    return DoneMapping(
        mapping=mapping,
        path=path,
        codes=codes,
        patients={name: (before[name], after[name]) for name in before},
    )


def _data(target: Path) -> tuple[DataSpec, Path, Sequence[CodeSystemSpec]]:
    if target.is_dir():
        return DataSpec(path="."), target, []
    spec = load_target(target).document.spec
    return spec.data, target.resolve().parent, spec.code_systems


def mapping_json(done: DoneMapping) -> dict[str, Any]:
    """Return what was mapped and what was not."""
    mapping = done.mapping
    return {
        "written": str(done.path),
        "codes": done.codes,
        "maps": [
            {"file": str(one.file), "rows": one.rows, "used": one.used} for one in mapping.maps
        ],
        "needing": mapping.needing,
        "mapped": len(mapping.mapped),
        "exactly": mapping.exactly,
        "throughBroader": sum(one.through_broader for one in mapping.mapped),
        "events": mapping.events,
        "mappedEvents": mapping.mapped_events,
        "share": mapping.share,
        "unmapped": [{"code": code, "events": events} for code, events in mapping.unmapped],
        "patients": {
            name: {"before": before, "after": after}
            for name, (before, after) in done.patients.items()
        },
    }


def print_mapping(done: DoneMapping, console: Console) -> None:
    """Print what was mapped, what was not, and what classes gained by it."""
    mapping = done.mapping
    for one in mapping.maps:
        console.print(told(f"{one.file}: {one.rows:,} rows, of which {one.used:,} say something"))
    share = "none needs a map" if mapping.share is None else f"{mapping.share:.1%} of their events"
    broader = sum(one.through_broader for one in mapping.mapped)
    console.print(
        f"{len(mapping.mapped):,} of {mapping.needing:,} codes that classes do not read as they are"
        f" were mapped, {share}; {mapping.exactly:,} exactly, {broader:,} only by way of a broader"
        " concept"
    )
    for code, events in mapping.unmapped[:_SHOWN]:
        console.print(told(f"not mapped: {code} ({events:,} events)"))
    if len(mapping.unmapped) > _SHOWN:
        console.print(f"and {len(mapping.unmapped) - _SHOWN:,} more; --json lists all")
    table = plain_table("class", "patients before", "after", numbers=("patients before", "after"))
    for name, (before, after) in done.patients.items():
        if before != after:
            table.add_row(told(name), f"{before:,}", f"{after:,}")
    console.print(table if table.row_count else "no class gains or loses a patient by it")
    console.print(told(f"written: {done.path}"))
    console.print(
        told(f"to audit by it, write in the target: data: {{…, codes: {done.codes}}}"),
        soft_wrap=True,
    )
