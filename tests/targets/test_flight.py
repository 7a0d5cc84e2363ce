"""Models behind servers: the same numbers, and plain words for whatever goes wrong on the way."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tiny_models
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_servers import SCRIPT, TOKEN, Deferred, Table, served, started

from checker.errors import DocumentError, TargetError
from checker.policy import load_target
from checker.policy.documents import ModelSpec
from checker.targets import Sampler, TargetModel
from checker.targets.adapter import phigate_adapter
from checker.targets.adapter.phigate_adapter import TOKEN_VARIABLE, NextToken, Server
from checker.targets.backends.checkpoint import HuggingFaceBackend
from checker.targets.channels import ChannelRule, ChannelTokens, plain
from checker.targets.compensator import watch_of, watched_rollouts
from checker.targets.conformance import ConformanceError, Usage, examine
from checker.targets.flight import connection, remote_model
from checker.targets.flight.backend import CERTIFICATE_VARIABLE, FlightBackend
from checker.targets.flight.remote_model import RemoteModel
from checker.targets.sampled_scores import sampled_scores

SAMPLER = Sampler(temperature=0.9, top_p=0.95, horizon_tokens=6, seed=5)
EOS = 2
ADAPTER = Path(phigate_adapter.__file__)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"of a model")
    return path


def opened(spec: ModelSpec, base: Path = Path("/")) -> RemoteModel:
    return FlightBackend().open(spec, base, pad_id=0, eos_id=EOS)


def records(size: int, *, count: int = 6, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.integers(3, size, 4 + 3 * row).astype(np.int32) for row in range(count)]


# --- the same numbers -----------------------------------------------------------------------------


def equal(left: Any, right: Any) -> bool:
    """Whether two answers are the same to the last bit, and of the same types."""
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if hasattr(type(left), "__slots__"):
        return all(equal(getattr(left, name), getattr(right, name)) for name in left.__slots__)
    return bool(left == right)


def test_a_torch_model_says_the_same_behind_a_server_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_models.save_gpt2(tmp_path / "gpt2")
    spec = ModelSpec(path=str(folder))
    here = HuggingFaceBackend().open(spec, Path("/"), pad_id=0, eos_id=EOS)
    sequences = records(tiny_models.VOCABULARY)
    watch = watch_of([[5, 6], [EOS, 7]], vocabulary_size=tiny_models.VOCABULARY)
    draws: dict[str, Any] = {"keys": [9, 2**64 - 1, 3, 4, 5, 6], "samples": 3, "sampler": SAMPLER}

    def more(_: int, drawn: list[Any]) -> int:
        return 2 if len(drawn) < 7 and len(getattr(drawn[-1], "tokens", drawn[-1])) > 2 else 0

    with served(Deferred(HuggingFaceBackend(), folder), folder, monkeypatch) as location:
        there = opened(location)
        drawn = here.rollout(sequences, **draws)
        flat = [row for rows in drawn for row in rows]
        prompts = [one for one, rows in zip(sequences, drawn, strict=True) for _ in rows]
        asked: dict[str, Any] = {
            "score": lambda model: model.score(sequences),
            "score_sampled": lambda model: sampled_scores(
                model, sequences, temperature=0.7, top_p=0.9, window=1
            ),
            "rollout": lambda model: model.rollout(sequences, **draws),
            "rollout, some more": lambda model: model.rollout(sequences, **draws, more=more),
            "watched": lambda model: model.watched_rollout(
                sequences, **draws, watch=watch, more=more
            ),
            "masses": lambda model: model.masses(prompts, flat, sampler=SAMPLER, watch=watch),
            "embed": lambda model: model.embed(sequences),
            "steps": lambda model: model.steps([one[:2] for one in sequences], sequences),
            "one pass": lambda model: model.gain_of_one_pass(sequences[-1]),
        }
        assert [name for name, ask in asked.items() if not equal(ask(there), ask(here))] == []
        assert FlightBackend().describe(location, Path("/")).sha256 == (
            HuggingFaceBackend().describe(spec, Path("/")).sha256
        )


def test_classes_are_watched_of_a_model_that_draws_and_says_masses_apart(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masses are asked for before it is said how many more samples are wanted."""
    prompts, watch = records(12), watch_of([[5, 6], [7]], vocabulary_size=12)
    asked: dict[str, Any] = {
        "keys": range(len(prompts)),
        "samples": 2,
        "sampler": SAMPLER,
        "watch": watch,
        "more": lambda _, drawn: 2 if len(drawn) < 5 else 0,
    }
    with served(Table(), weights, monkeypatch, timeout=20) as spec:
        found = watched_rollouts(opened(spec), prompts, **asked)
    here = Table()
    here.eos_id = EOS
    expected = watched_rollouts(cast("TargetModel", here), prompts, **asked)
    assert {len(rows) for rows in found} == {6}
    assert equal(found, expected)


