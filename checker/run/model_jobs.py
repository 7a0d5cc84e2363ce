"""Jobs that ask a model: continuations, scores of whole records, embeddings, the prompt format."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.kinds import compensator_column, score_column
from checker.planning.task import Task, sampler_of
from checker.records.prompt_format import DECLARED, SEGMENTS, format_variants
from checker.records.token_tables import TokenTables
from checker.records.tokenization import TokenizedRecord
from checker.stats import scores as membership
from checker.stats.naming_side import ThresholdTest
from checker.targets import MoreWatched, Tokens, TokenScores, WatchedRollout
from checker.targets.channels import also_told
from checker.targets.compensator import watch_of, watched_rollouts
from checker.targets.conformance import tolerance_of
from checker.targets.horizons import continue_within

MOST_POSITIONS = 1 << 15
"""Of a model that names no end: more days than a life has."""

SHORTEST_TRIAL = 4
"""Tokens of a record on which it shows what a model takes for segments."""


def rollouts(task: Task) -> pa.Table:
    """Continuations of prompts, as token ids; a prompt's samples stand together, in order.

    Where classes are watched, a column for each holds how often it was to be named.
    """
    prompts = task.workload.prompts[task.job.digest]
    watched: list[list[int]] = task.job.inputs.get("watch", [])
    drawn = _drawn(task, prompts, watched)
    counts = [len(continuations) for continuations in drawn]
    names = [task.prompt_name(key) for key, _ in prompts]
    flat = [one for continuations in drawn for one in continuations]
    ends = np.cumsum([0, *(len(one.tokens) for one in flat)]).astype(np.int32)
    values = np.concatenate([np.empty(0, np.int32), *(one.tokens for one in flat)])
    numbers = [np.arange(count, dtype=np.int32) for count in counts]
    columns = {
        "prompt": pa.array(np.repeat(names, counts).tolist(), pa.string()),
        "sample": pa.array(np.concatenate([np.empty(0, np.int32), *numbers])),
        "tokens": pa.ListArray.from_arrays(pa.array(ends), pa.array(values.astype(np.int32))),
    }
    for place, watch in enumerate(watched):
        expected = [one.expected[place] for one in flat]
        columns[compensator_column(watch)] = pa.array(expected, pa.float32())
    return pa.table(columns)


def _drawn(
    task: Task, asked: list[tuple[bytes, Tokens]], watched: list[list[int]]
) -> list[list[WatchedRollout]]:
    """Draw what a job asks for, and watch the classes meanwhile, if there are any."""
    prompts = [tokens for _, tokens in asked]
    samples = first = int(task.job.inputs["samples"])
    uses = task.job.inputs.get("curtailed", {}).get("uses")
    asked_for = task.job.inputs.get("thresholdTest")
    more: MoreWatched | None = None
    if asked_for is not None:
        first, more = int(asked_for["first"]), _until_decided(asked_for, watched=watched)
    elif uses is not None:
        first = _further_draws(uses, samples=samples, done=0)
        more = _until_settled(uses, samples=samples)
    settings: dict[str, Any] = {
        "keys": [int.from_bytes(key[:8], "little") for key, _ in asked],
        "samples": first,
        "sampler": sampler_of(task.job),
        "max_length": task.workload.max_length,
        "progress": task.advance,
    }
    if watched:
        watch = watch_of(watched, vocabulary_size=task.model.info.vocabulary_size)
        draw = partial(watched_rollouts, task.model, watch=watch)
        return continue_within(draw, prompts, more=more, **settings)
    nothing = np.empty(0, dtype=np.float32)

    def more_tokens(number: int, drawn: list[Tokens]) -> int:
        assert more is not None  # asked only where there is one
        return more(number, [WatchedRollout(tokens, nothing) for tokens in drawn])

    found = continue_within(
        task.model.rollout, prompts, more=None if more is None else more_tokens, **settings
    )
    return [[WatchedRollout(tokens, nothing) for tokens in rows] for rows in found]


def _until_decided(asked: dict[str, Any], *, watched: list[list[int]]) -> MoreWatched:
    """Return what asks for samples until every test has decided.

    Args:
        asked: how many samples every prompt has, and the tests (`planning.sharing`).
        watched: the classes that have compensators.
    """
    tests = [
        (ThresholdTest.of(test), np.array(test["watch"], np.int32), watched.index(test["watch"]))
        for test in asked["tests"]
    ]

    def more(_: int, drawn: list[WatchedRollout]) -> int:
        done = len(drawn)
        wanted = done
        for test, watch, place in tests:
            hits = _hits([one.tokens for one in drawn], watch)
            expected = np.array([one.expected[place] for one in drawn], dtype=np.float64)
            if not test.decide(hits[None], expected[None]).after[0]:
                wanted = max(wanted, test.next_look(done))
        return wanted - done

    return more


def _hits(drawn: list[Tokens], watch: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which continuations hold a watched token."""
    owner = np.repeat(np.arange(len(drawn)), [len(tokens) for tokens in drawn])
    hit = np.zeros(len(drawn), dtype=np.bool_)
    hit[owner[np.isin(np.concatenate(drawn), watch)]] = True
    return hit


