"""The words of the report: everything a person reads that is not in the report model.

All formats take their words from here, so that they say the same: fixed words below, sentences over
a cell or the whole report at the end, and by import those of measures, reasons and numbers, which
have modules of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from checker.errors import ExitCode
from checker.policy.documents import Limit
from checker.report.model import CellReport, ControlReport, Number, Report, WaiverReport
from checker.report.wording.attempts import attempt_words, level_words
from checker.report.wording.audience import CONFIDENTIAL, is_withheld, side_words, withheld_words
from checker.report.wording.measures import AGAINST, is_share, measure_of, probe_words, unit_of
from checker.report.wording.numbers import (
    NBSP,
    bounds,
    figure,
    grouped,
    p_words,
    setting,
    share,
    upper_bound,
)
from checker.report.wording.plain import plain, shorten
from checker.report.wording.reasons import Reason, reason_words

__all__ = [
    "ACCESS",
    "BASES",
    "CANNOT_PASS",
    "CONFIDENTIAL",
    "CONTEXTS",
    "ENFORCEMENT",
    "GLOSSARY",
    "NBSP",
    "NOT_PROOF",
    "NOT_SHOWN",
    "VERDICT_WORDS",
    "WAIVER_STATUS",
    "NumberRow",
    "Reason",
    "attempt_words",
    "bounds",
    "contrast_words",
    "counts_words",
    "figure",
    "grouped",
    "headline",
    "is_share",
    "is_withheld",
    "level_words",
    "limit_words",
    "measure_of",
    "memory_words",
    "moment",
    "needs_more",
    "number_rows",
    "p_words",
    "plain",
    "probe_words",
    "reason_of",
    "sample_words",
    "sampling_words",
    "setting",
    "share",
    "shorten",
    "side_words",
    "subgroup_words",
    "telling_bound",
    "title_words",
    "unit_of",
    "upper_bound",
    "verdict_word",
    "waiver_terms",
    "withheld_words",
]

NOT_PROOF = (
    "This is not proof of anonymity, and it says nothing about attacks that were not run, about"
    " attribute classes that the policy does not name, or about any other version of the model."
)
CANNOT_PASS = "cannot pass, can only fail"
NOT_SHOWN = "withheld: it could be traced to fewer patients than the policy's smallest cell"

VERDICT_WORDS = {
    "pass": "pass",
    "fail": "fail",
    "inconclusive": "inconclusive",
    "not_applicable": "not applicable",
    "error": "error",
}

WAIVER_STATUS = {
    "applied": "applies",
    "void": "void",
    "not-started": "not in force yet",
    "unused": "not needed: withdraw it",
    "expired": "expired",
    "refused": "refused",
}

ACCESS = {
    "samples": "sees what the model generates",
    "logprobs": "sees what the model generates and the probability of each token",
    "embeddings": "sees what the model generates and its internal representations",
}

CONTEXTS = {
    "public-weights": "publishing the weights",
    "gated": "sharing the model under an agreement",
    "internal": "using the model inside the institution",
}

ENFORCEMENT = {
    "advisory": "advisory: reported, never decides",
    "mandatory": "mandatory: decides, can be waived",
    "absolute": "absolute: decides, can never be waived",
}

BASES = {
    "legal-duty": "legal duty",
    "guidance": "guidance",
    "evidence": "evidence",
    "analogy": "analogy",
    "institutional-choice": "institutional choice",
}

GLOSSARY = (
    ("Attack that can only fail", "One that can show a leak and never its absence. A cell judged by"
                                  " it fails or stays inconclusive; it cannot pass."),
    ("AUROC", "How well a score tells two groups apart: 0.5 is chance, 1 is perfect."),
    ("Bound", "The truth lies below the upper bound (or above the lower one) with the stated"
              " confidence. Each bound holds on its own."),
    ("Canary, beacon", "A made-up patient; a coin decided whether it was trained on. A beacon"
                       " certainly was, many times over, so that an attack that works finds it."),
    ("Cell", "One control, one attacker, one group of patients: the unit that gets a verdict."),
    ("Control", "One requirement of the policy, with a limit per attacker."),
    ("Difference in differences", "The excess that is left when what a reference model, trained"
                                  " without these members, says of the same patients is"
                                  " subtracted patient by patient."),
    ("Eligible", "A patient who has the class, and in whose true record it follows within the"
                 " horizon behind what the attacker knows."),
    ("ε (epsilon)", "The parameter of differential privacy. An attack shows that it is at least so"
                    " large; nothing that an attack does can show that it is small."),
    ("Excess", "The rate among members minus the rate among nonmembers, in percentage points. A"
               " model that merely knows medicine has none."),
    ("Exposure", "How high a planted canary ranks among equals that were left out, in bits: each"
                 " halves the rank. 1.44 bits is chance."),
    ("Inconclusive", "Neither shown to be within the limit nor shown to be beyond it. Never counted"
                     " as a pass."),
    ("Members, nonmembers", "Patients the model was trained on; patients of the same source that it"
                            " never saw."),
    ("Placebo", "The same measurement between two random halves of the nonmembers, where nothing"
                " can differ."),
    ("Reported only", "Measured and shown, but not decisive: the policy says so."),
    ("Waiver", "A written, approved and dated acceptance of one finding, up to a ceiling. The"
               " finding stays what it is; it does not block while it is shown to be within the"
               " ceiling."),
    ("Verdict", "Pass: the upper bound is within the limit. Fail: the lower bound is beyond it,"
                " also after correction for the number of cells."),
)  # fmt: skip


# --- numbers in their place ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NumberRow:
    """A row of a finding's table.

    Args:
        title: what the number is.
        number: with its bounds.
        metric: whose unit it is read in.
        limit: what its bounds are compared with; None for all rows but the first.
        role: the estimate itself, a part of it, the placebo, or what is only reported.
    """

    title: str
    number: Number
    metric: str
    limit: float | None = None
    role: Literal["estimate", "part", "placebo", "reported"] = "part"


def number_rows(cell: CellReport) -> list[NumberRow]:
    """Return the numbers of a finding, the estimate first; a part that equals it is left out."""
    if cell.estimate is None:
        return []
    measure, is_twofold = measure_of(cell.metric), cell.contrast == "reference"
    rows = [NumberRow(title_words(cell), cell.estimate, cell.metric, cell.limit.fail, "estimate")]
    for name, number in zip(measure.parts, (cell.members, cell.nonmembers), strict=True):
        if number is None or number == cell.estimate:
            continue
        what = f"{name}: {measure.part}" if measure.part else name
        beyond = ", this model minus the reference" if is_twofold else ""
        rows.append(NumberRow(what + beyond, number, cell.metric))
    if cell.placebo is not None:
        halves = "placebo: two halves of the nonmembers"
        rows.append(NumberRow(halves, cell.placebo, cell.metric, role="placebo"))
    rows += [
        NumberRow(measure_of(name).title, number, name, role="reported")
        for name, number in cell.reported.items()
    ]
    return rows


def memory_words(cell: CellReport) -> str | None:
    """Return why a number speaks of memory and not of medicine, or how far it does.

    None where nothing was measured, or where this audience is not told the two numbers.
    """
    against, part = measure_of(cell.metric).against, measure_of(cell.metric).part
    if cell.estimate is None or against is None:
        return None
    if against == "members-alone":
        return "not told apart here: what the model merely knows of medicine counts as well"
    if against == "excess" and cell.contrast == "nonmembers" and cell.members and cell.nonmembers:
        inside = figure(cell.members.value, cell.metric)
        outside = figure(cell.nonmembers.value, cell.metric)
        return (
            f"{part}: {inside} of members and {outside} of nonmembers; what the model merely knows"
            " of medicine would give both alike"
        )
    if against == "separation":
        return "a model that remembers nobody scores members like patients it never saw"
    if against == "perturbation":
        return (
            "a disease does not hang on a year of age: what is told under a member's own age alone"
            " is remembered"
        )
    return None


def limit_words(limit: Limit, metric: str) -> str:
    """Return a limit in words."""
    if limit.max_count is not None:
        return f"none among at least {grouped(limit.min_n or 1)}"
    if limit.fail is None:
        return "no limit"
    words = f"at most {setting(limit.fail, metric)}"
    return words if limit.warn is None else f"{words}, warning above {setting(limit.warn, metric)}"


def telling_bound(cell: CellReport) -> str | None:
    """Return what the verdict rests on: the lower bound of a fail, the upper one of a pass.

    Where the bounds are withheld it says on which side of the limit they lie.
    """
    if cell.estimate is None:
        return side_words(cell)
    limit = cell.limit.fail
    low = figure(cell.estimate.low, cell.metric, rounding="down", against=limit)
    if cell.verdict == "fail" or cell.estimate.high is None:
        return f"at least {low}"
    high = upper_bound(cell.estimate, cell.metric, against=limit)
    return f"at most {high}" if cell.verdict == "pass" else f"between {low} and {high}"


def moment(stamp: str) -> str:
    """Return an ISO 8601 time as "2026-11-23 20:00 UTC"; anything else as it is."""
    try:
        when = datetime.fromisoformat(stamp)
    except ValueError:
        return plain(stamp)
    if when.tzinfo is None:
        return plain(stamp)
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


# --- sentences ----------------------------------------------------------------------------------


def verdict_word(cell: CellReport) -> str:
    """Return a cell's verdict as one or two words."""
    if cell.verdict == "pass" and cell.warned:
        return "pass, warned"
    if cell.waiver is not None:
        return f"{VERDICT_WORDS[cell.verdict]}, waived"
    return VERDICT_WORDS[cell.verdict]


