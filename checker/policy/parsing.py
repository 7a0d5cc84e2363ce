"""From a file's bytes to valid documents, or to all that is wrong with them.

A file is read in steps, each of which reports everything it finds: its YAML (`checker.yaml`), what
a policy inherits (`inheritance`), the shape of each document (`documents`), and what its parts say
of each other (`validation`, `target_validation`, `waivers`). A step is only taken where the one
before left something to look at.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from pydantic import ValidationError

from checker.attacks.api import load_attack
from checker.errors import DocumentError, PluginError, Problem
from checker.plugins import suggestion
from checker.policy.classes import library_problems
from checker.policy.documents import (
    API_VERSION,
    AbstractPolicy,
    AttributeClassLibrary,
    AuditTarget,
    Document,
    LeakagePolicy,
    LeakageWaiver,
    PolicyTest,
    Submission,
    as_json,
)
from checker.policy.inheritance.parents import References
from checker.policy.inheritance.resolving import Inheritance, inherit
from checker.policy.inheritance.strangers import strangers_named
from checker.policy.lint import policy_warnings
from checker.policy.located import Located
from checker.policy.submissions import submission_problems
from checker.policy.target_validation import options_of, target_problems, target_warnings
from checker.policy.validation import policy_problems, policy_test_problems
from checker.policy.waivers import waiver_problems
from checker.yaml import (
    MAX_BYTES,
    MAX_PROBLEMS,
    Node,
    Place,
    Source,
    mended,
    read_sources,
    shape_problems,
    short,
    typed,
)

_CHECKS: dict[type[Document], Callable[[Any], list[Problem]]] = {
    LeakagePolicy: policy_problems,
    AuditTarget: target_problems,
    LeakageWaiver: waiver_problems,
    PolicyTest: policy_test_problems,
    Submission: submission_problems,
    AttributeClassLibrary: library_problems,
}
"""The kinds of documents, and what checks what the parts of one say of each other."""
DOCUMENT_KINDS = {kind.__name__: kind for kind in _CHECKS}
"""The kinds of documents that this version reads, by the name in their head."""

Kind = TypeVar("Kind", bound=Document)


def parse(
    content: str | bytes,
    *,
    file: str,
    references: References | None = None,
    wanted: str | None = None,
) -> list[Located[Any]]:
    """Read documents from memory.

    Args:
        content: what the file holds.
        file: its name, for problems.
        references: reads what policies refer to; without them nothing is looked up.
        wanted: the kind that a document of the file must have.

    Returns:
        The documents in file order, each valid in itself, with its warnings.

    Raises:
        DocumentError: with all problems of the file.
    """
    encoded = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    sha256 = hashlib.sha256(encoded).hexdigest()
    sources = read_sources(content, file=file)
    if wanted is not None:
        _require_kind(wanted, sources)
    found: list[tuple[Located[Any], Inheritance]] = []
    problems: list[Problem] = []
    for source in sources:
        inherited = _inherit(source, references)
        document, wrong = _document(inherited)
        problems += wrong
        if document is not None:
            located = Located(document, inherited.source, sha256, origins=inherited.origins)
            found.append((located, inherited))
    for one, inherited in found:
        problems += [p for p in _check(one) if not inherited.explains(p)]
    if problems:
        raise DocumentError(_capped(problems))
    return [replace(one, warnings=_warnings(one)) for one, _ in found]


def _warnings(one: Located[Any]) -> tuple[Problem, ...]:
    if one.document.kind == "LeakagePolicy":
        return policy_warnings(one)
    return target_warnings(one) if one.document.kind == "AuditTarget" else ()


def parse_one(
    wanted: type[Kind],
    path: Path,
    *,
    references: References | None = None,
    content: str | bytes | None = None,
) -> Located[Kind]:
    """Read the one document of a kind that a file holds; see `parse`.

    Args:
        wanted: the kind.
        path: the file.
        references: reads what policies refer to.
        content: of the file, where it is not to be read from disk.
    """
    content = read_bytes(path) if content is None else content
    documents = parse(content, file=str(path), references=references, wanted=wanted.__name__)
    found = [d for d in documents if isinstance(d.document, wanted)]
    if len(found) > 1:
        message = f"the file holds {len(found)} documents of kind {wanted.__name__}; keep one"
        raise DocumentError([found[1].problem(("kind",), message)])
    return found[0]


STANDARD_INPUT = Path("-")
"""What to name where a document comes through a pipe; paths in it are relative to this folder."""

_piped: WeakKeyDictionary[Any, bytes] = WeakKeyDictionary()
"""What came through standard input, which can be read once, and is by all who ask for it."""


def read_bytes(path: Path) -> bytes:
    """Return what a file or standard input holds, or enough of it to see that it is too large.

    Raises:
        DocumentError: it cannot be read.
    """
    try:
        if path == STANDARD_INPUT and sys.stdin is not None:
            if sys.stdin not in _piped:
                _piped[sys.stdin] = sys.stdin.buffer.read(MAX_BYTES + 1)
            return _piped[sys.stdin]
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        message = "there is no such file"
    except IsADirectoryError:
        message = "this is a folder; name a YAML file in it"
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        message = f"the file cannot be read: {getattr(error, 'strerror', None) or error}"
    raise DocumentError([Problem(str(path), 0, 0, message)])


def problems_in(document: Document, *, file: str) -> list[Problem]:
    """Return what the parts of a document say wrongly of each other.

    Args:
        document: that was not read from YAML, but from a file that phigate wrote.
        file: its name.
    """
    source = Source(file, Node.written(as_json(document), Place(file, 0, 0)))
    return _check(Located(document, source, ""))


def _check(located: Located[Any]) -> list[Problem]:
    return _CHECKS[DOCUMENT_KINDS[located.document.kind]](located)


def _require_kind(wanted: str, sources: list[Source]) -> None:
    """Say first that a file is the wrong one: its other problems are then beside the point."""
    kinds = [_kind(source) for source in sources]
    others = [kind for kind in DOCUMENT_KINDS if kind != wanted]
    if all(kind in others for kind in kinds):
        article = "an" if wanted.startswith("A") else "a"
        message = f"this is of kind {kinds[0]}, but {article} {wanted} belongs here"
        raise DocumentError([sources[0].problem(("kind",), message)])


def _kind(source: Source) -> Any:
    kind = source.at(("kind",))
    return None if kind is None else kind.content


def _inherit(source: Source, references: References | None) -> Inheritance:
    """Read a document's scalars by its kind, and what it refers to."""
    kind = _kind(source)
    model = DOCUMENT_KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        return Inheritance(source)
    source = replace(source, root=typed(source.root, [model]))
    if model is AuditTarget:
        source = _with_typed_options(source)
    if model is not LeakagePolicy or references is None:
        return Inheritance(source)
    inherited = inherit(source, references)
    return replace(inherited, source=_with_typed_params(inherited.source))


