"""What the parts of a document say of each other, and a policy of its target.

Shapes are settled in `documents`; here names must lead somewhere: a control to its probe, metric,
class and attackers, an attacker to those it extends, a citation to its source, a target to the
fields it declares. A name that leads nowhere would be a requirement that is not enforced. Problems
make a document invalid; warnings say that something allowed is probably not meant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from pydantic import ValidationError

from checker.errors import DocumentError, PluginError, Problem
from checker.plugins import load_plugin, plugin_names, suggestion
from checker.policy.classes import class_problems
from checker.policy.documents import (
    Access,
    AttackerSpec,
    AuditTarget,
    ControlSpec,
    Knowledge,
    LeakagePolicy,
    Limit,
    PolicySpec,
    TargetSpec,
)
from checker.policy.shape import shape_problems
from checker.policy.source import KeyPath, Located, short

__all__ = [
    "ResolvedAttacker",
    "check_pair",
    "policy_problems",
    "policy_warnings",
    "resolve_attacker",
    "target_problems",
    "validate_policy",
    "validate_target",
]

_ACCESS: tuple[Access, ...] = ("samples", "logprobs", "embeddings")
"""From weakest to strongest; each sees what the ones before it see."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_557_600}

_Say = Callable[[KeyPath, str], None]
"""Notes a problem at a path."""


@dataclass(frozen=True, slots=True)
class ResolvedAttacker:
    """An attacker with everything that those it extends know.

    Args:
        name, title: as in the policy.
        static: fields known, inherited ones first, or "all".
        events: the first so many events, "all" but the class in question, or None for none.
        random: so many events more, drawn at random; 0 where all are known.
        code_types: globs; events whose code matches one are known, inherited globs first. None
            where all are known.
        access: the strongest along the chain.
        gating: False where this attacker's cells are only reported.
        cites: its own citations, then inherited ones.
    """

    name: str
    title: str
    static: tuple[str, ...] | Literal["all"]
    events: int | Literal["all"] | None
    access: Access
    gating: bool
    cites: tuple[str, ...]
    random: int = 0
    code_types: tuple[str, ...] = ()

    @property
    def chooses_events(self) -> bool:
        """Whether he knows events by more than their place at the beginning of the record."""
        return self.events == "all" or self.random > 0 or bool(self.code_types)

    @property
    def knows_events(self) -> bool:
        """Whether he may know any event at all, and not only static facts."""
        return self.chooses_events or bool(self.events)


def resolve_attacker(spec: PolicySpec, name: str) -> ResolvedAttacker:
    """Flatten an attacker and those it extends; knowledge and access only add up.

    Args:
        spec: a valid policy's body.
        name: one of `spec.attackers`.
    """
    chain = [spec.attackers[step] for step in _lineage(spec, name)]
    known: list[str] = []
    knows_all = False
    for attacker in reversed(chain):
        if attacker.knows.static == "all":
            knows_all = True
        else:
            known += attacker.knows.static or []
    own = chain[0]
    events = max((a.knows.events for a in chain), key=_extent)
    chosen = [] if events == "all" else chain  # nothing is left to be chosen from
    return ResolvedAttacker(
        name=name,
        title=own.title,
        static="all" if knows_all else tuple(dict.fromkeys(known)),
        events=events,
        access=max((a.access for a in chain), key=_ACCESS.index),
        gating=own.report == "gate",
        cites=tuple(dict.fromkeys(cite for attacker in chain for cite in attacker.cites)),
        random=max((a.knows.random or 0 for a in chosen), default=0),
        code_types=tuple(
            dict.fromkeys(glob for a in reversed(chosen) for glob in a.knows.code_types or [])
        ),
    )


def validate_policy(policy: Located[LeakagePolicy]) -> tuple[Problem, ...]:
    """Check a policy's references.

    Returns:
        Warnings, for example of a weaker attacker with a looser limit.

    Raises:
        DocumentError: with all problems, each at its line.
    """
    if problems := policy_problems(policy):
        raise DocumentError(problems)
    return policy_warnings(policy)


def validate_target(target: Located[AuditTarget]) -> None:
    """Check what a target says of its own fields.

    Raises:
        DocumentError: with all problems, each at its line.
    """
    if problems := target_problems(target):
        raise DocumentError(problems)


