"""The channels of a target's records: made of dates and tokens, and held against its loader's own.

A channel that is wrong makes a model look safe, so none is believed: where a token table has a
column of it, what the loader wrote has to be what the patients' dates and the declared rule give.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from checker.errors import DataError
from checker.plugins import suggestion
from checker.policy.documents import ChannelSpec, ChannelTime
from checker.records.tokenization.declared import duration_us
from checker.records.tokenization.records import (
    DAY_US,
    KIND_EVENT,
    KIND_TIME,
    STATIC_TIME,
    Records,
)
from checker.records.tokenization.vocabulary import Vocabulary
from checker.targets.channels import ChannelRule, ChannelTokens, channels_of, exact_channels

DISAGREEING: Final = 0.01
"""Share of the tokens at which a loader's channel may be another: birthdays, say, that it counts
otherwise."""

CHANGES_DISAGREEING: Final = 0.1
"""And of the tokens at which either changes: one that is shifted differs nowhere else."""

PATIENTS_ALIKE: Final = 20
"""Of fewer, one visit each may be told by chance."""

WORSE_THAN_STILL: Final = 1.05
"""So much further from the dates than a rule by which no time passes may one be by which some does.
What is drawn follows the rule, and a model that is told nonsense there says nothing of anybody."""

YEAR_US: Final = 365.25 * DAY_US
Told = NDArray[np.float64]


class Channels:
    """The channels that a target declares.

    Args:
        spec: by name, as the target declares them.
        vocabulary: the model's tokens.
        gaps: of each time token its id and the gaps it stands for, in days: beyond, and up to.

    Raises:
        DataError: a rule names tokens that the vocabulary lacks.
    """

    def __init__(
        self,
        spec: Mapping[str, ChannelSpec],
        *,
        vocabulary: Vocabulary,
        gaps: Sequence[tuple[int, float, float | None]],
    ) -> None:
        self._spec = dict(spec)
        self.rules = tuple(
            _rule(name, one, vocabulary=vocabulary, gaps=gaps) for name, one in spec.items()
        )

    def of(
        self,
        tokens: NDArray[np.int32],
        offsets: NDArray[np.int64],
        *,
        kind: NDArray[np.int8],
        time_us: NDArray[np.int64],
        birth_us: NDArray[np.int64],
        years_older: int = 0,
    ) -> ChannelTokens:
        """Return tokens with their channels.

        Args:
            tokens: [T] of n patients end to end.
            offsets: [n + 1].
            kind: [T], one of the KIND constants.
            time_us: [T], of events and of time tokens, which have that of the event they stand
                before; STATIC_TIME of others.
            birth_us: [n], STATIC_TIME where it is unknown.
            years_older: added to ages, to see that they then fit worse.

        Raises:
            DataError: a channel counts from births, and a patient has none.
        """
        values = np.empty((len(self.rules), len(tokens)), dtype=np.float64)
        for place, (rule, spec) in enumerate(zip(self.rules, self._spec.values(), strict=True)):
            if spec.time is not None:
                values[place] = _timed(
                    rule,
                    spec.time,
                    offsets,
                    is_time=kind == KIND_TIME,
                    time_us=time_us,
                    birth_us=birth_us,
                )
                values[place] += rule.year * years_older
                continue
            for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
                values[place, a:b] = rule.follow(rule.start, None, tokens[a:b])
        return ChannelTokens(tokens, values, self.rules)

    @staticmethod
    def check_varied(tokens: NDArray[np.int32], *, patients: int) -> None:
        """Refuse a channel that tells every token of so many patients the same."""
        if patients < PATIENTS_ALIKE:
            return
        for rule, values in zip(channels_of(tokens), exact_channels(tokens), strict=True):
            told = rule.told(values)
            if len(told) > 1 and (told == told[0]).all():
                raise DataError(
                    f"tokenization.channels.{rule.name}: tells every token of these patients the"
                    f" same, {told[0]:g}; check its rule, its unit and 'most'"
                )

    def check_steps(self, tokens: NDArray[np.int32], offsets: NDArray[np.int64]) -> None:
        """Refuse a rule of its own by which time goes on as in nobody's record.

        Args:
            tokens: [T] of n patients end to end, with their channels.
            offsets: [n + 1].

        Raises:
            DataError: what the target declares that tokens add, or set, is further from the dates
                of the records than no time at all, or beyond twice what ever passes at a token.
        """
        if len(offsets) - 1 < PATIENTS_ALIKE:
            return
        for rule, spec, values in zip(
            self.rules, self._spec.values(), exact_channels(tokens), strict=True
        ):
            if spec.time is None or not (spec.adds or spec.sets or spec.each):
                continue
            inside = np.setdiff1d(np.arange(1, len(tokens)), offsets)
            passed = values[inside] - values[inside - 1]
            changing = np.asarray(tokens)[inside - 1 if rule.late else inside]
            told = rule.steps(values[inside - 1], changing)
            longest = np.zeros(1 + changing.max(initial=-1))
            np.maximum.at(longest, changing, np.abs(passed))
            beyond = np.abs(told) > np.maximum(2 * longest[changing], float(rule.whole))
            still = np.abs(passed).sum()
            if np.abs(told - passed).sum() > WORSE_THAN_STILL * still or beyond.any():
                raise DataError(
                    f"tokenization.channels.{rule.name}: adds, sets and each let time go on"
                    f" otherwise than in any record: by {np.abs(told).mean():g} a token, where"
                    f" {np.abs(passed).mean():g} pass; declare what the trainer's own generation"
                    " adds, or leave them out"
                )

    def agreed(
        self,
        made: ChannelTokens,
        loaders: Mapping[str, Told],
        *,
        kind: NDArray[np.int8],
        time_us: NDArray[np.int64],
        offsets: NDArray[np.int64],
        file: str,
        strict: bool,
    ) -> ChannelTokens:
        """Return tokens with the channels that the trainer's loader gave them.

        Args:
            made: with what dates and rules give.
            loaders: by channel, [T] what the loader told the model.
            kind: as in `of`.
            time_us: as in `of`.
            offsets: as in `of`.
            file: the loader's, for errors.
            strict: whether to refuse what does not agree.

        Raises:
            DataError: the loader's are not what the data set and the target say.
        """
        values = exact_channels(made).copy()
        dated = ((kind == KIND_EVENT) | (kind == KIND_TIME)) & (time_us != STATIC_TIME)
        row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        for place, rule in enumerate(self.rules):
            own = loaders.get(rule.name)
            if own is None:
                continue
            told = rule.told(values[place]).astype(np.float64)
            differs = rule.differs(told, own)
            if strict:
                at = np.flatnonzero(dated) if rule.timed else np.arange(len(own))
                _check_agreement(rule, told[at], own[at], differs[at], row[at], file=file)
            values[place] = np.where(differs, own, values[place])
        return ChannelTokens(np.asarray(made), values, self.rules)


def _check_agreement(
    rule: ChannelRule,
    told: Told,
    own: Told,
    differs: NDArray[np.bool_],
    row: NDArray[np.int64],
    *,
    file: str,
) -> None:
    """Refuse a loader's channel that is not what dates and rule give, at changes above all."""
    if not len(told):
        return
    changes = np.append(False, (told[1:] != told[:-1]) | (own[1:] != own[:-1]))
    changes[1:] &= row[1:] == row[:-1]
    share = float(differs.mean())
    at_changes = float(differs[changes].mean()) if changes.any() else 0.0
    if share <= DISAGREEING and at_changes <= CHANGES_DISAGREEING:
        return
    what = "the patients' dates give" if rule.timed else "the declared rule gives"
    first = int(np.flatnonzero(differs)[0])
    raise DataError(
        f"its column '{rule.name}' is not what {what} (tokenization.channels.{rule.name}):"
        f" {share:.1%} of its tokens differ, and {at_changes:.1%} of those where it changes;"
        f" the first says {own[first]:g} and not {told[first]:g}. Check unit, since and rule, or"
        " the loader",
        file=file,
    )


