"""A target must not hide a class: not by its spellings, its table of codes, or its codeSystems.

Ten members and ten nonmembers have HIV; what hides it from the class ends in an error that names
it, or leaves the class unmeasured with a reason, and never in a smaller class that is judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from auditing import audit, write_made_up_target, write_policy
from command_line import Command
from meds_builder import Patient, make_vocabulary, write_meds

from checker.codes import RANK_STRONG
from checker.errors import DataError, DocumentError, ExitCode
from checker.planning.classes import ClassRanks, of_parts
from checker.planning.code_checks import check_codes, check_told
from checker.planning.overlap import ComparedCohort, compare_splits
from checker.planning.untold import Tellings, Untold
from checker.policy import load_policy, load_target
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, make_tokenizer

HIV = ("DIAGNOSIS//ICD//10//B20", "DIAGNOSIS//ICD//9//042")
OTHERS = ("DIAGNOSIS//ICD//10//I10", "DIAGNOSIS//ICD//9//25000", "DIAGNOSIS//ICD//9//0030")


def check(
    tmp_path: Path,
    spell: Callable[[str], str] = str,
    *,
    systems: list[dict[str, str]] | None = None,
    parents: Mapping[str, list[str]] | None = None,
    exclude: list[str] | None = None,
    table: Mapping[str, tuple[str | None, list[str]]] | None = None,
) -> Any:
    """Check a cohort whose codes are spelled anew, under a policy that looks for HIV.

    With `table`, `data.codes` names another table of codes, which has these descriptions and
    parents beside the usual one's.
    """
    patients: list[Patient] = [
        [(spell(code), day) for day, code in enumerate([*OTHERS * 20, HIV[number % 2]])]
        for number in range(10)
    ]
    write_meds(tmp_path / "data", {"train": patients, "held_out": patients}, parents=parents)
    data = {"path": "data"}
    if table is not None:
        data["codes"] = "metadata/other.parquet"
        rows = {code: (None, own) for code, own in (parents or {}).items()} | dict(table)
        columns = {
            "code": list(rows),
            "description": pa.array([told for told, _ in rows.values()], pa.string()),
            "parent_codes": pa.array([own for _, own in rows.values()], pa.list_(pa.string())),
        }
        pq.write_table(pa.table(columns), tmp_path / "data" / data["codes"])
    target = write_made_up_target(
        tmp_path / "target.yaml", {}, codeSystems=systems or [], data=data
    )
    policy = write_policy(tmp_path / "policy.yaml", {"hiv-disclosure": {}})
    text = yaml.safe_load(policy.read_text())
    text["spec"]["attributeClasses"]["hiv"] = {
        "title": "HIV",
        "codes": [
            {"system": "icd10cm", "tier": "definitive", "values": ["B20"]},
            {"system": "icd9cm", "tier": "definitive", "values": ["042"]},
            {"system": "atc", "tier": "strong", "values": ["J05AE"], "exclude": ["J05AE03"]},
        ],
        "exclude": [
            *([{"system": "local", "values": exclude}] if exclude else []),
            {"system": "atc", "values": ["J05AE30"]},
            {"system": "drug", "values": ["paxlovid"]},
        ],
    }
    policy.write_text(yaml.safe_dump(text))
    loaded = load_target(target)
    cohort = load_cohort(loaded.document.spec.data, base=tmp_path)
    return check_codes(load_policy(policy), loaded, cohort=cohort)


def test_an_honest_target_is_accepted(tmp_path: Path) -> None:
    census = check(tmp_path)
    assert census.claims == ()


@pytest.mark.parametrize(
    ("hidden", "why"),
    [
        ("DIAGNOSIS//ICD//10//\u041220", "U+0412 CYRILLIC CAPITAL LETTER VE"),
        ("DIAGNOSIS//ICD//10//B2\uff10", "U+FF10 FULLWIDTH DIGIT ZERO"),
        ("DIAGNOSIS//ICD//10//B20\r", "U+000D"),
        ("DIAGNOSIS//ICD//10//B20\u200b", "U+200B ZERO WIDTH SPACE"),
    ],
)
def test_one_code_that_only_looks_like_one_of_the_class_is_refused(
    tmp_path: Path, hidden: str, why: str
) -> None:
    # far below one in twenty of the diagnoses, and half of the class
    with pytest.raises(DataError) as caught:
        check(tmp_path, lambda code: hidden if code == HIV[0] else code)
    assert "may be icd10cm B20 of the class 'hiv'" in str(caught.value)
    assert why in str(caught.value)


def test_a_stray_code_without_its_zero_is_refused_and_a_parent_mends_it(tmp_path: Path) -> None:
    short = "DIAGNOSIS//ICD//9//42"

    def spell(code: str) -> str:
        return short if code == HIV[1] else code

    with pytest.raises(DataError, match="may be icd9cm 042 of the class 'hiv'"):
        check(tmp_path / "a", spell)
    check(tmp_path / "b", spell, parents={short: ["ICD9CM/042"]})


def test_a_column_that_lost_its_zeros_is_refused(tmp_path: Path) -> None:
    def spell(code: str) -> str:
        head, _, text = code.rpartition("//")
        return f"{head}//{int(text)}" if text.isdigit() else code

    with pytest.raises(DataError, match="lost their leading zeros"):
        check(tmp_path, spell)


def test_a_column_of_floats_that_can_be_restored_is_read_and_told(tmp_path: Path) -> None:
    floats = {"042": "42.0", "25000": "250.0", "0030": "3.1"}

    def spell(code: str) -> str:
        head, _, text = code.rpartition("//")
        return f"{head}//{floats.get(text, text)}"

    census = check(tmp_path, spell)
    (restored,) = census.claims
    assert restored.problem == "restored"
    assert restored.examples == ("DIAGNOSIS//ICD//9//3.1", "DIAGNOSIS//ICD//9//42.0")


@pytest.mark.parametrize("entry", [("DIAGNOSIS//ICD//9//04{code}", "local"),
                                   ("DIAGNOSIS//ICD//9//{code}", "rxnorm"),
                                   ("DIAGNOSIS//ICD//9//04{code}", "icd9proc")])  # fmt: skip
def test_code_systems_cannot_take_a_code_out_of_a_class(
    tmp_path: Path, entry: tuple[str, str]
) -> None:
    with pytest.raises(DocumentError) as caught:
        check(tmp_path, systems=[{"match": entry[0], "system": entry[1]}])
    assert "codeSystems takes 1 codes out of the class 'hiv'" in str(caught.value)
    assert HIV[1] in str(caught.value)


def test_the_policy_may_take_a_code_out(tmp_path: Path) -> None:
    entry = {"match": "DIAGNOSIS//ICD//9//04{code}", "system": "local"}
    census = check(tmp_path, systems=[entry], exclude=["DIAGNOSIS//ICD//9//042"])
    (declared,) = census.claims
    assert (declared.problem, declared.events) == ("declared", 10)


def test_a_parent_cannot_hide_what_a_spelling_says(tmp_path: Path) -> None:
    hidden = {code: ["ICD10CM/J45"] for code in HIV}
    assert check(tmp_path, parents=hidden).claims == ()


MAPPED = "DX//HOUSE//7"
DRUG = "MEDICATION//17"


@pytest.mark.parametrize(
    ("code", "parents", "more"),
    [
        (MAPPED, ["ICD10CM/B20"], (None, ["ICD10CM/B20", "ATC/J05AE30"])),
        (DRUG, ["ATC/J05AE08"], (None, ["ATC/J05AE08", "ATC/J05AE03"])),
        (DRUG, ["ATC/J05AE08"], ("Paxlovid", ["ATC/J05AE08"])),
    ],
    ids=["excluded of the class", "excluded of its values", "excluded by a name"],
)
def test_another_table_cannot_take_a_code_out_of_a_class_by_what_it_adds(
    tmp_path: Path, code: str, parents: list[str], more: tuple[str | None, list[str]]
) -> None:
    def run(folder: str, table: Mapping[str, tuple[str | None, list[str]]]) -> Any:
        return check(
            tmp_path / folder,
            lambda one: code if one == HIV[0] else one,
            parents={code: parents},
            table=table,
        )

    honest = run("honest", {"DX//HOUSE//8": (None, ["ICD10CM/B20"])})
    assert honest.claims == ()
    with pytest.raises(DocumentError) as caught:
        run("hiding", {code: more})
    (problem,) = caught.value.problems
    assert f"data.codes takes 1 codes out of the class 'hiv', such as '{code}'" in problem.message


@pytest.mark.parametrize("last", ["J05AE03", "J05AE30"])
def test_spellings_and_a_table_together_take_no_code_out_of_a_class(
    tmp_path: Path, last: str
) -> None:
    """Each of them hides the code, so that without the other one it is hidden all the same."""
    code = f"HOUSE//{last}"
    entry = [{"match": "HOUSE//{code}", "system": "atc"}]
    table = {code: (None, ["ATC/J05AE08", f"ATC/{last}"])}
    said = {}
    for name, systems, other in (
        ("honest", None, None),
        ("codeSystems", entry, None),
        ("data.codes", None, table),
        ("both", entry, table),
    ):
        try:
            check(
                tmp_path / name,
                lambda one: code if one == HIV[0] else one,
                systems=systems,
                parents={code: ["ATC/J05AE08"]},
                table=other,
            )
        except DocumentError as refused:
            (problem,) = refused.problems
            said[name] = problem.message.partition(" 1 codes out of the class 'hiv'")[0]
    assert said == {
        "codeSystems": "codeSystems takes",
        "data.codes": "data.codes takes",
        "both": "codeSystems and data.codes take",
    }


@dataclass(frozen=True)
class Told:
    """A made-up cohort beside a token table that leaves some of its events out."""

    found: ClassRanks
    compared: ComparedCohort
    tokenizer: Tokenizer

    def check(self) -> None:
        empty = ClassRanks(0 * self.found.in_data, 0 * self.found.in_data, [])
        pool = {"any": ClassRanks.of_pool({"hiv": self.found, "other": empty})}
        check_told(pool, self.compared, file="tokens.parquet")

    def untold(self) -> Untold:
        return Tellings(self.compared, self.tokenizer).untold(self.found)


def told(
    folder: Path,
    *,
    members: list[str],
    nonmembers: list[str],
    left_out: Callable[[bool, int, str], bool] = lambda *_: False,
    unnamed: bool = False,
) -> Told:
    """Make a token table of patients who have a code each.

    Args:
        folder: empty.
        members, nonmembers: the code of each; "" for none.
        left_out: says of a split (are they members?), a place in it and a code whether the table
            leaves the event out.
        unnamed: the token stays, as a mark that tells of nothing.
    """
    splits = [
        [[("A", day) for day in range(40)] + ([(own, 40)] if own else []) for own in codes]
        for codes in (members, nonmembers)
    ]
    folder.mkdir(exist_ok=True)
    root = write_meds(folder / "data", {"train": splits[0], "held_out": splits[1]})
    cohort = load_cohort(DataSpec(path=str(root)), base=folder)
    ids = {spelled: number for number, spelled in enumerate(cohort.codes)}
    rows: list[tuple[int, int, int | None, str, str | None]] = []
    for records in (cohort.members, cohort.nonmembers):
        row = np.repeat(np.arange(len(records)), np.diff(records.offsets)).tolist()
        for place, entry in zip(row, records.code.tolist(), strict=True):
            own, subject = cohort.codes[entry], int(records.subject_id[place])
            if not left_out(records is cohort.members, place, own):
                rows.append((subject, ids[own], 0, "code", own))
            elif unnamed:
                rows.append((subject, ids[own], None, "mark", None))
    subjects, tokens, events, kinds, spellings = zip(*rows, strict=True)
    table = {
        "subject_id": subjects,
        "token": tokens,
        "event": [None if one is None else place for place, one in enumerate(events)],
        "kind": kinds,
        "code": pa.array(spellings, pa.string()),
        "time": pa.nulls(len(rows), pa.timestamp("us")),
    }
    pq.write_table(pa.table(table), folder / "tokens.parquet")
    tokenizer = make_tokenizer(
        TokenizationSpec(vocabulary="unused", records="tokens.parquet"),
        vocabulary=make_vocabulary(cohort.codes),
        base=folder,
    )
    in_data = np.where(np.isin(cohort.codes, HIV), RANK_STRONG, 0).astype(np.int8)
    where = {code: i for i, code in enumerate(cohort.codes)}
    named = [where.get(code or "", -1) for code in tokenizer.vocabulary_codes()]
    in_vocabulary = np.append(in_data, np.int8(0))[named]
    parts = of_parts("hiv", in_data, in_vocabulary, where, tokenizer)
    found = ClassRanks(in_data, parts, [])
    return Told(found, compare_splits(cohort, tokenizer=tokenizer), tokenizer)


WITH, WITHOUT = [HIV[0]], [""]


def test_a_token_table_does_not_choose_which_members_have_a_class(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"members": 20 * [*WITH, *WITHOUT], "nonmembers": 20 * WITH}
    told(tmp_path / "all", **sizes).check()
    for unnamed in (True, False):
        made = told(
            tmp_path / str(unnamed),
            **sizes,
            left_out=lambda member, place, code: member and place < 6 and code == HIV[0],
            unnamed=unnamed,
        )
        with pytest.raises(DataError, match="nothing of the class 'hiv' in 3 of 20 members"):
            made.check()


@pytest.mark.parametrize(
    ("members", "nonmembers", "fits"),
    [(1, 0, False), (4, 0, False), (0, 2, True), (0, 3, False)],
)
def test_many_nonmembers_hide_no_member_and_few_of_their_own(
    tmp_path: Path, members: int, nonmembers: int, fits: bool
) -> None:
    """Of 20 members and 220 nonmembers together one in a hundred were two members."""
    made = told(
        tmp_path,
        members=20 * WITH + 10 * WITHOUT,
        nonmembers=220 * WITH + 10 * WITHOUT,
        left_out=lambda member, place, code: (
            code == HIV[0] and place < (members if member else nonmembers)
        ),
    )
    if fits:
        made.check()
    else:
        lacks = f"in {members} of 20 members" if members else f"in {nonmembers} of 220 nonmembers"
        with pytest.raises(DataError, match=lacks):
            made.check()


def test_a_code_that_a_table_leaves_out_for_everybody_is_told_of(tmp_path: Path) -> None:
    """Its token is there and names it, and no record has it: so nobody is asked for it."""
    codes = [[*WITHOUT, HIV[0], *WITHOUT, HIV[1]] * 10] * 2
    sizes: dict[str, Any] = {"members": codes[0], "nonmembers": codes[1]}
    whole = told(tmp_path / "whole", **sizes)
    assert whole.untold() == Untold()
    made = told(tmp_path / "part", **sizes, left_out=lambda _, __, code: code == HIV[0])
    assert HIV[0] in made.tokenizer.vocabulary_codes()
    made.check()  # what a loader leaves out altogether is nobody's choice
    assert made.untold() == Untold(codes=(HIV[0],), patients=20, of=40)


def test_a_policy_without_classes_looks_for_no_codes(workspace: Path) -> None:
    policy = write_policy(workspace / "one.yaml", {"membership": {}})
    target = load_target(workspace / "sound.yaml")
    cohort = load_cohort(target.document.spec.data, base=workspace)
    assert check_codes(load_policy(policy), target, cohort=cohort) is None


# --- by the command line ------------------------------------------------------------------------


def recode(folder: Path, new: Callable[[str], str]) -> None:
    """Spell the codes of a workspace's cohort and vocabulary anew."""
    for shard in folder.glob("cohort/data/*/*.parquet"):
        table = pq.read_table(shard)
        codes = pa.array([new(code) for code in table["code"].to_pylist()])
        pq.write_table(table.set_column(table.column_names.index("code"), "code", codes), shard)
    vocabulary = folder / "vocab.json"
    ids = json.loads(vocabulary.read_text())
    vocabulary.write_text(json.dumps({new(token): number for token, number in ids.items()}))


