"""Answer phigate's questions to a model from the model's own process, over Arrow Flight.

One file, made to be copied: Python 3.9 or later, NumPy and pyarrow are all that it needs, so that
it runs beside whatever the model is pinned to. A server is a script that loads a model and ends in
`serve(model, files="the/weights")`; a model is a `NextToken` that gives logits, or any object with
phigate's own verbs. See docs/targets.md.

Draws follow from the audit's seed, the prompt's key, the sample's number and the step, and from
nothing else (`uniforms`); phigate draws by the same functions when the model runs in its process.
"""

from __future__ import annotations

import hashlib
import hmac
import inspect
import json
import os
import queue
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PROTOCOL = 1
"""Both sides speak the same, or do not speak."""

TOKEN_VARIABLE = "PHIGATE_FLIGHT_TOKEN"
"""Names the secret that whoever asks has to know."""

ANNOUNCE_VARIABLE = "PHIGATE_FLIGHT_ANNOUNCE"
"""Names the file in which a server that phigate started says where it listens."""

LOGPROB_FLOOR = -1000.0
"""Nats; an impossible token scores this, not minus infinity, so that every mean stays a number."""

CAPABILITY_OF = {
    "rollout": "samples",
    "score": "logprobs",
    "embed": "embeddings",
    "masses": "masses",
}
"""What phigate calls what a model can do, by the verb that does it."""

ANSWERS: dict[str, tuple[tuple[str, str], ...]] = {
    "score": (("logprob", "floats"), ("mean", "floats"), ("std", "floats"), ("first", "flags")),
    "score_sampled": (("logprob", "floats"), ("first", "flags")),
    "steps": (("logprob", "floats"),),
    "masses": (("masses", "doubles"),),
    "embed": (("vector", "floats"),),
    "gain_of_one_pass": (("gain", "double"),),
    "rollout": (("prompt", "int"), ("tokens", "ints")),
    "watched_rollout": (("prompt", "int"), ("tokens", "ints"), ("expected", "floats")),
    "preflight": (("name", "text"), ("deviation", "double")),
}
"""The columns in which each verb is answered; a model offers the verbs that it has methods for."""

SHORTEST_TOKEN = 16  # characters of a secret

_PROGRESS_EVERY = 0.1  # seconds
_POLL = 0.02  # seconds
_BATCH_VALUES = 1 << 20  # numbers in one message
_ROUNDING = 1e-6  # sums of parts of a unit that miss a whole one by less are told as that


class CannotAnswer(Exception):
    """What the model cannot do; its sentence reaches whoever asked."""


# --- how draws follow from seeds ------------------------------------------------------------------


@dataclass(frozen=True)
class Sampler:
    """How continuations are drawn.

    Args:
        temperature: > 0; logits are divided by it.
        top_p: in (0, 1]; the smallest set of tokens with at least this mass is kept.
        horizon_tokens: at most this many new tokens.
        seed: of the whole audit; a draw depends on it, the prompt's key, the sample and the step
            only, never on the batch.
    """

    temperature: float
    top_p: float
    horizon_tokens: int
    seed: int


def uniforms(draws: Sequence[tuple[int, int]], *, sampler: Any) -> Any:
    """Return the uniforms of a set of rollouts, which depend on seed, key and sample only.

    Args:
        draws: n pairs of prompt key and sample number, each in [0, 2**64).
        sampler: its seed, in [0, 2**64), and its horizon.

    Returns:
        [n, horizon_tokens] float64 in [0, 1). A longer horizon only appends columns.
    """
    bits = np.random.Philox(key=np.zeros(2, dtype=np.uint64))
    state: Any = bits.state
    rows = np.empty((len(draws), sampler.horizon_tokens), dtype=np.uint64)
    for row, (key, sample) in enumerate(draws):
        # Resetting one generator costs a sixth of making a new one.
        state["state"] = {
            "counter": np.array([0, 0, 0, sample], dtype=np.uint64),
            "key": np.array([sampler.seed, key], dtype=np.uint64),
        }
        bits.state = state
        rows[row] = bits.random_raw(sampler.horizon_tokens)
    # NumPy promises the stream of raw bits across versions, but not that of Generator.random.
    return np.ldexp((rows >> np.uint64(11)).astype(np.float64), -53)


def shape_probabilities(probabilities: Any, *, sampler: Any) -> Any:
    """Apply temperature and top-p.

    Args:
        probabilities: [n, V], rows sum to one.
        sampler: its temperature and top_p.

    Returns:
        [n, V] weights that need not sum to one; tokens with equal probability at the edge of top-p
        are all kept.
    """
    weights = probabilities
    if sampler.temperature != 1.0:
        # Relative to the largest, because p ** (1 / T) underflows for small T.
        weights = (weights / weights.max(axis=1, keepdims=True)) ** (1.0 / sampler.temperature)
    if sampler.top_p < 1.0:
        weights = weights / weights.sum(axis=1, keepdims=True)
        ranked = np.sort(weights, axis=1)[:, ::-1]
        inside = ranked.cumsum(axis=1) - ranked < sampler.top_p
        least = np.where(inside, ranked, np.inf).min(axis=1, keepdims=True)
        weights = np.where(weights < least, 0.0, weights)
    return weights


