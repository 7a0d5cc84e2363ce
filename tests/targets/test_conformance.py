"""phigate examines any target by its verbs: broken plug-ins are refused, sound ones pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from auditing import THREE_CLASSES
from numpy.typing import NDArray

from checker.errors import ExitCode, TargetError
from checker.run.prepare import prepare
from checker.run.running import run_audit
from checker.targets import Sampler, TargetInfo, Tokens, TokenScores, conformance
from checker.targets.conformance import ConformanceError, Usage, examine
from checker.testing.simulated import MemorizedRecord, SimulatedModel, SimulatedTarget

V, EOS = 30, 2
USAGE = Usage(longest_record=60, longest_prompt=40, horizon_tokens=16, eos_id=EOS, seed=5)


def patients(seed: int = 0, count: int = 8, *, events: tuple[int, int] = (20, 60)) -> list[Tokens]:
    rng = np.random.default_rng(seed)
    return [
        np.concatenate([[1], rng.integers(3, V, rng.integers(*events)), [EOS]]).astype(np.int32)
        for _ in range(count)
    ]


def tables(
    seed: int = 0,
    *,
    leaking: bool = False,
    spread: float = 0.5,
    capabilities: Any = None,
    repeats: Sequence[Tokens] | None = None,
) -> SimulatedTarget:
    """A table of transitions, which may repeat its patients, or some records."""
    rng = np.random.default_rng([seed, 1])
    model = SimulatedModel(
        vocabulary_size=V,
        context_length=128,
        transitions={
            token: dict(enumerate(rng.dirichlet(np.full(V, spread)).tolist())) for token in range(V)
        },
        memorized=[
            MemorizedRecord(tokens=record.tolist(), first=4, weight=0.95)
            for record in repeats or (patients(seed) if leaking else [])
        ],
        capabilities=capabilities or {"samples", "logprobs"},
    )
    return SimulatedTarget(model, eos_id=EOS)


class Plugin:
    """A backend's model that passes on what it is asked; subclasses break one thing each."""

    def __init__(self, model: SimulatedTarget) -> None:
        self.model = model

    @property
    def info(self) -> TargetInfo:
        info = self.model.info
        return replace(info, capabilities=info.capabilities - {"masses"})

    def preflight(self, sequences: Sequence[Tokens]) -> dict[str, float]:
        """Has nothing to say against itself, as the broken never have."""
        return {}

    def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
        return self.model.score(sequences, **more)

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        return self.model.rollout(prompts, keys=keys, **more)

    def embed(self, sequences: Sequence[Tokens], **more: Any) -> NDArray[np.float32]:
        raise TargetError("no embeddings")


class NamesClasses(Plugin):
    """Says too how likely each step was to name a class, as another model sees it."""

    def __init__(self, model: SimulatedTarget, *, as_seen_by: SimulatedTarget) -> None:
        super().__init__(model)
        self.masses = as_seen_by.masses

    @property
    def info(self) -> TargetInfo:
        return self.model.info


class DrawsNothing(Plugin):
    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        return [[np.empty(0, dtype=np.int32)] * more["samples"] for _ in prompts]


class SaysItIsRecorded(DrawsNothing):
    """Draws nothing, and says that nobody can draw it anew."""

    recorded = True


class DrawsNoise(Plugin):
    """Every token as likely as any other, which has nothing to do with the model."""

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        sampler: Sampler = more["sampler"]
        return [
            [
                np.random.default_rng([key, number, sampler.seed])
                .integers(3, V, sampler.horizon_tokens)
                .astype(np.int32)
                for number in range(more["samples"])
            ]
            for key in keys
        ]


class DrawsOneThing(Plugin):
    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        row = np.full(more["sampler"].horizon_tokens, 7, dtype=np.int32)
        return [[row] * more["samples"] for _ in prompts]


class ScoresAnother(Plugin):
    """Scores by the tables of another model, the same number of tokens and as sure of itself."""

    other = tables(9)

    def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
        return self.other.score(sequences, **more)


class ScoresEverythingAlike(Plugin):
    """Scores without variance, to which every draw is as likely as it should be."""

    def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
        rows = [np.zeros(len(tokens) - 1, dtype=np.float32) for tokens in sequences]
        level = np.float32(-np.log(V))
        return [TokenScores(row + level, row + level, row) for row in rows]


class NeverEnds(Plugin):
    """Draws from its tables, and takes the end of a record for any other token."""

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        self.model._eos_id = None
        drawn = self.model.rollout(prompts, keys=keys, **more)
        self.model._eos_id = EOS
        return [[np.where(row == EOS, 3, row).astype(np.int32) for row in rows] for rows in drawn]


class IgnoresSamples(Plugin):
    """The first sample, as often as samples are asked for."""

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        drawn = self.model.rollout(prompts, keys=keys, **{**more, "samples": 1})
        return [rows * more["samples"] for rows in drawn]


class ForgetsKeys(Plugin):
    """Draws by numbers that go on from call to call."""

    calls = 0

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        self.calls += 1
        return self.model.rollout(prompts, keys=[key + (self.calls << 40) for key in keys], **more)


