"""How each kind of job becomes a table of observations.

Patients leave this module under pseudonyms only. Rows stand in the order of the cohort, so equal
inputs give equal tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.comparability import (
    MIN_EVENTS,
    SplitScores,
    base_rate_scores,
    copied_records,
    find_duplicates,
    split_classifier_scores,
)
from checker.errors import InsufficientData
from checker.evidence import Pseudonyms
from checker.plan.model import AuditPlan, Job
from checker.plan.workload import Workload, record_windows
from checker.prompt_format import format_variants
from checker.prompts import Prompts
from checker.stats import scores
from checker.targets import Progress, Sampler, TargetModel, Tokens, TokenScores
from checker.tokenization import KIND_EVENT, KIND_SPECIAL, TokenizedRecords

__all__ = ["Execution"]


@dataclass(frozen=True)
class Execution:
    """Executes the jobs of one plan.

    Args:
        plan: names the jobs and the seed.
        workload: the patients behind them.
        pseudonyms: the run's key.
    """

    plan: AuditPlan
    workload: Workload
    pseudonyms: Pseudonyms

    def execute(self, job: Job, target: TargetModel | None, *, advance: Progress) -> pa.Table:
        """Run one job.

        Args:
            job: of the plan.
            target: the model; None will do for jobs that do not use it.
            advance: called with the number of tokens done since the last call.
        """
        by_kind: dict[str, Callable[[Job, Any, Progress], pa.Table]] = {
            "labels": self._labels,
            "rollouts": self._rollouts,
            "scores": self._scores,
            "overlap": self._overlap,
            "comparability": self._comparability,
            "prompt-format": self._prompt_format,
        }
        return by_kind[job.kind](job, target, advance)

    # --- from the cohort alone ------------------------------------------------------------------

    def _patient(self, is_member: bool, index: int) -> str:
        split = self.workload.cohort.members if is_member else self.workload.cohort.nonmembers
        return self.pseudonyms.of("patient", str(int(split.subject_id[index])).encode())

    def _labels(self, job: Job, target: None, advance: Progress) -> pa.Table:
        """Who is positive, who is eligible, which prompt stands for whom."""
        labels = self.workload.labels[job.digest]
        base = self._base_scores(job, labels.members, labels.nonmembers)
        columns: dict[str, list[Any]] = {
            name: []
            for name in ("patient", "member", "positive", "eligible", "prompt", "subgroups")
        }
        for is_member, prompts, keys in (
            (True, labels.members, labels.member_keys),
            (False, labels.nonmembers, labels.nonmember_keys),
        ):
            for i, key in enumerate(keys):
                columns["patient"].append(self._patient(is_member, i))
                columns["member"].append(is_member)
                columns["positive"].append(bool(prompts.positive[i]))
                columns["eligible"].append(bool(prompts.eligible[i]))
                columns["prompt"].append(None if key is None else self._prompt_name(key))
                columns["subgroups"].append(self.workload.subgroups_of(is_member, i))
        schema = pa.schema(
            [
                ("patient", pa.string()),
                ("member", pa.bool_()),
                ("positive", pa.bool_()),
                ("eligible", pa.bool_()),
                ("prompt", pa.string()),
                ("subgroups", pa.list_(pa.string())),
                ("base_score", pa.float32()),
            ]
        )
        return pa.table({**columns, "base_score": base}, schema=schema)

    def _prompt_name(self, key: bytes) -> str:
        return self.pseudonyms.of("prompt", key)

    def _base_scores(self, job: Job, members: Prompts, nonmembers: Prompts) -> pa.Array:
        """What a predictor fitted on nonmembers expects from the same prompts; null elsewhere."""
        promptable = np.concatenate([members.promptable, nonmembers.promptable])
        eligible = np.concatenate([members.eligible, nonmembers.eligible])
        is_member = np.arange(len(promptable)) < len(members)
        taught = promptable & ~is_member
        if not (eligible[taught].any() and (~eligible[taught]).any()):
            return pa.nulls(len(promptable), pa.float32())
        prompts = [p.prompt(i) for p in (members, nonmembers) for i in range(len(p))]
        chosen = np.flatnonzero(promptable)
        values = np.zeros(len(promptable), dtype=np.float32)
        values[chosen] = base_rate_scores(
            [prompts[i] for i in chosen],
            eligible[chosen],
            is_member[chosen],
            vocabulary_size=self.plan.target.vocabulary_size,
            rng=self.plan.rng_for(f"base scores {job.digest}"),
        )
        return pa.array(values, mask=~promptable)

    def _overlap(self, job: Job, target: None, advance: Progress) -> pa.Table:
        members, nonmembers = (
            _patients(split, "code", chosen=_events)
            for split in (self.workload.members, self.workload.nonmembers)
        )
        found = find_duplicates(members, nonmembers, rng=self.plan.rng_for("overlap"))
        cohort = self.workload.cohort
        copies = copied_records(cohort.members, cohort.nonmembers)
        exact = len(np.union1d(copies, found.exact_indices))
        return pa.table(
            {
                "exact": [exact],
                "near": [len(found.nonmember_indices) - len(found.exact_indices)],
                "members": [len(members)],
                "nonmembers": [len(nonmembers)],
                "compared": [sum(len(codes) >= MIN_EVENTS for codes in nonmembers)],
            }
        )

    def _comparability(self, job: Job, target: None, advance: Progress) -> pa.Table:
        n_members = len(self.workload.cohort.members)
        try:
            judged = split_classifier_scores(
                _patients(self.workload.members, "tokens", chosen=_all_but_specials),
                _patients(self.workload.nonmembers, "tokens", chosen=_all_but_specials),
                n_codes=self.plan.target.vocabulary_size,
                rng=self.plan.rng_for("comparability"),
            )
        except InsufficientData:  # no halves to judge: the judge finds no scores and says so
            judged = SplitScores(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int64))
        return pa.table(
            {
                "patient": [
                    self._patient(True, i) if i < n_members else self._patient(False, i - n_members)
                    for i in judged.index.tolist()
                ],
                "member": pa.array(judged.is_member.tolist(), pa.bool_()),
                "score": pa.array(judged.scores.tolist(), pa.float32()),
            }
        )

    # --- with the model -------------------------------------------------------------------------

    def _rollouts(self, job: Job, target: TargetModel, advance: Progress) -> pa.Table:
        prompts = self.workload.prompts[job.digest]
        samples = int(job.inputs["samples"])
        drawn = target.rollout(
            [tokens for _, tokens in prompts],
            keys=[int.from_bytes(key[:8], "little") for key, _ in prompts],
            samples=samples,
            sampler=Sampler(
                temperature=job.inputs["temperature"],
                top_p=job.inputs["topP"],
                horizon_tokens=job.inputs["horizonTokens"],
                seed=job.inputs["seed"],
            ),
            progress=advance,
        )
        names = [self._prompt_name(key) for key, _ in prompts]
        flat = [tokens for rollouts in drawn for tokens in rollouts]
        ends = np.cumsum([0, *(len(tokens) for tokens in flat)]).astype(np.int32)
        values = np.concatenate(flat).astype(np.int32) if flat else np.empty(0, np.int32)
        return pa.table(
            {
                "prompt": pa.array(np.repeat(names, samples).tolist(), pa.string()),
                "sample": pa.array(np.tile(np.arange(samples, dtype=np.int32), len(prompts))),
                "tokens": pa.ListArray.from_arrays(pa.array(ends), pa.array(values)),
            }
        )

    def _scores(self, job: Job, target: TargetModel, advance: Progress) -> pa.Table:
        """Membership scores of whole records; a record of several windows is put together."""
        patients = self.workload.scored[job.digest]
        pieces: list[tuple[int, Tokens, int]] = []
        for number, (is_member, index) in enumerate(patients):
            record = self.workload.split(is_member)
            at = slice(record.offsets[index], record.offsets[index + 1])
            windows = record_windows(
                record.tokens[at],
                record.kind[at],
                max_length=self.workload.max_length,
                window=self.workload.window,
            )
            pieces += [(number, tokens, first) for tokens, first in windows if len(tokens) > 1]
        scored = target.score([tokens for _, tokens, _ in pieces], progress=advance)
        parts: list[list[TokenScores]] = [[] for _ in patients]
        for (number, _, first), result in zip(pieces, scored, strict=True):
            at = slice(first - 1, None)
            parts[number].append(TokenScores(result.logprob[at], result.mean[at], result.std[at]))
        k_percent = float(job.inputs["k"])
        kept = [i for i, found in enumerate(parts) if found]
        rows = [_record_scores(parts[i], k_percent=k_percent) for i in kept]
        return pa.table(
            {
                "patient": [self._patient(*patients[i]) for i in kept],
                "member": [patients[i][0] for i in kept],
                "subgroups": pa.array(
                    [self.workload.subgroups_of(*patients[i]) for i in kept],
                    pa.list_(pa.string()),
                ),
                "tokens": [row[0] for row in rows],
                "loss": pa.array([row[1] for row in rows], pa.float32()),
                "min-k": pa.array([row[2] for row in rows], pa.float32()),
                "min-k++": pa.array([row[3] for row in rows], pa.float32()),
            }
        )

    def _prompt_format(self, job: Job, target: TargetModel, advance: Progress) -> pa.Table:
        """Mean loss of members' event tokens under the declared format and its variants."""
        cohort = self.workload.cohort
        count = int(job.inputs["patients"])
        chosen = self.plan.rng_for("prompt-format").permutation(len(cohort.members))[:count]
        chosen.sort()
        variants = list(
            format_variants(
                cohort.members.select(chosen),
                cohort.codes,
                tokenizer=self.workload.tokenizer,
                bos_id=self.workload.bos_id,
                max_length=self.workload.max_length,
            )
        )
        usable = [i for i in range(count) if all(v.compared[i][1:].any() for v in variants)]
        columns: dict[str, list[Any]] = {"patient": [], "variant": [], "loss": []}
        for variant in variants:
            scored = target.score([variant.sequences[i] for i in usable], progress=advance)
            for i, result in zip(usable, scored, strict=True):
                loss = -float(result.logprob[variant.compared[i][1:]].mean())
                columns["patient"].append(self._patient(True, int(chosen[i])))
                columns["variant"].append(variant.name)
                columns["loss"].append(loss)
        types = {"patient": pa.string(), "variant": pa.string(), "loss": pa.float64()}
        return pa.table(columns, schema=pa.schema(list(types.items())))


