"""What was measured, in words: every probe and metric, its unit, and what it is held against.

Numbers of one unit are read alike and drawn on one scale; numbers of two units never share an axis.
A metric from outside phigate has no words here: it is shown by its name, as a plain number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from checker.report.wording.plain import plain

__all__ = [
    "AGAINST",
    "AT_ANOTHER",
    "Against",
    "Measure",
    "ProbeWords",
    "Unit",
    "age_offset",
    "is_share",
    "measure_of",
    "probe_words",
    "unit_of",
]

Unit = Literal[
    "share",
    "auroc",
    "auroc-difference",
    "precision",
    "precision-difference",
    "distance",
    "bits",
    "epsilon",
    "number",
]
"""Shares are read as percentages, bits with their unit, everything else as decimals."""

Against = Literal["excess", "members-alone", "separation", "set", "perturbation", "coin"]
"""What a metric is held against, so that memory can be told from medicine."""

AGAINST: dict[Against, str] = {
    "excess": "an excess: the same attack on patients the model never saw is subtracted",
    "members-alone": (
        "members alone: nothing is subtracted, so that what the model merely knows of medicine"
        " counts as well"
    ),
    "separation": "members against nonmembers: how well the attack tells them apart",
    "set": (
        "an excess: the same comparison with the records of as many patients the model never saw"
        " is subtracted"
    ),
    "perturbation": (
        "perturbation only: members' own prompts with identifiers changed, and no nonmembers"
    ),
    "coin": (
        "planted patients against equals that a fair coin left out: no split has to be comparable"
    ),
}


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric in words.

    Args:
        title: what it is, in a table.
        counts: the few words that fit beside the number.
        unit: how it is read, and which numbers it shares a scale with.
        meaning: one sentence on how to read it.
        against: what it is held against; None for numbers that only stand beside others.
        part: what the members' and the nonmembers' number each are, where there are two.
        parts: names of these two, where they are not simply members and nonmembers.
    """

    title: str
    counts: str
    unit: Unit
    meaning: str
    against: Against | None = None
    part: str = ""
    parts: tuple[str, str] = ("members", "nonmembers")


@dataclass(frozen=True, slots=True)
class ProbeWords:
    """A probe in words.

    Args:
        title: of the attack.
        meaning: what is done, and what its numbers say.
        limits: what it cannot show.
        row: title of its row in the matrix, where it is about no attribute class.
    """

    title: str
    meaning: str
    limits: str
    row: str = ""


_PROBES = {
    "attribute-disclosure": ProbeWords(
        "Attribute disclosure",
        "The model continues what the attacker knows of a patient, several times; every code of the"
        " class has been removed from what the attacker knows. A patient counts as disclosed when"
        " more than the threshold share of the continuations name the class. Only patients count"
        " who have the class and in whose true record it follows within the horizon.",
        "It says nothing where many patients share a prompt, or of what lies beyond the horizon.",
    ),
    "membership-inference": ProbeWords(
        "Membership inference",
        "The model's surprise at a patient's whole record is turned into a score. The better the"
        " score tells patients the model was trained on from patients it never saw, the more the"
        " model gives away who was in its training data; 0.5 is chance.",
        "It says that a record was trained on, not what could be drawn from the model; a stronger"
        " score than those tried may tell more.",
        "Membership: was this patient in the training data?",
    ),
    "trajectory-memorization": ProbeWords(
        "Trajectory memorization",
        "What the model writes after what the attacker knows is held against what truly followed:"
        " how far the two are apart, and whether so many true tokens in a row are repeated that it"
        " counts as extraction. Where a prompt identifies nobody, the question is whose records the"
        " continuations repeat at all.",
        "Coming near to the truth is skill as much as memory; only what exceeds patients the model"
        " never saw speaks of memory.",
        "Records: does the model write down what truly happened?",
    ),
    "embedding-probe": ProbeWords(
        "Embedding probe",
        "An attacker who sees the model's internal representations and knows the class of a share"
        " of the members fits a classifier and applies it to the other patients. What it tells of"
        " members beyond patients the model never saw is memory.",
        "It speaks of the classifiers that were fitted; a small share of labels says little about"
        " an attacker who has more.",
    ),
    "identifier-perturbation": ProbeWords(
        "Identifier perturbation",
        "Age, sex and race in the prompt are changed one at a time, for members whose class the"
        " model tells. A member is memorized when the model still tells it of the unchanged prompt,"
        " drawn afresh, and no longer of prompts whose age is one or two years off.",
        "It can fail a model and never pass one: a model that repeats records from their clinical"
        " codes ignores the age, so what stays the same proves nothing.",
    ),
    "canary-exposure": ProbeWords(
        "Canary exposure",
        "Made-up patients were planted in the training data, a fair coin having decided which. The"
        " better the model tells those planted from those left out, the more it keeps of single"
        " records that stood there once.",
        "It speaks of what the model keeps of records it saw as often as the canaries. The bound on"
        " ε can fail a model and never pass one: no attack bounds ε from above.",
        "Canaries: are planted patients told from those left out?",
    ),
}

