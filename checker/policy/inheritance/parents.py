"""Which file a reference such as `hospital-baseline@1.4` leads to, and whether it is the right one.

A name with a version is looked up beside the file that refers to it (`NAME.yaml`, or
`NAME@VERSION.yaml` where several versions are kept), then among the policies that phigate ships;
everything else is a path relative to that file. A digest pins the whole file's bytes.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from checker.errors import PhigateWarning
from checker.plugins import suggestion
from checker.policy.documents import AttributeClassLibrary, LeakagePolicy, Metadata
from checker.policy.located import Located
from checker.resources import resource
from checker.yaml import Source, short

MAX_GENERATIONS = 8
MAX_FILES = 40

_NAMED = re.compile(
    r"(?P<name>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)@(?P<version>[A-Za-z0-9][A-Za-z0-9.+_-]*)"
)
_SUFFIXES = (".yaml", ".yml")

RENAMED = {"hipaa-safe-harbor": "no-identifier-told"}
"""Shipped policies by a name that they had before, whose pass was read as more than it is."""


@dataclass(frozen=True, slots=True)
class References:
    """Reads the documents that a policy refers to, and those that they refer to in turn.

    Args:
        read_policy: reads the policy that a file holds, and what that refers to.
        read_class: reads a class by `library/NAME@N` or path; ValueError where that leads nowhere.
        line: the files from the policy that was asked for to the one that is being read.
        known: what was read already, by resolved path.
    """

    read_policy: Callable[[Path, References], Located[LeakagePolicy]]
    read_class: Callable[[str], Located[AttributeClassLibrary]]
    line: tuple[Path, ...] = ()
    known: dict[Path, Located[LeakagePolicy]] = field(default_factory=dict)

    def parent(self, reference: str, *, of: Source) -> Located[LeakagePolicy]:
        """Return the policy that a reference leads to.

        Args:
            reference: `name@version` or a relative path.
            of: the document that refers to it.

        Raises:
            ValueError: it leads nowhere, in one sentence.
            DocumentError: what it leads to is invalid.
        """
        here = Path(of.file)
        below = replace(self, line=(*self.line, here.resolve()))
        named = _NAMED.fullmatch(reference)
        if named is not None:
            return below._named(
                named["name"], named["version"], (here.parent, resource("policies"))
            )
        if not is_path(reference):
            example = self.newest_shipped(reference) or self.newest_shipped("baseline-gated")
            raise ValueError(
                f"'{short(reference)}' is no reference to a policy; write name@version, such as"
                f" {example}, or a path that ends in .yaml"
            )
        path = relative(reference, here)
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        return below._read(path)

    def attribute_class(self, reference: str, *, of: Source) -> Located[AttributeClassLibrary]:
        """Return the class that a reference leads to; see `parent`."""
        if is_path(reference) and not reference.startswith("library/"):
            reference = str(relative(reference, Path(of.file)))
        return self.read_class(reference)

    def shipped(self, reference: str) -> Located[LeakagePolicy] | None:
        """Return the shipped policy that is called `name@version`, or None for any other text.

        Raises:
            ValueError: it would be such a name, but there is none.
        """
        named = _NAMED.fullmatch(reference)
        if named is None:
            return None
        return self._named(named["name"], named["version"], (resource("policies"),))

    def newest_shipped(self, name: str) -> str | None:
        """Return how the newest shipped policy of a name is referred to: "baseline-gated@2"."""
        held = [self._read(file).document for file in versions_of(name, resource("policies"))]
        majors = [int(one.metadata.major) for one in held]
        return f"{name}@{max(majors)}" if majors else None

    def _named(self, name: str, version: str, places: Sequence[Path]) -> Located[LeakagePolicy]:
        try:
            return self._held(name, version, places)
        except ValueError:
            if name not in RENAMED:
                raise
            found = self._held(RENAMED[name], version, places[-1:])  # among what is shipped
            warnings.warn(renamed(name), PhigateWarning, stacklevel=2)
            return found

    def _held(self, name: str, version: str, places: Sequence[Path]) -> Located[LeakagePolicy]:
        seen = []
        for place in places:
            found = [self._read(file) for file in versions_of(name, place)]
            fitting = [one for one in found if _fits(one.document.metadata, name, version)]
            if fitting:
                return max(fitting, key=lambda one: version_key(one.document.metadata.version))
            seen += found
        held = ", ".join(
            f"{one.file} holds {one.document.metadata.name}@{one.document.metadata.version}"
            for one in seen
        )
        shipped = sorted({_name(path) for path in places[-1].glob("*.yaml")})
        files = [path for s in _SUFFIXES for path in places[0].glob(f"*{s}")]
        written = {path.stem: f"./{path.name}" for path in files} if len(places) > 1 else {}
        written |= {one: f"{one}@{self._meant(one, version, places[-1])}" for one in shipped}
        near = suggestion(name, sorted(written), written=written)
        missing = f"no {name}.yaml stands beside this file" if len(places) > 1 else "it is no file"
        missing += near or f", and phigate ships {', '.join(shipped)}"
        raise ValueError(f"there is no policy {name}@{version}: {held or missing}")

    def _meant(self, name: str, version: str, folder: Path) -> str:
        """Return the version of a policy to name: that asked for if it is there, or the newest."""
        held = [self._read(file).document.metadata for file in versions_of(name, folder)]
        if any(_fits(one, name, version) for one in held):
            return version
        return max(held, key=lambda one: version_key(one.version)).major

    def _read(self, path: Path) -> Located[LeakagePolicy]:
        key = path.resolve()
        if key in self.line:
            circle = [*self.line[self.line.index(key) :], key]
            names = " → ".join(file.name for file in circle)
            raise ValueError(f"policies extend in a circle: {names}")
        if key not in self.known:
            if len(self.line) > MAX_GENERATIONS:
                raise ValueError(f"policies extend over more than {MAX_GENERATIONS} generations")
            if len(self.known) >= MAX_FILES:
                raise ValueError(f"a policy rests on more than {MAX_FILES} others")
            self.known[key] = self.read_policy(path, self)
        return self.known[key]


def versions_of(name: str, folder: Path) -> list[Path]:
    """Return the files of a folder that are called so, whatever their version, sorted."""
    if not folder.is_dir():
        return []
    # listed, not asked for by name: somebody may have written a name that no file can have
    files = [file for file in folder.iterdir() if file.suffix in _SUFFIXES]
    return sorted(file for file in files if _name(file) == name and file.is_file())


def renamed(name: str) -> str:
    """Say what a shipped policy is called now."""
    return f"the policy {name} is called {RENAMED[name]} now; write the new name"


def is_path(reference: str) -> bool:
    """Whether a reference is a path rather than a name."""
    return reference.endswith(_SUFFIXES) or "/" in reference


def relative(reference: str, file: Path) -> Path:
    """Return the path that a reference in a file leads to.

    Raises:
        ValueError: it is not relative.
    """
    if Path(reference).is_absolute() or "\0" in reference:
        raise ValueError("write a path relative to this file")
    return Path(os.path.normpath(file.parent / reference))


def _fits(metadata: Metadata, name: str, version: str) -> bool:
    wanted, held = version.split("."), metadata.version.split(".")
    return metadata.name == name and held[: len(wanted)] == wanted


def _name(path: Path) -> str:
    return path.stem.partition("@")[0]


def version_key(version: str) -> list[tuple[int, int, str]]:
    """Order versions by their numbers: 1.10 comes after 1.9."""
    return [
        (1, int(part), "") if part.isdecimal() else (0, 0, part)
        for part in re.split(r"[.+_-]", version)
    ]
