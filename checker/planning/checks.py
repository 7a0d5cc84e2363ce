"""How often each check that can stop a pass lets a sound model through, before any model runs.

A gate that is never opened is switched off. What a cell's bounds can decide is its own power
(`checker.planning.power`); this is what stands beside it, and can stop what the bounds would pass:
how likely it stops a model that leaks nothing and is described rightly (a false alarm), and what it
would find with these patients. `checker.planning.release` puts both together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import scipy

from checker import stats
from checker.attacks.api import load_attack
from checker.planning.cells import base_rate_cells, metric_of, spread_in
from checker.planning.learned_splits import compares_splits, learned_splits
from checker.planning.model import AuditPlan, Cell, CheckPower, Job, PromptGap
from checker.planning.nonmembers import SPARE
from checker.planning.overlap import SAME_CODES_ALLOWED
from checker.policy.prerequisites import prerequisite_findings
from checker.records.prompt_format import FORMAT_PATIENTS_NEEDED
from checker.records.prompts import DISTINCT_PROMPTS_NEEDED
from checker.stats import false_alarms

BASE_SCORE_SD = 0.2
"""Spread of what prompts promise of a class among those who have it, as the plan assumes it.

Synthea's prompts have 0.17 to 0.21, made-up cohorts 0.01 to 0.08; less spread is easier to show."""

PREREQUISITE = "prerequisite:"
"""What stands before a prerequisite's name among the checks."""

FOUND = 0.8
"""The chance with which a check finds what its `finds` says."""


def check_powers(plan: AuditPlan) -> list[CheckPower]:
    """Return every check that can stop a pass of a plan's deciding cells, in the judge's order."""
    deciding = [cell for cell in plan.cells if cell.gating and cell.power.can_pass]
    on_split = [cell for cell in deciding if metric_of(cell).rests_on_split]
    found = [*_of_the_instrument(plan, deciding), *_of_the_splits(plan, on_split)]
    found += [_direction(plan, deciding), *_of_the_reference(plan, deciding)]
    found += [_declared_privacy(plan, deciding), _shared_prompts(on_split)]
    return [*_prerequisites(plan), *(check for check in found if check.cells)]


def _prerequisites(plan: AuditPlan) -> Iterator[CheckPower]:
    """What the target declares, known already; its dates are asked when it is judged."""
    deciding = sum(cell.gating for cell in plan.cells)
    for one in prerequisite_findings(
        plan.policy.document.spec,
        plan.target.document.spec,
        model_sha256=plan.target.model_sha256,
        as_of=None,
    ):
        yield CheckPower(
            name=f"{PREREQUISITE}{one.name}",
            reason=one.reason or "not-declared",
            title=f"{one.spec.title} (declared by the owner)",
            chance=float(one.verdict == "pass"),
            condition="its date still counts" if one.verdict == "pass" else None,
            cells=deciding,
        )


# --- does the audit look at the model as it is? --------------------------------------------------


def _of_the_instrument(plan: AuditPlan, deciding: Sequence[Cell]) -> Iterator[CheckPower]:
    """The prompt format, the floor, and what the trainer expects."""
    enough = _looks_at_enough(plan.job("prompt-format"))
    yield CheckPower(
        name="prompt-format",
        reason="attack-not-shown-to-work",
        title="the declared prompt format is the model's own",
        chance=float(enough),
        condition="it is described rightly" if enough else None,
        cells=len(deciding),
    )
    expected = plan.target.document.spec.expect
    confirmed = expected is not None and expected.tokens is not None
    learned = "it knows more than which token follows which"
    yield CheckPower(
        name="floor",
        reason="attack-not-shown-to-work",
        title="the model knows more than a table of tokens",
        chance=float(enough),
        condition=(f"{learned}, or expect.tokens agrees" if confirmed else learned)
        if enough
        else None,
        cells=len(deciding),
    )
    tokenization = plan.target.document.spec.tokenization
    if tokenization.channels:
        trusted = confirmed or tokenization.records is not None
        heeds = "the model surely heeds each" + (", or hardly at all" if trusted else "")
        yield CheckPower(
            name="channels",
            reason="attack-not-shown-to-work",
            title="what the model is told beside token ids is its own",
            chance=float(enough),
            condition=heeds if enough else None,
            cells=len(deciding),
        )
    if confirmed:
        yield CheckPower(
            name="expected-tokens",
            reason="expectation-not-met",
            title="records are tokenized as the trainer's data loader does it",
            chance=1.0,
            condition="it is described rightly",
            cells=len(deciding),
        )
    if expected is not None and expected.loss is not None:
        enough = _looks_at_enough(plan.job("expected-loss"))
        yield CheckPower(
            name="expected-loss",
            reason="expectation-not-met",
            title="the members' loss is the one that the trainer measured",
            chance=float(enough),
            condition="the declared loss is true" if enough else None,
            cells=len(deciding),
        )
    watched = {job.digest for job in plan.jobs if job.inputs.get("watch") and job.uses_model}
    yield CheckPower(
        name="naming",
        reason="attack-not-shown-to-work",
        title="the model names classes as often as it says that it will",
        chance=1 - false_alarms.NAMING,
        is_floor=True,
        cells=sum(not watched.isdisjoint(cell.jobs) for cell in deciding),
    )
    yield from _description(plan, len(deciding))
    required = plan.policy.document.spec.gate.require_expectation
    if required and (expected is None or (expected.tokens is None and expected.loss is None)):
        yield CheckPower(
            name="expectation",
            reason="expectation-missing",
            title="the target says what its trainer expects",
            chance=0.0,
            cells=len(deciding),
        )


