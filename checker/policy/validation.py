"""What the parts of a policy, and of a policy test, say of each other.

Shapes are settled in `documents`; here names must lead somewhere: a control to its probe, metric,
class and attackers, an attacker to those it extends, a citation to its source. A name that leads
nowhere would be a requirement that is not enforced.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from checker.attacks.api import GROUP, Attack, load_attack
from checker.errors import PluginError, Problem
from checker.plugins import nearest_or_all, plugin_names, suggestion
from checker.policy.attackers import ACCESS, lineage, resolve_attacker
from checker.policy.classes import class_problems, pool_problems
from checker.policy.documents import (
    AttackerSpec,
    ControlSpec,
    Knowledge,
    LeakagePolicy,
    PolicySpec,
    PolicyTest,
    extent,
)
from checker.policy.located import Located
from checker.yaml import KeyPath, Say, shape_problems, short


def policy_problems(policy: Located[LeakagePolicy]) -> list[Problem]:
    """Return all that is wrong with a policy's references."""
    problems: list[Problem] = []
    say = policy.complaints(problems)
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
        path = ("spec", "attributeClasses", name)
        pool_problems(spec.attribute_classes, name, path, say)
        class_problems(attribute_class, path, say)
    for name, prerequisite in spec.prerequisites.items():
        _check_cites(spec, prerequisite.cites, ("spec", "prerequisites", name), say)
    for name, control in spec.controls.items():
        path = ("spec", "controls", name)
        _check_limits(spec, control, path, say)
        _check_subgroups(control, path, say)
        _check_cites(spec, control.cites, path, say)
        attack = _attack(control, path, say)
        if attack is not None:
            _check_metric(attack, control, path, say)
            _check_class(attack, spec, control, path, say)
            _check_reach(attack, spec, control, path, say)
            problems += _params_problems(attack, policy, control, path)
    return problems


def _unknown(what: str, word: str, known: Iterable[str]) -> str:
    return f"unknown {what} '{short(word)}'{nearest_or_all(word, known)}"


def _check_lineage(
    spec: PolicySpec, name: str, attacker: AttackerSpec, path: KeyPath, say: Say
) -> None:
    parent = attacker.extends
    if parent is None:
        return
    if parent not in spec.attackers:
        others = [other for other in spec.attackers if other != name]
        say((*path, "extends"), _unknown("attacker", parent, others))
        return
    chain = lineage(spec, name)
    after = spec.attackers[chain[-1]].extends
    if after is not None and after in chain:
        if after == name:
            say((*path, "extends"), f"attackers extend in a circle: {' → '.join([*chain, name])}")
        return
    inherited, knows = resolve_attacker(spec, parent).knows, attacker.knows
    for key, selector in Knowledge.selectors().items():
        own, theirs = getattr(knows, key), getattr(inherited, key)
        if selector.grows == "number" and own is not None and extent(own) < extent(theirs):
            what = "random events" if selector.chooses else key
            say(
                (*path, "knows", to_camel(key)),
                f"'{name}' would know fewer {what} than '{parent}', which it extends ({theirs})",
            )
    if inherited.events == "all":
        for key in _choices(knows):
            say(
                (*path, "knows", key),
                f"'{parent}', which '{name}' extends, knows all events already; remove '{key}'",
            )


def _choices(knows: Knowledge) -> list[str]:
    """Return what is there of which `events: all` leaves nothing, as the policy writes it."""
    return [to_camel(key) for key in knows.parts() if getattr(knows, key) is not None]


def _check_knowledge(attacker: AttackerSpec, path: KeyPath, say: Say) -> None:
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


def _check_cites(spec: PolicySpec, cites: list[str], path: KeyPath, say: Say) -> None:
    for index, cite in enumerate(cites):
        if cite not in spec.citations:
            say((*path, "cites", index), _unknown("citation", cite, spec.citations))


def _check_limits(spec: PolicySpec, control: ControlSpec, path: KeyPath, say: Say) -> None:
    for name in control.limits:
        if name not in spec.attackers:
            say((*path, "limits", name), _unknown("attacker", name, spec.attackers))


def _check_subgroups(control: ControlSpec, path: KeyPath, say: Say) -> None:
    for index, subgroup in enumerate(control.subgroups):
        if subgroup in control.subgroups[:index]:
            say((*path, "subgroups", index), "this subgroup is named twice")


def _attack(control: ControlSpec, path: KeyPath, say: Say) -> Attack | None:
    """Return the control's attack, or None where there is none."""
    try:
        known = plugin_names(GROUP)
        if control.probe not in known:
            say((*path, "probe"), _unknown("probe", control.probe, known))
            return None
        return load_attack(control.probe)
    except PluginError as error:
        say((*path, "probe"), str(error))
        return None


