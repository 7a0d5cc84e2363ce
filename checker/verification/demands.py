"""What the run was judged by: the demands of its plan, and whether they are the institution's.

A run whose jobs, digests, evidence and report were all rewritten fits together again. Only what is
outside of it shows that this did not happen: a signature, or a ledger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from checker.attacks.api import GROUP, columns_of, load_attack, version_of_kind
from checker.attacks.families import Power
from checker.attacks.tables import booleans, in_subgroup
from checker.evidence import EvidenceStore
from checker.kinds import SHARED
from checker.planning import AuditPlan, Cell, Job, demanded_cells
from checker.planning.cells import metric_of
from checker.planning.extraction import KIND as EXTRACTION
from checker.planning.identity import class_identity, identity
from checker.planning.protocol import planning_of
from checker.plugins import BUILT_IN, backend_version
from checker.policy import load_policy, resolve_attacker
from checker.policy.documents import PolicySpec, as_json
from checker.run.stored import Run
from checker.verification.statement import Statement

DIFFERENCES_SHOWN = 3


def check_demands(run: Run) -> Statement:
    """The cells of the plan are those that the policy it holds gives: none missing, none milder."""
    spec = run.policy.spec
    if not run.plan.policy.is_unchanged:
        return Statement(False, "plan.json: its policy is not the one that its digest names")
    if not run.plan.target.is_unchanged:
        return Statement(False, "plan.json: its target is not the one that its digest names")
    if run.plan.confidence != spec.parameters.confidence:
        return Statement(False, "plan.json: its confidence is not that of its policy")
    if run.plan.sequential != spec.parameters.sampling.sequential:
        return Statement(False, "plan.json: how patients are drawn is not what its policy says")
    asked = {cell.id: cell for cell in demanded_cells(run.plan, spec)}
    found = {cell.id: cell for cell in run.plan.cells}
    if missing := asked.keys() - found.keys():
        return Statement(False, f"plan.json: lacks what its policy asks for: {min(missing)}")
    if strange := found.keys() - asked.keys():
        return Statement(False, f"plan.json: has what its policy does not ask for: {min(strange)}")
    for name, cell in asked.items():
        changed = [
            field
            for field in type(cell).model_fields
            if getattr(cell, field) != getattr(found[name], field)
            and not (field == "power" and _is_nearly(cell.power, found[name].power))
        ]
        if changed:
            what = ", ".join(changed)
            return Statement(False, f"plan.json: {what} of {name} is not what its policy says")
    return Statement(True, f"all {len(found)} cells are what the plan's policy asks for")


def _is_nearly(power: Power, told: Power) -> bool:
    """Whether chances are equal but for rounding, which another version's arithmetic may differ in.

    What a cell announced decides nothing.
    """
    here, there = power.model_dump(), told.model_dump()
    return all(
        math.isclose(value, there[name], rel_tol=1e-6, abs_tol=1e-9)
        if isinstance(value, float) and isinstance(there[name], float)
        else value == there[name]
        for name, value in here.items()
    )


def check_declarations(run: Run) -> Iterator[Statement]:
    """Say what a pass rests on that no evidence shows: what the target's owner declares."""
    names = [*run.policy.spec.prerequisites]
    if names:
        declared = run.plan.target.document.spec.declarations
        held = [name for name in names if name in declared]
        text = (
            f"{len(held)} of {len(names)} prerequisites are declared by the model's owner; nobody"
            " here has read the documents, and only a signature shows who wrote the declarations"
        )
        yield Statement(None, text)


def check_measurements(run: Run) -> Statement:
    """Each cell is judged from jobs that ask what its policy says: codes, knowledge and settings.

    A job's inputs are what its digest is of (`check_jobs`).
    """
    plan, spec = run.plan, run.policy.spec
    jobs = {job.digest: job for job in plan.jobs}
    for job in plan.jobs:
        if job.inputs.get("seed", plan.seed) != plan.seed:
            return Statement(False, f"plan.json: its seed is not that of job {job.digest[:12]}")
    for cell in plan.cells:
        for digest in cell.judged_from:
            asked = jobs.get(digest)
            strange = (
                "a job it does not have" if asked is None else _strange(cell, asked, plan, spec)
            )
            if strange:
                text = f"plan.json: {cell.id} is judged from {strange} ({digest[:12]})"
                return Statement(False, text)
    return Statement(True, "all cells are judged from jobs that ask what the policy says")


