"""Read policies and targets: from a file's bytes to valid documents, or to all that is wrong.

A file is read in steps, each of which reports everything it finds: its YAML (`reading`), what a
policy inherits (`inheritance`), the shape of each document (`documents`, `shape`), and what its
parts say of each other (`validation`, `target_validation`). A step is only taken where the one
before left something to look at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from checker.errors import DocumentError, Problem
from checker.plugins import suggestion
from checker.policy.classes import library_problems
from checker.policy.documents import (
    API_VERSION,
    AbstractPolicy,
    AttributeClassLibrary,
    AuditTarget,
    Element,
    LeakagePolicy,
    LeakageWaiver,
    PolicyTest,
)
from checker.policy.inheritance.parents import Family, is_path
from checker.policy.inheritance.resolving import Inheritance, inherit
from checker.policy.lint import policy_warnings
from checker.policy.reading import MAX_BYTES, MAX_PROBLEMS, read_sources
from checker.policy.shape import mended, shape_problems, unusual_numbers
from checker.policy.source import Located, Source, short
from checker.policy.target_validation import target_problems
from checker.policy.validation import policy_problems, policy_test_problems
from checker.policy.waivers import waiver_problems

__all__ = [
    "DOCUMENT_KINDS",
    "Located",
    "load_all",
    "load_documents",
    "load_only",
    "load_policy",
    "load_target",
    "parse_documents",
]

DOCUMENT_KINDS: dict[str, type[Element]] = {
    "LeakagePolicy": LeakagePolicy,
    "AuditTarget": AuditTarget,
    "LeakageWaiver": LeakageWaiver,
    "PolicyTest": PolicyTest,
    "AttributeClassLibrary": AttributeClassLibrary,
}
"""The kinds of documents that this version reads."""

_D = TypeVar("_D", bound=Element)


def load_documents(path: Path) -> list[Located[Any]]:
    """Read all documents of a file.

    Args:
        path: a YAML file of one or more documents, at most 1 MiB.

    Returns:
        The documents in file order, each valid in itself, with its warnings.

    Raises:
        DocumentError: with all problems of the file.
    """
    return parse_documents(_read(path), file=str(path))


def parse_documents(content: str | bytes, *, file: str) -> list[Located[Any]]:
    """Read documents from memory; see `load_documents`.

    Args:
        content: what the file holds.
        file: its name, for problems.
    """
    return _documents(content, file=file, wanted=None, family=Family(_read_parent))


def load_policy(
    path: Path, *, text: str | bytes | None = None, abstract: bool = False
) -> Located[LeakagePolicy]:
    """Read the one policy that a file holds, with what it inherits.

    Args:
        path: the file; other documents in it must be valid too.
        text: its content, where it is not to be read from disk.
        abstract: whether a policy will do that is only ever extended, and judges nothing.

    Returns:
        The resolved policy: complete, and each part of it at the file and line it came from.

    Raises:
        DocumentError: with all problems of the file, or of those it extends.
    """
    policy = load_only(LeakagePolicy, path, text=text)
    if policy.document.spec.abstract and not abstract:
        message = "this policy is abstract: write one that extends it, and judge by that"
        raise DocumentError([policy.problem(("spec", "abstract"), message)])
    return policy


def load_target(path: Path, *, text: str | bytes | None = None) -> Located[AuditTarget]:
    """Read the one target that a file holds; see `load_policy`."""
    return load_only(AuditTarget, path, text=text)


def load_only(wanted: type[_D], path: Path, *, text: str | bytes | None = None) -> Located[_D]:
    """Read the one document of a kind that a file holds; see `load_policy`."""
    return _only(wanted, path, _read(path) if text is None else text, Family(_read_parent))


def _only(wanted: type[_D], path: Path, content: str | bytes, family: Family) -> Located[_D]:
    documents = _documents(content, file=str(path), wanted=wanted.__name__, family=family)
    found = [d for d in documents if isinstance(d.document, wanted)]
    if len(found) > 1:
        message = f"the file holds {len(found)} documents of kind {wanted.__name__}; keep one"
        raise DocumentError([found[1].problem(("kind",), message)])
    return found[0]


def _read_parent(path: Path, family: Family) -> Located[LeakagePolicy]:
    return _only(LeakagePolicy, path, _read(path), family)


def _read_class(reference: str) -> Located[AttributeClassLibrary]:
    """Return the class that a policy uses; ValueError where the reference leads nowhere."""
    from checker.policy.library import library_class  # which reads its files with this module

    if is_path(reference) and not reference.startswith("library/"):
        return load_only(AttributeClassLibrary, Path(reference))
    return library_class(reference)


def load_all(wanted: type[_D], paths: Iterable[Path]) -> list[Located[_D]]:
    """Read all documents of a kind that some files hold.

    Args:
        wanted: the kind; documents of other kinds are checked and left aside.
        paths: files, each of which must hold one at least.

    Raises:
        DocumentError: with all problems of all files.
    """
    found: list[Located[_D]] = []
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


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)  # one more shows that it is too large
    except FileNotFoundError:
        message = "there is no such file"
    except IsADirectoryError:
        message = "this is a folder; name a YAML file in it"
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        message = f"the file cannot be read: {getattr(error, 'strerror', None) or error}"
    raise DocumentError([Problem(str(path), 0, 0, message)])


def _documents(
    content: str | bytes, *, file: str, wanted: str | None, family: Family
) -> list[Located[Any]]:
    encoded = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    sha256 = hashlib.sha256(encoded).hexdigest()
    sources = read_sources(content, file=file)
    if wanted is not None:
        _require_kind(wanted, sources)
    located: list[Located[Any]] = []
    heritages: list[Inheritance] = []
    problems: list[Problem] = []
    for source in sources:
        heritage = Inheritance(source)
        if isinstance(source.value, dict) and source.value.get("kind") == "LeakagePolicy":
            heritage = inherit(source, family=family, classes=_read_class)
        document, found = _document(heritage)
        problems += found
        if document is not None:
            located.append(Located(document, heritage.source, sha256, origins=heritage.origins))
            heritages.append(heritage)
    for index, (one, heritage) in enumerate(zip(located, heritages, strict=True)):
        check, warn = _RULES[DOCUMENT_KINDS[one.document.kind]]
        problems += [problem for problem in check(one) if not heritage.explains(problem)]
        if not problems:
            located[index] = replace(one, warnings=warn(one))
    if problems:
        raise DocumentError(_capped(problems))
    return located


def _require_kind(wanted: str, sources: list[Source]) -> None:
    """Say first that a file is the wrong one: its other problems are then beside the point."""
    kinds = [s.value.get("kind") if isinstance(s.value, dict) else None for s in sources]
    others = [kind for kind in DOCUMENT_KINDS if kind != wanted]
    if all(kind in others for kind in kinds):
        message = f"this is of kind {kinds[0]}, but a {wanted} belongs here"
        raise DocumentError([sources[0].problem(("kind",), message)])


def _document(heritage: Inheritance) -> tuple[Element | None, list[Problem]]:
    """Check a document's head and shape.

    A document of the wrong shape is mended where that can be done without guessing, so that its
    references are checked too and all problems come at once; it is never used for anything else.
    """
    source = heritage.source
    problems = [*source.problems, *heritage.problems]
    if () in source.broken:
        return None, problems
    if not isinstance(source.value, dict):
        message = "a document is a mapping with apiVersion, kind, metadata and spec"
        return None, [*problems, source.problem((), message)]
    problems += _head_problems(source)
    kind = source.value.get("kind")
    model = DOCUMENT_KINDS.get(kind) if isinstance(kind, str) else None
    if model is None or not heritage.whole:
        return None, problems
    if model is LeakagePolicy and _is_abstract(source.value):
        model = AbstractPolicy
    document: Element | None = None
    reported: set[str] = set()
    try:
        document = model.model_validate(source.value)
    except ValidationError as error:
        extends = ("spec", "extends")
        unread = any(details["loc"][:2] == extends for details in error.errors())
        found = shape_problems(error, model=model, source=source, fragment=unread)
        reported = {problem.path for problem in found}
        problems += [p for p in found if p.path != "apiVersion" and p not in problems]
        document = mended(error, model=model, source=source)
    problems += unusual_numbers(source, reported=reported)
    if isinstance(document, LeakagePolicy):
        problems += heritage.refusals(document, mended=bool(problems))
    return document, problems


def _is_abstract(value: dict[str, Any]) -> bool:
    spec = value.get("spec")
    return isinstance(spec, dict) and spec.get("abstract") is True


def _head_problems(source: Source) -> list[Problem]:
    """Check apiVersion and kind, which decide what else a document may hold."""
    problems = []
    version, kind = source.value.get("apiVersion"), source.value.get("kind")
    if version != API_VERSION and ("apiVersion",) not in source.broken:
        problems.append(_head_problem(source, "apiVersion", version))
    if ("kind",) in source.broken:
        return problems
    if not isinstance(kind, str) or kind not in DOCUMENT_KINDS:
        problems.append(_head_problem(source, "kind", kind))
    return problems


def _head_problem(source: Source, key: str, value: Any) -> Problem:
    """Say what is wrong with one of the keys; one that is misspelt is not missing."""
    for other in source.value if value is None else ():
        if other not in ("apiVersion", "kind", "metadata", "spec") and (
            hint := suggestion(other, [key])
        ):
            return source.problem((other,), f"unknown key '{short(other)}'{hint}")
    return source.problem((key,), _unknown(key, value))


def _unknown(key: str, value: Any) -> str:
    known = [API_VERSION] if key == "apiVersion" else [*DOCUMENT_KINDS]
    expected = " or ".join([", ".join(known[:-1]), known[-1]][-len(known) :])
    if value is None:
        return f"'{key}' is missing; expected {expected}"
    if not isinstance(value, str):
        return f"'{key}' must be {expected}"
    return f"unknown {key} '{short(value)}'{suggestion(value, known) or f'; expected {expected}'}"


def _capped(problems: list[Problem]) -> list[Problem]:
    """Keep the first hundred: a file of a million bytes can hold as many mistakes."""
    ordered = sorted(problems)
    if len(ordered) <= MAX_PROBLEMS:
        return ordered
    message = f"and {len(ordered) - MAX_PROBLEMS} more problems from here on"
    return [*ordered[:MAX_PROBLEMS], replace(ordered[MAX_PROBLEMS], message=message, path="")]


def _no_warnings(_: Located[Any]) -> tuple[Problem, ...]:
    return ()


_RULES: dict[type, tuple[Callable[[Any], list[Problem]], Callable[[Any], tuple[Problem, ...]]]] = {
    LeakagePolicy: (policy_problems, policy_warnings),
    AuditTarget: (target_problems, _no_warnings),
    LeakageWaiver: (waiver_problems, _no_warnings),
    PolicyTest: (policy_test_problems, _no_warnings),
    AttributeClassLibrary: (library_problems, _no_warnings),
}
