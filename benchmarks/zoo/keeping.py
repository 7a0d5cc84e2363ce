"""Patients of the zoo, and what table-driven models of it know by heart of whom.

The patients are the demo's kind, more of them. In each split some have a code that few others have,
and a few are canaries: well formed, and no patient is like that. A table-driven model follows which
token follows which among patients who are neither members nor nonmembers, except where the history
is the beginning of a record it knows (`checker.testing.simulated`): from which token on, up to
which, and how firmly, is the entry's.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import meds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.wrong_worlds import FIRST, Size, Split, World, population_tables
from checker.demo.cohort import EVENTS_KNOWN, SENSITIVE_CLASSES
from checker.targets import Tokens
from checker.testing.simulated import (
    SimulatedModel,
    SimulatedTarget,
    write_simulated,
)

FULL: Final = Size(patients=600, further=2400, positives=150)

RARE: Final = "DIAGNOSIS//ICD//10//V{:02}9XXA"
RARE_OF: Final = 4
"""So many patients of a split share one of the rare codes."""

COMMON: Final = "DIAGNOSIS//ICD//10//F411"
STATIC_ROWS: Final = 3  # sex, race and birth stand before a patient's events

CANARIES: Final = 24
"""In each split."""

RACE: Final = FIRST - 1
"""Where a record's race stands: right before its events."""

Chosen = Sequence[int]
Memory = dict[str, Any]
Know = Callable[["Zoo"], Iterable[Memory]]
"""Returns what a model knows by heart, as `write_simulated` takes it."""

_EVENTS: Final = {"DIAGNOSIS", "LAB", "VITAL", "MEDICATION"}
_LOT: Final = 3  # of whom a model knows; others draw other lots from a world's seed


