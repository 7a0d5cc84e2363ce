"""A Hugging Face causal language model, as a target.

Four decisions govern it.

*Scores come from one forward pass* (`checker.targets.engine.scoring`), or from one for each part of
a record where positions switch.

*Rollouts read each prompt once* (`checker.targets.engine.decoding`). Which cache does for a model,
or whether only the library's own `generate` does, is measured when it is loaded, by comparing steps
with full passes, around every length at which the configuration has windows, chunks or positions
switch: beyond the first at which the steps fail, `generate` takes over, in the fastest way that
agrees around all of them, without a cache at last. Preflight then goes through what was chosen.

*The draw is ours* (`checker.targets.engine.drawing`). Counter-based uniforms
(`checker.targets.sampling`) make a rollout depend on the seed, the prompt's key and the sample
alone. The checkpoint's own generation settings are discarded, because a repetition penalty or a low
temperature in them would audit another distribution.

*Doubt is an error.* Weights that the architecture lacks or that are left over, values that are not
finite, a prompt beyond the context: each raises TargetError, since a model that is loaded or read
wrongly looks safe.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig

from checker.errors import PhigateWarning, TargetError
from checker.targets import (
    CAPABILITIES,
    More,
    MoreWatched,
    Progress,
    SampledScores,
    Sampler,
    TargetInfo,
    Tokens,
    TokenScores,
    Watch,
    WatchedRollout,
    require_fit,
)
from checker.targets.channels import channels_of
from checker.targets.compensator import without_end
from checker.targets.conformance import BEYOND, PREFLIGHT_TOLERANCE, decoding_deviation
from checker.targets.engine.attention_cache import ATTENTION, SharedPrefixCache
from checker.targets.engine.batches import in_batches
from checker.targets.engine.cache import Capacity, DecodingCache
from checker.targets.engine.channel_decoding import (
    TRIED_STEPS,
    cache_deviation,
    decode_with_channels,
)
from checker.targets.engine.decoding import BatchLimits, DecodingRequest, decode
from checker.targets.engine.drawing import WatchedClasses
from checker.targets.engine.embedding_bounds import EmbeddingBounds
from checker.targets.engine.generating import WAYS, Way, generate
from checker.targets.engine.loading import (
    device_name,
    fuse_activations,
    library_versions,
    vendor,
)
from checker.targets.engine.memory_budget import (
    cache_bytes,
    keep_freed_memory,
    logits_at_once,
    microbatch_tokens,
    rollout_tokens,
)
from checker.targets.engine.recurrent_cache import RecurrentStateCache
from checker.targets.engine.scoring import FULL_LOGITS, ForwardPass
from checker.targets.engine.token_choice import (
    SampledTokens,
    TeacherForcing,
    TokenChoice,
    WatchedTokens,
)

Scores = TypeVar("Scores")

_TRIAL_TOKENS = 16
_LONGEST_TRIAL = 4096
"""A trial's full pass should take seconds. Switches beyond it are not tried: no prefix is shared
from there on and no record read in parts, and preflight refuses a model whose positions switch
there, where records in use are longer."""


class HuggingFaceTarget:
    """A causal language model from a local checkpoint.

    Args:
        model: a loaded `transformers` causal language model on its device; it is changed.
        vocabulary_size: number of token ids it scores.
        context_length: most tokens it can see, or None.
        pad_id: the padding token; where None, any id stands in and is masked.
        eos_id: ends a rollout; None means that only the horizon does.
        microbatch_tokens: tokens of one scoring batch, padding included; None chooses.
        switch_lengths: by name, lengths beyond which it may compute in another way.

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
        switch_lengths: Mapping[str, int] | None = None,
    ) -> None:
        self._model = model.eval()
        self._bounds = EmbeddingBounds(model)
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
            switch_lengths=dict(switch_lengths or {}),
            channels=_channels_taken(model),
            required=_channels_of_its_code(model),
        )
        self._cache: type[DecodingCache] | None = None
        self._unit_bytes = 0
        self._cached_tokens: int | None = None
        # a recurrent state takes in whatever stands to its left, padding included
        self._ways = WAYS[1:] if getattr(model, "_is_stateful", False) else WAYS
        self._way = self._ways[0]
        self._attention: str = model.config._attn_implementation
        self._try_switches()
        self._choose_cache(trial)
        if self._cache is not None:
            self._cached_tokens = self._longest_cached()
        if self._cache is None or self._cached_tokens is not None:
            self._way = self._choose_way(trial)

    @property
    def info(self) -> TargetInfo:
        return self._info

    @property
    def decoding(self) -> str:
        """What rollouts go through: "shared prefix", "states", "generate" or "whole passes"."""
        return self.decoding_beyond if self._cache is None else self._cache.name

    @property
    def decoding_beyond(self) -> str:
        """What those of more than `cached_tokens` do: "generate" or "whole passes"."""
        return "generate" if self._way.cached else "whole passes"

    @property
    def cached_tokens(self) -> int | None:
        """Most tokens of prompt and continuation that do, if not all."""
        return self._cached_tokens

    # --- the verbs --------------------------------------------------------------------------------

    def score(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> list[TokenScores]:
        return self._scored(sequences, self._forward.score, progress=progress)

    def score_sampled(
        self,
        sequences: Sequence[Tokens],
        *,
        temperature: float,
        top_p: float,
        progress: Progress | None = None,
    ) -> list[SampledScores]:
        """Score whole sequences as a sampler draws, each in one forward pass.

        Args:
            sequences: as those of `score`.
            temperature: > 0.
            top_p: in (0, 1].
            progress: as that of `score`.
        """

        def run(rows: Sequence[Tokens]) -> list[SampledScores]:
            return self._forward.score_sampled(rows, temperature=temperature, top_p=top_p)

        return self._scored(sequences, run, progress=progress)

    def _scored(
        self,
        sequences: Sequence[Tokens],
        run: Callable[[list[Tokens]], list[Scores]],
        *,
        progress: Progress | None,
    ) -> list[Scores]:
        self._require_fit(sequences)
        return in_batches(
            lambda rows: run([sequences[row] for row in rows]),
            lengths=[len(sequence) for sequence in sequences],
            budget=self._scored_tokens,
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
        choice = SampledTokens(keys, sampler=sampler, eos_id=self._eos_id)
        return self._draw(
            prompts, choice, samples=samples, sampler=sampler, more=more, progress=progress
        )

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
        """Draw what `rollout` draws, and sum meanwhile how likely classes were to be named.

        Arguments are those of `rollout`, the classes to watch, [C, V], and a `more` that is given
        the compensators too.
        """
        choice = WatchedTokens(keys, sampler=sampler, eos_id=self._eos_id, watch=self._named(watch))
        return self._draw(
            prompts, choice, samples=samples, sampler=sampler, more=more, progress=progress
        )

    def masses(
        self,
        prompts: Sequence[Tokens],
        drawn: Sequence[Tokens],
        *,
        sampler: Sampler,
        watch: Watch,
        progress: Progress | None = None,
    ) -> list[NDArray[np.float64]]:
        horizon = sampler.horizon_tokens
        read, firsts = [], []
        for prompt, tokens in zip(prompts, drawn, strict=True):
            steps = len(tokens) + (len(tokens) < horizon)  # the end is drawn like any token
            whole = np.concatenate([prompt, tokens]).astype(np.int32)
            read.append(whole[: len(prompt) - 1 + steps])
            firsts.append(len(prompt) - 1)
        self._require_fit(read)
        classes = WatchedClasses(self._named(watch), device=self._device)
        return in_batches(
            lambda rows: self._forward.masses(
                [read[row] for row in rows],
                [firsts[row] for row in rows],
                sampler=sampler,
                classes=classes,
            ),
            lengths=[len(tokens) for tokens in read],
            budget=self._scored_tokens,
            progress=progress,
            doing="scoring",
            device=self._info.device,
        )

    def embed(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        self._require_fit(sequences)
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
        """Return how far the ways to read the output layer are apart, in nats, and what misses one.

        "chunked-head" compares chunks of positions with the model's own logits; "probability-sum"
        is |sum of next-token probabilities - 1|. Both make all logits of a sequence at once.
        """
        self._require_fit(sequences)
        with vendor("preflight"), torch.inference_mode():
            forward = self._forward
            return {
                "chunked-head": (
                    max(forward.head_deviation(record) for record in sequences)
                    if forward.is_chunked
                    else 0.0
                ),
                "probability-sum": max(forward.sum_deviation(record) for record in sequences),
            }

    @property
    def switches(self) -> tuple[int, ...]:
        """Lengths beyond which a record was seen to be another one from its beginning on, sorted.

        Scores read such a record in parts, as it would be drawn.
        """
        return self._forward.switches

    def gain_of_one_pass(self, tokens: Tokens) -> float:
        """Return by how many nats a token one pass over a record knows its beginning better.

        Better than the scores, which are those of the model that draws it. The beginning ends at
        the last switch below the record's length; zero where there is none.
        """
        self._require_fit([tokens])
        with vendor("preflight"), torch.inference_mode():
            return self._forward.gain_of_one_pass(tokens)

    def steps(
        self, prompts: Sequence[Tokens], following: Sequence[Tokens]
    ) -> list[NDArray[np.float32]]:
        """Return the log-probability of the tokens that follow each prompt, decoded in steps.

        The steps are those of rollouts, but for the choice of the next token.

        Args:
            prompts: n arrays of at least one id.
            following: n arrays of at least one id.
        """
        self._bounds.watch(wanted=_have_channels(prompts))
        horizon = max(len(tokens) for tokens in following)
        request = DecodingRequest(prompts, samples=1, horizon_tokens=horizon)
        choice = TeacherForcing(following, horizon_tokens=horizon)
        self._decode(request, choice, doing="preflight", given=following)
        pairs = zip(request.results(), following, strict=True)
        return [samples[0][: len(tokens)] for samples, tokens in pairs]

    def _require_fit(self, sequences: Sequence[Tokens], *, horizon_tokens: int = 0) -> None:
        require_fit(sequences, info=self._info, horizon_tokens=horizon_tokens)
        self._bounds.watch(wanted=_have_channels(sequences))

    @property
    def _scored_tokens(self) -> int:
        """Tokens that are scored at once."""
        budget = self._info.microbatch_tokens
        if self._forward.is_chunked:
            return budget
        return min(budget, FULL_LOGITS // self._info.vocabulary_size)

    # --- rollouts ---------------------------------------------------------------------------------

    def _named(self, watch: Watch) -> Watch:
        return without_end(watch, eos_id=self._eos_id)

    def _draw(
        self,
        prompts: Sequence[Tokens],
        choice: SampledTokens,
        *,
        samples: int,
        sampler: Sampler,
        more: Callable[[int, list[Any]], int] | None,
        progress: Progress | None,
    ) -> list[list[Any]]:
        self._require_fit(prompts, horizon_tokens=sampler.horizon_tokens)
        request = DecodingRequest(
            prompts,
            samples=samples,
            horizon_tokens=sampler.horizon_tokens,
            more=more,
            progress=progress,
        )
        self._decode(request, choice, doing="generating")
        return request.results()

    def _decode(
        self,
        request: DecodingRequest,
        choice: TokenChoice,
        *,
        doing: str,
        given: Sequence[Tokens] | None = None,
    ) -> None:
        microbatch = self._info.microbatch_tokens
        tokens = rollout_tokens(self._device, microbatch=microbatch)
        if request.prompts and channels_of(request.prompts[0]):
            keeps = self._keeps_channels(request.prompts)
            decode_with_channels(
                self._model,
                request,
                choice,
                given=given,
                cached=keeps,
                budget=min(tokens, microbatch * 4) if keeps else microbatch,
                pad_id=self._pad_id,
                device=self._info.device,
                doing=doing,
            )
            return
        cached, beyond = self._by_cache(request)
        if beyond:
            if self._cache is SharedPrefixCache:
                self._attend_by(self._attention)
            generate(
                self._model,
                request,
                choice,
                prompts=beyond,
                budget=min(tokens, microbatch * 4) if self._way.cached else microbatch,
                pad_id=self._pad_id,
                way=self._way,
                device=self._info.device,
                doing=doing,
            )
        if not cached:
            return
        assert self._cache is not None
        if self._cache is SharedPrefixCache:
            self._attend_by(ATTENTION)
        decode(
            request,
            choice,
            prompts=cached,
            cache=self._cache,
            make_cache=self._make_cache,
            limits=BatchLimits(
                tokens=tokens,
                cache_bytes=cache_bytes(self._device),
                unit_bytes=self._unit_bytes,
                read_tokens=microbatch,
                sequences=logits_at_once(self._device) // self._info.vocabulary_size,
            ),
            device=self._device,
            doing=doing,
        )

    def _keeps_channels(self, prompts: Sequence[Tokens]) -> bool:
        """Whether steps with channels may keep keys and values, as a trial on a prompt shows.

        It is made anew for each request, so that what is drawn hangs on no request before it.
        """
        if self._cache is SharedPrefixCache:
            self._attend_by(self._attention)
        longest = max(prompts, key=len)
        # beyond a switch what is kept may be another model's, which one trial does not show
        if len(longest) <= 2 * TRIED_STEPS or self._info.switch_lengths:
            return False

        def run(_: list[int]) -> list[float]:
            return [cache_deviation(self._model, longest, pad_id=self._pad_id)]

        (deviation,) = in_batches(
            run,
            lengths=[len(longest)],
            budget=len(longest),
            doing="a first forward pass over",
            device=self._info.device,
        )
        return deviation <= PREFLIGHT_TOLERANCE[self._info.dtype]

    def _by_cache(self, request: DecodingRequest) -> tuple[list[int], list[int]]:
        """Return the prompts for which the chosen cache does, and those for which none does."""
        everybody = list(range(len(request.prompts)))
        if self._cache is None:
            return [], everybody
        if self._cached_tokens is None:
            return everybody, []
        most = self._cached_tokens - request.horizon_tokens
        fits = [len(prompt) <= most for prompt in request.prompts]
        return [i for i in everybody if fits[i]], [i for i in everybody if not fits[i]]

    def _attend_by(self, name: str) -> None:
        if self._model.config._attn_implementation != name:
            self._model.set_attn_implementation(name)

    def _make_cache(self, capacity: Capacity, read_tokens: int) -> DecodingCache:
        assert self._cache is not None  # asked only where one was chosen
        return self._cache(
            self._model, capacity, read_tokens=max(1, read_tokens), pad_id=self._pad_id
        )

    def _choose_cache(self, trial: Tokens) -> None:
        """Take the first cache whose steps agree with a full pass; none is a choice as well."""
        if len(trial) < _TRIAL_TOKENS:
            return
        attention = self._model.config._attn_implementation
        candidates: tuple[type[DecodingCache], ...] = (SharedPrefixCache, RecurrentStateCache)
        with vendor("a first forward pass"), torch.inference_mode():
            for cache in candidates:
                if cache is SharedPrefixCache:
                    if attention != "sdpa":
                        continue
                    self._model.set_attn_implementation(ATTENTION)
                self._cache = cache
                if self._trial_deviation(trial) <= PREFLIGHT_TOLERANCE[self._info.dtype]:
                    return
                if cache is SharedPrefixCache:
                    self._model.set_attn_implementation(attention)
        self._cache = None

    def _choose_way(self, trial: Tokens) -> Way:
        """Return the fastest way of `generate` that changes nothing, around every switch too.

        The steps of some architectures mix the rows of a batch; those of others hold on to keys
        that were turned by the angles of shorter records, or read them anew when the longest row
        of a batch has come to the length.
        """
        if len(trial) < _TRIAL_TOKENS:
            return self._way
        half = len(trial) // 2
        records = [trial, trial[::-1].copy(), trial[:-3], trial[::-1][:-3].copy()]
        cuts = [half, half, half - 2, half - 2]
        ends = [self._info.context_length] if self._cache is None else []
        trials = [(records, cuts, end) for end in ends]
        for length, long in self._switch_trials():
            before = length - BEYOND // 2
            rows = [long, long[::-1][: length + 2].copy(), trial]
            trials.append((rows, [before, before - 2, half], len(long)))
        expected = [[s.logprob for s in self.score(records)] for records, _, _ in trials]
        agrees = False
        for way in self._ways:
            self._way = way
            with contextlib.suppress(TargetError):
                agrees = all(
                    decoding_deviation(
                        records, cuts, own, teacher_forced=self.steps, context_length=end
                    )
                    <= PREFLIGHT_TOLERANCE[self._info.dtype]
                    for (records, cuts, end), own in zip(trials, expected, strict=True)
                )
            if agrees:
                break
        if agrees and not self._way.cached:
            beyond = "" if self._cache is None else f" beyond {self._cached_tokens} tokens"
            warnings.warn(
                f"steps that keep what was read give other probabilities than whole passes{beyond},"
                " so each token is drawn by a pass over all that stands before it, which is slow",
                PhigateWarning,
                stacklevel=2,
            )
        return self._way

    def _try_switches(self) -> None:
        """See where a longer record is another one from its beginning on."""
        for length, trial in self._switch_trials():
            with vendor("a first forward pass"), torch.inference_mode():
                self._forward.try_switch(
                    trial, length=length, tolerance=PREFLIGHT_TOLERANCE[self._info.dtype]
                )

    def _longest_cached(self) -> int | None:
        """Return up to which length the chosen cache does, by trials around every switch.

        A window that is applied by the mask alone, or positions that are scaled anew, leave no
        trace in a short trial: what is seen of a shared prefix is then not the plain causal mask.
        """
        for length, trial in self._switch_trials():
            with vendor("a first forward pass"), torch.inference_mode():
                deviation = self._trial_deviation(trial, cut=max(4, length - BEYOND // 2))
            if not deviation <= PREFLIGHT_TOLERANCE[self._info.dtype]:
                return length - 1
        untried = [n for n in self._info.switch_lengths.values() if n > _LONGEST_TRIAL]
        return min(untried) - 1 if untried else None

    def _switch_trials(self) -> list[tuple[int, Tokens]]:
        """Return lengths at which the model may become another one, with tokens that go beyond."""
        found = []
        for length in sorted(set(self._info.switch_lengths.values())):
            end = min(length + BEYOND, self._info.context_length or length + BEYOND)
            # the first trial has passed the shortest
            if length <= _LONGEST_TRIAL and end > _TRIAL_TOKENS:
                size = self._info.vocabulary_size
                found.append((length, _trial_tokens(None, vocabulary_size=size, length=end)))
        return found

    def _trial_deviation(self, trial: Tokens, *, cut: int | None = None) -> float:
        """Return how far steps with the cache are from a full pass, or infinity if they fail."""
        end = self._info.context_length if cut is None else len(trial)
        cut = len(trial) // 2 if cut is None else cut
        records, cuts = [trial, trial[: len(trial) - 3]], [cut, cut - 2]
        expected = [scores.logprob for scores in self.score(records)]
        try:
            self._unit_bytes = self._measured_unit_bytes()
            return decoding_deviation(
                records,
                cuts,
                expected,
                teacher_forced=self.steps,
                context_length=end,
            )
        except (TargetError, torch.OutOfMemoryError):  # an architecture that it does not do for
            return float("inf")

    def _measured_unit_bytes(self) -> int:
        cache = self._make_cache(Capacity(1, 1, 1, 1), 1)
        with vendor("a first step"):
            cache.read([np.zeros(1, dtype=np.int32)])
        return cache.unit_bytes

    def _microbatch(self, context_length: int | None) -> int:
        def run(rows: int, length: int) -> torch.Tensor:
            return self._forward.hidden(
                torch.zeros(rows, length, dtype=torch.int64, device=self._device)
            )

        length = min(512, context_length or 512)
        return microbatch_tokens(self._device, length=length, run=run)


_NO_CHANNELS = frozenset(
    {
        "self", "input_ids", "attention_mask", "past_key_values", "inputs_embeds", "labels",
        "use_cache", "cache_params", "cache_position", "logits_to_keep", "num_logits_to_keep",
        "output_attentions", "output_hidden_states", "output_router_logits", "return_dict",
        "encoder_hidden_states", "encoder_attention_mask", "head_mask", "state",
    }
)  # fmt: skip


def _have_channels(sequences: Sequence[Tokens]) -> bool:
    return any(channels_of(tokens) for tokens in sequences)


def _channels_taken(model: Any) -> frozenset[str]:
    """Return what a model's `forward` takes that may stand beside the ids of a batch.

    Where it knows one segment only, it can be told none.
    """
    named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = inspect.signature(model.forward).parameters
    taken = frozenset(n for n, one in parameters.items() if one.kind in named) - _NO_CHANNELS
    segments = getattr(model.config, "type_vocab_size", None)
    return taken - {"token_type_ids"} if segments in (0, 1) else taken


_ANY_CODES = frozenset(
    {
        "position_ids", "token_type_ids", "cache", "padding_mask", "perm_mask", "input_mask",
        "mems", "past_buckets_states", "num_hashes", "target_mapping", "lengths", "encoder_outputs",
        "cross_attn_head_mask", "shared_kv_states", "inference_params", "num_last_tokens",
        "seqlen_offset", "prefix_mask", "sequence_id", "decoder_input_ids", "decoder_inputs_embeds",
        "decoder_attention_mask", "decoder_head_mask",
    }
)  # fmt: skip
"""What the library and models after its manner call inputs that few are trained with. Of these the
first two are tried where a target is silent (`checker.records.prompt_format`)."""


def _channels_of_its_code(model: Any) -> frozenset[str]:
    """Return the inputs that the code of the model's own folder names, and nothing fills in.

    A model of the library may be trained without what it can take. Who writes `ages` into a
    model's code trains it with ages, whatever stands in for them. A switch or a word is no number
    beside each token.
    """
    if not type(model).__module__.startswith("transformers_modules."):
        return frozenset()
    parameters = inspect.signature(model.forward).parameters
    return frozenset(
        name
        for name in _channels_taken(model) - _ANY_CODES
        if not isinstance(parameters[name].default, bool | str)
        and not re.search(r"\bbool\b", str(parameters[name].annotation))
    )


def _trial_tokens(
    context_length: int | None, *, vocabulary_size: int, length: int = _TRIAL_TOKENS
) -> Tokens:
    length = min(length, context_length or length)
    return (np.arange(length) * 7919 % vocabulary_size).astype(np.int32)
