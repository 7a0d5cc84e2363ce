"""The first page in words: what was decided and why, and under which conditions it holds.

Whoever reads nothing else must be able to say what was decided, why, and what is not claimed. Of
each requirement the worst test is shown; its other tests with the same verdict are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from checker.errors import ExitCode
from checker.planning.remedies import SHORTAGES
from checker.report.matrix import worst_first
from checker.report.model import CellReport, Report
from checker.report.wording.audience import patients, side_words, withheld_words
from checker.report.wording.cells import (
    counts_words,
    limit_words,
    needs_more,
    reason_of,
    telling_bound,
)
from checker.report.wording.declared import backend_words, local_words, untold_words
from checker.report.wording.depth import beyond_words
from checker.report.wording.numbers import figure, grouped, setting, share
from checker.report.wording.plain import plain, shorten
from checker.report.wording.reasons import UNDECIDED
from checker.report.wording.remedies import cheapest_words
from checker.report.wording.terms import CONTEXTS, NOT_PROOF

REASONS_SHOWN = 7
"""How many fit on the first page of a printed report."""


@dataclass(frozen=True, slots=True)
class DecidingTest:
    """Why a requirement blocks, or how close it came to blocking.

    Args:
        cell: the worst of the requirement's tests, or of passing ones the closest to its limit.
        alike: how many of them have its verdict.
        of: how many tests of the requirement decide.
        found: what was found there and what is allowed.
    """

    cell: CellReport
    alike: int
    of: int
    found: str


def basis_words(report: Report) -> str:
    """Return what was compared with what, for somebody who reads of it for the first time."""
    target = report.target
    if not any(cell.estimate or "estimate" in cell.withheld for cell in report.cells):
        return "Nothing could be measured."
    return (
        f"The model was attacked as each of {len(report.policy.attackers)} kinds of attacker"
        f" would, on {patients(report, target.members, 'patients it was trained on')} (members) and"
        f" {patients(report, target.nonmembers, 'patients of the same source it never saw')}"
        " (nonmembers). What it gives away of members alone, it remembers of them; what it says of"
        " both alike may be medical knowledge."
    )


def decides_nothing(report: Report) -> bool:
    """Whether a policy only shows: none of its tests could have let a model through or stopped it.

    A prerequisite that is not met stops it all the same.
    """
    shows = not report.summary.gating_cells and report.verdict == "inconclusive"
    return shows and all(one.verdict == "pass" for one in report.prerequisites)


def count_words(report: Report) -> str:
    """Return which tests are counted on the first page."""
    many = report.summary.gating_cells
    words = "A test is one requirement against one attacker."
    if decides_nothing(report):
        return f"{words} None of these decides; {grouped(len(report.cells))} are reported."
    words += f" These {grouped(many)} decide" if many != 1 else " This one decides"
    others = report.summary.reported_only_cells
    if others:
        are = "is" if others == 1 else "are"
        words += (
            f"; {grouped(others)} more {are} reported and {'does' if others == 1 else 'do'} not"
        )
    return words + "."


_MEANINGS = {
    "pass": "Pass: shown to be within its limit.",
    "fail": "Fail: shown to exceed its limit.",
    "inconclusive": "Inconclusive: neither was shown; never counted as a pass.",
    "error": "Error: not run to its end.",
}


def verdict_meanings(report: Report) -> str:
    """Return what the verdicts that are counted mean, where they stand."""
    counts = report.summary.counts
    return " ".join(words for name, words in _MEANINGS.items() if counts.get(name))


def above_none_words(report: Report) -> str | None:
    """Return how many passing tests found something nevertheless; None where none shown did."""
    passing = [cell for cell in report.cells if cell.gating and cell.verdict == "pass"]
    found = sum(cell.above_none is True for cell in passing)
    if not found:
        return None
    of = f"{grouped(found)} of the {grouped(len(passing))} that pass"
    return (
        f"Within its limit is not nothing: {of} found something that is distinguishable from none."
    )


def deciding_tests(report: Report) -> list[DecidingTest]:
    """Return why the model is blocked, or what allows it: a test per requirement, worst first.

    What is allowed by a waiver alone comes before what passes. Of a policy that only shows it is
    what was found beyond a limit.
    """
    decides = not decides_nothing(report)
    if not decides:
        ranked = worst_first([cell for cell in report.cells if cell.verdict == "fail"])
    elif report.summary.blocked_by:
        blocking = set(report.summary.blocked_by)
        ranked = worst_first([cell for cell in report.cells if cell.id in blocking])
    else:
        allowing = [
            cell
            for cell in report.cells
            if cell.gating and (cell.verdict == "pass" or cell.waiver is not None)
        ]
        ranked = sorted(allowing, key=_closeness, reverse=True)
    found = []
    for control in dict.fromkeys(cell.control for cell in ranked):
        own = [cell for cell in ranked if cell.control == control]
        alike = [cell for cell in own if cell.verdict == own[0].verdict]
        deciding = [c for c in report.cells if c.control == control and (c.gating or not decides)]
        found.append(DecidingTest(own[0], len(alike), len(deciding), found_words(report, own[0])))
    return found


def reasons_title(report: Report) -> str:
    """Return what the tests that are shown first answer."""
    if decides_nothing(report):
        return "What was found"
    if not report.summary.blocked_by:
        return "How much may leak"
    failed = any(one.cell.verdict == "fail" for one in deciding_tests(report))
    return "How bad it is" if failed else "What is not known"


def shows_splits(report: Report) -> bool:
    """Whether the ladder may have marks of members or nonmembers, which it then has to explain."""
    return any(cell.members or cell.nonmembers for cell in report.cells)


def least_words(tests: Sequence[DecidingTest]) -> str | None:
    """Return how to read failures without numbers; None where none are shown."""
    failed = [one.cell for one in tests if one.cell.verdict == "fail"]
    if not any("estimate" in cell.withheld for cell in failed):
        return None
    return (
        "“Over” and “at least” may be far more: the numbers would tell of single patients. The"
        " internal report has them."
    )


def alike_words(one: DecidingTest) -> str:
    """Return how many of a requirement's tests came out as the one that is shown."""
    verb = {"pass": "pass", "fail": "fail", "error": "broke off"}.get(one.cell.verdict, "stay open")
    many = f"{grouped(one.alike)} of {grouped(one.of)}"
    if one.alike == one.of:
        many = "both" if one.of == 2 else f"all {grouped(one.of)}"
    if one.cell.estimate is None:  # which of them is the worst is unknown, or withheld
        return f"{many[0].upper()}{many[1:]} tests {verb}."
    extreme = "Closest" if one.cell.verdict == "pass" else "Worst"
    return f"{extreme} of {grouped(one.of)} tests; {many} {verb}."