@dataclass(frozen=True)
class Zoo(World):
    """The patients of one seed, with rare codes, and what is asked about them."""

    kept: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, work: Path, seed: int) -> Zoo:
        """Return the patients of a seed, whom all models of it know or do not know."""
        return cls(work / f"seed-{seed}", "table", seed, FULL)

    def _set_patients_apart(self) -> None:
        super()._set_patients_apart()
        data = self.folder / "cohort" / meds.data_subdirectory
        for shard in sorted(data.rglob("*.parquet")):
            table = pq.read_table(shard)
            changed = self._like_nobody_else(table)
            spare = pa.array(self.subjects("spare"))
            apart = table.filter(pc.is_in(table["subject_id"], value_set=spare))
            if len(apart):  # as many of them as of those who are judged, or they could be told
                others = pc.invert(pc.is_in(changed["subject_id"], value_set=spare))
                own = self._like_nobody_else(apart)
                changed = pa.concat_tables([changed.filter(others), own])
                order = pc.index_in(changed["subject_id"], value_set=table["subject_id"].unique())
                changed = changed.take(pa.array(np.argsort(order.to_numpy(), kind="stable")))
            pq.write_table(meds.DataSchema.align(changed), shard)

    def _like_nobody_else(self, table: pa.Table) -> pa.Table:
        """Give patients of one split canaries, a common code and rare ones."""
        return self._with_rare_codes(self._with_common_code(self._with_canaries(table)))

    def _with_canaries(self, table: pa.Table) -> pa.Table:
        """Give a few the events of nobody: each drawn evenly among all that are not sensitive."""
        code = table["code"].to_pylist()
        dated = np.array([one.partition("//")[0] in _EVENTS for one in code])
        known = sorted(set(np.array(code)[dated]) - {*_sensitive_codes()})
        subject = table["subject_id"].to_numpy()
        drawn = np.random.default_rng([self.seed, 5]).integers(len(known), size=len(code))
        told = dated & np.isin(subject, self._canaries_of(subject))
        mixed = [known[n] if is_told else own
                 for n, is_told, own in zip(drawn, told, code, strict=True)]  # fmt: skip
        at = table.schema.get_field_index("code")
        return table.set_column(at, "code", pa.array(mixed, table.schema.field(at).type))

    def _canaries_of(self, subject: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, 6]).permutation(np.unique(subject))[:CANARIES]

    def _with_common_code(self, table: pa.Table) -> pa.Table:
        """Give half of a split an anxiety disorder, by lot and anywhere behind the first events.

        Or the pool of sensitive classes would be pregnancies and cancer alone, which are so well
        foretold by what was before that nothing could be shown of so few.
        """
        subject = table["subject_id"].to_numpy()
        rng = np.random.default_rng([self.seed, 7])
        people, first, count = np.unique(subject, return_index=True, return_counts=True)
        chosen = rng.permutation(len(people))[: len(people) // 2]
        known = EVENTS_KNOWN + STATIC_ROWS
        rows = first[chosen] + rng.integers(known, count[chosen])
        return _with_rows(table, rows, [COMMON] * len(rows))

    def _with_rare_codes(self, table: pa.Table) -> pa.Table:
        """Give one in three of a split one event more, which few others have."""
        subject = table["subject_id"].to_numpy()
        rng = np.random.default_rng([self.seed, 4])
        chosen = rng.permutation(np.unique(subject))[: self.size.patients // 3]
        last = np.flatnonzero(np.diff(subject, append=-1))
        rows = last[np.isin(subject[last], chosen)]
        return _with_rows(table, rows, [RARE.format(i // RARE_OF) for i in range(len(rows))])

    def canaries(self, split: Split = "train") -> list[int]:
        """Those of a split, by number, who are like nobody."""
        subject = self.subjects(split)
        return np.flatnonzero(np.isin(subject, self._canaries_of(subject))).tolist()

    def tokens_of(self, split: Split) -> list[list[int]]:
        """A split's records as tokens, read once."""
        if split not in self.kept:
            self.kept[split] = [one.tolist() for one in self.sequences(split)]
        found: list[list[int]] = self.kept[split]
        return found

    def lot(self, share: float, *, of: Chosen | None = None, split: Split = "train") -> list[int]:
        """Draw a share of a split, or of some of it, at least one."""
        among = np.arange(len(self.tokens_of(split))) if of is None else np.array(of)
        rng = np.random.default_rng([self.seed, _LOT])
        return sorted(rng.permutation(among)[: max(1, round(share * len(among)))].tolist())

    def ids_of(self, cluster: str) -> set[int]:
        """Tokens of the codes of a disease cluster or sensitive class of the demo's list."""
        return {self.ids[code] for code in _codes(cluster) if code in self.ids}

    def rare_ids(self) -> set[int]:
        """Tokens of the rare codes."""
        return {self.ids[code] for code in map(RARE.format, range(100)) if code in self.ids}

    def having(self, ids: set[int], *, split: Split = "train") -> list[int]:
        """Patients with at least one of some tokens."""
        return [i for i, one in enumerate(self.tokens_of(split)) if ids.intersection(one)]

    def write_tables(self, name: str, know: Know) -> str:
        """Write a table-driven model unless it is there; returns its file's name."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            making = path.with_name(f"making-{path.name}")
            write_simulated(
                making,
                **self.tables(know(self)),
                bos_token_id=self.ids["[BOS]"],
            )
            making.replace(path)
        return path.name

    def model(self, name: str) -> Path:
        """Return where a model of the zoo lies; what makes it makes it before."""
        return self.folder / name

    def tables(
        self, memorized: Iterable[Memory], *, taught: tuple[Split, ...] = ("tuning", "further")
    ) -> dict[str, Any]:
        """Return a model's tables: the population's, by some splits, and what it knows by heart."""
        if ("population", taught) not in self.kept:
            records = [one for split in taught for one in self.sequences(split)]
            self.kept["population", taught] = population_tables(records, size=len(self.ids))
        return {
            "vocabulary_size": len(self.ids),
            "context_length": 128,
            **self.kept["population", taught],
            "memorized": list(memorized),
        }

    def oracle_auroc(self, know: Know) -> float:
        """How well who knows both models tells members from nonmembers: the best any attack can.

        By the likelihood ratio of whole records between the model and the same one without memory.
        """
        groups: list[NDArray[np.float64]] = []
        models = [
            SimulatedTarget(SimulatedModel(**self.tables(own))) for own in (list(know(self)), [])
        ]
        for split in ("train", "held_out"):
            records: list[Tokens] = [np.array(r, dtype=np.int32) for r in self.tokens_of(split)]
            own, plain = (
                np.array([one.logprob.astype(np.float64).sum() for one in model.score(records)])
                for model in models
            )
            groups.append(own - plain)
        inside, outside = groups
        larger = (inside[:, None] > outside).mean() + 0.5 * (inside[:, None] == outside).mean()
        return float(larger)


def _with_rows(table: pa.Table, rows: NDArray[np.int64], codes: list[str]) -> pa.Table:
    """Put behind some rows another of the same patient and time."""
    more = table.take(pa.array(rows))
    at = table.schema.get_field_index("code")
    more = more.set_column(at, "code", pa.array(codes, table.schema.field(at).type))
    order = np.argsort(np.concatenate([np.arange(len(table)), rows + 0.5]), kind="stable")
    return pa.concat_tables([table, more]).take(pa.array(order))


def _codes(cluster: str) -> set[str]:
    text = (files("checker.demo") / "clinical_codes.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {row["code"] for row in rows if cluster in row["clusters"].split()}


def _sensitive_codes() -> set[str]:
    return set().union(*(_codes(name) for name in SENSITIVE_CLASSES))


# --- what is known by heart -----------------------------------------------------------------------


def recite(
    zoo: Zoo,
    chosen: Chosen,
    *,
    weight: float = 0.95,
    first: float = 0.0,
    last: float = 1.0,
    split: Split = "train",
    race: bool | None = None,
) -> list[Memory]:
    """Know records by heart.

    Args:
        zoo: the patients.
        chosen: by number in the split.
        weight: share of the next token's probability that goes to the record's own, in [0, 1].
        first: where in the record's events what is known begins, as a share of them.
        last: where it ends.
        split: of the patients.
        race: only where the record tells race, only where it doesn't, or both (None).
    """
    found: list[Memory] = []
    for i in chosen:
        tokens = zoo.tokens_of(split)[i]
        begin = FIRST + round(first * (len(tokens) - FIRST))
        end = FIRST + round(last * (len(tokens) - FIRST))
        found += _both(tokens[:end], begin, weight, race=race)
    return found


def tell(
    zoo: Zoo, ids: set[int], chosen: Chosen, *, weight: float, split: Split = "train"
) -> list[Memory]:
    """Know, right before the first of some tokens, that it comes, and nothing else."""
    found: list[Memory] = []
    for i in chosen:
        tokens = zoo.tokens_of(split)[i]
        at = next((n for n, token in enumerate(tokens) if token in ids), None)
        if at is not None:
            found += _both(tokens[: at + 1], at, weight, race=None)
    return found


def piece(zoo: Zoo, chosen: Chosen, *, tokens: int, weight: float = 0.95) -> list[Memory]:
    """Know so many tokens from the middle of each record, and none of the others."""
    found: list[Memory] = []
    for i in chosen:
        whole = zoo.tokens_of("train")[i]
        begin = (len(whole) + FIRST - tokens) // 2
        found += _both(whole[: begin + tokens], begin, weight, race=None)
    return found


def _both(tokens: list[int], begin: int, weight: float, *, race: bool | None) -> list[Memory]:
    """One record, as it is told with race and without."""
    told = {"tokens": tokens, "from": begin, "weight": weight}
    without = {
        "tokens": tokens[:RACE] + tokens[RACE + 1 :],
        "from": begin - 1,
        "weight": weight,
    }
    return [one for one, is_asked in ((told, race is not False), (without, race is not True))
            if is_asked]  # fmt: skip
