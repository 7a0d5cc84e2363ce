"""The files of a model's folder: all of them are hashed, and none may stand in for another.

Which files a library opens is the library's to decide, and changes with its version, so nothing is
left out because phigate thinks that it is not used. What could be opened in place of the weights
that are named, or run as code, is refused instead: other weights, adapters, pickles, Python files,
and links to what lies elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath

from checker.canonical import file_sha256
from checker.errors import TargetError

_PICKLES = frozenset(
    (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".distcp")
)
_WEIGHTS = frozenset((".safetensors", ".gguf", ".ggml", ".h5", ".msgpack", ".ot", ".onnx"))
_CODE = frozenset((".py", ".pyc", ".pyw", ".so", ".pyd", ".dll", ".dylib"))
_INDEX_ENDING = ".index.json"


def list_files(folder: Path) -> dict[str, Path]:
    """Return every file below a model's folder, by its path in it with `/`, in order of that path.

    Raises:
        TargetError: a folder cannot be read, a link leads elsewhere or nowhere, something is
            neither a file nor a folder, or a name is not UTF-8.
    """
    try:
        root = folder.resolve(strict=True)
        found = {path.relative_to(folder).as_posix(): path for path in _walk(folder, root)}
    except OSError as error:
        where = error.filename or folder
        raise TargetError(f"{where}: cannot be read: {error.strerror or error}") from error
    for name in found:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise TargetError(
                f"{folder}: {name!a} is no name in UTF-8; rename that file"
            ) from error
    return dict(sorted(found.items()))


def hash_files(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of each file, by the same names.

    Raises:
        TargetError: one cannot be read.
    """
    found = {}
    for name, path in files.items():
        try:
            found[name] = file_sha256(path)
        except OSError as error:
            raise TargetError(f"{path}: cannot be read: {error.strerror or error}") from error
    return found


def refuse_strangers(folder: Path, names: Collection[str], *, used: Collection[str]) -> None:
    """Refuse files that could be loaded in place of, or beside, the weights that are used.

    Args:
        folder: the model's.
        names: of all its files, as from `list_files`.
        used: which of them the weights and their index are.

    Raises:
        TargetError: there is an adapter, a pickle, or other weights.
    """
    for name in names:
        file = PurePosixPath(name)
        lower = file.name.lower()
        if lower == "adapter_config.json" or lower.startswith("adapter_model."):
            raise TargetError(
                f"{folder}: {name} beside config.json makes it unclear which weights are audited;"
                " move it to a folder of its own, and name that as model.adapter"
            )
        if file.suffix.lower() in _PICKLES:
            raise TargetError(
                f"{folder}: {name} is a pickle or may be one, and opening a pickle runs whatever it"
                " contains; move out of the folder what only training needs, and save weights with"
                " save_pretrained, which writes safetensors"
            )
        is_index = lower.endswith(_INDEX_ENDING)
        if (is_index or file.suffix.lower() in _WEIGHTS) and name not in used:
            raise TargetError(
                f"{folder}: {name} holds or names other weights than {min(used)}, and which are"
                " loaded depends on the library; leave one set of weights in the folder"
            )


def refuse_code(folder: Path, names: Collection[str]) -> None:
    """Refuse code in a model's folder, which nobody said may run.

    Raises:
        TargetError: there is a file of code.
    """
    for name in names:
        if PurePosixPath(name).suffix.lower() in _CODE:
            raise TargetError(
                f"{folder}: {name} is code, and trustRemoteCode is off; move it out of the folder,"
                " or read it and set trustRemoteCode: true"
            )


def _walk(folder: Path, root: Path) -> Iterator[Path]:
    pending = [folder]
    while pending:
        for path in pending.pop().iterdir():
            if path.is_symlink():
                _check_link(path, root)
                if path.is_dir():
                    continue  # it leads to a folder of the model, which is walked where it lies
            if path.is_dir():
                pending.append(path)
            elif path.is_file():
                yield path
            else:
                raise TargetError(
                    f"{path}: is neither a file nor a folder; a model has no such thing"
                )


def _check_link(path: Path, root: Path) -> None:
    try:
        end = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # a loop is a RuntimeError before Python 3.13
        raise TargetError(f"{path}: is a link that leads nowhere; copy the model again") from error
    if os.path.commonpath((root, end)) != str(root):
        raise TargetError(
            f"{path}: is a link to a file outside of the model's folder, which may change without"
            " it; copy the model with its files (`cp -rL`), and audit the copy"
        )
