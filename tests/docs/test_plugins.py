"""The packages of docs/extending are whole: installed as they stand, phigate uses them."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from auditing import three_classes
from warm_phigate import warm_phigate

ROOT = Path(__file__).parents[2]
SIMULATED = ROOT / "checker" / "testing" / "plugins"
"""Where the backend of simulated targets is declared, as for any other test."""

PAGES = {path.stem: path for path in (ROOT / "docs" / "extending").glob("*.md")}


def files(page: str) -> dict[str, str]:
    """The files that a page shows, by their name."""
    text = PAGES[page].read_text(encoding="utf-8")
    shown = re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert len(dict(shown)) == len(shown)
    return dict(shown)


PACKAGES = {
    page: found
    for page in PAGES
    if (found := {k: v for k, v in files(page).items() if k.startswith("phigate-")})
}


@dataclass(frozen=True)
class Outcome:
    code: int
    said: str


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All packages of the pages, installed into one folder from their files alone."""
    sources = tmp_path_factory.mktemp("sources")
    for shown in PACKAGES.values():
        for name, text in shown.items():
            path = sources / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for name in ("known.patch", "new.patch"):  # which only add to the attack's package
        patch = tmp_path_factory.mktemp("patch") / name
        patch.write_text(files("metric")[name], encoding="utf-8")
        subprocess.run(["git", "init", "-q"], cwd=sources, check=True)  # or git looks further up
        subprocess.run(["git", "apply", str(patch)], cwd=sources, check=True)
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"),
            *("--no-build-isolation", "--disable-pip-version-check", "--target", str(folder)),
            *sorted(str(path) for path in sources.glob("phigate-*")),
        ],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def phigate(installed: Path) -> Iterator[Callable[..., Outcome]]:
    """Run the command line in processes that have the packages."""
    with warm_phigate() as commands:

        def run(*arguments: object) -> Outcome:
            places = map(str, [installed, SIMULATED, ROOT])
            done = subprocess.run(
                [commands / "phigate", *map(str, arguments)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert "Traceback" not in done.stderr
            return Outcome(done.returncode, done.stdout + done.stderr)

        yield run


def test_there_are_packages_to_try() -> None:
    assert {"attack", "backend", "report-format"} <= set(PACKAGES)


def test_code_that_is_shown_is_code_that_is_run() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        opened = re.findall(r"^```(python|toml)(.*)$", page.read_text(encoding="utf-8"), re.M)
        # servers are run by tests/targets/test_flight.py
        tags = (" file=phigate-", " file=served/")
        assert all(any(tag in rest for tag in tags) for _, rest in opened), page


@pytest.fixture(scope="module")
def audited(
    phigate: Callable[..., Outcome],
    simulated_targets: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The run of an audit of the backend's table, which knows how often each token occurs."""
    folder = tmp_path_factory.mktemp("bigram")
    simulated = json.loads((simulated_targets / "sound.json").read_text())
    unigram = np.array(simulated["unigram"])
    np.save(folder / "table.npy", np.tile(unigram, (len(unigram), 1)))
    target = yaml.safe_load((simulated_targets / "sound.yaml").read_text())
    (shown,) = re.findall(r"^model: (\{.*\})$", PAGES["backend"].read_text(), flags=re.MULTILINE)
    target["spec"]["model"] = yaml.safe_load(shown)
    target["spec"]["tokenization"]["vocabulary"] = str(simulated_targets / "vocab.json")
    target["spec"]["data"]["path"] = str(simulated_targets / "cohort")
    target["spec"]["expect"]["tokens"] = str(simulated_targets / "sample.parquet")
    (folder / "target.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
    (folder / "policy.yaml").write_text(three_classes(), encoding="utf-8")
    done = phigate(
        "check", folder / "policy.yaml", folder / "target.yaml",
        "--out", folder / "run", "--format", "json,csv",
    )  # fmt: skip
    assert done.code == 0, done.said
    return folder / "run"


def test_the_backend_s_model_is_audited(audited: Path) -> None:
    report = json.loads((audited / "report.json").read_text())
    assert report["verdict"] == "pass"
    manifest = json.loads((audited / "manifest.json").read_text())
    assert "bigram" in json.dumps(manifest["environment"])
    assert not manifest["crashed"]


def test_the_format_writes_a_line_for_each_cell(audited: Path) -> None:
    report = json.loads((audited / "report.json").read_text())
    with (audited / "report.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["cell"] for row in rows] == [cell["id"] for cell in report["cells"]]
    assert {row["verdict"] for row in rows} == {cell["verdict"] for cell in report["cells"]}


METRICS = ("excess_certainty", "certainty_auroc", "certainty_shift")


def certainty_policy() -> dict[str, Any]:
    """The attack's policy, with a control for each metric of the pages."""
    policy: dict[str, Any] = yaml.safe_load(files("attack")["certainty.yaml"])
    (control,) = policy["spec"]["controls"].values()
    limits = {"certainty_auroc": {"insider": {"fail": 0.6}}}
    policy["spec"]["controls"] = {
        name.replace("_", "-"): {
            **control,
            "metric": name,
            "limits": limits.get(name, control["limits"]),
        }
        for name in METRICS
    }
    return policy


@pytest.mark.parametrize(
    ("target", "code", "verdicts"),
    [
        ("leaking", 1, ["fail", "fail", "fail"]),
        # a table of frequencies is sure of nothing, so that nothing varies for Welch's bounds
        ("sound", 3, ["pass", "pass", "inconclusive"]),
    ],
)
def test_the_attack_flags_a_leaking_target_and_clears_a_sound_one(
    phigate: Callable[..., Outcome],
    simulated_targets: Path,
    tmp_path: Path,
    target: str,
    code: int,
    verdicts: list[str],
) -> None:
    policy, run = tmp_path / "certainty.yaml", tmp_path / "run"
    policy.write_text(yaml.safe_dump(certainty_policy(), sort_keys=False))
    done = phigate("check", policy, simulated_targets / f"{target}.yaml", "--out", run)
    assert done.code == code, done.said
    cells = json.loads((run / "report.json").read_text())["cells"]
    assert [cell["metric"] for cell in cells] == list(METRICS)
    assert [cell["verdict"] for cell in cells] == verdicts
    assert len(json.loads((run / "plan.json").read_text())["cells"][0]["jobs"]) == 1
    if target == "leaking":
        verified = phigate("verify", run)
        assert verified.code == 0, verified.said
    assert "certain tokens of members" in (run / "report.html").read_text()
