"""Advice in errors is itself valid: whoever does what a message says has one mistake less."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from checker.errors import DocumentError, Problem
from checker.policy.loading import parse_documents

FOLDER = Path(__file__).parents[2] / "policies"

POLICY = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: ward, version: "1.0", owner: committee, reviewBy: 2030-01-31}
spec:
  extends: [{ref: attacker-ladder@1}]
  context: internal
  parameters: {confidence: 0.95, minCell: 11, expectedBaseRate: 0.02}
  attackers:
    broker: {title: Broker, knows: {static: [age], events: 5}, access: samples}
    insider: {title: Insider, extends: broker, knows: {events: all}, access: logprobs}
  attributeClasses:
    hiv: {use: library/hiv@1}
    ward:
      title: A ward
      sensitivity: PSY
      codes:
        - {system: icd10cm, tier: definitive, values: ["F20-F25"], exclude: ["F21"]}
  controls:
    disclosure:
      title: Tell no HIV status
      attributeClass: hiv
      probe: attribute-disclosure
      params: {samples: 20, horizonTokens: 100}
      metric: excess_disclosure
      contrast: nonmembers
      limits: {broker: {warn: 0.01, fail: 0.02}, k3-ten-events: {fail: 0.05}}
      subgroups: [all, rare_code]
      severity: critical
      enforcement: mandatory
      onInconclusive: block
      cites: [a-law]
    membership:
      title: Tell no members
      probe: membership-inference
      metric: membership_auroc
      limits: {insider: {fail: 0.6}}
  citations:
    a-law: {title: A law, basis: legal-duty}
  gate: {failOn: [critical, high, medium], maxEvidenceAge: P90D}
  waivers: {approverRoles: [officer], minApprovers: 1, maxDuration: P180D}
"""
TARGET = (FOLDER / "starter" / "target.yaml").read_text(encoding="utf-8")
_MEANT = re.compile(r"did you mean '([^']+)'")
_WRITE = re.compile(r"write '([^']+)'|write \"([^\"]+)\"")


def problems(text: str) -> tuple[Problem, ...]:
    try:
        parse_documents(text, file="p.yaml")
    except DocumentError as error:
        return error.problems
    return ()


def slips(text: str) -> Iterator[tuple[str, str, str]]:
    """Each word of keys and names with a letter missing: what stands before it, it, and after."""
    for number, found in enumerate(re.finditer(r"[A-Za-z][\w-]{3,}(?=[:,}\]@\n])", text)):
        word = found[0]
        place = 1 + number % (len(word) - 1)
        yield text[: found.start()], word[:place] + word[place + 1 :], text[found.end() :]


@pytest.mark.parametrize("text", [POLICY, TARGET], ids=["policy", "target"])
def test_what_was_meant_can_be_written(text: str) -> None:
    assert problems(text) == ()
    tried = 0
    for before, wrong, after in slips(text):
        for problem in problems(before + wrong + after):
            meant = _MEANT.search(problem.message)
            mistaken = re.search(r"'([^']+)'", problem.message)
            if meant is None or mistaken is None or mistaken[1] != wrong:
                continue
            tried += 1
            left = [one for one in problems(before + meant[1] + after) if one.path == problem.path]
            assert left == [], f"{problem}: written, and {left[0]}"
    assert tried > 25


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("use: library/hiv@1", "use: library/hiv"),
        ("use: library/hiv@1", "use: hiv@1"),
        ("use: library/hiv@1", "use: library/hvi@1"),
        ("use: library/hiv@1", "use: library/hiv@9"),
        ("ref: attacker-ladder@1", "ref: attacker-lader@1"),
        ("ref: attacker-ladder@1", "ref: attacker-ladder"),
        ("confidence: 0.95", "confidence: 95%"),
        ("confidence: 0.95", "confidence: 0,95"),
        ("confidence: 0.95", "confidence: 95"),
        ("maxEvidenceAge: P90D", "maxEvidenceAge: 90d"),
        ("maxEvidenceAge: P90D", "maxEvidenceAge: 90"),
        ("reviewBy: 2030-01-31", "reviewBy: 31.01.2030"),
        ("reviewBy: 2030-01-31", "reviewBy: 2030-1-31"),
        ('"F20-F25"', '"F20-F2"'),
        ('"F20-F25"', '"F25-F20"'),
        ('"F20-F25"', '"F20*"'),
        ('"F20-F25"', '"re:F2[0-5]"'),
        ('"F20-F25"', '"F20–F25"'),  # an en dash
        ('"F20-F25"', '"F2０"'),  # a wide zero
        ("system: icd10cm", "system: ICD10CM"),
        ("system: icd10cm", "system: icd10"),
        ("events: 5", "events: five"),
        ("events: 5", "events: -1"),
        ("fail: 0.02", "fail: 2%"),
        ("fail: 0.02", "fail: 0.005"),
        ("name: ward", "name: Ward 3"),
        ('version: "1.0"', "version: 'v 1'"),
        ("severity: critical", "severity: Critical"),
        ("onInconclusive: block", "onInconclusive: yes"),
        ("contrast: nonmembers", "contrast: non-members"),
        ("kind: LeakagePolicy", "kind: leakage-policy"),
        ("apiVersion: phigate/v1", "apiVersion: v1"),
    ],
)  # fmt: skip
def test_what_a_message_says_to_write_is_valid_where_it_is_written(old: str, new: str) -> None:
    assert POLICY.count(old) == 1
    broken = POLICY.replace(old, new)
    found = problems(broken)
    assert found, "this is no mistake"
    wrong = new.partition(": ")[2] or new
    for problem in found:
        advice = _MEANT.search(problem.message) or _WRITE.search(problem.message)
        if advice is None:
            continue
        meant = next(filter(None, advice.groups()))
        if '"' in new:
            meant = f'"{meant}"'
        key = new.partition(": ")[0] + ": " if ": " in new else ""
        mended = broken.replace(new, f"{key}{meant}")
        left = [one for one in problems(mended) if one.path == problem.path]
        assert left == [], f"{problem}: {wrong} became {meant}, and {left[0]}"
