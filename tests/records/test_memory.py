"""Memory grows with the events, by so many bytes each, and never with patients times vocabulary.

Measured on 400,000 events and a vocabulary of 12,500, with less held at a time, so that most of
what is seen grows with the events. Bounds lie a third above what was seen: twice as much fails.
Some of it is fixed (the dictionary, 17 MB to look for copies of records), so that an event takes
less where there are more of them; `benchmarks/cohort_loading.py` has the figures for 20 million.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa
import pytest

from benchmarks.cohort_loading import CONTEXT, write_audit
from checker.evidence import Pseudonyms
from checker.planning import compile_plan
from checker.policy import load_policy, load_target
from checker.records import duplicates
from checker.records.cohort import load_cohort
from checker.records.prompts import source
from checker.records.tokenization import Tokenizer, load_vocabulary, tokenizer
from checker.run.execution import Execution
from checker.testing.hospital import Hospital
from checker.testing.simulated import SimulatedBackend

T = TypeVar("T")
HOSPITAL = Hospital(2000, 2000, events=100, codes=12_500, classes=3)

BYTES_AN_EVENT = {
    "load": 34,  # 16 stay; Arrow's own memory is asked for below
    "encode": 38,  # 19 a token, and 1.25 tokens an event here
    "plan": 90,  # the tokens again, then every record compared with every other
    "comparability": 58,
    "labels": 28,  # the last of the label sets: with the longest prompts
}


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The most bytes that each step held beyond what was there before, per event."""
    folder = tmp_path_factory.mktemp("memory")
    write_audit(folder, HOSPITAL)
    target, policy = load_target(folder / "target.yaml"), load_policy(folder / "all.yaml")
    spec = target.document.spec
    vocabulary = load_vocabulary(folder / "vocab.json")
    rules = Tokenizer(spec.tokenization, vocabulary=vocabulary, base=folder)
    rules.vocabulary_codes()  # kept by the tokenizer, once
    description = SimulatedBackend().describe(spec.model, folder)
    assert description.context_length == CONTEXT
    found: dict[str, float] = {}

    def traced(step: str, make: Callable[[], T]) -> T:
        gc.collect()
        tracemalloc.start()
        try:
            made = make()
            found[step] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "BUCKETS", 1 << 16)  # 16 MB however many events there are
        patch.setattr(source, "TOKENS_AT_ONCE", 1 << 14)
        patch.setattr(tokenizer, "_EVENTS_AT_ONCE", 1 << 14)
        usual = pa.default_memory_pool()
        arrow = pa.proxy_memory_pool(usual)  # counts from here on, for us alone
        pa.set_memory_pool(arrow)
        try:
            cohort = traced("load", lambda: load_cohort(spec.data, base=folder))
        finally:
            pa.set_memory_pool(usual)
        found["arrow"] = arrow.max_memory()
        splits = (cohort.members, cohort.nonmembers)
        traced("encode", lambda: [rules.encode(records, cohort.codes) for records in splits])
        audit = traced(
            "plan",
            lambda: compile_plan(
                policy, target, cohort=cohort, tokenizer=rules, description=description
            ),
        )
        execution = Execution(audit.plan, audit.workload, Pseudonyms(b"k" * 32))
        jobs = {job.kind: job for job in audit.plan.jobs if job.inputs.get("codes", 0) is not None}
        for kind in ("comparability", "labels"):
            traced(
                kind,
                lambda job=jobs[kind]: execution.execute(  # type: ignore[misc]
                    job, None, evidence={}, advance=lambda tokens: None
                ),
            )
    events = sum(len(records.code) for records in splits)
    assert events > 390_000
    return {step: peak / events for step, peak in found.items()}


@pytest.mark.parametrize("step", BYTES_AN_EVENT)
def test_a_step_takes_so_many_bytes_an_event_and_no_more(
    step: str, peaks: dict[str, float]
) -> None:
    assert peaks[step] <= BYTES_AN_EVENT[step]


def test_no_more_than_a_few_shards_are_held_as_arrow_tables(peaks: dict[str, float]) -> None:
    # 24 bytes an event (subject, time, value, code) and the dictionary; both shards at once: 33
    assert 24 <= peaks["arrow"] <= 44


def test_a_table_of_patients_and_tokens_would_not_fit_in_these_bounds() -> None:
    # one bit for each patient and token is what the least of such tables would take
    table = (HOSPITAL.members + HOSPITAL.nonmembers) * HOSPITAL.codes
    assert table > 1.3 * max(BYTES_AN_EVENT.values()) * 400_000
