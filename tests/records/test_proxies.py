"""Codes that tell a class without belonging to it: who is shown, how often wrongly, who counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from auditing import audit, phigate, write_policy

from checker import stats
from checker.codes import RANK_DEFINITIVE, RANK_SUGGESTIVE
from checker.demo.cohort import write_cohort
from checker.policy import load_policy
from checker.records.proxies import CONFIDENCE, Proxy, find_proxies
from checker.records.tokenization import STATIC_TIME, Records
from checker.testing.toy_targets import write_models

# --- who is shown -------------------------------------------------------------------------------

CODES = ("CLASS", "DRUG", "TEST", "RARE", "COMMON", "FACT")
RANKS = np.array([RANK_DEFINITIVE, 0, RANK_SUGGESTIVE, 0, 0, 0], dtype=np.int8)


def records(*patients: tuple[int, ...]) -> Records:
    """Patients with dated codes, each twice; FACT is static."""
    code = [c for own in patients for c in sorted(own * 2, key=lambda c: c != 5)]
    sizes = [2 * len(own) for own in patients]
    return Records(
        subject_id=np.arange(len(patients)),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        code=np.array(code, dtype=np.int32),
        time_us=np.array([STATIC_TIME if c == 5 else 0 for c in code], dtype=np.int64),
        value=np.full(len(code), np.nan, dtype=np.float32),
    )


def test_codes_of_which_most_patients_have_the_class_are_shown_and_others_not() -> None:
    patients = [
        *([(0, 1, 2, 4, 5)] * 28), *([(0, 3, 4)] * 4),
        *([(1, 4)] * 2), *([(4,)] * 60), *([(2,)] * 26), (),
    ]  # fmt: skip
    found = find_proxies({"class": RANKS}, records(*patients), CODES)["class"]
    # DRUG: 28 of 30; TEST: 28 of 54, no more than half for certain; RARE: all 4, too few
    (drug,) = found
    # RARE of 4 patients has p = 0.0625 at best and needs no correction: 3 codes can be shown
    low, high = stats.clopper_pearson(28, 30, confidence=1 - 0.05 / 3)
    assert drug == Proxy("DRUG", 30, 28, float(low), float(high), leaves_prompt=False)
    assert 0.5 < drug.low < 28 / 30 < drug.high


def test_what_leaves_the_prompt_already_is_shown_as_that() -> None:
    patients = [*([(0, 2)] * 30), *([(4,)] * 70)]
    (found,) = find_proxies({"class": RANKS}, records(*patients), CODES)["class"]
    assert (found.code, found.leaves_prompt) == ("TEST", True)


def test_of_a_common_class_twice_its_share_is_asked_for() -> None:
    def shown(n: int) -> int:
        patients = [*([(0, 1)] * 90), *([(0,)] * n), *([()] * (200 - n))]
        return len(find_proxies({"class": RANKS}, records(*patients), CODES)["class"])

    assert (shown(30), shown(54), shown(200)) == (1, 0, 0)


def test_codes_that_no_token_tells_and_classes_of_nobody_show_nothing() -> None:
    patients = [*([(0, 1)] * 30), *([(4,)] * 70)]
    told = np.ones(len(CODES), dtype=np.bool_)
    told[1] = False
    assert find_proxies({"class": RANKS}, records(*patients), CODES, told=told) == {"class": ()}
    nobody = np.zeros(len(CODES), dtype=np.int8)
    assert find_proxies({"none": nobody}, records(*patients), CODES) == {"none": ()}
    assert find_proxies({"class": RANKS}, Records.of_nobody(), CODES) == {"class": ()}


def test_large_cohorts_are_looked_at_in_parts_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    patients = records(*([(0, 1, 4)] * 40), *([(4, 1)] * 3), *([(4, 2)] * 160))
    whole = find_proxies({"class": RANKS}, patients, CODES)
    monkeypatch.setattr("checker.records.proxies._AT_ONCE", 7)
    assert find_proxies({"class": RANKS}, patients, CODES) == whole
    monkeypatch.setattr("checker.records.proxies.MOST_EVENTS", len(patients.code) // 2)
    (half,) = find_proxies({"class": RANKS}, patients, CODES)["class"]
    assert (half.patients, half.positives) == (22, 20)


def test_a_list_names_a_code_that_is_none_at_most_once_in_twenty() -> None:
    """All of 40 codes are at the threshold: of their patients half have the class."""
    rng, wrong, rounds, n, n_codes = np.random.default_rng(5), 0, 300, 500, 41
    codes = [str(code) for code in range(n_codes)]
    ranks = np.zeros(n_codes, dtype=np.int8)
    ranks[0] = RANK_DEFINITIVE
    size = np.r_[0, np.repeat([12, 20, 40, 90], 10)]
    for _ in range(rounds):
        has = rng.random(n) < 0.25
        # with the class a patient is as likely among a code's as three without it
        weight = np.where(has, 3.0, 1.0)
        own = [np.flatnonzero(has)]
        own += [rng.choice(n, size[c], replace=False, p=weight / weight.sum())
                for c in range(1, n_codes)]  # fmt: skip
        at = np.concatenate(own)
        code = np.repeat(np.arange(n_codes), [len(one) for one in own])
        order = np.argsort(at, kind="stable")
        patients = Records(
            subject_id=np.arange(n),
            offsets=np.searchsorted(at[order], np.arange(n + 1)).astype(np.int64),
            code=code[order].astype(np.int32),
            time_us=np.zeros(len(at), dtype=np.int64),
            value=np.full(len(at), np.nan, dtype=np.float32),
        )
        wrong += bool(find_proxies({"class": ranks}, patients, codes)["class"])
    _, high = stats.clopper_pearson(wrong, rounds, confidence=0.95)
    assert wrong / rounds <= 1 - CONFIDENCE
    assert high <= 0.07


# --- counted ------------------------------------------------------------------------------------

DRUG = "DRUG//A[B]*"
HIV = ("B20", "B9735", "Z21")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients with HIV take a drug that no class names; the model tells the drug and not HIV."""
    where = tmp_path_factory.mktemp("proxies")
    write_cohort(where / "cohort", seed=0)
    for path in sorted((where / "cohort" / "data").rglob("*.parquet")):
        rows = []
        for row in pq.read_table(path).to_pylist():
            if row["code"].rpartition("//")[2] in HIV:
                rows.append(row | {"code": DRUG})
            rows.append(row)
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    write_models(where, seed=0)
    ids = json.loads((where / "vocab.json").read_text())
    told = {ids[code] for code in ids if code.rpartition("//")[2] in HIV}
    model = json.loads((where / "leaking.json").read_text())
    for record in model["memorized"]:
        record["tokens"] = [ids[DRUG] if one in told else one for one in record["tokens"]]
    (where / "leaking.json").write_text(json.dumps(model))
    return where


