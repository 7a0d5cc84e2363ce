"""Backends that answer for a model in one wrong way, as plug-ins that somebody else has written.

What they wrap is a checkpoint's folder or a simulated target's file. They have no preflight of
their own that could give them away: what finds them is phigate's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from checker.plugins import load_plugin
from checker.policy.documents import ModelSpec
from checker.targets import Sampler, TargetDescription, TargetInfo, Tokens, TokenScores
from checker.targets.protocol import TargetModel

T = TypeVar("T")

SEEN = 64
"""Tokens beyond which some of them answer otherwise."""

OTHER = "other.txt"
"""Beside the target: where the model lies that a plug-in draws from or scores by instead."""


class Wrapped:
    """Passes on what it is asked; subclasses change one answer."""

    def __init__(self, model: TargetModel, *, other: TargetModel | None) -> None:
        self.model = model
        self._other = other

    @property
    def other(self) -> TargetModel:
        """The model that answers instead."""
        assert self._other is not None, f"there is no {OTHER} beside the target"
        return self._other

    @property
    def info(self) -> TargetInfo:
        """What the wrapped model is."""
        return self.model.info

    def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
        """Score as the wrapped model does."""
        return self.model.score(sequences, **more)

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        """Draw as the wrapped model does."""
        return self.model.rollout(prompts, keys=keys, **more)

    def masses(
        self, prompts: Sequence[Tokens], drawn: Sequence[Tokens], **more: Any
    ) -> list[NDArray[np.float64]]:
        """Say how likely classes were to be named as the wrapped model does, where it can."""
        found: list[NDArray[np.float64]] = self.model.masses(prompts, drawn, **more)  # type: ignore[attr-defined]
        return found

    def embed(self, sequences: Sequence[Tokens], **more: Any) -> NDArray[np.float32]:
        """Embed as the wrapped model does."""
        return self.model.embed(sequences, **more)


class DrawsNothing(Wrapped):
    """Ends every record at once."""

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        """Return continuations without a token."""
        return [[np.empty(0, dtype=np.int32)] * more["samples"] for _ in prompts]


class DrawsNoise(Wrapped):
    """Every token is as likely as any other."""

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        """Draw tokens that have nothing to do with the model."""
        sampler: Sampler = more["sampler"]
        size = self.info.vocabulary_size
        return [
            [
                np.random.default_rng([key, number, sampler.seed])
                .integers(4, size, sampler.horizon_tokens)
                .astype(np.int32)
                for number in range(more["samples"])
            ]
            for key in keys
        ]


class DrawsAnother(Wrapped):
    """Draws from a sound model and scores by the one that leaks."""

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        """Draw as the other model does."""
        return self.other.rollout(prompts, keys=keys, **more)


class ScoresAnother(Wrapped):
    """Draws from the model that leaks and scores by a sound one."""

    def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
        """Score as the other model does."""
        return self.other.score(sequences, **more)


class _DrawsFromTheEnd(Wrapped):
    """Draws as if it had been told the end of a prompt alone, and scores whole records."""

    def rollout(
        self, prompts: Sequence[Tokens], *, keys: Sequence[int], **more: Any
    ) -> list[list[Tokens]]:
        """Draw what follows the part that is left."""
        return self.model.rollout([self._left(one) for one in prompts], keys=keys, **more)

    def masses(
        self, prompts: Sequence[Tokens], drawn: Sequence[Tokens], **more: Any
    ) -> list[NDArray[np.float64]]:
        """Say how likely classes were by what is drawn from."""
        return super().masses([self._left(one) for one in prompts], drawn, **more)

    def _left(self, prompt: Tokens) -> Tokens:
        raise NotImplementedError


class DrawsInAWindow(_DrawsFromTheEnd):
    """Of longer prompts the last 64 tokens."""

    def _left(self, prompt: Tokens) -> Tokens:
        return prompt[-SEEN:]


class DrawsInChunks(_DrawsFromTheEnd):
    """Of longer prompts what stands in the last block of 64."""

    def _left(self, prompt: Tokens) -> Tokens:
        return prompt[(len(prompt) - 1) // SEEN * SEEN :]


class SwitchesBeyond(Wrapped):
    """Is another model altogether as soon as a sequence is longer than 64 tokens."""

    def score(self, sequences: Sequence[Tokens], **more: Any) -> list[TokenScores]:
        """Score each sequence by the model of its length."""
        return self._by_length(
            sequences, lambda model, rows: model.score([sequences[row] for row in rows])
        )

    def rollout(
        self,
        prompts: Sequence[Tokens],
        *,
        keys: Sequence[int],
        more: Any = None,
        **settings: Any,
    ) -> list[list[Tokens]]:
        """Continue each prompt by the model of its length."""

        def drawn(model: TargetModel, rows: list[int]) -> list[list[Tokens]]:
            return model.rollout(
                [prompts[row] for row in rows],
                keys=[keys[row] for row in rows],
                more=None if more is None else lambda at, tokens: more(rows[at], tokens),
                **settings,
            )

        return self._by_length(prompts, drawn)

    def masses(
        self, prompts: Sequence[Tokens], drawn: Sequence[Tokens], **more: Any
    ) -> list[NDArray[np.float64]]:
        """Say how likely classes were by the model of each prompt's length."""

        def asked(model: Any, rows: list[int]) -> list[NDArray[np.float64]]:
            found: list[NDArray[np.float64]] = model.masses(
                [prompts[row] for row in rows], [drawn[row] for row in rows], **more
            )
            return found

        return self._by_length(prompts, asked)

    def _by_length(
        self, sequences: Sequence[Tokens], ask: Callable[[TargetModel, list[int]], list[T]]
    ) -> list[T]:
        found: dict[int, T] = {}
        for model, is_long in ((self.model, False), (self.other, True)):
            rows = [row for row, one in enumerate(sequences) if (len(one) > SEEN) == is_long]
            if rows:
                found |= dict(zip(rows, ask(model, rows), strict=True))
        return [found[row] for row in range(len(sequences))]


