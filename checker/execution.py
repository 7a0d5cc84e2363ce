"""How each kind of job becomes a table of observations.

Patients leave this module under pseudonyms only. Rows stand in the order of the cohort, so equal
inputs give equal tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, permutations
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.cohort import Records
from checker.comparability import (
    SplitScores,
    base_rate_scores,
    find_duplicates,
    split_classifier_scores,
)
from checker.errors import InsufficientData
from checker.evidence import Pseudonyms
from checker.plan.model import AuditPlan, Job
from checker.plan.workload import Workload, record_windows
from checker.prompts import Prompts
from checker.stats import scores
from checker.targets import Progress, Sampler, TargetModel, Tokens, TokenScores
from checker.tokenization import KIND_EVENT, KIND_SPECIAL, KIND_STATIC, TokenizedRecords

__all__ = ["Execution"]

PREFIX_VARIANTS = 5


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

    def _event_codes(self, split: TokenizedRecords) -> list[NDArray[np.int32]]:
        """Each patient's event codes, in order."""
        events = split.kind == KIND_EVENT
        row = np.repeat(np.arange(len(split.offsets) - 1), np.diff(split.offsets))[events]
        ends = np.cumsum(np.bincount(row, minlength=len(split.offsets) - 1))
        return np.split(split.code[events], ends[:-1])

    def _overlap(self, job: Job, target: None, advance: Progress) -> pa.Table:
        found = find_duplicates(
            self._event_codes(self.workload.members),
            self._event_codes(self.workload.nonmembers),
            rng=self.plan.rng_for("overlap"),
        )
        return pa.table(
            {
                "exact": [found.exact],
                "near": [found.near],
                "members": [len(self.workload.cohort.members)],
                "nonmembers": [len(self.workload.cohort.nonmembers)],
            }
        )

    def _comparability(self, job: Job, target: None, advance: Progress) -> pa.Table:
        n_members = len(self.workload.cohort.members)
        try:
            judged = split_classifier_scores(
                self._event_codes(self.workload.members),
                self._event_codes(self.workload.nonmembers),
                n_codes=len(self.workload.cohort.codes),
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
        records = cohort.members.select(chosen)
        columns: dict[str, list[Any]] = {"patient": [], "variant": [], "loss": []}
        variants = dict(self._format_variants(records))
        usable = [
            i for i in range(len(chosen)) if all(mask[i].any() for _, mask in variants.values())
        ]
        for name, (sequences, masks) in variants.items():
            scored = target.score([sequences[i] for i in usable], progress=advance)
            for i, result in zip(usable, scored, strict=True):
                columns["patient"].append(self._patient(True, int(chosen[i])))
                columns["variant"].append(name)
                columns["loss"].append(-float(result.logprob[masks[i][1:]].mean()))
        return pa.table(columns)

    def _format_variants(
        self, records: Records
    ) -> Iterator[tuple[str, tuple[list[Tokens], list[NDArray[np.bool_]]]]]:
        """Yield each format's sequences, with the event tokens to compare them on."""
        tokenizer, codes = self.workload.tokenizer, self.workload.cohort.codes
        declared = tokenizer.encode(records, codes, partial=True)
        yield "declared", self._sequences(declared)
        yield "events reversed", self._sequences(declared, reverse=True)
        if len(declared.kind) and declared.kind[0] == KIND_SPECIAL:
            yield "no BOS", self._sequences(declared, bos=None)
        elif self.workload.bos_id is not None:
            yield "BOS added", self._sequences(declared, bos=self.workload.bos_id)
        fields = tokenizer.field_names
        others = (order for order in permutations(fields) if order != fields)
        for order in islice(others, PREFIX_VARIANTS):
            variant = tokenizer.variant(prefix_order=list(order))
            yield f"order {', '.join(order)}", self._sequences(variant.encode(records, codes))
        if "age" in fields:
            for shift in (-1, 1):
                variant = tokenizer.variant(age_shift=shift)
                yield f"age {shift:+d}", self._sequences(variant.encode(records, codes))

    def _sequences(
        self, split: TokenizedRecords, *, bos: int | None = -1, reverse: bool = False
    ) -> tuple[list[Tokens], list[NDArray[np.bool_]]]:
        """Return token sequences, and which of their tokens are compared.

        Args:
            split: the records.
            bos: an id to put in front, None to take BOS away, -1 to leave it as it is.
            reverse: turn the order of the events around.
        """
        sequences, masks = [], []
        for i in range(len(split.offsets) - 1):
            at = slice(split.offsets[i], split.offsets[i + 1])
            tokens, kind = split.tokens[at], split.kind[at]
            compared = kind == KIND_EVENT
            # the first event and, turned around, the last may have nothing before them to be
            # predicted from: no variant is compared on either
            compared[np.flatnonzero(compared)[[0, -1]] if compared.any() else []] = False
            if reverse:
                streamed = (kind != KIND_SPECIAL) & (kind != KIND_STATIC)
                order = np.arange(len(tokens))
                order[streamed] = order[streamed][::-1]
                tokens, compared = tokens[order], compared[order]
            if bos is None and len(kind) and kind[0] == KIND_SPECIAL:
                tokens, compared = tokens[1:], compared[1:]
            elif bos is not None and bos >= 0:
                tokens = np.concatenate([np.array([bos], dtype=np.int32), tokens])
                compared = np.concatenate([[False], compared])
            sequences.append(tokens[: self.workload.max_length])
            masks.append(compared[: self.workload.max_length])
        return sequences, masks


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
