"""The commands of new: documents and parts of a policy, asked for or given by options.

At a terminal what is not given is asked for; elsewhere it is named, all at once. Whatever is
written is valid: it is read as `validate` reads it before the file is touched.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from checker import clock
from checker.cli.console import say, tell
from checker.cli.options import File, RunFolder, json_option
from checker.errors import UsageError
from checker.plugins import nearest_or_all, plugin_names

if TYPE_CHECKING:
    from checker.policy.writing import Section

_DAYS_IN_FORCE = 90  # of a waiver, its first and its last among them
_SEVERITIES = ("critical", "high", "medium", "low")


@click.group()
def new() -> None:
    """Write a policy, a control, a class or a waiver, by questions or by options."""


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


class _Answers:
    """What was given by options, and what is asked for.

    Args:
        given: by the option's name without dashes; None or empty where it was not given.
    """

    def __init__(self, **given: Any) -> None:
        self._given = given
        self._missing: list[str] = []

    def get(self, name: str, question: str, *, default: str | None = None, among: str = "") -> str:
        """Return one answer; where nobody can be asked the default, or note that it is missing."""
        value = self._given.get(name)
        if value is not None:
            return str(value)
        if _at_terminal():
            return str(click.prompt(question + among, default=default, err=True)).strip()
        if default is None:
            self._missing.append(f"--{name}, {question}{among}")
        return default or ""

    def some(self, name: str, question: str, *, among: str = "") -> list[str]:
        """Return several answers, at a terminal separated by semicolons."""
        value = self._given.get(name)
        if value:
            return list(value)
        if _at_terminal():
            asked = click.prompt(f"{question}{among}, separated by ;", err=True)
            return [one.strip() for one in str(asked).split(";") if one.strip()]
        self._missing.append(f"--{name}, {question}{among}")
        return []

    def chosen(
        self, name: str, question: str, known: Sequence[str], *, default: str | None = None
    ) -> str:
        """Return one of some names; at a terminal they are listed, and an unknown one is said."""
        while True:
            listed = f" ({', '.join(known)})"
            value = self.get(name, question, default=default, among=listed)
            if not value or value in known:
                return value
            message = f"--{name} {value}: there is none{nearest_or_all(value, known)}"
            if self._given.get(name) is not None or not _at_terminal():
                raise UsageError(message)
            say(message)

    def require(self) -> None:
        """Refuse to go on without what is missing.

        Raises:
            UsageError: names all of it.
        """
        if self._missing:
            raise UsageError(f"still missing: {'; '.join(self._missing)}")


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"--{name} {text}: write a number such as 0.05") from error


def _write_new(path: Path, text: str, *, force: bool, as_json: bool, next_step: str) -> None:
    """Write a document that has a file of its own, once it is known to be valid."""
    from checker.evidence import write_atomically
    from checker.policy.writing import checked

    if path.exists() and not force:
        raise UsageError(f"{path}: is there already; --force overwrites it")
    located = checked(text, file=path)
    for warning in located.warnings:
        say(f"warning: {warning}")
    write_atomically(path, text.encode())
    kind, name = located.document.kind, located.document.metadata.name
    said = f"wrote {path}: {kind} {name}, valid\nnext: {next_step}"
    tell(said, as_json, written=[path], kind=kind, name=name)


def _put_in(
    path: Path, section: Section, name: str, value: Mapping[str, Any], *, as_json: bool
) -> None:
    """Put a part into a policy's file, once the whole is known to be valid."""
    from checker.evidence import write_atomically
    from checker.policy import load_only
    from checker.policy.documents import LeakagePolicy
    from checker.policy.writing import with_part

    text = with_part(path, section, name, value)
    write_atomically(path, text.encode(), mode=path.stat().st_mode & 0o777)
    located = load_only(LeakagePolicy, path)
    where = ("spec", section, name)
    for warning in located.warnings:
        if warning.path.startswith(".".join(where)):
            say(f"warning: {warning}")
    line = located.place(where).line
    said = f"{path}:{line}: {section} has '{name}', and the policy is valid"
    tell(said, as_json, written=[path], section=section, name=name, line=line)


