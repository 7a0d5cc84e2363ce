"""Run policy tests: what a policy makes of made-up results, judged as the audit's are.

The cells are those that a plan would have for the policy, the estimates of counts are those of
`checker.stats`, and the comparison with the limit is the judge's own (`compare_with_limit`). So is
which way effects point (`checker.verdict.direction`): what looks worse than chance is no pass, and
where the splits must have been exchanged no other cell is. Left out is what only real evidence has:
comparability, placebo, and the correction for naming several failures at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

from checker.attacks.api import load_attack
from checker.attacks.families import Family, Measurement, Sample
from checker.attacks.families.samples import Clusters
from checker.errors import DocumentError, Problem
from checker.planning.cells import control_cell, metric_of
from checker.planning.model import Cell
from checker.plugins import nearest_or_all
from checker.policy import Located, load_documents, load_policy, resolve_attacker
from checker.policy.documents import (
    LeakagePolicy,
    MadeUpCell,
    MadeUpEstimate,
    PolicyCase,
    PolicySpec,
    PolicyTest,
    Subgroup,
    counted,
)
from checker.policy.inheritance.parents import is_path
from checker.policy.prerequisites import PrerequisiteFinding
from checker.stats.estimate import Estimate
from checker.stats.multiplicity import SMALLEST_P
from checker.verdict import Finding, compare_with_limit, overall_verdict
from checker.verdict.direction import corrected, p_below_chance
from checker.yaml import KeyPath, short


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation, and what the policy made of it.

    Args:
        what: the cell, or "the audit" for the verdict of all cells together.
        expected: as the test says it.
        got: the same, of the judgement.
        explanation: the judge's sentence.
    """

    what: str
    expected: str
    got: str
    explanation: str

    @property
    def holds(self) -> bool:
        """Whether the policy does what is expected of it."""
        return self.expected == self.got


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of a case.

    Args:
        file, line: where it stands.
        test: the test's name.
        case: the case's name.
        policy: name@version of the policy it was run against.
        checks: at least one.
    """

    file: str
    line: int
    test: str
    case: str
    policy: str
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether all of its expectations do."""
        return all(check.holds for check in self.checks)


def find_tests(places: Sequence[Path]) -> list[Located[PolicyTest]]:
    """Read the policy tests of some files, and of all YAML files in some folders.

    Returns:
        The tests in order; none where there are none. Documents of other kinds are left aside.

    Raises:
        DocumentError: with all that is wrong with the files.
    """
    found: list[Located[PolicyTest]] = []
    problems: list[Problem] = []
    for place in places:
        files = sorted(place.rglob("*.y*ml")) if place.is_dir() else [place]
        for file in files:
            try:
                documents = load_documents(file)
            except DocumentError as error:
                problems += error.problems
            else:
                found += [one for one in documents if isinstance(one.document, PolicyTest)]
    if problems:
        raise DocumentError(problems)
    return found


def policy_under_test(test: Located[PolicyTest]) -> Located[LeakagePolicy]:
    """Read the policy that a test names.

    Raises:
        DocumentError: it is not there or invalid, or the path is none.
    """
    path = Path(test.document.spec.policy)
    if path.is_absolute():
        message = "write a path relative to this file"
        raise DocumentError([test.problem(("spec", "policy"), message)])
    file = Path(test.file).parent / path
    if not file.is_file():
        if "@" in path.name and not is_path(str(path)):
            return load_policy(path)  # a shipped one, or the error says which there are
        message = f"there is no file {file}"
        raise DocumentError([test.problem(("spec", "policy"), message)])
    return load_policy(file)


def run_policy_test(
    test: Located[PolicyTest], *, policy: Located[LeakagePolicy]
) -> list[CaseResult]:
    """Judge a test's made-up results by a policy.

    Args:
        test: valid in itself.
        policy: that it is run against, see `policy_under_test`.

    Returns:
        One result per case, in the test's order.

    Raises:
        DocumentError: a case speaks of a cell that the policy has not, or gives a result that its
            metric cannot have; with all of them, each at its line.
    """
    rehearsal = _Rehearsal(test, policy.document)
    meta = policy.document.metadata
    results = []
    for index, case in enumerate(test.document.spec.cases):
        path = ("spec", "cases", index)
        results.append(
            CaseResult(
                file=test.file,
                line=test.place(path).line,
                test=test.document.metadata.name,
                case=case.name,
                policy=f"{meta.name}@{meta.version}",
                checks=tuple(rehearsal.checks(case, path)),
            )
        )
    if rehearsal.problems:
        raise DocumentError(rehearsal.problems)
    return results


