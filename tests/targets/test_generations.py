"""Draws from a file: how it could lie, and what is said of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.targets import Sampler
from checker.targets.backends.generations import (
    AskedDraw,
    GenerationsBackend,
    RecordedModel,
    write_asked,
)

SAMPLER = Sampler(temperature=1.0, top_p=0.95, horizon_tokens=4, seed=7)
EOS = 2
Rows = list[dict[str, Any]]
ASKED = [
    AskedDraw(np.array([3, 4, number], np.int32), key=10 + number, samples=3, sampler=SAMPLER)
    for number in range(5, 9)
]


def drawn() -> Rows:
    return [
        {"prompt": one.name, "sample": sample, "tokens": [one.key - 9, 3 + sample][: 1 + sample]}
        for one in ASKED
        for sample in range(3)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(b"of a model")
    write_asked(ASKED, tmp_path / "prompts.parquet")
    pq.write_table(pa.Table.from_pylist(drawn()), tmp_path / "draws.parquet")
    return tmp_path


SPEC = ModelSpec(
    backend="generations",
    path="weights",
    options={"prompts": "prompts.parquet", "draws": "draws.parquet", "vocabularySize": 12},
)


def opened(folder: Path) -> RecordedModel:
    return GenerationsBackend().open(SPEC, folder, pad_id=0, eos_id=EOS)


def test_what_was_drawn_is_handed_out_by_prompt_and_sample(folder: Path) -> None:
    model = opened(folder)
    found = model.rollout(
        [ASKED[2].tokens, ASKED[0].tokens], keys=[17, 15], samples=2, sampler=SAMPLER
    )
    assert [rows[1].tolist() for rows in found] == [[8, 4], [6, 4]]
    (more,) = model.rollout(
        [ASKED[0].tokens], keys=[15], samples=1, sampler=SAMPLER,
        more=lambda _, drawn: 2 if len(drawn) == 1 else 0,
    )  # fmt: skip
    assert len(more) == 3


def test_other_files_are_other_answers_of_the_same_model(folder: Path) -> None:
    before = GenerationsBackend().describe(SPEC, folder)
    pq.write_table(pa.Table.from_pylist(drawn()[::-1]), folder / "draws.parquet")
    after = GenerationsBackend().describe(SPEC, folder)
    assert (before.sha256, before.code == after.code) == (after.sha256, False)
    (folder / "draws.parquet").unlink()
    assert GenerationsBackend().describe(SPEC, folder).code is None
    assert before.capabilities == {"samples"}


def lines(folder: Path, rows: Rows, more: str = "") -> RecordedModel:
    (folder / "draws.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + more)
    options = {**(SPEC.options or {}), "draws": "draws.jsonl"}
    spec = SPEC.model_copy(update={"options": options})
    return GenerationsBackend().open(spec, folder, pad_id=0, eos_id=EOS)


def test_lines_of_json_are_read_as_a_table_is(folder: Path) -> None:
    asked: dict[str, Any] = {"keys": [15, 16, 17, 18], "samples": 3, "sampler": SAMPLER}
    prompts = [one.tokens for one in ASKED]
    expected = opened(folder).rollout(prompts, **asked)
    found = lines(folder, drawn()).rollout(prompts, **asked)
    assert [[one.tolist() for one in rows] for rows in found] == [
        [one.tolist() for one in rows] for rows in expected
    ]
    with pytest.raises(TargetError, match=r"draws.jsonl: holds 2 of 3 samples"):
        lines(folder, drawn()[:-1])
    with pytest.raises(TargetError, match=r"draws.jsonl: holds no JSON Lines"):
        lines(folder, [{**drawn()[0], "tokens": [3.5]}, *drawn()[1:]])
    with pytest.raises(TargetError, match=r"draws.jsonl: holds no JSON Lines"):
        lines(folder, [{**drawn()[0], "sample": True}, *drawn()[1:]])
    with pytest.raises(TargetError, match=r"the prompt 2020-01-01, which was not asked"):
        lines(folder, [{**drawn()[0], "prompt": "2020-01-01"}, *drawn()[1:]])
    with pytest.raises(TargetError, match=r"draws.jsonl: holds no JSON Lines"):
        lines(folder, drawn(), '{"prompt": ')
    (folder / "draws.jsonl").rename(folder / "draws.json")
    spec = SPEC.model_copy(update={"options": {**(SPEC.options or {}), "draws": "draws.json"}})
    with pytest.raises(TargetError, match=r"parquet file; JSON Lines end in \.jsonl or \.ndjson"):
        GenerationsBackend().open(spec, folder, pad_id=0, eos_id=EOS)


@pytest.mark.parametrize(
    "deep",
    [
        '{"prompt": "a", "sample": 0, "tokens": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"prompt": "a", "other": ' + '{"a": ' * 60_000 + "1" + "}" * 60_000 + "}",
        "]" * 200_000 + "[" * 100_000,
        '{"prompt": "\n' + "[" * 100_000,  # where a line begins, no string goes on
        '{"prompt": "\r' + "[" * 100_000,
        '{"tokens": ' + "\n[" * 100_000,
    ],
    ids=["lists", "objects", "closed before", "a string's rest", "another's", "line by line"],
)
def test_lines_that_nest_without_end_are_refused_before_they_are_parsed(
    folder: Path, deep: str
) -> None:
    with pytest.raises(TargetError, match=r"draws.jsonl: line 1[134]3? nests deeper than 100 "):
        lines(folder, drawn(), deep)


def test_what_is_wrong_with_a_line_is_said_in_few_words(folder: Path) -> None:
    # in a string they are text
    brackets = {"prompt": "[" * 1000 + '\\"' + "{" * 1000}
    with pytest.raises(TargetError, match=r"prompt \[{57}\.\.\., which was not asked"):
        lines(folder, [{**drawn()[0], **brackets}, *drawn()[1:]])
    nested: Any = 1
    for _ in range(60):
        nested = [{"of a name that is long": nested}] if _ % 2 else [nested]
    with pytest.raises(TargetError, match="holds no JSON Lines") as caught:
        lines(folder, [{**drawn()[0], "tokens": nested}, *drawn()[1:]])
    assert len(str(caught.value)) < 600
    with pytest.raises(TargetError, match=r"draws.jsonl: line 2 is longer than 16,777,216 bytes"):
        lines(folder, drawn()[:1], "[" * ((1 << 24) + 1))


def changed(row: int, **values: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [{**one, **values} if i == row else one for i, one in enumerate(rows)]


LIES: dict[str, tuple[Callable[[Rows], Rows], str]] = {
    "a sample less": (lambda rows: rows[:-1], "holds 2 of 3 samples of the prompt"),
    "a prompt less": (lambda rows: rows[3:], "holds 0 of 3 samples of the prompt"),
    "chosen from more": (lambda rows: [*rows, {**rows[0], "sample": 3}], "sample 3, where 0 to 2"),
    "twice": (changed(1, sample=0), "row 2 holds sample 0 .* for the second time"),
    "of somebody else": (changed(4, prompt="f" * 32), "row 5 .* which was not asked"),
    "too long": (changed(2, tokens=[3] * 5), "5 tokens, beyond the horizon of 4"),
    "no such token": (changed(2, tokens=[12]), "a token that is none of the 12 ids"),
    "the end": (changed(2, tokens=[3, EOS]), "the token 2, which ends a continuation"),
    "nothing": (changed(2, tokens=None), "column 'tokens' holds 1 nulls"),
    "a hole": (changed(2, tokens=[3, None]), "column 'tokens' holds 1 nulls"),
    "words": (changed(2, sample=None), "column 'sample' holds 1 nulls"),
    "other columns": (
        lambda rows: [{"prompt": row["prompt"], "tokens": row["tokens"]} for row in rows],
        "has no column 'sample'",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_file_that_is_no_answer_is_refused_with_the_row(name: str, folder: Path) -> None:
    lie, message = LIES[name]
    pq.write_table(pa.Table.from_pylist(lie(drawn())), folder / "draws.parquet")
    with pytest.raises(TargetError, match=message) as failed:
        opened(folder)
    assert "draws.parquet" in str(failed.value)


@pytest.mark.parametrize(
    "other",
    [
        {"tokens": np.array([3, 4, 6], np.int32)},
        {"key": 99},
        {"sampler": replace(SAMPLER, seed=8)},
        {"sampler": replace(SAMPLER, temperature=0.5)},
        {"sampler": replace(SAMPLER, top_p=1.0)},
        {"sampler": replace(SAMPLER, horizon_tokens=3)},
        {"samples": 4},
    ],
)
def test_draws_are_of_one_prompt_key_and_sampler(other: dict[str, Any], folder: Path) -> None:
    one = replace(ASKED[0], **other)
    with pytest.raises(TargetError, match="lacks a prompt, or samples of one"):
        opened(folder).rollout([one.tokens], keys=[one.key], samples=one.samples,
                               sampler=one.sampler)  # fmt: skip


def test_prompts_that_were_changed_are_refused(folder: Path) -> None:
    rows = pq.read_table(folder / "prompts.parquet").to_pylist()
    rows[0]["temperature"] = 0.1  # so that whoever draws, draws otherwise
    pq.write_table(pa.Table.from_pylist(rows), folder / "prompts.parquet")
    with pytest.raises(TargetError, match=r"prompts that were asked were changed"):
        opened(folder)


def test_greedy_draws_are_refused(folder: Path) -> None:
    asked = [replace(ASKED[0], key=100 + number) for number in range(25)]
    write_asked(asked, folder / "prompts.parquet")
    rows = [
        {"prompt": one.name, "sample": sample, "tokens": [3, one.key % 9 + 3]}
        for one in asked
        for sample in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "draws.parquet")
    with pytest.raises(TargetError, match="as greedy decoding gives them; draw by lot"):
        opened(folder)
    for number in range(2):  # another sample of some: no more than 23 of 25 are left
        rows[3 * number]["tokens"] = [4]
        pq.write_table(pa.Table.from_pylist(rows), folder / "draws.parquet")
        with pytest.raises(TargetError, match=f"for {24 - number} of 25 prompts"):
            opened(folder)
    rows[6]["tokens"] = [4]
    pq.write_table(pa.Table.from_pylist(rows), folder / "draws.parquet")
    opened(folder)


def test_files_that_are_missing_or_broken_are_said(folder: Path) -> None:
    (folder / "draws.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(TargetError, match=r"draws.parquet: is no readable parquet file"):
        opened(folder)
    (folder / "draws.parquet").unlink()
    with pytest.raises(TargetError, match=r"draws.parquet: no such file; the model's owner"):
        opened(folder)
    (folder / "prompts.parquet").unlink()
    with pytest.raises(TargetError, match=r"no such file; `phigate target prompts` writes it"):
        opened(folder)
    (folder / "weights").unlink()
    with pytest.raises(TargetError, match=r"model.path of generations is the model's weights"):
        GenerationsBackend().describe(SPEC, folder)


def test_what_no_file_of_draws_says_is_refused(folder: Path) -> None:
    with pytest.raises(TargetError, match="no log-probabilities"):
        opened(folder).score([ASKED[0].tokens])
    with pytest.raises(TargetError, match="no hidden states"):
        opened(folder).embed([ASKED[0].tokens])
