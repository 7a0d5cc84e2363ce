"""LoRA adapters, put into the weights of their base.

W becomes W + s · B A (Hu et al. 2021, "LoRA", §4.1), which is what `peft` computes when it merges:
the same model, without a second library between the weights and what is asked of them. Every
tensor of the adapter must be used and every module that its configuration names changed, or the
model would be another than the one that is released.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from checker.errors import TargetError
from checker.targets.backends.adapter import Adapter

_BEGIN = "base_model.model."
_BASE = ".base_layer."
"""In names of the base's own weights, which peft saves with an adapter of embeddings."""

_PART = re.compile(r"(.+)\.lora_(?:([AB])\.weight|embedding_([AB]))")
"""How peft spells the matrices of a layer, and those of an embedding."""


def apply_adapter(model: Any, adapter: Adapter) -> None:
    """Change a base model's weights to those of the adapted one.

    Args:
        model: a loaded causal language model.
        adapter: as it was read.

    Raises:
        TargetError: the two do not fit each other.
    """
    tensors = load_file(adapter.weights)
    modules = dict(model.named_modules(remove_duplicate=False))
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    whole: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        if not key.startswith(_BEGIN):
            raise TargetError(f"{adapter.weights}: '{key}' is no weight of a LoRA adapter")
        if not bool(tensor.isfinite().all()):
            raise TargetError(f"{adapter.weights}: '{key}' holds what is no number")
        name = key.removeprefix(_BEGIN)
        found = _PART.fullmatch(name)
        if found is None:
            whole[name] = tensor
            continue
        module, of_layer, of_embedding = found.groups()
        if (of_layer is None) != isinstance(modules.get(module), nn.Embedding):
            raise TargetError(
                f"{adapter.weights}: '{key}' is spelled as no weight of {module} is, so it could"
                " stand for another; save the adapter again"
            )
        pairs.setdefault(module, {})[of_layer or of_embedding] = tensor
    _check_all_there(adapter, model, changed=pairs.keys(), replaced=whole.keys())
    shared = _shared(model)
    with torch.no_grad():
        for name, tensor in whole.items():
            if _BASE in name:
                _check_base(adapter, name, tensor, modules)
        for name, own in pairs.items():
            _add(adapter, name, own, modules.get(name), shared)
        for name, tensor in whole.items():
            if _BASE not in name:
                _replace(adapter, name, tensor, model, shared)


def _shared(model: Any) -> frozenset[int]:
    """Return which storages belong to several parameters: to change one would change another."""
    named = model.named_parameters(remove_duplicate=False)
    counted = Counter(parameter.data_ptr() for _, parameter in named)
    return frozenset(place for place, count in counted.items() if count > 1)


def _check_all_there(
    adapter: Adapter, model: Any, *, changed: Collection[str], replaced: Collection[str]
) -> None:
    """Refuse weights that lack what their configuration names."""
    head = model.get_output_embeddings()
    lacking = [
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if any(True for _ in module.parameters(recurse=False))
        and name not in changed
        and adapter.changes(
            name, is_inner=isinstance(module, nn.Linear | Conv1D) and module is not head
        )
    ]
    saved = [name for name, _ in model.named_modules(remove_duplicate=False) if adapter.saves(name)]
    lacking += [
        name
        for name, _ in model.named_parameters(remove_duplicate=False)
        if name not in replaced and any(name.startswith(f"{module}.") for module in saved)
    ]
    if lacking:
        raise TargetError(
            f"{adapter.weights}: lacks what its configuration says of {lacking[0]}; copy the"
            " adapter again, or name the base that it was trained on"
        )


def _check_base(adapter: Adapter, name: str, tensor: torch.Tensor, modules: dict[str, Any]) -> None:
    """Refuse a base that has other weights than the adapter was saved with."""
    module, _, part = name.partition(_BASE)
    own = getattr(modules.get(module), part, None)
    if own is None or own.shape != tensor.shape or not torch.equal(own, tensor.to(own)):
        raise TargetError(
            f"{adapter.weights}: was saved with other weights of {module} than the base has; name"
            " the base that it was trained on"
        )


def _add(
    adapter: Adapter,
    name: str,
    own: dict[str, torch.Tensor],
    module: Any,
    shared: frozenset[int],
) -> None:
    if set(own) != {"A", "B"}:
        raise TargetError(f"{adapter.weights}: {name} has one matrix of two; copy it again")
    weight: Any = getattr(module, "weight", None)
    a, b = own["A"].float(), own["B"].float()
    if a.ndim == 2 and a.shape[0] != adapter.rank_of(name):
        raise TargetError(
            f"{adapter.weights}: {name} has rank {a.shape[0]}, and its configuration says"
            f" {adapter.rank_of(name)}; copy the adapter again"
        )
    fits = a.ndim == b.ndim == 2 and b.shape[1] == a.shape[0]
    turned = isinstance(module, Conv1D | nn.Embedding)
    shape = (b.shape[0], a.shape[1])[:: -1 if turned else 1] if fits else None
    if not isinstance(module, nn.Linear | Conv1D | nn.Embedding) or weight.shape != shape:
        raise TargetError(
            f"{adapter.weights}: {name} is no layer of the base, or one of another shape; name the"
            " base that the adapter was trained on"
        )
    _refuse_shared(adapter, name, weight, shared)
    # of an embedding peft keeps [rank, tokens] and [width, rank]; a Conv1D is a turned Linear
    change = adapter.scaling(name) * (b @ a)
    change = (change.T if turned else change).to(weight.device)
    weight.copy_((weight.float() + change).to(weight.dtype))


def _replace(
    adapter: Adapter, name: str, tensor: torch.Tensor, model: Any, shared: frozenset[int]
) -> None:
    """Take a parameter of a module that was trained whole (`modules_to_save`)."""
    parts = name.split(".")
    expected = any(adapter.saves(".".join(parts[:end])) for end in range(1, len(parts)))
    parameter = dict(model.named_parameters(remove_duplicate=False)).get(name)
    if not expected or parameter is None or parameter.shape != tensor.shape:
        raise TargetError(
            f"{adapter.weights}: '{name}' is no weight that its configuration names and the base"
            " has; name the base that the adapter was trained on"
        )
    _refuse_shared(adapter, name, parameter, shared)
    parameter.copy_(tensor.to(parameter))


def _refuse_shared(adapter: Adapter, name: str, weight: Any, shared: frozenset[int]) -> None:
    if weight.data_ptr() in shared:
        raise TargetError(
            f"{adapter.weights}: changes {name}, whose weights the base uses in two places; merge"
            " it with peft's merge_and_unload, with tie_word_embeddings: false, and save that"
        )
