"""From a cell to the jobs it is judged from: one function for each kind of observation.

A probe says what it observes; the function of that kind adds to the job book what is not there yet
and counts who can be measured. Adding a kind means: a function here, a job's execution in
`checker.run.execution`, and columns in `checker.evidence`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checker.attacks.api import Attack, Metric, Params, load_attack
from checker.attacks.families import Sample
from checker.attacks.identifier_perturbation.measure import AGE_OFFSETS, OTHER_VALUES
from checker.attacks.trajectory_memorization.code_labels import labels_identity
from checker.canonical import digest
from checker.plan.jobs import JobBook, Who
from checker.plan.sharing import RolloutSettings
from checker.plan.subgroups import Slice
from checker.plan.workload import Labelled, LabelSet
from checker.policy import ResolvedAttacker
from checker.policy.documents import ControlSpec

__all__ = ["Draft", "Lowered", "Work", "curtailments", "lower", "score_percents"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A cell before its jobs are known."""

    control_name: str
    control: ControlSpec
    attacker: ResolvedAttacker
    piece: Slice
    params: Any

    @property
    def attack(self) -> Attack:
        """The control's attack."""
        return load_attack(self.control.probe)

    @property
    def metric(self) -> Metric:
        """The control's metric."""
        return self.attack.metrics[self.control.metric]

    @property
    def models(self) -> tuple[Who, ...]:
        """Whose answers the metric takes."""
        both = self.control.contrast == "reference" or self.params.needs_reference
        return ("target", "reference") if both else ("target",)


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens a model has to process: prompts and records, and at most so many new ones."""

    forward: int = 0
    rollout: int = 0

    def __add__(self, other: Work) -> Work:
        """Return both together."""
        return Work(self.forward + other.forward, self.rollout + other.rollout)

    def times(self, count: int) -> Work:
        """Return the same done so often."""
        return Work(self.forward * count, self.rollout * count)


@dataclass(frozen=True, slots=True)
class Lowered:
    """What a cell is judged from.

    Args:
        labels: the job that says who is who, where there is one.
        jobs: digests, in the order they are run.
        sample: who is there to be measured.
        missing: what the target lacks, so that nothing is run; None where it lacks nothing.
        alone: what the cell would cost if it shared nothing: each of its patients asked by himself,
            for this cell only.
    """

    labels: str | None
    jobs: list[str]
    sample: Sample
    missing: str | None = None
    alone: Work = Work()


def lower(book: JobBook, draft: Draft, *, curtailed: dict[str, Any]) -> Lowered:
    """Add the jobs of a cell to a book.

    Args:
        book: collects the jobs.
        draft: the cell.
        curtailed: what `curtailments` found for the whole policy.

    Returns:
        What was added, or no jobs and nobody to measure where the cell's class is absent.
    """
    if _is_absent(book, draft):
        nobody = Sample(members=0, nonmembers=0, members_positive=0, nonmembers_positive=0)
        return Lowered(None, [], nobody)
    missing = next(
        (
            lack
            for who in draft.models
            if (lack := book.lacks(draft.attack.access, who=who)) is not None
        ),
        None,
    )
    return _LOWERINGS[draft.attack.name](book, draft, missing, curtailed)


def _is_absent(book: JobBook, draft: Draft) -> bool:
    name = draft.control.attribute_class
    return name is not None and book.ranks[name].is_absent


def score_percents(drafts: Iterable[Draft]) -> tuple[float, ...]:
    """Return every k, in percent, that some membership score of a policy is asked for."""
    asked = {float(d.params.k) for d in drafts if d.attack.name == "membership-inference"}
    return tuple(sorted(asked))


# --- curtailed sampling -------------------------------------------------------------------------


def curtailments(book: JobBook, drafts: Iterable[Draft]) -> dict[str, Any]:
    """Find the groups of rollouts of which every use only asks whether q exceeds a threshold.

    Returns:
        By the digest of a group's settings, the thresholds and watch sets of its uses; a group one
        of whose uses needs every sample is not there.
    """
    if not book.policy.document.spec.parameters.sampling.curtailed:
        return {}
    uses: dict[str, list[Any] | None] = {}
    for draft in drafts:
        if not hasattr(draft.params, "samples") or _is_absent(book, draft):
            continue
        group = digest(_settings(draft.params).inputs())
        if not draft.metric.thresholded or draft.control.attribute_class is None:
            uses[group] = None
        elif (found := uses.setdefault(group, [])) is not None:
            watch = book.ranks[draft.control.attribute_class].watch
            use = {"threshold": draft.params.threshold, "watch": watch}
            if use not in found:
                found.append(use)
    return {group: found for group, found in uses.items() if found is not None}


def _settings(params: Params, curtailed: dict[str, Any] | None = None) -> RolloutSettings:
    values = params.model_dump(mode="json")
    settings = RolloutSettings(
        samples=values["samples"],
        horizon_tokens=values["horizonTokens"],
        temperature=values["temperature"],
        top_p=values["topP"],
    )
    uses = (curtailed or {}).get(digest(settings.inputs()))
    return settings if uses is None else replace(settings, curtailed={"uses": uses})


# --- one function a kind of observation ---------------------------------------------------------


def _disclosure(
    book: JobBook, draft: Draft, missing: str | None, curtailed: dict[str, Any]
) -> Lowered:
    """T2: continuations of the eligible, or of everybody where a metric ranks patients."""
    labels = _class_labels(book, draft)
    sample = _sample(book.label_sets[labels], draft.piece)
    if missing is not None:
        return Lowered(None, [], sample, missing)
    settings = _settings(draft.params, curtailed)
    jobs = [
        job
        for who in draft.models
        for job in book.rollouts(labels, settings, attacker=draft.attacker.name, who=who)
    ]
    alone = _asked_alone(book.label_sets[labels], draft.piece, settings).times(len(draft.models))
    return Lowered(labels, jobs, sample, alone=alone)


def _membership(
    book: JobBook, draft: Draft, missing: str | None, curtailed: dict[str, Any]
) -> Lowered:
    """T4: everybody's whole record, scored once."""
    sample = Sample(
        members=int(draft.piece.members.sum()), nonmembers=int(draft.piece.nonmembers.sum())
    )
    if missing is not None:
        return Lowered(None, [], sample, missing)
    jobs = [job for who in draft.models for job in book.scores(who=who)]
    tokens = sum(
        int(book.scored_lengths[is_member][chosen].sum())
        for is_member, chosen in ((True, draft.piece.members), (False, draft.piece.nonmembers))
    )
    return Lowered(None, jobs, sample, alone=Work(tokens).times(len(draft.models)))


