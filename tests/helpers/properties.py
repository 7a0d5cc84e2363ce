"""How many examples of a property are tried: the same ones in every run, all of them at night.

`make test-nightly` sets PHIGATE_NIGHTLY. Examples follow from the test itself and are kept nowhere,
so a failure is seen again on any machine.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

PROFILE = "phigate"
NIGHTLY = bool(os.environ.get("PHIGATE_NIGHTLY"))


def at_night(whole: int, *, otherwise: int) -> int:
    """Return how many cases are tried."""
    return whole if NIGHTLY else otherwise


def examples(count: int, *, nightly: int | None = None) -> settings:
    """Return settings that try so many examples, and at night ten times as many or `nightly`."""
    return settings(max_examples=at_night(nightly or 10 * count, otherwise=count))


# a busy machine is slow, which says nothing about a property
settings.register_profile(
    PROFILE,
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=at_night(500, otherwise=50),
    suppress_health_check=[HealthCheck.too_slow],
)
