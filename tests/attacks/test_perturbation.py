"""T5: whose class the model tells only under their own age, and what proves nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import pyarrow as pa
import pytest
import yaml
from command_line import Command
from meds_builder import make_vocabulary
from pydantic import ValidationError

from checker.attacks.api import CellEvidence
from checker.attacks.families import Measurement
from checker.attacks.identifier_perturbation import ATTACK, IdentifierPerturbationParams
from checker.attacks.identifier_perturbation.measure import (
    MEASURE,
    UNCHANGED,
    PerturbationObservations,
)
from checker.attacks.identifier_perturbation.perturbed_prompts import (
    PerturbedHits,
    Perturber,
    fresh_key,
    perturbed_hits,
)
from checker.errors import ExitCode, InsufficientData
from checker.policy.documents import TokenizationSpec
from checker.records.prompts import prompt_key
from checker.records.tokenization import Tokenizer
from checker.targets import Sampler
from checker.testing.simulated import MemorizedRecord, SimulatedModel, SimulatedTarget

AGES = [*range(40, 61), *range(70, 75)]
WORDS = [
    "[BOS]", *(f"AGE//{age}" for age in AGES), "GENDER//F", "GENDER//M", "RACE//W", "RACE//B",
    "RACE//A", "RACE//X", "A", "B", "HIV",
]  # fmt: skip
ID = {word: i for i, word in enumerate(WORDS)}
TOKENIZER = Tokenizer(
    TokenizationSpec.model_validate(
        {
            "vocabulary": "v",
            "specials": {"bos": "[BOS]"},
            "age": "AGE//{years}",
            "static": {"sex": "GENDER//*", "race": {"codes": "RACE//*"}},
        }
    ),
    vocabulary=make_vocabulary(WORDS),
    base=Path(),
)
SAMPLER = Sampler(temperature=1.0, top_p=1.0, horizon_tokens=4, seed=7)


def numbered(names: list[str]) -> pa.Array:
    """Number the samples of each prompt from 0."""
    counts: Counter[str] = Counter()
    numbers = []
    for name in names:
        numbers.append(counts[name])
        counts[name] += 1
    return pa.array(numbers, pa.int32())


def perturber(*identifiers: str) -> Perturber:
    counts = np.ones(len(WORDS), dtype=np.int64)
    counts[ID["RACE//B"]] = 5  # commoner than the other races
    counts[ID["RACE//X"]] = 0  # nobody has it
    return Perturber(TOKENIZER, identifiers=identifiers or ("age", "sex", "race"), counts=counts)


def prompt(*words: str) -> np.ndarray:
    return np.array([ID[word] for word in words], dtype=np.int32)


def changes(*words: str, identifiers: tuple[str, ...] = ()) -> dict[tuple[str, str], list[str]]:
    return {
        (v.identifier, v.change): [WORDS[i] for i in v.tokens]
        for v in perturber(*identifiers).variants(prompt(*words))
    }


# --- variants -----------------------------------------------------------------------------------


def test_one_identifier_is_changed_at_a_time_and_all_else_stays() -> None:
    found = changes("[BOS]", "AGE//50", "GENDER//F", "RACE//W", "A", "B")
    assert list(found) == [
        *(("age", f"{years:+d}") for years in (-10, -5, -2, -1, 1, 2, 5, 10)),
        ("sex", "GENDER//M"),
        ("race", "RACE//B"),
        ("race", "RACE//A"),
    ]
    assert found["age", "+2"] == ["[BOS]", "AGE//52", "GENDER//F", "RACE//W", "A", "B"]
    assert found["race", "RACE//B"] == ["[BOS]", "AGE//50", "GENDER//F", "RACE//B", "A", "B"]


def test_ages_that_the_vocabulary_lacks_are_left_out() -> None:
    # 40 has nobody below, 74 nobody above, and 61 to 69 are missing
    assert [change for _, change in changes("[BOS]", "AGE//40")] == ["+1", "+2", "+5", "+10"]
    assert [change for _, change in changes("[BOS]", "AGE//74")] == ["-2", "-1"]
    assert [change for _, change in changes("[BOS]", "AGE//60")] == ["-10", "-5", "-2", "-1", "+10"]


def test_what_the_prompt_does_not_tell_is_not_changed() -> None:
    assert changes("[BOS]", "A", "HIV") == {}
    assert {who for who, _ in changes("[BOS]", "AGE//50", "A")} == {"age"}
    assert {who for who, _ in changes("[BOS]", "GENDER//F", "A", identifiers=("age", "sex"))} == {
        "sex"
    }


def test_identifiers_that_the_target_lacks_are_left_out() -> None:
    assert {who for who, _ in changes("[BOS]", "AGE//50", identifiers=("age", "language"))} == {
        "age"
    }


# --- what a model does with them ----------------------------------------------------------------


def target_of(*memorized: list[int]) -> SimulatedTarget:
    """Repeats records exactly; otherwise HIV is one in twelve of the tokens A, B and HIV."""
    unigram = np.zeros(len(WORDS))
    unigram[[ID["A"], ID["B"], ID["HIV"]]] = [5 / 12, 6 / 12, 1 / 12]
    return SimulatedTarget(
        SimulatedModel(
            vocabulary_size=len(WORDS),
            unigram=unigram.tolist(),
            memorized=[MemorizedRecord(tokens=tokens, first=3) for tokens in memorized],
        )
    )


RECORDS = [
    prompt("[BOS]", f"AGE//{age}", "GENDER//F", "RACE//W", *events).tolist()
    for age, events in (
        (45, ("A", "B", "A", "B", "HIV", "A", "A", "A")),
        (50, ("B", "B", "A", "A", "HIV", "A", "A", "A")),
        (55, ("A", "A", "B", "B", "HIV", "A", "A", "A")),
    )
]
PROMPTS = [np.array(record[:8], dtype=np.int32) for record in RECORDS]


def rows_of(target: SimulatedTarget, samples: int = 20) -> list[PerturbedHits]:
    return perturbed_hits(
        target,
        [(prompt_key(tokens), tokens) for tokens in PROMPTS],
        perturber=perturber(),
        watch=[ID["HIV"]],
        samples=samples,
        sampler=SAMPLER,
    )


def evidence_of(rows: list[PerturbedHits], first_q: list[float], samples: int = 20) -> CellEvidence:
    """Three eligible members, one of whom has a prompt of his own each, and a nonmember."""
    names = [f"prompt {i}" for i in range(len(first_q))]
    labels = pa.table(
        {
            "patient": [*(f"m{i}" for i in range(len(first_q))), "n"],
            "member": [*[True] * len(first_q), False],
            "positive": [True] * (len(first_q) + 1),
            "eligible": [True] * (len(first_q) + 1),
            "prompt": [*names, names[0]],
            "subgroups": pa.array([[]] * (len(first_q) + 1), pa.list_(pa.string())),
        }
    )
    drawn = [
        (name, [ID["HIV"]] if sample < round(q * samples) else [ID["A"]])
        for name, q in zip(names, first_q, strict=True)
        for sample in range(samples)
    ]
    return CellEvidence(
        labels=labels,
        tables={
            "rollouts": [
                pa.table(
                    {
                        "prompt": [name for name, _ in drawn],
                        "sample": numbered([name for name, _ in drawn]),
                        "tokens": pa.array([tokens for _, tokens in drawn], pa.list_(pa.int32())),
                    }
                )
            ],
            "perturbations": [
                pa.table(
                    {
                        "prompt": [names[row.prompt] for row in rows],
                        "identifier": [row.identifier for row in rows],
                        "change": [row.change for row in rows],
                        "samples": [row.samples for row in rows],
                        "hits": [row.hits for row in rows],
                    }
                )
            ],
        },
        reference={},
        watch=[ID["HIV"]],
        subgroup="all",
        params=IdentifierPerturbationParams(samples=samples),
    )


def measured(rows: list[PerturbedHits], first_q: list[float]) -> Measurement:
    observations = MEASURE.observations(evidence_of(rows, first_q))
    assert observations.unanswered == 0
    return share_of(observations)


def share_of(observations: PerturbationObservations) -> Measurement:
    return measuring.measured(
        ATTACK, "memorized_share", observations, params=IdentifierPerturbationParams()
    )


def test_a_leak_that_hangs_on_the_age_is_memorized() -> None:
    # the model repeats whole records: another age is the beginning of none
    found = measured(rows_of(target_of(*RECORDS)), [1.0, 1.0, 1.0])
    assert (found.estimate.value, found.estimate.n) == (1.0, 3)
    assert found.estimate.low == pytest.approx(0.05 ** (1 / 3))  # Clopper-Pearson, 3 of 3
    assert found.reported["q unchanged"].value == 1.0
    # four tokens, HIV one in twelve: 1 - (11/12)^4 = 0.294 of the continuations, 60 of them
    assert found.reported["q at age +1"].value == pytest.approx(0.294, abs=0.15)
    assert found.reported["q at another sex"].value == found.reported["q at age +1"].value


def test_a_leak_that_ignores_the_age_is_not_called_memorized_and_cannot_pass() -> None:
    # the same records, repeated whatever the age, sex and race: stability proves nothing
    memorized = [
        prompt("[BOS]", f"AGE//{age}", sex, race).tolist() + record[4:]
        for record in RECORDS
        for age in AGES
        for sex in ("GENDER//F", "GENDER//M")
        for race in ("RACE//W", "RACE//B", "RACE//A")
    ]
    found = measured(rows_of(target_of(*memorized)), [1.0, 1.0, 1.0])
    assert found.estimate.value == 0.0
    assert {estimate.value for name, estimate in found.reported.items() if name[0] == "q"} == {1.0}
    assert not ATTACK.metrics["memorized_share"].can_pass


def test_a_prompt_and_its_variants_are_drawn_with_the_same_random_numbers() -> None:
    # a model that ignores its prompt says the same after every variant, sample by sample
    rows = rows_of(target_of(), samples=50)
    for number in range(3):
        assert len({row.hits for row in rows if row.prompt == number}) == 1
    assert len({row.hits for row in rows}) > 1
    key = prompt_key(PROMPTS[0])
    assert fresh_key(key) != int.from_bytes(key[:8], "little")


# --- who is memorized ---------------------------------------------------------------------------


def observed(
    *hits: tuple[int, ...], q: float = 1.0, size: int = 1, samples: int = 20
) -> PerturbationObservations:
    """Members with fresh hits unchanged, then at age -2, -1, +1, +2, and at +10."""
    years = ("-2", "-1", "+1", "+2", "+10")
    return PerturbationObservations(
        size=np.full(len(hits), size),
        q=np.full(len(hits), q),
        changes=(UNCHANGED, *(("age", change) for change in years)),
        hits=np.array(hits),
        samples=samples,
        threshold=0.5,
    )


@pytest.mark.parametrize(
    ("hits", "memorized"),
    [
        ((20, 0, 0, 0, 0, 0), True),
        # Fisher's exact test, two-sided, adds up the hypergeometric probabilities of all tables no
        # likelier than the one seen: 0.0436 for 15 of 20 against 38 of 80, 0.0784 for 14 against 36
        ((15, 9, 10, 9, 10, 20), True),
        ((14, 9, 9, 9, 9, 20), False),
        # a far age may change what is likely: only small changes decide
        ((20, 20, 20, 20, 20, 0), False),
        # fresh q is not above the threshold: the first was high by chance
        ((10, 0, 0, 0, 0, 0), False),
        # small changes leave q above the threshold
        ((20, 11, 11, 11, 11, 0), False),
        # one neighbour only: 20 of 20 against 5 of 20
        ((20, -1, -1, 5, -1, -1), True),
    ],
)
def test_a_member_is_memorized_when_q_collapses_under_small_changes_of_the_age(
    hits: tuple[int, ...], memorized: bool
) -> None:
    assert observed(hits).is_memorized().tolist() == [memorized]


def test_fewer_than_a_twentieth_of_those_whom_age_does_not_change_are_taken_for_memorized() -> None:
    # the worst q for 20 samples and four changes is 0.46: 0.0202 by enumeration
    rng = np.random.default_rng(0)
    drawn = rng.binomial(20, 0.46, size=(4000, 5))
    hits = np.column_stack([drawn, np.full(len(drawn), -1)])
    share = observed(*map(tuple, hits.tolist())).is_memorized().mean()
    assert share == pytest.approx(0.0202, abs=0.007)


def test_who_was_not_disclosed_counts_as_not_memorized() -> None:
    found = measured(rows_of(target_of(*RECORDS))[:24], [1.0, 1.0, 0.2])
    assert found.estimate.value == pytest.approx(2 / 3)
    assert found.reported["memorized share of disclosed members"].value == 1.0


def test_members_of_one_prompt_are_one_observation() -> None:
    # two prompts of ten members each: as much as two patients say
    found = share_of(observed((20, 0, 0, 0, 0, 0), (20, 20, 20, 20, 20, 20), size=10))
    assert (found.estimate.value, found.estimate.n) == (0.5, 2)


def test_a_prompt_without_an_age_says_nothing_either_way() -> None:
    tested, untestable = (20, 0, 0, 0, 0, 0), (20, -1, -1, -1, -1, -1)

    def measure(*hits: tuple[int, ...]) -> Measurement:
        return share_of(observed(*hits))

    assert (measure(tested, untestable).estimate.value, measure(tested).estimate.n) == (1.0, 1)
    with pytest.raises(InsufficientData) as caught:
        measure(untestable, untestable)
    assert caught.value.reason == "identifier-not-in-prompt"


def test_a_disclosed_member_whom_the_evidence_leaves_out_is_noticed() -> None:
    rows = [row for row in rows_of(target_of(*RECORDS)) if row.prompt != 1]
    observations = MEASURE.observations(evidence_of(rows, [1.0, 1.0, 1.0]))
    assert observations.unanswered == 1


def test_the_curve_runs_from_the_youngest_to_the_oldest() -> None:
    found = measured(rows_of(target_of(*RECORDS)), [1.0, 1.0, 1.0])
    assert list(found.reported) == [
        "memorized share of disclosed members",
        *(f"q at age {years:+d}" for years in (-10, -5, -2, -1)),
        "q unchanged",
        *(f"q at age {years:+d}" for years in (1, 2, 5, 10)),
        "q at another race",
        "q at another sex",
    ]


@pytest.mark.parametrize("identifiers", [["sex"], ["age", "age"], []])
def test_identifiers_name_the_age_and_nothing_twice(identifiers: list[str]) -> None:
    with pytest.raises(ValidationError):
        IdentifierPerturbationParams(identifiers=identifiers)


# --- the whole way ------------------------------------------------------------------------------


def ask_for_perturbation(folder: Path) -> None:
    path = folder / "policy.yaml"
    policy: dict[str, Any] = yaml.safe_load(path.read_text())
    policy["spec"]["controls"] = {
        "hiv-memorized": {
            "title": "The model must not remember a training patient",
            "attributeClass": "hiv",
            "probe": "identifier-perturbation",
            "params": {"horizonTokens": 32},
            "metric": "memorized_share",
            "limits": {"events-10": {"fail": 0.05}},
        }
    }
    path.write_text(yaml.safe_dump(policy, sort_keys=False))


def test_a_target_that_repeats_records_fails_and_a_sound_one_never_passes(
    phigate: Command, workspace: Path
) -> None:
    ask_for_perturbation(workspace)
    for name, expected in (("leaking", ExitCode.FAIL), ("sound", ExitCode.INCONCLUSIVE)):
        outcome = phigate(
            "check", workspace / "policy.yaml", workspace / f"{name}.yaml",
            "--out", workspace / name,
        )  # fmt: skip
        assert outcome.code == expected, outcome.out + outcome.err