def check_plugins(run: Run) -> Iterator[Statement]:
    """Say where the code that observed something is not the code that is installed here."""
    kinds = {job.kind: job.inputs["plugin"] for job in run.plan.jobs if "plugin" in job.inputs}
    for kind, told in kinds.items():
        here = version_of_kind(kind)
        if told == here:
            continue
        was, now = _named_version(told), _named_version(here)
        yield Statement(None, f"jobs of kind {kind} were run by {was}; installed here is {now}")
    target = run.plan.target
    document = target.document.spec
    for what, spec, told in (
        ("model", document.model, target.backend),
        ("reference", document.reference, target.reference_backend),
    ):
        if spec is None or told == (here := backend_version(spec.backend)):
            continue
        text = f"the {what} was asked through the backend {spec.backend} of {_named_version(told)}"
        yield Statement(None, f"{text}; installed here is {_named_version(here)}")


def _named_version(told: Any) -> str:
    """Name a plug-in's distribution, version and the beginning of its files' digest."""
    if not isinstance(told, Mapping):
        return "phigate itself"
    name, version, sha256 = (str(told.get(key)) for key in ("distribution", "version", "sha256"))
    return f"{name} {version} ({sha256[:12]}…)"


def _strange(cell: Cell, job: Job, plan: AuditPlan, spec: PolicySpec) -> str | None:
    """Say in what a job of a cell asks something else than the cell's policy says, or None."""
    watch = plan.classes[cell.attribute_class].watch if cell.attribute_class else []
    asked: Mapping[str, Any]
    if job.kind in _SHARED:
        asked = _SHARED[job.kind](cell, plan, spec)
    elif job.kind in load_attack(cell.probe).kinds:
        asked = planning_of(load_attack(cell.probe)).demands(job, cell, watch=watch)
    else:
        return "a job of a kind that its attack does not ask for"
    for name, value in asked.items():
        if job.inputs.get(name) != value:
            return f"a job of other {_WORDS.get(name, name)}"
    is_enough = _ENOUGH.get(job.kind)
    if is_enough is not None and not is_enough(cell, job, watch):
        return "a job of fewer samples"
    if job.kind == EXTRACTION and _leaves_members_out(cell, job, plan, spec):
        return "a job of a part of the members, of whom nobody may be hit"
    if job.needs and cell.labels is not None and cell.labels not in job.needs:
        return "a job of other patients"
    return None


def _leaves_members_out(cell: Cell, job: Job, plan: AuditPlan, spec: PolicySpec) -> bool:
    """Whether a job asks the lot alone where a test asks every member, and its policy by need."""
    by_need = {spec.parameters.sampling.patients, plan.data.patients} == {"auto"}
    wants_all = cell.gating and cell.limit.max_count is not None and cell.labels is None
    of_lot = plan.data.lot[0] < plan.data.members and not job.asks_every_member
    return by_need and wants_all and bool(job.inputs["member"]) and of_lot


def _draws_enough(cell: Cell, job: Job, watch: Sequence[int]) -> bool:
    """Whether a job draws as many samples as a cell takes: they have numbers, and it reads its own.

    Where q is estimated these are the first of each prompt, and for a threshold as many more as its
    test asks for, or all.
    """
    samples, wanted = int(job.inputs.get("samples", 0)), int(cell.params.get("samples", 0))
    asked = job.inputs.get("thresholdTest")
    params = load_attack(cell.probe).params.model_validate(cell.params)
    first = int(getattr(params, "estimation_samples", wanted))
    most = int(getattr(params, "decision_samples", wanted))
    decides = cell.gating and metric_of(cell).thresholded
    # of a pool every patient has a part of what is watched
    watched = [own for own in job.inputs.get("watch", []) if set(own) <= set(watch)]
    least = samples if asked is None else int(asked["first"])
    if not watched or not getattr(params, "estimates_q", False):
        return least >= wanted
    if asked is None:
        return samples >= (most if decides else first)
    test = {"threshold": cell.params["threshold"], "first": first, "most": most}
    return least >= first and (
        not decides or any({**test, "watch": own} in asked["tests"] for own in watched)
    )


