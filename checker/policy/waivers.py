"""Waivers: a written, approved and dated acceptance of one finding, for one model.

A waiver changes no measurement and no verdict. The control still runs, its finding stays what it
is and shows the waiver; what changes is that the finding does not block. It is held to what was
accepted: the risk up to its `ceiling`. Because an estimate may lie below the truth by luck, the
ceiling is compared as a limit is: the waiver holds where the cell would *pass* if the ceiling were
its limit, upper bound, sample and validity checks included, and is void otherwise. So more measured
leakage never turns a blocked cell into a waived one.

Days are calendar days of UTC, wherever the waiver was written or is read: in force from the first
second of `startsOn` to the last of `expiresOn`. A waiver that has expired, or that nothing needs,
is an error rather than decoration: exceptions that nobody withdraws pile up.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from checker.attacks.api import load_attack
from checker.canonical import JsonModel
from checker.errors import DocumentError, Problem
from checker.plugins import nearest_or_all, suggestion
from checker.policy.documents import (
    AsJson,
    ControlSpec,
    LeakagePolicy,
    LeakageWaiver,
    Person,
)
from checker.policy.located import Located
from checker.yaml import KeyPath, short

_NEARLY_ALL = 0.9
"""Of what lies between 0 and 1: a limit that only models which leak nearly everything exceed."""

WaiverStatus = Literal["applied", "void", "not-started", "unused", "expired", "refused"]
"""What became of a waiver; the last three are errors.