def reason_of(cell: CellReport) -> Reason | None:
    """Return why a cell got its verdict; a reason nobody explained yet is shown as it is."""
    return None if cell.reason is None else reason_words(cell.reason)


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
    return {
        "fail": "Release is blocked: a limit is exceeded",
        "inconclusive": "Release is blocked: too little is known",
        "error": "Release is blocked: the audit did not complete",
    }[report.verdict]


def title_words(cell: CellReport) -> str:
    """Return what a cell measured."""
    title = measure_of(cell.metric).title
    return f"{title} and a reference model" if cell.contrast == "reference" else title


def counts_words(cell: CellReport) -> str:
    """Return what a cell's number counts, in the few words that fit beside it."""
    counts = measure_of(cell.metric).counts
    return f"{counts} and a reference model" if cell.contrast == "reference" else counts


def contrast_words(control: ControlReport) -> str:
    """Return what a control's number is held against, so that memory is told from medicine."""
    against = measure_of(control.metric).against
    if control.contrast == "reference":
        return (
            "a difference in differences: what a reference model, trained without these members,"
            " says of the same patients is subtracted first, then nonmembers from members"
        )
    if against is None:
        return "not stated"
    words = AGAINST[against]
    if control.params.get("score") == "reference-ratio":
        words += "; the score is the ratio to a reference model's likelihood"
    return words