class _Rehearsal:
    """The cells of a policy, and what is wrong with what a test says of them."""

    def __init__(self, test: Located[PolicyTest], policy: LeakagePolicy) -> None:
        self.test = test
        self.spec = policy.spec
        self.confidence = policy.spec.parameters.confidence
        self.problems: list[Problem] = []

    def checks(self, case: PolicyCase, path: KeyPath) -> list[Check]:
        """Judge a case; what cannot be judged is noted as a problem."""
        before = len(self.problems)
        for name in case.prerequisites:
            if name not in self.spec.prerequisites:
                near = nearest_or_all(name, self.spec.prerequisites)
                message = f"the policy has no prerequisite '{short(name)}'{near}"
                self.problems.append(self.test.problem((*path, "prerequisites", name), message))
        judged: list[tuple[MadeUpCell, Finding]] = []
        for index, made_up in enumerate(case.cells):
            finding = self._finding(made_up, (*path, "cells", index))
            if finding is not None:
                judged.append((made_up, finding))
        findings = self._pointed([finding for _, finding in judged])
        checks = [
            check
            for made_up, finding in judged
            for check in _cell_checks(made_up, findings[finding.cell.id])
        ]
        if case.verdict is None or len(self.problems) > before:
            return checks
        told = {*findings}
        for cell in _all_cells(self.spec):
            findings.setdefault(cell.id, _untold(cell, passes=case.otherwise == "pass"))
        presupposed = self._presupposed(case)
        overall = overall_verdict(list(findings.values()), prerequisites=presupposed)
        unmet = [one.name for one in presupposed if one.verdict != "pass"]
        why = _blocking(told, findings) + (f" Not met: {', '.join(unmet)}." if unmet else "")
        return [*checks, Check("the audit", case.verdict, overall, why)]

    def _presupposed(self, case: PolicyCase) -> list[PrerequisiteFinding]:
        """Take what a case says of prerequisites, and the others as it says of other cells."""
        other: Literal["pass", "inconclusive"] = (
            "pass" if case.otherwise == "pass" else "inconclusive"
        )
        return [
            PrerequisiteFinding(name, spec, case.prerequisites.get(name, other), "Made up.")
            for name, spec in self.spec.prerequisites.items()
        ]

    def _finding(self, made_up: MadeUpCell, path: KeyPath) -> Finding | None:
        cell = self._cell(made_up, path)
        if cell is None:
            return None
        if made_up.missing is not None:
            verdict = "error" if made_up.missing == "probe-crashed" else "inconclusive"
            return Finding(cell, verdict, "There is no result.", made_up.missing)  # type: ignore[arg-type]
        if made_up.estimate is not None:
            measurement = _given(made_up.estimate, self.confidence)
        else:
            counted_up = self._counted(cell, made_up, path)
            if counted_up is None:
                return None
            measurement = counted_up
        found = compare_with_limit(cell, measurement, confidence=self.confidence)
        return replace(found, chance_p_value=_chance_p_value(cell, made_up, self.confidence))

    def _pointed(self, findings: Sequence[Finding]) -> dict[str, Finding]:
        """Keep from passing what looks worse than chance, and what that speaks against."""
        asks = frozenset(one.cell.id for one in findings if _asks_reference(one.cell))
        direction = corrected(findings, asks_reference=asks)
        return {one.cell.id: direction.apply(one) for one in findings}

    def _cell(self, made_up: MadeUpCell, path: KeyPath) -> Cell | None:
        """Return the cell that is meant, with as many patients as it was given."""
        control_name, attacker, subgroup = [*made_up.cell.split("/", 2), "all"][:3]
        control = self.spec.controls.get(control_name)
        if control is None:
            self._say(path, "control", control_name, [*self.spec.controls])
            return None
        if attacker not in control.limits:
            self._say(path, "attacker", attacker, [*control.limits])
            return None
        groups = [name for one in control.subgroups for name in _names(one)]
        values = tuple(name.removesuffix("*") for name in groups if name.endswith("=*"))
        if subgroup not in groups and not (values and subgroup.startswith(values)):
            self._say(path, "subgroup", subgroup, groups)
            return None
        return _cell_of(self.spec, control_name, attacker, subgroup, _sample(made_up))

    def _say(self, path: KeyPath, what: str, word: str, known: list[str]) -> None:
        message = f"the policy has no {what} '{short(word)}' here{nearest_or_all(word, known)}"
        self.problems.append(self.test.problem((*path, "cell"), message))

    def _counted(self, cell: Cell, made_up: MadeUpCell, path: KeyPath) -> Measurement | None:
        """Turn counts into the estimate an attack would make of them."""
        family = load_attack(cell.probe).metrics[cell.metric].family
        members, nonmembers = (
            None if text is None else Clusters.of_counts(*counted(text))
            for text in (made_up.members, made_up.nonmembers)
        )
        assert members is not None  # the document layer asks for them
        if not family.counts_hits:
            message = f"'{cell.metric}' counts no patients; give an 'estimate'"
        elif family.is_excess and nonmembers is None:
            message = f"'{cell.metric}' compares with nonmembers; give their count too"
        elif nonmembers is not None and not family.is_excess:
            message = f"'{cell.metric}' counts members only"
        else:
            return family.measure(members, nonmembers, confidence=self.confidence)
        self.problems.append(self.test.problem((*path, "members"), message))
        return None


