"""A model compared with itself, before an audit asks it anything (METHODS §5).

An audit runs this on every model, whatever backend opened it, and asks the backend for no more than
the verbs that the audit itself uses. A backend whose rollouts go through a cache offers one more,
`steps`: the log-probabilities that its decoding gives to tokens that are forced upon it.

Lengths matter. A model with a sliding window, chunks of attention or positions that switch is
another one beyond some length, so what is compared reaches beyond each of those that the audit
comes to, and to its longest prompt with the horizon. Not every model says where: so the longest
records in use are compared with their beginnings of 64, 128, 256, … tokens, and the longest prompts
are drawn from, whether or not a length is named. They are patients' own, because a model that
repeats its records is like any other behind what is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.targets.backends.generations import is_recorded
from checker.targets.channels import plain, resized
from checker.targets.compensator import watch_of
from checker.targets.draw_agreement import DRAWN_TOKENS, DrawExamination, DrawsDisagree
from checker.targets.protocol import (
    MassModel,
    Sampler,
    TargetModel,
    Tokens,
    TokenScores,
    require_fit,
)
from checker.targets.sampled_scores import sampled_deviation

PREFLIGHT_TOLERANCE = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.5}
"""Nats by which two ways to the same log-probability may differ. bfloat16 has 8 significant bits:
logits from 16 to 32 are multiples of 1/8, and two kernels may round apart by a few of them. Other
formats have float32's tolerance, for scores are handed out in it."""

BEYOND = 8
"""How many tokens beyond a switch are compared; half as many before it."""

_OWN_TOLERANCE = {"probability-sum": 1e-3, "one-pass": 0.25}
"""A sum of shares, and nats a token: a model that was trained as it draws, or stopped in time, is
known by one pass over a record as well as by several (METHODS §5)."""

_MOST_OUTSIDE = 0.1
"""Probability by which a uniform may lie outside of its token's share, in any format: rounding in
bfloat16 turns a share of 0.05 of draws into others, and another seed is further off in most."""

_ROWS, _TOKENS = 8, 64
_LONG_TOKENS = 8192  # of all records together that are longer; at least one is taken whole
_WATCHED = 16  # tokens whose probability is asked for in two ways

Steps = Callable[[Sequence[Tokens], Sequence[Tokens]], list[NDArray[np.float32]]]
"""Log-probabilities of given tokens after given prompts, decoded in steps, all together."""

_REASONS = {
    "later-tokens": "the log-probability of a token changes with what follows it, so this is not a "
    "causal model; its records cannot be continued, and its scores are none of a next token",
    "record-length": "the log-probability of a token changes with how long the record goes on, as "
    "with positions that switch at some length; scores of long records and draws from short "
    "prompts are then of different models",
    "batch-composition": "scores change with the other records of a batch",
    "cached-decoding": "decoding step by step gives other probabilities than one pass over the "
    "record, so what is drawn is not what is scored",
    "left-padding": "decoding step by step in a batch gives other probabilities than alone",
    "chunked-head": "the output layer over chunks of positions gives other probabilities than the "
    "model",
    "watched-classes": "the probability that a step names a class is not that of its tokens",
    "seeded-draws": "tokens are others than seed, key and sample give, so that a repeated run "
    "finds something else",
    "sampled-scores": "the probabilities with which a sampler is said to draw are not those that "
    "the model gives",
    "probability-sum": "next-token probabilities do not sum to one",
    "one-pass": "positions switch at some length, and one pass over a longer record knows its "
    "beginning better than the model does that draws it: it was trained on whole records, and "
    "whoever scores those asks a model that an audit of what is drawn does not see",
}


class ConformanceError(TargetError):
    """A model is not one that can be audited.

    Args:
        message: which check failed, by how much, and what that means.
        found: by check, what was found up to the one that failed, that one included.
        check: the one that failed.
    """

    def __init__(self, message: str, *, found: dict[str, float], check: str) -> None:
        super().__init__(message)
        self.found, self.check = found, check


@dataclass(frozen=True, slots=True)
class Usage:
    """How an audit uses a model.

    Args:
        longest_record: tokens of the longest record that is scored.
        longest_prompt: tokens of the prompt that with its horizon is longest; 0 where none is
            continued.
        horizon_tokens: tokens of that horizon.
        eos_id: ends a record; None means that nothing does.
        seed: of the audit.
    """

    longest_record: int = 0
    longest_prompt: int = 0
    horizon_tokens: int = 0
    eos_id: int | None = None
    seed: int = 0