def _with_typed_params(source: Source) -> Source:
    """Read the parameters of controls, whose types their probes know; a probe may be inherited."""
    controls = source.at(("spec", "controls"))
    if controls is None or not controls.is_mapping:
        return source
    content = {name: _with_params_of(control) for name, control in controls.content.items()}
    spec = source.root.content["spec"].but(controls=replace(controls, content=content))
    return replace(source, root=source.root.but(spec=spec))


def _with_typed_options(source: Source) -> Source:
    """Read the options of models, whose types their backends know."""
    for name in ("model", "reference"):
        model, options = source.at(("spec", name)), source.at(("spec", name, "options"))
        backend = source.at(("spec", name, "backend"))
        if model is None or options is None or backend is None:
            continue
        kinds = [kind for kind in (options_of(backend.content),) if kind is not None]
        read = model.but(options=typed(options, kinds))
        spec = source.root.content["spec"].but(**{name: read})
        source = replace(source, root=source.root.but(spec=spec))
    return source


def _with_params_of(control: Node) -> Node:
    probe, params = control.at(("probe",)), control.at(("params",))
    if probe is None or params is None or not isinstance(probe.content, str):
        return control
    try:
        types = load_attack(probe.content).params
    except PluginError:  # which is said of the probe
        return control
    return control.but(params=typed(params, [types]))


