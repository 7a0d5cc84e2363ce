"""Checkpoints of trainers as safetensors, by a process of their own (`engine.converting`)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checker.errors import TargetError, UsageError

_MODULE = "checker.targets.engine.converting"


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was converted.

    Args:
        out: the folder that holds the model now.
        prefix: what stood before the architecture's own names, and was taken off.
        dropped: names of tensors that are no weights of the architecture.
        not_loaded: what else the checkpoint names that was neither loaded nor run.
        dtypes: number formats of the weights.
        parameters: how many numbers they are.
    """

    out: Path
    prefix: str
    dropped: tuple[str, ...]
    not_loaded: tuple[str, ...]
    dtypes: tuple[str, ...]
    parameters: int

    @property
    def summary(self) -> str:
        """What was left behind, in a clause."""
        parts = [f"'{self.prefix}' was taken off its names"] if self.prefix else []
        if self.dropped:
            count, first = len(self.dropped), self.dropped[0]
            parts.append(f"{count} tensors of other things (such as {first}) were dropped")
        return " and ".join(parts) or "nothing was dropped"


def convert(
    checkpoint: Path, *, out: Path, config: Path | Mapping[str, Any], force: bool = False
) -> Conversion:
    """Write a checkpoint's weights as the model that a configuration names.

    Args:
        checkpoint: a Lightning checkpoint, a `.pt` of weights, or the folder of a sharded one.
        out: folder to write to; safetensors and `config.json`.
        config: `config.json` of a causal language model, its folder, or what stands in one.
        force: overwrite a model that is there.

    Raises:
        TargetError: the checkpoint cannot be read, or holds no such model.
        UsageError: something is there already.
    """
    if not checkpoint.exists():
        raise TargetError(f"{checkpoint}: there is no such checkpoint")
    if (out / "model.safetensors").exists() and not force:
        raise UsageError(f"{out / 'model.safetensors'}: is there already; --force overwrites it")
    with tempfile.TemporaryDirectory(prefix="phigate-") as name:
        work = Path(name)
        request = {
            "checkpoint": str(checkpoint.resolve()),
            "config": str(_config(config, work)),
            "out": str(out.resolve()),
        }
        (work / "request.json").write_text(json.dumps(request))
        try:
            done = subprocess.run(
                [sys.executable, "-m", _MODULE, str(work / "request.json")],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise TargetError(f"{checkpoint}: nothing to convert it with: {error}") from error
    try:
        found = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise TargetError(f"{checkpoint}: the process that reads it failed: {last[0]}") from error
    if "error" in found:
        raise TargetError(found["error"])
    return Conversion(
        out=out,
        prefix=found["prefix"],
        dropped=tuple(found["dropped"]),
        not_loaded=tuple(found["not_loaded"]),
        dtypes=tuple(found["dtypes"]),
        parameters=found["parameters"],
    )


def _config(config: Path | Mapping[str, Any], work: Path) -> Path:
    """Return the folder of a configuration, written where it was only told."""
    if isinstance(config, Path):
        folder = config.parent if config.name == "config.json" else config
        if not (folder / "config.json").is_file():
            raise TargetError(f"{config}: holds no config.json, which names the architecture")
        return folder.resolve()
    (work / "config.json").write_text(json.dumps(config))
    return work
