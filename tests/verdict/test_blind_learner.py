"""A learned membership score counts only where the learner tells nothing without the model."""

from __future__ import annotations

import pytest
from judging import AS_OF, Bench, policy

from checker.verdict import Finding, judge


def found(bench: Bench, *, assignment: str | None = None) -> Finding:
    """The only finding, under a target that declares how patients were assigned."""
    plan = bench.plan
    spec = plan.target.document.spec
    data = spec.data.model_copy(update={"assignment": assignment, "assigned_by": "the data office"})
    document = plan.target.document.model_copy(
        update={"spec": spec.model_copy(update={"data": data})}
    )
    plan = plan.model_copy(update={"target": plan.target.model_copy(update={"document": document})})
    judgement = judge(policy(), plan=plan, evidence=bench.tables, as_of=AS_OF)
    (finding,) = judgement.findings
    return finding


def test_a_model_that_knows_its_members_fails_and_one_that_does_not_passes() -> None:
    leaking, sound = Bench(), Bench()
    leaking.learned("mia", shift=0.8)
    sound.learned("mia")
    assert found(leaking).verdict == "fail"
    assert found(sound).verdict == "pass"


def test_the_classic_scores_stand_beside_it() -> None:
    bench = Bench()
    bench.learned("mia", shift=0.8)
    finding = found(bench)
    assert finding.measurement is not None
    assert set(finding.measurement.reported) == {"membership_auroc_loss"}
    assert (
        0.5
        < finding.measurement.reported["membership_auroc_loss"].value
        < (finding.measurement.estimate.value)
    )


@pytest.mark.parametrize("assignment", [None, "other", "random"])
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_splits_that_the_learner_tells_apart_without_the_model_give_no_verdict(
    shift: float, assignment: str | None
) -> None:
    bench = Bench()
    bench.learned("mia", shift=shift, blind=0.4)
    finding = found(bench, assignment=assignment)
    assert (finding.verdict, finding.reason) == ("inconclusive", "split-not-comparable")
    assert "without any number of the model" in finding.explanation


def test_a_small_difference_by_chance_stops_only_splits_that_must_be_shown_alike() -> None:
    # of 100 and 100 the AUROC 0.54 has bounds of about ±0.067: up to 0.60 is not shown
    bench = Bench()
    bench.learned("mia", blind=0.04, n=100, shift=-0.03)
    assert found(bench, assignment="other").reason == "split-not-comparable"
    assert found(bench, assignment="random").reason is None


def test_it_takes_the_place_of_a_bag_of_codes_and_only_where_it_stands() -> None:
    """Codes differ, but not in anything the attack could use: only the other cell is stopped."""
    bench = Bench()
    bench.comparable(shift=0.5)
    bench.learned("mia")
    bench.membership("classic", shift=0.0)
    reasons = {one.cell.id: one.reason for one in bench.judge().findings}
    assert reasons == {"mia/known/all": None, "classic/known/all": "split-not-comparable"}


def test_a_learner_that_tells_halves_of_the_nonmembers_apart_is_broken() -> None:
    bench = Bench()
    bench.learned("mia", halves=0.9)
    assert found(bench).reason == "placebo-failed"


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_a_declared_reference_that_knows_the_members_fails_nobody_and_passes_nobody(
    shift: float,
) -> None:
    """The learner would take the reference's memory for the model's."""
    bench = Bench()
    bench.learned("mia", shift=shift, declared=0.4)
    finding = found(bench)
    assert (finding.verdict, finding.reason) == ("inconclusive", "reference-knows-members")


def test_a_declared_reference_that_does_not_know_them_stands_in_no_way() -> None:
    bench = Bench()
    bench.learned("mia", declared=0.0)
    assert found(bench).verdict == "pass"


def test_a_score_below_chance_is_no_pass() -> None:
    bench = Bench()
    bench.learned("mia", shift=-0.8)
    assert found(bench).reason == "worse-than-chance"


@pytest.mark.parametrize("n", [0, 40])
def test_too_few_who_are_judged_are_no_verdict(n: int) -> None:
    bench = Bench()
    bench.learned("mia", n=n)
    finding = found(bench)
    assert finding.verdict == "inconclusive"
    assert finding.reason is not None
    assert finding.reason.startswith("too-few")


def test_a_subgroup_does_not_hide_that_the_splits_differ() -> None:
    bench = Bench()
    bench.learned("mia", blind=0.4)
    bench.cells[0] = bench.cells[0].model_copy(update={"subgroup": "race=x"})
    table = bench.tables["mia-scores"]
    rows = [["race=x"] if i % 4 == 0 else [] for i in range(table.num_rows)]
    place = table.column_names.index("subgroups")
    bench.tables["mia-scores"] = table.set_column(place, "subgroups", [rows])
    assert found(bench).reason == "split-not-comparable"


def test_the_sentence_says_which_bound_was_asked() -> None:
    bench = Bench()
    bench.learned("mia", blind=0.4)
    assert "upper bound" in found(bench, assignment="other").explanation
    assert "lower bound" in found(bench, assignment="random").explanation
