"""Continue prompts of different lengths, each as far as the context has room for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from checker.targets.protocol import Progress, Sampler, Tokens

_Rollout = TypeVar("_Rollout")


class Drawing(Protocol[_Rollout]):
    """What draws continuations of prompts, as `TargetModel.rollout` does."""

    def __call__(  # noqa: D102
        self,
        prompts: Sequence[Tokens],
        *,
        keys: Sequence[int],
        samples: int,
        sampler: Sampler,
        more: Any = None,
        progress: Progress | None = None,
    ) -> list[list[_Rollout]]: ...


def continue_within(
    draw: Drawing[_Rollout],
    prompts: Sequence[Tokens],
    *,
    keys: Sequence[int],
    samples: int,
    sampler: Sampler,
    max_length: int | None,
    more: Callable[[int, list[_Rollout]], int] | None = None,
    progress: Progress | None = None,
) -> list[list[_Rollout]]:
    """Draw continuations; where the horizon does not fit behind a prompt, what fits of it.

    A draw depends on the seed, the key, the sample and the step only, so a continuation that ends
    with the context is the beginning of the one that a longer context would have given.

    Args:
        draw: a model's `rollout`, or what draws as it does.
        prompts: n prompts of fewer than `max_length` tokens.
        keys: one per prompt, which with the seed and the sample's number determines the draw.
        samples: continuations per prompt.
        sampler: how to draw; its horizon is the longest.
        max_length: most tokens of prompt and continuation; None where nothing bounds them.
        more: as `rollout` takes it; it is told a prompt's number among all of them.
        progress: called with the number of rollout tokens done since the last call.

    Returns:
        Continuations of each prompt, in the order of the prompts.

    Raises:
        TargetError: the model fails, or a prompt leaves it no room.
    """
    groups: dict[int, list[int]] = {}
    for number, prompt in enumerate(prompts):
        horizon = within(sampler, len(prompt), max_length=max_length).horizon_tokens
        groups.setdefault(horizon, []).append(number)
    drawn: list[list[_Rollout]] = [[] for _ in prompts]
    for horizon, numbers in sorted(groups.items(), reverse=True):
        found = draw(
            [prompts[number] for number in numbers],
            keys=[keys[number] for number in numbers],
            samples=samples,
            sampler=replace(sampler, horizon_tokens=horizon),
            more=None if more is None else _renumbered(more, numbers),
            progress=progress,
        )
        for number, own in zip(numbers, found, strict=True):
            drawn[number] = own
    return drawn


def within(sampler: Sampler, prompt_tokens: int, *, max_length: int | None) -> Sampler:
    """Return how a prompt of so many tokens is continued: as far as there is room.

    A prompt without room is the target's to refuse, in its own words.
    """
    room = sampler.horizon_tokens if max_length is None else max_length - prompt_tokens
    return replace(sampler, horizon_tokens=min(sampler.horizon_tokens, max(1, room)))


def _renumbered(
    more: Callable[[int, list[_Rollout]], int], numbers: Sequence[int]
) -> Callable[[int, list[_Rollout]], int]:
    return lambda number, drawn: more(numbers[number], drawn)
