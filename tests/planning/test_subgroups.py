"""T6: every kind of control, judged on patients with a rare code, the old, and by static field."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import meds
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from auditing import Audit, audit, write_policy
from command_line import Command

from checker.errors import ExitCode

TEN_EVENTS = {"events-10": {"fail": 0.2}}
SUBGROUPS: list[Any] = ["all", "rare_code", {"rareCode": 0}, {"ageOver": 60}, {"static": "race"}]
RACES = ["ASIAN", "BLACK", "HISPANIC", "OTHER", "WHITE"]
NAMES = ["all", "rare_code", "rare_code<=0", "age>60", *(f"race={race}" for race in RACES)]

CONTROLS: dict[str, Any] = {
    "extraction": {
        "probe": "trajectory-memorization",
        "params": {"horizonTokens": 24, "minRun": 6, "samples": 2},
        "metric": "excess_extraction",
        "limits": {"events-10": {"fail": 0.3}},
    },
    "hiv-disclosure": {"limits": TEN_EVENTS},
    "embedding": {
        "attributeClass": "common-chronic",
        "probe": "embedding-probe",
        "metric": "probe_auroc",
        "limits": {"insider": {"fail": 0.99}},
    },
    "membership": {"limits": {"record": {"fail": 0.6}}},
    "perturbation": {
        "attributeClass": "hiv",
        "probe": "identifier-perturbation",
        "params": {"horizonTokens": 32},
        "metric": "memorized_share",
        "limits": TEN_EVENTS,
    },
}
INSIDER = {"knows": {"static": ["age", "sex"], "events": 5}, "access": "embeddings"}
NUMBERS = ("estimate", "members", "nonmembers", "placebo", "pValue")


def leave_one_race_to_nonmembers(folder: Path) -> None:
    """Make everybody of race OTHER white, but for a single nonmember."""
    for split in (meds.train_split, meds.held_out_split):
        path = folder / "cohort" / meds.data_subdirectory / split / "0.parquet"
        table = pq.read_table(path)
        codes = table["code"].to_pylist()
        kept = codes.index("RACE//OTHER") if split == meds.held_out_split else None
        new = [
            "RACE//WHITE" if code == "RACE//OTHER" and i != kept else code
            for i, code in enumerate(codes)
        ]
        at = table.column_names.index("code")
        pq.write_table(table.set_column(at, "code", pa.array(new, pa.string())), path)


@pytest.fixture(scope="module")
def audited(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """The leaking target under a control of each kind, each on all subgroups."""
    folder = tmp_path_factory.mktemp("subgroups") / "targets"
    shutil.copytree(simulated_targets, folder)
    leave_one_race_to_nonmembers(folder)
    target = yaml.safe_load((folder / "leaking.yaml").read_text())
    del target["spec"]["expect"]  # the sample was written before races were changed
    (folder / "leaking.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
    controls = {name: {**one, "subgroups": SUBGROUPS} for name, one in CONTROLS.items()}
    policy = write_policy(folder / "policy.yaml", controls, attackers={"insider": INSIDER})
    return audit(policy, folder / "leaking.yaml", folder / "run")


def cells_of(outcome: Audit, control: str) -> dict[str, Any]:
    """A control's cells by subgroup."""
    return {c["subgroup"]: c for c in outcome.cells.values() if c["control"] == control}


@pytest.mark.parametrize("control", CONTROLS)
def test_every_control_has_a_cell_for_each_subgroup(audited: Audit, control: str) -> None:
    found = cells_of(audited, control)
    assert list(found) == NAMES
    sizes = {name: cell["sample"]["members"] for name, cell in found.items()}
    # each patient has one race; the others are slices of everybody
    assert sum(sizes[f"race={race}"] for race in RACES) == sizes["all"]
    assert 0 <= sizes["rare_code<=0"] <= sizes["rare_code"] <= sizes["all"]
    assert 0 < sizes["age>60"] < sizes["all"]


@pytest.mark.parametrize("control", [name for name in CONTROLS if name != "embedding"])
def test_a_leak_is_found_in_the_subgroups_too(audited: Audit, control: str) -> None:
    found = cells_of(audited, control)
    for name in ("all", "race=WHITE"):
        assert found[name]["verdict"] == "fail", found[name]


