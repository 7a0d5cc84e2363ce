"""T4 on targets of known truth, from policy to verdict: every score, and both metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from auditing import Audit, audit, write_policy

SCORES = {"loss": "loss", "min-k": "mink", "min-k++": "minkpp"}


def control(metric: str, *, fail: float, **params: Any) -> dict[str, Any]:
    """A control of who holds the whole record."""
    return {
        "probe": "membership-inference",
        "params": params,
        "metric": metric,
        "limits": {"record": {"fail": fail}},
    }


CONTROLS = {
    **{
        f"auroc-{name}": control("membership_auroc", fail=0.65, score=score)
        for score, name in SCORES.items()
    },
    **{
        f"tpr-{name}": control("membership_tpr_at_fpr", fail=0.2, score=score, fpr=0.05)
        for score, name in SCORES.items()
    },
    # a threshold that accuses one in a thousand cannot be found by 600 nonmembers
    "tpr-of-too-few": control("membership_tpr_at_fpr", fail=0.2, score="loss", fpr=0.001),
}


@pytest.fixture(scope="module")
def audited(
    simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Audit]:
    """Audit a target under all of T4's controls, once."""
    folder = tmp_path_factory.mktemp("membership")
    policy = write_policy(folder / "policy.yaml", CONTROLS)
    done: dict[str, Audit] = {}

    def once(target: str) -> Audit:
        if target not in done:
            done[target] = audit(policy, simulated_targets / f"{target}.yaml", folder / target)
        return done[target]

    return once


@pytest.mark.parametrize("metric", ["auroc", "tpr"])
@pytest.mark.parametrize("score", SCORES)
def test_a_leaking_target_is_flagged_and_a_sound_one_cleared(
    audited: Callable[[str], Audit], score: str, metric: str
) -> None:
    name = f"{metric}-{SCORES[score]}"
    leaking, sound = (audited(target).cell(name) for target in ("leaking", "sound"))
    assert leaking["verdict"] == "fail", leaking
    assert sound["verdict"] == "pass", sound


def test_too_few_nonmembers_for_a_strict_threshold_fail_nobody(
    audited: Callable[[str], Audit],
) -> None:
    # that even the best of 600 nonmembers marks a rate of at most 0.001 is 1 - 0.999^600 = 45 %
    # sure; that the third best marks at least as much is 97.7 % sure (at most 2 of Poisson(0.6))
    leaking, sound = (audited(target).cell("tpr-of-too-few") for target in ("leaking", "sound"))
    assert "too few nonmembers for a lower bound" in leaking["estimate"]["method"]
    assert leaking["estimate"]["value"] > 0.2
    assert leaking["verdict"] == "inconclusive", leaking
    assert sound["verdict"] == "pass", sound