def hide(code: str) -> str:
    head, _, text = code.rpartition("//")
    return f"LOCAL//{text}" if head == HIV[0].rpartition("//")[0] and text[:3] in HIDDEN else code


HIDDEN = ("B20", "Z21", "B97", "O98")


def test_a_class_under_another_parent_is_inconclusive_and_never_a_pass(workspace: Path) -> None:
    recode(workspace, hide)
    table = {
        "code": ["LOCAL//B20", "LOCAL//Z21"],
        "description": ["HIV disease", None],
        "parent_codes": pa.array([["ICD10CM/J45"], ["LOCAL//B20"]]),
    }
    pq.write_table(pa.table(table), workspace / "cohort" / "metadata" / "codes.parquet")
    short: dict[str, Any] = {
        "limits": {"demographics": {"fail": 0.05}},
        "params": {"samples": 2, "horizonTokens": 8, "threshold": 0.5},
    }
    controls = {"hiv-disclosure": short, "substance-use-disclosure": short}
    policy = write_policy(workspace / "two.yaml", controls)
    document = yaml.safe_load(policy.read_text())
    document["spec"]["attributeClasses"]["hiv"]["words"] = ["hiv"]
    policy.write_text(yaml.safe_dump(document))
    outcome = audit(policy, workspace / "leaking.yaml", workspace / "run")
    hiv = outcome.cell("hiv-disclosure")
    assert (hiv["verdict"], hiv["reason"]) == ("inconclusive", "class-not-in-data")
    assert outcome.code != ExitCode.PASS
    # the plan has said so before: the table's own words name the disease, and one looks like it
    plan = json.loads((workspace / "run" / "plan.json").read_text())
    near = plan["classes"]["hiv"]
    assert near["codesInData"] == 0
    assert sorted(near["near"]) == ["LOCAL//B20", "LOCAL//B9735", "LOCAL//Z21"]
    assert near["nearCodes"] == 3
    assert near["nearPatients"] > 0


