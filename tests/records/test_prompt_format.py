"""A wrong adapter makes any model look safe: the audit must notice, and must not cry wolf."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from command_line import Checked, Command
from meds_builder import make_records, make_vocabulary

from checker.errors import ExitCode
from checker.policy.documents import TokenizationSpec
from checker.records.prompt_format import format_variants, variants_at_most
from checker.records.tokenization import Tokenizer

REASON = "attack-not-shown-to-work"


def change_target(folder: Path, **tokenization: object) -> None:
    path = folder / "leaking.yaml"
    document = yaml.safe_load(path.read_text())
    document["spec"]["tokenization"].update(tokenization)
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def without_bos(folder: Path) -> None:
    change_target(folder, specials={"eos": "[EOS]", "pad": "[PAD]", "unk": "[UNK]"})
    model = json.loads((folder / "leaking.json").read_text())
    model["bosTokenId"] = json.loads((folder / "vocab.json").read_text())["[BOS]"]
    (folder / "leaking.json").write_text(json.dumps(model))


def another_static_order(folder: Path) -> None:
    change_target(folder, prefixOrder=["sex", "age", "race"])


def age_off_by_one(folder: Path) -> None:
    vocabulary = json.loads((folder / "vocab.json").read_text())
    shifted = {
        f"AGE//{int(token[5:]) + 1}" if token.startswith("AGE//") else token: i
        for token, i in vocabulary.items()
    }
    (folder / "vocab.json").write_text(json.dumps(shifted))


@pytest.mark.parametrize("break_format", [without_bos, another_static_order, age_off_by_one])
def test_a_wrong_format_ends_inconclusive_on_a_model_that_leaks(
    phigate: Command, workspace: Path, break_format: Callable[[Path], None]
) -> None:
    break_format(workspace)
    outcome = phigate(
        "check", workspace / "policy.yaml", workspace / "leaking.yaml", "--out", workspace / "run",
        "--json",
    )  # fmt: skip
    assert outcome.code == ExitCode.INCONCLUSIVE, outcome.err
    report = json.loads(outcome.out)
    decided = [c for c in report["cells"] if c["gating"]]
    assert {c["reason"] for c in decided} == {REASON}
    check = next(c for c in report["admissibility"] if c["name"] == REASON)
    assert check["holds"] is False


def test_the_right_format_is_not_doubted(checked: Callable[[str], Checked]) -> None:
    for name in ("leaking", "sound"):
        report = json.loads((checked(name).run / "report.json").read_text())
        checks = report["admissibility"]
        assert next(c for c in checks if c["name"] == REASON)["holds"] is True


def test_a_target_without_log_probabilities_is_not_passed(
    phigate: Command, workspace: Path
) -> None:
    model = json.loads((workspace / "sound.json").read_text())
    model["capabilities"] = ["samples"]
    (workspace / "sound.json").write_text(json.dumps(model))
    outcome = phigate(
        "check", workspace / "policy.yaml", workspace / "sound.yaml", "--out", workspace / "run",
        "--json",
    )  # fmt: skip
    assert outcome.code == ExitCode.INCONCLUSIVE
    reasons = {c["id"]: c["reason"] for c in json.loads(outcome.out)["cells"] if c["gating"]}
    assert reasons["membership/record/all"] == "capability-missing"
    assert reasons["hiv-disclosure/events-10/all"] == REASON


def test_variants_of_a_long_record_hold_the_same_events() -> None:
    # 30 events of ever commoner codes in a context of 12: turned around before the cut, the record
    # would be compared on its other end
    patient = [("GENDER//F", None), *((f"C{i}", float(i)) for i in range(30))]
    records, codes = make_records([patient])
    tokens = ["[BOS]", *codes]
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate(
            {"vocabulary": "v", "specials": {"bos": "[BOS]"}, "static": {"sex": "GENDER//*"}}
        ),
        vocabulary=make_vocabulary(tokens),
        base=Path(),
    )
    variants = list(
        format_variants(records, codes, tokenizer=tokenizer, bos_id=None, max_length=12)
    )
    assert [v.name for v in variants] == ["declared", "events reversed", "no BOS"]
    all_told = format_variants(
        records, codes, tokenizer=tokenizer, bos_id=None, max_length=12, positions=64, segments=True
    )
    assert len(list(all_told)) == variants_at_most(tokenizer)
    compared = [sorted(tokens[i] for i in v.sequences[0][v.compared[0]].tolist()) for v in variants]
    # BOS and sex leave room for C0 to C8 (one place is kept for a BOS to be added), and neither the
    # first nor the last of them is compared
    assert compared[0] == [f"C{i}" for i in range(1, 8)]
    assert compared[1] == compared[0]
    assert compared[2] == compared[0]
    assert [tokens[i] for i in variants[1].sequences[0][:3]] == ["[BOS]", "GENDER//F", "C8"]