@new.command("policy")
@click.argument("file", type=File)
@click.option("--name", help="Of the policy; default: that of the file.")
@click.option("--owner", help="Who answers for it.")
@click.option("--version", metavar="VERSION", help="Default: 1.0.0.")
@click.option("--extends", metavar="POLICY", help="A shipped policy, or a file beside this one.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@json_option
def new_policy(
    file: Path,
    name: str | None,
    owner: str | None,
    version: str | None,
    extends: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a policy into FILE that extends another and is ready to be tightened."""
    from checker.policy.shipped import references
    from checker.policy.writing import document_text

    answers = _Answers(name=name, owner=owner, version=version, extends=extends)
    head = {
        "name": answers.get("name", "name of the policy", default=file.stem),
        "version": answers.get("version", "version", default="1.0.0"),
        "owner": answers.get("owner", "who answers for it"),
    }
    listed = f" ({', '.join(references())}, or a file)"
    parent = answers.get("extends", "policy that it extends", among=listed)
    answers.require()
    text = document_text("LeakagePolicy", spec={"extends": [{"ref": parent}]}, **head)
    shown = shlex.quote(str(file))
    after = f"`phigate explain {shown}`, then `phigate new control {shown} NAME`"
    _write_new(file, text, force=force, as_json=as_json, next_step=after)


@new.command("class")
@click.argument("policy", type=File)
@click.argument("name")
@click.option("--title", help="What it is, in a few words.")
@click.option("--use", metavar="REFERENCE", help="A class to add to, such as library/hiv@1.")
@click.option(
    "--code",
    "codes",
    multiple=True,
    metavar="SYSTEM=CODE",
    help="Codes of it, such as icd10cm=F20-F25 or local=WARD//PSY; repeatable.",
)
@click.option(
    "--tier",
    type=click.Choice(["definitive", "strong", "suggestive", "exposure"]),
    default="definitive",
    show_default=True,
    help="How sure whoever has one of the codes has it.",
)
@json_option
def new_class(
    policy: Path,
    name: str,
    title: str | None,
    use: str | None,
    codes: tuple[str, ...],
    tier: str,
    as_json: bool,
) -> None:
    """Add an attribute class NAME to the file of a POLICY, with codes or from the library."""
    answers = _Answers(title=title, code=codes)
    value: dict[str, Any] = {}
    if use is None:
        value["title"] = answers.get("title", "what the class is, in a few words")
        codes = tuple(answers.some("code", "its codes, as icd10cm=F20-F25"))
    else:
        value["use"] = use
        value |= {"title": title} if title is not None else {}
    answers.require()
    by_system: dict[str, list[str]] = {}
    for one in codes:
        system, equals, code = one.partition("=")
        if not equals or not code.strip():
            raise UsageError(f"--code {one}: write SYSTEM=CODE, such as icd10cm=B20")
        by_system.setdefault(system.strip(), []).append(code.strip())
    if by_system:
        value["codes"] = [
            {"system": system, "tier": tier, "values": found} for system, found in by_system.items()
        ]
    _put_in(policy, "attributeClasses", name, value, as_json=as_json)


@new.command("control")
@click.argument("policy", type=File)
@click.argument("name")
@click.option("--title", help="The demand, in a sentence.")
@click.option("--class", "of", metavar="CLASS", help="An attribute class of the policy.")
@click.option("--probe", metavar="PROBE", help="The attack; default: attribute-disclosure.")
@click.option("--metric", metavar="METRIC", help="What is measured; default: an excess.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="ATTACKER=NUMBER",
    help="The most that may leak to an attacker, as k3-ten-events=0.05; repeatable.",
)
@click.option("--severity", type=click.Choice(_SEVERITIES), help="Default: high.")
@click.option("--cites", multiple=True, metavar="CITATION", help="What it leans on; repeatable.")
@json_option
def new_control(
    policy: Path,
    name: str,
    title: str | None,
    of: str | None,
    probe: str | None,
    metric: str | None,
    limits: tuple[str, ...],
    severity: str | None,
    cites: tuple[str, ...],
    as_json: bool,
) -> None:
    """Add a control NAME to the file of a POLICY: what must not leak, to whom, and how much may."""
    from checker.attacks.api import GROUP, load_attack
    from checker.policy import load_only
    from checker.policy.documents import LeakagePolicy

    spec = load_only(LeakagePolicy, policy).document.spec
    answers = _Answers(
        title=title, probe=probe, metric=metric, limit=limits, severity=severity, **{"class": of}
    )
    value: dict[str, Any] = {"title": answers.get("title", "the demand, in a sentence")}
    chosen = answers.chosen("probe", "attack", plugin_names(GROUP), default="attribute-disclosure")
    attack = load_attack(chosen)
    if attack.needs_attribute_class:
        value["attributeClass"] = answers.chosen("class", "class", list(spec.attribute_classes))
    elif of is not None:
        raise UsageError(f"--class {of}: {chosen} speaks of no class; leave it out")
    metrics = list(attack.metrics)
    likely = next((one for one in metrics if one.startswith("excess")), metrics[0])
    value |= {
        "probe": chosen,
        "metric": answers.chosen("metric", "metric", metrics, default=likely),
        "limits": _limits(answers, list(spec.attackers)),
        "severity": answers.chosen("severity", "severity", _SEVERITIES, default="high"),
    }
    answers.require()
    if cites:
        value["cites"] = list(cites)
    _put_in(policy, "controls", name, value, as_json=as_json)


def _limits(answers: _Answers, attackers: Sequence[str]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    listed = f" of {', '.join(attackers)}"
    for one in answers.some("limit", "limits as ATTACKER=NUMBER", among=listed):
        attacker, equals, number = one.partition("=")
        if not equals:
            raise UsageError(f"--limit {one}: write ATTACKER=NUMBER, such as k3-ten-events=0.05")
        if attacker not in attackers:
            hint = nearest_or_all(attacker, attackers)
            raise UsageError(f"--limit {one}: the policy has no attacker '{attacker}'{hint}")
        found[attacker] = {"fail": _number("limit", number)}
    return found


@new.command("waiver")
@click.argument("file", type=File)
@click.option("--run", type=RunFolder, help="A judged run: says policy, model and what failed.")
@click.option("--policy", metavar="NAME@VERSION", help="Without a run: whose demand is waived.")
@click.option("--model", metavar="NAME", help="Without a run: the model, as its target names it.")
@click.option("--sha256", metavar="DIGEST", help="Without a run: of the model's files.")
@click.option("--cell", metavar="CONTROL/ATTACKER", help="What is accepted, as in the report.")
@click.option("--ceiling", metavar="NUMBER", help="The largest value that is accepted.")
@click.option("--justification", metavar="TEXT", help="Why the risk is acceptable meanwhile.")
@click.option(
    "--measure", "measures", multiple=True, metavar="TEXT", help="Keeps the risk down; repeatable."
)
@click.option("--requester", metavar="PERSON", help="Who asks for it; never approves it.")
@click.option(
    "--approval",
    "approvals",
    multiple=True,
    metavar="PERSON,ROLE,DAY",
    help="Who consents, as 'Dr. M. Okafor,privacy-officer,2026-11-01'; repeatable.",
)
@click.option("--ticket", metavar="TEXT", help="Where the decision is recorded.")
@click.option("--starts", metavar="DAY", help="Default: today, UTC.")
@click.option("--expires", metavar="DAY", help="Last day in force; default: 90 days in all.")
@click.option("--name", help="Of the waiver; default: that of the file.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@json_option
def new_waiver(
    file: Path,
    run: Path | None,
    measures: tuple[str, ...],
    approvals: tuple[str, ...],
    name: str | None,
    force: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Write a waiver into FILE: one finding of one model, accepted for a time, by whom and why."""
    from checker.policy.writing import document_text

    check = None
    if run is not None:
        known, check = _of_run(run)
        given |= {key: one for key, one in known.items() if given.get(key) is None}
    today = clock.current_time().astimezone(UTC).date()
    answers = _Answers(**given, name=name, measure=measures, approval=approvals)
    policy = answers.get("policy", "policy whose demand is waived, NAME@VERSION")
    model = answers.get("model", "name of the model")
    sha256 = answers.get("sha256", "SHA-256 of its files, as in the report")
    cell = answers.get("cell", "what is accepted, CONTROL/ATTACKER")
    ceiling = answers.get("ceiling", "largest value that is accepted")
    spec: dict[str, Any] = {
        "policy": {"ref": policy},
        **_cell(cell),
        "model": {"name": model, "sha256": sha256},
        "ceiling": ceiling,
        "justification": answers.get("justification", "why the risk is acceptable meanwhile"),
        "compensatingControls": answers.some("measure", "what keeps the risk down meanwhile"),
        "requester": {"name": answers.get("requester", "who asks for it")},
        "approvals": [
            _approval(one) for one in answers.some("approval", "who consents, as PERSON,ROLE,DAY")
        ],
        "ticket": answers.get("ticket", "where the decision is recorded"),
        "startsOn": answers.get("starts", "first day", default=str(today)),
        "expiresOn": answers.get(
            "expires", "last day", default=str(today + timedelta(days=_DAYS_IN_FORCE - 1))
        ),
    }
    name = answers.get("name", "name of the waiver", default=file.stem)
    answers.require()
    spec["ceiling"] = _number("ceiling", ceiling)
    text = document_text("LeakageWaiver", name=name, version="1.0.0", spec=spec)
    if check is not None:
        check(text, file)
    against = "POLICY" if run is None else shlex.quote(str(run))
    word = "validate" if run is None else "judge"
    rest = f"{shlex.quote(str(file))} {against}" if run is None else f"{against} --waivers {file}"
    _write_new(file, text, force=force, as_json=as_json, next_step=f"`phigate {word} {rest}`")


def _cell(cell: str) -> dict[str, str]:
    """Return control, attacker and subgroup of a cell's name, as the report writes it."""
    control, _, rest = cell.partition("/")
    attacker, _, subgroup = rest.partition("/")
    if cell and not attacker:
        raise UsageError(f"--cell {cell}: write CONTROL/ATTACKER, as the report does")
    return {"control": control, "attacker": attacker} | ({"subgroup": subgroup} if subgroup else {})


def _approval(text: str) -> dict[str, str]:
    parts = [part.strip() for part in text.rsplit(",", 2)]
    if len(parts) != 3 or not all(parts):
        raise UsageError(
            f"--approval {text}: write PERSON,ROLE,DAY, such as"
            " 'Dr. M. Okafor,privacy-officer,2026-11-01'"
        )
    return dict(zip(("name", "role", "on"), parts, strict=True))


def _of_run(run: Path) -> tuple[dict[str, str], Callable[[str, Path], None]]:
    """Return what a run says of policy and model, and what checks a waiver against it."""
    from checker.policy.waivers import ceiling_warnings, check_waivers
    from checker.policy.writing import checked
    from checker.run.stored import load_run

    found = load_run(run)
    plan, head = found.plan, found.policy.metadata
    known = {
        "policy": f"{head.name}@{head.version}",
        "model": plan.target.document.metadata.name,
        "sha256": plan.target.model_sha256 or "",
    }

    def check(text: str, file: Path) -> None:
        waiver = checked(text, file=file)
        for warning in ceiling_warnings([waiver], found.policy):
            say(f"warning: {warning}")
        check_waivers(
            [waiver],
            policy=found.policy,
            policy_sha256=plan.policy.sha256,
            as_of=clock.current_time(),
            model_sha256=plan.target.model_sha256,
            cells=[cell.id for cell in plan.cells],
        )

    return known, check
