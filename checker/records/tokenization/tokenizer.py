"""A target's `tokenization`: how a patient's events become what the model was trained on.

    [BOS]  prefix (age, static fields)  static codes  event  time  event  event ...  [EOS]

The order is that of the files. Codes of a declared static field, dated or not, and the birth, when
an age is declared, go into the prefix and nowhere else. A time token stands between events of
different times, right before the later one, and speaks of the gap between *kept* events (or of all:
`gaps`). Ages are completed years, as people count them; before birth they are 0.

An event whose token the vocabulary lacks becomes the declared unknown token, or is left out. Either
way it is counted, and where more than UNKNOWN_LIMIT of all events are lost the data set and the
vocabulary do not belong together: a model that is prompted in a language it never learned leaks
nothing, and would pass.

Records are never cut here; windows and contexts are cut where the model is fed.
"""

from __future__ import annotations

import copy
import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import meds
import numpy as np
from numpy.typing import NDArray

from checker.canonical import digest
from checker.errors import DataError
from checker.plugins import suggestion
from checker.policy.documents import StaticField, TokenizationSpec
from checker.records.tokenization.channels import Channels, births
from checker.records.tokenization.declared import ordered_prefix, upper_limits_us
from checker.records.tokenization.dictionary import Dictionary, open_parts, pick, unknown_counts
from checker.records.tokenization.records import (
    DAY_US,
    STATIC_TIME,
    Coverage,
    Records,
    Survey,
    TokenizedRecords,
)
from checker.records.tokenization.sequences import (
    ABSENT,
    UNKNOWN,
    Columns,
    EventStream,
    PrefixField,
    ages,
    join,
    lay_out,
)
from checker.records.tokenization.values import BinTable, bin_table, load_bins
from checker.records.tokenization.vocabulary import Vocabulary
from checker.targets.channels import ChannelRule
from checker.yaml import KeyPath

UNKNOWN_LIMIT: Final = 0.05
"""Largest share of events, or of one prefix field's tokens, that the vocabulary may lack."""

_EVENTS_AT_ONCE: Final = 1 << 20
"""What is held beside records and tokens: some hundred bytes for each of so many events."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of some of the patients beside their events.

    Args:
        picked: by static field, [patients] int32, index of the patient's code, or -1.
        first_age, last_age: [patients] int64, completed years, or -1.
        coverage: what the vocabulary could not say.
    """

    picked: dict[str, NDArray[np.int32]]
    first_age: NDArray[np.int64]
    last_age: NDArray[np.int64]
    coverage: Coverage

    @classmethod
    def joined(cls, parts: Sequence[_Facts]) -> _Facts:
        """Put consecutive patients together."""
        return cls(
            {name: np.concatenate([p.picked[name] for p in parts]) for name in parts[0].picked},
            np.concatenate([part.first_age for part in parts]),
            np.concatenate([part.last_age for part in parts]),
            sum((part.coverage for part in parts), Coverage(0, 0, {})),
        )


