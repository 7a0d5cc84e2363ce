"""What stands in each column of evidence: its type, and whether a row may lack it.

A file can have the digest that its manifest says and hold something else than its kind does:
another program wrote it, or somebody. Counting it all the same would be guessing, and the libraries
below would say so in their own words, late. So columns are looked at once, when a file is read.

Columns that a plug-in names like a shared one (patient, member, prompt, subgroups) hold the same
there; what it names otherwise is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a column may hold.

    Args:
        words: for messages, in the plural.
        fits: whether an Arrow type is of it.
        lists: each row holds a list of such.
        nullable: a row may have none.
    """

    words: str
    fits: Callable[[pa.DataType], bool]
    lists: bool = False
    nullable: bool = False


_TEXT = ColumnType("texts", lambda found: pa.types.is_string(found))
_MAYBE_TEXT = ColumnType("texts", lambda found: pa.types.is_string(found), nullable=True)
_FLAG = ColumnType("true or false", lambda found: pa.types.is_boolean(found))
_COUNT = ColumnType("integers", lambda found: pa.types.is_signed_integer(found))
_NUMBER = ColumnType("numbers", lambda found: pa.types.is_floating(found))
_MAYBE_NUMBER = ColumnType("numbers", lambda found: pa.types.is_floating(found), nullable=True)
_TEXTS = ColumnType("lists of texts", lambda found: pa.types.is_string(found), lists=True)
_TOKENS = ColumnType("lists of integers", lambda f: pa.types.is_signed_integer(f), lists=True)
_FLAGS = ColumnType("lists of true or false", lambda f: pa.types.is_boolean(f), lists=True)
_VECTOR = ColumnType("lists of numbers", lambda found: pa.types.is_floating(found), lists=True)

_EVERYWHERE: Mapping[str, ColumnType] = {
    "patient": _TEXT,
    "member": _FLAG,
    "prompt": _TEXT,
    "subgroups": _TEXTS,
}
_COLUMNS: Mapping[str, Mapping[str, ColumnType]] = {
    "labels": {
        "positive": _FLAG,
        "eligible": _FLAG,
        "prompt": _MAYBE_TEXT,  # nobody who is not eligible is asked
        "base_score": _MAYBE_NUMBER,
    },
    "rollouts": {"sample": _COUNT, "tokens": _TOKENS},
    "scores": {"tokens": _COUNT, "loss": _NUMBER, "min-k": _NUMBER, "min-k++": _NUMBER},
    "embeddings": {"embedding": _VECTOR},
    "reference-training": {"tensor": _TEXT, "shape": _TOKENS, "values": _VECTOR},
    "membership-tokens": {
        "logprob": _VECTOR, "mean": _VECTOR, "std": _VECTOR, "first": _FLAGS,
    },
    "membership-features": {
        "fitted": _FLAG, "half": _FLAG, "tokens": _COUNT, "classic": _NUMBER, "feature": _NUMBER,
        "blind": _NUMBER, "other": _NUMBER,
    },
    "membership-scores": {
        "score": _NUMBER, "blind": _NUMBER, "placebo": _NUMBER, "declared": _NUMBER, "half": _FLAG,
    },
    "overlap": dict.fromkeys(("exact", "near", "members", "nonmembers", "compared"), _COUNT),
    "comparability": {"score": _NUMBER},
    "prompt-format": {"variant": _TEXT, "loss": _NUMBER},
    "canaries": {"canary": _COUNT, "included": _FLAG, "beacon": _FLAG, "score": _NUMBER},
    "probe-scores": {"positive": _FLAG, "score": _NUMBER},
    "perturbations": {"identifier": _TEXT, "change": _TEXT, "samples": _COUNT, "hits": _COUNT},
    "trajectories": {
        "distance": _NUMBER,
        "longest_run": _COUNT,
        "extracted": _FLAG,
        "random_distance": _NUMBER,
        "frequent_distance": _NUMBER,
    },
    "regurgitation": dict.fromkeys(
        (
            "sample", "member_groups", "nonmember_groups", "repeated", "half_a", "half_b",
            "groups", "nonmembers",
        ),
        _COUNT,
    ),
}  # fmt: skip


def strange_column(table: pa.Table, *, kind: str) -> str | None:
    """Say what of a table cannot be evidence of its kind, or None where every column can.

    Args:
        table: as it was read from a file.
        kind: of the job that it answers.
    """
    names = table.column_names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return f"it has two columns {_shown(twice)}"
    known = {**_EVERYWHERE, **_COLUMNS.get(kind, {})}
    for name in names:
        # membership scores are named by their k, and features by what they are, behind a sign that
        # no other column has
        wanted = known.get(name.partition("@")[0])
        found = None if wanted is None else _strange(table[name], wanted)
        if found is not None:
            return f"its column {_shown(name)} {found}"
    return None


def _strange(column: pa.ChunkedArray, wanted: ColumnType) -> str | None:
    inner = column
    if wanted.lists:
        if not pa.types.is_list(column.type):
            return f"holds {column.type} where {wanted.words} belong"
        inner = pc.list_flatten(column)
    if not wanted.fits(inner.type):
        return f"holds {column.type} where {wanted.words} belong"
    if column.null_count and not wanted.nullable:
        return f"lacks {column.null_count} of {len(column)} values"
    if wanted.lists and inner.null_count:
        return "holds lists with gaps"
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return "is damaged: its texts or lists are none"
    if pa.types.is_floating(inner.type):
        # an impossible token scores a floor, so that every mean is a number
        wild = int((~np.isfinite(inner.drop_null().to_numpy())).sum())
        return f"holds {wild} values that are not finite" if wild else None
    return None


def _shown(name: str) -> str:
    return f"'{name[:60]}'"