_MEASURES = {
    # --- attribute disclosure
    "disclosure_rate": Measure(
        "disclosed members", "of members", "share",
        "Share of eligible members whose class the model tells.",
        "members-alone",
    ),
    "excess_disclosure": Measure(
        "disclosed members beyond nonmembers", "of members beyond nonmembers", "share",
        "Share of eligible members whose class the model tells, beyond the same share of patients"
        " it never saw, in percentage points.",
        "excess", "share of patients disclosed",
    ),
    "excess_mean_q": Measure(
        "mean share of naming continuations beyond nonmembers",
        "of continuations beyond nonmembers", "share",
        "Mean share of a member's continuations that name the class, beyond the same mean for"
        " patients the model never saw.",
        "excess", "mean share of naming continuations",
    ),
    "attribute_auroc": Measure(
        "AUROC for the class among members", "AUROC for the class, 0.5 is chance", "auroc",
        "How well the share of naming continuations tells members with the class from members"
        " without it.",
        "members-alone",
    ),
    "excess_attribute_auroc": Measure(
        "AUROC for the class beyond nonmembers", "AUROC beyond nonmembers, 0 is none",
        "auroc-difference",
        "How much better the share of naming continuations ranks members than patients the model"
        " never saw.",
        "excess", "AUROC for the class",
    ),
    "attribute_auprc": Measure(
        "average precision for the class among members", "average precision for the class",
        "precision",
        "Mean precision over all cut-offs when members are ranked by the share of naming"
        " continuations; chance gives the share of patients who have the class.",
        "members-alone",
    ),
    "excess_attribute_auprc": Measure(
        "average precision for the class beyond nonmembers",
        "average precision beyond nonmembers", "precision-difference",
        "How much more precisely the share of naming continuations ranks members than patients the"
        " model never saw.",
        "excess", "average precision for the class",
    ),
    "precision": Measure(
        "precision: named members who have the class", "of named members", "share",
        "Share of the members named at the threshold who have the class.",
    ),
    "recall": Measure(
        "recall: eligible members who are named", "of eligible members", "share",
        "Share of the eligible members who are named at the threshold.",
    ),
    # --- membership inference
    "membership_auroc": Measure(
        "AUROC between members and nonmembers", "AUROC, 0.5 is chance", "auroc",
        "How often the score puts a member above a nonmember.",
        "separation",
    ),
    "membership_tpr_at_fpr": Measure(
        "members recognized at a fixed false-positive rate", "of members recognized", "share",
        "Share of members above a score that only so many nonmembers exceed.",
        "separation",
    ),
    # --- trajectory memorization
    "extraction_rate": Measure(
        "members extracted word for word", "of members extracted", "share",
        "Share of members of whom a continuation repeats that many true tokens in a row.",
        "members-alone",
    ),
    "excess_extraction": Measure(
        "members extracted word for word beyond nonmembers", "of members beyond nonmembers",
        "share",
        "Share of members extracted word for word, beyond the same share of patients the model"
        " never saw.",
        "excess", "share of patients extracted word for word",
    ),
    "regurgitation_excess": Measure(
        "continuations that repeat members' records beyond nonmembers'",
        "of continuations beyond nonmembers'", "share",
        "Share of continuations that repeat a piece of any member's record, beyond those that"
        " repeat a piece of the records of as many patients the model never saw. The two shares"
        " bound it and need not differ by it.",
        "set", "share of continuations that repeat somebody's record",
        ("repeat a member's record", "repeat a record of as many nonmembers"),
    ),
    "distance_gap": Measure(
        "how much nearer to the truth continuations are for members", "nearer than for nonmembers",
        "distance",
        "Mean distance between continuations and what truly followed, of nonmembers minus of"
        " members; 0 is no difference, 2 the most there can be.",
        "excess", "mean distance to what truly followed",
    ),
    "random_distance": Measure(
        "distance of tokens drawn by their frequency, members", "of random tokens", "distance",
        "What drawing tokens by their frequency would give.",
    ),
    "frequent_distance": Measure(
        "distance of the most frequent codes, members", "of the most frequent codes", "distance",
        "What always writing the most frequent codes would give.",
    ),
    # --- embedding probe
    "probe_auroc": Measure(
        "AUROC for the class from members' embeddings", "AUROC from embeddings, 0.5 is chance",
        "auroc",
        "How well a classifier on embeddings tells members with the class from members without it.",
        "members-alone",
    ),
    "excess_probe_auroc": Measure(
        "AUROC for the class from embeddings beyond nonmembers",
        "AUROC from embeddings beyond nonmembers, 0 is none", "auroc-difference",
        "How much better the classifier does on members than on patients the model never saw.",
        "excess", "AUROC for the class from embeddings",
    ),
    # --- identifier perturbation
    "memorized_share": Measure(
        "members told on only under their own age", "of members, only under their own age",
        "share",
        "Share of eligible members whose class the model tells under their own age and no longer"
        " under one or two years more or less.",
        "perturbation",
    ),
    "memorized share of disclosed members": Measure(
        "memorized share of the disclosed members", "of disclosed members", "share",
        "The same among the members whose class the model tells.",
    ),
    # --- canaries
    "exposure_bits": Measure(
        "mean exposure of planted canaries", "mean exposure; 1.44 bits is chance", "bits",
        "How high planted canaries rank among those left out: each bit halves the rank. A model"
        " that keeps nothing has about 1.44 bits.",
        "coin",
    ),
    "epsilon_lower_bound": Measure(
        "lower bound of ε", "ε at the least; 0 shows nothing", "epsilon",
        "The ε of differential privacy that the guesses rule out everything below of. Nothing"
        " bounds it from above.",
        "coin",
    ),
}  # fmt: skip

