"""T4's own jobs: features of whole records under target and references, and a learned score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.attacks.membership_inference.features import (
    TokenColumns,
    attack_features,
    blind_features,
    classic_scores,
    mixture,
)
from checker.attacks.membership_inference.learner import learned_scores
from checker.attacks.membership_inference.plan import AttackedPatients, ShadowPatients
from checker.attacks.tables import booleans
from checker.errors import InsufficientData
from checker.planning.reference_patients import (
    learned_lengths,
    reference_tensors,
    training_pieces,
)
from checker.planning.task import Running, Task
from checker.records.tokenization import TokenizedRecords
from checker.targets import Tokens, TokenScores

OWN = "own"
DECLARED = "declared"
CLASSIC, FEATURE, BLIND, OTHER, SCORE = "classic@", "feature@", "blind@", "other@", "score@"
LEARNED = f"{SCORE}strongest"


def membership_tokens(task: Task) -> pa.Table:
    """Token scores of whole records under the reference model that the target declares."""
    chosen = _chosen(task)
    parts = _scored(task, chosen, list(task.workload.scored_pieces(chosen.patients)))
    kept = [number for number, found in enumerate(parts) if found]
    columns: dict[str, Any] = {"patient": [task.patient(*chosen.patients[i]) for i in kept]}
    for name in ("logprob", "mean", "std"):
        columns[name] = pa.array(
            [np.concatenate([getattr(part, name) for part in parts[i]]) for i in kept],
            pa.list_(pa.float32()),
        )
    return pa.table(columns)


def membership_features(task: Task) -> pa.Table:
    """What target and references say of whole records, a column a feature."""
    from checker.targets.engine.reference import ReferenceModel  # loads torch

    chosen = _chosen(task)
    pieces = list(task.workload.scored_pieces(chosen.patients))
    parts = _scored(task, chosen, pieces)
    kept = [number for number, found in enumerate(parts) if found]
    patients = [chosen.patients[i] for i in kept]
    percents = [float(k) for k in task.job.inputs["k"]]
    features: dict[str, NDArray[np.float64]] = {}
    tokens = np.empty(0, np.int64)
    if kept:
        target = _columns([parts[i] for i in kept])
        tokens = np.diff(target.offsets)
        asked = [piece for _, piece, _ in pieces]
        own = []
        for table in task.needed("reference-training"):
            scored = ReferenceModel(reference_tensors(table)).score(asked)
            found = _by_patient(pieces, scored, count=len(parts))
            own.append(_columns([found[i] for i in kept]))
        references = {OWN: mixture(own)} | _declared(task, target)
        features |= {
            f"{CLASSIC}{name}": values
            for name, values in classic_scores(target, references, percents=percents).items()
        }
        features |= {
            f"{FEATURE}{name}": values
            for name, values in attack_features(target, references, percents=percents).items()
        }
        for kind, name in ((BLIND, OWN), (OTHER, DECLARED)):
            if name in references:
                seen = blind_features({name: references[name]}, percents=percents)
                features |= {f"{kind}{feature}": values for feature, values in seen.items()}
    return pa.table(
        {
            "patient": pa.array([task.patient(*one) for one in patients], pa.string()),
            "member": pa.array([is_member for is_member, _ in patients], pa.bool_()),
            "subgroups": pa.array(
                [task.workload.subgroups_of(*one) for one in patients], pa.list_(pa.string())
            ),
            "tokens": pa.array(tokens, pa.int64()),
            "fitted": pa.array(chosen.fitted[kept], pa.bool_()),
            "half": pa.array(chosen.half[kept], pa.bool_()),
        }
        | {name: pa.array(values, pa.float64()) for name, values in features.items()}
    )


def membership_shadows(task: Task) -> pa.Table:
    """Mean log-probability of everybody's record after each pass over half of them."""
    from checker.targets.engine.reference import train_shadow  # loads torch

    inputs, chosen = task.job.inputs, task.input
    assert isinstance(chosen, ShadowPatients)  # as the plan handed it to the job
    pieces = list(task.workload.scored_pieces(chosen.patients))
    taught, is_taught = shadow_lessons(
        {who: task.workload.split(who) for who in (True, False)},
        chosen,
        context=int(inputs["recipe"]["context"]),
        tokens=int(inputs["tokensAPass"]),
    )
    passed = sum(map(len, taught)) + sum(len(tokens) for _, tokens, _ in pieces)
    whose = np.array([number for number, _, _ in pieces], dtype=np.int64)
    said: list[NDArray[np.float64]] = []

    def keep(scored: list[TokenScores]) -> None:
        """Keep the mean over each record's scored positions: all passes' tokens are too many."""
        parts = [
            one.logprob[first - 1 :].astype(np.float64)
            for one, (_, _, first) in zip(scored, pieces, strict=True)
        ]
        sums, counts = (
            np.bincount(whose, weights=[one(part) for part in parts], minlength=len(is_taught))
            for one in (np.sum, len)
        )
        said.append(sums / np.maximum(counts, 1))
        task.advance(passed)

    number = int(inputs["number"])
    train_shadow(
        taught,
        [tokens for _, tokens, _ in pieces],
        known=chosen.known,
        recipe=inputs["recipe"],
        seed=int(task.plan.rng_for(f"{task.job.kind} {number}").integers(2**31)),
        each=keep,
    )
    kept_patients = np.unique(whose).tolist()
    logprob = np.stack(said, axis=1)[kept_patients].tolist()
    return pa.table(
        {
            "patient": pa.array(
                [task.patient(*chosen.patients[i]) for i in kept_patients], pa.string()
            ),
            "member": pa.array([chosen.patients[i][0] for i in kept_patients], pa.bool_()),
            "taught": pa.array(is_taught[kept_patients], pa.bool_()),
            "logprob": pa.array(logprob, pa.list_(pa.float32())),
        }
    )


