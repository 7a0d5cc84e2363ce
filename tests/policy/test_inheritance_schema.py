"""The published schema of policies knows what a file may leave out because it inherits it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from policy_texts import HOSPITAL, LADDER, REGION, TIGHTER, WAIVERS, WARD

from checker.policy import document_schema

VALIDATOR = Draft7Validator(document_schema("LeakagePolicy"))


def fits(text: str) -> bool:
    content: Any = json.loads(json.dumps(yaml.safe_load(text), default=str))
    return bool(VALIDATOR.is_valid(content))


@pytest.mark.parametrize(
    "text",
    [
        HOSPITAL, REGION, LADDER, WARD, WARD + TIGHTER, HOSPITAL + WAIVERS,
        WARD + "  waivers: {minApprovers: 3}\n",
        WARD + "  controls: {disclosure: {limits: {broker: {warn: 0.01}}}}\n",
        WARD + "  controls: {disclosure: {limits: {broker: {minN: 400}}}}\n",
        HOSPITAL.replace("    hiv:\n", '    hiv:\n      use: "library/hiv@1"\n'),
    ],
)  # fmt: skip
def test_an_editor_accepts_what_phigate_reads(text: str) -> None:
    assert fits(text)


def test_a_class_that_is_used_needs_no_codes() -> None:
    at, end = HOSPITAL.index("      title: HIV\n"), HOSPITAL.index("  controls:\n")
    assert fits(HOSPITAL[:at] + '      use: "library/hiv@1"\n' + HOSPITAL[end:])
    assert not fits(HOSPITAL[:at] + "      sensitivity: HIV\n" + HOSPITAL[end:])


@pytest.mark.parametrize(
    "text",
    [
        HOSPITAL.replace("  context: gated\n", ""),
        HOSPITAL.replace("      metric: excess_disclosure\n", ""),
        LADDER.replace("  abstract: true\n", ""),
        LADDER.replace("  context: public-weights\n", ""),
        WARD.replace('[{ref: "hospital@1.4"}]', "[]"),
        WARD.replace('ref: "hospital@1.4"', 'reff: "hospital@1.4"'),
        WARD + "  controls: {disclosure: {severety: low}}\n",
        WARD + "  controls: {disclosure: {limits: {broker: {fail: high}}}}\n",
        WARD + "  attributeClasses: {hiv: {codes: [{system: icd9cm, values: [V08]}]}}\n",
        WARD + "  gate: {failOn: []}\n",
    ],
)
def test_an_editor_refuses_what_phigate_refuses(text: str) -> None:
    assert not fits(text)
