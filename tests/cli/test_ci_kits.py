"""The CI kits, as far as they can be tried without their servers.

Files are checked by the servers' own schemas, and every shell step is run in bash as its server
would, with the real phigate on a simulated target.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from auditing import LATE, write_policy
from warm_phigate import warm_phigate

from checker.errors import ExitCode
from checker.plugins import load_plugin, plugin_names
from checker.policy.recognition import kinds_named

ROOT = Path(__file__).parents[2]
KITS = ROOT / "examples" / "ci"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
GITLAB = yaml.safe_load((KITS / "gitlab.yml").read_text())
RELEASE = yaml.safe_load((KITS / "github-release.yml").read_text())

VERDICTS = {0: "pass", 1: "fail", 2: "invalid", 3: "inconclusive", 4: "incomplete"}
CASES = [*VERDICTS]


# --- the files are what their servers expect ----------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "path", "more"),
    [
        ("vendor.github-actions", ROOT / "action.yml", ()),
        ("vendor.github-workflows", KITS / "github-release.yml", ()),
        ("vendor.gitlab-ci", KITS / "gitlab.yml", ("--data-transform", "gitlab-ci")),
    ],
    ids=["action", "workflow", "gitlab"],
)
def test_a_kit_fits_its_server_s_schema(
    schema: str, path: Path, more: tuple[str, ...], tmp_path: Path
) -> None:
    def check(file: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *more, file],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = check(path)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / path.name
    broken.write_text(re.sub(r"^(runs|jobs|phigate):", r"\1: 1 #", path.read_text(), flags=re.M))
    with broken.open("a") as stream:
        stream.write("\n")
    assert check(broken).returncode != 0


def test_the_hooks_have_what_pre_commit_demands() -> None:
    # https://pre-commit.com/#creating-new-hooks: id, name, entry and language are required
    known = {
        "id", "name", "entry", "language", "files", "exclude", "types", "types_or", "args",
        "description", "require_serial", "pass_filenames", "stages", "minimum_pre_commit_version",
    }  # fmt: skip
    assert len({hook["id"] for hook in HOOKS}) == len(HOOKS)
    for hook in HOOKS:
        assert {"id", "name", "entry", "language"} <= set(hook) <= known
        assert hook["language"] in {"python", "system"}
        assert "files" not in hook  # what a document is called must not decide whether it is read
        assert hook["types"] == ["yaml"]


def test_nothing_that_a_user_gives_is_pasted_into_a_script() -> None:
    scripts = [step["run"] for step in ACTION["runs"]["steps"] if "run" in step]
    scripts += [s["run"] for job in RELEASE["jobs"].values() for s in job["steps"] if "run" in s]
    assert len(scripts) >= 6
    assert not [script for script in scripts if "${{" in script]


def test_no_kit_uploads_evidence() -> None:
    (upload,) = (s for s in ACTION["runs"]["steps"] if "upload-artifact" in s.get("uses", ""))
    paths = [*upload["with"]["path"].split("\n"), *GITLAB["phigate"]["artifacts"]["paths"]]
    names = {path.rpartition("/")[2] for path in paths if path}
    assert names == {"report.*", "comparison.*", "attestation.json"}
    (cached,) = (s for s in ACTION["runs"]["steps"] if "actions/cache" in s.get("uses", ""))
    assert cached["with"]["path"] == "${{ runner.temp }}/phigate-pip"  # which alone pip fills


def test_every_format_and_file_that_a_kit_names_is_written() -> None:
    wanted = ACTION["inputs"]["formats"]["default"].split(",")
    wanted += GITLAB["variables"]["PHIGATE_FORMATS"].split(",")
    known = plugin_names("phigate.reports")
    assert set(wanted) <= set(known)
    files = {load_plugin("phigate.reports", name).filename for name in wanted}
    text = (ROOT / "action.yml").read_text() + (KITS / "gitlab.yml").read_text()
    named = set(re.findall(r"/(report\.[a-z.]+[a-z])\b", text))
    assert named == {"report.github.sarif", "report.junit.xml"}
    assert named | {"report.md"} <= files


# --- a runner of our own ------------------------------------------------------------------------


@dataclass
class Runner:
    """Runs an action's steps as GitHub does."""

    folder: Path
    inputs: dict[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    code: int = 0
    event: str = "push"

    def value(self, text: Any) -> str:
        """Fill in the ${{ }} of an environment or a condition's operand."""
        return re.sub(r"\$\{\{\s*(.+?)\s*\}\}", lambda found: self.lookup(found[1]), str(text))

    def lookup(self, name: str) -> str:
        """Return what an expression without operators stands for."""
        if name.startswith("inputs."):
            return self.inputs[name.removeprefix("inputs.")]
        found = re.fullmatch(r"steps\.(\w+)\.outputs\.([\w-]+)", name)
        if found:
            return self.outputs.get(found[1], {}).get(found[2], "")
        return {"github.server_url": "https://github.example", "github.repository": "o/m",
                "github.run_id": "7", "github.action_path": str(ROOT), "github.token": "t",
                "github.event_name": self.event, "runner.temp": str(self.folder),
                "github.event.pull_request.number": "12"}[name]  # fmt: skip

    def holds(self, condition: str | None) -> bool:
        """Whether a step runs; knows the few forms of condition that the action uses."""
        if condition is None:
            return self.code == 0
        verdicts = []
        for part in condition.split("&&"):
            term = part.strip()
            equal = re.fullmatch(r"([\w.-]+) (==|!=) '(.*)'", term)
            among = re.fullmatch(r"contains\(fromJSON\('(.+)'\), ([\w.-]+)\)", term)
            if term == "always()":
                verdicts.append(True)
            elif equal:
                verdicts.append((self.lookup(equal[1]) == equal[3]) == (equal[2] == "=="))
            else:
                assert among, term
                verdicts.append(self.lookup(among[2]) in yaml.safe_load(among[1]))
        return all(verdicts) and (self.code == 0 or "always()" in condition)

    def run(self, step: dict[str, Any]) -> None:
        """Run a step if its condition holds; a failing one fails the job and lets `always` run."""
        if not self.holds(step.get("if")):
            return
        if "run" not in step:
            self.outputs.setdefault("uses", {})[step["uses"].partition("@")[0]] = step["name"]
            return
        output, summary = self.folder / "output.txt", self.folder / "summary.md"
        output.write_text("")
        environment = {name: self.value(text) for name, text in step.get("env", {}).items()}
        environment |= {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
        done = shell(step["run"], self.folder, **environment)
        written = dict(line.split("=", 1) for line in output.read_text().splitlines())
        self.outputs.setdefault(step.get("id", step["name"]), {}).update(written)
        self.code = self.code or done.returncode


@pytest.fixture(scope="module", autouse=True)
def installed() -> Iterator[None]:
    """Phigate is on the PATH, as on a runner that has it."""
    with warm_phigate() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        patched.delenv("PHIGATE_LEDGER", raising=False)
        yield


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as GitHub does: bash -eo pipefail, inputs in the environment."""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def repository(
    installed: None, simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model's repository, with a policy and target for each exit code and a key; read only."""
    folder = tmp_path_factory.mktemp("ci") / "repository"
    shutil.copytree(simulated_targets, folder)
    # the sound target's AUROC is 0.537 (0.510 to 0.564): a limit between the bounds decides nothing
    for code, limits in {0: {"fail": 0.7}, 3: {"fail": 0.54}}.items():
        write_policy(folder / f"policy-{code}.yaml", {"membership": {"limits": {"record": limits}}})
    for code, policy, target in ((1, 0, "leaking"), (2, 0, "sound"), (4, 0, "sound")):
        shutil.copy(folder / f"policy-{policy}.yaml", folder / f"policy-{code}.yaml")
        shutil.copy(folder / f"{target}.yaml", folder / f"target-{code}.yaml")
    for code in (0, 3):
        shutil.copy(folder / "sound.yaml", folder / f"target-{code}.yaml")
    with (folder / "policy-2.yaml").open("a") as stream:
        stream.write("  surprise: 1\n")
    target = (folder / "target-4.yaml").read_text()
    (folder / "target-4.yaml").write_text(target.replace("path: cohort", "path: nowhere"))
    assert shell("phigate keys make release; phigate ledger make ledger.jsonl", folder).stdout
    return folder


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """A copy of it, to work in."""
    return shutil.copytree(repository, tmp_path / "work")


def act(checkout: Path, code: int, *, event: str = "push", **changes: str) -> Runner:
    """Run the action's steps for the documents that end in an exit code."""
    defaults = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
    inputs = {
        **defaults, "policy": f"policy-{code}.yaml", "target": f"target-{code}.yaml",
        "install": "false", "formats": "json", **changes,
    }  # fmt: skip
    runner = Runner(checkout, inputs, event=event)
    for step in ACTION["runs"]["steps"]:
        runner.run(step)
    return runner


@pytest.mark.parametrize("code", CASES)
def test_the_action_ends_with_the_exit_code_and_says_the_verdict(checkout: Path, code: int) -> None:
    runner = act(checkout, code, **{"signing-key": "release.key", "code-scanning": "true"})
    assert runner.code == code
    assert runner.outputs["audit"] == {
        "exit-code": str(code), "verdict": VERDICTS[code], "run": "runs/phigate",
    }  # fmt: skip
    judged = code in {0, 1, 3}
    assert (checkout / "runs" / "phigate" / "report.json").exists() == judged
    # a failed audit is signed, and its reports are uploaded; where one is broken, what lies in the
    # folder would be an earlier one's
    assert (checkout / "runs" / "phigate" / "attestation.json").exists() == judged
    used = runner.outputs.get("uses", {})
    assert ("actions/upload-artifact" in used) == judged
    assert ("github/codeql-action/upload-sarif" in used) == judged


def test_the_action_hands_its_inputs_on(checkout: Path) -> None:
    named = checkout / "a b; touch owned; $(touch owned).yaml"
    (checkout / "policy-0.yaml").rename(named)
    runner = act(
        checkout,
        0,
        policy=named.name,
        run="elsewhere/run",
        ledger="ledger.jsonl",
        device="cpu",
        arguments=f"--as-of\n{LATE}\n--no-waivers",
        artifact="",
    )
    assert runner.code == ExitCode.PASS
    assert not (checkout / "owned").exists()
    assert LATE in (checkout / "elsewhere" / "run" / "report.json").read_text()
    assert len((checkout / "ledger.jsonl").read_text().splitlines()) == 2
    assert "uses" not in runner.outputs
    missing = act(checkout, 3, waivers="\nno-such-waiver.yaml\n", run="other")
    assert missing.code == ExitCode.USAGE


@pytest.mark.parametrize(
    "changes",
    [
        {"run": "runs/phigate\nexit-code=0"},
        {"kept-runs": "kept\nexit-code=0\nverdict=pass"},
        {"device": "cpu\rexit-code=0"},
        {"arguments": "--no-waivers\n--out\nelsewhere"},
        {"arguments": "--out=elsewhere"},
        {"arguments": "--help"},
        {"arguments": "-qh"},
        {"policy": "--help"},
    ],
    ids=str,
)
def test_no_input_moves_the_run_or_the_exit_code(checkout: Path, changes: dict[str, str]) -> None:
    runner = act(checkout, 1, **changes)
    assert runner.code == ExitCode.USAGE
    found = runner.outputs["audit"]
    assert (found["exit-code"], found["verdict"]) == ("2", "invalid")
    if "policy" not in changes:
        assert found["run"] == ""
        assert "uses" not in runner.outputs
    assert not (checkout / "elsewhere").exists()
    assert not (checkout / "kept").exists()


def test_the_exit_code_is_what_the_job_is_told_last() -> None:
    (audit,) = (step for step in ACTION["runs"]["steps"] if step.get("id") == "audit")
    assert audit["run"].rstrip().splitlines()[-1].endswith('"exit-code=$code" >> "$GITHUB_OUTPUT"')


def test_an_audit_that_never_reported_is_not_passed(checkout: Path) -> None:
    runner = Runner(checkout, {})
    runner.run(ACTION["runs"]["steps"][-1])  # the audit step was killed and left no output
    assert runner.code == ExitCode.INCOMPLETE


def test_the_summary_is_the_markdown_report(checkout: Path) -> None:
    step = next(one for one in ACTION["runs"]["steps"] if one["name"] == "Summary")
    (checkout / "run").mkdir()
    (checkout / "run" / "report.md").write_text("# Must not be released\n")
    runner = Runner(checkout, {}, {"audit": {"exit-code": "1", "run": "run"}})
    runner.run(step)
    assert (checkout / "summary.md").read_text() == "# Must not be released\n"
    runner.outputs["audit"]["exit-code"] = "4"  # nothing was judged: what lies there is old
    runner.run(step)
    assert (checkout / "summary.md").read_text() == "# Must not be released\n"


GH = """#!{python}
import json, os, sys
state, words = os.environ["GH_STATE"], sys.argv[2:]
comments = json.load(open(state)) if os.path.exists(state) else []
assert sys.argv[1] == "api" and os.environ["GH_TOKEN"]
if "--jq" in words:
    assert words[1] == "repos/o/m/issues/12/comments", words
    mark = words[3].partition('startswith("')[2].partition('")')[0]
    asked = '.[] | select(.user.type == "Bot" and (.body | startswith("%s"))) | .id'
    assert words[3] == asked % mark, words
    assert mark.startswith("<!-- phigate ") and mark.endswith(" -->")
    print(*(i for i, one in enumerate(comments) if one[0] == "Bot" and one[1].startswith(mark)))
    sys.exit()
method, place, body = words[words.index("--method") + 1 :][:2] + [words[-1]]
text = open(body.removeprefix("body=@")).read()
assert len(text) < 65536
if method == "POST":
    assert place == "repos/o/m/issues/12/comments"
    comments.append(["Bot", text])
else:
    comments[int(place.removeprefix("repos/o/m/issues/comments/"))][1] = text
json.dump(comments, open(state, "w"))
"""
"""Answers like `gh api`, for the few questions that the action asks."""


def test_a_pull_request_has_one_comment_with_the_comparison(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, state = checkout / "tools", checkout / "comments.json"
    tools.mkdir()
    (tools / "gh").write_text(GH.replace("{python}", sys.executable))
    (tools / "gh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GH_STATE", str(state))
    wanted = {"formats": "json,markdown", "comment": "true"}
    assert act(checkout, 1, run="old", **wanted).code == 1
    assert not state.exists()  # no pull request
    new = {**wanted, "compare": "old", "run": "new", "target": "target-0.yaml"}
    assert act(checkout, 0, event="pull_request", **new).code == 0
    ((_, told),) = json.loads(state.read_text())
    assert "Release is allowed" in told
    assert "fail became pass" in told
    assert "https://github.example/o/m/actions/runs/7" in told
    # somebody who wrote the mark himself could change what it says: his comment is not taken
    state.write_text(json.dumps([["User", told], ["Bot", told]]))
    shutil.copy(checkout / "policy-2.yaml", checkout / "policy-0.yaml")
    assert act(checkout, 0, event="pull_request", **new).code == 2
    (his, again) = json.loads(state.read_text())
    assert his[1] == told
    assert "ended without a verdict: invalid (exit code 2)" in again[1]
    # another policy for the same target says nothing of the first one's
    assert act(checkout, 2, event="pull_request", **new).code == 2
    assert [text for _, text in json.loads(state.read_text())[:2]] == [told, again[1]]
    assert len(json.loads(state.read_text())) == 3
    shutil.copy(checkout / "policy-1.yaml", checkout / "policy-0.yaml")
    (tools / "gh").write_text("#!/bin/sh\nexit 1\n")  # a fork's token may not write
    assert act(checkout, 0, event="pull_request", **new).code == 0
    # what cannot be compared decides nothing, and no older comparison is told instead
    assert (checkout / "new" / "comparison.md").exists()
    (tools / "gh").write_text(GH.replace("{python}", sys.executable))
    lost = {**new, "compare": "nowhere"}
    assert act(checkout, 0, event="pull_request", **lost).code == 0
    assert "fail became pass" not in json.loads(state.read_text())[1][1]
    assert not list((checkout / "new").glob("comparison.*"))


def test_a_kept_run_is_found_again_by_its_plan(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "phigate.toml").write_text('[defaults]\nledger = "ledger.jsonl"\n')
    kept = {"kept-runs": "kept"}
    first = act(checkout, 0, **kept)
    (run,) = (checkout / "kept").iterdir()
    assert first.outputs["audit"]["run"] == f"kept/{run.name}"
    measured = json.loads((run / "run.json").read_text())["measured"]
    again = act(checkout, 0, **kept)
    assert (again.code, again.outputs["audit"]["run"]) == (0, f"kept/{run.name}")
    assert json.loads((run / "run.json").read_text())["measured"] == measured
    assert act(checkout, 1, **kept).code == 1  # another model, in a folder of its own
    assert len(list((checkout / "kept").iterdir())) == 2


def test_what_pip_downloads_is_cached_under_what_is_installed(checkout: Path) -> None:
    steps = {one["name"]: one for one in ACTION["runs"]["steps"]}

    def key(formats: str) -> str:
        inputs = {"install": "true", "cache": "true", "formats": formats}
        runner = Runner(checkout, inputs)
        runner.run(steps["What pip will download"])
        return runner.outputs["pip"]["key"]

    assert key("json") == key("json") != key("json,pdf")
    calls = checkout / "calls.txt"
    for name in ("python3", "phigate/bin/python"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(f'#!/bin/sh\necho "$PIP_CACHE_DIR $*" >> {calls}\n')
        (checkout / name).chmod(0o755)
    for formats, cache in (("json, pdf", "true"), ("json", "false")):
        environment = {"SOURCE": "/source", "FORMATS": formats, "CACHE": cache}
        environment |= {"RUNNER_TEMP": str(checkout), "GITHUB_PATH": str(checkout / "path.txt")}
        environment["PATH"] = f"{checkout}{os.pathsep}{os.environ['PATH']}"
        shell(steps["Install phigate"]["run"], checkout, **environment)
    said = [line for line in calls.read_text().splitlines() if "install" in line]
    assert said[0].startswith(f"{checkout}/phigate-pip -m pip install")
    assert [line.rpartition("/source")[2] for line in said] == ["[audit,pdf]", "[audit]"]
    assert said[1].startswith(" -m pip")


# --- GitLab -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CASES)
def test_the_gitlab_job_ends_with_the_exit_code(checkout: Path, code: int) -> None:
    variables = {
        **{name: str(value) for name, value in GITLAB["variables"].items()},
        "PHIGATE_POLICY": f"policy-{code}.yaml", "PHIGATE_TARGET": f"target-{code}.yaml",
        "PHIGATE_FORMATS": "json", "PHIGATE_KEY": "release.key", "CI_JOB_URL": "https://x.example",
    }  # fmt: skip
    done = shell("\n".join(GITLAB["phigate"]["script"]), checkout, **variables)
    assert done.returncode == code, done.stderr
    signature = checkout / GITLAB["variables"]["PHIGATE_RUN"] / "attestation.json"
    assert signature.exists() == (code in {0, 1, 3})


# --- a release ----------------------------------------------------------------------------------


def test_a_release_waits_for_the_gate_and_nothing_lets_it_go_ahead() -> None:
    release, gate = RELEASE["jobs"]["release"], RELEASE["jobs"]["gate"]
    assert release["needs"] == "gate"
    assert "if" not in release  # a condition such as always() would let it run after a failure
    for job in (gate, release):
        assert "continue-on-error" not in job
        assert not [step for step in job["steps"] if "continue-on-error" in step or "if" in step]
    names = [step.get("name") for step in release["steps"]]
    assert names.index("Only what was audited") < names.index("Publish")
    with_action = next(s["with"] for s in gate["steps"] if "phigate@" in s["uses"])
    assert set(with_action) <= set(ACTION["inputs"])
    required = {name for name, one in ACTION["inputs"].items() if one.get("required")}
    assert required <= set(with_action)


def test_a_release_publishes_only_the_model_that_was_audited_and_passed(checkout: Path) -> None:
    (step,) = (s for s in RELEASE["jobs"]["release"]["steps"] if "audited" in s.get("name", ""))

    def release(code: int, model: str) -> int:
        runner = act(
            checkout, code, run="report", ledger="ledger.jsonl", **{"signing-key": "release.key"}
        )
        assert runner.code == code
        there = {"MODEL": model, "KEY": "release.pub", "LEDGER": "ledger.jsonl"}
        later = Runner(checkout, {})
        later.run({**step, "env": there})
        shutil.rmtree(checkout / "report")
        return later.code

    assert release(0, "sound.json") == ExitCode.PASS
    assert release(0, "leaking.json") == ExitCode.INCOMPLETE  # another model than the audited one
    assert release(1, "leaking.json") == ExitCode.FAIL  # even if the gate had been bypassed


# --- pre-commit ---------------------------------------------------------------------------------


def hook(checkout: Path, name: str, *files: str) -> subprocess.CompletedProcess[str]:
    """Run a hook on those of some files that it is shown, as pre-commit does: all YAML."""
    (found,) = (one for one in HOOKS if one["id"] == name)
    chosen = [file for file in files if file.endswith((".yaml", ".yml"))]
    return shell(shlex.join([*found["entry"].split(), *chosen]), checkout)


OTHERS = {
    "compose.yaml": "services: {}\n",
    "chart/templates/policy.yaml": "kind: NetworkPolicy\nmetadata: {{ .Values.x }}\n",
    "foreign-waiver.yml": "a: &a [*a, !!python/object:x]\n\tb",
    "empty.yaml": "",
    "binary.yaml": "\udcff\udcfd\udc80",
}
"""What other programs keep in files named alike, whatever phigate would say of its syntax."""


def test_the_hooks_pass_over_what_is_not_phigate_s_and_stop_what_is_broken(checkout: Path) -> None:
    for name, text in OTHERS.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    shutil.copy(checkout / "policy-2.yaml", checkout / "cardiology.yaml")
    sound = ("policy-0.yaml", "target-0.yaml", "notes.txt", *OTHERS)
    done = hook(checkout, "phigate-validate", *sound)
    assert (done.returncode, done.stdout.count(" is valid")) == (0, 2)
    broken = hook(checkout, "phigate-validate-installed", *sound, "cardiology.yaml")
    assert broken.returncode == 2
    assert "cardiology.yaml" in broken.stderr
    assert not [name for name in OTHERS if name in broken.stderr]
    assert hook(checkout, "phigate-validate", *OTHERS).returncode == 0
    # files that are no tests are nothing to test, and a run of no tests is no failure here alone
    assert hook(checkout, "phigate-test", *sound).returncode == 0
    assert shell("phigate test policy-0.yaml", checkout).returncode == 1


@pytest.mark.parametrize(
    "broken",
    [
        "kind: LeakagePolicy\nspec: {\n",  # YAML that ends too early
        "apiVersion: phigate/v1\nkind: LeakagePolcy\n",  # a kind that there is none of
        "{'kind' : \"LeakageWaiver\"}\n",
        "# a policy\n---\na: 1\n---\n  kind:  PolicyTest\n",
        "\ufeffkind: AuditTarget\n",
    ],
)
def test_a_broken_document_of_phigate_s_is_found_whatever_its_name(
    checkout: Path, broken: str
) -> None:
    (checkout / "notes.yaml").write_text(broken, encoding="utf-8")
    assert hook(checkout, "phigate-validate", "notes.yaml").returncode == 2
    (checkout / "notes.yaml").write_text(broken, encoding="utf-16")
    assert hook(checkout, "phigate-validate", "notes.yaml").returncode == 2


def test_the_hooks_find_the_files_of_the_guide_and_all_that_is_shipped() -> None:
    guide = (ROOT / "policies" / "README.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"```yaml file=(\S+)\n(.*?)```", guide, re.S))
    assert {"hospital.yaml", "psychiatry.yaml", "waiver.yaml"} <= set(files)
    assert all("kind: " in text for text in files.values())
    shipped = sorted((ROOT / "policies").rglob("*.yaml"))
    assert all(kinds_named(path) for path in shipped)
    assert kinds_named(ROOT / "mkdocs.yml") is None
    assert kinds_named(ROOT / "nowhere.yaml")  # what is not there must be said, not passed over
