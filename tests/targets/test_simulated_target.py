"""The simulated target says what its tables say, and `score` and `rollout` agree."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

import checker
from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.targets import LOGPROB_FLOOR, Sampler, Tokens
from checker.targets.sampling import uniforms
from checker.testing.simulated import (
    MemorizedRecord,
    SimulatedBackend,
    SimulatedModel,
    SimulatedTarget,
    write_simulated,
)

UNIGRAM = [0.4, 0.3, 0.2, 0.1]


def tokens(*ids: int) -> Tokens:
    return np.array(ids, dtype=np.int32)


def sampler(**changes: float) -> Sampler:
    settings = {"temperature": 1.0, "top_p": 1.0, "horizon_tokens": 4, "seed": 11} | changes
    return Sampler(**settings)  # type: ignore[arg-type]


def leaky(*records: MemorizedRecord, **changes: object) -> SimulatedTarget:
    settings = {"vocabulary_size": 4, "unigram": UNIGRAM, "memorized": list(records)} | changes
    return SimulatedTarget(SimulatedModel.model_validate(settings))


def share(expected: NDArray[np.float64], total: int = 4000) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = expected * (total / expected.sum())
    return scaled  # float32 log-probabilities miss the sum by 1e-8


RECORD = MemorizedRecord(tokens=[0, 1, 2, 3], first=2, weight=0.75)


def test_scores_follow_the_table_before_and_the_record_after_it_is_known() -> None:
    scores = leaky(RECORD).score([tokens(0, 1, 2, 3)])[0]
    # After [0] the record is not known yet (from: 2): 0.3. After [0, 1]: 0.75 + 0.25 · 0.2 = 0.8.
    # After [0, 1, 2]: 0.75 + 0.25 · 0.1 = 0.775.
    assert np.exp(scores.logprob) == pytest.approx([0.3, 0.8, 0.775], rel=1e-6)
    # After [0, 1]: p = (0.1, 0.075, 0.8, 0.025);
    # Σ p ln p = −0.230259 − 0.194270 − 0.178515 − 0.092222 = −0.695266;
    # Σ p ln² p = 0.530190 + 0.503213 + 0.039834 + 0.340197 = 1.413434;
    # std = √(1.413434 − 0.483395) = 0.964386.
    assert scores.mean[1] == pytest.approx(-0.695266, abs=1e-5)
    assert scores.std[1] == pytest.approx(0.964386, abs=1e-5)


def test_a_history_that_is_no_beginning_of_a_record_follows_the_table() -> None:
    scores = leaky(RECORD).score([tokens(3, 1, 2, 3), tokens(0, 1)])
    assert np.exp(scores[0].logprob) == pytest.approx([0.3, 0.2, 0.1], rel=1e-6)
    assert np.exp(scores[1].logprob) == pytest.approx([0.3], rel=1e-6)


def test_records_that_begin_alike_share_equally() -> None:
    target = leaky(
        MemorizedRecord(tokens=[0, 1, 2], first=1, weight=0.5),
        MemorizedRecord(tokens=[0, 1, 3], first=2, weight=1.0),
    )
    # After [0, 1] half goes by each record: ½ (½ δ₂ + ½ base) + ½ δ₃,
    # so p(2) = 0.25 + 0.25 · 0.2 = 0.3 and p(3) = 0.5 + 0.25 · 0.1 = 0.525.
    # After [0] only the first record is known: p(1) = 0.5 + 0.5 · 0.3 = 0.65.
    scores = target.score([tokens(0, 1, 2), tokens(0, 1, 3)])
    assert np.exp(scores[0].logprob) == pytest.approx([0.65, 0.3], rel=1e-6)
    assert np.exp(scores[1].logprob) == pytest.approx([0.65, 0.525], rel=1e-6)


def test_transitions_replace_the_unigram_after_their_token() -> None:
    target = leaky(transitions={1: {0: 0.9, 3: 0.1}})
    scores = target.score([tokens(0, 1, 3, 2), tokens(1, 2)])
    assert np.exp(scores[0].logprob) == pytest.approx([0.3, 0.1, 0.2], rel=1e-6)
    # An impossible token is floored, so that means remain numbers.
    assert scores[1].logprob.tolist() == [LOGPROB_FLOOR]
    assert np.isfinite(scores[1].std).all()


def test_rollouts_occur_as_often_as_scores_say() -> None:
    target = leaky(RECORD, transitions={3: {0: 0.5, 3: 0.5}})
    drawn = target.rollout(
        [tokens(0, 1)], keys=[5], samples=4000, sampler=sampler(horizon_tokens=2)
    )[0]
    pairs = [(a, b) for a in range(4) for b in range(4)]
    observed = np.array([sum(tuple(row) == pair for row in drawn) for pair in pairs])
    scores = target.score([tokens(0, 1, a, b) for a, b in pairs])
    expected = 4000 * np.array(
        [np.exp(score.logprob[1:].sum(dtype=np.float64)) for score in scores]
    )
    possible = expected > 1e-9
    assert observed[~possible].sum() == 0
    assert expected.sum() == pytest.approx(4000)
    assert chisquare(observed[possible], share(expected[possible])).pvalue > 0.001
    # The control: without the memorised record the same frequencies are out of the question.
    base = leaky(transitions={3: {0: 0.5, 3: 0.5}}).score([tokens(0, 1, a, b) for a, b in pairs])
    other = 4000 * np.array([np.exp(score.logprob[1:].sum(dtype=np.float64)) for score in base])
    assert chisquare(observed[possible], share(other[possible])).pvalue < 1e-9


def test_a_memorised_record_is_repeated_for_its_own_beginning_only() -> None:
    target = leaky(MemorizedRecord(tokens=[0, 1, 2, 3, 3, 3], first=2, weight=1.0))
    own, other = target.rollout(
        [tokens(0, 1), tokens(1, 1)], keys=[1, 2], samples=50, sampler=sampler()
    )
    assert all(row.tolist() == [2, 3, 3, 3] for row in own)
    assert not any(row.tolist() == [2, 3, 3, 3] for row in other)


def test_top_p_and_temperature_shape_what_is_drawn() -> None:
    target = leaky()
    # Cumulated 0.4, 0.7, 0.9, 1: the smallest set with mass 0.6 is {0, 1}.
    kept = target.rollout([tokens(0)], keys=[1], samples=400, sampler=sampler(top_p=0.6))[0]
    assert set(np.concatenate(kept).tolist()) == {0, 1}
    everything = target.rollout([tokens(0)], keys=[1], samples=400, sampler=sampler())[0]
    assert set(np.concatenate(everything).tolist()) == {0, 1, 2, 3}
    # Temperature ½ squares: 0.16, 0.09, 0.04, 0.01 of 0.3, so token 0 has 0.5333.
    cold = target.rollout([tokens(0)], keys=[1], samples=2000, sampler=sampler(temperature=0.5))[0]
    counts = np.bincount(np.concatenate(cold), minlength=4)
    assert chisquare(counts, 8000 * np.array([16, 9, 4, 1]) / 30).pvalue > 0.001
    assert chisquare(counts, 8000 * np.array(UNIGRAM)).pvalue < 1e-9


def test_a_draw_depends_on_its_key_and_sample_and_not_on_the_batch() -> None:
    target = leaky(RECORD)
    together = target.rollout(
        [tokens(0), tokens(0, 1), tokens(2)], keys=[7, 8, 9], samples=6, sampler=sampler()
    )
    alone = target.rollout([tokens(0, 1)], keys=[8], samples=3, sampler=sampler())
    assert [row.tolist() for row in together[1][:3]] == [row.tolist() for row in alone[0]]
    other = target.rollout([tokens(0, 1)], keys=[80], samples=3, sampler=sampler())
    assert [row.tolist() for row in other[0]] != [row.tolist() for row in alone[0]]


def test_samples_asked_for_later_are_those_a_larger_number_would_have_drawn() -> None:
    target = leaky(RECORD)
    prompts, keys = [tokens(0), tokens(0, 1), tokens(2)], [7, 8, 9]
    whole = target.rollout(prompts, keys=keys, samples=6, sampler=sampler())
    wanted = {0: 2, 1: 6, 2: 3}
    done: list[int] = []
    found = target.rollout(
        prompts,
        keys=keys,
        samples=2,
        sampler=sampler(),
        more=lambda prompt, drawn: min(3, wanted[prompt] - len(drawn)),
        progress=done.append,
    )
    assert [[row.tolist() for row in rows] for rows in found] == [
        [row.tolist() for row in rows[: wanted[prompt]]] for prompt, rows in enumerate(whole)
    ]
    assert sum(done) == (2 + 6 + 3) * 4


def test_uniforms_are_philox_keyed_by_seed_and_prompt_with_the_sample_in_the_counter() -> None:
    settings = sampler(horizon_tokens=9, seed=2**64 - 1)
    ours = uniforms([(2**64 - 2, 3)], sampler=settings)[0]
    bits = np.random.Philox(
        key=np.array([2**64 - 1, 2**64 - 2], dtype=np.uint64),
        counter=np.array([0, 0, 0, 3], dtype=np.uint64),
    )
    assert ours.tolist() == np.random.Generator(bits).random(9).tolist()
    longer = uniforms([(0, 0), (2**64 - 2, 3)], sampler=sampler(horizon_tokens=20, seed=2**64 - 1))
    assert longer[1, :9].tolist() == ours.tolist()


def test_eos_and_what_follows_it_are_cut() -> None:
    model = SimulatedModel(
        vocabulary_size=4, memorized=[MemorizedRecord(tokens=[0, 1, 3, 2, 2], weight=1.0)]
    )
    ended = SimulatedTarget(model, eos_id=3).rollout(
        [tokens(0)], keys=[0], samples=1, sampler=sampler()
    )
    assert ended[0][0].tolist() == [1]
    whole = SimulatedTarget(model).rollout([tokens(0)], keys=[0], samples=1, sampler=sampler())
    assert whole[0][0].tolist() == [1, 3, 2, 2]


def test_embeddings_are_bags_of_tokens_of_length_one() -> None:
    embedded = leaky().embed([tokens(0, 0, 0, 1, 1, 1, 1)])
    # Counts (3, 4, 0, 0), norm 5.
    assert embedded.dtype == np.float32
    assert embedded[0].tolist() == pytest.approx([0.6, 0.8, 0.0, 0.0])


def test_a_missing_capability_is_refused() -> None:
    target = leaky(capabilities={"samples"})
    with pytest.raises(TargetError, match="offers no logprobs"):
        target.score([tokens(0, 1)])
    with pytest.raises(TargetError, match="offers no embeddings"):
        target.embed([tokens(0, 1)])
    assert target.rollout([tokens(0)], keys=[0], samples=1, sampler=sampler())


def test_preflight_passes_and_reports_what_it_saw() -> None:
    assert leaky(RECORD).preflight([tokens(0, 1, 2)])["probability-sum"] < 1e-12


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        (tokens(0, 1, 2), "needs 3 [+] 4 tokens, but the context holds 6"),
        (tokens(9), "holds token 9"),
        (tokens(), "is empty"),
    ],
)
def test_sequences_that_do_not_fit_are_named(sequence: Tokens, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        leaky(context_length=6).rollout([sequence], keys=[0], samples=1, sampler=sampler())


def test_thousands_of_rollouts_take_well_under_a_second() -> None:
    rng = np.random.default_rng(3)
    records = rng.integers(0, 300, (200, 60))
    target = SimulatedTarget(
        SimulatedModel(
            vocabulary_size=300,
            memorized=[MemorizedRecord(tokens=row.tolist(), weight=0.9) for row in records],
        )
    )
    prompts = [row[:10].astype(np.int32) for row in records]
    began = time.process_time()
    target.rollout(
        prompts, keys=range(200), samples=20, sampler=sampler(horizon_tokens=32, top_p=0.95)
    )
    assert time.process_time() - began < 2.0  # about 0.4 s where nothing else runs


def test_describe_and_open_read_what_was_written(tmp_path: Path) -> None:
    write_simulated(
        tmp_path / "leaky.json",
        vocabulary_size=4,
        context_length=16,
        unigram=UNIGRAM,
        transitions={1: {0: 0.5, 2: 0.5}},
        memorized=[RECORD],
        capabilities=frozenset({"samples", "logprobs"}),
        bos_token_id=0,
    )
    spec = ModelSpec(backend="simulated", path="leaky.json")
    description = SimulatedBackend().describe(spec, tmp_path)
    assert (description.vocabulary_size, description.context_length) == (4, 16)
    assert description.bos_token_id == 0
    # who draws and scores also says how likely a class is to be drawn
    assert description.capabilities == {"samples", "logprobs", "masses"}
    assert list(description.files) == ["leaky.json"]
    target = SimulatedBackend().open(spec, tmp_path, pad_id=None, eos_id=None)
    assert target.info.capabilities == description.capabilities
    assert np.exp(target.score([tokens(0, 1, 2)])[0].logprob[1]) == pytest.approx(0.75 + 0.25 * 0.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"vocabularySize": 2, "unigram": [0.5, 0.4]}, "unigram sums to 0.9, not 1"),
        ({"vocabularySize": 2, "unigram": [1.0]}, "unigram has 1 entries for 2 tokens"),
        ({"vocabularySize": 2, "transitions": {"0": {"5": 1.0}}}, "names token 5"),
        ({"vocabularySize": 2, "memorized": [{"tokens": [0, 7]}]}, "memorized.0 names token 7"),
        ({"vocabularySize": 2, "memorised": []}, "memorised: Extra inputs"),
        ([1], "the file: Input should be an object"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(
    tmp_path: Path, content: object, message: str
) -> None:
    (tmp_path / "model.json").write_text(json.dumps(content))
    with pytest.raises(TargetError, match=message) as caught:
        SimulatedBackend().describe(ModelSpec(path="model.json"), tmp_path)
    assert str(tmp_path / "model.json") in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"absent\.json: cannot be read"):
        SimulatedBackend().describe(ModelSpec(path="absent.json"), tmp_path)


def test_describing_a_target_imports_no_torch() -> None:
    report = "import sys; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    light = "import checker.targets.backends.checkpoint, checker.testing.simulated; " + report
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", light], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
    # the control, in this process: behind the door there is torch
    importlib.import_module("checker.targets.engine.huggingface")
    assert {"torch", "transformers"} <= set(sys.modules)


def test_a_user_has_no_simulated_backend(simulated_targets: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "checker.cli",
        "validate",
        str(simulated_targets / "sound.yaml"),
    ]
    plain = {**os.environ, "PYTHONPATH": str(Path(checker.__file__).parents[1])}
    for environment, code in ((os.environ, 0), (plain, 2)):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
    assert "unknown backend 'simulated'; there are flight, generations, huggingface" in done.stderr
