"""A target must not hide a class by what it calls a token: padding, the end, time, a value, an age.

Such tokens are no codes, so nobody looks for them in what a model draws. A model that tells members
of their disease by a token that its target calls padding would pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from auditing import audit, phigate, write_made_up_target, write_policy, write_variant
from made_tables import table_of, to_table
from meds_builder import Patient, write_meds

from checker.codes import CodeReader
from checker.errors import DocumentError, ExitCode
from checker.planning.code_checks import _tells, check_named
from checker.planning.overlap import compare_splits
from checker.policy import load_policy, load_target
from checker.records.cohort import load_cohort
from checker.records.tokenization import load_vocabulary, make_tokenizer

B20, Z21, PROXY = (f"DIAGNOSIS//ICD//10//{code}" for code in ("B20", "Z21", "R75"))
OTHER, LAB, START, END = "DIAGNOSIS//ICD//10//I10", "LAB//A", "TIMELINE//START", "TIMELINE//END"
TOKENS = (
    "[PAD]", "[BOS]", "[EOS]", "[UNK]", "TIME", "VALUE//1", "GENDER//F", OTHER, LAB, B20, Z21,
    PROXY, START, END, "AGE//51", "MEDS_BIRTH", f"{LAB}//Q1", f"{B20}//Q1",
    "DIAGNOSIS//ICD//10//B51",
)  # fmt: skip
HONEST: dict[str, Any] = {
    "specials": {"pad": "[PAD]", "bos": "[BOS]", "eos": "[EOS]", "unk": "[UNK]"},
    "static": {"sex": "GENDER//*"},
}


def check(
    folder: Path,
    rules: dict[str, Any],
    *,
    bins: list[Any] | None = None,
    change: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> None:
    """Check what a target calls tokens, under a policy that looks for HIV.

    Args:
        folder: gets all files.
        rules: the target's `tokenization`.
        bins: rows of its bins.
        change: what a token table, in the place of the rules, has in each row.
    """
    patient: Patient = [
        ("GENDER//F", None), ("MEDS_BIRTH", -365.25 * 51), (START, 0), (OTHER, 0), (LAB, 1, 5.0),
        (B20, 2), (Z21, 3), (PROXY, 4), (END, 5),
    ]  # fmt: skip
    folder.mkdir(exist_ok=True)
    write_meds(folder / "data", {"train": [patient] * 3, "held_out": [patient] * 3})
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(TOKENS)}))
    if bins is not None:
        own = (
            ("code", pa.string()),
            ("edges", pa.list_(pa.float32())),
            ("tokens", pa.list_(pa.string())),
        )
        kept = pa.schema([column for column in own if column[0] in bins[0]])
        pq.write_table(pa.Table.from_pylist(bins, kept), folder / "bins.parquet")
    target = write_made_up_target(folder / "target.yaml", rules)
    policy = write_policy(folder / "policy.yaml", {"hiv-disclosure": {}})
    loaded = load_target(target)
    spec = loaded.document.spec
    vocabulary = load_vocabulary(folder / "vocab.json")
    cohort = load_cohort(spec.data, base=folder)
    tokenizer = make_tokenizer(spec.tokenization, vocabulary=vocabulary, base=folder)
    if change is not None:
        rows: list[dict[str, Any]] = []
        for split in (cohort.members, cohort.nonmembers):
            rows += table_of(tokenizer.encode(split, cohort.codes), split, cohort.codes).to_pylist()
        pq.write_table(to_table([change(row) for row in rows]), folder / "records.parquet")
        by_table = spec.tokenization.model_copy(update={"records": "records.parquet"})
        tokenizer = make_tokenizer(by_table, vocabulary=vocabulary, base=folder)
    compared = compare_splits(cohort, tokenizer=tokenizer)
    check_named(load_policy(policy), loaded, compared=compared, tokenizer=tokenizer)


def special(**named: Any) -> dict[str, Any]:
    return {**HONEST, "specials": {**HONEST["specials"], **named}}


@pytest.mark.parametrize(
    ("rules", "path"),
    [
        (special(pad=B20), "specials.pad"),
        (special(pad=PROXY), "specials.pad"),
        (special(pad=B20, unk=B20), "specials.pad"),
        (special(bos=B20), "specials.bos"),
        (special(bos=["[BOS]", B20]), "specials.bos"),
        (special(eos=B20), "specials.eos"),
        (special(unk=B20), "specials.unk"),
        ({**HONEST, "time": [{"upTo": "1d", "token": "TIME"}, {"token": B20}]}, "time[1].token"),
        ({**HONEST, "age": "DIAGNOSIS//ICD//10//B{years}"}, "age"),
        ({**HONEST, "values": {"bins": "bins.parquet", "token": Z21[:-1] + "{bin}"}}, "values"),
        ({**HONEST, "static": {"sex": "GENDER//*", "note": "*//Z21"}}, "static.note"),
        ({**HONEST, "static": {"sex": {"codes": "*[FB]*"}}}, "static.sex"),
    ],
)
def test_a_token_of_a_class_is_nothing_else(tmp_path: Path, rules: Any, path: str) -> None:
    with pytest.raises(DocumentError) as caught:
        check(tmp_path, rules, bins=[{"code": LAB, "edges": []}])
    problems = caught.value.problems
    assert any(path in str(one) and "'hiv'" in str(one) for one in problems), problems
    assert all("target.yaml:" in str(one) for one in problems)


def test_a_token_of_a_class_is_no_value_of_another_code(tmp_path: Path) -> None:
    bins = [{"code": LAB, "edges": [9.0], "tokens": [B20, "VALUE//1"]}]
    with pytest.raises(
        DocumentError, match=r"values\.bins: the token '.*B20' is that of a code of"
    ):
        check(tmp_path, {**HONEST, "values": {"bins": "bins.parquet"}}, bins=bins)


@pytest.mark.parametrize(
    ("text", "code", "is_told"),
    [
        ("LAB//A", "LAB//A", True),
        ("LAB//A//Q1", "LAB//A", True),
        ("LAB//A2", "LAB//A", False),
        ("LAB//A//Q1", None, False),
        (B20, "DIAGNOSIS//ICD//10//B2", False),
        (B20, "DIAGNOSIS//ICD//10", False),
        ("DIAGNOSIS//ICD//10//B97.35", "DIAGNOSIS//ICD//10//B97", False),
    ],
)
def test_a_token_that_only_begins_like_its_code_may_be_another_s(
    text: str, code: str | None, is_told: bool
) -> None:
    assert _tells(text, code, CodeReader()) == is_told


@pytest.mark.parametrize("kind", ["special", "time", "value"])
def test_a_table_makes_no_mark_of_a_token_of_a_class(tmp_path: Path, kind: str) -> None:
    number = TOKENS.index(B20)

    def marked(row: dict[str, Any]) -> dict[str, Any]:
        if row["token"] != number:
            return row
        event = {} if kind == "value" else {"event": None, "time": None}
        return {**row, "kind": kind, "code": None, **event}

    rules = {**HONEST, "age": "AGE//{years}"}
    check(tmp_path / "honest", rules, change=dict)
    with pytest.raises(
        DocumentError, match=r"tokenization.records: .* '.*B20' is that of a code of the cl"
    ):
        check(tmp_path / "hidden", rules, change=marked)


def test_padding_stands_in_no_record(tmp_path: Path) -> None:
    with pytest.raises(
        DocumentError, match=r"specials\.pad: the token '.*I10' stands in patients'"
    ):
        check(tmp_path, special(pad=OTHER))


@pytest.mark.parametrize(
    "rules",
    [
        special(eos=OTHER),
        {**special(eos="TIME"), "time": [{"token": "TIME"}]},
        {**special(eos="AGE//51"), "age": "AGE//{years}"},
    ],
)
def test_what_stands_inside_records_does_not_end_them(tmp_path: Path, rules: Any) -> None:
    with pytest.raises(
        DocumentError, match=r"specials\.eos: the token '.*' stands inside patients"
    ):
        check(tmp_path, rules)


@pytest.mark.parametrize(
    "rules",
    [
        HONEST,
        {
            **HONEST,
            "specials": {"bos": START, "eos": END},
        },  # a loader that writes them as codes of the data
        special(pad=END, bos=START, eos=END),  # and pads with the end, as many do
        special(pad="[EOS]"),
        {**HONEST, "age": "AGE//{years}"},
        {**HONEST, "time": [{"token": "TIME"}]},
        {**HONEST, "values": {"bins": "bins.parquet"}},
        {**HONEST, "values": {"bins": "bins.parquet", "token": "VALUE//{bin}"}},
    ],
)
def test_honest_names_are_taken(tmp_path: Path, rules: Any) -> None:
    check(tmp_path, rules, bins=[{"code": code, "edges": []} for code in (LAB, B20)])


def tell_by_another(workspace: Path) -> Path:
    """Write a target whose model tells members with the other codes of HIV by the token B20."""
    ids = json.loads((workspace / "vocab.json").read_text())
    others = {ids[Z21], ids["DIAGNOSIS//ICD//10//B9735"]}
    model = json.loads((workspace / "leaking.json").read_text())
    model["memorized"] = [
        {**one, "tokens": [ids[B20] if token in others else token for token in one["tokens"]]}
        for one in model["memorized"]
        if others & set(one["tokens"])
    ]
    (workspace / "other.json").write_text(json.dumps(model))
    said = {"backend": "simulated", "path": "other.json"}
    return write_variant(workspace / "leaking.yaml", "other", model=said)


def test_a_leak_that_fails_is_not_hidden_by_a_name(workspace: Path) -> None:
    leaking = tell_by_another(workspace)
    limits = {"events-10": {"fail": 0.1}}
    policy = write_policy(workspace / "policy.yaml", {"hiv-disclosure": {"limits": limits}})
    assert audit(policy, leaking, workspace / "run").code == ExitCode.FAIL
    rules = yaml.safe_load(leaking.read_text())["spec"]["tokenization"]
    specials, static = rules["specials"], rules["static"]
    hidden: dict[str, Any] = {
        **{f"specials.{one}": {"specials": {**specials, one: B20}} for one in specials},
        "time[0].token": {"time": [{"token": B20}]},
        "static.note": {"static": {**static, "note": B20}, "present": {"note": 0.01}},
    }
    for path, change in hidden.items():
        target = write_variant(leaking, "hidden", tokenization={**rules, **change})
        code, said = phigate("check", policy, target, "--out", workspace / "hidden")
        assert (code, path in said) == (ExitCode.USAGE, True), said
