"""MEDS-EIC-AR: what its commands leave in their folders, as a target.

Its preprocessing (MEDS-transforms and meds-torch-data; github.com/mmcdermott/MEDS_EIC_AR) begins
and ends a timeline with codes of its own, tells the years between all distinct times of the source
as a code with a bin, appends the bin of a numeric value to its code as `//value_[LOW,HIGH)`, leaves
out codes and patients that are rare, and rows without a time. All bins that a record can hold are
codes of the final `metadata/codes.parquet`, where they are read from: edges there are spelled as
float32, the precision in which values are compared.

A bin that no patient of the training split had is no code of that table, and its events vanish.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from checker.errors import DataError
from checker.importing.data_sets import describe_splits, narrow, read_facts
from checker.importing.draft import TargetDraft, parquet, require_file
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import Records, Tokenizer, load_vocabulary

KIND = "meds-eic-ar"
_START, _END = "TIMELINE//START", "TIMELINE//END"
_DELTA = re.compile(r"TIMELINE//DELTA//(?P<unit>[a-z]+)")
_BIN = re.compile(r"(?P<code>.*)//value_\[(?P<low>[^,\[]+),(?P<high>[^,)]+)\)")
_SECONDS = {
    "seconds": 1,
    "minutes": 60,
    "hours": 3600,
    "days": 86_400,
    "weeks": 604_800,
    "months": 2_629_746.0,
    "years": 31_556_926.080_000_002,
}
"""Of its units of time, as its own table has them: the years are compared in float32."""

SAMPLE = 200
"""Patients whose sequences are handed on as an expectation."""


def draft_target(source: Path, *, data: Path | None, loader: Path | None, out: Path) -> TargetDraft:
    """Read a folder of `MEICAR_pretrain`.

    Args:
        source: its `output_dir`.
        data: the MEDS data set that `MEICAR_process_data` was given as `input_dir`.
        loader: the folder that it wrote as `output_dir`; None for the one that training names.
        out: the folder that the target is written to.

    Raises:
        DataError: a file is missing, or says something that phigate cannot.
    """
    if data is None:
        raise DataError(
            "what MEICAR_process_data was given as input_dir is needed too: --data FOLDER",
            file=source,
        )
    settings = _settings(source)
    config = settings["datamodule"]["config"]
    loader = Path(config["tensorized_cohort_dir"]) if loader is None else loader
    codes = _codes(loader)
    used, sequences = _sequences(loader)
    draft = TargetDraft(
        name=KIND,
        model={"path": "./model"},
        tokenization={"vocabulary": "./codes.parquet"},
        data={},
        files={"codes.parquet": (loader / "metadata" / "codes.parquet").read_bytes()},
    )
    _describe_tokens(draft, codes)
    _describe_window(draft, config)
    facts = read_facts(data)
    describe_splits(draft, facts)
    narrow(draft, data, facts, used, out=out)
    draft.files["sample.parquet"] = _sample(used, sequences)
    draft.expect = {"tokens": "./sample.parquet"}
    _choose_order(draft, data, sequences)
    draft.checkpoint = _checkpoint(source, settings, codes)
    return draft


def _settings(source: Path) -> Mapping[str, Any]:
    path = require_file(
        source / "resolved_config.yaml",
        "name the folder that MEICAR_pretrain wrote as its output_dir",
    )
    try:
        found = yaml.safe_load(path.read_text())
        config, model = found["datamodule"]["config"], found["lightning_module"]["model"]
        needed = (config["tensorized_cohort_dir"], model["gpt_kwargs"])
    except (yaml.YAMLError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError("is no configuration of MEICAR_pretrain", file=path) from error
    if not isinstance(needed[0], str) or not isinstance(needed[1], dict):
        raise DataError("is no configuration of MEICAR_pretrain", file=path)
    mode = str(config.get("static_inclusion_mode", "")).rpartition(".")[2].upper()
    if mode != "OMIT":
        raise DataError(
            f"static_inclusion_mode is {mode or 'not named'}, and phigate can say OMIT alone;"
            " describe the records by a token table",
            file=path,
        )
    settings: Mapping[str, Any] = found
    return settings


def _codes(loader: Path) -> dict[str, int]:
    path = require_file(
        loader / "metadata" / "codes.parquet",
        "name the folder that MEICAR_process_data wrote as its output_dir: --loader FOLDER",
    )
    try:
        table = pq.read_table(path, columns=["code", "code/vocab_index"])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot be read as its table of codes: {error}", file=path) from error
    pairs = zip(table["code"].to_pylist(), table["code/vocab_index"].to_pylist(), strict=True)
    return {code: number for code, number in pairs if code is not None and number is not None}


# --- tokens -------------------------------------------------------------------------------------


def _describe_tokens(draft: TargetDraft, codes: Collection[str]) -> None:
    rules = draft.tokenization
    for code in (_START, _END):
        if code not in codes:
            raise DataError(f"codes.parquet has no code '{code}', as MEDS-EIC-AR's has")
    rules["specials"] = {"bos": _START, "eos": _END}
    rules["undated"] = "omit"
    bins: dict[str, dict[tuple[str, str], str]] = {}
    for code in codes:
        if match := _BIN.fullmatch(code):
            bins.setdefault(match["code"], {})[match["low"], match["high"]] = code
    units = [(code, match["unit"]) for code in bins if (match := _DELTA.fullmatch(code))]
    if len(units) > 1:
        raise DataError(f"codes.parquet tells times in several units: {', '.join(bins)}")
    for code, unit in units:
        rules["time"] = _time_bins(bins.pop(code), seconds=_SECONDS[unit])
    if bins:
        draft.files["bins.parquet"] = _value_bins(bins)
        rules["values"] = {"bins": "./bins.parquet"}
    draft.assumed.append(
        "Codes that the vocabulary lacks, and values in bins that no patient of the training split"
        " had, were left out by the trainer, as MEDS-EIC-AR does."
    )


def _intervals(own: Mapping[tuple[str, str], str]) -> Iterator[tuple[np.float32, str | None]]:
    """Yield where the bins of a code end, ascending, with their tokens; the last end is infinite.

    What lies between bins that the table holds has no token.
    """
    spelled = {(np.float32(low), np.float32(high)): token for (low, high), token in own.items()}
    begin = np.float32("-inf")
    for (low, high), token in sorted(spelled.items()):
        if low > begin:
            yield low, None
        if high > low:  # quantiles may be equal; nothing lies between them
            yield high, token
            begin = high
    if begin < np.inf:
        yield np.float32("inf"), None


def _value_bins(bins: Mapping[str, Mapping[tuple[str, str], str]]) -> bytes:
    edges, tokens = [], []
    for own in bins.values():
        ends, named = zip(*_intervals(own), strict=True)
        edges.append([float(end) for end in ends[:-1]])
        tokens.append(list(named))
    return parquet(
        pa.table(
            {
                "code": list(bins),
                "edges": pa.array(edges, pa.list_(pa.float32())),
                "tokens": pa.array(tokens, pa.list_(pa.string())),
            }
        )
    )


def _time_bins(own: Mapping[tuple[str, str], str], *, seconds: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for end, token in _intervals(own):
        if end <= 0:
            continue
        entry: dict[str, Any] = {}
        if end < np.inf:
            last = _longest_below(end, unit_us=1e6 * seconds)
            entry["upTo"] = f"{last // 10**6}.{last % 10**6:06d}s"
        if token is not None:
            entry["token"] = token
        found.append(entry)
    return found


def _longest_below(edge: np.float32, *, unit_us: float) -> int:
    """Return the most microseconds that, in float32 units, lie below an edge."""
    low, high = 0, int(float(edge) * unit_us * 1.01) + 2
    while high - low > 1:
        middle = (low + high) // 2
        if np.float32(middle / unit_us) < edge:
            low = middle
        else:
            high = middle
    return low


_KEPT_ANYWAY = ["*MEDS_DEATH*", "*MEDS_BIRTH*", "*ADMISSION*", "*DISCHARGE*", "*REGISTRATION*"]
"""Codes that are exempt from the filter for rare ones, which puts them before others of a time."""

_ORDERS: tuple[dict[str, Any], ...] = (
    {"sameTimeFirst": _KEPT_ANYWAY, "gaps": "codes"},
    {"sameTimeFirst": _KEPT_ANYWAY, "gaps": "all"},
    {"sameTimeFirst": [*_KEPT_ANYWAY, "*TIME*"], "gaps": "all"},
    {"gaps": "codes"},
    {"gaps": "all"},
)
"""How versions of the pipeline differ: what is filtered before times are told, or behind it."""


def _choose_order(draft: TargetDraft, data: Path, sequences: Mapping[int, Sequence[int]]) -> None:
    """Take the rules under which most of the trainer's own sequences are made, and say how many."""
    names = {"members": "train", "nonmembers": "held_out", **draft.data}
    with tempfile.TemporaryDirectory(prefix="phigate-") as folder:
        base = Path(folder)
        for name, content in draft.files.items():
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_bytes(content)
        for name, end in draft.links.items():
            (base / name).symlink_to(end.resolve())
        if draft.data["path"] != "./cohort":
            names["path"] = str(data.resolve())
        cohort = load_cohort(DataSpec.model_validate(names), base=base)
        tried = [
            split.select(np.flatnonzero(np.isin(split.subject_id, list(sequences))))
            for split in (cohort.members, cohort.nonmembers, cohort.spare)
        ]
        vocabulary = load_vocabulary(base / "codes.parquet")
        agreeing = []
        for order in _ORDERS:
            spec = TokenizationSpec.model_validate({**draft.tokenization, **order})
            rules = Tokenizer(spec, vocabulary=vocabulary, base=base)
            agreeing.append(sum(_agreeing(rules, one, cohort.codes, sequences) for one in tried))
    best = int(np.argmax(agreeing))
    draft.tokenization |= _ORDERS[best]
    count = sum(map(len, tried))
    told = f"{agreeing[best]} of {count} sequences of the trainer's are made to the last token"
    if agreeing[best] == count:
        draft.assumed.append(f"{told}; sample.parquet holds them for the audit to see.")
    else:
        draft.left.append(f"Only {told}: `phigate target test` shows where the first differs.")


