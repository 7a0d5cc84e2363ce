"""From a manifest to what the model under audit is asked.

The manifest must belong to what is audited: every event still has a token, no canary stands among
the patients of the audited splits (they would set members and nonmembers apart), and no canary is a
patient's record under another name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from checker.attacks.canary_exposure.drawing import columns_of
from checker.attacks.canary_exposure.manifest import CanaryManifest, load_manifest
from checker.errors import DataError
from checker.records.cohort import Cohort
from checker.records.tokenization import Records, Tokenizer
from checker.targets import Tokens


@dataclass(frozen=True, slots=True)
class PlantedCanaries:
    """What a model is asked: m canaries, then b beacons, each in the manifest's order.

    Args:
        sha256: of the manifest; what a job's digest takes of it.
        sequences: m + b arrays of token ids.
        included: [m + b] bool; True for beacons.
        beacon: [m + b] bool.
        natural: [m + b] bool, those that begin and end like patients.
    """

    sha256: str
    sequences: Sequence[Tokens]
    included: NDArray[np.bool_]
    beacon: NDArray[np.bool_]
    natural: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of canaries and beacons."""
        return len(self.sequences)

    @property
    def tokens(self) -> int:
        """Tokens of all sequences, what scoring costs."""
        return sum(map(len, self.sequences))


def open_canaries(
    path: Path, *, cohort: Cohort, tokenizer: Tokenizer, max_length: int | None
) -> PlantedCanaries:
    """Read a manifest for an audit.

    Args:
        path: of the manifest.
        cohort: the patients of the audit, without the canaries.
        tokenizer: the target's.
        max_length: most tokens of a sequence, or None.

    Raises:
        DocumentError: the file is no manifest.
        DataError: no coin decided, or the manifest does not belong to what is audited.
    """
    manifest = load_manifest(path)
    records = manifest.records
    extra = {code for record in records for code in record.codes}.difference(cohort.codes)
    codes = (*cohort.codes, *sorted(extra))
    columns = columns_of(records, {code: i for i, code in enumerate(codes)})
    _refuse_patients(manifest, columns, cohort, path)
    beacons = len(manifest.beacons)
    return PlantedCanaries(
        sha256=manifest.sha256,
        sequences=_sequences(columns, codes, tokenizer, max_length=max_length, path=path),
        included=np.array([c.included for c in manifest.canaries] + [True] * beacons, np.bool_),
        beacon=np.arange(len(records)) >= len(manifest.canaries),
        natural=np.array(
            [c.natural for c in manifest.canaries] + [b.natural for b in manifest.beacons], np.bool_
        ),
    )


def _refuse_patients(
    manifest: CanaryManifest, columns: Records, cohort: Cohort, path: Path
) -> None:
    ids = np.array(manifest.subject_ids, dtype=np.int64)
    for split in (cohort.members, cohort.nonmembers):
        found = int(np.isin(split.subject_id, ids).sum())
        if found:
            raise DataError(
                f"{found} of its subjects stand in the audited splits of '{cohort.name}'; point"
                " data.path at the data set without canaries",
                file=path,
            )
    histories = {
        split.code[start:end].tobytes()
        for split in (cohort.members, cohort.nonmembers)
        for start, end in zip(split.offsets[:-1], split.offsets[1:], strict=True)
    }
    same = sum(
        columns.code[start:end].tobytes() in histories
        for start, end in zip(columns.offsets[:-1], columns.offsets[1:], strict=True)
    )
    if same:
        raise DataError(
            f"{same} of its records are those of ordinary patients of '{cohort.name}'; canaries"
            " are made up, or their inclusion was no coin flip",
            file=path,
        )


def _sequences(
    columns: Records,
    codes: Sequence[str],
    tokenizer: Tokenizer,
    *,
    max_length: int | None,
    path: Path,
) -> list[Tokens]:
    encoded = tokenizer.encode(columns, codes, partial=True)
    if encoded.coverage.unknown:
        missing, count = encoded.coverage.commonest[0]
        raise DataError(
            f"the vocabulary lacks {encoded.coverage.unknown} events of the canaries, such as"
            f" '{missing}' ({count}); they were made for another tokenization",
            file=path,
        )
    lengths = np.diff(encoded.offsets)
    if max_length is not None and lengths.max() > max_length:
        raise DataError(
            f"its canaries have up to {lengths.max()} tokens, but a sequence holds at most"
            f" {max_length}; plant canaries of fewer events",
            file=path,
        )
    return np.split(encoded.tokens, encoded.offsets[1:-1])
