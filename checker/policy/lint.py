"""What a valid policy allows but probably does not mean: warnings, for people to think about.

Most are found when a document is read. What depends on the day (a review that is overdue), or takes
a calculation (a limit that no sample of a realistic size could be shown to meet), is only asked by
`phigate validate`.

How large is realistic? A limit is met where the upper bound of what was seen lies below it, so low
limits need many patients (`checker.stats.power`). `POSITIVES` patients with one sensitive
attribute, all of them eligible, are more than most hospitals have in a training split; at 95 % they
carry a limit of 0.001. `PATIENTS` are meant on each side, members and nonmembers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from checker.attacks.api import Metric, load_attack
from checker.attacks.families import Family
from checker.canonical import sha256_hex
from checker.errors import InsufficientData, PluginError, Problem
from checker.policy.attackers import lineage, resolve_attacker
from checker.policy.cited import citation_warnings, contradicted_limits
from checker.policy.class_review import review_state
from checker.policy.classes import pooled
from checker.policy.code_lint import code_warnings
from checker.policy.documents import (
    AttributeClassLibrary,
    AttributeClassSpec,
    ControlSpec,
    LeakagePolicy,
    Limit,
    PolicySpec,
    Severity,
)
from checker.policy.inheritance.parents import versions_of
from checker.policy.located import Located
from checker.policy.waivers import accepts_nearly_all
from checker.resources import resource
from checker.yaml import KeyPath, dotted

POSITIVES = 3_000
PATIENTS = 10_000
HARDLY = 0.05
"""A chance of passing below this is none."""
WIDE_CELL = 30
"""Far above the 11 patients below which counts are withheld (CMS cell size policy)."""

_SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
_Warning = tuple[KeyPath, str]


def policy_warnings(policy: Located[LeakagePolicy]) -> tuple[Problem, ...]:
    """Return what can be seen of a policy without a day or a calculation.

    What a policy inherits was warned of where it is written, so only what it writes is here.
    """
    spec = policy.document.spec
    found = [
        *_looser_than_stronger(spec),
        *_decides_by_the_last_events(spec),
        *_weak_parts(spec),
        *_not_what_is_shipped(policy),
        *_two_limits(spec),
        *_hardly_limits(spec),
        *_counts_of_few(spec),
        *_counts_proxies_alone(spec),
    ]
    if not spec.abstract:
        found += _not_audited(spec)
    problems = [policy.problem(path, message) for path, message in found]
    limits = [dotted(path) for path in _own_limits(policy)]
    return tuple(
        sorted(
            one
            for one in problems
            if one.file == policy.file or any(one.path.startswith(path) for path in limits)
        )
    )


def _not_what_is_shipped(policy: Located[LeakagePolicy]) -> Iterator[_Warning]:
    """A file beside a policy comes before the shipped one of its name, and may demand less."""
    for origin in policy.origins:
        if origin.kind != policy.document.kind:
            continue
        shipped = versions_of(origin.name, resource("policies"))
        if shipped and all(sha256_hex(one.read_bytes()) != origin.sha256 for one in shipped):
            message = (
                f"{origin.file} calls itself {origin.reference}, and is not the policy of that name"
                " that phigate ships; give it a name of its own"
            )
            yield ("spec", "extends"), message


def _named_as_shipped(policy: Located[LeakagePolicy]) -> Iterator[_Warning]:
    """A changed copy keeps its name, and a report under it reads as one by the original."""
    shipped = versions_of(policy.document.metadata.name, resource("policies"))
    own = Path(policy.file)
    if shipped and own.is_file() and all(_written(one) != _written(own) for one in shipped):
        message = (
            "this is not the policy of that name that phigate ships, and reports and ledgers would"
            " call it so; give it a name of its own"
        )
        yield ("metadata", "name"), message


def _written(path: Path) -> list[bytes]:
    """Return the lines of a file that are no comments."""
    return [line for line in path.read_bytes().splitlines() if not line.lstrip().startswith(b"#")]


def _own_limits(policy: Located[LeakagePolicy]) -> Iterator[KeyPath]:
    """Yield where a policy adds to limits, which only mean something beside each other."""
    for name in policy.document.spec.controls:
        path: KeyPath = ("spec", "controls", name, "limits")
        if policy.place(path).file == policy.file:
            yield path


def lint(documents: Iterable[Located[Any]], *, on: date) -> tuple[Problem, ...]:
    """Return what else is to be thought about, on a given day.

    Args:
        documents: valid, of any kind.
        on: the day, in UTC.
    """
    found: list[Problem] = []
    for one in documents:
        found += [*_overdue(one, on), *code_warnings(one)]
        if isinstance(one.document, AttributeClassLibrary):
            found += _sign_off(one, ("spec",), one.document.spec, on)
        if isinstance(one.document, LeakagePolicy):
            spec = one.document.spec
            found += [one.problem(path, message) for path, message in _named_as_shipped(one)]
            for name, held in spec.attribute_classes.items():
                found += _sign_off(one, ("spec", "attributeClasses", name), held, on)
            found += [one.problem(path, message) for path, message in _out_of_reach(spec)]
            found += [one.problem(path, message) for path, message in contradicted_limits(one)]
        if isinstance(one.document, AttributeClassLibrary | LeakagePolicy):
            found += [
                problem
                for path, message in citation_warnings(one.document.spec.citations)
                if (problem := one.problem(path, message)).file == one.file
            ]
    return tuple(sorted(found))


def _looser_than_stronger(spec: PolicySpec) -> Iterator[_Warning]:
    for name, control in spec.controls.items():
        for stronger, limit in control.limits.items():
            for weaker in lineage(spec, stronger)[1:]:
                if weaker in control.limits and control.limits[weaker].allowed > limit.allowed:
                    yield (
                        ("spec", "controls", name, "limits", weaker),
                        f"attacker '{weaker}' knows less than '{stronger}' but is allowed more;"
                        " a weaker attacker's limit is usually at most as high",
                    )


def _decides_by_the_last_events(spec: PolicySpec) -> Iterator[_Warning]:
    """A prompt that no training record begins like hides what a model remembers (METHODS §1)."""
    for name, control in spec.controls.items():
        gating = {
            attacker: knows
            for attacker in control.limits
            if spec.attackers[attacker].report == "gate"
            and (knows := resolve_attacker(spec, attacker).knows)
        }
        if any(knows.events == "all" for knows in gating.values()):
            continue
        for attacker, knows in gating.items():
            if knows.last:
                yield (
                    ("spec", "controls", name, "limits", attacker),
                    f"'{attacker}' knows only the last events, from which a model that repeats"
                    " whole records often does not; let an attacker with `events: all` decide this"
                    " control too, or let this one be reported only (report: only)",
                )


def _two_limits(spec: PolicySpec) -> Iterator[_Warning]:
    """Verdicts stand in shared reports: two limits of one number have its bound between them."""
    known: dict[str, tuple[str, Limit]] = {}
    for name, control in spec.controls.items():
        if control.attribute_class is None:
            continue
        for attacker, limit in control.limits.items():
            measured = repr(
                (
                    control.attribute_class, control.probe, control.metric, control.contrast,
                    sorted(control.params.items()), attacker,
                )
            )  # fmt: skip
            other, its = known.setdefault(measured, (name, limit))
            if other != name and (its.fail, its.max_count) != (limit.fail, limit.max_count):
                yield (
                    ("spec", "controls", name, "limits", attacker),
                    f"'{other}' has another limit for the same number; where one is kept and the"
                    " other is not, a shared report says that its bound lies between them, and of"
                    " few patients that may tell how many; one limit tells less",
                )


def _hardly_limits(spec: PolicySpec) -> Iterator[_Warning]:
    for name, control in spec.controls.items():
        for attacker, limit in control.limits.items():
            if limit.fail is not None and (why := accepts_nearly_all(control, limit.fail)):
                path: KeyPath = ("spec", "controls", name, "limits", attacker)
                yield path, f"{why}: this control hardly stops a model"


def _counts_of_few(spec: PolicySpec) -> Iterator[_Warning]:
    """Where people are counted, a pass tells that they are few, and two limits tell how many."""
    least = spec.parameters.min_cell - 1
    known: tuple[str, str, Limit, Any] | None = None
    for name, control in spec.controls.items():
        metric = _metric(control)
        if metric is None or not metric.family.counts_patients:
            continue
        for attacker, limit in control.limits.items():
            path: KeyPath = ("spec", "controls", name, "limits", attacker)
            if limit.fail is not None and limit.fail < least:
                yield (
                    path,
                    f"a pass would tell everybody that at most {limit.fail:g} people stand out, and"
                    f" minCell lets no number below {least + 1:,} be told; limit it at {least:,} or"
                    " more",
                )
            known = known or (name, attacker, limit, metric.family)
            if (limit.fail, metric.family) != (known[2].fail, known[3]):
                yield (
                    path,
                    f"people are counted by '{known[0]}' ({known[1]}) too, with another limit or"
                    " rank; where one is kept and the other is not, a shared report tells about how"
                    " many stand out; one limit tells less",
                )


def _counts_proxies_alone(spec: PolicySpec) -> Iterator[_Warning]:
    """What many patients have hides, in what is subtracted, that the class itself is told."""
    plain = [
        (control.probe, one.codes)
        for control in spec.controls.values()
        if control.attribute_class is not None
        and control.enforcement != "advisory"
        and control.severity in spec.gate.fail_on
        and any(spec.attackers[who].report == "gate" for who in control.limits)
        for one in pooled(spec.attribute_classes, control.attribute_class).values()
        if not one.count_proxies
    ]
    for name, control in spec.controls.items():
        own = spec.attribute_classes.get(control.attribute_class or "")
        if own is not None and own.count_proxies and (control.probe, own.codes) not in plain:
            yield (
                ("spec", "controls", name, "attributeClass"),
                f"'{control.attribute_class}' counts its proxies, and no control that decides asks"
                " for the same codes without them: a proxy that most patients are told of anyway"
                " hides that the class itself is told; keep a class without countProxies, and a"
                " control for it",
            )


def _metric(control: ControlSpec) -> Metric | None:
    """Return what a control measures; None of an invalid one, which is no document."""
    try:
        attack = load_attack(control.probe)
        params = attack.params.model_validate(control.params)
    except (PluginError, ValidationError):
        return None
    return attack.metrics[control.metric].in_control(contrast=control.contrast, params=params)


def _not_audited(spec: PolicySpec) -> Iterator[_Warning]:
    audited = {control.attribute_class for control in spec.controls.values()}
    audited |= {
        one
        for name in audited & spec.attribute_classes.keys()
        for one in pooled(spec.attribute_classes, str(name))
    }
    for name in spec.attribute_classes:
        if name not in audited:
            yield (
                ("spec", "attributeClasses", name),
                f"no control asks for attribute class '{name}', so it is not audited",
            )
    limited = {name for control in spec.controls.values() for name in control.limits}
    used = {name for user in limited for name in lineage(spec, user)}
    for name in spec.attackers:
        if name not in used:
            yield (
                ("spec", "attackers", name),
                f"no control has a limit for attacker '{name}', so it is not audited",
            )


def _weak_parts(spec: PolicySpec) -> Iterator[_Warning]:
    for name in spec.attribute_classes:
        codes = [
            code for one in pooled(spec.attribute_classes, name).values() for code in one.codes
        ]
        if not any(one.tier == "definitive" for one in codes):
            yield (
                ("spec", "attributeClasses", name),
                f"no code of '{name}' is definitive, so that nobody who counts as having it is"
                " sure to have it",
            )
    for name, control in spec.controls.items():
        if not control.cites:
            yield (
                ("spec", "controls", name),
                f"the limits of '{name}' cite nothing; name what they lean on, if only the"
                " decision of your committee (basis: institutional-choice)",
            )
    cell = spec.parameters.min_cell
    groups = [group for control in spec.controls.values() for group in control.subgroups]
    if cell > WIDE_CELL and any(group != "all" for group in groups):
        yield (
            ("spec", "parameters", "minCell"),
            f"subgroups of fewer than {cell:,} patients are not judged at all; 11 is enough to keep"
            " single patients out of a report",
        )
    lowest = min(_SEVERITIES.index(severity) for severity in spec.gate.fail_on)
    absent = [one for one in _SEVERITIES[lowest:] if one not in spec.gate.fail_on]
    if absent:
        yield (
            ("spec", "gate", "failOn"),
            f"{' and '.join(absent)} controls do not block a release, though"
            f" {_SEVERITIES[lowest]} ones do",
        )


# --- the day ------------------------------------------------------------------------------------


def _overdue(one: Located[Any], on: date) -> Iterator[Problem]:
    review = one.document.metadata.review_by
    if review is not None and review < on:
        message = f"its review was due by {review}; {on} is later"
        yield one.problem(("metadata", "reviewBy"), message)
    for origin in one.origins:
        if origin.review_by is not None and origin.review_by < on:
            message = (
                f"it rests on {origin.name} {origin.version} ({origin.file}), whose review was due"
                f" by {origin.review_by}"
            )
            yield one.problem(("spec",), message)


def _sign_off(
    one: Located[Any], path: KeyPath, spec: AttributeClassSpec, on: date
) -> Iterator[Problem]:
    if spec.reviewed is None:
        return
    if review_state(spec) == "changed":
        message = (
            f"{spec.reviewed.by} signed other codes off than the class has now, so it counts as a"
            " draft; have them read again (`phigate classes review`)"
        )
        yield one.problem((*path, "reviewed", "sha256"), message)
    if spec.reviewed.date > on:
        message = f"it was signed off on {spec.reviewed.date}; {on} is earlier"
        yield one.problem((*path, "reviewed", "date"), message)


# --- what a sample can show ---------------------------------------------------------------------


def _out_of_reach(spec: PolicySpec) -> Iterator[_Warning]:
    for name, control in spec.controls.items():
        metric = _metric(control)
        if metric is None:
            continue
        for attacker, limit in control.limits.items():
            reason = _hopeless(
                metric.family,
                limit,
                confidence=spec.parameters.confidence,
                of_class=control.attribute_class is not None,
            )
            if reason is not None:
                yield ("spec", "controls", name, "limits", attacker), reason


def _hopeless(
    family: Family[Any], limit: Limit, *, confidence: float, of_class: bool
) -> str | None:
    """Say why no sample of a realistic size can show that a limit is met, or None."""
    realistic = POSITIVES if of_class else PATIENTS
    who = "patients with the attribute" if of_class else "patients"
    if limit.fail is None:
        needed = limit.min_n or 0
    elif family.decided_by_zero_hits:
        needed = family.positives_needed(limit.fail, confidence=confidence)
    else:
        return _at_chance_level(family, limit.fail, confidence=confidence)
    if needed <= realistic:
        return None
    return (
        f"a pass needs at least {needed:,} eligible {who}, none of them told on; hardly a data set"
        f" has more than {realistic:,}"
    )


def _at_chance_level(family: Family[Any], limit: float, *, confidence: float) -> str | None:
    try:
        chance = family.chance_of_pass(
            limit, positives=POSITIVES, patients=PATIENTS, confidence=confidence
        )
    except InsufficientData as shortage:
        return f"with {PATIENTS:,} patients on each side there are {shortage}"
    if chance is None or chance >= HARDLY:
        return None
    return (
        f"even where nothing leaks, {PATIENTS:,} patients on each side could hardly show this"
        f" (chance of a pass {chance:.0%})"
    )
