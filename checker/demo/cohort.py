"""The demo's synthetic patients: a MEDS 0.4 data set with known, planted secrets.

An auditor is only shown to work where the truth is known, so the truth is put in by hand. Patients
belong to disease clusters; a visit follows one of them, and what was coded once tends to be coded
again. That is the medicine a sound model may learn. Three sensitive classes (HIV, substance use,
serious mental illness) are assigned at random instead: independent of clusters, age, sex, race and
of each other, to exactly as many members as nonmembers, as one code each, somewhere behind the
first ten clinical events. Nothing in a record predicts them, so a model that tells them from what
came before has memorised the patient; there is no other way. The common chronic codes
(hypertension, lipids) occur naturally and are the benign class.

Members, nonmembers and the tuning patients (for early stopping, so that no nonmember selects a
model) come from one generator. The codes in `clinical_codes.csv` and their descriptions are real:
ICD-10-CM (CDC/NCHS, public domain), RxNorm (NLM) and LOINC (copyright Regenstrief Institute and the
LOINC Committee, used under the licence at loinc.org/license). The patients are not.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from checker.errors import DataError, UsageError

SENSITIVE_CLASSES = ("hiv", "substance-use", "serious-mental-illness")
"""The classes assigned at random, as `clinical_codes.csv` and `policies/demo.yaml` name them."""

EVENTS_KNOWN = 10
"""No sensitive code stands among a patient's first so many clinical events: whoever knows these
knows no secret yet, and every positive stays eligible."""

POSITIVES = 80
"""Of each sensitive class among the members, and among the nonmembers."""

_EVENTS = (20, 24)  # with three sensitive codes and six visits it stays within a horizon of 32
_LIKENESS_LIMIT = 0.5  # of two records, as Jaccard index of their codes

_PRIMARY = "primary"
_WOMEN = "GENDER//F"
_SEXES = (_WOMEN, "GENDER//M")
_RACES = {
    "RACE//WHITE": 0.58,
    "RACE//BLACK": 0.14,
    "RACE//HISPANIC": 0.16,
    "RACE//ASIAN": 0.08,
    "RACE//OTHER": 0.04,
}
_SETTINGS = {
    "VISIT//OUTPATIENT": 0.62,
    "VISIT//EMERGENCY": 0.16,
    "VISIT//INPATIENT": 0.12,
    "VISIT//TELEHEALTH": 0.10,
}
_CLUSTER_WEIGHT = {"metabolic": 1.6, "cardiac": 1.6, "orthopaedic": 1.2, "pregnancy": 0.6}
_CHILDBEARING_AGES = range(18, 46)
_KINDS = ("DIAGNOSIS", "LAB", "MEDICATION")  # the order within a visit
_EPOCH = datetime(2014, 1, 1)  # noqa: DTZ001  MEDS times carry no zone


@dataclass(frozen=True, slots=True)
class _CodeList:
    """What may be coded: by cluster and kind, commonest first; and for whom, if not for all."""

    by_cluster: dict[str, dict[str, list[str]]]
    descriptions: dict[str, str]
    only_sex: dict[str, str]
    from_age: dict[str, int]

    @property
    def clusters(self) -> list[str]:
        """Disease clusters a patient may belong to; all have primary care."""
        return [c for c in self.by_cluster if c != _PRIMARY and c not in SENSITIVE_CLASSES]

    def suiting(self, cluster: str, kind: str, *, sex: str, age: int) -> list[str]:
        """Return the cluster's codes of one kind that a patient of this sex and age may have."""
        return [
            code
            for code in self.by_cluster[cluster].get(kind, [])
            if self.only_sex.get(code, sex) == sex and self.from_age.get(code, 0) <= age
        ]


@dataclass(frozen=True, slots=True)
class _Patient:
    """Static facts, and visits as (time, codes) in order."""

    sex: str
    race: str
    born: datetime
    visits: list[tuple[datetime, list[str]]]

    @property
    def codes(self) -> list[str]:
        return [code for _, codes in self.visits for code in codes]


