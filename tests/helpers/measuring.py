"""Measure observations as the judge does: by a metric's name, as a control names it."""

from __future__ import annotations

from typing import Any

import numpy as np

from checker.attacks.api import Attack
from checker.attacks.families import Measurement
from checker.stats.estimate import Estimate


def measured(
    attack: Attack,
    metric: str,
    observations: Any,
    *,
    params: Any,
    contrast: str = "nonmembers",
    confidence: float = 0.95,
) -> Measurement:
    named = attack.metrics[metric].in_control(contrast=contrast, params=params)
    return attack.measuring.measure(named, observations, params=params, confidence=confidence)


def placebo_of(
    attack: Attack,
    metric: str,
    observations: Any,
    *,
    params: Any,
    contrast: str = "nonmembers",
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate | None:
    named = attack.metrics[metric].in_control(contrast=contrast, params=params)
    return attack.measuring.placebo(
        named,
        observations,
        params=params,
        confidence=confidence,
        rng=np.random.default_rng(seed),
    )
