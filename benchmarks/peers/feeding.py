"""What a model of the zoo says of its patients, in the form in which other tools ask for it.

A feed is one `.npz` without pickled objects. Of each split (`member`, `nonmember`, and
`population`, who are neither) it has the records and, of the model and of a reference that saw
other patients (`own`, `reference`), log-probability, mean and standard deviation of the prediction
and whether nothing was likelier, token after token, one record behind the other. Of members and
nonmembers it has what greedy decoding makes of the first quarter and half of a record, who is like
no patient (`canary`), and ten continuations of each who has HIV.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.wrong_worlds import FIRST, Split
from benchmarks.zoo.entries import HIV, Entry
from benchmarks.zoo.keeping import Zoo
from checker.targets import Sampler, TargetModel, Tokens
from checker.testing.simulated import SimulatedModel, SimulatedTarget

Arrays = dict[str, NDArray[Any]]

SPLITS: Final = ("member", "nonmember", "population")
FRACTIONS: Final = (0.25, 0.5)
"""Of a record, told before greedy decoding goes on: memaudit's."""

BEYOND: Final = 4
"""Tokens more than are left of a record: memaudit's."""

TRAJECTORIES: Final = 10
"""Of one patient: the toolkit's."""

EVENTS_TOLD: Final = 10

_GREEDY: Final = Sampler(temperature=1.0, top_p=1e-9, horizon_tokens=1, seed=0)
_DRAWN: Final = Sampler(temperature=1.0, top_p=0.95, horizon_tokens=1, seed=0)


def feed(entry: Entry, zoo: Zoo, folder: Path) -> Path:
    """Keep what an entry's model says, unless it is there; returns the file."""
    path = folder / f"{entry.name}.npz"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    model, reference = opened(entry, zoo), _reference(entry, zoo)
    exchanged = entry.name == "exchanged"  # whom the description calls members
    named: dict[str, Split] = {
        "member": "held_out" if exchanged else "train",
        "nonmember": "train" if exchanged else "held_out",
        "population": "tuning",
    }
    watch = zoo.ids_of(HIV)
    found: Arrays = {"watch": np.array(sorted(watch)), "end": np.array(zoo.ids["[EOS]"])}
    for name, split in named.items():
        records = zoo.sequences(split)
        found |= said(records, name, {"own": model, "reference": reference})
        if name != "population":
            found |= completed(records, name, model)
            found |= told(records, name, model, watch=watch, pauses=_pauses(zoo))
            found[f"{name}_canary"] = np.array(zoo.canaries(split), dtype=np.int64)
    making = path.with_name(f"making-{path.name}")
    np.savez_compressed(making, allow_pickle=False, **found)
    os.replace(making, path)
    return path


def opened(entry: Entry, zoo: Zoo) -> TargetModel:
    """Open an entry's model, trained if it is not there."""
    if entry.know is not None:
        return SimulatedTarget(
            SimulatedModel(**zoo.tables(list(entry.know(zoo)))), eos_id=zoo.ids["[EOS]"]
        )
    from benchmarks.zoo.training import train_entry  # torch only where a model is trained

    return _loaded(zoo, train_entry(entry, zoo))


def _reference(entry: Entry, zoo: Zoo) -> TargetModel:
    """A model of the spare patients, of whom no other one knows anything."""
    if entry.know is not None:
        return SimulatedTarget(SimulatedModel(**zoo.tables([], taught=("spare",))))
    from benchmarks.zoo.training import train_entry

    spare = replace(entry, name="reference", kind="gpt2", recipe="sound", taught=("spare",))
    return _loaded(zoo, train_entry(spare, zoo))


def _loaded(zoo: Zoo, name: str) -> TargetModel:
    from checker.policy.documents import ModelSpec
    from checker.targets.backends.checkpoint import HuggingFaceBackend

    spec = ModelSpec(backend="huggingface", path=name, device="cpu")
    ids = zoo.ids
    return HuggingFaceBackend().open(spec, zoo.folder, pad_id=ids["[PAD]"], eos_id=ids["[EOS]"])


def _pauses(zoo: Zoo) -> set[int]:
    return {n for token, n in zoo.ids.items() if token.startswith("TIME//")}


def said(records: Sequence[Tokens], split: str, models: Mapping[str, TargetModel]) -> Arrays:
    """Return records and what models say of their tokens, one behind the other."""
    found: Arrays = _joined(f"{split}_tokens", records)
    for name, model in models.items():
        scores = model.score(records)
        for part in ("logprob", "mean", "std", "first"):
            found[f"{split}_{name}_{part}"] = np.concatenate([getattr(s, part) for s in scores])
    return found


def completed(records: Sequence[Tokens], split: str, model: TargetModel) -> Arrays:
    """Return what greedy decoding makes of the beginnings of records."""
    found: Arrays = {}
    for fraction in FRACTIONS:
        prompts = [one[: prefix_length(len(one), fraction)] for one in records]
        left = [len(one) - len(own) for one, own in zip(records, prompts, strict=True)]
        drawn = _drawn(model, prompts, sampler=_GREEDY, samples=1, horizon=max(left) + BEYOND)
        cut = [own[0][: max(4, n) + BEYOND] for own, n in zip(drawn, left, strict=True)]
        found |= _joined(f"{split}_greedy_{round(100 * fraction)}", cut)
    return found


def prefix_length(tokens: int, fraction: float) -> int:
    """Return how many tokens of a record are told: memaudit's rule."""
    return max(1, min(tokens - 1, int(tokens * fraction)))


def told(
    records: Sequence[Tokens], split: str, model: TargetModel, *, watch: set[int], pauses: set[int]
) -> Arrays:
    """Return continuations of those who have a class, one patient's behind the other's.

    As the toolkit has it: whatever the first events tell stays in the prompt.
    """
    having = [one for one in records if watch.intersection(one.tolist())]
    prompts = [one[: _behind_events(one, pauses)] for one in having]
    horizon = max(len(one) - len(own) for one, own in zip(having, prompts, strict=True))
    drawn = _drawn(model, prompts, sampler=_DRAWN, samples=TRAJECTORIES, horizon=horizon)
    return _joined(f"{split}_drawn", [one for own in drawn for one in own])


def _behind_events(record: Tokens, pauses: set[int]) -> int:
    events = np.flatnonzero([token not in pauses for token in record[FIRST:].tolist()])
    return int(FIRST + events[min(EVENTS_TOLD, len(events) - 1)])


def _drawn(
    model: TargetModel, prompts: Sequence[Tokens], *, sampler: Sampler, samples: int, horizon: int
) -> list[list[Tokens]]:
    draw: Callable[..., list[list[Tokens]]] = model.rollout
    return draw(
        prompts,
        keys=list(range(len(prompts))),
        samples=samples,
        sampler=replace(sampler, horizon_tokens=horizon),
    )


def _joined(name: str, sequences: Sequence[Tokens]) -> Arrays:
    return {
        name: np.concatenate([*sequences, np.empty(0, np.int32)]).astype(np.int32),
        f"{name}_lengths": np.array([len(one) for one in sequences], dtype=np.int64),
    }
