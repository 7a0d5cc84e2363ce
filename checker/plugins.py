"""What can be plugged in, by name: probes, target backends and report formats.

Built-ins stand in the same lazy ``name → "module:Class"`` tables as third-party entries, so nothing
is imported before it is used. A duplicate name, an unknown name or a plug-in that fails to import
raises; it is never skipped with a warning, because a probe that silently did not run would read as
compliance.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from checker.canonical import digest, file_sha256
from checker.errors import PluginError

BUILT_IN: dict[str, dict[str, str]] = {
    "phigate.probes": {
        "attribute-disclosure": "checker.attacks.attribute_disclosure:ATTACK",
        "canary-exposure": "checker.attacks.canary_exposure:ATTACK",
        "embedding-probe": "checker.attacks.embedding_probe:ATTACK",
        "identifier-perturbation": "checker.attacks.identifier_perturbation:ATTACK",
        "membership-inference": "checker.attacks.membership_inference:ATTACK",
        "trajectory-memorization": "checker.attacks.trajectory_memorization:ATTACK",
    },
    "phigate.targets": {
        "flight": "checker.targets.flight.backend:FlightBackend",
        "generations": "checker.targets.backends.generations:GenerationsBackend",
        "huggingface": "checker.targets.backends.checkpoint:HuggingFaceBackend",
    },
    "phigate.reports": {
        "annex-cnil": "checker.report.formats.annex:CNIL",
        "annex-cnil-markdown": "checker.report.formats.annex:CNIL_MARKDOWN",
        "annex-cnil-pdf": "checker.report.formats.annex:CNIL_PDF",
        "annex-edpb": "checker.report.formats.annex:EDPB",
        "annex-edpb-markdown": "checker.report.formats.annex:EDPB_MARKDOWN",
        "annex-edpb-pdf": "checker.report.formats.annex:EDPB_PDF",
        "annex-ethics": "checker.report.formats.annex:ETHICS",
        "annex-ethics-markdown": "checker.report.formats.annex:ETHICS_MARKDOWN",
        "annex-ethics-pdf": "checker.report.formats.annex:ETHICS_PDF",
        "annex-hipaa": "checker.report.formats.annex:HIPAA",
        "annex-hipaa-markdown": "checker.report.formats.annex:HIPAA_MARKDOWN",
        "annex-hipaa-pdf": "checker.report.formats.annex:HIPAA_PDF",
        "annex-technical-pdf": "checker.report.formats.pdf:TECHNICAL_PDF",
        "chai-model-card": "checker.report.formats.applied_model_card:APPLIED_MODEL_CARD",
        "html": "checker.report.formats.html:HTML",
        "json": "checker.report.formats.json:JSON",
        "junit": "checker.report.formats.junit:JUNIT",
        "markdown": "checker.report.formats.markdown:MARKDOWN",
        "model-card": "checker.report.formats.modelcard:MODEL_CARD",
        "oscal": "checker.report.formats.oscal:OSCAL",
        "pdf": "checker.report.formats.pdf:PDF",
        "sarif": "checker.report.formats.sarif:SARIF",
        "sarif-github": "checker.report.formats.sarif:SARIF_GITHUB",
    },
}


def suggestion(word: str, known: Iterable[str], *, written: Mapping[str, str] | None = None) -> str:
    """Return "; did you mean 'x'?" for the nearest known word, or an empty string.

    A word that a single typing error explains comes before all that merely look alike.

    Args:
        word: as it was typed.
        known: what there is.
        written: how a known word has to be written where it is to stand; default: as it is.
    """
    names = list(known)
    slips = [name for name in names if is_one_slip(word, name)]
    near = difflib.get_close_matches(word, slips or names, n=1, cutoff=0.0 if slips else 0.6)
    return f"; did you mean '{(written or {}).get(near[0], near[0])}'?" if near else ""


def nearest_or_all(word: str, known: Iterable[str]) -> str:
    """Return what was probably meant, or else all that could have been: "; there are x, y"."""
    names = list(known)
    listed = f"; there are {', '.join(names)}" if names else "; there are none"
    return suggestion(word, names) or listed


def is_one_slip(word: str, name: str) -> bool:
    """Whether one letter too many, too few, wrong or in its neighbour's place separates two words.

    >>> [is_one_slip(word, "bos") for word in ("boos", "bs", "bus", "obs", "BOS", "eo")]
    [True, True, True, True, True, False]
    """
    one, other = word.casefold(), name.casefold()
    before = _alike(one, other)
    one, other = one[before:][::-1], other[before:][::-1]
    after = _alike(one, other)
    one, other = one[after:], other[after:]
    if len(one) == len(other) == 2:
        return one == other[::-1]
    return before + after > 0 and len(one) <= 1 and len(other) <= 1


def _alike(one: str, other: str) -> int:
    """Return how many letters two words begin with in common."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@cache  # all installed distributions are searched, and every cell asks for its probe many times