def check_pair(policy: Located[LeakagePolicy], target: Located[AuditTarget]) -> None:
    """Check that the target defines every field that the policy names.

    Raises:
        DocumentError: with all problems, at the policy's lines.
    """
    problems: list[Problem] = []
    say = _collector(policy, problems)
    tokenization = target.document.spec.tokenization
    fields = [*tokenization.static]
    known = [*(["age"] if tokenization.age is not None else []), *fields]
    spec = policy.document.spec
    for name, attacker in spec.attackers.items():
        static = attacker.knows.static
        for index, field in enumerate(static if isinstance(static, list) else []):
            if field not in known:
                path = ("spec", "attackers", name, "knows", "static", index)
                say(path, f"attacker '{name}' knows {_undefined(field, known, target.file)}")
    for name, control in spec.controls.items():
        for index, subgroup in enumerate(control.subgroups):
            field_name = None if isinstance(subgroup, str) else subgroup.static
            if field_name is not None and field_name not in fields:
                place = ("spec", "controls", name, "subgroups", index)
                if field_name == "age":
                    say(place, "age is no static field; use a subgroup {ageOver: N}")
                else:
                    say(
                        place, f"the subgroups are by {_undefined(field_name, fields, target.file)}"
                    )
        for index, field in enumerate(_identifiers(control)):
            if field not in known:
                message = f"the probe would change {_undefined(field, known, target.file)}"
                say(("spec", "controls", name, "params", "identifiers", index), message)
    if problems:
        raise DocumentError(problems)


def _identifiers(control: ControlSpec) -> list[str]:
    """Return the fields that a policy itself wants changed; defaults fit whatever is declared."""
    if control.probe != "identifier-perturbation":
        return []
    return list(control.params.get("identifiers", []))


def _undefined(field: str, known: list[str], file: str) -> str:
    """Say that a target lacks a field; age is not declared like the others."""
    if field == "age":
        return f"'age', but {file} has no tokenization.age"
    hint = suggestion(field, known) or f"; it defines {', '.join(known) or 'none'}"
    return f"'{short(field)}', which {file} does not define in tokenization.static{hint}"


def _collector(located: Located[Any], problems: list[Problem]) -> _Say:
    def say(path: KeyPath, message: str) -> None:
        problems.append(located.problem(path, message))

    return say


# --- the policy ---------------------------------------------------------------------------------


def policy_problems(policy: Located[LeakagePolicy]) -> list[Problem]:
    """Return all that is wrong with a policy's references."""
    problems: list[Problem] = []
    say = _collector(policy, problems)
    spec, metadata = policy.document.spec, policy.document.metadata
    since, until = metadata.effective_from, metadata.review_by
    if since is not None and until is not None and until < since:
        say(("metadata", "reviewBy"), f"{until} is before effectiveFrom, {since}")
    for name, attacker in spec.attackers.items():
        path = ("spec", "attackers", name)
        _check_knowledge(attacker, path, say)
        _check_lineage(spec, name, attacker, path, say)
        _check_cites(spec, attacker.cites, path, say)
    for name, attribute_class in spec.attribute_classes.items():
        class_problems(attribute_class, ("spec", "attributeClasses", name), say)
    for name, control in spec.controls.items():
        path = ("spec", "controls", name)
        _check_limits(spec, control, path, say)
        _check_subgroups(control, path, say)
        _check_cites(spec, control.cites, path, say)
        probe = _probe(control, path, say)
        if probe is not None:
            _check_metric(probe, control, path, say)
            _check_class(probe, spec, control, path, say)
            _check_reach(probe, spec, control, path, say)
            problems += _params_problems(probe, policy, control, path)
    return problems


def _unknown(what: str, word: str, known: Iterable[str]) -> str:
    names = list(known)
    listed = f"; there are {', '.join(names)}" if names else "; there are none"
    return f"unknown {what} '{short(word)}'{suggestion(word, names) or listed}"


