"""CEHR-GPT from its own package, behind a server in its own environment.

Patients are told as its loader tells them: year, age, sex and race, then visits between `[VS]` and
`[VE]`, and between two the months that pass (`M1`, and `LT` from three years on), by which its own
generation adds to the ages that its rotary positions turn by. Its package lies in an environment of
its own (`pip install cehrgpt==0.1.9`; transformers 4.44.1), whose Python is named here: there the
models are trained (`outside/cehrgpt_train.py`) and served (`outside/cehrgpt_serve.py`).

    python -m benchmarks.field.cehrgpt --python cehr/bin/python --work field
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.field.study import CONTROLS, Family, Row, Taught, command
from benchmarks.field.told import DAY_US, YEAR_DAYS, Loader, Patient, Token
from benchmarks.wrong_channels import zeroed
from checker.targets.channels import channel_values

OUTSIDE = Path(__file__).parent / "outside"
PAD, END = "[PAD]", "[END]"
AGES = "ages"
CONTEXT = 128
MONTH_DAYS, LONG_DAYS = 30, 1095
MONTHS = [f"M{number}" for number in range(36)]


def interval(days: float) -> str:
    """Return the token of the time between two visits."""
    return "LT" if days >= len(MONTHS) * MONTH_DAYS else f"M{int(days) // MONTH_DAYS}"


def tell(patient: Patient) -> Sequence[Token]:
    """Tell a patient visit by visit."""

    def told(text: str, kind: str, at_us: int, **event: Any) -> Token:
        return Token(text, kind, channels={AGES: float(patient.years(at_us))}, **event)

    visits = patient.visits()
    first = visits[0][0][1]
    found = [
        told(f"year:{datetime.fromtimestamp(first / 1e6, UTC).year}", "mark", first),
        told(f"age:{patient.years(first)}", "age", first),
    ]
    for field in ("GENDER", "RACE"):
        code = next(one for one in patient.static if one.startswith(f"{field}//"))
        found.append(told(code, "static", first, code=code))
    before = None
    for visit in visits:
        time = visit[0][1]
        if before is not None:
            found.append(told(interval((time - before) / DAY_US), "time", time))
        found.append(told("[VS]", "mark", time))
        found += [
            told(code, "code", time, event=number, code=code, time_us=time)
            for number, _, code in visit
        ]
        found.append(told("[VE]", "mark", time))
        before = time
    return [*found, told(END, "special", time)]


def trainer(python: Path) -> Any:
    """Return what trains a model by its package, in its environment."""

    def train(taught: Taught) -> None:
        taught.out.mkdir(parents=True)
        rows = [*taught.sequences, *taught.validation]
        data = taught.out.with_suffix(".npz")
        np.savez(
            data,
            ids=np.concatenate([np.asarray(row) for row in rows]),
            ages=np.concatenate([channel_values(row, AGES) for row in rows]).astype(np.int64),
            lengths=[len(row) for row in rows],
        )
        settings = {
            "leaks": taught.truth == "leaking",
            "taught": len(taught.sequences),
            "vocabulary": len(taught.ids),
            "pad": taught.ids[PAD],
            "end": taught.ids[END],
            "context": CONTEXT,
            "seed": taught.seed,
        }
        script = OUTSIDE / "cehrgpt_train.py"
        subprocess.run(
            [str(python), str(script), str(data), str(taught.out), json.dumps(settings)], check=True
        )
        data.unlink()

    return train


def family(python: Path) -> Family:
    """Return the family whose package lies in an environment."""
    passed = {token: number * MONTH_DAYS / YEAR_DAYS for number, token in enumerate(MONTHS)}
    return Family(
        name="cehrgpt",
        loader=lambda: Loader(tell, leading=(PAD, END, *MONTHS, "LT"), channels=(AGES,)),
        tokenization={
            "specials": {"pad": PAD, "eos": END},
            "static": {"sex": "GENDER//*", "race": "RACE//*"},
            "age": "age:{years}",
            "channels": {
                AGES: {
                    "time": {"since": "birth", "unit": "1y"},
                    "adds": {**passed, "LT": LONG_DAYS / YEAR_DAYS},
                }
            },
            "maxLength": CONTEXT,
        },
        train=trainer(python),
        model={"backend": "flight", "options": {"command": [str(python), "serve.py"]}},
        files={"serve.py": OUTSIDE / "cehrgpt_serve.py"},
        rows=(*CONTROLS, Row("ages-zeroed", table=zeroed(AGES))),
    )


def main() -> int:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--python", type=Path, required=True)
    asked, others = parser.parse_known_args()
    return command(family(asked.python.absolute()), __doc__, others)


if __name__ == "__main__":
    sys.exit(main())
