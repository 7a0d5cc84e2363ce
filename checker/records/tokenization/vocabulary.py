"""The model's vocabulary: which token has which id, read from the files it comes in.

`vocab.json` (an object token → id, or the tokens as a list, by id), a CSV with the columns `token`
(or `code`) and `id` (or `index`), `codes.parquet` of a MEDS-transforms run (`code`,
`code/vocab_index`) and a word-level Hugging Face `tokenizer.json`. A tokenizer that splits words
into pieces is refused: one clinical code has to be one token, or no class can be matched to tokens.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from checker.canonical import sha256_hex
from checker.errors import DataError
from checker.json_text import json_text

_INDEX_COLUMN = "code/vocab_index"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a model.

    Args:
        ids: token to id, ids ≥ 0 and distinct; gaps are allowed.
        sha256: of the file it was read from.
        file: the file, for messages.
    """

    ids: Mapping[str, int]
    sha256: str
    file: str

    def __post_init__(self) -> None:
        seen: dict[int, str] = {}
        for token, number in self.ids.items():
            if number < 0:
                raise DataError(f"token '{token}' has the negative id {number}", file=self.file)
            if number in seen:
                raise DataError(
                    f"tokens '{seen[number]}' and '{token}' have the same id {number}",
                    file=self.file,
                )
            seen[number] = token

    @property
    def largest_id(self) -> int:
        """The largest id in use."""
        return max(self.ids.values())

    @property
    def tokens(self) -> list[str | None]:
        """Tokens by id; None in gaps."""
        tokens: list[str | None] = [None] * (self.largest_id + 1)
        for token, number in self.ids.items():
            tokens[number] = token
        return tokens


def load_vocabulary(path: Path) -> Vocabulary:
    """Read a vocabulary.

    Args:
        path: vocab.json, a CSV, a MEDS codes.parquet with code/vocab_index, or a word-level
            tokenizer.json.

    Raises:
        DataError: there is no such file, or it is not a vocabulary.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            "there is no such vocabulary; check tokenization.vocabulary", file=path
        ) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error
    if content[:4] == b"PAR1":
        ids = _from_parquet(content, path)
    elif path.suffix.lower() == ".csv":
        ids = _from_csv(content, path)
    else:
        ids = _from_json(content, path)
    if not ids:
        raise DataError("the vocabulary is empty", file=path)
    return Vocabulary(ids, sha256_hex(content), str(path))


def check_fits(vocabulary: Vocabulary, vocabulary_size: int) -> None:
    """Check that the model has an embedding for every token.

    Args:
        vocabulary: the tokens.
        vocabulary_size: how many ids the model scores; a few more than tokens is usual.

    Raises:
        DataError: a token's id lies beyond the model's embedding.
    """
    token, largest = max(vocabulary.ids.items(), key=lambda item: item[1])
    if largest >= vocabulary_size:
        raise DataError(
            f"token '{token}' has the id {largest}, but the model has {vocabulary_size} ids,"
            " counted from 0; this is not the model's vocabulary",
            file=vocabulary.file,
        )


def _from_parquet(content: bytes, path: Path) -> dict[str, int]:
    try:
        table = pq.read_table(pa.BufferReader(content))
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            "is not a whole parquet file, or holds bytes that are not UTF-8", file=path
        ) from error
    for column in ("code", _INDEX_COLUMN):
        count = table.column_names.count(column)
        if count != 1:
            found = "two columns" if count else "no column"
            raise DataError(
                f"has {found} '{column}'; a vocabulary has 'code' and '{_INDEX_COLUMN}'", file=path
            )
    if not pa.types.is_integer(table.schema.field(_INDEX_COLUMN).type):
        raise DataError(f"column '{_INDEX_COLUMN}' does not hold integers", file=path)
    codes, numbers = table["code"].to_pylist(), table[_INDEX_COLUMN].to_pylist()
    return _unique(
        ((code, number) for code, number in zip(codes, numbers, strict=True) if number is not None),
        path,
    )


def _from_csv(content: bytes, path: Path) -> dict[str, int]:
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        names = rows.fieldnames or []
        token = next((name for name in ("token", "code") if name in names), None)
        number = next((name for name in ("id", "index", _INDEX_COLUMN) if name in names), None)
        if token is None or number is None:
            raise DataError("a vocabulary in CSV has the columns 'token' and 'id'", file=path)
        pairs = [(row[token], row[number] or "") for row in rows]
    except UnicodeDecodeError as error:
        raise DataError("is no vocabulary: it is not UTF-8", file=path) from error
    except csv.Error as error:
        raise DataError(f"is no whole CSV: {error}", file=path) from error
    return _unique(
        ((name, int(text) if _WHOLE.fullmatch(text) else text) for name, text in pairs), path
    )


_WHOLE = re.compile(r"-?[0-9]{1,10}")


def _from_json(content: bytes, path: Path) -> dict[str, int]:
    # pairs instead of dicts: a key that stands twice must not disappear
    try:
        pairs = json.loads(json_text(content), object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise DataError(f"is neither parquet nor valid JSON: {error}", file=path) from error
    except ValueError as error:
        raise DataError(f"is no vocabulary: it {error}", file=path) from error
    if isinstance(pairs, list):
        return _unique(((token, number) for number, token in enumerate(pairs)), path)
    if not isinstance(pairs, _Pairs):
        raise DataError("is not a JSON object of tokens and ids", file=path)
    top = dict(pairs)
    if not isinstance(top.get("model"), _Pairs):
        return _unique(pairs, path)
    model = dict(top["model"])
    kind = model.get("type", "WordLevel")
    if kind != "WordLevel":
        raise DataError(
            f"is a tokenizer of type {kind}, which splits codes into pieces; phigate needs one"
            " token for each code (WordLevel)",
            file=path,
        )
    if not isinstance(model.get("vocab"), _Pairs):
        raise DataError("has no object 'model.vocab' of tokens and ids", file=path)
    ids = _unique(model["vocab"], path)
    listed = top.get("added_tokens") or []
    if not isinstance(listed, list) or not all(isinstance(entry, _Pairs) for entry in listed):
        raise DataError("'added_tokens' is not a list of tokens and ids", file=path)
    entries = [dict(entry) for entry in listed]
    added = _unique(((entry.get("content"), entry.get("id")) for entry in entries), path)
    for token, number in added.items():
        if ids.setdefault(token, number) != number:
            raise DataError(f"token '{token}' has the ids {ids[token]} and {number}", file=path)
    return ids


class _Pairs(tuple[tuple[str, Any], ...]):
    """A JSON object as its pairs, in order."""

    __slots__ = ()


def _unique(pairs: Iterable[tuple[Any, Any]], path: Path) -> dict[str, int]:
    ids: dict[str, int] = {}
    for token, number in pairs:
        if not isinstance(token, str) or type(number) is not int:
            raise DataError(
                f"is not a vocabulary: it should give each token an integer id, not {number!r:.40}"
                f" to {token!r:.60}",
                file=path,
            )
        if token in ids:
            raise DataError(f"token '{token}' is listed twice", file=path)
        ids[token] = number
    return ids