LongRecords = Callable[[int], Sequence[Tokens]]
"""Records of more than so many tokens, as many as are to be compared."""


def examine(
    model: TargetModel,
    records: Sequence[Tokens],
    *,
    usage: Usage,
    beyond: LongRecords | None = None,
) -> dict[str, float]:
    """Check a model on the beginnings of a few records and on longer ones made of them.

    Args:
        model: any target; what it lacks is not asked of it.
        records: token ids of patients; those of one token are left out.
        usage: by the audit.
        beyond: records that the model may have been trained on, where it is to be compared with
            itself beyond a switch that few come to; default: those of `records`.

    Returns:
        By check the largest deviation seen: nats for "later-tokens", "record-length",
        "batch-composition", "sampled-scores", "cached-decoding", "left-padding", "chunked-head"
        and "one-pass"; a difference of probabilities for "probability-sum" and "watched-classes";
        a share for "same-key" and "batch-draws"; standard
        errors for "end-of-record", "drawn-against-scored", "first-tokens" and "repetition". What
        does not apply to the model is left out, and "one-pass" where no record is so long.

    Raises:
        ConformanceError: a check failed; the message says what it means.
        TargetError: the model fails, or no record has two tokens.
    """
    examination = _Examination(model, records, usage)
    if "logprobs" in model.info.capabilities:
        examination.scores()
        if callable(getattr(model, "score_sampled", None)):
            examination.sampled_scores()
    own = getattr(model, "preflight", None)
    if callable(own):
        examination.take(own(examination.records))
    gain = getattr(model, "gain_of_one_pass", None)
    if callable(gain):
        if beyond is None:
            beyond = _longer_than(records)
        examination.one_pass(gain, switches=getattr(model, "switches", ()), beyond=beyond)
    steps = getattr(model, "steps", None)
    if callable(steps) and "logprobs" in model.info.capabilities:
        examination.steps(steps)
    if "samples" in model.info.capabilities and not is_recorded(model):
        examination.draws()
    if {"masses", "logprobs"} <= model.info.capabilities:
        examination.masses()
    return examination.found


def tolerance_of(name: str, dtype: str) -> float:
    """Return by how much a check's two ways to one number may differ: nats, or a sum of shares."""
    if name in _OWN_TOLERANCE:
        return _OWN_TOLERANCE[name]
    most = _MOST_OUTSIDE if name == "seeded-draws" else math.inf
    return min(most, PREFLIGHT_TOLERANCE.get(dtype, PREFLIGHT_TOLERANCE["float32"]))


