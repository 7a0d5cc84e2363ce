"""Fixtures that several test files share, and where what lies.

Test files stand in folders that mirror the package; `benchmarks/` tests short versions of what the
benchmarks measure. What several files need is imported from `helpers/`:

| module | what it makes |
|---|---|
| `command_line` | runs of `phigate` in this process |
| `built_once` | what all workers share and only look at |
| `auditing` | audits by the command line, with a policy and a target to vary |
| `every_probe` | one audit with every probe, contrast and kind of subgroup |
| `policy_texts`, `waiver_texts` | policies that extend one another, and waivers |
| `signed_runs` | a run that is registered and signed, and how a forger changes it |
| `properties` | how many examples of a property are tried, by default and at night |
| `mutations` | mistakes in YAML files, made on purpose |
| `meds_builder`, `token_records` | small data sets and tokenized records |
| `small_world` | records that follow no order, and simulated targets over them |
| `canary_builder` | a data set and a target to draw canaries from |
| `tiny_models` | random checkpoints of each architecture |
| `judging` | plans and evidence of known truth, for the judge |
| `report_builder`, `report_cases`, `hostile` | reports, and text that attacks their readers |
| `warm_phigate` | a `phigate` on the PATH of shell scripts that answers at once |
| `loopback_cluster` | a Ray cluster on this machine |

Worlds that plug-in authors use as well are in `checker.testing`. An audit that many tests only look
at is run once, in a fixture of module or session scope; whoever changes a run works on a copy.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import properties
import pytest
from auditing import AS_OF, MEASURED, three_classes
from built_once import built_once
from command_line import Checked, Command, run_phigate
from hypothesis import settings
from signed_runs import Signed, make_signed

from checker import clock
from checker.planning import reference_patients
from checker.testing import offer_simulated_backend
from checker.testing.toy_targets import write_targets

# without it every worker and every process compiles the package and rewrites all tests anew, which
# is half of what collecting them costs; `make clean` removes the folders that this leaves
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# processes that tests start import this working copy, whatever is installed
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
)
offer_simulated_backend()
# the checker's own reference is trained in a blink; `test_reference_training` has a larger one
reference_patients.RECIPE.update(
    layers=1, width=16, heads=2, batch=32, learning_rate=1e-2, max_epochs=2
)
os.fsync = lambda fd: None  # a machine that loses its power loses the tests as well
clock.current_time = lambda: MEASURED  # in this process the day stands still, whatever it is
for variable in ("PHIGATE_LEDGER", "PHIGATE_KEY_PASSPHRASE"):
    os.environ.pop(variable, None)  # no test may write into the ledger of whoever runs it

settings.load_profile(properties.PROFILE)


def pytest_collection_finish() -> None:
    """Let the collector of cycles pass over what imports left, which stays to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session")
def phigate() -> Command:
    """Run the command line as a user would; a traceback fails the test."""
    return run_phigate


@pytest.fixture(scope="session")
def simulated_targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cohort with a leaking and a sound simulated target; read only."""

    def make(folder: Path) -> Path:
        folder.mkdir()
        write_targets(folder, seed=0)
        return folder

    return built_once(tmp_path_factory, "simulated", make)


@pytest.fixture
def workspace(simulated_targets: Path, tmp_path: Path) -> Path:
    """A copy of the simulated targets, with a policy as `policy.yaml`, to be changed."""
    return make_workspace(tmp_path / "work", simulated_targets)


@pytest.fixture(scope="session")
def signed_run(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A registered, waived and signed run with reports as JSON only; read only."""
    return built_once(
        tmp_path_factory,
        "signed",
        lambda folder: make_signed(folder, simulated_targets, formats="json"),
    )


def make_workspace(folder: Path, targets: Path) -> Path:
    """Copy simulated targets and add the policy of three classes as `policy.yaml`."""
    shutil.copytree(targets, folder)
    (folder / "policy.yaml").write_text(three_classes(), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def finished_checks(
    simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Checked]:
    """Check a simulated target under the policy of three classes, once in a session; read only."""

    def make(name: str, folder: Path) -> Checked:
        make_workspace(folder, simulated_targets)
        documents = (folder / "policy.yaml", folder / f"{name}.yaml")
        outcome = run_phigate(
            "check", *documents, "--out", folder / "run", "--as-of", AS_OF,
            "--format", "json,html",
        )  # fmt: skip
        return Checked(folder, outcome)

    return cache(lambda name: built_once(tmp_path_factory, name, partial(make, name)))


@pytest.fixture
def checked(finished_checks: Callable[[str], Checked], tmp_path: Path) -> Callable[[str], Checked]:
    """Hand out a finished check of a simulated target (`leaking`, `sound`), to be changed."""

    def copy(name: str) -> Checked:
        finished = finished_checks(name)
        folder = tmp_path / "checked" / name
        shutil.copytree(finished.folder, folder)
        return Checked(folder, finished.outcome)

    return copy


LONGEST = (
    "test_demo", "test_gate", "test_resolved_policy", "test_plugins", "test_ray", "test_families",
    "test_signals", "test_report_pdf", "test_splits_gate", "test_identity", "test_tampering",
    "test_calibration", "test_recounted", "test_scoring_memory", "test_memory",
)  # fmt: skip
"""Files that take longest; begun last, one would keep a whole suite waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files come first, in an order of files that is otherwise kept."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