def _labels(cell: Cell, plan: AuditPlan, spec: PolicySpec) -> dict[str, Any]:
    params = cell.params
    asked: dict[str, Any] = {"attacker": identity(resolve_attacker(spec, cell.attacker))}
    if "horizonTokens" in params:
        asked["horizonTokens"] = params["horizonTokens"]
    if cell.attribute_class:
        asked["codes"] = class_identity(spec, cell.attribute_class)
        declared = plan.classes[cell.attribute_class]
        asked["watch"] = declared.watch
        parts = {name: one.watch for name, one in declared.parts.items()}
        asked["parts"] = parts or None
    if cell.probe not in BUILT_IN[GROUP]:
        return asked  # whom an attack of somebody else asks, and how far, is its own affair
    if cell.attribute_class:
        asked["horizonTokens"] = params.get("horizonTokens", 1)
        wanted = load_attack(cell.probe).params.model_validate(params).asks_everybody
        asked["everybody"] = metric_of(cell).family.takes_everybody or wanted
    elif EXTRACTION in planning_of(load_attack(cell.probe)).kinds_read(cell):
        # what follows the cut is one window, whatever is drawn for other metrics
        asked["codes"] = None
        asked["horizonTokens"] = asked["minTokens"] = params["length"]
    else:
        asked["codes"] = None
        # a run has its length, and any continuation a distance
        asked["minTokens"] = 1 if metric_of(cell).outcome == "distance" else params["minRun"]
    return asked


def _rollouts(cell: Cell, plan: AuditPlan, spec: PolicySpec) -> dict[str, Any]:
    settings = ("horizonTokens", "temperature", "topP")
    return {name: cell.params[name] for name in settings if name in cell.params}


def _extraction(cell: Cell, plan: AuditPlan, spec: PolicySpec) -> dict[str, Any]:
    settings = ("length", "windows", "temperature", "topP")
    return {name: cell.params[name] for name in settings if name in cell.params}


def _nothing(cell: Cell, plan: AuditPlan, spec: PolicySpec) -> dict[str, Any]:
    return {}


_SHARED: dict[str, Callable[[Cell, AuditPlan, PolicySpec], dict[str, Any]]] = {
    **dict.fromkeys(SHARED, _nothing),
    "labels": _labels,
    "rollouts": _rollouts,
    "extraction": _extraction,
}
"""Inputs that a job of a shared kind must have for a cell to rest on it."""

_ENOUGH: dict[str, Callable[[Cell, Job, Sequence[int]], bool]] = {"rollouts": _draws_enough}
"""Kinds of which a cell may read a part, and whether a job holds what it reads."""

_WORDS = {"parts": "classes of its pool"}
"""Inputs by what people call them, where that is something else."""


def check_empty(run: Run) -> Statement:
    """Subgroups that the plan calls empty have no member in the evidence."""
    store = EvidenceStore(run.folder, columns_of)
    entries = {entry.job: entry for entry in run.manifest.entries}
    for cell in run.plan.cells:
        if cell.sample.subgroup_members != 0:
            continue
        for digest in cell.judged_from:
            table = store.load(entries[digest]) if digest in entries else None
            if table is None or not {"subgroups", "member"} <= set(table.column_names):
                continue
            inside = in_subgroup(table, cell.subgroup)
            if (inside & booleans(table, "member")).any():
                return Statement(False, f"plan.json: {cell.subgroup} of {cell.id} is not empty")
    return Statement(True, "no subgroup is called empty that has members")


def check_policy(run: Run, path: Path) -> Statement:
    """The policy that the plan holds is the one that the institution keeps.

    A policy that was loosened in the plan, with all that follows from it, is another than this one.

    Raises:
        DocumentError: it is no valid policy.
    """
    kept = load_policy(path)
    differences = list(_differences(as_json(kept.document), as_json(run.policy)))
    if differences:
        shown = ", ".join(differences[:DIFFERENCES_SHOWN])
        more = len(differences) - DIFFERENCES_SHOWN
        shown += f" and {more} more" if more > 0 else ""
        return Statement(
            False,
            f"{path.name} is not the policy that the run was judged by: they differ in {shown}",
        )
    if _files_of(run.plan) != [kept.sha256, *(origin.sha256 for origin in kept.origins)]:
        text = f"{path.name} was written anew since, and asks for what the run was judged by"
        return Statement(True, text)
    return Statement(True, f"{path.name} is the policy that the run was judged by")


def _files_of(plan: AuditPlan) -> list[str]:
    return [plan.policy.sha256, *(origin.sha256 for origin in plan.policy.origins)]


def _differences(kept: Any, held: Any, where: str = "") -> Iterator[str]:
    """Yield the dotted paths at which two documents differ."""
    if not (isinstance(kept, dict) and isinstance(held, dict)):
        if kept != held:
            yield where
        return
    for key in dict.fromkeys([*kept, *held]):
        below = f"{where}.{key}" if where else key
        if key in kept and key in held:
            yield from _differences(kept[key], held[key], below)
        else:
            yield below