class Tokenizer:
    """Turns patients into the model's tokens, all at once.

    Args:
        spec: the target's `tokenization`.
        vocabulary: the model's tokens.
        base: the folder that paths in `spec` are relative to.

    Raises:
        DataError: the rules name tokens that the vocabulary lacks, or contradict each other.
    """

    def __init__(self, spec: TokenizationSpec, *, vocabulary: Vocabulary, base: Path) -> None:
        self.spec = spec
        self.vocabulary = vocabulary
        specials = spec.specials
        self._bos = tuple(self._required(token, "specials.bos") for token in specials.leading)
        self._eos = self._known(specials.eos, "specials.eos")
        self._unk = self._known(specials.unk, "specials.unk")
        self._known(specials.pad, "specials.pad")
        self._time_upper_us = upper_limits_us(spec.time)
        self._time_tokens = np.array(
            [self._known(bin.token, "time") for bin in spec.time], dtype=np.int32
        )
        self._static = {
            name: entry if isinstance(entry, StaticField) else StaticField(codes=entry)
            for name, entry in spec.static.items()
        }
        declared = (("age",) if spec.age else ()) + tuple(self._static)
        self._order = ordered_prefix(spec.prefix_order, declared)
        self._check_age()
        self._edges, self._bin_tokens = self._read_bins(base)
        self._value_tokens = self._separate_value_tokens()
        self._age_shift = 0
        self._strict = True
        self._read_last: Dictionary | None = None

    @property
    def sha256(self) -> str:
        """Digest of everything that decides which tokens a record becomes."""
        return digest(
            {
                "spec": spec_of(self.spec),
                "vocabulary": self.vocabulary.sha256,
                "edges": {code: edges.tolist() for code, edges in self._edges.items()},
                **({} if self._bin_tokens is None else {"binTokens": dict(self._bin_tokens)}),
            }
        )

    @property
    def retells_gaps(self) -> bool:
        """Whether the trainer told the time across an event that he left out in one gap, not two.

        It decides what becomes of the time tokens around codes that leave a prompt.
        """
        return self.spec.gaps != "all"

    @property
    def tells_gaps(self) -> bool:
        """Whether a gap of any length has a token, or has none on purpose (`gap_tokens`)."""
        return True

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the prefix fields, in their order; `TokenizedRecords.field` indexes them."""
        return self._order

    @property
    def time_gaps_days(self) -> list[tuple[int, float, float | None]]:
        """Each time token's id, and the gaps it stands for: beyond, and up to (None: no end)."""
        upper = [limit / DAY_US for limit in self._time_upper_us.tolist()]
        bins = zip(self._time_tokens.tolist(), [0.0, *upper], [*upper, None], strict=False)
        return [one for one in bins if one[0] != ABSENT]

    def gap_tokens(self, days: NDArray[np.floating]) -> NDArray[np.int32]:
        """Return the token that stands between two events so many days apart: [k] > 0 to ids.

        It is -1 where none does.
        """
        return self._gap_tokens(np.rint(days.astype(np.float64) * DAY_US).astype(np.int64))

    def variant(
        self,
        *,
        prefix_order: Sequence[str] | None = None,
        age_shift: int = 0,
    ) -> Tokenizer:
        """Return a tokenizer that deviates from the declared format, to see that it fits worse.

        It never refuses data for what its vocabulary lacks.

        Args:
            prefix_order: another order of the same fields.
            age_shift: years added to the age that the token tells.
        """
        other = copy.copy(self)
        if prefix_order is not None:
            other._order = ordered_prefix(list(prefix_order), self._order)
        other._age_shift = self._age_shift + age_shift
        other._strict = False
        return other

    @cached_property
    def ages(self) -> Mapping[int, int]:
        """Completed years by the token that tells them; none where no age is declared."""
        if self.spec.age is None:
            return {}
        before, _, after = self.spec.age.partition("{years}")
        matches = self._age_pattern(self.spec.age).fullmatch
        return {
            number: int(token.removeprefix(before).removesuffix(after))
            for token, number in self.vocabulary.ids.items()
            if matches(token)
        }

    @cached_property
    def _channels(self) -> Channels:
        return Channels(self.spec.channels, vocabulary=self.vocabulary, gaps=self.time_gaps_days)

    @property
    def channels(self) -> tuple[ChannelRule, ...]:
        """What the model is told beside token ids, and how each goes on; none as a rule."""
        return self._channels.rules

    # --- tokens as codes ------------------------------------------------------------------------

    def token_code(self, token_id: int) -> str | None:
        """Return the code that a token stands for, its value bin left out, or None."""
        known = 0 <= token_id < len(self._token_codes)
        return self._token_codes[token_id] if known else None

    @property
    def makes_records(self) -> bool:
        """Whether records of anybody can be made, also of patients who are made up."""
        return True

    @property
    def told_codes(self) -> Mapping[int, frozenset[str]]:
        """By token, the codes that it is a part of; none by rules, where a code is one token."""
        return {}

    def vocabulary_codes(self) -> list[str | None]:
        """Return `token_code` of every id from 0 to the largest."""
        return list(self._token_codes)

    @cached_property
    def named_tokens(self) -> Mapping[int, KeyPath]:
        """By token that the rules give a meaning of its own, where in `tokenization` they do."""
        specials = self.spec.specials
        spelled: list[tuple[KeyPath, str | None]] = [
            *((("specials", "bos"), token) for token in specials.leading),
            (("specials", "eos"), specials.eos),
            (("specials", "pad"), specials.pad),
            (("specials", "unk"), specials.unk),
            *((("time", i, "token"), bin.token) for i, bin in enumerate(self.spec.time)),
        ]
        ids = self.vocabulary.ids
        named = {ids[token]: path for path, token in reversed(spelled) if token is not None}
        named |= dict.fromkeys(self._value_tokens.tolist(), ("values", "token"))
        return named | dict.fromkeys(self.ages, ("age",))

    @cached_property
    def inner_tokens(self) -> frozenset[int]:
        """Tokens by which the rules tell gaps, values and ages: they stand inside records."""
        return frozenset((*self._time_tokens.tolist(), *self._value_tokens.tolist(), *self.ages))

    @cached_property
    def _token_codes(self) -> list[str | None]:
        codes = self.vocabulary.tokens
        for number in self.named_tokens:
            codes[number] = None
        if self._spells_code:
            for code, edges in self._edges.items():
                table = self._bin_table([code], {code: edges})
                for token in table.spelling:
                    if token is not None and token in self.vocabulary.ids:
                        codes[self.vocabulary.ids[token]] = code
        return codes

    # --- codes as tokens ------------------------------------------------------------------------

    def encode(
        self, records: Records, codes: Sequence[str], *, partial: bool = False
    ) -> TokenizedRecords:
        """Tokenize patients.

        Args:
            records: the patients; `records.code` indexes `codes`.
            codes: the cohort's dictionary.
            partial: these are a few of the patients, so the share of unknown events says nothing
                and is not checked.

        Returns:
            Tokens in the order of the records, whole sequences.

        Raises:
            DataError: more than UNKNOWN_LIMIT of the events, or of a prefix field, have no token;
                or a static field matches no code.
        """
        dictionary = self._dictionary(codes)
        parts = [self._part(part, dictionary) for part in records.in_parts(_EVENTS_AT_ONCE)]
        facts = _Facts.joined([own for _, own in parts])
        if self._strict and not partial:
            self._check(facts, dictionary)
        columns = join([columns for columns, _ in parts])
        if self._strict:
            self._channels.check_varied(columns["tokens"], patients=len(records))
            self._channels.check_steps(columns["tokens"], columns["offsets"])
        return TokenizedRecords(
            **columns,
            age_years=facts.last_age.astype(np.float32),
            static_values=self._static_values(facts, codes),
            coverage=facts.coverage,
        )

    def survey(self, records: Records, codes: Sequence[str], *, partial: bool = False) -> Survey:
        """Look at patients as `encode` would make tokens of them, and make none.

        Args:
            records: the patients; `records.code` indexes `codes`.
            codes: the cohort's dictionary.
            partial: as in `encode`.

        Raises:
            DataError: as `encode`.
        """
        dictionary = self._dictionary(codes)
        used = np.zeros(max(self.vocabulary.ids.values(), default=-1) + 1, dtype=np.bool_)
        events, counts, parts = [], [], []
        for part in records.in_parts(_EVENTS_AT_ONCE):
            stream, facts = self._read(part, dictionary)
            for token in (stream.token, stream.value_token):
                used[token[token >= 0]] = True
            dated = stream.is_dated
            events.append(stream.code[dated])
            counts.append(np.bincount(stream.row[dated], minlength=len(part)))
            parts.append(facts)
        facts = _Facts.joined(parts)
        if self._strict and not partial:
            self._check(facts, dictionary)
        for field in self._prefix(facts, dictionary):
            used[field.token[field.token >= 0]] = True
        return Survey(
            event_code=np.concatenate(events),
            event_offsets=np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64),
            age_years=facts.last_age.astype(np.float32),
            static_values=self._static_values(facts, codes),
            used=used,
            coverage=facts.coverage,
        )

    def _check(self, facts: _Facts, dictionary: Dictionary) -> None:
        self._check_coverage(facts.coverage)
        self._check_prefix(self._prefix(facts, dictionary), facts.first_age, dictionary.codes)

    def _static_values(
        self, facts: _Facts, codes: Sequence[str]
    ) -> dict[str, tuple[str | None, ...]]:
        return {
            name: open_parts(self._static[name].codes, own, codes)
            for name, own in facts.picked.items()
        }

    def _read(self, records: Records, dictionary: Dictionary) -> tuple[EventStream, _Facts]:
        """Find out which events of some patients become tokens, and what stands before them."""
        if dictionary.first.any():
            records = _first_at_its_time(records, dictionary.first)
        n = len(records)
        row = np.repeat(np.arange(n, dtype=np.int32), np.diff(records.offsets))
        field = dictionary.field[records.code]
        is_birth = records.code == dictionary.birth
        wanted = (field < 0) & ~is_birth if self.spec.age else field < 0
        if self.spec.undated == "omit":
            wanted &= np.not_equal(records.time_us, STATIC_TIME)
        first_age, last_age = ages(records, row, is_birth=is_birth, lived=(field < 0) & ~is_birth)
        picked = {
            name: pick(row, records.code, mine=field == number, take=entry.take, n=n)
            for number, (name, entry) in enumerate(self._static.items())
        }
        stream, coverage = self._stream(records, row, wanted, dictionary)
        return stream, _Facts(picked, first_age, last_age, coverage)

    def _part(self, records: Records, dictionary: Dictionary) -> tuple[Columns, _Facts]:
        """Tokenize some of the patients."""
        stream, facts = self._read(records, dictionary)
        prefix = self._prefix(facts, dictionary)
        columns, placement = lay_out(
            stream,
            [PrefixField(np.where(f.token == UNKNOWN, self._unk, f.token), f.code) for f in prefix],
            n=len(records),
            bos=self._bos,
            eos=self._eos,
            time_token=self._time_tokens_before(stream),
        )
        if self._channels.rules:
            columns["tokens"] = self._channels.of(
                columns["tokens"],
                columns["offsets"],
                kind=columns["kind"],
                time_us=placement.times(stream, len(columns["kind"])),
                birth_us=births(records, dictionary.birth),
                years_older=self._age_shift,
            )
        return columns, facts

    def _prefix(self, facts: _Facts, dictionary: Dictionary) -> list[PrefixField]:
        years, picked = facts.first_age, facts.picked
        fields = []
        for name in self._order:
            if name == "age":
                fields.append(
                    PrefixField(self._age_tokens(years), np.full_like(years, -1, np.int32))
                )
                continue
            token = dictionary.token[picked[name]]
            token = np.where(token < 0, UNKNOWN, token)
            fields.append(PrefixField(np.where(picked[name] < 0, ABSENT, token), picked[name]))
        return fields

    def _dictionary(self, codes: Sequence[str]) -> Dictionary:
        # a cohort is tokenized a part at a time, and looking up its codes takes longer than a part
        if self._read_last is None or self._read_last.codes is not codes:
            self._read_last = self._look_up(codes)
        return self._read_last

    def _look_up(self, codes: Sequence[str]) -> Dictionary:
        ids = self.vocabulary.ids
        field = np.full(len(codes), -1, dtype=np.int16)
        for number, (name, entry) in enumerate(self._static.items()):
            matches = re.compile(fnmatch.translate(entry.codes)).match
            own = [i for i, code in enumerate(codes) if matches(code)]
            if not own:
                raise DataError(
                    f"static field '{name}': no code of the data set matches '{entry.codes}'"
                    f"{suggestion(entry.codes, codes)}; check tokenization.static"
                )
            if (field[own] >= 0).any():
                both = next(i for i in own if field[i] >= 0)
                raise DataError(
                    f"code '{codes[both]}' belongs to two static fields, '{name}' and"
                    f" '{list(self._static)[field[both]]}'; their globs must not overlap"
                )
            field[own] = number
        bins = bin_tokens = None
        if self.spec.values:
            bins = self._bin_table(codes, self._edges)
            if self._spells_code:
                bin_tokens = np.array(
                    [-1 if t is None else ids.get(t, -1) for t in bins.spelling], dtype=np.int32
                )
        token = np.array([ids.get(code, -1) for code in codes], dtype=np.int32)
        is_known = token >= 0
        if bins is not None and bin_tokens is not None:
            place = np.repeat(np.arange(len(codes)), bins.has_bins * (bins.count + 1))
            is_known = is_known | (np.bincount(place[bin_tokens >= 0], minlength=len(codes)) > 0)
        return Dictionary(
            codes=codes,
            token=token,
            is_known=is_known,
            field=field,
            birth=next((i for i, code in enumerate(codes) if code == meds.birth_code), -1),
            first=_matching(self.spec.same_time_first, codes),
            bins=bins,
            bin_token=bin_tokens,
        )

    def _stream(
        self,
        records: Records,
        row: NDArray[np.int32],
        wanted: NDArray[np.bool_],
        dictionary: Dictionary,
    ) -> tuple[EventStream, Coverage]:
        """Give each event its token, count the unknown ones, and keep those that have one."""
        token = dictionary.token[records.code]
        value_token = np.full(len(token), ABSENT, dtype=np.int32)
        slot = np.full(len(token), -1, dtype=np.int64) if dictionary.bin_token is not None else None
        if dictionary.bins is not None:
            bins = dictionary.bins
            at = np.flatnonzero(bins.has_bins[records.code] & ~np.isnan(records.value) & wanted)
            number = bins.bins(records.code[at], records.value[at])
            if slot is not None and dictionary.bin_token is not None:
                slot[at] = bins.slot[records.code[at]] + number - 1
                token[at] = dictionary.bin_token[slot[at]]
            else:
                value_token[at] = self._value_tokens[number - 1]
        unknown = wanted & (token < 0)
        coverage = Coverage(
            events=int(wanted.sum()),
            unknown=int(unknown.sum()),
            counts=dict(unknown_counts(records.code, slot, unknown, dictionary)),
        )
        if self._unk >= 0:
            token[unknown] = self._unk
        elif self.spec.gaps != "kept":
            token[unknown] = ABSENT  # the time goes on there
            told = np.not_equal(records.time_us, STATIC_TIME)
            if self.spec.gaps == "codes":
                told &= (dictionary.is_known | dictionary.first)[records.code]
            wanted &= ~unknown | told
        else:
            wanted = wanted & ~unknown
        kept = np.flatnonzero(wanted)
        stream = EventStream(
            row[kept], records.code[kept], token[kept], value_token[kept], records.time_us[kept]
        )
        return stream, coverage

    def _time_tokens_before(self, stream: EventStream) -> NDArray[np.int32]:
        """Return [k] int32: the token of the gap before each event, or ABSENT."""
        tokens = np.full(len(stream.row), ABSENT, dtype=np.int32)
        if len(self._time_tokens):
            later = stream.later()
            gap_us = stream.time_us[later] - stream.time_us[later - 1]
            tokens[later] = self._gap_tokens(gap_us)
        return tokens

    def _gap_tokens(self, gap_us: NDArray[np.int64]) -> NDArray[np.int32]:
        if not len(self._time_tokens):
            return np.full(len(gap_us), ABSENT, dtype=np.int32)
        tokens: NDArray[np.int32] = self._time_tokens[np.searchsorted(self._time_upper_us, gap_us)]
        return tokens

    def _age_tokens(self, years: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the tokens of ages."""
        template = self.spec.age or ""
        distinct, which = np.unique(years, return_inverse=True)
        tokens = [
            ABSENT
            if age < 0
            else self.vocabulary.ids.get(
                template.replace("{years}", str(age + self._age_shift)), UNKNOWN
            )
            for age in distinct.tolist()
        ]
        return np.array(tokens, dtype=np.int32)[which]

    # --- checks ---------------------------------------------------------------------------------

    def _known(self, token: str | None, where: str) -> int:
        return -1 if token is None else self._required(token, where)

    def _required(self, token: str, where: str) -> int:
        try:
            return self.vocabulary.ids[token]
        except KeyError:
            raise DataError(
                f"tokenization.{where}: the vocabulary has no token '{token}'"
                f"{suggestion(token, self.vocabulary.ids)}",
                file=self.vocabulary.file,
            ) from None

    @staticmethod
    def _age_pattern(template: str) -> re.Pattern[str]:
        before, _, after = template.partition("{years}")
        return re.compile(rf"{re.escape(before)}\d+{re.escape(after)}")

    def _check_age(self) -> None:
        template = self.spec.age
        if template is None:
            return
        if template.count("{years}") != 1:
            raise DataError(f"tokenization.age: '{template}' must hold {{years}} once")
        if not any(map(self._age_pattern(template).fullmatch, self.vocabulary.ids)):
            near = suggestion(template.replace("{years}", "50"), self.vocabulary.ids)
            raise DataError(
                f"tokenization.age: the vocabulary has no token like '{template}'{near}",
                file=self.vocabulary.file,
            )

    def _read_bins(
        self, base: Path
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, tuple[str | None, ...]] | None]:
        """Return the edges of value bins by code, and their tokens where the file spells them."""
        values = self.spec.values
        if values is None:
            return {}, None
        edges, tokens = load_bins(base / values.bins)
        if tokens is not None and values.token != type(values).model_fields["token"].default:
            raise DataError(
                "spells the token of each bin in a column 'tokens', and tokenization.values.token"
                " says how they are spelled too; remove one of them",
                file=base / values.bins,
            )
        return edges, tokens

    @property
    def _spells_code(self) -> bool:
        """Whether a bin's token tells its code too, and so replaces the code's own."""
        return self._bin_tokens is not None or (
            self.spec.values is not None and "{code}" in self.spec.values.token
        )

    def _bin_table(
        self, codes: Sequence[str], edges: Mapping[str, NDArray[np.float32]]
    ) -> BinTable:
        assert self.spec.values is not None  # asked only where there are bins
        return bin_table(codes, edges, template=self.spec.values.token, spelled=self._bin_tokens)

    def _separate_value_tokens(self) -> NDArray[np.int32]:
        """Return the ids of tokens that tell a bin without its code."""
        values = self.spec.values
        if values is None or self._bin_tokens is not None:
            return np.empty(0, dtype=np.int32)
        if values.token.count("{bin}") != 1:
            raise DataError(f"tokenization.values.token: '{values.token}' must hold {{bin}} once")
        if "{code}" in values.token:
            return np.empty(0, dtype=np.int32)
        most = max((len(edges) for edges in self._edges.values()), default=0) + 1
        spelled = [values.token.replace("{bin}", str(number + 1)) for number in range(most)]
        return np.array([self._required(t, "values.token") for t in spelled], dtype=np.int32)

    def _check_coverage(self, coverage: Coverage) -> None:
        if coverage.unknown_share <= UNKNOWN_LIMIT:
            return
        commonest = ", ".join(f"'{name}' ({count})" for name, count in coverage.commonest)
        raise DataError(
            f"the vocabulary lacks {coverage.unknown_share:.1%} of the {coverage.events} events,"
            f" and beyond {UNKNOWN_LIMIT:.0%} an audit says nothing; commonest: {commonest}."
            " Check that the vocabulary belongs to this data set's codes, and tokenization.values",
            file=self.vocabulary.file,
        )

    def _check_prefix(
        self, prefix: Sequence[PrefixField], years: NDArray[np.int64], codes: Sequence[str]
    ) -> None:
        for name, field in zip(self._order, prefix, strict=True):
            unknown = field.token == UNKNOWN
            share = unknown.sum() / max((field.token != ABSENT).sum(), 1)
            if share <= UNKNOWN_LIMIT:
                continue
            first = int(np.flatnonzero(unknown)[0])
            if name == "age":
                example = (self.spec.age or "").replace("{years}", str(years[first]))
            else:
                example = codes[field.code[first]]
            raise DataError(
                f"the vocabulary lacks the token of '{name}' (such as '{example}') for {share:.1%}"
                f" of the patients{suggestion(example, self.vocabulary.ids)}; check"
                f" tokenization.{'age' if name == 'age' else 'static'}",
                file=self.vocabulary.file,
            )


def spec_of(spec: TokenizationSpec, *left_out: str) -> dict[str, Any]:
    """Return what a digest is made of: rules that a target does not have leave no trace."""
    exclude = {*left_out, *(() if spec.channels else ("channels",))}
    return spec.model_dump(mode="json", exclude=exclude)


def _matching(globs: Sequence[str], codes: Sequence[str]) -> NDArray[np.bool_]:
    """Return which codes one of the globs matches: [codes] bool."""
    found = np.zeros(len(codes), dtype=np.bool_)
    for glob in globs:
        matches = re.compile(fnmatch.translate(glob)).match
        found |= np.array([matches(code) is not None for code in codes], dtype=np.bool_)
    return found


def _first_at_its_time(records: Records, first: NDArray[np.bool_]) -> Records:
    """Return patients whose events of some codes stand before the others of the same time.

    Args:
        records: sorted by time.
        first: [codes] bool.
    """
    row = np.repeat(np.arange(len(records)), np.diff(records.offsets))
    order = np.lexsort((~first[records.code], records.time_us, row))
    return replace(
        records,
        code=records.code[order],
        time_us=records.time_us[order],
        value=records.value[order],
    )