@pytest.mark.parametrize("control", CONTROLS)
def test_a_cell_measures_the_patients_of_its_subgroup_and_no_others(
    audited: Audit, control: str
) -> None:
    found = cells_of(audited, control)
    whole, part = (found[name]["estimate"]["n"] for name in ("all", "race=WHITE"))
    assert 0 < part < whole
    if control == "membership":  # everybody in it, of both splits
        sample = found["race=WHITE"]["sample"]
        assert part == sample["members"] + sample["nonmembers"]
    elif control in {"hiv-disclosure", "perturbation"}:  # ten events and age tell patients apart
        sample = found["race=WHITE"]["sample"]
        excess = control == "hiv-disclosure"
        assert part == sample["members"] + (sample["nonmembers"] if excess else 0)


def small_cells(outcome: Audit, *, beyond_limit: bool) -> list[dict[str, Any]]:
    """Cells of fewer members than minCell, either shown to be beyond their limit or not."""
    return [
        cell
        for cell in outcome.cells.values()
        if cell["subgroup"] != "all"
        and cell["verdict"] != "not_applicable"
        and cell["sample"]["members"] < 11
        and (cell["estimate"] is not None) == beyond_limit
    ]


def test_a_subgroup_of_too_few_is_neither_judged_nor_shown(audited: Audit) -> None:
    small = small_cells(audited, beyond_limit=False)
    assert {cell["control"] for cell in small} == set(CONTROLS)
    for cell in small:
        assert (cell["verdict"], cell["reason"]) == ("inconclusive", "subgroup-too-small"), cell
        assert [cell[name] for name in NUMBERS] == [None] * len(NUMBERS)
        assert not cell["reported"]
        # of all numbers only the policy's own is told
        assert re.findall(r"[0-9]+", cell["explanation"]) == ["11"]


def test_a_leak_is_not_hidden_by_how_few_it_meets(audited: Audit) -> None:
    # nine of the ten black members with HIV are told on
    small = small_cells(audited, beyond_limit=True)
    assert "hiv-disclosure/events-10/race=BLACK" in {cell["id"] for cell in small}
    for cell in small:
        assert cell["estimate"]["low"] > cell["limit"]["fail"], cell
        assert cell["id"] in audited.report["summary"]["blockedBy"]


def test_a_value_that_no_member_has_is_not_applicable(audited: Audit) -> None:
    for control in CONTROLS:
        found = cells_of(audited, control)["race=OTHER"]
        assert (found["verdict"], found["reason"]) == ("not_applicable", "subgroup-empty")
        assert found["estimate"] is None


def test_a_subgroup_that_cannot_be_decided_warns_unless_the_policy_says_more(
    audited: Audit,
) -> None:
    undecided = {
        name
        for name, cell in audited.cells.items()
        if cell["reason"] in {"subgroup-too-small", "bounds-straddle-limit"}
    }
    assert undecided
    assert not undecided & set(audited.report["summary"]["blockedBy"])


# --- what has no patients -----------------------------------------------------------------------

WITHOUT_PATIENTS: dict[str, Any] = {
    "exposure_bits": {
        "probe": "canary-exposure",
        "params": {"manifest": "manifest.json"},
        "limits": {"record": {"fail": 2.0}},
    },
    "epsilon_lower_bound": {
        "probe": "canary-exposure",
        "params": {"manifest": "manifest.json"},
        "limits": {"record": {"fail": 2.0}},
    },
    "regurgitation_excess": {"probe": "trajectory-memorization", "limits": TEN_EVENTS},
}


@pytest.mark.parametrize("metric", WITHOUT_PATIENTS)
@pytest.mark.parametrize("subgroup", SUBGROUPS[1:], ids=json.dumps)
def test_what_counts_no_patients_takes_no_subgroups(
    phigate: Command, tmp_path: Path, metric: str, subgroup: Any
) -> None:
    control = WITHOUT_PATIENTS[metric] | {"metric": metric}
    path = tmp_path / "policy.yaml"
    write_policy(path, {"planted": control})
    assert phigate("validate", path).code == ExitCode.PASS
    write_policy(path, {"planted": control | {"subgroups": ["all", subgroup]}})
    outcome = phigate("validate", path)
    assert outcome.code == ExitCode.USAGE
    line = next(
        number
        for number, text in enumerate(path.read_text().splitlines(), 1)
        if text.strip().startswith("- all")
    )
    assert f"policy.yaml:{line + 1}:" in outcome.err
    assert f"'{metric}' is no measure of patients, so it has no subgroups" in outcome.err
