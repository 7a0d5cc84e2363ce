"""What a report says to the questions of annexes, by the names that `reports/annexes` uses.

Each is a function from a report, as its audience may see it, to sentences; none where it has
nothing to say. Nothing is computed that other formats do not show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from checker.report.index import ReportIndex
from checker.report.matrix import worst_first
from checker.report.model import CellReport, Report
from checker.report.wording import decision as decided
from checker.report.wording.audience import patients
from checker.report.wording.cells import (
    contrast_words,
    limit_words,
    precision_words,
    subgroup_words,
    title_words,
    verdict_word,
)
from checker.report.wording.declared import assignment_words
from checker.report.wording.findings import found_words, waiver_terms
from checker.report.wording.numbers import grouped, share
from checker.report.wording.plain import shorten
from checker.report.wording.prerequisites import DECLARED, prerequisite_headline
from checker.report.wording.standing import standing_words
from checker.report.wording.terms import ACCESS, CONTEXTS, NOT_PROOF
from checker.report.wording.times import moment

Sentences = Iterable[str]
_SHOWN = 8
_TITLE = 160


def not_claimed(report: Report) -> Sentences:
    """Say that no anonymity is claimed, and what a report is no proof of."""
    yield shorten(report.summary.not_claimed, 600) or NOT_PROOF


def decision(report: Report) -> Sentences:
    """Say what was decided of which model, by which policy."""
    target, policy = report.target, report.policy
    yield f"{decided.headline(report)}."
    yield shorten(decided.decision_words(report), 600)
    yield (
        f"{_short(target.name)} {_short(target.version)}, judged by {_short(policy.name)}"
        f" {_short(policy.version)} as of {moment(report.provenance.as_of)}; attacks and results"
        " stand in the report."
    )


def model(report: Report) -> Sentences:
    """Name the model."""
    target = report.target
    yield (
        f"{_short(target.name)} {_short(target.version)}; SHA-256 of the model's files"
        f" {_short(target.model_sha256)}; a vocabulary of {grouped(target.vocabulary_size)} tokens."
    )


def context(report: Report) -> Sentences:
    """Say for which release was judged."""
    yield (
        f"Judged for {CONTEXTS.get(report.policy.context, _short(report.policy.context))}, and for"
        " no other use."
    )


def attackers(report: Report) -> Sentences:
    """Say who attacks, knowing what."""
    for one in report.policy.attackers[:_SHOWN]:
        access = ACCESS.get(one.access, one.access)
        yield f"{_short(one.title)}: knows {_short(one.knows)}; {_short(access)}."


def reported_only(report: Report) -> Sentences:
    """Name the attackers by whom nothing is decided."""
    titles = [_short(one.title) for one in report.policy.attackers if not one.gating]
    if titles:
        yield f"Reported, and deciding nothing: {'; '.join(titles)}."


def data(report: Report) -> Sentences:
    """Say which patients the model was tried on."""
    target = report.target
    yield (
        f"Data set {_short(target.data_set)}:"
        f" {patients(report, target.members, 'members (trained on)')} in"
        f" {_short(target.members_split)},"
        f" {patients(report, target.nonmembers, 'nonmembers (never seen)')} in"
        f" {_short(target.nonmembers_split)}."
    )
    if target.assignment is not None:
        said = assignment_words(target.assignment, target.assigned_by)
        yield f"Declared, not checked: {shorten(said, 400)}."


def unknown_tokens(report: Report) -> Sentences:
    """Say how much of the records the model has no words for."""
    yield (
        f"{share(report.target.unknown_token_share)} of the records' tokens are unknown to the"
        " model's vocabulary."
    )


def bare_weights(_: Report) -> Sentences:
    """Say that nothing stands before the weights in an audit."""
    yield "The weights were attacked bare; nothing that filters their output was in between."


def standing(report: Report) -> Sentences:
    """Say who stands behind policy and classes."""
    yield from (shorten(one, 900) for one in standing_words(report))


def coverage_above(_: Report) -> Sentences:
    """Point to the table of attacks."""
    yield "Scope: see the attacks by kind at the head of this annex."


def coverage_of_tests(report: Report) -> Sentences:
    """Say which attacks were asked for."""
    asked = dict.fromkeys(ReportIndex.of(report).class_of(cell) for cell in report.cells)
    yield f"Tested: {'; '.join(_short(one) for one in list(asked)[:_SHOWN])}."


def quantity(report: Report) -> Sentences:
    """Say how many were asked how often."""
    yield decided.basis_words(report)
    yield decided.count_words(report)
    yield from decided.sampling_words(report)


def quality(report: Report) -> Sentences:
    """Say which checks of the instrument hold, and how sure a bound is."""
    checks = report.admissibility
    for holds, words in ((True, "hold"), (False, "do not hold"), (None, "were not decided")):
        titles = [_short(one.title) for one in checks if one.holds is holds]
        if titles:
            yield f"Checks of the instrument that {words}: {'; '.join(titles)}."
    yield f"Each bound holds at {decided.level_words(report)} confidence on its own."


def attempt(report: Report) -> Sentences:
    """Say when it was measured, by which attempt, and when the policy is looked at again."""
    if report.provenance.measured is not None:
        yield f"The oldest evidence was measured on {moment(report.provenance.measured)}."
    yield decided.attempt_words(report)
    if report.policy.review_by is not None:
        yield f"The policy is to be reviewed by {_short(report.policy.review_by)}."


def digests(report: Report) -> Sentences:
    """Say what the papers can be checked by."""
    provenance = report.provenance
    yield (
        f"SHA-256 of the policy {_short(report.policy.sha256)}, the model"
        f" {_short(report.target.model_sha256)}, the plan {_short(provenance.plan_sha256)} and the"
        f" evidence {_short(provenance.manifest_sha256)}. `phigate verify RUN` judges the evidence"
        " again and compares every page."
    )


def signed(_: Report) -> Sentences:
    """Say how a signature is looked for, of which a page cannot tell by itself."""
    yield "No page can show that it was signed: `phigate verify RUN --key KEY` does."


def full_numbers(report: Report) -> Sentences:
    """Say where the withheld numbers are."""
    if report.audience == "shared" and report.policy.min_cell > 1:
        yield "Numbers that could be traced to few patients stand in the internal report alone."


def limits(report: Report) -> Sentences:
    """Say what each requirement allows, and why."""
    for control in report.controls[:_SHOWN]:
        cells = [cell for cell in report.cells if cell.control == control.id]
        allowed = dict.fromkeys(limit_words(cell.limit, cell.metric) for cell in cells)
        why = f" {shorten(control.rationale, 300)}" if control.rationale else ""
        yield f"{_short(control.title)}: {'; '.join(allowed)}.{why}"
    beyond = decided.above_none_words(report)
    if beyond is not None:
        yield beyond


def not_every_person(report: Report) -> Sentences:
    """Say that limits on shares say nothing of every single person, where there are any."""
    shares = {
        cell.control for cell in report.cells if cell.gating and (cell.limit.fail or 0.0) > 0.0
    }
    if shares:
        yield (
            "A limit on a share of patients or on an average says nothing of each person: with"
            f" limits above insignificance, as {grouped(len(shares))} requirements of this policy"
            " have them, no claim of anonymity is supported."
        )


def excess(report: Report) -> Sentences:
    """Say what numbers are compared with, so that medicine is not taken for memory."""
    said = dict.fromkeys(
        f"{contrast_words(control)[:1].upper()}{contrast_words(control)[1:]}."
        for control in report.controls
    )
    yield from list(said)[:_SHOWN]
    yield "Groups are compared; the record of a single person is never left out for comparison."


def precision(report: Report) -> Sentences:
    """Say how many of those of whom something would be told truly have it."""
    index = ReportIndex.of(report)
    found = [
        (cell, words)
        for cell in worst_first(report.cells)
        if (words := precision_words(cell, index.controls.get(cell.control))) is not None
    ]
    for cell, words in found[:_SHOWN]:
        yield f"{_short(index.class_of(cell))}, {_short(index.attacker_of(cell))}: {words}."
    if not found:
        yield "No test here names patients whose guesses could be counted as right or wrong."


def subgroups(report: Report) -> Sentences:
    """Say which groups were looked at on their own."""
    groups = dict.fromkeys(
        _short(subgroup_words(cell.subgroup)) for cell in report.cells if cell.subgroup != "all"
    )
    if groups:
        yield f"Looked at on their own: {'; '.join(list(groups)[:_SHOWN])}."
    classes = dict.fromkeys(
        _short(ReportIndex.of(report).class_of(cell))
        for cell in report.cells
        if cell.attribute_class
    )
    if classes:
        yield f"Attributes asked for: {'; '.join(list(classes)[:_SHOWN])}."


def findings(report: Report) -> Sentences:
    """Say what stands in the way, or stays open, worst first."""
    open_ones = [cell for cell in worst_first(report.cells) if _is_open(cell)]
    index = ReportIndex.of(report)
    for cell in open_ones[:_SHOWN]:
        yield (
            f"{verdict_word(cell)}: {_short(index.title_of(cell))}, {title_words(cell)}"
            f" ({_short(index.attacker_of(cell))}): {found_words(cell)}."
        )
    if len(open_ones) > _SHOWN:
        yield f"{grouped(len(open_ones) - _SHOWN)} more in the report."
    if not open_ones:
        yield "No test that decides is beyond its limit or open."


def _is_open(cell: CellReport) -> bool:
    return cell.gating and (cell.verdict not in {"pass", "not_applicable"} or cell.warned)


def waivers(report: Report) -> Sentences:
    """Say what was accepted by waiver."""
    for one in report.waivers[:_SHOWN]:
        yield f"Waiver {_short(one.id)}: {shorten(waiver_terms(one), 600)}."
    if not report.waivers:
        yield "Nothing was accepted by waiver."


def prerequisites(report: Report) -> Sentences:
    """Say what the policy presupposes, and what the owner declares of it."""
    for one in report.prerequisites[:_SHOWN]:
        yield f"{prerequisite_headline(one)}. {shorten(one.explanation, 400)}"
    yield DECLARED if report.prerequisites else "The policy presupposes nothing."


ANSWERS: Mapping[str, Callable[[Report], Sentences]] = {
    one.__name__: one
    for one in (
        not_claimed, decision, model, context, attackers, reported_only, data, unknown_tokens,
        bare_weights, standing, coverage_above, coverage_of_tests, quantity, quality, attempt,
        digests, signed, full_numbers, limits, not_every_person, excess, precision, subgroups,
        findings, waivers, prerequisites,
    )
}  # fmt: skip


def _short(text: object) -> str:
    return shorten(text, _TITLE)