def write_cohort(
    folder: Path,
    *,
    seed: int,
    members: int = 600,
    nonmembers: int = 600,
    tuning: int = 120,
    positives: int = POSITIVES,
    events: tuple[int, int] = _EVENTS,
    known: int = EVENTS_KNOWN,
) -> None:
    """Write a MEDS data set of synthetic patients.

    As many members as nonmembers keeps the share of positives equal in both, so that the splits
    stay exchangeable.

    Args:
        folder: made if missing; must hold no data set yet.
        seed: of everything that is drawn; equal arguments write equal tables.
        members: patients of the split `train`.
        nonmembers: patients of the split `held_out`.
        tuning: patients of the split `tuning`.
        positives: of each sensitive class among members, and as many among nonmembers; tuning
            patients have them in the members' proportion.
        events: fewest and most of a record, sensitive ones not counted.
        known: no sensitive code stands among so many first events; fewer than a record has.

    Raises:
        UsageError: more positives than patients in a split.
        DataError: the folder holds data already.
    """
    if positives > min(members, nonmembers):
        raise UsageError(
            f"{positives} positives do not fit into {members} members and {nonmembers} nonmembers;"
            " ask for fewer positives or more patients"
        )
    if (folder / meds.data_subdirectory).exists():
        raise DataError("holds a data set already; name a new folder", file=folder)
    rng = np.random.default_rng([seed, 0x5EED])
    codes = _codes()
    sizes = {
        meds.train_split: (members, positives),
        meds.held_out_split: (nonmembers, positives),
        meds.tuning_split: (tuning, round(positives * tuning / members) if members else 0),
    }
    total = members + nonmembers + tuning
    drawn = list(_distinct_patients(rng, codes, count=total, events=events))
    # Splits by lot: the later a patient was drawn, the rarer what is left that resembles nobody.
    everybody = [drawn[i] for i in rng.permutation(total)]
    # Random numbers: neither a subject's id nor its place may tell the split.
    subjects = rng.permutation(total) + 100_000
    start = 0
    splits: dict[str, list[int]] = {}
    for split, (size, share) in sizes.items():
        chosen = everybody[start : start + size]
        ids = [int(subject) for subject in subjects[start : start + size]]
        start += size
        for name in SENSITIVE_CLASSES:
            _deal_out(rng, chosen, codes.by_cluster[name]["DIAGNOSIS"], count=share, behind=known)
        splits[split] = ids
        _write_shard(folder / meds.data_subdirectory / split / "0.parquet", chosen, ids)
    _write_metadata(folder, splits, everybody, codes)


# --- what may be coded --------------------------------------------------------------------------