def _looks_at_enough(job: Job | None) -> bool:
    return job is not None and job.inputs.get("patients", 0) >= FORMAT_PATIENTS_NEEDED


# --- are members and nonmembers alike? -----------------------------------------------------------


def _of_the_splits(plan: AuditPlan, on_split: Sequence[Cell]) -> Iterator[CheckPower]:
    assignment = plan.target.document.spec.data.assignment
    everybody = plan.data.nonmembers + plan.data.set_aside
    yield CheckPower(
        name="split-overlap",
        reason="split-overlap",
        title="no record of a member is also a nonmember's (compared already)",
        chance=float(
            plan.data.copied == 0 and plan.data.same_codes <= SAME_CODES_ALLOWED * everybody
        ),
        cells=len(on_split),
    )
    most = plan.policy.document.spec.parameters.max_near_duplicates
    yield CheckPower(
        name="near-duplicates",
        reason="near-duplicates",
        title="hardly any nonmember has nearly a member's record (compared already)",
        chance=float(plan.data.near_duplicates <= most * everybody),
        cells=len(on_split),
    )
    by_codes = [cell for cell in on_split if not compares_splits(cell)]
    yield _classifier(plan, by_codes, assignment)
    yield learned_splits(plan, on_split)
    yield _base_rates(plan, on_split, assignment)
    yield from _nonmembers(plan, len(on_split))
    yield _placebo(plan, on_split)


def _classifier(
    plan: AuditPlan, on_split: Sequence[Cell], assignment: Literal["random", "other"] | None
) -> CheckPower:
    """(b): codes and record length must not tell the splits apart."""
    dealt = assignment == "random"
    members, nonmembers = plan.data.lot
    judged = members - members // 2, nonmembers - nonmembers // 2
    finds: float | None
    if dealt:
        # too few to judge prove nothing, and are no objection
        finds = auroc_found(*judged, level=false_alarms.SPLITS)
        chance = 1.0 if finds is None else 1 - false_alarms.SPLITS
    else:
        finds = 0.5 + plan.policy.document.spec.parameters.admissibility_tolerance
        chance = plan.comparability.pass_probability or 0.0
    return CheckPower(
        name="splits",
        reason="split-not-comparable",
        title="without the model, members do not differ from nonmembers"
        if dealt
        else "without the model, members are shown to look like nonmembers",
        chance=chance,
        is_floor=dealt,
        cells=len(on_split),
        finds=finds,
        found="auroc" if finds is not None else None,
        found_chance=None if finds is None else FOUND if dealt else plan.confidence,
    )


def _description(plan: AuditPlan, cells: int) -> Iterator[CheckPower]:
    """Nobody is recognised otherwise, and the parts of a record are what the model expects.

    A model that was never taught to predict its prefix needs the trainer's sequences for it.
    """
    told, parts = plan.job("other-descriptions"), plan.job("record-parts")
    yield CheckPower(
        name="other-descriptions",
        reason="attack-not-shown-to-work",
        title="no member is recognised who is described otherwise",
        chance=1 - false_alarms.RECOGNISED if told else 0.0,
        cells=cells,
        is_floor=told is not None,
    )
    # events beat how often their tokens occur by far, or by nothing: there chance stops nobody
    sure = plan.job("expected-tokens") is not None
    yield CheckPower(
        name="record-parts",
        reason="attack-not-shown-to-work",
        title="the parts of a record are the model's own",
        chance=(1.0 if sure else 1 - false_alarms.PARTS) if parts else 0.0,
        cells=cells,
        is_floor=parts is not None and not sure,
    )


