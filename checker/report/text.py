"""The words of the report: verdicts, reasons, metrics and numbers as people read them.

Everything that a person reads and that is not in the report model stands here, so that all formats
say the same. Numbers are rounded so that they never tell another story than the verdict: an upper
bound is rounded up, a lower bound down, and both get more digits where a rounded bound would seem
to lie on the other side of the limit.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Literal

from checker.errors import ExitCode
from checker.report.model import CellReport, LimitReport, Number, Report, WaiverReport

__all__ = [
    "ACCESS",
    "BASES",
    "CONFIDENTIAL",
    "CONTEXTS",
    "ENFORCEMENT",
    "GLOSSARY",
    "NOT_PROOF",
    "PROBES",
    "VERDICT_WORDS",
    "WAIVER_STATUS",
    "Reason",
    "bounds",
    "figure",
    "grouped",
    "headline",
    "is_share",
    "limit_words",
    "metric_title",
    "metric_unit",
    "moment",
    "needs_more",
    "p_words",
    "part_title",
    "plain",
    "reason_of",
    "setting",
    "share",
    "shorten",
    "subgroup_words",
    "telling_bound",
    "verdict_word",
    "waiver_terms",
]

NBSP = "\N{NO-BREAK SPACE}"
MAX_DECIMALS = 8
READABLE = 1e12
SMALLEST_P = 0.001

CONFIDENTIAL = "Confidential: for the audit team"
NOT_PROOF = (
    "This is not proof of anonymity, and it says nothing about attacks that were not run, about"
    " attribute classes that the policy does not name, or about any other version of the model."
)

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

PROBES = {
    "attribute-disclosure": (
        "Attribute disclosure",
        "The model continues what the attacker knows of a patient, several times; every code of the"
        " class has been removed from what the attacker knows. A patient counts as disclosed when"
        " more than the threshold share of the continuations name the class. Only patients count"
        " who have the class and in whose true record it follows within the horizon.",
    ),
    "membership-inference": (
        "Membership inference",
        "The model's surprise at a patient's whole record is turned into a score. The better the"
        " score tells patients the model was trained on from patients it never saw, the more the"
        " model gives away who was in its training data; 0.5 is chance.",
    ),
}

_SHARES = {
    "disclosure_rate": "disclosed members",
    "excess_disclosure": "disclosed members beyond nonmembers",
    "excess_mean_q": "mean share of naming continuations beyond nonmembers",
    "precision": "share of named patients who have the class",
    "membership_tpr_at_fpr": "members recognized at a fixed false-positive rate",
    "extraction_rate": "members whose record was repeated",
    "excess_extraction": "repeated members beyond nonmembers",
    "regurgitation_excess": "continuations that repeat a member beyond nonmembers",
    "memorized_share": "disclosed members that were memorized",
}

_DECIMALS = {
    "attribute_auroc": "AUROC for the class among members",
    "excess_attribute_auroc": "AUROC for the class beyond nonmembers",
    "probe_auroc": "AUROC for the class from embeddings",
    "excess_probe_auroc": "AUROC from embeddings beyond nonmembers",
    "membership_auroc": "AUROC between members and nonmembers",
    "distance_gap": "distance to the true record, nonmembers minus members",
    "exposure_bits": "exposure in bits",
    "epsilon_lower_bound": "lower bound of epsilon",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a cell got no verdict: in a few words, in a sentence, and what to do about it."""

    short: str
    meaning: str
    next_step: str