def _document(inherited: Inheritance) -> tuple[Document | None, list[Problem]]:
    """Check a document's head and shape.

    A document of the wrong shape is mended where that can be done without guessing, so that its
    references are checked too and all problems come at once; it is never used for anything else.
    """
    source = inherited.source
    problems = [*source.problems, *inherited.problems]
    if source.root.broken:
        return None, problems
    if not source.root.is_mapping:
        message = "a document is a mapping with apiVersion, kind, metadata and spec"
        return None, [*problems, source.problem((), message)]
    problems += _head_problems(source)
    kind = _kind(source)
    model = DOCUMENT_KINDS.get(kind) if isinstance(kind, str) else None
    if model is None or not inherited.whole:
        return None, problems
    if model is LeakagePolicy and _is_abstract(source):
        model = AbstractPolicy
    document: Document | None = None
    try:
        document = model.model_validate(source.value)
    except ValidationError as error:
        extends = ("spec", "extends")
        unread = any(details["loc"][:2] == extends for details in error.errors())
        found = shape_problems(
            error, model=model, source=source, unread=extends if unread else None
        )
        found = strangers_named(found, inherited)
        problems += [p for p in found if p.path != "apiVersion" and p not in problems]
        document = mended(error, model=model, source=source, spare=("spec", "controls"))
        assert problems  # a document that does not fit its type is never passed over in silence
    if isinstance(document, LeakagePolicy):
        problems += inherited.refusals(document, mended=bool(problems))
    return document, problems


def _is_abstract(source: Source) -> bool:
    abstract = source.at(("spec", "abstract"))
    return abstract is not None and abstract.content is True


def _head_problems(source: Source) -> list[Problem]:
    """Check apiVersion and kind, which decide what else a document may hold."""
    problems = []
    for key, known in (("apiVersion", [API_VERSION]), ("kind", [*DOCUMENT_KINDS])):
        node = source.at((key,))
        if node is None or not (node.broken or node.content in known):
            problems.append(_head_problem(source, key, known))
    return problems


def _head_problem(source: Source, key: str, known: list[str]) -> Problem:
    """Say what is wrong with one of the keys; one that is misspelt is not missing."""
    node = source.at((key,))
    expected = " or ".join([", ".join(known[:-1]), known[-1]][-len(known) :])
    if node is not None and not isinstance(node.content, str):
        return source.problem((key,), f"'{key}' must be {expected}")
    if node is not None:
        parts = [f"'{one}'" for one in known if node.content.casefold() in one.casefold()]
        several = f"; did you mean {' or '.join(parts)}?" if len(parts) > 1 else ""
        hint = several or suggestion(node.content, known) or f"; expected {expected}"
        return source.problem((key,), f"unknown {key} '{short(node.content)}'{hint}")
    for other in source.root.content:
        if other not in ("apiVersion", "kind", "metadata", "spec") and (
            hint := suggestion(other, [key])
        ):
            return source.problem((other,), f"unknown key '{short(other)}'{hint}")
    return source.problem((key,), f"'{key}' is missing; expected {expected}")


def _capped(problems: list[Problem]) -> list[Problem]:
    """Keep the first hundred: a file of a million bytes can hold as many mistakes."""
    ordered = sorted(problems)
    if len(ordered) <= MAX_PROBLEMS:
        return ordered
    message = f"and {len(ordered) - MAX_PROBLEMS} more problems from here on"
    return [*ordered[:MAX_PROBLEMS], replace(ordered[MAX_PROBLEMS], message=message, path="")]