def _trajectories(
    book: JobBook, draft: Draft, missing: str | None, curtailed: dict[str, Any]
) -> Lowered:
    """T1: continuations of everybody, held against the true ones."""
    params = draft.params
    labels = book.record_labels(
        draft.attacker, horizon_tokens=params.horizon_tokens, min_tokens=params.min_run
    )
    sample = _sample(book.label_sets[labels], draft.piece)
    if missing is not None:
        return Lowered(None, [], sample, missing)
    settings = _settings(params)
    rollouts = book.rollouts(labels, settings, attacker=draft.attacker.name)
    name = draft.attacker.name
    if not draft.metric.family.of_patients:  # whose records do continuations repeat?
        asked = book.distinct_prompts(labels)
        sample = sample.model_copy(update={"rollouts": asked * params.samples})
        kind, title = "regurgitation", f"whose records {name}'s continuations repeat"
        labelled: dict[str, Any] = {}
    else:
        kind, title = "trajectories", f"{name}'s continuations against the true ones"
        labelled = {
            "labels": {
                "from": params.labels,
                "identity": labels_identity(params.labels, base=book.policy_folder),
            },
        }
    job = book.job(
        kind,
        title,
        {
            **book.data_inputs(),
            "samples": params.samples,
            "minRun": params.min_run,
            "horizonTokens": params.horizon_tokens,
            **labelled,
            "subgroups": sorted(book.slices),
            "seed": book.seed,
        },
        runs_on="evidence",
        needs=[labels, *rollouts],
    )
    alone = _asked_alone(book.label_sets[labels], draft.piece, settings)
    return Lowered(labels, [*rollouts, book.add(job)], sample, alone=alone)


def _embeddings(
    book: JobBook, draft: Draft, missing: str | None, curtailed: dict[str, Any]
) -> Lowered:
    """T3: frozen embeddings of everybody's prompt, and a classifier fitted on some members."""
    labels = _class_labels(book, draft)
    found = book.label_sets[labels]
    sample = Sample(
        members=int((found.members.positive & draft.piece.members).sum()),
        nonmembers=int((found.nonmembers.positive & draft.piece.nonmembers).sum()),
        members_negative=int(_negatives(found.members, draft.piece.members).sum()),
        nonmembers_negative=int(_negatives(found.nonmembers, draft.piece.nonmembers).sum()),
    )
    if missing is not None:
        return Lowered(None, [], sample, missing)
    embedded = book.embeddings(labels, attacker=draft.attacker.name)
    job = book.job(
        "probe-scores",
        f"a classifier of {draft.control.attribute_class} on embeddings",
        {
            "labelShare": draft.params.label_share,
            "classifier": draft.params.classifier,
            "subgroups": sorted(book.slices),
            "seed": book.seed,
        },
        runs_on="evidence",
        needs=[labels, *embedded],
    )
    alone = _asked_alone(found, draft.piece)
    return Lowered(labels, [*embedded, book.add(job)], sample, alone=alone)


