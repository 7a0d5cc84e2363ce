"""What a target says of its own fields, and what a policy says of them.

A field that leads nowhere would be knowledge that an attacker is not given: a policy must not name
fields that its target does not define.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from checker.attacks.api import load_attack
from checker.errors import DocumentError, PluginError, Problem
from checker.plugins import BUILT_IN, load_plugin, nearest_or_all, plugin_names, suggestion
from checker.policy.documents import AuditTarget, LeakagePolicy, ModelSpec, TargetSpec
from checker.policy.located import Located
from checker.yaml import KeyPath, Say, shape_problems, short

_BACKENDS = "phigate.targets"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_557_600}


def check_pair(policy: Located[LeakagePolicy], target: Located[AuditTarget]) -> None:
    """Check that the target defines every field that the policy names.

    Raises:
        DocumentError: with all problems, at the policy's lines.
    """
    problems: list[Problem] = []
    say = policy.complaints(problems)
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
        params = load_attack(control.probe).params.model_validate(control.params)
        for key, named in params.named_fields.items():
            for index, field in enumerate(named):
                if field not in known:
                    message = f"the probe would change {_undefined(field, known, target.file)}"
                    say(("spec", "controls", name, "params", key, index), message)
    if problems:
        raise DocumentError(problems)


def _undefined(field: str, known: list[str], file: str) -> str:
    """Say that a target lacks a field; age is not declared like the others."""
    if field == "age":
        return f"'age', but {file} has no tokenization.age"
    hint = suggestion(field, known) or f"; it defines {', '.join(known) or 'none'}"
    return f"'{short(field)}', which {file} does not define in tokenization.static{hint}"


def target_warnings(target: Located[AuditTarget]) -> tuple[Problem, ...]:
    """Return what a valid target says and probably should not leave at that."""
    data = target.document.spec.data
    if data.assignment == "random" and data.assigned_by is None:
        message = (
            "that patients were dealt by lot is believed unless it is disproved, so say by whom and"
            " how: data.assignedBy"
        )
        return (target.problem(("spec", "data", "assignment"), message),)
    if data.assigned_by is not None and data.assignment is None:
        message = (
            "nothing follows from this without data.assignment: random where patients were dealt by"
            " lot, other where not"
        )
        return (target.problem(("spec", "data", "assignedBy"), message),)
    return ()


# --- the target itself -------------------------------------------------------------------------


def target_problems(target: Located[AuditTarget]) -> list[Problem]:
    """Return all that is wrong with what a target says of its own fields."""
    problems: list[Problem] = []
    say = target.complaints(problems)
    spec = target.document.spec
    _check_backend(target, problems)
    _check_fields(spec, say)
    _check_records(spec, say)
    _check_templates(spec, say)
    _check_time(spec, say)
    _check_channels(spec, say)
    if spec.expect is not None and spec.expect.tokens is None and spec.expect.loss is None:
        say(("spec", "expect"), "an expectation names tokens, loss or both; this one is empty")
    if spec.data.members == spec.data.nonmembers:
        message = (
            f"members and nonmembers are both '{short(spec.data.members)}'; compare two splits"
        )
        say(("spec", "data", "nonmembers"), message)
    codes = spec.data.codes
    if codes is not None and (PurePosixPath(codes).is_absolute() or ".." in codes.split("/")):
        message = f"'{short(codes)}' leads out of the data set; write a path inside its folder"
        say(("spec", "data", "codes"), message)
    return problems


def _check_backend(target: Located[AuditTarget], problems: list[Problem]) -> None:
    say, spec = target.complaints(problems), target.document.spec
    for name, model in (("model", spec.model), ("reference", spec.reference)):
        if model is not None and model.adapter is not None and model.backend != "huggingface":
            message = f"only backend: huggingface reads an adapter, not '{short(model.backend)}'"
            say(("spec", name, "adapter"), message)
    try:
        known = plugin_names(_BACKENDS)
    except PluginError as error:
        say(("spec", "model", "backend"), str(error))
        return
    for name, model in (("model", spec.model), ("reference", spec.reference)):
        if model is None:
            continue
        path, backend = ("spec", name), model.backend
        if backend not in known:
            message = f"unknown backend '{short(backend)}'{nearest_or_all(backend, known)}"
            say((*path, "backend"), message)
        elif backend in BUILT_IN[_BACKENDS] or not model.path or model.options is not None:
            problems += _opening_problems(target, model, path)


def _opening_problems(
    target: Located[AuditTarget], model: ModelSpec, path: KeyPath
) -> list[Problem]:
    """Return what a backend, which is loaded for that, says of path and options."""
    try:
        backend = load_plugin(_BACKENDS, model.backend)
    except PluginError as error:
        return [target.problem((*path, "backend"), str(error))]
    problems = []
    if not model.path and getattr(backend, "needs_path", True):
        message = f"the backend {model.backend} opens what lies at a path; write path"
        problems.append(target.problem(path, message))
    options, base = getattr(backend, "options", None), (*path, "options")
    if options is None:
        if model.options is not None:
            message = f"the backend {model.backend} takes no options; remove them"
            problems.append(target.problem(base, message))
        return problems
    try:
        options.model_validate(model.options or {})
    except ValidationError as error:
        where = base if model.options is not None else path
        problems += shape_problems(error, model=options, source=target.source, base=where)
    return problems


def options_of(backend: Any) -> type[BaseModel] | None:
    """Return what a backend takes as options; None where it takes none, or is none."""
    try:
        found: type[BaseModel] | None = getattr(load_plugin(_BACKENDS, backend), "options", None)
    except (PluginError, TypeError):  # which is said of the backend
        return None
    return found


def _check_fields(spec: TargetSpec, say: Say) -> None:
    path = ("spec", "tokenization")
    tokenization = spec.tokenization
    for name, field in tokenization.static.items():
        if name in ("age", "all"):
            say((*path, "static", name), f"a static field cannot be called '{name}'; rename it")
        glob = field if isinstance(field, str) else field.codes
        if not glob.strip():
            say((*path, "static", name), f"static field '{name}' has no codes; write a glob")
    declared = [*(["age"] if tokenization.age is not None else []), *tokenization.static]
    for name in tokenization.present:
        if name not in declared:
            message = f"unknown field '{short(name)}'{nearest_or_all(name, declared)}"
            say((*path, "present", name), message)
    order = tokenization.prefix_order
    if order is None:
        return
    for index, name in enumerate(order):
        if name not in declared:
            message = f"unknown field '{short(name)}'{nearest_or_all(name, declared)}"
            say((*path, "prefixOrder", index), message)
        elif name in order[:index]:
            say((*path, "prefixOrder", index), f"'{name}' stands here twice")
    if absent := [name for name in declared if name not in order]:
        say((*path, "prefixOrder"), f"prefixOrder leaves out {', '.join(absent)}")


_RULES = ("prefix_order", "undated", "same_time_first", "time", "gaps", "values")
"""Rules for what a token table says of itself."""


def _check_records(spec: TargetSpec, say: Say) -> None:
    tokenization = spec.tokenization
    if tokenization.records is None:
        return
    for name in _RULES:
        if getattr(tokenization, name) != type(tokenization).model_fields[name].get_default():
            key = to_camel(name)
            message = f"is what the table in tokenization.records says; remove {key} or the table"
            say(("spec", "tokenization", key), message)


def _check_templates(spec: TargetSpec, say: Say) -> None:
    tokenization = spec.tokenization
    path = ("spec", "tokenization")
    if tokenization.age is not None and "{years}" not in tokenization.age:
        say((*path, "age"), "the age token needs {years} where the age stands: AGE//{years}")
    if tokenization.values is not None and "{bin}" not in tokenization.values.token:
        say((*path, "values", "token"), "a value's token needs {bin} where the bin stands")
    for index, system in enumerate(spec.code_systems):
        if system.match.count("{code}") != 1:
            say(("spec", "codeSystems", index, "match"), "{code} must stand here exactly once")


def _check_time(spec: TargetSpec, say: Say) -> None:
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


def _check_channels(spec: TargetSpec, say: Say) -> None:
    for name, channel in spec.tokenization.channels.items():
        path = ("spec", "tokenization", "channels", name)
        if channel.time is not None:
            for key in ("start", "each", "sets", "modulo"):
                if getattr(channel, key) != type(channel).model_fields[key].get_default():
                    say((*path, key), f"a channel that counts time has no '{key}'; remove one")
            if _seconds(channel.time.unit) <= 0:
                say((*path, "time", "unit"), "a unit is longer than nothing: 1d counts days")
        elif not (channel.each or channel.adds or channel.sets):
            say(path, "tells every token the same; write time, each, adds or sets")


def _seconds(duration: str) -> float:
    return float(duration[:-1]) * _SECONDS[duration[-1]]
