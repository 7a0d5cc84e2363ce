"""Token tables as a trainer's own loader would have written them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from checker.records.tokenization import (
    KIND_EVENT,
    KIND_SPECIAL,
    KIND_STATIC,
    KIND_TIME,
    STATIC_TIME,
    Records,
    TokenizedRecords,
)

KINDS = {KIND_SPECIAL: "special", KIND_STATIC: "static", KIND_TIME: "time", KIND_EVENT: "code"}


def table_of(encoded: TokenizedRecords, records: Records, codes: Sequence[str]) -> pa.Table:
    """Write down as a table what rules make of patients."""
    rows = []
    for i, subject in enumerate(records.subject_id.tolist()):
        one = encoded.record(i)
        part = slice(records.offsets[i], records.offsets[i + 1])
        birth = codes.index("MEDS_BIRTH")
        keeps = (records.time_us[part] != STATIC_TIME) & (records.code[part] != birth)
        times = records.time_us[part][keeps]
        for j in range(len(one)):
            code = int(one.code[j])
            is_event = one.kind[j] == KIND_EVENT
            rows.append(
                {
                    "subject_id": subject,
                    "token": int(one.tokens[j]),
                    "event": 10 + int(one.event[j]) if is_event else None,
                    "kind": KINDS[int(one.kind[j])],
                    "code": codes[code] if code >= 0 else None,
                    "time": int(times[one.event[j]]) if is_event else None,
                }
            )
    return to_table(rows)


def to_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    schema = pa.schema(
        [
            ("subject_id", pa.int64()),
            ("token", pa.int32()),
            ("event", pa.int32()),
            ("kind", pa.string()),
            ("code", pa.string()),
            ("time", pa.timestamp("us")),
        ]
    )
    return pa.Table.from_pylist(list(rows), schema=schema)
