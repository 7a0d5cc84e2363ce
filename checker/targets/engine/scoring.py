"""Scores and embeddings: one forward pass over whole sequences, reduced before it is kept.

All positions of a record are scored at once, in batches of records of similar length, right-padded:
under causal attention what stands to the right changes nothing. One pass gives the hidden states;
log-probability, and mean and spread of the distribution that Min-K%++ asks for, are read from them
together. [batch, length, vocabulary] never exists in float32: the output embeddings are applied to
chunks of positions and each chunk is reduced at once.

Some architectures scale or cap logits after the output embeddings. Whether this one does is
measured, and if so the full logits of small batches are reduced instead.

Some turn all positions of a record by other angles as soon as it is longer than some length. What
such a model says of a token then hangs on what stands behind it, and only a pass over what stands
before it is what the model draws from. So of a longer record each part is read by a pass that ends
with it: up to the length by one over the beginning, behind it by one over all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.targets import LOGPROB_FLOOR, SampledScores, Sampler, Tokens, TokenScores
from checker.targets.engine.batches import numbers_of, padded, padded_channels
from checker.targets.engine.drawing import WatchedClasses, least_kept, shaped

Reduce = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits [n, V] and the tokens that follow [n] to what is kept of them: [columns, n]."""

Channels = Mapping[str, torch.Tensor]
"""What a model is given beside the ids of a batch, by name of its input: [B, L] each."""

FULL_LOGITS = 1 << 27
"""Logits of one batch where they cannot be had in chunks."""

_CHUNK_LOGITS = {"cpu": 1 << 22, "cuda": 1 << 27}  # made by one matrix product
_REDUCED_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 27}  # few enough to stay in the CPU's caches
_COMPARED = 16  # tokens before a length, of which a pass that goes on may think otherwise
_HEAD_TOLERANCE = 1e-5  # the two ways run the same kernels on the same numbers, so only rounding


def inputs_of(ids: torch.Tensor, more: Channels) -> dict[str, torch.Tensor]:
    """Return a batch as a model takes it.

    With positions of their own a mask is given too: without one, some architectures take positions
    that do not follow each other for records that were packed together.
    """
    inputs = {"input_ids": ids, **more}
    if more:
        inputs["attention_mask"] = torch.ones_like(ids)
    return inputs


def takes(model: Any, names: Iterable[str]) -> bool:
    """Whether a model's `forward` names all of some inputs."""
    return set(names) <= inspect.signature(model.forward).parameters.keys()