class _Backend:
    """Opens what lies at the path by the backend that it is for, and wraps it."""

    name: str
    wraps: type[Wrapped]

    def describe(self, spec: ModelSpec, base: Path) -> TargetDescription:
        """Describe what is wrapped."""
        found: TargetDescription = _backend_of(base / spec.path).describe(spec, base)
        return found

    def open(
        self, spec: ModelSpec, base: Path, *, pad_id: int | None, eos_id: int | None
    ) -> Wrapped:
        """Open what is wrapped, and the other model where one is named."""

        def opened(path: str) -> TargetModel:
            backend = _backend_of(base / path)
            one = spec.model_copy(update={"path": path, "backend": backend.name})
            model: TargetModel = backend.open(one, base, pad_id=pad_id, eos_id=eos_id)
            return model

        named = base / OTHER
        other = opened(named.read_text().strip()) if named.exists() else None
        return self.wraps(opened(spec.path), other=other)


def _backend_of(path: Path) -> Any:
    return load_plugin("phigate.targets", "huggingface" if path.is_dir() else "simulated")()


class DrawsNothingBackend(_Backend):
    """`backend: draws-nothing`."""

    name, wraps = "draws-nothing", DrawsNothing


class DrawsNoiseBackend(_Backend):
    """`backend: draws-noise`."""

    name, wraps = "draws-noise", DrawsNoise


class DrawsAnotherBackend(_Backend):
    """`backend: draws-another`."""

    name, wraps = "draws-another", DrawsAnother


class ScoresAnotherBackend(_Backend):
    """`backend: scores-another`."""

    name, wraps = "scores-another", ScoresAnother


class DrawsInAWindowBackend(_Backend):
    """`backend: draws-in-a-window`."""

    name, wraps = "draws-in-a-window", DrawsInAWindow


class DrawsInChunksBackend(_Backend):
    """`backend: draws-in-chunks`."""

    name, wraps = "draws-in-chunks", DrawsInChunks


class SwitchesBeyondBackend(_Backend):
    """`backend: switches-beyond`."""

    name, wraps = "switches-beyond", SwitchesBeyond


def offer_wrong_plugins(folder: Path) -> None:
    """Install the plug-ins of this module for this process.

    Call it before the first plug-in is looked up.
    """
    places = {one.name: f"{__name__}:{one.__name__}" for one in _Backend.__subclasses__()}
    offer_backends(folder, "wrong-plugins", places)


def offer_backends(folder: Path, distribution: str, places: Mapping[str, str]) -> None:
    """Install backends for this process, as a distribution in a folder.

    Args:
        folder: is put on the path.
        distribution: its name.
        places: by name of the backend, module and class.
    """
    information = folder / f"{distribution.replace('-', '_')}-1.dist-info"
    information.mkdir(parents=True, exist_ok=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n"
    )
    lines = [f"{name} = {place}" for name, place in places.items()]
    (information / "entry_points.txt").write_text("[phigate.targets]\n" + "\n".join(lines) + "\n")
    place = os.fspath(folder.resolve())
    if place not in sys.path:
        sys.path.append(place)
