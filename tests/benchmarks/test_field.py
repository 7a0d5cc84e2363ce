"""The families of the field: their loaders' tables hold, and what one draws is what it scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from benchmarks.field import cehrgpt, delphi, ehrmamba2, ethos
from benchmarks.field.study import Family, Row, Study, is_wrong
from benchmarks.wrong_instruments import Outcome
from benchmarks.wrong_worlds import Size
from checker.codes import RANK_STRONG
from checker.errors import DataError
from checker.planning.classes import of_parts
from checker.policy.documents import TokenizationSpec
from checker.records.tokenization import MadeRecords, load_vocabulary, make_tokenizer
from checker.targets import Sampler
from checker.targets.channels import ChannelTokens, channel_values

SMALL = Size(patients=60, further=0, positives=24, classes=1, score="loss")
FAMILIES = (ehrmamba2.FAMILY, ethos.FAMILY, delphi.FAMILY, cehrgpt.family(Path("python")))
Made = Callable[[Family], Study]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder, known = tmp_path_factory.mktemp("field"), {}

    def study(family: Family) -> Study:
        if family.name not in known:
            known[family.name] = Study(family, folder, 0, SMALL)
            known[family.name].prepare()
        return known[family.name]

    return study


def tokenizer_of(study: Study, table: Path = Path("tokens.parquet")) -> MadeRecords:
    folder = study.world.folder / "told"
    told = {"vocabulary": "vocab.json", "records": str(table)}
    found = make_tokenizer(
        TokenizationSpec.model_validate({**told, **study.family.tokenization}),
        vocabulary=load_vocabulary(folder / "vocab.json"),
        base=folder,
    )
    assert isinstance(found, MadeRecords)
    return found


@pytest.mark.parametrize("family", FAMILIES, ids=lambda one: one.name)
def test_what_a_loader_tells_is_read_as_it_was_taught(made: Made, family: Family) -> None:
    study = made(family)
    tokenizer = tokenizer_of(study)
    cohort = study.world.cohort("train")
    encoded = tokenizer.encode(cohort.members, cohort.codes)  # with all checks of a table
    taught = study.loader.sequences(study.patients("train"))
    for row, own in enumerate(taught):
        tokens = encoded.record(row).tokens
        assert tokens.tolist() == own.tolist()
        for name in study.loader.channels:
            assert np.allclose(channel_values(tokens, name), channel_values(own, name), atol=1.0)
    assert (encoded.coverage.events, encoded.coverage.unknown) == (
        sum(len(patient.events) for patient in study.patients("train")),
        0,
    )


def test_a_code_in_three_tokens_is_recognised_by_the_one_that_is_its_own(made: Made) -> None:
    study = made(ethos.FAMILY)
    tokenizer, ids = tokenizer_of(study), study.loader.ids
    code = f"{ethos.DIAGNOSIS}B9735"
    parts = ethos.parts_of(code)
    assert parts == ["ICD//B97", "ICD//4//3", "ICD//5//5"]
    own, *shared = (tokenizer.told_codes[ids[part]] for part in parts)
    assert own == {code}
    assert all(len(codes) > 1 for codes in shared)
    codes = sorted({one for told in tokenizer.told_codes.values() for one in told})
    place = {one: i for i, one in enumerate(codes)}
    ranks = np.where(np.array(codes) == code, RANK_STRONG, 0).astype(np.int8)
    spelled = tokenizer.vocabulary_codes()
    alone = np.array([RANK_STRONG if one == code else 0 for one in spelled], dtype=np.int8)
    found = of_parts("hiv", ranks, alone, place, tokenizer)
    assert np.flatnonzero(found).tolist() == [ids[parts[0]]]


def test_a_table_of_other_ages_is_refused(made: Made, tmp_path: Path) -> None:
    study = made(delphi.FAMILY)
    (row,) = (one for one in delphi.FAMILY.rows if one.name == "ages-of-another")
    assert row.table is not None
    path = tmp_path / "tokens.parquet"
    pq.write_table(row.table(study.loader.table(study.patients("train"))), path)
    cohort = study.world.cohort("train")
    with pytest.raises(DataError, match="its column 'age' is not what the patients' dates give"):
        tokenizer_of(study, path).encode(cohort.members, cohort.codes)


def test_what_a_model_of_competing_times_draws_has_the_ages_that_it_drew(made: Made) -> None:
    study = made(delphi.FAMILY)
    ids = study.loader.ids
    torch.manual_seed(0)
    network = delphi.Delphi(
        vocabulary=len(ids),
        ends=[ids[delphi.CENSORED], ids[delphi.DEATH]],
        behind=ids[delphi.END],
        never=[ids[delphi.PAD]],
    ).eval()
    model = delphi.DelphiModel(network)
    cohort = study.world.cohort("train")
    encoded = tokenizer_of(study).encode(cohort.members, cohort.codes)
    prompts = [encoded.record(row).tokens[: 6 + 4 * row] for row in range(4)]
    sampler = Sampler(temperature=1.0, top_p=1.0, horizon_tokens=24, seed=3)
    drawn = model.rollout(prompts, keys=range(4), samples=40, sampler=sampler)
    (alone,) = model.rollout(prompts[2:3], keys=[2], samples=3, sampler=sampler)
    assert [one.tolist() for one in alone] == [one.tolist() for one in drawn[2][:3]]
    end = ids[delphi.END]
    ends = [ids[delphi.CENSORED], ids[delphi.DEATH]]
    for prompt, rows in zip(prompts, drawn, strict=True):
        for row in rows:
            assert isinstance(row, ChannelTokens)
            ages = channel_values(row, delphi.AGE)
            whole = np.concatenate([prompt, row])
            assert np.array_equal(channel_values(whole, delphi.AGE)[len(prompt) :], ages)
            assert (np.diff(ages, prepend=channel_values(prompt, delphi.AGE)[-1]) > 0).all()
            assert end not in row
            assert (len(row) < 24) == (int(whole[-1]) in ends) or len(row) == 24
            assert not np.isin(whole[:-1], ends).any()
    # a token's probability does not hang on when it comes, but on what was told before it
    rows = [np.concatenate([prompts[0], row, [end]]) for row in drawn[0]]
    for row, scored in zip(rows, model.score(rows), strict=True):
        assert np.isfinite(scored.logprob).all()
        assert (scored.logprob[-1] == 0.0) == (int(row[-2]) in ends)


def test_a_row_is_wrong_that_passes_or_ends_otherwise_than_it_must() -> None:
    def outcome(verdict: str, expected: str | None, **cells: tuple[str, str | None]) -> Outcome:
        return Outcome("x", "trained", 0, "judged", verdict, 0, "", cells=cells, expected=expected)

    assert is_wrong(outcome("pass", None))
    assert is_wrong(outcome("inconclusive", "fail"))
    assert is_wrong(outcome("fail", "pass"))
    assert is_wrong(outcome("refused", "pass"))
    assert not is_wrong(outcome("inconclusive", "pass"))
    assert is_wrong(outcome("inconclusive", None, a=("pass", None)), ["a"])
    assert not is_wrong(outcome("refused", None), ["a"])
    for family in FAMILIES:
        first, second = family.rows[:2]
        assert (first.expected, second.expected, second.model) == ("fail", "pass", "sound")
        assert any(row.expected is None for row in family.rows) or family.name == "ehrmamba2"
        assert Row("x").expected is None
