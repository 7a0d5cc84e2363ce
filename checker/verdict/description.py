"""Is the target's description of records the model's own? Judged from evidence (METHODS §5).

Both checks keep cells from passing and excuse nothing: what leaks under a wrong description leaks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from checker.planning.model import AuditPlan
from checker.records.other_descriptions import LATER
from checker.records.prompt_format import DECLARED, FORMAT_PATIENTS_NEEDED
from checker.records.record_parts import EVENTS, PIECES
from checker.stats import false_alarms
from checker.verdict.checks import AdmissibilityCheck, surely_higher

RECOGNISED_NEEDED = 2
"""Patients of the sample; one alone may be an error in his data."""

LATER_MARGIN = 1.0
"""Nats an event by which a telling from a later visit must be likelier. Weakly trained models are
led astray by a long history, and like some patients better without it."""

PART_MARGIN = 0.1
"""By which share of a table's loss the model's must be higher: what is compared here are few kinds
of tokens, which no trainer selects a model by."""

WORDS = {
    PIECES: "records in the declared pieces",
    "static": "the static prefix",
    "time": "time tokens",
    "end": "the end of a record",
}


def description_checks(
    plan: AuditPlan, evidence: Mapping[str, pa.Table], *, confirmed: bool
) -> list[AdmissibilityCheck]:
    """Judge whether anybody is recognised otherwise, and whether the parts of a record are right.

    Args:
        plan: names the jobs.
        evidence: tables by job digest; a missing table leaves its check undecided.
        confirmed: the trainer's own sequences show that the tokens are right.
    """
    return [_recognised(plan, evidence), _parts(plan, evidence, confirmed=confirmed)]


def _recognised(plan: AuditPlan, evidence: Mapping[str, pa.Table]) -> AdmissibilityCheck:
    name, title = "other-descriptions", "No member is recognised who is described otherwise"
    job = plan.job("other-descriptions")
    table = evidence.get(job.digest) if job else None
    if job is None or table is None:
        return AdmissibilityCheck(
            name, title, None, "Not decided: the target gives no log-probabilities to compare."
        )
    best, tried = _best_gains(table)
    if not tried:
        text = "Nothing could be told otherwise: no age, no static field and no other first token."
        return AdmissibilityCheck(name, title, True, text, evidence=(job.digest,))
    if len(best) < FORMAT_PATIENTS_NEEDED:
        text = (
            f"Not decided: only {len(best)} members have events to compare, of"
            f" {FORMAT_PATIENTS_NEEDED} needed."
        )
        return AdmissibilityCheck(name, title, None, text, evidence=(job.digest,))
    # What a model says is k times likelier under another description than under the true one
    # happens with probability 1/k, if what it says is true (Markov's inequality). So with
    # k = all comparisons / e no more than e patients are to be expected, and with probability
    # e / 2 at most there are two (Markov again).
    allowed = RECOGNISED_NEEDED * false_alarms.RECOGNISED
    needed = math.log(tried * len(best) / allowed)
    recognised = Counter(telling for gain, telling in best if gain >= needed)
    found = (
        f"{tried} other descriptions (ages, values of static fields, what begins a record, where it"
        f" begins) were tried on the beginnings of {len(best)} members' records"
    )
    if sum(recognised.values()) < RECOGNISED_NEEDED:
        text = f"Nobody was: {found}."
        return AdmissibilityCheck(name, title, True, text, evidence=(job.digest,))
    commonest = recognised.most_common(1)[0][0]
    text = (
        f"The model recognises members who are described otherwise than the target does, most"
        f" of them under '{commonest}': {found}, and a record counts as recognised when it is"
        f" {needed:.1f} nats likelier. What it knows of them was not asked: correct the target's"
        " tokenization, or audit the release of the data that the model was trained on."
    )
    return AdmissibilityCheck(name, title, None, text, evidence=(job.digest,))


def _best_gains(table: pa.Table) -> tuple[list[tuple[float, str]], int]:
    """Return each patient's largest gain over the declared loss, in nats, and by which telling.

    And how many tellings were tried: the most of any patient.
    """
    declared: dict[str, float] = {}
    others: dict[str, list[tuple[float, str, float]]] = {}
    columns = (table[name].to_pylist() for name in ("patient", "telling", "loss", "tokens"))
    for patient, telling, loss, tokens in zip(*columns, strict=True):
        if telling == DECLARED:
            declared[patient] = loss
        else:
            least = LATER_MARGIN * tokens if telling.startswith(LATER) else 0.0
            others.setdefault(patient, []).append((loss, telling, least))
    best = []
    for patient, own in declared.items():
        gains = [
            (own - loss if own - loss >= least else min(own - loss, 0.0), telling)
            for loss, telling, least in others.get(patient, [])
        ]
        if gains:
            best.append(max(gains))
    return best, max((len(tried) for tried in others.values()), default=0)


def _parts(
    plan: AuditPlan, evidence: Mapping[str, pa.Table], *, confirmed: bool
) -> AdmissibilityCheck:
    name, title = "record-parts", "The parts of a record are the model's own"
    job = plan.job("record-parts")
    table = evidence.get(job.digest) if job else None
    if job is None or table is None:
        return AdmissibilityCheck(
            name, title, None, "Not decided: the target gives no log-probabilities to compare."
        )
    part = np.array(table["part"].to_pylist(), dtype=object)
    losses = {
        which: tuple(
            table[column].to_numpy().astype(np.float64)[part == which]
            for column in ("loss", "table")
        )
        for which in dict.fromkeys(part.tolist())
    }
    level = false_alarms.PARTS / max(len(losses), 1)
    wrong = {
        which: f"of {WORDS.get(which, which)} {model.mean():.3f} nats a token against"
        f" {expected.mean():.3f}"
        for which, (model, expected) in losses.items()
        if model.mean() > expected.mean() * (1 + PART_MARGIN)
        and len(model) >= FORMAT_PATIENTS_NEEDED
        and surely_higher(model, expected, level=level)
    }
    strange = [found for which, found in wrong.items() if which in EVENTS]
    in_pieces = wrong.get(PIECES)
    unexpected = [found for which, found in wrong.items() if which not in (*EVENTS, PIECES)]
    if not wrong:
        text = "None is less likely to the model than to a table of tokens."
        return AdmissibilityCheck(name, title, True, text, evidence=(job.digest,))
    found = f"the loss {', and '.join(unexpected)} of a table of which token follows which"
    if confirmed and not strange and in_pieces is None:
        text = (
            f"The model does not expect them ({found}), and the trainer's own sequences show that"
            " they are right."
        )
        return AdmissibilityCheck(name, title, True, text, evidence=(job.digest,))
    texts = []
    if strange:
        texts.append(
            "The model does not know these events: the loss"
            f" {', and '.join(strange)} of a table of how often each token occurs. These are not"
            " its tokens, or it has learned something else than these records; correct the"
            " target's vocabulary and tokenization."
        )
    if in_pieces is not None:
        texts.append(
            "The model knows the same tokens better behind more of the record: the loss"
            f" {in_pieces} there. It was not trained on such pieces; correct the target's maxLength"
            " and window."
        )
    if unexpected and not confirmed:
        whom = "other parts" if strange else "them"
        texts.append(
            f"The model does not expect {whom}: {found}. Either they are not declared as the model"
            " was trained, or it was never taught to predict them; the trainer's own sequences"
            " would show which (expect.tokens)."
        )
    return AdmissibilityCheck(name, title, None, " ".join(texts), evidence=(job.digest,))