def _closeness(cell: CellReport) -> float:
    """How much of its limit the upper bound fills, what is waived first, and withheld last."""
    if cell.waiver is not None:
        return math.inf
    if cell.estimate is None or cell.estimate.high is None or not cell.limit.fail:
        return -1.0
    return cell.estimate.high / cell.limit.fail


def found_words(report: Report, cell: CellReport) -> str:
    """Return what was found and what is allowed, in numbers, and why it is open where it is."""
    limit, counts = limit_words(cell.limit, cell.metric), counts_words(cell)
    why, missing = reason_of(cell), needs_more(cell)
    withheld = withheld_words(cell)
    words = []
    if cell.estimate is not None:
        value = figure(cell.estimate.value, cell.metric)
        words += [f"{value} {counts}, {telling_bound(cell)} with {_confidence(report)}"]
        words += [f"allowed: {limit}"]
    else:
        side = side_words(cell, counts=counts)
        told = f"{side}; allowed: {limit}" if side else f"allowed: {limit} {counts}"
        words += [told, *([withheld] if withheld else [])]
    if cell.verdict != "fail" and why is not None:
        words += [why.short]
    return "; ".join([*words, *([missing] if missing else [])])


def _confidence(report: Report) -> str:
    return f"{share(report.policy.confidence)} confidence"


def conditions(report: Report) -> list[str]:
    """Return what the decision is tied to: use, model, warnings, waivers, dates and attempt."""
    return [*_conditions(report), attempt_words(report)]


