"""The main job, as `make demo` runs it: train two models, audit both, tell them apart."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import auditing
import meds
import pytest
import yaml
from command_line import Command
from meds_builder import Event, write_meds

from checker import clock
from checker.demo.cohort import SENSITIVE_CLASSES
from checker.demo.walkthrough import MODELS, Demonstration, Settings
from checker.errors import ExitCode
from checker.policy import load_policy


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration's folder as it is shipped, made once; who changes it works on a copy."""
    folder = tmp_path_factory.mktemp("demonstration") / "demo"
    code, said = auditing.phigate("demo", "--out", folder)
    assert code == 0, said
    return folder


def test_the_demo_fails_the_overtrained_model_and_passes_the_sound_one(
    phigate: Command, demo: Path
) -> None:
    folder = demo
    over = json.loads((folder / "run-overtrained" / "internal" / "report.json").read_text())
    assert over["verdict"] == "fail"
    failed = {cell["id"] for cell in over["cells"] if cell["verdict"] == "fail" and cell["gating"]}
    assert {cell["id"] for cell in over["cells"] if cell["gating"]} == failed
    sound = json.loads((folder / "run-sound" / "internal" / "report.json").read_text())
    assert sound["verdict"] == "pass"
    samples = {cell["control"]: cell["sample"] for cell in sound["cells"]}
    for name in SENSITIVE_CLASSES:  # exactly 80 eligible positives
        assert samples[name]["membersPositive"] == samples[name]["members"] == 80
        assert samples[name]["nonmembers"] == 80
    for model in ("overtrained", "sound"):
        assert phigate("verify", folder / f"run-{model}").code == 0
        shared = json.loads((folder / f"run-{model}" / "report.json").read_text())
        assert (shared["audience"], sound["audience"]) == ("shared", "internal")


def test_the_sound_model_passes_under_the_strongest_attack(demo: Path) -> None:
    for model, verdict in (("sound", "pass"), ("overtrained", "fail")):
        report = json.loads((demo / f"run-{model}" / "internal" / "report.json").read_text())
        (cell,) = (cell for cell in report["cells"] if cell["control"] == "membership")
        plan = json.loads((demo / f"run-{model}" / "plan.json").read_text())
        (planned,) = (one for one in plan["cells"] if one["id"] == cell["id"])
        assert planned["params"]["score"] == "strongest"
        assert cell["verdict"] == verdict
        # and the sound one knows more of medicine than which code follows which
        floor = next(check for check in report["admissibility"] if check["name"] == "floor")
        assert floor["holds"] is True


