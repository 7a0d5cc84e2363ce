"""Tensors of a checkpoint that are constants of the architecture's code, not weights.

Early versions of transformers saved them with the model: the causal mask of every layer
(`attn.bias`), the score of what it hides (`attn.masked_bias`), and the frequencies of rotary
positions (`rotary_emb.inv_freq`). Later code computes them, and transformers passes over some by
their name, whatever they hold. A mask or frequencies that are other than the code's were the
model's all the same: what is loaded then is another model than the one that was trained.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from checker.errors import TargetError

_MASKS = re.compile(
    r"(?P<module>(.*\.)?(?P<layer>\d+)\.(self_)?att(n|ention)?(\.attention)?)"
    r"\.(?P<name>bias|masked_bias|causal_mask)"
)
_FREQUENCIES = re.compile(r"(?P<module>.*)\.rotary_emb\.(original_)?inv_freq")
_ROUNDING = 1e-2
"""Of frequencies that were saved in a format of 8 significant bits."""


def constants_of_code(directory: Path, *, model: Any) -> frozenset[str]:
    """Return which tensors of a checkpoint are constants that the loaded model's code has too.

    Args:
        directory: of the checkpoint.
        model: as it was loaded from it.

    Raises:
        TargetError: one of such a name holds anything else than the code's constant.
    """
    weights, modules = set(model.state_dict()), {name for name, _ in model.named_modules()}
    found: set[str] = set()
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is no mapping
                match = _MASKS.fullmatch(name) or _FREQUENCIES.fullmatch(name)
                if match is None or _is_of(name, weights) or not _is_of(match["module"], modules):
                    continue
                holds = _expected(match, model)
                if not holds(tensors.get_tensor(name)):
                    raise TargetError(
                        f"{path}: {name} is not the constant that the code of"
                        f" {model.config.model_type} has in its place, so the model was trained"
                        " with other attention or positions than config.json says; correct"
                        " config.json, or convert the model to an architecture that has them"
                    )
                found.add(name)
    return frozenset(found)


def _is_of(name: str, known: set[str]) -> bool:
    """Whether a loaded model has something of this name, with or without the body's prefix."""
    return any(
        one == name or one.endswith(f".{name}") or (one and name.endswith(f".{one}"))
        for one in known
    )


def _expected(match: re.Match[str], model: Any) -> Callable[[torch.Tensor], bool]:
    """Return what tells whether a tensor is the code's constant."""
    if match.re is _FREQUENCIES:
        return lambda values: _are_frequencies(values, model)
    if match["name"] == "masked_bias":
        return _hides
    window = _local_window(model.config, int(match["layer"]))
    return lambda values: _is_causal_mask(values, window)


def _is_causal_mask(values: torch.Tensor, window: int | None) -> bool:
    square = values.ndim >= 2 and values.shape[-1] == values.shape[-2]
    if not square:
        return False
    expected = torch.ones(values.shape[-2:], dtype=torch.bool).tril()
    if window is not None:
        expected = expected & ~expected.tril(-window)
    return torch.equal(values != 0, expected.expand_as(values))


def _local_window(config: Any, layer: int) -> int | None:
    """Return how far back a layer of GPT-Neo looks, None where it looks at everything."""
    kinds = getattr(config, "attention_layers", None)
    if not kinds or layer >= len(kinds) or kinds[layer] != "local":
        return None
    return int(config.window_size)


def _hides(values: torch.Tensor) -> bool:
    """Whether a number hides what it stands for: -10000 (in bfloat16 -9984), -1e9, -infinity."""
    return values.numel() == 1 and float(values) < -9_900


def _are_frequencies(values: torch.Tensor, model: Any) -> bool:
    """Whether saved frequencies are those of some rotary positions of the loaded model."""
    saved = values.flatten().double()
    return any(
        len(saved) == buffer.numel()
        and torch.allclose(saved, buffer.flatten().double().cpu(), rtol=_ROUNDING, atol=0.0)
        for name, buffer in model.named_buffers()
        if name.endswith("inv_freq")
    )