def test_all_tokens_are_counted_behind_a_server(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    with served(Table(), weights, monkeypatch) as spec:
        model = opened(spec)
        model.score(records(12), progress=done.append)
        assert sum(done) == sum(map(len, records(12)))


class Aged(NextToken):
    """The likeliest next token is the age at the last one; ten years pass with token 4."""

    vocabulary_size = 12
    channels = ("age", "part")

    def logits(self, tokens: Any, channels: Any) -> Any:
        assert (channels["age"].dtype, channels["part"].dtype) == (np.int64, np.float32)
        assert channels["age"].shape == channels["part"].shape == tokens.shape
        age = channels["age"] // 10 + channels["part"]
        return -8 * np.abs(np.arange(12) - age[..., None])


def aged_rules(*, late: bool = False) -> tuple[ChannelRule, ...]:
    adds, sets, none = np.zeros(12), np.full(12, np.nan), np.full(12, np.nan)
    adds[4], sets[9] = 9.7, 20.0
    age = ChannelRule("age", each=0.1, adds=adds, sets=sets, late=late, most=85.0)
    return age, ChannelRule("part", each=0.5, adds=np.zeros(12), sets=none, modulo=1.0, whole=False)


@pytest.mark.parametrize("late", [False, True])
def test_channels_go_on_behind_a_server_as_the_target_declares(
    late: bool, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps taken by the server's rule are held against sequences that phigate put together."""
    values = np.array([[30.95, 40.95], [0.0, 0.5]])
    prompt = ChannelTokens(np.array([3, 3], np.int32), values, aged_rules(late=late))
    watch = np.eye(12, dtype=np.bool_)
    with served(Aged(), weights, monkeypatch) as spec:
        model = opened(spec)
        assert model.info.channels == {"age", "part"}
        with pytest.raises(TargetError, match=r"takes 'age' beside token ids.*tokenization.chann"):
            model.rollout([plain(prompt)], keys=[1], samples=1, sampler=SAMPLER)
        forced = np.array([4, 4, 9, 4, 5, 4], np.int32)
        (masses,) = model.masses([prompt], [forced], sampler=replace(SAMPLER, top_p=1.0,
                                 temperature=1.0), watch=watch)  # fmt: skip
        whole = np.concatenate([prompt, forced])
        (scores,) = model.score([whole])
        own = masses[np.arange(6), forced]
        assert np.allclose(np.log(own), scores.logprob[1:], atol=1e-5)
        found = examine(model, [whole, whole[:5]], usage=Usage(eos_id=EOS))
        assert {"drawn-against-scored", "seeded-draws", "watched-classes"} <= set(found)
        # a record's own ages go on otherwise than the rule says, and the model heeds them
        ages = np.array([[30.0, 31.0, 44.0, 44.5, 58.0, 71.0], [0.0, 0.5, 0.0, 0.5, 0.0, 0.5]])
        dated = ChannelTokens(np.array([3, 3, 4, 5, 4, 5], np.int32), ages, aged_rules(late=late))
        examine(model, [dated, dated[:5]], usage=Usage(eos_id=EOS))


class AskedBeside(Aged):
    """With verbs of its own, which note what ages they are given."""

    given: tuple[Any, ...] = ()

    def preflight(self, sequences: Any, *, channels: Any) -> dict[str, float]:
        self.given += tuple(one[0] for one in channels.exact["age"])
        return {}

    def gain_of_one_pass(self, tokens: Any, *, channels: Any) -> float:
        self.given += (channels.exact["age"][0][0],)
        return 0.0


class AskedWithout(Aged):
    def preflight(self, sequences: Any) -> dict[str, float]:
        return {}


def test_verbs_of_its_own_are_asked_with_channels_or_refused(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = np.array([[30.5], [0.5]])
    prompt = ChannelTokens(np.array([3], np.int32), start, aged_rules())
    whole = np.concatenate([prompt, np.array([4, 5], np.int32)])
    model = AskedBeside()
    with served(model, weights, monkeypatch) as spec:
        there: Any = opened(spec)
        there.preflight([whole])
        there.gain_of_one_pass(whole)
    assert model.given == (30.5, 30.5)
    with (
        served(AskedWithout(), weights, monkeypatch) as spec,
        pytest.raises(TargetError, match=r"has channels, and its verb 'preflight' takes none"),
    ):
        opened(spec)


def test_what_a_model_requires_beside_ids_is_a_channel_of_its_server(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = Table()
    model.required = {"age"}
    with (
        served(model, weights, monkeypatch) as spec,
        pytest.raises(TargetError, match="requires 'age', which is none of its channels"),
    ):
        FlightBackend().describe(spec, Path("/"))


def test_a_model_of_the_adapter_conforms(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = Usage(longest_record=20, longest_prompt=20, horizon_tokens=6, eos_id=EOS)
    with served(Table(), weights, monkeypatch) as spec:
        found = examine(opened(spec), records(12), usage=usage)
    assert {"seeded-draws", "drawn-against-scored", "watched-classes", "batch-draws"} <= set(found)


# --- nonsense -------------------------------------------------------------------------------------


class Wrong(Table):
    """A model with one verb that answers otherwise."""

    def __init__(self, verb: str, answer: Any) -> None:
        super().__init__()
        own = getattr(self, verb)
        setattr(self, verb, lambda *asked, **given: answer(own(*asked, **given)))


def scores(**changed: Any) -> Any:
    return lambda found: [one._replace(**{k: f(one) for k, f in changed.items()}) for one in found]


NONSENSE: dict[str, tuple[str, Any, str]] = {
    "no number": ("score", scores(logprob=lambda s: s.logprob * np.nan), "logprob of nan"),
    "above one": ("score", scores(logprob=lambda s: -s.logprob), "is possible"),
    "no spread": ("score", scores(std=lambda s: -s.std), "std of -"),
    "shorter": ("score", scores(mean=lambda s: s.mean[1:]), "mean of 2 values for sequence 0"),
    "a record less": ("score", lambda found: found[1:], "5 answers to 6 questions"),
    "no scores": ("score", lambda found: [SimpleNamespace(logprob=s.logprob) for s in found],
                  "AttributeError"),
    "a sample less": ("rollout", lambda found: [row[1:] for row in found], "another number"),
    "a prompt more": ("rollout", lambda found: [*found, found[0]], "more rows than were asked"),
    "another prompt": ("rollout", lambda found: [[], *found], "that nobody asked of"),
    "a record more": ("score", lambda found: [*found, found[0]], "more rows than were asked for"),
    "beyond the horizon": ("rollout", lambda found: [[np.zeros(7, int)] * 2 for _ in found],
                           "beyond the horizon of 6 tokens"),
    "no such token": ("rollout", lambda found: [[np.full(3, 12)] * 2 for _ in found],
                      "ids that the vocabulary does not have"),
    "the end": ("rollout", lambda found: [[np.full(3, EOS)] * 2 for _ in found],
                "the token that ends it"),
    "other classes": ("masses", lambda found: [one[:, :1] for one in found], "steps or classes"),
    "beyond one": ("masses", lambda found: [one + 1.1 for one in found], "0 to 1 is possible"),
    "an error of its own": ("masses", lambda found: 1 / 0, "ZeroDivisionError: division by zero"),
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_an_answer_that_no_model_gives_is_an_error_that_names_the_server(
    name: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verb, answer, message = NONSENSE[name]
    sequences = records(12)
    watch = watch_of([[5], [6]], vocabulary_size=12)
    given: dict[str, dict[str, Any]] = {
        "score": {"sequences": sequences},
        "rollout": {"prompts": sequences, "keys": range(6), "samples": 2, "sampler": SAMPLER},
        "masses": {"prompts": sequences, "drawn": sequences, "sampler": SAMPLER, "watch": watch},
    }
    with served(Wrong(verb, answer), weights, monkeypatch) as spec:
        model = opened(spec)
        with pytest.raises(TargetError, match=message) as failed:
            getattr(model, verb)(**given[verb])
    assert str(failed.value).startswith("model server grpc://127.0.0.1:")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("verb", ["score", "rollout", "masses"])
def test_logits_of_which_no_distribution_follows_are_an_error(
    value: float, verb: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token 0 would be drawn for ever, and a model whose records it ends would draw nothing."""
    model, sequences = Table(), records(12)
    model.table[:, slice(None) if value == -np.inf else 5] = value
    given: dict[str, dict[str, Any]] = {
        "score": {},
        "rollout": {"keys": range(6), "samples": 2, "sampler": SAMPLER},
        "masses": {"drawn": sequences, "sampler": SAMPLER, "watch": np.eye(12, dtype=np.bool_)},
    }
    with served(model, weights, monkeypatch) as spec:
        ask = getattr(opened(spec), verb)
        with pytest.raises(TargetError, match="logits hold values that are no numbers, infinite"):
            ask(sequences, **given[verb])


def test_tokens_that_cannot_follow_may_be_infinitely_unlikely(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Table()
    model.table[:, 5] = -np.inf
    with served(model, weights, monkeypatch) as spec:
        drawn = opened(spec).rollout(records(12), keys=range(6), samples=9, sampler=SAMPLER)
    assert not any(5 in row for rows in drawn for row in rows)


class OtherSeeds(Table):
    """Draws what another seed, sample or temperature gives; by the first two it is as likely."""

    def __init__(self, dtype: str, **changed: Any) -> None:
        super().__init__()
        self.dtype, self.changed = dtype, changed

    def rollout(self, prompts: Any, *, sampler: Any, samples: int, **given: Any) -> Any:
        if self.changed:
            sampler = phigate_adapter.Sampler(**{**vars(sampler), **self.changed})
            return super().rollout(prompts, sampler=sampler, samples=samples, **given)
        drawn = super().rollout(prompts, sampler=sampler, samples=1, **given)
        return [rows * samples for rows in drawn]


@pytest.mark.parametrize(
    ("dtype", "changed"),
    [
        ("float32", {"seed": 1}),
        ("float32", {"temperature": 1.0}),
        ("bfloat16", {"seed": 0}),
        ("bfloat16", {}),
    ],
)
def test_draws_by_other_seeds_are_refused_before_an_audit(
    changed: dict[str, Any], dtype: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        served(OtherSeeds(dtype, **changed), weights, monkeypatch) as spec,
        pytest.raises(ConformanceError, match=r"seeded-draws .* others than seed, key and sample"),
    ):
        examine(opened(spec), records(12), usage=Usage(eos_id=EOS))


@pytest.mark.parametrize(("changed", "message"), [
    ({"vocabulary_size": 0}, "vocabulary_size: Input should be greater"),
    ({"channels": [7]}, "channels.0: Input should be"),
    ({"vocabulary_size": 1 << 40}, "vocabulary_size: Input should be less"),
    ({"context_length": 1 << 40}, "context_length: Input should be less"),
    ({"channels": ["x" * 101]}, "channels.0: String should have at most 100"),
    ({"channels": ["x"] * 101}, "channels: List should have at most 100"),
    ({"switches": range(101)}, "switches: List should have at most 100"),
    ({"info": SimpleNamespace(vocabulary_size=12, capabilities=["thoughts"])}, "'thoughts'"),
])  # fmt: skip
def test_a_server_that_describes_no_model_is_refused(
    changed: dict[str, Any], message: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Table()
    for name, value in changed.items():
        setattr(model, name, value)
    with served(model, weights, monkeypatch) as spec, pytest.raises(TargetError, match=message):
        FlightBackend().describe(spec, Path("/"))


# --- servers that talk ----------------------------------------------------------------------------


class Talks(Table):
    """Says that it is at work until nobody listens.

    Args:
        tokens: that it says it has done, each time.
    """

    said = 0

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def score(self, sequences: Any, *, progress: Any = None, **given: Any) -> Any:
        while self.said < 10_000:
            self.said += 1
            progress.__self__.say(type="progress", tokens=self.tokens)
        return super().score(sequences, **given)


@pytest.mark.parametrize("tokens", [1, 0, -1])
def test_a_server_is_at_work_no_longer_than_there_is_work(
    tokens: int, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        served(Talks(tokens), weights, monkeypatch) as spec,
        pytest.raises(TargetError, match="progress beyond all that there is to do"),
    ):
        opened(spec).score(records(12))


def test_a_server_sends_no_more_rows_than_it_is_asked_for(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is beyond them is neither unpacked nor kept."""
    unpacked: list[int] = []

    def values_of(column: Any) -> list[Any]:
        unpacked.append(len(column))
        return phigate_adapter.values_of(column)

    monkeypatch.setattr(remote_model, "values_of", values_of)
    with served(Wrong("score", lambda found: found * 5_000), weights, monkeypatch) as spec:
        model = opened(spec)
        with pytest.raises(TargetError, match="more rows than were asked for"):
            model.score(records(12))
    assert unpacked == []


def test_a_prompt_that_has_enough_is_not_asked_of_again(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asks(Table):
        def rollout(self, prompts: Any, *, more: Any = None, **given: Any) -> Any:
            drawn = super().rollout(prompts, **given)
            for _ in range(10_000):
                more(0, drawn[0])
            return drawn

    asked: list[int] = []

    def enough(prompt: int, _: Any) -> int:
        asked.append(prompt)
        return 0

    with (
        served(Asks(), weights, monkeypatch) as spec,
        pytest.raises(TargetError, match="another number of continuations"),
    ):
        opened(spec).rollout(records(12), keys=range(6), samples=2, sampler=SAMPLER,
                             more=enough)  # fmt: skip
    assert asked == [0]


def test_a_message_beyond_all_that_is_asked_is_not_read(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_LARGEST", 1 << 16)
    answer = scores(mean=lambda one: np.zeros(1 << 16))
    with served(Wrong("score", answer), weights, monkeypatch) as spec:
        model = opened(spec)
        with pytest.raises(TargetError, match=r"larger than max|Cancelled"):
            model.score(records(12))


def test_words_of_a_server_are_one_short_line(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(found: Any) -> Any:
        raise KeyError("\x1b[2J\u202e\n" + "words " * 1000)

    monkeypatch.setattr(phigate_adapter, "_said", str)  # a server that minds nothing
    with served(Wrong("score", fails), weights, monkeypatch) as spec:
        model = opened(spec)
        with pytest.raises(TargetError, match="words words") as failed:
            model.score(records(12))
    assert len(str(failed.value)) < 400
    assert str(failed.value).isprintable()


# --- who asks, and whom ---------------------------------------------------------------------------


def test_a_wrong_token_and_none_are_refused(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(Table(), weights, monkeypatch) as spec:
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN + "!")
        with pytest.raises(TargetError, match=f"refuses the token; {TOKEN_VARIABLE}"):
            FlightBackend().describe(spec, Path("/"))
        with pytest.raises(TargetError, match="refuses the token"):
            opened(spec)
        monkeypatch.delenv(TOKEN_VARIABLE)
        with pytest.raises(TargetError, match=f"set {TOKEN_VARIABLE}"):
            FlightBackend().describe(spec, Path("/"))


def test_a_second_audit_waits_its_turn_and_the_first_is_answered_on(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(Table(), weights, monkeypatch) as spec:
        first = opened(spec)
        with pytest.raises(TargetError, match="answers another audit; one at a time"):
            opened(spec)
        assert len(first.score(records(12))) == 6
        del first
        assert len(opened(spec).score(records(12))) == 6


def test_a_server_that_was_started_anew_is_not_asked_on(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(Table(), weights, monkeypatch) as spec:
        model = opened(spec)
    with pytest.raises(TargetError, match="ended, or cannot be reached"):
        model.score(records(12))
    assert spec.options is not None
    port = int(spec.options["location"].rpartition(":")[2])
    server = Server(Table(seed=9), files=weights, token=TOKEN, location=f"grpc://127.0.0.1:{port}")
    threading.Thread(target=server.work, daemon=True).start()
    try:
        with pytest.raises(TargetError, match=r"not one that the server knows|cannot be reached"):
            model.score(records(12))
    finally:
        server.close()


def test_files_are_those_that_lie_here_and_do_not_change_under_a_server(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(Table(), weights, monkeypatch) as spec:
        with_path = ModelSpec.model_validate({**spec.model_dump(), "path": "weights"})
        assert FlightBackend().describe(with_path, weights.parent).files.keys() == {"weights"}
        elsewhere = weights.parent / "copy"
        elsewhere.mkdir()
        (elsewhere / "weights").write_bytes(b"of another")
        with pytest.raises(TargetError, match="weights is another file than that of model server"):
            FlightBackend().describe(with_path, elsewhere)
        weights.write_bytes(b"of a third")
        with pytest.raises(TargetError, match="changed after the server was started"):
            FlightBackend().describe(spec, Path("/"))


def test_files_that_did_not_change_are_read_once(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    own = phigate_adapter.sha256_of

    def sha256_of(path: Any) -> str:
        read.append(path)
        return own(path)

    with served(Table(), weights, monkeypatch) as spec:
        monkeypatch.setattr(phigate_adapter, "sha256_of", sha256_of)
        assert len(opened(spec).score(records(12))) == 6
        assert read == []
        times = weights.stat()
        weights.write_bytes(b"OF A MODEL")  # as many bytes, at the same time
        os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(TargetError, match="changed after the server was started"):
            FlightBackend().describe(spec, Path("/"))
        weights.write_bytes(b"of a model")
        FlightBackend().describe(spec, Path("/"))
    assert read == [weights, weights]


def test_a_server_decides_what_it_runs_on(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(Table(), weights, monkeypatch) as spec:
        wanted = ModelSpec.model_validate({**spec.model_dump(), "device": "cuda"})
        with pytest.raises(TargetError, match="with device cpu, and cuda is asked"):
            opened(wanted)
        opened(spec)  # and the refused one has let go of it


def test_a_server_that_says_nothing_is_left(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on = threading.Event()
    model = Wrong("score", lambda found: going_on.wait(20) and found)
    with served(model, weights, monkeypatch, timeout=1) as spec:
        with pytest.raises(TargetError, match=r"said nothing for 1 s; .* raise timeout"):
            opened(spec).score(records(12))
        going_on.set()


# --- servers that phigate starts ------------------------------------------------------------------


@pytest.fixture
def process(tmp_path: Path) -> ModelSpec:
    return started(tmp_path, trouble="if os.path.exists('die'): print('no memory'); os._exit(9)")


def test_a_server_is_started_once_and_ends_with_the_model_or_is_missed(
    process: ModelSpec, tmp_path: Path
) -> None:
    backend = FlightBackend()
    described = backend.describe(process, tmp_path)
    model = opened(process, tmp_path)
    assert backend.describe(process, tmp_path) == described  # of the one that was opened
    assert len(model.score(records(12))) == 6
    (tmp_path / "die").touch()
    with pytest.raises(TargetError, match=r"ended, or cannot be reached.*its last words: no memo"):
        model.rollout(records(12), keys=range(6), samples=2, sampler=SAMPLER)
    (tmp_path / "die").unlink()
    again = opened(process, tmp_path)
    assert len(again.score(records(12))) == 6


@pytest.mark.parametrize(("script", "message"), [
    ("print('no such weights'); raise SystemExit(3)", "ended with code 3 .* no such weights"),
    ("import time; time.sleep(60)", r"did not say where it listens within 1 s; .*wrote nothing"),
])  # fmt: skip
def test_a_script_that_serves_nothing_ends_in_its_last_words(
    script: str, message: str, tmp_path: Path
) -> None:
    spec = started(tmp_path, script=script)
    if "within 1 s" in message:
        spec = spec.model_copy(update={"options": {**(spec.options or {}), "timeout": 1}})
    with pytest.raises(TargetError, match=message):
        FlightBackend().describe(spec, tmp_path)


def test_a_program_that_does_not_exist_is_said(tmp_path: Path) -> None:
    spec = ModelSpec(backend="flight", options={"command": ["./venv/bin/python"]})
    with pytest.raises(TargetError, match=r"'./venv/bin/python': cannot be started: No such file"):
        FlightBackend().describe(spec, tmp_path)


def test_the_code_beside_a_script_is_part_of_what_answers(tmp_path: Path) -> None:
    script = f"import beside\n{SCRIPT}"
    codes = []
    for text in ("LEVEL = 1", "LEVEL = 2"):
        (tmp_path / "beside.py").write_text(text)
        spec = started(tmp_path, script=script)
        described = FlightBackend().describe(spec, tmp_path)
        codes.append((described.sha256, described.code))
        opened(spec, tmp_path)  # and it ends with the model
    assert codes[0][0] == codes[1][0]
    assert codes[0][1] != codes[1][1]


def test_what_a_server_was_started_with_is_part_of_what_answers(tmp_path: Path) -> None:
    spec = started(tmp_path)
    command = (spec.options or {})["command"]
    found = []
    for arguments in (["0"], ["9"]):
        options = {**(spec.options or {}), "command": [*command, *arguments]}
        other = spec.model_copy(update={"options": options})
        described = FlightBackend().describe(other, tmp_path)
        found.append((described.sha256, described.code))
        opened(other, tmp_path)  # and it ends with the model
    assert len({sha256 for sha256, _ in found}) == 1
    assert len({code for _, code in found}) == 2


def test_what_a_server_says_of_its_model_is_part_of_what_answers(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = set()
    for changed in ({}, {"context_length": 20}, {"vocabulary_size": 13}, {"channels": ["age"]}):
        model = Table()
        for name, value in changed.items():
            setattr(model, name, value)
        with served(model, weights, monkeypatch) as spec:
            codes.add(FlightBackend().describe(spec, Path("/")).code)
            assert FlightBackend().describe(spec, Path("/")).code in codes
    assert len(codes) == 4


def test_files_and_folders_that_an_owner_names_are_each_part_of_what_answers(
    tmp_path: Path,
) -> None:
    names = ["a/model.py", "b/model.py", "b/deep/more.py"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("LEVEL = 1")
    given = [tmp_path / "a/model.py", tmp_path / "b"]
    before = phigate_adapter._code_digests(given)
    for name in names:
        (tmp_path / name).write_text("LEVEL = 2")
        after = phigate_adapter._code_digests(given)
        assert after != before, name
        before = after
    (tmp_path / "b/__pycache__").mkdir()
    (tmp_path / "b/__pycache__/model.pyc").write_bytes(b"compiled")
    assert phigate_adapter._code_digests(given) == before


@pytest.mark.parametrize("name", ["modle.py", "empty"])
def test_code_that_is_no_file_is_refused(name: str, weights: Path) -> None:
    (weights.parent / "empty").mkdir()
    with pytest.raises(phigate_adapter.CannotAnswer, match=f"code: .*{name} is no file, nor"):
        Server(Table(), files=weights, token=TOKEN, code=[weights.parent / name])


def test_a_server_is_reached_over_tls_by_its_certificate(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    day = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(day)
        .not_valid_after(day + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = weights.parent / "cert.pem", weights.parent / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    server = Server(
        Table(), files=weights, token=TOKEN, location="grpc+tls://localhost:0", tls=files
    )
    threading.Thread(target=server.work, daemon=True).start()
    spec = ModelSpec(backend="flight", options={"location": server.location})
    try:
        with pytest.raises(TargetError, match="ended, or cannot be reached"):
            FlightBackend().describe(spec, Path("/"))  # nobody vouches for it
        monkeypatch.setenv(CERTIFICATE_VARIABLE, str(files[0]))
        assert len(opened(spec).score(records(12))) == 6
        monkeypatch.setenv(CERTIFICATE_VARIABLE, str(files[0]) + "x")
        with pytest.raises(TargetError, match=r"cert.pemx: cannot be read"):
            FlightBackend().describe(spec, Path("/"))
    finally:
        server.close()


def test_a_server_does_not_outlive_a_phigate_that_is_killed(tmp_path: Path) -> None:
    started(tmp_path)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ADAPTER.parent),
        TOKEN_VARIABLE: TOKEN,
        phigate_adapter.ANNOUNCE_VARIABLE: str(tmp_path / "where"),
    }
    server = subprocess.Popen(
        [sys.executable, "serve.py", "weights"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert server.stdin is not None
        server.stdin.close()  # as the system does for a process that is gone
        assert server.wait(20) == 0
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)


# --- what a target says ---------------------------------------------------------------------------

TARGET = """\
apiVersion: phigate/v1
kind: AuditTarget
metadata: {name: served, version: "1"}
spec:
  model:
    backend: BACKEND
    OPTIONS
  tokenization: {vocabulary: vocab.json}
  data: {path: cohort}
"""


@pytest.mark.parametrize(("backend", "options", "message"), [
    ("flight", "path: ./model", ":5:3: spec.model: name either a command or a location"),
    ("flight", "options: {command: [python], location: grpc://127.0.0.1:1}",
     ":7:5: spec.model.options: name either a command or a location"),
    ("flight", "options: {comand: [python]}",
     ":7:15: spec.model.options.comand: unknown key 'comand'; did you mean 'command'?"),
    ("flight", "options: {command: python}", ":7:15: spec.model.options.command: "),
    ("flight", "options: {command: [python], timeout: 0}", ":7:34: spec.model.options.timeout"),
    ("flight", "options: {location: 'grpc://models:80'}", "anybody; use grpc+tls"),
    ("flight", "options: {location: '127.0.0.1:80'}", "a location is grpc://127.0.0.1:PORT"),
    ("huggingface", "options: {fast: true}",
     ":7:5: spec.model.options: the backend huggingface takes no options"),
    ("huggingface", "device: cpu", ":5:3: spec.model: the backend huggingface opens what lies at"),
])  # fmt: skip
def test_options_are_checked_by_the_backend_at_their_lines(
    backend: str, options: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "target.yaml"
    path.write_text(TARGET.replace("BACKEND", backend).replace("OPTIONS", options))
    with pytest.raises(DocumentError) as failed:
        load_target(path)
    assert message in str(failed.value), failed.value


def test_the_adapter_is_of_python_3_9_and_of_numpy_and_pyarrow_alone() -> None:
    tree = ast.parse(ADAPTER.read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom)
                     else [one.name for one in node.names])
    }  # fmt: skip
    assert imported - set(sys.stdlib_module_names) == {"numpy", "pyarrow"}
    assert "zip(" in ADAPTER.read_text(encoding="utf-8")
    assert "strict=" not in ADAPTER.read_text(encoding="utf-8")  # nor what 3.9 lacks at run time
    assert [one.name for one in ADAPTER.parent.glob("*.py") if one != ADAPTER] == ["__init__.py"]


def test_a_secret_is_long_and_does_not_cross_a_network_in_the_open(weights: Path) -> None:
    with pytest.raises(phigate_adapter.CannotAnswer, match="16 or more characters"):
        Server(Table(), files=weights, token="short")
    with pytest.raises(phigate_adapter.CannotAnswer, match="over TLS only"):
        Server(Table(), files=weights, token=TOKEN, location="grpc://0.0.0.0:0")


# --- the documented server ------------------------------------------------------------------------


def test_the_documented_server_answers(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ADAPTER.parents[3] / "docs" / "targets.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python file=served/serve.py\n(.*?)```", page, flags=re.DOTALL)
    assert len(code.splitlines()) < 30
    table = torch.from_numpy(Table().table)

    class Clinic(torch.nn.Module):
        vocabulary, context = 12, 40

        def forward(self, ids: torch.Tensor, ages: torch.Tensor) -> torch.Tensor:
            return table[(ids + ages) % 12]

    found: list[Any] = []
    module: Any = SimpleNamespace(**vars(phigate_adapter))
    module.serve = lambda model, *, files: found.append((model, files))
    monkeypatch.setitem(sys.modules, "phigate_adapter", module)
    monkeypatch.setitem(sys.modules, "clinic_model", SimpleNamespace(load=lambda _: Clinic()))
    exec(compile(code, "serve.py", "exec"), {"__name__": "serve"})
    ((model, files),) = found
    assert files == "model"
    rules = aged_rules()[:1]
    aged = [
        np.concatenate([ChannelTokens(one[:1], np.array([[30.0 + row]]), rules), one[1:]])
        for row, one in enumerate(records(12))
    ]
    with served(model, weights, monkeypatch) as spec:
        scored = opened(spec).score(aged)
        expected = torch.log_softmax(table[(int(aged[0][0]) + 30) % 12].double(), dim=0)
        assert scored[0].logprob[0] == pytest.approx(float(expected[int(aged[0][1])]), abs=1e-5)
        assert examine(opened(spec), aged, usage=Usage(eos_id=EOS))


def test_numbers_among_options_are_read_as_numbers(tmp_path: Path) -> None:
    path = tmp_path / "target.yaml"
    options = "options: {command: [python, '7'], timeout: 30}"
    path.write_text(TARGET.replace("BACKEND", "flight").replace("OPTIONS", options))
    model = load_target(path).document.spec.model
    assert model.options == {"command": ["python", "7"], "timeout": 30}
