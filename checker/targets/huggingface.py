"""A Hugging Face causal language model behind the three verbs; the one door to torch.

Three decisions govern this module.

*Scores come from one forward pass.* All positions of a record are scored at once, in batches of
records of similar length, right-padded: under causal attention what stands to the right changes
nothing. [batch, length, vocabulary] never exists in float32; the output embeddings are applied to
chunks of positions and each chunk is reduced at once. Some architectures scale or cap logits after
the output embeddings. Whether this one does is measured when it is loaded, and if so the full
logits of small batches are reduced instead.

*Rollouts are `generate`, but the draw is ours.* Greedy decoding over a logits processor that draws
from counter-based uniforms (`checker.targets.sampling`) makes a rollout depend on the seed, the
prompt's key and the sample alone. The checkpoint's own generation settings are discarded, because a
repetition penalty or a low temperature in them would audit another distribution.

*Doubt is an error.* Weights that the architecture lacks or that are left over, numbers that are no
numbers, a prompt beyond the context: each raises TargetError, since a model that is loaded or read
wrongly looks safe.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from checker.errors import PhigateError, TargetError
from checker.policy.documents import ModelSpec
from checker.targets import (
    CAPABILITIES,
    LOGPROB_FLOOR,
    Progress,
    Sampler,
    TargetInfo,
    Tokens,
    TokenScores,
    require_fit,
)
from checker.targets.sampling import cut_at, uniforms

__all__ = ["PREFLIGHT_TOLERANCE", "HuggingFaceTarget", "embed_texts"]

MICROBATCH_TOKENS = 16_384
"""Tokens of one scoring batch, padding included. Fixed, so that results do not depend on how much
memory happens to be free; only a batch that does not fit at all is halved."""

_ROLLOUT_FACTOR = 4  # decoding is bound by its steps, so a rollout batch may hold more tokens
_CHUNK_LOGITS = {"cpu": 1 << 22, "cuda": 1 << 27}  # float32 logits reduced at once
_FULL_LOGITS = 1 << 27  # logits of one batch where they cannot be had in chunks

PREFLIGHT_TOLERANCE = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.5}
"""Nats by which two ways to the same log-probability may differ. bfloat16 has 8 significant bits:
logits from 16 to 32 are multiples of 1/8, and two kernels may round apart by a few of them."""

_HEAD_TOLERANCE = 1e-5  # the two ways run the same kernels on the same numbers, so only rounding
_SUM_TOLERANCE = 1e-3
_PREFLIGHT_ROWS, _PREFLIGHT_TOKENS = 8, 64

Result = TypeVar("Result")


@contextlib.contextmanager
def _vendor(doing: str) -> Iterator[None]:
    """Run torch and transformers quietly, and turn whatever they raise into a TargetError."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PhigateError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # vendors raise every class there is; ours are re-raised above
        text = " ".join(str(error).split())[:500]
        raise TargetError(f"{doing} failed: {type(error).__name__}: {text}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


class HuggingFaceTarget:
    """A causal language model from a local checkpoint.

    Args:
        model: a loaded `transformers` causal language model on its device.
        vocabulary_size: number of token ids it scores.
        context_length: most tokens it can see, or None.
        pad_id: the padding token; where None, any id stands in and is masked.
        eos_id: ends a rollout; None means that only the horizon does.
        microbatch_tokens: tokens of one scoring batch, padding included.

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
        microbatch_tokens: int = MICROBATCH_TOKENS,
    ) -> None:
        self._model = model.eval()
        self._device: torch.device = model.device
        self._pad_id = 0 if pad_id is None else pad_id
        self._eos_id = eos_id
        # A recurrent state takes in whatever stands to its left, padding included.
        self._pads_left = not getattr(model, "_is_stateful", False)
        self._info = TargetInfo(
            backend="huggingface",
            vocabulary_size=vocabulary_size,
            context_length=context_length,
            capabilities=CAPABILITIES,
            device=_device_name(self._device),
            dtype=str(model.dtype).removeprefix("torch."),
            microbatch_tokens=microbatch_tokens,
            libraries=_library_versions(self._device),
        )
        # `generate` fills what a configuration leaves open from the checkpoint's: leave none there.
        model.generation_config = GenerationConfig()
        doing = f"a first forward pass in {self._info.dtype} (model.dtype can be set in the target)"
        with _vendor(doing), torch.inference_mode():
            self._chunked = self._head_deviation(self._trial_tokens()) <= _HEAD_TOLERANCE

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
        device = _device_of(spec.device)
        with _vendor(f"{directory}: loading the model"):
            try:
                model, loading = AutoModelForCausalLM.from_pretrained(
                    directory,
                    dtype=_dtype_of(spec.dtype, device),
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=spec.trust_remote_code,
                    output_loading_info=True,
                )
                _check_weights(directory, loading)
                return cls(
                    model.to(device),
                    vocabulary_size=vocabulary_size,
                    context_length=context_length,
                    pad_id=pad_id,
                    eos_id=eos_id,
                )
            except torch.OutOfMemoryError as error:
                raise TargetError(
                    f"{directory}: the model does not fit into the memory of {device}"
                ) from error

    @property
    def info(self) -> TargetInfo:
        """What it is and what it runs on."""
        return self._info

    # --- the three verbs --------------------------------------------------------------------------

    def score(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> list[TokenScores]:
        """Score whole sequences, each in one forward pass; see `TargetModel.score`.

        Raises:
            TargetError: a sequence does not fit the model, or it gives no numbers.
        """
        require_fit(sequences, info=self._info)
        budget = self._info.microbatch_tokens
        if not self._chunked:
            budget = min(budget, _FULL_LOGITS // self._info.vocabulary_size)
        return self._in_batches(
            lambda rows: self._score_rows([sequences[row] for row in rows]),
            lengths=[len(sequence) for sequence in sequences],
            budget=budget,
            progress=progress,
            doing="scoring",
        )

    def rollout(
        self,
        prompts: Sequence[Tokens],
        *,
        keys: Sequence[int],
        samples: int,
        sampler: Sampler,
        first_sample: int = 0,
        progress: Progress | None = None,
    ) -> list[list[Tokens]]:
        """Draw continuations; see `TargetModel.rollout`.

        A batch holds prompts of similar length, padded on the left; models with a recurrent state
        get prompts of one length only. Samples of one prompt may fall into several batches.

        Raises:
            TargetError: prompt and horizon exceed the context, or the model gives no numbers.
        """
        require_fit(prompts, info=self._info, horizon_tokens=sampler.horizon_tokens)
        wanted = range(first_sample, first_sample + samples)
        draws = [(row, sample) for row in range(len(prompts)) for sample in wanted]

        def run(rows: list[int]) -> list[Tokens]:
            chosen = [draws[row] for row in rows]
            numbers = uniforms([(keys[row], sample) for row, sample in chosen], sampler=sampler)
            processor = _Draw(torch.from_numpy(numbers).to(self._device), sampler=sampler)
            new = self._generate(
                [prompts[row] for row, _ in chosen], processor, sampler.horizon_tokens
            )
            if not bool(processor.sound):
                raise TargetError(
                    "the model gives next-token logits that are no numbers; try dtype: float32"
                )
            return cut_at(new, eos_id=self._eos_id)

        flat = self._in_batches(
            run,
            lengths=[len(prompts[row]) + sampler.horizon_tokens for row, _ in draws],
            budget=self._info.microbatch_tokens * _ROLLOUT_FACTOR,
            progress=progress,
            counted=[sampler.horizon_tokens] * len(draws),
            one_length=not self._pads_left,
            doing="generating",
        )
        return [flat[start : start + samples] for start in range(0, len(flat), max(samples, 1))]

    def embed(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return the last layer's hidden state at the last token: [n, width] float32.

        Raises:
            TargetError: a sequence does not fit the model, or it gives no numbers.
        """
        require_fit(sequences, info=self._info)

        def run(rows: list[int]) -> list[NDArray[np.float32]]:
            chosen = [sequences[row] for row in rows]
            hidden = self._hidden(self._padded(chosen, left=False)[0])
            last = torch.tensor([len(sequence) - 1 for sequence in chosen], device=self._device)
            rows_of = torch.arange(len(chosen), device=self._device)
            return list(_numbers(hidden[rows_of, last].float()))

        rows = self._in_batches(
            run,
            lengths=[len(sequence) for sequence in sequences],
            budget=self._info.microbatch_tokens,
            progress=progress,
            doing="embedding",
        )
        return np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)

    def preflight(self, sequences: Sequence[Tokens]) -> dict[str, float]:
        """Check the model against itself on a few records (METHODS: preflight).

        The beginnings of some records are decoded step by step, through the very path that
        rollouts take, but with each next token forced to be the record's own; the log-probability
        read on the way must be the one that the full pass gives.

        Returns:
            Largest deviations, in nats but for the last:
            "cached-decoding": full pass against step-by-step decoding, each record alone;
            "left-padding": records decoded alone against decoded together, padded on the left (on
            models with a recurrent state, together means of one length);
            "batch-composition": full passes alone against together;
            "chunked-head": chunks of positions against the model's own logits;
            "probability-sum": |sum of next-token probabilities - 1|.

        Raises:
            TargetError: one is beyond its tolerance; the message has the numbers.
        """
        require_fit(sequences, info=self._info)
        records = [sequence[:_PREFLIGHT_TOKENS] for sequence in sequences if len(sequence) > 1]
        records = records[:_PREFLIGHT_ROWS]
        if not records:
            raise TargetError("preflight needs at least one record of two or more tokens")
        # Prompts of different lengths, or there would be no padding to check.
        cuts = [max(1, len(record) // 2 - row) for row, record in enumerate(records)]
        alone = [self.score([record])[0].logprob for record in records]
        stepped = [
            self._decode_forced([record], [cut])[0]
            for record, cut in zip(records, cuts, strict=True)
        ]
        ids = [self._padded([record], left=False)[0] for record in records]
        with _vendor("preflight"), torch.inference_mode():
            head = max(self._head_deviation(row) for row in ids) if self._chunked else 0.0
            total = max(self._sum_deviation(row) for row in ids)
        found = {
            "cached-decoding": _apart(
                [a[c - 1 :] for a, c in zip(alone, cuts, strict=True)], stepped
            ),
            "left-padding": _apart(stepped, self._decode_forced(records, cuts)),
            "batch-composition": _apart(alone, [s.logprob for s in self.score(records)]),
            "chunked-head": head,
            "probability-sum": total,
        }
        self._judge_preflight(found)
        return found

    # --- forward passes ---------------------------------------------------------------------------

    def _hidden(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the last layer's hidden states, [B, L, width]."""
        base = self._model.base_model
        hidden: torch.Tensor
        if base is self._model:
            hidden = base(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states[
                -1
            ]
        else:
            hidden = base(input_ids=ids, use_cache=False).last_hidden_state
        return hidden

    def _logits(self, ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self._model(input_ids=ids, use_cache=False).logits
        return logits

    def _score_rows(self, rows: list[Tokens]) -> list[TokenScores]:
        ids, real = self._padded(rows, left=False)
        known = real[:, 1:]  # positions whose next token is known
        following = ids[:, 1:][known]
        # The last token predicts nothing that is scored, so it is not fed.
        if self._chunked:
            states, project = self._hidden(ids[:, :-1])[known], self._model.get_output_embeddings()
        else:
            states, project = self._logits(ids[:, :-1])[known], torch.nn.Identity()
        size = max(1, _CHUNK_LOGITS[self._device.type] // self._info.vocabulary_size)
        parts = [
            _reduce(project(states[start : start + size]), following[start : start + size])
            for start in range(0, len(following), size)
        ]
        columns = _numbers(torch.cat(parts, dim=1)) if parts else np.empty((3, 0), np.float32)
        pieces = np.split(columns, np.cumsum([len(row) - 1 for row in rows])[:-1], axis=1)
        return [TokenScores(logprob=p[0], mean=p[1], std=p[2]) for p in pieces]

    def _generate(self, prompts: list[Tokens], processor: Any, horizon: int) -> NDArray[np.int32]:
        """Return the new tokens that `processor` chose, [n, at most horizon]."""
        ids, real = self._padded(prompts, left=True)
        config = GenerationConfig(
            max_new_tokens=horizon,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            pad_token_id=self._pad_id,
            eos_token_id=self._eos_id if isinstance(processor, _Draw) else None,
        )
        produced = self._model.generate(
            ids,
            attention_mask=real.long(),
            generation_config=config,
            logits_processor=transformers.LogitsProcessorList([processor]),
        )
        new: NDArray[np.int32] = produced[:, ids.shape[1] :].cpu().numpy().astype(np.int32)
        return new

    def _decode_forced(self, records: list[Tokens], cuts: list[int]) -> list[NDArray[np.float32]]:
        """Return the log-probability of each record's tokens from its cut on, decoded in steps.

        Records decoded together stop where the one with the longest prompt fills the context.
        """
        horizon = max(len(record) - cut for record, cut in zip(records, cuts, strict=True))
        if self._info.context_length is not None:
            horizon = min(horizon, self._info.context_length - max(cuts))

        def run(rows: list[int]) -> list[NDArray[np.float32]]:
            rest = [records[row][cuts[row] :][:horizon] for row in rows]
            forced = np.full((len(rows), horizon), self._pad_id, dtype=np.int64)
            for line, tokens in zip(forced, rest, strict=True):
                line[: len(tokens)] = tokens
            processor = _Force(torch.from_numpy(forced).to(self._device))
            self._generate([records[row][: cuts[row]] for row in rows], processor, horizon)
            seen = _numbers(torch.stack(processor.logprobs, dim=1))
            return [line[: len(tokens)] for line, tokens in zip(seen, rest, strict=True)]

        return self._in_batches(
            run,
            lengths=[cut + horizon for cut in cuts],
            budget=self._info.microbatch_tokens,
            one_length=not self._pads_left,
            doing="preflight",
        )

    # --- checks -----------------------------------------------------------------------------------

    def _trial_tokens(self) -> torch.Tensor:
        length = min(16, self._info.context_length or 16)
        steps = torch.arange(length, device=self._device)
        return (steps * 7919 % self._info.vocabulary_size)[None]

    def _head_deviation(self, ids: torch.Tensor) -> float:
        """Return how far output embeddings over hidden states are from the model's own logits."""
        logits = self._logits(ids)
        if logits.shape[-1] != self._info.vocabulary_size:
            raise TargetError(
                f"the model scores {logits.shape[-1]} tokens, but its configuration says "
                f"{self._info.vocabulary_size}; the checkpoint is inconsistent"
            )
        head = self._model.get_output_embeddings()
        if head is None:
            return float("inf")
        ours = head(self._hidden(ids))
        deviation = (logits.float().log_softmax(-1) - ours.float().log_softmax(-1)).abs().max()
        return float(deviation) if bool(deviation.isfinite()) else float("inf")

    def _sum_deviation(self, ids: torch.Tensor) -> float:
        sums = self._logits(ids).float().log_softmax(-1).exp().sum(-1)
        return float((sums - 1.0).abs().max())

    def _judge_preflight(self, found: dict[str, float]) -> None:
        nats = PREFLIGHT_TOLERANCE[self._info.dtype]
        for name, value in found.items():
            tolerance = _SUM_TOLERANCE if name == "probability-sum" else nats
            if not value <= tolerance:
                raise TargetError(
                    f"preflight: {name} deviates by {value:.4g}, more than {tolerance:g} in "
                    f"{self._info.dtype}; the model contradicts itself, so nothing measured on it "
                    "would mean anything"
                )

    # --- batches ----------------------------------------------------------------------------------

    def _padded(self, rows: list[Tokens], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids [B, L] int64 and a mask [B, L] that is True on real tokens."""
        width = max(len(row) for row in rows)
        ids = np.full((len(rows), width), self._pad_id, dtype=np.int64)
        real = np.zeros((len(rows), width), dtype=np.bool_)
        for index, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[index, place] = row
            real[index, place] = True
        return torch.from_numpy(ids).to(self._device), torch.from_numpy(real).to(self._device)

    def _in_batches(
        self,
        run: Callable[[list[int]], list[Result]],
        *,
        lengths: list[int],
        budget: int,
        doing: str,
        progress: Progress | None = None,
        counted: list[int] | None = None,
        one_length: bool = False,
    ) -> list[Result]:
        """Run all rows in batches of similar length; results come in the order of the rows.

        A batch that does not fit into the device's memory is halved; what is done stays done.
        Progress counts `counted` tokens of each row, by default its length.
        """
        counted = lengths if counted is None else counted
        batches = _batches(lengths, budget=budget, one_length=one_length)
        results: dict[int, Result] = {}
        batches.reverse()
        while batches:
            rows = batches.pop()
            produced = _attempt(run, rows, doing=doing)
            if produced is None:
                if len(rows) == 1:
                    raise TargetError(
                        f"{doing} one sequence of {lengths[rows[0]]} tokens does not fit into the "
                        f"memory of {self._info.device}; free memory or shorten the records"
                    )
                middle = len(rows) // 2
                batches += [rows[middle:], rows[:middle]]
                continue
            results.update(zip(rows, produced, strict=True))
            if progress is not None:
                progress(sum(counted[row] for row in rows))
        return [results[row] for row in range(len(lengths))]


def _attempt(
    run: Callable[[list[int]], list[Result]], rows: list[int], *, doing: str
) -> list[Result] | None:
    """Return what `run` gives for the rows, or None where the device's memory does not suffice."""
    with (
        contextlib.suppress(torch.OutOfMemoryError),
        _vendor(doing),
        torch.inference_mode(),
    ):
        return run(rows)
    # Only here are the batch's tensors, which the traceback held, free to be given back.
    torch.cuda.empty_cache()
    return None


def _batches(lengths: list[int], *, budget: int, one_length: bool) -> list[list[int]]:
    """Group rows so that a batch's padded size stays within the budget; the longest come first.

    The longest first, so that a batch that cannot fit shows at the start and not after hours.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if batches:
            width = lengths[batches[-1][0]]
            fits = (len(batches[-1]) + 1) * width <= budget
            if fits and (lengths[row] == width or not one_length):
                batches[-1].append(row)
                continue
        batches.append([row])
    return batches


def _reduce(logits: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """Return log p(following), and mean and std of log p under p: [3, n] float32."""
    logs = logits.float().log_softmax(-1)
    # A token ruled out with minus infinity would make 0 * inf of the moments.
    logs = logs.clamp_(min=LOGPROB_FLOOR)
    chosen = logs.gather(1, following[:, None])[:, 0]
    probabilities = logs.exp()
    mean = (probabilities * logs).sum(-1)
    # Around the mean, not E[x²] − E[x]²: that difference cancels where the model is sure.
    spread = (probabilities * (logs - mean[:, None]).square_()).sum(-1).sqrt()
    return torch.stack([chosen, mean, spread])


def _numbers(values: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.cpu().numpy()
    if not np.isfinite(array).all():
        raise TargetError("the model gives values that are no numbers; try dtype: float32")
    return array


def _apart(left: list[NDArray[np.float32]], right: list[NDArray[np.float32]]) -> float:
    """Return the largest difference over the positions that both sides have."""
    pairs = zip(left, right, strict=True)
    return max(float(np.abs(a[: len(b)] - b[: len(a)]).max(initial=0.0)) for a, b in pairs)


class _Draw:
    """Logits processor that draws the next token and leaves greedy decoding no other choice.

    Args:
        numbers: [B, horizon] float64 uniforms, on the device: nothing crosses per step.
        sampler: temperature and top-p.
    """

    def __init__(self, numbers: torch.Tensor, *, sampler: Sampler) -> None:
        self._numbers, self._sampler = numbers, sampler
        self._width: int | None = None
        self.sound = torch.ones((), dtype=torch.bool, device=numbers.device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores [B, V] that are 0 at the drawn token and minus infinity elsewhere."""
        if self._width is None:
            self._width = input_ids.shape[1]
        numbers = self._numbers[:, input_ids.shape[1] - self._width, None]
        weights = (scores.float() / self._sampler.temperature).softmax(-1)
        if self._sampler.top_p < 1.0:
            ranked = _descending(weights)
            outside = ranked.cumsum(-1) - ranked >= self._sampler.top_p
            least = ranked.masked_fill_(outside, torch.inf).amin(-1, keepdim=True)
            weights = weights.masked_fill_(weights < least, 0.0)
        mass = weights.cumsum(-1, dtype=torch.float64)
        self.sound &= mass[:, -1].isfinite().all()
        drawn = torch.searchsorted(mass, numbers * mass[:, -1:], right=True)
        # Only logits that are no numbers get past the end; indexing there would kill the device.
        drawn = drawn.clamp_(max=scores.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn, 0.0)


def _descending(weights: torch.Tensor) -> torch.Tensor:
    """Sort each row, largest first."""
    if weights.device.type == "cpu":  # NumPy sorts values several times faster than torch does
        return torch.from_numpy(np.sort(weights.numpy(), axis=-1)[:, ::-1].copy())
    return weights.sort(dim=-1, descending=True).values


class _Force:
    """Logits processor that forces given tokens and keeps the log-probability of each."""

    def __init__(self, tokens: torch.Tensor) -> None:
        self._tokens = tokens
        self.logprobs: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores [B, V] that are 0 at the forced token and minus infinity elsewhere."""
        forced = self._tokens[:, len(self.logprobs), None]
        logs = scores.float().log_softmax(-1).clamp_(min=LOGPROB_FLOOR)
        self.logprobs.append(logs.gather(1, forced)[:, 0])
        return torch.full_like(scores, -torch.inf).scatter_(1, forced, 0.0)


def _device_of(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise TargetError(
                f"model.device is {name}, but torch sees {count} CUDA devices; use device: auto"
            )
    return device


def _dtype_of(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }[name]


def _device_name(device: torch.device) -> str:
    # The kind of GPU, not its number: equal bytes are promised on equal devices.
    return f"cuda {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def _library_versions(device: torch.device) -> dict[str, str]:
    versions = {
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
    }
    if device.type == "cuda" and torch.version.cuda is not None:
        versions["cuda"] = torch.version.cuda
    return versions


def _check_weights(directory: Path, loading: dict[str, Any]) -> None:
    """Refuse a checkpoint whose weights are not exactly the architecture's.

    transformers only warns, and fills what is missing with random numbers.
    """
    for kind, meaning in (
        ("missing_keys", "lacks weights that its architecture needs"),
        ("mismatched_keys", "has weights of another shape than its architecture"),
        ("unexpected_keys", "has weights that its architecture does not use"),
    ):
        names = sorted(str(name) for name in loading.get(kind) or ())
        if names:
            raise TargetError(
                f"{directory}: the checkpoint {meaning} ({names[0]}, {len(names)} in all), so it "
                "is not the model that config.json names; save it again with save_pretrained"
            )


# --- labels, not patients -------------------------------------------------------------------------

_TEXTS_AT_ONCE = 64


def embed_texts(directory: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts with a local text encoder: the mean of its last hidden states over real tokens.

    It is no model under audit: it reads the labels of codes, on the CPU, in float32.

    Args:
        directory: a transformer and its tokenizer, saved with safetensors; nothing is fetched and
            no code of its own is run.
        texts: n texts; longer ones than the encoder takes are cut.

    Returns:
        [n, width] float32.

    Raises:
        TargetError: it cannot be loaded, or gives no numbers.
    """
    only_local = {"local_files_only": True, "trust_remote_code": False}
    with _vendor(f"{directory}: embedding labels"), torch.inference_mode():
        tokenizer = AutoTokenizer.from_pretrained(directory, **only_local)
        model, loading = AutoModel.from_pretrained(
            directory,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **only_local,
        )
        # encoders are saved with or without the heads of their pretraining, and a pooler is not
        # used here: only weights of the layers themselves must not be missing
        missing = [name for name in loading["missing_keys"] if "pooler" not in name]
        _check_weights(directory, {**loading, "missing_keys": missing, "unexpected_keys": ()})
        longest = getattr(model.config, "max_position_embeddings", None)
        means = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            batch = tokenizer(
                list(texts[start : start + _TEXTS_AT_ONCE]),
                padding=True,
                truncation=longest is not None,
                max_length=longest,
                return_tensors="pt",
            )
            hidden = model.eval()(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            means.append(_numbers((hidden * mask).sum(1) / mask.sum(1)))
    return np.concatenate(means)
