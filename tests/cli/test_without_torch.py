"""What `pip install phigate` can do: all but measure a model, and it says what that takes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import tiny_models
from auditing import LATE, write_variant
from command_line import Checked
from packaging.requirements import Requirement

from checker.extras import EXTRAS, install_command

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS_OF_USERS = {name: PROJECT["optional-dependencies"][name] for name in EXTRAS}

WITHOUT = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout

absent, commands = sys.argv[1].split(","), json.loads(sys.argv[2])

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from checker.cli import main

ends = []
for arguments in commands:
    sys.argv = ["phigate", *arguments]
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            main()
        except SystemExit as leaving:
            ends.append((int(leaving.code or 0), said.getvalue()))
assert not {name.partition(".")[0] for name in sys.modules} & set(absent)
print(json.dumps(ends))
"""


def without(modules: str, folder: Path, *commands: str) -> list[tuple[int, str]]:
    """Run commands in a Python that has some modules not; exit codes, and what was said."""
    given = json.dumps([command.split() for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, modules, given],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [(code, said) for code, said in json.loads(done.stdout)]


def test_documents_evidence_and_reports_need_no_torch(
    checked: Callable[[str], Checked], finished_checks: Callable[[str], Checked]
) -> None:
    folder = checked("leaking").folder
    (folder / "tests.yaml").write_text(
        "apiVersion: phigate/v1\nkind: PolicyTest\nmetadata: {name: t, version: '1'}\n"
        "spec:\n  policy: policy.yaml\n  cases:\n    - name: Many\n      cells:\n"
        "        - {cell: hiv-disclosure/events-10, members: 90 of 100,"
        " nonmembers: 0 of 100, expect: fail}\n"
    )
    commands = {
        "validate policy.yaml leaking.yaml": 0,
        "explain policy.yaml": 0,
        "diff policy.yaml policy.yaml": 0,
        "test tests.yaml": 0,
        "schema LeakagePolicy": 0,
        "classes list": 0,
        "plan policy.yaml leaking.yaml": 0,
        f"judge run --as-of {LATE}": 1,
        "report run --format html,markdown,oscal": 0,
        "keys make officer": 0,
        "sign run --key officer.key": 0,
        "verify run --key officer.pub": 0,
    }
    ends = without("torch,transformers,sklearn,threadpoolctl", folder, *commands)
    for (code, said), (command, expected) in zip(ends, commands.items(), strict=True):
        assert code == expected, f"{command}: {said}"
    # and it is the same judgement as with it
    kept = json.loads((finished_checks("leaking").run / "report.json").read_text())["cells"]
    assert json.loads((folder / "run" / "report.json").read_text())["cells"] == kept


def test_what_asks_or_trains_a_model_names_the_extra_and_records_no_crash(workspace: Path) -> None:
    vocabulary = json.loads((workspace / "vocab.json").read_text())
    tiny_models.save_gpt2(workspace / "gpt2", vocabulary=len(vocabulary), context=128)
    write_variant(workspace / "sound.yaml", "gpt", model={"backend": "huggingface", "path": "gpt2"})
    shutil.copy(ROOT / "policies" / "demo.yaml", workspace / "strongest.yaml")  # trains a reference
    commands = [
        "check policy.yaml gpt.yaml --out hf --format json",
        "run policy.yaml gpt.yaml --out hf",
        "target test gpt.yaml",
        "check strongest.yaml sound.yaml --out plug-in --format json",
        "demo --out demo",
        "plan policy.yaml gpt.yaml",  # reads the folder of the model, and opens none
        "check policy.yaml sound.yaml --out run --executor ray",
        "check policy.yaml sound.yaml --out run --format pdf",
    ]
    modules = "torch,transformers,sklearn,threadpoolctl,ray,weasyprint"
    *refused, planned, ray, pdf = without(modules, workspace, *commands)
    # what an option asks for is named with it, and is a mistake on the command line
    assert (ray[0], install_command("ray") in ray[1]) == (2, True)
    assert (pdf[0], install_command("pdf") in pdf[1]) == (2, True)
    assert not (workspace / "run").exists()
    for command, (code, said) in zip(commands, refused, strict=False):
        assert code == 4, f"{command}: {said}"
        assert said.rstrip().endswith(install_command("audit")), said
        assert said.count("not installed") == 1
    assert planned[0] == 0, planned[1]
    for run in ("hf", "plug-in"):
        assert not (workspace / run / "report.json").exists()
        manifest = workspace / run / "manifest.json"
        assert not manifest.exists() or not json.loads(manifest.read_text())["crashed"]
    assert not (workspace / "demo").exists()


def test_the_extras_that_are_named_are_those_that_can_be_installed() -> None:
    imported = {"scikit-learn": "sklearn"}
    for name, modules in EXTRAS.items():
        brought = [Requirement(one).name for one in EXTRAS_OF_USERS[name]]
        assert {imported.get(one, one) for one in brought} == set(modules)
    heavy = {name for modules in EXTRAS.values() for name in modules}
    assert not heavy & {Requirement(one).name for one in PROJECT["dependencies"]}
    everything = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "-e '.[audit,dev]'" in everything
