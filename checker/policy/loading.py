"""Read documents by path, with everything that they refer to; a shipped policy by its name too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

from checker.errors import DocumentError, Problem
from checker.policy.documents import AttributeClassLibrary, AuditTarget, LeakagePolicy
from checker.policy.inheritance.parents import References, is_path
from checker.policy.library import library_class
from checker.policy.located import Located
from checker.policy.parsing import STANDARD_INPUT, Kind, parse, parse_one, read_bytes
from checker.resources import resource
from checker.yaml import short, texts_cut_off


def load_documents(path: Path) -> list[Located[Any]]:
    """Read all documents of a file.

    Args:
        path: a YAML file of one or more documents, at most 1 MiB.

    Returns:
        The documents in file order, each valid in itself, with its warnings.

    Raises:
        DocumentError: with all problems of the file.
    """
    path = _found(path)
    return parse_documents(read_bytes(path), file=str(path))


def texts_cut_off_in(file: str) -> list[Problem]:
    """Return where texts of a file end at a `#` that was probably meant to belong to them.

    Args:
        file: that holds valid documents.
    """
    found = texts_cut_off(read_bytes(Path(file)).decode("utf-8-sig"))
    return [
        Problem(
            file,
            line,
            column,
            f"to YAML a comment begins here, so '{short(lost)}' is no part of the text; put all of"
            " the text in quotes",
        )
        for line, column, lost in found
    ]


def parse_documents(content: str | bytes, *, file: str) -> list[Located[Any]]:
    """Read documents from memory; see `load_documents`.

    Args:
        content: what the file holds.
        file: its name, for problems and for what it refers to.
    """
    return parse(content, file=file, references=_references())


def load_policy(path: Path, *, text: str | bytes | None = None) -> Located[LeakagePolicy]:
    """Read the one policy that a file holds, as it is judged by.

    Args:
        path: the file, or the name and version of a shipped policy (`baseline-gated@1`); other
            documents in it must be valid too.
        text: its content, where it is not to be read from disk.

    Returns:
        The resolved policy: complete, with nothing left to extend or to take from a library, and
        each part of it at the file and line it came from.

    Raises:
        DocumentError: with all problems of the file, or of those it extends.
    """
    policy = load_only(LeakagePolicy, path, text=text)
    if policy.document.spec.abstract:
        message = "this policy is abstract: write one that extends it, and judge by that"
        raise DocumentError([policy.problem(("spec", "abstract"), message)])
    return replace(policy, document=policy.document.resolved)


def load_target(path: Path, *, text: str | bytes | None = None) -> Located[AuditTarget]:
    """Read the one target that a file holds; see `load_policy`."""
    return load_only(AuditTarget, path, text=text)


def load_only(wanted: type[Kind], path: Path, *, text: str | bytes | None = None) -> Located[Kind]:
    """Read the one document of a kind that a file holds, as it is written there.

    A policy has all that it inherits, says what it extends, and may be abstract.
    """
    path = _found(path) if text is None else path
    if text is None and wanted is LeakagePolicy and _is_shipped(path):
        return cast("Located[Kind]", _shipped_policy(path))
    return parse_one(wanted, path, references=_references(), content=text)


def load_all(wanted: type[Kind], paths: Iterable[Path]) -> list[Located[Kind]]:
    """Read all documents of a kind that some files hold.

    Args:
        wanted: the kind; documents of other kinds are checked and left aside.
        paths: files, each of which must hold one at least.

    Raises:
        DocumentError: with all problems of all files.
    """
    found: list[Located[Kind]] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            documents = load_documents(path)
        except DocumentError as error:
            problems += error.problems
            continue
        fitting = [one for one in documents if isinstance(one.document, wanted)]
        if not fitting:
            message = f"the file holds no document of kind {wanted.__name__}"
            problems.append(documents[0].problem(("kind",), message))
        found += fitting
    if problems:
        raise DocumentError(problems)
    return found


def _references() -> References:
    return References(_read_policy, _read_class)


def _read_policy(path: Path, references: References) -> Located[LeakagePolicy]:
    if _is_shipped(path):
        return _shipped_policy(path)
    return parse_one(LeakagePolicy, path, references=references)


def _is_shipped(path: Path) -> bool:
    return path.parent == resource("policies")


@cache  # they are frozen, part of the installation, and rest on nothing but one another
def _shipped_policy(path: Path) -> Located[LeakagePolicy]:
    return parse_one(LeakagePolicy, path, references=_references())


def _read_class(reference: str) -> Located[AttributeClassLibrary]:
    if is_path(reference) and not reference.startswith("library/"):
        return load_only(AttributeClassLibrary, Path(reference))
    return library_class(reference)


def _found(path: Path) -> Path:
    """Return the file that is meant, which is a shipped document's where its name is given.

    Raises:
        DocumentError: no policy of that name and version is shipped, or one is and a file has its
            name, so that whoever can write one here would decide what is demanded.
    """
    if path == STANDARD_INPUT:
        return path
    if str(path).startswith("library/") and not path.suffix and not path.exists():
        try:
            return Path(library_class(str(path)).file)
        except ValueError as error:
            raise DocumentError([Problem(str(path), 0, 0, str(error))]) from error
    if is_path(str(path)):
        return path
    try:
        shipped = _references().shipped(str(path))
    except ValueError as error:
        if path.exists():
            return path
        raise DocumentError([Problem(str(path), 0, 0, str(error))]) from error
    if shipped is None:
        if not path.exists() and (known := _references().newest_shipped(str(path))):
            message = f"there is no such file; did you mean the shipped policy '{known}'?"
            raise DocumentError([Problem(str(path), 0, 0, message)])
        return path
    if path.exists():
        message = "a shipped policy has this name, and so has a file here; rename the file"
        raise DocumentError([Problem(str(path), 0, 0, message)])
    return Path(shipped.file)