def test_grandparents_bring_a_class_back(workspace: Path, phigate: Command) -> None:
    recode(workspace, hide)
    table = {
        "code": ["LOCAL//B20", "LOCAL//Z21", "LOCAL//B9735", "GROUP//1", "GROUP//2"],
        "parent_codes": pa.array([["GROUP//1"], ["GROUP//1"], ["GROUP//2"], ["GROUP//2"],
                                  ["GROUP//1", "ICD10CM/B20"]]),
    }  # fmt: skip
    pq.write_table(pa.table(table), workspace / "cohort" / "metadata" / "codes.parquet")
    outcome = phigate("classes", "coverage", workspace / "sound.yaml", "--class", "hiv", "--json")
    assert outcome.code == 0, outcome.err
    (hiv,) = json.loads(outcome.out)["classes"]
    ways = {one["code"]["code"]: one["through"] for one in hiv["caught"]}
    assert ways["LOCAL//B20"] == ["GROUP//1", "GROUP//2", "ICD10CM/B20"]
    assert ways["LOCAL//B9735"] == ["GROUP//2", "ICD10CM/B20"]


def test_plan_names_codes_that_may_have_lost_a_zero(workspace: Path, phigate: Command) -> None:
    """7054 is a disease of sweat glands, or hepatitis C: nothing in the column tells."""
    numbers = {"I10": "7054", "E119": "25000"}

    def spell(code: str) -> str:
        text = code.rpartition("//")[2]
        return f"DIAGNOSIS//ICD//9//{numbers[text]}" if text in numbers else code

    recode(workspace, spell)
    policy = write_policy(workspace / "one.yaml", {"hiv-disclosure": {}})
    document = yaml.safe_load(policy.read_text())
    document["spec"]["attributeClasses"]["hiv"] = {
        "title": "Hepatitis",
        "codes": [
            {"system": "icd9cm", "tier": "definitive", "values": ["070"]},
            {"system": "icd10cm", "tier": "definitive", "values": ["B20"]},
        ],
    }
    policy.write_text(yaml.safe_dump(document))
    plan = json.loads(phigate("plan", policy, workspace / "sound.yaml", "--json").out)
    assert plan["classes"]["hiv"]["near"] == ["DIAGNOSIS//ICD//9//7054"]
    shown = " ".join(phigate("plan", policy, workspace / "sound.yaml").out.split())
    assert "look like it, in words or as a number" in shown


