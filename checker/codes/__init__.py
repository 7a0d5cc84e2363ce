"""Code systems: which codes a data set's spellings stand for, and which class they belong to.

Three steps, each over a dictionary of spellings, never over events:

    "DIAGNOSIS//ICD//10//F1020" ─ CodeReader ─► Reading("icd10cm", "F1020") ─ ClassMatcher ─► tier

`systems` knows the code systems, `patterns` the values of a class, `spellings` where a code
stands in a spelling, `lost_zeros` what became of ICD-9 codes that were taken for numbers,
`ancestry` what stands above a code; `readings` reads with these, and `matching` brings both sides
together.
"""

from __future__ import annotations

from checker.codes.matching import (
    RANK_DEFINITIVE,
    RANK_EXPOSURE,
    RANK_NONE,
    RANK_PROXY,
    RANK_STRONG,
    RANK_SUGGESTIVE,
    RANKS,
    ClassMatcher,
    ClassMatches,
    ClassRule,
    Standing,
    find_matches,
)
from checker.codes.patterns import CodePattern, parse_value
from checker.codes.readings import CodeReader, Reading, read_code
from checker.codes.spellings import Claim, Kind, kind_of
from checker.codes.systems import (
    EXACT_SHAPES,
    PREFIX_SHAPES,
    CodeSystem,
    Tier,
    normal,
    words,
)

__all__ = [
    "EXACT_SHAPES",
    "PREFIX_SHAPES",
    "RANKS",
    "RANK_DEFINITIVE",
    "RANK_EXPOSURE",
    "RANK_NONE",
    "RANK_PROXY",
    "RANK_STRONG",
    "RANK_SUGGESTIVE",
    "Claim",
    "ClassMatcher",
    "ClassMatches",
    "ClassRule",
    "CodePattern",
    "CodeReader",
    "CodeSystem",
    "Kind",
    "Reading",
    "Standing",
    "Tier",
    "find_matches",
    "kind_of",
    "normal",
    "parse_value",
    "read_code",
    "words",
]
