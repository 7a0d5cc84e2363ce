"""Longer studies; each prints a table and writes JSON."""

from pathlib import Path
from typing import Final

from checker.testing import offer_simulated_backend

THREE_CLASSES: Final = Path(__file__).with_name("three_classes.yaml")
"""The policy that most of them audit under, and most tests."""

offer_simulated_backend()
