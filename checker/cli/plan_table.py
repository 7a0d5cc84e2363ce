"""The plan as a table: what is there to be measured, what cannot pass, and what it will cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

from rich.console import Console

from checker.attacks.families import Power
from checker.cli.console import plain_table, told
from checker.cli.depth_table import print_depth
from checker.cli.proxy_table import print_proxies
from checker.cli.unread_codes import print_claims
from checker.planning import AuditPlan, Cell, ClassSnapshot
from checker.planning.cells import expected_in, metric_of, spread_in
from checker.planning.model import CheckPower, ReleaseChance
from checker.planning.overlap import SAME_CODES_ALLOWED
from checker.planning.power import prompts_too_long
from checker.planning.reference_patients import SPARE_PATIENTS, spare_needed, third_of
from checker.planning.release import blocks
from checker.planning.remedies import remedy, undecided
from checker.records.prompts import DISTINCT_PROMPTS_NEEDED
from checker.report.wording.declared import assignment_words
from checker.report.wording.measures import probe_words
from checker.report.wording.reasons import REASONS
from checker.report.wording.remedies import cheapest_words, remedy_words
from checker.yaml import short

UNDERPOWERED = 0.8
UNMATCHED_SHOWN = 8


def print_plan(plan: AuditPlan, console: Console) -> None:
    """Print who is there to be measured, what cannot pass, and what the audit will cost."""
    console.print(
        f"[bold]{told(plan.data.name)}[/]: {plan.data.members:,} members,"
        f" {plan.data.nonmembers:,} nonmembers,"
        + (f" {plan.data.spare:,} spare patients," if plan.data.spare else "")
        + f" {plan.data.tokens:,} tokens"
        f" ({plan.data.unknown_share:.2%} of events unknown to the vocabulary"
        + (
            f"; {plan.data.tokens_left_out:,} tokens outside the window)"
            if plan.data.tokens_left_out
            else ")"
        )
    )
    if (drawn := plan.data.drawn) is not None:
        console.print(
            f"Drawn by lot, to stand for all: {drawn.members:,} members, {drawn.nonmembers:,}"
            f" nonmembers; with those drawn beside, {drawn.asked_members:,} and"
            f" {drawn.asked_nonmembers:,} are asked (parameters.sampling.patients: all asks all)."
        )
    _print_taught(plan, console)
    _print_near_duplicates(plan, console)
    _print_cells(plan, console)
    _print_classes(plan, console)
    print_depth(plan, console)
    _print_checks(plan, console)
    _print_cost(plan, console)
    _print_prospects(plan, console)
    _print_expected(plan, console)
    _print_varying(plan, console)
    _print_remedies(plan, console)
    _print_release(plan, console)


def _print_taught(plan: AuditPlan, console: Console) -> None:
    """Print how many patients teach the reference model of a learned membership score."""
    job = plan.job("reference-training")
    if job is None:
        return
    by_spare = job.inputs["patients"] == SPARE_PATIENTS
    spare = plan.data.spare if plan.data.drawn is None else plan.data.drawn.spare
    who = f"{spare:,} spare patients" if by_spare else "a third of the nonmembers"
    line = f"The reference model of a learned membership score is taught by {who}"
    if not by_spare:
        outside = plan.data.lot[1]
        line += f", {third_of(outside):,} of {outside:,}, who are not judged by it"
        if spare:
            line += f": spare patients do so from {spare_needed(outside):,} on"
    console.print(f"{line}.")


def _print_near_duplicates(plan: AuditPlan, console: Console) -> None:
    """Print how many nonmembers are not judged, and whether that is too many."""
    near, aside = plan.data.near_duplicates, plan.data.set_aside
    if not near:
        return
    everybody = plan.data.nonmembers + aside
    same = plan.data.same_codes
    if same > SAME_CODES_ALLOWED * everybody:
        console.print(
            f"[bold]{same:,} of {everybody:,} nonmembers have a member's codes in the same"
            " order[/], so many that patients may stand in both splits: no excess and no membership"
            " metric can pass. Take out who stands in both."
        )
    most = plan.policy.document.spec.parameters.max_near_duplicates
    found = f"{near:,} of {everybody:,} nonmembers have nearly a member's record"
    if near <= most * everybody:
        which = f" {same:,} of them have a member's codes in the same order." if same else ""
        console.print(f"{found} and are left out of every cell.{which}")
    else:
        console.print(
            f"[bold]{found}, more than the policy's {most:.0%}[/], so no excess and no membership"
            " metric can pass: de-duplicate across the splits."
        )


def _print_cells(plan: AuditPlan, console: Console) -> None:
    counts = ("limit", "members", "nonmembers", "0 hits give")
    table = plain_table("cell", "metric", *counts, "can it pass?", numbers=counts)
    min_cell = plan.policy.document.spec.parameters.min_cell
    for cell in plan.cells:
        limit = cell.limit
        table.add_row(
            told(cell.id) + ("" if cell.gating else " [dim](reported only)[/]"),
            cell.metric,
            f"{limit.fail:g}" if limit.fail is not None else f"none of {limit.min_n}",
            _counted(cell.sample.members, cell.sample.members_positive),
            _nonmembers(cell),
            f"≤ {cell.power.zero_hit_bound:.3f}" if cell.power.zero_hit_bound is not None else "–",
            prospects(
                cell,
                min_cell=min_cell,
                absent_from=plan.class_absent_from(cell),
                are_alike=plan.comparability.can_pass,
            ),
        )
    console.print(table)


def _print_checks(plan: AuditPlan, console: Console) -> None:
    """Print how the splits were made, and which checks can stop a pass how often."""
    checks = plan.checks
    if not checks:
        return
    data = plan.target.document.spec.data
    if data.assignment is not None:
        console.print(f"Declared: {told(assignment_words(data.assignment, data.assigned_by))}.")
    table = plain_table("check", "stops", "lets a sound model through", numbers=("stops",))
    for check in checks:
        said = "; ".join(filter(None, (_chance(check), _finds(check))))
        table.add_row(told(check.title), _cells(check.cells), told(said))
    console.print(table)


def _chance(check: CheckPower) -> str:
    """Say how often a check stops no model that leaks nothing, and on what that hangs."""
    if check.condition is not None and check.chance == 1:
        return f"if {check.condition}"
    if check.chance == 1 or (check.chance == 0 and not check.is_floor):
        said = "never" if check.chance == 0 else "always"
    else:
        word = "at least " if check.is_floor else ""
        low = "underpowered: " if check.chance < UNDERPOWERED else ""
        said = f"{low}{word}{_percent(check.chance)}"
    hangs = "" if check.condition is None else f", if {check.condition}"
    least = "" if check.worst is None else f" (least: {check.worst})"
    return f"{said}{hangs}{least}"


def _percent(chance: float) -> str:
    """Write a chance; what is nearly certain must not look so."""
    if 0.99 <= chance < 1:
        return f"{math.floor(1000 * chance) / 10:.1f}%"
    return f"{chance:.0%}"


def _finds(check: CheckPower) -> str:
    """Say the least effect that a check would stop with these patients; empty where unknown."""
    if check.finds is None or check.found is None:
        return ""
    effect = "an AUROC" if check.found == "auroc" else "a base-rate gap"
    side = "below" if check.found == "auroc" and check.finds < 0.5 else "above"
    often = "" if check.found_chance is None else f" with chance {check.found_chance:.0%}"
    where = "" if check.finds_in is None else f" (most: {check.finds_in})"
    return f"stops {effect} {side} {check.finds:.3f}{often}{where}"


def _print_release(plan: AuditPlan, console: Console) -> None:
    """Print the chance that all cells pass and no check stops a model that leaks nothing."""
    if not any(cell.gating for cell in plan.cells):
        console.print(
            "No test of this policy decides: it measures, and releases or blocks nothing."
        )
    elif plan.release is not None:
        console.print(told(release_words(plan.release)))


def release_words(release: ReleaseChance) -> str:
    """Say how likely a model that leaks nothing is released with these patients."""
    if release.stopped_by:
        named = ", ".join(release.stopped_by[:UNMATCHED_SHOWN])
        more = len(release.stopped_by) - UNMATCHED_SHOWN
        tail = f" and {more} more" if more > 0 else ""
        return f"A model that leaks nothing cannot be released with these patients: {named}{tail}."
    if release.chance is None:
        return (
            "How likely a model that leaks nothing is released cannot be said:"
            f" {_counted_cells(len(release.unknown))} decided by a spread that only the audit"
            f" shows. The checks let it through with chance {_percent(release.checks)}."
        )
    word = "at least " if release.is_floor else ""
    low = ", which is underpowered" if release.chance < UNDERPOWERED else ""
    by_bounds = "" if release.cells is None else _percent(release.cells)
    return (
        "The chance that a model that leaks nothing is released with these patients is"
        f" {word}{_percent(release.chance)}{low}: its cells pass with {by_bounds}, and no check"
        f" stops it with {_percent(release.checks)}."
    )


def _counted_cells(count: int) -> str:
    return f"{count} cell{'s are' if count > 1 else ' is'}"


def _print_classes(plan: AuditPlan, console: Console) -> None:
    """Print what of the policy's classes, and of the vocabulary, has no counterpart."""
    for what, missing in _absent(plan.classes):
        console.print(
            f"[bold]Not measured[/], for no {what} stands for them: {told(', '.join(missing))}."
            " Their cells end inconclusive."
        )
    for name, found in plan.classes.items():
        if found.absent_from is not None:
            continue
        for what, missing in _absent(found.parts):
            console.print(
                f"[bold]pool {told(name)} does not speak of {told(', '.join(missing))}[/]: no"
                f" {what} stands for them."
            )
        if found.unmatched:
            values = told(", ".join(found.unmatched[:UNMATCHED_SHOWN]))
            more = len(found.unmatched) - UNMATCHED_SHOWN
            tail = f" and {more} more" if more > 0 else ""
            console.print(f"class {told(name)}: no code here matches {values}{tail}")
        if found.near:
            listed = ", ".join(short(code) for code in found.near)
            console.print(
                told(
                    f"class {name}: {found.near_codes:,} codes of {found.near_patients:,} patients"
                    f" look like it, in words or as a number, and are not of it, such as {listed};"
                    " see phigate classes coverage"
                ),
                soft_wrap=True,
            )
        for part, own in (found.parts or {name: found}).items():
            print_proxies(part, own.proxies, console, shown=UNMATCHED_SHOWN)
            if own.untold_patients:
                listed = ", ".join(short(code) for code in own.untold)
                console.print(
                    told(
                        f"class {part}: {own.untold_patients:,} of {own.patients:,} patients who"
                        " have it are not asked, for no token of a record tells what they have,"
                        f" such as {listed}. Does the model know these codes by another"
                        " token?"
                    ),
                    soft_wrap=True,
                )
    print_claims(plan.data.unread, [], plan.data.suspect, console, shown=UNMATCHED_SHOWN)
    if plan.data.unexplained_tokens:
        names = told(", ".join(plan.data.unexplained_tokens[:UNMATCHED_SHOWN]))
        console.print(
            f"[bold]The vocabulary holds tokens that no record becomes and no code explains:[/]"
            f" {names}. If the model was trained with them, describe them under tokenization"
            " (time, values, age, specials)."
        )


