"""Jobs: the units of work that cells are judged from, each named by all that it depends on.

A `PlanBuilder` collects them while a plan is compiled. Asking twice for the same work gives the
same job, so what several cells need is run once; which prompts share a job `sharing` decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from checker.attacks.api import version_of_kind
from checker.canonical import digest
from checker.planning.classes import ClassRanks, pool_watch
from checker.planning.drawn import Chosen, Draw, LabelKey
from checker.planning.identity import class_identity, identity
from checker.planning.lots import SHARE, drawn_share
from checker.planning.model import Job
from checker.planning.sharing import PromptAllocation, RolloutSettings
from checker.planning.subgroups import Slice
from checker.planning.workload import LabelSet, PromptRecipe, SplitLabels, scored_tokens
from checker.plugins import backend_version
from checker.policy import Located, ResolvedAttacker
from checker.policy.documents import AuditTarget, LeakagePolicy
from checker.records.cohort import Cohort
from checker.records.other_descriptions import BEGINNING, TELLINGS_ABOUT
from checker.records.prompt_format import variants_at_most
from checker.records.prompts import ClassPlaces, PromptSource, prompt_key
from checker.records.prompts.shared import sharers
from checker.records.prompts.windows import Window
from checker.records.sample import SampledPatients
from checker.records.tokenization import TokenizedRecords, Tokenizer
from checker.targets import TargetDescription, Tokens

METHOD = 11
"""Part of every job's digest; raised when a job of equal inputs comes to mean something else, so
that evidence of an older phigate is not taken for its own."""

PROMPTS_A_JOB = 256
PROMPTS_A_BATCH = 32
"""Prompts of a job where a cell may stop early: what is decided is decided between jobs."""

RECORDS_A_JOB = 1024
FORMAT_PATIENTS = 100
TOLD_PATIENTS = 50

Who = Literal["target", "reference"]


@dataclass
class PlanBuilder:
    """Collects the jobs of a plan, and the patients behind them.

    Args:
        policy, target: validated.
        cohort: everybody who was drawn, those of the lot first.
        tokenizer: of the target.
        draw: who they are.
        descriptions: of the model under audit and, where there is one, of the reference model.
        members, nonmembers, spare: the lot as tokens, who stand for everybody.
        asked: everybody who was drawn as tokens, members under True.
        ranks: the attribute classes in use.
        slices: the subgroups in use, by name; complete before the first label set is made.
        score_percents: every k that a membership score is asked for, in percent; complete before
            the first record is scored, so that one pass serves all.
        curtailed: by the digest of how is drawn, by which uses prompts may be left unfinished.
        watched: by `RolloutSettings.alike`, the classes whose compensators are wanted.
        threshold_tests: by the same, class and attacker, how is drawn where it is asked on which
            side of a threshold q lies, and q is estimated.
    """

    policy: Located[LeakagePolicy]
    target: Located[AuditTarget]
    cohort: Cohort
    tokenizer: Tokenizer
    descriptions: Mapping[Who, TargetDescription]
    members: TokenizedRecords
    nonmembers: TokenizedRecords
    spare: TokenizedRecords
    asked: Mapping[bool, TokenizedRecords]
    draw: Draw
    ranks: dict[str, ClassRanks]
    slices: dict[str, Slice]
    score_percents: tuple[float, ...] = ()
    curtailed: Mapping[str, Any] = field(default_factory=dict)
    watched: Mapping[str, list[list[int]]] = field(default_factory=dict)
    threshold_tests: Mapping[tuple[str, str, str], RolloutSettings] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    label_sets: dict[str, LabelSet] = field(default_factory=dict)
    prompt_jobs: dict[str, list[tuple[bytes, Tokens]]] = field(default_factory=dict)
    scored: dict[str, list[tuple[bool, int]]] = field(default_factory=dict)
    job_inputs: dict[str, Any] = field(default_factory=dict)
    _allocation: PromptAllocation = field(default_factory=PromptAllocation)
    _standings: dict[tuple[str | None, bool], ClassPlaces] = field(default_factory=dict)
    _pooled: dict[tuple[str | None, bool], NDArray[np.int64]] = field(default_factory=dict)
    _drawn: dict[str, dict[bool, NDArray[np.bool_]]] = field(default_factory=dict)

    @cached_property
    def sources(self) -> dict[bool, PromptSource]:
        """The patients as prompts see them, members under True."""
        return {
            is_member: PromptSource(
                tokens,
                subject_id=patients.subject_id,
                codes=self.cohort.codes,
                tokenizer=self.tokenizer,
                seed=self.seed,
                max_length=self.max_length,
                window=self.window,
            )
            for is_member, tokens, patients in (
                (True, self.asked[True], self.cohort.members),
                (False, self.asked[False], self.cohort.nonmembers),
            )
        }

    @property
    def seed(self) -> int:
        """Of all sampling."""
        return self.policy.document.spec.parameters.seed

    @property
    def window(self) -> Window:
        """Which part of a record longer than the context the model was trained on."""
        return self.target.document.spec.tokenization.window

    @property
    def max_length(self) -> int | None:
        """Most tokens of a sequence, or None where nothing bounds it."""
        return longest_sequence(self.target, self.descriptions)

    def lacks(self, capability: str, *, who: Who = "target") -> str | None:
        """Return what a model lacks to do a job, in the words of a report, or None."""
        description = self.descriptions.get(who)
        if description is None:
            return "reference model"
        if capability in description.capabilities:
            return None
        return capability if who == "target" else f"{capability} of the reference model"

    # --- making jobs ----------------------------------------------------------------------------

    def add(self, job: Job) -> str:
        """Keep a job, once, and return its digest."""
        self.jobs.setdefault(job.digest, job)
        return job.digest

    def job(
        self,
        kind: str,
        title: str,
        inputs: dict[str, Any],
        *,
        runs_on: str,
        needs: Iterable[str] = (),
        **cost: int,
    ) -> Job:
        """Return a job named by the digest of its kind and inputs, those it needs among them.

        Args:
            kind: a shared one (`checker.kinds`), or one of an attack's own.
            title: in words, for progress and reports.
            inputs: everything its observations depend on, but the device, `needs`, and the version
                of the plug-in that runs it.
            runs_on: as in `Job`.
            needs: digests of the jobs whose evidence it reads.
            cost: `forward_tokens`, `rollout_tokens` and `training_tokens`.
        """
        needed = list(needs)
        inputs = {"kind": kind, "method": METHOD, **inputs}
        plugin = version_of_kind(kind)
        if plugin is not None:
            inputs["plugin"] = plugin
        if needed:
            inputs["needs"] = needed
        return Job.model_validate(
            {
                "digest": digest(inputs),
                "kind": kind,
                "title": title,
                "inputs": inputs,
                "runs_on": runs_on,
                "needs": needed,
                **cost,
            }
        )

    def data_inputs(self) -> dict[str, Any]:
        """Return everything the tokens of the lot depend on, and who they are."""
        return {**self._token_inputs(), **self.draw.lot_inputs()}

    def _token_inputs(self) -> dict[str, Any]:
        """Return everything a patient's tokens depend on."""
        spec = self.target.document.spec
        return {
            "data": self.cohort.sha256,
            "splits": identity(spec.data),
            "tokenization": self.tokenizer.sha256,
            "maxLength": self.max_length,
        }

    def model_inputs(self, who: Who = "target") -> dict[str, Any]:
        """Return everything a model's numbers depend on, as far as the target's author decides."""
        spec = self.target.document.spec
        model = spec.model if who == "target" else spec.reference
        assert model is not None  # callers ask `lacks` first
        specials = spec.tokenization.specials
        inputs = {
            "model": self.descriptions[who].sha256,
            "eos": self._special(specials.eos),
            "pad": self._special(specials.pad),
            "loaded": identity(model),
        }
        code, options = self.descriptions[who].code, self.descriptions[who].options
        inputs |= {} if code is None else {"code": code}
        inputs |= {"options": options} if options else {}
        backend = backend_version(model.backend)
        return inputs if backend is None else {**inputs, "backend": backend}

    def _special(self, token: str | None) -> int | None:
        return None if token is None else self.tokenizer.vocabulary.ids[token]

    def known_bos(self) -> int | None:
        """Return BOS as the model's configuration names it; defaults name ids no token has."""
        description = self.descriptions["target"]
        bos = description.bos_token_id
        return bos if bos is not None and 0 <= bos < description.vocabulary_size else None

    def drawn(self, purpose: str, *, share: float = SHARE) -> dict[bool, NDArray[np.bool_]]:
        """Return who of each split is drawn, by the policy's seed alone; members under True."""
        if purpose not in self._drawn:
            self._drawn[purpose] = {
                is_member: drawn_share(records, seed=self.seed, purpose=purpose, share=share)
                for is_member, records in ((True, self.members), (False, self.nonmembers))
            }
        return self._drawn[purpose]

    def of_lot(self, piece: Slice) -> Slice:
        """Return those of a subgroup who stand for everybody."""
        inside, outside = len(self.members), len(self.nonmembers)
        return Slice(piece.name, piece.members[:inside], piece.nonmembers[:outside])

    # --- labels ---------------------------------------------------------------------------------

    def class_labels(
        self, class_name: str, attacker: ResolvedAttacker, *, horizon_tokens: int, everybody: bool
    ) -> str:
        """Return the job that says who has a class, and what an attacker's prompts are.

        Args:
            class_name: of the policy; its codes leave the prompts.
            attacker: what is known.
            horizon_tokens: how far behind the cut a code counts as within reach.
            everybody: run the prompts of patients without the class too.
        """
        ranks = self.ranks[class_name]
        spec = self.policy.document.spec
        return self._labels(
            f"who has {class_name}, and what {attacker.name} knows",
            {
                "codes": class_identity(spec, class_name),
                "removed": np.flatnonzero(ranks.removed).tolist(),
                "counted": np.flatnonzero(ranks.counted).tolist(),
                "watch": ranks.watch,
                "codeSystems": identity(self.target.document.spec.code_systems),
                "horizonTokens": horizon_tokens,
                "everybody": everybody,
                # what makes a hit for whom is read by the names of a pool's classes
                **({"parts": _watched(ranks.parts)} if ranks.parts else {}),
            },
            PromptRecipe.of_class(ranks, attacker, horizon_tokens=horizon_tokens),
            everybody=everybody,
            class_name=class_name,
        )

    def record_labels(
        self,
        attacker: ResolvedAttacker,
        *,
        horizon_tokens: int,
        min_tokens: int,
        of_all: bool = False,
    ) -> str:
        """Return the job that says who has a continuation, whatever it holds.

        Nothing is removed from the prompts; eligible is who has at least `min_tokens` behind them.
        With `of_all` everybody who stands for all is asked, though others ask fewer of the like.
        """
        return self._labels(
            f"what follows what {attacker.name} knows",
            {"codes": None, "horizonTokens": horizon_tokens, "minTokens": min_tokens},
            PromptRecipe.of_records(
                attacker,
                n_codes=len(self.cohort.codes),
                horizon_tokens=horizon_tokens,
                min_tokens=min_tokens,
            ),
            everybody=False,
            class_name=None,
            of_all=of_all,
        )

    def _labels(
        self,
        title: str,
        inputs: dict[str, Any],
        recipe: PromptRecipe,
        *,
        everybody: bool,
        class_name: str | None,
        of_all: bool = False,
    ) -> str:
        least = None if of_all else recipe.min_tokens  # so that no cell's draw is its own
        key = LabelKey(class_name, recipe.attacker.name, recipe.horizon_tokens, least)
        job = self.job(
            "labels",
            title,
            {
                **self.data_inputs(),
                **inputs,
                **({} if everybody else self.draw.asked_inputs(key)),
                **({"rows": "every member"} if self.draw.every_member else {}),
                "attacker": identity(recipe.attacker),
                "window": self.window,
                "subgroups": sorted(self.slices),
                "seed": self.seed,
            },
            runs_on="cohort",
        )
        if job.digest not in self.label_sets:
            members, nonmembers = (
                self._labelled(recipe, is_member, key, everybody=everybody)
                for is_member in (True, False)
            )
            self.label_sets[job.digest] = LabelSet(members, nonmembers, recipe)
        return self.add(job)

    def _labelled(
        self, recipe: PromptRecipe, is_member: bool, key: LabelKey, *, everybody: bool
    ) -> SplitLabels:
        """Label the patients of one split, and keep the prompts that will be run."""
        source, class_name = self.sources[is_member], key.class_name
        standing = self._standings.get((class_name, is_member))
        if standing is None:
            standing = ClassPlaces.of(source, counted=recipe.counted, watch=recipe.watch)
            self._standings[class_name, is_member] = standing
        chosen = self.draw.chosen(key, is_member, positive=standing.positive, everybody=everybody)
        if chosen is not None:
            standing = standing.among(source, chosen.asked)
        prompts = recipe.build(source, everybody=everybody, standing=standing)
        if chosen is not None:
            prompts = prompts.among(chosen.asked)
        run = prompts.promptable if everybody else prompts.eligible
        length = np.where(run, prompts.lengths, 0)
        keys: list[bytes | None] = [None] * len(prompts)
        for i in np.flatnonzero(run).tolist():
            tokens = prompts.prompt(i)
            keys[i] = self._allocation.keep(prompt_key(tokens), tokens)
        return SplitLabels(
            positive=prompts.positive,
            eligible=prompts.eligible,
            promptable=prompts.promptable,
            too_long=prompts.too_long,
            behind=prompts.behind,
            length=length,
            keys=keys,
            holds=np.where(prompts.positive, self._holds(class_name, is_member), 0)
            if recipe.parts
            else None,
            drawn=None if chosen is None else chosen.share,
            shared=None if chosen is None else _shared(chosen, keys),
        )

    def _holds(self, class_name: str | None, is_member: bool) -> NDArray[np.int64]:
        """Return which classes of a pool each patient has: a bit each, in the names' order."""
        found = self._pooled.get((class_name, is_member))
        if found is None:
            source = self.sources[is_member]
            found = np.zeros(len(source.records), dtype=np.int64)
            for bit, part in enumerate(self.ranks[str(class_name)].parts.values()):
                nothing = np.empty(0, dtype=np.int32)
                standing = ClassPlaces.of(source, counted=part.counted, watch=nothing)
                found |= standing.positive.astype(np.int64) << bit
            self._pooled[class_name, is_member] = found
        return found

    def watch_sets(self, class_name: str) -> list[list[int]]:
        """Return what makes a hit for some patient: the class's tokens, or those of his classes.

        Args:
            class_name: of the policy; of a pool, each patient is asked for the classes he has.

        Returns:
            Token ids of each set, ascending; one set where the class is no pool.
        """
        ranks = self.ranks[class_name]
        if not ranks.parts:
            return [ranks.watch]
        held = np.unique(np.concatenate([self._holds(class_name, side) for side in (True, False)]))
        return [pool_watch(ranks.parts, held_by) for held_by in held.tolist() if held_by]

    # --- what the model is asked ----------------------------------------------------------------

    def rollouts(
        self, labels: str, settings: RolloutSettings, *, attacker: str, who: Who = "target"
    ) -> list[str]:
        """Return the jobs that hold the prompts of a label set, adding what no job draws yet.

        Where cells may stop early, classes share no batches: what an earlier class has drawn are
        patients who have that class too, and no random sample of a later one's. Curtailed prompts
        have as many samples as their own uses need, so none are left over for others. Those that
        are drawn until a test decides leave the first to others, and are read from jobs that draw
        all anyway.
        """
        uses = self.curtailed.get(digest(settings.inputs()))
        if self.lacks("masses", who=who) is None:
            settings = replace(settings, watch=self.watched.get(settings.alike()))
        if uses is not None:
            settings = replace(settings, curtailed={"uses": uses})
        alone = uses is not None or self.is_sequential
        drawn = settings.inputs()
        test = drawn.pop("thresholdTest", None)
        if not alone:
            del drawn["samples"]
        if self.is_sequential:
            drawn["labels"] = labels
        whole = group = digest({"who": who, **drawn})
        needed = self._prompts_of(labels)
        read: list[str] = []
        if test is not None:
            group = digest({"who": who, **drawn, "samples": settings.samples, "test": test})
            read, needed = self._allocation.found(whole, needed, samples=settings.samples)
        by_whom = "" if who == "target" else " (reference model)"
        for chunk in self._fresh(
            group,
            labels,
            samples=settings.samples,
            a_job=PROMPTS_A_BATCH if self.is_sequential else PROMPTS_A_JOB,
        ):
            job = self._ask(
                "rollouts",
                f"continuations for {attacker}{by_whom}",
                chunk,
                {**settings.inputs(), "seed": self.seed, "maxLength": self.max_length},
                who=who,
                rollout_tokens=settings.tokens * len(chunk),
            )
            self._allocation.put(group, chunk, samples=settings.samples, job=job)
            if test is not None and not alone:
                self._allocation.put(whole, chunk, samples=test["first"], job=job)
        own = self._allocation.homes(group, needed, samples=settings.samples)
        return [job for job in self.jobs if job in {*read, *own}] if read else own

    @property
    def is_sequential(self) -> bool:
        """Whether cells may stop before all their patients are drawn."""
        return self.policy.document.spec.parameters.sampling.sequential

    def embeddings(self, labels: str, *, attacker: str) -> list[str]:
        """Return the jobs that embed the prompts of a label set, adding what no job embeds yet."""
        needed = self._prompts_of(labels)
        for chunk in self._fresh("embeddings", labels, samples=1, a_job=PROMPTS_A_JOB):
            title = f"embeddings of what {attacker} knows"
            job = self._ask("embeddings", title, chunk, {}, who="target")
            self._allocation.put("embeddings", chunk, samples=1, job=job)
        return self._allocation.homes("embeddings", needed, samples=1)

    def _fresh(self, group: str, labels: str, *, samples: int, a_job: int) -> Iterator[list[bytes]]:
        """Yield the prompts of a label set that no job of a group holds yet, those of one job each.

        Of patients who were drawn those of one job follow each other in the order of the lot, so
        that a longer draw has the jobs of a shorter one.
        """
        found = self.label_sets[labels]
        if found.members.drawn is None and found.nonmembers.drawn is None:
            order: Literal["like", "random", "given"] = "random" if self.is_sequential else "like"
            parts = [self._prompts_of(labels)]
        else:
            order = "random" if self.is_sequential else "given"
            parts = [self._in_lot_order(found.split(side), side) for side in (True, False)]
            parts = [[key for part in parts for key in part]] if self.is_sequential else parts
        for part in parts:
            yield from self._allocation.fresh(
                group, part, samples=samples, a_job=a_job, order=order
            )

    def _in_lot_order(self, labels: SplitLabels, is_member: bool) -> list[bytes]:
        order = np.argsort(self.draw.splits[is_member].rank).tolist()
        return [key for i in order if (key := labels.keys[i]) is not None]

    def _ask(
        self,
        kind: str,
        title: str,
        keys: list[bytes],
        inputs: dict[str, Any],
        *,
        who: Who,
        rollout_tokens: int = 0,
    ) -> str:
        """Add a job that runs prompts."""
        prompts = [(key, self._allocation.tokens[key]) for key in keys]
        job = self.job(
            kind,
            title,
            {
                **self.model_inputs(who),
                # digests stand in reports: without the cohort's, prompts could be guessed from one
                "prompts": digest([self.cohort.sha256, *(key.hex() for key in keys)]),
                "count": len(keys),
                **inputs,
            },
            runs_on=who,
            forward_tokens=sum(len(tokens) for _, tokens in prompts),
            rollout_tokens=rollout_tokens,
        )
        self.prompt_jobs[job.digest] = prompts
        return self.add(job)

    def distinct_prompts(self, labels: str) -> int:
        """Return how many different prompts a label set asks."""
        return len(self._prompts_of(labels))

    def _prompts_of(self, labels: str) -> list[bytes]:
        found = self.label_sets[labels]
        asked = (key for key in (*found.members.keys, *found.nonmembers.keys) if key is not None)
        return list(dict.fromkeys(asked))

    @cached_property
    def scored_lengths(self) -> dict[bool, NDArray[np.int64]]:
        """Tokens of each record as far as it is scored: [n] int64, members' under True."""
        return {
            is_member: scored_tokens(records, max_length=self.max_length, window=self.window)
            for is_member, records in ((True, self.members), (False, self.nonmembers))
        }

    def scores(self, *, who: Who = "target", members: bool = True) -> list[str]:
        """Return the jobs that score everybody's whole record, for every k at once.

        Args:
            who: scores.
            members: also those of members; no job holds records of both.
        """
        inside = len(self.members)
        everybody = [(True, i) for i in range(inside)]
        everybody += [(False, i) for i in range(len(self.nonmembers))]
        lengths = np.concatenate([self.scored_lengths[True], self.scored_lengths[False]])
        digests = []
        by_whom = "" if who == "target" else " (reference model)"
        starts = [*range(0, inside, RECORDS_A_JOB)] if members else []
        starts += range(inside, len(everybody), RECORDS_A_JOB)
        for start in starts:
            end = inside if start < inside else len(everybody)
            chunk = everybody[start : min(start + RECORDS_A_JOB, end)]
            if self.draw.is_whole:
                whose: dict[str, Any] = {"first": start}
            else:  # the lot's first patients are those of a longer lot too
                whose = {"lot": {"seed": self.seed}, "member": start < inside}
                whose |= {"first": start - (0 if start < inside else inside)}
            job = self.job(
                "scores",
                f"token log-probabilities of records {start + 1}–{start + len(chunk)}{by_whom}",
                {
                    **self._token_inputs(),
                    **self.model_inputs(who),
                    **whose,
                    "count": len(chunk),
                    "k": list(self.score_percents),
                    "window": self.window,
                    "subgroups": sorted(self.slices),
                },
                runs_on=who,
                forward_tokens=int(lengths[start : start + len(chunk)].sum()),
            )
            digests.append(self.add(job))
            self.scored[job.digest] = chunk
        return digests

    # --- what every excess rests on -------------------------------------------------------------

    def admissibility(self, *, sample: SampledPatients | None, uses_reference: bool) -> None:
        """Add what excess and membership rest on: comparable splits and the right description.

        Args:
            sample: the trainer's own sequences, where the target names them, and the patients.
            uses_reference: some cell subtracts what a reference model says, so that it is attacked
                itself: it must not know the members.
        """
        inputs = {**self.data_inputs(), "seed": self.seed}
        self.add(
            self.job("overlap", "patients and records in both splits", inputs, runs_on="cohort")
        )
        self.add(
            self.job(
                "comparability",
                "can the splits be told apart without a model",
                inputs,
                runs_on="cohort",
            )
        )
        if self.lacks("logprobs") is None:
            lengths = scored_tokens(self.members, max_length=self.max_length, window="first")
            patients = min(FORMAT_PATIENTS, len(lengths))
            self.add(
                self.job(
                    "prompt-format",
                    "is the declared prompt format the one the model was trained on",
                    {
                        **inputs,
                        **self.model_inputs(),
                        "patients": patients,
                        "tables": ["unigram", "bigram"],
                    },
                    runs_on="target",
                    forward_tokens=int(
                        lengths.mean() * patients * variants_at_most(self.tokenizer)
                    ),
                )
            )
            self._description(lengths)
        self._expectation(sample)
        if uses_reference and self.lacks("logprobs", who="reference") is None:
            self.scores(who="reference")

    def _description(self, lengths: NDArray[np.int64]) -> None:
        """Add what compares the declared description with others, on few members."""
        inputs = {**self.data_inputs(), **self.model_inputs(), "seed": self.seed}
        told, patients = min(TOLD_PATIENTS, len(lengths)), min(FORMAT_PATIENTS, len(lengths))
        beginning = min(BEGINNING, int(lengths.mean())) if len(lengths) else 0
        self.add(
            self.job(
                "other-descriptions",
                "is anybody recognised who is described otherwise",
                {
                    **inputs,
                    "patients": told,
                    "beginning": BEGINNING,
                    "tellings": ["prefix", "between", "later"],
                },
                runs_on="target",
                forward_tokens=beginning * told * TELLINGS_ABOUT,
            )
        )
        self.add(
            self.job(
                "record-parts",
                "are the parts of a record the model's own",
                {**inputs, "patients": patients, "events": "by kind"},
                runs_on="target",
                forward_tokens=int(lengths.mean() * patients),
            )
        )

    def _expectation(self, sample: SampledPatients | None) -> None:
        """Add what compares the model with what its trainer knows of it."""
        inputs = self.data_inputs()
        if sample is not None:
            title = "are records tokenized as the trainer's data loader does it"
            inputs = {**self._token_inputs(), "sample": sample.tokens.sha256}
            job = self.job("expected-tokens", title, inputs, runs_on="cohort")
            self.job_inputs[self.add(job)] = sample
        expect = self.target.document.spec.expect
        if expect is not None and expect.loss is not None and self.lacks("logprobs") is None:
            lengths = self.scored_lengths[True]
            patients = min(FORMAT_PATIENTS, len(lengths))
            self.add(
                self.job(
                    "expected-loss",
                    "is the loss of the members the one that the trainer measured",
                    {**inputs, **self.model_inputs(), "seed": self.seed, "patients": patients},
                    runs_on="target",
                    forward_tokens=int(lengths.mean() * patients),
                )
            )


def longest_sequence(
    target: Located[AuditTarget], descriptions: Mapping[Who, TargetDescription]
) -> int | None:
    """Return the most tokens of a sequence, or None where nothing bounds it."""
    limits = [
        length
        for length in (
            target.document.spec.tokenization.max_length,
            *(description.context_length for description in descriptions.values()),
        )
        if length is not None
    ]
    return min(limits) if limits else None


def _shared(chosen: Chosen, keys: Sequence[bytes | None]) -> NDArray[np.float64]:
    """Return how many of the whole split share each patient's prompt, NaN where he has none."""
    if chosen.shared is not None:
        return chosen.shared
    at = [i for i, key in enumerate(keys) if key is not None]
    shared = np.full(len(keys), np.nan)
    if at:
        everybody = round(len(at) / float(chosen.share[at[0]]))
        shared[at] = sharers([key for key in keys if key is not None], everybody=everybody)
    return shared


def _watched(parts: Mapping[str, ClassRanks]) -> dict[str, list[int]]:
    return {name: part.watch for name, part in parts.items()}