_REASONS = {
    "too-few-positives": Reason(
        "too few patients with the class",
        "Too few patients have the class for a bound that could be relied on.",
        "Audit on more patients with the class, or widen the class where that is medically right.",
    ),
    "too-few-nonmembers": Reason(
        "too few nonmembers",
        "Too few comparable patients whom the model never saw: without them, leakage cannot be told"
        " from medical knowledge.",
        "Hold out more patients before training, or add patients of the same source.",
    ),
    "too-few-patients": Reason(
        "too few patients",
        "Too few patients were there to be measured.",
        "Audit on more patients.",
    ),
    "horizon-too-short": Reason(
        "class lies beyond the horizon",
        "Enough patients have the class, but in too few of them it follows closely enough behind"
        " what the attacker knows for the model to reach it.",
        "Raise horizonTokens in a new control, or add patients.",
    ),
    "prompt-not-identifying": Reason(
        "prompt fits many patients",
        "Many patients share what this attacker knows, so naming one member's diagnosis looks the"
        " same as knowing the population.",
        "Judge this attacker by attackers who know more; a leak shows there first. The policy can"
        " mark this one as reported only.",
    ),
    "split-not-comparable": Reason(
        "members and nonmembers differ",
        "Members and nonmembers could be told apart, or could not be shown to be alike, without any"
        " model: a difference between them need not be memorization.",
        "Take nonmembers of the same source and period, split at random, or audit on more of them.",
    ),
    "base-rates-differ": Reason(
        "class is easier to guess in one group",
        "Without the model, the class could be predicted better in one group than in the other;"
        " that can hide a leak or feign one.",
        "Take nonmembers of the same source and period, or match them to the members.",
    ),
    "split-overlap": Reason(
        "patients in both groups",
        "Some patients are in both groups, so the nonmembers are not patients the model never saw.",
        "Remove these patients from the nonmembers and run the audit again.",
    ),
    "near-duplicates": Reason(
        "near-duplicate records in both groups",
        "Nearly identical records are in both groups: the model may have seen the nonmembers under"
        " another name.",
        "De-duplicate across the splits and run the audit again.",
    ),
    "placebo-failed": Reason(
        "placebo found a difference",
        "The same measurement found a difference between two random halves of the nonmembers, where"
        " there is none: the instrument is broken for these data.",
        "Look for repeated or ordered records among the nonmembers, and do not trust this cell.",
    ),
    "attack-not-shown-to-work": Reason(
        "attack not shown to work",
        "The model was not shown to understand the prompts it was given, so silence means nothing.",
        "Compare the target's tokenization (start token, order of static facts, age) with the one"
        " the model was trained on.",
    ),
    "bounds-straddle-limit": Reason(
        "limit lies within the bounds",
        "The limit lies between the lower and the upper bound: the data allow both.",
        "Audit on more patients; the power section says how likely a pass is with these.",
    ),
    "exceeds-uncorrected": Reason(
        "above the limit before correction",
        "The bound lies above the limit, but no longer once corrected for the number of cells"
        " tested: it is not shown to fail, and it blocks all the same.",
        "Audit on more patients, or treat it as a failure.",
    ),
    "zero-hits-cannot-pass": Reason(
        "sample too small to pass",
        "Even without a single hit, a sample this small could not show that the limit is kept.",
        "Add as many patients as the plan asks for.",
    ),
    "capability-missing": Reason(
        "model does not allow this attack",
        "The target does not offer the access that this attack needs, so it was not run.",
        "Give the audit that access, or take the attacker out of the control with a reason.",
    ),
    "evidence-too-old": Reason(
        "evidence is too old",
        "The evidence is older than the policy accepts.",
        "Run the audit again with --fresh.",
    ),
    "not-run": Reason(
        "not run",
        "The measurement was planned and has not been run.",
        "Finish the run with `phigate run --resume`, then judge again.",
    ),
    "probe-crashed": Reason(
        "attack crashed",
        "The attack stopped with an error; what it would have found is unknown.",
        "Read the run's log, mend the cause and run the audit again.",
    ),
}