def cut_at(rows: Any, *, eos_id: int | None) -> list[Any]:
    """Return each row of [n, H] without its first `eos_id` and what follows it."""
    if eos_id is None:
        return list(rows)
    hits = rows == eos_id
    ends = np.where(hits.any(axis=1), hits.argmax(axis=1), rows.shape[1])
    return [row[:end] for row, end in zip(rows, ends)]


# --- models ---------------------------------------------------------------------------------------


class Scores(NamedTuple):
    """Log-probabilities of one sequence of L tokens, nats, each [L - 1].

    Position i speaks of token i + 1 given tokens 0..i; `mean` and `std` are of the log-probability
    of the next token under the model itself; `first` says whether no other token was likelier.
    """

    logprob: Any
    mean: Any
    std: Any
    first: Any


@dataclass(frozen=True)
class Rule:
    """How a channel goes on behind a prompt and how it is told, as the target declares it.

    Args:
        each: growth from token to token.
        adds: [V] growth at a token beside that.
        sets: [V] the value that a token sets; NaN where it sets none.
        late: whether a token's change holds from the next token on.
        start: value of a first token; values go round above it where there is a modulo.
        modulo: after so much; None where they do not.
        whole: whether the model is told whole numbers, rounded down.
        most: largest value that is told, or None.
    """

    each: float
    adds: Any
    sets: Any
    late: bool
    start: float
    modulo: float | None
    whole: bool
    most: float | None

    def behind(self, before: Any, last: Any, new: Any) -> Any:
        """Return the values [n] of new tokens [n] behind `last` [n], whose values are `before`."""
        changing = last if self.late else new
        grown = before + self.each + self.adds[changing]
        values = np.where(np.isnan(self.sets[changing]), grown, self.sets[changing])
        if self.modulo is None:
            return values
        return self.start + np.mod(values - self.start + _ROUNDING, self.modulo) - _ROUNDING

    def told(self, values: Any) -> Any:
        """Return what the model is given: int64 where values are whole, else float32."""
        bounded = values if self.most is None else np.minimum(values, self.most)
        return np.floor(bounded + _ROUNDING).astype(np.int64) if self.whole else np.float32(bounded)


@dataclass(frozen=True)
class Channels:
    """What stands beside token ids: [n, L] float64 by name, exact, and the rule of each."""

    exact: Mapping[str, Any]
    rules: Mapping[str, Rule]

    @property
    def told(self) -> dict[str, Any]:
        """What the model is given, [n, L] by name."""
        return {name: rule.told(self.exact[name]) for name, rule in self.rules.items()}

    def rows(self, kept: Any) -> Channels:
        """Return those of some sequences."""
        return Channels({name: one[kept] for name, one in self.exact.items()}, self.rules)

    def behind(self, last: Any, new: Any) -> Channels:
        """Return them with those of new tokens, [n] behind `last`, which stood at the end."""
        grown = {
            name: np.concatenate([own, rule.behind(own[:, -1], last, new)[:, None]], axis=1)
            for (name, rule), own in zip(self.rules.items(), self.exact.values())
        }
        return Channels(grown, self.rules)


@dataclass(frozen=True)
class Beside:
    """Channels of sequences of any lengths: a list of exact values a name, and the rules."""

    exact: Mapping[str, Sequence[Any]]
    rules: Mapping[str, Rule]

    def of(self, numbers: Sequence[int]) -> Beside:
        """Return those of some sequences."""
        return Beside(
            {name: [own[i] for i in numbers] for name, own in self.exact.items()}, self.rules
        )

    def stacked(self, numbers: Sequence[int]) -> Channels:
        """Return those of some sequences of one length."""
        rows = {name: np.stack([own[i] for i in numbers]) for name, own in self.exact.items()}
        return Channels(rows, self.rules)

    def continued(self, prompts: Sequence[Any], drawn: Sequence[Any]) -> Beside:
        """Return them with those of what was drawn behind each sequence."""
        found: dict[str, list[Any]] = {name: [] for name in self.exact}
        for number, (prompt, rest) in enumerate(zip(prompts, drawn)):
            row, last = self.stacked([number]), np.asarray(prompt)[-1:]
            for token in np.asarray(rest):
                row, last = row.behind(last, token[None]), token[None]
            for name, own in row.exact.items():
                found[name].append(own[0])
        return Beside(found, self.rules)