def _nonmembers(plan: AuditPlan, cells: int) -> Iterator[CheckPower]:
    """The model does not know the nonmembers, and where there are spare patients, is shown not to.

    Sound is also a model of which up to 1 % of the nonmembers are extractable by chance.
    """
    reason = "nonmembers-known-to-model"
    yield CheckPower(
        name="nonmembers-extracted",
        reason=reason,
        title="no piece of a nonmember's record comes out of the model",
        chance=1 - false_alarms.NONMEMBERS if plan.nonmember_jobs else 0.0,
        cells=cells,
        is_floor=bool(plan.nonmember_jobs),
    )
    if plan.target.document.spec.data.spare_splits:
        compared, differ = plan.job(SPARE) is not None, plan.spare_difference
        known = not compared or differ is not None  # then it stops whatever the model's scores say
        yield CheckPower(
            name="nonmembers-spare",
            reason=reason if differ is None else "spare-not-comparable",
            title="to the model, nonmembers look like spare patients",
            chance=0.0 if known else 1 - false_alarms.NONMEMBERS,
            cells=cells,
            is_floor=not known,
        )


def _base_rates(
    plan: AuditPlan, on_split: Sequence[Cell], assignment: Literal["random", "other"] | None
) -> CheckPower:
    """(c): prompts promise the class alike, or what they promise is subtracted."""
    compared = base_rate_cells(plan)
    level = false_alarms.base_rate_confidence(cells=len(compared))
    chosen = {cell.id for cell in on_split}
    compared = [cell for cell in compared if cell.id in chosen]
    check = CheckPower(
        name="base-rates",
        reason="split-not-comparable",
        title="prompts do not promise the class more often in members",
        chance=1.0,
        is_floor=True,
        cells=len(compared),
    )
    if not compared:
        return check
    if assignment == "random":
        gaps = {cell.id: _gap_error(cell) for cell in compared}
        worst = max(gaps, key=lambda name: gaps[name])
        widest = gaps[worst]
        if math.isinf(widest):
            return check.model_copy(update={"chance": 1 - false_alarms.BASE_RATES})
        return check.model_copy(
            update={
                "chance": 1 - false_alarms.BASE_RATES,
                "finds": min(
                    1.0, float(scipy.special.ndtri(level) + scipy.special.ndtri(FOUND)) * widest
                ),
                "found": "base-rate-gap",
                "found_chance": FOUND,
                "finds_in": worst,
            }
        )
    looked = plan.prompt_gaps
    drift = _true_share(looked.values())
    chances = {
        cell.id: base_rate_chance(
            cell,
            assignment=assignment,
            confidence=plan.confidence,
            gap=looked.get(cell.id),
            true_share=drift,
            spread=spread_in(plan, cell),
        )
        for cell in compared
    }
    # what only warns where it is not decided keeps no model from release
    blocking = [cell for cell in compared if cell.on_inconclusive == "block"]
    cell = min(blocking or compared, key=lambda one: chances[one.id])
    is_known = looked.keys() >= chances.keys()
    assumed = f"what they promise spreads by {BASE_SCORE_SD:g} among those who have it"
    return check.model_copy(
        update={
            "title": f"{check.title} (compared already)" if is_known else check.title,
            "condition": None if is_known else assumed,
            "is_floor": not is_known,
            "chance": _together(blocking, chances),
            "worst": cell.id,
            "finds": None if cell.limit.fail is None else _room(cell, assignment=assignment),
            "found": "base-rate-gap",
            "found_chance": None if _subtracted(cell, assignment) else plan.confidence,
            "finds_in": cell.id,
        }
    )


def _together(cells: Sequence[Cell], chances: Mapping[str, float]) -> float:
    """Return the chance that all hold: classes have patients of their own, attackers share them."""
    least: dict[tuple[str | None, str], float] = {}
    for cell in cells:
        group = cell.attribute_class, cell.subgroup
        least[group] = min(least.get(group, 1.0), chances[cell.id])
    return math.prod(least.values())


