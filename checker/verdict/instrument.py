"""Does the audit look at the model as it is? The floor and what the trainer expects (METHODS §5).

A vocabulary shifted by one makes any model look safe: it says nothing of anybody, and every format
of the same wrong tokens is as unlikely as the next. So a model must know more than a table of how
often tokens follow each other, or its trainer's own sequences must show that the tokens are right.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.planning.model import AuditPlan
from checker.records.prompt_format import DECLARED, FORMAT_PATIENTS_NEEDED
from checker.records.sample import SAMPLE_NEEDED
from checker.stats.student import t_test
from checker.verdict.channels import channel_check
from checker.verdict.checks import FORMAT_MARGIN, AdmissibilityCheck, surely_higher

REASONS_OF = {
    "floor": "attack-not-shown-to-work",
    "other-descriptions": "attack-not-shown-to-work",
    "record-parts": "attack-not-shown-to-work",
    "channels": "attack-not-shown-to-work",
    "expected-tokens": "expectation-not-met",
    "expected-loss": "expectation-not-met",
    "expectation": "expectation-missing",
}
"""The reason of the cells that each check blocks."""

FALSE_ALARMS = 0.01
"""Of models that are no worse, so many at the most are said to be, by each comparison."""

LOSS_MARGIN = 0.02
"""By which a declared loss may be missed: it is rounded, and of other epochs and windows."""


def instrument_checks(
    plan: AuditPlan, evidence: Mapping[str, pa.Table], *, require_expectation: bool
) -> list[AdmissibilityCheck]:
    """Judge whether the target's description is the model's.

    Args:
        plan: names the jobs.
        evidence: tables by job digest.
        require_expectation: a target that declares no expectation is not passed.

    Returns:
        The floor, then what the model is told beside token ids, if it is; then one check for each
        expectation, of none where none is declared or required.
    """
    expected = plan.target.document.spec.expect
    checks = []
    if expected is not None and expected.tokens is not None:
        checks.append(_tokens(plan, evidence))
    if expected is not None and expected.loss is not None:
        checks.append(_loss(plan, evidence, declared=expected.loss.members))
    if not checks and require_expectation:
        checks.append(
            AdmissibilityCheck(
                "expectation",
                "The target says what its trainer expects",
                None,
                "The target declares neither tokens nor a loss to expect, and the policy asks for"
                " one (gate.requireExpectation).",
            )
        )
    confirmed = any(one.name == "expected-tokens" and one.holds for one in checks)
    channels = channel_check(plan, evidence, confirmed=confirmed)
    beside = [] if channels is None else [channels]
    return [_floor(plan, evidence, confirmed=confirmed), *beside, *checks]


def instrument_objection(
    checks: Mapping[str, AdmissibilityCheck], *, passes: bool
) -> tuple[str, str] | None:
    """Return reason and sentence of the first of these checks that keeps a cell from counting.

    Args:
        checks: by name.
        passes: the cell would pass; what was not decided keeps it from that, and from nothing else.
    """
    for name, reason in REASONS_OF.items():
        check = checks.get(name)
        if check is not None and (check.holds is False or (passes and check.holds is None)):
            return reason, check.explanation
    return None


def _floor(
    plan: AuditPlan, evidence: Mapping[str, pa.Table], *, confirmed: bool
) -> AdmissibilityCheck:
    name, title = "floor", "The model knows more than a table of tokens"
    job = plan.job("prompt-format")
    table = evidence.get(job.digest) if job else None
    if job is None or table is None:
        return AdmissibilityCheck(
            name, title, None, "Not decided: the target gives no log-probabilities to compare."
        )
    declared = np.array(table["variant"].to_pylist(), dtype=object) == DECLARED
    model, unigram, bigram = (
        table[column].to_numpy(zero_copy_only=False).astype(np.float64)[declared]
        for column in ("loss", "unigram", "bigram")
    )
    if len(model) < FORMAT_PATIENTS_NEEDED:
        text = (
            f"Not decided: only {len(model)} members have events to compare, of"
            f" {FORMAT_PATIENTS_NEEDED} needed."
        )
        return AdmissibilityCheck(name, title, None, text, evidence=(job.digest,))
    found = (
        f"{model.mean():.3f} nats per event token over {len(model)} members, against"
        f" {unigram.mean():.3f} of a table of how often each token occurs among nonmembers and"
        f" {bigram.mean():.3f} of one of which token follows which"
    )
    if _loses(model, unigram) and confirmed:
        # the tokens are right, so what was found to leak leaks; but such a model is not passed
        text = (
            f"The model knows less than how often tokens occur ({found}), though the trainer's own"
            " sequences show that the tokens are right: it has learned something else than these"
            " records."
        )
        return AdmissibilityCheck(name, title, None, text, evidence=(job.digest,))
    if _loses(model, unigram):
        text = (
            f"The model knows less than how often tokens occur: {found}. These are not its tokens:"
            " correct the target's vocabulary and tokenization."
        )
        return AdmissibilityCheck(name, title, False, text, evidence=(job.digest,))
    if not _loses(model, bigram):
        text = f"It is no worse than either table: {found}."
        return AdmissibilityCheck(name, title, True, text, evidence=(job.digest,))
    if confirmed:
        text = (
            f"It knows less than which token follows which ({found}), and the trainer's own"
            " sequences show that the tokens are right."
        )
        return AdmissibilityCheck(name, title, True, text, evidence=(job.digest,))
    text = (
        f"The model knows less than which token follows which: {found}. Either these are not its"
        " tokens, or it has learned little; the trainer's own sequences would show which"
        " (expect.tokens)."
    )
    return AdmissibilityCheck(name, title, None, text, evidence=(job.digest,))


def _loses(model: NDArray[np.float64], table: NDArray[np.float64]) -> bool:
    """Whether the model's loss is higher by more than the margin, and not by chance (paired t)."""
    return bool(model.mean() > table.mean() * (1 + FORMAT_MARGIN)) and surely_higher(
        model, table, level=FALSE_ALARMS
    )


