"""Columns of evidence tables as arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def in_subgroup(table: pa.Table, subgroup: str) -> NDArray[np.bool_]:
    """Return which rows of a table of patients belong to a subgroup: [rows] bool."""
    inside = np.zeros(table.num_rows, dtype=np.bool_)
    if subgroup == "all":
        inside[:] = True
        return inside
    column = table["subgroups"].combine_chunks()
    wanted = pc.equal(pc.list_flatten(column), subgroup).to_numpy(zero_copy_only=False)
    inside[pc.list_parent_indices(column).to_numpy()[wanted]] = True
    return inside


def booleans(table: pa.Table, name: str) -> NDArray[np.bool_]:
    """Return a column of a table as [rows] bool."""
    column: NDArray[np.bool_] = table[name].to_numpy().astype(np.bool_)
    return column
