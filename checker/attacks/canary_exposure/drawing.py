"""Drawing canaries: records that no patient has, of events that each could have.

Each event is one that the data set has seen: a code drawn evenly over all dated codes, with a value
that some patient had for it; so each has a token, but codes stand together that never do. Gaps
between events, the first date, the age and each static fact are drawn from different patients, so
no patient's history, dates or facts stand in a canary.

Such a record is an outlier from its first event on, and whoever filters outliers before training
takes it out unseen; nor does a model keep of it what it would of a patient. So some canaries are
*natural*: their first and last third go from code to code as patients do, each step one that two of
them took, and only the third between is drawn evenly, which nobody could guess (arXiv 2502.14921).
Nor do they go `TOO_FAR` steps in a row, or further, as one patient did and no other.

What the tokenization cannot say whole is drawn again, before any coin is thrown, so that included
and left-out canaries stay exchangeable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import meds
import numpy as np
from numpy.typing import NDArray

from checker.attacks.canary_exposure.manifest import Beacon, Canary, CanaryEvents, CanarySettings
from checker.attacks.canary_exposure.manifest import coin as throw
from checker.errors import DataError
from checker.records.cohort import Cohort
from checker.records.tokenization import (
    KIND_EVENT,
    STATIC_TIME,
    Records,
    TokenizedRecord,
    Tokenizer,
)

DONORS: Final = 2_500
"""Most patients of each split whose codes, values, gaps, ages and static facts are drawn from."""

VALUES: Final = 64
"""Most different values of one code that are kept to draw from."""

ROUNDS: Final = 20
"""How often as many candidates as are still missing are drawn before giving up."""

TOO_FAR: Final = 3
"""Steps of a walk that could be known for one patient's, if nobody else took them in a row."""

STARTS: Final = 1_000
"""How often a walk is begun anew before giving up."""

_DAY_US: Final = 86_400_000_000
_SECOND_US: Final = 1_000_000

Ints = NDArray[np.int64]


def draw_canaries(
    cohort: Cohort, tokenizer: Tokenizer, *, settings: CanarySettings, first_subject: int
) -> tuple[tuple[Canary, ...], tuple[Beacon, ...]]:
    """Draw records, throw their coins, and number them by lot.

    Args:
        cohort: where codes, values, gaps and facts come from.
        tokenizer: the target's; each event has a token in it.
        settings: how many, and the seed. Equal arguments give equal canaries.
        first_subject: subject ids run on from here, in no order that tells anything.

    Returns:
        All canaries, included or not, and the beacons.

    Raises:
        DataError: the data set lacks what canaries are made of, or they exceed `maxLength`.
    """
    rng = np.random.default_rng([settings.seed, 0xCA9A])
    stock = _Stock.of(cohort, tokenizer, rng=rng)
    records, natural = _both_kinds(stock, cohort, tokenizer, settings=settings, rng=rng)
    ids = (first_subject + rng.permutation(subjects_needed(settings))).tolist()
    canaries = tuple(
        Canary(
            subject_id=subject,
            included=throw(record, seed=settings.seed),
            record=record,
            natural=is_natural,
        )
        for subject, record, is_natural in zip(
            ids[: settings.count], records, natural, strict=False
        )
    )
    copies = np.array(ids[settings.count :], dtype=np.int64).reshape(
        settings.beacons, settings.repeats
    )
    beacons = tuple(
        Beacon(subject_ids=tuple(own), record=record, natural=is_natural)
        for own, record, is_natural in zip(
            copies.tolist(), records[settings.count :], natural[settings.count :], strict=True
        )
    )
    return canaries, beacons


def subjects_needed(settings: CanarySettings) -> int:
    """Return how many subject ids are given out, to included and left-out canaries alike."""
    return settings.count + settings.beacons * settings.repeats


