"""The examples in `checker.stats` are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from checker import stats

MODULES = [f"checker.stats.{module.name}" for module in pkgutil.iter_modules(stats.__path__)]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings_give_what_they_say(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_there_are_modules_to_look_at() -> None:
    assert {"checker.stats.intervals", "checker.stats.bootstrap"} <= set(MODULES)