def _rule(
    name: str,
    spec: ChannelSpec,
    *,
    vocabulary: Vocabulary,
    gaps: Sequence[tuple[int, float, float | None]],
) -> ChannelRule:
    size = max(vocabulary.ids.values(), default=-1) + 1
    adds = np.zeros(size, dtype=np.float64)
    year = 0.0
    if spec.time is not None:
        unit = duration_us(spec.time.unit)
        for token, beyond, up_to in gaps:
            adds[token] = (beyond if up_to is None else (beyond + up_to) / 2) * DAY_US / unit
        year = YEAR_US / unit if spec.time.since == "birth" else 0.0
    _write(adds, spec.adds, vocabulary, f"channels.{name}.adds")
    sets = np.full(size, np.nan)
    _write(sets, spec.sets, vocabulary, f"channels.{name}.sets")
    return ChannelRule(
        name=name,
        each=spec.each,
        adds=adds,
        sets=sets,
        late=spec.takes_effect == "after",
        start=spec.start,
        modulo=spec.modulo,
        whole=spec.whole,
        most=spec.most,
        year=year,
        timed=spec.time is not None,
    )


def _write(
    numbers: NDArray[np.float64],
    by_glob: Mapping[str, float],
    vocabulary: Vocabulary,
    where: str,
) -> None:
    """Write what globs over spellings say of ids; of several that match, the first counts."""
    for glob, number in reversed(list(by_glob.items())):
        match = re.compile(fnmatch.translate(glob)).match
        exact = vocabulary.ids.get(glob)
        ids = [exact] if exact is not None else [i for t, i in vocabulary.ids.items() if match(t)]
        if not ids:
            raise DataError(
                f"tokenization.{where}: no token matches '{glob}'"
                f"{suggestion(glob, vocabulary.ids)}",
                file=vocabulary.file,
            )
        numbers[ids] = number


