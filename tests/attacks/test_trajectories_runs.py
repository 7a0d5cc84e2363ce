from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from token_records import ids, records, strangers

from checker.attacks.families.samples import RepeatedRecords
from checker.attacks.trajectory_memorization import verbatim as runs
from checker.attacks.trajectory_memorization.verbatim import (
    longest_shared_runs,
    regurgitation,
)
from checker.errors import InsufficientData
from checker.targets import Tokens


def repeated(
    rollouts: Sequence[Tokens],
    members: Sequence[Tokens],
    nonmembers: Sequence[Tokens],
    *,
    min_run: int = 5,
    seed: int = 0,
) -> RepeatedRecords:
    return regurgitation(
        rollouts,
        members=records(*members),
        nonmembers=records(*nonmembers),
        min_run=min_run,
        rng=np.random.default_rng(seed),
    )


# --- runs of the true continuation --------------------------------------------------------------


def test_the_longest_shared_run_is_found_wherever_it_stands() -> None:
    pairs = [
        (ids(1, 2, 3, 4, 5), ids(9, 2, 3, 4, 8), 3),
        (ids(1, 2, 3), ids(7, 7, 1, 2, 3), 3),
        (ids(1, 2, 3, 1, 2), ids(1, 2, 1, 2, 9), 2),
        (ids(1, 2), ids(2, 1), 1),
        (ids(1, 2), ids(3, 4), 0),
        (ids(1, 2), ids(), 0),
        (ids(5, 5, 5), ids(5, 5, 5, 5, 5), 3),
    ]
    first, second, expected = zip(*pairs, strict=True)
    assert longest_shared_runs(first, second).tolist() == list(expected)
    assert longest_shared_runs(second, first).tolist() == list(expected)


def test_the_longest_shared_run_is_that_of_plain_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_PAIRS_AT_ONCE", 7)  # several batches
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 12, size=(60, 2))
    first, second = ([rng.integers(0, 3, size=n).astype(np.int32) for n in s] for s in sizes.T)

    def plain(a: Tokens, b: Tokens) -> int:
        parts = {tuple(b[i:j]) for i in range(len(b)) for j in range(i + 1, len(b) + 1)}
        own = (tuple(a[i:j]) for i in range(len(a)) for j in range(i + 1, len(a) + 1))
        return max((len(part) for part in own if part in parts), default=0)

    expected = [plain(a, b) for a, b in zip(first, second, strict=True)]
    assert longest_shared_runs(first, second).tolist() == expected


def test_no_pairs_have_no_runs() -> None:
    assert longest_shared_runs([], []).tolist() == []


# --- runs of anybody's record -------------------------------------------------------------------


def test_a_rollout_that_repeats_a_member_is_flagged_and_one_that_repeats_nobody_is_cleared() -> (
    None
):
    members, nonmembers = strangers(8, seed=1), strangers(8, seed=2)
    leaky, other, sound = members[3][4:15], nonmembers[5][4:15], strangers(1, seed=3)[0]
    found = repeated([leaky, other, sound], members, nonmembers)
    assert found.groups == 1
    assert found.member_groups.tolist() == [1, 0, 0]
    assert found.nonmember_groups.tolist() == [0, 1, 0]


def test_a_run_must_be_long_enough_and_lie_within_one_record() -> None:
    members, nonmembers = strangers(2, length=6, seed=1), strangers(2, length=6, seed=2)
    four, five = members[0][:4], members[0][:5]
    across = np.concatenate([members[0][-3:], members[1][:3]])  # neighbours in the column
    found = repeated([four, five, across, ids()], members, nonmembers)
    assert found.member_groups.tolist() == [0, 1, 0, 0]


def test_what_both_sets_have_counts_for_neither() -> None:
    panel = np.arange(10, 20, dtype=np.int32)
    members = [np.concatenate([panel, record]) for record in strangers(4, seed=1)]
    nonmembers = [np.concatenate([record, panel]) for record in strangers(4, seed=2)]
    everyday, leaky = panel, np.concatenate([panel, members[2][12:22]])
    found = repeated([everyday, leaky], members, nonmembers)
    assert found.member_groups.tolist() == [0, 1]  # a panel in front hides no regurgitation
    assert found.nonmember_groups.tolist() == [0, 0]


def test_members_are_split_into_groups_as_large_as_the_nonmembers() -> None:
    members, nonmembers = strangers(16, seed=1), strangers(2, seed=2)
    found = repeated([record[:9] for record in [*members, *nonmembers]], members, nonmembers)
    assert (found.groups, found.nonmembers) == (8, 2)
    assert found.member_groups.tolist() == [1] * 16 + [0] * 2
    # a nonmember's run is compared with each of the groups
    assert found.nonmember_groups.tolist() == [0] * 16 + [8] * 2


