"""How alike two codes are: a vector for each token of the vocabulary, made once and gathered.

*lexical*, the default, needs no model, no network and no random number. A code is a bag of terms:
the words of its description (of its spelling, where it has none), its ancestors in the spelling
(``DIAGNOSIS``, ``DIAGNOSIS//ICD``, ...), its MEDS parents, and, for systems whose codes are
hierarchical (ICD), every prefix of the code: B20 shares ``B`` and ``B2`` with B24, which no reading
of their names would tell. In other systems neighbouring numbers mean nothing, and the code is one
term. Bins of one lab share all terms but the bin. TF-IDF weighs a term by its rarity in the
vocabulary, so that all diagnoses being diagnoses counts for little. Vectors stay sparse (about ten
terms a code): cosines are exact, and 40,000 codes take some twenty megabytes.

Otherwise `labels` is the folder of a sentence-transformers model, which reads the same texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from checker.canonical import digest, sha256_hex
from checker.codes import CodeReader, CodeSystem
from checker.errors import TargetError
from checker.json_text import read_json
from checker.records.cohort import Cohort
from checker.records.tokenization import Tokenizer

LEXICAL: Final[Literal["lexical"]] = "lexical"
_LEXICAL_VERSION: Final = 2
_PREFIXED: Final = frozenset({"icd10cm", "icd9cm", "icd10pcs"})
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class LabelVectors:
    """A vector for each token id.

    Args:
        vectors: [V, d], sparse or dense, of length 1, or 0 for a token that stands for no code.
    """

    vectors: sparse.csr_array | NDArray[np.float32]

    def cosines(
        self, first: NDArray[np.integer], second: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """Return the cosine of each pair of tokens: [a, b] in [-1, 1], 1 for a token and itself.

        Args:
            first: [a] ids.
            second: [b] ids.
        """
        one, other = self.vectors[first], self.vectors[second]
        cosine: NDArray[np.float64]
        if isinstance(one, np.ndarray):
            cosine = _unit(one) @ _unit(other).T
        else:
            cosine = (one @ other.T).toarray()
        # rounding must not keep a code from being like itself
        cosine[first[:, None] == second[None, :]] = 1.0
        return cosine.clip(-1.0, 1.0)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scale rows to length one in float64: float32 rows are so to seven digits only."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return exact / np.where(lengths > 0, lengths, 1.0)


def label_vectors(
    labels: str,
    *,
    cohort: Cohort,
    tokenizer: Tokenizer,
    code_systems: Iterable[tuple[str, CodeSystem]] = (),
    base: Path,
) -> LabelVectors:
    """Embed the vocabulary.

    Args:
        labels: "lexical", or the folder of a sentence-transformers model.
        cohort: knows descriptions and parents of codes.
        tokenizer: knows which code a token stands for.
        code_systems: a target's `codeSystems` as (glob with {code}, system).
        base: the folder that a path in `labels` is relative to.

    Raises:
        TargetError: the folder holds no model that can be used.
    """
    entries = list(_entries(cohort, tokenizer))
    if labels == LEXICAL:
        reader = CodeReader(code_systems)
        return LabelVectors(_lexical([_terms(entry, reader) for entry in entries]))
    from checker.targets.engine.label_encoder import embed_texts

    model = _sentence_model(base / labels)
    texts = ["" if entry is None else entry.text for entry in entries]
    found = [i for i, text in enumerate(texts) if text]
    embedded = embed_texts(model, [texts[i] for i in found])
    vectors = np.zeros((len(texts), embedded.shape[1]), dtype=np.float32)
    vectors[found] = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    return LabelVectors(vectors)


def labels_identity(labels: str, *, base: Path) -> str:
    """Return what decides the vectors besides cohort and tokenizer, for a job's digest.

    Raises:
        TargetError: there is no such folder.
    """
    if labels == LEXICAL:
        return f"{LEXICAL} {_LEXICAL_VERSION}"
    folder = base / labels
    _check_folder(folder)
    return digest(
        {
            path.relative_to(folder).as_posix(): sha256_hex(path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in {".json", ".safetensors", ".txt", ".model"}
        }
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of a token that stands for a code."""

    token: str
    code: str
    description: str | None
    parents: tuple[str, ...]

    @property
    def text(self) -> str:
        """In words: the description, else the spelling; with the bin where the token tells one."""
        name = self.description or " ".join(_WORD.findall(self.code))
        extra = self.token.removeprefix(self.code) if self.token != self.code else ""
        return " ".join([name, *_WORD.findall(extra)])