def _subtracted(cell: Cell, assignment: Literal["random", "other"] | None) -> bool:
    family = metric_of(cell).family
    return assignment == "other" and family.is_share and not family.is_paired


def _room(cell: Cell, *, assignment: Literal["random", "other"] | None) -> float:
    """Return the gap beyond which a cell is stopped."""
    assert cell.limit.fail is not None
    return cell.limit.fail if _subtracted(cell, assignment) else cell.limit.fail / 2


def _gap_error(cell: Cell) -> float:
    """Return the standard error of a gap of base rates, as its bounds have it."""
    members, nonmembers = cell.sample.members, cell.sample.nonmembers
    if min(members, nonmembers) < 2:
        return math.inf
    # nonmembers have taught what scores them (`verdict.comparability.base_rate_gap`)
    return BASE_SCORE_SD * math.sqrt(1 / members + 2 / nonmembers)


def base_rate_chance(
    cell: Cell,
    *,
    assignment: Literal["random", "other"] | None,
    confidence: float,
    gap: PromptGap | None = None,
    true_share: float = 1.0,
    spread: float | None = None,
) -> float:
    """Return how likely a gap of base rates stops nothing of a model that leaks nothing.

    With nothing declared the gap must be shown to lie within half the limit. With `other` it is
    subtracted where that can be done, must not exceed the limit, and makes the bounds wider: the
    chance is then that of a cell that would pass without.

    Args:
        cell: has a limit, and eligible positives in both groups.
        assignment: as the target declares it, but for "random".
        confidence: of each bound of the gap.
        gap: as it was found; None where nobody looked, so that the groups are taken as alike.
        true_share: of what was found, what is no noise (`_true_share`).
        spread: of q between patients, where tables know it.
    """
    if cell.limit.fail is None:
        return 0.0
    error = _gap_error(cell) if gap is None else gap.error
    if math.isinf(error):
        return 0.0
    room = _room(cell, assignment=assignment)
    alone = cell.power.pass_probability
    if not _subtracted(cell, assignment):
        if gap is not None:
            return float(abs(gap.value) + _reach(gap, confidence) <= room)
        room -= max(0.0, float(scipy.special.ndtri(confidence))) * error
    elif alone:
        sample = cell.sample.as_independent
        passes = (
            stats.pass_probability_less_gap
            if metric_of(cell).family.counts_hits
            else partial(stats.pass_probability_mean_less_gap, spread=spread)
        )
        left = passes(
            sample.members,
            sample.nonmembers,
            limit=cell.limit.fail,
            base_rate=cell.power.base_rate or 0.0,
            confidence=confidence,
            gap_error=error,
            gap=None if gap is None else gap.value,
            truth=(true_share * (gap.value if gap else 0), math.sqrt(true_share) * error),
        )
        return min(1.0, left / alone)
    elif gap is not None:
        return float(abs(gap.value) <= room)
    return max(0.0, 2 * float(scipy.special.ndtr(room / error)) - 1)


def _true_share(gaps: Collection[PromptGap]) -> float:
    """Return how much of the gaps that were found the groups differ by, rather than by chance.

    A model that follows its prompts tells as much more of members as they truly promise. Of gaps
    that are no larger than chance makes them that is nothing; in general it is shrunk as by James
    and Stein (1961), with the spread over the cells in place of a known one (Efron and Morris 1973,
    J. Am. Stat. Assoc. 68:117).
    """
    squares = sum(gap.value**2 for gap in gaps)
    return max(0.0, 1 - sum(gap.error**2 for gap in gaps) / squares) if squares else 0.0


def _reach(gap: PromptGap, confidence: float) -> float:
    """Return how far either bound of a gap lies from it, as the judge's bounds do."""
    if gap.error == 0:
        return 0.0
    return max(0.0, float(scipy.special.stdtrit(gap.freedom, confidence))) * gap.error


def _placebo(plan: AuditPlan, on_split: Sequence[Cell]) -> CheckPower:
    """Between two halves of the nonmembers nothing may differ; a half must be large enough."""
    level = stats.placebo_confidence(cells=len(plan.cells))
    alarms = {
        cell.id: metric_of(cell).family.placebo_misses(
            cell.sample, confidence=level, base_rate=cell.power.base_rate or 0.0
        )
        for cell in on_split
    }
    impossible = next((name for name, alarm in alarms.items() if alarm >= 1), None)
    return CheckPower(
        name="placebo",
        reason="placebo-failed",
        title="between two halves of the nonmembers nothing differs",
        chance=max(0.0, math.prod(1 - alarm for alarm in alarms.values())),
        is_floor=impossible is None,
        cells=len(on_split),
        worst=impossible,
    )