def _print_cost(plan: AuditPlan, console: Console) -> None:
    cost = plan.cost
    console.print(
        f"{len(plan.jobs)} jobs: {cost.forward_tokens:,} tokens forward and"
        f" {_generated(plan)} generated ({cost.forward_tokens_unshared:,} and"
        f" {cost.rollout_tokens_unshared:,} if nothing were shared)."
    )
    if cost.training_tokens:
        shadows = len(plan.jobs_of("membership-shadows"))
        beside = (
            f", and {shadows} models beside on halves of those who are asked about (shadows)"
            if shadows
            else ""
        )
        console.print(
            "A small reference model of the checker's own is trained on patients who are not"
            f" judged{beside}: at most {cost.training_tokens:,} tokens, on one CPU core."
        )
    if not plan.comparability.can_pass:
        console.print(
            "[bold]The splits are too small to be shown comparable[/], so no excess and no"
            f" membership metric can pass: {_missing(plan.comparability, 'members')}, or, where"
            " patients came to their splits by lot, data.assignment: random in the target."
        )
    spec = plan.policy.document.spec
    if spec.gate.require_expectation and plan.target.document.spec.expect is None:
        console.print(
            "[bold]The target declares no expectation[/], and the policy requires one"
            " (gate.requireExpectation), so nothing can pass: add expect.tokens or expect.loss."
        )
    sampling = spec.parameters.sampling
    if sampling.sequential or sampling.curtailed:
        console.print(
            "Fewer are generated where the policy's sampling finds that the rest cannot change what"
            " is decided."
        )


