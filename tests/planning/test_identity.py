"""What prompts and measurements are: every field of their documents but those left out by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from auditing import AS_OF, audit, write_policy
from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from checker.attacks.api import columns_of
from checker.canonical import digest
from checker.evidence import EvidenceStore, tables_by_job
from checker.planning import Cell
from checker.planning.identity import EXCLUDED, excluded, identity
from checker.planning.sharing import RolloutSettings
from checker.plugins import load_plugin, plugin_names
from checker.policy import ResolvedAttacker
from checker.policy.documents import (
    AttributeClassSpec,
    CodeSet,
    CodeSystemSpec,
    ControlSpec,
    DataSpec,
    ExcludedCodes,
    Knowledge,
    ModelSpec,
    PolicyClassSpec,
    ProxyCodes,
    Selector,
)
from checker.run.stored import Run, load_run
from checker.verdict import judge

KNOWS = Knowledge(static=["sex", "age"], events=10)
KNOWN = ResolvedAttacker(
    name="k", title="K", knows=KNOWS, access="samples", gating=True, cites=("a-study",)
)
CODES = CodeSet(system="icd10cm", tier="strong", values=["F10"])
CLASS = PolicyClassSpec(title="Alcohol", codes=[CODES])
CONTROL = ControlSpec.model_validate(
    {
        "title": "T",
        "attributeClass": "c",
        "probe": "attribute-disclosure",
        "metric": "excess_disclosure",
        "limits": {"k": {"fail": 0.05}},
    }
)
DOCUMENTS: list[BaseModel] = [
    KNOWS,
    CODES,
    CLASS,
    CONTROL,
    ExcludedCodes(system="icd10cm", values=["F10"]),
    ProxyCodes(system="icd10cm", values=["F10"]),
    ModelSpec(path="model"),
    DataSpec(path="cohort"),
    CodeSystemSpec(match="ICD//{code}", system="icd10cm"),
]
OTHER_VALUES: dict[str, Any] = {
    "static": "all",
    "events": 11,
    "tokens": 12,
    "last": 3,
    "random": 3,
    "code_types": ["LAB//*"],
    "system": "icd9cm",
    "tier": "definitive",
    "values": ["F11"],
    "exclude": ["F10.1"],
    "probe": "membership-inference",
    "metric": "disclosure_rate",
    "contrast": "reference",
    "backend": "other",
    "device": "cuda:1",
    "dtype": "float16",
    "trust_remote_code": True,
    "adapter": "adapter",
    "members": "tuning",
    "nonmembers": "tuning",
    "spare": "tuning",
    "match": "ICD10//{code}",
    "codes": [],
    "any_of": ["hiv", "sud"],
    "count_proxies": True,
    "proxies": [ProxyCodes(system="icd10cm", values=["F10"])],
}
"""For each field that no document leaves out of its identity, a value that is not its default."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: type(one).__name__)
def test_a_field_added_to_a_document_changes_what_it_is(document: BaseModel) -> None:
    values = {name: getattr(document, name) for name in type(document).model_fields}
    further = create_model(
        "Further", __base__=type(document), added=(int | None, _selected(type(document)))
    )
    without, one, other = (
        digest(identity(further.model_construct(**values, added=added))) for added in (None, 1, 2)
    )
    assert len({without, one, other}) == 3


def _selected(kind: type[BaseModel]) -> Any:
    """Return a default for a further field; what an attacker knows is known by selectors only."""
    if kind is not Knowledge:
        return None
    info = FieldInfo(default=None, annotation=int | None)
    info.metadata.append(Selector(str, "number"))
    return info


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: type(one).__name__)
def test_every_field_that_is_not_left_out_by_name_changes_what_a_document_is(
    document: BaseModel,
) -> None:
    before = digest(identity(document))
    values = {name: getattr(document, name) for name in type(document).model_fields}
    for name in type(document).model_fields:
        if name in excluded(type(document)):
            changed = type(document).model_construct(**{**values, name: "something else"})
            assert digest(identity(changed)) == before, name
        else:
            other = OTHER_VALUES[name]
            assert other != values[name], name
            changed = type(document).model_construct(**{**values, name: other})
            assert digest(identity(changed)) != before, name


def test_a_selector_added_to_what_is_known_gives_an_attacker_other_prompts() -> None:
    class Further(Knowledge):
        visits: Any = None

    Further.model_fields["visits"].metadata.append(Selector(lambda n: f"{n} visits", "number"))
    attackers = [
        replace(KNOWN, knows=Further.model_construct(**dict(KNOWS), visits=visits))
        for visits in (None, 5, 10)
    ]
    assert len({digest(identity(one)) for one in attackers}) == 3
    joined = Further.joined(one.knows for one in attackers)
    assert joined.model_dump()["visits"] == 10
    assert joined.in_words() == "sex, age and the first 10 events and 10 visits"


def test_what_is_known_is_described_by_a_selector_or_refused() -> None:
    class Forgotten(Knowledge):
        last: int | None = None

    with pytest.raises(TypeError, match=r"Knowledge\.last needs one Selector"):
        Forgotten.selectors()


