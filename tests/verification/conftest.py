"""A registered, waived and signed run that several files of this folder look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from signed_runs import Signed, make_signed


@pytest.fixture(scope="session")
def signed_run(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """The run, with its reports as JSON only; read only, so whoever edits it edits a copy."""
    return make_signed(
        tmp_path_factory.mktemp("signed") / "work", simulated_targets, formats="json"
    )
