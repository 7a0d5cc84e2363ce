"""A model behind a server, which looks like one in this process.

What comes back is held against what was asked before anybody counts it: rows, lengths, ids that
exist, log-probabilities that are some. A server that confuses them is an error of the audit, where
a number in the wrong place would be a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.targets.adapter.phigate_adapter import (
    ANSWERS,
    asked_columns,
    batches_of,
    schema_of,
    values_of,
)
from checker.targets.channels import ChannelRule, channel_values, channels_of
from checker.targets.flight.connection import Connection
from checker.targets.protocol import (
    LOGPROB_FLOOR,
    MassModel,
    More,
    MoreWatched,
    Progress,
    SampledScores,
    Sampler,
    TargetInfo,
    Tokens,
    TokenScores,
    Watch,
    WatchedRollout,
    require_fit,
)
from checker.targets.seeded_draws import STEPS, seeded_deviation

_OPTIONAL: Final = ("watched_rollout", "score_sampled", "steps", "gain_of_one_pass")
"""Verbs that phigate asks where a model has them."""

_ROUNDING: Final = 1e-3  # nats or shares by which a sum in float32 may exceed what is possible
_TRIED: Final = 4  # prompts whose draws are held against their seeds
_CHECKS: Final = 100  # that a server may have of its own
_COUNTED: Final = 4  # times that a model may count a token as done; it may read some anew

_Rows = dict[str, list[Any]]


class RemoteModel:
    """The verbs of a model, each a question to its server.

    Args:
        connection: with an audit begun.
        info: as the server says it.
        verbs: that the model has.
        channels: names of what it takes beside ids.
        switches: lengths beyond which a record is another one from its beginning on.
        eos_id: that no continuation holds, or None.
    """

    def __init__(
        self,
        connection: Connection,
        info: TargetInfo,
        *,
        verbs: Sequence[str],
        channels: Sequence[str],
        switches: Sequence[int],
        eos_id: int | None,
    ) -> None:
        self._connection, self._info, self._eos_id = connection, info, eos_id
        self._verbs, self._channels = frozenset(verbs), tuple(channels)
        self.switches = tuple(switches)

    def __getattr__(self, name: str) -> Any:
        """Return a verb that only some models have; nobody finds it where the server lacks it."""
        if name in _OPTIONAL and name in self._verbs:
            return getattr(self, f"_{name}")
        raise AttributeError(f"this model has no verb '{name}'")

    @property
    def info(self) -> TargetInfo:
        """What it is and what it runs on, as the server says."""
        return self._info

    # --- scores ---------------------------------------------------------------------------------

    def score(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> list[TokenScores]:
        """Score whole sequences; see `TargetModel`."""
        rows = self._ask("score", sequences, progress=progress)
        self._check_lengths("score", rows, [len(one) - 1 for one in sequences])
        for name in ("logprob", "mean"):
            self._check_range("score", name, rows[name], low=LOGPROB_FLOOR, high=0.0)
        self._check_range("score", "std", rows["std"], low=0.0, high=-LOGPROB_FLOOR)
        columns = (rows[name] for name in ("logprob", "mean", "std", "first"))
        return [TokenScores(*found) for found in zip(*columns, strict=True)]

    def _score_sampled(
        self,
        sequences: Sequence[Tokens],
        *,
        temperature: float,
        top_p: float,
        progress: Progress | None = None,
    ) -> list[SampledScores]:
        given = {"temperature": temperature, "top_p": top_p}
        rows = self._ask("score_sampled", sequences, given, progress=progress)
        self._check_lengths("score_sampled", rows, [len(one) - 1 for one in sequences])
        self._check_range("score_sampled", "logprob", rows["logprob"], low=LOGPROB_FLOOR, high=0.0)
        return [SampledScores(*one) for one in zip(rows["logprob"], rows["first"], strict=True)]

    def _steps(
        self, prompts: Sequence[Tokens], following: Sequence[Tokens]
    ) -> list[NDArray[np.float32]]:
        rows = self._ask("steps", prompts, following=following)
        self._check_lengths("steps", rows, [len(one) for one in following])
        self._check_range("steps", "logprob", rows["logprob"], low=LOGPROB_FLOOR, high=0.0)
        return rows["logprob"]

    def _gain_of_one_pass(self, tokens: Tokens) -> float:
        rows = self._ask("gain_of_one_pass", [tokens])
        return float(rows["gain"][0])

    def embed(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return the last layer's hidden state at the last token; see `TargetModel`."""
        found = self._ask("embed", sequences, progress=progress)["vector"]
        if len({len(one) for one in found}) > 1 or not all(np.isfinite(one).all() for one in found):
            raise self._nonsense("embed", "vectors of several lengths, or no numbers")
        return np.stack(found) if found else np.empty((0, 0), dtype=np.float32)

    def preflight(self, sequences: Sequence[Tokens]) -> dict[str, float]:
        """Return the server's own checks, and whether its draws follow from their seeds."""
        found: dict[str, float] = {}
        if "preflight" in self._verbs:
            rows = self._ask("preflight", sequences)
            found = dict(zip(rows["name"], rows["deviation"], strict=True))
        if {"samples", "masses"} <= self._info.capabilities:
            limit = self._info.context_length
            most = None if limit is None else max(1, limit - STEPS)
            prompts = [one[: max(1, len(one) // 2)][:most] for one in sequences[:_TRIED]]
            found["seeded-draws"] = seeded_deviation(
                cast("MassModel", self), prompts, eos_id=self._eos_id
            )
        return found

    # --- draws ----------------------------------------------------------------------------------

    def rollout(
        self,
        prompts: Sequence[Tokens],
        *,
        keys: Sequence[int],
        samples: int,
        sampler: Sampler,
        more: More | None = None,
        progress: Progress | None = None,
    ) -> list[list[Tokens]]:
        """Draw continuations; see `TargetModel`."""
        given = {"samples": samples, "sampler": asdict(sampler), "more": more is not None}
        return self._drawn(
            "rollout", prompts, keys, given, lambda row: row["tokens"], more, progress
        )

    def _watched_rollout(
        self,
        prompts: Sequence[Tokens],
        *,
        keys: Sequence[int],
        samples: int,
        sampler: Sampler,
        watch: Watch,
        more: MoreWatched | None = None,
        progress: Progress | None = None,
    ) -> list[list[WatchedRollout]]:
        given = {
            "samples": samples,
            "sampler": asdict(sampler),
            "more": more is not None,
            "watch": _ids_of(watch),
        }

        def take(row: dict[str, Any]) -> WatchedRollout:
            expected = row["expected"]
            if expected.shape != (len(watch),):
                raise self._nonsense("watched_rollout", "compensators of other classes")
            self._check_range("watched_rollout", "expected", [expected], low=0.0, high=2.0)
            return WatchedRollout(row["tokens"], expected)

        return self._drawn("watched_rollout", prompts, keys, given, take, more, progress)

    def masses(
        self,
        prompts: Sequence[Tokens],
        drawn: Sequence[Tokens],
        *,
        sampler: Sampler,
        watch: Watch,
        progress: Progress | None = None,
    ) -> list[NDArray[np.float64]]:
        """Return how likely each step was to name each class; see `MassModel`."""
        given = {"sampler": asdict(sampler), "watch": _ids_of(watch)}
        found = self._ask("masses", prompts, given, following=drawn, progress=progress)["masses"]
        classes = len(watch)
        steps = [len(one) + (len(one) < sampler.horizon_tokens) for one in drawn]
        if [len(one) for one in found] != [count * classes for count in steps]:
            raise self._nonsense("masses", "other numbers of steps or classes than were asked")
        self._check_range("masses", "masses", found, low=0.0, high=1.0)
        return [one.reshape(count, classes) for one, count in zip(found, steps, strict=True)]

    def _drawn(
        self,
        verb: str,
        prompts: Sequence[Tokens],
        keys: Sequence[int],
        given: dict[str, Any],
        take: Callable[[dict[str, Any]], Any],
        more: Callable[[int, list[Any]], int] | None,
        progress: Progress | None,
    ) -> list[list[Any]]:
        horizon = int(given["sampler"]["horizon_tokens"])
        require_fit(prompts, info=self._info, horizon_tokens=horizon)
        drawn: list[list[Any]] = [[] for _ in prompts]
        wanted = [int(given["samples"])] * len(prompts)
        enough: set[int] = set()

        def rows(found: _Rows) -> None:
            self._check_drawn(verb, found["tokens"], horizon=horizon)
            for row in zip(*found.values(), strict=True):
                one = dict(zip(found, row, strict=True))
                if not 0 <= one["prompt"] < len(drawn):
                    raise self._nonsense(verb, "continuations of a prompt that nobody asked of")
                drawn[one["prompt"]].append(take(one))

        def ask(prompt: int) -> int:
            asked = more is not None and 0 <= prompt < len(drawn) and prompt not in enough
            if more is None or not asked or len(drawn[prompt]) != wanted[prompt]:
                raise self._nonsense(verb, "another number of continuations than were asked")
            further = more(prompt, drawn[prompt])
            wanted[prompt] += further
            if not further:
                enough.add(prompt)
            return further

        self._converse(
            verb,
            prompts,
            given,
            keys=keys,
            take=rows,
            room=lambda: sum(wanted) - sum(map(len, drawn)),
            tokens=lambda: sum(map(len, prompts)) + sum(wanted) * horizon,
            more=ask,
            progress=progress,
        )
        if [len(own) for own in drawn] != wanted:
            raise self._nonsense(verb, "another number of continuations than were asked")
        return drawn

    def _check_drawn(self, verb: str, drawn: Sequence[Tokens], *, horizon: int) -> None:
        if any(len(one) > horizon for one in drawn):
            raise self._nonsense(verb, f"a continuation beyond the horizon of {horizon} tokens")
        tokens = np.concatenate([np.empty(0, np.int32), *drawn])
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self._info.vocabulary_size:
            raise self._nonsense(verb, "token ids that the vocabulary does not have")
        if self._eos_id is not None and (tokens == self._eos_id).any():
            raise self._nonsense(verb, "a continuation with the token that ends it")

    # --- asking ---------------------------------------------------------------------------------

    def _ask(
        self,
        verb: str,
        sequences: Sequence[Tokens],
        given: Mapping[str, Any] | None = None,
        *,
        following: Sequence[Tokens] | None = None,
        progress: Progress | None = None,
    ) -> _Rows:
        """Ask what is answered by a row for each sequence, or by rows of a number of their own."""
        require_fit(sequences, info=self._info)
        found: _Rows = {name: [] for name, _ in ANSWERS[verb]}
        most = _CHECKS if verb == "preflight" else len(sequences)
        tokens = sum(map(len, sequences)) + sum(map(len, following or ()))

        def take(rows: _Rows) -> None:
            for name, values in rows.items():
                found[name] += values

        self._converse(
            verb,
            sequences,
            given or {},
            following=following,
            take=take,
            room=lambda: most - len(next(iter(found.values()))),
            tokens=lambda: tokens,
            progress=progress,
        )
        answered = len(next(iter(found.values())))
        if verb != "preflight" and answered != len(sequences):
            raise self._nonsense(verb, f"{answered} answers to {len(sequences)} questions")
        return found

    def _converse(
        self,
        verb: str,
        sequences: Sequence[Tokens],
        given: Mapping[str, Any],
        *,
        take: Callable[[_Rows], None],
        room: Callable[[], int],
        tokens: Callable[[], int],
        keys: Sequence[int] | None = None,
        following: Sequence[Tokens] | None = None,
        more: Callable[[int], int] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Ask, and hear no more than that many further rows and tokens: nobody talks for ever."""
        if not len(sequences):
            return
        if verb not in self._verbs:
            raise TargetError(f"{self._connection.name}: the model has no verb '{verb}'")
        answer = schema_of(ANSWERS[verb])
        columns: dict[str, Sequence[Any]] = {"tokens": sequences}
        if keys is not None:
            columns["key"] = list(keys)
        if following is not None:
            columns["following"] = following
        if self._channels:
            given = {**given, "rules": self._rules(sequences)}
            columns |= {
                f"channel.{name}": [channel_values(one, name) for one in sequences]
                for name in self._channels
            }

        done = 0

        def hear(fields: dict[str, Any], batch: pa.RecordBatch | None) -> dict[str, Any] | None:
            nonlocal done
            if batch is not None:
                if not 0 < batch.num_rows <= room():
                    raise self._nonsense(verb, "more rows than were asked for, or an empty message")
                if batch.schema != answer or any(_has_gaps(one) for one in batch.columns):
                    raise self._nonsense(verb, "other columns than were asked")
                take({name: values_of(batch.column(name)) for name in answer.names})
            elif fields.get("type") == "progress" and isinstance(fields.get("tokens"), int):
                done += fields["tokens"]
                if fields["tokens"] <= 0 or done > _COUNTED * tokens():
                    raise self._nonsense(verb, "progress beyond all that there is to do")
                if progress is not None:
                    progress(fields["tokens"])
            elif fields.get("type") == "more" and isinstance(fields.get("prompt"), int) and more:
                return {"more": more(fields["prompt"])}
            else:
                raise self._nonsense(verb, "a message that nobody expects")
            return None

        schema = schema_of(asked_columns(verb, self._channels))
        self._connection.converse(
            verb,
            {"arguments": dict(given), "vocabulary_size": self._info.vocabulary_size},
            batches_of(columns, schema),
            schema,
            hear=hear,
        )

    def _rules(self, sequences: Sequence[Tokens]) -> dict[str, Any]:
        """Return how the model's channels go on, which is the same for all sequences."""
        rules = {rule.name: rule for rule in channels_of(sequences[0])}
        if missing := [name for name in self._channels if name not in rules]:
            raise TargetError(
                f"{self._connection.name}: the model takes '{missing[0]}' beside token ids, which"
                " the target does not declare; declare it in tokenization.channels"
            )
        return {name: _said(rules[name]) for name in self._channels}

    # --- what an answer has to be ---------------------------------------------------------------

    def _check_lengths(self, verb: str, rows: _Rows, lengths: Sequence[int]) -> None:
        for name, values in rows.items():
            for number, (one, length) in enumerate(zip(values, lengths, strict=True)):
                if one is not None and len(one) != length:
                    raise self._nonsense(
                        verb, f"{name} of {len(one)} values for sequence {number}, not {length}"
                    )

    def _check_range(
        self, verb: str, name: str, values: Sequence[Any], *, low: float, high: float
    ) -> None:
        flat = np.concatenate([np.empty(0, np.float32), *(np.ravel(one) for one in values)])
        inside = (flat >= low - _ROUNDING) & (flat <= high + _ROUNDING)
        if not inside.all():  # nor is what is no number
            raise self._nonsense(
                verb, f"{name} of {flat[~inside][0]:g}, where {low:g} to {high:g} is possible"
            )

    def _nonsense(self, verb: str, what: str) -> TargetError:
        return TargetError(
            f"{self._connection.name}: answered {verb} with {what}; correct the model's server"
        )


def _ids_of(watch: Watch) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in watch]


def _said(rule: ChannelRule) -> dict[str, Any]:
    """Return a rule as the adapter reads it; of what tokens change, only those that do."""
    adds, sets = np.flatnonzero(rule.adds), np.flatnonzero(~np.isnan(rule.sets))
    return {
        "each": rule.each,
        "adds": [adds.tolist(), rule.adds[adds].tolist()],
        "sets": [sets.tolist(), rule.sets[sets].tolist()],
        "late": rule.late,
        "start": rule.start,
        "modulo": rule.modulo,
        "whole": rule.whole,
        "most": rule.most,
    }


def _has_gaps(column: pa.Array) -> bool:
    """Whether something is missing; only whether a token came first may be left unsaid."""
    if not pa.types.is_list(column.type):
        return bool(column.null_count)
    unsaid = 0 if pa.types.is_boolean(column.type.value_type) else column.null_count
    return bool(unsaid or column.flatten().null_count)
