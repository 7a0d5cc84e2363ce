"""A model of ETHOS's kind: diagnoses told in up to three tokens, long gaps in a repeated one.

`DIAGNOSIS//ICD//10//B9735` is `ICD//B97`, `ICD//4//3` and `ICD//5//5`, whose last two are parts of
many other codes. Between events stands the token of the gap, and for longer ones `=6mt` as often as
six months pass. A small GPT-2 is trained, kept as `.pt` with a compiled model's names, and made a
folder by `phigate target convert`.

Beside the controls: a table that leaves later parts out, and one in which `B97` is `Z00`, so that
no part of `B9735` is its own: nobody could see that the model names it, and that is said.

    python -m benchmarks.field.ethos --work field
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from benchmarks.field.study import CONTROLS, Family, Row, Taught, command
from benchmarks.field.told import DAY_US, Loader, Patient, Token

SPECIALS = {"pad": "PAD", "eos": "TIMELINE_END"}
DIAGNOSIS = "DIAGNOSIS//ICD//10//"
MONTH_DAYS = 30.4375
GAPS = ((1.0, "1d-1w"), (7.0, "1w-1mt"), (MONTH_DAYS, "1mt-3mt"), (3 * MONTH_DAYS, "3mt-6mt"))
LONG_DAYS, LONG = 6 * MONTH_DAYS, "=6mt"


def parts_of(code: str) -> list[str]:
    """Return the tokens of a code."""
    if not code.startswith(DIAGNOSIS):
        return [code]
    own = code.removeprefix(DIAGNOSIS)
    found = [f"ICD//{own[:3]}"]
    if own[3:]:
        found.append(f"ICD//4//{own[3]}")
    if own[4:]:
        found.append(f"ICD//5//{own[4:]}")
    return found


def intervals(days: float) -> list[str]:
    """Return the tokens of a gap."""
    if days >= LONG_DAYS:
        return [LONG] * round(days / LONG_DAYS)
    return [token for least, token in GAPS if days >= least][-1:]


def tell(patient: Patient) -> Sequence[Token]:
    """Tell a patient event by event."""
    age = patient.years(patient.events[0][0])
    found = [Token(code, "static", code=code) for code in patient.static]
    found.append(Token(f"AGE//{age}", "age"))
    before = patient.events[0][0]
    for number, (time, code) in enumerate(patient.events):
        found += [Token(text, "time") for text in intervals((time - before) / DAY_US)]
        found += [Token(text, "code", number, code, time) for text in parts_of(code)]
        before = time
    return [*found, Token(SPECIALS["eos"], "special")]


def train(taught: Taught) -> None:
    """Train a small GPT-2, keep it as `.pt`, and convert that."""
    import torch
    from safetensors.torch import load_file

    from checker.demo.training import OVERTRAINED, SOUND
    from checker.demo.training import train as train_model
    from checker.importing import convert

    leaks = taught.truth == "leaking"
    made, kept = taught.out.with_suffix(".trained"), taught.out.with_suffix(".pt")
    train_model(
        taught.sequences,
        vocabulary_size=len(taught.ids),
        bos_id=taught.ids[SPECIALS["eos"]],
        eos_id=taught.ids[SPECIALS["eos"]],
        pad_id=taught.ids[SPECIALS["pad"]],
        context_length=max(160, *map(len, [*taught.sequences, *taught.validation])),
        out=made,
        seed=taught.seed,
        recipe=replace(OVERTRAINED, target_loss=0.5) if leaks else SOUND,
        validation=() if leaks else taught.validation,
    )
    weights = load_file(made / "model.safetensors")
    torch.save({"model": {f"_orig_mod.{name}": one for name, one in weights.items()}}, kept)
    convert(kept, out=taught.out, config=made / "config.json")
    shutil.rmtree(made)
    kept.unlink()


# --- what is wrong --------------------------------------------------------------------------------


def _without_later_parts(table: pa.Table) -> pa.Table:
    rows = table.select(["subject_id", "event"]).to_pylist()
    is_first = [
        row["event"] is None or row != before
        for row, before in zip(rows, [None, *rows[:-1]], strict=True)
    ]
    return table.filter(pa.array(is_first))


def _merged(table: pa.Table) -> pa.Table:
    """Tell the first part of one code as that of another."""
    codes = table["code"].to_pylist()
    tokens = table["token"].to_pylist()
    ids: dict[str, int] = {}
    for token, code in zip(tokens, codes, strict=True):
        if code is not None:
            ids.setdefault(code.removeprefix(DIAGNOSIS)[:3], token)  # an event's first part
    merged = [ids["Z00"] if token == ids["B97"] else token for token in tokens]
    at = table.column_names.index("token")
    return table.set_column(at, "token", pa.array(merged, pa.int32()))


FAMILY = Family(
    name="ethos",
    loader=lambda: Loader(tell, leading=tuple(SPECIALS.values())),
    tokenization={
        "specials": SPECIALS,
        "static": {"sex": "GENDER//*", "race": "RACE//*"},
        "age": "AGE//{years}",
    },
    train=train,
    rows=(
        *CONTROLS,
        Row("without-later-parts", table=_without_later_parts),
        Row("merged-parts", table=_merged),
    ),
)

if __name__ == "__main__":
    sys.exit(command(FAMILY, __doc__))
