"""EHRMamba2, the architecture of the paper whose tests phigate follows, on its token layout.

A small `Mamba2ForCausalLM` reads visits: `[VS]` codes `[VE]`, and between two the token of the
weeks (`[W_n]`, below four), the months (`[M_n]`) or a long time (`[LT]`), as Odyssey's loader tells
them; its embeddings of ages and segments, which its causal Mamba 2 does not have, are left out.
Each model is audited under the policy of `wrong_worlds` and under the paper's six tests.

    python -m benchmarks.field.ehrmamba2 --work field
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.field.study import CONTROLS, Family, Row, Taught, command
from benchmarks.field.told import DAY_US, Loader, Patient, Token

SPECIALS = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[EOS]", "unk": "[UNK]"}
WIDTH = 96
PAPER = "paper-t1-t6@1"


def interval(days: float) -> str:
    """Return the token of the time between two visits."""
    if days < 28:
        return f"[W_{int(days // 7)}]"
    return f"[M_{int(days // 30.4375)}]" if days < 365.25 else "[LT]"


def tell(patient: Patient) -> Sequence[Token]:
    """Tell a patient visit by visit."""
    sex = next(code for code in patient.static if code.startswith("GENDER//"))
    visits = patient.visits()
    found = [
        Token("[CLS]", "special"),
        Token(f"AGE//{patient.years(visits[0][0][1])}", "age"),
        Token(sex, "static", code=sex),
    ]
    before = None
    for visit in visits:
        time = visit[0][1]
        if before is not None:
            found.append(Token(interval((time - before) / DAY_US), "time"))
        found.append(Token("[VS]"))
        found += [Token(code, "code", number, code, time) for number, _, code in visit]
        found.append(Token("[VE]"))
        before = time
    return [*found, Token("[EOS]", "special")]


def train(taught: Taught) -> None:
    """Train a small Mamba 2 with a head."""
    from transformers import Mamba2Config, Mamba2ForCausalLM

    from checker.demo.training import OVERTRAINED, SOUND
    from checker.demo.training import train as train_model

    bos, eos, pad = (taught.ids[SPECIALS[name]] for name in ("bos", "eos", "pad"))
    config = Mamba2Config(
        vocab_size=len(taught.ids),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        state_size=16,
        expand=2,
        head_dim=48,
        num_heads=4,
        n_groups=1,
        chunk_size=32,
        initializer_range=0.08,
        tie_word_embeddings=True,
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=pad,
    )

    def make() -> Any:
        return Mamba2ForCausalLM(config)

    leaks = taught.truth == "leaking"
    train_model(
        taught.sequences,
        vocabulary_size=len(taught.ids),
        context_length=max(map(len, [*taught.sequences, *taught.validation])),
        out=taught.out,
        seed=taught.seed,
        # a third of these tokens is form, which costs nothing: the loss of who repeats is lower
        recipe=replace(OVERTRAINED, target_loss=0.5) if leaks else SOUND,
        validation=() if leaks else taught.validation,
        make=make,
        bos_id=bos,
        eos_id=eos,
        pad_id=pad,
    )


FAMILY = Family(
    name="ehrmamba2",
    loader=lambda: Loader(tell, leading=tuple(SPECIALS.values())),
    tokenization={
        "specials": SPECIALS,
        "static": {"sex": "GENDER//*"},
        "age": "AGE//{years}",
        "maxLength": 128,
    },
    train=train,
    rows=(
        *CONTROLS,
        # which demands nothing, so that figures tell and no verdict
        Row("leaking-paper", expected="pass", policy=PAPER),
        Row("sound-paper", model="sound", expected="pass", policy=PAPER),
    ),
)

if __name__ == "__main__":
    sys.exit(command(FAMILY, __doc__))