`void`: the cell is not shown to be within the ceiling, so it blocks as if there were no waiver.
`not-started`: it has no effect yet, as a renewal that is granted ahead has none.
`unused`: the cell does not block, so nothing has to be waived.
`refused`: it breaks a rule of its own or of the policy, or speaks of something else.
"""


class WaiverSnapshot(JsonModel):
    """A waiver as it was given, with the digest of its file."""

    document: Annotated[LeakageWaiver, AsJson]
    sha256: str


class WaiverRecord(JsonModel):
    """`waivers.json`: what a run was judged with, so that it can be judged again."""

    schema_version: Literal["1"] = "1"
    waivers: list[WaiverSnapshot]


@dataclass(frozen=True, slots=True)
class WaiverUse:
    """What became of a waiver in a judgement.

    Args:
        waiver: as it was given.
        status: whether it was applied, and if not why.
        explanation: one sentence.
    """

    waiver: LeakageWaiver
    status: WaiverStatus
    explanation: str

    @property
    def is_error(self) -> bool:
        """Whether somebody has to withdraw or mend it."""
        return self.status in {"unused", "expired", "refused"}


@dataclass(frozen=True, slots=True)
class _Objection:
    """Why a waiver does not hold, and at which of its keys."""

    path: KeyPath
    status: WaiverStatus
    message: str


def is_in_force(waiver: LeakageWaiver, *, as_of: datetime) -> bool:
    """Whether a time lies between the beginning of `startsOn` and the end of `expiresOn`, in UTC.

    Args:
        waiver: with its days.
        as_of: any time that knows its zone; which zone makes no difference.

    Raises:
        ValueError: the time knows no zone.
    """
    return waiver.spec.starts_on <= _utc_day(as_of) <= waiver.spec.expires_on


def _utc_day(moment: datetime) -> date:
    if moment.tzinfo is None:
        raise ValueError("a time without a zone is no point in time; add one, such as UTC")
    return moment.astimezone(UTC).date()


def waiver_problems(waiver: Located[LeakageWaiver]) -> list[Problem]:
    """Return all that is wrong with a waiver in itself, whatever the policy says."""
    return [
        waiver.problem(objection.path, objection.message)
        for objection in _own_objections(waiver.document)
    ]


def check_waivers(
    waivers: Sequence[Located[LeakageWaiver]],
    *,
    policy: LeakagePolicy,
    policy_sha256: str,
    as_of: datetime,
    model_sha256: str | None = None,
    cells: Collection[str] | None = None,
) -> None:
    """Check waivers against the policy they speak of, before anything is measured.

    Args:
        waivers: each valid in itself.
        policy: the policy that is judged by.
        policy_sha256: of its file.
        as_of: the time they have to be in force at.
        model_sha256: of the model's files, where it is known.
        cells: ids of all cells of the plan, where there is one.

    Raises:
        DocumentError: with all that is wrong, each at its line.
    """
    problems = []
    documents = [located.document for located in waivers]
    for index, located in enumerate(waivers):
        found = _objections(
            located.document,
            policy=policy,
            policy_sha256=policy_sha256,
            as_of=as_of,
            model_sha256=model_sha256,
            cells=cells,
            earlier=documents[:index],
        )
        problems += [
            located.problem(one.path, one.message) for one in found if one.status != "not-started"
        ]
    if problems:
        raise DocumentError(problems)


def check_together(documents: Sequence[Located[Any]], *, as_of: datetime) -> tuple[Problem, ...]:
    """Check the waivers among some documents against the policies among them that they speak of.

    Of a waiver whose policy is not among them only the dates are checked; one that speaks of
    another version of a policy that is, is an error.

    Args:
        documents: of any kind, each valid in itself.
        as_of: the time that the waivers have to be in force at.

    Returns:
        Warnings, of waivers that accept nearly everything, were not compared with their policy, or
        are not yet in force.

    Raises:
        DocumentError: with all that is wrong, each at its line.
    """
    waivers = [one for one in documents if isinstance(one.document, LeakageWaiver)]
    policies = [one for one in documents if isinstance(one.document, LeakagePolicy)]
    problems: list[Problem] = []
    wide: list[Problem] = []
    for policy in policies:
        name = policy.document.metadata.name
        meant = [one for one in waivers if one.document.spec.policy.name == name]
        try:
            check_waivers(meant, policy=policy.document, policy_sha256=policy.sha256, as_of=as_of)
        except DocumentError as error:
            problems += error.problems
        wide += ceiling_warnings(meant, policy.document)
    names = {policy.document.metadata.name for policy in policies}
    alone = [waiver for waiver in waivers if waiver.document.spec.policy.name not in names]
    problems += [
        waiver.problem(one.path, one.message)
        for waiver in alone
        for one in _out_of_time(waiver.document, as_of)
        if one.status == "expired"
    ]
    if problems:
        raise DocumentError(problems)
    early = [
        waiver.problem(one.path, f"{one.message}, so that nothing is waived yet")
        for waiver in waivers
        for one in _out_of_time(waiver.document, as_of)
        if one.status == "not-started"
    ]
    return (
        *wide,
        *early,
        *(
            waiver.problem(
                ("spec", "policy", "ref"),
                f"{waiver.document.spec.policy.ref} is not among these files, so the waiver was not"
                " compared with it; name both together",
            )
            for waiver in alone
        ),
    )


def use_waivers(
    waivers: Sequence[LeakageWaiver],
    *,
    policy: LeakagePolicy,
    policy_sha256: str,
    model_sha256: str,
    as_of: datetime,
    blocking: Mapping[str, bool],
    excess: Callable[[str, float], str | None],
) -> list[WaiverUse]:
    """Decide what becomes of each waiver; pure.

    Args:
        waivers: as given, also ones that do not hold.
        policy: the policy that is judged by.
        policy_sha256: of its file.
        model_sha256: of the model's files.
        as_of: the time judged for.
        blocking: by cell id, whether its finding blocks when nothing is waived.
        excess: says for a cell and a ceiling why the cell would not pass with the ceiling as its
            limit, or None where it would.

    Returns:
        One use per waiver, in order. At most one is applied to a cell.
    """
    uses: list[WaiverUse] = []
    for index, waiver in enumerate(waivers):
        found = _objections(
            waiver,
            policy=policy,
            policy_sha256=policy_sha256,
            as_of=as_of,
            model_sha256=model_sha256,
            cells=blocking,
            earlier=waivers[:index],
        )
        objection = next(found, None)
        if objection is not None:
            uses.append(WaiverUse(waiver, objection.status, _capital(objection.message)))
        elif not blocking[waiver.cell]:
            text = "The finding does not block, so nothing has to be waived; withdraw the waiver."
            uses.append(WaiverUse(waiver, "unused", text))
        elif (beyond := excess(waiver.cell, waiver.spec.ceiling)) is not None:
            uses.append(WaiverUse(waiver, "void", beyond))
        else:
            text = f"Accepted up to {waiver.spec.ceiling:g}, until the end of"
            text += f" {waiver.spec.expires_on} (UTC)."
            uses.append(WaiverUse(waiver, "applied", text))
    return uses


# --- why a waiver does not hold -----------------------------------------------------------------


def _objections(
    waiver: LeakageWaiver,
    *,
    policy: LeakagePolicy,
    policy_sha256: str,
    as_of: datetime,
    model_sha256: str | None,
    cells: Collection[str] | None,
    earlier: Sequence[LeakageWaiver],
) -> Iterator[_Objection]:
    """Yield all that keeps a waiver from holding, the gravest first."""
    yield from _own_objections(waiver)
    other = list(_other_subject(waiver, policy, policy_sha256, model_sha256))
    yield from other
    if not other:  # what another policy says is beside the point
        yield from _rules_broken(waiver, policy)
        yield from _nothing_to_waive(waiver, policy, cells)
    yield from _doubles(waiver, earlier)
    yield from _out_of_time(waiver, as_of)


def _refused(path: KeyPath, message: str) -> _Objection:
    return _Objection(("spec", *path), "refused", message)


def _own_objections(waiver: LeakageWaiver) -> Iterator[_Objection]:
    """What no policy could allow."""
    spec = waiver.spec
    if spec.expires_on < spec.starts_on:
        yield _refused(("expiresOn",), f"{spec.expires_on} is before startsOn, {spec.starts_on}")
    for index, approval in enumerate(spec.approvals):
        here = ("approvals", index)
        if _same_person(approval, spec.requester):
            yield _refused((*here, "name"), "the requester cannot approve the waiver")
        if any(_same_person(approval, other) for other in spec.approvals[:index]):
            yield _refused((*here, "name"), f"'{short(approval.name)}' approves twice")
        if approval.on > spec.starts_on:
            message = f"approved on {approval.on}, but the waiver starts on {spec.starts_on}"
            yield _refused((*here, "on"), message)


def _same_person(one: Person, other: Person) -> bool:
    if _letters(one.name) == _letters(other.name):
        return True
    return (
        one.email is not None
        and other.email is not None
        and (_folded(one.email) == _folded(other.email))
    )


def _folded(text: str) -> str:
    """Drop what people would not see: case, spacing, invisible characters, compatibility forms."""
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible).casefold().split())


def _letters(name: str) -> str:
    """Drop from a name what people write or leave out as they like: Dr. A. Lind, Dr A Lind."""
    return " ".join("".join(c if c.isalnum() else " " for c in _folded(name)).split())


def _other_subject(
    waiver: LeakageWaiver, policy: LeakagePolicy, policy_sha256: str, model_sha256: str | None
) -> Iterator[_Objection]:
    """Another policy or another model than the one at hand."""
    waived, meta = waiver.spec.policy, policy.metadata
    if waived.ref != f"{meta.name}@{meta.version}":
        message = f"the waiver is from {waived.ref}, but this is {meta.name}@{meta.version}"
        yield _refused(("policy", "ref"), message)
    elif waived.sha256 is not None and waived.sha256 != policy_sha256:
        message = f"the policy's file is another one: its SHA-256 is {policy_sha256}"
        yield _refused(("policy", "sha256"), message)
    if model_sha256 is not None and waiver.spec.model.sha256 != model_sha256:
        message = f"the waiver is for another model: the SHA-256 of this one is {model_sha256}"
        yield _refused(("model", "sha256"), message)


def _rules_broken(waiver: LeakageWaiver, policy: LeakagePolicy) -> Iterator[_Objection]:
    """What the policy's own rules for waivers forbid."""
    spec, rules = waiver.spec, policy.spec.waivers
    if rules is None:
        message = "the policy grants no waivers: it has no spec.waivers that says who may approve"
        yield _refused(("policy",), message)
        return
    for index, approval in enumerate(spec.approvals):
        if approval.role not in rules.approver_roles:
            roles = ", ".join(rules.approver_roles)
            hint = suggestion(approval.role, rules.approver_roles) or f"; these may: {roles}"
            message = f"'{short(approval.role)}' may not approve under this policy{hint}"
            yield _refused(("approvals", index, "role"), message)
    if len(spec.approvals) < rules.min_approvers:
        message = f"{len(spec.approvals)} approved, but the policy asks for {rules.min_approvers}"
        yield _refused(("approvals",), message)
    length = spec.expires_on - spec.starts_on + timedelta(days=1)
    if length > rules.max_duration:
        latest = spec.starts_on + rules.max_duration - timedelta(days=1)
        message = (
            f"the waiver lasts {length.days} days, but the policy allows"
            f" {rules.max_duration.days}; it may expire on {latest} at the latest"
        )
        yield _refused(("expiresOn",), message)


