"""The published schemas are those of the types, and fit what phigate reads and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from command_line import Checked
from jsonschema import Draft7Validator

from checker.cli.published_schemas import published_schemas, write_schemas

ROOT = Path(__file__).parents[2]


def test_the_published_schemas_are_those_of_the_types(tmp_path: Path) -> None:
    written = write_schemas(tmp_path)
    for path in written:
        assert path.read_bytes() == (ROOT / "schemas" / path.name).read_bytes(), (
            f"{path.name} has drifted: run `phigate schema --write schemas`"
        )
    assert {p.name for p in written} == {p.name for p in (ROOT / "schemas").iterdir()}


@pytest.mark.parametrize("name", sorted(published_schemas()))
def test_each_schema_is_a_draft_07_schema(name: str) -> None:
    Draft7Validator.check_schema(published_schemas()[name])


def test_what_a_run_writes_fits_its_schemas(checked: Callable[[str], Checked]) -> None:
    run = checked("leaking").run
    schemas = published_schemas()
    for file, name in (
        ("plan.json", "AuditPlan"), ("manifest.json", "Manifest"), ("report.json", "Report")
    ):  # fmt: skip
        content = json.loads((run / file).read_text())
        Draft7Validator(schemas[name]).validate(content)
        broken = {**content, "schemaVersion": 1}
        assert not Draft7Validator(schemas[name]).is_valid(broken)


def test_shipped_documents_fit_their_schemas() -> None:
    schemas = published_schemas()
    for path in sorted((ROOT / "policies").rglob("*.yaml")):
        content = json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))
        Draft7Validator(schemas[content["kind"]]).validate(content)
