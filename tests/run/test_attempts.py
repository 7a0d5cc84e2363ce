"""Second tries: a further attempt at a release is judged more strictly, and says so."""

from __future__ import annotations

import json
import math
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from auditing import Audit, audit, write_policy
from command_line import Command
from judging import Bench
from report_builder import passing_report
from scipy.stats import binom

from checker.errors import UsageError
from checker.ledger import make_ledger, register_attempt
from checker.planning import at_attempt
from checker.report.model import AttemptReport
from checker.report.wording.decision import attempt_words, level_words
from checker.run.stored import load_run
from checker.stats import attempt_confidence
from checker.verdict import Finding

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def only(bench: Bench, attempt: int) -> Finding:
    (finding,) = bench.judge(attempt=attempt).findings
    return finding


def counted(hits: int, n: int, attempt: int) -> str:
    """The verdict on a plain rate of `hits` of `n` members at a limit of 5 %."""
    bench = Bench()
    bench.disclosure("hiv", hits=(hits, 0), n=(n, 80), metric="disclosure_rate")
    return only(bench, attempt).verdict


# --- the level ----------------------------------------------------------------------------------


def test_each_attempt_has_half_the_error_of_the_one_before() -> None:
    levels = [attempt_confidence(0.95, attempt=k) for k in (1, 2, 3, 4)]
    assert levels == [0.95, 0.975, 0.9875, 0.99375]


def test_there_is_no_attempt_before_the_first_and_none_at_no_error_at_all() -> None:
    for attempt in (0, -1, 60):  # 0.05 / 2^59 is 9e-20
        with pytest.raises(UsageError, match="attempt"):
            attempt_confidence(0.95, attempt=attempt)


@pytest.mark.parametrize(
    ("attempt", "bound"),
    # no hits among 80: U = 1 − α^(1/80) with α = 0.05, 0.025, 0.0125
    [(1, 0.036754), (2, 0.045064), (3, 0.053302)],
)
def test_bounds_are_those_of_the_attempt(attempt: int, bound: float) -> None:
    bench = Bench()
    bench.disclosure("hiv", hits=(0, 0), n=(80, 80))
    finding = only(bench, attempt)
    assert finding.measurement is not None
    assert finding.measurement.estimate.high == pytest.approx(bound, abs=1e-6)
    assert finding.measurement.estimate.confidence == pytest.approx(1 - 0.05 / 2 ** (attempt - 1))
    # 0.0533 is above the limit of 0.05: at a third attempt 80 are too few to pass at all
    assert (finding.verdict, finding.reason) == (
        ("pass", None) if attempt < 3 else ("inconclusive", "too-few-positives")
    )


def test_a_failure_must_hold_at_the_level_of_the_attempt_too() -> None:
    # of 100, the lower bound is above 5 % from 10 hits on at α = 0.05 (P[Bin(100, .05) >= 10] is
    # 0.0282, of 9 it is 0.0631), from 11 on at α = 0.025 (0.0115), and from 11 on at 0.0125
    first = [counted(hits, 100, 1) for hits in (9, 10)]
    second = [counted(hits, 100, 2) for hits in (10, 11)]
    assert first == second == ["inconclusive", "fail"]
    assert binom.sf(9, 100, 0.05) == pytest.approx(0.0282, abs=1e-4)


def test_the_correction_for_many_cells_starts_from_the_error_of_the_attempt() -> None:
    # 12 of 100 has p = P[Bin(100, .05) >= 12] = 0.0043: named among ten cells at α = 0.05
    # (0.05/10 = 0.005) and not at 0.025, though its own bound is beyond the limit in both
    for attempt, verdict, reason in ((1, "fail", None), (2, "inconclusive", "exceeds-uncorrected")):
        bench = Bench()
        bench.disclosure("hiv", hits=(12, 0), n=(100, 80), metric="disclosure_rate")
        for other in range(9):
            bench.disclosure(f"o{other}", hits=(0, 0), n=(100, 80), metric="disclosure_rate")
        finding = bench.judge(attempt=attempt).findings[0]
        assert (finding.verdict, finding.reason) == (verdict, reason)
    assert binom.sf(11, 100, 0.05) == pytest.approx(0.0043, abs=1e-4)


def test_a_split_must_be_shown_comparable_at_the_level_of_the_attempt() -> None:
    # two interleaved ladders have an AUROC of about 0.49, with standard error 1/√(6·64) = 0.051:
    # 1.645 of these make 0.576 and 2.241 make 0.606, where 0.6 is allowed
    for attempt, reason in ((1, None), (3, "split-not-comparable")):
        bench = Bench()
        bench.comparable(n=64)
        bench.disclosure("hiv", hits=(0, 0), n=(400, 400))
        assert only(bench, attempt).reason == reason


def test_the_placebo_does_not_become_more_lenient() -> None:
    levels = []
    for attempt in (1, 3):
        bench = Bench()
        bench.disclosure("hiv", hits=(0, 0), n=(400, 400))
        placebo = only(bench, attempt).placebo
        assert placebo is not None
        levels.append(placebo.confidence)
    assert levels[0] == levels[1]


# --- over several tries -------------------------------------------------------------------------


def _boundary(n: int, attempt: int, verdict: str, *, rising: bool) -> int:
    """The most hits of n that still pass, or the fewest that already fail, by the judge."""
    low, high = 0, n // 2
    while high - low > 1:
        middle = (low + high) // 2
        if (counted(middle, n, attempt) == verdict) == rising:
            high = middle
        else:
            low = middle
    return high if rising else low