# --- what canaries consist of -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stock:
    """What the data set's patients have, torn into pieces that are drawn one by one.

    Args:
        codes: [k] int32, dated codes that have a token, as places in the cohort's dictionary.
        values: of each of them, values it was seen with that have a token; NaN for none.
        first_us: [donors] int64, time of a patient's first event.
        last_us: time of the last event of all.
        longest_us: longest time from a patient's first to the last event.
        gaps_us: [gaps] int64, between two events of one patient that follow each other.
        ages_us: [donors with a birth] int64, from birth to the first event; empty where a birth
            would not become part of the record.
        facts: for each static field, the patients' codes that have a token.
        dated_facts: codes of static fields that stand in the data with a time.
        tokens_before: prefix fields that each canary has.
        events_before: tokens of its own that the birth becomes, 0 or 1.
        unknown: id of the token for what the vocabulary lacks, or -1.
        steps: from codes to those that follow them in two patients or more.
    """

    codes: NDArray[np.int32]
    values: list[NDArray[np.float32]]
    first_us: Ints
    last_us: int
    longest_us: int
    gaps_us: Ints
    ages_us: Ints
    facts: list[NDArray[np.int32]]
    dated_facts: frozenset[int]
    tokens_before: int
    events_before: int
    unknown: int
    steps: Steps

    @classmethod
    def of(cls, cohort: Cohort, tokenizer: Tokenizer, *, rng: np.random.Generator) -> _Stock:
        """Tear the patients of both splits, or as many as are enough, into pieces."""
        donors = _donors(cohort, rng=rng)
        row = np.repeat(np.arange(len(donors)), np.diff(donors.offsets))
        dated = donors.time_us != STATIC_TIME
        birth = cohort.codes.index(meds.birth_code) if meds.birth_code in cohort.codes else -1
        facts = _facts(donors, cohort.codes, tokenizer)
        fixed = [i for i, code in enumerate(cohort.codes) if code.startswith(meds.death_code)]
        lived = dated & ~np.isin(donors.code, [birth, *fixed])
        codes, values = _spoken(donors, lived, cohort.codes, tokenizer, rng=rng)
        if len(codes) < 2:
            raise DataError(
                f"data set '{cohort.name}' has fewer than two dated codes that the vocabulary"
                " knows; no canary can be made of it. Check tokenization.vocabulary"
            )
        at = np.flatnonzero(lived)
        time_us, who = donors.time_us[at], row[at]
        starts = np.flatnonzero(np.append(True, who[1:] != who[:-1]))
        ends = np.append(starts[1:], len(who)) - 1
        follows = who[1:] == who[:-1]
        ages_us = _ages_us(donors, row, birth, who[starts], time_us[starts])
        if not _birth_speaks(tokenizer):
            ages_us = ages_us[:0]
        return cls(
            codes=codes,
            values=values,
            first_us=time_us[starts],
            last_us=int(time_us.max()),
            longest_us=int((time_us[ends] - time_us[starts]).max()),
            gaps_us=np.append(np.diff(time_us)[follows], 0),
            ages_us=ages_us,
            facts=[own for own in facts if len(own)],
            dated_facts=frozenset(donors.code[dated].tolist()),
            tokens_before=sum(len(own) > 0 for own in facts)
            + (tokenizer.spec.age is not None and len(ages_us) > 0),
            events_before=int(tokenizer.spec.age is None and len(ages_us) > 0),
            unknown=_unknown_id(tokenizer),
            steps=Steps.of(codes, donors.code[at], who),
        )

    def draw(
        self, codes: Sequence[str], *, events: int, natural: bool, rng: np.random.Generator
    ) -> CanaryEvents:
        """Draw one record: facts without a time, the birth, facts with a time, events."""
        gaps_us = rng.choice(self.gaps_us, size=events - 1)
        if (span_us := int(gaps_us.sum())) > self.longest_us:
            gaps_us = gaps_us * (self.longest_us / span_us) // _SECOND_US * _SECOND_US
        since_us = np.concatenate([[0], np.cumsum(gaps_us)]).astype(np.int64)
        start = min(int(rng.choice(self.first_us)), self.last_us - int(since_us[-1]))
        facts = [int(rng.choice(own)) for own in self.facts]
        names = [codes[i] for i in facts if i not in self.dated_facts]
        times: list[int | None] = [None] * len(names)
        if len(self.ages_us):
            born = start - int(rng.choice(self.ages_us))
            names.append(meds.birth_code)
            times.append(born - born % _DAY_US)
        dated = [codes[i] for i in facts if i in self.dated_facts]
        which = rng.integers(len(self.codes), size=events)
        if natural:
            walked = events // 3
            which[:walked], which[events - walked :] = (
                self.steps.walk(walked, rng=rng) for _ in range(2)
            )
        values: list[float | None] = [None] * (len(names) + len(dated))
        for i in which.tolist():
            value = float(rng.choice(self.values[i]))
            values.append(None if np.isnan(value) else value)
        names += dated + [codes[i] for i in self.codes[which].tolist()]
        times += [start] * len(dated) + (start + since_us).tolist()
        return CanaryEvents(codes=tuple(names), times_us=tuple(times), values=tuple(values))

    def is_whole(self, sequence: TokenizedRecord, *, events: int) -> bool:
        """Whether every event and fact of a drawn record has a token, and that is no [UNK]."""
        told = len(np.unique(sequence.event[sequence.kind == KIND_EVENT]))
        return bool(
            told == events + self.events_before
            and (sequence.field >= 0).sum() == self.tokens_before
            and not (sequence.tokens == self.unknown).any()
        )


