"""hf_ehr's CLMBR tokenizers (github.com/som-shahlab/hf_ehr): `tokenizer_config.json`, as a target.

Its file lists tokens in the order of their ids, behind seven special ones. An event becomes the
first token of its code whose closed range holds its value, the code's own where it has no value,
and none otherwise: a value of zero counts as none, for the loader takes zero for false. No token
tells a time. A record is `[CLS] [BOS] … [EOS]`.

Tokens of texts are not said by rules here, for phigate reads no texts of events; nor are other
tokenizers of the package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from checker.errors import DataError
from checker.importing.data_sets import describe_splits, read_facts
from checker.importing.draft import TargetDraft, parquet, relative, require_file
from checker.json_text import read_json
from checker.policy.documents import ModelSpec
from checker.targets.backends.checkpoint import HuggingFaceBackend

KIND: Final = "hf-ehr"
SPECIALS: Final = ("[BOS]", "[EOS]", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")
_NAMES = ("tokenizer_config_filtered.json", "tokenizer_config.json")


def draft_target(source: Path, *, data: Path | None, loader: Path | None, out: Path) -> TargetDraft:
    """Read a folder of hf_ehr.

    Args:
        source: holds `config.json` and safetensors, or a `.ckpt` that is still to be converted.
        data: the MEDS data set; None leaves it to be said.
        loader: the folder of the tokenizer, or its file; None for `source`.
        out: the folder that the target is written to.

    Raises:
        DataError: the tokenizer is of another kind, or has tokens that rules cannot tell.
        TargetError: the folder holds a model that cannot be audited.
    """
    entries = _entries(source if loader is None else loader)
    tokens = [*SPECIALS, *(_spelled(entry) for entry in entries)]
    ids = {token: number for number, token in enumerate(tokens)}  # of equal ones the last counts
    draft = TargetDraft(name=KIND, model={"path": "./model"}, tokenization={}, data={})
    if (source / "config.json").is_file():
        _check_model(source, len(tokens))
        draft.model["path"] = relative(source, to=out)
    else:
        draft.left.append(
            "model.path: `phigate target convert CHECKPOINT --config CONFIG --out model` writes it"
            " from a .ckpt of hf_ehr and the config.json of its architecture."
        )
    draft.files["vocabulary.json"] = json.dumps(ids, ensure_ascii=False).encode()
    draft.tokenization = {
        "vocabulary": "./vocabulary.json",
        "specials": {"bos": ["[CLS]", "[BOS]"], "eos": "[EOS]", "pad": "[PAD]"},
    }
    bins = _bins(entries)
    if bins is not None:
        draft.files["bins.parquet"] = bins
        draft.tokenization["values"] = {"bins": "./bins.parquet"}
    draft.assumed.append(
        "Records were made with add_special_tokens=True: they begin with [CLS] [BOS], end with"
        " [EOS], and an event that no token tells was left out."
    )
    draft.data["path"] = "./cohort" if data is None else relative(data, to=out)
    if data is None:
        draft.left.append("data.path: the MEDS data set (given here, --data reads more off it).")
    else:
        describe_splits(draft, read_facts(data))
    draft.left.append(
        "expect.tokens: sequences of 20 patients as the trainer's data loader made them; nothing"
        " else shows that these rules are his."
    )
    return draft


def _check_model(source: Path, tokens: int) -> None:
    """Check that the folder holds a model that has so many ids."""
    found = HuggingFaceBackend().describe(
        ModelSpec.model_validate({"path": str(source.resolve())}), Path("/")
    )
    if found.vocabulary_size < tokens:
        raise DataError(
            f"the model has {found.vocabulary_size} ids and the tokenizer {tokens} tokens; they do"
            " not belong together",
            file=source,
        )


def _entries(place: Path) -> Sequence[Mapping[str, Any]]:
    path = place
    if place.is_dir():
        named = [place / name for name in _NAMES]
        path = next((one for one in named if one.is_file()), named[-1])
    require_file(path, "hf_ehr keeps its tokens there; --loader names the tokenizer's folder")
    try:
        content = read_json(path.read_bytes(), infinite=True)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read as JSON: {error}", file=path) from error
    entries = content.get("tokens") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(one, dict) and isinstance(one.get("code"), str) for one in entries
    ):
        raise DataError("holds no list 'tokens' with a code each, as hf_ehr writes it", file=path)
    texts = sum(one.get("type") == "categorical" for one in entries)
    if texts:
        raise DataError(
            f"has {texts} tokens of texts, and phigate reads no texts of events; describe the"
            " records by a token table (--from token-table)",
            file=path,
        )
    strange = [one.get("type") for one in entries if one.get("type") not in _KINDS]
    if strange:
        raise DataError(f"has tokens of the unknown type {strange[0]!r}", file=path)
    return entries


_KINDS = ("code", "numerical_range")


def _spelled(entry: Mapping[str, Any]) -> str:
    if entry["type"] == "code":
        return str(entry["code"])
    told = entry["tokenization"]
    return f"{entry['code']} || {told['unit']} || {told['range_start']} - {told['range_end']}"


def _bins(entries: Sequence[Mapping[str, Any]]) -> bytes | None:
    """Return the ranges of each code as bins, or None where no code has any."""
    ranges: dict[str, list[tuple[np.float32, np.float32, str]]] = {}
    plain = {entry["code"] for entry in entries if entry["type"] == "code"}
    for entry in entries:
        if entry["type"] == "numerical_range":
            told = entry["tokenization"]
            low, high = _at_least(told["range_start"]), _at_most(told["range_end"])
            ranges.setdefault(entry["code"], []).append((low, high, _spelled(entry)))
    if not ranges:
        return None
    edges, tokens = [], []
    for code, own in ranges.items():
        cuts, named = _as_bins(own, without_value=code if code in plain else None)
        edges.append(cuts)
        tokens.append(named)
    return parquet(
        pa.table(
            {
                "code": list(ranges),
                "edges": pa.array(edges, pa.list_(pa.float32())),
                "tokens": pa.array(tokens, pa.list_(pa.string())),
            }
        )
    )


def _as_bins(
    ranges: Sequence[tuple[np.float32, np.float32, str]], *, without_value: str | None
) -> tuple[list[float], list[str | None]]:
    """Return ascending edges and the token of each interval between them.

    Args:
        ranges: lowest and highest value, and token; of several that hold a value the first counts.
        without_value: token of an event without a value, which zero counts as.
    """
    above = np.float32(np.inf)
    zero = np.float32(0.0)
    cuts = {zero, np.nextafter(zero, above)}
    for low, high, _ in ranges:
        cuts |= {low, np.nextafter(high, above)}
    ordered = sorted(cut for cut in cuts if np.isfinite(cut))
    tokens: list[str | None] = []
    for lowest in (np.float32("-inf"), *ordered):
        if lowest == 0:
            tokens.append(without_value)
            continue
        holds = (token for low, high, token in ranges if low <= lowest <= high)
        tokens.append(next(holds, None))
    return [float(cut) for cut in ordered], tokens


def _at_least(value: float) -> np.float32:
    """Return the smallest float32 that is no smaller than a number."""
    near = np.float32(value)
    return near if float(near) >= value else np.nextafter(near, np.float32(np.inf))


def _at_most(value: float) -> np.float32:
    """Return the largest float32 that is no larger than a number."""
    near = np.float32(value)
    return near if float(near) <= value else np.nextafter(near, np.float32(-np.inf))