def test_plan_names_what_is_not_read(workspace: Path, phigate: Command) -> None:
    recode(workspace, lambda code: f"CVX//{code[7:]}" if code.startswith("VISIT//") else code)
    policy = write_policy(workspace / "one.yaml", {"hiv-disclosure": {}})
    outcome = phigate("plan", policy, workspace / "sound.yaml")
    assert outcome.code == 0, outcome.err
    flat = " ".join(outcome.out.split())
    assert "CVX: not read:" in flat
    plan = json.loads(phigate("plan", policy, workspace / "sound.yaml", "--json").out)
    (unread,) = plan["data"]["unread"]
    assert (unread["vocabulary"], unread["problem"]) == ("CVX", "unread")


def test_plan_refuses_diagnoses_that_are_not_read_and_rounds_their_counts(
    workspace: Path, phigate: Command
) -> None:
    def spell(code: str) -> str:
        return code.replace("DIAGNOSIS//ICD//10", "READ") if code not in HIV else code

    recode(workspace, spell)
    policy = write_policy(workspace / "one.yaml", {"hiv-disclosure": {}})
    exact = phigate("plan", policy, workspace / "sound.yaml")
    rounded = phigate("plan", policy, workspace / "sound.yaml", "--rounded")
    assert exact.code == rounded.code == ExitCode.INCOMPLETE
    assert "events of diagnoses are in codes that phigate does not read" in exact.err
    assert "about" in rounded.err