def _cell_checks(made_up: MadeUpCell, finding: Finding) -> Iterator[Check]:
    got = "warn" if finding.warned else finding.verdict
    yield Check(made_up.cell, made_up.expect, got, finding.explanation)
    if made_up.reason is not None:
        reason = finding.reason or "no reason"
        yield Check(f"{made_up.cell}: reason", made_up.reason, reason, finding.explanation)
    if made_up.blocks is not None:
        expected, blocks = (_blocks(one) for one in (made_up.blocks, finding.blocks))
        yield Check(f"{made_up.cell}: release", expected, blocks, finding.explanation)


def _blocking(told: set[str], findings: dict[str, Finding]) -> str:
    """Name what blocks among the cells that a case tells of, and count the rest."""
    blocking = [name for name, finding in findings.items() if finding.blocks]
    named = [name for name in blocking if name in told]
    rest = len(blocking) - len(named)
    if rest:
        named.append(
            f"{rest} {'cell' if rest == 1 else 'cells'} that the case says nothing of"
            " (`otherwise: pass` takes them for passed)"
        )
    return f"Blocked by {', '.join(named)}." if named else "Nothing blocks."


def _blocks(value: bool) -> str:
    return "blocks" if value else "does not block"


def _chance_p_value(cell: Cell, made_up: MadeUpCell, confidence: float) -> float | None:
    """Return the least α at which what was made up lies below what chance gives."""
    metric = metric_of(cell)
    pointing = metric.family.direction
    if pointing is None or not metric.can_pass:
        return None
    if made_up.estimate is not None:
        same = pointing.null_value == metric.family.null_value
        return _p_of_bounds(pointing, made_up.estimate, confidence) if same else None
    assert made_up.members is not None
    if made_up.nonmembers is None:
        return None  # nobody to be found more often than members
    members, nonmembers = (
        Clusters.of_counts(*counted(text)) for text in (made_up.members, made_up.nonmembers)
    )
    return p_below_chance(metric.family, members, nonmembers)


def _p_of_bounds(family: Family[Any], estimate: MadeUpEstimate, confidence: float) -> float:
    """Return a p-value from bounds at one confidence, as if they were those of a normal variable.

    That of an AUROC is taken on the logit scale, as its bounds are.
    """
    value, high, null = estimate.value, estimate.high, family.null_value
    if family.separates_splits and 0 < value <= high < 1:
        value, high, null = (math.log(point / (1 - point)) for point in (value, high, null))
    if value >= null:
        return 1.0
    if high <= value:
        return SMALLEST_P
    distance = (null - value) / (high - value) * NormalDist().inv_cdf(confidence)
    return max(1 - NormalDist().cdf(distance), SMALLEST_P)


def _asks_reference(cell: Cell) -> bool:
    params = load_attack(cell.probe).params.model_validate(cell.params)
    return cell.contrast == "reference" or params.needs_reference


def _given(estimate: MadeUpEstimate, confidence: float) -> Measurement:
    def part(n: int) -> Estimate:
        return Estimate(0.0, 0.0, 1.0, n, confidence, "made up")  # only its n is looked at

    n = estimate.members + (estimate.nonmembers or 0)
    bounds = (estimate.value, estimate.low, estimate.high)
    return Measurement(
        Estimate(*bounds, n, confidence, "made up"),
        members=part(estimate.members),
        nonmembers=part(estimate.nonmembers) if estimate.nonmembers is not None else None,
    )


def _sample(made_up: MadeUpCell) -> Sample:
    members = nonmembers = 0
    if made_up.estimate is not None:
        members, nonmembers = made_up.estimate.members, made_up.estimate.nonmembers or 0
    if made_up.members is not None:
        members = counted(made_up.members)[1]
    if made_up.nonmembers is not None:
        nonmembers = counted(made_up.nonmembers)[1]
    return Sample(
        members=members,
        nonmembers=nonmembers,
        members_positive=members,
        nonmembers_positive=nonmembers,
    )


def _all_cells(spec: PolicySpec) -> Iterator[Cell]:
    """Yield every cell of a policy; one for all values of a static field."""
    nobody = Sample(members=0, nonmembers=0)
    for name, control in spec.controls.items():
        for attacker in control.limits:
            for subgroup in control.subgroups:
                for group in _names(subgroup):
                    yield _cell_of(spec, name, attacker, group, nobody)


def _cell_of(spec: PolicySpec, control: str, attacker: str, subgroup: str, sample: Sample) -> Cell:
    probe = load_attack(spec.controls[control].probe)
    return control_cell(
        spec,
        control,
        resolve_attacker(spec, attacker),
        subgroup,
        probe.params.model_validate(spec.controls[control].params),
        sample=sample,
        missing_capability=None,
        labels=None,
        jobs=[],
    )


def _names(subgroup: str | Subgroup) -> list[str]:
    """Return how a plan names a subgroup; the values of a field are not known without data."""
    if isinstance(subgroup, str):
        return [subgroup]
    if subgroup.rare_code is not None:
        return [f"rare_code<={subgroup.rare_code}"]
    if subgroup.age_over is not None:
        return [f"age>{subgroup.age_over}"]
    return [f"{subgroup.static}=*"]


def _untold(cell: Cell, *, passes: bool) -> Finding:
    if passes:
        return Finding(cell, "pass", "Taken for passed.")
    return Finding(cell, "inconclusive", "The test says nothing of it.", "not-run")