def _events(split: TokenizedRecords) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = split.kind == KIND_EVENT
    return mask


def _all_but_specials(split: TokenizedRecords) -> NDArray[np.bool_]:
    """What prompts and scores can depend on: the static prefix and time tokens too."""
    mask: NDArray[np.bool_] = split.kind != KIND_SPECIAL
    return mask


def _patients(
    split: TokenizedRecords,
    column: Literal["tokens", "code"],
    *,
    chosen: Callable[[TokenizedRecords], NDArray[np.bool_]],
) -> list[NDArray[np.int32]]:
    """Return each patient's values of one column where the token is chosen, in order."""
    mask = chosen(split)
    row = np.repeat(np.arange(len(split)), np.diff(split.offsets))[mask]
    ends = np.cumsum(np.bincount(row, minlength=len(split)))
    return np.split(getattr(split, column)[mask], ends[:-1])


def _record_scores(
    parts: list[TokenScores], *, k_percent: float
) -> tuple[int, float, float, float]:
    """Put a record's windows together: tokens, loss, Min-K% and Min-K%++ scores."""
    logprob = np.concatenate([part.logprob for part in parts])
    mean = np.concatenate([part.mean for part in parts])
    std = np.concatenate([part.std for part in parts])
    return (
        len(logprob),
        scores.loss(logprob),
        scores.min_k(logprob, k_percent=k_percent),
        scores.min_k_plus_plus(logprob, mean, std, k_percent=k_percent),
    )
