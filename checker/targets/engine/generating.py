"""Rollouts by the library's own `generate`, for models that no cache of ours does for.

The draw is ours: greedy decoding over a logits processor that leaves it one choice. The library
pads, caches and stops. Where its cache does not do either, each step reads the whole sequence anew,
which is slow and what a model means by its next token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import GenerationConfig, LogitsProcessorList

from checker.targets.engine.batches import in_batches, padded
from checker.targets.engine.decoding import DecodingRequest
from checker.targets.engine.token_choice import DecodedSequence, TokenChoice

Together = Literal["padded", "equal lengths", "alone"]
"""Which prompts may share a batch: all, those of one length, or none."""


@dataclass(frozen=True, slots=True)
class Way:
    """How it is called.

    Args:
        together: which prompts share a batch.
        cached: it keeps keys and values, or states; else each step reads the whole sequence.
    """

    together: Together = "padded"
    cached: bool = True


WAYS = (
    Way("padded"),
    Way("equal lengths"),
    Way("alone"),
    Way("equal lengths", cached=False),
    Way("alone", cached=False),
)
"""From the fastest to the slowest."""


def generate(
    model: Any,
    request: DecodingRequest,
    choice: TokenChoice,
    *,
    prompts: Sequence[int],
    budget: int,
    pad_id: int,
    way: Way,
    device: str,
    doing: str,
) -> None:
    """Decode all that is wanted.

    Args:
        model: a loaded causal language model on its device.
        request: takes the results.
        choice: of what sequences are fed.
        prompts: numbers of those that are continued.
        budget: padded tokens of one batch, horizon included.
        pad_id: stands to the left of a shorter prompt.
        way: how to call it.
        device: its name, for errors.
        doing: what is done, for errors.

    Raises:
        TargetError: a single sample does not fit into the device's memory, or the model fails.
    """
    waiting = [one for prompt in prompts for one in request.sequences(prompt)]

    def run(batch: list[int]) -> list[list[DecodedSequence]]:
        sequences = [waiting[index] for index in batch]
        choice.allocate(len(sequences), device=model.device)
        choice.add(sequences, at=0)
        told = [request.prompts[one.prompt] for one in sequences]
        ids, real = padded(told, pad_id=pad_id, left=True, device=model.device)
        config = GenerationConfig(
            max_new_tokens=request.horizon_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=way.cached,
            pad_token_id=pad_id,
            eos_token_id=choice.eos_id,
        )
        model.generate(
            ids,
            attention_mask=real.long(),
            generation_config=config,
            logits_processor=LogitsProcessorList([_OneChoice(choice)]),
        )
        choice.ended(len(sequences))  # raises where what was drawn means nothing
        results = choice.results(list(range(len(sequences))))
        return [request.finish(*done) for done in zip(sequences, results, strict=True)]

    while waiting:
        further = in_batches(
            run,
            lengths=[len(request.prompts[one.prompt]) + request.horizon_tokens for one in waiting],
            budget=0 if way.together == "alone" else budget,
            one_length=way.together != "padded",
            doing=doing,
            device=device,
        )
        waiting = [one for wanted in further for one in wanted]


class _OneChoice:
    """Logits processor that leaves greedy decoding nothing but what `choice` says."""

    def __init__(self, choice: TokenChoice) -> None:
        self._choice, self._step = choice, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores [B, V] that are 0 at the chosen token and minus infinity elsewhere."""
        steps = torch.full((len(scores),), self._step, dtype=torch.int64, device=scores.device)
        chosen = self._choice.choose(scores, steps)
        self._step += 1
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)