def _lineage(spec: PolicySpec, name: str) -> list[str]:
    """Return an attacker and those it extends, nearest first, as far as that leads."""
    chain: list[str] = []
    step: str | None = name
    while step is not None and step in spec.attackers and step not in chain:
        chain.append(step)
        step = spec.attackers[step].extends
    return chain


def _extent(events: int | Literal["all"] | None) -> float:
    """Order what is known of the events."""
    return float("inf") if events == "all" else -1.0 if events is None else float(events)


def _check_lineage(
    spec: PolicySpec, name: str, attacker: AttackerSpec, path: KeyPath, say: _Say
) -> None:
    parent = attacker.extends
    if parent is None:
        return
    if parent not in spec.attackers:
        others = [other for other in spec.attackers if other != name]
        say((*path, "extends"), _unknown("attacker", parent, others))
        return
    chain = _lineage(spec, name)
    after = spec.attackers[chain[-1]].extends
    if after is not None and after in chain:
        if after == name:
            say((*path, "extends"), f"attackers extend in a circle: {' → '.join([*chain, name])}")
        return
    inherited, knows = resolve_attacker(spec, parent), attacker.knows
    if knows.events is not None and _extent(knows.events) < _extent(inherited.events):
        say(
            (*path, "knows", "events"),
            f"'{name}' would know fewer events than '{parent}', which it extends"
            f" ({inherited.events})",
        )
    if knows.random is not None and knows.random < inherited.random:
        say(
            (*path, "knows", "random"),
            f"'{name}' would know fewer random events than '{parent}', which it extends"
            f" ({inherited.random})",
        )
    if inherited.events == "all":
        for key in _choices(knows):
            say(
                (*path, "knows", key),
                f"'{parent}', which '{name}' extends, knows all events already; remove '{key}'",
            )


def _choices(knows: Knowledge) -> list[str]:
    """Return the selections of single events that are there, as the policy writes them."""
    choices = (("random", knows.random), ("codeTypes", knows.code_types))
    return [key for key, value in choices if value is not None]


def _check_knowledge(attacker: AttackerSpec, path: KeyPath, say: _Say) -> None:
    """Check what stands together in one attacker; `events: all` leaves nothing to choose."""
    if attacker.knows.events == "all":
        for key in _choices(attacker.knows):
            say((*path, "knows", key), f"'events: all' is every event already; remove '{key}'")
    globs = attacker.knows.code_types or []
    for index, glob in enumerate(globs):
        here = (*path, "knows", "codeTypes", index)
        if glob in globs[:index]:
            say(here, f"'{short(glob)}' stands here twice")
        elif not glob.strip():
            say(here, "an empty glob matches no code")


def _check_cites(spec: PolicySpec, cites: list[str], path: KeyPath, say: _Say) -> None:
    for index, cite in enumerate(cites):
        if cite not in spec.citations:
            say((*path, "cites", index), _unknown("citation", cite, spec.citations))


def _check_limits(spec: PolicySpec, control: ControlSpec, path: KeyPath, say: _Say) -> None:
    for name in control.limits:
        if name not in spec.attackers:
            say((*path, "limits", name), _unknown("attacker", name, spec.attackers))


def _check_subgroups(control: ControlSpec, path: KeyPath, say: _Say) -> None:
    for index, subgroup in enumerate(control.subgroups):
        if subgroup in control.subgroups[:index]:
            say((*path, "subgroups", index), "this subgroup is named twice")


def _probe(control: ControlSpec, path: KeyPath, say: _Say) -> Any:
    """Return the control's probe class, or None where there is none."""
    try:
        known = plugin_names("phigate.probes")
        if control.probe not in known:
            say((*path, "probe"), _unknown("probe", control.probe, known))
            return None
        return load_plugin("phigate.probes", control.probe)
    except PluginError as error:
        say((*path, "probe"), str(error))
        return None


