"""What a model under audit offers, and what opens it.

Planning, auditing and judging see only `TargetModel`, never torch. A backend offers what its model
can do; a verb it lacks is missing from `TargetInfo.capabilities`, and the cells that need it end
*inconclusive*, never skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.targets.adapter.phigate_adapter import LOGPROB_FLOOR as LOGPROB_FLOOR
from checker.targets.adapter.phigate_adapter import Sampler as Sampler

Tokens = NDArray[np.int32]
Progress = Callable[[int], None]

More = Callable[[int, list[Tokens]], int]
"""Given a prompt's number and all that was drawn for it, how many further samples are wanted."""

CAPABILITIES = frozenset({"samples", "logprobs", "embeddings", "masses"})
"""What a target may offer: rollout, score, embed, and masses (`MassModel`)."""

Watch = NDArray[np.bool_]
"""[C, V], which token ids stand for each of C classes."""


@dataclass(frozen=True, slots=True)
class WatchedRollout:
    """A continuation, and how often the sampler itself expected it to name each class.

    Args:
        tokens: at most horizon_tokens ids, as `rollout` returns them.
        expected: [C] float32 in [0, 2], the compensators (`checker.targets.compensator`).
    """

    tokens: Tokens
    expected: NDArray[np.float32]


MoreWatched = Callable[[int, list[WatchedRollout]], int]
"""As `More`, given the compensators too."""


@dataclass(frozen=True, slots=True)
class TargetInfo:
    """What a target is and what it runs on; part of every job's environment.

    Args:
        backend: name of the backend.
        vocabulary_size: number of token ids the model scores.
        context_length: most tokens it can see, or None when unbounded.
        capabilities: of CAPABILITIES.
        device, dtype: what it runs on, for example "cpu", "float32".
        microbatch_tokens: tokens per batch; equal bytes are promised only for equal
            device, dtype and microbatch.
        libraries: name to version of what computes the numbers.
        switch_lengths: by name in the model's configuration, lengths beyond which it may compute
            in another way: windows, chunks of attention, positions that are scaled anew. An audit
            that comes to them compares the model with itself around each.
        channels: names of what it takes beside token ids (`checker.targets.channels`). A sequence
            that has channels hands them out by `told_channels`, and ids that are put behind it by
            `np.concatenate` go on with them.
        required: of these, what a target has to declare, because the model is another without it.
    """

    backend: str
    vocabulary_size: int
    context_length: int | None
    capabilities: frozenset[str]
    device: str
    dtype: str
    microbatch_tokens: int
    libraries: dict[str, str]
    switch_lengths: dict[str, int] = field(default_factory=dict)
    channels: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Log-probabilities of one sequence of L tokens, nats, float32, each of shape [L - 1].

    Position i speaks of token i + 1 given tokens 0..i:

        tokens    t0    t1    t2    t3
        logprob         [0]   [1]   [2]
        mean, std       [0]   [1]   [2]

    Args:
        logprob: log p(t_{i+1} | t_0..t_i), at least LOGPROB_FLOOR.
        mean: mean of log p(. | t_0..t_i) under itself (minus its entropy).
        std: standard deviation of log p(. | t_0..t_i) under itself, >= 0.
        first: bool, no other token was likelier; None where the model does not say.
    """

    logprob: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    first: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class SampledScores:
    """What a sampler gives the tokens of one sequence of L; each [L - 1], as in TokenScores.

    Args:
        logprob: float32, log of the probability with which the sampler, after temperature and
            top-p, draws t_{i+1} after t_0..t_i; LOGPROB_FLOOR where it never does.
        first: bool, whether greedy decoding takes t_{i+1}: nothing is more likely, and of equally
            likely tokens it has the lowest id.
        whole: float32, `logprob` as it is without top-p, by the same pass; None where a backend
            does not say it, and is asked anew.
    """

    logprob: NDArray[np.float32]
    first: NDArray[np.bool_]
    whole: NDArray[np.float32] | None = None


class TargetModel(Protocol):
    """A causal language model over a patient's tokens.

    Every verb raises TargetError where a sequence does not fit the model, where the model gives no
    numbers, and where it lacks the verb.

    Before an audit the model is compared with itself by these verbs (`targets.conformance`). Three
    more are used where a model has them: `steps(prompts, following)` returns the log-probabilities
    that decoding gives to tokens forced upon it, `preflight(sequences)` by name the deviations, in
    nats, of what only the backend can see of sequences of up to 64 tokens, and
    `score_sampled(sequences, temperature=, top_p=, progress=)` one SampledScores per sequence
    (`targets.sampled_scores` does without it).
    """

    @property
    def info(self) -> TargetInfo:
        """What it is and what it runs on."""
        ...

    def score(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> list[TokenScores]:
        """Score whole sequences, each in one forward pass.

        Args:
            sequences: n arrays of 2 to context_length token ids.
            progress: called with the number of tokens done since the last call.

        Returns:
            One TokenScores per sequence, in the order given.
        """
        ...

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
        """Draw continuations.

        Args:
            prompts: n arrays of at least one token id.
            keys: n integers in [0, 2**64), one per prompt; with the seed and the sample's number
                they determine the draw.
            samples: continuations per prompt, numbered from 0.
            sampler: how to draw.
            more: asked whenever all samples so far wanted of a prompt are drawn; those it adds are
                numbered on, so that they are the samples that a larger `samples` would have drawn.
                None adds none.
            progress: called with the number of rollout tokens done since the last call; every
                rollout counts as horizon_tokens, whether or not it ended before.

        Returns:
            For each prompt `samples` arrays, and those that `more` added, of at most horizon_tokens
            new ids, without the prompt and without the end-of-sequence token or anything after it.
        """
        ...

    def embed(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return the last layer's hidden state at the last token: [n, width] float32."""
        ...