def _timed(
    rule: ChannelRule,
    spec: ChannelTime,
    offsets: NDArray[np.int64],
    *,
    is_time: NDArray[np.bool_],
    time_us: NDArray[np.int64],
    birth_us: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return when each token is, in units: [T]; those without a time have that before them."""
    n = len(offsets) - 1
    row = np.repeat(np.arange(n), np.diff(offsets))
    dated = np.not_equal(time_us, STATIC_TIME)
    if rule.late:
        dated &= ~is_time  # it still tells the time of the event before it
    places = np.flatnonzero(dated)
    last = np.maximum.accumulate(np.where(dated, np.arange(len(time_us)), -1))
    has = last >= offsets[:-1][row]
    begins = np.searchsorted(row[places], np.arange(n))
    first_us = np.zeros(n, dtype=np.int64)
    known = (begins < len(places)) & (np.diff(offsets) > 0)
    known[known] &= row[places[begins[known]]] == np.flatnonzero(known)
    first_us[known] = time_us[places[begins[known]]]
    when = np.where(has, time_us[last], first_us[row])
    if spec.since == "epoch":
        base = np.zeros(n, dtype=np.int64)
    elif spec.since == "first":
        base = first_us
    else:
        lacking = int((known & (birth_us == STATIC_TIME)).sum())
        if lacking:
            raise DataError(
                f"tokenization.channels.{rule.name}: counts from birth, and {lacking} of {n}"
                " patients have no birth; leave them out of the splits, or count since: first"
            )
        base = np.where(known, birth_us, 0)
    values: NDArray[np.float64] = (when - base[row]) / duration_us(spec.unit)
    if spec.front == "zero":
        values[~has] = 0.0
    values[~known[row]] = 0.0
    return values


def births(records: Records, birth: int) -> NDArray[np.int64]:
    """Return when each patient was born: [n] int64, STATIC_TIME where that is unknown.

    Args:
        records: n patients.
        birth: index of the code of births, -1 where the data set has none.
    """
    found = np.full(len(records), STATIC_TIME, dtype=np.int64)
    row = np.repeat(np.arange(len(records)), np.diff(records.offsets))
    at = np.flatnonzero((records.code == birth) & (records.time_us != STATIC_TIME))[::-1]
    found[row[at]] = records.time_us[at]  # the assignment made last stays: the first birth
    return found
