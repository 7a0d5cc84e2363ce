"""Batches of sequences of similar length, and what happens when one does not fit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.targets import Progress, Tokens
from checker.targets.channels import channels_of, told_channels
from checker.targets.engine.loading import vendor

OUT_OF_MEMORY = "does not fit into the memory of"

Result = TypeVar("Result")


def padded(
    rows: Sequence[Tokens], *, pad_id: int, left: bool, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids [B, L] int64 and a mask [B, L] that is True on real tokens."""
    width = max(len(row) for row in rows)
    ids = np.full((len(rows), width), pad_id, dtype=np.int64)
    real = np.zeros((len(rows), width), dtype=np.bool_)
    for index, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[index, place] = row
        real[index, place] = True
    return torch.from_numpy(ids).to(device), torch.from_numpy(real).to(device)


def padded_channels(rows: Sequence[Tokens], *, device: torch.device) -> dict[str, torch.Tensor]:
    """Return what a model is given beside the ids of rows padded to the right: [B, L] each.

    Padding repeats a row's last number, which the model takes whatever it is.
    """
    if not channels_of(rows[0]):
        return {}
    width = max(len(row) for row in rows)
    told = [told_channels(row) for row in rows]
    return {
        name: torch.from_numpy(
            np.stack([np.pad(one[name], (0, width - len(one[name])), "edge") for one in told])
        ).to(device)
        for name in told[0]
    }


def numbers_of(values: torch.Tensor) -> NDArray[np.float32]:
    """Hand out an array of float32.

    Raises:
        TargetError: it holds something that is no number.
    """
    array: NDArray[np.float32] = values.cpu().numpy()
    if not np.isfinite(array).all():
        raise TargetError("the model gives values that are no numbers; try dtype: float32")
    return array


def in_batches(
    run: Callable[[list[int]], list[Result]],
    *,
    lengths: Sequence[int],
    budget: int,
    doing: str,
    device: str,
    progress: Progress | None = None,
    counted: Sequence[int] | None = None,
    one_length: bool = False,
) -> list[Result]:
    """Run all rows in batches of similar length; results come in the order of the rows.

    A batch that does not fit into the device's memory is halved; what is done stays done.

    Args:
        run: gives one result for each of some rows.
        lengths: of the n rows, in tokens.
        budget: tokens of one batch, padding included.
        doing: what is done, for errors.
        device: its name, for errors.
        progress: is told `counted` tokens of each row that is done, by default its length.
        counted: n numbers of tokens.
        one_length: whether all rows of a batch must have one length.

    Raises:
        TargetError: a single row does not fit.
    """
    counted = lengths if counted is None else counted
    batches = _batches(lengths, budget=budget, one_length=one_length)
    results: dict[int, Result] = {}
    batches.reverse()
    while batches:
        rows = batches.pop()
        produced = _attempt(run, rows, doing=doing)
        if produced is None:
            if len(rows) == 1:
                raise TargetError(
                    f"{doing} one sequence of {lengths[rows[0]]} tokens {OUT_OF_MEMORY} {device}; "
                    "free memory or shorten the records"
                )
            middle = len(rows) // 2
            batches += [rows[middle:], rows[:middle]]
            continue
        results.update(zip(rows, produced, strict=True))
        if progress is not None:
            progress(sum(counted[row] for row in rows))
    return [results[row] for row in range(len(lengths))]


def _attempt(
    run: Callable[[list[int]], list[Result]], rows: list[int], *, doing: str
) -> list[Result] | None:
    """Return what `run` gives for the rows, or None where the device's memory does not suffice."""
    with contextlib.suppress(torch.OutOfMemoryError), vendor(doing), torch.inference_mode():
        return run(rows)
    # Only here are the batch's tensors, which the traceback held, free to be given back.
    torch.cuda.empty_cache()
    return None


def _batches(lengths: Sequence[int], *, budget: int, one_length: bool) -> list[list[int]]:
    """Group rows so that a batch's padded size stays within the budget; the longest come first.

    The longest first, so that a batch that cannot fit shows at the start and not after hours.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if batches:
            width = lengths[batches[-1][0]]
            fits = (len(batches[-1]) + 1) * width <= budget
            if fits and (lengths[row] == width or not one_length):
                batches[-1].append(row)
                continue
        batches.append([row])
    return batches