def _third_party(group: str) -> dict[str, EntryPoint]:
    table: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        if entry.name in table or entry.name in BUILT_IN[group]:
            raise PluginError(f"two plug-ins of {group} are named '{entry.name}'")
        table[entry.name] = entry
    return table


def plugin_names(group: str) -> list[str]:
    """Return the names known in an entry-point group, sorted.

    Raises:
        PluginError: two plug-ins have one name.
    """
    return sorted({*BUILT_IN[group], *_third_party(group)})


def plugin_version(group: str, name: str, *, package: str) -> dict[str, str] | None:
    """Return which code a plug-in is: its distribution, that one's version, and its files' digest.

    A version alone is what somebody remembered to raise; the files are what runs.

    Args:
        group: of entry points.
        name: of the plug-in.
        package: that holds its code, by its dotted name; for one module, that.

    Returns:
        Plain data to compare and to hash; None for what is built in.

    Raises:
        PluginError: the package cannot be found.
    """
    if name in BUILT_IN[group]:
        return None
    found = getattr(_third_party(group).get(name), "dist", None)
    return {
        "distribution": "" if found is None else found.name,
        "version": "" if found is None else found.version,
        "sha256": _package_digest(package),
    }


def backend_version(name: str) -> dict[str, str] | None:
    """Return which code opens and asks a model, as `plugin_version` does.

    A backend says nowhere which package is its own, so it is the whole one that its entry point
    lies in, outermost: what is hashed too much costs a measurement done twice.

    Args:
        name: of a target backend.

    Returns:
        As `plugin_version`; None for phigate's own, and for one that is not installed.
    """
    entry = _third_party("phigate.targets").get(name)
    package = "" if entry is None else entry.module.partition(".")[0]
    if package in ("", __name__.partition(".")[0]):
        return None
    return plugin_version("phigate.targets", name, package=package)


@cache
def _package_digest(package: str) -> str:
    """Return the digest of a package's files by their path in it, or of a single module's."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError) as error:  # a parent that is missing, a module of no file
        raise PluginError(f"the package {package} of a plug-in cannot be found: {error}") from error
    folders = [] if spec is None else [Path(one) for one in spec.submodule_search_locations or []]
    files = {
        path.relative_to(folder).as_posix(): path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    if not files and spec is not None and spec.origin is not None and Path(spec.origin).is_file():
        files = {Path(spec.origin).name: Path(spec.origin)}
    return digest({name: file_sha256(path) for name, path in files.items()})


def load_plugin(group: str, name: str) -> Any:
    """Import and return what `name` stands for in `group`.

    Raises:
        PluginError: the name is unknown (with a suggestion), duplicate, or fails to import.
    """
    third_party = _third_party(group)
    try:
        if name in BUILT_IN[group]:
            module, _, attribute = BUILT_IN[group][name].partition(":")
            return getattr(importlib.import_module(module), attribute)
        if name in third_party:
            return third_party[name].load()
    except Exception as error:  # whatever a module of somebody else's does when it is imported
        raise PluginError(
            f"plug-in '{name}' of {group} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    known = [*BUILT_IN[group], *third_party]
    raise PluginError(
        f"unknown {group.removeprefix('phigate.')[:-1]} '{name}'{suggestion(name, known)}"
    )
