"""What an attribute class says, checked: its codes, its exclusions, and the traps it must avoid.

A class that is read wrongly measures the wrong thing without anybody noticing, so a class carries
its own tests: each trap names a code that is easily mistaken and what the class must make of it,
and a class that makes something else of it is an invalid document. A library class adds where its
codes come from and who has reviewed it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from checker import codes
from checker.codes import CodeSystem
from checker.errors import Problem
from checker.plugins import nearest_or_all
from checker.policy.class_review import codes_digest
from checker.policy.documents import (
    AttributeClassLibrary,
    AttributeClassSpec,
    CodeSet,
    ExcludedCodes,
    PolicyClassSpec,
    ProxyCodes,
)
from checker.policy.located import Located
from checker.yaml import KeyPath, Say, foreign_character, short


def class_matcher(
    spec: AttributeClassSpec, *, proxies: Literal["proxy", "strong"] = "proxy"
) -> codes.ClassMatcher:
    """Return what says how a code stands to a valid class, its proxies as told."""
    return codes.ClassMatcher(
        [
            *(codes.ClassRule(one.system, one.tier, one.values, one.exclude) for one in spec.codes),
            *(
                codes.ClassRule(one.system, proxies, one.values, one.exclude)
                for one in spec.proxies
            ),
            *(codes.ClassRule(one.system, "excluded", one.values) for one in spec.exclude),
        ]
    )


def class_problems(spec: AttributeClassSpec, path: KeyPath, say: Say) -> None:
    """Check the codes of a class, and that it avoids its traps.

    Args:
        spec: the class.
        path: where it stands in its document.
        say: notes a problem.
    """
    sound = True

    def complain(where: KeyPath, message: str) -> None:
        nonlocal sound
        sound = False
        say((*path, *where), message)

    for part, sets in _parts(spec):
        _check_sets(part, sets, complain)
    for index, trap in enumerate(spec.traps):
        if message := _shape_problem(trap.system, trap.code):
            complain(("traps", index, "code"), message)
    if not sound:
        return
    matcher = class_matcher(spec)
    for index, trap in enumerate(spec.traps):
        reading = codes.read_code(trap.system, trap.code)
        found = matcher.standing([reading], trap.code) or "none"
        if found != trap.expect:
            say(
                (*path, "traps", index),
                f"the class falls into this trap: {trap.system} '{short(trap.code)}' is"
                f" '{found}', but '{trap.expect}' is expected",
            )


def pool_problems(
    classes: Mapping[str, PolicyClassSpec], name: str, path: KeyPath, say: Say
) -> None:
    """Check that a class has codes, or names classes that have some.

    Args:
        classes: all of the policy.
        name: of the class in question.
        path: where it stands in its document.
        say: notes a problem.
    """
    spec = classes[name]
    if spec.any_of is None:
        if not spec.codes:
            say(path, "'codes' is missing: a class has codes, or names other classes (anyOf)")
        if spec.count_proxies and not spec.proxies:
            say((*path, "countProxies"), "the class has no proxies that could count")
        return
    if spec.count_proxies is not None:
        say((*path, "countProxies"), "a pool counts what its classes count")
    own = ("codes", "exclude", "proxies", "traps", "words", "use")
    for key in own:
        if getattr(spec, key):
            say((*path, key), f"a pool has no {key} of its own; they belong to its classes")
    seen: set[str] = set()
    for index, other in enumerate(spec.any_of):
        here = (*path, "anyOf", index)
        if other not in classes:
            others = [one for one in classes if one != name]
            say(here, f"unknown attribute class '{short(other)}'{nearest_or_all(other, others)}")
        elif classes[other].any_of is not None:
            say(here, f"'{short(other)}' is a pool itself; name its classes instead")
        elif classes[other].benign != spec.benign:
            message = (
                "a pool of sensitive classes holds no benign one"
                if not spec.benign
                else ("a benign pool holds benign classes only")
            )
            say(here, f"{message}: '{short(other)}'")
        if other in seen:
            say(here, f"'{short(other)}' stands here twice")
        seen.add(other)


def pooled(classes: Mapping[str, PolicyClassSpec], name: str) -> dict[str, PolicyClassSpec]:
    """Return the classes of a valid policy that have the codes of one: of a pool several, by name.

    Where a class is no pool it is the only one.
    """
    spec = classes[name]
    return {one: classes[one] for one in sorted(spec.any_of or [name])}


def library_problems(library: Located[AttributeClassLibrary]) -> list[Problem]:
    """Return all that is wrong with a library class."""
    problems: list[Problem] = []
    say = library.complaints(problems)
    spec = library.document.spec
    class_problems(spec, ("spec",), say)
    sourced = {system for source in spec.sources for system in source.systems}
    for part, sets in _parts(spec):
        for index, one in enumerate(sets):
            if one.system not in sourced:
                message = f"no source is named for codes of {one.system}; add one to sources"
                say(("spec", part, index, "system"), message)
    _check_sign_off(library, say)
    return problems


def _check_sign_off(library: Located[AttributeClassLibrary], say: Say) -> None:
    """Check that a class which says it was signed off is the one that was."""
    spec, version = library.document.spec, library.document.metadata.version
    signed = spec.reviewed
    if (spec.review.status == "reviewed") != (signed is not None):
        message = (
            "'reviewed' needs `reviewed` beside it: who signed, as what, when, and the digest that"
            " `phigate classes review` prints"
            if signed is None
            else "this says draft, though `reviewed` beside it says who signed the class off"
        )
        say(("spec", "review", "status"), message)
    if signed is None:
        return
    if signed.version != version:
        message = f"version {short(signed.version)} was signed off, and this is {version}"
        say(("spec", "reviewed", "version"), message)
    if signed.sha256 != codes_digest(spec):
        message = (
            "other codes were signed off than stand here; have them read again"
            " (`phigate classes review`), or remove `reviewed`"
        )
        say(("spec", "reviewed", "sha256"), message)


_Sets = Sequence[CodeSet | ProxyCodes | ExcludedCodes]


def _parts(spec: AttributeClassSpec) -> tuple[tuple[str, _Sets], ...]:
    return ("codes", spec.codes), ("proxies", spec.proxies), ("exclude", spec.exclude)


def _check_sets(part: str, sets: _Sets, complain: Say) -> None:
    """Check the values of one part of a class: each can be meant, and stands there once."""
    seen: dict[codes.CodePattern, str] = {}
    for index, one in enumerate(sets):
        here: KeyPath = (part, index)
        values = _parse(one.system, one.values, (*here, "values"), complain)
        for place, pattern in values:
            # but for globs, the spelling is not what matches: F10.2 and F102 are one code
            key = pattern if pattern.system == "local" else replace(pattern, value="")
            standing = one.tier if isinstance(one, CodeSet) else part
            if key in seen:
                message = f"the code '{short(pattern.value)}' stands here twice, first as"
                complain(place, f"{message} {seen[key]}")
            seen.setdefault(key, standing)
        if isinstance(one, ExcludedCodes):
            continue
        covered = [pattern for _, pattern in values]
        for place, pattern in _parse(one.system, one.exclude, (*here, "exclude"), complain):
            if pattern.low and not any(other.matches(pattern.low) for other in covered):
                complain(place, f"'{short(pattern.value)}' is excluded, but no value covers it")


def _parse(
    system: CodeSystem, values: list[str], path: KeyPath, complain: Say
) -> list[tuple[KeyPath, codes.CodePattern]]:
    parsed = []
    for position, value in enumerate(values):
        try:
            parsed.append(((*path, position), codes.parse_value(system, value)))
        except ValueError as error:
            strange = foreign_character(value) if system not in ("local", "drug") else None
            complain((*path, position), f"{error}: {strange}" if strange else str(error))
    return parsed


def _shape_problem(system: CodeSystem, code: str) -> str | None:
    """Say what is wrong with a trap's code: one that cannot exist would never be fallen into."""
    shape, expected = {**codes.PREFIX_SHAPES, **codes.EXACT_SHAPES}.get(system, (None, ""))
    if shape is None or shape.fullmatch(codes.normal(system, code)):
        return None
    return f"'{short(code)}' is not a code of {system}, which has {expected}"
