"""Compile a policy, a target and its cohort into cells and de-duplicated jobs.

A control becomes a cell for each attacker its limits name and each subgroup. Cells are lowered to
jobs: prompts needed by several cells are run once, whoever needs them. A class's prompts that no
earlier class needed form jobs of their own, in the order of the policy, so that a class appended to
a policy leaves all earlier jobs, and their evidence, as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checker.canonical import digest
from checker.cohort import Cohort
from checker.errors import DataError
from checker.plan.cells import control_cell
from checker.plan.classes import ClassRanks, match_classes
from checker.plan.measurement import codes_of, knowledge_of
from checker.plan.model import (
    AuditPlan,
    Cell,
    CellSample,
    Cost,
    Job,
)
from checker.plan.power import comparability_power
from checker.plan.snapshots import (
    class_snapshots,
    data_snapshot,
    policy_snapshot,
    target_snapshot,
)
from checker.plan.subgroups import Slice, slices
from checker.plan.workload import LabelSet, Workload, scored_tokens
from checker.policy import Located, ResolvedAttacker, check_pair, resolve_attacker
from checker.policy.documents import AuditTarget, ControlSpec, LeakagePolicy
from checker.probes import Params, load_probe
from checker.prompts import Prompts, build_prompts, prompt_key
from checker.targets import TargetDescription, Tokens
from checker.tokenization import TokenizedRecords, Tokenizer

__all__ = ["FORMAT_PATIENTS", "CompiledAudit", "compile_plan"]

METHOD = 1
"""Part of every job's digest; raised when a job of equal inputs comes to mean something else, so
that evidence of an older phigate is not taken for its own."""

PROMPTS_A_JOB = 256
RECORDS_A_JOB = 1024
FORMAT_PATIENTS = 100


@dataclass(frozen=True, slots=True)
class CompiledAudit:
    """A plan, and the patients behind its jobs."""

    plan: AuditPlan
    workload: Workload


@dataclass(frozen=True, slots=True)
class _Draft:
    """A cell before its jobs are known."""

    control_name: str
    control: ControlSpec
    attacker: ResolvedAttacker
    piece: Slice
    params: Params
    labels: str | None


def compile_plan(
    policy: Located[LeakagePolicy],
    target: Located[AuditTarget],
    *,
    cohort: Cohort,
    tokenizer: Tokenizer,
    description: TargetDescription,
) -> CompiledAudit:
    """Compile an audit plan; no model is loaded.

    Args:
        policy: validated, with its lines.
        target: validated, with its lines.
        cohort: members and nonmembers.
        tokenizer: of the target.
        description: what the model is and can do.

    Returns:
        The plan and the work behind it. Equal inputs give equal plans, to the byte.

    Raises:
        DocumentError: the policy asks for something the target does not define, or a class matches
            nothing in the data or in the vocabulary.
        DataError: prompts do not fit the model.
    """
    check_pair(policy, target)
    compiler = _Compiler(policy, target, cohort, tokenizer, description)
    return compiler.compile()


@dataclass
class _Compiler:
    policy: Located[LeakagePolicy]
    target: Located[AuditTarget]
    cohort: Cohort
    tokenizer: Tokenizer
    description: TargetDescription
    members: TokenizedRecords = field(init=False)
    nonmembers: TokenizedRecords = field(init=False)
    ranks: dict[str, ClassRanks] = field(init=False)
    jobs: dict[str, Job] = field(default_factory=dict)
    label_sets: dict[str, LabelSet] = field(default_factory=dict)
    prompt_jobs: dict[str, list[tuple[bytes, Tokens]]] = field(default_factory=dict)
    prompt_home: dict[tuple[str, bytes], str] = field(default_factory=dict)
    scored: dict[str, list[tuple[bool, int]]] = field(default_factory=dict)
    slices: dict[str, Slice] = field(default_factory=dict)
    unshared_rollout_tokens: int = 0

    def __post_init__(self) -> None:
        self.members = self.tokenizer.encode(self.cohort.members, self.cohort.codes)
        self.nonmembers = self.tokenizer.encode(self.cohort.nonmembers, self.cohort.codes)
        self.ranks = match_classes(
            self.policy, self.target, cohort=self.cohort, tokenizer=self.tokenizer
        )

    @property
    def seed(self) -> int:
        return self.policy.document.spec.parameters.seed

    @property
    def max_length(self) -> int | None:
        limits = [
            length
            for length in (
                self.target.document.spec.tokenization.max_length,
                self.description.context_length,
            )
            if length is not None
        ]
        return min(limits) if limits else None

    # --- cells ----------------------------------------------------------------------------------

    def compile(self) -> CompiledAudit:
        for control in self.policy.document.spec.controls.values():
            self._find_slices(control)  # all of them first: labels and scores record every slice
        drafts = list(self._drafts())
        self._admissibility_jobs()
        cells = [self._cell(draft) for draft in drafts]
        jobs = list(self.jobs.values())
        plan = AuditPlan(
            policy=policy_snapshot(self.policy),
            target=target_snapshot(
                self.target, self.description, vocabulary=self.tokenizer.vocabulary
            ),
            data=data_snapshot(
                self.cohort,
                self.members,
                self.nonmembers,
                tokenizer=self.tokenizer,
                vocabulary_size=self.description.vocabulary_size,
                max_length=self.max_length,
                window=self.target.document.spec.tokenization.window,
            ),
            classes=class_snapshots(self.policy.document.spec, self.ranks),
            cells=cells,
            jobs=jobs,
            comparability=comparability_power(
                len(self.cohort.members),
                len(self.cohort.nonmembers),
                tolerance=self.policy.document.spec.parameters.admissibility_tolerance,
                confidence=self.policy.document.spec.parameters.confidence,
            ),
            cost=Cost(
                forward_tokens=sum(job.forward_tokens for job in jobs),
                rollout_tokens=sum(job.rollout_tokens for job in jobs),
                rollout_tokens_unshared=self.unshared_rollout_tokens,
            ),
            seed=self.seed,
            confidence=self.policy.document.spec.parameters.confidence,
        )
        workload = Workload(
            cohort=self.cohort,
            tokenizer=self.tokenizer,
            members=self.members,
            nonmembers=self.nonmembers,
            slices=self.slices,
            labels=self.label_sets,
            prompts=self.prompt_jobs,
            scored=self.scored,
            max_length=self.max_length,
            window=self.target.document.spec.tokenization.window,
            bos_id=self._known_bos(),
        )
        return CompiledAudit(plan, workload)

    def _drafts(self) -> Iterator[_Draft]:
        """Expand controls to cells, in the policy's order, and prepare their label sets."""
        spec = self.policy.document.spec
        for name, control in spec.controls.items():
            probe = load_probe(control.probe)
            params = probe.params_type.model_validate(control.params)
            for attacker_name in control.limits:
                attacker = resolve_attacker(spec, attacker_name)
                labels = None
                if control.attribute_class is not None:
                    labels = self._label_set(
                        control.attribute_class,
                        attacker,
                        horizon_tokens=params.horizon_tokens,
                        everybody=probe.metrics[control.metric].family
                        in {"auroc", "auroc-difference"},
                    )
                for piece in self._find_slices(control):
                    yield _Draft(name, control, attacker, piece, params, labels)

    def _find_slices(self, control: ControlSpec) -> list[Slice]:
        found = [
            piece
            for subgroup in control.subgroups
            for piece in slices(
                subgroup, cohort=self.cohort, members=self.members, nonmembers=self.nonmembers
            )
        ]
        self.slices |= {piece.name: piece for piece in found}
        return found

    def _cell(self, draft: _Draft) -> Cell:
        access = load_probe(draft.control.probe).access
        capable = access in self.description.capabilities
        return control_cell(
            self.policy.document.spec,
            draft.control_name,
            draft.attacker,
            draft.piece.name,
            draft.params,
            sample=self._sample(draft),
            missing_capability=None if capable else access,
            labels=draft.labels if capable else None,
            jobs=self._jobs_of(draft) if capable else [],
        )

    def _sample(self, draft: _Draft) -> CellSample:
        if draft.labels is None:
            return CellSample(
                members=int(draft.piece.members.sum()),
                nonmembers=int(draft.piece.nonmembers.sum()),
            )
        labels = self.label_sets[draft.labels]
        inside = labels.members.eligible & draft.piece.members
        outside = labels.nonmembers.eligible & draft.piece.nonmembers
        shares = [
            len(set(keys)) / len(keys)
            for keys in (
                _keys_at(labels.member_keys, inside),
                _keys_at(labels.nonmember_keys, outside),
            )
            if keys
        ]
        return CellSample(
            members=int(inside.sum()),
            nonmembers=int(outside.sum()),
            members_positive=int((labels.members.positive & draft.piece.members).sum()),
            nonmembers_positive=int((labels.nonmembers.positive & draft.piece.nonmembers).sum()),
            members_negative=int(_negatives(labels.members, draft.piece.members).sum()),
            nonmembers_negative=int(_negatives(labels.nonmembers, draft.piece.nonmembers).sum()),
            distinct_prompt_share=min(shares, default=None),
        )

    # --- jobs -----------------------------------------------------------------------------------

    def _add(self, job: Job) -> str:
        self.jobs.setdefault(job.digest, job)
        return job.digest

    def _job(self, kind: str, title: str, inputs: dict[str, Any], **cost: int) -> Job:
        inputs = {"kind": kind, "method": METHOD, **inputs}
        return Job.model_validate(
            {"digest": digest(inputs), "kind": kind, "title": title, "inputs": inputs, **cost}
        )

    def _data_inputs(self) -> dict[str, Any]:
        """Everything a patient's tokens depend on."""
        spec = self.target.document.spec
        return {
            "data": self.cohort.sha256,
            "members": spec.data.members,
            "nonmembers": spec.data.nonmembers,
            "tokenization": self.tokenizer.sha256,
            "maxLength": self.max_length,
        }

    def _model_inputs(self) -> dict[str, Any]:
        """Everything a model's numbers depend on, as far as the target's author decides it."""
        spec = self.target.document.spec
        return {
            "model": self.description.sha256,
            "eos": self._special(spec.tokenization.specials.eos),
            "pad": self._special(spec.tokenization.specials.pad),
            **spec.model.model_dump(mode="json", include={"device", "dtype", "trust_remote_code"}),
        }

    def _special(self, token: str | None) -> int | None:
        return None if token is None else self.tokenizer.vocabulary.ids[token]

    def _label_set(
        self,
        class_name: str,
        attacker: ResolvedAttacker,
        *,
        horizon_tokens: int,
        everybody: bool,
    ) -> str:
        """Build the prompts of one class and attacker, and the job that records who is who."""
        spec = self.policy.document.spec
        job = self._job(
            "labels",
            f"who has {class_name}, and what {attacker.name} knows",
            {
                **self._data_inputs(),
                "codes": codes_of(spec.attribute_classes[class_name]),
                "removed": np.flatnonzero(self.ranks[class_name].removed).tolist(),
                "watch": self.ranks[class_name].watch,
                "codeSystems": [
                    s.model_dump(mode="json") for s in self.target.document.spec.code_systems
                ],
                "attacker": knowledge_of(attacker),
                "horizonTokens": horizon_tokens,
                "everybody": everybody,
                "subgroups": sorted(self.slices),
                "seed": self.seed,
            },
        )
        if job.digest not in self.label_sets:
            ranks = self.ranks[class_name]
            members, nonmembers = (
                build_prompts(
                    split,
                    attacker,
                    fields=self.tokenizer.field_names,
                    removed=ranks.removed,
                    counted=ranks.counted,
                    watch=np.array(ranks.watch, dtype=np.int32),
                    horizon_tokens=horizon_tokens,
                )
                for split in (self.members, self.nonmembers)
            )
            self._refuse_long_prompts(attacker, (members, nonmembers), horizon_tokens)
            self.label_sets[job.digest] = LabelSet(
                members,
                nonmembers,
                _keys(members, everybody=everybody),
                _keys(nonmembers, everybody=everybody),
            )
        return self._add(job)

    def _refuse_long_prompts(
        self, attacker: ResolvedAttacker, prompts: tuple[Prompts, Prompts], horizon_tokens: int
    ) -> None:
        if self.max_length is None:
            return
        lengths = np.concatenate([p.lengths[p.promptable] for p in prompts])
        too_long = int((lengths + horizon_tokens > self.max_length).sum())
        if too_long:
            raise DataError(
                f"attacker '{attacker.name}': the prompts of {too_long} patients are up to"
                f" {int(lengths.max())} tokens long; with a horizon of {horizon_tokens} they exceed"
                f" the model's {self.max_length}. Lower `knows.events` or `horizonTokens`"
            )

    def _jobs_of(self, draft: _Draft) -> list[str]:
        if draft.labels is None:
            return self._score_jobs(draft)
        return self._rollout_jobs(draft)

    def _rollout_jobs(self, draft: _Draft) -> list[str]:
        """Return the jobs that hold a cell's prompts, adding those that no earlier cell needed."""
        assert draft.labels is not None
        labels = self.label_sets[draft.labels]
        params = draft.params.model_dump(mode="json")
        settings = {
            name: params[name] for name in ("samples", "horizonTokens", "temperature", "topP")
        }
        group = digest(settings)
        needed: dict[bytes, Tokens] = {}
        for prompts, keys in (
            (labels.members, labels.member_keys),
            (labels.nonmembers, labels.nonmember_keys),
        ):
            needed |= {key: prompts.prompt(i) for i, key in enumerate(keys) if key is not None}
        each = settings["samples"] * settings["horizonTokens"]
        self.unshared_rollout_tokens += each * sum(
            key is not None for key in (*labels.member_keys, *labels.nonmember_keys)
        )
        fresh = sorted(key for key in needed if (group, key) not in self.prompt_home)
        for start in range(0, len(fresh), PROMPTS_A_JOB):
            chunk = fresh[start : start + PROMPTS_A_JOB]
            job = self._job(
                "rollouts",
                f"continuations for {draft.attacker.name}",
                {
                    **self._model_inputs(),
                    "prompts": digest([key.hex() for key in chunk]),
                    "count": len(chunk),
                    **settings,
                    "seed": self.seed,
                },
                forward_tokens=sum(len(needed[key]) for key in chunk),
                rollout_tokens=each * len(chunk),
            )
            self._add(job)
            self.prompt_jobs[job.digest] = [(key, needed[key]) for key in chunk]
            self.prompt_home |= {(group, key): job.digest for key in chunk}
        return list(dict.fromkeys(self.prompt_home[group, key] for key in sorted(needed)))

    def _score_jobs(self, draft: _Draft) -> list[str]:
        """Return the jobs that score everybody's whole record."""
        params = draft.params.model_dump(mode="json")
        everybody = [(True, i) for i in range(len(self.cohort.members))]
        everybody += [(False, i) for i in range(len(self.cohort.nonmembers))]
        lengths = {
            is_member: scored_tokens(
                records,
                max_length=self.max_length,
                window=self.target.document.spec.tokenization.window,
            )
            for is_member, records in ((True, self.members), (False, self.nonmembers))
        }
        digests = []
        for start in range(0, len(everybody), RECORDS_A_JOB):
            chunk = everybody[start : start + RECORDS_A_JOB]
            job = self._job(
                "scores",
                f"token log-probabilities of records {start + 1}–{start + len(chunk)}",
                {
                    **self._data_inputs(),
                    **self._model_inputs(),
                    "first": start,
                    "count": len(chunk),
                    "k": params["k"],
                    "subgroups": sorted(self.slices),
                },
                forward_tokens=int(sum(lengths[is_member][i] for is_member, i in chunk)),
            )
            digests.append(self._add(job))
            self.scored[job.digest] = chunk
        return digests

    def _admissibility_jobs(self) -> None:
        """Add what excess and membership rest on: comparable splits and the right prompt format."""
        inputs = {**self._data_inputs(), "seed": self.seed}
        self._add(self._job("overlap", "patients and records in both splits", inputs))
        self._add(
            self._job("comparability", "can the splits be told apart without a model", inputs)
        )
        if "logprobs" in self.description.capabilities:
            lengths = scored_tokens(self.members, max_length=self.max_length, window="first")
            patients = min(FORMAT_PATIENTS, len(lengths))
            self._add(
                self._job(
                    "prompt-format",
                    "is the declared prompt format the one the model was trained on",
                    {**inputs, **self._model_inputs(), "patients": patients},
                    forward_tokens=int(lengths.mean() * patients * 6),
                )
            )

    def _known_bos(self) -> int | None:
        """BOS as the model's configuration names it; defaults name ids that no token has."""
        bos = self.description.bos_token_id
        return bos if bos is not None and 0 <= bos < self.description.vocabulary_size else None


def _keys(prompts: Prompts, *, everybody: bool) -> list[bytes | None]:
    needed = prompts.promptable if everybody else prompts.eligible
    return [prompt_key(prompts.prompt(i)) if needed[i] else None for i in range(len(prompts))]


def _negatives(prompts: Prompts, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return prompts.promptable & ~prompts.positive & chosen


def _keys_at(keys: list[bytes | None], mask: NDArray[np.bool_]) -> list[bytes]:
    return [key for i in np.flatnonzero(mask) if (key := keys[i]) is not None]
