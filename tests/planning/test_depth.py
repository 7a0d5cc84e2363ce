"""Whom and what no attacker of a policy reaches, and who hears of it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import report_builder as build

from checker.planning import with_policy
from checker.planning.depth import Reach, class_depth
from checker.planning.model import ClassDepth
from checker.policy import load_policy
from checker.report.assemble import token_shares
from checker.report.disclosure_control.shared import for_audience
from checker.report.formats.annex import render_annex_html, render_annex_markdown
from checker.report.formats.html import render_board, render_html
from checker.report.formats.markdown import render_markdown
from checker.report.model import Report, TokenShares
from checker.report.wording.decision import not_proof_sentences
from checker.run.prepare import Prepared, prepare
from checker.testing.hospital import (
    Hospital,
    disclosure,
    write_hospital,
    write_policy,
    write_simulated_target,
)
from checker.verification.depths import strange_depths

HORIZON = 20
MEMBERSHIP = {
    "title": "Nobody may tell who was in the training data",
    "probe": "membership-inference",
    "metric": "membership_auroc",
    "limits": {"record": {"fail": 0.6}},
    "params": {"score": "loss"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("hospital")
    hospital = Hospital(60, 60, events=80, codes=200, classes=2, prevalence=0.5, recurrence=0.02)
    write_hospital(where, hospital)
    write_simulated_target(where, context_length=64)
    return where


def planned(folder: Path, controls: Mapping[str, Any], **parameters: Any) -> Prepared:
    policy = write_policy(folder / "policy.yaml", dict(controls), parameters=parameters)
    return prepare(policy, folder / "target.yaml")


def hiv(*levels: str, **changes: Any) -> dict[str, Any]:
    told = disclosure("hiv", samples=4, horizon_tokens=HORIZON, levels=levels)
    return {**told, **changes}


# --- counted by hand ----------------------------------------------------------------------------

# six members and two nonmembers; the last member lacks the class
MEMBER = np.arange(8) < 6
POSITIVE = np.array([1, 1, 1, 1, 1, 0, 1, 1], dtype=np.bool_)


def reach(eligible: list[int], *, asked: list[int] | None = None, decides: bool = True) -> Reach:
    drawn = None if asked is None else np.isin(np.arange(8), asked)
    positive = POSITIVE if drawn is None else POSITIVE & drawn
    return Reach(MEMBER, positive, np.isin(np.arange(8), eligible), drawn, decides)


def test_whom_one_attacker_reaches_is_reached_by_the_policy() -> None:
    found = class_depth([reach([0, 1, 6]), reach([1, 2]), reach([0, 4, 7], decides=False)])
    assert found == ClassDepth(
        members=5, members_beyond=1, members_beyond_deciding=2,
        nonmembers=2, nonmembers_beyond=0, nonmembers_beyond_deciding=1,
    )  # fmt: skip


def test_where_nobody_decides_all_attackers_count() -> None:
    found = class_depth([reach([0], decides=False), reach([1], decides=False)])
    assert (found.members_beyond, found.members_beyond_deciding) == (3, 3)


def test_of_a_draw_those_are_counted_whom_every_attacker_was_asked_about() -> None:
    found = class_depth([reach([0], asked=[0, 1, 2, 6]), reach([2, 3], asked=[0, 2, 3, 6, 7])])
    assert (found.members, found.members_beyond) == (2, 0)
    assert (found.nonmembers, found.nonmembers_beyond) == (1, 1)


# --- a plan -------------------------------------------------------------------------------------


def test_a_plan_counts_who_and_what_lies_beyond_every_prompt(folder: Path) -> None:
    controls = {"near": hiv("events-10", "static"), "mood": MEMBERSHIP}
    found = planned(folder, controls)
    plan, work = found.audit.plan, found.audit.workload
    codes = work.cohort.codes
    told = {code for code, name in enumerate(codes) if name.startswith("DIAGNOSIS//ICD//10//B2")}
    records, source = work.members, work.sources[True]
    positive, beyond, continued, scored = 0, 0, 0, 0
    for i in range(len(records)):
        at = np.arange(records.offsets[i], records.offsets[i + 1])
        own = set(at[np.isin(records.code[at], list(told))].tolist())
        # prompts are in the first 64 tokens, which the model was trained on
        window = set(at[:64].tolist())
        near: set[int] = set()
        for labels in work.labels.values():
            split = labels.members
            if split.keys[i] is not None:
                begin = int(split.behind[i, 0])
                near |= set(range(begin, min(begin + HORIZON, int(split.behind[i, 1]))))
        positive += bool(own)
        beyond += bool(own) and not own & near
        continued += len(near)
        scored += len(window - near)
    depth = plan.depth
    assert source.max_length == 64
    assert (depth.classes["hiv"].members, depth.classes["hiv"].members_beyond) == (positive, beyond)
    assert 0 < beyond < positive
    assert depth.tokens is not None
    assert (depth.tokens.continued, depth.tokens.scored) == (continued, scored)
    assert depth.tokens.tokens == len(records.tokens) > continued + scored > 0


def test_an_attacker_who_only_reports_reaches_nobody_for_the_verdict(folder: Path) -> None:
    far = {"far": hiv("record", severity="low")}
    near = planned(folder, {"near": hiv("static")}).audit.plan.depth.classes["hiv"]
    both = planned(folder, {"near": hiv("static"), **far}).audit.plan.depth.classes["hiv"]
    assert near.members_beyond == near.members_beyond_deciding == both.members_beyond_deciding > 0
    assert both.members_beyond < near.members_beyond


def test_without_scores_of_whole_records_most_of_them_are_not_looked_at(folder: Path) -> None:
    tokens = planned(folder, {"near": hiv("static")}).audit.plan.depth.tokens
    assert tokens is not None
    assert tokens.shares is not None
    assert tokens.scored == 0 < tokens.continued
    assert tokens.shares[2] > 0.7
    assert planned(folder, {"mood": MEMBERSHIP}).audit.plan.depth.classes == {}


def test_the_learned_score_looks_at_whole_records_too(folder: Path) -> None:
    strongest = {**MEMBERSHIP, "params": {"score": "strongest"}}
    one, other = (
        planned(folder, {"near": hiv("static"), "m": control}).audit.plan.depth.tokens
        for control in (MEMBERSHIP, strongest)
    )
    assert one == other
    assert other is not None
    assert other.scored > 0


@pytest.mark.parametrize(
    ("length", "min_cell", "by_windows", "shown"),
    [(8, 11, True, True), (8, 61, True, False), (40, 11, False, False)],
)
def test_what_lies_outside_windows_is_shared_where_everybody_is_scored(
    tmp_path: Path, length: int, min_cell: int, by_windows: bool, shown: bool
) -> None:
    """Who has no window of so many tokens is not scored, and that hangs on the patient."""
    control = {
        "title": "No record comes out word for word",
        "probe": "trajectory-memorization",
        "metric": "extractable_share",
        "limits": {"record": {"fail": 0.04}},
        "params": {"windows": "any", "length": length},
    }
    write_hospital(tmp_path, Hospital(60, 60, events=30, codes=200, classes=2, prevalence=0.5))
    write_simulated_target(tmp_path, context_length=64)
    plan = planned(tmp_path, {"own": control}, minCell=min_cell).audit.plan
    assert plan.depth.tokens is not None
    assert plan.depth.tokens.by_windows is by_windows
    said = token_shares(plan, min_cell=min_cell)
    assert said is not None
    assert said.by_windows is shown


def test_another_policy_takes_over_what_its_attackers_reach_and_no_more(folder: Path) -> None:
    wide = planned(folder, {"near": hiv("events-10", "static"), "m": MEMBERSHIP}).audit.plan

    def under(*levels: str) -> Any:
        path = write_policy(folder / "other.yaml", {"near": hiv(*levels), "m": MEMBERSHIP})
        return with_policy(wide, load_policy(path)).depth

    assert under("events-10", "static") == wide.depth
    assert (under("static").classes, under("static").tokens) == ({}, None)


def test_verify_counts_it_again(folder: Path) -> None:
    plan = planned(folder, {"near": hiv("static")}).audit.plan
    said = plan.depth.classes["hiv"]
    (labels,) = plan.jobs_of("labels")

    def strange(classes: dict[str, ClassDepth], positives: int = said.members) -> list[str]:
        n = said.members
        others = said.nonmembers
        eligible = [i >= said.members_beyond for i in range(n)]
        eligible += [i >= said.nonmembers_beyond for i in range(others)]
        table = pa.table(
            {
                "member": [True] * n + [False] * others,
                "positive": [i < positives for i in range(n)] + [True] * others,
                "eligible": eligible,
            }
        )
        own = plan.model_copy(update={"depth": plan.depth.model_copy(update={"classes": classes})})
        return [*strange_depths(own, {labels.digest: table}.get)]

    assert strange({"hiv": said}) == []
    assert strange({"hiv": said}, said.members - 1)
    assert strange({"hiv": said.model_copy(update={"members_beyond": 0})})
    assert strange({})
    assert strange({"hiv": said, "mood": said})


# --- reports ------------------------------------------------------------------------------------


def deep(beyond: int, of: int, *, by_windows: bool = True) -> Report:
    report = build.passing_report()
    depth = ClassDepth(
        members=of, members_beyond=beyond, members_beyond_deciding=beyond,
        nonmembers=of, nonmembers_beyond=7, nonmembers_beyond_deciding=7,
    )  # fmt: skip
    more = {"depth": depth, "partly_beyond": depth.is_partly_beyond(min_cell=11)}
    first, *others = report.policy.attribute_classes
    classes = [first.model_copy(update={**more, "benign": False}), *others]
    shares = TokenShares(continued=0.2, scored=0.5, beyond=0.304, by_windows=by_windows)
    return report.model_copy(
        update={
            "policy": report.policy.model_copy(update={"attribute_classes": classes}),
            "target": report.target.model_copy(update={"token_shares": shares}),
        }
    )


SAID = "no attacker who decides could reach"


@pytest.mark.parametrize(
    ("beyond", "of", "said"), [(11, 100, True), (10, 100, False), (40, 801, False), (41, 801, True)]
)
def test_a_report_names_classes_of_which_more_than_a_few_are_out_of_reach(
    beyond: int, of: int, said: bool
) -> None:
    internal = deep(beyond, of)
    shared = for_audience(internal, "shared")
    for report in (internal, shared):
        edpb = (render_annex_markdown(report, name="edpb"), render_annex_html(report, name="edpb"))
        for shown in (render_markdown(report), render_html(report), render_board(report), *edpb):
            assert (SAID in html.unescape(shown)) is said
    page = html.unescape(render_html(internal))
    assert f"{beyond} of {of} members, 7 of {of} nonmembers" in page
    public = html.unescape(render_html(shared))
    assert f"{beyond} of {of} members" not in public
    assert ("more than a few" in public) is said
    assert all(one.depth is None for one in shared.policy.attribute_classes)


def test_where_no_attacker_decides_it_is_not_said_that_one_does() -> None:
    report = deep(11, 100)
    loose = [cell.model_copy(update={"gating": False}) for cell in report.cells]
    said = " ".join(not_proof_sentences(report.model_copy(update={"cells": loose})))
    assert SAID not in said
    assert "no attacker could reach" in said


def test_a_shared_report_says_of_tokens_what_counts_no_patients() -> None:
    shown = for_audience(deep(11, 100), "shared").target.token_shares
    assert shown == TokenShares(continued=None, scored=None, beyond=0.3, by_windows=True)
    # where somebody is not scored, the rest hangs on who was asked
    public = for_audience(deep(11, 100, by_windows=False), "shared")
    assert public.target.token_shares is None