def sampling_words(report: Report) -> list[str]:
    """Return what did not have to be drawn, and why nothing else was decided by that."""
    found, words = report.summary.sampling, []
    if found.sequential:
        words.append(
            "Sequential sampling: patients were drawn in a frozen random order, and a cell stopped"
            f" once it was decided. {_stopped(found.cells_stopped_early)}"
            f"{_left_out(', and', found.prompts_left_out, found.prompts, 'prompts')}."
            " The bounds of a cell that stopped hold however often one looks; those of the"
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


def _stopped(cells: int) -> str:
    if cells == 0:
        return "No cell stopped early"
    return f"{grouped(cells)} cell{'s' if cells > 1 else ''} stopped early"


def waiver_terms(waiver: WaiverReport) -> str:
    """Return what was accepted, until when, and who approved it."""
    approvals = ", ".join(f"{one.name} ({one.role}, {one.on})" for one in waiver.approvals)
    ceiling = f"{waiver.ceiling:g}"
    if waiver.metric is not None:
        ceiling = setting(waiver.ceiling, waiver.metric)
    return plain(
        f"accepted up to {ceiling}, from {waiver.starts_on} to the end of {waiver.expires_on}"
        f" (UTC); approved by {approvals}; requested by {waiver.requester}; ticket {waiver.ticket}"
    )


def needs_more(cell: CellReport) -> str | None:
    """Return how much more a cell needs before it can pass at all, or None."""
    if cell.can_only_fail or cell.verdict == "not_applicable" or is_withheld(cell):
        return None  # how much is missing says how much there is
    if cell.attribute_class is not None:
        members, nonmembers = "eligible members", "nonmembers"
    else:
        members, nonmembers = probe_words(cell.probe).counted
    power = cell.power
    counts = (
        (power.needed_more, members),
        (power.needed_more_nonmembers, nonmembers),
        (power.needed_more_rollouts, "continuations"),
    )
    parts = [f"{grouped(count)} more {what}" for count, what in counts if count]
    return f"needs {' and '.join(parts)} before it can pass" if parts else None


def sample_words(cell: CellReport) -> str:
    """Return who was there to be measured."""
    sample = cell.sample
    if sample is None or is_withheld(cell):
        return NOT_SHOWN
    counts = {
        name: grouped(count)
        for name in type(sample).model_fields
        if isinstance(count := getattr(sample, name), int)
    }
    own = probe_words(cell.probe).sample(counts)
    if own is not None:
        return own
    words = f"{counts['members']} members, {counts['nonmembers']} nonmembers"
    if cell.attribute_class is None:
        return words
    if sample.members_positive is not None:
        positive = grouped(sample.members_positive), grouped(sample.nonmembers_positive or 0)
        words += f" eligible, of {positive[0]} and {positive[1]} with the class"
    if sample.distinct_prompt_share is not None:
        words += f"; {share(sample.distinct_prompt_share)} of the prompts are distinct"
    return words


def subgroup_words(subgroup: str) -> str:
    """Return a subgroup in words."""
    if subgroup == "all":
        return "all patients"
    if subgroup == "rare_code":
        return "patients with a rare code"
    if subgroup.startswith("rare_code<="):
        others = plain(subgroup.removeprefix("rare_code<="))
        return f"patients with a code that at most {others} other members have"
    if subgroup.startswith("age>"):
        return f"patients older than {plain(subgroup.removeprefix('age>'))} years"
    return f"patients with {plain(subgroup)}"