def _tokens(plan: AuditPlan, evidence: Mapping[str, pa.Table]) -> AdmissibilityCheck:
    name, title = "expected-tokens", "Records are tokenized as the trainer's data loader does it"
    job = plan.job("expected-tokens")
    table = evidence.get(job.digest) if job else None
    if job is None or table is None:
        return AdmissibilityCheck(name, title, None, "The trainer's sequences were not compared.")
    row = table.to_pylist()[0]
    if row["different"]:
        text = (
            f"{row['different']} of {row['compared']} sequences of the trainer's sample are not"
            f" what the declared tokenization makes of the same patients; the first is row"
            f" {row['place']} of the sample, from its token {row['position']}."
        )
        return AdmissibilityCheck(name, title, False, text, evidence=(job.digest,))
    if row["members"] < SAMPLE_NEEDED:
        text = (
            f"Not decided: the trainer's sample holds {row['members']} members of this audit, of"
            f" {SAMPLE_NEEDED} needed. It is made of patients whom the model was trained on: where"
            " it lacks them, the members of this audit may be others."
        )
        return AdmissibilityCheck(name, title, None, text, evidence=(job.digest,))
    text = f"All {row['compared']} sequences of the trainer's sample agree to the last token."
    return AdmissibilityCheck(name, title, True, text, evidence=(job.digest,))


def _loss(
    plan: AuditPlan, evidence: Mapping[str, pa.Table], *, declared: float
) -> AdmissibilityCheck:
    name, title = "expected-loss", "The members' loss is the one that the trainer measured"
    job = plan.job("expected-loss")
    table = evidence.get(job.digest) if job else None
    if job is None or table is None:
        return AdmissibilityCheck(
            name, title, None, "Not decided: the target gives no log-probabilities to compare."
        )
    tokens = table["tokens"].to_numpy().astype(np.float64)
    loss = table["loss"].to_numpy().astype(np.float64)
    if len(loss) < FORMAT_PATIENTS_NEEDED:
        text = f"Not decided: {len(loss)} members were scored, of {FORMAT_PATIENTS_NEEDED} needed."
        return AdmissibilityCheck(name, title, None, text, evidence=(job.digest,))
    measured = float(tokens @ loss / tokens.sum())
    found = f"{measured:.3f} nats a token over {len(loss)} members, where {declared:g} is declared"
    nearest = float(np.clip(measured, declared * (1 - LOSS_MARGIN), declared * (1 + LOSS_MARGIN)))
    excess = tokens * (loss - nearest)
    if nearest == measured:
        text = f"It agrees within {LOSS_MARGIN:.0%}: {found}."
        return AdmissibilityCheck(name, title, True, text, evidence=(job.digest,))
    by_chance = np.ptp(excess) > 0 and t_test(excess, two_sided=True) >= FALSE_ALARMS
    if by_chance:
        text = f"It agrees within {LOSS_MARGIN:.0%} but for what chance allows: {found}."
        return AdmissibilityCheck(name, title, True, text, evidence=(job.digest,))
    text = f"It does not agree within {LOSS_MARGIN:.0%}: {found}."
    return AdmissibilityCheck(name, title, False, text, evidence=(job.digest,))