class DependsOnItsBatch(Plugin):
    """Draws by a prompt's place in the batch, as with one generator for all of it."""

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        by_place = [key + (place << 50) for place, key in enumerate(keys)]
        return self.model.rollout(prompts, keys=by_place, **more)


class ScoresByItsBatch(Plugin):
    def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
        shift = np.float32(0.01 * (len(sequences) > 1))
        found = self.model.score(sequences, **more)
        return [replace(scores, logprob=scores.logprob - shift) for scores in found]


class SeesWhatFollows(Plugin):
    """A masked language model: how likely a token is depends on what stands behind it."""

    def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
        found = self.model.score(sequences, **more)
        return [
            replace(scores, logprob=scores.logprob - np.float32(0.1 * (tokens[-1] % 7)))
            for scores, tokens in zip(found, sequences, strict=True)
        ]


class SwitchesAtFifty(Plugin):
    """Positions that are scaled anew when a record is longer than 50 tokens."""

    @property
    def info(self) -> TargetInfo:
        return replace(super().info, switch_lengths={"original_max_position_embeddings": 50})

    def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
        found = self.model.score(sequences, **more)
        return [
            replace(scores, logprob=scores.logprob - np.float32(len(tokens) > 50))
            for scores, tokens in zip(found, sequences, strict=True)
        ]


BROKEN: dict[type[Plugin], str] = {
    DrawsNothing: "end-of-record all continuations are empty, though its scores expect",
    SaysItIsRecorded: "end-of-record all continuations are empty",
    DrawsNoise: r"drawn-against-scored what it draws is not what it scores: .* nats less likely",
    DrawsOneThing: "(drawn-against-scored|repetition|first-tokens) .* scores? .*expect",
    ScoresAnother: "(drawn-against-scored|first-tokens) .* rollout and score must be of one model",
    ScoresEverythingAlike: "first-tokens .* rollout and score must be of one model",
    NeverEnds: r"end-of-record records ended at 0 of \d+ places, though its scores expect",
    IgnoresSamples: "repetition .* must be independent draws",
    ForgetsKeys: "same-key .* a draw must follow from these alone",
    DependsOnItsBatch: "batch-draws .* a draw must follow from seed, key and sample alone",
    ScoresByItsBatch: r"batch-composition deviates by 0\.01.*other records of a batch",
    SeesWhatFollows: "later-tokens deviates by .* not a causal model",
    SwitchesAtFifty: r"record-length deviates by 1.* names original_max_position_embeddings 50",
}


@pytest.mark.parametrize("plugin", BROKEN, ids=lambda plugin: plugin.__name__)
def test_a_broken_plugin_is_refused_with_the_true_reason(plugin: type[Plugin]) -> None:
    for seed in (0, 2):
        model = plugin(tables(seed, spread=1.0, leaking=seed == 2))
        short = [record[:45] for record in patients(seed)]
        with pytest.raises(ConformanceError, match=f"preflight: ({BROKEN[plugin]})") as raised:
            examine(model, short, usage=USAGE)
        failed = str(raised.value).split()[1]
        assert raised.value.found[failed] > 1e-3


@pytest.mark.parametrize("leaking", [False, True])
@pytest.mark.parametrize("spread", [0.02, 1.0])
def test_sound_models_pass(leaking: bool, spread: float) -> None:
    for seed in range(4):
        model = Plugin(tables(seed, leaking=leaking, spread=spread))
        found = examine(model, patients(seed), usage=replace(USAGE, seed=seed))
        assert {"same-key", "batch-draws", "drawn-against-scored", "repetition"} <= set(found)


LONG = Usage(longest_record=110, longest_prompt=94, horizon_tokens=16, eos_id=EOS, seed=5)


class SwitchesUnsaid(Plugin):
    """Scores and draws by another model where a sequence is longer than it says to anybody."""

    length = 80

    def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
        other = tables(9)
        return [
            (self.model if len(one) <= self.length else other).score([one], **more)[0]
            for one in sequences
        ]

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        other = tables(9)
        return [
            (self.model if len(one) <= self.length else other).rollout([one], keys=[key], **more)[0]
            for one, key in zip(prompts, keys, strict=True)
        ]


class DrawsAfterAWindow(Plugin):
    """Draws as if a prompt were its last 70 tokens."""

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        return self.model.rollout([one[-70:] for one in prompts], keys=keys, **more)


@pytest.mark.parametrize("length", [12, 70, 80, 105])
def test_a_length_that_nobody_names_is_found(length: int) -> None:
    records = patients(events=(90, 109))
    model = SwitchesUnsaid(tables())
    model.length = length
    with pytest.raises(ConformanceError, match=r"record-length .* how long the record goes on"):
        examine(model, records, usage=LONG)
    model.length = 200
    examine(model, records, usage=LONG)