def shadow_lessons(
    splits: Mapping[bool, TokenizedRecords], chosen: ShadowPatients, *, context: int, tokens: int
) -> tuple[list[Tokens], NDArray[np.bool_]]:
    """Return what a shadow model is taught, and which of the patients really taught it.

    The same share of members and of nonmembers is learned from, and of records of both no more
    than so many tokens (`learned_lengths`): one bound, for two would tell the splits apart.

    Args:
        splits: members (True) and nonmembers.
        chosen: whom it is asked about, and whom of them it is to be taught.
        context: most tokens of a piece.
        tokens: of a pass, about.
    """
    order = np.array(chosen.order, dtype=np.int64)
    member, index = (np.array(column)[order] for column in zip(*chosen.patients, strict=True))
    lengths = np.zeros(len(order), dtype=np.int64)
    for who, records in splits.items():
        lengths[member == who] = np.diff(records.offsets)[index[member == who]]
    lengths = learned_lengths(lengths, context=context)
    share = min(1.0, tokens / max(1, int(lengths.sum())))
    taught: list[Tokens] = []
    is_taught = np.zeros(len(chosen.patients), dtype=np.bool_)
    for who, records in splits.items():
        own = np.flatnonzero(member == who)
        own = own[: max(1, int(share * len(own)))]
        pieces = training_pieces(
            records, index[own], lengths=lengths[own], context=context, tokens=tokens
        )
        taught += chain.from_iterable(pieces)
        is_taught[[at for at, found in zip(order[own], pieces, strict=False) if found]] = True
    return taught, is_taught


def membership_scores(task: Task) -> pa.Table:
    """Every score of the patients whom the classifier was not fitted on.

    `blind` is what the same classifier says where it sees nothing of the target, `placebo` what it
    says where it was to tell one half of the nonmembers from the other, `declared` what it says
    where it sees a reference alone that the target declares; all of everybody who is judged.
    """
    table = pa.concat_tables(task.needed("membership-features"), promote_options="default")
    member, fitted, half = (booleans(table, name) for name in ("member", "fitted", "half"))
    judged = ~fitted
    try:
        attack, blind = _matrix(table, FEATURE), _matrix(table, BLIND)
        outside = ~member
        alone: list[int] = []
        if shadows := task.needed("membership-shadows"):
            seen, unseen = shadow_features(table, shadows, fitted & outside)
            alone = list(range(attack.shape[1], attack.shape[1] + seen.shape[1]))
            attack, blind = np.hstack([attack, seen]), np.hstack([blind, unseen])
        scores = learned_scores(attack, member, fitted, alone=alone)
        seen_nothing = learned_scores(blind, member, fitted)
        # members are told apart by neither half: they only have to have a number
        placebo = learned_scores(attack, half, fitted & outside, scored=judged, alone=alone)
        declares = any(name.startswith(OTHER) for name in table.column_names)
        declared = learned_scores(_matrix(table, OTHER), member, fitted) if declares else None
    except InsufficientData:  # no classifier: the judge finds no scores and says so
        judged = np.zeros(len(member), dtype=np.bool_)
        scores = seen_nothing = placebo = np.empty(0)
        declared = None
    rows = pa.array(np.flatnonzero(judged))
    columns = {name: table[name].take(rows) for name in ("patient", "member", "subgroups", "half")}
    columns |= {
        "blind": pa.array(seen_nothing, pa.float64()),
        "placebo": pa.array(placebo, pa.float64()),
        LEARNED: pa.array(scores, pa.float64()),
    }
    if declared is not None:
        columns["declared"] = pa.array(declared, pa.float64())
    for name in table.column_names:
        if name.startswith(CLASSIC):
            columns[SCORE + name.removeprefix(CLASSIC)] = table[name].take(rows)
    return pa.table(columns)


