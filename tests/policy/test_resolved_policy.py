"""A policy that extends others, from its files to a signed report, and once those files are gone.

The files are the ones that `policies/README.md` shows: a department's policy, which extends its
hospital's, which extends a shipped baseline.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from auditing import MEASURED, phigate
from command_line import Command

from checker.canonical import digest
from checker.errors import ExitCode
from checker.policy import load_policy
from checker.run.prepare import prepare

GUIDE = (Path(__file__).parents[2] / "policies" / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```yaml file=(\S+)\n(.*?)```", GUIDE, flags=re.DOTALL))
TOMORROW = (MEASURED + timedelta(days=1)).isoformat(timespec="seconds")
REPORTS = ("report.json", "internal/report.json")


@pytest.fixture(scope="module")
def audited(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's files, a sound target, and its audit under the department's policy; read only."""
    folder = shutil.copytree(simulated_targets, tmp_path_factory.mktemp("guide") / "ward")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    documents = (folder / "psychiatry.yaml", folder / "sound.yaml")
    assert phigate("validate", *documents)[0] == ExitCode.PASS
    assert phigate("plan", *documents)[0] == ExitCode.PASS
    code, out = phigate("check", *documents, "--out", folder / "run", "--as-of", TOMORROW,
                        "--format", "json", "--audience", "internal")  # fmt: skip
    assert code == ExitCode.INCONCLUSIVE, out  # the cohort has none of most classes
    return folder