def test_a_model_is_judged_as_of_when_it_has_been_measured(
    simulated_targets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes on while a model is audited."""
    folder = shutil.copytree(simulated_targets, tmp_path / "demo")
    (folder / "sound.yaml").rename(folder / "target-sound.yaml")
    controls = {"membership": {"params": {"score": "loss"}}}
    auditing.write_policy(folder / "policy.yaml", controls)
    seconds = itertools.count()
    monkeypatch.setattr(
        clock, "current_time", lambda: auditing.MEASURED + timedelta(seconds=next(seconds))
    )
    report = Demonstration(Settings(folder, seed=0), say=lambda text: None).audit("sound")
    assert report.verdict == "pass"


def without_bos(folder: Path, tokenization: dict[str, Any]) -> None:
    del tokenization["specials"]["bos"]


def another_static_order(folder: Path, tokenization: dict[str, Any]) -> None:
    tokenization["prefixOrder"] = ["sex", "age", "race"]


def age_off_by_one(folder: Path, tokenization: dict[str, Any]) -> None:
    vocabulary = json.loads((folder / "vocab.json").read_text())
    ages = {token: token.removeprefix("AGE//") for token in vocabulary if token[:5] == "AGE//"}
    older = {f"AGE//{int(age) + 1}": vocabulary[token] for token, age in ages.items()}
    others = {token: i for token, i in vocabulary.items() if token not in ages}
    (folder / "older.json").write_text(json.dumps(others | older))
    tokenization["vocabulary"] = "older.json"


@pytest.mark.parametrize("break_format", [without_bos, another_static_order, age_off_by_one])
def test_the_overtrained_model_in_another_format_is_neither_failed_nor_passed(
    demo: Path, tmp_path: Path, break_format: Callable[[Path, dict[str, Any]], None]
) -> None:
    folder = shutil.copytree(demo, tmp_path / "demo")
    path = folder / "target-overtrained.yaml"
    document = yaml.safe_load(path.read_text())
    break_format(folder, document["spec"]["tokenization"])
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    asked: dict[str, dict[str, Any]] = {
        "hiv-disclosure": {
            "limits": {"events-10": {"fail": 0.05}},
            "params": {"samples": 3, "horizonTokens": 16},
        },
        "membership": {"params": {"score": "loss"}},
    }
    policy = auditing.write_policy(folder / "asked.yaml", asked, sampling={"patients": 100})
    found = auditing.audit(policy, path, folder / "run")
    assert found.code == ExitCode.INCONCLUSIVE
    assert {(cell["verdict"], cell["reason"]) for cell in found.cells.values()} == {
        ("inconclusive", "attack-not-shown-to-work")
    }
    assert found.check("attack-not-shown-to-work")["holds"] is False


@pytest.mark.parametrize(
    ("had", "pool"),
    [
        (("B20", "F1020", "I10"), ["hiv", "substance-use"]),
        (("B20", "F209"), ["hiv", "serious-mental-illness"]),
        (("F209", "I10"), "serious-mental-illness"),  # a pool of one is that class
        (("I10",), None),
    ],
)
def test_of_the_demo_policy_what_the_data_have_is_asked(
    tmp_path: Path, had: tuple[str, ...], pool: list[str] | str | None
) -> None:
    visits: list[Event] = [(f"DIAGNOSIS//ICD//10//{code}", day) for day, code in enumerate(had)]
    patient = [("GENDER//F", None), (meds.birth_code, -9000), *visits]
    data = write_meds(tmp_path / "meds", {"train": [patient] * 4, "held_out": [patient] * 4})
    said: list[str] = []
    demonstration = Demonstration(Settings(tmp_path / "demo", 0, cohort=data), say=said.append)
    demonstration.prepare()
    spec = load_policy(demonstration.policy_path).document.spec
    asked = {name: one.attribute_class for name, one in spec.controls.items()}
    assert {"membership", "membership-of-the-few", "standing-out", "recited"} <= {*asked}
    if pool is None:
        assert not {"told", "told-outright", *SENSITIVE_CLASSES} & {*asked}
    elif isinstance(pool, str):
        assert asked["told"] == asked["told-outright"] == asked[pool] == pool
    else:
        assert spec.attribute_classes[str(asked["told"])].any_of == pool
        assert asked["told"] == asked["told-outright"]
    for name in SENSITIVE_CLASSES:
        assert (name in asked) == (pool is not None and name in pool)
        assert any(f"class {name}, which matches no code" in one for one in said) != (name in asked)


def test_the_demo_never_clears_a_folder_that_is_not_its_own(
    phigate: Command, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    outcome = phigate("demo", "--out", tmp_path)
    assert outcome.code == ExitCode.USAGE
    assert (tmp_path / "thesis.tex").read_text() == "precious"


@pytest.mark.skipif(
    not (Path(__file__).parents[3] / "shared" / "data" / "synthea").exists(),
    reason="the Synthea data set is not here",
)
def test_the_demo_on_real_codes_says_what_it_left_out_and_does_not_pass_rare_classes(
    phigate: Command, tmp_path: Path
) -> None:
    data = Path(__file__).parents[3] / "shared" / "data" / "synthea"
    folder = tmp_path / "demo"
    outcome = phigate(
        "demo", "--cohort", data, "--out", folder, "--max-patients", 60, "--max-tokens", 64
    )
    assert outcome.code == 0, outcome.err
    assert "left out by --max-patients: 982 members and 748 nonmembers" in outcome.err
    assert "tokens lie beyond the first 64" in outcome.err
    assert "class hiv, which matches no code" in outcome.err
    # that records are recited can be told of sixty patients, that nothing leaks cannot
    for model, verdict in (("overtrained", "fail"), ("sound", "inconclusive")):
        report = json.loads((folder / f"run-{model}" / "report.json").read_text())
        assert report["verdict"] == verdict


@pytest.mark.parametrize(
    ("asked", "verdicts", "reason", "is_told"),
    [
        ((), ("fail", "pass"), None, True),
        # these very models were audited before
        ((), ("fail", "inconclusive"), "bounds-straddle-limit", False),
        (("--seed", 1), ("fail", "inconclusive"), "bounds-straddle-limit", True),
        (("--patients", 3000), ("fail", "inconclusive"), "bounds-straddle-limit", True),
        (("--seed", 1), ("fail", "inconclusive"), "splits-not-comparable", False),
        (("--seed", 1), ("inconclusive", "inconclusive"), "bounds-straddle-limit", False),
        (("--seed", 1), ("fail", "fail"), None, False),
        (("--seed", 1), ("pass", "pass"), None, False),
    ],
)
def test_what_the_demonstration_did_not_show_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[object, ...],
    verdicts: tuple[str, str],
    reason: str | None,
    is_told: bool,
) -> None:
    found = dict(zip(MODELS, verdicts, strict=True))

    def audited(self: Demonstration, model: str, progress: object) -> SimpleNamespace:
        open_one = SimpleNamespace(gating=True, verdict=found[model], reason=reason)
        shown = SimpleNamespace(gating=False, verdict="inconclusive", reason="too-few-positives")
        return SimpleNamespace(verdict=found[model], cells=(open_one, shown))

    monkeypatch.setattr(Demonstration, "prepare", lambda self: None)
    monkeypatch.setattr(Demonstration, "train", lambda self, progress: None)
    monkeypatch.setattr(Demonstration, "audit", audited)
    code, said = auditing.phigate("demo", "--out", tmp_path, *asked, "--json")
    assert (code == 0) is is_told, said
    assert ("did not show" not in said) is is_told
    assert ("--seed 0, under" in said) is (verdicts[1] == "inconclusive" and bool(asked))
