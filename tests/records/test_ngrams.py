"""What anybody would write, against counts made by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from token_records import Tokens, ids, records

from checker.records.ngrams import LEAST_DISCOUNT, ORDER, OWN_CONTEXTS, NgramModel

SIZE = 7
TABLES, REPEATED = 2, 3
"""Among what is told: n-grams of every length, and these with what a record repeats."""


def fitted(*patients: Sequence[int] | Tokens, **settings: int) -> NgramModel:
    rng = np.random.default_rng(0)
    return NgramModel.fitted(records(*patients), vocabulary_size=SIZE, rng=rng, **settings)


def discounts(known: Sequence[Tokens]) -> list[float]:
    """D of each order, of all that was counted."""
    found = []
    for n in range(ORDER):
        grams = Counter(
            tuple(one[i - n : i + 1]) for one in known for i in range(max(1, n), len(one))
        )
        once, twice = (sum(c == times for c in grams.values()) for times in (1, 2))
        found.append(max(once / (once + 2 * twice) if once else 0, LEAST_DISCOUNT))
    return found


def discounted(share: float, follows: Counter[int], token: int, *, discount: float) -> float:
    """Mix one order with the one below by absolute discounting."""
    seen = sum(follows.values())
    mass = max(follows[token] - discount, 0) + discount * len(follows) * share
    return mass / seen if seen else share


def mixed(share: float, follows: Counter[int], token: int) -> float:
    """Witten and Bell's mixture of what stood before in a record."""
    seen = sum(follows.values())
    return (follows[token] + len(follows) * share) / (seen + len(follows)) if seen else share


def by_hand(
    known: Sequence[Tokens],
    record: Tokens,
    *,
    counted: Sequence[Tokens] | None = None,
    repeats: bool = False,
) -> list[float]:
    """Count anew for every token: log p of each but the first.

    Args:
        known: what is known.
        record: of a patient.
        counted: what the discounts are of: his own record is among it.
        repeats: what stood before in the record is mixed in.
    """
    found, less = [], discounts(known if counted is None else counted)
    often: int | None
    for place in range(1, len(record)):
        share, token, often = 1 / SIZE, int(record[place]), None
        for length in range(min(ORDER, place + 1)):
            before = tuple(record[place - length : place])
            follows = behind(known, before)
            if sum(follows.values()) != often:  # it stood there whenever the shorter one did
                share = discounted(share, follows, token, discount=less[length])
            often = sum(follows.values())
        for length in OWN_CONTEXTS if repeats else ():
            if place >= length:
                before = tuple(record[place - length : place])
                share = mixed(share, behind([record[:place]], before), token)
        found.append(float(np.log(share)))
    return found


def behind(known: Sequence[Tokens], before: tuple[int, ...]) -> Counter[int]:
    n = len(before)
    return Counter(
        int(one[i])
        for one in known
        for i in range(max(1, n), len(one))
        if tuple(one[i - n : i]) == before
    )


@pytest.fixture(scope="module")
def patients() -> list[Tokens]:
    rng = np.random.default_rng(3)
    return [rng.integers(0, SIZE, int(n)).astype(np.int32) for n in rng.integers(2, 14, 12)]


def test_every_order_is_mixed_with_the_one_below(patients: list[Tokens]) -> None:
    model = fitted(*patients)
    strange = ids(6, 6, 6, 5, 5, 0)
    found = model.told([*patients, strange], own=[None] * 13)[TABLES]
    for record, logs in zip([*patients, strange], found, strict=True):
        assert logs == pytest.approx(by_hand(patients, record))


def test_a_patients_own_record_is_left_out(patients: list[Tokens]) -> None:
    model = fitted(*patients)
    found = model.told(patients, own=range(12))[TABLES]
    for i, logs in enumerate(found):
        others = patients[:i] + patients[i + 1 :]
        assert logs == pytest.approx(by_hand(others, patients[i], counted=patients))
    # also of another sequence than the whole record, as a prompt with what follows it is
    (part,) = model.told([patients[3][:3]], own=[3])[TABLES]
    assert part == pytest.approx(found[3][:2])


def test_what_stood_before_in_the_record_may_be_repeated(patients: list[Tokens]) -> None:
    record = ids(1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4)
    told = fitted(*patients).told([record, patients[2], record], own=[None, 2, None])
    first, second, third = told[REPEATED]
    assert first == pytest.approx(by_hand(patients, record, repeats=True))
    assert third == pytest.approx(first)
    others = patients[:2] + patients[3:]
    assert second == pytest.approx(by_hand(others, patients[2], counted=patients, repeats=True))


def test_all_that_may_follow_sums_to_one(patients: list[Tokens]) -> None:
    before = [1, 2, 3, 1, 2]
    all_that_may = [ids(*before, token) for token in range(SIZE)]
    for found in fitted(*patients).told(all_that_may, own=[0] * SIZE):
        assert sum(np.exp(logs[-1]) for logs in found) == pytest.approx(1)


def test_of_many_patients_a_lot_is_counted(patients: list[Tokens]) -> None:
    model = fitted(*patients, most_tokens=20)
    counted = np.flatnonzero(model.place >= 0)
    assert 1 <= len(counted) < 12
    known = [patients[i] for i in counted.tolist()]
    assert sum(map(len, known)) <= 20
    found = model.told(patients, own=range(12))[TABLES]
    for i, logs in enumerate(found):
        others = [patients[j] for j in counted.tolist() if j != i]
        assert logs == pytest.approx(by_hand(others, patients[i], counted=known))
    assert (fitted(*patients, most_tokens=1).place >= 0).sum() == 1


def test_one_nonmember_alone_knows_nothing_of_himself() -> None:
    model = fitted([1, 2, 3])
    (logs,) = model.told([ids(1, 2, 3)], own=[0])[TABLES]
    assert logs == pytest.approx([-np.log(SIZE)] * 2)


def test_nobody_is_asked_for() -> None:
    assert fitted([1, 2]).told([], own=[]) == [[], [], [], []]


def test_what_always_follows_is_certain_and_what_comes_then_as_open_as_ever() -> None:
    rng = np.random.default_rng(5)
    told = [[*rng.integers(4, 7, 3), 0, 1, 2, 3, *rng.integers(4, 7, 3)] for _ in range(60)]
    model = fitted(*told)
    (logs,) = model.told([ids(5, 4, 6, 0, 1, 2, 3, 6, 4, 5)], own=[None])[TABLES]
    assert (np.exp(logs[3:6]) > 0.99).all()
    assert np.exp(logs[6]) == pytest.approx(1 / 3, abs=0.1)
    (few,) = model.told([ids(5, 0, 1)], own=[None])[0]
    assert np.exp(few).max() < 0.2
