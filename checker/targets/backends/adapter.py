"""LoRA adapters as `peft` saves them: read, checked and hashed without it, and without torch.

An adapter is as much of the model as its base: one that is left out, or read as another, makes any
model look safe. So its configuration is read strictly. What phigate does not know how to apply is
refused, as is whatever changes the base itself when it is made (PiSSA, OLoRA, LoftQ): such an
adapter fits another base than the one that is declared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from checker.errors import TargetError
from checker.json_text import read_json
from checker.targets.backends.model_folder import list_files, refuse_code, refuse_strangers

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
ALL_LINEAR: Final = "all-linear"
"""As `target_modules`: every linear layer but that of the logits."""

PREFIX: Final = "adapter/"
"""What stands before the names of an adapter's files among those of the model."""

_MERGE = "merge it into its base with peft's merge_and_unload, and save that"
_KNOWN: Final = frozenset(
    {
        "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "exclude_modules",
        "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
        "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "modules_to_save",
        "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern", "revision",
        "runtime_config", "target_modules", "task_type", "use_rslora",
    }
)  # fmt: skip
"""Settings that are applied, or change nothing but how an adapter is trained and found. Any other
has to be off."""

_LEAVES_BASE: Final = (True, False, "gaussian")
"""Ways to begin that leave the base as it is."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter.

    Args:
        directory: where it lies.
        alpha: over the rank, or its root, by how much its product counts.
        alphas: of modules of their own, by pattern of their names.
        rank: how many rows and columns the two matrices of a module share.
        ranks: of modules of their own, by pattern of their names.
        rooted: whether alpha is divided by the root of the rank.
        targets: names or endings of names of the modules that it changes, a pattern, or
            `ALL_LINEAR`.
        excluded: which of them it leaves, likewise.
        layers: to which of them it is confined, by the number in their name; None means all.
        layers_patterns: what stands before that number; any name, where there is none.
        saved: names, or endings, of modules that it replaces.
        files: by name, below `PREFIX`.
    """

    directory: Path
    alpha: float
    alphas: Mapping[str, float]
    rank: int
    ranks: Mapping[str, float]
    rooted: bool
    targets: tuple[str, ...] | str
    excluded: tuple[str, ...] | str
    layers: frozenset[int] | None
    layers_patterns: tuple[str, ...]
    saved: tuple[str, ...]
    files: dict[str, Path]

    @property
    def weights(self) -> Path:
        """The file of its weights."""
        return self.directory / WEIGHTS

    def changes(self, module: str, *, is_inner: bool) -> bool:
        """Return whether its configuration says that it changes a module, as peft reads it.

        Args:
            module: its name in the base.
            is_inner: whether it is a linear layer, but for that of the logits.
        """
        if _names_it(self.excluded, module):
            return False
        if self.targets == ALL_LINEAR:
            return is_inner
        if not _names_it(self.targets, module):
            return False
        if self.layers is None or module in self.targets:
            return True
        for pattern in self.layers_patterns or (r"[^.]*",):
            if found := re.match(rf".*\.{pattern}\.(\d+)\.", module):
                return int(found[1]) in self.layers
        return False

    def saves(self, module: str) -> bool:
        """Return whether its configuration says that it replaces a module."""
        return _names_it(self.saved, module)

    def scaling(self, module: str) -> float:
        """Return by how much the product of a module's two matrices counts."""
        rank = self.rank_of(module)
        divisor: float = rank**0.5 if self.rooted else rank
        return _own(self.alphas, module, self.alpha) / divisor

    def rank_of(self, module: str) -> int:
        """Return how many rows and columns a module's two matrices share."""
        return int(_own(self.ranks, module, self.rank))


def _own(patterns: Mapping[str, float], module: str, default: float) -> float:
    """Return the number of the first pattern that a module's name ends in."""
    for pattern, own in patterns.items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return own
    return default


def _names_it(names: tuple[str, ...] | str, module: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == one or module.endswith(f".{one}") for one in names)