class _Examination:
    """One model's checks, in the order in which their reasons explain each other."""

    def __init__(self, model: TargetModel, records: Sequence[Tokens], usage: Usage) -> None:
        limit = model.info.context_length
        most = _TOKENS if limit is None else min(_TOKENS, limit)
        self.model, self.usage, self.limit = model, usage, limit
        beginnings = [
            np.asanyarray(one[:most], dtype=np.int32) for one in records if len(one[:most]) > 1
        ]
        self.records, self.further = beginnings[:_ROWS], beginnings[_ROWS:]
        if not self.records:
            raise TargetError("preflight needs at least one record of two or more tokens")
        require_fit(self.records, info=model.info)
        self.long = self._long_records(records)
        self.found: dict[str, float] = {}
        self._material = np.concatenate([np.asanyarray(one, dtype=np.int32) for one in records])

    def take(self, found: dict[str, float]) -> None:
        """Add deviations, and refuse one that is beyond its tolerance."""
        dtype = self.model.info.dtype
        for name, value in found.items():
            self.found[name] = max(float(value), self.found.get(name, 0.0))
            tolerance = tolerance_of(name, dtype)
            if not value <= tolerance:
                shown = f"deviates by {value:.4g}, more than {tolerance:g} in {dtype}"
                raise self._refusal(name, value, f"{shown}; {_REASONS.get(name, 'not audited')}")

    def scores(self) -> None:
        """Compare passes over whole records with each other."""
        # a half, a quarter, an eighth: whatever a model takes for short
        pairs = [
            (record, max(1, len(record) >> (1 + row % 3)))
            for row, record in enumerate(self.records)
        ]
        longest = self._within(self.usage.longest_record)
        stretched = [self._stretched(longest)] if longest > _TOKENS else []
        pairs += [(one, cut) for one in [*self.long, *stretched] for cut in _doublings(len(one))]
        for length in self._switches(self.usage.longest_record):
            end = self._within(length + BEYOND)
            pairs.append((self._stretched(end), max(1, min(length, end) - BEYOND // 2)))
        whole = [record for record, _ in pairs]
        alone = [self._score([record])[0] for record in whole]
        others = [_other_end(record, cut) for record, cut in pairs]
        # position i speaks of token i + 1, so that cut - 1 of them lie before the cut
        before = [scores.logprob[: cut - 1] for scores, (_, cut) in zip(alone, pairs, strict=True)]
        changed = [self._score([other])[0].logprob for other in others]
        self.take({"later-tokens": apart(before, changed)})
        kept = [
            (record[:cut], b) for (record, cut), b in zip(pairs, before, strict=True) if cut > 1
        ]
        short = [self._score([record])[0].logprob for record, _ in kept]
        self.take({"record-length": apart([b for _, b in kept], short)})
        together = self._score([*whole, *(record for record, _ in kept)])
        expected = [scores.logprob for scores in alone] + short
        deviation = apart(expected, [scores.logprob for scores in together])
        moments = apart([s.mean for s in alone], [s.mean for s in together[: len(alone)]])
        self.take({"batch-composition": max(deviation, moments)})

    def sampled_scores(self) -> None:
        """Compare what a sampler is said to draw with the scores of the same tokens."""
        records = [*self.records, *self.long]
        scores = self._score(records)
        self.take({"sampled-scores": sampled_deviation(self.model, records, scores)})

    def one_pass(
        self, gain: Callable[[Tokens], float], *, switches: Sequence[int], beyond: LongRecords
    ) -> None:
        """Compare scores with what one pass over a record says of its beginning.

        Of a few records by lot none may come to a switch: so each switch has a lot of its own.
        """
        most = self._within(self._longest)
        for at, length in enumerate(switches):
            # beyond the next switch the beginning would be another one
            cut = [one[: min([most, *switches[at + 1 : at + 2]])] for one in beyond(length)]
            gains = [gain(np.asanyarray(one, dtype=np.int32)) for one in cut if len(one) > length]
            if gains:
                self.take({"one-pass": float(np.max([0.0, *gains]))})

    def steps(self, steps: Steps) -> None:
        """Compare decoding in steps with full passes, record by record and all together."""
        # Prompts of different lengths, or there would be no padding to check.
        cuts = [max(1, len(record) // 2 - row) for row, record in enumerate(self.records)]
        self._stepped(self.records, cuts, steps, end=self.limit)
        for cut, end in self._crossings():
            # one of half the length in the same batch, so that rows cross at different steps
            half = max(2, end // 2)
            self._stepped(
                [self._stretched(end), self._stretched(half, start=1)],
                [cut, max(1, half - (end - cut))],
                steps,
                end=end,
            )

    def _stepped(
        self, records: Sequence[Tokens], cuts: Sequence[int], steps: Steps, *, end: int | None
    ) -> None:
        whole = [self._score([record])[0].logprob for record in records]
        found = [
            steps([record[:cut]], [record[cut:]])[0]
            for record, cut in zip(records, cuts, strict=True)
        ]
        expected = [one[cut - 1 :] for one, cut in zip(whole, cuts, strict=True)]
        self.take({"cached-decoding": apart(expected, found)})
        self.take(
            {
                "left-padding": decoding_deviation(
                    records, cuts, whole, teacher_forced=steps, context_length=end
                )
            }
        )

    def draws(self) -> None:
        """Hold draws against keys, batches and scores."""
        room = self._within(self._longest)
        horizon = min(DRAWN_TOKENS, self.usage.horizon_tokens or DRAWN_TOKENS, max(1, room // 2))
        cuts = [max(1, len(record) // 2 - row) for row, record in enumerate(self.records)]
        prompts = [record[:cut] for record, cut in zip(self.records, cuts, strict=True)]
        prompts += [record[:-1] for record in self.records]  # where records are near their end
        # a model that repeats some of its records draws like any other behind the rest
        prompts += [record[: len(record) // 2] for record in self.further]
        prompts += [record[:cut] for record, cut in self._long_prompts()]
        prompts += [self._stretched(cut) for cut, _ in self._crossings()]
        # beyond all that is used the model may well be another one
        most = self._within(max(self._longest, 1 + horizon))
        fitting = [prompt[: most - horizon] for prompt in prompts]
        distinct = list({prompt.tobytes(): prompt for prompt in fitting}.values())
        examination = DrawExamination(
            self.model,
            distinct,
            horizon_tokens=horizon,
            eos_id=self.usage.eos_id,
            seed=self.usage.seed,
        )
        try:
            self.found |= examination.run()
        except DrawsDisagree as failed:
            raise self._refusal(failed.name, failed.value, failed.reason) from failed

    def masses(self) -> None:
        """Compare how likely steps are to name a class with the scores of the class's tokens."""
        if not callable(getattr(self.model, "masses", None)):
            raise TargetError("preflight: the model offers masses and has no such verb")
        model = cast("MassModel", self.model)
        places = [(record, max(1, len(record) // 2)) for record in self.records]
        places += [(record[: cut + DRAWN_TOKENS], cut) for record, cut in self._long_prompts()]
        pairs = [(record[:cut], plain(record[cut:])) for record, cut in places]
        sampler = Sampler(
            temperature=1.0,
            top_p=1.0,
            horizon_tokens=max(len(rest) for _, rest in pairs),
            seed=self.usage.seed,
        )
        size = model.info.vocabulary_size
        named = [rest for _, rest in pairs if len(rest)]
        ids = [t for t in np.unique(np.concatenate(named)).tolist() if t != self.usage.eos_id]
        some = ids[:: max(1, len(ids) // _WATCHED)]
        watch = watch_of([[token] for token in some], vocabulary_size=size)
        found = model.masses(
            [prompt for prompt, _ in pairs],
            [rest for _, rest in pairs],
            sampler=sampler,
            watch=watch,
        )
        deviation = 0.0
        for (record, cut), own in zip(places, found, strict=True):
            steps = len(record) - cut
            if own.ndim != 2 or own.shape[1] != len(some) or len(own) < steps:
                raise TargetError(
                    "preflight: masses must return an array of steps and classes for each"
                    " continuation"
                )
            told = np.concatenate([record[:cut], np.asarray(plain(record[cut:]))])
            scored = np.exp(self._score([told])[0].logprob[cut - 1 :].astype(np.float64))
            for place, token in enumerate(some):
                at = np.flatnonzero(record[cut:] == token)
                deviation = max(
                    deviation, float(np.abs(own[at, place] - scored[at]).max(initial=0.0))
                )
        self.take({"watched-classes": deviation})

    # --- lengths --------------------------------------------------------------------------------

    def _crossings(self) -> list[tuple[int, int]]:
        """Return prompts and ends, in tokens, between which a switch or the longest use lies."""
        longest = self._within(self.usage.longest_prompt + self.usage.horizon_tokens)
        if not self.usage.longest_prompt or longest < 2:
            return []
        found = [
            (max(1, length - BEYOND // 2), min(longest, length + BEYOND))
            for length in self._switches(longest)
        ]
        cut = min(self.usage.longest_prompt, longest - 1)
        return sorted({(c, e) for c, e in [*found, (cut, longest)] if c < e})

    @property
    def _longest(self) -> int:
        """Most tokens of a sequence in use; where nothing is said, of the records."""
        return self._longest_of(self.records)

    def _longest_of(self, records: Sequence[Tokens]) -> int:
        used = max(self.usage.longest_record, self.usage.longest_prompt + self.usage.horizon_tokens)
        return used or max(len(record) for record in records) + DRAWN_TOKENS

    def _long_records(self, records: Sequence[Tokens]) -> list[Tokens]:
        """Return whole records beyond `_TOKENS`, as far as they are used, and not too many."""
        most, room = self._within(self._longest_of(records)), _LONG_TOKENS
        found: list[Tokens] = []
        for one in records:
            record = np.asanyarray(one[:most], dtype=np.int32)
            if len(record) > _TOKENS and (not found or len(record) <= room):
                found.append(record)
                room -= len(record)
        return found

    def _long_prompts(self) -> list[tuple[Tokens, int]]:
        """Return those records with the longest beginning that is a prompt in use."""
        most = self.usage.longest_prompt or self._longest
        pairs = [(record, min(len(record) - 1, most)) for record in self.long]
        return [(record, cut) for record, cut in pairs if cut > _TOKENS]

    def _switches(self, longest: int) -> list[int]:
        """Return lengths below the longest in use where the model may become another one."""
        return sorted({n for n in self.model.info.switch_lengths.values() if 1 < n < longest})

    def _within(self, length: int) -> int:
        return length if self.limit is None else min(length, self.limit)

    def _stretched(self, length: int, *, start: int = 0) -> Tokens:
        """Return a record of some length, of the patients' tokens end to end."""
        return resized(self._material, length, start=start * _TOKENS)

    # --- helpers --------------------------------------------------------------------------------

    def _score(self, records: Sequence[Tokens]) -> list[TokenScores]:
        scores = self.model.score(records)
        shapes = [column.shape for one in scores for column in (one.logprob, one.mean, one.std)]
        if shapes != [(len(record) - 1,) for record in records for _ in range(3)]:
            raise TargetError(
                "preflight: score must return log-probability, mean and spread of every token of "
                "a record but the first"
            )
        if not all(np.isfinite(c).all() for s in scores for c in (s.logprob, s.mean, s.std)):
            raise TargetError("preflight: score returned values that are no numbers")
        return scores

    def _refusal(self, name: str, value: float, text: str) -> ConformanceError:
        self.found[name] = float(np.nan_to_num(value, nan=1e6, posinf=1e6))
        lengths = self.model.info.switch_lengths
        where = ", ".join(f"{key} {length}" for key, length in sorted(lengths.items()))
        hint = (
            f" (the configuration names {where})"
            if where and name in ("later-tokens", "record-length", "cached-decoding")
            else ""
        )
        return ConformanceError(
            f"preflight: {name} {text}{hint}", found=dict(self.found), check=name
        )


def _doublings(length: int) -> list[int]:
    """Return 64, 128, 256, … tokens, as far as they are fewer."""
    return [_TOKENS << i for i in range(max(1, length).bit_length()) if _TOKENS << i < length]


def _longer_than(records: Sequence[Tokens]) -> LongRecords:
    return lambda length: [one for one in records if len(one) > length]


def decoding_deviation(
    records: Sequence[Tokens],
    cuts: Sequence[int],
    expected: Sequence[NDArray[np.float32]],
    *,
    teacher_forced: Steps,
    context_length: int | None,
) -> float:
    """Return how far decoding in one batch is from what is expected of each record.

    Every record is decoded from two cuts, so that one prompt of two begins the other.

    Args:
        records: n of two or more tokens.
        cuts: tokens of each record's longer prompt.
        expected: [L - 1] log-probabilities of each record's tokens but the first.
        teacher_forced: decoding in steps.
        context_length: decoding ends where the longest prompt fills it.
    """
    pairs = [(i, cut) for i, whole in enumerate(cuts) for cut in {whole, max(1, whole // 2)}]
    most = max(len(records[i]) - cut for i, cut in pairs)
    if context_length is not None:
        most = min(most, context_length - max(cuts))
    found = teacher_forced(
        [records[i][:cut] for i, cut in pairs],
        [records[i][cut : cut + most] for i, cut in pairs],
    )
    return apart([expected[i][cut - 1 :] for i, cut in pairs], found)


def apart(left: Iterable[NDArray[np.float32]], right: Iterable[NDArray[np.float32]]) -> float:
    """Return the largest difference over the positions that both sides have."""
    pairs = zip(left, right, strict=True)
    return max(
        (float(np.abs(a[: len(b)] - b[: len(a)]).max(initial=0.0)) for a, b in pairs), default=0.0
    )


def _other_end(record: Tokens, cut: int) -> Tokens:
    """Return a record with other tokens from a cut on, each the next of those that it holds."""
    ids = np.unique(record)
    rolled = np.roll(ids, -1)[np.searchsorted(ids, record[cut:])]
    return np.concatenate([record[:cut], rolled]).astype(np.int32)
