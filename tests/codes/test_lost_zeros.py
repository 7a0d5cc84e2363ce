"""ICD-9 codes that were taken for numbers: restored where one code can be meant, else not read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checker.codes import CodeReader

HEALTHY = ["25000", "4019", "0030", "07054", "042", "V08"]


def column(codes: Sequence[str], head: str = "DIAGNOSIS//ICD//9//") -> dict[str, list[str]]:
    """Read the codes of one column together."""
    reader = CodeReader(codes=[head + code for code in codes])
    return {code: [one.code for one in reader.read(head + code)] for code in codes}


def test_dotted_codes_get_their_zeros_back() -> None:
    assert column(["250.0", "401.9", "42.0", "70.54", "8.45"]) == {
        "250.0": ["2500"],
        "401.9": ["4019"],
        "42.0": ["0420"],  # 042, and never 420
        "70.54": ["07054"],
        "8.45": ["00845"],
    }


def test_categories_alone_get_their_zeros_back() -> None:
    assert column(["42.0", "250.0", "401.0"]) == {
        "42.0": ["042"],
        "250.0": ["250"],
        "401.0": ["401"],
    }
    assert column(["42", "250", "401"])["42"] == ["042"]


def test_codes_without_dots_are_not_guessed() -> None:
    # 7054 is 705.4 or 070.54, 42 is 042 or 004.2; five digits have lost nothing
    read = column(["42", "7054", "845", "25000", "4019", "V08", "E9500"])
    assert read == {
        "42": [],
        "7054": [],
        "845": [],
        "25000": ["25000"],
        "4019": [],
        "V08": ["V08"],
        "E9500": ["E9500"],
    }
    floats = column(["42.0", "7054.0", "25000.0"])
    assert floats == {"42.0": [], "7054.0": [], "25000.0": ["25000"]}


def test_floats_that_lost_nothing_are_read_without_their_tail() -> None:
    assert column(["25000.0", "4019.0", "401.0"]) == {
        "25000.0": ["25000"],
        "4019.0": ["4019"],
        "401.0": ["401"],
    }


def test_a_stray_short_code_says_nothing_of_a_column_that_kept_its_zeros() -> None:
    read = column([*HEALTHY, "42"])
    assert read["42"] == []
    assert [read[code] for code in HEALTHY] == [[code] for code in HEALTHY]


def test_one_zero_does_not_vouch_for_a_lost_column() -> None:
    assert column(["42", "61", "37", "0030", "7054", "25000"])["7054"] == []


@pytest.mark.parametrize("code", ["42", "42.0", "7"])
def test_a_short_code_alone_is_not_read(code: str) -> None:
    assert CodeReader().read(f"ICD9CM/{code}") == ()
    claim = CodeReader().claim(f"ICD9CM/{code}")
    assert claim is not None
    assert claim.problem == "lost-zeros"


def test_what_a_lost_code_may_be_is_told() -> None:
    reader = CodeReader(codes=["ICD9CM/42", "ICD9CM/25000"])
    assert [one.code for one in reader.candidates("ICD9CM/42")] == ["042", "0042"]
    assert reader.zeros.lost == ["ICD9CM/"]


def test_columns_are_told_apart_by_what_stands_before_the_code() -> None:
    codes = ["A//ICD9CM//42", "A//ICD9CM//25000", "B//ICD9CM//07054", "B//ICD9CM//7054"]
    reader = CodeReader(codes=codes)
    assert reader.read("B//ICD9CM//7054")[0].code == "7054"
    assert reader.read("A//ICD9CM//42") == ()
    assert reader.zeros.lost == ["A//ICD9CM//"]


def test_zeros_that_only_the_table_kept_do_not_vouch_for_the_data() -> None:
    described = ["ICD9CM/042", "ICD9CM/07054", "ICD9CM/0030"]
    data = ["ICD9CM/42", "ICD9CM/7054", "ICD9CM/25000"]
    assert CodeReader(codes=[*data, *described], occurring=data).read("ICD9CM/7054") == ()


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["94.61", "3.31"], {"94.61": ["9461"], "3.31": ["0331"]}),
        (["9461", "0066", "66"], {"9461": ["9461"], "0066": ["0066"], "66": []}),
        (["9461", "66", "331"], {"9461": ["9461"], "66": [], "331": []}),
        (["9461.0", "66.0"], {"9461.0": ["9461"], "66.0": []}),
    ],
)
def test_procedures_of_volume_3_likewise(codes: list[str], expected: dict[str, list[str]]) -> None:
    assert column(codes, "PROCEDURE//ICD//9//") == expected


def test_in_a_column_without_zeros_every_code_may_have_lost_one() -> None:
    codes = ["ICD9CM/7054", "ICD9CM/25000", "ICD9CM/401.9"]
    reader = CodeReader(codes=codes[:2])
    assert [one.code for one in reader.doubtful(codes[0])] == ["07054"]
    assert reader.doubtful(codes[1]) == ()
    assert CodeReader(codes=[*codes[:2], "ICD9CM/0030"]).doubtful(codes[0]) == ()
    assert CodeReader(codes=codes[2:]).doubtful(codes[2]) == ()


def test_many_codes_without_a_zero_in_front_are_suspect() -> None:
    codes = [f"ICD9CM/{number}" for number in range(2500, 2850)]
    assert CodeReader(codes=codes).zeros.suspect == ["ICD9CM/"]
    assert CodeReader(codes=[*codes, "ICD9CM/0030"]).zeros.suspect == []


@given(st.lists(st.from_regex(r"[0-9]{3}(\.[0-9]{1,2})?", fullmatch=True), min_size=1, max_size=30))
def test_a_column_that_went_through_floats_never_reads_as_another_disease(
    dotted: list[str],
) -> None:
    """Written with a dot, read by a program as numbers: each is its own category, or nothing."""
    head = "ICD9CM/"
    floats = {str(float(code)): code for code in dotted}
    reader = CodeReader(codes=[head + code for code in floats])
    for seen in floats:
        for one in reader.read(head + seen):
            categories = {code[:3] for code in dotted if str(float(code)) == seen}
            assert one.code[:3] in categories


@given(
    st.lists(
        st.from_regex(r"[0-9]{3}[0-9]{0,2}", fullmatch=True), min_size=1, max_size=30, unique=True
    )
)
def test_a_column_without_dots_that_went_through_numbers_is_read_right_or_refused(
    codes: list[str],
) -> None:
    head = "ICD9CM/"
    for tail in ("", ".0"):
        seen = {code: f"{int(code)}{tail}" for code in codes}
        reader = CodeReader(codes=[head + one for one in seen.values()])
        has_short = any(len(str(int(code))) < 3 for code in codes)
        has_long = any(len(str(int(code))) > 3 for code in codes)
        if has_short and has_long:
            assert reader.zeros.lost
            for code in codes:
                for one in reader.read(head + seen[code]):
                    assert one.code == code