def _nothing_to_waive(
    waiver: LeakageWaiver, policy: LeakagePolicy, cells: Collection[str] | None
) -> Iterator[_Objection]:
    """A demand that is not there, can never be waived, or decides nothing."""
    spec, controls = waiver.spec, policy.spec.controls
    control = controls.get(spec.control)
    if control is None:
        yield _refused(("control",), _unknown("control", spec.control, controls))
        return
    if control.enforcement == "absolute":
        yield _refused(("control",), f"'{spec.control}' is absolute and can never be waived")
    elif control.enforcement == "advisory":
        yield _refused(("control",), f"'{spec.control}' is advisory: it decides nothing to waive")
    limit = control.limits.get(spec.attacker)
    if limit is None:
        yield _refused(("attacker",), _unknown("attacker", spec.attacker, control.limits))
        return
    if spec.ceiling <= limit.allowed:
        message = f"a ceiling of {spec.ceiling:g} is not above the limit, {limit.allowed:g}"
        yield _refused(("ceiling",), message)
    largest = _largest(control)
    if largest is not None and spec.ceiling > largest:
        message = f"{spec.ceiling:g} must be at most {largest:g}, as '{control.metric}' is"
        yield _refused(("ceiling",), message)
    if cells is not None and waiver.cell not in cells:
        start = f"{spec.control}/{spec.attacker}/"
        groups = [cell.removeprefix(start) for cell in cells if cell.startswith(start)]
        yield _refused(("subgroup",), _unknown("subgroup", spec.subgroup, groups))


