"""Drawing next tokens from logits, on the device that holds them, without a copy to the host.

The rule is that of `checker.targets.sampling`: temperature, top-p with ties at the edge kept, then
the inverse of the distribution function in the order of the vocabulary. What is here is the same
rule made cheap:

*Top-p needs a threshold, not a sorted vocabulary.* On the CPU the largest weights are split off
(introselect) and only they are sorted; a row whose nucleus is larger is sorted whole. On other
devices, where looking which rows those are would halt the queue, the least weight that is kept is
found by bisection over the bits of a float32, which are ordered like the numbers: 31 sums, exact.

*The distribution function is summed in blocks.* One sum for each block of the vocabulary finds the
block that a uniform falls into; running sums are taken inside that block only.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

_BLOCK = 64
_PREFIX = 1024  # weights of a row that are sorted first
_AT_ONCE = {"cpu": 1 << 20}  # logits handled at once, so that what is made of them stays in caches
_BITS = 31  # of a float32 that is not negative
_BELOW_ONE = 1.0 - 1e-12


class WatchedClasses:
    """Which tokens stand for each of C classes, on a device.

    Few of the vocabulary do, so that only their columns are read.

    Args:
        watch: [C, V] bool.
        device: of the logits.
    """

    def __init__(self, watch: NDArray[np.bool_], *, device: torch.device) -> None:
        ids = np.flatnonzero(watch.any(axis=0))
        self.watch = torch.from_numpy(watch).to(device)
        self._ids = torch.from_numpy(ids).to(device)
        self._classes = torch.from_numpy(watch[:, ids].T.astype(np.float64)).to(device)

    def share(self, weights: torch.Tensor, totals: torch.Tensor) -> torch.Tensor:
        """Return how much of each row's total [B, 1] the classes have: [B, C] float64."""
        return (weights[:, self._ids].double() @ self._classes) / totals

    def named_by(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return which classes tokens [B] stand for: [B, C] bool."""
        return self.watch[:, tokens].T


def draw(
    logits: torch.Tensor, numbers: torch.Tensor, *, temperature: float, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token from each row of logits.

    Args:
        logits: [B, V], of any float type; minus infinity rules a token out.
        numbers: [B] float64 uniforms in [0, 1).
        temperature: > 0; logits are divided by it.
        top_p: in (0, 1]; the smallest set of tokens with at least this mass is kept, with all
            tokens as likely as the least likely of them.

    Returns:
        Ids [B] int64 in [0, V), and [] bool: False where a row's logits are no numbers, and its id
        means nothing.
    """
    ids, sound, _ = draw_watched(logits, numbers, temperature=temperature, top_p=top_p)
    return ids, sound


def draw_watched(
    logits: torch.Tensor,
    numbers: torch.Tensor,
    *,
    temperature: float,
    top_p: float,
    classes: WatchedClasses | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Draw one token from each row of logits, and say how likely classes were to be drawn.

    Args:
        logits: as `draw` takes them.
        numbers: as `draw` takes them.
        temperature: as `draw` takes it.
        top_p: as `draw` takes it.
        classes: C of them, or None.

    Returns:
        What `draw` returns, and [B, C] float64, or None where no classes are watched.
    """
    size = max(1, _AT_ONCE.get(logits.device.type, logits.numel()) // logits.shape[1])
    ids, sound, masses = [], [], []
    for start in range(0, len(logits), size):
        weights = shaped(logits[start : start + size], temperature=temperature, top_p=top_p)
        chosen, totals = _invert(weights, numbers[start : start + size])
        ids.append(chosen)
        sound.append(totals.isfinite().all())
        if classes is not None:
            masses.append(classes.share(weights, totals))
    return torch.cat(ids), torch.stack(sound).all(), torch.cat(masses) if masses else None


def shaped(logits: torch.Tensor, *, temperature: float, top_p: float) -> torch.Tensor:
    """Return weights [B, V] float32 that tokens are drawn by; they need not sum to one."""
    weights = (logits.float() / temperature).softmax(-1)
    return _without(weights, least_kept(weights, top_p=top_p)) if top_p < 1.0 else weights


def least_kept(weights: torch.Tensor, *, top_p: float) -> torch.Tensor:
    """Return the smallest weight of each row that top-p keeps.

    A weight is kept where the larger ones of its row sum to less than `top_p`.

    Args:
        weights: [B, V] float32 that sum to one.
        top_p: in (0, 1).

    Returns:
        [B, 1] float32.
    """
    if weights.device.type != "cpu":
        return _by_bisection(weights, top_p=top_p)
    return torch.from_numpy(_by_sorting(weights.numpy(), top_p=top_p))


def _without(weights: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    """Return the weights with those below the least one set to zero."""
    if weights.device.type == "cpu":  # NumPy does this several times faster than torch
        array = weights.numpy()
        array *= array >= least.numpy()
        return weights
    return torch.where(weights < least, 0.0, weights)


def _by_sorting(weights: NDArray[np.float32], *, top_p: float) -> NDArray[np.float32]:
    width = weights.shape[1]
    falling = -weights  # NumPy sorts upwards
    if width <= 4 * _PREFIX:
        return _edge(falling, top_p=top_p)[0]
    largest = np.partition(falling, _PREFIX, axis=1)[:, :_PREFIX]
    least, reached = _edge(largest, top_p=top_p)
    flat = np.flatnonzero(~reached)
    if len(flat):
        least[flat] = _edge(falling[flat], top_p=top_p)[0]
    return least


def _edge(
    falling: NDArray[np.float32], *, top_p: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return which weight brings the sum of the largest to top-p, [B, 1], and where one does, [B].

    Args:
        falling: [B, n] negated weights, in any order; sorted in place.
        top_p: in (0, 1).
    """
    falling.sort(axis=1)
    mass = torch.from_numpy(falling).cumsum(-1).neg_()
    wanted = torch.full((len(mass), 1), top_p, dtype=mass.dtype)
    edge = torch.searchsorted(mass, wanted).numpy()
    last = falling.shape[1] - 1
    least = -np.take_along_axis(falling, np.minimum(edge, last), axis=1)
    return least, edge[:, 0] <= last


def _by_bisection(weights: torch.Tensor, *, top_p: float) -> torch.Tensor:
    bits = weights.view(torch.int32)
    high = bits.amax(-1, keepdim=True)
    low = torch.zeros_like(high)
    for _ in range(_BITS):
        middle = low + (high - low) // 2
        above = torch.where(bits > middle, weights, 0.0).sum(-1, keepdim=True)
        high = torch.where(above < top_p, middle, high)
        low = torch.where(above < top_p, low, middle + 1)
    # the least number with less than top-p above it; the least *weight* may lie a little higher
    return high.view(torch.float32)


def _invert(weights: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where each row's running sum first exceeds its uniform's share, and totals [B, 1]."""
    rows, width = weights.shape
    whole = width // _BLOCK
    sums = weights[:, : whole * _BLOCK].view(rows, whole, _BLOCK).sum(-1)
    if whole * _BLOCK < width:
        sums = torch.cat([sums, weights[:, whole * _BLOCK :].sum(-1, keepdim=True)], dim=-1)
    mass = sums.cumsum(-1, dtype=torch.float64)
    # A share below one of a sum is below the sum, so neither search below runs past its end: no
    # token of weight zero is ever drawn. Only logits that are no numbers do, and those are cut off,
    # because indexing past the end would kill the device.
    aim = numbers[:, None].clamp(max=_BELOW_ONE) * mass[:, -1:]
    block = torch.searchsorted(mass, aim, right=True).clamp_(max=sums.shape[1] - 1)
    held = sums.gather(1, block).double()
    share = (aim - (mass.gather(1, block) - held)) / held
    at = block * _BLOCK + torch.arange(_BLOCK, device=weights.device)
    inside = weights.gather(1, at.clamp(max=width - 1)).double()
    running = inside.masked_fill_(at >= width, 0.0).cumsum(-1)
    step = torch.searchsorted(running, share.clamp(0.0, _BELOW_ONE) * running[:, -1:], right=True)
    ids = (block * _BLOCK + step).clamp_(max=width - 1)[:, 0]
    return ids, mass[:, -1:]