@dataclass(frozen=True, slots=True)
class Steps:
    """From which code to which patients go on, where at least two of them do.

    Args:
        first: [s] int64, places in the stock's codes, ascending.
        then: [s] int64, where each step leads.
        patients: [s] int64, how many take it.
        told: [e] int64, what all patients have in order, as places; -1 for what is none of them.
        who: [e] int64, whose each is.
        where: by place, where in `told` it stands, ascending.
    """

    first: Ints
    then: Ints
    patients: Ints
    told: Ints
    who: Ints
    where: list[Ints]

    @classmethod
    def of(cls, codes: NDArray[np.int32], told: NDArray[np.int32], who: Ints) -> Steps:
        """Count the steps of patients: `told` are their codes in order, `who` has each."""
        place = np.searchsorted(codes, told)
        known = codes[np.minimum(place, len(codes) - 1)] == told
        follows = (who[1:] == who[:-1]) & known[1:] & known[:-1] & (place[1:] != place[:-1])
        taken = np.stack([place[:-1][follows], place[1:][follows], who[1:][follows]], axis=1)
        once = np.unique(taken, axis=0)[:, :2]
        steps, patients = np.unique(once, axis=0, return_counts=True)
        shared = patients > 1  # a step that one patient took could be recognised
        place = np.where(known, place, -1)
        order = np.argsort(place, kind="stable")
        starts = np.searchsorted(place[order], np.arange(len(codes)))
        return cls(
            first=steps[shared, 0],
            then=steps[shared, 1],
            patients=patients[shared].astype(np.int64),
            told=place,
            who=who,
            where=np.split(order, starts)[1:],
        )

    def walk(self, events: int, *, rng: np.random.Generator) -> Ints:
        """Return so many codes, as places in the stock's; begun anew where no step leads on.

        Raises:
            DataError: wherever it goes, it goes as one patient alone did.
        """
        found: list[int] = []
        runs: list[Ints] = []  # by where a run of the walk begins, where patients are in it
        for _ in range(STARTS):
            while len(found) < events and (step := self._next(found, runs, rng=rng)) is not None:
                runs = self._followed(runs, step)
                found.append(step)
            if len(found) >= events:
                return np.array(found[:events], dtype=np.int64)
            begun = int(rng.choice(self.first, p=self.patients / self.patients.sum()))
            ahead = self._followed(runs, begun)
            if begun not in found[-1:] and not self._is_of_one(ahead):
                runs = ahead
                found.append(begun)
        raise DataError(
            f"too few patients take the same steps: each walk of {events} codes goes as one of them"
            " alone did; ask for fewer events, or for no natural canary"
        )

    def _next(self, found: list[int], runs: list[Ints], *, rng: np.random.Generator) -> int | None:
        """Draw where patients go from the last code, by how many do; None where that is too far."""
        if not found:
            return None
        begin, end = np.searchsorted(self.first, [found[-1], found[-1] + 1]).tolist()
        weight = self.patients[begin:end].copy()
        while weight.any():
            ends = np.cumsum(weight)
            at = int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))
            if not self._is_of_one(self._followed(runs, int(self.then[begin + at]))):
                return int(self.then[begin + at])
            weight[at] = 0
        return None

    def _followed(self, runs: list[Ints], code: int) -> list[Ints]:
        """Return where patients are who went on to a code, run by run, and where one begins."""
        goes_on = []
        for at in runs:
            ahead = at[at + 1 < len(self.told)] + 1
            is_same = (self.told[ahead] == code) & (self.who[ahead] == self.who[ahead - 1])
            goes_on.append(ahead[is_same])
        return [*goes_on, self.where[code]]

    def _is_of_one(self, runs: list[Ints]) -> bool:
        """Whether one patient alone went `TOO_FAR` steps or more as a run does that ends here."""
        long = runs[: max(0, len(runs) - TOO_FAR)]
        return any(len(at) and self.who[at[0]] == self.who[at[-1]] for at in long)


