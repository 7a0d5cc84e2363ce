"""The command schema: the JSON Schemas that phigate publishes."""

from __future__ import annotations

from pathlib import Path

import click

from checker.cli.console import emit_json, tell
from checker.cli.options import File, json_option
from checker.errors import UsageError
from checker.plugins import suggestion


@click.command()
@click.argument("kind", required=False)
@click.option("--write", "folder", type=File, help="Write all schemas into this folder.")
@json_option
def schema(kind: str | None, folder: Path | None, as_json: bool) -> None:
    """Print the JSON Schema of KIND, or write all of them."""
    from checker.cli.published_schemas import published_schemas, write_schemas

    if folder is not None:
        written = list(write_schemas(folder))
        tell("\n".join(f"wrote {path}" for path in written), as_json, written=written)
        return
    schemas = published_schemas()
    if kind is None:
        raise UsageError(f"name a schema: {', '.join(schemas)}; or --write FOLDER")
    if kind not in schemas:
        raise UsageError(f"there is no schema '{kind}'{suggestion(kind, schemas)}")
    emit_json(schemas[kind])
