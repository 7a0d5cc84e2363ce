"""What a pipeline and an engineer rely on in every command: JSON, exit codes, progress, the log."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from command_line import Checked, Command
from rich.console import Console

from checker.cli import cli, progress, run_command
from checker.cli.console import Verbosity, begin, set_verbosity
from checker.errors import TargetError
from checker.planning import Job


def leaves(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for key, one in command.commands.items():
            yield from leaves(one, f"{name} {key}".strip())
    else:
        yield name, command


COMMANDS = dict(leaves(cli))


# --- JSON ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_json_and_can_be_asked_to_say_less_or_more(name: str) -> None:
    options = {flag for one in COMMANDS[name].params for flag in one.opts}
    assert {"--json", "-q", "--quiet", "-v", "--verbose"} <= options
    flags = [flag for one in COMMANDS[name].params for flag in one.opts]
    assert len(flags) == len(set(flags))  # no option of the command's own is overridden


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (("explain", "nowhere.yaml"), "DocumentError", 2),
        (("explain", "demo@2", "nothing"), "UsageError", 2),
        (("frobnicate",), "NoSuchCommand", 2),
        (("explain", "demo@2", "--frobnicate"), "NoSuchOption", 2),
        (("judge", "nowhere"), "BadParameter", 2),
        (("verify", "."), "EvidenceError", 4),
        (("classes", "find", "appendicitis"), "UsageError", 2),
    ],
)
def test_an_error_is_json_on_standard_output_and_a_sentence_on_the_other(
    phigate: Command, arguments: tuple[str, ...], kind: str, code: int,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    outcome = phigate(*arguments, "--json")
    said = outcome.out.replace("[]\n", "", 1) if arguments[0] == "classes" else outcome.out
    if arguments[0] == "classes":
        assert json.loads(outcome.out) == []  # the result; no second document follows it
        return
    error = json.loads(said)["error"]
    assert (outcome.code, error["exitCode"], error["kind"]) == (code, code, kind)
    assert error["message"].splitlines()[0] in outcome.err
    assert phigate(*arguments).out == ""


@pytest.mark.parametrize(
    "error", [TargetError("the server died"), ValueError("odd"), KeyboardInterrupt()]
)
def test_whatever_stops_a_run_tells_people_and_machines_what_is_left(
    error: BaseException, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a library noted is told to neither, for it may be of the data; no circle hangs it."""

    def stopped() -> None:
        error.add_note("in row 12: Jane Doe")
        with progress.TerminalProgress(Console(file=None, quiet=True)) as shown:
            shown.start([job("a", 4000), job("b", 4000)], reused=1)
            raise error from error

    monkeypatch.setattr("sys.argv", ["phigate", "check", "--json"])
    monkeypatch.setattr("checker.cli.program._run", stopped)
    run_command()
    printed = capsys.readouterr()
    left = "2 of 3 jobs are left, about 8,000 tokens"
    assert printed.err.count(left) == 1
    assert json.loads(printed.out)["error"]["message"].endswith(f"; {left}")
    assert "Doe" not in printed.out + printed.err


