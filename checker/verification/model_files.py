"""A model's files as they lie there: are they those that were audited?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from checker.canonical import file_sha256
from checker.verification.statement import Statement


def check_model(files: Mapping[str, str], path: Path) -> Iterator[Statement]:
    """Compare a model's files as they lie there with those that were audited."""
    wrong = False
    for name, sha256 in files.items():
        file = path / name if path.is_dir() else path
        try:
            found = file_sha256(file)
        except OSError as error:
            wrong = True
            yield Statement(False, f"{file}: cannot be read: {error.strerror or error}")
            continue
        if found != sha256:
            wrong = True
            yield Statement(False, f"{file}: is not the file that was audited")
    if not files:
        yield Statement(False, f"{path}: no file of the model was audited by name")
    elif not wrong:
        yield Statement(True, f"{path}: its {len(files)} files are the model that was audited")