def _donors(cohort: Cohort, *, rng: np.random.Generator) -> Records:
    """Return patients of both splits, at most DONORS of each."""
    parts = []
    for split in (cohort.members, cohort.nonmembers):
        chosen = rng.permutation(len(split))[:DONORS]
        parts.append(split.select(np.sort(chosen)))
    one, other = parts
    return Records(
        subject_id=np.concatenate([one.subject_id, other.subject_id]),
        offsets=np.concatenate([one.offsets, one.offsets[-1] + other.offsets[1:]]),
        code=np.concatenate([one.code, other.code]),
        time_us=np.concatenate([one.time_us, other.time_us]),
        value=np.concatenate([one.value, other.value]),
    )


def _facts(donors: Records, codes: Sequence[str], tokenizer: Tokenizer) -> list[NDArray[np.int32]]:
    """Return for each static field the donors' codes that have a token.

    Raises:
        DataError: the vocabulary does not belong to these patients.
    """
    encoded = tokenizer.encode(donors, codes)
    told = (encoded.field >= 0) & (encoded.code >= 0)
    told &= encoded.tokens != _unknown_id(tokenizer)
    return [
        encoded.code[told & (encoded.field == number)]
        for number, name in enumerate(tokenizer.field_names)
        if name in tokenizer.spec.static
    ]


def _spoken(
    donors: Records,
    lived: NDArray[np.bool_],
    codes: Sequence[str],
    tokenizer: Tokenizer,
    *,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int32], list[NDArray[np.float32]]]:
    """Return the codes whose events have tokens, with values each was seen with."""
    at = rng.permutation(np.flatnonzero(lived))
    pairs = np.stack([donors.code[at], donors.value[at].view(np.int32)], axis=1)
    _, first = np.unique(pairs, axis=0, return_index=True)
    at = at[np.sort(first)]
    at = at[np.argsort(donors.code[at], kind="stable")]
    code = donors.code[at]
    rank = np.arange(len(at)) - np.searchsorted(code, code)
    at = at[rank < VALUES]
    singles = Records(  # a patient of one event each says which events have a token
        subject_id=np.arange(len(at), dtype=np.int64),
        offsets=np.arange(len(at) + 1, dtype=np.int64),
        code=donors.code[at],
        time_us=donors.time_us[at],
        value=donors.value[at],
    )
    encoded = tokenizer.encode(singles, codes, partial=True)
    owner = np.repeat(np.arange(len(at)), np.diff(encoded.offsets))
    events = encoded.kind == KIND_EVENT
    spoken = np.zeros(len(at), dtype=np.bool_)
    spoken[owner[events]] = True
    spoken[owner[events & (encoded.tokens == _unknown_id(tokenizer))]] = False
    code, value = donors.code[at][spoken], donors.value[at][spoken]
    kept, starts = np.unique(code, return_index=True)
    return kept, np.split(value, starts[1:])


def _ages_us(donors: Records, row: Ints, birth: int, who: Ints, first_us: Ints) -> Ints:
    """Return the time from birth to the first event of each donor whose birth is known."""
    born_us = np.full(len(donors), STATIC_TIME, dtype=np.int64)
    births = np.flatnonzero((donors.code == birth) & (donors.time_us != STATIC_TIME))[::-1]
    born_us[row[births]] = donors.time_us[births]  # the first birth is assigned last and stays
    known = (born_us[who] != STATIC_TIME) & (born_us[who] <= first_us)
    ages: Ints = first_us[known] - born_us[who][known]
    return ages


def _birth_speaks(tokenizer: Tokenizer) -> bool:
    """Whether a birth becomes part of a record: as an age, or as an event with a token."""
    return tokenizer.spec.age is not None or meds.birth_code in tokenizer.vocabulary.ids


def _unknown_id(tokenizer: Tokenizer) -> int:
    unknown = tokenizer.spec.specials.unk
    return -1 if unknown is None else tokenizer.vocabulary.ids[unknown]