class ForwardPass:
    """A model's forward pass over whole sequences, without a memory.

    Args:
        model: a loaded causal language model on its device.
        vocabulary_size: number of token ids it scores.
        pad_id: stands where a shorter sequence has no token.

    `switches` are the lengths beyond which a record was seen to be another one from its beginning
    on, in ascending order.

    Raises:
        TargetError: the model scores another number of tokens than it declares.
    """

    def __init__(self, model: Any, *, vocabulary_size: int, pad_id: int) -> None:
        self._model, self._vocabulary_size, self._pad_id = model, vocabulary_size, pad_id
        self._device: torch.device = model.device
        self.is_chunked = False
        self.switches: tuple[int, ...] = ()

    def choose_head(self, tokens: Tokens) -> None:
        """Decide whether logits can be had in chunks of positions, by a trial on some tokens."""
        self.is_chunked = self.head_deviation(tokens) <= _HEAD_TOLERANCE

    def try_switch(self, tokens: Tokens, *, length: int, tolerance: float) -> None:
        """Read records in parts from now on, if their beginning of some length changes behind it.

        Args:
            tokens: more than `length`.
            length: in tokens, more than those of any call before.
            tolerance: nats by which the last tokens of the beginning may differ.
        """
        ids, more = self._fed(tokens)
        some = slice(max(0, length - _COMPARED), length)
        beginning, whole = (
            self._log_probabilities(one, some, more) for one in (ids[:, :length], ids)
        )
        if not float((beginning - whole).abs().max()) <= tolerance:
            self.switches += (length,)

    def hidden(self, ids: torch.Tensor, more: Channels | None = None) -> torch.Tensor:
        """Return the last layer's hidden states, [B, L, width]."""
        return self._in_parts(ids, more or {}, self._states)

    def _in_parts(
        self,
        ids: torch.Tensor,
        more: Channels,
        read: Callable[[torch.Tensor, Channels], torch.Tensor],
    ) -> torch.Tensor:
        """Read each part of a batch by a pass that ends with it; see the module's docstring.

        Padding to the right does not matter: a row that ends within a part is in no other one.
        """
        width = ids.shape[1]
        ends = [*(end for end in self.switches if end < width), width]
        starts = [0, *ends[:-1]]
        parts = [
            read(ids[:, :end], {name: own[:, :end] for name, own in more.items()})[:, start:]
            for start, end in zip(starts, ends, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _states(self, ids: torch.Tensor, more: Channels) -> torch.Tensor:
        base = self._model.base_model
        states: torch.Tensor
        inputs = inputs_of(ids, more)
        if base is self._model or not takes(base, more):
            states = self._model(
                **inputs, output_hidden_states=True, use_cache=False
            ).hidden_states[-1]
        else:
            states = base(**inputs, use_cache=False).last_hidden_state
        return states

    def score(self, rows: Sequence[Tokens]) -> list[TokenScores]:
        """Score one batch of sequences.

        Raises:
            TargetError: the model gives no numbers.
        """
        return [
            TokenScores(logprob=p[0], mean=p[1], std=p[2], first=p[3] > 0)
            for p in self._read(rows, _reduced)
        ]

    def score_sampled(
        self, rows: Sequence[Tokens], *, temperature: float, top_p: float
    ) -> list[SampledScores]:
        """Score one batch of sequences as a sampler draws.

        Raises:
            TargetError: the model gives no numbers.
        """

        def reduce(logits: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
            return _sampled(logits, following, temperature=temperature, top_p=top_p)

        return [SampledScores(p[0], first=p[1] > 0, whole=p[2]) for p in self._read(rows, reduce)]

    def _read(self, rows: Sequence[Tokens], reduce: Reduce) -> list[NDArray[np.float32]]:
        """Return what is made of the logits before each token but the first: [columns, L - 1]."""
        ids, real = padded(rows, pad_id=self._pad_id, left=False, device=self._device)
        more = padded_channels(rows, device=self._device)
        known = real[:, 1:]  # positions whose next token is known
        following = ids[:, 1:][known]
        # The last token predicts nothing that is scored, so it is not fed.
        fed = {name: own[:, :-1] for name, own in more.items()}
        features = self._in_parts(ids[:, :-1], fed, self._features)[known]
        parts = self._reduced_in_chunks(features, following, reduce)
        columns = numbers_of(torch.cat(parts, dim=1)) if parts else np.empty((4, 0), np.float32)
        return np.split(columns, np.cumsum([len(row) - 1 for row in rows])[:-1], axis=1)

    def masses(
        self,
        rows: Sequence[Tokens],
        firsts: Sequence[int],
        *,
        sampler: Sampler,
        classes: WatchedClasses,
    ) -> list[NDArray[np.float64]]:
        """Return how likely the sampler is to name each class behind the tokens of one batch.

        Args:
            rows: token ids.
            firsts: the position of each row from which on it is asked.
            sampler: its temperature and top-p.
            classes: C of them.

        Returns:
            [L - first, C] for each row of L tokens.

        Raises:
            TargetError: the model gives no numbers.
        """
        ids, real = padded(rows, pad_id=self._pad_id, left=False, device=self._device)
        first = torch.tensor(firsts, device=self._device)[:, None]
        asked = real & (torch.arange(ids.shape[1], device=self._device) >= first)
        more = padded_channels(rows, device=self._device)
        states, project = self._in_parts(ids, more, self._features)[asked], self._project
        size = max(1, _REDUCED_AT_ONCE[self._device.type] // self._vocabulary_size)
        parts = []
        for start in range(0, len(states), size):
            logits = project(states[start : start + size])
            weights = shaped(logits, temperature=sampler.temperature, top_p=sampler.top_p)
            parts.append(classes.share(weights, weights.sum(-1, keepdim=True, dtype=torch.float64)))
        found: NDArray[np.float64] = torch.cat(parts).cpu().numpy()
        if not np.isfinite(found).all():
            raise TargetError("the model gives values that are no numbers; try dtype: float32")
        counts = [len(row) - start for row, start in zip(rows, firsts, strict=True)]
        return np.split(found, np.cumsum(counts)[:-1])

    def embed(self, rows: Sequence[Tokens]) -> list[NDArray[np.float32]]:
        """Return the hidden state at the last token of each sequence of one batch."""
        ids, _ = padded(rows, pad_id=self._pad_id, left=False, device=self._device)
        last = torch.tensor([len(row) - 1 for row in rows], device=self._device)
        more = padded_channels(rows, device=self._device)
        states = self.hidden(ids, more)[torch.arange(len(rows), device=self._device), last]
        return list(numbers_of(states.float()))

    def gain_of_one_pass(self, tokens: Tokens) -> float:
        """Return by how many nats a token one pass over all tokens knows their beginning better.

        The beginning ends at the last length where longer records are others from the first token
        on. Zero where there is none below.
        """
        end = max((one for one in self.switches if one < len(tokens)), default=0)
        if end < 2:
            return 0.0
        ids, more = self._fed(tokens)
        following = ids[0, 1:end]
        one_pass = self._features(ids, more)[0, : end - 1]
        beginning = {name: own[:, : end - 1] for name, own in more.items()}
        as_drawn = self._in_parts(ids[:, : end - 1], beginning, self._features)[0]
        found = [
            torch.cat(self._reduced_in_chunks(features, following, _reduced), dim=1)[0].mean()
            for features in (one_pass, as_drawn)
        ]
        return float(found[0] - found[1])

    def head_deviation(self, tokens: Tokens) -> float:
        """Return how far output embeddings over hidden states are from the model's own logits."""
        ids, more = self._fed(tokens)
        logits = self._logits(ids, more)
        if logits.shape[-1] != self._vocabulary_size:
            raise TargetError(
                f"the model scores {logits.shape[-1]} tokens, but its configuration says "
                f"{self._vocabulary_size}; the checkpoint is inconsistent"
            )
        head = self._model.get_output_embeddings()
        if head is None:
            return float("inf")
        ours = head(self.hidden(ids, more))
        deviation = (logits.float().log_softmax(-1) - ours.float().log_softmax(-1)).abs().max()
        return float(deviation) if bool(deviation.isfinite()) else float("inf")

    def sum_deviation(self, tokens: Tokens) -> float:
        """Return how far next-token probabilities are from summing to one."""
        sums = self._logits(*self._fed(tokens)).float().log_softmax(-1).exp().sum(-1)
        return float((sums - 1.0).abs().max())

    def _fed(self, tokens: Tokens) -> tuple[torch.Tensor, Channels]:
        """Return the ids of one sequence, [1, L], and its channels."""
        ids = torch.from_numpy(tokens.astype(np.int64)).to(self._device)[None]
        return ids, padded_channels([tokens], device=self._device)

    def _logits(self, ids: torch.Tensor, more: Channels) -> torch.Tensor:
        return self._in_parts(ids, more, self._plain_logits)

    def _plain_logits(self, ids: torch.Tensor, more: Channels) -> torch.Tensor:
        logits: torch.Tensor = self._model(**inputs_of(ids, more), use_cache=False).logits
        return logits

    def _features(self, ids: torch.Tensor, more: Channels) -> torch.Tensor:
        """Return what `_project` makes logits of, [B, L, any]: themselves where it cannot."""
        return self._states(ids, more) if self.is_chunked else self._plain_logits(ids, more)

    def _project(self, features: torch.Tensor) -> torch.Tensor:
        if not self.is_chunked:
            return features
        logits: torch.Tensor = self._model.get_output_embeddings()(features)
        return logits

    def _log_probabilities(self, ids: torch.Tensor, some: slice, more: Channels) -> torch.Tensor:
        """Return those of the tokens behind some positions, [B, positions, V]."""
        fed = {name: own[:, : ids.shape[1]] for name, own in more.items()}
        features = self._in_parts(ids, fed, self._features)[:, some]
        found: torch.Tensor = self._project(features).float().log_softmax(-1)
        return found

    def _reduced_in_chunks(
        self, features: torch.Tensor, following: torch.Tensor, reduce: Reduce
    ) -> list[torch.Tensor]:
        """Make logits of a chunk of the features, [n, any], at a time, and reduce it at once."""
        size = max(1, _CHUNK_LOGITS[self._device.type] // self._vocabulary_size)
        return [
            self._reduce(
                self._project(features[start : start + size]),
                following[start : start + size],
                reduce,
            )
            for start in range(0, len(following), size)
        ]

    def _reduce(
        self, logits: torch.Tensor, following: torch.Tensor, reduce: Reduce
    ) -> torch.Tensor:
        size = max(1, _REDUCED_AT_ONCE[self._device.type] // self._vocabulary_size)
        parts = [
            reduce(logits[start : start + size], following[start : start + size])
            for start in range(0, len(following), size)
        ]
        return torch.cat(parts, dim=1)


def _reduced(logits: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """Return log p(following), mean and std of log p under p, and 1 where nothing is likelier.

    [4, n] float32.
    """
    logs = logits.float().log_softmax(-1)
    # A token ruled out with minus infinity would make 0 * inf of the moments.
    logs = logs.clamp_(min=LOGPROB_FLOOR)
    chosen = logs.gather(1, following[:, None])[:, 0]
    first = (chosen >= logs.amax(-1)).float()
    probabilities = logs.exp()
    mean = (probabilities * logs).sum(-1)
    # Around the mean, not E[x²] − E[x]²: that difference cancels where the model is sure.
    spread = (probabilities * (logs - mean[:, None]).square_()).sum(-1).sqrt()
    return torch.stack([chosen, mean, spread, first])


def _sampled(
    logits: torch.Tensor, following: torch.Tensor, *, temperature: float, top_p: float
) -> torch.Tensor:
    """Return the sampler's log p(following), if it ranks first, and log p without top-p.

    [3, n] float32. The rule is that of `checker.targets.engine.drawing.draw`.
    """
    weights = (logits.float() / temperature).softmax(-1)
    own = weights.gather(1, following[:, None])[:, 0]
    kept = torch.ones_like(own)
    inside = own > 0
    if top_p < 1.0:
        least = least_kept(weights, top_p=top_p)
        kept = torch.where(weights < least, 0.0, weights).sum(-1)
        inside &= own >= least[:, 0]
    logs = torch.where(inside, (own / kept).log(), LOGPROB_FLOOR).clamp_(LOGPROB_FLOOR, 0.0)
    logs = torch.where(own.isnan(), own, logs)  # what is no number must not look impossible
    first = logits.argmax(-1) == following
    return torch.stack([logs, first.float(), own.log().clamp_(LOGPROB_FLOOR, 0.0)])
