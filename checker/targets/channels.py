"""Channels: numbers that a model is given beside each token id, such as ages and segments.

A sequence with channels is an array of ids like any other, so that whoever needs ids alone takes
it as it is. Its channels stay with it where it is cut and put together, and ids that are put behind
it are given the channels that a continuation has: each channel has a rule of how it goes on, and
what is drawn, forced or scored behind a prompt all follows that one rule. What becomes of a
sequence in any other way has lost its channels, and a model that needs them refuses it
(`checker.targets.channel_guard`).

A channel is kept exactly and told roundly: an age of 60.9 years is told as 60, and 0.2 years later
as 61.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Values = NDArray[np.float64]

ROUNDING = 1e-6
"""Sums of parts of a unit that miss a whole one by less are told as that."""

FRACTIONS_NEAR = 1e-4
"""Of a fraction, or of one where it is less: so much another may be and be the same."""


@dataclass(frozen=True, slots=True)
class ChannelRule:
    """How one channel goes on, and how it is told.

    At a token that sets a value the channel is that; at any other it grows by what the token adds
    and, but for the first token of a sequence, by `each`.

    Args:
        name: of the channel, and of the model's input.
        each: growth from token to token.
        adds: [V] float64, growth at a token beside `each`.
        sets: [V] float64, the value that a token sets; NaN where it sets none.
        late: whether a token's change holds from the next token on, and not yet for itself.
        start: value of the first token, but for its own change.
        modulo: values go round after so much above `start`; None where they do not.
        whole: whether the model is told whole numbers, rounded down.
        most: largest value that is told; None where nothing bounds it.
        year: by how much the channel is higher for a patient who is a year older; 0 where age does
            not matter.
        timed: whether values are those of a patient's own dates, so that only what is drawn
            follows the rule; else all follow it.
    """

    name: str
    each: float
    adds: Values
    sets: Values
    late: bool = False
    start: float = 0.0
    modulo: float | None = None
    whole: bool = True
    most: float | None = None
    year: float = 0.0
    timed: bool = False

    def follow(self, before: float, last: int | None, ids: Ids) -> Values:
        """Return the values of tokens that stand in a row: [n] float64.

        Args:
            before: value of the token before them, or `start` where there is none.
            last: that token, or None.
            ids: [n].
        """
        if not len(ids):
            return np.empty(0, dtype=np.float64)
        changing = np.asarray(ids, dtype=np.int64)
        if self.late:
            changing = np.append(-1 if last is None else last, changing[:-1]).astype(np.int64)
        acts = changing >= 0
        adds, sets = self._changes(changing)
        grown = np.where(acts, self.each + adds, 0.0)
        if last is None and not self.late:
            grown[0] -= self.each  # the first token follows none
        sets = np.where(acts, sets, np.nan)
        is_set = ~np.isnan(sets)
        sums = np.cumsum(np.where(is_set, 0.0, grown))
        set_at = np.maximum.accumulate(np.where(is_set, np.arange(len(ids)), -1))
        base = np.where(set_at >= 0, sets[set_at] - sums[set_at], before)
        found: Values = self._around(base + sums)
        return found

    def steps(self, before: Values, ids: Ids) -> Values:
        """Return by how much the channel changes at tokens that each follow one: [n] float64.

        Args:
            before: [n], value of the token before each.
            ids: [n], those that change it.
        """
        adds, sets = self._changes(np.asarray(ids, dtype=np.int64))
        found: Values = np.where(np.isnan(sets), self.each + adds, sets - before)
        return found

    def _changes(self, ids: NDArray[np.int64]) -> tuple[Values, Values]:
        """Return what tokens add and set: ids beyond the vocabulary change nothing."""
        known = ids < len(self.adds)
        at = np.where(known, ids, 0)
        return np.where(known, self.adds[at], 0.0), np.where(known, self.sets[at], np.nan)

    def _around(self, values: Values) -> Values:
        if self.modulo is None:
            return values
        return self.start + np.mod(values - self.start + ROUNDING, self.modulo) - ROUNDING

    def told(self, values: Values) -> NDArray[np.int64] | NDArray[np.float32]:
        """Return what the model is given: int64 where values are whole, else float32."""
        bounded = values if self.most is None else np.minimum(values, self.most)
        if self.whole:
            return np.floor(bounded + ROUNDING).astype(np.int64)
        return bounded.astype(np.float32)

    def differs(self, told: NDArray[Any], own: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where a trainer's own values are others than these: [n].

        Whole numbers are places in a table of the model's, so that the next is another; a fraction
        may be rounded otherwise.
        """
        expected = told.astype(np.float64)
        near = 0.5 if self.whole else FRACTIONS_NEAR * np.maximum(1.0, np.abs(expected))
        found: NDArray[np.bool_] = ~(np.abs(expected - own) < near)
        return found


