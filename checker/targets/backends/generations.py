"""Continuations that were drawn elsewhere, read from a file: models that answer nobody else.

phigate writes which prompts are to be continued and how (`target prompts`); whoever has the model
draws, and hands back a file. It is held against what was asked: the same prompts, as many samples
of each, ids that exist, nothing twice. That the model drew them, by lot and all of them, nobody
can see in a file, and scores are not in it; so what is found to leak fails, and nothing passes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow.json import ParseOptions, ReadOptions, read_json
from pydantic import Field, ValidationError

from checker.canonical import digest, file_sha256
from checker.errors import TargetError
from checker.evidence import write_atomically
from checker.json_text import MAX_DEPTH, too_deep_line
from checker.policy.documents import ModelSpec
from checker.policy.documents.elements import Element, Text
from checker.targets.backends.model_folder import hash_files, list_files
from checker.targets.protocol import (
    More,
    Progress,
    Sampler,
    TargetDescription,
    TargetInfo,
    Tokens,
    TokenScores,
    require_fit,
)
from checker.yaml import short

CAPABILITIES = frozenset({"samples"})

_PROMPTS: dict[str, pa.DataType] = {
    "prompt": pa.string(),
    "tokens": pa.list_(pa.int32()),
    "samples": pa.int32(),
    "horizon_tokens": pa.int32(),
    "temperature": pa.float64(),
    "top_p": pa.float64(),
    "key": pa.uint64(),
    "seed": pa.uint64(),
}
_DRAWS: dict[str, pa.DataType] = {
    "prompt": pa.string(),
    "sample": pa.int32(),
    "tokens": pa.list_(pa.int32()),
}
_LONGEST_LINE = 1 << 24
"""Bytes of a line of JSON: a million tokens."""

_LONGEST_SAYING = 300
"""Characters of what a reader says of a file."""

_JSON_LINES = (".jsonl", ".ndjson")

_LOT_FROM = 20
"""Prompts of more than one sample, from which on it is asked how many have samples all alike."""

_ALIKE = 0.9
"""Their greatest share. A model that recites all of its members has about half, for others who are
asked are no members; greedy decoding has all, and a file with a few draws by lot among it nearly.
"""


class GenerationsOptions(Element):
    """The files, and what no file of the model says."""

    prompts: Text = Field(
        description="what `phigate target prompts` wrote, relative to this file",
        examples=["./prompts.parquet"],
    )
    draws: Text = Field(
        description="parquet file or JSON Lines (.jsonl) with prompt, sample (from 0) and tokens, a"
        " row a continuation",
        examples=["./draws.parquet"],
    )
    vocabulary_size: Annotated[int, Field(ge=1)] = Field(
        description="number of token ids that the model knows", examples=[5000]
    )
    context_length: Annotated[int, Field(ge=2)] | None = Field(
        None, description="most tokens that it can see", examples=[2048]
    )


@dataclass(frozen=True, slots=True)
class AskedDraw:
    """A prompt to be continued.

    Args:
        tokens: ids of the prompt.
        key: of its random numbers.
        samples: how many continuations.
        sampler: how they are drawn.
    """

    tokens: Tokens
    key: int
    samples: int
    sampler: Sampler

    @property
    def name(self) -> str:
        """What prompt, key and sampler are together: no other prompt's draws bear this name."""
        one = self.sampler
        head = struct.pack(
            "<QQddq", self.key, one.seed, one.temperature, one.top_p, one.horizon_tokens
        )
        tokens = np.ascontiguousarray(self.tokens, dtype="<i4").tobytes()
        return hashlib.sha256(head + tokens).hexdigest()[:32]


def write_asked(asked: Sequence[AskedDraw], path: Path) -> None:
    """Write which prompts are to be continued, each once and with as many samples as anybody asks.

    The file is for its owner alone: prompts are of patients' records.

    Raises:
        EvidenceError: the file cannot be written.
    """
    most: dict[str, AskedDraw] = {}
    for one in asked:
        known = most.get(one.name)
        if known is None or one.samples > known.samples:
            most[one.name] = one
    rows = [
        {
            "prompt": name,
            "tokens": one.tokens.tolist(),
            "samples": one.samples,
            "horizon_tokens": one.sampler.horizon_tokens,
            "temperature": one.sampler.temperature,
            "top_p": one.sampler.top_p,
            "key": one.key,
            "seed": one.sampler.seed,
        }
        for name, one in sorted(most.items())
    ]
    content = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(_PROMPTS.items()))), content)
    write_atomically(path, content.getvalue().to_pybytes(), mode=0o600)


