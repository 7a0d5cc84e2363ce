"""Whether declared fields and births are there for the patients of a cohort."""

from __future__ import annotations

import pytest
from meds_builder import Patient, make_records, make_vocabulary

from checker.errors import DataError
from checker.policy.documents import TokenizationSpec
from checker.records.census import check_fields
from checker.records.tokenization import Survey, Tokenizer

BORN = ("MEDS_BIRTH", -40 * 365.25)


def check(
    members: list[Patient],
    nonmembers: list[Patient] | None = None,
    spare: list[Patient] | None = None,
    **spec: object,
) -> None:
    tokenization = TokenizationSpec.model_validate(
        {
            "vocabulary": "v.json",
            "static": {"sex": "GENDER//*"},
            "age": "AGE//{years}",
            **spec,
        }
    )
    vocabulary = make_vocabulary(["[PAD]", "GENDER//F", "A", *(f"AGE//{n}" for n in range(99))])
    tokenizer = Tokenizer(tokenization, vocabulary=vocabulary, base=None)  # type: ignore[arg-type]

    def encode(patients: list[Patient]) -> Survey:
        return tokenizer.survey(*make_records(patients), partial=True)

    check_fields(
        tokenization,
        members=encode(members),
        nonmembers=encode(nonmembers or [WHOLE] * 10),
        spare=encode([WHOLE] * 10 if spare is None else spare),
    )


WHOLE = [("GENDER//F", None), BORN, ("A", 0)]
SEXLESS = [BORN, ("A", 0)]
UNBORN = [("GENDER//F", None), ("A", 0)]


def test_nine_of_ten_are_enough_and_eight_are_not() -> None:
    check([WHOLE] * 9 + [SEXLESS])
    with pytest.raises(DataError) as caught:
        check([WHOLE] * 8 + [SEXLESS] * 2)
    assert "8 of 10 members have a code like 'GENDER//*' for the static field 'sex'" in str(
        caught.value
    )
    assert "at least 90% are expected" in str(caught.value)
    assert "tokenization.present: {sex: …}" in str(caught.value)


def test_spare_patients_are_counted_like_the_others() -> None:
    with pytest.raises(DataError, match="8 of 10 spare patients have a code like 'GENDER//"):
        check([WHOLE] * 10, spare=[WHOLE] * 8 + [SEXLESS] * 2)


def test_births_are_counted_where_an_age_is_declared_and_nowhere_else() -> None:
    with pytest.raises(DataError, match=r"7 of 10 members have a birth \(MEDS_BIRTH\)"):
        check([WHOLE] * 7 + [UNBORN] * 3)
    check([WHOLE] * 7 + [UNBORN] * 3, age=None)


def test_a_birth_by_another_name_is_none() -> None:
    elsewhere = [("GENDER//F", None), ("SNOMED/3950001", -40 * 365.25), ("A", 0)]
    with pytest.raises(DataError, match=r"0 of 10 members have a birth \(MEDS_BIRTH\)"):
        check([elsewhere] * 10)


def test_each_split_is_asked_for_itself() -> None:
    with pytest.raises(DataError, match="8 of 10 nonmembers"):
        check([WHOLE] * 1000, [WHOLE] * 8 + [SEXLESS] * 2)


def test_the_target_may_say_that_fewer_have_a_field() -> None:
    check([WHOLE] * 8 + [SEXLESS] * 2, present={"sex": 0.8})
    with pytest.raises(DataError, match="at least 81% are expected"):
        check([WHOLE] * 8 + [SEXLESS] * 2, present={"sex": 0.81})
