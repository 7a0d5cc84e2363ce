"""A Hugging Face causal language model behind the verbs: the door to torch.

Four decisions govern what stands behind it.

*Scores come from one forward pass* (`checker.targets.engine.scoring`).

*Rollouts read each prompt once* (`checker.targets.engine.decoding`,
`checker.targets.engine.memories`). Which memory suits a model, or whether only the library's own
`generate` does, is measured when it is loaded, by comparing steps with a full pass; preflight then
goes through what was chosen.

*The draw is ours* (`checker.targets.engine.drawing`). Counter-based uniforms
(`checker.targets.engine.sampling`) make a rollout depend on the seed, the prompt's key and the
sample alone. The checkpoint's own generation settings are discarded, because a repetition penalty
or a low temperature in them would audit another distribution.

*Doubt is an error.* Weights that the architecture lacks or that are left over, numbers that are no
numbers, a prompt beyond the context: each raises TargetError, since a model that is loaded or read
wrongly looks safe.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig

from checker.errors import TargetError
from checker.policy.documents import ModelSpec
from checker.targets import (
    CAPABILITIES,
    More,
    Progress,
    Sampler,
    TargetInfo,
    Tokens,
    TokenScores,
    require_fit,
)
from checker.targets.engine.batches import in_batches
from checker.targets.engine.decoding import Choice, Forcing, Limits, Sampling, Work, decode
from checker.targets.engine.generating import generate
from checker.targets.engine.loading import (
    device_name,
    fuse_activations,
    library_versions,
    load_model,
    vendor,
)
from checker.targets.engine.memories import ATTENTION, Capacity, Memory, SharedPrefix, States
from checker.targets.engine.room import (
    keep_freed_memory,
    logits_at_once,
    memory_bytes,
    microbatch_tokens,
    rollout_tokens,
)
from checker.targets.engine.scoring import FULL_LOGITS, ForwardPass
from checker.targets.preflight import PREFLIGHT_TOLERANCE, decoding_deviation, preflight

__all__ = ["HuggingFaceTarget"]

_TRIAL_TOKENS = 16


class HuggingFaceTarget:
    """A causal language model from a local checkpoint.

    Args:
        model: a loaded `transformers` causal language model on its device; it is changed.
        vocabulary_size: number of token ids it scores.
        context_length: most tokens it can see, or None.
        pad_id: the padding token; where None, any id stands in and is masked.
        eos_id: ends a rollout; None means that only the horizon does.
        microbatch_tokens: tokens of one scoring batch, padding included; None chooses.

    Raises:
        TargetError: it does not run, or scores another number of tokens than it declares.
    """

    def __init__(
        self,
        model: Any,
        *,
        vocabulary_size: int,
        context_length: int | None,
        pad_id: int | None,
        eos_id: int | None,
        microbatch_tokens: int | None = None,
    ) -> None:
        self._model = model.eval()
        self._device: torch.device = model.device
        self._pad_id = 0 if pad_id is None else pad_id
        self._eos_id = eos_id
        keep_freed_memory(self._device)
        fuse_activations(model)
        # `generate` fills what a configuration leaves open from the checkpoint's: leave none there.
        model.generation_config = GenerationConfig()
        self._forward = ForwardPass(model, vocabulary_size=vocabulary_size, pad_id=self._pad_id)
        dtype = str(model.dtype).removeprefix("torch.")
        trial = _trial_tokens(context_length, vocabulary_size=vocabulary_size)
        doing = f"a first forward pass in {dtype} (model.dtype can be set in the target)"
        with vendor(doing), torch.inference_mode():
            self._forward.choose_head(trial)
            microbatch = microbatch_tokens or self._microbatch(context_length)
        self._info = TargetInfo(
            backend="huggingface",
            vocabulary_size=vocabulary_size,
            context_length=context_length,
            capabilities=CAPABILITIES,
            device=device_name(self._device),
            dtype=dtype,
            microbatch_tokens=microbatch,
            libraries=library_versions(self._device),
        )
        self._memory: type[SharedPrefix] | type[States] | None = None
        self._per_token = 0
        self._choose_memory(trial)

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        spec: ModelSpec,
        vocabulary_size: int,
        context_length: int | None,
        pad_id: int | None,
        eos_id: int | None,
    ) -> HuggingFaceTarget:
        """Load a checkpoint that `checker.targets.checkpoint` has read.

        Raises:
            TargetError: the device is missing, the weights do not fit the architecture, or the
                libraries refuse the checkpoint.
        """
        return cls(
            load_model(directory, spec=spec),
            vocabulary_size=vocabulary_size,
            context_length=context_length,
            pad_id=pad_id,
            eos_id=eos_id,
        )

    @property
    def info(self) -> TargetInfo:
        """What it is and what it runs on."""
        return self._info

    @property
    def decoding(self) -> str:
        """What rollouts go through: "shared prefix", "states" or "generate"."""
        names = {SharedPrefix: "shared prefix", States: "states"}
        return "generate" if self._memory is None else names[self._memory]

    # --- the verbs --------------------------------------------------------------------------------

    def score(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> list[TokenScores]:
        """Score whole sequences, each in one forward pass; see `TargetModel.score`.

        Raises:
            TargetError: a sequence does not fit the model, or it gives no numbers.
        """
        require_fit(sequences, info=self._info)
        budget = self._info.microbatch_tokens
        if not self._forward.is_chunked:
            budget = min(budget, FULL_LOGITS // self._info.vocabulary_size)
        return in_batches(
            lambda rows: self._forward.score([sequences[row] for row in rows]),
            lengths=[len(sequence) for sequence in sequences],
            budget=budget,
            progress=progress,
            doing="scoring",
            device=self._info.device,
        )

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
        """Draw continuations; see `TargetModel.rollout`.

        Raises:
            TargetError: prompt and horizon exceed the context, or the model gives no numbers.
        """
        require_fit(prompts, info=self._info, horizon_tokens=sampler.horizon_tokens)
        work = Work(
            prompts,
            samples=samples,
            horizon_tokens=sampler.horizon_tokens,
            more=more,
            progress=progress,
        )
        self._run(work, Sampling(keys, sampler=sampler, eos_id=self._eos_id), doing="generating")
        return work.results()

    def embed(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return the last layer's hidden state at the last token: [n, width] float32.

        Raises:
            TargetError: a sequence does not fit the model, or it gives no numbers.
        """
        require_fit(sequences, info=self._info)
        rows = in_batches(
            lambda rows: self._forward.embed([sequences[row] for row in rows]),
            lengths=[len(sequence) for sequence in sequences],
            budget=self._info.microbatch_tokens,
            progress=progress,
            doing="embedding",
            device=self._info.device,
        )
        return np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)

    def preflight(self, sequences: Sequence[Tokens]) -> dict[str, float]:
        """Check the model against itself on a few records; see `checker.targets.preflight`.

        Raises:
            TargetError: a deviation is beyond its tolerance; the message has the numbers.
        """
        require_fit(sequences, info=self._info)
        with vendor("preflight"), torch.inference_mode():
            return preflight(
                sequences,
                score=self.score,
                forced=self._forced,
                forward=self._forward,
                context_length=self._info.context_length,
                dtype=self._info.dtype,
            )

    # --- rollouts ---------------------------------------------------------------------------------

    def _run(self, work: Work, choice: Choice, *, doing: str) -> None:
        microbatch = self._info.microbatch_tokens
        tokens = rollout_tokens(self._device, microbatch=microbatch)
        if self._memory is None:
            generate(
                self._model,
                work,
                choice,
                budget=min(tokens, microbatch * 4),
                pad_id=self._pad_id,
                # A recurrent state takes in whatever stands to its left, padding included.
                pads_left=not getattr(self._model, "_is_stateful", False),
                device=self._info.device,
                doing=doing,
            )
            return
        decode(
            work,
            choice,
            make=self._make,
            shares_beginnings=self._memory.shares_beginnings,
            measure=self._memory.bytes_of,
            limits=Limits(
                tokens=tokens,
                bytes_=memory_bytes(self._device),
                per_token=self._per_token,
                read_tokens=microbatch,
                rows=logits_at_once(self._device) // self._info.vocabulary_size,
            ),
            device=self._device,
            doing=doing,
        )

    def _make(self, capacity: Capacity, read_tokens: int) -> Memory:
        assert self._memory is not None  # asked only where a memory was chosen
        return self._memory(
            self._model, capacity, read_tokens=max(1, read_tokens), pad_id=self._pad_id
        )

    def _forced(
        self, prompts: Sequence[Tokens], following: Sequence[Tokens]
    ) -> list[NDArray[np.float32]]:
        """Return the log-probability of the tokens that follow each prompt, decoded in steps."""
        horizon = max(len(tokens) for tokens in following)
        work = Work(prompts, samples=1, horizon_tokens=horizon)
        self._run(work, Forcing(following, horizon_tokens=horizon), doing="preflight")
        return [
            rows[0][: len(tokens)] for rows, tokens in zip(work.results(), following, strict=True)
        ]

    def _choose_memory(self, trial: Tokens) -> None:
        """Take the first memory whose steps agree with a full pass; none is a choice as well."""
        if len(trial) < _TRIAL_TOKENS:
            return
        attention = self._model.config._attn_implementation
        with vendor("a first forward pass"), torch.inference_mode():
            for memory in (SharedPrefix, States):
                if memory is SharedPrefix:
                    if attention != "sdpa":
                        continue
                    self._model.set_attn_implementation(ATTENTION)
                self._memory = memory
                if self._trial_deviation(trial) <= PREFLIGHT_TOLERANCE[self._info.dtype]:
                    return
                if memory is SharedPrefix:
                    self._model.set_attn_implementation(attention)
        self._memory = None

    def _trial_deviation(self, trial: Tokens) -> float:
        """Return how far steps with the memory are from a full pass, or infinity if they fail."""
        records, cuts = [trial, trial[: len(trial) - 3]], [len(trial) // 2, len(trial) // 2 - 2]
        expected = [scores.logprob for scores in self.score(records)]
        try:
            self._per_token = self._one_token_takes()
            return decoding_deviation(
                records,
                cuts,
                expected,
                forced=self._forced,
                context_length=self._info.context_length,
            )
        except (TargetError, torch.OutOfMemoryError):  # not what this memory was made for
            return float("inf")

    def _one_token_takes(self) -> int:
        """Return the bytes that one token, or one state, takes in the memory."""
        memory = self._make(Capacity(seats=1, rows=1, width=1, horizon=1), 1)
        with vendor("a first step"):
            memory.seat([np.zeros(1, dtype=np.int32)])
        return memory.per_token

    def _microbatch(self, context_length: int | None) -> int:
        def run(rows: int, length: int) -> torch.Tensor:
            return self._forward.hidden(
                torch.zeros(rows, length, dtype=torch.int64, device=self._device)
            )

        length = min(512, context_length or 512)
        return microbatch_tokens(self._device, length=length, run=run)


def _trial_tokens(context_length: int | None, *, vocabulary_size: int) -> Tokens:
    length = min(_TRIAL_TOKENS, context_length or _TRIAL_TOKENS)
    return (np.arange(length) * 7919 % vocabulary_size).astype(np.int32)