def _conditions(report: Report) -> Iterator[str]:
    yield from shortened_words(report)
    policy, summary = report.policy, report.summary
    context = CONTEXTS.get(policy.context, policy.context)
    if decides_nothing(report):
        yield (
            "Whatever is found, this policy lets nothing through and stops nothing; a release takes"
            " one that decides."
        )
        return
    if summary.exit_code:
        yield (
            "The model may not be released under this policy until a new audit finds nothing that"
            " blocks, or until what blocks is waived as the policy allows."
        )
        if any(one.verdict != "pass" for one in report.prerequisites):
            yield "A prerequisite that is not met cannot be waived."
        yield f"The policy is about {context}; for another use another policy may decide."
        return
    yield f"It holds for {context}, and for no other use."
    if report.prerequisites:
        many = len(report.prerequisites)
        one = "the prerequisite holds" if many == 1 else f"all {grouped(many)} prerequisites hold"
        yield f"It rests on what the model's owner declares and nobody here checked: that {one}."
    yield "It holds for these model files alone: trained on or converted, they need a new audit."
    deciding = [cell for cell in report.cells if cell.gating]
    warned = sum(cell.warned for cell in deciding)
    if warned:
        yield f"Passed with a warning, to be watched: {grouped(warned)} of the tests that decide."
    left_open = sum(cell.verdict == "inconclusive" and cell.waiver is None for cell in deciding)
    if left_open:
        yield (
            f"Left open, and by the policy no obstacle: {grouped(left_open)} of the tests that"
            " decide. They are not passed."
        )
    if policy.review_by:
        yield f"The policy is to be reviewed by {policy.review_by}."


def not_proof(report: Report, *, local: Sequence[str] = ()) -> str:
    """Return what a report does not show, whatever was decided, as one paragraph."""
    return " ".join(not_proof_sentences(report, local=local))


def not_proof_sentences(report: Report, *, local: Sequence[str] = ()) -> list[str]:
    """Return what a report does not show, whatever was decided.

    Args:
        report: what was decided.
        local: the vocabularies that the target declares local, escaped for where it will stand.
    """
    claimed = shorten(report.summary.not_claimed, 600)
    untold = untold_words(report.target.untold_classes)  # names of a policy's classes are plain
    trusted = backend_words(report.target.backend)
    said = (claimed, NOT_PROOF, local_words(local), untold, trusted, beyond_words(report))
    return [one for one in said if one]


def decision_words(report: Report) -> str:
    """Return what was decided, and where that is open the one cheapest thing that would decide."""
    step = next_step_words(report)
    return report.summary.decision if step is None else f"{report.summary.decision} {step}"


def next_step_words(report: Report) -> str | None:
    """Return the one cheapest thing that would decide what blocks; None where a limit is exceeded.

    A failure is no question of how many there are.
    """
    blocking = set(report.summary.blocked_by)
    cells = [cell for cell in report.cells if cell.id in blocking]
    if not cells or any(cell.verdict != "inconclusive" for cell in cells):
        return None
    words = cheapest_words([cell.remedy for cell in cells])
    by_numbers = any(cell.reason in SHORTAGES or cell.reason == UNDECIDED for cell in cells)
    if words is None and report.audience == "shared" and by_numbers:
        return "How many more patients would decide it stands in the internal report."
    return words


def headline(report: Report) -> str:
    """Return the decision in a few words."""
    if report.verdict == "pass" and report.summary.waived:
        return "Release is allowed by waiver"
    if report.verdict == "pass":
        return "Release is allowed by this policy"
    if report.summary.exit_code == 0:
        return "Release is allowed, with open questions"
    if report.verdict == "error" and report.summary.exit_code == ExitCode.USAGE:
        return "Release is blocked: a waiver does not hold"
    missing = {one.verdict for one in report.prerequisites}
    if decides_nothing(report):
        beyond = sum(cell.verdict == "fail" for cell in report.cells)
        many = f"{grouped(beyond)} of {grouped(len(report.cells))} tests"
        return f"No release is decided here: {many} {'is' if beyond == 1 else 'are'} beyond a limit"
    if report.verdict == "fail" and not _is_blocked_by_cell(report, "fail"):
        return "Release is blocked: a prerequisite is declared not to hold"
    if "inconclusive" in missing and not report.summary.blocked_by:
        return "Release is blocked: nobody declares that a prerequisite holds"
    return {
        "fail": "Release is blocked: a limit is exceeded",
        "inconclusive": "Release is blocked: too little is known",
        "error": "Release is blocked: the audit did not complete",
    }[report.verdict]


