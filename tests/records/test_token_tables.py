"""Tables of tokens, checked by hand, and the trainer's sequences against the declared ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from token_records import ids, records

from checker.errors import DataError
from checker.records.sample import compare_sample, read_sample
from checker.records.token_tables import TokenTables

# behind the first tokens: 1 2 1 and 1 3, so N = 5 and T = 3 of V = 5
TABLES = TokenTables.fitted(records([0, 1, 2, 1], [0, 1, 3]), vocabulary_size=5)


def test_the_unigram_is_witten_and_bells() -> None:
    # p(w) = (c + 3/5) / (5 + 3)
    expected = np.array([0.6, 3.6, 1.6, 1.6, 0.6]) / 8
    assert TABLES.unigram == pytest.approx(expected)
    assert TABLES.unigram.sum() == pytest.approx(1)
    assert TABLES.unigram_loss(ids(4, 1, 0)) == pytest.approx(-np.log(expected[[1, 0]]))


def test_the_bigram_is_witten_and_bells() -> None:
    # behind 1 stood 2 and 3, once each: p(2 | 1) = (1 + 2 · 0.2) / (2 + 2)
    assert TABLES.bigram_loss(ids(1, 2)) == pytest.approx([-np.log(1.4 / 4)])
    # behind 0 stood 1 twice: p(1 | 0) = (2 + 0.45) / 3
    assert TABLES.bigram_loss(ids(0, 1)) == pytest.approx([-np.log(2.45 / 3)])
    # nothing stood behind 3
    assert TABLES.bigram_loss(ids(3, 1)) == pytest.approx([-np.log(0.45)])


def test_what_may_follow_a_token_sums_to_one() -> None:
    for before in range(5):
        shares = [float(np.exp(-TABLES.bigram_loss(ids(before, after))[0])) for after in range(5)]
        assert sum(shares) == pytest.approx(1)


def test_only_compared_tokens_count() -> None:
    mask = np.array([False, False, True])
    unigram, bigram = TABLES.losses(ids(0, 4, 1), compared=mask)
    assert unigram == pytest.approx(-np.log(0.45))
    assert bigram == pytest.approx(-np.log(0.45))


def test_no_nonmember_and_empty_records_leave_a_uniform_table() -> None:
    for nobody in (records([0]), records([0], [])):
        tables = TokenTables.fitted(nobody, vocabulary_size=4)
        assert tables.losses(ids(0, 1), compared=np.array([False, True])) == pytest.approx(
            (np.log(4), np.log(4))
        )


# --- the trainer's sample -----------------------------------------------------------------------

MEMBERS = np.array([7, 8], dtype=np.int64), records([0, 1, 2], [0, 3])
NONMEMBERS = np.array([9], dtype=np.int64), records([0, 4, 4, 4])
SPLITS = {True: MEMBERS, False: NONMEMBERS}


def sample(tmp_path: Path, rows: dict[int, list[int]]) -> Path:
    table = {
        "subject_id": pa.array(list(rows), pa.int64()),
        "tokens": pa.array(list(rows.values()), pa.list_(pa.int64())),
    }
    pq.write_table(pa.table(table), tmp_path / "sample.parquet")
    return tmp_path / "sample.parquet"


def test_equal_sequences_agree_and_strangers_are_not_compared(tmp_path: Path) -> None:
    rows = {8: [0, 3], 9: [0, 4, 4, 4], 7: [0, 1, 2], 555: [1, 1]}
    found = compare_sample(read_sample(sample(tmp_path, rows)), SPLITS, max_length=None)
    assert (found.compared, found.different, found.place, found.position) == (3, 0, 0, 0)
    assert found.members == 2  # patient 9 is none


@pytest.mark.parametrize(
    ("tokens", "position"), [([0, 1, 3], 3), ([1, 2], 1), ([0, 1], 3), ([0, 1, 2, 2], 4)]
)
def test_the_first_difference_has_a_place_and_no_name(
    tmp_path: Path, tokens: list[int], position: int
) -> None:
    rows = {9: [0, 4, 4, 4], 7: tokens}
    found = compare_sample(read_sample(sample(tmp_path, rows)), SPLITS, max_length=None)
    assert (found.compared, found.different, found.place, found.position) == (2, 1, 2, position)


def test_what_the_model_cannot_see_is_not_compared(tmp_path: Path) -> None:
    read = read_sample(sample(tmp_path, {9: [0, 4, 4]}))
    assert compare_sample(read, SPLITS, max_length=3).different == 0
    assert compare_sample(read, SPLITS, max_length=None).different == 1


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"subject_id": [1]}, "no column 'tokens'"),
        ({"tokens": [[1]]}, "no column 'subject_id'"),
        ({"subject_id": [1, 1], "tokens": [[1], [2]]}, "twice"),
        ({"subject_id": [1, None], "tokens": [[1], [2]]}, "row 2"),
        ({"subject_id": [1], "tokens": [[]]}, "row 1"),
        ({"subject_id": ["x"], "tokens": [[1]]}, "integers"),
        ({"subject_id": [1], "tokens": ["1 2"]}, "integers"),
    ],
)
def test_a_file_that_is_no_sample_is_refused_in_words(
    tmp_path: Path, columns: dict[str, list[object]], said: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=said):
        read_sample(tmp_path / "bad.parquet")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expect\.tokens"):
        read_sample(tmp_path / "nothing.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="cannot be read"):
        read_sample(tmp_path / "text.parquet")
