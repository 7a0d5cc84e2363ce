"""Does a model with channels pass when it leaks and its channels are described wrongly?

The patients are those of `wrong_instruments`; the model is a small GPT-2 that is told ages in
months and visits beside token ids (`aged_gpt`), over-trained until it repeats its members. Each
row bends one channel: at the loader (a token table), or in the rules. Whatever is not bent is true,
and nothing else is declared that could give the bend away. The rightly described are the controls.

    python -m benchmarks.wrong_channels --work /tmp/channels --out channels.jsonl
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from benchmarks.wrong_instruments import Outcome, audited
from benchmarks.wrong_worlds import SPECIALS, Size, Split, World
from checker.policy.documents import TokenizationSpec
from checker.records.tokenization import (
    KIND_EVENT,
    KIND_SPECIAL,
    KIND_STATIC,
    KIND_TIME,
    STATIC_TIME,
    TokenizedRecords,
    Tokenizer,
    load_vocabulary,
)
from checker.targets.channels import told_channels

CHANNELS: dict[str, Any] = {
    "ages": {"time": {"since": "birth", "unit": "30.4375d"}, "most": 1500},
    "visits": {"adds": {"TIME//*": 1}, "modulo": 2},
}
KINDS = {KIND_SPECIAL: "special", KIND_STATIC: "static", KIND_TIME: "time", KIND_EVENT: "code"}
Column = NDArray[np.float64]


@dataclass(frozen=True)
class AgedWorld(World):
    """The patients of a world, and models that are told their ages and visits."""

    @property
    def target_tokenization(self) -> TokenizationSpec:
        """The true description of how records become tokens and channels."""
        true = super().target_tokenization.model_dump(by_alias=True)
        return TokenizationSpec.model_validate({**true, "channels": CHANNELS})

    def target(self, model: str) -> dict[str, Any]:
        """Return the document of a rightly described target, for a folder two levels below."""
        document = super().target(model)
        document["spec"]["model"]["trustRemoteCode"] = True
        document["spec"]["tokenization"]["channels"] = copy.deepcopy(CHANNELS)
        return document

    def sequences(self, split: Split) -> list[Any]:
        """A split's sequences with their channels."""
        records = self.records(split)
        return [records.record(i).tokens for i in range(len(records))]

    def _train(self, out: Path, name: str) -> None:
        from benchmarks.aged_training import train_aged

        # what never saw the members is sound whatever it remembers, and so few patients suffice
        taught: tuple[Split, ...] = ("train",) if name == "leaking" else ("further",)
        train_aged(
            [one for split in taught for one in self.sequences(split)],
            validation=() if name == "leaking" else self.sequences("tuning")[:120],
            vocabulary_size=len(self.ids),
            special_ids={one: self.ids[SPECIALS[one]] for one in ("bos", "eos", "pad")},
            out=out,
            seed=self.seed,
        )

    @cached_property
    def table(self) -> pa.Table:
        """All audited records as the trainer's loader would write them down."""
        parts = [self._table(split) for split in ("train", "held_out")]
        return pa.concat_tables(parts)

    def _table(self, split: Split) -> pa.Table:
        cohort = self.cohort(split)
        return table_of(
            self.records(split), cohort.members.subject_id, cohort.codes, _times(cohort.members)
        )


def _times(records: Any) -> list[NDArray[np.int64]]:
    """Return each patient's times, his birth left out."""
    found = []
    for a, b in zip(records.offsets[:-1], records.offsets[1:], strict=True):
        own = records.time_us[a:b]
        own = own[own != STATIC_TIME]
        found.append(own[1:])  # whoever has a birth is born first
    return found


def table_of(
    records: TokenizedRecords,
    subject_id: NDArray[np.int64],
    codes: Sequence[str],
    times: Sequence[NDArray[np.int64]],
) -> pa.Table:
    """Write down tokens and channels a row a token, as a loader would."""
    subject = np.repeat(subject_id, np.diff(records.offsets))
    row = np.repeat(np.arange(len(records)), np.diff(records.offsets))
    is_event = records.kind == KIND_EVENT
    when = np.full(len(row), STATIC_TIME, dtype=np.int64)
    for at in np.flatnonzero(is_event).tolist():
        when[at] = times[row[at]][records.event[at]]
    columns = {
        "subject_id": pa.array(subject),
        "token": pa.array(np.asarray(records.tokens), pa.int32()),
        "event": pa.array(records.event, pa.int32(), mask=~is_event),
        "kind": pa.array([KINDS[int(kind)] for kind in records.kind], pa.string()),
        "code": pa.array(
            [codes[c] if c >= 0 else None for c in records.code.tolist()], pa.string()
        ),
        "time": pa.array(when, mask=~is_event).cast(pa.timestamp("us")),
    }
    return pa.table(columns | {n: pa.array(v) for n, v in told_channels(records.tokens).items()})