def _generated(plan: AuditPlan) -> str:
    """Say how many tokens are generated: at most, and where tests ask for more, at first."""
    most = plan.cost.rollout_tokens
    first = sum(
        job.rollout_tokens * job.inputs["thresholdTest"]["first"] // job.inputs["samples"]
        if "thresholdTest" in job.inputs
        else job.rollout_tokens
        for job in plan.jobs
    )
    return f"at most {most:,}" if first == most else f"{first:,} or more, at most {most:,},"


def _print_prospects(plan: AuditPlan, console: Console) -> None:
    """Print how many deciding cells cannot pass, and why not."""
    deciding = [cell for cell in plan.cells if cell.gating and not cell.power.can_pass]
    one_sided = sum(
        not metric_of(cell).can_pass and cell.on_inconclusive == "block" for cell in deciding
    )
    too_small = sum(metric_of(cell).can_pass and not _is_empty(cell) for cell in deciding)
    if too_small:
        console.print(
            f"[bold]{_cells(too_small)} cannot pass with this sample[/], whatever the model."
        )
    if one_sided:
        console.print(
            f"{_cells(one_sided)} can fail and never pass, whatever the sample: another control"
            " must decide, or onInconclusive: warn."
        )


def _print_expected(plan: AuditPlan, console: Console) -> None:
    """Print what tables of tokens tell without any model: classes, and spare patients."""
    assumed = plan.policy.document.spec.parameters.expected_base_rate
    named = [
        f"{told(cell.id)} {_percent(rate)}"
        for cell in plan.cells
        if cell.id in plan.expected_rates and (rate := expected_in(plan, cell)[1]) > assumed
    ]
    if named:
        console.print(
            "Without any memory, a bigram table (which token follows which) would already name the"
            f" class: {', '.join(named)} (the policy assumes {_percent(assumed)}). It does so of"
            " members and of others, and the chances of these tests are of that; a model that knows"
            " less passes oftener. Codes that tell a class leave the prompt where the class names"
            " them (proxies)."
        )
    if plan.spare_difference is not None:
        console.print(
            "Spare patients (data.spare) are of another kind than nonmembers, or were chosen:"
            f" nothing that rests on nonmembers can pass. {told(plan.spare_difference)}"
        )