def told_rule(name: str) -> ChannelRule:
    """Return the rule of a channel that is told as it is, of sequences that are not continued."""
    return ChannelRule(name, each=0.0, adds=np.zeros(1), sets=np.full(1, np.nan), timed=True)


class ChannelTokens(np.ndarray[Any, np.dtype[np.int32]]):
    """Token ids [L] int32 with C channels.

    `values` is [C, L] float64, exact, in the order of `rules`; None once they are lost.
    """

    values: Values | None
    rules: tuple[ChannelRule, ...]

    def __new__(cls, ids: Ids, values: Values, rules: Sequence[ChannelRule]) -> ChannelTokens:
        """Put ids and channels together; neither is copied."""
        if values.shape != (len(rules), len(ids)):
            raise ValueError(f"{len(rules)} channels of {len(ids)} tokens, not {values.shape}")
        made: ChannelTokens = plain(ids).view(cls)
        made.values, made.rules = values, tuple(rules)
        return made

    def __array_finalize__(self, made_of: Any) -> None:
        """A view of numpy's own making has no channels until it is given some."""
        self.values = None
        self.rules = ()

    def __reduce__(self) -> Any:
        """Say how this is rebuilt in another process."""
        return _rebuilt, (plain(self), self.values, self.rules)

    def _with(self, ids: Any, values: Values | None) -> Any:
        return plain(ids) if values is None else ChannelTokens(ids, values, self.rules)

    def __getitem__(self, key: Any) -> Any:
        """Return some of the tokens with their channels, or one id."""
        found = plain(self)[key]
        if self.values is None or not isinstance(found, np.ndarray) or found.ndim != 1:
            return found
        return self._with(found, self.values[:, key])

    def copy(self, order: Any = "C") -> ChannelTokens:
        """Return a copy with its own ids and channels."""
        values = None if self.values is None else self.values.copy()
        copied: ChannelTokens = self._with(plain(self).copy(), values)
        return copied

    def astype(self, dtype: Any, *args: Any, **settings: Any) -> Any:
        """Return the ids in another form; as int32 they keep their channels."""
        found = plain(self).astype(dtype, *args, **settings)
        return self._with(found, self.values if found.dtype == np.int32 else None)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        """Compute with ids alone."""
        if out := settings.get("out"):
            settings["out"] = tuple(map(_all_plain, out))
        return getattr(ufunc, method)(*map(_all_plain, inputs), **settings)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Let sequences be put together with their channels, and compute else with ids alone."""
        if func is np.concatenate and not kwargs and len(args) == 1:
            return put_together(args[0])
        if func is np.append and not kwargs and len(args) == 2:
            return put_together([args[0], np.atleast_1d(args[1])])
        if func is np.split and not kwargs and len(args) == 2 and np.ndim(args[1]):
            ends = [0, *args[1], len(args[0])]
            return [args[0][a:b] for a, b in pairwise(ends)]
        return func(*_all_plain(args), **_all_plain(kwargs))


def _rebuilt(ids: Ids, values: Values | None, rules: tuple[ChannelRule, ...]) -> Any:
    return ids if values is None else ChannelTokens(ids, values, rules)


def _all_plain(value: Any) -> Any:
    if isinstance(value, ChannelTokens):
        return plain(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_all_plain, value))
    if isinstance(value, dict):
        return {name: _all_plain(one) for name, one in value.items()}
    return value


def plain(tokens: Any) -> Any:
    """Return ids without channels, as a view."""
    return np.asarray(tokens).view(np.ndarray)


def channels_of(tokens: Ids) -> tuple[ChannelRule, ...]:
    """Return the rules of a sequence's channels; none where it has none."""
    if isinstance(tokens, ChannelTokens) and tokens.values is not None:
        return tokens.rules
    return ()


def exact_channels(tokens: Ids) -> Values:
    """Return a sequence's exact channels: [C, L] float64, C = 0 where it has none."""
    if isinstance(tokens, ChannelTokens) and tokens.values is not None:
        return tokens.values
    return np.empty((0, len(tokens)), dtype=np.float64)


