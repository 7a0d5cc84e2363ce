"""A model has to show that what it is told beside token ids is its own, or nothing passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from judging import AS_OF, TARGET, Bench, policy

from checker.planning.checks import check_powers
from checker.planning.model import AuditPlan
from checker.policy.documents import TokenizationSpec
from checker.records.prompt_format import NO_CHANNEL, channel_variant
from checker.verdict import judge
from checker.verdict.channels import channel_check

NOTHING, OTHER = (channel_variant("ages", how) for how in NO_CHANNEL)


def planned(bench: Bench, **tokenization: Any) -> AuditPlan:
    """The bench's plan of a target that declares a channel."""
    plan = bench.plan
    spec = TARGET.spec.tokenization.model_dump(by_alias=True)
    own = TokenizationSpec.model_validate(
        {**spec, "channels": {"ages": {"time": {"unit": "1d"}}}, **tokenization}
    )
    document = TARGET.model_copy(
        update={"spec": TARGET.spec.model_copy(update={"tokenization": own})}
    )
    target = plan.target.model_copy(update={"document": document})
    return plan.model_copy(update={"target": target})


def losses(
    bench: Bench, *, n: int = 50, nothing: float = 0.0, other: float = 0.0
) -> Mapping[str, pa.Table]:
    """The bench's evidence, with losses that are higher without the channel by so much."""
    noise = 0.01 * np.random.default_rng(0).normal(size=n)
    columns = {"declared": 1.0 + 0.001 * np.arange(n), "no BOS": 1.6 + 0.001 * np.arange(n)}
    columns[NOTHING] = columns["declared"] + nothing + noise
    columns[OTHER] = columns["declared"] + other + noise
    floor = [value for name in columns for value in [2.0 if name == "declared" else None] * n]
    table = {
        "patient": [str(i) for _ in columns for i in range(n)],
        "variant": [name for name in columns for _ in range(n)],
        "loss": np.concatenate(list(columns.values())),
        "unigram": pa.array(floor, pa.float64()),
        "bigram": pa.array(floor, pa.float64()),
    }
    return {**bench.tables, "prompt-format": pa.table(table)}


@pytest.mark.parametrize(
    ("changes", "records", "confirmed", "holds"),
    [
        ({"nothing": 0.3, "other": 0.1}, None, False, True),
        ({"nothing": 0.3, "other": 0.1}, "t.parquet", True, True),
        ({"nothing": 0.3, "other": 0.0}, None, False, None),
        ({"nothing": 0.0, "other": 0.3}, None, True, None),
        ({"nothing": -0.3, "other": 0.3}, "t.parquet", True, None),
        ({"nothing": 0.0, "other": 0.0}, None, False, None),
        ({"nothing": 0.0, "other": 0.0}, None, True, True),
        ({"nothing": 0.0, "other": 0.0}, "t.parquet", False, True),
    ],
)
def test_a_channel_is_heeded_or_is_the_trainers_and_hardly_matters(
    changes: dict[str, float], records: str | None, confirmed: bool, holds: bool | None
) -> None:
    bench = Bench()
    check = channel_check(
        planned(bench, records=records),
        losses(bench, nothing=changes["nothing"], other=changes["other"]),
        confirmed=confirmed,
    )
    assert check is not None
    assert check.holds is holds
    assert ("'ages'" in check.explanation) is (holds is None)
    assert ("expect.tokens" in check.explanation) is (
        holds is None and not confirmed and records is None
    )


def test_too_few_and_nothing_asked_show_nothing() -> None:
    bench = Bench()
    few = channel_check(
        planned(bench), losses(bench, n=29, nothing=0.3, other=0.3), confirmed=False
    )
    lacking = {name: own for name, own in bench.tables.items() if name != "prompt-format"}
    none = channel_check(planned(bench), lacking, confirmed=True)
    without = channel_check(planned(bench), bench.tables, confirmed=False)  # no such variants
    for check in (few, none, without):
        assert check is not None
        assert check.holds is None
    assert channel_check(bench.plan, bench.tables, confirmed=False) is None


def test_what_is_not_shown_keeps_a_cell_from_passing_and_a_leak_from_nothing() -> None:
    for hits, shown, expected in (
        (0, 0.3, ("pass", None)),
        (0, 0.0, ("inconclusive", "attack-not-shown-to-work")),
        (60, 0.0, ("fail", None)),
    ):
        bench = Bench()
        bench.disclosure("hiv", hits=(hits, 0), n=(120, 120))
        plan = planned(bench)
        evidence = losses(bench, nothing=shown, other=shown)
        judgement = judge(policy(), plan=plan, evidence=evidence, as_of=AS_OF)
        (finding,) = judgement.findings
        assert (finding.verdict, finding.reason) == expected


def test_a_plan_says_what_the_model_has_to_show() -> None:
    bench = Bench()
    bench.disclosure("hiv", hits=(0, 0), n=(120, 120))
    (check,) = (one for one in check_powers(planned(bench)) if one.name == "channels")
    assert check.condition is None  # the made-up plan looks at nobody
    assert not [one for one in check_powers(bench.plan) if one.name == "channels"]