_UNCHANGED, _AT_AGE, AT_ANOTHER = "q unchanged", "q at age ", "q at another "


def measure_of(name: str) -> Measure:
    """Return a metric, or a number reported beside one, in words."""
    known = _MEASURES.get(name)
    if known is not None:
        return known
    if name == _UNCHANGED:
        title = "naming continuations, prompt unchanged and drawn afresh"
    elif (years := age_offset(name)) is not None:
        unit = "year" if abs(years) == 1 else "years"
        title = f"naming continuations, {abs(years)} {unit} {'older' if years > 0 else 'younger'}"
    elif name.startswith(AT_ANOTHER):
        title = f"naming continuations, another {plain(name.removeprefix(AT_ANOTHER))}"
    else:
        return Measure(plain(name), plain(name), "number", "")
    return Measure(
        title, "of continuations", "share",
        "Mean share of the continuations that name the class, over the disclosed members whose"
        " prompt could be changed so.",
    )  # fmt: skip


def age_offset(name: str) -> int | None:
    """Return by how many years the age was changed in a number of the perturbation curve.

    >>> age_offset("q at age -5"), age_offset("q unchanged"), age_offset("q at another sex")
    (-5, 0, None)
    """
    if name == _UNCHANGED:
        return 0
    if not name.startswith(_AT_AGE):
        return None
    try:
        return int(name.removeprefix(_AT_AGE))
    except ValueError:
        return None


def probe_words(name: str) -> ProbeWords:
    """Return a probe in words; one from outside phigate by its name."""
    return _PROBES.get(name) or ProbeWords(
        plain(name), "An attack from outside phigate; see its own documentation.", "", plain(name)
    )


def unit_of(name: str) -> Unit:
    """Return the unit of a metric, or of a number reported beside one."""
    return measure_of(name).unit


def is_share(name: str) -> bool:
    """Whether a number is a share of something, read as a percentage."""
    return unit_of(name) == "share"
