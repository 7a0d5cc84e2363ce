"""Is what the model is told beside token ids its own? Judged from evidence (METHODS §5).

Under a wrong channel a model that repeats its patients does not recognise them. So the model has to
show that a channel is right, by knowing members surely better at the declared values than at none
and at those of another patient. The trainer's own values do where it hardly heeds a channel at all;
they do not where it does, for whoever describes a channel wrongly can make some that say the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.planning.model import AuditPlan
from checker.records.prompt_format import (
    DECLARED,
    FORMAT_PATIENTS_NEEDED,
    NO_CHANNEL,
    channel_variant,
)
from checker.verdict.checks import AdmissibilityCheck, surely_higher

LEVEL = 0.01
"""Of channels that the model does not heed, so many at the most are said to be heeded."""

UNHEEDED = 0.05
"""By this share of its loss a patient's, at the most, changes with a channel that the model hardly
heeds: 0.035 of a sound model, and 0.07 of an over-trained one that was told a wrong channel
(`benchmarks/wrong_channels.py`)."""


def channel_check(
    plan: AuditPlan, evidence: Mapping[str, pa.Table], *, confirmed: bool
) -> AdmissibilityCheck | None:
    """Judge whether the declared channels are the model's; None where the target declares none.

    Args:
        plan: names the jobs.
        evidence: tables by job digest.
        confirmed: the trainer's own sequences, which hold the channels too, agree.
    """
    tokenization = plan.target.document.spec.tokenization
    if not tokenization.channels:
        return None
    name, title = "channels", "What the model is told beside token ids is its own"
    trusted = confirmed or tokenization.records is not None
    job = plan.job("prompt-format")
    table = evidence.get(job.digest) if job else None
    if job is None or table is None:
        text = "Not decided: the target gives no log-probabilities to compare."
        return AdmissibilityCheck(name, title, None, text)
    variant = np.array(table["variant"].to_pylist(), dtype=object)
    losses = table["loss"].to_numpy().astype(np.float64)
    declared = losses[variant == DECLARED]
    if len(declared) < FORMAT_PATIENTS_NEEDED:
        text = (
            f"Not decided: only {len(declared)} members have events to compare, of"
            f" {FORMAT_PATIENTS_NEEDED} needed."
        )
        return AdmissibilityCheck(name, title, None, text, evidence=(job.digest,))
    unshown = []
    for channel in tokenization.channels:
        others = [losses[variant == channel_variant(channel, how)] for how in NO_CHANNEL]
        if any(len(other) != len(declared) for other in others):
            text = f"Not decided: '{channel}' was not told otherwise to the model."
            return AdmissibilityCheck(name, title, None, text, evidence=(job.digest,))
        if _heeded(declared, others):
            continue
        if trusted and _unheeded(declared, others):
            continue  # the trainer's own values, and they change hardly anything
        least = min(float(one.mean()) for one in others)
        unshown.append(
            f"'{channel}' ({declared.mean():.3f} nats per event token, {least:.3f} without it or"
            " with another patient's)"
        )
    if not unshown:
        text = (
            "The model knows members better with the declared values than with none or another"
            " patient's, or the values are the trainer's and the model hardly heeds them."
        )
        return AdmissibilityCheck(name, title, True, text, evidence=(job.digest,))
    text = (
        f"The model knows members no better with the declared {', '.join(unshown)}. Either it is"
        " another than the model was trained with, or it tells the model nothing."
    )
    if not trusted:
        text += (
            " The trainer's own sequences would show which, where the model hardly heeds it"
            " (expect.tokens, with a column for each channel)."
        )
    return AdmissibilityCheck(name, title, None, text, evidence=(job.digest,))


def _heeded(declared: NDArray[np.float64], others: list[NDArray[np.float64]]) -> bool:
    return all(surely_higher(other, declared, level=LEVEL / len(others)) for other in others)


def _unheeded(declared: NDArray[np.float64], others: list[NDArray[np.float64]]) -> bool:
    return all(
        float(np.abs(other - declared).mean()) <= UNHEEDED * float(declared.mean())
        for other in others
    )
