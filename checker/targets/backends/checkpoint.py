"""A Hugging Face checkpoint in a local directory: what can be said of it without torch.

The plan needs the vocabulary's size, the context and the identity of a model, not its weights in
memory, so this module reads `config.json` and the headers of the safetensors files, and hashes
every file of the folder. It also settles what is not opened at all: anything that is not a local
directory (nothing is fetched), a folder in which something leads to another model (`redirects`,
`model_folder`), and files that are cut short.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from safetensors import SafetensorError, safe_open

from checker.canonical import digest
from checker.errors import TargetError
from checker.json_text import read_json
from checker.policy.documents import ModelSpec
from checker.targets import CAPABILITIES, TargetDescription, TargetModel
from checker.targets.backends.adapter import Adapter, read_adapter
from checker.targets.backends.model_folder import (
    hash_files,
    list_files,
    refuse_code,
    refuse_strangers,
)
from checker.targets.backends.redirects import refuse_redirects

_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_seq_length",
    "max_sequence_length",
    "seq_length",
)
_SWITCH = re.compile(r"window|chunk|original|sliding|local_att|block_size")
"""What names of lengths contain beyond which a model computes in another way."""

_LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTH_KEYS = (
    "hidden_size", "n_embd", "d_model", "intermediate_size", "n_inner", "ffn_dim", "state_size",
    "num_attention_heads", "n_head", "num_key_value_heads", "head_dim",
)  # fmt: skip
SHARED_LAYERS = 1000
"""So many layers a model may have whatever its weights: some use the same for all."""
MOST_POSITIONS = 2**24
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """What `config.json` says, and all files of the folder, by name."""

    directory: Path
    vocabulary_size: int
    context_length: int | None
    bos_token_id: int | None
    switch_lengths: dict[str, int]
    files: dict[str, Path]


class HuggingFaceBackend:
    """Causal language models saved by `save_pretrained` with safetensors."""

    name: ClassVar[str] = "huggingface"

    def describe(self, spec: ModelSpec, base: Path) -> TargetDescription:
        """Describe the checkpoint at `base / spec.path` without loading it.

        Returns:
            The description; `files` names every file of the folder, and of the adapter's.

        Raises:
            TargetError: it cannot be opened as a model, in one sentence that names the path.
        """
        checkpoint = _read_checkpoint(spec, base)
        adapter = _adapter(spec, base)
        files = hash_files({**checkpoint.files, **({} if adapter is None else adapter.files)})
        return TargetDescription(
            backend=self.name,
            vocabulary_size=checkpoint.vocabulary_size,
            context_length=checkpoint.context_length,
            capabilities=CAPABILITIES,
            bos_token_id=checkpoint.bos_token_id,
            files=files,
            sha256=digest(files),
        )

    def open(
        self, spec: ModelSpec, base: Path, *, pad_id: int | None, eos_id: int | None
    ) -> TargetModel:
        """Load the model; only this imports torch.

        Raises:
            TargetError: as `describe`, or the libraries cannot load or run it.
        """
        checkpoint = _read_checkpoint(spec, base)
        adapter = _adapter(spec, base)
        from checker.targets.engine.huggingface import HuggingFaceTarget
        from checker.targets.engine.loading import load_model

        return HuggingFaceTarget(
            load_model(
                checkpoint.directory,
                spec=spec,
                dtype=files_dtype(checkpoint.directory) if spec.dtype == "auto" else spec.dtype,
                adapter=adapter,
            ),
            vocabulary_size=checkpoint.vocabulary_size,
            context_length=checkpoint.context_length,
            pad_id=pad_id,
            eos_id=eos_id,
            switch_lengths=checkpoint.switch_lengths,
        )


def _adapter(spec: ModelSpec, base: Path) -> Adapter | None:
    return None if spec.adapter is None else read_adapter(base / spec.adapter)


def _read_checkpoint(spec: ModelSpec, base: Path) -> _Checkpoint:
    directory = _model_directory(spec.path, base)
    config = _read_json_object(directory / "config.json")
    _check_json(directory, config, trusted=spec.trust_remote_code)
    weights = [directory / name for name in _weight_files(directory)]
    text = config.get("text_config")
    shape = {**config, **text} if isinstance(text, dict) else config
    vocabulary_size = _count(shape, "vocab_size")
    if vocabulary_size is None:
        raise TargetError(
            f"{directory / 'config.json'}: vocab_size is missing or no positive integer; phigate "
            "audits language models over a vocabulary"
        )
    _check_sizes(shape, directory, weights)
    bos = shape.get("bos_token_id")
    context = _count(shape, *_CONTEXT_KEYS)
    return _Checkpoint(
        directory=directory,
        vocabulary_size=vocabulary_size,
        context_length=context,
        bos_token_id=bos if isinstance(bos, int) else None,
        switch_lengths=_switch_lengths(shape, context_length=context),
        files=_check_files(directory, trusted=spec.trust_remote_code),
    )


def _check_sizes(shape: Mapping[str, Any], directory: Path, files: Sequence[Path]) -> None:
    """Check that the weights can be of the size that `config.json` says.

    Whoever loads a model of a hundred thousand layers, or counts the tokens of a vocabulary of
    10^12, takes what memory and time there is before finding that the weights are not its own.
    """
    config = directory / "config.json"
    weights = sum(path.stat().st_size for path in files)
    tensors = sum(_tensor_count(path) for path in files if path.suffix == ".safetensors")
    # a token has an embedding, of half a byte a number at the least; a position may have none
    for keys, most, what in (
        (("vocab_size",), 2 * weights, f"its weights have {weights} bytes"),
        (_LAYER_KEYS, max(tensors, SHARED_LAYERS), f"its weights have {tensors} tensors"),
        (_CONTEXT_KEYS, MOST_POSITIONS, f"phigate reads {MOST_POSITIONS:,} at most"),
        (_WIDTH_KEYS, 2 * weights, f"its weights have {weights} bytes"),
    ):
        for key in keys:
            size = shape.get(key)
            if isinstance(size, int | float) and not isinstance(size, bool) and size > most:
                raise TargetError(
                    f"{config}: {key} is {size:.6g}, but {what}; save the model again"
                )


def _check_json(directory: Path, config: dict[str, Any], *, trusted: bool) -> None:
    """Refuse settings that lead away from this folder."""
    refuse_redirects(directory / "config.json", config, trusted=trusted)
    generation = directory / "generation_config.json"
    if generation.is_file():
        refuse_redirects(generation, _read_json_object(generation), trusted=trusted)


def _check_files(directory: Path, *, trusted: bool) -> dict[str, Path]:
    """Return all files of the folder, none of which may be loaded in place of the weights."""
    files = list_files(directory)
    refuse_strangers(directory, files, used=_weight_files(directory))
    if not trusted:
        refuse_code(directory, files)
    return files


def _count(shape: Mapping[str, Any], *keys: str) -> int | None:
    """Return the first of the entries that is a positive integer."""
    for key in keys:
        value = shape.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _switch_lengths(shape: Mapping[str, Any], *, context_length: int | None) -> dict[str, int]:
    """Return, by name, lengths below the context beyond which the model may be another one.

    Architectures spell them in many ways (`sliding_window`, `attention_chunk_size`,
    `original_max_position_embeddings` within `rope_scaling`, `window_size`), so every integer
    counts whose name, or that of what it stands in, speaks of one. One that means something else
    costs a comparison.
    """
    found: dict[str, int] = {}

    def visit(name: str, value: Any, *, counts: bool) -> None:
        counts = counts or _SWITCH.search(name) is not None
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(str(key), inner, counts=counts)
        elif isinstance(value, list):
            for inner in value:
                visit(name, inner, counts=counts)
        elif (
            counts
            and isinstance(value, int)
            and not isinstance(value, bool)
            and 1 < value < (context_length or value + 1)
        ):
            another = found.get(name, value) != value
            found[f"{name} ({value})" if another else name] = value

    visit("", dict(shape), counts=False)
    return found


def _model_directory(path: str, base: Path) -> Path:
    directory = base / path
    if directory.is_dir():
        if not (directory / "config.json").is_file():
            adapter = (directory / "adapter_config.json").is_file()
            raise TargetError(
                f"{directory}: holds an adapter, not a model; name it as model.adapter, and its "
                "base as model.path"
                if adapter
                else f"{directory}: no config.json, so this is no Hugging Face checkpoint; save "
                "the model with save_pretrained"
            )
        return directory
    if directory.exists():
        raise TargetError(f"{directory}: is a file; name the directory that holds config.json")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", path) and not path.startswith("."):
        raise TargetError(
            f"{directory}: no such directory; if '{path}' is a name on the Hugging Face Hub, "
            "download it first, because phigate opens local directories only"
        )
    raise TargetError(f"{directory}: no such directory; model.path is relative to the target file")


def _read_json_object(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path.read_bytes(), infinite=True)  # so `save_pretrained` writes it
    except OSError as error:
        raise TargetError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise TargetError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise TargetError(f"{path}: holds no JSON object")
    return value


def _weight_files(directory: Path) -> list[str]:
    """Return the names of the weights, and of their index where they are in several files."""
    if (directory / _SINGLE).is_file():
        files = [_SINGLE]
        shards = files
    elif (directory / _INDEX).is_file():
        shards = _shards(directory / _INDEX)
        files = [_INDEX, *shards]
    elif pickles := sorted(path.name for glob in _PICKLES for path in directory.glob(glob)):
        raise TargetError(
            f"{directory}: only pickled weights ({pickles[0]}), and opening a pickle runs whatever "
            "it contains; where it was trained, load the model and save it with "
            "save_pretrained(directory), which writes safetensors"
        )
    else:
        raise TargetError(f"{directory}: no weights; expected {_SINGLE} or {_INDEX}")
    for name in shards:
        _check_safetensors(directory / name)
    return files


def _shards(index: Path) -> list[str]:
    weight_map = _read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise TargetError(f"{index}: has no weight_map, so its shards are unknown; save it again")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise TargetError(f"{index}: '{name}' is no safetensors file of this directory")
        if not (index.parent / name).is_file():
            raise TargetError(f"{index.parent / name}: this shard is missing; copy the model again")
    return names


def _check_safetensors(path: Path) -> None:
    """Check that the header is whole and that the file is as long as it says."""
    if _tensor_count(path) == 0:
        raise TargetError(f"{path}: holds no weights; save the model again")


def files_dtype(directory: Path) -> str:
    """Return the number format of a checkpoint's weights: what `dtype: auto` means.

    Where they are in several, it is the one that holds all of them; float64 runs in float32.

    Raises:
        TargetError: the weights are in none that phigate runs a model in.
    """
    found: set[str] = set()
    for name in _weight_files(directory):
        if name.endswith(".safetensors"):
            with safe_open(directory / name, framework="numpy") as tensors:
                found |= {tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118
    wide, narrow = found & {"F64", "F32"}, sorted(found & _NARROW.keys())
    if wide or len(narrow) == 2:
        return "float32"
    if narrow:
        return _NARROW[narrow[0]]
    raise TargetError(
        f"{directory}: its weights are stored as {', '.join(sorted(found))}, in which no model runs"
        " here; save it in float32, bfloat16 or float16"
    )


_NARROW = {"F16": "float16", "BF16": "bfloat16"}


def _tensor_count(path: Path) -> int:
    try:
        with safe_open(path, framework="numpy") as tensors:
            return len(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise TargetError(
            f"{path}: is cut short or no safetensors file ({error}); copy it again"
        ) from error
