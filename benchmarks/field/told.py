"""Patients as a trainer's own loader tells them: a vocabulary and a token table.

A family is a function from a patient to tokens. What the tokens are of (which event, which code)
stands beside each, as `docs/targets.md` asks of a token table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from checker.records.cohort import Cohort
from checker.records.tokenization import STATIC_TIME
from checker.targets.channels import ChannelTokens, told_rule

DAY_US = 86_400_000_000
YEAR_DAYS = 365.25


@dataclass(frozen=True, slots=True)
class Patient:
    """One patient of a MEDS data set.

    Args:
        subject: number.
        born_us: microseconds since 1970-01-01.
        static: codes without a time.
        events: time in microseconds and code, in order; birth is none of them.
    """

    subject: int
    born_us: int
    static: tuple[str, ...]
    events: tuple[tuple[int, str], ...]

    def years(self, time_us: int) -> int:
        """Return the age at a time, in whole years."""
        return int((time_us - self.born_us) / DAY_US / YEAR_DAYS + 1e-9)

    def visits(self) -> list[list[tuple[int, int, str]]]:
        """Return events of one time together: number, time and code of each."""
        found: list[list[tuple[int, int, str]]] = []
        for number, (time, code) in enumerate(self.events):
            if not found or found[-1][0][1] != time:
                found.append([])
            found[-1].append((number, time, code))
        return found


class Token(NamedTuple):
    """One token; the columns of a token table beside id and patient, and what a model is told.

    `kind` is one of a table's kinds; any word that is none is a mark of the record's form.
    """

    text: str
    kind: str = "mark"
    event: int | None = None
    code: str | None = None
    time_us: int | None = None
    channels: Mapping[str, float] = {}


Tell = Callable[[Patient], Sequence[Token]]


def patients_of(cohort: Cohort) -> list[Patient]:
    """Return the members of a cohort, in its order."""
    records, codes = cohort.members, cohort.codes
    found = []
    for row, subject in enumerate(records.subject_id.tolist()):
        part = slice(records.offsets[row], records.offsets[row + 1])
        rows = list(zip(records.time_us[part].tolist(), records.code[part].tolist(), strict=True))
        dated = [(time, codes[code]) for time, code in rows if time != STATIC_TIME]
        (born,) = [time for time, code in dated if code == "MEDS_BIRTH"]
        found.append(
            Patient(
                subject,
                born,
                tuple(codes[code] for time, code in rows if time == STATIC_TIME),
                tuple((time, code) for time, code in dated if code != "MEDS_BIRTH"),
            )
        )
    return found


@dataclass
class Loader:
    """Gives tokens ids, and writes down what it made.

    Args:
        tell: how a patient is told.
        leading: tokens that have the first ids, in order.
        channels: names of what stands beside the ids.
    """

    tell: Tell
    leading: Sequence[str] = ()
    channels: Sequence[str] = ()
    ids: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.ids = {text: number for number, text in enumerate(self.leading)}

    def learn(self, patients: Sequence[Patient]) -> None:
        """Give every token of some patients an id, in the order of their spelling."""
        texts = {token.text for patient in patients for token in self.tell(patient)}
        for text in sorted(texts - self.ids.keys()):
            self.ids[text] = len(self.ids)

    def sequences(self, patients: Sequence[Patient]) -> list[Any]:
        """Return patients' ids, with channels where there are any."""
        found = []
        for patient in patients:
            tokens = self.tell(patient)
            ids = np.array([self.ids[token.text] for token in tokens], dtype=np.int32)
            rules = [told_rule(name) for name in self.channels]
            found.append(ChannelTokens(ids, self._values(tokens), rules) if rules else ids)
        return found

    def _values(self, tokens: Sequence[Token]) -> NDArray[np.float64]:
        return np.array([[one.channels[name] for one in tokens] for name in self.channels])

    def table(self, patients: Sequence[Patient]) -> pa.Table:
        """Return a row for each token."""
        rows = [(patient.subject, one) for patient in patients for one in self.tell(patient)]
        columns = {
            "subject_id": pa.array([subject for subject, _ in rows], pa.int64()),
            "token": pa.array([self.ids[one.text] for _, one in rows], pa.int32()),
            "event": pa.array([one.event for _, one in rows], pa.int32()),
            "kind": pa.array([one.kind for _, one in rows], pa.string()),
            "code": pa.array([one.code for _, one in rows], pa.string()),
            "time": pa.array([one.time_us for _, one in rows], pa.timestamp("us")),
        }
        more = {name: pa.array([one.channels[name] for _, one in rows]) for name in self.channels}
        return pa.table(columns | more)

    def write(self, folder: Path, patients: Sequence[Patient]) -> None:
        """Write `vocab.json` and `tokens.parquet`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps(self.ids))
        pq.write_table(self.table(patients), folder / "tokens.parquet")
