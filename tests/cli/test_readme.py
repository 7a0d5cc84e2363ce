"""What the README shows is what phigate does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import yaml
from command_line import Command

from checker.cli import cli
from checker.errors import ExitCode
from checker.plugins import load_plugin, plugin_names

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def documents() -> list[str]:
    """The README's whole documents; its other YAML is to be put into the first of them."""
    return [text for text in blocks("yaml") if text.startswith("apiVersion")]


def with_fragment() -> dict[str, Any]:
    """The README's policy with the controls and attackers that it shows beside it."""
    policy: dict[str, Any] = yaml.safe_load(documents()[0])
    (fragment,) = (text for text in blocks("yaml") if text.startswith("spec:"))
    for key, value in yaml.safe_load(fragment)["spec"].items():
        policy["spec"][key] = {**policy["spec"].get(key, {}), **value}
    return policy


def test_the_readme_s_documents_are_valid(phigate: Command, tmp_path: Path) -> None:
    files = []
    for number, text in enumerate(documents()):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(text)
    assert len(files) == 3  # a policy, a target and what is submitted
    outcome = phigate("validate", *files)
    assert outcome.code == 0, outcome.err
    assert "warning" not in outcome.err


def test_the_readme_s_error_message_is_the_one_shown(phigate: Command, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    text = documents()[0].replace("excess_disclosure", "exces_disclosure")
    policy.write_text(text)
    shown = blocks("text")[0].strip()
    message = phigate("validate", policy).err
    assert shown.partition(": ")[2] in message
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "exces_" in row)
    assert shown.startswith(f"policy.yaml:{line}:")


def test_the_readme_s_controls_are_valid_with_its_target(phigate: Command, tmp_path: Path) -> None:
    policy, target = tmp_path / "policy.yaml", tmp_path / "target.yaml"
    policy.write_text(yaml.safe_dump(with_fragment(), sort_keys=False))
    target.write_text(documents()[1])
    outcome = phigate("validate", policy, target)
    assert outcome.code == 0, outcome.err
    probes = {control["probe"] for control in with_fragment()["spec"]["controls"].values()}
    assert probes == set(plugin_names("phigate.probes"))


def test_the_readme_s_canaries_are_made_and_its_controls_planned(
    phigate: Command, workspace: Path
) -> None:
    target = yaml.safe_load((workspace / "sound.yaml").read_text())
    target["spec"]["reference"] = {"backend": "simulated", "path": "leaking.json"}
    (workspace / "target.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
    (command,) = re.findall(r"^phigate (canaries make [^#\n]*)", README, flags=re.MULTILINE)
    words = [
        str(workspace / word) if "." in word or word == "shard" else word
        for word in command.split()
    ]
    assert phigate(*words).code == ExitCode.PASS
    document = with_fragment()
    for control in document["spec"]["controls"].values():
        if control["probe"] not in {"membership-inference", "canary-exposure", "embedding-probe"}:
            # the simulated model sees 128 tokens, fewer than the prompts and the default horizon
            control["params"] = {**control.get("params", {}), "horizonTokens": 24}
    policy = workspace / "policy.yaml"
    policy.write_text(yaml.safe_dump(document, sort_keys=False))
    outcome = phigate("plan", policy, workspace / "target.yaml")
    assert outcome.code == ExitCode.PASS, outcome.err
    assert "canaries/record/all" in outcome.out
    assert "not tested" not in outcome.out


def test_every_command_of_the_readme_exists() -> None:
    shown = "\n".join([*blocks("sh"), *re.findall(r"`(phigate [^`]+)`", README)])
    named = set(re.findall(r"^phigate ([a-z]+)", shown, flags=re.MULTILINE))
    assert len(named) >= 8
    assert named <= set(cli.commands), named - set(cli.commands)
    shown_targets = "\n".join([*blocks("sh"), *re.findall(r"`(make [^`]+)`", README)])
    targets = set(re.findall(r"^make ([a-z]+)", shown_targets, flags=re.MULTILINE))
    assert targets == {"demo", "test", "check", "docs"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_the_readme_names_every_probe_and_metric_and_exit_code() -> None:
    for name in plugin_names("phigate.probes"):
        assert f"`{name}`" in README
        for metric in load_plugin("phigate.probes", name).metrics.values():
            assert not metric.limitable or f"`{metric.name}`" in README
    codes = dict(re.findall(r"^\| (\d) \| (.+) \|$", README, flags=re.MULTILINE))
    assert set(map(int, codes)) == set(ExitCode)


def test_files_the_readme_links_to_exist() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_readme_s_audit_commands_run(phigate: Command, workspace: Path) -> None:
    shutil.copy(workspace / "sound.yaml", workspace / "target.yaml")
    commands = re.findall(r"^phigate (plan|check|verify) ([^#\n]*)", README, flags=re.MULTILINE)
    assert [name for name, _ in commands][:3] == ["plan", "check", "verify"]
    for name, arguments in commands[:3]:
        words = [str(workspace / w) if "." in w or "/" in w else w for w in arguments.split()]
        assert phigate(name, *words).code == ExitCode.PASS