def differing_channels(tokens: Ids, own: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return where a trainer's own values [L] by channel are others than a sequence's: [L]."""
    found = np.zeros(len(tokens), dtype=bool)
    for rule, values in zip(channels_of(tokens), exact_channels(tokens), strict=True):
        found |= rule.differs(rule.told(values), own[rule.name])
    return found


def told_channels(tokens: Ids) -> dict[str, NDArray[np.int64] | NDArray[np.float32]]:
    """Return what a model is given beside the ids of a sequence: by channel, [L] each."""
    return {
        rule.name: rule.told(values)
        for rule, values in zip(channels_of(tokens), exact_channels(tokens), strict=True)
    }


def put_together(parts: Sequence[Any]) -> Any:
    """Put sequences end to end; ids without channels are given those of a continuation.

    What stands in front of all channels is given the first values that follow.
    """
    arrays = [np.asanyarray(part) for part in parts]
    ids = np.concatenate([plain(part) for part in arrays])
    first = next((at for at, part in enumerate(arrays) if channels_of(part) and len(part)), None)
    if first is None:
        return ids
    rules = channels_of(arrays[first])
    values = np.empty((len(rules), len(ids)), dtype=np.float64)
    begin = sum(map(len, arrays[:first]))
    values[:, :begin] = exact_channels(arrays[first])[:, :1]
    for part in arrays[first:]:
        end = begin + len(part)
        own = channels_of(part)
        if own and own is not rules and [one.name for one in own] != [one.name for one in rules]:
            raise ValueError("sequences of different channels cannot be put together")
        if own:
            values[:, begin:end] = exact_channels(part)
        else:
            for place, rule in enumerate(rules):
                before, last = float(values[place, begin - 1]), int(ids[begin - 1])
                values[place, begin:end] = rule.follow(before, last, ids[begin:end])
        begin = end
    return ChannelTokens(ids.astype(np.int32, copy=False), values, rules)


def told_anew(tokens: Ids) -> Ids:
    """Return a sequence whose channels by tokens alone follow their rule from its first token on.

    So a piece of a record, or one from which events have left, is told as a record of its own; what
    is dated keeps its dates.
    """
    rules = channels_of(tokens)
    if not rules or not len(tokens):
        return tokens
    values = exact_channels(tokens).copy()
    for place, rule in enumerate(rules):
        if not rule.timed:
            values[place] = rule.follow(rule.start, None, plain(tokens))
    return ChannelTokens(plain(tokens), values, rules)


def all_told_anew(tokens: Ids, lengths: NDArray[np.int64]) -> Ids:
    """Tell each of many sequences anew that stand end to end: see `told_anew`."""
    if not channels_of(tokens) or all(rule.timed for rule in channels_of(tokens)):
        return tokens
    ends = np.cumsum(lengths).tolist()
    parts = [told_anew(tokens[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True) if a < b]
    return cast("Ids", put_together(parts)) if parts else tokens


def years_older(tokens: Ids, years: float) -> Ids:
    """Return the same sequence of a patient who is so many years older."""
    rules = channels_of(tokens)
    if not any(rule.year for rule in rules):
        return tokens
    shift = np.array([rule.year * years for rule in rules])[:, None]
    return ChannelTokens(plain(tokens), exact_channels(tokens) + shift, rules)


def channel_values(tokens: Ids, name: str) -> Values:
    """Return the exact values of one of a sequence's channels: [L] float64."""
    values: Values = exact_channels(tokens)[[rule.name for rule in channels_of(tokens)].index(name)]
    return values


def also_told(tokens: Ids, name: str, values: Values) -> Ids:
    """Return the same ids with one channel more, values [L], that is told as it is."""
    told = np.concatenate([exact_channels(tokens), values[None]])
    return ChannelTokens(plain(tokens), told, (*channels_of(tokens), told_rule(name)))


def with_channel(tokens: Ids, name: str, values: Values) -> Ids:
    """Return the same ids with other values [L] in one channel."""
    rules = channels_of(tokens)
    if not rules:
        return tokens
    changed = exact_channels(tokens).copy()
    changed[[rule.name for rule in rules].index(name)] = values
    return ChannelTokens(plain(tokens), changed, rules)


def resized(tokens: Ids, length: int, *, start: int = 0) -> Ids:
    """Return tokens repeated to a length, from a place on, with their channels."""
    return tokens[(np.arange(length) + start) % len(tokens)]