@cache
def _codes() -> _CodeList:
    """Read the code list; VITAL counts as LAB, since both are measured."""
    by_cluster: dict[str, dict[str, list[str]]] = {}
    descriptions: dict[str, str] = {}
    only_sex: dict[str, str] = {}
    from_age: dict[str, int] = {}
    text = (files("checker.demo") / "clinical_codes.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        kind = row["code"].split("//")[0].replace("VITAL", "LAB")
        descriptions[row["code"]] = row["description"]
        if row["sex"]:
            only_sex[row["code"]] = f"GENDER//{row['sex']}"
        if row["from_age"]:
            from_age[row["code"]] = int(row["from_age"])
        for cluster in row["clusters"].split():
            by_cluster.setdefault(cluster, {}).setdefault(kind, []).append(row["code"])
    return _CodeList(by_cluster, descriptions, only_sex, from_age)


# --- patients -----------------------------------------------------------------------------------


def _distinct_patients(
    rng: np.random.Generator, codes: _CodeList, *, count: int, events: tuple[int, int]
) -> Iterator[_Patient]:
    """Draw patients, again where a record resembles an earlier one: no near-duplicates."""
    column = {code: i for i, code in enumerate([*codes.descriptions, *_SETTINGS])}
    seen = np.zeros((count, len(column)), dtype=np.float32)
    for i in range(count):
        while True:
            patient = _patient(rng, codes, events)
            holds = np.zeros(len(column), dtype=np.float32)
            holds[[column[code] for code in patient.codes]] = 1
            shared = seen[:i] @ holds
            likeness = shared / (seen[:i].sum(axis=1) + holds.sum() - shared)
            if not i or likeness.max() <= _LIKENESS_LIMIT:
                break
        seen[i] = holds
        yield patient


def _patient(rng: np.random.Generator, codes: _CodeList, events: tuple[int, int]) -> _Patient:
    """Draw a patient's facts and visits, without any sensitive code."""
    sex = _SEXES[rng.integers(2)]
    race = _draw(rng, _RACES)
    age = int(rng.integers(20, 85))
    first = _EPOCH + timedelta(days=int(rng.integers(0, 5 * 365)))
    born = first - timedelta(days=int(age * 365.25 + rng.integers(0, 365)))
    born = born.replace(hour=0, minute=0)
    clusters = _clusters_of(rng, codes, sex=sex, age=age)
    length = int(rng.integers(events[0], events[1] + 1))
    visits: list[tuple[datetime, list[str]]] = []
    history: list[str] = []
    time = first
    while length - len(history) >= 2:  # a visit is its setting and at least one code
        time = _next_opening(rng, time)
        visit = _visit(rng, codes, clusters, history, sex=sex, age=age)
        visit = visit[: length - len(history)]
        history += visit
        visits.append((time, visit))
    return _Patient(sex, race, born, visits)


def _clusters_of(rng: np.random.Generator, codes: _CodeList, *, sex: str, age: int) -> list[str]:
    """Draw what a patient suffers from, the main complaint first."""
    can_conceive = sex == _WOMEN and age in _CHILDBEARING_AGES
    weight = {
        name: _CLUSTER_WEIGHT.get(name, 1.0)
        for name in codes.clusters
        if can_conceive or name != "pregnancy"
    }
    main = _draw(rng, weight)
    if rng.random() < 0.4:
        return [main]
    return [main, _draw(rng, {name: w for name, w in weight.items() if name != main})]


def _visit(
    rng: np.random.Generator,
    codes: _CodeList,
    clusters: list[str],
    history: list[str],
    *,
    sex: str,
    age: int,
) -> list[str]:
    """Draw one visit: its setting, then diagnoses, measurements and drugs of one cluster."""
    reasons = dict(zip((_PRIMARY, *clusters), (0.15, 0.6, 0.25), strict=False))
    reason = _draw(rng, reasons)
    visit = [_draw(rng, _SETTINGS)]
    for kind in _KINDS:
        known = codes.suiting(reason, kind, sex=sex, age=age)
        fewest = 1 if kind == "DIAGNOSIS" else 0
        for _ in range(int(rng.integers(fewest, 3))):
            # Chronic disease is coded again and again.
            earlier = [c for c in dict.fromkeys(history) if c in known and c not in visit]
            fresh = {code: 1 / (rank + 2) for rank, code in enumerate(known) if code not in visit}
            if earlier and rng.random() < 0.35:
                visit.append(earlier[rng.integers(len(earlier))])
            elif fresh:
                visit.append(_draw(rng, fresh))
    return visit


def _next_opening(rng: np.random.Generator, time: datetime) -> datetime:
    """Draw the next visit: weeks to a few years later, in opening hours, on a quarter hour."""
    days = 1 + int(min(rng.lognormal(mean=4.6, sigma=0.9), 1200))
    return (time + timedelta(days=days)).replace(
        hour=int(rng.integers(8, 18)), minute=15 * int(rng.integers(4))
    )


def _deal_out(
    rng: np.random.Generator,
    patients: Sequence[_Patient],
    codes: list[str],
    *,
    count: int,
    behind: int,
) -> None:
    """Give exactly `count` patients one of the codes, at a place drawn evenly behind some event."""
    for i in rng.choice(len(patients), size=count, replace=False):
        patient = patients[i]
        slots = [
            (codes_of_visit, at)
            for n, codes_of_visit in enumerate(v for _, v in patient.visits)
            for at in range(1, len(codes_of_visit) + 1)  # never before the visit's setting
            if sum(len(v) for _, v in patient.visits[:n]) + at >= behind
        ]
        visit, at = slots[rng.integers(len(slots))]
        visit.insert(at, codes[rng.integers(len(codes))])


def _draw(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """Draw a key with probability proportional to its weight."""
    edges: NDArray[np.float64] = np.cumsum(list(weights.values()))
    return list(weights)[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]


# --- files --------------------------------------------------------------------------------------


def _write_shard(path: Path, patients: Sequence[_Patient], subjects: Sequence[int]) -> None:
    """Write one shard, subjects in the order of their numbers."""
    rows = [
        row
        for subject, patient in sorted(zip(subjects, patients, strict=True), key=lambda p: p[0])
        for row in _rows(subject, patient)
    ]
    table = pa.table(
        {
            "subject_id": pa.array([row[0] for row in rows], pa.int64()),
            "time": pa.array([row[1] for row in rows], pa.timestamp("us")),
            "code": pa.array([row[2] for row in rows], pa.string()),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(meds.DataSchema.align(table), path)


def _rows(subject: int, patient: _Patient) -> Iterator[tuple[int, datetime | None, str]]:
    """Return a patient's MEDS rows: static facts without time, birth, then visits in order."""
    yield subject, None, patient.sex
    yield subject, None, patient.race
    yield subject, patient.born, meds.birth_code
    for time, codes in patient.visits:
        for code in codes:
            yield subject, time, code


def _write_metadata(
    folder: Path,
    splits: dict[str, list[int]],
    patients: Iterable[_Patient],
    codes: _CodeList,
) -> None:
    """Write who is in which split, what each code means and what this data set is."""
    who = sorted((subject, split) for split, ids in splits.items() for subject in ids)
    metadata = folder / "metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    subjects = pa.table({"subject_id": [s for s, _ in who], "split": [name for _, name in who]})
    pq.write_table(meds.SubjectSplitSchema.align(subjects), folder / meds.subject_splits_filepath)
    used = {code for patient in patients for code in patient.codes}
    described = codes.descriptions | {
        code: _sentence(code) for code in (*_SEXES, *_RACES, *_SETTINGS)
    }
    listed = [code for code in described if code in used or code in _SEXES or code in _RACES]
    table = pa.table(
        {
            "code": pa.array([*listed, meds.birth_code], pa.string()),
            "description": pa.array([*(described[c] for c in listed), "Birth"], pa.string()),
            "parent_codes": pa.array([None] * (len(listed) + 1), pa.list_(pa.string())),
        }
    )
    pq.write_table(meds.CodeMetadataSchema.align(table), folder / meds.code_metadata_filepath)
    description = {
        "dataset_name": "phigate demo: synthetic patients",
        "dataset_version": "2",
        "etl_name": "checker.demo.cohort",
        "meds_version": meds.__version__,
        "license": "Apache-2.0; LOINC codes under the licence at loinc.org/license",
    }
    meds.DatasetMetadataSchema.validate(description)
    (folder / meds.dataset_metadata_filepath).write_text(
        json.dumps(description, indent=2) + "\n", encoding="utf-8"
    )


def _sentence(code: str) -> str:
    """Describe a code that explains itself: `VISIT//EMERGENCY` is 'Visit: emergency'."""
    kind, value = code.split("//")
    return f"{kind.capitalize()}: {value.lower()}"
