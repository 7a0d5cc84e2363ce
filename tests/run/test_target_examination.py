"""`phigate target test`: a wrong description is named before any audit, with a way on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from auditing import THREE_CLASSES, phigate, write_variant
from command_line import Command

from checker import examine_target, load_target
from checker.errors import ExitCode
from checker.plugins import BUILT_IN
from checker.run.target_examination import TargetCheck, TargetExamination
from checker.targets import TargetModel, Tokens
from checker.testing.simulated import SimulatedBackend


def examined(path: Path) -> dict[str, TargetCheck]:
    return {check.name: check for check in examine_target(load_target(path)).checks}


def test_a_target_that_is_described_rightly_is_shown_to_be(workspace: Path) -> None:
    code, out = phigate("target", "test", workspace / "sound.yaml")
    assert code == ExitCode.PASS, out
    assert "drawn-against-scored" not in out  # people read titles
    assert "What is drawn is what is scored" in out
    assert "All 40 sequences of the trainer's sample agree" in out
    assert "What to do next" not in out


def test_machines_read_the_same(workspace: Path, phigate: Command) -> None:
    outcome = phigate("target", "test", workspace / "sound.yaml", "--json")
    found = json.loads(outcome.out)
    assert found["answer"] == "shown"
    assert outcome.code == ExitCode.PASS
    names = [check["name"] for check in found["checks"]]
    assert {"drawn-against-scored", "floor", "expected-tokens", "later-tokens"} <= set(names)
    assert len(names) == len(set(names))
    assert found["usage"]["longest_prompt"] + found["usage"]["horizon_tokens"] == 128


def test_an_audit_and_the_test_go_through_the_lengths_of_the_policy(workspace: Path) -> None:
    code, out = phigate("target", "test", workspace / "sound.yaml", "--policy", THREE_CLASSES)
    assert code == ExitCode.PASS, out
    document = yaml.safe_load(THREE_CLASSES.read_text())
    horizons = {
        control.get("params", {}).get("horizonTokens", 100)
        for control in document["spec"]["controls"].values()
        if control["probe"] == "attribute-disclosure"
    }
    assert any(f"; {horizon} drawn after" in out for horizon in horizons), out


def test_a_shifted_vocabulary_is_wrong_and_the_first_difference_named(workspace: Path) -> None:
    ids = json.loads((workspace / "vocab.json").read_text())
    own = [token for token in ids if not token.startswith("[")]
    moved = ids | {token: ids[own[(i + 1) % len(own)]] for i, token in enumerate(own)}
    (workspace / "moved.json").write_text(json.dumps(moved))
    spec = yaml.safe_load((workspace / "leaking.yaml").read_text())["spec"]
    target = write_variant(
        workspace / "leaking.yaml",
        "moved",
        tokenization=spec["tokenization"] | {"vocabulary": "moved.json"},
    )
    code, out = phigate("target", "test", target)
    assert code == ExitCode.FAIL
    assert "the first is row 0" in out or "the first is row 1" in out
    assert "Compare the target's tokenization" in out


def test_what_nobody_declared_is_not_shown_and_says_what_to_add(workspace: Path) -> None:
    document = yaml.safe_load((workspace / "leaking.yaml").read_text())
    del document["spec"]["expect"]
    (workspace / "leaking.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    code, out = phigate("target", "test", workspace / "leaking.yaml")
    assert code == ExitCode.INCONCLUSIVE
    assert "Add expect.tokens" in out


class _Wrapped:
    """A model that passes on what it is asked; `break_draws` says what becomes of its draws."""

    def __init__(self, model: TargetModel) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        drawn = self.model.rollout(prompts, keys=keys, **more)
        return [[row[:0] for row in rows] for rows in drawn]


class _DrawsNothing(SimulatedBackend):
    def open(self, *arguments: Any, **more: Any) -> Any:
        return _Wrapped(super().open(*arguments, **more))


def test_a_backend_that_draws_nothing_is_wrong_and_asked_no_more(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILT_IN["phigate.targets"], "empty", f"{__name__}:_DrawsNothing")
    spec = yaml.safe_load((workspace / "leaking.yaml").read_text())["spec"]
    target = write_variant(
        workspace / "leaking.yaml", "empty", model=spec["model"] | {"backend": "empty"}
    )
    found = examine_target(load_target(target))
    assert found.answer == "wrong"
    wrong = [check for check in found.checks if check.answer == "wrong"]
    assert [check.name for check in wrong] == ["end-of-record"]
    assert "Correct the backend" in wrong[0].next_step
    assert "floor" not in {check.name for check in found.checks}
    code, _ = phigate("target", "test", target)
    assert code == ExitCode.FAIL


class _Misnames(_Wrapped):
    def rollout(self, *arguments: Any, **more: Any) -> list[list[Tokens]]:
        return self.model.rollout(*arguments, **more)

    def masses(self, *arguments: Any, **more: Any) -> Any:
        found = self.model.masses(*arguments, **more)  # type: ignore[attr-defined]
        return [one * 0.0 for one in found]


class _MisnamesClasses(SimulatedBackend):
    def open(self, *arguments: Any, **more: Any) -> Any:
        return _Misnames(super().open(*arguments, **more))


class _Objecting(_Wrapped):
    def preflight(self, records: Sequence[Tokens]) -> dict[str, float]:
        return {"license-server": 7.0}


class _Objects(SimulatedBackend):
    def open(self, *arguments: Any, **more: Any) -> Any:
        return _Objecting(super().open(*arguments, **more))


class _Switching(_Wrapped):
    """Knows the one member of 600 better in one pass who has more than 30 tokens."""

    switches = (30,)

    def rollout(self, *arguments: Any, **more: Any) -> list[list[Tokens]]:
        return self.model.rollout(*arguments, **more)

    def gain_of_one_pass(self, tokens: Tokens) -> float:
        assert len(tokens) > 30
        return 1.0


class _Switches(SimulatedBackend):
    def open(self, *arguments: Any, **more: Any) -> Any:
        return _Switching(super().open(*arguments, **more))


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        (_MisnamesClasses, "watched-classes"),
        (_Objects, "license-server"),
        (_Switches, "one-pass"),
    ],
)
def test_each_check_that_refuses_a_model_is_told(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, backend: type, name: str
) -> None:
    monkeypatch.setitem(BUILT_IN["phigate.targets"], "odd", f"{__name__}:{backend.__name__}")
    spec = yaml.safe_load((workspace / "leaking.yaml").read_text())["spec"]
    target = write_variant(
        workspace / "leaking.yaml", "odd", model=spec["model"] | {"backend": "odd"}
    )
    code, out = phigate("target", "test", target)
    assert code == ExitCode.FAIL, out
    assert "Traceback" not in out
    checks = examine_target(load_target(target)).checks
    assert [check.name for check in checks if check.answer == "wrong"] == [name]


def test_a_model_that_only_draws_leaves_the_rest_not_shown(workspace: Path) -> None:
    model = json.loads((workspace / "sound.json").read_text())
    model["capabilities"] = ["samples"]
    (workspace / "sound.json").write_text(json.dumps(model))
    checks = examined(workspace / "sound.yaml")
    assert checks["same-key"].answer == checks["expected-tokens"].answer == "shown"
    for name in ("later-tokens", "drawn-against-scored", "floor", "attack-not-shown-to-work"):
        assert checks[name].answer == "not shown", name
        assert checks[name].next_step, name


def test_nothing_that_was_not_shown_counts_as_shown() -> None:
    def answer(*answers: Any) -> str:
        checks = tuple(TargetCheck("x", "X", one, "") for one in answers)
        return TargetExamination("t", None, {}, (), None, checks).answer  # type: ignore[arg-type]

    assert answer("shown", "shown") == "shown"
    assert answer("shown", "not shown") == "not shown"
    assert answer("not shown", "wrong", "shown") == "wrong"


def test_what_is_not_there_is_a_sentence(workspace: Path) -> None:
    code, out = phigate("target", "test", workspace / "nowhere.yaml")
    assert code == ExitCode.USAGE
    assert "nowhere.yaml" in out
    code, out = phigate("target", "test", workspace / "policy.yaml")
    assert code == ExitCode.USAGE
    assert "AuditTarget" in out
