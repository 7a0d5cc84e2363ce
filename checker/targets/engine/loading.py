"""Opening a checkpoint: device, number format, weights, and what vendors raise on the way.

Doubt is an error. Weights that the architecture lacks or that are left over, and devices that are
not there, raise TargetError, since a model that is loaded wrongly looks safe.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.activations import NewGELUActivation
from transformers.utils import logging as transformers_logging

from checker.errors import PhigateError, TargetError
from checker.policy.documents import ModelSpec
from checker.targets.backends.adapter import Adapter
from checker.targets.engine.adapters import apply_adapter
from checker.targets.engine.constants import constants_of_code
from checker.targets.engine.threads import choose_threads


@contextlib.contextmanager
def vendor(doing: str) -> Iterator[None]:
    """Run torch and transformers quietly, and turn whatever they raise into a TargetError.

    A lack of device memory passes through: who asked may ask for less.
    """
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


def load_model(
    directory: Path, *, spec: ModelSpec, dtype: str, adapter: Adapter | None = None
) -> Any:
    """Return the causal language model of a checkpoint, on its device.

    Args:
        directory: of the checkpoint.
        spec: says where it runs and whether its code may.
        dtype: "float32", "bfloat16" or "float16".
        adapter: put into its weights.

    Raises:
        TargetError: the device is missing or too small, the weights do not fit the architecture,
            or the libraries refuse the checkpoint.
    """
    device = _device_of(spec.device)
    with vendor(f"{directory}: loading the model"):
        try:
            model, loading = AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=_dtype_of(dtype),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=spec.trust_remote_code,
                output_loading_info=True,
            )
            check_weights(directory, loading, constants=constants_of_code(directory, model=model))
            check_tied(directory, model)
            if adapter is not None:
                apply_adapter(model, adapter)
            choose_threads(model, device)
            return model.to(device)
        except torch.OutOfMemoryError as error:
            raise TargetError(
                f"{directory}: the model does not fit into the memory of {device}"
            ) from error


def fuse_activations(model: Any) -> None:
    """Compute GPT-2's activation in one pass over memory instead of eight.

    `NewGELUActivation` spells the tanh approximation of GELU (Hendrycks & Gimpel 2016) in eight
    elementwise operations, which on a CPU take longer than the matrix product before them. torch
    has the same formula in one; the two differ in rounding only.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is NewGELUActivation:
                setattr(module, name, torch.nn.GELU(approximate="tanh"))


def check_weights(
    directory: Path, loading: dict[str, Any], *, constants: frozenset[str] = frozenset()
) -> None:
    """Refuse a checkpoint whose weights are not exactly the architecture's.

    transformers only warns, and fills what is missing with random numbers.

    Args:
        directory: of the checkpoint, for errors.
        loading: what transformers says of it.
        constants: names that may be left over (`targets.engine.constants`).

    Raises:
        TargetError: weights are missing, left over or of another shape.
    """
    for kind, meaning in (
        ("missing_keys", "lacks weights that its architecture needs"),
        ("mismatched_keys", "has weights of another shape than its architecture"),
        ("unexpected_keys", "has weights that its architecture does not use"),
    ):
        names = sorted(str(name) for name in loading.get(kind) or ())
        if kind == "unexpected_keys":
            names = [name for name in names if name not in constants]
        if names:
            raise TargetError(
                f"{directory}: the checkpoint {meaning} ({names[0]}, {len(names)} in all), so it "
                "is not the model that config.json names; save it again with save_pretrained"
            )


def check_tied(directory: Path, model: Any) -> None:
    """Refuse a checkpoint whose head and embedding are to be one and are not.

    Which of the two was trained the file does not say, and versions of transformers take either.

    Raises:
        TargetError: `tie_word_embeddings` is on, and the file holds two that differ.
    """
    if not getattr(model.config.get_text_config(), "tie_word_embeddings", False):
        return
    if not getattr(model, "_tied_weights_keys", None):
        return  # the architecture ties nothing, whatever a configuration says
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or embedding is None:
        return
    one, other = head.weight, embedding.weight
    if one is other or (one.shape == other.shape and torch.equal(one, other)):
        return
    raise TargetError(
        f"{directory}: config.json says that output layer and embedding are one"
        " (tie_word_embeddings), and the weights hold two that differ, so which of them the model"
        " was trained with cannot be told; where the output layer was trained of its own, set"
        " tie_word_embeddings to false, else save the model again without it"
    )


def device_name(device: torch.device) -> str:
    """Return what equal bytes are promised on: the kind of GPU, not its number."""
    return f"cuda {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def library_versions(device: torch.device) -> dict[str, str]:
    """Return name to version of what computes the numbers."""
    versions = {
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
    }
    if device.type == "cuda" and torch.version.cuda is not None:
        versions["cuda"] = torch.version.cuda
    return versions


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


def _dtype_of(name: str) -> torch.dtype:
    return {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }[name]
