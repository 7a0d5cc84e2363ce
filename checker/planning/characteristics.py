"""What a policy can decide, published with it: its operating characteristics (METHODS §6).

For cohorts of 300 to 300,000 patients of three kinds (`checker.planning.imagined`), dealt evenly or
nine to one: how many of the cells that decide can pass and are likely to, and the chance of a
release of a model that leaks nothing, and of one that leaks twice what a limit allows. Of each
shipped policy they stand in a file that `phigate power POLICY --write` makes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from checker.canonical import JsonModel, digest, file_sha256
from checker.errors import EvidenceError
from checker.planning.cells import decides
from checker.planning.imagined import imagined_plan, profiles_sha256, shipped_profiles
from checker.planning.operating import SIZES, operating_point
from checker.policy import Located, resolve_attacker
from checker.policy.documents import LeakagePolicy, PolicySpec, as_json
from checker.policy.inheritance.parents import versions_of
from checker.resources import resource

FOLDER = "policies/operating"
SPLITS: dict[str, float] = {"even": 0.5, "90:10": 0.9}
"""Of all patients, those who are members."""

_DIGITS = 4


class CharacteristicPoint(JsonModel):
    """What a policy decides with one cohort; the fields are those of `OperatingPoint`.

    `patients` are members and nonmembers together.
    """

    cohort: str
    split: Literal["even", "90:10"]
    patients: int
    deciding: int
    can_pass: int
    likely: int
    released: float | None
    released_at_twice: float | None
    stopped_by: list[str]


class Characteristics(JsonModel):
    """Operating characteristics of one policy.

    `policy_sha256` is the digest of what the resolved policy says, and `cohorts_sha256` that of
    what is known of the cohorts; where either is another, the numbers are not the policy's.
    `only_warn` are controls whose limits a model need not be shown to keep: where too few patients
    have the class, only a leak that is proven keeps it from release.
    """

    schema_version: Literal["1"] = "1"
    policy: str
    version: str
    policy_sha256: str
    cohorts_sha256: str
    cohorts: dict[str, str]
    only_warn: list[str]
    points: list[CharacteristicPoint]


def characteristics(
    policy: Located[LeakagePolicy], *, sizes: Sequence[int] = SIZES
) -> Characteristics:
    """Compute a policy's operating characteristics.

    Args:
        policy: resolved.
        sizes: patients of each cohort.

    Raises:
        EvidenceError: nothing that the policy decides by can be imagined.
    """
    points = [
        _point(policy, name, split, patients)
        for name in shipped_profiles()
        for split in SPLITS
        for patients in sizes
    ]
    document = policy.document
    return Characteristics(
        policy=document.metadata.name,
        version=document.metadata.version,
        policy_sha256=digest(as_json(document)),
        cohorts_sha256=profiles_sha256(),
        cohorts={name: one.title for name, one in shipped_profiles().items()},
        only_warn=_only_warn(document.spec),
        points=points,
    )


def _only_warn(spec: PolicySpec) -> list[str]:
    return [
        name
        for name, control in spec.controls.items()
        if control.on_inconclusive == "warn"
        and any(decides(spec, control, resolve_attacker(spec, who)) for who in control.limits)
    ]


def _point(
    policy: Located[LeakagePolicy], cohort: str, split: str, patients: int
) -> CharacteristicPoint:
    members = round(patients * SPLITS[split])
    plan = imagined_plan(
        policy, shipped_profiles()[cohort], members=members, nonmembers=patients - members
    )
    found = operating_point(plan)
    return CharacteristicPoint.model_validate(
        {
            "cohort": cohort,
            "split": split,
            "patients": patients,
            "deciding": found.deciding,
            "can_pass": found.can_pass,
            "likely": found.likely,
            "released": _rounded(found.released),
            "released_at_twice": _rounded(found.released_at_twice),
            "stopped_by": list(found.stopped_by),
        }
    )


def _rounded(chance: float | None) -> float | None:
    """Round so far that other processors and libraries give the same file."""
    return None if chance is None else round(chance, _DIGITS) + 0.0


def shipped_characteristics(document: LeakagePolicy) -> Characteristics | None:
    """Return what is shipped with a policy; None for any other, whatever it is called.

    Args:
        document: resolved.
    """
    found = _shipped(document.metadata.name, document.metadata.version)
    if found is None or found.policy_sha256 != digest(as_json(document)):
        return None
    return found


def characteristics_of_file(name: str, version: str, *, sha256: str) -> Characteristics | None:
    """Return what is shipped with a policy that is known by its file alone.

    Args:
        name: of the policy.
        version: of it.
        sha256: of its file's bytes; another file of the same name is another policy.
    """
    files = versions_of(name, resource("policies"))
    if all(file_sha256(path) != sha256 for path in files):
        return None
    return _shipped(name, version)


def _shipped(name: str, version: str) -> Characteristics | None:
    # listed, not asked for by name: names and versions are anybody's
    wanted = f"{name}@{version}.json"
    files = (file for file in resource(FOLDER).iterdir() if file.name == wanted)
    return next((read_characteristics(file) for file in files), None)


def read_characteristics(path: Path) -> Characteristics:
    """Read a file of characteristics.

    Raises:
        EvidenceError: it is none.
    """
    try:
        return Characteristics.model_validate_json(path.read_bytes())
    except (ValueError, OSError) as error:
        text = f"{path}: these are no operating characteristics: {error}"
        raise EvidenceError(text) from error


def to_bytes(found: Characteristics) -> bytes:
    """Return the file's bytes: a line a point, so that a change shows which."""
    head = found.model_dump(mode="json", exclude={"points"})
    lines = [json.dumps(one.model_dump(mode="json"), ensure_ascii=False) for one in found.points]
    text = json.dumps(head, indent=2, ensure_ascii=False)
    assert text.endswith("\n}")
    return (text[:-2] + ',\n  "points": [\n    ' + ",\n    ".join(lines) + "\n  ]\n}\n").encode()