def _check_metric(probe: Any, control: ControlSpec, path: KeyPath, say: _Say) -> None:
    metric = probe.metrics.get(control.metric)
    limitable = [name for name, one in probe.metrics.items() if one.limitable]
    if metric is None:
        near = suggestion(control.metric, limitable) or "."
        say(
            (*path, "metric"),
            f"unknown metric '{short(control.metric)}'{near} {control.probe} measures"
            f" {', '.join(limitable)}",
        )
        return
    if not metric.limitable:
        say(
            (*path, "metric"),
            f"'{control.metric}' is only ever reported and takes no limit; limit one of"
            f" {', '.join(limitable)}",
        )
    if control.contrast == "reference" and not metric.has_contrast:
        contrasted = [name for name, one in probe.metrics.items() if one.has_contrast]
        say(
            (*path, "contrast"),
            f"'{control.metric}' cannot be held against a reference model"
            + (f"; {' and '.join(contrasted)} can" if contrasted else ""),
        )
    for index, subgroup in enumerate(control.subgroups):
        if subgroup != "all" and not metric.of_patients:
            say(
                (*path, "subgroups", index),
                f"'{control.metric}' is no measure of patients, so it has no subgroups;"
                " remove all but 'all'",
            )
    for name, limit in control.limits.items():
        for key, value in (("warn", limit.warn), ("fail", limit.fail)):
            if value is not None and metric.largest is not None and value > metric.largest:
                say((*path, "limits", name, key), f"{value:g} must be at most {metric.largest:g}")
        if limit.max_count is not None and metric.family != "rate":
            say(
                (*path, "limits", name, "maxCount"),
                f"'{control.metric}' is not a share of patients, so there is nothing to count; "
                "use 'fail'",
            )


def _check_class(
    probe: Any, spec: PolicySpec, control: ControlSpec, path: KeyPath, say: _Say
) -> None:
    name = control.attribute_class
    if name is None:
        if probe.needs_attribute_class:
            say(path, f"'attributeClass' is missing: {control.probe} asks what leaks")
    elif not probe.needs_attribute_class:
        say((*path, "attributeClass"), f"{control.probe} takes no attributeClass; remove it")
    elif name not in spec.attribute_classes:
        say((*path, "attributeClass"), _unknown("attribute class", name, spec.attribute_classes))


def _check_reach(
    probe: Any, spec: PolicySpec, control: ControlSpec, path: KeyPath, say: _Say
) -> None:
    """Check that each attacker has what the probe needs."""
    for name in control.limits:
        if name not in spec.attackers:
            continue
        attacker = resolve_attacker(spec, name)
        if _ACCESS.index(attacker.access) < _ACCESS.index(probe.access):
            say(
                (*path, "limits", name),
                f"attacker '{name}' has access to {attacker.access}, but {control.probe} needs"
                f" {probe.access}; limit an attacker with 'access: {probe.access}'",
            )
        if probe.needs_whole_record and attacker.events != "all":
            say(
                (*path, "limits", name),
                f"{control.probe} needs the whole record, but attacker '{name}' does not know it;"
                " limit an attacker with 'knows: {events: all}'",
            )


def _params_problems(
    probe: Any, policy: Located[LeakagePolicy], control: ControlSpec, path: KeyPath
) -> list[Problem]:
    try:
        probe.params_type.model_validate(control.params)
    except ValidationError as error:
        return shape_problems(
            error, model=probe.params_type, source=policy.source, base=(*path, "params")
        )
    return []


# --- what is probably not meant -----------------------------------------------------------------


def policy_warnings(policy: Located[LeakagePolicy]) -> tuple[Problem, ...]:
    """Return what a valid policy allows but probably does not mean."""
    spec = policy.document.spec
    found = [policy.problem(path, message) for path, message in _warnings(spec)]
    return tuple(sorted(found))


def _warnings(spec: PolicySpec) -> Iterator[tuple[KeyPath, str]]:
    for name, control in spec.controls.items():
        for weaker, stronger in _looser_limits(spec, control):
            yield (
                ("spec", "controls", name, "limits", weaker),
                f"attacker '{weaker}' knows less than '{stronger}' but is allowed more;"
                " a weaker attacker's limit is usually at most as high",
            )
    audited = {control.attribute_class for control in spec.controls.values()}
    for name in spec.attribute_classes:
        if name not in audited:
            yield (
                ("spec", "attributeClasses", name),
                f"no control asks for attribute class '{name}', so it is not audited",
            )
    used = {name for control in spec.controls.values() for name in control.limits}
    for name in spec.attackers:
        if not any(name in _lineage(spec, user) for user in used):
            yield (
                ("spec", "attackers", name),
                f"no control has a limit for attacker '{name}', so it is not audited",
            )