def test_three_tries_are_wrong_less_than_twice_as_often_as_one_may_be() -> None:
    # A rate that is exactly at its limit of 5 %, judged on three fresh cohorts of 1,000. For each
    # attempt the judge is asked how many hits still pass; the rest is the binomial distribution.
    n, limit, alpha = 1000, 0.05, 0.05
    most = {k: _boundary(n, k, "pass", rising=False) for k in (1, 2, 3)}
    fewest = {k: _boundary(n, k, "fail", rising=True) for k in (1, 2, 3)}
    wrong = {
        "pass": {k: float(binom.cdf(most[k], n, limit)) for k in most},
        "fail": {k: float(binom.sf(fewest[k] - 1, n, limit)) for k in fewest},
    }
    for errors in wrong.values():
        for k, error in errors.items():
            assert 0 < error <= alpha / 2 ** (k - 1)
        uncorrected = 1 - (1 - errors[1]) ** 3
        corrected = 1 - math.prod(1 - error for error in errors.values())
        assert uncorrected > 2 * alpha  # METHODS §6: up to 14 %
        # α + α/2 + α/4 at the most; the first try alone may spend all of α
        assert corrected <= 1.75 * alpha
    # however many follow: 1 − ∏(1 − α/2^(k−1)) < 2α
    assert 1 - math.prod(1 - alpha / 2**k for k in range(50)) == pytest.approx(0.0967, abs=1e-4)


# --- the plan's prospects, and stopping early ---------------------------------------------------


@pytest.fixture(scope="module")
def early(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """An audit of one class, in batches of patients, without a ledger; read only."""
    folder = tmp_path_factory.mktemp("attempts")
    return audit(in_batches(folder), simulated_targets / "sound.yaml", folder / "run")


def in_batches(folder: Path) -> Path:
    """The policy of that audit."""
    controls = {"hiv-disclosure": {"limits": {"events-10": {"fail": 0.2}}}}
    return write_policy(folder / "policy.yaml", controls, sampling={"sequential": True})


def test_the_plan_of_an_attempt_needs_more_patients(early: Audit) -> None:
    plan = load_run(early.run).plan
    assert at_attempt(plan, attempt=1) is plan
    later = at_attempt(plan, attempt=4)
    assert later.confidence == 0.99375
    before, after = plan.cells[0].power, later.cells[0].power
    # of patients drawn in batches 0.9 α is left: 80 without a hit give 1 − (0.9 · α)^(1/80)
    assert before.zero_hit_bound == pytest.approx(1 - 0.045 ** (1 / 80), abs=1e-9)
    assert after.zero_hit_bound == pytest.approx(1 - (0.045 / 8) ** (1 / 80), abs=1e-9)
    assert (later.comparability.pass_probability or 0) < (plan.comparability.pass_probability or 0)


def test_an_attempt_that_stops_early_stops_at_its_own_level(
    phigate: Command, early: Audit, simulated_targets: Path, tmp_path: Path
) -> None:
    first, ledger, run = load_run(early.run), tmp_path / "ledger.jsonl", tmp_path / "run"
    make_ledger(ledger)
    for left_out in (1, 2):  # two attempts before it that asked something else
        other = first.plan.model_copy(update={"jobs": first.plan.jobs[:-left_out]})
        assert register_attempt(ledger, plan=other, at=NOW).number == left_out
    documents = (in_batches(tmp_path), simulated_targets / "sound.yaml")
    assert "attempt 3 by the ledger" in phigate("plan", *documents, "--ledger", ledger).err
    outcome = phigate("check", *documents, "--format", "json", "--out", run, "--ledger", ledger)
    assert "every bound holds at 98.75" in outcome.out
    third = load_run(run)
    assert third.plan == first.plan
    assert len(third.manifest.left_out) < len(first.manifest.left_out)
    assert phigate("report", run, "--audience", "internal", "--format", "json").code == 0
    cell = json.loads((run / "internal" / "report.json").read_text())["cells"][0]
    assert (cell["verdict"], cell["stoppedEarly"]) == ("pass", True)
    # how early it was counts patients, and so does how many batches there are
    shared = json.loads((run / "report.json").read_text())
    assert shared["cells"][0]["stoppedEarly"] is None
    assert len({entry["title"] for entry in shared["provenance"]["evidence"]}) == len(
        shared["provenance"]["evidence"]
    )
    # what sufficed for a first attempt was not enough for a third
    shutil.copytree(early.run, tmp_path / "again")
    judging = ("judge", tmp_path / "again", "--format", "json", "--ledger", ledger, "--json")
    assert json.loads(phigate(*judging).out)["cells"][0]["reason"] == "not-run"


# --- in words -----------------------------------------------------------------------------------


def attempted(number: int, confidence: float) -> Any:
    report = passing_report()
    attempt = AttemptReport(number=number, confidence=confidence, ledger_entry="ab" * 32)
    provenance = report.provenance.model_copy(update={"attempt": attempt})
    return report.model_copy(update={"provenance": provenance})


def test_the_report_says_which_attempt_it_is_and_at_which_level() -> None:
    assert attempt_words(passing_report()).startswith("Attempt unknown: no ledger was kept")
    assert level_words(passing_report()) == "95\N{NO-BREAK SPACE}%"
    assert "the first attempt" in attempt_words(attempted(1, 0.95))
    words = attempt_words(attempted(3, 0.9875)).replace("\N{NO-BREAK SPACE}", " ")
    assert "This is attempt 3" in words
    assert "abababababab…" in words
    assert "98.75 % instead of 95 %" in words
