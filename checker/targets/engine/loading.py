"""Opening a checkpoint: device, number format, weights, and what vendors raise on the way.

Doubt is an error. Weights that the architecture lacks or that are left over, and devices that are
not there, raise TargetError, since a model that is loaded wrongly looks safe.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM
from transformers.activations import NewGELUActivation
from transformers.utils import logging as transformers_logging

from checker.errors import PhigateError, TargetError
from checker.policy.documents import ModelSpec
from checker.targets.engine.threads import choose_threads

_GPT2_CONSTANT = re.compile(r"(transformer\.)?h\.\d+\.attn\.(?P<name>bias|masked_bias)")


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


def load_model(directory: Path, *, spec: ModelSpec) -> Any:
    """Return the causal language model of a checkpoint, on its device.

    Raises:
        TargetError: the device is missing or too small, the weights do not fit the architecture,
            or the libraries refuse the checkpoint.
    """
    device = _device_of(spec.device)
    with vendor(f"{directory}: loading the model"):
        try:
            model, loading = AutoModelForCausalLM.from_pretrained(
                directory,
                dtype=_dtype_of(spec.dtype, device),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=spec.trust_remote_code,
                output_loading_info=True,
            )
            constants = constants_of_code(directory, model_type=str(model.config.model_type))
            check_weights(directory, loading, constants=constants)
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
        constants: names that may be left over, as from `constants_of_code`.

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


def constants_of_code(directory: Path, *, model_type: str) -> frozenset[str]:
    """Return which tensors of a checkpoint are constants of the architecture's code, not weights.

    GPT-2s saved by early versions of transformers hold the causal mask (`attn.bias`) and the score
    of what it hides (`attn.masked_bias`, -10000) of every layer. transformers passes over the
    first, whatever it holds; so both are read here.

    Raises:
        TargetError: one of that name holds anything else, so that the model was another one.
    """
    if model_type != "gpt2":
        return frozenset()
    found: set[str] = set()
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is no mapping
                if (match := _GPT2_CONSTANT.fullmatch(name)) is None:
                    continue
                if not _IS_CONSTANT[match["name"]](tensors.get_tensor(name)):
                    raise TargetError(
                        f"{path}: {name} is not the constant that GPT-2's code has in its place, so"
                        " the model was trained with other attention; convert it to an"
                        " architecture that has it"
                    )
                found.add(name)
    return frozenset(found)


def _is_causal_mask(values: torch.Tensor) -> bool:
    square = values.ndim >= 2 and values.shape[-1] == values.shape[-2]
    expected = torch.ones(values.shape[-2:], dtype=torch.bool).tril() if square else None
    return expected is not None and torch.equal(values != 0, expected.expand_as(values))


def _is_minus_ten_thousand(values: torch.Tensor) -> bool:
    return values.numel() == 1 and abs(float(values) + 1e4) < 100  # in bfloat16 it is -9984


_IS_CONSTANT = {"bias": _is_causal_mask, "masked_bias": _is_minus_ten_thousand}


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


def _dtype_of(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }[name]