def _looser_limits(spec: PolicySpec, control: ControlSpec) -> Iterator[tuple[str, str]]:
    for stronger, limit in control.limits.items():
        for weaker in _lineage(spec, stronger)[1:]:
            if weaker in control.limits and _bar(control.limits[weaker]) > _bar(limit):
                yield weaker, stronger


def _bar(limit: Limit) -> float:
    """Return what a limit allows at most; nothing for `maxCount: 0`."""
    return 0.0 if limit.fail is None else limit.fail


# --- the target ---------------------------------------------------------------------------------


def target_problems(target: Located[AuditTarget]) -> list[Problem]:
    """Return all that is wrong with what a target says of its own fields."""
    problems: list[Problem] = []
    say = _collector(target, problems)
    spec = target.document.spec
    _check_backend(spec, say)
    _check_fields(spec, say)
    _check_templates(spec, say)
    _check_time(spec, say)
    if spec.data.members == spec.data.nonmembers:
        message = (
            f"members and nonmembers are both '{short(spec.data.members)}'; compare two splits"
        )
        say(("spec", "data", "nonmembers"), message)
    return problems


def _check_backend(spec: TargetSpec, say: _Say) -> None:
    path = ("spec", "model", "backend")
    try:
        known = plugin_names("phigate.targets")
    except PluginError as error:
        say(path, str(error))
        return
    if spec.model.backend not in known:
        say(path, _unknown("backend", spec.model.backend, known))


def _check_fields(spec: TargetSpec, say: _Say) -> None:
    path = ("spec", "tokenization")
    tokenization = spec.tokenization
    for name, field in tokenization.static.items():
        if name in ("age", "all"):
            say((*path, "static", name), f"a static field cannot be called '{name}'; rename it")
        glob = field if isinstance(field, str) else field.codes
        if not glob.strip():
            say((*path, "static", name), f"static field '{name}' has no codes; write a glob")
    order = tokenization.prefix_order
    if order is None:
        return
    declared = [*(["age"] if tokenization.age is not None else []), *tokenization.static]
    for index, name in enumerate(order):
        if name not in declared:
            say((*path, "prefixOrder", index), _unknown("field", name, declared))
        elif name in order[:index]:
            say((*path, "prefixOrder", index), f"'{name}' stands here twice")
    if absent := [name for name in declared if name not in order]:
        say((*path, "prefixOrder"), f"prefixOrder leaves out {', '.join(absent)}")


def _check_templates(spec: TargetSpec, say: _Say) -> None:
    tokenization = spec.tokenization
    path = ("spec", "tokenization")
    if tokenization.age is not None and "{years}" not in tokenization.age:
        say((*path, "age"), "the age token needs {years} where the age stands: AGE//{years}")
    if tokenization.values is not None and "{bin}" not in tokenization.values.token:
        say((*path, "values", "token"), "a value's token needs {bin} where the bin stands")
    for index, system in enumerate(spec.code_systems):
        if system.match.count("{code}") != 1:
            say(("spec", "codeSystems", index, "match"), "{code} must stand here exactly once")


def _check_time(spec: TargetSpec, say: _Say) -> None:
    path = ("spec", "tokenization", "time")
    bins = spec.tokenization.time
    for index, time_bin in enumerate(bins):
        is_last = index == len(bins) - 1
        if is_last and time_bin.up_to is not None:
            say(
                (*path, index), "the last time bin must have no upTo, so that it takes all the rest"
            )
        elif not is_last and time_bin.up_to is None:
            say((*path, index), "only the last time bin may have no upTo")
    for (index, earlier), (_, later) in pairwise(enumerate(bins)):
        if earlier.up_to is None or later.up_to is None:
            continue
        if _seconds(earlier.up_to) >= _seconds(later.up_to):
            say(
                (*path, index + 1, "upTo"),
                f"time bins must ascend, but {later.up_to} is not above {earlier.up_to}",
            )


def _seconds(duration: str) -> float:
    return float(duration[:-1]) * _SECONDS[duration[-1]]
