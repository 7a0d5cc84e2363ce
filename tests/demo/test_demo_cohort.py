"""The demo's patients: as many secrets as promised, where promised, told by nothing but memory."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow.parquet as pq
import pytest
from meds_builder import make_vocabulary
from numpy.typing import NDArray

from checker import library, stats
from checker.codes import RANK_STRONG, ClassMatcher, CodeReader, find_matches
from checker.demo.cohort import EVENTS_KNOWN, SENSITIVE_CLASSES, write_cohort
from checker.errors import DataError, UsageError
from checker.policy import Located, load_policy, resolve_attacker
from checker.policy.documents import DataSpec, LeakagePolicy, TokenizationSpec
from checker.records.cohort import Cohort, load_cohort
from checker.records.duplicates import find_duplicates
from checker.records.prompts import Prompts, PromptSource, build_prompts
from checker.records.tokenization import Tokenizer
from checker.resources import resource
from checker.stats import Estimate
from checker.verdict.comparability import base_rate_scores, split_classifier_scores

Row = dict[str, Any]
Patients = dict[str, dict[int, list[Row]]]
Ranks = dict[str, NDArray[np.int8]]

TABLES = Path(__file__).parents[3] / "shared" / "data"
SPLITS = ("train", "held_out", "tuning")
AUDITED = DataSpec(path=".", members="train", nonmembers="held_out")
BENIGN = "common-chronic"
POOL = "any-of-the-three"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "cohort"
    write_cohort(folder, seed=1)
    return folder


@pytest.fixture(scope="module")
def cohort(folder: Path) -> Cohort:
    return load_cohort(AUDITED, base=folder)


@pytest.fixture(scope="module")
def policy() -> Located[LeakagePolicy]:
    return load_policy(resource("policies/demo.yaml"))


@pytest.fixture(scope="module")
def ranks(cohort: Cohort, policy: Located[LeakagePolicy]) -> Ranks:
    """Each class of the demo policy, matched as an audit matches it."""
    matchers = {
        name: ClassMatcher((codes.system, codes.tier, codes.values) for codes in spec.codes)
        for name, spec in policy.document.spec.attribute_classes.items()
        if name != POOL
    }
    found = find_matches(
        matchers,
        cohort.codes,
        reader=CodeReader(),
        descriptions=cohort.descriptions,
        parents=cohort.parents,
    )
    return {name: matches.ranks for name, matches in found.items()}


@pytest.fixture(scope="module")
def tokenizer(cohort: Cohort) -> Tokenizer:
    """As the demo's targets: age, sex, race, and a time token before every later visit."""
    spec = TokenizationSpec.model_validate(
        {
            "vocabulary": "vocab.json",
            "specials": {"bos": "[BOS]", "eos": "[EOS]"},
            "static": {"sex": "GENDER//*", "race": "RACE//*"},
            "age": "AGE//{years}",
            "time": [{"token": "TIME"}],
        }
    )
    ages = [f"AGE//{years}" for years in range(120)]
    vocabulary = make_vocabulary(["[BOS]", "[EOS]", "TIME", *ages, *cohort.codes])
    return Tokenizer(spec, vocabulary=vocabulary, base=Path())


@pytest.fixture(scope="module")
def patients(folder: Path) -> Patients:
    """Rows by split and subject."""
    found: Patients = {split: {} for split in SPLITS}
    for split, rows in tables(folder).items():
        for row in rows:
            found[split].setdefault(row["subject_id"], []).append(row)
    return found


def tables(folder: Path) -> dict[str, list[Row]]:
    return {
        split: pq.read_table(folder / "data" / split / "0.parquet").to_pylist() for split in SPLITS
    }


