"""A Hugging Face model and a token table that the trainer's loader wrote, as a target."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from checker.errors import DataError, UsageError
from checker.importing import huggingface
from checker.importing.data_sets import describe_splits, narrow, read_facts
from checker.importing.draft import TargetDraft, relative
from checker.records.tokenization import KIND_SPECIAL, KIND_STATIC, load_vocabulary
from checker.records.tokenization.token_tables import TokenTable, read_table

KIND: Final = "token-table"
SHARE: Final = 0.99
"""Of the records, so many begin or end with what `specials` is to name."""


def draft_target(source: Path, *, data: Path | None, loader: Path | None, out: Path) -> TargetDraft:
    """Read a folder of a Hugging Face model and a token table.

    Args:
        source: as of `huggingface.draft_target`.
        data: the MEDS data set, which says who is in which split.
        loader: the table, a Parquet file.
        out: the folder that the target is written to.

    Raises:
        UsageError: the table or the data set is not given.
        DataError: the table is none, or holds patients of another data set.
        TargetError: the folder holds no model that can be audited.
    """
    if loader is None or data is None:
        raise UsageError(
            "a token table needs --loader TABLE.parquet (a row a token; docs/targets.md says which"
            " columns) and --data MEDS, which says who is in which split"
        )
    table = read_table(loader)
    draft = huggingface.draft_model(source, out=out)
    vocabulary = load_vocabulary((out / draft.tokenization["vocabulary"]).resolve())
    draft.tokenization["records"] = relative(loader, to=out)
    spelled = {number: token for token, number in vocabulary.ids.items()}
    _describe_specials(draft, table, spelled)
    facts = read_facts(data)
    used = {
        subject: split
        for subject in table.subject_id.tolist()
        if (split := facts.split_of.get(subject)) is not None
    }
    if not used:
        raise DataError("holds no patient of any split of the data set", file=loader)
    describe_splits(draft, facts)
    narrow(draft, data, facts, used, out=out)
    huggingface.describe_age(draft, vocabulary)
    huggingface.describe_static(draft, facts, {table.codes[i] for i in _static_codes(table)})
    draft.left.append(
        "expect.loss: the training loss in nats a token, or expect.tokens: sequences of 20 members;"
        " the table holds members and others alike, so it cannot show who was trained on."
    )
    return draft


def _describe_specials(draft: TargetDraft, table: TokenTable, spelled: dict[int, str]) -> None:
    specials = {}
    ends = {"bos": table.offsets[:-1], "eos": table.offsets[1:] - 1}
    for role, places in ends.items():
        special = places[table.kind[places] == KIND_SPECIAL]
        if len(special) < SHARE * len(places):
            draft.assumed.append(f"No one token {'begins' if role == 'bos' else 'ends'} records.")
            continue
        token, count = Counter(table.token[special].tolist()).most_common(1)[0]
        if count >= SHARE * len(places) and token in spelled:
            specials[role] = spelled[token]
    draft.tokenization["specials"] = specials


def _static_codes(table: TokenTable) -> NDArray[np.int32]:
    return np.unique(table.code[(table.kind == KIND_STATIC) & (table.code >= 0)])
