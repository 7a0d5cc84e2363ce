"""phigate as a library: what `from checker import …` gives, and what it costs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import Command
from mypy import api as mypy

import checker
from checker import (
    audit,
    collect,
    examine_target,
    judge,
    load_policy,
    load_target,
    plan,
    read_waivers,
    verify,
)
from checker.errors import DocumentError, ExitCode, PhigateError, TargetError

ROOT = Path(__file__).parents[2]
AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
(EXAMPLE,) = re.findall(
    r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL
)


@pytest.fixture
def folder(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with the names of the README's example."""
    shutil.copy(workspace / "leaking.yaml", workspace / "target.yaml")
    policy = (workspace / "policy.yaml").read_text()
    stricter = policy.replace("fail: 0.05", "fail: 0.04")
    assert stricter != policy
    (workspace / "stricter.yaml").write_text(stricter)
    monkeypatch.chdir(workspace)
    return workspace


def test_the_public_names_are_these_and_all_documented() -> None:
    assert checker.__all__ == [
        "Policy", "Report", "Target", "Waiver", "__version__", "audit", "collect", "examine_target",
        "judge", "load_policy", "load_target", "plan", "read_waivers", "verify",
    ]  # fmt: skip
    functions = (
        audit,
        collect,
        examine_target,
        judge,
        load_policy,
        load_target,
        plan,
        read_waivers,
        verify,
    )
    assert all("Raises:" in (one.__doc__ or "") for one in functions)
    with pytest.raises(AttributeError, match="no attribute 'audits'"):
        _ = checker.audits


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, checker; print([m for m in sys.modules if '.' not in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    heavy = ("torch", "pyarrow", "numpy", "scipy", "pydantic", "yaml", "sklearn")
    assert not [name for name in heavy if f"'{name}'" in done.stdout]


def test_the_readme_s_example_audits_judges_and_verifies(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, object] = {}
    exec(EXAMPLE, found)
    out, err = capsys.readouterr()
    # many patients share what a data broker knows, so that nothing is shown of one of them
    assert out.splitlines()[0].startswith("hiv-disclosure/demographics/all cannot pass")
    assert "hiv-disclosure/events-10/all can pass" in out.splitlines()
    assert out.splitlines()[-1] == f"fail {int(ExitCode.FAIL)}"
    assert err == ""  # a library says nothing that it was not asked for
    assert found["holds"] is True
    stricter = found["stricter"]
    assert isinstance(stricter, checker.Report)
    assert stricter.policy.sha256 != load_policy("policy.yaml").sha256
    assert (folder / "runs" / "b" / "report.json").exists()


def test_the_library_and_the_command_write_the_same_report(folder: Path, phigate: Command) -> None:
    planned = plan(load_policy("policy.yaml"), load_target("target.yaml"))
    manifest = collect(planned, out="here")
    assert [entry.job for entry in manifest.entries] == [job.digest for job in planned.plan.jobs]
    command = phigate("check", "policy.yaml", "target.yaml", "--out", "here", "--as-of", AS_OF,
                      "--format", "json")  # fmt: skip
    assert command.code == ExitCode.FAIL, command.err
    by_command = (folder / "here" / "report.json").read_bytes()
    report = judge("here", as_of=AS_OF)
    assert report.summary.exit_code == ExitCode.FAIL
    assert (folder / "here" / "report.json").read_bytes() == by_command
    measured = (folder / "here" / "run.json").read_bytes()
    again = audit(planned, out="here", as_of=AS_OF)
    assert again.cells == report.cells
    kept = json.loads(measured)["measured"]  # nothing was measured anew
    assert json.loads((folder / "here" / "run.json").read_bytes())["measured"] == kept


def test_a_ledger_counts_what_the_library_does(folder: Path, phigate: Command) -> None:
    phigate("ledger", "make", "ledger.jsonl")
    planned = plan(load_policy("policy.yaml"), load_target("target.yaml"))
    report = audit(planned, out="counted", as_of=AS_OF, ledger="ledger.jsonl")
    assert report.provenance.attempt is not None
    assert report.provenance.attempt.number == 1
    statements = verify("counted", ledger="ledger.jsonl")
    assert all(statement.holds is not False for statement in statements)


def test_a_model_that_changes_after_the_plan_is_not_audited(folder: Path) -> None:
    planned = plan(load_policy("policy.yaml"), load_target("target.yaml"))
    assert planned.open_target()
    audited = (folder / "leaking.json").read_bytes()
    shutil.copy(folder / "sound.json", folder / "leaking.json")
    with pytest.raises(TargetError, match="was changed after the audit was planned"):
        audit(planned, out="changed", as_of=AS_OF)
    assert not (folder / "changed" / "report.json").exists()
    (folder / "leaking.json").write_bytes(audited)
    assert audit(planned, out="changed", as_of=AS_OF).verdict == "fail"


def test_errors_are_phigate_s_own_with_their_exit_code(folder: Path) -> None:
    (folder / "policy.yaml").write_text("kind: Nothing\n")
    with pytest.raises(DocumentError) as caught:
        load_policy("policy.yaml")
    assert isinstance(caught.value, PhigateError)
    assert caught.value.exit_code == ExitCode.USAGE
    with pytest.raises(DocumentError, match=r"baseline-gatd@1.*did you mean"):
        load_policy("baseline-gatd@1")


USES = {
    "report: Report = audit(plan(policy, target), out='runs/a')": None,
    "report: Report = audit(policy, out='runs/a')": "arg-type",
    "verdict: int = audit(plan(policy, target), out='runs/a').verdict": "assignment",
}


def test_those_who_use_it_are_told_its_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    assert (ROOT / "checker" / "py.typed").exists()
    scripts = {tmp_path / f"script{number}.py": line for number, line in enumerate(USES)}
    for script, line in scripts.items():
        script.write_text(
            "from checker import Report, audit, load_policy, load_target, plan\n"
            "policy, target = load_policy('p.yaml'), load_target('t.yaml')\n"
            f"{line}\n"
        )
    # what its functions take and return is its own: of its dependencies nothing has to be read
    out, err, code = mypy.run(
        ["--config-file=", "--cache-dir", str(tmp_path / "cache"), "--follow-imports=silent",
         "--no-site-packages", "--ignore-missing-imports", *map(str, scripts)]
    )  # fmt: skip
    assert not err
    assert code == 1, out
    for script, line in scripts.items():
        complaints = re.findall(rf"{script.name}:\d+: error: .*\[(.*)\]$", out, flags=re.MULTILINE)
        assert complaints == list(filter(None, [USES[line]])), out