GLOSSARY = (
    ("AUROC", "How well a score tells two groups apart: 0.5 is chance, 1 is perfect."),
    ("Bound", "The truth lies below the upper bound (or above the lower one) with the stated"
              " confidence. Each bound holds on its own."),
    ("Cell", "One control, one attacker, one group of patients: the unit that gets a verdict."),
    ("Control", "One requirement of the policy, with a limit per attacker."),
    ("Eligible", "A patient who has the class, and in whose true record it follows within the"
                 " horizon behind what the attacker knows."),
    ("Excess", "The rate among members minus the rate among nonmembers, in percentage points. A"
               " model that merely knows medicine has none."),
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


def plain(text: object) -> str:
    """Return text that can only be read: one line, with no control or direction characters.

    Control characters drive terminals and bidirectional overrides reorder what stands beside them;
    both become U+FFFD, so that a reader sees that something was there.
    """
    return "".join(_harmless(char) for char in str(text))


def _harmless(char: str) -> str:
    if char in "\t\n\r\v\f\x85\u2028\u2029":
        return " "
    category = unicodedata.category(char)
    # joiners shape letters in Persian and Indic scripts; all other format characters are invisible
    if category in {"Cc", "Cs", "Co", "Cn"} or (category == "Cf" and char not in "\u200c\u200d"):
        return "\N{REPLACEMENT CHARACTER}"
    return char


def shorten(text: object, length: int = 80) -> str:
    """Return `plain` text of at most `length` characters, with an ellipsis where it was cut."""
    whole = plain(text)
    return whole if len(whole) <= length else whole[: length - 1].rstrip() + "…"


_UNITS = {
    "excess_disclosure": "of members beyond nonmembers",
    "excess_mean_q": "of continuations beyond nonmembers",
    "disclosure_rate": "of members",
    "membership_auroc": "AUROC, 0.5 is chance",
    "membership_tpr_at_fpr": "of members recognized",
    "attribute_auroc": "AUROC, 0.5 is chance",
    "excess_attribute_auroc": "AUROC beyond nonmembers",
}


_PARTS = {
    "excess_disclosure": "share of patients disclosed",
    "excess_mean_q": "mean share of naming continuations",
    "excess_attribute_auroc": "AUROC for the class",
}


# --- numbers ------------------------------------------------------------------------------------


def is_share(metric: str) -> bool:
    """Whether a metric is a share of patients, read as a percentage; AUROCs and others are not."""
    return metric in _SHARES


def metric_title(metric: str) -> str:
    """Return a metric in words; an unknown one as it is."""
    return _SHARES.get(metric) or _DECIMALS.get(metric) or plain(metric)


def part_title(metric: str) -> str:
    """Return what an excess is the difference of, in words."""
    return _PARTS.get(metric) or metric_title(metric)


def metric_unit(metric: str) -> str:
    """Return what a number counts, in the few words that fit beside it."""
    return _UNITS.get(metric) or metric_title(metric)


def figure(
    value: float,
    metric: str,
    *,
    rounding: Literal["nearest", "up", "down"] = "nearest",
    against: float | None = None,
) -> str:
    """Return a number for reading: shares as percentages, AUROCs and others as decimals.

    Args:
        value: as in the report; shares are fractions.
        metric: decides the unit.
        rounding: "up" for upper bounds and "down" for lower ones, so that neither gets tighter.
        against: a limit; more digits are shown until the rounded number lies on the side of it, or
            on it, where the true one does.
    """
    if abs(value) >= READABLE:
        return f"{value:g}"
    share = is_share(metric)
    exact = _exact(value, share=share)
    other = None if against is None else _exact(against, share=share)
    mode = {"nearest": ROUND_HALF_EVEN, "up": ROUND_CEILING, "down": ROUND_FLOOR}[rounding]
    first = (1 if abs(exact) >= Decimal("0.1") or exact == 0 else 2) if share else 3
    rounded = exact
    for decimals in range(first, MAX_DECIMALS + 1):
        rounded = exact.quantize(Decimal(1).scaleb(-decimals), rounding=mode)
        if other is None or _same_side(rounded, exact, other):
            break
    digits = f"{rounded:f}".replace("-", "−")
    if rounded == 0:
        digits = digits.removeprefix("−")
    if share and value in {0.0, 1.0}:
        digits = digits.removesuffix(".0")
    return f"{digits}{NBSP}%" if share else digits


def setting(value: float, metric: str) -> str:
    """Return a number that somebody chose (a limit, a confidence) as they would write it."""
    share = is_share(metric)
    digits = f"{_exact(value, share=share).normalize():f}"
    return f"{digits}{NBSP}%" if share else digits


def share(value: float) -> str:
    """Return a fraction as a percentage, with a decimal where it has one."""
    return setting(round(value, 3), "precision")


def p_words(p_value: float) -> str:
    """Return a p-value for reading; the exact one stands in `report.json`."""
    return (
        f"p{NBSP}={NBSP}{p_value:.2g}" if p_value >= SMALLEST_P else f"p{NBSP}<{NBSP}{SMALLEST_P}"
    )


def _exact(value: float, *, share: bool) -> Decimal:
    """Return a number as people would write it: 0.1 + 0.2 is 0.3, and rounds up to 0.3."""
    return Decimal(f"{value:.12g}").scaleb(2 if share else 0)


def _same_side(rounded: Decimal, exact: Decimal, limit: Decimal) -> bool:
    """Whether rounding kept the number beyond the limit, or within it (equality is within)."""
    return (rounded > limit) == (exact > limit)


def bounds(number: Number, metric: str, *, against: float | None = None) -> str:
    """Return both bounds of an estimate, as "1.2 % to 4.1 %"."""
    low = figure(number.low, metric, rounding="down", against=against)
    high = figure(number.high, metric, rounding="up", against=against)
    return f"{low} to {high}"


def grouped(count: int) -> str:
    """Return a count with its thousands set apart by a space that does not break."""
    return f"{count:,}".replace(",", NBSP)


def limit_words(limit: LimitReport, metric: str) -> str:
    """Return a limit in words."""
    if limit.max_count is not None:
        return f"none among at least {grouped(limit.min_n or 1)}"
    if limit.fail is None:
        return "no limit"
    words = f"at most {setting(limit.fail, metric)}"
    return words if limit.warn is None else f"{words}, warning above {setting(limit.warn, metric)}"


def telling_bound(cell: CellReport) -> str | None:
    """Return what the verdict rests on: the lower bound of a fail, the upper one of a pass."""
    if cell.estimate is None:
        return None
    limit = cell.limit.fail
    low = figure(cell.estimate.low, cell.metric, rounding="down", against=limit)
    high = figure(cell.estimate.high, cell.metric, rounding="up", against=limit)
    if cell.verdict == "fail":
        return f"at least {low}"
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
    if cell.reason is None:
        return None
    return _REASONS.get(cell.reason) or Reason(plain(cell.reason), plain(cell.reason), "")


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
    """Return how many more patients a cell needs before it can pass at all, or None."""
    parts = []
    if cell.power.needed_more:
        who = "eligible members" if cell.attribute_class is not None else "members"
        parts.append(f"{grouped(cell.power.needed_more)} more {who}")
    if cell.power.needed_more_nonmembers:
        parts.append(f"{grouped(cell.power.needed_more_nonmembers)} more nonmembers")
    return f"needs {' and '.join(parts)} before it can pass" if parts else None


def subgroup_words(subgroup: str) -> str:
    """Return a subgroup in words."""
    if subgroup == "all":
        return "all patients"
    if subgroup == "rare_code":
        return "patients with a rare code"
    return f"patients with {plain(subgroup)}"