def test_a_field_added_to_settings_or_attackers_changes_what_they_are() -> None:
    settings = RolloutSettings(samples=1, horizon_tokens=1, temperature=1.0, top_p=1.0)
    for value in (settings, KNOWN):
        further = dataclasses.make_dataclass(
            "Further", [("added", int, 0)], bases=(type(value),), frozen=True
        )
        values = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        assert digest(identity(further(**values, added=1))) != digest(
            identity(further(**values, added=2))
        )


@pytest.mark.parametrize("name", plugin_names("phigate.probes"))
def test_every_parameter_of_every_attack_is_part_of_what_is_measured(name: str) -> None:
    kind = load_plugin("phigate.probes", name).params
    assert not excluded(kind)
    params = kind.model_construct(**dict.fromkeys(kind.model_fields, 1))
    for field in kind.model_fields:
        changed = params.model_copy(update={field: 2})
        assert digest(identity(changed)) != digest(identity(params)), field


def test_an_attacker_is_what_he_knows_in_any_order() -> None:
    renamed = replace(KNOWN, name="l", title="L", access="logprobs", gating=False, cites=())
    assert identity(renamed) == identity(KNOWN)
    turned = Knowledge(static=["age", "sex"], events=10)
    assert identity(replace(KNOWN, knows=turned)) == identity(KNOWN)
    globs = (["A*", "LAB//*"], ["LAB//*", "A*"])
    assert len({digest(identity(Knowledge(code_types=one))) for one in globs}) == 1


def test_what_is_left_out_exists() -> None:
    for kind, names in EXCLUDED.items():
        fields = (
            kind.model_fields
            if issubclass(kind, BaseModel)
            else {one.name for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
        )
        assert names <= set(fields), kind
    assert excluded(PolicyClassSpec) > excluded(AttributeClassSpec)


# --- a cell is judged alike, whoever is judged beside it ----------------------------------------

SAMPLES = (40, 4, 20)  # what was drawn most often first: the others read their samples from it
AS_MANY = {"probabilitySamples": 100}  # where q is estimated as where it is counted
LADDER = {"hears-5": {"knows": {"static": ["age", "sex"], "events": 5}}}


@pytest.fixture(scope="module")
def run(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run in which controls differ in nothing but one parameter, attacker or subgroup."""
    folder = tmp_path_factory.mktemp("alone")
    told = {"attributeClass": "hiv", "limits": {"events-10": {"fail": 0.05}}}
    controls: dict[str, dict[str, Any]] = {
        f"{metric.replace('_', '-')}-{samples}": {
            **told,
            "probe": probe,
            "metric": metric,
            "params": {"samples": samples, "horizonTokens": 32, **more},
        }
        for samples in SAMPLES
        for probe, metric, more in (
            ("attribute-disclosure", "excess_mean_q", AS_MANY),
            ("attribute-disclosure", "attribute_auroc", AS_MANY),
            ("identifier-perturbation", "memorized_share", {}),
        )
    }
    controls["hears-less"] = {
        **controls["excess-mean-q-4"], "limits": {"hears-5": {"fail": 0.05}}
    }  # fmt: skip
    controls["of-others"] = {**controls["excess-mean-q-4"], "attributeClass": "substance-use"}
    controls["scored"] = {
        "probe": "membership-inference",
        "metric": "membership_auroc",
        "limits": {"record": {"fail": 0.7}},
    }
    controls["scored-otherwise"] = {**controls["scored"], "params": {"k": 40, "score": "min-k"}}
    policy = write_policy(folder / "policy.yaml", controls, attackers=LADDER)
    audited = audit(policy, simulated_targets / "leaking.yaml", folder / "run")
    assert len(audited.cells) == len(controls)
    return load_run(audited.run)


def _found(run: Run, cells: Sequence[Cell]) -> dict[str, Any]:
    judgement = judge(
        run.policy,
        plan=run.plan.model_copy(update={"cells": list(cells)}),
        evidence=tables_by_job(EvidenceStore(run.folder, columns_of), run.manifest),
        as_of=datetime.fromisoformat(AS_OF),
    )
    return {one.cell.id: (one.measurement, one.reason) for one in judgement.findings}


@pytest.fixture(scope="module")
def alone(run: Run) -> dict[str, Any]:
    """What is found of each cell where no other is asked for."""
    return {name: found for cell in run.plan.cells for name, found in _found(run, [cell]).items()}


@pytest.mark.parametrize("order", [1, -1])
def test_a_cell_has_the_numbers_alone_that_it_has_among_all(
    run: Run, alone: dict[str, Any], order: int
) -> None:
    together = _found(run, run.plan.cells[::order])
    measured = {name: measurement for name, (measurement, _) in alone.items()}
    assert all(measurement is not None for measurement in measured.values())
    assert {name: found for name, (found, _) in together.items()} == measured


def test_fewer_continuations_give_other_numbers(run: Run) -> None:
    found = _found(run, run.plan.cells)
    for metric in ("excess-mean-q", "attribute-auroc"):
        estimates = {found[f"{metric}-{n}/events-10/all"][0].estimate for n in SAMPLES}
        assert len(estimates) == len(SAMPLES), metric
    assert "not-run" not in {reason for _, reason in found.values()}
