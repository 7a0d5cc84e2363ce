"""A language model made of tables, whose leakage is known exactly.

Tests and the calibration of phigate (METHODS §7) need targets of known
truth. This one follows a population model (a unigram, or a table of first-order transitions) except
where the whole history is the beginning of a record it has memorised: there the next token is, with
that record's weight, the record's own. It is a language model in the strict sense, `score` and
`rollout` speak of one and the same distribution, so whatever an audit measures can be checked by
hand.

The state after a history is a node of the trie of memorised records (or none) and the row of the
population table that the last token selects; every verb works on the distinct states of a batch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from checker.canonical import JsonModel, digest, sha256_hex
from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.targets import (
    LOGPROB_FLOOR,
    More,
    MoreWatched,
    Progress,
    SampledScores,
    Sampler,
    TargetDescription,
    TargetInfo,
    Tokens,
    TokenScores,
    Watch,
    WatchedRollout,
    require_fit,
)
from checker.targets.compensator import summed, without_end
from checker.targets.sampling import cut_at, shape_probabilities, uniforms
from checker.testing.memorized_trie import UNKNOWN, FloatArray, IntArray, MemorizedTrie

Capability = Literal["samples", "logprobs", "embeddings"]
TokenId = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]

_SUM_TOLERANCE = 1e-6
_CHUNK_ELEMENTS = 1 << 22  # of float64 probabilities held at once: 32 MiB


class MemorizedRecord(JsonModel):
    """One record the model repeats.

    Args:
        tokens: the whole record.
        first: written `from`; the model knows the record once the history has this many tokens.
        weight: share of the next-token probability that goes to the record's own next token.
    """

    tokens: Annotated[list[TokenId], Field(min_length=2)]
    first: Annotated[int, Field(ge=0, alias="from")] = 1
    weight: Probability = 1.0


class SimulatedModel(JsonModel):
    """The file behind a simulated target.

    Args:
        vocabulary_size: V; token ids are 0 to V - 1.
        context_length: most tokens it can see, or None.
        unigram: V probabilities; uniform where absent.
        transitions: for some tokens, the probabilities of the next; others follow the unigram.
        memorized: the records it repeats. Records that begin alike share equally.
        capabilities: what the target offers; one that offers samples and log-probabilities says
            too how likely its sampler is to name a class ("masses").
        bos_token_id: as a model's own configuration would name it.
    """

    vocabulary_size: Annotated[int, Field(ge=1)]
    context_length: Annotated[int, Field(ge=1)] | None = None
    unigram: list[Probability] | None = None
    transitions: dict[TokenId, dict[TokenId, Probability]] = Field(default_factory=dict)
    memorized: list[MemorizedRecord] = Field(default_factory=list)
    capabilities: frozenset[Capability] = frozenset({"samples", "logprobs", "embeddings"})
    bos_token_id: TokenId | None = None

    @model_validator(mode="after")
    def _check(self) -> SimulatedModel:
        if self.unigram is not None:
            if len(self.unigram) != self.vocabulary_size:
                raise ValueError(
                    f"unigram has {len(self.unigram)} entries for {self.vocabulary_size} tokens"
                )
            _check_sum("unigram", self.unigram)
        for token, row in self.transitions.items():
            self._check_ids(f"transitions.{token}", [token, *row])
            _check_sum(f"transitions.{token}", list(row.values()))
        for index, record in enumerate(self.memorized):
            self._check_ids(f"memorized.{index}", record.tokens)
        return self

    @property
    def offers(self) -> frozenset[str]:
        """All capabilities, those that follow from others too."""
        whole = {"samples", "logprobs"} <= self.capabilities
        return self.capabilities | ({"masses"} if whole else set())

    def _check_ids(self, place: str, ids: Sequence[int]) -> None:
        if max(ids) >= self.vocabulary_size:
            raise ValueError(
                f"{place} names token {max(ids)}, but ids end at {self.vocabulary_size - 1}"
            )


def _check_sum(place: str, probabilities: Sequence[float]) -> None:
    total = sum(probabilities)
    if abs(total - 1.0) > _SUM_TOLERANCE:
        raise ValueError(f"{place} sums to {total:.6g}, not 1")


def write_simulated(path: Path, **tables: Any) -> Path:
    """Write the file of a simulated target and return its path.

    Args:
        path: of the file.
        tables: fields of `SimulatedModel`.

    Raises:
        pydantic.ValidationError: the tables contradict each other.
    """
    if tables.get("unigram") is not None:
        tables["unigram"] = [float(share) for share in tables["unigram"]]
    content = SimulatedModel(**tables).model_dump(mode="json")
    content["capabilities"] = sorted(content["capabilities"])
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return path


class SimulatedBackend:
    """Simulated targets; `model.path` names their JSON file."""

    name: ClassVar[str] = "simulated"

    def describe(self, spec: ModelSpec, base: Path) -> TargetDescription:
        path = base / spec.path
        model, content = _read_simulated(path)
        files = {path.name: sha256_hex(content)}
        return TargetDescription(
            backend=self.name,
            vocabulary_size=model.vocabulary_size,
            context_length=model.context_length,
            capabilities=model.offers,
            bos_token_id=model.bos_token_id,
            files=files,
            sha256=digest(files),
        )

    def open(
        self, spec: ModelSpec, base: Path, *, pad_id: int | None, eos_id: int | None
    ) -> SimulatedTarget:
        """Open the target; it needs no padding, so `pad_id` is not used.

        Raises:
            TargetError: as `describe`.
        """
        model, _ = _read_simulated(base / spec.path)
        return SimulatedTarget(model, eos_id=eos_id)


def _read_simulated(path: Path) -> tuple[SimulatedModel, bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TargetError(
            f"{path}: cannot be read ({error.strerror or error}); model.path of a simulated target "
            "names its JSON file, relative to the target file"
        ) from error
    try:
        return SimulatedModel.model_validate_json(content), content
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        message = first["msg"].removeprefix("Value error, ")
        raise TargetError(f"{path}: {place}: {message}{more}") from error


class SimulatedTarget:
    """A target of known truth; see the module's docstring.

    Args:
        model: its tables.
        eos_id: ends a rollout; None means that only the horizon does.
    """

    def __init__(self, model: SimulatedModel, *, eos_id: int | None = None) -> None:
        self._size = model.vocabulary_size
        self._eos_id = eos_id
        self._trie = MemorizedTrie.of(
            ((one.tokens, one.first, one.weight) for one in model.memorized),
            vocabulary_size=self._size,
        )
        self._rows, self._row_of = _population(model)
        self._info = TargetInfo(
            backend=SimulatedBackend.name,
            vocabulary_size=self._size,
            context_length=model.context_length,
            capabilities=model.offers,
            device="cpu",
            dtype="float64",
            microbatch_tokens=_CHUNK_ELEMENTS,
            libraries={"numpy": np.__version__},
        )

    @property
    def info(self) -> TargetInfo:
        return self._info

    def score(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> list[TokenScores]:
        columns = self._read(sequences, self._statistics, progress)
        return [
            TokenScores(logprob=logprob, mean=mean, std=std, first=first > 0)
            for logprob, mean, std, first in zip(*columns, strict=True)
        ][: len(sequences)]

    def score_sampled(
        self,
        sequences: Sequence[Tokens],
        *,
        temperature: float,
        top_p: float,
        progress: Progress | None = None,
    ) -> list[SampledScores]:
        """Score whole sequences as a sampler draws; arguments as those of the Hugging Face one.

        Raises:
            TargetError: no log-probabilities are offered, or a sequence does not fit.
        """
        sampler = Sampler(temperature=temperature, top_p=top_p, horizon_tokens=1, seed=0)

        def sampled(nodes: IntArray, last: IntArray, following: IntArray) -> list[Any]:
            return self._sampled(nodes, last, following, sampler=sampler)

        columns = self._read(sequences, sampled, progress)
        return [SampledScores(*found) for found in zip(*columns, strict=True)][: len(sequences)]

    def _read(
        self,
        sequences: Sequence[Tokens],
        columns_of: Callable[[IntArray, IntArray, IntArray], list[Any]],
        progress: Progress | None,
    ) -> list[list[Any]]:
        """Return what is read of the distribution before each token but the first, by sequence."""
        self._require("logprobs")
        require_fit(sequences, info=self._info)
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        nodes, last = self._walk(sequences)
        real = np.arange(nodes.shape[1]) < (lengths - 1)[:, None]
        following = [sequence[1:] for sequence in sequences]
        columns = columns_of(
            nodes[real], last[real], np.concatenate([np.empty(0, np.int64), *following])
        )
        ends = (lengths - 1).cumsum().tolist()
        if progress is not None:
            progress(int(lengths.sum()))
        cuts = list(zip([0, *ends], ends, strict=False))
        return [[column[start:end] for start, end in cuts] for column in columns]

    def rollout(
        self,
        prompts: Sequence[Tokens],
        *,
        keys: Sequence[int],
        samples: int,
        sampler: Sampler,
        more: More | None = None,
        progress: Progress | None = None,
    ) -> list[list[Tokens]]:
        drawn = self._rollout(prompts, keys, samples, sampler, None, _tokens_of(more), progress)
        return [[one.tokens for one in rows] for rows in drawn]

    def watched_rollout(
        self,
        prompts: Sequence[Tokens],
        *,
        keys: Sequence[int],
        samples: int,
        sampler: Sampler,
        watch: Watch,
        more: MoreWatched | None = None,
        progress: Progress | None = None,
    ) -> list[list[WatchedRollout]]:
        """Draw what `rollout` draws, each continuation with its compensators.

        Arguments are those of `rollout`, the classes to watch, [C, V], and a `more` that is given
        the compensators too.

        Raises:
            TargetError: samples or log-probabilities are not offered, or a prompt does not fit.
        """
        self._require("logprobs")
        named = without_end(watch, eos_id=self._eos_id)
        return self._rollout(prompts, keys, samples, sampler, named, more, progress)

    def masses(
        self,
        prompts: Sequence[Tokens],
        drawn: Sequence[Tokens],
        *,
        sampler: Sampler,
        watch: Watch,
        progress: Progress | None = None,
    ) -> list[FloatArray]:
        self._require("logprobs")
        watch, found = without_end(watch, eos_id=self._eos_id), []
        for prompt, tokens in zip(prompts, drawn, strict=True):
            steps = len(tokens) + (len(tokens) < sampler.horizon_tokens)
            whole = np.concatenate([prompt, tokens]).astype(np.int32)
            nodes, last = self._walk([whole])
            asked = slice(len(prompt) - 1, len(prompt) - 1 + steps)
            own = np.empty((steps, len(watch)))
            for found_in, state, rows in self._distributions(nodes[0, asked], last[0, asked]):
                own[found_in] = _shares(rows, sampler, watch)[state]
            found.append(own)
            if progress is not None:
                progress(len(whole))
        return found

    def _rollout(
        self,
        prompts: Sequence[Tokens],
        keys: Sequence[int],
        samples: int,
        sampler: Sampler,
        watch: Watch | None,
        more: MoreWatched | None,
        progress: Progress | None,
    ) -> list[list[WatchedRollout]]:
        self._require("samples")
        require_fit(prompts, info=self._info, horizon_tokens=sampler.horizon_tokens)
        lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
        nodes, last = self._walk(prompts)
        ends = (np.arange(len(prompts)), lengths - 1)
        nodes, last = nodes[ends], last[ends]
        found: list[list[WatchedRollout]] = [[] for _ in prompts]
        wanted = dict.fromkeys(range(len(prompts)), samples)
        while wanted:
            rows = np.repeat(list(wanted), list(wanted.values()))
            draws = [
                (keys[row], len(found[row]) + number)
                for row, count in wanted.items()
                for number in range(count)
            ]
            drawn = self._continue(
                nodes[rows], last[rows], draws, sampler=sampler, watch=watch, progress=progress
            )
            for row, one in zip(rows.tolist(), drawn, strict=True):
                found[row].append(one)
            asked = {} if more is None else {row: more(row, found[row]) for row in wanted}
            wanted = {row: count for row, count in asked.items() if count}
        return found

    def _continue(
        self,
        nodes: IntArray,
        last: IntArray,
        draws: list[tuple[int, int]],
        *,
        sampler: Sampler,
        watch: Watch | None,
        progress: Progress | None,
    ) -> list[WatchedRollout]:
        """Draw one continuation of each of n histories by its key and sample number."""
        numbers = uniforms(draws, sampler=sampler)
        drawn = np.empty(numbers.shape, dtype=np.int32)
        masses = np.empty((*numbers.shape, 0 if watch is None else len(watch)))
        for step in range(sampler.horizon_tokens):
            last, masses[:, step] = self._draw(
                nodes, last, numbers[:, step], sampler=sampler, watch=watch
            )
            nodes = self._trie.step(nodes, last, vocabulary_size=self._size)
            drawn[:, step] = last
            if progress is not None:
                progress(len(draws))
        tokens = cut_at(drawn, eos_id=self._eos_id)
        if watch is None:
            nothing = np.empty(0, dtype=np.float32)
            return [WatchedRollout(row, nothing) for row in tokens]
        lengths = np.array([len(row) for row in tokens])[:, None]
        steps = np.arange(sampler.horizon_tokens)
        masses[steps > lengths] = 0.0  # the step at which the end was drawn is the last
        hits = watch.T[drawn] & (steps < lengths)[:, :, None]
        return [WatchedRollout(*pair) for pair in zip(tokens, summed(masses, hits), strict=True)]

    def embed(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return a bag of tokens for each sequence, scaled to length one: [n, V] float32.

        It holds the sequence's own tokens and, where the sequence is the beginning of a memorised
        record, what the model would most likely go on with, as a trained model's hidden state holds
        what it is about to say.

        Raises:
            TargetError: no embeddings are offered, or a sequence does not fit.
        """
        self._require("embeddings")
        require_fit(sequences, info=self._info)
        bags = np.zeros((len(sequences), self._size), dtype=np.float32)
        nodes, _ = self._walk(sequences)
        for bag, sequence, row in zip(bags, sequences, nodes, strict=True):
            bag += np.bincount(sequence, minlength=self._size)
            for token, share in self._recalled(int(row[len(sequence) - 1])):
                bag[token] += share
            bag /= np.linalg.norm(bag)
        if progress is not None:
            progress(sum(len(sequence) for sequence in sequences))
        return bags

    def _recalled(self, node: int) -> Iterator[tuple[int, float]]:
        """Yield the likeliest memorised continuation of a history, with each token's share."""
        while node != UNKNOWN:
            claims = slice(self._trie.starts[node], self._trie.starts[node + 1])
            tokens, shares = self._trie.tokens[claims], self._trie.shares[claims]
            if not len(tokens):
                return
            best = int(np.argmax(shares))
            yield int(tokens[best]), float(shares[best])
            step = self._trie.step(
                np.array([node]), tokens[best : best + 1], vocabulary_size=self._size
            )
            node = int(step[0])

    def preflight(self, sequences: Sequence[Tokens]) -> dict[str, float]:
        """Check that the probabilities after every history in `sequences` sum to one.

        Returns:
            The largest deviation, as "probability-sum".

        Raises:
            TargetError: a sequence does not fit, or the tables do not sum to one.
        """
        require_fit(sequences, info=self._info)
        nodes, last = self._walk(sequences)
        worst = 0.0
        for _, _, probabilities in self._distributions(nodes.ravel(), last.ravel()):
            worst = max(worst, float(np.abs(probabilities.sum(axis=1) - 1.0).max()))
        if worst > _SUM_TOLERANCE:
            raise TargetError(f"the next-token probabilities miss one by {worst:.3g}")
        return {"probability-sum": worst}

    def _require(self, capability: Capability) -> None:
        if capability not in self._info.capabilities:
            raise TargetError(f"this simulated target offers no {capability}")

    def _walk(self, sequences: Sequence[Tokens]) -> tuple[IntArray, IntArray]:
        """Return node and last token after every token of every sequence, [n, longest] each."""
        longest = max((len(sequence) for sequence in sequences), default=0)
        tokens = np.zeros((len(sequences), longest), dtype=np.int64)
        for row, sequence in zip(tokens, sequences, strict=True):
            row[: len(sequence)] = sequence
        nodes = np.empty_like(tokens)
        current = np.zeros(len(sequences), dtype=np.int64)
        for position in range(longest):
            current = self._trie.step(current, tokens[:, position], vocabulary_size=self._size)
            nodes[:, position] = current
        return nodes, tokens

    def _distributions(
        self, nodes: IntArray, last: IntArray
    ) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
        """Yield the distributions behind n histories, those that share a state once.

        Chunk by chunk: which histories it speaks of, [m], by their states, which those are, [m]
        ascending, and the states' probabilities, [k, V].
        """
        width = len(self._rows)
        states, which = np.unique((nodes + 1) * width + self._row_of[last], return_inverse=True)
        order = np.argsort(which, kind="stable")
        ends = np.bincount(which, minlength=len(states)).cumsum()
        size = max(1, _CHUNK_ELEMENTS // self._size)
        done = 0
        for start in range(0, len(states), size):
            chunk = states[start : start + size]
            end = int(ends[start + len(chunk) - 1])
            found, done = order[done:end], end
            probabilities = self._probabilities(chunk // width - 1, chunk % width)
            yield found, which[found] - start, probabilities

    def _probabilities(self, nodes: IntArray, rows: IntArray) -> FloatArray:
        known = np.where(nodes == UNKNOWN, 0.0, self._trie.known[nodes])
        # shares that sum to one may do so by a rounding too much
        mixed = self._rows[rows] * np.maximum(1.0 - known, 0.0)[:, None]
        remembering = np.flatnonzero(known)
        starts = self._trie.starts[nodes[remembering]]
        counts = self._trie.starts[nodes[remembering] + 1] - starts
        # of each such state all claims of its node, one after the other
        claims = np.arange(counts.sum()) + np.repeat(starts - (counts.cumsum() - counts), counts)
        at = (np.repeat(remembering, counts), self._trie.tokens[claims])
        np.add.at(mixed, at, self._trie.shares[claims])
        return mixed

    def _draw(
        self,
        nodes: IntArray,
        last: IntArray,
        numbers: FloatArray,
        *,
        sampler: Sampler,
        watch: Watch | None,
    ) -> tuple[IntArray, FloatArray]:
        """Draw n tokens; return them, and how likely each class was to be drawn: [n, C]."""
        drawn = np.empty(len(nodes), dtype=np.int64)
        masses = np.empty((len(nodes), 0 if watch is None else len(watch)))
        for found, state, rows in self._distributions(nodes, last):
            weights = shape_probabilities(rows, sampler=sampler)
            mass = weights.cumsum(axis=1)
            wanted = numbers[found] * mass[state, -1]
            tokens = np.empty(len(found), dtype=np.int64)
            ends = np.bincount(state, minlength=len(mass)).cumsum().tolist()
            for start, end, row in zip([0, *ends], ends, mass, strict=False):
                tokens[start:end] = row.searchsorted(wanted[start:end], side="right")
            drawn[found] = tokens
            if watch is not None:
                masses[found] = (_named(weights, watch) / mass[:, -1:])[state]
        return drawn, masses

    def _statistics(
        self, nodes: IntArray, last: IntArray, following: IntArray
    ) -> list[NDArray[np.float32]]:
        """Return log p(following), mean and std of log p, and whether it is first: [4, n]."""
        columns = [np.empty(len(nodes), dtype=np.float32) for _ in range(4)]
        for found, state, probabilities in self._distributions(nodes, last):
            with np.errstate(divide="ignore"):
                logs = np.maximum(np.log(probabilities), LOGPROB_FLOOR)
            means = (probabilities * logs).sum(axis=1)
            spreads = np.sqrt((probabilities * (logs - means[:, None]) ** 2).sum(axis=1))
            columns[0][found] = logs[state, following[found]]
            columns[1][found] = means[state]
            columns[2][found] = spreads[state]
            columns[3][found] = columns[0][found] >= logs.max(axis=1).astype(np.float32)[state]
        return columns

    def _sampled(
        self, nodes: IntArray, last: IntArray, following: IntArray, *, sampler: Sampler
    ) -> list[Any]:
        """Return log p(following), whether greedy decoding takes it, and log p without top-p."""
        logprob, whole = (np.empty(len(nodes), dtype=np.float32) for _ in range(2))
        first = np.empty(len(nodes), dtype=np.bool_)
        open_ = replace(sampler, top_p=1.0)
        for found, state, probabilities in self._distributions(nodes, last):
            for column, shape in ((logprob, sampler), (whole, open_)):
                weights = shape_probabilities(probabilities, sampler=shape)
                own = weights[state, following[found]] / weights.sum(axis=1)[state]
                with np.errstate(divide="ignore"):
                    column[found] = np.maximum(np.log(own), LOGPROB_FLOOR)
            first[found] = following[found] == probabilities.argmax(axis=1)[state]
        return [logprob, first, whole]


def _shares(rows: FloatArray, sampler: Sampler, watch: Watch) -> FloatArray:
    """Return how likely the sampler is to draw each class from rows of probabilities: [k, C]."""
    weights = shape_probabilities(rows, sampler=sampler)
    shares: FloatArray = _named(weights, watch) / weights.sum(axis=1, keepdims=True)
    return shares


def _named(weights: FloatArray, watch: Watch) -> FloatArray:
    """Return what each class has of rows of weights: [k, C]; a row's does not depend on others."""
    columns = [weights[:, np.flatnonzero(own)].sum(axis=1) for own in watch]
    return np.stack(columns, axis=1) if columns else np.empty((len(weights), 0))


def _tokens_of(more: More | None) -> MoreWatched | None:
    """Let `more` see the tokens only."""
    if more is None:
        return None
    return lambda number, drawn: more(number, [one.tokens for one in drawn])


def _population(model: SimulatedModel) -> tuple[FloatArray, IntArray]:
    """Return the distinct rows of the population table [R, V] and each last token's row [V]."""
    size = model.vocabulary_size
    rows = np.zeros((1 + len(model.transitions), size), dtype=np.float64)
    rows[0] = 1.0 / size if model.unigram is None else model.unigram
    row_of = np.zeros(size, dtype=np.int64)
    for index, (token, following) in enumerate(model.transitions.items(), start=1):
        row_of[token] = index
        rows[index, list(following)] = list(following.values())
    return rows / rows.sum(axis=1, keepdims=True), row_of