def _entries(cohort: Cohort, tokenizer: Tokenizer) -> Iterator[_Entry | None]:
    place = {code: i for i, code in enumerate(cohort.codes)}
    tokens = tokenizer.vocabulary.tokens
    for token, code in zip(tokens, tokenizer.vocabulary_codes(), strict=True):
        if token is None or code is None:
            yield None
            continue
        at = place.get(code)
        known = (None, ()) if at is None else (cohort.descriptions[at], cohort.parents[at])
        yield _Entry(token, code, *known)


# --- lexical ------------------------------------------------------------------------------------


def _terms(entry: _Entry | None, reader: CodeReader) -> list[str]:
    """Return the bag of terms of a token; kinds of terms are told apart by their first letter."""
    if entry is None:
        return []
    parts = entry.code.split("//")
    terms = [f"w {word.casefold()}" for word in _WORD.findall(entry.text)]
    terms += ["a " + "//".join(parts[:depth]) for depth in range(1, len(parts))]
    terms += [f"a {parent}" for parent in entry.parents]
    terms.append(f"t {entry.token}")  # what sets it apart from codes of the same description
    if entry.token != entry.code:
        terms.append(f"t {entry.code}")  # what bins of one code share
    for system, code in reader.read(entry.code, parents=entry.parents):
        if system in _PREFIXED:
            terms += [f"c {system} {code[:length]}" for length in range(1, len(code) + 1)]
        elif system != "drug":  # a drug's text is its words
            terms.append(f"c {system} {code}")
    return terms


def _lexical(bags: Sequence[list[str]]) -> sparse.csr_array:
    if not any(bags):
        return sparse.csr_array((len(bags), 1))
    from sklearn.feature_extraction.text import TfidfVectorizer  # of the extra `audit`

    model = TfidfVectorizer(analyzer=_as_it_is, dtype=np.float64)
    return sparse.csr_array(model.fit_transform(bags))


def _as_it_is(bag: list[str]) -> list[str]:
    return bag


# --- sentence-transformers ----------------------------------------------------------------------


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise TargetError(
            f"{folder}: there is no such folder; `labels` is 'lexical' or the folder of a local"
            " sentence-transformers model"
        )


def _sentence_model(folder: Path) -> Path:
    """Return the folder of the transformer itself, and refuse what would not be applied to it."""
    _check_folder(folder)
    listed = folder / "modules.json"
    if not listed.is_file():
        return folder
    transformer = folder
    for module in _json(listed):
        kind, path = str(module.get("type", "")).rpartition(".")[2], str(module.get("path", ""))
        if kind == "Transformer":
            transformer = folder / path
        elif kind == "Pooling":
            _check_pooling(folder / path / "config.json")
        elif kind != "Normalize":
            raise TargetError(
                f"{folder}: the model has a layer '{kind}', which phigate does not apply; use one"
                " of transformer, mean pooling and normalisation"
            )
    return transformer


def _check_pooling(path: Path) -> None:
    modes = [
        key for key, on in _json(path).items() if key.startswith("pooling_mode") and on is True
    ]
    if modes != ["pooling_mode_mean_tokens"]:
        raise TargetError(f"{path}: phigate takes the mean over tokens, and this model does not")


def _json(path: Path) -> Any:
    try:
        return read_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TargetError(f"{path}: cannot be read as JSON: {error}") from error