def _print_varying(plan: AuditPlan, console: Console) -> None:
    """Print of which tests tables of tokens tell no more, but of some patients far more."""
    assumed = plan.policy.document.spec.parameters.expected_base_rate
    told_so = [
        told(cell.id)
        for cell in plan.cells
        if cell.id in plan.expected_rates
        and expected_in(plan, cell)[1] <= assumed
        and spread_in(plan, cell) is not None
    ]
    if told_so:
        console.print(
            "A table of which token follows which names the class no oftener than the policy"
            " assumes, but of some patients far more than of others: the chances of"
            f" {', '.join(told_so)} are of that."
        )


def _print_remedies(plan: AuditPlan, console: Console) -> None:
    """Print what would decide, at the least cost, each cell that will hardly pass."""
    open_cells = [(cell, reason) for cell in plan.cells if blocks(cell)
                  and (reason := undecided(plan, cell)) is not None]  # fmt: skip
    found = [remedy(plan, cell, reason) for cell, reason in open_cells]
    whose: dict[str, list[str]] = {}
    for (cell, reason), one in zip(open_cells, found, strict=True):
        # where no number would do, the reason's own words say what does
        advice = REASONS[reason].advice(gating=True)
        words = advice if one is None else remedy_words(one, who=_who(cell))
        whose.setdefault(words, []).append(cell.id)
    for words, cells in whose.items():
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        console.print(f"[bold]{told(cells[0])}[/]{more}: {told(words)}")
    if (step := cheapest_words(found)) is not None and len(open_cells) > 1:
        console.print(f"[bold]{told(step)}[/]")