class NextToken:
    """A model that gives logits of the next token; the verbs that phigate asks follow from them.

    Sequences reach `logits` in batches of one length, so nothing is padded or masked.

    Attributes:
        vocabulary_size: V; ids run from 0 to V - 1.
        context_length: most tokens it can see, or None.
        channels: names of what it takes beside the ids; how they go on is the target's to say.
        dtype, device, libraries: what its numbers depend on.
        batch_tokens: tokens that `logits` is given at once.
        eos_id, pad_id: set by `serve` before anything is asked; eos_id ends a continuation.
    """

    vocabulary_size: int
    context_length: int | None = None
    channels: Sequence[str] = ()
    dtype: str = "float32"
    device: str = "cpu"
    libraries: Mapping[str, str] = {}
    batch_tokens: int = 8192
    eos_id: int | None = None
    pad_id: int | None = None

    def logits(self, tokens: Any, channels: Mapping[str, Any]) -> Any:
        """Return logits of the token after each place: [n, L, V].

        The ones at a place may depend on that place and on what stands before it only.

        Args:
            tokens: [n, L] int32.
            channels: [n, L] by name, int64 or float32 as the target says.
        """
        raise NotImplementedError

    def next_logits(self, tokens: Any, channels: Mapping[str, Any]) -> Any:
        """Return the logits of the next token alone, [n, V]; made faster where a model can."""
        return np.asarray(self.logits(tokens, channels))[:, -1]

    def score(
        self,
        sequences: Sequence[Any],
        *,
        channels: Beside | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Scores]:
        """Score whole sequences."""
        found: list[Any] = [None] * len(sequences)
        for numbers, tokens, own in self._batches(sequences, channels):
            for number, row, logs in zip(numbers, tokens, self._log_probabilities(tokens, own)):
                logs = logs[:-1]
                here = np.take_along_axis(logs, row[1:, None].astype(np.int64), axis=1)[:, 0]
                p = np.exp(logs)
                mean = (p * logs).sum(axis=1)
                std = np.sqrt((p * (logs - mean[:, None]) ** 2).sum(axis=1))
                found[number] = Scores(here, mean, std, here >= logs.max(axis=1))
            if progress is not None:
                progress(tokens.size)
        return found

    def rollout(
        self,
        prompts: Sequence[Any],
        *,
        keys: Sequence[int],
        samples: int,
        sampler: Sampler,
        channels: Beside | None = None,
        more: Callable[[int, list[Any]], int] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Any]]:
        """Draw continuations, without the token that ends them."""
        found: list[list[Any]] = [[] for _ in prompts]
        wanted = [samples] * len(prompts)
        while left := [i for i in range(len(prompts)) if len(found[i]) < wanted[i]]:
            draws = [(i, s) for i in left for s in range(len(found[i]), wanted[i])]
            rows = [prompts[i] for i, _ in draws]
            own = None if channels is None else channels.of([i for i, _ in draws])
            chances = uniforms([(keys[i], s) for i, s in draws], sampler=sampler)
            drawn: list[Any] = [None] * len(draws)
            for numbers, tokens, batch in self._batches(rows, own, further=sampler.horizon_tokens):
                ends = self._continued(tokens, batch, chances[numbers], sampler)
                for number, one in zip(numbers, cut_at(ends, eos_id=self.eos_id)):
                    drawn[number] = one
                if progress is not None:
                    progress(len(numbers) * sampler.horizon_tokens)
            for (i, _), one in zip(draws, drawn):
                found[i].append(one)
            for i in left:
                wanted[i] += 0 if more is None else more(i, found[i])
        return found

    def masses(
        self,
        prompts: Sequence[Any],
        drawn: Sequence[Any],
        *,
        sampler: Sampler,
        watch: Any,
        channels: Beside | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Any]:
        """Return how likely each step of continuations was to name each class: [T, C] each."""
        named = np.asarray(watch, dtype=np.float64).T.copy()
        if self.eos_id is not None:
            named[self.eos_id] = 0.0  # it ends what is drawn, and is no part of it
        rows = [np.concatenate([prompt, rest]) for prompt, rest in zip(prompts, drawn)]
        whole = None if channels is None else channels.continued(prompts, drawn)
        found: list[Any] = [None] * len(rows)
        for numbers, tokens, batch in self._batches(rows, whole):
            logs = self._log_probabilities(tokens, batch)
            for number, one in zip(numbers, logs):
                start, steps = len(prompts[number]) - 1, len(drawn[number])
                steps += steps < sampler.horizon_tokens  # with that of the end
                weights = shape_probabilities(np.exp(one[start : start + steps]), sampler=sampler)
                found[number] = weights @ named / weights.sum(axis=1, keepdims=True)
            if progress is not None:
                progress(tokens.size)
        return found

    def _log_probabilities(self, tokens: Any, channels: Channels) -> Any:
        return _log_softmax(self._checked(self.logits(tokens, channels.told), tokens.shape))

    def _checked(self, logits: Any, shape: tuple[int, ...]) -> Any:
        found = np.asarray(logits, dtype=np.float64)
        if found.shape != (*shape, self.vocabulary_size):
            raise CannotAnswer(
                f"logits are of shape {found.shape}, not {(*shape, self.vocabulary_size)}"
            )
        # the largest is none where one is none or +inf, or where no token is possible at all
        if not np.isfinite(found.max(axis=-1)).all():
            raise CannotAnswer(
                "logits hold values that are no numbers, infinite ones, or only those of tokens"
                " that cannot follow"
            )
        return found

    def _continued(self, tokens: Any, channels: Channels, chances: Any, sampler: Sampler) -> Any:
        """Return [n, H] tokens drawn by the inverse of the distribution function."""
        drawn = np.full(chances.shape, -1 if self.eos_id is None else self.eos_id, dtype=np.int32)
        going = np.arange(len(tokens))
        for step in range(sampler.horizon_tokens):
            logits = self._checked(self.next_logits(tokens, channels.told), (len(tokens),))
            weights = shape_probabilities(np.exp(_log_softmax(logits)), sampler=sampler)
            sums = weights.cumsum(axis=1)
            reached = chances[going, step, None] * sums[:, -1:]
            new = (sums <= reached).sum(axis=1).astype(np.int32)
            drawn[going, step] = new
            stays = np.ones(len(new), bool) if self.eos_id is None else new != self.eos_id
            going = going[stays]
            if not len(going) or step + 1 == sampler.horizon_tokens:
                break
            tokens, new = tokens[stays], new[stays]
            channels = channels.rows(stays).behind(tokens[:, -1], new)
            tokens = np.concatenate([tokens, new[:, None]], axis=1)
        return drawn

    def _batches(
        self, sequences: Sequence[Any], channels: Beside | None, *, further: int = 0
    ) -> Iterator[tuple[list[int], Any, Channels]]:
        """Yield numbers, ids and channels of sequences of one length, a few at a time."""
        lengths: dict[int, list[int]] = {}
        for number, one in enumerate(sequences):
            lengths.setdefault(len(one), []).append(number)
        for length, numbers in sorted(lengths.items()):
            rows = max(1, self.batch_tokens // (length + further))
            for start in range(0, len(numbers), rows):
                own = numbers[start : start + rows]
                batch = Channels({}, {}) if channels is None else channels.stacked(own)
                yield own, np.stack([np.asarray(sequences[i], np.int32) for i in own]), batch


def _log_softmax(logits: Any) -> Any:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return np.maximum(logs, LOGPROB_FLOOR)


# --- how arrays travel ----------------------------------------------------------------------------


def _type_of(kind: str) -> Any:
    import pyarrow as pa

    return {
        "int": pa.int32(),
        "key": pa.uint64(),
        "double": pa.float64(),
        "text": pa.string(),
        "ints": pa.list_(pa.int32()),
        "floats": pa.list_(pa.float32()),
        "doubles": pa.list_(pa.float64()),
        "flags": pa.list_(pa.bool_()),
    }[kind]


def schema_of(columns: Iterable[tuple[str, str]]) -> Any:
    """Return the Arrow schema of columns: names and kinds."""
    import pyarrow as pa

    return pa.schema([pa.field(name, _type_of(kind)) for name, kind in columns])


def asked_columns(verb: str, channels: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the columns of a question: a row for each sequence or prompt.

    Channels travel as they are kept, exactly; what a model is told of them follows from the rules.
    """
    columns = [("tokens", "ints")]
    if verb in ("rollout", "watched_rollout"):
        columns.append(("key", "key"))
    if verb in ("masses", "steps"):
        columns.append(("following", "ints"))
    columns += [(f"channel.{name}", "doubles") for name in channels]
    return tuple(columns)


def batches_of(columns: Mapping[str, Sequence[Any]], schema: Any) -> Iterator[Any]:
    """Yield columns of values, or of arrays, as record batches of bounded size."""
    import pyarrow as pa

    sizes = np.zeros(len(next(iter(columns.values()))), dtype=np.int64)
    for field in schema:
        if pa.types.is_list(field.type):
            sizes += np.array([0 if one is None else len(one) for one in columns[field.name]], int)
    start, total = 0, len(sizes)
    while start < total:
        reached = np.cumsum(sizes[start:])
        stop = start + max(1, int(np.searchsorted(reached, _BATCH_VALUES, side="right")))
        yield pa.record_batch(
            [_column(columns[one.name][start:stop], one.type) for one in schema], schema=schema
        )
        start = stop


def _column(values: Sequence[Any], kind: Any) -> Any:
    import pyarrow as pa

    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    if any(one is None for one in values):
        return pa.array([None if one is None else np.asarray(one).tolist() for one in values], kind)
    form = kind.value_type.to_pandas_dtype()
    flat = [np.asarray(one, dtype=form).reshape(-1) for one in values]
    ends = np.zeros(len(flat) + 1, dtype=np.int32)
    np.cumsum([len(one) for one in flat], out=ends[1:])
    joined = np.concatenate([np.empty(0, form), *flat])
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(joined, kind.value_type))


def values_of(column: Any) -> list[Any]:
    """Return a column of a record batch: one array a row where it holds lists, None for null."""
    import pyarrow as pa

    if not pa.types.is_list(column.type):
        found: list[Any] = column.to_pylist()
        return found
    if column.null_count:
        return [None if not one.is_valid else np.array(one.values) for one in column]
    flat = column.flatten().to_numpy(zero_copy_only=False)
    ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))
    return list(np.split(flat, ends))[: len(column)]


def message(**fields: Any) -> bytes:
    """Return what is said beside arrays."""
    return json.dumps(fields).encode()


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


# --- the server -----------------------------------------------------------------------------------


def serve(
    model: Any,
    *,
    files: str | Path,
    location: str = "grpc://127.0.0.1:0",
    tls: tuple[str | Path, str | Path] | None = None,
    code: Sequence[str | Path] = (),
) -> None:
    """Answer phigate until whoever started this process lets go of it.

    A model is asked in this thread, one question at a time, for one audit at a time.

    Args:
        model: a `NextToken`, or any object with phigate's verbs and what `NextToken` says of
            itself. One with a method `begin(pad_id, eos_id)` is asked for what answers an audit.
        files: the weights: a folder, of which every file counts, or one file. Their digests are
            the model's identity.
        location: where to listen; port 0 is any that is free. Others than this machine are served
            over TLS only ("grpc+tls://0.0.0.0:8815").
        tls: files of the certificate and its key, PEM.
        code: further files that the answers depend on, and folders of such. This script, its
            arguments, this module, and what was imported from the script's folder before `serve`
            count anyway.
    """
    try:
        server = Server(
            model,
            files=files,
            token=os.environ.pop(TOKEN_VARIABLE, ""),
            location=location,
            tls=tls,
            code=code,
        )
    except CannotAnswer as error:
        sys.exit(str(error))
    announced = os.environ.pop(ANNOUNCE_VARIABLE, "")
    if announced:
        _end_with_parent()
        Path(f"{announced}.part").write_text(server.location, encoding="utf-8")
        os.replace(f"{announced}.part", announced)
    else:
        print(f"answering at {server.location}", file=sys.stderr, flush=True)
    try:
        server.work()
    except KeyboardInterrupt:
        server.close()


def _code_digests(named: Sequence[str | Path]) -> dict[str, str]:
    """Return the digests of what answers beside the weights, as far as a process can tell.

    The script and its arguments, the modules that were imported from its folder by now, what the
    owner names, this module, and which version of each distribution is installed.
    """
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    files = {Path(__file__).name: Path(__file__), **_named(named)}
    if main:
        folder = Path(main).resolve().parent
        loaded = [getattr(one, "__file__", None) for one in list(sys.modules.values())]
        own = {Path(main).resolve(), *(Path(one).resolve() for one in loaded if one)}
        apart = {Path(one).resolve() for one in (sys.prefix, sys.base_prefix)}  # a venv beside it
        for one in own:
            if folder in one.parents and not apart & set(one.parents):
                files[one.relative_to(folder).as_posix()] = one
    found = {name: sha256_of(one) for name, one in sorted(files.items()) if one.is_file()}
    installed = sorted(f"{one.metadata['Name']} {one.version}" for one in distributions())
    for name, words in (("<distributions>", installed), ("<arguments>", sys.argv[1:])):
        found[name] = hashlib.sha256(json.dumps(words).encode()).hexdigest()
    return found


def _named(paths: Sequence[str | Path]) -> dict[str, Path]:
    """Return the files that an owner names, each by its path as it was given; of folders theirs."""
    found = {}
    for given in paths:
        one = Path(given)
        inside = [one] if one.is_file() else sorted(one.rglob("*"))
        # what Python compiles follows from its source, and is made anew at every turn
        files = [own for own in inside if own.is_file() and "__pycache__" not in own.parts]
        if not files:
            raise CannotAnswer(f"code: {given} is no file, nor a folder that holds one")
        found.update({f"<code>/{own.as_posix()}": own for own in files})
    return found


def _end_with_parent() -> None:
    """End with the process that started this one: its end of standard input closes with it."""

    def wait() -> None:
        while sys.stdin.buffer.read(1 << 16):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


class Server:
    """A server that listens; arguments are those of `serve`, and the secret.

    Raises:
        CannotAnswer: the secret is too short, the network would read it, or `code` names no file.
    """

    def __init__(
        self,
        model: Any,
        *,
        files: str | Path,
        token: str,
        location: str = "grpc://127.0.0.1:0",
        tls: tuple[str | Path, str | Path] | None = None,
        code: Sequence[str | Path] = (),
    ) -> None:
        if len(token) < SHORTEST_TOKEN:
            raise CannotAnswer(
                f"set {TOKEN_VARIABLE} to a secret of {SHORTEST_TOKEN} or more characters"
            )
        before, _, _port = location.rpartition(":")
        if tls is None and before.partition("://")[2] not in ("127.0.0.1", "localhost", "[::1]"):
            raise CannotAnswer(
                f"{location}: other machines are answered over TLS only; give tls=(cert, key)"
            )
        self.code = _code_digests(code)
        self.offered = self.model = model
        self.files = Path(files)
        self.stamps = self._stamps()  # before they are read, so that no change falls between
        self.first_hashes = self.hashes()
        self.session, self.lock, self.closing = "", threading.Lock(), threading.Event()
        self.tasks: queue.Queue[tuple[Callable[[], None], threading.Event] | None]
        self.tasks = queue.Queue()
        self._flight = _flight_server(self, location, token, tls)
        self.location = f"{before}:{self._flight.port}"
        threading.Thread(target=self._flight.serve, daemon=True).start()

    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of each file of the model by its path in the folder."""
        return {name: sha256_of(one) for name, one in self._paths().items()}

    def _paths(self) -> dict[str, Path]:
        if self.files.is_file():
            return {self.files.name: self.files}
        names = sorted(one for one in self.files.rglob("*") if one.is_file())
        return {one.relative_to(self.files).as_posix(): one for one in names}

    def _stamps(self) -> dict[str, tuple[int, ...]]:
        """Return what changes of a file with its content; the last cannot be set to what it was."""
        found = {name: one.stat() for name, one in self._paths().items()}
        return {
            name: (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
            for name, one in found.items()
        }

    def describe(self) -> dict[str, Any]:
        """Return what can be said of the model."""
        stamps = self._stamps()
        if stamps != self.stamps:  # whoever asks waits while large ones are read
            if self.hashes() != self.first_hashes:
                raise CannotAnswer(
                    f"files in {self.files} changed after the server was started; start it again"
                )
            self.stamps = stamps
        found = self.first_hashes
        if not found:
            raise CannotAnswer(f"{self.files} holds no file, so nobody could say which model it is")
        said = getattr(self.model, "info", self.model)
        offered = getattr(said, "capabilities", None)
        verbs = [verb for verb in ANSWERS if callable(getattr(self.model, verb, None))]
        channels = list(getattr(self.model, "channels", ()))
        self._check_channels(channels, verbs, required=getattr(said, "required", ()))
        return {
            "protocol": PROTOCOL,
            "files": found,
            "code": self.code,
            "verbs": verbs,
            "capabilities": sorted(
                [CAPABILITY_OF[verb] for verb in verbs if verb in CAPABILITY_OF]
                if offered is None
                else offered
            ),
            "channels": channels,
            "vocabulary_size": int(said.vocabulary_size),
            "context_length": getattr(said, "context_length", None),
            "bos_token_id": getattr(self.model, "bos_token_id", None),
            "device": str(getattr(said, "device", "cpu")),
            "dtype": str(getattr(said, "dtype", "float32")),
            "microbatch_tokens": int(getattr(said, "microbatch_tokens", 1)),
            "switch_lengths": dict(getattr(said, "switch_lengths", {})),
            "switches": [int(one) for one in getattr(self.model, "switches", ())],
            "libraries": {
                "python": sys.version.split()[0],
                "numpy": np.__version__,
                **getattr(said, "libraries", {}),
            },
        }

    def _check_channels(
        self, channels: Sequence[str], verbs: Sequence[str], *, required: Iterable[str]
    ) -> None:
        """Refuse a model one of whose verbs would be asked without what stands beside the ids."""
        if lacking := sorted(set(required) - set(channels)):
            raise CannotAnswer(f"the model requires '{lacking[0]}', which is none of its channels")
        for verb in verbs if channels else ():
            taken = inspect.signature(getattr(self.model, verb)).parameters.values()
            if not any(one.name == "channels" or one.kind is one.VAR_KEYWORD for one in taken):
                raise CannotAnswer(
                    f"the model has channels, and its verb '{verb}' takes none, so it would answer"
                    " as another model; let it take `channels`, or leave the verb out"
                )

    def begin(self, *, pad_id: int | None, eos_id: int | None) -> dict[str, Any]:
        """Get ready for an audit."""
        begin = getattr(self.offered, "begin", None)
        if callable(begin):
            self.model = begin(pad_id=pad_id, eos_id=eos_id)
        else:
            self.model.pad_id, self.model.eos_id = pad_id, eos_id
        return self.describe()

    def work(self) -> None:
        """Do what is asked, in the thread that calls this."""
        for task, done in iter(self.tasks.get, None):
            try:
                task()
            finally:
                done.set()

    def run(self, task: Callable[[], None]) -> None:
        """Have something done there, and wait for it."""
        done = threading.Event()
        self.tasks.put((task, done))
        done.wait()

    def meanwhile(self, read: Callable[[], Any]) -> Any:
        """Return what is read, and answer there what is asked before it comes.

        Whoever is asked how many more samples are wanted may first ask what these are worth.
        """
        found: list[Any] = []
        read_whole = threading.Event()

        def reading() -> None:
            try:
                found.append(read())
            except BaseException as error:  # raised where it is waited for
                found.append(error)
            self.tasks.put((lambda: None, read_whole))

        thread = threading.Thread(target=reading, daemon=True)
        thread.start()
        is_closed = False
        try:
            while not read_whole.is_set():
                item = self.tasks.get()
                if item is None:
                    is_closed = True
                    continue
                task, done = item
                try:
                    task()
                finally:
                    done.set()
        finally:
            thread.join()  # what it reads ends with the call, and nobody may read behind that
        if is_closed:
            self.tasks.put(None)  # `work` ends by it
            raise CannotAnswer("the server was closed")
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]

    def take(self, session: str) -> bool:
        """Begin a session as soon as there is none; one that was just let go of ends soon."""
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            with self.lock:
                if not self.session:
                    self.session = session
                    return True
            time.sleep(_POLL)
        return False

    def close(self) -> None:
        """Stop listening, and let `work` return."""
        self.closing.set()
        self.tasks.put(None)
        self._flight.shutdown()


class _Writer:
    """Says things to whoever asked.

    Args:
        writer, reader: of the call.
        schema: of its answers.
        meanwhile: returns what a function reads, see `Server.meanwhile`.
    """

    def __init__(
        self, writer: Any, reader: Any, schema: Any, meanwhile: Callable[[Any], Any]
    ) -> None:
        self.writer, self.reader, self.schema = writer, reader, schema
        self.meanwhile = meanwhile
        self.waiting, self.last = 0, time.monotonic()
        writer.begin(schema)

    def rows(self, columns: Mapping[str, Sequence[Any]]) -> None:
        for batch in batches_of(columns, self.schema):
            self.writer.write_with_metadata(batch, message(type="rows"))

    def say(self, **fields: Any) -> None:
        self.writer.write_metadata(message(**fields))

    def progress(self, tokens: int) -> None:
        self.waiting += int(tokens)
        if time.monotonic() - self.last >= _PROGRESS_EVERY:
            self.flush()

    def flush(self) -> None:
        if self.waiting:
            self.say(type="progress", tokens=self.waiting)
        self.waiting, self.last = 0, time.monotonic()

    def ask(self, prompt: int) -> int:
        self.say(type="more", prompt=prompt)
        chunk = self.meanwhile(self.reader.read_chunk)
        return int(json.loads(chunk.app_metadata.to_pybytes())["more"])


def _answer(model: Any, asked: dict[str, Any], rows: dict[str, list[Any]], out: _Writer) -> None:
    """Ask the model, and send what it says."""
    verb, given = asked["verb"], dict(asked["arguments"])
    settings: dict[str, Any] = {}
    if "sampler" in given:
        settings["sampler"] = Sampler(**given["sampler"])
    if "watch" in given:
        watch = np.zeros((len(given["watch"]), asked["vocabulary_size"]), dtype=np.bool_)
        for row, ids in zip(watch, given["watch"]):
            row[ids] = True
        settings["watch"] = watch
    if verb == "score_sampled":
        settings |= {"temperature": given["temperature"], "top_p": given["top_p"]}
    if rules := given.get("rules", {}):
        exact = {name: rows[f"channel.{name}"] for name in rules}
        size = asked["vocabulary_size"]
        settings["channels"] = Beside(exact, {n: _rule(one, size) for n, one in rules.items()})
    beside = settings.get("channels")
    if verb not in ("preflight", "gain_of_one_pass", "steps"):
        settings["progress"] = out.progress
    if verb in ("rollout", "watched_rollout"):
        _draw(getattr(model, verb), verb, given, rows, settings, out)
        return
    if verb == "preflight":
        found = model.preflight(rows["tokens"], **settings)
        out.rows({"name": list(found), "deviation": [float(one) for one in found.values()]})
        return
    if verb == "gain_of_one_pass":
        gains = [
            model.gain_of_one_pass(one, **({} if beside is None else {"channels": beside.of([i])}))
            for i, one in enumerate(rows["tokens"])
        ]
        out.rows({"gain": [float(one) for one in gains]})
        return
    places = [rows[name] for name in ("tokens", "following") if name in rows]
    found = getattr(model, verb)(*places, **settings)
    names = [name for name, _ in ANSWERS[verb]]
    if verb in ("steps", "masses", "embed"):
        out.rows({names[0]: list(found)})
    else:
        out.rows({name: [getattr(one, name) for one in found] for name in names})


def _rule(said: dict[str, Any], vocabulary_size: int) -> Rule:
    adds, sets = np.zeros(vocabulary_size), np.full(vocabulary_size, np.nan)
    for column, name in ((adds, "adds"), (sets, "sets")):
        ids, values = said[name]
        column[ids] = values
    return Rule(**{**said, "adds": adds, "sets": sets})


def _draw(
    draw: Callable[..., list[list[Any]]],
    verb: str,
    given: dict[str, Any],
    rows: dict[str, list[Any]],
    settings: dict[str, Any],
    out: _Writer,
) -> None:
    sent = [0] * len(rows["tokens"])

    def send(prompt: int, drawn: Sequence[Any]) -> None:
        fresh = drawn[sent[prompt] :]
        sent[prompt] = len(drawn)
        columns: dict[str, list[Any]] = {"prompt": [prompt] * len(fresh)}
        if verb == "watched_rollout":
            columns["tokens"] = [one.tokens for one in fresh]
            columns["expected"] = [one.expected for one in fresh]
        else:
            columns["tokens"] = list(fresh)
        out.rows(columns)

    def more(prompt: int, drawn: list[Any]) -> int:
        send(prompt, drawn)
        return out.ask(prompt)

    found = draw(
        rows["tokens"],
        keys=[int(one) for one in rows["key"]],
        samples=int(given["samples"]),
        more=more if given["more"] else None,
        **settings,
    )
    whole: dict[str, list[Any]] = {"prompt": [], "tokens": []}
    for prompt, drawn in enumerate(found):
        if given["more"]:
            send(prompt, drawn)
            continue
        whole["prompt"] += [prompt] * len(drawn)
        whole["tokens"] += list(drawn)
    if not given["more"]:
        if verb == "watched_rollout":
            whole["expected"] = [one.expected for one in whole["tokens"]]
            whole["tokens"] = [one.tokens for one in whole["tokens"]]
        out.rows(whole)


class _Calls:
    """What a server does when it is called."""

    def __init__(self, served: Server) -> None:
        self.served = served

    def describe(self) -> bytes:
        try:
            return message(**self.served.describe())
        except Exception as error:
            return message(error=_said(error))

    def exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        asked = json.loads(descriptor.command)
        if asked["verb"] == "audit":
            self.hold(context, asked, reader, writer)
            return
        out = _Writer(writer, reader, schema_of(ANSWERS[asked["verb"]]), self.served.meanwhile)
        if not asked["session"] or asked["session"] != self.served.session:
            out.say(type="error", text="this audit is not one that the server knows of")
            return
        rows: dict[str, list[Any]] = {}
        while True:
            chunk = reader.read_chunk()
            if chunk.data is None:  # what is to be asked is whole
                break
            for name in chunk.data.schema.names:
                rows.setdefault(name, []).extend(values_of(chunk.data.column(name)))
        self.served.run(lambda: self.answer(asked, rows, out))

    def answer(self, asked: dict[str, Any], rows: dict[str, Any], out: _Writer) -> None:
        try:
            try:
                _answer(self.served.model, asked, rows, out)
                out.flush()
                out.say(type="done")
            except Exception as error:
                traceback.print_exc()
                out.say(type="error", text=_said(error))
        except Exception:  # nobody listens any more
            traceback.print_exc()

    def hold(self, context: Any, asked: dict[str, Any], reader: Any, writer: Any) -> None:
        """Answer one audit until its end of this call closes."""
        out = _Writer(writer, reader, schema_of([("none", "int")]), self.served.meanwhile)
        mine = uuid.uuid4().hex
        if not self.served.take(mine):
            out.say(type="error", text="the server answers another audit; one at a time")
            return

        def begin() -> None:
            try:
                said = self.served.begin(pad_id=asked["pad_id"], eos_id=asked["eos_id"])
                out.say(type="begun", session=mine, **said)
            except Exception as error:
                traceback.print_exc()
                out.say(type="error", text=_said(error))

        try:
            self.served.run(begin)
            # a read would end with the audit too, but shutting down would wait for it
            while not context.is_cancelled() and not self.served.closing.wait(_POLL):
                pass
        finally:
            self.served.session = ""


def _flight_server(served: Server, location: str, token: str, tls: Any) -> Any:
    from pyarrow import flight  # by servers alone, for it takes long; so its classes stand here

    calls = _Calls(served)

    class Check(flight.ServerMiddlewareFactory):  # type: ignore[misc]
        def start_call(self, info: Any, headers: Mapping[str, Any]) -> None:
            given = "".join(headers.get("authorization", [""]))
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                raise flight.FlightUnauthenticatedError("the token is not this server's")

    class Flight(flight.FlightServerBase):  # type: ignore[misc]
        def do_action(self, context: Any, action: Any) -> Iterator[bytes]:
            return iter([calls.describe()])

        def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
            calls.exchange(context, descriptor, reader, writer)

    certificates = (
        [
            (Path(tls[0]).read_bytes(), Path(tls[1]).read_bytes()),
        ]
        if tls is not None
        else None
    )
    return Flight(location, tls_certificates=certificates, middleware={"token": Check()})


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, CannotAnswer) else f"{type(error).__name__}: {text}"
