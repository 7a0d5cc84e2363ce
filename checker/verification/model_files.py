"""A model's files as they lie there: are they those that were audited, and all of them?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from checker.canonical import file_sha256
from checker.errors import TargetError
from checker.targets.backends.adapter import CONFIG, PREFIX
from checker.targets.backends.model_folder import list_files
from checker.verification.statement import Statement


def check_model(files: Mapping[str, str], path: Path) -> Iterator[Statement]:
    """Compare a model's files as they lie there with those that were audited.

    A file that was added may be loaded in place of one that was audited, so a folder must hold
    those files and no others.

    Args:
        files: SHA-256 by path in the folder, as audited; of an adapter's below `PREFIX`.
        path: the model's folder, or its only file; or the adapter's folder.
    """
    wrong = False
    whole = files
    is_adapter = (path / CONFIG).is_file() and not (path / "config.json").is_file()
    files = {
        name.removeprefix(PREFIX): sha256
        for name, sha256 in whole.items()
        if name.startswith(PREFIX) is is_adapter
    }
    if len(files) < len(whole):
        other = "base" if is_adapter else "adapter"
        yield Statement(
            None,
            f"{path}: its {other}, {len(whole) - len(files)} files, was not looked at;"
            " --model with its folder asks for that",
        )
    if files and path.is_dir():
        try:
            there = list_files(path)
        except TargetError as error:
            wrong = True
            yield Statement(False, str(error))
        else:
            for name in sorted(there.keys() - files.keys()):
                wrong = True
                yield Statement(False, f"{there[name]}: is not among the files that were audited")
    for name, sha256 in files.items():
        file = path / name if path.is_dir() else path
        if not file.exists():
            wrong = True
            yield Statement(False, f"{file}: is missing, and was audited")
            continue
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
