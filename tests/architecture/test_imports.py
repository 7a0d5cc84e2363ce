"""How the package hangs together: no circles, and nothing imported before it is needed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest
from module_graph import ROOT, cycles, trees

from checker.attacks.api import GROUP
from checker.plugins import BUILT_IN

HEAVY = {"torch", "transformers", "pyarrow", "sklearn", "scipy", "matplotlib", "ray", "weasyprint"}
FACES = [target.partition(":")[0] for target in BUILT_IN[GROUP].values()]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
LAYERS = {
    name.strip(): place
    for place, layer in enumerate(next(one["layers"] for one in CONTRACTS if one.get("exhaustive")))
    for name in layer.split("|")
}
"""Where each layer stands, 0 at the top; siblings stand together."""

BELOW_POLICY = ("attacks.api", "attacks.families", "attacks.wording")


def layer_of(module: str) -> float:
    """Return where a module stands in the contract, 0 at the top; the root stands at the bottom.

    What attacks show policies, their faces and what these are made of, stands below `policy`.
    """
    name = module.partition(".")[2]
    if module in FACES or name.startswith(BELOW_POLICY):
        return LAYERS["policy"] + 0.5
    return LAYERS[name.partition(".")[0]] if name not in {"", "attacks"} else len(LAYERS)


def loaded_by(code: str) -> tuple[set[str], set[str]]:
    """Run code in a Python of its own and return what it loads: our modules, and others."""
    shown = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", code + shown]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    names = json.loads(done.stdout.splitlines()[-1])
    own = {name for name in names if name.partition(".")[0] == "checker"}
    return own, {name.partition(".")[0] for name in names} - {"checker"}


def test_no_module_reaches_itself_by_imports() -> None:
    assert cycles() == []


def test_reading_the_package_finds_its_imports() -> None:
    assert cycles({"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("a")}) == [[*"abc"]]
    assert cycles({"a": frozenset("b"), "b": frozenset()}) == []


@pytest.mark.parametrize("face", FACES)
def test_the_face_of_an_attack_imports_nothing_above_the_api(face: str) -> None:
    own, others = loaded_by(f"import {face}")
    assert all(layer_of(name) >= layer_of("checker.attacks.api") for name in own)
    assert not {name for name in own if name.startswith(f"{face}.")}
    assert not others & HEAVY


def test_judging_loads_no_distributions_before_it_asks_for_one() -> None:
    code = (
        "import sys, checker.library, checker.verification; sys.exit('scipy.stats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_reading_a_policy_loads_faces_and_no_part_of_an_attack() -> None:
    own, others = loaded_by(
        "from pathlib import Path\nfrom checker.policy import load_policy\n"
        "load_policy(Path('policies/paper-t1-t6.yaml'))"
    )
    assert own & set(FACES)
    assert all(layer_of(name) >= LAYERS["policy"] for name in own)
    assert not others & HEAVY


@pytest.mark.parametrize(
    ("commands", "loaded"),
    [
        (["--help", "classes find hiv", "explain demo@2"], set()),
        # special functions alone: whether any sample could meet a limit is worked out
        (["validate demo@2"], {"scipy"}),
    ],
)
def test_what_is_typed_often_loads_nothing_heavy(commands: list[str], loaded: set[str]) -> None:
    _, others = loaded_by(
        "import sys; from checker.cli import run_command\n"
        f"for words in {[one.split() for one in commands]!r}:\n"
        "    sys.argv = ['phigate', *words]\n"
        "    assert run_command() == 0\n"
        "assert 'scipy.stats' not in sys.modules"
    )
    assert others & HEAVY <= loaded


def test_statistics_take_each_part_of_scipy_when_it_is_first_used() -> None:
    modules = {name: tree for name, tree in trees().items() if name.startswith("checker.stats.")}
    early = {
        name
        for name, tree in modules.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scipy"))
        or (isinstance(node, ast.Import) and any(a.name.startswith("scipy.") for a in node.names))
    }
    assert len(modules) > 10
    assert not early


def test_what_is_loaded_early_would_be_seen() -> None:
    own, others = loaded_by("import checker.attacks.embedding_probe.run")
    assert min(map(layer_of, own)) < LAYERS["policy"]
    assert others & HEAVY


def loaders(group: str) -> Iterator[str]:
    """Yield the modules that load plug-ins of a group, those below the folders of attacks first."""
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            named = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
            if (node.func.id == "load_plugin" and named == [group]) or (
                node.func.id in {"load_attack", "owner_of"} and group == GROUP
            ):
                yield name


@pytest.mark.parametrize("group", BUILT_IN)
def test_tables_of_plug_ins_are_no_way_around_the_layers(group: str) -> None:
    found = {name for name in loaders(group) if not name.startswith("checker.attacks.")}
    assert found
    for name in found:
        for target in BUILT_IN[group].values():
            module = target.partition(":")[0]
            assert layer_of(name) < layer_of(module), f"{name} loads {module}"
