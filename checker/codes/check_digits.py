"""Digits by which a mistyped code gives itself away: LOINC's and SNOMED CT's check digits.

LOINC ends in a digit computed by the modulus-10 scheme of Luhn (LOINC Users' Guide, appendix
"Calculating mod 10 check digits"), SNOMED CT identifiers in one of Verhoeff's dihedral scheme
(SNOMED CT Release File Specification, "Check-digit computation"; Verhoeff 1969). Any single wrong
digit is seen by either, and nearly any two neighbours that changed places.
"""

from __future__ import annotations

from itertools import accumulate, cycle
from typing import Final

_ROTATED: Final = tuple(tuple((i + j) % 5 for j in range(5)) for i in range(5))
_TIMES: Final = tuple(
    tuple(
        _ROTATED[i % 5][j % 5] + (0 if j < 5 else 5)
        if i < 5
        else ((i - j) % 5 + 5 if j < 5 else (i - j) % 5)
        for j in range(10)
    )
    for i in range(10)
)
"""The dihedral group of a pentagon: rotations 0 to 4, reflections 5 to 9."""

_STEP: Final = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
_PERMUTED: Final = tuple(
    accumulate(range(7), lambda row, _: tuple(_STEP[one] for one in row), initial=tuple(range(10)))
)
"""Verhoeff's permutation, applied so often; after eight times everything is back in place."""


def has_right_digit(system: str, code: str) -> bool:
    """Say whether a code's check digit belongs to its other digits.

    Args:
        system: of the code; systems without check digits find nothing wrong.
        code: in the form that is compared.

    >>> [has_right_digit("loinc", code) for code in ("4548-4", "4548-5", "5448-4")]
    [True, False, False]
    >>> [has_right_digit("snomed", code) for code in ("86406008", "86406080", "86406009")]
    [True, False, False]
    """
    if system == "loinc" and code[0].isdigit():
        digits = [int(one) for one in code.replace("-", "")][::-1]
        doubled = (2 * one - 9 * (one > 4) for one in digits[1::2])
        return (sum(digits[::2]) + sum(doubled)) % 10 == 0
    if system == "snomed":
        state = 0
        for permutation, digit in zip(cycle(_PERMUTED), reversed(code), strict=False):
            state = _TIMES[state][permutation[int(digit)]]
        return state == 0
    return True