def prompts(
    cohort: Cohort,
    policy: Located[LeakagePolicy],
    ranks: Ranks,
    tokenizer: Tokenizer,
    *,
    attacker: str,
    name: str,
) -> list[Prompts]:
    """Members' and nonmembers' prompts of one attacker for one class."""
    known = ranks[name]
    named = [cohort.codes[i] for i in np.flatnonzero(known >= RANK_STRONG)]
    watch = np.array([tokenizer.vocabulary.ids[code] for code in named])
    return [
        build_prompts(
            PromptSource(
                tokenizer.encode(records, cohort.codes),
                subject_id=records.subject_id,
                codes=cohort.codes,
                tokenizer=tokenizer,
                seed=policy.document.spec.parameters.seed,
            ),
            resolve_attacker(policy.document.spec, attacker),
            removed=known > 0,
            counted=known >= RANK_STRONG,
            watch=watch,
            horizon_tokens=32,
        )
        for records in (cohort.members, cohort.nonmembers)
    ]


# --- the data set -------------------------------------------------------------------------------


def test_the_data_set_keeps_the_promises_of_meds(folder: Path) -> None:
    seen: set[int] = set()
    for split, rows in tables(folder).items():
        meds.DataSchema.validate(pq.read_table(folder / "data" / split / "0.parquet"))
        subjects = list(dict.fromkeys(row["subject_id"] for row in rows))
        assert [row["subject_id"] for row in rows] == sorted(row["subject_id"] for row in rows)
        assert not seen & set(subjects)
        seen |= set(subjects)
        for before, after in pairwise(rows):
            if before["subject_id"] == after["subject_id"] and before["time"] is not None:
                assert before["time"] <= after["time"]
    splits = pq.read_table(folder / meds.subject_splits_filepath)
    meds.SubjectSplitSchema.validate(splits)
    assert set(splits["subject_id"].to_pylist()) == seen
    assert Counter(splits["split"].to_pylist()) == {"train": 600, "held_out": 600, "tuning": 120}


def test_every_code_is_described(folder: Path) -> None:
    described = pq.read_table(folder / meds.code_metadata_filepath)
    meds.CodeMetadataSchema.validate(described)
    meaning = dict(
        zip(described["code"].to_pylist(), described["description"].to_pylist(), strict=True)
    )
    used = {row["code"] for rows in tables(folder).values() for row in rows}
    assert used == set(meaning)
    assert all(meaning.values())
    assert meaning["DIAGNOSIS//ICD//10//B20"] == "Human immunodeficiency virus [HIV] disease"


def test_records_are_static_facts_a_birth_and_visits_over_years(patients: Patients) -> None:
    spans = []
    for rows in patients["train"].values():
        codes = [row["code"] for row in rows]
        assert codes[0].startswith("GENDER//")
        assert codes[1].startswith("RACE//")
        assert codes[2] == meds.birth_code
        assert [row["time"] is None for row in rows[:3]] == [True, True, False]
        events = rows[3:]
        # 19 to 24 ordinary events and at most one code of each of three classes.
        assert 19 <= len(events) <= 27
        times = [row["time"] for row in events]
        assert len(set(times)) < len(times), "a visit has several events at one time"
        spans.append((times[-1] - times[0]).days / 365.25)
    assert 1 < np.median(spans) < 6


