"""The table of architectures says what works, what is refused and what was not tried."""

from __future__ import annotations

import pytest

from benchmarks.architectures import TOLERANCE, try_architecture


@pytest.mark.parametrize(
    ("name", "outcome", "decoding"),
    [
        ("gpt2", "works", "shared prefix"),
        ("rwkv", "works", "generate"),
    ],
)
def test_an_architecture_is_compared_with_whole_passes(
    name: str, outcome: str, decoding: str
) -> None:
    found = try_architecture(name)
    assert (found.outcome, found.decoding) == (outcome, decoding), found.reason
    assert (found.worst is not None and found.worst <= TOLERANCE) == (outcome == "works")
