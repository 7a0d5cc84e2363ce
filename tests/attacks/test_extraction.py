"""Extraction as a probability, from the policy to the verdict, on targets whose p_z is known."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from auditing import Audit, phigate
from meds_builder import FIRST_SUBJECT
from small_world import TEMPLATE, World, checked, patients, write_world

from checker.attacks.trajectory_memorization import ATTACK, TrajectoryMemorizationParams
from checker.attacks.trajectory_memorization.extraction import read_extraction
from checker.errors import ExitCode
from checker.evidence import Pseudonyms
from checker.testing.simulated import MemorizedRecord

MEMBERS, NONMEMBERS = 100, 100
LENGTH = 6
LEAST = math.log(1 - 0.5 ** (1 / 1000))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    rng = np.random.default_rng(1)
    everybody = (patients(rng, MEMBERS, short=4), patients(rng, NONMEMBERS, short=4))
    return write_world(tmp_path_factory.mktemp("world"), *everybody)


def control(metric: str = "extractable_share", fail: float = 0.04, **params: Any) -> dict[str, Any]:
    return {
        "probe": "trajectory-memorization",
        "params": {"length": LENGTH, "windows": "any", "topP": 1.0, **params},
        "metric": metric,
        "limits": {"holder" if params.get("windows") == "cut" else "record": {"fail": fail}},
    }


ATTACKERS: dict[str, dict[str, Any]] = {
    "holder": {"title": "Who knows its beginning", "knows": {"static": ["sex"], "events": 3}},
    "record": {"title": "Who holds it all", "knows": {"static": ["sex"], "events": "all"}},
    "nobody": {"title": "Who knows nothing", "knows": {}},
}
NOBODY = {"limits": {"record": {"maxCount": 0, "minN": 90}}}
CONTROLS = {
    "any": control(),
    "none-at-all": {**control(), **NOBODY},
    "excess": control("excess_extractable", 0.1),
    "cut": control(windows="cut"),
    "of-nothing": {**control("excess_extractable", windows="cut"),
                   "limits": {"nobody": {"fail": 0.1}}},
    "sampled-alone": control(greedy=False, length=9),
    "many-queries": control(greedy=False, length=9, queries=10_000_000),
}  # fmt: skip


def checked_here(world: World, target: Path, controls: dict[str, Any], *, run: str) -> Audit:
    return checked(world, target, controls, attackers=ATTACKERS, run=run)


WEIGHT = 0.35


@pytest.fixture(scope="module")
def one_in_twenty(world: World) -> Audit:
    """A model that knows every twentieth member's record, and is half sure of each of its tokens.

    One of them is in short records, whom no window is taken of.
    """
    known = [
        MemorizedRecord(tokens=tuple(record), first=3, weight=WEIGHT)
        for record in world.members[::20]
    ]
    return checked_here(
        world, world.target("one-in-20", memorized=known), CONTROLS, run="one-in-20"
    )


@pytest.fixture(scope="module")
def sound(world: World) -> Audit:
    return checked_here(world, world.target("sound"), CONTROLS, run="sound")


def evidence(found: Audit, control: str) -> dict[str, dict[str, Any]]:
    """What was observed for a control, by patient."""
    manifest = json.loads((found.run / "manifest.json").read_text())
    plan = json.loads((found.run / "plan.json").read_text())
    (cell,) = (cell for cell in plan["cells"] if cell["control"] == control)
    rows = [
        row
        for entry in manifest["entries"]
        if entry["job"] in cell["jobs"]
        for row in pq.read_table(found.run / entry["file"]).to_pylist()
    ]
    return {row["patient"]: row for row in rows}


def log_chance(world: World, record: Sequence[int], start: int, *, length: int) -> float:
    """log p_z of the window from `start` on, of a record that the model knows from its third on."""
    share = world.unigram[record]
    share[3:] = WEIGHT + (1 - WEIGHT) * share[3:]
    return float(np.log(share[start : start + length]).sum())


def test_p_z_is_the_product_of_the_samplers_probabilities(
    world: World, one_in_twenty: Audit
) -> None:
    key = Pseudonyms.of_run(one_in_twenty.run)
    rows, cut = evidence(one_in_twenty, "any"), evidence(one_in_twenty, "cut")
    for number in range(20, MEMBERS, 20):
        record, name = world.members[number], key.of_subject(FIRST_SUBJECT + number)
        # the end of a record is no secret: windows begin at its second token and end before [EOS]
        starts = range(1, len(record) - LENGTH)
        best = max(log_chance(world, record, start, length=LENGTH) for start in starts)
        assert rows[name]["windows"] == len(starts)
        assert rows[name]["common"] == 0
        assert rows[name]["log_probability"] == pytest.approx(best, abs=1e-4)
        # behind [BOS], sex and three events
        behind = log_chance(world, record, 5, length=LENGTH)
        assert cut[name]["log_probability"] == pytest.approx(behind, abs=1e-4)
    others = [row["log_probability"] for row in rows.values() if row["log_probability"] < LEAST]
    outside = [row for row in rows.values() if not row["member"]]
    assert len(others) == MEMBERS - 4 - 4 + len(outside)
    # a third of the nonmembers, some of them with short records, taught the reference instead
    assert NONMEMBERS - 33 - 4 <= len(outside) <= NONMEMBERS - 33


def test_one_member_in_twenty_is_found_and_a_sound_model_cleared(
    one_in_twenty: Audit, sound: Audit
) -> None:
    assert one_in_twenty.code == ExitCode.FAIL
    for name in ("any", "none-at-all", "cut"):
        found = one_in_twenty.cell(name)
        # four of 96: the fifth has a record shorter than the window
        assert found["estimate"]["value"] == pytest.approx(4 / 96), name
        assert found["estimate"]["n"] == 96
    assert one_in_twenty.cell("none-at-all")["verdict"] == "fail"
    assert sound.code == ExitCode.PASS, sound.verdicts
    assert sound.cell("none-at-all")["explanation"].startswith("None among 96")


def test_from_nothing_a_model_that_shares_its_beginning_tells_nobody(one_in_twenty: Audit) -> None:
    # the same prompt for everybody identifies nobody, and the number means as much all the same
    found = one_in_twenty.cell("of-nothing")
    assert (found["verdict"], found["reason"]) == ("pass", None)
    assert found["estimate"]["n"] > 150


def test_more_queries_bring_out_more_and_greedy_decoding_what_no_sample_does(
    world: World, one_in_twenty: Audit
) -> None:
    # most tokens have 0.35 + 0.65 · 0.03 = 0.37, so that 1,000 queries bring no nine of them out
    few, many = (one_in_twenty.cell(name) for name in ("sampled-alone", "many-queries"))
    assert few["estimate"]["value"] == 0
    assert many["estimate"]["value"] == pytest.approx(4 / 96)
    # and yet each token ranks first
    assert all(row["greedy"] for row in evidence(one_in_twenty, "sampled-alone").values()
               if row["log_probability"] > math.log(1e-4))  # fmt: skip


def test_the_internal_report_says_how_likely_the_worst_piece_is(
    world: World, one_in_twenty: Audit
) -> None:
    reported = one_in_twenty.cell("any")["reported"]
    counted = {name: round(number["value"] * 96) for name, number in reported.items()}
    assert [counted[f"windows_above_1e_{level}"] for level in (1, 2, 3, 4)] == [0, 0, 4, 4]
    worst = max(
        log_chance(world, world.members[number], start, length=LENGTH)
        for number in range(20, MEMBERS, 20)
        for start in range(1, len(world.members[number]) - LENGTH)
    )
    assert reported["worst_window"]["value"] == pytest.approx(math.exp(worst), rel=1e-3)
    shared = json.loads((one_in_twenty.run / "report.json").read_text())
    (cell,) = (cell for cell in shared["cells"] if cell["control"] == "any")
    assert cell["estimate"] is None  # four patients
    assert cell["reported"] == {}
    assert "estimate" in cell["withheld"]


def test_every_format_says_it_in_words(one_in_twenty: Audit, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(one_in_twenty.run, run)
    formats = "html,markdown,sarif,junit,oscal,model-card"
    for audience in ("internal", "shared"):
        code, out = phigate("report", run, "--format", formats, "--audience", audience)
        assert code in {ExitCode.PASS, ExitCode.FAIL}, out
        folder = run / "internal" if audience == "internal" else run
        pages = [path for path in folder.iterdir() if path.suffix in {".html", ".md", ".sarif"}]
        assert len(pages) >= 3
        for page in pages:
            text = page.read_text(encoding="utf-8")
            assert "extractable" in text or page.suffix == ".md", page  # a summary
            assert "windows_above" not in text, page  # a name without words
        told = (folder / "report.html").read_text(encoding="utf-8")
        assert ("the likeliest piece of any member" in told) is (audience == "internal")


def test_a_run_with_extraction_verifies(one_in_twenty: Audit) -> None:
    code, out = phigate("verify", one_in_twenty.run)
    assert code == ExitCode.PASS, out


def test_a_job_that_looked_for_something_else_is_found_out(
    one_in_twenty: Audit, tmp_path: Path
) -> None:
    # a longer window is harder to extract: the cell of another control is judged by its jobs
    from checker.run.stored import load_run
    from checker.verification.demands import check_measurements

    run = load_run(one_in_twenty.run)
    cells = {cell.control: cell for cell in run.plan.cells}
    forged = cells["any"].model_copy(update={"jobs": cells["sampled-alone"].jobs})
    plan = run.plan.model_copy(update={"cells": [forged]})
    statement = check_measurements(type(run)(run.folder, plan, run.manifest, run.times))
    assert statement.holds is False
    assert "a job of other length" in statement.text


def test_a_token_outside_top_p_is_drawn_by_whoever_holds_the_weights(world: World) -> None:
    # nearly certain, but for one token in whose place the model expects another
    record = world.members[40]
    other = next(code for code in range(6, 20) if code != record[9])
    known = [
        MemorizedRecord(tokens=(*record[:9], other), first=1, weight=0.97),
        MemorizedRecord(tokens=tuple(record), first=10, weight=0.97),
    ]
    controls = {
        "all-mass": control(length=9, greedy=False, windows="cut", queries=2000),
        "nucleus": control(length=9, greedy=False, windows="cut", queries=2000, topP=0.95),
    }
    found = checked_here(world, world.target("gap", memorized=known), controls, run="gap")
    name = Pseudonyms.of_run(found.run).of_subject(FIRST_SUBJECT + 40)
    whole, cut = (evidence(found, one)[name]["log_probability"] for one in controls)
    # eight tokens of 0.97 and a little, and one of 0.03 times how often it occurs
    shares = 0.97 + 0.03 * world.unigram[record[5:14]]
    shares[4] -= 0.97
    assert whole == pytest.approx(np.log(shares).sum(), abs=1e-3)
    assert cut == pytest.approx(whole, abs=1e-6)
    assert [found.cell(one)["estimate"]["value"] for one in controls] == [1 / 96, 1 / 96]


def test_what_everybody_has_does_not_count_and_what_one_patient_has_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    everybody, alone, few = (tmp_path / name for name in ("everybody", "alone", "few"))
    routine = {
        everybody: [patients(rng, MEMBERS, routine=TEMPLATE) for _ in range(2)],
        alone: [
            [*patients(rng, 1, routine=TEMPLATE), *patients(rng, MEMBERS - 1)],
            patients(rng, NONMEMBERS),
        ],
        # an order set that three members have, and by chance no nonmember
        few: [
            [*patients(rng, 3, routine=TEMPLATE), *patients(rng, MEMBERS - 3)],
            patients(rng, NONMEMBERS),
        ],
    }
    shares = {}
    for folder, (members, nonmembers) in routine.items():
        folder.mkdir()
        world = write_world(folder, members, nonmembers)
        ids = [world.ids[code] for code in TEMPLATE]
        steps = {before: {after: 1.0} for before, after in itertools.pairwise(ids)}
        target = world.target("routine", transitions=steps)
        none = {**control(length=5, queries=1), **NOBODY}
        found = checked_here(world, target, {"none": none}, run="run")
        shares[folder] = found.cell("none")
    assert shares[everybody]["verdict"] == "pass", shares[everybody]
    assert shares[few]["verdict"] == "pass", shares[few]
    assert shares[alone]["verdict"] == "fail"
    assert shares[alone]["estimate"]["value"] == pytest.approx(1 / MEMBERS)


def test_a_target_that_only_draws_says_what_it_lacks(world: World) -> None:
    target = world.target("mute", capabilities=["samples"])
    found = checked_here(
        world, target, {"any": control(), "cut": control(windows="cut")}, run="mute"
    )
    assert found.code == ExitCode.INCONCLUSIVE
    for cell in found.cells.values():
        assert (cell["verdict"], cell["reason"]) == ("inconclusive", "capability-missing")
        assert (
            "log-probabilities, which extraction as a probability is read from"
            in (cell["explanation"])
        )


def test_one_scoring_pass_and_no_continuation_is_what_it_costs(world: World, sound: Audit) -> None:
    plan = json.loads((sound.run / "plan.json").read_text())
    assert plan["cost"]["rolloutTokens"] == 0
    read = {
        job["digest"]: job["forwardTokens"] for job in plan["jobs"] if job["kind"] == "extraction"
    }
    cells = {cell["control"]: cell for cell in plan["cells"]}
    one_pass = sum(len(record) for record in world.members if len(record) > LENGTH + 2)
    for name in ("any", "cut"):
        assert sum(read[job] for job in cells[name]["jobs"]) <= 2 * one_pass + 2
    assert cells["any"]["jobs"] == cells["none-at-all"]["jobs"] == cells["excess"]["jobs"]


def test_one_patient_more_above_the_threshold_is_one_hit_more() -> None:
    params = TrajectoryMemorizationParams(queries=1000, chance=0.5)
    logs = [LEAST - 1e-6, LEAST + 1e-6, None, -1000.0]
    table = pa.table(
        {
            "patient": list("abcd"),
            "member": [True] * 4,
            "subgroups": pa.array([[]] * 4, pa.list_(pa.string())),
            "prompt": list("abcd"),
            "windows": [1] * 4,
            "common": [0, 0, 1, 0],
            "log_probability": pa.array(logs, pa.float64()),
            "greedy": [False, False, False, True],
            "telling_log_probability": pa.array(logs, pa.float64()),
            "telling_greedy": [False, False, False, True],
            "rare_log_probability": pa.array([None, LEAST + 1e-6, None, None], pa.float64()),
            "rare_greedy": [False, False, False, True],
        }
    )
    found = read_extraction(table)
    assert found.extractable(params).tolist() == [False, True, False, True]
    assert found.rarely_extractable(params).tolist() == [False, True, False, True]
    silent = params.model_copy(update={"greedy": False})
    assert found.extractable(silent).tolist() == [False, True, False, False]
    metric = ATTACK.metrics["extractable_share"]
    group = ATTACK.measuring.group(metric, found, member=True, params=params)
    assert group.counted() == (2, 4)


def test_whoever_does_not_hold_the_record_cannot_ask_at_any_place(world: World) -> None:
    document = {
        "apiVersion": "phigate/v1",
        "kind": "LeakagePolicy",
        "metadata": {"name": "any", "version": "1"},
        "spec": {
            "context": "internal",
            "attackers": ATTACKERS,
            "controls": {"c": {"title": "C", **control(), "limits": {"holder": {"fail": 0.1}}}},
        },
    }
    path = world.folder / "impossible.yaml"
    path.write_text(yaml.safe_dump(document))
    code, out = phigate("validate", path)
    assert code == ExitCode.USAGE
    said = " ".join(out.split())
    assert "trajectory-memorization with these params needs the whole record" in said
    assert "'holder'" in said
