"""Waivers as people write them, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from checker.policy.documents import LeakageWaiver
from checker.policy.loading import load_only
from checker.policy.located import Located

MADE_UP_MODEL = "0" * 64
"""The model's digest in `judging.Bench`."""


def waiver_text(**changes: Any) -> str:
    """Write a waiver that holds for `judging.Bench`; keys are those of its spec, or `name`."""
    name = changes.pop("name", "hiv-for-now")
    spec: dict[str, Any] = {
        "policy": {"ref": "made-up@1"},
        "control": "c",
        "attacker": "known",
        "model": {"name": "made-up-model", "sha256": MADE_UP_MODEL},
        "ceiling": 0.7,
        "justification": "The recipients may read the records themselves.",
        "compensatingControls": ["Two named recipients, under contract"],
        "requester": {"name": "Ravi Team", "email": "ravi@hospital.example"},
        "approvals": [{"name": "Petra Officer", "role": "privacy-officer", "on": "2026-10-01"}],
        "ticket": "GOV-12",
        "startsOn": "2026-10-01",
        "expiresOn": "2026-12-31",
    }
    spec.update(changes)
    document = {
        "apiVersion": "phigate/v1",
        "kind": "LeakageWaiver",
        "metadata": {"name": name, "version": "1"},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }
    return yaml.safe_dump(document, sort_keys=False)


def located_waiver(**changes: Any) -> Located[LeakageWaiver]:
    """Read such a waiver."""
    return load_only(LeakageWaiver, Path("w.yaml"), text=waiver_text(**changes))


def waiver(**changes: Any) -> LeakageWaiver:
    """Read such a waiver, without its lines."""
    return located_waiver(**changes).document
