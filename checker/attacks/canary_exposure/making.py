"""Making canaries: the shard to train on, the manifest to audit by, and who may see which.

The manifest is for the auditor alone: mode 0600, never inside the shard or the data set. It is
written first, and the shard names its SHA-256, so that neither can be changed afterwards without
the other. The shard is a MEDS data set of its own, trained on beside the members and left out of
the audited `data.path`: in the cohort of an audit canaries would set members and nonmembers apart.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import meds
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from checker.attacks.canary_exposure.drawing import draw_canaries, subjects_needed
from checker.attacks.canary_exposure.manifest import (
    Beacon,
    Canary,
    CanaryEvents,
    CanaryManifest,
    CanarySettings,
)
from checker.canonical import sha256_hex
from checker.errors import DataError, EvidenceError, UsageError
from checker.evidence import write_atomically
from checker.policy.documents import TargetSpec
from checker.records.cohort import Cohort, load_cohort
from checker.records.tokenization import load_vocabulary, make_tokenizer
from checker.version import PHIGATE_VERSION

README: Final = "README.txt"

_TEXT: Final = """\
Canaries for the audit of a model
=================================

This folder is a MEDS {meds} data set of {subjects} made-up subjects, in the split '{split}'.
It was made from {data}.
Train on its subjects as on every other subject of that split, in one of two ways:

 1  give your pipeline both data sets; or
 2  copy data/ into a copy of the data set, and append metadata/subject_splits.parquet to its own.

 *  Train on each of them as often as on a patient. Do not leave out, cap or de-duplicate any: some
    stand here several times on purpose, and an audit that does not find those is inconclusive.
 *  Neither tune nor stop on them.
 *  Leave the target's `data.path` at the data set without them.

Who was left out of this folder stands in a manifest, which the auditor keeps and whoever trains
must not see. Its file has the SHA-256
{manifest}
"""


def make_canaries(
    target: TargetSpec, *, base: Path, settings: CanarySettings, out: Path, manifest: Path
) -> CanaryManifest:
    """Draw canaries for a target and write the shard to train on and the manifest.

    The model need not exist yet; its vocabulary and data set must.

    Args:
        target: whose tokenization and data the canaries follow.
        base: the folder that paths in `target` are relative to.
        settings: how many, and the seed.
        out: folder of the shard; must be missing or empty.
        manifest: the auditor's file; must not exist, and lie in neither the shard nor the data.

    Raises:
        UsageError: a file is there already, lies where it must not, or cannot be written.
        DataError: the data set or vocabulary cannot be used, or lacks what canaries are made of.
    """
    _check_places(out, manifest, data=base / target.data.path)
    vocabulary = load_vocabulary(base / target.tokenization.vocabulary)
    tokenizer = make_tokenizer(target.tokenization, vocabulary=vocabulary, base=base)
    cohort = load_cohort(target.data, base=base)
    first = _first_free_subject(base / target.data.path, cohort, needed=subjects_needed(settings))
    canaries, beacons = draw_canaries(cohort, tokenizer, settings=settings, first_subject=first)
    shard = _shard(_in_shard(canaries, beacons))
    made = CanaryManifest(
        made_with=PHIGATE_VERSION,
        data_name=cohort.name,
        data_sha256=cohort.sha256,
        tokenization_sha256=tokenizer.sha256,
        split=target.data.members,
        shard_sha256=sha256_hex(shard),
        settings=settings,
        canaries=canaries,
        beacons=beacons,
    )
    _write(made, shard, cohort, out=out, manifest=manifest)
    return made


def _check_places(out: Path, manifest: Path, *, data: Path) -> None:
    """Refuse to overwrite, and to put anything where the wrong people or programs read it."""
    shard, file, root = out.resolve(), manifest.resolve(), data.resolve()
    if file.exists():
        raise UsageError(f"{manifest}: is there already; name a new manifest, or remove it first")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is there already and not an empty folder; name a new one")
    for place, what in ((shard, "the shard's folder"), (root, "the data set's folder")):
        if file == place or place in file.parents:
            raise UsageError(
                f"{manifest}: lies in {what}, which is for whoever trains; the manifest says who"
                " was left out and must be kept from them"
            )
    if shard == root or root in shard.parents or shard in root.parents:
        raise UsageError(
            f"{out}: must lie apart from the data set {data}; canaries among its patients would"
            " set members and nonmembers of the audit apart"
        )


def _first_free_subject(root: Path, cohort: Cohort, *, needed: int) -> int:
    """Return the first of `needed` subject ids that no file of the data set uses."""
    largest = 0
    for name in cohort.files:
        if not name.startswith(f"{meds.data_subdirectory}/"):
            continue
        column = pq.read_table(root / name, columns=[meds.DataSchema.subject_id_name])[0]
        if len(column):
            largest = max(largest, pc.max(column).as_py())
    if largest + needed >= 2**63:
        raise DataError(
            f"its subject ids reach up to {largest}, which leaves none for canaries", file=root
        )
    return largest + 1


def _in_shard(canaries: Sequence[Canary], beacons: Sequence[Beacon]) -> dict[int, CanaryEvents]:
    """Return who stands in the shard, by subject id, in the order of the ids."""
    own = {canary.subject_id: canary.record for canary in canaries if canary.included}
    own |= {subject: beacon.record for beacon in beacons for subject in beacon.subject_ids}
    return dict(sorted(own.items()))


def _shard(subjects: dict[int, CanaryEvents]) -> bytes:
    """Return the shard's parquet file."""
    table = pa.table(
        {
            "subject_id": pa.array(
                [subject for subject, own in subjects.items() for _ in own.codes], pa.int64()
            ),
            "time": pa.array(
                [time for own in subjects.values() for time in own.times_us], pa.timestamp("us")
            ),
            "code": pa.array(
                [code for own in subjects.values() for code in own.codes], pa.string()
            ),
            "numeric_value": pa.array(
                [value for own in subjects.values() for value in own.values], pa.float32()
            ),
        }
    )
    return _parquet(meds.DataSchema.align(table))