def _until_settled(uses: list[dict[str, Any]], *, samples: int) -> MoreWatched:
    """Return what asks for samples until every use knows on which side of its threshold q will lie.

    Exact (METHODS §6, *Curtailed sampling*): the samples are those that would be drawn anyway, and
    the ones left out could change no outcome.

    Args:
        uses: each with `watch`, the ids that make a hit, and `threshold`.
        samples: of a prompt where all are drawn.
    """
    ids = [np.array(use["watch"], dtype=np.int32) for use in uses]

    def more(_: int, drawn: list[WatchedRollout]) -> int:
        tokens = [one.tokens for one in drawn]
        for use, watch in zip(uses, ids, strict=True):
            hits = int(_hits(tokens, watch).sum())
            if not _is_settled(hits, len(drawn), samples, use["threshold"]):
                return _further_draws(uses, samples=samples, done=len(drawn))
        return 0

    return more


def _further_draws(uses: list[dict[str, Any]], *, samples: int, done: int) -> int:
    """Return how many samples to draw of a prompt before asking again whether it is settled."""
    return min(
        samples - done, max(1, min(_undecided_draws(u["threshold"], samples, done) for u in uses))
    )


def _undecided_draws(threshold: float, samples: int, done: int) -> int:
    """Return how many more samples must be drawn before any prompt can be settled.

    No prompt is settled before either all or none of the first samples hit; later, a few at a time
    keep the batches large.
    """
    if done:
        return max(1, samples // 10)
    return next(
        (
            count
            for count in range(1, samples + 1)
            if _is_settled(0, count, samples, threshold)
            or _is_settled(count, count, samples, threshold)
        ),
        samples,
    )


def _is_settled(hits: int, drawn: int, samples: int, threshold: float) -> bool:
    """Whether the samples left cannot change whether the share of hits exceeds a threshold."""
    return hits / samples > threshold or (hits + samples - drawn) / samples <= threshold


def embeddings(task: Task) -> pa.Table:
    """The model's hidden state at the end of each prompt."""
    prompts = task.workload.prompts[task.job.digest]
    vectors = task.model.embed([tokens for _, tokens in prompts], progress=task.advance)
    ends = np.arange(len(prompts) + 1, dtype=np.int32) * vectors.shape[1]
    values = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
    return pa.table(
        {
            "prompt": pa.array([task.prompt_name(key) for key, _ in prompts], pa.string()),
            "embedding": pa.ListArray.from_arrays(pa.array(ends), values),
        }
    )


def scores(task: Task) -> pa.Table:
    """Membership scores of whole records; a record of several windows is put together."""
    patients = task.workload.scored[task.job.digest]
    records = [task.workload.split(is_member).record(index) for is_member, index in patients]
    kept, scored = _scored(task, records)
    return pa.table(
        {
            "patient": pa.array([task.patient(*patients[i]) for i in kept], pa.string()),
            "member": pa.array([patients[i][0] for i in kept], pa.bool_()),
            "subgroups": pa.array(
                [task.workload.subgroups_of(*patients[i]) for i in kept],
                pa.list_(pa.string()),
            ),
            **scored,
        }
    )


def spare_scores(task: Task) -> pa.Table:
    """The same scores of spare patients, who are in no split and no subgroup."""
    spare, subjects = task.workload.spare, task.workload.cohort.spare.subject_id
    kept, scored = _scored(task, [spare.record(index) for index in range(len(spare))])
    names = [task.names.pseudonyms.of_subject(int(subjects[i])) for i in kept]
    return pa.table({"patient": pa.array(names, pa.string()), **scored})


def _scored(task: Task, records: list[TokenizedRecord]) -> tuple[list[int], dict[str, Any]]:
    """Score records; return which of them have a score, and their columns."""
    pieces: list[tuple[int, Tokens, int]] = []
    for number, record in enumerate(records):
        own = task.workload.pieces_of(record.tokens, record.kind)
        pieces += [(number, tokens, first) for tokens, first in own]
    scored = task.model.score([tokens for _, tokens, _ in pieces], progress=task.advance)
    parts: list[list[TokenScores]] = [[] for _ in records]
    for (number, _, first), result in zip(pieces, scored, strict=True):
        at = slice(first - 1, None)
        parts[number].append(TokenScores(result.logprob[at], result.mean[at], result.std[at]))
    percents = [float(k) for k in task.job.inputs["k"]]
    kept = [i for i, found in enumerate(parts) if found]
    rows = [_record_scores(parts[i], percents=percents) for i in kept]
    columns = [
        "loss",
        *(score_column(score, k) for k in percents for score in ("min-k", "min-k++")),
    ]
    found: dict[str, Any] = {"tokens": pa.array([int(row[0]) for row in rows], pa.int64())}
    found |= {
        column: pa.array([row[place] for row in rows], pa.float32())
        for place, column in enumerate(columns, start=1)
    }
    return kept, found


def prompt_format(task: Task) -> pa.Table:
    """Mean loss of members' event tokens under the declared format and its variants."""
    cohort = task.workload.cohort
    count = int(task.job.inputs["patients"])
    chosen = task.plan.rng_for("prompt-format").permutation(len(task.workload.members))[:count]
    chosen.sort()
    variants = list(
        format_variants(
            cohort.members.select(chosen),
            cohort.codes,
            tokenizer=task.workload.tokenizer,
            bos_id=task.workload.bos_id,
            max_length=task.workload.max_length,
            positions=_positions(task),
            segments=_takes_segments(task),
        )
    )
    usable = [i for i in range(count) if all(v.compared[i][1:].any() for v in variants)]
    tables = TokenTables.fitted(
        task.workload.nonmembers, vocabulary_size=task.plan.target.vocabulary_size
    )
    columns: dict[str, list[Any]] = {
        name: [] for name in ("patient", "variant", "loss", "unigram", "bigram")
    }
    for variant in variants:
        scored = task.model.score([variant.sequences[i] for i in usable], progress=task.advance)
        for i, result in zip(usable, scored, strict=True):
            loss = -float(result.logprob[variant.compared[i][1:]].mean())
            columns["patient"].append(task.patient(True, int(chosen[i])))
            columns["variant"].append(variant.name)
            columns["loss"].append(loss)
            floor: tuple[float | None, float | None] = (None, None)
            if variant.name == DECLARED:
                floor = tables.losses(variant.sequences[i], compared=variant.compared[i])
            columns["unigram"].append(floor[0])
            columns["bigram"].append(floor[1])
    types = {name: pa.float64() for name in columns}
    types |= {"patient": pa.string(), "variant": pa.string()}
    return pa.table(columns, schema=pa.schema(list(types.items())))


def _positions(task: Task) -> int | None:
    """Return how many positions a model has that is told none; None where it takes none."""
    info = task.model.info
    if "position_ids" not in _undeclared(task):
        return None
    return info.context_length or MOST_POSITIONS


def _undeclared(task: Task) -> frozenset[str]:
    """Return what a model can be told beside token ids, of which the target says nothing."""
    return task.model.info.channels - {rule.name for rule in task.workload.tokenizer.channels}


def _takes_segments(task: Task) -> bool:
    """Whether a model can be told two segments, which the target does not say.

    Some take the same input for what a token may look at. They would see the tokens to come, and
    any record would be likelier so.
    """
    lengths = task.workload.members.offsets[1:] - task.workload.members.offsets[:-1]
    if SEGMENTS not in _undeclared(task) or not len(lengths):
        return False
    record = task.workload.members.record(int(np.argmax(lengths)))
    tokens = record.tokens[: task.workload.max_length]
    if len(tokens) < SHORTEST_TRIAL:
        return False
    other = tokens.copy()
    other[-1] = (int(tokens[-1]) + 1) % task.model.info.vocabulary_size
    second = (np.arange(len(tokens)) >= len(tokens) // 2).astype(np.float64)
    told = [
        also_told(own, SEGMENTS, half) for half in (second, 1 - second) for own in (tokens, other)
    ]
    try:
        a, b, c, d = (scores.logprob[:-1] for scores in task.model.score(told))
    except TargetError:
        return False  # one segment is all that it knows
    apart = float(max(np.abs(a - b).max(), np.abs(c - d).max()))
    return apart <= tolerance_of("later-tokens", task.model.info.dtype)


def expected_loss(task: Task) -> pa.Table:
    """The loss of members' records as a trainer counts it: over all tokens behind the first."""
    count = int(task.job.inputs["patients"])
    chosen = task.plan.rng_for("prompt-format").permutation(len(task.workload.members))[:count]
    chosen.sort()
    records = [
        (i, task.workload.members.record(i).tokens[: task.workload.max_length])
        for i in chosen.tolist()
    ]
    records = [(i, tokens) for i, tokens in records if len(tokens) > 1]
    scored = task.model.score([tokens for _, tokens in records], progress=task.advance)
    return pa.table(
        {
            "patient": pa.array([task.patient(True, i) for i, _ in records], pa.string()),
            "tokens": pa.array([len(tokens) - 1 for _, tokens in records], pa.int64()),
            "loss": pa.array([-float(one.logprob.mean()) for one in scored], pa.float64()),
        }
    )


def _record_scores(parts: list[TokenScores], *, percents: list[float]) -> list[float]:
    """Put a record's windows together: tokens, loss, and Min-K% and Min-K%++ for every k."""
    logprob = np.concatenate([part.logprob for part in parts])
    mean = np.concatenate([part.mean for part in parts])
    std = np.concatenate([part.std for part in parts])
    found = [len(logprob), membership.loss(logprob)]
    for k in percents:
        found.append(membership.min_k(logprob, k_percent=k))
        found.append(membership.min_k_plus_plus(logprob, mean, std, k_percent=k))
    return found
