"""What stands in each column of evidence: its type, its range, and whether a row may lack it.

A file can have the digest that its manifest says and hold something else than its kind does:
another program wrote it, or somebody. Counting it all the same would be guessing, and the libraries
below would say so in their own words, late. So columns are looked at once, when a file is read.

Columns that a plug-in names like a shared one (patient, member, prompt, subgroups) hold the same
there; what it names otherwise is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from checker.kinds import TABLES


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a column may hold.

    Args:
        words: for messages, in the plural.
        fits: whether an Arrow type is of it.
        lists: each row holds a list of such.
        nullable: a row may have none.
        low, high: the least and the greatest number that a run can observe.
    """

    words: str
    fits: Callable[[pa.DataType], bool]
    lists: bool = False
    nullable: bool = False
    low: float | None = None
    high: float | None = None


_LARGEST_COUNT = 2**53
"""Up to here every integer is a float64 too, and no two counts are taken for one."""
_LEAST_MEAN, _MOST_MEAN = -2000.0, 1.0
"""Nats, of a mean log-probability: no token has less than `targets.LOGPROB_FLOOR`, which is doubled
here for backends that keep to it loosely, and rounding lifts none so far above 0."""
_MOST_DEVIATIONS = 1e9
"""Of standardised log-probabilities, whose divisor is at least 0.001 nats."""
_FURTHEST, _ROUNDING = 4.0, 0.001
"""Of two trajectories: twice the cost of padding, where labels have negative cosines; cosines of
equal labels may lie above 1 by rounding."""

_TEXT = ColumnType("texts", pa.types.is_string)
_MAYBE_TEXT = replace(_TEXT, nullable=True)
_FLAG = ColumnType("true or false", pa.types.is_boolean)
_COUNT = ColumnType("integers", pa.types.is_signed_integer, low=0, high=_LARGEST_COUNT)
_SOME = replace(_COUNT, low=1)
_FROM_MINUS_1 = replace(_COUNT, low=-1)
_NUMBER = ColumnType("numbers", pa.types.is_floating)
_MEAN = replace(_NUMBER, low=_LEAST_MEAN, high=_MOST_MEAN)
_LOSS = replace(_NUMBER, low=-_MOST_MEAN, high=-_LEAST_MEAN)
_SUMMED_LOSS = replace(_LOSS, high=-_LEAST_MEAN * 1000)  # of the few hundred first tokens
_MAYBE_LOSS = replace(_LOSS, nullable=True)
_DEVIATIONS = replace(_NUMBER, low=-_MOST_DEVIATIONS, high=_MOST_DEVIATIONS)
_SHARE = replace(_NUMBER, low=0.0, high=1.0)
_MAYBE_SHARE = replace(_SHARE, nullable=True)
_DISTANCE = replace(_NUMBER, low=-_ROUNDING, high=_FURTHEST + _ROUNDING)
_TEXTS = ColumnType("lists of texts", pa.types.is_string, lists=True)
_TOKENS = ColumnType(
    "lists of integers", pa.types.is_signed_integer, lists=True, low=0, high=2**31 - 1
)
_FLAGS = ColumnType("lists of true or false", pa.types.is_boolean, lists=True)
_VECTOR = ColumnType("lists of numbers", pa.types.is_floating, lists=True)

