"""Every JSON Schema that phigate publishes: documents that people write, files that it writes."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from checker.attacks.canary_exposure.manifest import CanaryManifest
from checker.errors import UsageError
from checker.evidence import Manifest
from checker.ledger import LedgerEntry
from checker.planning import AuditPlan
from checker.policy import DOCUMENT_KINDS, document_schema, json_schema_of
from checker.policy.waivers import WaiverRecord
from checker.report.comparison import Comparison
from checker.report.model import Report
from checker.report.trend import Trend

_WRITTEN = (
    AuditPlan,
    Manifest,
    CanaryManifest,
    WaiverRecord,
    LedgerEntry,
    Report,
    Comparison,
    Trend,
)


def published_schemas() -> dict[str, dict[str, Any]]:
    """Return the schemas by name, draft-07; a written file holds every key, so all are required."""
    schemas = {kind: document_schema(kind) for kind in DOCUMENT_KINDS}
    for model in _WRITTEN:
        schemas[model.__name__] = json_schema_of(
            model, identifier=model.__name__, mode="serialization"
        )
    return schemas


def write_schemas(folder: Path, *, kinds: Collection[str] | None = None) -> list[Path]:
    """Write `NAME.json` for each schema, the same bytes every time, and return the files.

    Args:
        folder: is made where there is none.
        kinds: only those of these names.

    Raises:
        UsageError: the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, schema in published_schemas().items():
            if kinds is not None and name not in kinds:
                continue
            path = folder / f"{name}.json"
            text = json.dumps(schema, indent=2, ensure_ascii=False)
            path.write_text(text + "\n", encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return written
