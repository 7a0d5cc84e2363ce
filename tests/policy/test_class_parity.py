"""What a class holds in one revision of ICD it holds in the other, but for named exceptions."""

from __future__ import annotations

import math
from functools import cache

from benchmarks.class_parity import Parity, measure_parity, read_exceptions, read_maps
from checker.policy.library import library_classes


@cache
def measured() -> list[Parity]:
    return list(measure_parity(read_maps()))


def test_every_definitive_code_has_an_equivalent_that_counts_or_a_reason() -> None:
    exceptions = read_exceptions()
    unexplained = [
        (one.name, one.system, code)
        for one in measured()
        for code in one.lost
        if not any(
            (excused.name, excused.system) == (one.name, one.system)
            and any(pattern.matches(code) for pattern in excused.patterns)
            for excused in exceptions
        )
    ]
    assert not unexplained


def test_no_exception_is_left_over() -> None:
    lost = {(one.name, one.system): one.lost for one in measured()}
    for excused in read_exceptions():
        assert excused.reason
        for pattern in excused.patterns:
            codes = lost[excused.name, excused.system]
            assert any(pattern.matches(code) for code in codes), (excused.name, pattern.value)


def test_the_shares_are_those_that_are_published() -> None:
    shares = {
        system: (
            sum(len(one.kept) for one in measured() if one.system == system),
            sum(len(one.kept) + len(one.lost) for one in measured() if one.system == system),
        )
        for system in ("icd10cm", "icd9cm")
    }
    assert shares == {"icd10cm": (5888, 6492), "icd9cm": (3468, 3505)}
    pregnancy = {one.system: one.share for one in measured() if one.name == "reproductive-other"}
    assert math.isclose(pregnancy["icd10cm"] or 0, 2179 / 2186)


def test_the_maps_that_are_kept_cover_every_class_with_codes_of_both_revisions() -> None:
    """A class that gains codes which the kept maps do not know must be measured anew."""
    for name, one in library_classes().items():
        systems = {part.system for part in one.document.spec.codes if part.tier == "definitive"}
        for system in systems & {"icd10cm", "icd9cm"}:
            assert any(
                len(found.kept) + len(found.lost)
                for found in measured()
                if (found.name, found.system) == (name, system)
            ), (name, system)