_EXPECTED = replace(_NUMBER, low=0.0, high=2.0)
_MAYBE_LOG = replace(_NUMBER, high=0.001, nullable=True)
_SCORES = {"tokens": _SOME, "loss": _MEAN, "min-k": _MEAN, "min-k++": _DEVIATIONS}

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
        "base_score": _MAYBE_SHARE,
        "holds": replace(_TEXTS, nullable=True),  # of pools only
        "drawn": _MAYBE_SHARE,
        "shared": replace(_NUMBER, low=1.0, high=_LARGEST_COUNT, nullable=True),
    },
    "rollouts": {"sample": _COUNT, "tokens": _TOKENS, "compensator": _EXPECTED},
    "scores": _SCORES,
    "spare-scores": _SCORES,
    "extraction": {
        "windows": _COUNT,
        "common": _COUNT,
        "log_probability": _MAYBE_LOG,  # where all windows are what anybody would write
        "greedy": _FLAG,
        "telling_log_probability": _MAYBE_LOG,
        "telling_greedy": _FLAG,
        "rare_log_probability": _MAYBE_LOG,
        "rare_greedy": _FLAG,
    },
    "embeddings": {"embedding": _VECTOR},
    "reference-training": {"tensor": _TEXT, "shape": _TOKENS, "values": _VECTOR},
    "membership-shadows": {"taught": _FLAG, "logprob": _VECTOR},
    "membership-tokens": {
        "logprob": _VECTOR,
        "mean": _VECTOR,
        "std": _VECTOR,
        "first": _FLAGS,
    },
    "membership-features": {
        "fitted": _FLAG,
        "half": _FLAG,
        "tokens": _SOME,
        "classic": _NUMBER,
        "feature": _NUMBER,
        "blind": _NUMBER,
        "other": _NUMBER,
    },
    "membership-scores": {
        "score": _NUMBER,
        "blind": _NUMBER,
        "placebo": _NUMBER,
        "declared": _NUMBER,
        "half": _FLAG,
    },
    "overlap": {
        **dict.fromkeys(
            ("exact", "near", "same_codes", "members", "nonmembers", "compared"), _COUNT
        ),
        "set_aside": _TEXTS,
    },
    "comparability": {"score": _NUMBER},
    "spare-tables": {
        "spare": _FLAG,
        **dict.fromkeys(TABLES, _MEAN),
    },
    "prompt-format": {
        "variant": _TEXT,
        "loss": _LOSS,
        "unigram": _MAYBE_LOSS,  # of the declared format alone
        "bigram": _MAYBE_LOSS,
    },
    "other-descriptions": {"telling": _TEXT, "tokens": _SOME, "loss": _SUMMED_LOSS},
    "record-parts": {"part": _TEXT, "loss": _LOSS, "table": _LOSS},
    "expected-tokens": dict.fromkeys(
        ("compared", "members", "different", "place", "position"), _COUNT
    ),
    "expected-loss": {"tokens": _SOME, "loss": _LOSS},
    "canaries": {
        "canary": _COUNT,
        "included": _FLAG,
        "beacon": _FLAG,
        "natural": _FLAG,
        "score": _MEAN,
    },
    "probe-scores": {"positive": _FLAG, "score": _SHARE},
    "perturbations": {"identifier": _TEXT, "change": _TEXT, "samples": _SOME, "hits": _COUNT},
    "trajectories": {
        "distance": _DISTANCE,
        "longest_run": _COUNT,
        "extracted": _FLAG,
        "random_distance": _DISTANCE,
        "frequent_distance": _DISTANCE,
    },
    "regurgitation": {
        **dict.fromkeys(("sample", "member_groups", "nonmember_groups", "nonmembers"), _COUNT),
        **dict.fromkeys(("repeated", "half_a", "half_b"), _FROM_MINUS_1),
        "groups": _SOME,
    },
}

KINDS = frozenset(_COLUMNS)
"""Kinds of jobs whose columns are known here; those of plug-ins are not."""


def strange_column(table: pa.Table, *, kind: str) -> str | None:
    """Say what of a table cannot be evidence of its kind, or None where every column can.

    What its rows say of each other is for `checker.evidence_rows`.

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
        # membership scores are named by their k and compensators by their class, behind a sign that
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
        if wild:
            return f"holds {wild} values that are not finite"
    if wanted.low is not None and wanted.high is not None:
        numbers = inner.drop_null().to_numpy()
        outside = numbers[(numbers < wanted.low) | (numbers > wanted.high)]
        if len(outside):
            return f"holds {outside[0]}, and no run observes less than {_number(wanted.low)}" + (
                "" if outside[0] < wanted.low else f" or more than {_number(wanted.high)}"
            )
    return None


def _number(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else f"{value:g}"


def _shown(name: str) -> str:
    return f"'{name[:60]}'"