def read_adapter(directory: Path) -> Adapter:
    """Read an adapter's configuration, and see that its weights are whole.

    Raises:
        TargetError: it is none, is no LoRA, does what phigate cannot apply, or lies beside what
            could be taken for it.
    """
    config_file = directory / CONFIG
    if not config_file.is_file():
        raise TargetError(
            f"{directory}: holds no {CONFIG}, so this is no adapter; name the folder that peft's"
            " save_pretrained wrote"
        )
    config = _read_config(config_file)
    files = list_files(directory)
    refuse_strangers(directory, [n for n in files if n not in (CONFIG, WEIGHTS)], used=[WEIGHTS])
    refuse_code(directory, files)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise TargetError(
            f"{config_file}: peft_type is {kind!r}, and phigate applies LORA alone; {_MERGE}"
        )
    for name, value in config.items():
        if name not in _KNOWN and value:
            raise TargetError(f"{config_file}: phigate does not apply '{name}'; {_MERGE}")
    if config.get("bias", "none") != "none":
        raise TargetError(f"{config_file}: phigate applies no trained biases; {_MERGE}")
    begun = config.get("init_lora_weights", True)
    if begun not in _LEAVES_BASE:
        raise TargetError(
            f"{config_file}: init_lora_weights is {begun!r}, which may change the base itself;"
            f" {_MERGE}"
        )
    for name in ("use_rslora", "fan_in_fan_out"):
        if not isinstance(config.get(name, False), bool):
            raise TargetError(f"{config_file}: {name} is {config[name]!r}, and not true or false")
    targets = _names(config, "target_modules", config_file, pattern=True)
    if config.get("target_modules") is None:
        raise TargetError(f"{config_file}: names no target_modules; {_MERGE}")
    _check_weights(directory / WEIGHTS)
    return Adapter(
        directory=directory,
        alpha=_number(config, "lora_alpha", config_file),
        alphas=_numbers(config, "alpha_pattern", config_file),
        rank=int(_number(config, "r", config_file)),
        ranks=_numbers(config, "rank_pattern", config_file),
        rooted=config.get("use_rslora", False),
        targets=targets,
        excluded=_names(config, "exclude_modules", config_file, pattern=True),
        layers=_layers(config, config_file),
        layers_patterns=_layers_patterns(config, config_file),
        saved=tuple(_names(config, "modules_to_save", config_file)),
        files={f"{PREFIX}{name}": path for name, path in files.items()},
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path.read_bytes())
    except OSError as error:
        raise TargetError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise TargetError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise TargetError(f"{path}: holds no JSON object")
    return value


def _check_weights(path: Path) -> None:
    if not path.is_file():
        pickle = path.with_suffix(".bin")
        raise TargetError(
            f"{path}: is not there"
            + ("; save the adapter with safe_serialization=True" if pickle.exists() else "")
        )
    try:
        with safe_open(path, framework="numpy") as tensors:
            count = len(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise TargetError(
            f"{path}: is cut short or no safetensors file ({error}); copy it again"
        ) from error
    if not count:
        raise TargetError(f"{path}: holds no weights; save the adapter again")


def _number(config: Mapping[str, Any], name: str, path: Path) -> float:
    value = config.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise TargetError(f"{path}: {name} is {value!r}, and no number above 0")
    return float(value)


def _numbers(config: Mapping[str, Any], name: str, path: Path) -> dict[str, float]:
    """Return the numbers of modules of their own, by pattern."""
    held = _mapping(config, name, path)
    return {pattern: _number({name: own}, name, path) for pattern, own in held.items()}


def _mapping(config: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    value = config.get(name) or {}
    if not isinstance(value, dict):
        raise TargetError(f"{path}: {name} is no JSON object")
    for pattern in value:
        _check_pattern(pattern, name, path)
    return value


def _check_pattern(pattern: str, name: str, path: Path) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise TargetError(f"{path}: {name}: '{pattern}' is no pattern: {error}") from error


def _names(
    config: Mapping[str, Any], name: str, path: Path, *, pattern: bool = False
) -> tuple[str, ...] | str:
    """Read a list of names, none where it is null, or a pattern where one may stand."""
    value = config.get(name)
    if pattern and isinstance(value, str):
        _check_pattern(value, name, path)
        return value
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TargetError(f"{path}: {name} is {value!r}, and no list of names")
    return tuple(value)


def _layers(config: Mapping[str, Any], path: Path) -> frozenset[int] | None:
    value = config.get("layers_to_transform")
    numbers = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(one) is int for one in numbers):
        raise TargetError(f"{path}: layers_to_transform is {value!r}, and no list of numbers")
    return frozenset(numbers) or None


def _layers_patterns(config: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    found = _names(config, "layers_pattern", path, pattern=True)
    patterns = tuple(filter(None, [found] if isinstance(found, str) else found))
    for one in patterns:
        _check_pattern(one, "layers_pattern", path)
    return patterns
