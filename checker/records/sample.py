"""Sequences that the trainer's own data loader made, compared with the declared tokenization.

A target file describes how records become tokens. What shows that the description is true is the
trainer's own sequences of some patients: they agree to the last token, or the description is of
another model (METHODS §5, *The expectation*).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from checker.canonical import sha256_hex
from checker.errors import DataError
from checker.records.tokenization import Records, TokenizedRecords, Tokenizer
from checker.targets.channels import differing_channels

SAMPLE_NEEDED = 20
"""Members of the audit that a sample must hold."""


@dataclass(frozen=True, slots=True)
class TokenSample:
    """Token sequences by patient.

    Args:
        subject_id: [n] int64, each once.
        tokens: n arrays of int64.
        sha256: of the file.
        channels: by name, n arrays of float64, what the model is told beside the tokens.
    """

    subject_id: NDArray[np.int64]
    tokens: list[NDArray[np.int64]]
    sha256: str
    channels: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampledPatients:
    """A sample, and its patients among those of the audit under the declared tokenization.

    Whoever else is drawn for an audit, these are looked at: a sample is small, and a draw would
    hardly meet it.

    Args:
        tokens: the trainer's.
        splits: subject ids and whole records, of members (True) and of nonmembers.
    """

    tokens: TokenSample
    splits: Mapping[bool, tuple[NDArray[np.int64], TokenizedRecords]]

    @classmethod
    def of(
        cls,
        tokens: TokenSample,
        splits: Mapping[bool, Records],
        codes: Sequence[str],
        *,
        tokenizer: Tokenizer,
    ) -> SampledPatients:
        """Tokenize the patients of a sample: members under True, whose `code` indexes `codes`."""
        found = {}
        for is_member, records in splits.items():
            own = records.select(np.flatnonzero(np.isin(records.subject_id, tokens.subject_id)))
            found[is_member] = own.subject_id, tokenizer.encode(own, codes, partial=True)
        return cls(tokens, found)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a sample agrees with the declared tokenization.

    Args:
        compared: patients of the sample that are patients of the audit.
        members: of them, who are members: what the trainer's loader has, the model was trained on.
        different: of them, whose sequences differ.
        place: row of the first that differs, from 1; 0 where none does.
        position: its first token that differs, from 1; 0 where none does.
    """

    compared: int
    members: int
    different: int
    place: int
    position: int


def read_sample(path: Path, *, channels: Sequence[str] = ()) -> TokenSample:
    """Read a parquet file with the columns `subject_id` (integer) and `tokens` (list of integers).

    Args:
        path: of the file.
        channels: further columns that it must have: a list of as many numbers.

    Raises:
        DataError: it cannot be read, lacks a column, holds an empty or missing sequence, or a
            patient twice.
    """
    try:
        content = path.read_bytes()
        table = pq.read_table(pa.BufferReader(content))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error}); check spec.expect.tokens") from error
    for name in ("subject_id", "tokens"):
        if name not in table.column_names:
            raise DataError(
                f"{path}: has no column '{name}'; a sample has subject_id (integer) and tokens"
                " (list of integers)"
            )
    if lacking := [name for name in channels if name not in table.column_names]:
        raise DataError(
            f"{path}: has no column '{lacking[0]}'; tokenization.channels declares it, so a sample"
            " tells its value at each token (list of numbers)"
        )
    try:
        subjects = table["subject_id"].cast(pa.int64()).to_pylist()
        sequences = table["tokens"].cast(pa.list_(pa.int64())).to_pylist()
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: subject_id must be integers and tokens lists of integers ({error})"
        ) from error
    for row, (subject, tokens) in enumerate(zip(subjects, sequences, strict=True), start=1):
        if subject is None or not tokens or None in tokens:
            raise DataError(f"{path}: row {row} lacks its subject_id or tokens")
    if len(set(subjects)) < len(subjects):
        raise DataError(f"{path}: holds a patient twice; a sample has one row for each")
    return TokenSample(
        np.array(subjects, dtype=np.int64),
        [np.array(tokens, dtype=np.int64) for tokens in sequences],
        sha256_hex(content),
        {
            name: _numbers(table, name, lengths=list(map(len, sequences)), path=path)
            for name in channels
        },
    )


def _numbers(
    table: pa.Table, name: str, *, lengths: list[int], path: Path
) -> list[NDArray[np.float64]]:
    """Read a channel: as many numbers in each row as it has tokens."""
    try:
        rows = table[name].cast(pa.list_(pa.float64())).to_pylist()
    except pa.ArrowException as error:
        raise DataError(f"{path}: '{name}' must be lists of numbers ({error})") from error
    for place, (row, length) in enumerate(zip(rows, lengths, strict=True), start=1):
        if row is None or len(row) != length or None in row:
            raise DataError(f"{path}: row {place} has not one '{name}' for each of its tokens")
    return [np.array(row, dtype=np.float64) for row in rows]


def compare_sample(
    sample: TokenSample,
    splits: Mapping[bool, tuple[NDArray[np.int64], TokenizedRecords]],
    *,
    max_length: int | None,
) -> Agreement:
    """Hold a sample against the same patients' records under the declared tokenization.

    Args:
        sample: the trainer's.
        splits: subject ids and whole records of members (True) and of nonmembers.
        max_length: most tokens of a sequence: both are cut there, as the model's input is.
    """
    where = {
        int(subject): (is_member, records, index)
        for is_member, (subjects, records) in splits.items()
        for index, subject in enumerate(subjects.tolist())
    }
    compared = members = different = place = position = 0
    for row, (subject, tokens) in enumerate(
        zip(sample.subject_id.tolist(), sample.tokens, strict=True), start=1
    ):
        if subject not in where:
            continue
        compared += 1
        is_member, records, index = where[subject]
        members += is_member
        own = records.record(index).tokens[:max_length]
        theirs = tokens[:max_length]
        shared = min(len(own), len(theirs))
        differs = own[:shared] != theirs[:shared]
        given = {name: rows[row - 1][:shared] for name, rows in sample.channels.items()}
        differs |= differing_channels(own[:shared], given)
        if len(own) == len(theirs) and not differs.any():
            continue
        different += 1
        if not place:
            unlike = np.flatnonzero(differs)
            place, position = row, int(unlike[0] if len(unlike) else shared) + 1
    return Agreement(compared, members, different, place, position)
