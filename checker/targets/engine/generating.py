"""Rollouts by the library's own `generate`, for models that no memory of ours suits.

The draw is ours: greedy decoding over a logits processor that leaves it one choice. The library
pads, caches and stops.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList

from checker.targets.engine.batches import in_batches, padded
from checker.targets.engine.decoding import Choice, Work
from checker.targets.engine.memories import Row

__all__ = ["generate"]


def generate(
    model: Any,
    work: Work,
    choice: Choice,
    *,
    budget: int,
    pad_id: int,
    pads_left: bool,
    device: str,
    doing: str,
) -> None:
    """Run all that `work` wants.

    Args:
        model: a loaded causal language model on its device.
        work: takes the results.
        choice: of what rows are fed.
        budget: padded tokens of one batch, horizon included.
        pad_id: stands to the left of a shorter prompt.
        pads_left: whether prompts of different lengths may share a batch.
        device: its name, for errors.
        doing: what is done, for errors.

    Raises:
        TargetError: a single sample does not fit into the device's memory, or the model fails.
    """
    rows = [
        Row(prompt, sample, -1, len(tokens) - 1)
        for prompt, tokens in enumerate(work.prompts)
        for sample in work.wanted(prompt)
    ]

    def run(batch: list[int]) -> list[range]:
        chosen = [rows[index] for index in batch]
        choice.allot(len(chosen), device=model.device)
        choice.add(chosen, at=0)
        prompts = [work.prompts[row.prompt] for row in chosen]
        ids, real = padded(prompts, pad_id=pad_id, left=True, device=model.device)
        config = GenerationConfig(
            max_new_tokens=work.horizon_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=pad_id,
            eos_token_id=choice.eos_id,
        )
        model.generate(
            ids,
            attention_mask=real.long(),
            generation_config=config,
            logits_processor=LogitsProcessorList([_OneChoice(choice)]),
        )
        choice.ended(len(chosen))  # raises where what was drawn means nothing
        results = choice.results(list(range(len(chosen))))
        return [
            work.finish(row.prompt, row.sample, result)
            for row, result in zip(chosen, results, strict=True)
        ]

    while rows:
        further = in_batches(
            run,
            lengths=[len(work.prompts[row.prompt]) + work.horizon_tokens for row in rows],
            budget=budget,
            one_length=not pads_left,
            doing=doing,
            device=device,
        )
        rows = [
            Row(row.prompt, sample, -1, row.start)
            for row, samples in zip(rows, further, strict=True)
            for sample in samples
        ]


class _OneChoice:
    """Logits processor that leaves greedy decoding nothing but what `choice` says."""

    def __init__(self, choice: Choice) -> None:
        self._choice, self._step = choice, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores [B, V] that are 0 at the chosen token and minus infinity elsewhere."""
        steps = torch.full((len(scores),), self._step, dtype=torch.int64, device=scores.device)
        chosen = self._choice.choose(scores, steps)
        self._step += 1
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)
