"""Fixtures that several test files share, and where what lies.

Test files stand in folders that mirror the package; `benchmarks/` tests short versions of what the
benchmarks measure. What several files need is imported from `helpers/`:

| module | what it makes |
|---|---|
| `command_line` | runs of `phigate` in this process |
| `auditing` | audits by the command line, with a policy and a target to vary |
| `every_probe` | one audit with every probe, contrast and kind of subgroup |
| `policy_texts`, `waiver_texts` | policies that extend one another, and waivers |
| `mutations` | mistakes in YAML files, made on purpose |
| `meds_builder`, `token_records` | small data sets and tokenized records |
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

import os
import shutil
from pathlib import Path

import pytest
from command_line import Command, run_phigate
from hypothesis import settings

from checker.testing.toy_targets import write_targets

for variable in ("PHIGATE_LEDGER", "PHIGATE_KEY_PASSPHRASE"):
    os.environ.pop(variable, None)  # no test may write into the ledger of whoever runs it

# The same examples in every run and on every machine; a nightly run tries ten times as many.
settings.register_profile(
    "default", derandomize=True, database=None, deadline=None, max_examples=30
)
settings.register_profile("nightly", parent=settings.get_profile("default"), max_examples=300)
settings.load_profile("nightly" if os.environ.get("PHIGATE_NIGHTLY") else "default")


@pytest.fixture(scope="session")
def phigate() -> Command:
    """Run the command line as a user would; a traceback fails the test."""
    return run_phigate


@pytest.fixture(scope="session")
def simulated_targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cohort with a leaking and a sound simulated target; read only."""
    folder = tmp_path_factory.mktemp("simulated")
    write_targets(folder, seed=0)
    return folder


@pytest.fixture
def workspace(simulated_targets: Path, tmp_path: Path) -> Path:
    """A copy of the simulated targets, with the demo policy as `policy.yaml`, to be changed."""
    folder = tmp_path / "work"
    shutil.copytree(simulated_targets, folder)
    policies = Path(__file__).parents[1] / "policies"
    shutil.copy(policies / "demo.yaml", folder / "policy.yaml")
    return folder


LONGEST = ("test_demo", "test_memory", "test_gate", "test_ray", "test_families", "test_report_pdf")
"""Files that take longest; begun last, one would keep a whole suite waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files come first, in an order of files that is otherwise kept."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