def test_groups_of_unequal_size_are_held_against_as_many_nonmembers() -> None:
    # 5 members, 3 nonmembers: groups of 3 and 2, so the third nonmember counts against one of them
    members, nonmembers = strangers(5, seed=1), strangers(3, seed=2)
    found = repeated([record[:9] for record in nonmembers], members, nonmembers)
    assert (found.groups, found.nonmembers) == (2, 2)
    assert sorted(found.nonmember_groups.tolist()) == [1, 2, 2]


def test_of_many_nonmembers_as_many_as_there_are_members_count() -> None:
    members, nonmembers = strangers(3, seed=1), strangers(20, seed=2)
    found = repeated([record[:9] for record in nonmembers], members, nonmembers)
    assert (found.groups, found.nonmembers) == (1, 3)
    assert found.nonmember_groups.sum() == 3


def test_a_run_of_several_members_counts_in_each_of_their_groups() -> None:
    shared = np.arange(10, 20, dtype=np.int32)
    members = [np.concatenate([shared, record]) for record in strangers(8, seed=1)]
    found = repeated([shared], members, strangers(2, seed=2))
    assert found.member_groups.tolist() == [4]


def test_it_is_known_on_how_many_nonmembers_a_match_hangs() -> None:
    panel = np.arange(10, 20, dtype=np.int32)
    nonmembers = strangers(6, seed=2)
    nonmembers[0], nonmembers[1] = (np.concatenate([r, panel]) for r in nonmembers[:2])
    rollouts = [nonmembers[3][:9], nonmembers[3][9:20], panel, strangers(1, seed=9)[0]]
    both = np.concatenate([nonmembers[2][:9], nonmembers[3][:9]])
    found = repeated([*rollouts, both], strangers(6, seed=1), nonmembers)
    alone, again, several, nobody, two = found.repeated.tolist()
    assert alone == again > 0
    assert (several, nobody, two) == (-1, 0, -1)


def test_the_halves_of_the_nonmembers_part_them() -> None:
    members, nonmembers = strangers(10, seed=1), strangers(10, seed=2)
    found = repeated([record[:9] for record in nonmembers], members, nonmembers)
    assert ((found.halves != 0).sum(axis=1) == 1).all()
    assert ((found.halves != 0).sum(axis=0) == 5).all()


@pytest.mark.parametrize("at_once", [1, 64, 1 << 20])
def test_matches_are_those_of_plain_search(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(runs, "_TOKENS_AT_ONCE", at_once)
    rng = np.random.default_rng(4)
    members, nonmembers, rollouts = (
        [rng.integers(0, 4, size=rng.integers(0, 25)).astype(np.int32) for _ in range(n)]
        for n in (12, 12, 40)
    )

    def grams(sequences: Sequence[Tokens]) -> set[tuple[int, ...]]:
        return {tuple(s[i : i + 5]) for s in sequences for i in range(len(s) - 4)}

    only_members = grams(members) - grams(nonmembers)
    only_nonmembers = grams(nonmembers) - grams(members)
    found = repeated(rollouts, members, nonmembers)
    own = [grams([rollout]) for rollout in rollouts]
    assert found.member_groups.tolist() == [bool(g & only_members) for g in own]
    assert found.nonmember_groups.tolist() == [bool(g & only_nonmembers) for g in own]
    assert 0 < found.member_groups.sum() < 40


def test_equal_hashes_of_unequal_runs_accuse_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_scatter", lambda tokens: np.ones(len(tokens), dtype=np.uint64))
    # every window has one hash now; the rollout's only run is compared token by token
    members, nonmembers = [ids(1, 2, 3, 4, 5)], [ids(9, 9, 9, 9, 9)]
    found = repeated([ids(1, 2, 3, 4, 6)], members, nonmembers)
    assert found.member_groups.tolist() == [0]
    assert repeated([ids(1, 2, 3, 4, 5)], members, nonmembers).member_groups.tolist() == [1]


def test_equal_seeds_give_equal_groups() -> None:
    members, nonmembers = strangers(9, seed=1), strangers(4, seed=2)
    first, again = (
        repeated([r[:9] for r in nonmembers], members, nonmembers, seed=6) for _ in range(2)
    )
    assert first.halves.tolist() == again.halves.tolist()


def test_nobody_to_compare_with_is_refused() -> None:
    with pytest.raises(InsufficientData) as caught:
        repeated([ids(1)], strangers(3, seed=1), [])
    assert caught.value.reason == "too-few-nonmembers"
