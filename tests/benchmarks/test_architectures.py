"""The table of architectures says what works, what is refused and what was not tried."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.architectures import TOLERANCE, try_architecture


@pytest.mark.parametrize(
    ("name", "decoding", "shorter"),
    [
        ("gpt2", "shared prefix", {}),
        # which is asked one sequence at a time
        ("rwkv", "generate", {"lengths": (80, 50), "horizon": 8}),
    ],
)
def test_an_architecture_is_compared_with_whole_passes(
    name: str, decoding: str, shorter: dict[str, Any]
) -> None:
    found = try_architecture(name, **shorter)
    assert (found.outcome, found.decoding) == ("works", decoding), found.reason
    assert found.worst is not None
    assert found.worst <= TOLERANCE