class MassModel(TargetModel, Protocol):
    """A model that says how likely the sampler is to name a class next: capability "masses".

    Besides, a model may offer `watched_rollout(prompts, *, keys, samples, sampler, watch, more,
    progress)`, which returns a `WatchedRollout` for each continuation that `rollout` would have
    drawn. It saves the pass over what was drawn that `masses` takes.
    """

    def masses(
        self,
        prompts: Sequence[Tokens],
        drawn: Sequence[Tokens],
        *,
        sampler: Sampler,
        watch: Watch,
        progress: Progress | None = None,
    ) -> list[NDArray[np.float64]]:
        """Return how likely each step of continuations was to name each class.

        Args:
            prompts: n arrays of at least one token id.
            drawn: n continuations of them, one each, as `rollout` returned them.
            sampler: how they were drawn.
            watch: [C, V], the classes.
            progress: called with the number of tokens done since the last call.

        Returns:
            n arrays [T, C] float64 in [0, 1]: after temperature and top-p, the probability that the
            step draws a token of the class. Steps are those of the continuation's tokens and, where
            it ended before the horizon, the one that drew the end.
        """
        ...


@dataclass(frozen=True, slots=True)
class TargetDescription:
    """What can be said of a model without loading it (and without torch): the plan needs no more.

    Args:
        backend: name of the backend.
        vocabulary_size, context_length, capabilities: as in TargetInfo.
        bos_token_id: as the model's own configuration names it, or None.
        files: relative path to SHA-256 of every file that makes up the model; where that is a
            folder, of every file below it.
        sha256: over `files`; the identity of the model.
        code: digest of what answers, where that is neither phigate nor an installed plug-in.
        options: those of `model.options` that answers may depend on; phigate fills this in.
    """

    backend: str
    vocabulary_size: int
    context_length: int | None
    capabilities: frozenset[str]
    bos_token_id: int | None
    files: dict[str, str]
    sha256: str
    code: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


class TargetBackend(Protocol):
    """How models of one kind are described and opened; what `phigate.targets` entries name.

    A backend that takes `model.options` says by `options`, a pydantic model, which; what is wrong
    with them is then said at their lines, and all of them but those named in `connecting` are part
    of every job. One with `needs_path` False opens models without a path.
    """

    def describe(self, spec: ModelSpec, base: Path) -> TargetDescription:
        """Describe the model at `base / spec.path`; raises TargetError in one plain sentence."""
        ...

    def open(
        self, spec: ModelSpec, base: Path, *, pad_id: int | None, eos_id: int | None
    ) -> TargetModel:
        """Load the model; `eos_id` ends a rollout, None means that only the horizon does."""
        ...


def require_fit(sequences: Sequence[Tokens], *, info: TargetInfo, horizon_tokens: int = 0) -> None:
    """Check that a model can take sequences, before anything is computed.

    Args:
        sequences: what is to be scored, embedded or continued.
        info: the model's context and vocabulary.
        horizon_tokens: how many tokens will be drawn after each sequence.

    Raises:
        TargetError: a sequence is empty, exceeds the context or holds an id that does not exist.
    """
    limit, size = info.context_length, info.vocabulary_size
    for index, sequence in enumerate(sequences):
        if not len(sequence):
            raise TargetError(f"sequence {index} is empty; a target needs at least one token")
        if limit is not None and len(sequence) + horizon_tokens > limit:
            raise TargetError(
                f"sequence {index} needs {len(sequence)} + {horizon_tokens} tokens, but the "
                f"context holds {limit}; shorten the prompt or the horizon"
            )
        low, high = int(sequence.min()), int(sequence.max())
        if low < 0 or high >= size:
            raise TargetError(
                f"sequence {index} holds token {low if low < 0 else high}, but ids run from 0 to "
                f"{size - 1}; the vocabulary does not belong to this model"
            )