def test_equal_seeds_write_equal_patients_and_other_seeds_write_others(tmp_path: Path) -> None:
    small: dict[str, Any] = {"members": 30, "nonmembers": 30, "tuning": 10, "positives": 5}
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        write_cohort(tmp_path / name, seed=seed, **small)
    a, b, c = (tables(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c


def test_the_vocabulary_has_the_size_of_a_small_real_one(cohort: Cohort) -> None:
    assert 300 <= len(cohort.codes) <= 360  # 65 ages and the special tokens come on top


def test_more_positives_than_patients_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="80 positives do not fit into 50 members"):
        write_cohort(tmp_path / "c", seed=0, members=50)


def test_a_folder_with_data_is_not_written_over(folder: Path) -> None:
    with pytest.raises(DataError, match="holds a data set already"):
        write_cohort(folder, seed=0)


# --- the secrets --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SENSITIVE_CLASSES)
@pytest.mark.parametrize("attacker", ["events-10", "up-to-the-diagnosis"])
def test_each_class_has_80_eligible_positives_in_both_splits(
    cohort: Cohort,
    policy: Located[LeakagePolicy],
    ranks: Ranks,
    tokenizer: Tokenizer,
    attacker: str,
    name: str,
) -> None:
    for split in prompts(cohort, policy, ranks, tokenizer, attacker=attacker, name=name):
        assert split.positive.sum() == 80
        assert split.eligible.sum() == 80


@pytest.mark.parametrize("name", SENSITIVE_CLASSES)
def test_secrets_stand_anywhere_behind_the_tenth_event_in_several_codes(
    patients: Patients, name: str, ranks: Ranks, cohort: Cohort
) -> None:
    wanted = {cohort.codes[i] for i in np.flatnonzero(ranks[name] >= RANK_STRONG)}
    places, codes = [], []
    for rows in patients["train"].values():
        events = [row["code"] for row in rows[3:]]
        found = [i for i, code in enumerate(events) if code in wanted]
        assert len(found) <= 1
        places += found
        codes += [events[i] for i in found]
    assert min(places) >= EVENTS_KNOWN
    # 80 draws over some 12 places: no tenth of the range is left empty but for bad luck
    assert len(set(places)) >= 8
    assert len(set(codes)) >= 3


@pytest.mark.parametrize("name", SENSITIVE_CLASSES)
def test_nothing_an_attacker_knows_predicts_a_secret(
    cohort: Cohort, policy: Located[LeakagePolicy], ranks: Ranks, tokenizer: Tokenizer, name: str
) -> None:
    estimate = predictability(cohort, policy, ranks, tokenizer, name)
    assert estimate.low < 0.5 < estimate.high


def test_what_is_medicine_can_be_predicted(
    cohort: Cohort, policy: Located[LeakagePolicy], ranks: Ranks, tokenizer: Tokenizer
) -> None:
    """The control of the test before: the same predictor finds the benign class."""
    assert predictability(cohort, policy, ranks, tokenizer, BENIGN).low > 0.6


def predictability(
    cohort: Cohort, policy: Located[LeakagePolicy], ranks: Ranks, tokenizer: Tokenizer, name: str
) -> Estimate:
    """AUROC of a predictor fitted to ten events, age, sex and race, on patients new to it."""
    split = prompts(cohort, policy, ranks, tokenizer, attacker="events-10", name=name)
    known = [p.prompt(i) for p in split for i in range(len(p))]
    positive = np.concatenate([p.positive for p in split])
    is_member = np.repeat([True, False], [len(p) for p in split])
    scores = base_rate_scores(
        known,
        positive,
        is_member,
        vocabulary_size=len(tokenizer.vocabulary.tokens),
        rng=np.random.default_rng(0),
    )
    # with three classes the bounds miss by chance in 1 of some 300 cohorts
    return stats.auroc(scores[positive], scores[~positive], confidence=0.999)


def test_the_classes_are_dealt_out_independently(
    patients: Patients, ranks: Ranks, cohort: Cohort
) -> None:
    """Expected to have two given classes: 600 · (80/600)² = 10.7 members, deviation below 3."""
    has = {}
    for name in SENSITIVE_CLASSES:
        wanted = {cohort.codes[i] for i in np.flatnonzero(ranks[name] >= RANK_STRONG)}
        has[name] = {
            subject
            for subject, rows in patients["train"].items()
            if any(row["code"] in wanted for row in rows)
        }
    for i, first in enumerate(SENSITIVE_CLASSES):
        for second in SENSITIVE_CLASSES[i + 1 :]:
            assert 1 <= len(has[first] & has[second]) <= 22


# --- the splits ---------------------------------------------------------------------------------


def test_ten_events_and_more_identify_a_patient(
    cohort: Cohort, policy: Located[LeakagePolicy], ranks: Ranks, tokenizer: Tokenizer
) -> None:
    for attacker in ("events-10", "up-to-the-diagnosis"):
        split = prompts(cohort, policy, ranks, tokenizer, attacker=attacker, name="hiv")
        known = [p.prompt(i).tobytes() for p in split for i in range(len(p))]
        assert len(set(known)) / len(known) >= 0.95


def test_no_two_patients_have_nearly_one_record(cohort: Cohort) -> None:
    """Compared are clinical events; sex, race and birth come before them."""
    members, nonmembers = ([codes[3:] for codes in split] for split in records_of(cohort))
    everybody = members + nonmembers
    bags = np.zeros((len(everybody), len(cohort.codes)), dtype=np.float32)
    for row, codes in enumerate(everybody):
        bags[row, codes] = 1
    shared = bags @ bags.T
    sizes = bags.sum(axis=1)
    likeness = shared / (sizes[:, None] + sizes[None, :] - shared)
    np.fill_diagonal(likeness, 0)
    assert likeness.max() < 0.6
    found = find_duplicates(members, nonmembers, rng=np.random.default_rng(0))
    assert (found.exact, found.near) == (0, 0)


def test_members_cannot_be_told_from_nonmembers_without_a_model(cohort: Cohort) -> None:
    scored = split_classifier_scores(
        *records_of(cohort), n_codes=len(cohort.codes), rng=np.random.default_rng(0)
    )
    estimate = stats.auroc(
        scored.scores[scored.is_member], scored.scores[~scored.is_member], confidence=0.95
    )
    assert estimate.high <= 0.6


def records_of(cohort: Cohort) -> list[list[NDArray[np.int32]]]:
    return [
        [
            split.code[split.offsets[i] : split.offsets[i + 1]].astype(np.int32)
            for i in range(len(split))
        ]
        for split in (cohort.members, cohort.nonmembers)
    ]


# --- the codes and the policy -------------------------------------------------------------------


def test_nobody_has_what_their_sex_excludes(patients: Patients) -> None:
    only = {
        "GENDER//M": {"DIAGNOSIS//ICD//10//N401", "DIAGNOSIS//ICD//10//C61"},
        "GENDER//F": {"DIAGNOSIS//ICD//10//O80", "DIAGNOSIS//ICD//10//Z1231"},
    }
    holders: dict[str, set[str]] = {sex: set() for sex in only}
    for split in SPLITS:
        for rows in patients[split].values():
            for sex, codes in only.items():
                if codes & {row["code"] for row in rows}:
                    holders[sex].add(rows[0]["code"])
    assert holders == {sex: {sex} for sex in only}


@pytest.mark.skipif(not TABLES.is_dir(), reason="the shared code tables are not here")
def test_codes_and_descriptions_are_those_of_the_code_systems(folder: Path) -> None:
    icd = {
        line[:7].strip(): line[8:].strip()
        for line in (TABLES / "code_tables" / "icd10cm-codes-2024.txt")
        .read_text(encoding="utf-8")
        .splitlines()
    }
    listed = pq.read_table(TABLES / "synthea" / "metadata" / "codes.parquet")["code"].to_pylist()
    published = {code.partition("//")[2] for code in listed}
    checked = 0
    for row in pq.read_table(folder / meds.code_metadata_filepath).to_pylist():
        kind, _, rest = row["code"].partition("//")
        if kind == "DIAGNOSIS":
            assert icd[rest.removeprefix("ICD//10//")] == row["description"]
        elif kind in {"LAB", "VITAL", "MEDICATION"}:
            assert rest in published
        else:
            continue
        checked += 1
    assert checked > 290


def test_the_demo_policy_is_valid_and_asks_what_the_baselines_ask(
    policy: Located[LeakagePolicy],
) -> None:
    assert policy.warnings == ()
    spec = policy.document.spec
    deciding = [one for one in spec.controls.values() if one.enforcement != "advisory"]
    means = {one.attribute_class: one for one in deciding if one.metric == "excess_mean_q"}
    assert set(means) == {*SENSITIVE_CLASSES, POOL}
    assert spec.attribute_classes[POOL].any_of == [*SENSITIVE_CLASSES]
    assert all("up-to-the-diagnosis" in one.limits for one in means.values())
    baseline = library.load_policy("baseline-internal@2").document.spec.controls.values()
    asked = {one.metric for one in baseline if one.enforcement != "advisory"}
    assert {one.metric for one in deciding} == asked
    assert spec.attribute_classes[BENIGN].benign
    assert all(control.cites for control in spec.controls.values())


def test_generating_patients_needs_no_torch() -> None:
    code = "import sys, checker.demo.cohort; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