def _metadata(
    subjects: Iterable[int], codes: set[str], cohort: Cohort, *, split: str
) -> dict[str, bytes]:
    """Return the shard's metadata files by path."""
    ids = list(subjects)
    splits = pa.table(
        {
            "subject_id": pa.array(ids, pa.int64()),
            "split": pa.array([split] * len(ids), pa.string()),
        }
    )
    used = [i for i, code in enumerate(cohort.codes) if code in codes]
    described = pa.table(
        {
            "code": pa.array([cohort.codes[i] for i in used], pa.string()),
            "description": pa.array([cohort.descriptions[i] for i in used], pa.string()),
            "parent_codes": pa.array(
                [list(cohort.parents[i]) or None for i in used], pa.list_(pa.string())
            ),
        }
    )
    about = {
        "dataset_name": f"canaries for {cohort.name}",
        "etl_name": "phigate canaries make",
        "etl_version": PHIGATE_VERSION,
        "meds_version": meds.__version__,
    }
    meds.DatasetMetadataSchema.validate(about)
    return {
        meds.subject_splits_filepath: _parquet(meds.SubjectSplitSchema.align(splits)),
        meds.code_metadata_filepath: _parquet(meds.CodeMetadataSchema.align(described)),
        meds.dataset_metadata_filepath: (json.dumps(about, indent=2) + "\n").encode(),
    }


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def _write(
    made: CanaryManifest, shard: bytes, cohort: Cohort, *, out: Path, manifest: Path
) -> None:
    """Write the manifest and then the shard's folder, whole or not at all."""
    subjects = _in_shard(made.canaries, made.beacons)
    codes = {code for record in subjects.values() for code in record.codes}
    # a split's name is its folder where folders decide; elsewhere any text may name one
    folder = made.split if Path(made.split).name == made.split else "canaries"
    content = made.to_bytes()
    readme = _TEXT.format(
        meds=meds.__version__,
        subjects=len(subjects),
        split=made.split,
        data=made.data_name,
        manifest=sha256_hex(content),
    )
    files = {
        f"{meds.data_subdirectory}/{folder}/canaries.parquet": shard,
        **_metadata(subjects, codes, cohort, split=made.split),
        README: readme.encode(),
    }
    try:
        write_atomically(manifest, content, mode=0o600)
        for name, part in files.items():
            write_atomically(out / name, part)
    except (EvidenceError, OSError) as error:
        with contextlib.suppress(OSError):
            manifest.unlink(missing_ok=True)
        shutil.rmtree(out, ignore_errors=True)  # it was missing or empty
        raise UsageError(f"{out} and {manifest} were not written: {error}") from error
