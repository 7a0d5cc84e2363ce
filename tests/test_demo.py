"""The main job, as `make demo` runs it: train two models, audit both, tell them apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command

from checker.errors import ExitCode


def test_the_demo_fails_the_overtrained_model_and_passes_the_sound_one(
    phigate: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    outcome = phigate("demo", "--out", folder)
    assert outcome.code == 0, outcome.err
    over = json.loads((folder / "run-overtrained" / "internal" / "report.json").read_text())
    assert over["verdict"] == "fail"
    failed = {cell["id"] for cell in over["cells"] if cell["verdict"] == "fail" and cell["gating"]}
    assert "membership/record/all" in failed
    for name in ("hiv", "substance-use", "serious-mental-illness"):
        assert f"{name}-disclosure/events-10/all" in failed
    sound = json.loads((folder / "run-sound" / "internal" / "report.json").read_text())
    assert sound["verdict"] == "pass"
    samples = [cell["sample"] for cell in sound["cells"] if "disclosure/events-" in cell["id"]]
    sensitive = [s for s in samples if s["membersPositive"] == s["members"] == 80]
    assert len(sensitive) == 6  # exactly 80 eligible positives: three classes, two attackers
    assert all(s["nonmembers"] == 80 for s in sensitive)
    for model in ("overtrained", "sound"):
        assert phigate("verify", folder / f"run-{model}").code == 0
        shared = json.loads((folder / f"run-{model}" / "report.json").read_text())
        assert (shared["audience"], sound["audience"]) == ("shared", "internal")


def test_the_demo_never_clears_a_folder_that_is_not_its_own(
    phigate: Command, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    outcome = phigate("demo", "--out", tmp_path)
    assert outcome.code == ExitCode.USAGE
    assert (tmp_path / "thesis.tex").read_text() == "precious"


@pytest.mark.skipif(
    not (Path(__file__).parents[2] / "shared" / "data" / "synthea").exists(),
    reason="the Synthea data set is not here",
)
def test_the_demo_on_real_codes_says_what_it_left_out_and_does_not_pass_rare_classes(
    phigate: Command, tmp_path: Path
) -> None:
    data = Path(__file__).parents[2] / "shared" / "data" / "synthea"
    folder = tmp_path / "demo"
    outcome = phigate(
        "demo", "--cohort", data, "--out", folder, "--max-patients", 60, "--max-tokens", 64
    )
    assert outcome.code == 0, outcome.err
    assert "left out by --max-patients: 982 members and 748 nonmembers" in outcome.err
    assert "tokens lie beyond the first 64" in outcome.err
    assert "class hiv, which matches no code" in outcome.err
    for model in ("overtrained", "sound"):
        report = json.loads((folder / f"run-{model}" / "report.json").read_text())
        assert report["verdict"] == "inconclusive"
