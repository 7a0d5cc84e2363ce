"""A document by its file, by the name of a shipped one, or through a pipe, in every command."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from command_line import Command
from waiver_texts import waiver_text

from checker.policy import load_policy

POLICIES = Path(__file__).parents[2] / "policies"


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.mark.parametrize(
    "command",
    [
        ("validate", "-"),
        ("validate", "--skip-others", "-"),
        ("explain", "-"),
        ("limits", "-", "hiv"),
        ("power", "-"),
        ("diff", "demo@2", "-"),
        ("diff", "-", "-"),
        ("classes", "list", "--policy", "-"),
        ("test", POLICIES / "tests" / "demo.yaml", "--policy", "-"),
    ],
)
def test_a_policy_comes_through_a_pipe(
    phigate: Command, monkeypatch: pytest.MonkeyPatch, command: tuple[object, ...]
) -> None:
    pipe(monkeypatch, (POLICIES / "demo.yaml").read_text())
    done = phigate(*command)
    assert done.code == 0, done.err
    pipe(monkeypatch, "kind: LeakagePolicy\nspec: {\n")
    broken = phigate(*command)
    assert broken.code == 2
    assert broken.err.startswith("-:")


def test_nothing_is_put_into_a_pipe_and_workers_cannot_read_it(
    phigate: Command, monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    text = (POLICIES / "demo.yaml").read_text()
    pipe(monkeypatch, text)
    put = phigate("new", "class", "-", "x", "--title", "t", "--code", "icd10cm=B20")
    assert (put.code, "through a pipe" in put.err) == (2, True)
    pipe(monkeypatch, text)
    out = ("--out", workspace / "run", "--executor", "ray")
    refused = phigate("check", "-", workspace / "sound.yaml", *out)
    assert (refused.code, "workers read the documents themselves" in refused.err) == (2, True)


def test_shipped_documents_go_by_their_names(phigate: Command, tmp_path: Path) -> None:
    shown = phigate("validate", "baseline-gated@1", "library/hiv@1")
    assert (shown.code, shown.out.count(" is valid")) == (0, 2)
    one, other = (phigate("classes", "show", name).out for name in ("library/hiv@2", "hiv"))
    assert one.splitlines()[1:] == other.splitlines()[1:]
    for name, version in (("baseline-gated@1", "1."), ("baseline-gated@2", "2.")):
        assert phigate("init", tmp_path / name, "--baseline", name).code == 0
        begun = load_policy(tmp_path / name / "policy.yaml").document.metadata
        assert begun.version.startswith(version)
    for name, meant in (("library/hvi@1", "library/hiv@1"), ("demmo@1", "demo@2")):
        wrong = phigate("validate", name)
        assert wrong.code == 2
        assert f"did you mean '{meant}'?" in wrong.err
    test = tmp_path / "tests.yaml"
    text = (POLICIES / "tests" / "demo.yaml").read_text()
    test.write_text(text.replace("policy: ../demo.yaml", "policy: demo@2"))
    assert phigate("test", test).code == 0
    test.write_text(text.replace("policy: ../demo.yaml", "policy: demmo@1"))
    unknown = phigate("test", test)
    assert (unknown.code, "did you mean 'demo@2'?" in unknown.err) == (2, True)


def test_a_waiver_that_is_not_yet_in_force_is_warned_of(phigate: Command, tmp_path: Path) -> None:
    path = tmp_path / "waiver.yaml"
    path.write_text(waiver_text())
    early = phigate("validate", path, "--as-of", "2026-01-01T00:00Z")
    assert early.code == 0
    assert "so that nothing is waived yet" in early.err
    assert "nothing is waived yet" not in phigate("validate", path).err


def test_a_shipped_policy_without_its_version_is_told_the_newest(
    phigate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, newest in (("baseline-gated", "baseline-gated@2"), ("demo", "demo@2")):
        done = phigate("explain", name)
        assert (done.code, newest in done.err) == (2, True), done.err
        assert phigate("validate", newest).code == 0
    assert "did you mean" not in phigate("explain", "baseline").err


@pytest.mark.parametrize(
    ("written", "hint"),
    [("Policy", "'LeakagePolicy' or 'PolicyTest'"), ("LeakagePolcy", "'LeakagePolicy'")],
)
def test_a_kind_that_could_be_two_names_both(
    phigate: Command, tmp_path: Path, written: str, hint: str
) -> None:
    text = (POLICIES / "demo.yaml").read_text().replace("kind: LeakagePolicy", f"kind: {written}")
    (tmp_path / "policy.yaml").write_text(text)
    assert f"did you mean {hint}?" in phigate("validate", tmp_path / "policy.yaml").err