# --- what is bent ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChannelCase:
    """One way to describe a model.

    Args:
        name: of the row.
        bend: changes the document, whose records may be a table.
        table: changes the loader's table; None where records are made by rules.
        model: which of the world's.
        expected: the verdict that is right; None where anything is but a pass.
        sampled: beside sequences that are said to be the trainer's, made by this very description.
    """

    name: str
    bend: Callable[[dict[str, Any]], None] | None = None
    table: Callable[[pa.Table], pa.Table] | None = None
    model: str = "leaking"
    expected: str | None = None
    sampled: bool = False


def _as_it_is(table: pa.Table) -> pa.Table:
    return table


def changed_column(
    name: str, change: Callable[[Column, Column], Column]
) -> Callable[[pa.Table], pa.Table]:
    """Change a column: its values and whose each is, to its values."""

    def changed(table: pa.Table) -> pa.Table:
        own, subject = (table[one].to_numpy().astype(np.float64) for one in (name, "subject_id"))
        place = table.column_names.index(name)
        return table.set_column(place, name, pa.array(change(own, subject)))

    return changed


def zeroed(name: str) -> Callable[[pa.Table], pa.Table]:
    """Return what sets a column to 0 throughout."""
    return changed_column(name, lambda own, _: np.zeros_like(own))


def _shifted(by: int) -> Callable[[Column, Column], Column]:
    def change(own: Column, subject: Column) -> Column:
        other = np.roll(own, by)
        return np.where(np.roll(subject, by) == subject, other, own)

    return change


def of_another(own: Column, subject: Column) -> Column:
    """Every patient's values become those of the next one, repeated where he has fewer."""
    starts = np.flatnonzero(np.append(True, subject[1:] != subject[:-1]))
    parts = np.split(own, starts[1:])
    return np.concatenate(
        [np.resize(parts[(i + 1) % len(parts)], len(part)) for i, part in enumerate(parts)]
    )


