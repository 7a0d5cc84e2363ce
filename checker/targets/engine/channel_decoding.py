"""Decoding for models with channels: every step is given the channels that the drawn token has.

Prompts of one length are read together, and each drawn token's channels follow from its rule
(`checker.targets.channels`), on the device. A cache is used where steps with it were seen to agree
with whole passes; else each step reads all that stands before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from checker.targets import Tokens
from checker.targets.channels import ROUNDING, ChannelRule, channels_of, exact_channels
from checker.targets.engine.batches import in_batches, padded, padded_channels
from checker.targets.engine.decoding import CHECK_EVERY, DecodingRequest
from checker.targets.engine.scoring import inputs_of
from checker.targets.engine.token_choice import DecodedSequence, TokenChoice

TRIED_STEPS = 4


def decode_with_channels(
    model: Any,
    request: DecodingRequest,
    choice: TokenChoice,
    *,
    given: Sequence[Tokens] | None,
    cached: bool,
    budget: int,
    pad_id: int,
    device: str,
    doing: str,
) -> None:
    """Decode all that is wanted.

    Args:
        model: a loaded causal language model on its device.
        request: takes the results; its prompts have channels.
        choice: of what sequences are fed.
        given: what is forced upon each prompt, where that has channels of its own.
        cached: whether keys and values are kept from step to step.
        budget: tokens of one batch, horizon included.
        pad_id: never seen by the model, for rows are of one length.
        device: its name, for errors.
        doing: what is done, for errors.

    Raises:
        TargetError: a single sample does not fit into the device's memory, or the model fails.
    """
    waiting = [one for prompt in range(len(request.prompts)) for one in request.sequences(prompt)]

    def run(batch: list[int]) -> list[list[DecodedSequence]]:
        sequences = [waiting[index] for index in batch]
        choice.allocate(len(sequences), device=model.device)
        choice.add(sequences, at=0)
        prompts = [request.prompts[one.prompt] for one in sequences]
        own = None if given is None else [given[one.prompt] for one in sequences]
        forced = own if own is not None and channels_of(own[0]) else None
        steps = _Steps(model, prompts, forced=forced, cached=cached, pad_id=pad_id)
        step = torch.zeros(len(sequences), dtype=torch.int64, device=model.device)
        for number in range(request.horizon_tokens):
            drawn = choice.choose(steps.logits(), step)
            step += 1
            if number + 1 == request.horizon_tokens:
                break
            if number % CHECK_EVERY == CHECK_EVERY - 1 and choice.ended(len(sequences)).all():
                break
            steps.go_on(drawn)
        choice.ended(len(sequences))  # raises where what was drawn means nothing
        results = choice.results(list(range(len(sequences))))
        return [request.finish(*done) for done in zip(sequences, results, strict=True)]

    while waiting:
        further = in_batches(
            run,
            lengths=[len(request.prompts[one.prompt]) + request.horizon_tokens for one in waiting],
            budget=budget,
            one_length=True,
            doing=doing,
            device=device,
        )
        waiting = [one for wanted in further for one in wanted]


def cache_deviation(model: Any, tokens: Tokens, *, pad_id: int) -> float:
    """Return how far steps with a cache are from a whole pass, in nats; infinity if they fail.

    Args:
        model: a loaded causal language model.
        tokens: a sequence with channels, of more than `TRIED_STEPS` tokens.
        pad_id: as in `decode_with_channels`.

    Raises:
        RuntimeError: the device is at fault, or its memory too small.
    """
    ids = torch.from_numpy(tokens.astype(np.int64)).to(model.device)[None]
    more = padded_channels([tokens], device=model.device)
    whole = model(**inputs_of(ids, more), use_cache=False).logits[0].float().log_softmax(-1)
    cut = len(tokens) - TRIED_STEPS
    try:
        steps = _Steps(model, [tokens[:cut]], forced=[tokens[cut:]], cached=True, pad_id=pad_id)
        found = []
        for place in range(cut, len(tokens) + 1):
            found.append(steps.logits()[0].float().log_softmax(-1))
            if place < len(tokens):
                steps.go_on(ids[:, place])
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        if _is_of_the_device(error):
            raise
        return float("inf")  # it keeps nothing so
    deviation = float((torch.stack(found) - whole[cut - 1 :]).abs().max())
    return deviation if np.isfinite(deviation) else float("inf")


def _is_of_the_device(error: Exception) -> bool:
    """Whether a failure says nothing of the model: a lack of memory, or an error of CUDA's."""
    kinds = torch.OutOfMemoryError | torch.AcceleratorError
    return isinstance(error, kinds) or "CUDA error" in str(error)


