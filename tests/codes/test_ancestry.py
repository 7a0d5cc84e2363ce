"""A class that names an ancestor gets the code, and what a code itself says comes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from checker.codes import ClassMatcher, ClassRule, CodeReader, Standing, find_matches
from checker.codes.ancestry import Ancestry, approximately

HIV = [ClassRule("icd10cm", "definitive", ["B20"]), ClassRule("snomed", "strong", ["86406008"])]
SICKLE = [
    ClassRule("icd10cm", "definitive", ["D57"], ["D57.3"]),
    ClassRule("icd9cm", "definitive", ["282.6"]),
    ClassRule("icd10cm", "exposure", ["D57.3"]),
]


def standing(
    table: Mapping[str, Sequence[str]], code: str, rules: Sequence[ClassRule] = HIV
) -> Standing | None:
    codes = list(dict.fromkeys([code, *table]))
    parents = [table.get(one, ()) for one in codes]
    found = find_matches(
        {"class": ClassMatcher(rules)},
        codes,
        reader=CodeReader(codes=codes, parents=parents),
        descriptions=[None] * len(codes),
        parents=parents,
    )
    return found["class"].standing(0)


def test_an_ancestor_is_found_at_any_depth() -> None:
    chain = {f"LOCAL//{n}": [f"LOCAL//{n + 1}"] for n in range(50)}
    assert standing({**chain, "LOCAL//50": ["ICD10CM/B20"]}, "LOCAL//0") == "definitive"
    assert standing(chain, "LOCAL//0") is None


def test_cycles_and_missing_parents_end_the_way() -> None:
    table = {"LOCAL//1": ["LOCAL//2"], "LOCAL//2": ["LOCAL//1", "LOCAL//9"]}
    assert standing(table, "LOCAL//1") is None
    assert standing({**table, "LOCAL//9": ["SNOMED/86406008"]}, "LOCAL//1") == "strong"
    assert standing({"LOCAL//1": ["LOCAL//1"]}, "LOCAL//1") is None


def test_the_strongest_of_several_ways_counts() -> None:
    table = {
        "LOCAL//1": ["SNOMED/86406008", "LOCAL//2"],
        "LOCAL//2": ["ICD10CM/B20"],
    }
    assert standing(table, "LOCAL//1") == "definitive"
    assert standing({"LOCAL//1": ["SNOMED/86406008.0 "]}, "LOCAL//1") == "strong"


def test_blanks_around_a_parent_do_not_end_the_way() -> None:
    table = {"LOCAL//1": [" LOCAL//2 "], "LOCAL//2": ["ICD10CM/B20"]}
    assert standing(table, "LOCAL//1") == "definitive"


@pytest.mark.parametrize(
    "table",
    [
        {"ICD10CM/D57.3": ["ICD10CM/D57"]},  # the tree of ICD itself
        {"ICD10CM/D57.3": ["SNOMED/1000"], "SNOMED/1000": ["ICD10CM/D57"]},
        {"LOCAL//1": ["ICD10CM/D57.3"], "ICD10CM/D57.3": ["ICD10CM/D57"]},
    ],
)
def test_what_is_excluded_is_not_brought_back_from_above(table: dict[str, list[str]]) -> None:
    assert standing(table, next(iter(table)), SICKLE) == "exposure"


def test_another_systems_exclusion_holds_for_what_stands_above_it() -> None:
    rules = [
        ClassRule("icd10cm", "definitive", ["D57"]),
        ClassRule("icd9cm", "excluded", ["282.5"]),
    ]
    table = {"ICD9CM/282.5": ["SNOMED/16402000"], "SNOMED/16402000": ["ICD10CM/D57"]}
    assert standing(table, "ICD9CM/282.5", rules) is None
    assert standing({"LOCAL//1": ["ICD9CM/282.5"], **table}, "LOCAL//1", rules) is None
    # a parent of its own is another thing that the code stands for
    assert standing({"LOCAL//1": ["ICD9CM/282.5", "ICD10CM/D57.1"]}, "LOCAL//1", rules) == (
        "definitive"
    )


def test_a_broad_parent_does_not_make_its_children_of_a_narrower_class() -> None:
    table = {"ICD10CM/J45": ["SNOMED/50043002"], "ICD10CM/B20": ["SNOMED/50043002"]}
    assert standing(table, "ICD10CM/J45") is None
    assert standing(table, "ICD10CM/B20") == "definitive"


def test_a_parent_excludes_nothing_that_a_spelling_says_itself() -> None:
    rules = [
        *HIV,
        ClassRule("atc", "excluded", ["J05AE30"]),
        ClassRule("drug", "strong", ["hivid"]),
    ]
    assert standing({"ICD10CM/B20": ["ATC/J05AE30"]}, "ICD10CM/B20", rules) == "definitive"
    assert standing({"ICD10CM/B20": ["L//1"], "L//1": ["ATC/J05AE30"]}, "ICD10CM/B20", rules) == (
        "definitive"
    )
    # nor what it is called: a table could hide a drug under the identifier of another
    assert standing({"DRUG//hivid": ["ATC/J05AE30"]}, "DRUG//hivid", rules) == "strong"
    assert standing({"DRUG//hivid": ["L//1"], "L//1": ["ATC/J05AE30"]}, "DRUG//hivid", rules) == (
        "strong"
    )


def test_a_name_that_is_excluded_excludes_what_stands_above_it() -> None:
    rules = [
        ClassRule("atc", "strong", ["J05AE"]),
        ClassRule("drug", "suggestive", ["ritonavir"]),
        ClassRule("drug", "excluded", ["nirmatrelvir"]),
    ]
    pack = "DRUG//nirmatrelvir / ritonavir"
    assert standing({pack: ["ATC/J05AE03"]}, pack, rules) is None
    assert standing({pack: []}, pack, rules) is None
    alone = "DRUG//ritonavir"
    assert standing({alone: ["ATC/J05AE03"]}, alone, rules) == "strong"


def test_a_table_cannot_move_a_code_within_its_own_tree() -> None:
    """Thousands with hypertension in the class would hide what is told of the few with HIV."""
    assert standing({"ICD10CM/I10": ["ICD10CM/B20"]}, "ICD10CM/I10") is None
    assert standing({"ICD10CM/I10": ["L//1"], "L//1": ["ICD10CM/B20"]}, "ICD10CM/I10") is None


# --- parents that only come near ----------------------------------------------------------------

NEAR_B20 = approximately("ICD10CM/B20")


def test_what_only_comes_near_is_strong_at_most() -> None:
    assert standing({"LOCAL//1": [NEAR_B20]}, "LOCAL//1") == "strong"
    assert standing({"LOCAL//1": [NEAR_B20, "ICD10CM/B20"]}, "LOCAL//1") == "definitive"
    assert standing({"LOCAL//1": [approximately("ICD10CM/D573")]}, "LOCAL//1", SICKLE) == "exposure"


def test_what_stands_above_something_near_is_near_too() -> None:
    chain = {"LOCAL//1": [approximately("LOCAL//2")], "LOCAL//2": ["ICD10CM/B20"]}
    assert standing(chain, "LOCAL//1") == "strong"
    assert standing(chain, "LOCAL//2") == "definitive"
    # by another way it is exact
    assert standing({**chain, "LOCAL//1": [*chain["LOCAL//1"], "LOCAL//2"]}, "LOCAL//1") == (
        "definitive"
    )


def test_something_near_excludes_nothing_but_itself() -> None:
    trait, disease = "ICD10CM/D573", "ICD10CM/D571"
    assert standing({"LOCAL//1": [approximately(trait), disease]}, "LOCAL//1", SICKLE) == (
        "definitive"
    )
    # what is told exactly excludes what is only near: the trait is not the disease
    assert standing({"LOCAL//1": [trait, approximately("ICD10CM/D57")]}, "LOCAL//1", SICKLE) == (
        "exposure"
    )
    excluded = [
        *HIV,
        ClassRule("atc", "definitive", ["J05A"]),
        ClassRule("atc", "excluded", ["J05AE30"]),
    ]
    assert standing({"LOCAL//1": [approximately("ATC/J05AE30")]}, "LOCAL//1", excluded) is None
    both = [approximately("ATC/J05AE30"), "ICD10CM/B20"]
    assert standing({"LOCAL//1": both}, "LOCAL//1", excluded) == "definitive"


def test_something_near_never_contradicts_the_code_itself() -> None:
    assert standing({"ICD10CM/I10": [NEAR_B20]}, "ICD10CM/I10") is None


def test_the_way_through_something_near_is_told() -> None:
    ancestry = Ancestry.of(["A", "B"], [[approximately("B")], ["C"]])
    assert list(ancestry.walk(["A"])) == ["A", approximately("B"), approximately("C")]
    assert ancestry.path("A", approximately("C")) == ("A", approximately("B"), "C")