def _cells(count: int) -> str:
    return f"{count} deciding cell{'s' if count > 1 else ''}"


def _is_empty(cell: Cell) -> bool:
    """Whether a cell's subgroup has no members, so that it will not be applicable."""
    return cell.subgroup != "all" and cell.sample.subgroup_members == 0


def _nonmembers(cell: Cell) -> str:
    """Say how many nonmembers are compared; "–" where the attack asks none."""
    if not probe_words(cell.probe).asks_nonmembers:
        return "–"
    return _counted(cell.sample.nonmembers, cell.sample.nonmembers_positive)


def _counted(eligible: int, positive: int | None) -> str:
    return f"{eligible:,}" if positive is None else f"{eligible:,} of {positive:,}"


def _missing(power: Power, members: str, nonmembers: str = "nonmembers") -> str:
    """Say how much more it would take; empty when no number would do."""
    parts = []
    if power.needed_more:
        parts.append(f"{power.needed_more:,} more {members}")
    if power.needed_more_nonmembers:
        parts.append(f"{power.needed_more_nonmembers:,} more {nonmembers}")
    if power.needed_more_rollouts:
        parts.append(f"{power.needed_more_rollouts:,} more continuations (samples)")
    return f"needs {' and '.join(parts)}" if parts else ""


def _absent(classes: Mapping[str, ClassSnapshot]) -> Iterator[tuple[str, list[str]]]:
    """Yield what stands for none of some classes, and these by name."""
    for where, what in (("data", "code of this data set"), ("vocabulary", "token of the model")):
        missing = [name for name, found in classes.items() if found.absent_from == where]
        if missing:
            yield what, missing


def prospects(
    cell: Cell,
    *,
    min_cell: int,
    absent_from: Literal["data", "vocabulary"] | None = None,
    are_alike: bool = True,
) -> str:
    """Say in a few words what a cell's sample can decide.

    Args:
        cell: of the plan.
        min_cell: fewest patients of a subgroup that is judged and shown.
        absent_from: where nothing stands for its class.
        are_alike: whether the splits are large enough to be shown to be.
    """
    if absent_from is not None:
        return f"not tested: class not in the {absent_from}"
    if cell.missing_capability is not None:
        return f"not tested: the target gives no {cell.missing_capability}"
    if _is_empty(cell):
        return "not applicable: it has no members"
    if not metric_of(cell).can_pass:
        return "cannot pass, can only fail"
    power, sample = cell.power, cell.sample
    if prompts_too_long(sample):
        return (
            f"not tested: {sample.too_long_share:.0%} of the prompts fill the model's context;"
            " lower knows.events, or use events: all"
        )
    fewest = min(sample.members, sample.nonmembers)
    if cell.subgroup != "all" and metric_of(cell).rests_on_split and fewest < min_cell:
        return f"neither judged nor shown: below minCell {min_cell}"
    if not power.can_pass:
        missing = _missing(power, *_who(cell))
        share = sample.distinct_prompt_share
        if not missing and share is not None and share < DISTINCT_PROMPTS_NEEDED:
            missing = f"only {share:.0%} of the prompts are distinct"
        return f"cannot pass, {missing}" if missing else "cannot pass"
    if metric_of(cell).rests_on_split and not are_alike:
        return "cannot pass, the splits are too small to be shown comparable"
    if power.pass_probability is None:
        return "yes"
    word = "underpowered" if power.pass_probability < UNDERPOWERED else "yes"
    # of a mean, and of two models, the plan has to assume what varies most (`stats.power`)
    varies_most = metric_of(cell).family.varies_less_than_planned
    chance = f"{'at least ' if varies_most else ''}{power.pass_probability:.0%}"
    return f"{word}: {chance} if nothing leaks"


def _who(cell: Cell) -> tuple[str, str]:
    """Name whom a cell may need more of, inside and outside the training data."""
    if cell.attribute_class:
        return "positives", "nonmembers"
    return probe_words(cell.probe).counted
