"""How long an audit takes is told from how long one took."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from command_line import Checked, Command

from checker.errors import UsageError
from checker.run.estimate import estimate_time, measure_time
from checker.run.prepare import prepare
from checker.run.stored import Run, load_run
from checker.targets import Sampler, TargetModel

START = datetime(2026, 10, 31, 12, tzinfo=UTC)


def timed(run: Run, seconds: Callable[[str], float], *, started: datetime = START) -> Run:
    """The run as if each job of a kind had taken so long, one after another."""
    assert run.times is not None
    measured, now = {}, START
    for entry in run.manifest.entries:
        now += timedelta(seconds=seconds(entry.kind))
        measured[entry.file] = now.isoformat()
    changed = {"started": started.isoformat(), "measured": measured}
    return replace(run, times=run.times.model_copy(update=changed))


@pytest.fixture
def run(checked: Callable[[str], Checked]) -> Run:
    return load_run(checked("sound").run)


def test_the_same_plan_takes_as_long_again(run: Run) -> None:
    took = {"scores": 60, "rollouts": 30}
    found = estimate_time(run.plan, timed(run, lambda kind: took.get(kind, 1)))
    spent = sum(took.get(entry.kind, 1) for entry in run.manifest.entries)
    assert found.seconds == pytest.approx(spent)
    assert (found.device, found.share) == (run.manifest.environment["device"], 1.0)


def test_twice_the_tokens_of_a_kind_take_twice_its_time(run: Run) -> None:
    earlier = timed(run, lambda kind: 100 if kind == "scores" else 1)
    doubled = run.plan.model_copy(
        update={
            "jobs": [
                job.model_copy(update={"forward_tokens": 2 * job.forward_tokens})
                if job.kind == "scores"
                else job
                for job in run.plan.jobs
            ]
        }
    )
    scores = sum(entry.kind == "scores" for entry in run.manifest.entries)
    before, after = (estimate_time(plan, earlier).seconds for plan in (run.plan, doubled))
    assert after - before == pytest.approx(100 * scores)


def test_kinds_that_were_not_measured_are_taken_as_fast_as_the_rest(run: Run) -> None:
    earlier = timed(run, lambda kind: 10)
    entries = [entry for entry in run.manifest.entries if entry.kind != "rollouts"]
    without = replace(earlier, manifest=run.manifest.model_copy(update={"entries": entries}))
    found = estimate_time(run.plan, without)
    assert 0 < found.share < 1
    assert found.seconds > 0


def test_a_run_that_measured_nothing_itself_tells_no_speed(run: Run) -> None:
    resumed = timed(run, lambda kind: 10, started=START + timedelta(days=1))
    with pytest.raises(UsageError, match="name a longer run"):
        estimate_time(run.plan, resumed)
    with pytest.raises(UsageError, match="name a longer run"):
        estimate_time(run.plan, replace(run, times=None))


def test_a_measurement_grows_until_it_tells_and_counts_each_verb_at_its_own_speed(
    checked: Callable[[str], Checked],
) -> None:
    done, now, calls = checked("sound"), 0.0, []
    prepared = prepare(done.folder / "policy.yaml", done.folder / "sound.yaml")

    class Slow:
        info = prepared.open_target().info

        def score(self, sequences: list[Any]) -> None:
            nonlocal now
            now += sum(map(len, sequences)) / 1000
            calls.append(len(sequences))

        def rollout(self, prompts: list[Any], *, keys: Any, samples: int, sampler: Sampler) -> None:
            nonlocal now
            assert len(keys) == len(prompts)
            now += len(prompts) * samples * sampler.horizon_tokens / 100

    found = measure_time(prepared.audit, cast("TargetModel", Slow()), clock=lambda: now)
    jobs = prepared.plan.jobs
    forward, drawn = (
        sum(job.forward_tokens + job.training_tokens for job in jobs),
        sum(job.rollout_tokens for job in jobs),
    )
    assert forward > 0 < drawn
    assert found.seconds == pytest.approx(forward / 1000 + drawn / 100)
    trained = sum(job.training_tokens for job in jobs)
    assert found.share == pytest.approx(1 - trained / (forward + drawn))
    # no longer than it takes: the last call but one was too short, or there are no more records
    assert calls == [2**i for i in range(len(calls))]
    assert now < 20


def test_plan_measures_when_asked(phigate: Command, checked: Callable[[str], Checked]) -> None:
    done = checked("sound")
    documents = (done.folder / "policy.yaml", done.folder / "sound.yaml")
    shown = phigate("plan", *documents, "--measure", "--json")
    assert shown.code == 0, shown.err
    assert re.search(r"about .* at the speed measured just now \(on cpu", shown.err)
    assert shown.out == phigate("plan", *documents, "--json").out  # the plan knows no machine
    assert phigate("plan", *documents, "--measure", "--like", done.run).code == 2


def test_plan_says_it_beside_the_plan(phigate: Command, checked: Callable[[str], Checked]) -> None:
    done = checked("sound")
    path = done.run / "run.json"
    record = json.loads(path.read_text())
    begun = datetime.fromisoformat(record["started"]) - timedelta(minutes=5)
    record["started"] = begun.isoformat()
    path.write_text(json.dumps(record))
    documents = (done.folder / "policy.yaml", done.folder / "sound.yaml")
    shown = phigate("plan", *documents, "--like", done.run, "--json")
    assert shown.code == 0
    assert re.search(rf"about \d+ min \d+ s at the speed of {done.run} \(on cpu", shown.err)
    assert "speed" not in shown.out  # the plan knows no machine
    assert phigate("plan", *documents, "--like", done.folder / "none").code == 2
