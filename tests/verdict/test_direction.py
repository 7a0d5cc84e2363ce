"""What looks worse than chance is no pass: exchanged splits, a reference that knows the members."""

from __future__ import annotations

import pyarrow as pa
import pytest
from judging import HARMLESS, WATCHED, Bench

from checker.policy.documents import Limit
from checker.report.wording.reasons import REASONS
from checker.verdict import Judgement

REASON = "worse-than-chance"


def reasons(judgement: Judgement) -> dict[str, str | None]:
    return {one.cell.id.split("/")[0]: one.reason for one in judgement.findings}


def verdicts(judgement: Judgement) -> dict[str, str]:
    return {one.cell.id.split("/")[0]: one.verdict for one in judgement.findings}


def test_members_who_score_below_nonmembers_are_no_pass() -> None:
    bench = Bench()
    bench.membership("mia", shift=-0.8)
    judgement = bench.judge()
    assert judgement.verdict == "inconclusive"
    (finding,) = judgement.findings
    assert (finding.verdict, finding.reason) == ("inconclusive", REASON)
    assert finding.blocks
    assert finding.measurement is not None
    assert finding.measurement.estimate.high < 0.5
    assert "nonmembers rather than members" in finding.explanation
    (check,) = (one for one in judgement.checks if one.name == REASON)
    assert check.holds is False
    assert "mia/known/all" in check.explanation


def test_members_who_score_like_nonmembers_pass_and_the_check_holds() -> None:
    bench = Bench()
    bench.membership("mia", shift=0.0)
    judgement = bench.judge()
    assert judgement.verdict == "pass"
    (check,) = (one for one in judgement.checks if one.name == REASON)
    assert check.holds is True


@pytest.mark.parametrize("metric", ["excess_disclosure", "excess_mean_q", "disclosure_rate"])
def test_nonmembers_who_are_disclosed_more_often_are_no_pass(metric: str) -> None:
    bench = Bench()
    bench.disclosure("hiv", hits=(0, 30), n=(100, 100), metric=metric)
    assert reasons(bench.judge()) == {"hiv": REASON}
    sound = Bench()
    sound.disclosure("hiv", hits=(0, 3), n=(100, 100), metric=metric)
    assert verdicts(sound.judge()) == {"hiv": "pass"}


def test_zero_tolerance_looks_at_the_nonmembers_too() -> None:
    bench = Bench()
    limit = Limit(max_count=0, min_n=50)
    bench.disclosure("age", hits=(0, 40), n=(80, 80), limit=limit, metric="disclosure_rate")
    assert reasons(bench.judge()) == {"age": REASON}


def test_a_true_positive_rate_is_judged_by_the_ranking_of_the_same_scores() -> None:
    for shift, reason in ((-0.8, REASON), (0.0, None)):
        bench = Bench()
        bench.membership("tpr", shift=shift, n=1000)
        bench.cells[0] = bench.cells[0].model_copy(
            update={"metric": "membership_tpr_at_fpr", "limit": Limit(fail=0.1)}
        )
        assert reasons(bench.judge()) == {"tpr": reason}


def test_exchanged_splits_in_one_cell_speak_against_the_passes_of_all() -> None:
    bench = Bench()
    bench.disclosure("hiv", hits=(0, 0), n=(80, 80))
    bench.membership("mia", shift=-0.8, gating=False)
    judgement = bench.judge()
    assert reasons(judgement) == {"hiv": REASON, "mia": REASON}
    assert "mia/known/all" in judgement.findings[0].explanation
    assert judgement.verdict == "inconclusive"


def test_a_reference_that_knows_the_members_speaks_against_those_who_ask_it() -> None:
    bench = Bench()
    bench.disclosure("own", hits=(0, 0), n=(100, 100))
    bench.disclosure("over", hits=(0, 0), n=(100, 100))
    prompts = bench.tables["over-rollouts"]["prompt"].to_pylist()
    tokens = [[WATCHED] if name.startswith("over-0") else [HARMLESS] for name in prompts]
    table = (
        bench.tables["over-rollouts"]
        .drop(["tokens"])
        .append_column("tokens", pa.array(tokens, pa.list_(pa.int32())))
    )
    bench._add("over-reference", "rollouts", table)
    bench.jobs["over-reference"] = bench.jobs["over-reference"].model_copy(
        update={"runs_on": "reference"}
    )
    bench.cells[1] = bench.cells[1].model_copy(
        update={"contrast": "reference", "jobs": ["over-rollouts", "over-reference"]}
    )
    judgement = bench.judge()
    assert reasons(judgement) == {"own": None, "over": REASON}


def test_a_failure_stays_a_failure() -> None:
    bench = Bench()
    bench.disclosure("hiv", hits=(60, 0), n=(80, 80))
    bench.membership("mia", shift=-0.8)
    assert verdicts(bench.judge()) == {"hiv": "fail", "mia": "inconclusive"}


def test_one_cell_of_many_that_is_lower_by_chance_passes() -> None:
    # 6 of 60 against 0 of 60 has a p of about 0.01: nothing, once corrected for twenty cells
    bench = Bench()
    bench.disclosure("odd", hits=(0, 6), n=(60, 60))
    for number in range(19):
        bench.disclosure(f"even-{number}", hits=(0, 0), n=(60, 60))
    assert set(verdicts(bench.judge()).values()) == {"pass"}


def test_sound_audits_are_hardly_ever_said_to_be_worse_than_chance() -> None:
    """Of 200 audits of twelve sound cells at most 1 % may be; the benchmark has 20,000."""
    from benchmarks.direction import false_alarms

    assert false_alarms(audits=200, seed=11) <= 2


def test_what_is_worse_than_chance_has_a_sentence_and_a_remedy() -> None:
    words = REASONS[REASON]
    assert "exchanged" in words.next_step
    assert words.short
    assert words.meaning