def _set(channel: str, *path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    """Change one thing that the target says of a channel."""

    def bend(channels: dict[str, Any]) -> None:
        at = channels[channel]
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = to

    return bend


def _without(channel: str) -> Callable[[dict[str, Any]], None]:
    def bend(channels: dict[str, Any]) -> None:
        del channels[channel]

    return bend


def _constant(channel: str) -> Callable[[dict[str, Any]], None]:
    def bend(channels: dict[str, Any]) -> None:
        channels[channel] = {"sets": {"*": 0}}

    return bend


def _both(channels: dict[str, Any]) -> None:
    channels["ages"], channels["visits"] = {"sets": {"*": 0}}, {"sets": {"*": 0}}


def _of_table(name: str) -> tuple[ChannelCase, ...]:
    return (
        ChannelCase(f"{name}-zeroed", table=zeroed(name)),
        ChannelCase(f"{name}-late", table=changed_column(name, _shifted(1))),
        ChannelCase(f"{name}-early", table=changed_column(name, _shifted(-1))),
        ChannelCase(f"{name}-of-another", table=changed_column(name, of_another)),
        ChannelCase(
            f"{name}-other-unit", table=changed_column(name, lambda own, _: np.floor(own / 12))
        ),
    )


CASES = (
    ChannelCase("leaking", expected="fail"),
    ChannelCase("leaking-table", table=_as_it_is, expected="fail"),
    ChannelCase("sound", model="sound", expected="pass", sampled=True),
    ChannelCase("sound-table", model="sound", table=_as_it_is, expected="pass"),
    *_of_table("ages"),
    *_of_table("visits"),
    # the target and its loader agree, and both are wrong
    ChannelCase(
        "ages-in-years-both",
        bend=_set("ages", "time", "unit", to="1y"),
        table=changed_column("ages", lambda own, _: np.floor(own / 12 + 1e-9)),
    ),
    ChannelCase(
        "visits-late-both",
        bend=_set("visits", "takesEffect", to="after"),
        table=changed_column("visits", _shifted(1)),
    ),
    ChannelCase("ages-zeroed-rule", bend=_constant("ages")),
    ChannelCase("both-zeroed-rule", bend=_both),
    ChannelCase("ages-undeclared", bend=_without("ages")),
    ChannelCase("visits-undeclared", bend=_without("visits")),
    ChannelCase("ages-in-days-rule", bend=_set("ages", "time", "unit", to="1d")),
    ChannelCase("ages-in-weeks-rule", bend=_set("ages", "time", "unit", to="1w")),
    ChannelCase("ages-in-years-rule", bend=_set("ages", "time", "unit", to="1y")),
    ChannelCase("ages-since-first-rule", bend=_set("ages", "time", "since", to="first")),
    ChannelCase(
        "ages-since-first-sampled", bend=_set("ages", "time", "since", to="first"), sampled=True
    ),
    ChannelCase("visits-at-codes-sampled", bend=_set("visits", "adds", to={"*": 1}), sampled=True),
    ChannelCase("ages-late-rule", bend=_set("ages", "takesEffect", to="after")),
    ChannelCase("visits-late-rule", bend=_set("visits", "takesEffect", to="after")),
    ChannelCase("visits-counted-rule", bend=_set("visits", "modulo", to=1000)),
    ChannelCase("visits-begin-at-one-rule", bend=_set("visits", "start", to=1)),
    ChannelCase("visits-at-codes-rule", bend=_set("visits", "adds", to={"*": 1})),
    ChannelCase(
        "exchanged",
        bend=lambda channels: channels.update(
            ages=copy.deepcopy(CHANNELS["visits"]), visits=copy.deepcopy(CHANNELS["ages"])
        ),
    ),
)


def target_of(case: ChannelCase, world: AgedWorld) -> Path:
    """Write a case's target into a folder of its own, anew; returns the target's file."""
    folder = world.folder / "cases" / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    document = world.target(case.model)
    tokenization = document["spec"]["tokenization"]
    if case.bend is not None:
        case.bend(tokenization["channels"])
    if case.table is not None:
        del tokenization["time"]
        tokenization["records"] = "tokens.parquet"
        pq.write_table(case.table(world.table), folder / "tokens.parquet")
    if case.sampled:
        document["spec"]["expect"] = {"tokens": "sample.parquet"}
        pq.write_table(_sample(world, tokenization["channels"]), folder / "sample.parquet")
    path = folder / "target.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def _sample(world: AgedWorld, channels: dict[str, Any]) -> pa.Table:
    """Return the sequences of 40 members as some channels tell them."""
    true = world.target_tokenization.model_dump(by_alias=True)
    spec = TokenizationSpec.model_validate({**true, "channels": channels})
    tokenizer = Tokenizer(
        spec, vocabulary=load_vocabulary(world.folder / "vocab.json"), base=world.folder
    )
    cohort = world.cohort("train")
    found = tokenizer.encode(cohort.members, cohort.codes)
    rows = [found.record(i).tokens for i in range(40)]
    told = [told_channels(tokens) for tokens in rows]
    columns = {"subject_id": cohort.members.subject_id[:40], "tokens": [r.tolist() for r in rows]}
    return pa.table(columns | {name: [one[name].tolist() for one in told] for name in channels})


def measure(case: ChannelCase, world: AgedWorld) -> Outcome:
    """Audit a case as `phigate check` would."""
    return audited(
        case.name,
        world,
        lambda: target_of(case, world),
        policy=world.folder / "gate.yaml",
        expected=case.expected,
    )


def is_wrong(outcome: Outcome, leaking: Iterable[str] = ()) -> bool:
    """Whether a row ended otherwise than it must.

    Args:
        outcome: of a row.
        leaking: cells that fail where the leaking model is rightly described: none may pass.
    """
    if outcome.expected is None:
        return outcome.verdict == "pass" or bool(outcome.passing(leaking))
    return outcome.verdict != outcome.expected


def main() -> int:
    """Measure every case, a line each, and exit 1 where one ended otherwise than it must."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("channels"), help="models are kept here")
    parser.add_argument("--out", type=Path, default=Path("channels.jsonl"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patients", type=int, default=Size().patients)
    parser.add_argument("--only", choices=sorted(case.name for case in CASES), action="append")
    asked = parser.parse_args()
    size = Size(
        patients=asked.patients,
        further=4 * asked.patients,
        positives=min(80, asked.patients * 2 // 5),
        classes=1,
        score="loss",
    )
    world = AgedWorld(asked.work, "trained", asked.seed, size)
    asked.work.parent.mkdir(parents=True, exist_ok=True)
    world.prepare()
    failed = 0
    leaking: list[str] = []
    for case in CASES:
        if asked.only and case.name not in asked.only:
            continue
        outcome = measure(case, world)
        if case.name == "leaking":
            leaking = [name for name, (verdict, _) in outcome.cells.items() if verdict == "fail"]
        wrong = is_wrong(outcome, leaking)
        failed += wrong
        with asked.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
        mark = "WRONG " if wrong else ""
        line = f"{mark}{case.name:<28}{outcome.verdict:<14}{outcome.stage:<8}"
        print(f"{line}{outcome.seconds:>6} s  {outcome.reason}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
