"""What anybody would write: n-gram tables of patients whom a model is taken never to have seen.

Continuations that everybody has (a visit's template, a panel of laboratory tests) are no secret,
however surely a model writes them. How likely they are without memory of the patient is said by
tables of which token follows which tokens, fitted on other patients; of a patient who is among
these his own record is left out. What a patient's record has repeated already is no secret either
to whoever is told it: the same tables, with the counts of what stood before in the record itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from checker.records.tokenization import TokenizedRecords

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ORDER: Final = 5
"""Tokens of the longest n-gram: four that came before, and the one that follows."""

SHORT: Final = (1, 2)
"""Orders that are asked beside the longest: of few patients long ones say less than they could."""

MOST_TOKENS: Final = 4_000_000
"""Of the records that tables are fitted on; of more patients a lot is drawn."""

OWN_CONTEXTS: Final = (2, 3)
"""Tokens that must have stood before in the same record for what followed them to be repeated.

One alone would say too much: after a common token anything may follow."""

LEAST_DISCOUNT: Final = 0.1
"""So much is kept for what never followed, where nothing occurs only once."""

_UNKNOWN: Final = -1


@dataclass(frozen=True, slots=True)
class NgramModel:
    """N-gram probabilities by absolute discounting, each order mixed with the one below.

    With c counts, T(h) the distinct tokens seen behind the context h, and D a discount:

        p(w | h) = (max(c(h, w) - D, 0) + D · T(h) · p(w | h')) / c(h),

    h' being h without its first token. Behind what was never seen, or is all that was seen of h',
    p(w | h) is p(w | h'): such a context says nothing new. The lowest order mixes how often tokens
    occur with one chance in V. D is n1 / (n1 + 2 · n2) of each order, with n1 and n2 the n-grams
    that occur once and twice: where long ones hardly ever come again they say next to nothing, and
    what always follows is certain all the same. Witten and Bell's mixture halves the probability of
    a token at each order whose context occurred once, which made members look extractable of a
    model without memory of anybody.

    Args:
        size: V, above every token.
        orders: from one token on, what was counted of each.
        place: [patients] int64, where a patient stands among those whose records were counted, or
            -1 for one whose record was not.

    Reference:
        Ney, Essen & Kneser 1994, Computer Speech & Language 8:1, sections 2 and 3.
    """

    size: int
    orders: tuple[_Order, ...]
    place: Integers

    @classmethod
    def fitted(
        cls,
        records: TokenizedRecords,
        *,
        vocabulary_size: int,
        rng: np.random.Generator,
        most_tokens: int = MOST_TOKENS,
    ) -> NgramModel:
        """Count what follows what in each record; its first token follows nothing.

        Args:
            records: of patients whom the model under audit never saw.
            vocabulary_size: V.
            rng: draws which of them, where they are more than are counted.
            most_tokens: that are counted, at least one record.
        """
        lengths = np.diff(records.offsets)
        drawn = rng.permutation(len(lengths))
        enough = int(np.searchsorted(np.cumsum(lengths[drawn]), most_tokens, side="right"))
        chosen = np.sort(drawn[: max(enough, 1)])
        place = np.full(len(lengths), _UNKNOWN, dtype=np.int64)
        place[chosen] = np.arange(len(chosen))
        text = _Text.of(
            [records.tokens[records.offsets[i] : records.offsets[i + 1]] for i in chosen.tolist()]
        )
        context = np.zeros(len(text.tokens), dtype=np.int64)
        known = np.ones(len(text.tokens), dtype=np.bool_)
        orders = []
        for length in range(1, ORDER + 1):
            counted = known & (text.position >= max(1, length - 1))
            order = _Order.counted(
                context[counted] * vocabulary_size + text.tokens[counted],
                text.row[counted],
                size=vocabulary_size,
            )
            orders.append(order)
            gram = order.find(context * vocabulary_size + text.tokens)
            # the token itself is the context of the next order, whatever came before it
            context, known = text.before(text.tokens if length == 1 else gram)
        return cls(vocabulary_size, tuple(orders), place)

    def told(
        self, sequences: Sequence[NDArray[np.int32]], *, own: Sequence[int | None]
    ) -> list[list[Floats]]:
        """Return log p of each token behind the first, by each table, from one look-up.

        Args:
            sequences: n arrays of two or more ids.
            own: for each sequence whose record it is: the number of a patient whose records were
                counted, whose record is then left out; None for anybody else.

        Returns:
            For each table, and of it for each sequence, [L - 1] float64, nats, finite: n-grams of
            each of the `SHORT` orders, those of all orders, and those of all with what the same
            record has repeated.
        """
        text = _Text.of(sequences)
        orders = self._by_order(text, own)
        found = [*(orders[order - 1] for order in SHORT), orders[-1], _repeated(text, orders[-1])]
        return [text.behind_the_first(np.log(share)) for share in found]

    def _by_order(self, text: _Text, own: Sequence[int | None]) -> list[Floats]:
        """Return p of each token of a text given those before it, its own record left out.

        By n-grams of at most one token, of at most two, and so on.
        """
        rows = [_UNKNOWN if one is None else int(self.place[one]) for one in own]
        whose = np.array(rows, dtype=np.int64)[text.row]
        context = np.zeros(len(text.tokens), dtype=np.int64)
        share = np.full(len(text.tokens), 1 / self.size)
        seen = np.full(len(text.tokens), _UNKNOWN, dtype=np.int64)
        found = []
        for length, order in enumerate(self.orders, start=1):
            asked = np.flatnonzero((context != _UNKNOWN) & (text.position >= max(1, length - 1)))
            key = context[asked] * self.size + text.tokens[asked]
            mixed, often = order.mixed(key, share[asked], whose=whose[asked])
            new = often != seen[asked]
            share[asked[new]], seen[asked] = mixed[new], often
            found.append(share.copy())
            gram = np.full(len(text.tokens), _UNKNOWN, dtype=np.int64)
            gram[asked] = order.find(key)
            context, _ = text.before(text.tokens.astype(np.int64) if length == 1 else gram)
        return found


def _repeated(text: _Text, others: Floats) -> Floats:
    """Mix in what followed the same few tokens earlier in the sequence, as Witten and Bell do.

    In one record nothing can be said of how often things occur once.
    """
    share = others.copy()
    for length in OWN_CONTEXTS:
        context = text.ids_of_last(length)
        at = np.flatnonzero(text.position >= length)
        group = _dense(context[at], text.row[at])
        gram = _dense(group, text.tokens[at])
        followed, same = _earlier(group), _earlier(gram)
        kinds = _earlier_total(group, same == 0)
        seen = followed > 0
        mixed = (same + kinds * share[at]) / np.where(seen, followed + kinds, 1)
        share[at] = np.where(seen, mixed, share[at])
    return share


@dataclass(frozen=True, slots=True)
class _Order:
    """Counts of n-grams of one length, each a context's number · V + token.

    Args:
        size: V.
        discount: D, in [LEAST_DISCOUNT, 1].
        gram: [k] ascending.
        count: [k] how often each.
        context: [c] ascending numbers of contexts.
        seen: [c] how often something followed.
        kinds: [c] how many different tokens did.
        own_gram: [g] ascending, patient · k + place of the gram.
        own_count: [g] how often the gram stands in that patient's record.
        own_context: [h] ascending, patient · c + place of the context.
        own_seen: [h] how often something follows it in that record.
        own_kinds: [h] how many different tokens follow it there and in no other record.
    """

    size: int
    discount: float
    gram: Integers
    count: Integers
    context: Integers
    seen: Integers
    kinds: Integers
    own_gram: Integers
    own_count: Integers
    own_context: Integers
    own_seen: Integers
    own_kinds: Integers

    @classmethod
    def counted(cls, key: Integers, row: Integers, *, size: int) -> _Order:
        """Count n-grams, whose records `row` names."""
        gram, place, count = np.unique(key, return_inverse=True, return_counts=True)
        context, of_gram = np.unique(gram // size, return_inverse=True)
        own_gram, own_count = np.unique(row * max(len(gram), 1) + place, return_counts=True)
        patient, which = np.divmod(own_gram, max(len(gram), 1))
        behind = patient * max(len(context), 1) + of_gram[which]
        own_context, at = np.unique(behind, return_inverse=True)
        alone = own_count == count[which]
        once, twice = int((count == 1).sum()), int((count == 2).sum())
        discount = once / (once + 2 * twice) if once else 0.0
        return cls(
            size=size,
            discount=max(discount, LEAST_DISCOUNT),
            gram=gram,
            count=count.astype(np.int64),
            context=context,
            seen=_summed(of_gram, count, len(context)),
            kinds=np.bincount(of_gram, minlength=len(context)).astype(np.int64),
            own_gram=own_gram,
            own_count=own_count.astype(np.int64),
            own_context=own_context,
            own_seen=_summed(at, own_count, len(own_context)),
            own_kinds=_summed(at, alone, len(own_context)),
        )

    def find(self, key: Integers) -> Integers:
        """Return the place of each n-gram, or -1."""
        return _found(self.gram, key)

    def mixed(self, key: Integers, lower: Floats, *, whose: Integers) -> tuple[Floats, Integers]:
        """Return p(w | h) of some n-grams, given that of the order below, and c(h).

        Args:
            key: context's number · V + token.
            lower: p(w | h').
            whose: patient whose record does not count, or -1.
        """
        place, about = self.find(key), _found(self.context, key // self.size)
        count = np.where(place != _UNKNOWN, _at(self.count, place), 0)
        seen = np.where(about != _UNKNOWN, _at(self.seen, about), 0)
        kinds = np.where(about != _UNKNOWN, _at(self.kinds, about), 0)
        mine = whose != _UNKNOWN
        own = _found(self.own_gram, whose * max(len(self.gram), 1) + place)
        own = np.where(mine & (place != _UNKNOWN), own, _UNKNOWN)
        count -= np.where(own != _UNKNOWN, _at(self.own_count, own), 0)
        own = _found(self.own_context, whose * max(len(self.context), 1) + about)
        own = np.where(mine & (about != _UNKNOWN), own, _UNKNOWN)
        seen -= np.where(own != _UNKNOWN, _at(self.own_seen, own), 0)
        kinds -= np.where(own != _UNKNOWN, _at(self.own_kinds, own), 0)
        known, less = seen > 0, self.discount
        mixed = np.maximum(count - less, 0) + less * kinds * lower
        return np.where(known, mixed / np.where(known, seen, 1), lower), seen


@dataclass(frozen=True, slots=True)
class _Text:
    """Sequences end to end.

    Args:
        tokens: [T] int64.
        row: [T] int64, which sequence.
        position: [T] int64, place in the sequence.
    """

    tokens: Integers
    row: Integers
    position: Integers

    @classmethod
    def of(cls, sequences: Sequence[NDArray[np.int32]]) -> _Text:
        lengths = np.array([len(one) for one in sequences], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        row = np.repeat(np.arange(len(lengths)), lengths)
        tokens = np.concatenate([np.empty(0, np.int64), *sequences]).astype(np.int64)
        return cls(tokens, row, np.arange(len(row)) - np.repeat(starts, lengths))

    def before(self, number: Integers) -> tuple[Integers, NDArray[np.bool_]]:
        """Return the number that stands one place before each token, and where there is one."""
        shifted = np.concatenate([[_UNKNOWN], number[:-1]])[: len(number)]
        shifted[self.position == 0] = _UNKNOWN
        return shifted, shifted != _UNKNOWN

    def ids_of_last(self, length: int) -> Integers:
        """Return one number for the `length` tokens before each token; equal for equal ones."""
        number = np.zeros(len(self.tokens), dtype=np.int64)
        for back in range(1, length + 1):
            shifted = np.concatenate([np.full(back, _UNKNOWN), self.tokens])[: len(self.tokens)]
            number = _dense(number, shifted)
        return number

    def behind_the_first(self, values: Floats) -> list[Floats]:
        """Return the values of each sequence's tokens but its first."""
        ends = np.flatnonzero(self.position == 0)[1:]
        return [one[1:] for one in np.split(values, ends)] if len(values) else []


def _found(keys: Integers, wanted: Integers) -> Integers:
    """Return where each wanted key stands among ascending ones, or -1."""
    if not len(keys):
        return np.full(len(wanted), _UNKNOWN, dtype=np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, _UNKNOWN)


def _at(values: Integers, place: Integers) -> Integers:
    """Look places up, of which those that are -1 mean nothing."""
    return values[place] if len(values) else np.zeros(len(place), dtype=np.int64)


def _summed(place: Integers, values: NDArray[np.generic], size: int) -> Integers:
    return np.bincount(place, weights=values, minlength=size).astype(np.int64)


def _dense(first: Integers, second: Integers) -> Integers:
    """Return one number for each pair, equal for equal pairs."""
    _, one = np.unique(first, return_inverse=True)
    values, two = np.unique(second, return_inverse=True)
    _, both = np.unique(one * (len(values) + 1) + two, return_inverse=True)
    dense: Integers = both.astype(np.int64)
    return dense


def _earlier(group: Integers) -> Integers:
    """Return how many of the same group stand before each element."""
    return _earlier_total(group, np.ones(len(group), dtype=np.bool_))


def _earlier_total(group: Integers, flags: NDArray[np.bool_]) -> Integers:
    """Return how many flagged elements of the same group stand before each element."""
    order = np.argsort(group, kind="stable")
    inside: Integers = np.cumsum(flags[order]) - flags[order]
    begins = np.searchsorted(group[order], group[order])
    result = np.empty(len(group), dtype=np.int64)
    result[order] = inside - inside[begins]
    return result
