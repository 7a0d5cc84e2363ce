"""One cell at a time: what it is judged from, its numbers, and what keeps them from counting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa

from checker import stats
from checker.attacks.api import CellEvidence, Observations, load_attack
from checker.attacks.families import Measurement
from checker.attacks.labels import distinct_of_all
from checker.errors import InsufficientData
from checker.planning.cells import base_rate_cells, may_stop_early, metric_of
from checker.planning.learned_splits import compares_splits
from checker.planning.model import AuditPlan, Cell, Job
from checker.planning.power import prompts_too_long
from checker.policy.attackers import lineage
from checker.policy.documents import Limit
from checker.records.prompts import DISTINCT_PROMPTS_NEEDED
from checker.stats import false_alarms
from checker.stats.estimate import Estimate
from checker.stats.exposed import RANKS, StandingOut
from checker.stats.false_alarms import base_rate_confidence
from checker.verdict import blind_learner
from checker.verdict.assignment import BaseRates
from checker.verdict.checks import AdmissibilityCheck
from checker.verdict.declared_privacy import NAME as DECLARED_PRIVACY
from checker.verdict.declared_privacy import privacy_objection
from checker.verdict.direction import chance_p_value
from checker.verdict.draws import NAME as DRAWS
from checker.verdict.draws import draws_objection
from checker.verdict.finding import Finding
from checker.verdict.instrument import instrument_objection
from checker.verdict.limits import compare_with_limit, shortage_reason
from checker.verdict.nonmembers import nonmember_objection
from checker.verdict.plugin_errors import REASON as MEASURE_CRASHED
from checker.verdict.plugin_errors import MeasureCrash, confined, refuse_other
from checker.verdict.reference_check import uses_reference

_SHORTAGES = {"too-few-positives", "too-few-patients", "horizon-too-short"}
_ABSENT = {"data": "class-not-in-data", "vocabulary": "class-not-in-vocabulary"}


@dataclass
class CellJudge:
    """Judges cells one by one and keeps what several cells share."""

    plan: AuditPlan
    evidence: Mapping[str, pa.Table]
    crashed: Mapping[str, str]
    checks: dict[str, AdmissibilityCheck]
    stale: bool
    min_cell: int
    confidence: float
    placebo_confidence: float
    memo: dict[Any, Any] = field(default_factory=dict)
    _jobs: dict[str, Job] = field(init=False)
    _gap_confidence: float = field(init=False)

    def __post_init__(self) -> None:
        self._jobs = {job.digest: job for job in self.plan.jobs}
        self._gap_confidence = base_rate_confidence(cells=len(base_rate_cells(self.plan)))

    def finding(self, cell: Cell) -> Finding:
        """Judge one cell on its own, before correction for multiplicity."""
        try:
            with confined(cell.probe):
                return self._judged(cell)
        except MeasureCrash as crash:
            return Finding(cell, "error", str(crash), MEASURE_CRASHED)

    def _judged(self, cell: Cell) -> Finding:
        if cell.subgroup != "all" and cell.sample.subgroup_members == 0:
            text = "No member belongs to this subgroup."
            return Finding(cell, "not_applicable", text, "subgroup-empty")
        absent = self._absence(cell)
        if absent is not None:
            return absent
        observations = self._observations(cell)
        finding = self._compared_with_limit(cell, observations)
        if self._is_too_small(cell) and not (finding.verdict == "fail" or finding.is_beyond_limit):
            text = (
                f"The subgroup has fewer than {self.min_cell} patients to measure in one of the"
                " splits (minCell), so it is neither judged nor shown."
            )
            return Finding(cell, "inconclusive", text, "subgroup-too-small")
        if finding.measurement is None or finding.reason == "prompt-not-identifying":
            return finding
        if self._is_partial(cell) and finding.verdict == "inconclusive":
            text = "The audit was stopped before enough patients were drawn to decide."
            return replace(finding, reason="not-run", explanation=text)
        if finding.verdict == "fail" and cell.limit.fail is not None:
            finding = replace(finding, p_value=self._p_value(cell, observations))
        finding = replace(
            finding,
            roc=self._roc(cell, observations),
            standing_out=self._standing_out(cell, observations),
            chance_p_value=self._chance_p_value(cell, observations),
        )
        try:
            finding = replace(finding, placebo=self._placebo(cell, observations))
            unplaced = None
        except InsufficientData as lack:
            text = f"Without a placebo this is no pass: {lack}."
            unplaced = shortage_reason(cell, confidence=self.confidence), text
        objection = self._objection(cell, observations, finding)
        if objection is None and finding.verdict == "pass":
            objection = unplaced
        if objection is None or finding.reason in _SHORTAGES:
            return finding
        reason, text = objection
        return replace(
            finding,
            verdict="inconclusive",
            reason=reason,
            explanation=text,
            warned=False,
            p_value=None,
        )

    def beyond_ceiling(self, cell_id: str, ceiling: float) -> str | None:
        """Say why a cell would not pass if a waiver's ceiling were its limit, or None if it would.

        Bounds, sample and validity checks are those of any other pass.
        """
        cell = next(one for one in self.plan.cells if one.id == cell_id)
        raised = cell.model_copy(update={"limit": Limit(fail=ceiling)})
        found = self.finding(raised)
        if found.verdict == "pass":
            return None
        if found.measurement is None or found.measurement.estimate.high <= ceiling:
            return f"The cell is not shown to be within the ceiling, so it blocks: {_small(found)}"
        high = found.measurement.estimate.high
        return f"The upper bound, {high:.3f}, is above the ceiling of {ceiling:g}, so it blocks."

    def _compared_with_limit(self, cell: Cell, observations: Observations) -> Finding:
        """Measure a cell, if there is enough to measure, and compare the bounds with its limit."""
        try:
            shortage = self._shortage(cell, observations)
            if shortage is not None:
                return shortage
            measurement = self._measure(cell, observations, self.confidence)
            shared = self._shared_prompts(cell, observations)
        except InsufficientData as lack:
            reason = lack.reason
            if reason == "too-few-positives":
                reason = shortage_reason(cell, confidence=self.confidence)
            return Finding(cell, "inconclusive", f"{_capital(str(lack))}.", reason)
        if shared is not None:
            return replace(shared, measurement=measurement)
        return self._compare(cell, measurement)

    # --- what is there --------------------------------------------------------------------------

    def _absence(self, cell: Cell) -> Finding | None:
        """Say why a cell has nothing to be judged from, if so."""
        missing_from = self.plan.class_absent_from(cell)
        if missing_from is not None:
            text = _class_absent(str(cell.attribute_class), self.plan.data.name, missing_from)
            return Finding(cell, "inconclusive", text, _ABSENT[missing_from])
        if cell.missing_capability is not None:
            text = f"The target gives no {cell.missing_capability}, so this was not tested."
            return Finding(cell, "inconclusive", text, "capability-missing")
        if prompts_too_long(cell.sample):
            text = (
                f"What {cell.attacker} knows fills the model's context for"
                f" {cell.sample.too_long_share:.0%} of the patients, so they cannot be asked."
                f"{self._lines_to_change(cell)}"
            )
            return Finding(cell, "inconclusive", text, "prompts-too-long")
        needed = [*cell.jobs, *([cell.labels] if cell.labels else [])]
        for job in needed:
            if job in self.crashed:
                return Finding(cell, "error", f"{self.crashed[job]}", "probe-crashed")
        if any(job not in self.evidence for job in needed) and not self._is_partial(cell):
            text = "The audit has not run what this cell is judged from."
            return Finding(cell, "inconclusive", text, "not-run")
        if not needed:
            text = "No measurement of the plan answers this control."
            return Finding(cell, "inconclusive", text, "not-run")
        if self.stale:
            text = (
                "The evidence is older than the policy allows, or of unknown date; measure it anew"
                " (`phigate run --fresh`)."
            )
            return Finding(cell, "inconclusive", text, "evidence-too-old")
        return None

    def _may_stop_early(self, cell: Cell) -> bool:
        return may_stop_early(metric_of(cell), cell.limit, sequential=self.plan.sequential)

    def _is_partial(self, cell: Cell) -> bool:
        """Whether a cell that may stop early has stopped, or was interrupted, on the way."""
        drawn = [job in self.evidence for job in cell.jobs]
        in_order = drawn == sorted(drawn, reverse=True)  # no batch may be left out and others kept
        labelled = cell.labels is not None and cell.labels in self.evidence
        return self._may_stop_early(cell) and labelled and in_order and not all(drawn)

    def settles(self, cell: Cell) -> bool:
        """Whether what was drawn of a cell decides it, whatever the rest would show.

        A failure must be one that can still be named when every other cell is tested too, or the
        audit would stop at a leak and report that it exceeds only before correction.
        """
        if not self._is_partial(cell) or cell.limit.fail is None:
            return False
        tested = sum(one.limit.fail is not None for one in self.plan.cells)
        named = 1 - (1 - self.confidence) / tested
        try:
            with confined(cell.probe):
                observations = self._observations(cell)
                if self._measure(cell, observations, named).estimate.low > cell.limit.fail:
                    return True
                measurement = self._measure(cell, observations, self.confidence)
        except (InsufficientData, MeasureCrash):
            return False
        return self._compare(cell, measurement).verdict == "pass"

    def _error_share(self, cell: Cell) -> float:
        """What part of the policy's error a cell's bounds may spend: all, unless it may stop."""
        if not self._may_stop_early(cell):
            return 1.0
        return stats.SEQUENTIAL_SHARE if self._is_partial(cell) else 1 - stats.SEQUENTIAL_SHARE

    def _compare(self, cell: Cell, measurement: Measurement) -> Finding:
        confidence = 1 - self._error_share(cell) * (1 - self.confidence)
        partial = self._is_partial(cell)
        return compare_with_limit(cell, measurement, confidence=confidence, partial=partial)

    def _is_too_small(self, cell: Cell) -> bool:
        """Whether so few make up a subgroup that its numbers could speak of single patients."""
        if cell.subgroup == "all":
            return False
        splits = [cell.sample.members]
        if metric_of(cell).rests_on_split:
            splits.append(cell.sample.nonmembers)
        return min(splits) < self.min_cell

    def _observations(self, cell: Cell) -> Observations:
        tables: dict[str, list[pa.Table]] = {}
        reference: dict[str, list[pa.Table]] = {}
        for name in cell.jobs:
            if name not in self.evidence:
                continue  # not drawn: `_absence` has seen to it that this is no gap
            job = self._jobs[name]
            side = reference if job.runs_on == "reference" else tables
            side.setdefault(job.kind, []).append(self.evidence[name])
        attack = load_attack(cell.probe)
        known = self.plan.classes.get(str(cell.attribute_class))
        found: Observations = attack.measuring.observations(
            CellEvidence(
                labels=self.evidence[cell.labels] if cell.labels else None,
                tables=tables,
                reference=reference,
                watch=known.watch if known else [],
                parts={name: part.watch for name, part in known.parts.items()} if known else {},
                subgroup=cell.subgroup,
                params=attack.params.model_validate(cell.params),
                contrast=cell.contrast,
                decides_side=cell.gating and metric_of(cell).thresholded,
                partial=self._is_partial(cell),
                memo=self.memo,
            )
        )
        return found

    def _lines_to_change(self, cell: Cell) -> str:
        """Name the lines that make an attacker's prompts as long as they are."""
        policy = self.plan.policy
        attackers = lineage(policy.document.spec, cell.attacker)
        told = [policy.prompts.get(f"{name}.{key}") for name in attackers
                for key in ("events", "last", "random")]  # fmt: skip
        lines = [line for line in told if line]
        return f" What makes them so long: {', '.join(lines)}." if lines else ""

    def _shared_prompts(self, cell: Cell, observations: Observations) -> Finding | None:
        """An excess says nothing where many patients have one prompt; no sample mends that."""
        metric = metric_of(cell)
        if not metric.needs_identifying_prompts:
            return None
        share = observations.distinct_prompt_share(everybody=metric.family.takes_everybody)
        labels = self.evidence.get(cell.labels) if cell.labels is not None else None
        if share is not None and labels is not None:
            # a draw hides how many share a prompt
            everybody = metric.family.takes_everybody
            of_all = distinct_of_all(labels, cell.subgroup, everybody=everybody)
            share = share if of_all is None else min(share, of_all)
        if share is None or share >= DISTINCT_PROMPTS_NEEDED:
            return None
        text = (
            f"Only {share:.0%} of the prompts are distinct, so the number would say nothing;"
            f" {DISTINCT_PROMPTS_NEEDED:.0%} are needed."
        )
        return Finding(cell, "inconclusive", text, "prompt-not-identifying")

    def _shortage(self, cell: Cell, observations: Observations) -> Finding | None:
        """Name the horizon when it is what leaves nobody to measure."""
        if observations.unanswered:
            text = f"The evidence does not speak of {observations.unanswered} patients."
            return Finding(cell, "inconclusive", text, "not-run")
        for split, is_member in (("members", True), ("nonmembers", False)):
            if split == "nonmembers" and not metric_of(cell).family.is_excess:
                continue
            if observations.eligible(member=is_member) != 0:
                continue
            if cell.attribute_class is None:
                text = f"No {split} can be measured in this subgroup."
                return Finding(cell, "inconclusive", text, "too-few-patients")
            positive = (
                cell.sample.members_positive if is_member else cell.sample.nonmembers_positive
            )
            if positive:
                text = (
                    f"{positive} {split} have the class, but none of them within the horizon"
                    " behind what the attacker knows."
                )
                reason = shortage_reason(cell, confidence=self.confidence)
                return Finding(cell, "inconclusive", text, reason)
            text = f"No {split} have the class in this subgroup."
            return Finding(cell, "inconclusive", text, "too-few-positives")
        return None

    # --- numbers --------------------------------------------------------------------------------

    def _measure(self, cell: Cell, observations: Observations, confidence: float) -> Measurement:
        attack = load_attack(cell.probe)
        confidence = 1 - self._error_share(cell) * (1 - confidence)
        measured = attack.measuring.measure(
            metric_of(cell),
            observations,
            params=attack.params.model_validate(cell.params),
            confidence=confidence,
        )
        refuse_other(measured, attack=cell.probe)
        base_rates = self._base_rates(observations)
        if base_rates is None:
            return measured
        return base_rates.adjusted(measured, metric=metric_of(cell))

    def _base_rates(self, observations: Observations) -> BaseRates | None:
        expected = observations.base_scores()
        if expected is None:
            return None
        return BaseRates(
            self.plan.target.document.spec.data.assignment,
            expected,
            confidence=self.confidence,
            proof=self._gap_confidence,
        )

    def _placebo(self, cell: Cell, observations: Observations) -> Estimate | None:
        attack = load_attack(cell.probe)
        return attack.measuring.placebo(
            metric_of(cell),
            observations,
            params=attack.params.model_validate(cell.params),
            confidence=self.placebo_confidence,
            rng=self.plan.rng_for(f"placebo {cell.measurement}"),
        )

    def _roc(self, cell: Cell, observations: Observations) -> tuple[tuple[float, Estimate], ...]:
        attack = load_attack(cell.probe)
        params = attack.params.model_validate(cell.params)
        return tuple(
            attack.measuring.roc(observations, params=params, confidence=self.plan.confidence)
        )

    def _standing_out(self, cell: Cell, observations: Observations) -> tuple[StandingOut, ...]:
        attack = load_attack(cell.probe)
        params = attack.params.model_validate(cell.params)
        found = attack.measuring.scored_patients(observations, params=params)
        if found is None:
            return ()
        return stats.standing_out(
            found.member_scores, found.nonmember_scores, ranks=RANKS, confidence=self.confidence
        )

    def _p_value(self, cell: Cell, observations: Observations) -> float:
        def lower(confidence: float) -> float:
            try:
                return self._measure(cell, observations, confidence).estimate.low
            except InsufficientData:
                return -1.0  # no bound at this confidence: it cannot be above any limit

        assert cell.limit.fail is not None
        return stats.p_value(lower, limit=cell.limit.fail)

    def _chance_p_value(self, cell: Cell, observations: Observations) -> float | None:
        return chance_p_value(cell, observations, error_share=self._error_share(cell))

    # --- why a number may not count -------------------------------------------------------------

    def _objection(
        self, cell: Cell, observations: Observations, finding: Finding
    ) -> tuple[str, str] | None:
        """Return reason and sentence of the first check that keeps a number from counting."""
        prompt_format = self.checks["attack-not-shown-to-work"]
        if prompt_format.holds is False:
            return prompt_format.name, prompt_format.explanation
        instrument = instrument_objection(self.checks, passes=finding.verdict == "pass")
        if instrument is not None:
            return instrument
        drawn = draws_objection(self.checks.get(DRAWS), cell=cell, jobs=self._jobs)
        if drawn is not None:
            return drawn
        if metric_of(cell).rests_on_split:
            is_learned = observations.blind_scores() is not None
            for name in ("split-overlap", "near-duplicates", "split-not-comparable"):
                if name == blind_learner.NAME and is_learned:
                    continue
                if not self.checks[name].holds:
                    return name, self.checks[name].explanation
            objection = self._blind_objection(observations) if is_learned else None
            if objection is not None:
                return objection
            objection = self._unlike_base_rates(cell, observations, finding)
            objection = objection or nonmember_objection(self.checks, verdict=finding.verdict)
            if objection is not None:
                return objection
            placebo = finding.placebo
            if placebo is not None and not stats.contains(
                placebo, metric_of(cell).family.null_value
            ):
                return "placebo-failed", (
                    "Between two random halves of the nonmembers the same estimate is"
                    f" {placebo.value:.3f} ({placebo.low:.3f} to {placebo.high:.3f}), where nothing"
                    " can differ."
                )
        reference = self.checks.get("reference-knows-members")
        # what such a reference subtracts is too much, so a failure stands in spite of it
        doubted = reference is not None and reference.holds is False and finding.verdict != "fail"
        if reference is not None and doubted and uses_reference(self.plan, cell):
            return reference.name, reference.explanation
        detection = load_attack(cell.probe).measuring.detection(
            observations, confidence=self.confidence
        )
        if detection is not None and not detection.shown and finding.verdict == "pass":
            return prompt_format.name, detection.explanation
        guarantee = self.checks.get(DECLARED_PRIVACY)
        refuted = privacy_objection(guarantee, cell, passes=finding.verdict == "pass")
        if refuted is not None:
            return refuted
        if prompt_format.holds is None and finding.verdict == "pass":
            return prompt_format.name, prompt_format.explanation
        return None

    def _blind_objection(self, observations: Observations) -> tuple[str, str] | None:
        """Without the model the learned score must not tell members from nonmembers."""
        differ = blind_learner.blind_objection(
            observations,
            assignment=self.plan.target.document.spec.data.assignment,
            tolerance=self.plan.policy.document.spec.parameters.admissibility_tolerance,
            confidence=self.confidence,
            proof=1 - false_alarms.LEARNED_SPLITS / self._learned_cells,
        )
        proof = 1 - false_alarms.LEARNED_REFERENCE / self._learned_cells
        return differ or blind_learner.reference_objection(observations, proof=proof)

    @cached_property
    def _learned_cells(self) -> int:
        """How many cells are asked whether the learner does without the model."""
        return max(1, sum(compares_splits(cell) for cell in self.plan.cells))

    def _unlike_base_rates(
        self, cell: Cell, observations: Observations, finding: Finding
    ) -> tuple[str, str] | None:
        """From the prompt alone the class must be as likely in members as in nonmembers."""
        base_rates = self._base_rates(observations)
        if base_rates is None or cell.limit.fail is None:
            return None
        text = base_rates.objection(
            limit=cell.limit.fail, metric=metric_of(cell), measured=finding.measurement
        )
        return None if text is None else ("split-not-comparable", text)


def _class_absent(name: str, data_set: str, missing_from: Literal["data", "vocabulary"]) -> str:
    """Say that a class was not measured, for nothing here stands for it, and what to check."""
    if missing_from == "data":
        return (
            f"No code of {data_set} stands for the class '{name}', so nobody could be measured."
            " Either no patient here has it, or its codes are spelled in a way that was not"
            " recognised: check the spelling and the target's codeSystems"
            " (`phigate classes coverage`)."
        )
    return (
        f"The data have codes of the class '{name}', but no token of the model stands for one, so"
        " the model could not be asked: check the vocabulary and the target's tokenization."
    )


def _small(finding: Finding) -> str:
    """Return a finding's explanation as the second half of a sentence."""
    return finding.explanation[:1].lower() + finding.explanation[1:]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