def _agreeing(
    rules: Tokenizer,
    records: Records,
    codes: Sequence[str],
    sequences: Mapping[int, Sequence[int]],
) -> int:
    """Count the patients of whom rules make what the trainer's loader made."""
    encoded = rules.encode(records, codes, partial=True)
    return sum(
        encoded.record(row).tokens.tolist() == list(sequences[subject])
        for row, subject in enumerate(records.subject_id.tolist())
    )


def _describe_window(draft: TargetDraft, config: Mapping[str, Any]) -> None:
    length = config.get("max_seq_len")
    if isinstance(length, int):
        draft.tokenization["maxLength"] = length
    strategy = str(config.get("seq_sampling_strategy", "")).rpartition(".")[2].upper()
    known = {"FROM_START": "first", "TO_END": "last"}
    draft.tokenization["window"] = known.get(strategy, "tiled")
    if strategy not in known:
        draft.assumed.append(
            f"Records of more than {length} tokens are scored in pieces from their beginning;"
            f" training drew pieces that begin anywhere ({strategy or 'no strategy named'})."
        )


# --- patients and model -------------------------------------------------------------------------


def _sequences(loader: Path) -> tuple[dict[int, str], dict[int, list[int]]]:
    """Return who is in which split of the loader's files, and sequences of some of each."""
    used: dict[int, str] = {}
    sequences: dict[int, list[int]] = {}
    counted: Counter[str] = Counter()
    folder = loader / "tokenization" / "event_seqs"
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise DataError(
            "holds no sequences; --loader names what MEICAR_process_data wrote", file=folder
        )
    for path in files:
        split = path.relative_to(folder).parts[0]
        try:
            table = pq.read_table(path, columns=["subject_id", "code"])
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"cannot be read: {error}", file=path) from error
        subjects = table["subject_id"].to_pylist()
        used |= dict.fromkeys(subjects, split)
        for subject, groups in zip(
            subjects[:SAMPLE], table["code"].slice(0, SAMPLE).to_pylist(), strict=True
        ):
            if counted[split] < SAMPLE:
                counted[split] += 1
                sequences[subject] = [code for group in groups for code in group]
    return used, sequences


