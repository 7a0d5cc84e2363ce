"""A folder that `save_pretrained` wrote, with the vocabulary beside the model, as a target.

A checkpoint says what the model is, and of its records no more than which tokens there are. The
rest is read off the tokens' spelling and, where a data set is given, off its codes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import meds

from checker.errors import DataError, UsageError
from checker.importing.data_sets import DataSetFacts, describe_splits, read_facts
from checker.importing.draft import TargetDraft, relative
from checker.json_text import read_json
from checker.policy.documents import ModelSpec
from checker.records.tokenization import Vocabulary, check_fits, load_vocabulary
from checker.targets.backends.checkpoint import HuggingFaceBackend

KIND: Final = "huggingface"

_VOCABULARIES = (
    "vocab.json", "vocabulary.json", "vocab.csv", "vocabulary.csv", "codes.parquet",
    "metadata/codes.parquet", "tokenizer.json",
)  # fmt: skip

_SPELLED: Final[dict[str, tuple[str, ...]]] = {
    "bos": ("[BOS]", "<s>", "<bos>", "BOS", "<|startoftext|>", "TIMELINE//START", "[START]"),
    "eos": ("[EOS]", "</s>", "<eos>", "EOS", "<|endoftext|>", "TIMELINE//END", "[END]"),
    "pad": ("[PAD]", "<pad>", "PAD", "<|pad|>"),
    "unk": ("[UNK]", "<unk>", "UNK", "<|unk|>", "UNKNOWN"),
}
"""How special tokens are spelled where no file of the folder names them, likeliest first."""

_FIELDS: Final = {
    "GENDER": "sex",
    "SEX": "sex",
    "RACE": "race",
    "ETHNICITY": "ethnicity",
    "MARITAL_STATUS": "marital_status",
    "LANGUAGE": "language",
}
_AGE = re.compile(r"(?P<before>.*\bAGE\W*)(?P<years>[0-9]{1,3})(?P<after>\D*)", re.IGNORECASE)
_AGES_NEEDED = 20
_TIMES = re.compile(r"time|delta|gap|interval|\bW_?[0-9]|days?\b|hours?\b", re.IGNORECASE)
_EXAMPLES = 3


def draft_target(source: Path, *, data: Path | None, loader: Path | None, out: Path) -> TargetDraft:
    """Read a folder of a Hugging Face model.

    Args:
        source: holds `config.json`, safetensors and, there or above, the vocabulary.
        data: the MEDS data set of its patients; None leaves them to be said.
        loader: none is known of this kind.
        out: the folder that the target is written to.

    Raises:
        TargetError: the folder holds no model that can be audited.
        DataError: it holds no vocabulary of the model, or the data set is no MEDS.
        UsageError: a loader was given.
    """
    if loader is not None:
        raise UsageError(
            "--loader: a Hugging Face model has no folder of a data loader; if you mean a table of"
            " the tokens that yours made, use --from token-table"
        )
    draft = draft_model(source, out=out)
    vocabulary = load_vocabulary((out / draft.tokenization["vocabulary"]).resolve())
    if data is not None:
        draft.data["path"] = relative(data, to=out)
    _describe_specials(draft, vocabulary, source)
    facts = None if data is None else read_facts(data)
    describe_age(draft, vocabulary)
    if facts is None:
        draft.left.append("data.path: the MEDS data set (given here, --data reads more off it).")
    else:
        describe_splits(draft, facts)
        describe_static(draft, facts, set(vocabulary.ids))
        _describe_coverage(draft, vocabulary, facts)
    _leave_times(draft, vocabulary, facts)
    draft.left.append(
        "expect.tokens: sequences of 20 patients as the trainer's data loader made them; nothing"
        " else shows that these rules are his."
    )
    return draft


def draft_model(source: Path, *, out: Path) -> TargetDraft:
    """Begin a target with a model and its vocabulary.

    Raises:
        TargetError: the folder holds no model that can be audited.
        DataError: it holds no vocabulary of the model.
    """
    description = HuggingFaceBackend().describe(
        ModelSpec.model_validate({"path": str(source.resolve())}), Path("/")
    )
    vocabulary = _vocabulary(source, description.vocabulary_size)
    return TargetDraft(
        name=re.sub(r"[^a-z0-9]+", "-", source.resolve().name.lower()).strip("-") or "model",
        model={"path": relative(source, to=out)},
        tokenization={"vocabulary": relative(Path(vocabulary.file), to=out)},
        data={"path": "./cohort"},
    )


def _vocabulary(source: Path, size: int) -> Vocabulary:
    """Return the first vocabulary in the folder, or above, that the model has ids for."""
    tried = []
    for folder in (source, source.resolve().parent):
        for name in _VOCABULARIES:
            if not (folder / name).is_file():
                continue
            try:
                vocabulary = load_vocabulary(folder / name)
                check_fits(vocabulary, size)
                return vocabulary
            except DataError as error:
                tried.append(str(error))
    if tried:
        raise DataError("; ".join(tried))
    raise DataError(
        f"holds no vocabulary ({', '.join(_VOCABULARIES)}), nor does the folder above; put there"
        " what says which token has which id",
        file=source,
    )


def _describe_specials(draft: TargetDraft, vocabulary: Vocabulary, source: Path) -> None:
    named = _named_specials(source)
    specials: dict[str, Any] = {}
    for role, spellings in _SPELLED.items():
        own = named.get(role)
        found = own if own in vocabulary.ids else None
        guess = next((s for s in spellings if s in vocabulary.ids), None)
        if found is not None:
            specials[role] = found
        elif guess is not None:
            specials[role] = guess
            draft.assumed.append(f"'{guess}' is the {role.upper()} token, by its spelling.")
    draft.tokenization["specials"] = specials
    if "bos" not in specials:
        draft.assumed.append("Records begin with no BOS token: none is named, or spelled like one.")
    if "eos" not in specials:
        draft.assumed.append("Records end with no EOS token: none is named, or spelled like one.")


def _named_specials(source: Path) -> Mapping[str, str]:
    """Return special tokens as the tokenizer's own files name them."""
    found: dict[str, str] = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = source / name
        if not path.is_file():
            continue
        try:
            content = read_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"cannot be read as JSON: {error}", file=path) from error
        for role in _SPELLED if isinstance(content, dict) else ():
            value = content.get(f"{role}_token")
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                found[role] = value
    return found


