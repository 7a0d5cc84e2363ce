"""Of how many members of models with and without memory does a window count as extractable?

    python -m benchmarks.extraction_criterion ../shared/data/synthea [--members 400] [--seeds 3]

A model is trained on members and asked for every window of so many tokens of their records and of
nonmembers', as `extractable_share` does. Who says how likely a window is without memory: tables of
nonmembers alone, or beside them a model that was trained on spare patients. `none` counts what they
find less likely than 1e-4; columns behind it count those of them that the model under audit finds
so many times likelier than either (METHODS §2, *T1, trajectory memorization*), `counts` as often as
phigate demands for such a length. `largest` is the largest such ratio of a window that comes out,
in nats, and `from` what phigate demands. Three recipes:

* stopped: ends when patients who are kept apart no longer gain, as a sound model does;
* longer: half as many passes again;
* partly: the same as stopped, but for one member in twenty, who was shown twenty times as often.

Records are the codes of a MEDS data set in their order, cut to so many tokens.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from transformers import GPT2LMHeadModel

from checker.attacks.trajectory_memorization import TrajectoryMemorizationParams
from checker.planning.extraction import COMMON, GAIN
from checker.planning.reference_patients import RECIPE
from checker.records.ngrams import NgramModel
from checker.records.tokenization import TokenizedRecords
from checker.records.tokenization.records import Coverage
from checker.stats.extraction import IMPOSSIBLE, Windows, least_log_probability, windows_of
from checker.targets.engine.reference import ReferenceModel, train_reference
from checker.targets.engine.training import Recipe, SpecialIds, train_model

Tokens = NDArray[np.int32]
Floats = NDArray[np.float64]

TOP_P = 0.95
LEAST = least_log_probability(
    queries=TrajectoryMemorizationParams().queries, chance=TrajectoryMemorizationParams().chance
)
REPEATED_SHARE, REPEATS = 0.05, 20
TIMES = (None, 1e2, 1e4, 1e6, 1e8, 1e10)


@dataclass(frozen=True, slots=True)
class Patients:
    """Records of a study, as tokens; the first is [BOS]."""

    members: list[Tokens]
    nonmembers: list[Tokens]
    spare: list[Tokens]
    validation: list[Tokens]
    vocabulary_size: int

    @property
    def special(self) -> SpecialIds:
        """The ids of what begins a record and of padding."""
        return SpecialIds(bos=self.vocabulary_size - 2, eos=None, pad=self.vocabulary_size - 1)


def patients(folder: Path, *, members: int, tokens: int, seed: int) -> Patients:
    """Deal the patients of a MEDS data set anew, by lot."""
    paths = sorted((folder / "data").rglob("*.parquet"))
    table = pa.concat_tables(
        [pq.read_table(path, columns=["subject_id", "code"]) for path in paths]
    )
    names, codes = np.unique(np.array(table["code"].to_pylist()), return_inverse=True)
    subjects = table["subject_id"].to_numpy()
    starts = np.flatnonzero(np.diff(subjects, prepend=subjects[0] - 1))
    whole = np.split(codes.astype(np.int32), starts[1:])
    bos = np.array([len(names)], dtype=np.int32)
    records = [np.concatenate([bos, one])[:tokens] for one in whole]
    order = np.random.default_rng(seed).permutation(len(records))
    ends = np.cumsum([members, members, members // 2, members // 4])
    inside, outside, spare, validation = (
        [records[i] for i in part] for part in np.split(order, ends)[:4]
    )
    return Patients(inside, outside, spare, validation, len(names) + 2)


SOUND = Recipe(
    max_epochs=30, learning_rate=3e-3, dropout=0.1, weight_decay=0.01, until_validated=True
)


def trained(
    study: Patients, *, tokens: int, seed: int, recipes: Sequence[str]
) -> dict[str, tuple[GPT2LMHeadModel, int]]:
    """Train a model by each recipe; beside it the number of members who were shown more often."""

    def fitted(shown: list[Tokens], how: Recipe) -> tuple[GPT2LMHeadModel, int]:
        model, result = train_model(
            shown,
            vocabulary_size=study.vocabulary_size,
            specials=study.special,
            context_length=tokens,
            seed=seed,
            recipe=how,
            validation=study.validation if how.until_validated else (),
        )
        return model, result.kept

    stopped, passes = fitted(study.members, SOUND)
    found = {"stopped": (stopped, 0)}
    repeated = round(REPEATED_SHARE * len(study.members))
    for name in recipes:
        if name != "stopped":
            more = 1.5 if name == "longer" else 1.0
            shown = study.members
            if name == "partly":
                shown = shown + shown[:repeated] * (REPEATS - 1)
            how = replace(SOUND, until_validated=False, max_epochs=max(1, round(more * passes)))
            found[name] = fitted(shown, how)[0], repeated if name == "partly" else 0
    return {name: found[name] for name in recipes}


def scores(
    model: GPT2LMHeadModel, records: Sequence[Tokens]
) -> list[tuple[Floats, Floats, Floats]]:
    """Return log p of each token under top-p and without, and if it ranks first; of each record."""
    found = []
    with torch.inference_mode():
        for record in records:
            ids = torch.from_numpy(record.astype(np.int64))
            shares = torch.softmax(model(ids[None]).logits[0, :-1].double(), -1)
            ranked, tokens = shares.sort(descending=True)
            kept = (ranked.cumsum(-1) - ranked) < TOP_P
            place = (tokens == ids[1:, None]).double().argmax(-1, keepdim=True)
            mass = (ranked * kept).sum(-1, keepdim=True)
            whole = ranked.gather(1, place)
            cut = whole * kept.gather(1, place) / mass
            logs = [one[:, 0].log().clamp(min=IMPOSSIBLE).numpy() for one in (cut, whole)]
            found.append((logs[0], logs[1], (place[:, 0] == 0).numpy()))
    return found


def references(study: Patients, *, seed: int) -> tuple[list[list[Floats]], list[Floats]]:
    """Return log p of each token of everybody: by each table of nonmembers, and by a model."""
    everybody = [*study.members, *study.nonmembers]
    tables = NgramModel.fitted(
        _as_records(study.nonmembers),
        vocabulary_size=study.vocabulary_size,
        rng=np.random.default_rng(seed),
    )
    own = [*[None] * len(study.members), *range(len(study.nonmembers))]
    count = max(1, len(study.spare) // 10)
    tensors = train_reference(
        study.spare[count:],
        study.spare[:count],
        known=np.arange(study.vocabulary_size, dtype=np.int32),
        recipe=RECIPE,
        seed=seed,
    )
    neural = [one.logprob.astype(np.float64) for one in ReferenceModel(tensors).score(everybody)]
    return tables.told(everybody, own=own), neural


def _as_records(records: Sequence[Tokens]) -> TokenizedRecords:
    """Return tokens as what tables are fitted on; nothing but tokens and offsets is read."""
    tokens = np.concatenate(records)
    nothing = np.zeros(len(tokens), dtype=np.int32)
    return TokenizedRecords(
        tokens=tokens,
        offsets=np.concatenate([[0], np.cumsum([len(one) for one in records])]),
        kind=nothing.astype(np.int8),
        event=nothing,
        code=nothing,
        field=nothing.astype(np.int16),
        time_days=nothing.astype(np.float32),
        age_years=np.zeros(len(records), dtype=np.float32),
        static_values={},
        coverage=Coverage(0, 0, {}),
    )


def looked_at(
    scored: Sequence[tuple[Floats, Floats, Floats]],
    said: Sequence[Sequence[Floats]],
    *,
    length: int,
) -> list[Windows]:
    """Return every window of everybody."""
    return [
        windows_of(
            [cut.astype(np.float32), whole.astype(np.float32)],
            first.astype(np.bool_),
            [one[number] for one in said],
            length=length,
            begin=1,
        )
        for number, (cut, whole, first) in enumerate(scored)
    ]


def extractable(windows: Sequence[Windows], *, times: float | None) -> NDArray[np.bool_]:
    """Return whose best window counts and comes out: [n] bool."""
    gain = -math.inf if times is None else math.log(times)
    best = [one.best(common=COMMON, gain=gain) for one in windows]
    return np.array([one.greedy or (one.log_probability or -math.inf) >= LEAST for one in best])


def gains(windows: Sequence[Windows]) -> Floats:
    """Return by how much the model finds what comes out likelier than every reference: [n] nats.

    -inf of whom nothing comes out that not anybody would write.
    """
    found = []
    for one in windows:
        comes_out = one.recited | (one.chances >= LEAST)
        likeliest = one.told.max(axis=0)
        counts = comes_out & (likeliest < math.log(COMMON))
        found.append((one.chances - likeliest)[counts].max(initial=-math.inf))
    return np.array(found)


def main() -> None:
    """Print the shares of those who are found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--members", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--lengths", type=int, nargs="+", default=[12, 24], help="of a window")
    parser.add_argument("--recipes", nargs="+", default=["stopped", "longer", "partly"])
    asked = parser.parse_args()
    print("shares in percent; largest gain of whose window comes out, in nats")
    heads = "".join(f"{'none' if one is None else f'{one:.0e}':>8}" for one in TIMES)
    print(f"seed recipe   who        references  tokens {heads}  counts  largest  from")
    for seed in range(1, asked.seeds + 1):
        study = patients(asked.cohort, members=asked.members, tokens=asked.tokens, seed=seed)
        tables, neural = references(study, seed=seed)
        models = trained(study, tokens=asked.tokens, seed=seed, recipes=asked.recipes)
        for recipe, (model, repeated) in models.items():
            scored = scores(model, [*study.members, *study.nonmembers])
            who = {
                "repeated": slice(0, repeated),
                "members": slice(repeated, len(study.members)),
                "nonmembers": slice(len(study.members), None),
            }
            for length, (name, said) in itertools.product(
                asked.lengths, (("tables", tables), ("and model", [*tables, neural]))
            ):
                windows = looked_at(scored, said, length=length)
                enough = GAIN * length
                hits = [extractable(windows, times=t) for t in (*TIMES, math.exp(enough))]
                largest = gains(windows)
                for group, part in who.items():
                    if len(largest[part]):
                        shown = "".join(f"{100 * one[part].mean():8.2f}" for one in hits)
                        print(
                            f"{seed:4} {recipe:8} {group:10} {name:12}{length:6} {shown}"
                            f" {largest[part].max():8.1f} {enough:5.1f}",
                            flush=True,
                        )


if __name__ == "__main__":
    main()
