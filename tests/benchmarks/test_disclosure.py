"""What shared reports give away, studied in short: `benchmarks.disclosure` has the long study."""

from __future__ import annotations

import pytest
from properties import at_night

from benchmarks.disclosure import ISOLATED, UNNAMED, study


@pytest.mark.parametrize("seed", range(1, at_night(20, otherwise=2) + 1))
def test_a_made_up_policy_gives_nothing_away(seed: int) -> None:
    differences, guesses = study(policies=1, worlds=1, seed=seed)
    assert differences.total() > 0
    assert not [what for what, kind in differences if kind == UNNAMED]
    assert guesses[ISOLATED] == 0