# --- what else a pass rests on -------------------------------------------------------------------


def _direction(plan: AuditPlan, deciding: Sequence[Cell]) -> CheckPower:
    """No attack may find nonmembers rather than members, in any cell."""
    pointed = [
        cell
        for cell in plan.cells
        if metric_of(cell).family.direction is not None and metric_of(cell).can_pass
    ]
    level = false_alarms.DIRECTION / max(len(pointed), 1)
    ranked = [
        found
        for cell in pointed
        if metric_of(cell).family.separates_splits
        and (found := auroc_found(cell.sample.members, cell.sample.nonmembers, level=level))
    ]
    finds = 1 - min(ranked) if ranked else None
    return CheckPower(
        name="direction",
        reason="worse-than-chance",
        title="no attack finds nonmembers rather than members",
        chance=1 - false_alarms.DIRECTION if pointed else 1.0,
        is_floor=True,
        cells=len(deciding),
        finds=finds,
        found=None if finds is None else "auroc",
        found_chance=None if finds is None else FOUND,
    )


def _of_the_reference(plan: AuditPlan, deciding: Sequence[Cell]) -> Iterator[CheckPower]:
    on_reference = {job.digest for job in plan.jobs if job.runs_on == "reference"}
    attacked = any(job.runs_on == "reference" for job in plan.jobs_of("scores"))
    members, nonmembers = plan.data.lot
    finds = auroc_found(members, nonmembers, level=false_alarms.REFERENCE) if attacked else None
    asking = [cell for cell in deciding if not on_reference.isdisjoint(cell.jobs)]
    yield CheckPower(
        name="reference",
        reason="reference-knows-members",
        title="the reference model does not know the members",
        chance=1.0 if finds is None else 1 - false_alarms.REFERENCE,
        is_floor=True,
        cells=len(asking),
        finds=finds,
        found=None if finds is None else "auroc",
        found_chance=None if finds is None else FOUND,
    )
    yield CheckPower(
        name="learned-reference",
        reason="reference-knows-members",
        title="nor does a score that is learned from what it says",
        chance=1 - false_alarms.LEARNED_REFERENCE,
        is_floor=True,
        cells=sum(compares_splits(cell) for cell in asking),
    )


def _declared_privacy(plan: AuditPlan, deciding: Sequence[Cell]) -> CheckPower:
    """A guarantee that holds is disproved by chance alone."""
    declared = plan.target.document.spec.study.training.differential_privacy
    asked = deciding if declared is not None and declared.protects == "patient" else []
    compared = [one for one in asked if load_attack(one.probe).measuring.bounds_privacy]
    return CheckPower(
        name="declared-privacy",
        reason="declared-privacy-refuted",
        title="canaries do not disprove the differential privacy that is declared",
        chance=1 - false_alarms.PRIVACY,
        is_floor=True,
        condition="it holds",
        cells=len(compared),
    )


def _shared_prompts(on_split: Sequence[Cell]) -> CheckPower:
    return CheckPower(
        name="shared-prompts",
        reason="prompt-not-identifying",
        title=f"{DISTINCT_PROMPTS_NEEDED:.0%} of the prompts are distinct (counted already)",
        chance=1.0,  # a cell whose prompts are shared cannot pass, and is none of these
        cells=sum(cell.sample.distinct_prompt_share is not None for cell in on_split),
    )


def auroc_found(members: int, nonmembers: int, *, level: float) -> float | None:
    """Return the least true AUROC that a test of 0.5 finds with chance `FOUND`.

    Normal approximation with the null variance of untied scores.

    Args:
        members: scores in one group.
        nonmembers: scores in the other.
        level: of the one-sided test.

    Returns:
        At most 1; None where the groups are too small for an AUROC.

    >>> round(auroc_found(300, 300, level=0.005), 3)
    0.581
    """
    if min(members, nonmembers) < stats.MIN_GROUP:
        return None
    spread = math.sqrt((members + nonmembers + 1) / (12 * members * nonmembers))
    return min(1.0, 0.5 + float(scipy.special.ndtri(FOUND) - scipy.special.ndtri(level)) * spread)
