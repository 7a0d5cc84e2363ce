"""Canaries: implausible patients of whom a fair coin decided which were trained on (METHODS §2).

`drawing` makes them up, `making` writes the MEDS shard to train on and the manifest to audit by,
`manifest` holds the manifest and refuses one whose inclusion was no coin flip, and `planted` turns
it into what the model under audit is asked. What the answers mean is for the probe
`canary-exposure`.
"""

from checker.canaries.drawing import draw_canaries
from checker.canaries.making import make_canaries
from checker.canaries.manifest import (
    Beacon,
    Canary,
    CanaryEvents,
    CanaryManifest,
    CanarySettings,
    coin,
    load_manifest,
    refuse_non_randomised,
)
from checker.canaries.planted import PlantedCanaries, open_canaries, score_canaries

__all__ = [
    "Beacon",
    "Canary",
    "CanaryEvents",
    "CanaryManifest",
    "CanarySettings",
    "PlantedCanaries",
    "coin",
    "draw_canaries",
    "load_manifest",
    "make_canaries",
    "open_canaries",
    "refuse_non_randomised",
    "score_canaries",
]