def _sample(used: Mapping[int, str], sequences: Mapping[int, list[int]]) -> bytes:
    """Return the sequences of members, as an expectation has them."""
    sequences = {s: tokens for s, tokens in sequences.items() if used[s] == "train"}
    return parquet(
        pa.table(
            {
                "subject_id": pa.array(list(sequences), pa.int64()),
                "tokens": pa.array(list(sequences.values()), pa.list_(pa.int64())),
            }
        )
    )


def _checkpoint(
    source: Path, settings: Mapping[str, Any], ids: Mapping[str, int]
) -> tuple[Path, dict[str, Any]]:
    """Return the checkpoint, and the configuration that training gave the model.

    What the vocabulary decides training fills in when it starts, and no file says.
    """
    path = require_file(
        source / "best_model.ckpt", "training copies its best checkpoint there when it ends"
    )
    given = settings["lightning_module"]["model"]["gpt_kwargs"]
    config = {key: value for key, value in given.items() if value != "???"}
    config.pop("attention_head_dim", None)
    config.setdefault("vocab_size", max(ids.values()) + 1)
    config.setdefault("eos_token_id", ids[_END])
    heads, width = config.get("num_attention_heads"), config.get("hidden_size")
    if isinstance(heads, int) and heads and isinstance(width, int):
        config.setdefault("num_key_value_heads", heads)
        config.setdefault("head_dim", width // heads)
    return path, {"model_type": "llama", **config}