def test_draws_are_compared_after_prompts_as_long_as_any_in_use() -> None:
    records = patients(events=(90, 109))
    recites = tables(repeats=records)
    examine(Plugin(recites), records, usage=LONG)
    with pytest.raises(
        ConformanceError, match=r"(drawn-against-scored|first-tokens|end-of-record) "
    ):
        examine(DrawsAfterAWindow(recites), records, usage=LONG)
    # where no prompt is so long, it is nobody's business
    short = replace(LONG, longest_prompt=50)
    examine(DrawsAfterAWindow(recites), records, usage=short)


def test_classes_are_as_likely_to_be_named_as_scored_after_long_prompts() -> None:
    records = patients(events=(90, 109))
    recites = tables(repeats=records)

    def masses(prompts: Sequence[Tokens], drawn: Sequence[Tokens], **more: Any) -> Any:
        return recites.masses([one[-70:] for one in prompts], drawn, **more)

    model = NamesClasses(recites, as_seen_by=recites)
    examine(model, records, usage=LONG)
    model.masses = masses
    with pytest.raises(ConformanceError, match=r"watched-classes .* not that of its tokens"):
        examine(model, records, usage=LONG)


def test_long_records_are_looked_at_within_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    records = patients(count=40, events=(90, 109))
    scored: list[int] = []

    class Counts(Plugin):
        def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
            scored.extend(map(len, sequences))
            return self.model.score(sequences, **more)

    examine(Counts(tables()), records, usage=LONG)
    whole = sum(scored)
    scored.clear()
    monkeypatch.setattr(conformance, "_LONG_TOKENS", 300)
    examine(Counts(tables()), records, usage=LONG)
    assert sum(scored) < whole / 2
    assert max(scored) > 90  # one is looked at, whatever it costs


def test_a_switch_beyond_all_that_is_used_is_no_reason() -> None:
    short = replace(USAGE, longest_record=48, longest_prompt=20)
    records = [record[:45] for record in patients()]
    assert examine(SwitchesAtFifty(tables(spread=1.0)), records, usage=short)["record-length"] == 0


def test_a_model_that_knows_exactly_one_continuation_may_repeat_it() -> None:
    certain = SimulatedModel(
        vocabulary_size=V,
        transitions={token: {3 + (token + 1) % (V - 3): 1.0} for token in range(V)},
    )
    found = examine(SimulatedTarget(certain, eos_id=EOS), patients(), usage=USAGE)
    assert found["repetition"] == found["drawn-against-scored"] == 0.0


def test_draws_without_scores_must_say_something() -> None:
    only = tables(spread=1.0, capabilities={"samples"})
    assert set(examine(Plugin(only), patients(), usage=USAGE)) == {"same-key", "batch-draws"}
    for plugin, what in ((DrawsNothing, "empty"), (DrawsOneThing, "one and the same")):
        with pytest.raises(ConformanceError, match=f"repetition .* are {what}, and there are no"):
            examine(plugin(only), patients(), usage=USAGE)


def test_how_likely_a_class_is_to_be_named_is_compared_with_the_scores_of_its_tokens() -> None:
    model = tables(1)
    found = examine(NamesClasses(model, as_seen_by=model), patients(), usage=USAGE)
    assert found["watched-classes"] < 1e-6
    with pytest.raises(ConformanceError, match=r"watched-classes .* not that of its tokens"):
        examine(NamesClasses(model, as_seen_by=tables(9)), patients(), usage=USAGE)
    promised = NamesClasses(model, as_seen_by=model)
    del promised.masses
    with pytest.raises(TargetError, match="offers masses and has no such verb"):
        examine(promised, patients(), usage=USAGE)


def test_scores_without_draws_are_compared_with_themselves() -> None:
    only = tables(capabilities={"logprobs"})
    found = examine(Plugin(only), patients(), usage=USAGE)
    assert set(found) == {"later-tokens", "record-length", "batch-composition"}
    with pytest.raises(ConformanceError, match="not a causal model"):
        examine(SeesWhatFollows(only), patients(), usage=USAGE)


def test_a_record_that_ends_where_nothing_ends_is_an_error() -> None:
    with pytest.raises(ConformanceError, match="names no token that ends a record"):
        examine(Plugin(tables()), patients(), usage=replace(USAGE, eos_id=None))


def test_an_audit_examines_whatever_was_opened_and_records_what_it_refused(
    simulated_targets: Path, tmp_path: Path
) -> None:
    audit = prepare(THREE_CLASSES, simulated_targets / "leaking.yaml")
    run = tmp_path / "run"
    for _ in range(2):  # nor does a second try begin where the first was refused
        with pytest.raises(ConformanceError, match="all continuations are empty") as raised:
            run_audit(
                audit.audit,
                run=run,
                open_target=lambda: DrawsNothing(audit.open_target()),  # type: ignore[arg-type]
                command="phigate run",
            )
    assert raised.value.exit_code == ExitCode.INCOMPLETE
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["preflight"]["end-of-record"] > 4
    assert not [entry for entry in manifest["entries"] if entry["kind"] in ("rollouts", "scores")]
    run_audit(audit.audit, run=run, open_target=audit.open_target, command="phigate run")
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["preflight"]["end-of-record"] < 4
