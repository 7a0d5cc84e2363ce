"""Codes that tell a class without belonging to it: by how often their patients have it.

Whoever is named a drug that only people with a disease take is told the disease, whether or not
the drug is a code of the class. A class counts its definitive and strong codes alone, so that such
a code is a hit for nobody, and may stand in the prompt. Nobody can list from knowledge what betrays
what in a data set; it shows in patients whom the model never saw.

A code is shown where, of the nonmembers who have it, more than half have the class, and at least
twice the share of all, with an exact lower bound that holds for all codes of all classes at once:
Bonferroni's correction over those of so many patients that they could be shown at all (Tarone 1990,
Biometrics 46:515). So at most one list in twenty names a code that is none, whatever codes have to
do with each other. A code of few patients can betray its class and is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from checker import stats
from checker.codes import RANK_NONE, RANK_STRONG
from checker.records.tokenization import STATIC_TIME, Records

CONFIDENCE: Final = 0.95
LEAST: Final = 0.5
"""Of the patients with a proxy more than this share have the class: T2's threshold."""

TIMES: Final = 2.0
"""And at least so many times the share of all, for of a common class every code is that."""

MOST_EVENTS: Final = 2_000_000
"""Of more, every n-th patient is looked at: who is told by so many is told by fewer."""

_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Proxy:
    """A code that predicts a class and is not counted as one of its codes.

    Args:
        code: as the data set spells it.
        patients: nonmembers who have it.
        positives: of these, who have the class.
        low, high: bounds of the share, positives / patients, that hold for all codes at once.
        leaves_prompt: whether the class names it already, as suggestive, an exposure or a proxy.
    """

    code: str
    patients: int
    positives: int
    low: float
    high: float
    leaves_prompt: bool


def find_proxies(
    classes: Mapping[str, NDArray[np.int8]],
    nonmembers: Records,
    codes: Sequence[str],
    *,
    told: NDArray[np.bool_] | None = None,
) -> dict[str, tuple[Proxy, ...]]:
    """Find the codes that tell of each class, those that tell most for certain first.

    Args:
        classes: by name, how strongly each code stands for it, [codes] as in `checker.codes`. What
            a class excludes is looked at too: it may tell, whatever it is.
        nonmembers: patients the model never saw; `code` indexes `codes`.
        codes: of the data set.
        told: [codes] bool, those that some token tells; a model cannot name others. None looks at
            all.
    """
    looked_at = _looked_at(nonmembers)
    n_codes = len(codes)
    counted = {name: ranks >= RANK_STRONG for name, ranks in classes.items()}
    patients = np.zeros(n_codes, dtype=np.int64)
    positives = {name: np.zeros(n_codes, dtype=np.int64) for name in classes}
    have = dict.fromkeys(classes, 0)
    for block in _blocks(looked_at, nonmembers.offsets):
        rows, own = _pairs(nonmembers, block, n_codes)
        patients += np.bincount(own, minlength=n_codes)
        for name, is_counted in counted.items():
            has = np.bincount(rows[is_counted[own]], minlength=len(block)) > 0
            have[name] += int(has.sum())
            positives[name] += np.bincount(own[has[rows]], minlength=n_codes)
    wanted = {}
    for name, ranks in classes.items():
        candidates = (ranks < RANK_STRONG) & (patients > 0)
        if told is not None:
            candidates &= told
        least = max(LEAST, TIMES * have[name] / max(len(looked_at), 1))
        possible = have[name] > 0 and least < 1
        wanted[name] = (np.flatnonzero(candidates & possible), least)
    tests = _tests([(patients[at], least) for at, least in wanted.values()])
    return {
        name: _shown(at, least, patients, positives[name], classes[name], codes, tests)
        for name, (at, least) in wanted.items()
    }


def _shown(
    at: NDArray[np.int64],
    least: float,
    patients: NDArray[np.int64],
    positives: NDArray[np.int64],
    ranks: NDArray[np.int8],
    codes: Sequence[str],
    tests: int,
) -> tuple[Proxy, ...]:
    at = at[positives[at] > least * patients[at]]
    if not len(at):
        return ()
    confidence = 1 - (1 - CONFIDENCE) / tests
    low, high = stats.clopper_pearson(positives[at], patients[at], confidence=confidence)
    proxies = [
        Proxy(
            codes[entry], int(patients[entry]), int(positives[entry]), below, above,
            bool(ranks[entry] > RANK_NONE),
        )
        for entry, below, above in zip(at.tolist(), low.tolist(), high.tolist(), strict=True)
        if below > least
    ]  # fmt: skip
    return tuple(sorted(proxies, key=lambda one: (-one.low, -one.patients, one.code)))


def _tests(families: Sequence[tuple[NDArray[np.int64], float]]) -> int:
    """Return over how many codes is corrected: the least K by which no more can be shown.

    That all patients of a code have the class has a probability of least ** patients at most; where
    that exceeds 0.05 / K the code cannot be shown, and needs no correction.
    """
    smallest = np.sort(
        np.concatenate([np.empty(0), *(least**patients for patients, least in families)])
    )
    k = np.arange(1, len(smallest) + 2)
    can_be_shown = np.searchsorted(smallest, (1 - CONFIDENCE) / k, side="right")
    return int(k[np.argmax(can_be_shown <= k)])


def _looked_at(records: Records) -> NDArray[np.int64]:
    """Return whose records are looked at: all, or every n-th."""
    step = max(1, -(-len(records.code) // MOST_EVENTS))
    return np.arange(0, len(records), step, dtype=np.int64)


def _blocks(places: NDArray[np.int64], offsets: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the patients in parts of about a million events."""
    ends = np.cumsum(np.diff(offsets)[places])
    cuts = np.searchsorted(ends, np.arange(_AT_ONCE, ends[-1] if len(ends) else 0, _AT_ONCE))
    return [part for part in np.split(places, cuts) if len(part)]


def _pairs(
    records: Records, patients: NDArray[np.int64], n_codes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the different dated codes of each patient: places among `patients`, and codes."""
    begins, ends = records.offsets[patients], records.offsets[patients + 1]
    sizes = ends - begins
    rows = np.repeat(np.arange(len(patients)), sizes)
    at = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    at += np.repeat(begins, sizes)
    dated = records.time_us[at] != STATIC_TIME
    pairs = np.unique(rows[dated] * n_codes + records.code[at[dated]])
    return pairs // n_codes, pairs % n_codes