def _check_metric(attack: Attack, control: ControlSpec, path: KeyPath, say: Say) -> None:
    metric = attack.metrics.get(control.metric)
    limitable = [name for name, one in attack.metrics.items() if one.limitable]
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
    if control.contrast == "reference" and metric.over_reference is None:
        contrasted = [name for name, one in attack.metrics.items() if one.over_reference]
        say(
            (*path, "contrast"),
            f"'{control.metric}' cannot be compared with a reference model"
            + (f"; {' and '.join(contrasted)} can" if contrasted else ""),
        )
    for index, subgroup in enumerate(control.subgroups):
        if subgroup != "all" and not metric.family.of_patients:
            say(
                (*path, "subgroups", index),
                f"'{control.metric}' is no measure of patients, so it has no subgroups;"
                " remove all but 'all'",
            )
    largest = metric.family.largest
    for name, limit in control.limits.items():
        for key, value in (("warn", limit.warn), ("fail", limit.fail)):
            if value is not None and largest is not None and value > largest:
                say((*path, "limits", name, key), f"{value:g} must be at most {largest:g}")
        if limit.warn is not None and metric.family.counts_patients:
            say(
                (*path, "limits", name, "warn"),
                f"'{control.metric}' counts people, and a warned pass would tell that they are"
                " between two small numbers; name 'fail' alone",
            )
        if limit.max_count is not None and not metric.family.takes_max_count:
            say(
                (*path, "limits", name, "maxCount"),
                f"'{control.metric}' is not a share of patients, so there is nothing to count; "
                "use 'fail'",
            )


def _check_class(
    attack: Attack, spec: PolicySpec, control: ControlSpec, path: KeyPath, say: Say
) -> None:
    name = control.attribute_class
    if name is None:
        if attack.needs_attribute_class:
            say(path, f"'attributeClass' is missing: {control.probe} asks what leaks")
    elif not attack.needs_attribute_class:
        say((*path, "attributeClass"), f"{control.probe} takes no attributeClass; remove it")
    elif name not in spec.attribute_classes:
        say((*path, "attributeClass"), _unknown("attribute class", name, spec.attribute_classes))
    elif spec.attribute_classes[name].any_of is not None:
        metric = attack.metrics.get(control.metric)
        if not attack.takes_pools:
            say(
                (*path, "attributeClass"),
                f"'{name}' is a pool, and {control.probe} asks for one class; name one of them",
            )
        elif metric is not None and metric.family.takes_everybody:
            say(
                (*path, "metric"),
                f"'{control.metric}' ranks patients with the class among those without, and what"
                f" must not be told of the latter is not known in a pool ('{name}'); use a rate or"
                " a mean, such as excess_mean_q",
            )
        elif control.params.get("askEverybody"):
            say(
                (*path, "params", "askEverybody"),
                f"what must not be told of patients without any class of a pool is not known"
                f" ('{name}'), so they cannot be asked; leave it out",
            )


def _check_reach(
    attack: Attack, spec: PolicySpec, control: ControlSpec, path: KeyPath, say: Say
) -> None:
    """Check that each attacker has what the probe needs."""
    whole_record = attack.needs_whole_record or _asks_whoever_holds_the_record(attack, control)
    for name in control.limits:
        if name not in spec.attackers:
            continue
        attacker = resolve_attacker(spec, name)
        if ACCESS.index(attacker.access) < ACCESS.index(attack.access):
            say(
                (*path, "limits", name),
                f"attacker '{name}' has access to {attacker.access}, but {control.probe} needs"
                f" {attack.access}; limit an attacker with 'access: {attack.access}'",
            )
        if whole_record and attacker.knows.events != "all":
            here = "" if attack.needs_whole_record else " with these params"
            say(
                (*path, "limits", name),
                f"{control.probe}{here} needs the whole record, but attacker '{name}' does not know"
                " it; limit an attacker with 'knows: {events: all}'",
            )


def _asks_whoever_holds_the_record(attack: Attack, control: ControlSpec) -> bool:
    try:
        return attack.params.model_validate(control.params).needs_whole_record
    except ValidationError:  # which is said where params are checked
        return False


def _params_problems(
    attack: Attack, policy: Located[LeakagePolicy], control: ControlSpec, path: KeyPath
) -> list[Problem]:
    if control.params and policy.source.at((*path, "params")) is None:
        return []  # under a misspelt key, which is said already; nobody read its numbers as such
    try:
        attack.params.model_validate(control.params)
    except ValidationError as error:
        return shape_problems(
            error, model=attack.params, source=policy.source, base=(*path, "params")
        )
    return []


# --- a policy test ------------------------------------------------------------------------------


def policy_test_problems(test: Located[PolicyTest]) -> list[Problem]:
    """Return what is wrong with a policy test in itself: names and cells that stand twice."""
    problems = []
    names: set[str] = set()
    for index, case in enumerate(test.document.spec.cases):
        here = ("spec", "cases", index)
        if case.name in names:
            problems.append(test.problem((*here, "name"), "another case has this name; rename one"))
        names.add(case.name)
        cells: set[str] = set()
        for place, made_up in enumerate(case.cells):
            if _whole(made_up.cell) in cells:
                message = f"'{made_up.cell}' stands twice in this case; keep one"
                problems.append(test.problem((*here, "cells", place, "cell"), message))
            cells.add(_whole(made_up.cell))
    return problems


def _whole(cell: str) -> str:
    return cell if cell.count("/") > 1 else f"{cell}/all"