class GenerationsBackend:
    """Files of draws; `model.path` is what identifies the model: its weights, wherever it runs."""

    name: ClassVar[str] = "generations"
    options: ClassVar[type[Element]] = GenerationsOptions
    connecting: ClassVar[frozenset[str]] = frozenset({"prompts", "draws"})
    """The files' digests stand in the description instead."""

    def describe(self, spec: ModelSpec, base: Path) -> TargetDescription:
        """Describe a model by its files and options; the draws may not be there yet.

        Raises:
            TargetError: there is nothing at the path.
        """
        options, path = _options(spec), base / spec.path
        if not path.exists():
            raise TargetError(
                f"{path}: no such file or folder; model.path of generations is the model's weights,"
                " or a file that says which model it is"
            )
        files = hash_files({path.name: path} if path.is_file() else list_files(path))
        if not files:
            raise TargetError(f"{path}: holds no file, so nobody could say which model it is")
        given = [base / one for one in (options.prompts, options.draws)]
        return TargetDescription(
            backend=self.name,
            vocabulary_size=options.vocabulary_size,
            context_length=options.context_length,
            capabilities=CAPABILITIES,
            bos_token_id=None,
            files=files,
            sha256=digest(files),
            code=digest([file_sha256(one) for one in given])
            if all(one.is_file() for one in given)
            else None,
        )

    def open(
        self, spec: ModelSpec, base: Path, *, pad_id: int | None, eos_id: int | None
    ) -> RecordedModel:
        """Read the draws and hold them against what was asked.

        Raises:
            TargetError: a file is missing, or what is in it was not asked.
        """
        options = _options(spec)
        prompts = _read(base / options.prompts, _PROMPTS, "`phigate target prompts` writes it")
        draws = _read(base / options.draws, _DRAWS, "the model's owner draws it")
        info = TargetInfo(
            backend=self.name,
            vocabulary_size=options.vocabulary_size,
            context_length=options.context_length,
            capabilities=CAPABILITIES,
            device="elsewhere",
            dtype="unknown",
            microbatch_tokens=1,
            libraries={},
        )
        found = _checked(
            prompts, draws, path=base / options.draws, size=options.vocabulary_size, eos_id=eos_id
        )
        return RecordedModel(info, found, prompts=base / options.prompts)