@pytest.fixture
def folder(audited: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(audited, tmp_path / "ward")


def nothing(folder: Path) -> None:
    """Leave the files as they are."""


def move_away(folder: Path) -> None:
    """Take away every policy of the folder."""
    for name in FILES:
        (folder / name).unlink()


def loosen_the_parent(folder: Path) -> None:
    """Let the hospital allow what it did not allow before."""
    path = folder / "hospital.yaml"
    path.write_text(path.read_text().replace("maxDuration: P90D", "maxDuration: P120D"))
    rules = load_policy(path).document.spec.waivers
    assert rules is not None
    assert rules.max_duration == timedelta(days=120)


def break_the_parent(folder: Path) -> None:
    """Leave a parent that is no policy any more."""
    (folder / "hospital.yaml").write_text("nonsense: [")


@pytest.mark.parametrize("change", [nothing, move_away, loosen_the_parent, break_the_parent])
def test_a_run_is_judged_reported_verified_and_signed_by_its_own_policy(
    phigate: Command, folder: Path, change: Callable[[Path], None]
) -> None:
    run, pair = folder / "run", folder / "officer"
    before = [(run / name).read_bytes() for name in REPORTS]
    change(folder)
    judged = phigate("judge", run, "--as-of", TOMORROW, "--format", "json",
                     "--audience", "internal")  # fmt: skip
    assert judged.code == ExitCode.INCONCLUSIVE, judged.err
    assert [(run / name).read_bytes() for name in REPORTS] == before
    assert phigate("report", run, "--format", "markdown").code == ExitCode.PASS
    assert phigate("keys", "make", pair).code == ExitCode.PASS
    assert phigate("sign", run, "--key", f"{pair}.key").code == ExitCode.PASS
    verified = phigate("verify", run, "--key", f"{pair}.pub")
    assert verified.code == ExitCode.PASS, verified.out
    assert "BROKEN" not in verified.out


def test_the_plan_holds_the_whole_policy_and_names_all_it_came_from(audited: Path) -> None:
    policy = json.loads((audited / "run" / "plan.json").read_text())["policy"]
    spec = policy["document"]["spec"]
    assert spec["extends"] == []
    assert not any("use" in one for one in spec["attributeClasses"].values())
    assert len(spec["controls"]) > 20  # of which the department writes one
    assert policy["documentSha256"] == digest(policy["document"])
    names = [f"{one['name']}@{one['version'].partition('.')[0]}" for one in policy["origins"]]
    assert names[:2] == ["hospital@1", "baseline-gated@2"]
    assert {"AttributeClassLibrary", "LeakagePolicy"} == {o["kind"] for o in policy["origins"]}


def test_equal_policies_give_equal_plans_wherever_they_lie(audited: Path, folder: Path) -> None:
    plans = [
        prepare(place / "psychiatry.yaml", place / "sound.yaml").audit.plan
        for place in (audited, folder)
    ]
    assert plans[0].to_bytes() == plans[1].to_bytes()
    assert plans[0].to_bytes() == (audited / "run" / "plan.json").read_bytes()


def test_old_evidence_is_judged_by_another_policy_which_is_kept_too(
    phigate: Command, folder: Path
) -> None:
    run = folder / "run"
    judged = phigate("judge", run, "--policy", folder / "hospital.yaml", "--as-of", TOMORROW)
    assert judged.code == ExitCode.INCONCLUSIVE, judged.err
    (derived,) = run.glob("judged-by-hospital-1.0.0-*")
    limit = "mental-health-serious/up-to-the-diagnosis/all"
    old, new = (
        next(c for c in json.loads((at / "report.json").read_text())["cells"] if c["id"] == limit)
        for at in (run, derived)
    )
    assert (old["limit"]["fail"], new["limit"]["fail"]) == (0.03, 0.09)
    move_away(folder)
    assert phigate("judge", derived, "--as-of", TOMORROW).code == ExitCode.INCONCLUSIVE
    assert phigate("verify", derived).code == ExitCode.PASS


def test_verify_compares_with_the_institution_s_policy_where_it_is_given(
    phigate: Command, folder: Path
) -> None:
    run, kept = folder / "run", folder / "psychiatry.yaml"
    same = phigate("verify", run, "--policy", kept)
    assert same.code == ExitCode.PASS
    assert "psychiatry.yaml is the policy that the run was judged by" in same.out
    loosen_the_parent(folder)
    other = phigate("verify", run, "--policy", kept)
    assert other.code == ExitCode.INCOMPLETE
    assert "they differ in spec.waivers.maxDuration" in other.out


def edit_plan(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "run" / "plan.json"
    plan = json.loads(path.read_text())
    change(plan)
    path.write_text(json.dumps(plan))


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec.update(extends=[{"ref": "baseline-internal@1"}]),
        lambda spec: spec.update(abstract=True),
        lambda spec: spec["attributeClasses"]["hiv"].update(use="library/tobacco@1"),
    ],
)
def test_a_plan_whose_policy_leads_elsewhere_is_refused(
    phigate: Command, folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    edit_plan(folder, lambda plan: change(plan["policy"]["document"]["spec"]))
    refused = phigate("judge", folder / "run", "--as-of", TOMORROW)
    assert refused.code == ExitCode.INCOMPLETE
    assert "the policy of a plan refers to no other document" in refused.err


WRONG = re.compile(r"odd.yaml:\d+:\d+: spec.extends\[0\]")


def write_odd(folder: Path, item: str) -> Path:
    """Write a policy that extends a reference of the wrong shape."""
    path = folder / "odd.yaml"
    path.write_text(FILES["psychiatry.yaml"].replace("{ref: ./hospital.yaml}", item))
    return path


def test_a_reference_without_a_name_is_a_located_error_everywhere(
    phigate: Command, folder: Path
) -> None:
    path, target = write_odd(folder, "{}"), folder / "sound.yaml"
    for command in (
        ("validate", path), ("explain", path), ("diff", path, path), ("plan", path, target),
        ("check", path, target, "--out", folder / "odd"),
        ("judge", folder / "run", "--policy", path),
    ):  # fmt: skip
        refused = phigate(*command)
        assert refused.code == ExitCode.USAGE, (command, refused)
        assert WRONG.search(refused.err), refused.err


@pytest.mark.parametrize("item", ["{sha256: abc}", "{rf: hospital@1}", "hospital@1", "[]", "7"])
def test_a_reference_of_the_wrong_shape_is_a_located_error(
    phigate: Command, tmp_path: Path, item: str
) -> None:
    refused = phigate("validate", write_odd(tmp_path, item))
    assert refused.code == ExitCode.USAGE
    assert WRONG.search(refused.err), refused.err


def test_a_shipped_policy_is_named_where_a_file_is_expected(
    phigate: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for command in (
        ("validate", "baseline-gated@2"),
        ("explain", "baseline-gated@2", "hiv"),
        ("diff", "baseline-gated@2", "psychiatry.yaml"),
        ("plan", "baseline-gated@2", "sound.yaml"),
        ("classes", "show", "hiv", "--policy", "baseline-gated@2"),
        ("test", "--policy", "psychiatry.yaml", "tests.yaml"),
    ):
        outcome = phigate(*command)
        assert outcome.code == ExitCode.PASS, (command, outcome.err)
    missing = phigate("validate", "baseline-gated@9")
    assert missing.code == ExitCode.USAGE
    assert "there is no policy baseline-gated@9" in missing.err
    shutil.copy("psychiatry.yaml", "baseline-gated@2")
    shadowed = phigate("plan", "baseline-gated@2", "sound.yaml")
    assert shadowed.code == ExitCode.USAGE
    assert "a shipped policy has this name, and so has a file here" in shadowed.err
    shutil.copy("psychiatry.yaml", "own@1")
    assert phigate("validate", "own@1").code == ExitCode.PASS
    near = phigate("explain", "baseline-gatd@1")
    assert "did you mean 'baseline-gated@1'?" in near.err


def test_a_copy_that_was_changed_and_keeps_its_name_is_warned_of(
    phigate: Command, tmp_path: Path
) -> None:
    """A report by it would call itself one by the baseline."""
    assert phigate("init", tmp_path, "--baseline", "baseline-gated@2").code == ExitCode.PASS
    copied = tmp_path / "policy.yaml"
    said = "this is not the policy of that name that phigate ships"

    def warned() -> bool:
        validated = phigate("validate", copied)
        assert validated.code == ExitCode.PASS
        return said in " ".join((validated.out + validated.err).split())

    assert not warned()  # but for a comment it is
    text = copied.read_text()
    copied.write_text(text.replace("owner: change-me-", "owner: "))
    assert warned()
    copied.write_text(copied.read_text().replace("name: baseline-gated", "name: ours", 1))
    assert not warned()


def test_a_parent_that_bears_a_shipped_name_and_is_another_is_warned_of(
    phigate: Command, tmp_path: Path
) -> None:
    shipped = load_policy(Path("baseline-gated@1")).file
    ward = tmp_path / "ward.yaml"
    ward.write_text(
        "apiVersion: phigate/v1\nkind: LeakagePolicy\nmetadata: {name: ward, version: 1.0.0}\n"
        "spec: {extends: [{ref: baseline-gated@1}]}\n"
    )
    said = "is not the policy of that name that phigate ships"

    def warned() -> bool:
        validated = phigate("validate", ward)
        return said in " ".join((validated.out + validated.err).split())

    assert not warned()
    for name in ("baseline-common@1.1.0.yaml", "baseline-gated@1.1.0.yaml"):
        shutil.copy(Path(shipped).with_name(name), tmp_path)
    assert not warned()
    beside = tmp_path / "baseline-gated@1.1.0.yaml"
    beside.write_text(beside.read_text() + "# or something less demanding\n")
    assert warned()