def _is_blocked_by_cell(report: Report, verdict: str) -> bool:
    """Whether a test of a verdict blocks, or one that is beyond its limit if it is a failure."""
    blocking = set(report.summary.blocked_by)
    return not any(one.verdict == verdict for one in report.prerequisites) or any(
        cell.id in blocking and cell.verdict == verdict for cell in report.cells
    )


def shortened_words(report: Report) -> list[str]:
    """Return what was asked less of than the inherited policy asks for, as it allows."""
    return [
        f"Shortened, as the policy that this one extends allows: {plain(one.of)} has"
        f" {plain(one.key)} {grouped(one.asked)} instead of {grouped(one.inherited)}."
        for one in report.policy.shortened
    ]


def sampling_words(report: Report) -> list[str]:
    """Return what did not have to be drawn, and why no verdict depends on that."""
    found, words = report.summary.sampling, []
    if found.by_lot:
        words.append(
            "Patients by need: each test asked patients drawn by lot, no more than it takes that a"
            " model that leaks nothing is likely to pass."
        )
        if found.members is not None and found.nonmembers is not None:
            words[-1] += (
                f" {grouped(found.members)} members and {grouped(found.nonmembers)} nonmembers"
                " stand for all."
            )
        words[-1] += " Near-duplicates, unknown codes and missing fields were looked for in all."
    if found.tested:
        count = _left_out(";", found.continuations_not_needed, found.continuations, "continuations")
        words.append(
            "Threshold tests: of each prompt so many continuations were drawn as it takes to tell"
            f" whether the class is likelier to be named than the threshold{count}. Means and"
            " rankings take the first of each prompt, which are equally many."
        )
    if found.sequential:
        words.append(
            "Sequential sampling: patients were drawn in a frozen random order, and a test stopped"
            f" once it was decided. {_stopped(found.cells_stopped_early)}"
            f"{_left_out(', and', found.prompts_left_out, found.prompts, 'prompts')}."
            " The bounds of a test that stopped hold however often one looks; those of the"
            " others hold at nine tenths of the policy's error."
        )
    if found.curtailed:
        words.append(
            "Curtailed sampling: a prompt's remaining continuations were left out once every"
            " outcome was known"
            f"{_left_out(';', found.continuations_left_out, found.continuations, 'continuations')}."
            " The numbers are those that all of them would have given."
        )
    return words


def _left_out(join: str, count: int | None, of: int | None, what: str) -> str:
    """Say how many were not drawn, to an audience that may know."""
    if count is None or of is None:
        return ""
    return f"{join} {grouped(count)} of {grouped(of)} {what} were not drawn"


def _stopped(cells: int | None) -> str:
    if cells is None:
        return "How many did is withheld"
    if cells == 0:
        return "No test stopped early"
    return f"{grouped(cells)} test{'s' if cells > 1 else ''} stopped early"


def level(report: Report) -> float:
    """Return the confidence of each bound of a report, each one-sided, in (0, 1)."""
    attempt = report.provenance.attempt
    return report.policy.confidence if attempt is None else attempt.confidence


def level_words(report: Report) -> str:
    """Return the level as a percentage with all its digits: 95 %, 97.5 %, 98.75 %."""
    return _percent(level(report))


def attempt_words(report: Report) -> str:
    """Return a sentence or two on which attempt it is, and what follows from that."""
    attempt = report.provenance.attempt
    if attempt is None:
        return (
            "Attempt unknown: no ledger was kept, so this report does not show how often"
            " this model was audited before. It was judged as at a first attempt."
        )
    entry = f"ledger entry {attempt.ledger_entry[:12]}…"
    if attempt.number == 1:
        return (
            "This is the first attempt to release this model under this policy, by the"
            f" institution's ledger ({entry})."
        )
    return (
        f"This is attempt {attempt.number} to release this model under this policy, by the"
        f" institution's ledger ({entry}). So that trying again on other patients does not make a"
        f" pass likelier by chance, every bound holds at {level_words(report)} instead of"
        f" {_percent(report.policy.confidence)}."
    )


def _percent(fraction: float) -> str:
    return setting(fraction, "precision")