def describe_age(draft: TargetDraft, vocabulary: Vocabulary) -> None:
    """Name the token of an age, where the vocabulary spells some dozens of them."""
    years: dict[tuple[str, str], set[int]] = {}
    for token in vocabulary.ids:
        if match := _AGE.fullmatch(token):
            years.setdefault((match["before"], match["after"]), set()).add(int(match["years"]))
    for (before, after), found in years.items():
        if len(found) >= _AGES_NEEDED:
            draft.tokenization["age"] = f"{before}{{years}}{after}"
            draft.assumed.append(
                f"'{before}{max(found)}{after}' tells completed years, behind BOS and before all"
                " else."
            )
            return


def describe_static(draft: TargetDraft, facts: DataSetFacts, told: Collection[str]) -> None:
    """Name the static fields among the codes that the model is told.

    Args:
        draft: takes them up.
        facts: of the data set.
        told: codes that have a token.
    """
    undated = sorted(facts.undated.intersection(told))
    static: dict[str, str] = {}
    for code in undated:
        prefix, slashes, _ = code.partition("//")
        field = _FIELDS.get(prefix.upper())
        if field and slashes and field not in static:
            static[field] = f"{prefix}//*"
    if static:
        draft.tokenization["static"] = static
        names = ", ".join(static)
        order = "" if "records" in draft.tokenization else " in this order"
        draft.assumed.append(f"Static facts stand before the record{order}: {names}.")
    others = [code for code in undated if code.partition("//")[0] not in _prefixes(static.values())]
    if others and "records" not in draft.tokenization:
        draft.assumed.append(
            f"{len(others)} further codes without a time ({_some(others)}) stand before the record"
            " too, in the order of the files; `undated: omit` leaves them out."
        )


def _prefixes(globs: Iterable[str]) -> set[str]:
    return {glob.partition("//")[0] for glob in globs}


def _describe_coverage(draft: TargetDraft, vocabulary: Vocabulary, facts: DataSetFacts) -> None:
    birth = meds.birth_code if "age" in draft.tokenization else None  # told as an age
    events = {code: count for code, count in facts.events.items() if code != birth}
    total = sum(events.values())
    known = sum(count for code, count in events.items() if code in vocabulary.ids)
    lacking = [code for code, _ in sorted(events.items(), key=lambda one: -one[1])
               if code not in vocabulary.ids]  # fmt: skip
    share = known / total if total else 0.0
    sentence = f"The vocabulary spells the codes of {share:.1%} of the {total:,} events as they are"
    if lacking:
        sentence += f", and not {_some(lacking)}"
    (draft.assumed if share >= 0.95 else draft.left).append(f"{sentence}.")


def _leave_times(draft: TargetDraft, vocabulary: Vocabulary, facts: DataSetFacts | None) -> None:
    """Name tokens that no rule so far explains."""
    known = set(draft.tokenization["specials"].values()) | set(facts.events if facts else ())
    age = draft.tokenization.get("age")
    free = [
        token
        for token in vocabulary.ids
        if token not in known and not (age and _AGE.fullmatch(token))
    ]
    times = [token for token in free if _TIMES.search(token)]
    if times:
        draft.left.append(
            f"tokenization.time: {len(times)} tokens seem to tell times ({_some(times)})."
        )
    others = [token for token in free if token not in set(times)]
    if facts is not None and others:
        draft.left.append(
            f"{len(others)} tokens stand for no code of the data set ({_some(others)}): of values"
            " (tokenization.values), of codes that it does not have, or of a record's form, which"
            " only a token table can tell."
        )


def _some(tokens: list[str]) -> str:
    shown = ", ".join(json.dumps(token, ensure_ascii=False) for token in tokens[:_EXAMPLES])
    return f"such as {shown}" if len(tokens) > _EXAMPLES else shown
