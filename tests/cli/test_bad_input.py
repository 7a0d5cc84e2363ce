"""Whatever is wrong with the input, a user gets a located sentence and the right exit code."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from command_line import Command

from checker.errors import ExitCode

Change = Callable[[Path], None]


def replaced(old: str, new: str, file: str = "policy.yaml") -> Change:
    def change(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return change


def line_of(folder: Path, text: str, file: str = "policy.yaml") -> int:
    lines = (folder / file).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


WRONG_DOCUMENTS = [
    # old text, new text, where the problem stands, what is said
    ("severity: critical", "severety: critical", "severety", "did you mean 'severity'"),
    ("metric: excess_disc", "metric: exces_disc", "exces_disc", "mean 'excess_disclosure'"),
    ('values: ["B20"', 'values: [042, "B20"', "[042", "'042' is not a prefix of icd10cm"),
    ("  owner:", "  name: again\n  owner:", "name: again", "twice"),
    ("probe: attribute-d", "probe: atribute-d", "atribute", "attribute-disclosure"),
    ("attributeClass: hiv", "attributeClass: hvi", "hvi", "did you mean 'hiv'"),
    ("demographics: {fail", "demografics: {fail", "demografics", "demographics"),
    ("access: logprobs", "access: samples", "record: {fail", "logprobs"),
]


@pytest.mark.parametrize(("old", "new", "at", "says"), WRONG_DOCUMENTS)
def test_a_wrong_document_is_located_and_ends_in_2(
    phigate: Command, workspace: Path, old: str, new: str, at: str, says: str
) -> None:
    replaced(old, new)(workspace)
    outcome = phigate("validate", workspace / "policy.yaml")
    assert outcome.code == ExitCode.USAGE
    assert f"policy.yaml:{line_of(workspace, at)}:" in outcome.err, outcome.err
    assert says in outcome.err
    checked = phigate(
        "check", workspace / "policy.yaml", workspace / "sound.yaml", "--out", workspace / "run"
    )
    assert checked.code == ExitCode.USAGE
    assert not (workspace / "run").exists()


def test_an_alias_bomb_is_refused_at_its_line(phigate: Command, tmp_path: Path) -> None:
    layers = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for name, below in zip("bcdefghij", "abcdefghi", strict=True):
        layers.append(f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]")
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("\n".join(layers))
    outcome = phigate("validate", bomb)
    assert outcome.code == ExitCode.USAGE
    assert "bomb.yaml:" in outcome.err
    assert "alias" in outcome.err


def test_all_problems_of_a_file_come_at_once(phigate: Command, workspace: Path) -> None:
    replaced("severity: critical", "severety: critical")(workspace)
    replaced("samples: 20", "samples: many")(workspace)
    replaced("metric: membership_auroc", "metric: membership_auc")(workspace)
    problems = json.loads(phigate("validate", workspace / "policy.yaml", "--json").out)["problems"]
    messages = " ".join(problem["message"] for problem in problems)
    assert len(problems) >= 3
    for word in ("severety", "many", "membership_auc"):
        assert word in messages


def drop_split(folder: Path) -> None:
    replaced("path: cohort", "path: cohort\n    nonmembers: held-out", "sound.yaml")(folder)


def empty_cohort(folder: Path) -> None:
    for shard in (folder / "cohort" / "data" / "held_out").glob("*.parquet"):
        pq.write_table(pq.read_table(shard).slice(0, 0), shard)


def truncated_shard(folder: Path) -> None:
    shard = folder / "cohort" / "data" / "train" / "0.parquet"
    shard.write_bytes(shard.read_bytes()[:1000])


def small_model(folder: Path) -> None:
    model = json.loads((folder / "sound.json").read_text())
    half = len(model["unigram"]) // 2
    kept = model["unigram"][:half]
    model["unigram"] = [share / sum(kept) for share in kept]
    model["vocabularySize"] = half
    (folder / "sound.json").write_text(json.dumps(model))


def pickle_checkpoint(folder: Path) -> None:
    replaced("backend: simulated", "backend: huggingface", "sound.yaml")(folder)
    replaced("path: sound.json", "path: model", "sound.yaml")(folder)
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"model_type": "gpt2", "vocab_size": 500}')
    torch.save({"weight": torch.zeros(2)}, folder / "model" / "pytorch_model.bin")


def strange_codes(folder: Path) -> None:
    vocabulary = json.loads((folder / "vocab.json").read_text())
    renamed = {t.replace("DIAGNOSIS", "DX"): i for t, i in vocabulary.items()}
    (folder / "vocab.json").write_text(json.dumps(renamed))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (drop_split, ("held-out", "held_out")),
        (empty_cohort, ("held_out", "no ")),
        (truncated_shard, ("train/0.parquet",)),
        (small_model, ("vocab.json",)),
        (pickle_checkpoint, ("pytorch_model.bin", "safetensors")),
        (strange_codes, ("DIAGNOSIS//", "%")),
        (lambda folder: shutil.rmtree(folder / "cohort"), ("cohort",)),
        (lambda folder: (folder / "sound.json").unlink(), ("sound.json",)),
        (lambda folder: (folder / "vocab.json").write_text("{"), ("vocab.json",)),
    ],
)
def test_data_or_models_that_cannot_be_audited_are_named_and_end_in_4(
    phigate: Command, workspace: Path, change: Change, says: tuple[str, ...]
) -> None:
    change(workspace)
    outcome = phigate("plan", workspace / "policy.yaml", workspace / "sound.yaml")
    assert outcome.code == ExitCode.INCOMPLETE, outcome.err
    for words in says:
        assert words in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_where_no_class_matches_anything_each_is_located_in_the_policy(
    phigate: Command, workspace: Path
) -> None:
    policy = yaml.safe_load((workspace / "policy.yaml").read_text())
    for one in policy["spec"]["attributeClasses"].values():
        one["codes"] = [{"system": "icd10cm", "tier": "definitive", "values": ["Q99"]}]
    text = yaml.safe_dump(policy, sort_keys=False)
    (workspace / "policy.yaml").write_text(text)
    outcome = phigate("plan", workspace / "policy.yaml", workspace / "sound.yaml")
    assert outcome.code == ExitCode.USAGE
    for name in policy["spec"]["attributeClasses"]:
        assert f"policy.yaml:{line_of(workspace, f'    {name}:')}:" in outcome.err
        assert f"'{name}' matches no definitive or strong code" in outcome.err
    assert "codeSystems" in outcome.err


def test_an_attacker_who_knows_an_undefined_field_is_located(
    phigate: Command, workspace: Path
) -> None:
    replaced("static: [age, sex", "static: [age, sexx", "policy.yaml")(workspace)
    outcome = phigate("plan", workspace / "policy.yaml", workspace / "sound.yaml")
    assert outcome.code == ExitCode.USAGE
    assert "policy.yaml:" in outcome.err
    assert "did you mean 'sex'" in outcome.err


def test_a_run_folder_that_cannot_be_written_is_named(phigate: Command, workspace: Path) -> None:
    (workspace / "run").write_text("in the way")
    outcome = phigate(
        "check", workspace / "policy.yaml", workspace / "sound.yaml", "--out", workspace / "run"
    )
    assert outcome.code == ExitCode.INCOMPLETE
    assert f"{workspace / 'run'}: is a file; --out names the folder of a run" in outcome.err


def test_a_full_disk_is_named_and_nothing_half_written_stays(
    phigate: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, count = os.fsync, iter(range(100))

    def full(descriptor: int) -> None:
        if next(count) >= 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        really(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    arguments = (
        "check", workspace / "policy.yaml", workspace / "sound.yaml", "--out", workspace / "run",
    )  # fmt: skip
    outcome = phigate(*arguments)
    assert outcome.code == ExitCode.INCOMPLETE
    assert "No space left on device" in outcome.err
    assert not list((workspace / "run").rglob("*.tmp"))
    monkeypatch.undo()


def test_two_audits_do_not_write_into_one_folder(phigate: Command, workspace: Path) -> None:
    import fcntl

    (workspace / "run").mkdir()
    with (workspace / "run" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        outcome = phigate(
            "check", workspace / "policy.yaml", workspace / "sound.yaml", "--out", workspace / "run"
        )
    assert outcome.code == ExitCode.INCOMPLETE
    assert "another phigate" in outcome.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("check",),
        ("plan", "missing.yaml", "missing.yaml"),
        ("check", "{policy}", "{target}", "--out", "{run}", "--format", "pfd"),
        ("check", "{policy}", "{target}", "--out", "{run}", "--as-of", "yesterday"),
        ("schema", "LeekagePolicy"),
        ("check", "{target}", "{policy}", "--out", "{run}"),
    ],
)
def test_a_command_that_cannot_be_meant_ends_in_2(
    phigate: Command, workspace: Path, arguments: tuple[str, ...]
) -> None:
    paths = {
        "policy": workspace / "policy.yaml",
        "target": workspace / "sound.yaml",
        "run": workspace / "run",
    }
    outcome = phigate(*(argument.format(**paths) for argument in arguments))
    assert outcome.code == ExitCode.USAGE
    assert outcome.err


@pytest.mark.parametrize("command", ["judge", "verify", "report"])
def test_a_mistyped_run_ends_in_2_and_a_folder_that_is_none_in_4(
    phigate: Command, tmp_path: Path, command: str
) -> None:
    folder = tmp_path / "nothing"
    mistyped = phigate(command, folder)
    assert (mistyped.code, "nothing" in mistyped.err) == (ExitCode.USAGE, True)
    folder.mkdir()
    empty = phigate(command, folder)
    assert (empty.code, "nothing" in empty.err) == (ExitCode.INCOMPLETE, True)


def test_a_manifest_of_another_plan_is_refused(phigate: Command, workspace: Path) -> None:
    arguments = (workspace / "policy.yaml", workspace / "sound.yaml", "--out", workspace / "run")
    phigate("run", *arguments)
    plan = workspace / "run" / "plan.json"
    plan.write_text(plan.read_text().replace('"fail": 0.05', '"fail": 0.5', 1))
    outcome = phigate("judge", workspace / "run")
    assert outcome.code == ExitCode.INCOMPLETE
    assert "plan.json" in outcome.err


def test_the_starter_files_are_valid_and_never_overwritten_by_accident(
    phigate: Command, tmp_path: Path
) -> None:
    assert phigate("init", tmp_path / "new").code == 0
    files = [tmp_path / "new" / f"{name}.yaml" for name in ("policy", "target", "submission")]
    assert phigate("validate", *files).code == 0
    again = phigate("init", tmp_path / "new")
    assert again.code == ExitCode.USAGE
    assert "--force" in again.err