def shadow_features(
    table: pa.Table, shadows: Sequence[pa.Table], others: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return features of the target beside shadow models, and of these alone: [n, 4] and [n, 2].

    Of each shadow that pass is taken which says of patients who taught neither it nor the target
    most nearly what the target says: by the median of the differences, so that a target which
    finds a few of them absurd does not choose another pass.

    Args:
        table: features of n patients.
        shadows: evidence of each shadow model.
        others: [n] bool, nonmembers who are not judged.
    """
    own = table[f"{CLASSIC}loss"].to_numpy().astype(np.float64)
    place = {name: at for at, name in enumerate(table["patient"].to_pylist())}
    sums = {True: np.zeros(len(own)), False: np.zeros(len(own))}
    counts = {True: np.zeros(len(own)), False: np.zeros(len(own))}
    for shadow in shadows:
        at = np.array([place[name] for name in shadow["patient"].to_pylist()], dtype=np.int64)
        taught = booleans(shadow, "taught")
        said = np.stack(shadow["logprob"].to_numpy(zero_copy_only=False)).astype(np.float64)
        known_to_none = others[at] & ~taught
        if not known_to_none.any():
            continue
        beyond = said[known_to_none] - own[at[known_to_none], None]
        nearest = int(np.abs(np.median(beyond, axis=0)).argmin())
        for who in (True, False):
            chosen = taught == who
            sums[who][at[chosen]] += said[chosen, nearest]
            counts[who][at[chosen]] += 1
    whole = (sums[True] + sums[False]) / np.maximum(counts[True] + counts[False], 1)
    inside, outside = (
        np.where(counts[who] > 0, sums[who] / np.maximum(counts[who], 1), whole)
        for who in (True, False)
    )
    middle, lift = (inside + outside) / 2, inside - outside
    seen = np.stack([own - middle, own - inside, own - outside, lift], axis=1)
    return seen, np.stack([middle, lift], axis=1)


def _chosen(task: Task) -> AttackedPatients:
    chosen = task.input
    assert isinstance(chosen, AttackedPatients)  # as the plan handed it to the job
    return chosen


def _scored(
    task: Task, chosen: AttackedPatients, pieces: Sequence[tuple[int, Tokens, int]]
) -> list[list[TokenScores]]:
    """Ask the job's model for every record; an empty list for one that has nothing to score."""
    scored = task.model.score([tokens for _, tokens, _ in pieces], progress=task.advance)
    return _by_patient(pieces, scored, count=len(chosen.patients))


def _by_patient(
    pieces: Sequence[tuple[int, Tokens, int]], scored: Sequence[TokenScores], *, count: int
) -> list[list[TokenScores]]:
    """Put the scored positions of each record's pieces together."""
    parts: list[list[TokenScores]] = [[] for _ in range(count)]
    for (number, _, first), found in zip(pieces, scored, strict=True):
        at = slice(first - 1, None)
        parts[number].append(
            TokenScores(
                found.logprob[at],
                found.mean[at],
                found.std[at],
                None if found.first is None else found.first[at],
            )
        )
    return parts


def _columns(parts: Sequence[Sequence[TokenScores]]) -> TokenColumns:
    """Put the scores of many records end to end."""
    flat = [part for own in parts for part in own]
    lengths = [sum(len(part.logprob) for part in own) for own in parts]
    firsts = [part.first for part in flat if part.first is not None]
    return TokenColumns(
        logprob=np.concatenate([part.logprob for part in flat]).astype(np.float64),
        mean=np.concatenate([part.mean for part in flat]).astype(np.float64),
        std=np.concatenate([part.std for part in flat]).astype(np.float64),
        first=np.concatenate(firsts) if len(firsts) == len(flat) else None,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )


def _declared(task: Task, target: TokenColumns) -> dict[str, TokenColumns]:
    """Return the declared reference's scores of the same records, where there is one.

    The plan gives both jobs the same patients and windows, so that records and tokens agree.
    """
    tables = task.needed("membership-tokens")
    if not tables:
        return {}
    columns = {
        name: tables[0][name].combine_chunks().flatten().to_numpy().astype(np.float64)
        for name in ("logprob", "mean", "std")
    }
    return {DECLARED: TokenColumns(**columns, first=None, offsets=target.offsets)}


def _matrix(table: pa.Table, kind: str) -> NDArray[np.float64]:
    """Return the columns of one kind: [n, d] float64.

    Raises:
        InsufficientData: there are none, for no record has a token to score.
    """
    names = [name for name in table.column_names if name.startswith(kind)]
    if not names:
        raise InsufficientData("records to learn from", needed=1, got=0, reason="too-few-patients")
    return np.stack([table[name].to_numpy().astype(np.float64) for name in names], axis=1)


RUN = Running(
    {
        "membership-shadows": membership_shadows,
        "membership-tokens": membership_tokens,
        "membership-features": membership_features,
        "membership-scores": membership_scores,
    }
)