def test_problems_come_with_their_places(phigate: Command, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("apiVersion: phigate/v1\nkind: LeakagePolicy\nmetadata: {nam: x}\nspec: {}\n")
    error = json.loads(phigate("explain", path, "--json").out)["error"]
    assert len(error["problems"]) > 1
    assert error["problems"][0]["line"] == 3
    assert error["problems"][0]["file"] == str(path)


def test_after_two_dashes_json_is_a_name(phigate: Command, tmp_path: Path) -> None:
    outcome = phigate("explain", "demo@2", "--", "--json")
    assert (outcome.code, outcome.out) == (2, "")


def test_of_a_folder_what_is_phigate_s_is_validated(phigate: Command, tmp_path: Path) -> None:
    assert phigate("init", tmp_path / "audit").code == 0
    others = {"compose.yaml": "services: {}", ".git/policy.yaml": "kind: LeakagePolicy"}
    for name, text in others.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = phigate("validate", tmp_path)
    assert (found.code, found.out.count(" is valid")) == (0, 4)
    (tmp_path / "audit" / "more.yml").write_text("kind: LeakageWaiver\n")
    assert phigate("validate", tmp_path).code == 2
    (tmp_path / "none").mkdir()
    for also in ((), (tmp_path / "audit" / "policy.yaml",)):
        nothing = phigate("validate", *also, tmp_path / "none")
        assert (nothing.code, "no file in this folder" in nothing.err) == (2, True)
    assert phigate("validate", "--skip-others", tmp_path / "none").code == 0


# --- exit codes ---------------------------------------------------------------------------------


def test_what_is_named_and_not_there_is_a_mistake_everywhere(
    phigate: Command, checked: Callable[[str], Checked], tmp_path: Path
) -> None:
    done = checked("sound")
    run, none = done.run, tmp_path / "none"
    policy, target = done.folder / "policy.yaml", done.folder / "sound.yaml"
    for command in (
        ("validate", none), ("explain", none), ("limits", none), ("diff", policy, none),
        ("power", none), ("power", policy, "--target", none), ("plan", policy, none),
        ("plan", policy, target, "--ledger", none), ("check", none, target, "--out", none / "a"),
        ("check", policy, target, "--out", none / "b", "--waivers", none),
        ("check", policy, target, "--out", none / "c", "--ledger", none),
        ("run", policy, none, "--out", none / "d"), ("judge", none), ("report", none),
        ("judge", run, "--policy", none), ("judge", run, "--ledger", none),
        ("judge", run, "--waivers", none), ("report", run, "--compare", none),
        ("verify", none), ("verify", run, "--key", none), ("verify", run, "--attestation", none),
        ("verify", run, "--model", none), ("verify", run, "--policy", none),
        ("verify", run, "--ledger", none), ("sign", none, "--key", none),
        ("sign", run, "--key", none), ("ledger", "list", none), ("ledger", "verify", none),
        ("ledger", "mend", none), ("target", "test", none), ("test", none),
        ("classes", "list", "--policy", none), ("classes", "show", "none"),
        ("canaries", "make", none, "--out", none, "--manifest", none),
        ("demo", "--cohort", none, "--out", none / "e"),
        ("demo", "--policy", none, "--out", none / "f"), ("schema", "None"),
        ("new", "control", none, "x", "--title", "t"), ("new", "waiver", none, "--run", none),
    ):  # fmt: skip
        outcome = phigate(*command)
        assert outcome.code == 2, f"{command}: {outcome.code} {outcome.err}"
        assert outcome.err, command
        assert not none.exists(), command


# --- progress -----------------------------------------------------------------------------------


def job(name: str, tokens: int) -> Job:
    return Job(
        digest=name * 64, kind="scores", title=f"job {name}", inputs={}, forward_tokens=tokens
    )


def test_a_log_is_told_share_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    begin()
    now = 100.0
    shown = progress.TerminalProgress(Console(file=None, quiet=True), clock=lambda: now)
    assert shown.line() == "0 s: getting ready"
    first, second = job("a", 30_000), job("b", 90_000)
    shown.start([first, second], reused=1)
    tell = shown.job(first)
    now = 130.0
    tell(20_000)
    tell(20_000)  # a server that was asked again: no job is more than whole
    line = shown.line()
    # 30,000 of 120,000 tokens in 30 s: 1,000 a second, 90 s for the other 90,000
    assert line == (
        "30 s: 0 of 2 jobs, 25% of the tokens, about 1,000 tokens/s, 1 min 30 s left; now: job a"
    )
    shown.done(first)
    shown.job(second)
    now = 160.0
    shown.done(second)  # ended early: what it did not need is no work left
    assert shown.line().startswith("1 min 0 s: 2 of 2 jobs, 100% of the tokens")
    assert "0 s left" in shown.line()


def test_a_model_that_counts_more_than_was_planned_is_not_beyond_the_end() -> None:
    begin()
    shown = progress.TerminalProgress(Console(file=None, quiet=True), clock=lambda: 100.0)
    first, second = job("a", 10_000), job("b", 10_000)
    shown.start([first, second], reused=0)
    tell = shown.job(first)
    for _ in range(4):
        tell(8_000)
    assert "50% of the tokens" in shown.line()
    shown.done(first)
    shown.job(second)(10_000)
    assert "100% of the tokens" in shown.line()


def test_lines_come_by_themselves_while_one_job_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin()
    monkeypatch.setattr(progress, "FIRST_BEAT_S", 0.02)
    monkeypatch.setattr(progress, "BEAT_S", 0.02)
    with progress.TerminalProgress(Console(stderr=True)) as shown:
        shown.start([job("a", 10)], reused=0)
        shown.job(job("a", 10))
        until = time.monotonic() + 5
        said = ""
        while said.count("now: job a") < 2 and time.monotonic() < until:
            time.sleep(0.01)
            said += capsys.readouterr().err
    assert said.count("now: job a") >= 2
    set_verbosity(Verbosity.QUIET)
    with progress.TerminalProgress(Console(stderr=True)) as shown:
        shown.start([job("a", 10)], reused=0)
        time.sleep(0.1)
    assert capsys.readouterr().err == ""
    begin()


def test_a_run_keeps_a_log_of_its_jobs(phigate: Command, checked: Callable[[str], Checked]) -> None:
    done = checked("sound")
    log = done.run / "log.txt"
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in lines)
    assert " phigate " in lines[0]
    assert lines[-1].endswith("jobs are settled")
    begun = sum("Z begins " in line for line in lines)
    assert begun == sum("Z finished " in line for line in lines) > 5
    assert log.stat().st_mode & 0o077 == 0
    assert phigate("verify", done.run).code == 0  # it is no foreign file
    policy, target = done.folder / "policy.yaml", done.folder / "sound.yaml"
    again = phigate("run", policy, target, "--out", done.run, "-v")
    assert "0 jobs to run" in again.err
    assert len(log.read_text().splitlines()) > len(lines)  # the next run goes on in it
    quiet = phigate("run", policy, target, "--out", done.run, "-q")
    assert quiet.err == ""
    emptied = phigate("run", policy, target, "--out", done.run, "--fresh", "-v", "--json")
    assert len(log.read_text().splitlines()) < 2 * len(lines)
    assert re.search(r"\d+ of \d+ jobs: .* in \d+ s", emptied.err)
    # what others read says nowhere how many records there are
    assert "records 601–1200" in log.read_text()
    assert not re.search(r"600|1,?200", emptied.err)
    said = json.loads(emptied.out)
    assert (said["run"], said["jobs"]["crashed"]) == (str(done.run), {})


def test_training_is_told_in_a_log_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin()
    monkeypatch.setattr(progress, "FIRST_BEAT_S", 0.0)
    with progress.TrainingProgress(Console(stderr=True)) as training:
        training.epoch("sound", 3, 1.25)
    assert "sound: epoch 3, loss 1.25 nats a token" in capsys.readouterr().err