def _largest(control: ControlSpec) -> float | None:
    """Return the largest value that a control's metric can have, or None where nothing bounds it.

    A ceiling above it would accept everything: a share of patients is at most 1.
    """
    metric = load_attack(control.probe).metrics.get(control.metric)
    return metric.family.largest if metric is not None else None


def accepts_nearly_all(control: ControlSpec, value: float) -> str | None:
    """Return why a ceiling or limit is hardly one, because so few models exceed it; else None.

    Only of shares and of what lies between 0 and 1 as they do: where people are counted, the most
    that a limit may be is few.
    """
    if _largest(control) != 1.0 or value < _NEARLY_ALL:
        return None
    return (
        f"'{control.metric}' is at most 1, so that only a model that leaks nearly everything"
        f" exceeds {value:g}"
    )


def ceiling_warnings(
    waivers: Iterable[Located[LeakageWaiver]], policy: LeakagePolicy
) -> Iterator[Problem]:
    """Yield a warning for each waiver of a policy whose ceiling hardly any model exceeds."""
    for waiver in waivers:
        spec = waiver.document.spec
        control = policy.spec.controls.get(spec.control)
        if control is not None and (why := accepts_nearly_all(control, spec.ceiling)) is not None:
            yield waiver.problem(("spec", "ceiling"), f"{why}: it accepts whatever else is found")


def _unknown(what: str, word: str, known: Collection[str]) -> str:
    return f"the policy has no {what} '{short(word)}' here{nearest_or_all(word, known)}"


def _out_of_time(waiver: LeakageWaiver, as_of: datetime) -> Iterator[_Objection]:
    if is_in_force(waiver, as_of=as_of):
        return
    spec, day = waiver.spec, _utc_day(as_of)
    if day > spec.expires_on:
        message = f"the waiver expired at the end of {spec.expires_on} (UTC); today is {day}"
        yield _Objection(("spec", "expiresOn"), "expired", message)
    elif day < spec.starts_on:
        message = f"the waiver starts on {spec.starts_on} (UTC); today is {day}"
        yield _Objection(("spec", "startsOn"), "not-started", message)


def _doubles(waiver: LeakageWaiver, earlier: Sequence[LeakageWaiver]) -> Iterator[_Objection]:
    """A second waiver of one name or for one cell: which of them was meant?"""
    for other in earlier:
        if other.metadata.name == waiver.metadata.name:
            message = f"another waiver is called '{other.metadata.name}' too; rename one"
            yield _Objection(("metadata", "name"), "refused", message)
        elif (
            other.cell == waiver.cell
            and other.spec.policy.ref == waiver.spec.policy.ref
            and other.spec.model.sha256 == waiver.spec.model.sha256
            and other.spec.starts_on <= waiver.spec.expires_on
            and waiver.spec.starts_on <= other.spec.expires_on
        ):
            message = f"'{other.metadata.name}' waives {waiver.cell} at that time too; keep one"
            yield _refused(("control",), message)


def _capital(sentence: str) -> str:
    return f"{sentence[:1].upper()}{sentence[1:]}."
