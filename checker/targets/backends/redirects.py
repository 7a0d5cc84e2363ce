"""Entries of a model's JSON files that make a library load something else than the files beside it.

They were found in transformers 5.23: by reading what its configurations, its loader and each class
behind `AutoModelForCausalLM` do with an entry that names a file, a repository or an attribute, and
by recording which files are opened (`tests/targets/test_what_is_read.py`). `_name_or_path`, which
nearly every checkpoint has and which names where it was once loaded from, is overwritten by the
folder's own name and opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from checker.errors import TargetError

_REDIRECTS = {
    "transformers_weights": "names the file that weights are loaded from",
    "configuration_files": "names other configurations that are read in place of this one",
    "attribute_map": "gives entries of the configuration other names",
    "adapter_kwargs": "names an adapter",
    "base_model_name_or_path": "names another model",
    "gguf_file": "names the file that weights are loaded from",
    "kernel_config": "names code that computes in place of the model's own",
    "fusion_config": "changes how weights are read",
    "distributed_config": "changes how weights are read",
    "use_pretrained_backbone": "loads another model into this one",
}
"""Entries that are refused wherever they stand, unless they are null, false or empty."""

_ATTENTION = frozenset(("eager", "sdpa"))
_EXPERTS = frozenset(("eager", "batched_mm", "grouped_mm"))
_IMPLEMENTATIONS = {
    "attn_implementation": _ATTENTION,
    "_attn_implementation": _ATTENTION,
    "_attn_implementation_internal": _ATTENTION,
    "experts_implementation": _EXPERTS,
    "_experts_implementation": _EXPERTS,
    "_experts_implementation_internal": _EXPERTS,
}
"""Entries that choose the code of a layer, and what torch alone computes: others are fetched."""

_FETCHED_FORMATS = frozenset(("eetq", "fbgemm_fp8", "metal", "mxfp4"))
"""Number formats of `quantization_config` whose code transformers fetches from the Hub."""

_LOCAL_CLASS = re.compile(r"(\w+)\.\w+")


def refuse_redirects(path: Path, content: Any, *, trusted: bool) -> None:
    """Refuse what would make the model another one than its folder holds.

    Args:
        path: of the JSON file.
        content: what it holds.
        trusted: whether code in the folder may run (`trustRemoteCode`).

    Raises:
        TargetError: with the entry, and what to do.
    """
    for place, key, value in _entries(content):
        if key in _REDIRECTS and value not in (None, False, "", [], {}):
            raise TargetError(
                f"{path}: {place} {_REDIRECTS[key]}, so that another model than the one in this"
                " folder could be audited; take it out, or load the model and save it anew with"
                " save_pretrained"
            )
        if key in _IMPLEMENTATIONS:
            for name in _leaves(value):
                if name is not None and name not in _IMPLEMENTATIONS[key]:
                    raise TargetError(
                        f"{path}: {place} asks for '{name}', code that is not part of the model and"
                        f" may be fetched from elsewhere; write {' or '.join(_named(key))}, or take"
                        " it out"
                    )
        if key == "quantization_config" and isinstance(value, dict):
            method = value.get("quant_method")
            if method in _FETCHED_FORMATS:
                raise TargetError(
                    f"{path}: {place} asks for '{method}', whose code is fetched from the Hugging"
                    " Face Hub; save the model dequantized"
                )
        if key == "auto_map" and value:
            _check_auto_map(path, place, value, trusted=trusted)


def _check_auto_map(path: Path, place: str, value: Any, *, trusted: bool) -> None:
    if not trusted:
        raise TargetError(
            f"{path}: {place} asks to run code from the checkpoint; read that code, then set"
            " trustRemoteCode: true, or convert the model to a built-in architecture"
        )
    if not isinstance(value, dict):
        raise TargetError(f"{path}: {place} is not a mapping")
    for name in _leaves(value):
        if name is None:
            continue
        if "--" in str(name):
            raise TargetError(
                f"{path}: {place} names code on the Hugging Face Hub; copy it into the directory,"
                " because phigate opens local directories only"
            )
        found = _LOCAL_CLASS.fullmatch(str(name))
        if found is None or not (path.parent / f"{found[1]}.py").is_file():
            raise TargetError(
                f"{path}: {place} names '{name}', which is no class of a file in this folder"
            )


def _named(key: str) -> list[str]:
    return sorted(_IMPLEMENTATIONS[key])


def _entries(value: Any, where: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield the place, name and value of every entry, however deep."""
    pending = [(where, value)]
    while pending:
        where, value = pending.pop()
        if isinstance(value, Mapping):
            for key, inner in value.items():
                place = f"{where}.{key}" if where else str(key)
                yield place, str(key), inner
                pending.append((place, inner))
        elif isinstance(value, list):
            pending += [(f"{where}[{index}]", inner) for index, inner in enumerate(value)]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value