def _perturbations(
    book: JobBook, draft: Draft, missing: str | None, curtailed: dict[str, Any]
) -> Lowered:
    """T5: the eligible members' continuations, and those of the disclosed once more, perturbed."""
    labels = _class_labels(book, draft)
    sample = _sample(book.label_sets[labels], draft.piece)
    if missing is not None:
        return Lowered(None, [], sample, missing)
    params = draft.params
    found = book.label_sets[labels]
    drawn, settings = _settings(params, curtailed), _settings(params)
    rollouts = book.rollouts(labels, drawn, attacker=draft.attacker.name)
    variants = 1 + len(AGE_OFFSETS) + OTHER_VALUES * (len(params.identifiers) - 1)

    def once_more(chosen: NDArray[np.bool_]) -> Work:
        # who is disclosed is not known yet: at most every eligible member is
        members = Slice("eligible members", found.members.eligible & chosen, _nobody(found))
        return _asked_alone(found, members, settings).times(variants)

    everybody = once_more(np.ones_like(found.members.eligible))
    job = book.job(
        "perturbations",
        f"{draft.attacker.name}'s prompts with age, sex or race changed",
        {
            **book.data_inputs(),
            **book.model_inputs(),
            **settings.inputs(),
            "identifiers": list(params.identifiers),
            "threshold": params.threshold,
            "watch": book.ranks[str(draft.control.attribute_class)].watch,
            "seed": book.seed,
        },
        runs_on="target",
        needs=[labels, *rollouts],
        forward_tokens=everybody.forward,
        rollout_tokens=everybody.rollout,
    )
    alone = _asked_alone(found, draft.piece, drawn) + once_more(draft.piece.members)
    return Lowered(labels, [*rollouts, book.add(job)], sample, alone=alone)


def _canaries(
    book: JobBook, draft: Draft, missing: str | None, curtailed: dict[str, Any]
) -> Lowered:
    """Planted patients and their twins that were left out, scored once."""
    planted = book.canaries[draft.params.manifest]
    drawn = planted.included[~planted.beacon]
    sample = Sample(members=int(drawn.sum()), nonmembers=int((~drawn).sum()))
    if missing is not None:
        return Lowered(None, [], sample, missing)
    jobs = [book.canary_scores(draft.params.manifest, who=who) for who in draft.models]
    return Lowered(None, jobs, sample, alone=Work(planted.tokens).times(len(jobs)))


_LOWERINGS: dict[str, Callable[[JobBook, Draft, str | None, dict[str, Any]], Lowered]] = {
    "attribute-disclosure": _disclosure,
    "membership-inference": _membership,
    "trajectory-memorization": _trajectories,
    "embedding-probe": _embeddings,
    "identifier-perturbation": _perturbations,
    "canary-exposure": _canaries,
}


def _class_labels(book: JobBook, draft: Draft) -> str:
    assert draft.control.attribute_class is not None  # validation asks for it
    return book.class_labels(
        draft.control.attribute_class,
        draft.attacker,
        horizon_tokens=getattr(draft.params, "horizon_tokens", 1),
        everybody=draft.metric.family.takes_everybody,
    )


def _sample(labels: LabelSet, piece: Slice) -> Sample:
    inside = labels.members.eligible & piece.members
    outside = labels.nonmembers.eligible & piece.nonmembers
    shares = [
        len(set(keys)) / len(keys)
        for keys in (
            _keys_at(labels.members.keys, inside),
            _keys_at(labels.nonmembers.keys, outside),
        )
        if keys
    ]
    return Sample(
        members=int(inside.sum()),
        nonmembers=int(outside.sum()),
        members_positive=int((labels.members.positive & piece.members).sum()),
        nonmembers_positive=int((labels.nonmembers.positive & piece.nonmembers).sum()),
        members_negative=int(_negatives(labels.members, piece.members).sum()),
        nonmembers_negative=int(_negatives(labels.nonmembers, piece.nonmembers).sum()),
        distinct_prompt_share=min(shares, default=None),
    )


def _asked_alone(labels: LabelSet, piece: Slice, settings: RolloutSettings | None = None) -> Work:
    """Return what it costs to ask every patient of a slice by himself, and to draw from it."""
    lengths = np.concatenate(
        [labels.members.length[piece.members], labels.nonmembers.length[piece.nonmembers]]
    )
    each = settings.tokens if settings is not None else 0
    return Work(int(lengths.sum()), int((lengths > 0).sum()) * each)


def _nobody(labels: LabelSet) -> NDArray[np.bool_]:
    return np.zeros_like(labels.nonmembers.eligible)


def _negatives(labelled: Labelled, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return labelled.promptable & ~labelled.positive & chosen


def _keys_at(keys: list[bytes | None], mask: NDArray[np.bool_]) -> list[bytes]:
    return [key for i in np.flatnonzero(mask) if (key := keys[i]) is not None]