class RecordedModel:
    """Hands out draws that are there.

    Args:
        info: as the target says it.
        draws: [samples] continuations by the name of the prompt.
        prompts: the file that says what was asked.
    """

    def __init__(self, info: TargetInfo, draws: dict[str, list[Tokens]], *, prompts: Path) -> None:
        self._info, self._draws, self._prompts = info, draws, prompts

    @property
    def info(self) -> TargetInfo:
        """What is known of the model."""
        return self._info

    def rollout(
        self,
        prompts: Sequence[Tokens],
        *,
        keys: Sequence[int],
        samples: int,
        sampler: Sampler,
        more: More | None = None,
        progress: Progress | None = None,
    ) -> list[list[Tokens]]:
        """Look continuations up; see `TargetModel`."""
        require_fit(prompts, info=self._info, horizon_tokens=sampler.horizon_tokens)
        found = []
        for number, (prompt, key) in enumerate(zip(prompts, keys, strict=True)):
            drawn = self._draws.get(AskedDraw(prompt, key, samples, sampler).name)
            wanted = samples
            if drawn is not None and more is not None and len(drawn) >= wanted:
                while further := more(number, drawn[:wanted]):
                    wanted += further
                    if wanted > len(drawn):
                        break
            if drawn is None or wanted > len(drawn):
                raise TargetError(
                    f"{self._prompts}: lacks a prompt, or samples of one, that this audit asks"
                    " about; it was written for another policy, target or data set, or a test draws"
                    " prompts that depend on earlier answers, which no file can hold"
                )
            found.append(drawn[:wanted])
            if progress is not None:
                progress(wanted * sampler.horizon_tokens)
        return found

    def score(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> list[TokenScores]:
        """Refuse: a file of draws says nothing of how likely they were."""
        raise TargetError("a file of draws has no log-probabilities")

    def embed(
        self, sequences: Sequence[Tokens], *, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Refuse: a file of draws has no hidden states."""
        raise TargetError("a file of draws has no hidden states")


def is_recorded(model: object) -> bool:
    """Whether nothing can be drawn anew, so that nobody compares draws with keys or batches.

    No model says so of itself: it is this backend's own, and has no scores that could be compared.
    """
    return type(model) is RecordedModel and model.info.capabilities == CAPABILITIES


def _options(spec: ModelSpec) -> GenerationsOptions:
    try:
        return GenerationsOptions.model_validate(spec.options or {})
    except ValidationError as error:  # a document is checked before; a library's caller may not be
        raise TargetError(f"model.options: {error.errors(include_url=False)[0]['msg']}") from error


def _read(path: Path, columns: dict[str, pa.DataType], who: str) -> pa.Table:
    is_json = path.suffix.casefold() in _JSON_LINES
    try:
        table = _read_lines(path, columns) if is_json else pq.read_table(path)
    except FileNotFoundError as error:
        raise TargetError(f"{path}: no such file; {who}") from error
    except (OSError, pa.ArrowException) as error:
        kind = "holds no JSON Lines" if is_json else "is no readable parquet file; JSON Lines end"
        kind += "" if is_json else f" in {' or '.join(_JSON_LINES)}"
        raise TargetError(f"{path}: {kind} ({_cut(error)})") from error
    for name, kind in columns.items():
        if name not in table.column_names:
            found = _cut(table.column_names)
            raise TargetError(f"{path}: has no column '{name}'; it has {found}")
        try:
            column = table[name].cast(kind)
        except pa.ArrowException as error:
            raise TargetError(f"{path}: column '{name}' is not of {kind}: {_cut(error)}") from error
        nulls = column.null_count
        if pa.types.is_list(kind):
            nulls += pc.list_flatten(column).null_count
        if nulls:
            raise TargetError(f"{path}: column '{name}' holds {nulls} nulls; each row has a value")
        table = table.set_column(table.column_names.index(name), name, column)
    return table.select(list(columns))


def _read_lines(path: Path, columns: dict[str, pa.DataType]) -> pa.Table:
    """Read an object a line; a line may be long, and names that look like dates stay names."""
    with path.open("rb") as file:  # Arrow's reader calls itself at every bracket, and has no bound
        if (line := too_deep_line(_lines(file, path))) is not None:
            raise TargetError(f"{path}: line {line} nests deeper than {MAX_DEPTH} levels")
    return read_json(
        path,
        read_options=ReadOptions(block_size=_LONGEST_LINE),
        parse_options=ParseOptions(explicit_schema=pa.schema(columns)),
    )


def _lines(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, none of which may be longer than Arrow takes at once."""
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise TargetError(f"{path}: line {number} is longer than {_LONGEST_LINE:,} bytes")
        yield line


def _cut(said: object) -> str:
    """Cut what is said of a file to what a sentence can hold, for it repeats what the file says."""
    text = str(said)
    return text if len(text) <= _LONGEST_SAYING else f"{text[:_LONGEST_SAYING]}..."


def _checked(
    prompts: pa.Table, draws: pa.Table, *, path: Path, size: int, eos_id: int | None
) -> dict[str, list[Tokens]]:
    """Return the draws by prompt and sample, if they are those that were asked."""
    asked = {row["prompt"]: row for row in prompts.to_pylist()}
    for name, row in asked.items():
        sampler = Sampler(row["temperature"], row["top_p"], row["horizon_tokens"], row["seed"])
        if AskedDraw(np.array(row["tokens"], np.int32), row["key"], 0, sampler).name != name:
            raise TargetError(
                f"{path}: the prompts that were asked were changed (prompt {name}); write them anew"
            )
    names, samples = draws["prompt"].to_pylist(), draws["sample"].to_pylist()
    flat: Any = pc.list_flatten(draws["tokens"]).to_numpy()
    ends = np.cumsum(pc.list_value_length(draws["tokens"]).to_numpy())
    found: dict[str, dict[int, Tokens]] = {name: {} for name in asked}
    for row, (name, sample, tokens) in enumerate(
        zip(names, samples, np.split(flat, ends)[: len(names)], strict=True), start=1
    ):
        own = found.get(name)
        problem = None
        if own is None:
            problem = f"of the prompt {short(name)}, which was not asked"
        elif not 0 <= sample < asked[name]["samples"]:
            problem = f"sample {sample}, where 0 to {asked[name]['samples'] - 1} were asked"
        elif sample in own:
            problem = f"sample {sample} of the prompt {name} for the second time"
        elif len(tokens) > asked[name]["horizon_tokens"]:
            problem = f"{len(tokens)} tokens, beyond the horizon of {asked[name]['horizon_tokens']}"
        elif len(tokens) and not 0 <= tokens.min() <= tokens.max() < size:
            problem = f"a token that is none of the {size} ids"
        elif eos_id is not None and (tokens == eos_id).any():
            problem = f"the token {eos_id}, which ends a continuation and is left out of it"
        if problem is not None or own is None:
            raise TargetError(f"{path}: row {row} holds {problem}")
        own[sample] = tokens.astype(np.int32)
    for name, own in found.items():
        if len(own) < asked[name]["samples"]:
            raise TargetError(
                f"{path}: holds {len(own)} of {asked[name]['samples']} samples of the prompt {name}"
            )
    _check_lot(found, path)
    return {name: [own[sample] for sample in sorted(own)] for name, own in found.items()}


def _check_lot(found: dict[str, dict[int, Tokens]], path: Path) -> None:
    """Refuse draws that were not by lot: of hardly any prompt a sample differs from the first."""
    several = [own for own in found.values() if len(own) > 1]
    alike = [own for own in several if len({one.tobytes() for one in own.values()}) == 1]
    if len(several) >= _LOT_FROM and len(alike) > _ALIKE * len(several):
        raise TargetError(
            f"{path}: all samples of a prompt are the same, for {len(alike)} of {len(several)}"
            " prompts, as greedy decoding gives them; draw by lot, with the temperature that is"
            " asked"
        )