# --- drawing ------------------------------------------------------------------------------------


def _both_kinds(
    stock: _Stock,
    cohort: Cohort,
    tokenizer: Tokenizer,
    *,
    settings: CanarySettings,
    rng: np.random.Generator,
) -> tuple[list[CanaryEvents], list[bool]]:
    """Draw canaries and then beacons, those that are natural by lot, and say which are."""
    alike = [round(settings.natural * count) for count in (settings.count, settings.beacons)]
    if 0 < alike[0] < settings.count and settings.beacons:
        # what a model keeps of one kind says nothing of the other, so each has a beacon
        if settings.beacons == 1:
            raise DataError(
                "canaries of two kinds need a beacon each: ask for two or more, or for canaries of"
                " one kind (natural 0 or 1)"
            )
        alike[1] = min(max(alike[1], 1), settings.beacons - 1)
    if sum(alike) and not len(stock.steps.first):
        raise DataError(
            "no step from one code to the next is taken by two patients, so that no canary can"
            " begin like them; ask for none that is natural"
        )
    natural = np.zeros(settings.count + settings.beacons, dtype=np.bool_)
    for start, size, some in zip(
        (0, settings.count), (settings.count, settings.beacons), alike, strict=True
    ):
        if some:
            natural[start + rng.permutation(size)[:some]] = True
    kept: dict[bytes, CanaryEvents] = {}
    records: list[CanaryEvents | None] = [None] * len(natural)
    for kind in (False, True):
        at = np.flatnonzero(natural == kind).tolist()
        drawn = _well_formed(
            stock, cohort, tokenizer, settings=settings, wanted=len(at), natural=kind, rng=rng,
            kept=kept,
        )  # fmt: skip
        for place, record in zip(at, drawn, strict=True):
            records[place] = record
    return [record for record in records if record is not None], natural.tolist()


def _well_formed(
    stock: _Stock,
    cohort: Cohort,
    tokenizer: Tokenizer,
    *,
    settings: CanarySettings,
    wanted: int,
    natural: bool,
    rng: np.random.Generator,
    kept: dict[bytes, CanaryEvents],
) -> list[CanaryEvents]:
    """Draw until as many records as are wanted have a token for everything and none is another."""
    place = {code: i for i, code in enumerate(cohort.codes)}
    limit = tokenizer.spec.max_length
    before = len(kept)
    shortest = np.inf
    for _ in range(ROUNDS if wanted else 0):
        drawn = [
            stock.draw(cohort.codes, events=settings.events, natural=natural, rng=rng)
            for _ in range(wanted - len(kept) + before)
        ]
        encoded = tokenizer.encode(columns_of(drawn, place), cohort.codes, partial=True)
        for i, record in enumerate(drawn):
            sequence = encoded.record(i)
            if not stock.is_whole(sequence, events=settings.events):
                continue
            shortest = min(shortest, len(sequence))
            if limit is None or len(sequence) <= limit:
                kept.setdefault(sequence.tokens.tobytes(), record)
        if len(kept) == before + wanted:
            break
    if len(kept) == before + wanted:
        return list(kept.values())[before:]
    if limit is not None and limit < shortest < np.inf:
        raise DataError(
            f"even the shortest canary of {settings.events} events has {shortest} tokens, but"
            f" tokenization.maxLength is {limit}; ask for fewer events"
        )
    raise DataError(
        f"of {wanted} canaries only {len(kept) - before} that differ and have a token for"
        f" everything could be drawn from {len(stock.codes)} dated codes; ask for fewer of them,"
        " or for longer ones"
    )


def columns_of(records: Sequence[CanaryEvents], place: Mapping[str, int]) -> Records:
    """Return made-up records as columns.

    Args:
        records: of canaries or beacons.
        place: of each code in a dictionary.
    """
    times = [time for record in records for time in record.times_us]
    values = [value for record in records for value in record.values]
    return Records(
        subject_id=np.arange(len(records), dtype=np.int64),
        offsets=np.cumsum([0, *(len(record.codes) for record in records)]).astype(np.int64),
        code=np.array([place[c] for record in records for c in record.codes], dtype=np.int32),
        time_us=np.array([STATIC_TIME if t is None else t for t in times], dtype=np.int64),
        value=np.array([np.nan if v is None else v for v in values], dtype=np.float32),
    )
