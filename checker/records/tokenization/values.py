"""Numeric values as quantile tokens: the edges of a target's `tokenization.values`.

A code with k inner edges has k + 1 bins, counted from 1; a value equal to an edge belongs to the
bin above it. Edges and values are compared in float32, the precision in which MEDS stores values:
against float64 edges a value read as 0.7 would lie below the edge 0.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from checker.errors import DataError


def load_bins(
    path: Path,
) -> tuple[dict[str, NDArray[np.float32]], dict[str, tuple[str | None, ...]] | None]:
    """Read the inner edges of each code's bins, and their tokens where the file spells them.

    Args:
        path: parquet with `code` (string), `edges` (ascending list of numbers) and, if wanted,
            `tokens` (list of texts, one more than edges), or the `codes.parquet` of
            MEDS-transforms, where `values/quantiles` holds the edges as a struct.

    Returns:
        Both by code; None in place of tokens where there is no such column.

    Raises:
        DataError: there is no such file, or it does not hold edges.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise DataError(
            "there is no such file; check tokenization.values.bins", file=path
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise DataError("is not a whole parquet file", file=path) from error
    if "edges" not in table.column_names and _QUANTILES in table.column_names:
        table = _quantiles(table, path)
    missing = {"code", "edges"} - set(table.column_names)
    if missing:
        raise DataError(
            f"has no column '{min(missing)}'; bins have 'code' and 'edges' (or '{_QUANTILES}')",
            file=path,
        )
    try:
        lists = table["edges"].cast(pa.list_(pa.float32()), safe=False).to_pylist()
    except pa.ArrowException as error:
        raise DataError("column 'edges' does not hold lists of numbers", file=path) from error
    edges: dict[str, NDArray[np.float32]] = {}
    for code, values in zip(table["code"].to_pylist(), lists, strict=True):
        if not isinstance(code, str) or code in edges:
            raise DataError(f"code {code!r} is listed twice or is not text", file=path)
        own = np.array([np.nan if v is None else v for v in values or ()], dtype=np.float32)
        if not np.isfinite(own).all() or (np.diff(own) < 0).any():
            raise DataError(f"the edges of '{code}' are not ascending finite numbers", file=path)
        edges[code] = own
    return edges, _bin_tokens(table, edges, path)


def _bin_tokens(
    table: pa.Table, edges: Mapping[str, NDArray[np.float32]], path: Path
) -> dict[str, tuple[str | None, ...]] | None:
    if "tokens" not in table.column_names:
        return None
    try:
        lists = table["tokens"].cast(pa.list_(pa.string())).to_pylist()
    except pa.ArrowException as error:
        raise DataError("column 'tokens' does not hold lists of texts", file=path) from error
    found = {}
    for (code, own), tokens in zip(edges.items(), lists, strict=True):
        if tokens is None or len(tokens) != len(own) + 1:
            raise DataError(
                f"'{code}' has {len(own)} edges, so {len(own) + 1} bins, but"
                f" {len(tokens or ())} tokens",
                file=path,
            )
        found[code] = tuple(tokens)
    return found


_QUANTILES = "values/quantiles"
_QUANTILE = re.compile(r"values/quantile/[01](\.[0-9]+)?")


def _quantiles(table: pa.Table, path: Path) -> pa.Table:
    """Read MEDS-transforms' quantiles: a struct of `values/quantile/P`, null without values.

    Raises:
        DataError: the struct holds something else than quantiles.
    """
    column = table[_QUANTILES]
    names = [one.name for one in column.type] if pa.types.is_struct(column.type) else []
    found = {name: _QUANTILE.fullmatch(name) for name in names}
    if not names or not all(found.values()):
        raise DataError(f"column '{_QUANTILES}' is no struct of 'values/quantile/P'", file=path)
    order = sorted(names, key=lambda name: float(name.rsplit("/", 1)[1]))
    rows = [
        None if row is None or all(row[name] is None for name in order)
        else [row[name] for name in order]
        for row in column.to_pylist()
    ]  # fmt: skip
    kept = [
        code is not None and row is not None
        for code, row in zip(table["code"].to_pylist(), rows, strict=True)
    ]
    edges = pa.array(rows, pa.list_(pa.float64()))
    return pa.table({"code": table["code"], "edges": edges}).filter(pa.array(kept))


@dataclass(frozen=True, slots=True)
class BinTable:
    """The edges of a dictionary's codes, laid end to end.

    Args:
        has_bins: [codes] bool.
        first: [codes] int64, where the code's edges begin.
        count: [codes] int64, how many edges it has.
        edges: [edges of all codes] float32.
        slot: [codes] int64, where the code's bins begin when all bins are laid end to end.
        spelling: the tokens of all bins, None where one has none; empty when bins are not spelled
            with their code.
    """

    has_bins: NDArray[np.bool_]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    edges: NDArray[np.float32]
    slot: NDArray[np.int64]
    spelling: Sequence[str | None]

    def bins(self, code: NDArray[np.int32], value: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the bin of each value, counted from 1, by one binary search over all at once."""
        first = self.first[code]
        low, high = first.copy(), first + self.count[code]
        searching = np.flatnonzero(low < high)
        while len(searching):
            middle = (low[searching] + high[searching]) // 2
            above = self.edges[middle] <= value[searching]
            low[searching[above]] = middle[above] + 1
            high[searching[~above]] = middle[~above]
            searching = searching[low[searching] < high[searching]]
        return low - first + 1


def bin_table(
    codes: Sequence[str],
    edges: Mapping[str, NDArray[np.float32]],
    *,
    template: str,
    spelled: Mapping[str, Sequence[str | None]] | None = None,
) -> BinTable:
    """Lay out the edges of a dictionary's codes.

    Args:
        codes: the dictionary.
        edges: inner edges by code; codes that the dictionary lacks are left out.
        template: of the token, with {bin}, and {code} where it replaces the code's token.
        spelled: by code, the tokens themselves, for which no template is needed.
    """
    own = [edges.get(code) for code in codes]
    count = np.array([0 if e is None else len(e) for e in own], dtype=np.int64)
    bins = np.array([0 if e is None else len(e) + 1 for e in own], dtype=np.int64)
    spelling: list[str | None] = [
        spelled[codes[i]][number]
        if spelled is not None
        else template.replace("{bin}", str(number + 1)).replace("{code}", codes[i])
        for i in np.flatnonzero(bins).tolist()
        for number in range(bins[i])
    ]
    return BinTable(
        has_bins=bins > 0,
        first=np.cumsum(count) - count,
        count=count,
        edges=np.concatenate([e for e in own if e is not None] or [np.empty(0, np.float32)]),
        slot=np.cumsum(bins) - bins,
        spelling=spelling if spelled is not None or "{code}" in template else (),
    )