def with_proxies(folder: Path, line: str, **more: Any) -> Path:
    """Beside the demo's control one for a class that counts what a line of YAML names."""
    control = yaml.safe_load(
        write_policy(folder / "plain.yaml", {"hiv-disclosure": {}}).read_text()
    )["spec"]["controls"]["hiv-disclosure"]
    path = write_policy(
        folder / "policy.yaml",
        {"hiv-disclosure": {}, "hiv-hints": {**control, "attributeClass": "hiv-hints"}} | more,
    )
    document = yaml.safe_load(path.read_text())
    classes = document["spec"]["attributeClasses"]
    classes["hiv-hints"] = {**classes["hiv"], **yaml.safe_load(line), "countProxies": True}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def proposed(out: str) -> str:
    return next(line.strip() for line in out.splitlines() if line.strip().startswith("proxies:"))


def test_a_model_that_tells_the_drug_fails_once_the_proposed_line_counts_it(folder: Path) -> None:
    plain = write_policy(folder / "plain.yaml", {"hiv-disclosure": {}})
    code, out = phigate("plan", plain, folder / "leaking.yaml")
    assert code == 0
    assert "These tell hiv of patients whom the model never saw" in out
    line = proposed(out)
    _, covered = phigate(
        "classes", "coverage", folder / "leaking.yaml", "--policy", plain, "--class", "hiv"
    )
    assert proposed(covered) == line
    told = audit(with_proxies(folder, line), folder / "leaking.yaml", folder / "run")
    of_class, of_hints = (
        {name.split("/")[1]: cell["verdict"] for name, cell in told.cells.items()
         if cell["control"] == control}
        for control in ("hiv-disclosure", "hiv-hints")
    )  # fmt: skip
    assert of_class["events-10"] == "pass"
    assert of_hints["events-10"] == "fail"
    titles = [one["title"] for one in told.report["policy"]["attributeClasses"]]
    assert "HIV infection, its proxies counted" in titles
    # who has the class is what it was
    one, other = (
        told.cells[f"{control}/events-10/all"]["sample"]
        for control in ("hiv-disclosure", "hiv-hints")
    )
    assert one == other
    assert phigate("verify", folder / "run")[0] == 0


def test_a_class_that_counts_proxies_alone_is_warned_of(folder: Path) -> None:
    line = "proxies: [{system: local, values: [DRUG]}]"
    beside = load_policy(with_proxies(folder, line))
    assert not [one for one in beside.warnings if "counts its proxies" in one.message]
    document = yaml.safe_load((folder / "policy.yaml").read_text())
    del document["spec"]["controls"]["hiv-disclosure"]
    (folder / "alone.yaml").write_text(yaml.safe_dump(document))
    alone = load_policy(folder / "alone.yaml")
    (warned,) = [one for one in alone.warnings if "counts its proxies" in one.message]
    assert warned.path == "spec.controls.hiv-hints.attributeClass"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"proxies": []}, "the class has no proxies that could count"),
        ({"anyOf": ["hiv", "substance-use"], "codes": [], "proxies": []}, "a pool counts what its"),
    ],
)
def test_what_counts_nothing_is_an_error(folder: Path, change: dict[str, Any], said: str) -> None:
    path = with_proxies(folder, "proxies: [{system: local, values: [DRUG]}]")
    document = yaml.safe_load(path.read_text())
    document["spec"]["attributeClasses"]["hiv-hints"] |= change
    wrong = folder / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(document))
    code, out = phigate("validate", wrong)
    assert code == 2
    assert said in " ".join(out.split())
