"""A target that was read off a trainer's folder: its files, and what was taken for granted."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from checker.errors import DataError, UsageError
from checker.importing.converting import convert
from checker.policy import load_target
from checker.policy.documents import TargetSpec

TARGET = "target.yaml"


@dataclass(slots=True)
class TargetDraft:
    """What is to be written.

    Args:
        name: of the target, in kebab case.
        model, tokenization, data: parts of the target's `spec`, as they are written.
        expect: what the trainer knows, likewise; None where nothing is.
        files: by path in the folder, what is in it.
        links: by path in the folder, what it stands for.
        checkpoint: of the trainer, and the configuration of its architecture: they become
            `./model`; None where the model is one already.
        assumed: what nothing said and was taken for granted, a sentence each.
        left: what is still to be said by whoever trained the model, a sentence each.
    """

    name: str
    model: dict[str, Any]
    tokenization: dict[str, Any]
    data: dict[str, Any]
    expect: dict[str, Any] | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, Path] = field(default_factory=dict)
    checkpoint: tuple[Path, Mapping[str, Any]] | None = None
    assumed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WrittenTarget:
    """A target in a folder.

    Args:
        target: its file.
        written: all files, the target first.
        assumed, left: as in `TargetDraft`.
    """

    target: Path
    written: tuple[Path, ...]
    assumed: tuple[str, ...]
    left: tuple[str, ...]


def parquet(table: pa.Table) -> bytes:
    """Return a table as the bytes of a parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def write_draft(draft: TargetDraft, out: Path, *, force: bool) -> WrittenTarget:
    """Write a target and its files, and read the target as a user's.

    Raises:
        UsageError: a file is there already, or cannot be written.
        TargetError: the checkpoint holds no model of its configuration.
        DocumentError: what was read off makes no valid target.
    """
    for name in (TARGET, *draft.files, *draft.links):
        if not force and ((out / name).exists() or (out / name).is_symlink()):
            raise UsageError(f"{out / name}: is there already; --force overwrites it")
    if draft.checkpoint is not None:
        path, config = draft.checkpoint
        found = convert(path, out=out / "model", config=config, force=force)
        draft.assumed.append(
            f"The model is {path.name} of {path.parent}: {found.parameters:,} numbers;"
            f" {found.summary}."
        )
    files = {TARGET: _target_text(draft).encode(), **draft.files}
    try:
        for name, content in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(content)
        for name, end in draft.links.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).unlink(missing_ok=True)
            (out / name).symlink_to(end.resolve())
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror or error}") from error
    load_target(out / TARGET)
    return WrittenTarget(
        target=out / TARGET,
        written=tuple(out / name for name in (*files, *draft.links)),
        assumed=tuple(draft.assumed),
        left=tuple(draft.left),
    )


def relative(path: Path, *, to: Path) -> str:
    """Return a path as a target in a folder names it: relative where that goes down from there."""
    path, to = path.resolve(), to.resolve()
    return f"./{path.relative_to(to).as_posix()}" if path.is_relative_to(to) else str(path)


def require_file(path: Path, what: str) -> Path:
    """Return a path after checking that a file is there.

    Raises:
        DataError: there is none.
    """
    if not path.is_file():
        raise DataError(f"there is no such file; {what}", file=path)
    return path


# --- the text -----------------------------------------------------------------------------------


def _target_text(draft: TargetDraft) -> str:
    spec: dict[str, Any] = {
        "model": draft.model,
        "tokenization": draft.tokenization,
        "data": draft.data,
    }
    if draft.expect is not None:
        spec["expect"] = draft.expect
    unknown = spec.keys() - {one.alias or name for name, one in TargetSpec.model_fields.items()}
    assert not unknown, unknown
    document = {
        "apiVersion": "phigate/v1",
        "kind": "AuditTarget",
        "metadata": {"name": draft.name, "version": "1", "owner": "change-me-team"},
        "spec": spec,
    }
    lines = [
        "# Written by `phigate target init`; change what is not so. Paths are relative to this"
    ]
    lines.append("# file. `phigate target test` shows whether the model knows its records so told.")
    for title, sentences in (("Taken for granted", draft.assumed), ("Left to say", draft.left)):
        if sentences:
            lines += ["#", f"# {title}:"]
            lines += [f"#   * {sentence}" for sentence in sentences]
    return "\n".join([*lines, "", *_block(document, 0), ""])


def _block(value: Mapping[str, Any], indent: int) -> Iterable[str]:
    """Yield a mapping as lines of YAML."""
    space = " " * indent
    for key, inner in value.items():
        name = key if key.replace("_", "").isalnum() else json.dumps(key, ensure_ascii=False)
        if isinstance(inner, Mapping) and any(
            isinstance(one, Mapping | list) for one in inner.values()
        ):
            yield f"{space}{name}:"
            yield from _block(inner, indent + 2)
        elif isinstance(inner, list) and any(isinstance(one, Mapping) for one in inner):
            yield f"{space}{name}:"
            yield from (f"{space}  - {_flow(one)}" for one in inner)
        elif isinstance(inner, Mapping) and len(_flow(inner)) > 60:
            yield f"{space}{name}:"
            yield from _block(inner, indent + 2)
        else:
            yield f"{space}{name}: {_flow(inner)}"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key}: {_flow(one)}" for key, one in value.items())
        return f"{{{inside}}}"
    if isinstance(value, list):
        return f"[{', '.join(_flow(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False)
