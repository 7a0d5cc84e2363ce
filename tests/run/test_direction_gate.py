"""Splits that were exchanged: a model that leaks looks safer than any, and must not pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from auditing import audit, write_policy, write_variant

from checker.errors import ExitCode
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.testing.toy_targets import TOKENIZATION, write_sample

CONTROLS: dict[str, dict[str, str]] = {"hiv-disclosure": {}, "membership": {}}


def exchanged(target: Path) -> Path:
    """Write the target with its splits exchanged, and a sample of those who are called members.

    One of the patients that were trained on would hold no member, and nothing else would be asked.
    """
    folder = target.parent
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate(TOKENIZATION),
        vocabulary=load_vocabulary(folder / "vocab.json"),
        base=folder,
    )
    called = DataSpec(path="cohort", members="held_out", nonmembers="train")
    cohort = load_cohort(called, base=folder)
    records = tokenizer.encode(cohort.members, cohort.codes)
    write_sample(folder / "sample.parquet", cohort.members.subject_id, records)
    data = yaml.safe_load(target.read_text())["spec"]["data"]
    return write_variant(
        target, "exchanged", data={**data, "members": "held_out", "nonmembers": "train"}
    )


@pytest.mark.parametrize("control", [None, "rate"])
def test_a_leaking_model_with_its_splits_exchanged_does_not_pass(
    workspace: Path, control: str | None
) -> None:
    rate = {"probe": "attribute-disclosure", "metric": "disclosure_rate"}
    chosen = CONTROLS if control is None else {"hiv-disclosure": rate}
    policy = write_policy(workspace / "policy.yaml", chosen)
    outcome = audit(policy, exchanged(workspace / "leaking.yaml"), workspace / "run")
    assert outcome.code == ExitCode.INCONCLUSIVE, outcome.verdicts
    # what are called nonmembers come out of it, which is said first of a cell that rests on them
    reason = "worse-than-chance" if control == "rate" else "nonmembers-known-to-model"
    assert reason in {reason for _, reason in outcome.verdicts.values()}
    assert outcome.check(reason)["holds"] is False
    assert "pass" not in {verdict for verdict, _ in outcome.verdicts.values()}
    assert outcome.check("worse-than-chance")["holds"] is False


def test_a_sound_model_passes_whichever_split_is_called_the_members(workspace: Path) -> None:
    policy = write_policy(workspace / "policy.yaml", CONTROLS)
    outcome = audit(policy, exchanged(workspace / "sound.yaml"), workspace / "run")
    assert outcome.check("worse-than-chance")["holds"] is True
    assert "worse-than-chance" not in {reason for _, reason in outcome.verdicts.values()}