class _Steps:
    """One batch of sequences of one length, step by step.

    Args:
        model: on its device.
        prompts: n of one length.
        forced: channels of what is fed behind each, or None where they follow the rules.
        cached: whether keys and values are kept.
        pad_id: as above.
    """

    def __init__(
        self,
        model: Any,
        prompts: Sequence[Tokens],
        *,
        forced: Sequence[Tokens] | None,
        cached: bool,
        pad_id: int,
    ) -> None:
        self._model, self._cached = model, cached
        self._ids, _ = padded(prompts, pad_id=pad_id, left=False, device=model.device)
        self._more = padded_channels(prompts, device=model.device)
        self._last = self._ids[:, -1]
        self._rules = [_OnDevice(rule, model.device) for rule in channels_of(prompts[0])]
        values = np.stack([exact_channels(prompt)[:, -1] for prompt in prompts])
        self._values = torch.from_numpy(values.T.copy()).to(model.device)
        self._forced = None if forced is None else padded_channels(forced, device=model.device)
        self._number = 0
        self._length = self._ids.shape[1]
        self._kept: Any = None

    def logits(self) -> torch.Tensor:
        """Return those of the next token, [n, V]."""
        inputs = inputs_of(self._ids, self._more)
        if self._cached:
            rows = len(self._ids)
            inputs["attention_mask"] = torch.ones(
                rows, self._length, dtype=torch.int64, device=self._ids.device
            )
            found = self._model(**inputs, past_key_values=self._kept, use_cache=True)
            self._kept = found.past_key_values
        else:
            found = self._model(**inputs, use_cache=False)
        logits: torch.Tensor = found.logits[:, -1]
        return logits

    def go_on(self, ids: torch.Tensor) -> None:
        """Put one token behind each sequence."""
        told = {}
        for place, rule in enumerate(self._rules):
            self._values[place] = rule.step(self._values[place], self._last, ids)
            if self._forced is None:
                told[rule.name] = rule.told(self._values[place])[:, None]
            else:
                own = self._forced[rule.name]
                told[rule.name] = own[:, min(self._number, own.shape[1] - 1)][:, None]
        self._last = ids
        self._number += 1
        self._length += 1
        if self._cached:
            self._ids, self._more = ids[:, None], told
            return
        self._ids = torch.cat([self._ids, ids[:, None]], dim=1)
        self._more = {name: torch.cat([own, told[name]], dim=1) for name, own in self._more.items()}


class _OnDevice:
    """A channel's rule where the model is; the arithmetic is that of `ChannelRule.follow`."""

    def __init__(self, rule: ChannelRule, device: torch.device) -> None:
        self.name, self._rule = rule.name, rule
        self._adds = torch.from_numpy(rule.adds).to(device)
        self._sets = torch.from_numpy(rule.sets).to(device)

    def step(self, before: torch.Tensor, last: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        rule = self._rule
        # ids beyond the vocabulary change nothing: a model may have more than it has tokens
        changing = (last if rule.late else ids).clamp(max=len(self._adds) - 1)
        beyond = (last if rule.late else ids) >= len(self._adds)
        sets = torch.where(beyond, torch.nan, self._sets[changing])
        adds = torch.where(beyond, 0.0, self._adds[changing])
        values = torch.where(sets.isnan(), before + rule.each + adds, sets)
        if rule.modulo is None:
            return values
        return rule.start + torch.remainder(values - rule.start + ROUNDING, rule.modulo) - ROUNDING

    def told(self, values: torch.Tensor) -> torch.Tensor:
        rule = self._rule
        bounded = values if rule.most is None else values.clamp(max=rule.most)
        if rule.whole:
            return (bounded + ROUNDING).floor().to(torch.int64)
        return bounded.to(torch.float32)
