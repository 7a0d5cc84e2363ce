"""A training checkpoint becomes safetensors: run as a process of its own, by `checker.importing`.

Checkpoints of trainers are pickles, and a pickle may name any function to be called while it is
read. So it is read here by an unpickler that knows what weights are made of (tensors, containers,
numbers, texts) and puts an inert placeholder in the place of everything else; nothing that the file
names is imported or called. The process is a second wall: it has nothing to do but this.

    python -m checker.targets.engine.converting REQUEST.json

It writes `model.safetensors` and `config.json`, and a report as JSON to standard output.
"""

from __future__ import annotations

import collections
import json
import pickle  # only its machinery: `_Reader` decides what may be built
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from checker.errors import TargetError
from checker.targets.engine.loading import vendor

WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")
"""What compiling and sharding put into names, wherever."""

_STATES = ("state_dict", "model_state_dict", "module", "model")
"""Where trainers keep the weights, in the order in which they are looked for."""

_BUILDERS: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): lambda *_: {},
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    **{
        (module, name): kind
        for module in ("builtins", "__builtin__")
        for name, kind in {
            "dict": dict,
            "list": list,
            "tuple": tuple,
            "set": set,
            "frozenset": frozenset,
            "int": int,
            "long": int,
            "float": float,
            "str": str,
        }.items()
    },
}


class _Placeholder:
    """Stands for an object of a class that is not loaded; it keeps its state and does nothing."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.state: Any = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *arguments: Any, **named: Any) -> _Placeholder:
        return self

    def append(self, item: Any) -> None:
        """Take an item of what may have been a list, and forget it."""

    def extend(self, items: Any) -> None:
        """Take items, and forget them."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take an entry of what may have been a mapping, and forget it."""


class _Reader(pickle.Unpickler):
    """Builds tensors and containers, and placeholders for all else."""

    left_out: set[str] = set()  # noqa: RUF012  one process reads one checkpoint

    def find_class(self, module: str, name: str) -> Any:
        """Return what builds an object; never what the file names, unless it is known here."""
        if (module, name) in _BUILDERS:
            return _BUILDERS[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module in ("torch", "torch.storage") and name.endswith("Storage"):
            return getattr(torch, name, torch.storage.UntypedStorage)
        self.left_out.add(f"{module}.{name}")
        return _Placeholder


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, or all files of a sharded one, without running anything that it names.

    Raises:
        TargetError: it is none, or its shards contradict each other.
    """
    files = sorted(path.glob("*.bin")) + sorted(path.glob("*.pt")) if path.is_dir() else [path]
    if not files:
        raise TargetError(f"{path}: holds no .bin or .pt files")
    merged: dict[str, Any] = {}
    for file in files:
        found = _read_file(file)
        if len(files) > 1:
            found = dict(_weights(found))
        if both := merged.keys() & found.keys():
            raise TargetError(f"{file}: holds '{min(both)}', and so does another file beside it")
        merged |= found
    return merged


def _read_file(file: Path) -> dict[str, Any]:
    reader = types.ModuleType("reader")
    reader.Unpickler = _Reader  # type: ignore[attr-defined]
    reader.load = lambda stream, **named: _Reader(stream).load()  # type: ignore[attr-defined]
    try:
        content = torch.load(file, map_location="cpu", pickle_module=reader, weights_only=False)
    except Exception as error:  # torch and pickle raise every class there is
        text = " ".join(str(error).split())[:300]
        raise TargetError(f"{file}: is no checkpoint that can be read: {text}") from error
    if not isinstance(content, Mapping):
        raise TargetError(
            f"{file}: holds no weights by name but one object, such as a whole pickled model; where"
            " it was trained, save model.state_dict()"
        )
    return dict(content)


def _weights(content: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights of a checkpoint by name, wherever its trainer keeps them."""
    own = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if own:
        yield from own.items()
        return
    for key in _STATES:
        if isinstance(content.get(key), Mapping):
            yield from _weights(content[key])
            return


def convert(checkpoint: Path, config: Path, out: Path) -> dict[str, Any]:
    """Write a checkpoint's weights as the model that a configuration names.

    Args:
        checkpoint: a Lightning checkpoint, a `.pt` of weights, or the folder of a sharded one.
        config: folder with `config.json` of a causal language model.
        out: folder to write to.

    Returns:
        What was dropped, by name; the prefix that was taken off; placeholders; number format.

    Raises:
        TargetError: the weights are not those of the architecture.
    """
    content = read_checkpoint(checkpoint)
    found = {}
    for name, tensor in _weights(content):
        for wrapper in WRAPPERS:
            name = name.replace(wrapper, "")
        found[name] = tensor
    if not found:
        raise TargetError(
            f"{checkpoint}: holds no weights at its top or under {', '.join(_STATES)}"
        )
    with vendor(f"{config}: building the model"), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config))
    wanted = model.state_dict()
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    prefix = _prefix(found, wanted)
    kept = {name: found[prefix + name] for name in wanted if prefix + name in found}
    missing = sorted(set(wanted) - set(kept) - tied)
    if missing:
        raise TargetError(
            f"{checkpoint}: lacks weights that {config} needs ({missing[0]}, {len(missing)} in"
            f" all); it holds {min(found)} and {len(found) - 1} others"
        )
    for name, tensor in kept.items():
        if tensor.shape != wanted[name].shape:
            raise TargetError(
                f"{checkpoint}: {prefix + name} is of shape {tuple(tensor.shape)}, and {config}"
                f" wants {tuple(wanted[name].shape)}"
            )
    out.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in kept.items()},
        out / "model.safetensors",
        metadata={"format": "pt"},
    )
    model.config.save_pretrained(out)
    taken = {prefix + name for name in kept}
    return {
        "prefix": prefix,
        "dropped": sorted(set(found) - taken),
        "not_loaded": sorted(_Reader.left_out),
        "dtypes": sorted({str(t.dtype).removeprefix("torch.") for t in kept.values()}),
        "parameters": sum(tensor.numel() for tensor in kept.values()),
    }


def _prefix(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return what stands before the architecture's own names: the text under which most are."""
    counted = collections.Counter(
        name.removesuffix(own) for name in found for own in _endings(name) if own in wanted
    )
    return max(counted, key=lambda prefix: (counted[prefix], -len(prefix)), default="")


def _endings(name: str) -> Iterator[str]:
    parts = name.split(".")
    for start in range(len(parts)):
        yield ".".join(parts[start:])


def main() -> None:
    """Convert what the request names; the report, or what is wrong, goes to standard output."""
    request = json.loads(Path(sys.argv[1]).read_text())
    try:
        report = convert(*(Path(request[key]) for key in ("checkpoint", "config", "out")))
    except TargetError as error:
        report = {"error": str(error)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
