"""Longer studies; each prints a table and writes JSON."""

from pathlib import Path
from typing import Any, Final

from checker.policy.documents import LeakagePolicy
from checker.policy.located import Located
from checker.testing import offer_simulated_backend

THREE_CLASSES: Final = Path(__file__).with_name("three_classes.yaml")
"""The policy that most of them audit under, and most tests."""

offer_simulated_backend()


def deciding_alone(policy: Located[LeakagePolicy]) -> dict[str, Any]:
    """Return a resolved policy's document without the controls that decide nothing.

    Of what a baseline measures these are the most.
    """
    document = policy.document.model_dump(mode="json", by_alias=True, exclude_none=True)
    spec = document["spec"]
    del spec["extends"]
    controls = spec["controls"].items()
    spec["controls"] = {name: own for name, own in controls if own["enforcement"] != "advisory"}
    return document
