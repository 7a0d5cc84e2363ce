"""Prompts with one identifier changed: another age, another sex, another race (METHODS §2, T5).

A variant replaces one token of the static prefix by another one of the same field and leaves all
others as they are. One that leaves the vocabulary, or changes no token, is not made; nor is any of
a field that the prompt does not tell. All variants of a prompt are drawn with the same random
numbers as the prompt itself, so that what differs is due to the change.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.attacks.identifier_perturbation.measure import AGE_OFFSETS, OTHER_VALUES, UNCHANGED
from checker.policy.documents import StaticField
from checker.records.tokenization import Tokenizer
from checker.targets import Progress, Sampler, TargetModel, Tokens
from checker.targets.channels import years_older
from checker.targets.horizons import continue_within

LARGEST_AGE = 150
PROMPTS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Variant:
    """A prompt with one identifier changed.

    Args:
        identifier: "age", or the name of a static field.
        change: years with their sign ("+2"), or the token that stands there now.
        tokens: [L] int32.
    """

    identifier: str
    change: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class PerturbedHits:
    """How often a prompt, or a variant of it, made the model name the class.

    Args:
        prompt: which of the prompts given.
        identifier, change: as in `Variant`, or those of `UNCHANGED`.
        samples: continuations drawn.
        hits: of these, how many hold a watched token.
    """

    prompt: int
    identifier: str
    change: str
    samples: int
    hits: int


class Perturber:
    """Makes the variants of prompts.

    Args:
        tokenizer: of the target.
        identifiers: "age" and static fields; those that the target does not declare are left out.
        counts: [ids] how often each token stands in the members' records. Of a static field only
            values that some member has are tried, the commonest first.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, identifiers: Iterable[str], counts: NDArray[np.integer]
    ) -> None:
        ids, template = tokenizer.vocabulary.ids, tokenizer.spec.age
        spelled = [] if template is None else range(LARGEST_AGE + 1)
        self._age_ids = {
            years: ids[token]
            for years in spelled
            if (token := (template or "").replace("{years}", str(years))) in ids
        }
        self._years = {number: years for years, number in self._age_ids.items()}
        self._spelling = tokenizer.vocabulary.tokens
        self._fields: dict[str, list[int]] = {}
        for name in identifiers:
            if name in tokenizer.spec.static:
                self._fields[name] = _values(tokenizer, name, counts=counts)
        self._has_age = template is not None and "age" in identifiers

    def variants(self, prompt: Tokens) -> list[Variant]:
        """Return the variants of one prompt: [L] int32 ids, ages first."""
        found = list(self._ages(prompt)) if self._has_age else []
        for name, values in self._fields.items():
            found += self._other_values(prompt, name, values)
        return found

    def _ages(self, prompt: Tokens) -> Iterable[Variant]:
        place = _first(prompt, self._years)
        if place is None:
            return
        own = self._years[int(prompt[place])]
        for offset in AGE_OFFSETS:
            token = self._age_ids.get(own + offset)
            if token is not None and token != prompt[place]:
                changed = years_older(_replaced(prompt, place, token), offset)
                yield Variant("age", f"{offset:+d}", changed)

    def _other_values(self, prompt: Tokens, name: str, values: list[int]) -> Iterable[Variant]:
        place = _first(prompt, values)
        if place is None:
            return
        others = [token for token in values if token != prompt[place]]
        for token in others[:OTHER_VALUES]:
            yield Variant(name, str(self._spelling[token]), _replaced(prompt, place, token))


def variants_at_most(identifiers: Sequence[str]) -> int:
    """Return how many prompts one becomes at most, the unchanged one too; "age" is among them."""
    return 1 + len(AGE_OFFSETS) + OTHER_VALUES * (len(identifiers) - 1)


def fresh_key(key: bytes) -> int:
    """Return what determines the random numbers of a prompt and all of its variants.

    It is another than that of the continuations by which the prompt was chosen, or the choice would
    be measured once more instead of the prompt.

    Args:
        key: of the unchanged prompt, as `checker.records.prompts.prompt_key` makes it.
    """
    digest = hashlib.blake2b(key, digest_size=8, person=b"phigate-perturb").digest()
    return int.from_bytes(digest, "little")


def perturbed_hits(
    target: TargetModel,
    prompts: Sequence[tuple[bytes, Tokens]],
    *,
    perturber: Perturber,
    watch: Sequence[int],
    samples: int,
    sampler: Sampler,
    max_length: int | None = None,
    progress: Progress | None = None,
) -> list[PerturbedHits]:
    """Continue prompts and their variants, and count which continuations name the class.

    Args:
        target: the model.
        prompts: key and tokens of each prompt.
        perturber: makes the variants.
        watch: token ids that make a hit.
        samples: continuations of each prompt and variant.
        sampler: how they are drawn.
        max_length: most tokens of prompt and continuation; None where nothing bounds them.
        progress: called with the number of rollout tokens done since the last call.

    Returns:
        One row for each prompt unchanged and for each of its variants, in order.
    """
    rows: list[PerturbedHits] = []
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        tried: list[tuple[int, Variant]] = []
        for number in range(start, min(start + PROMPTS_AT_ONCE, len(prompts))):
            tokens = prompts[number][1]
            tried.append((number, Variant(*UNCHANGED, tokens)))
            tried += [(number, variant) for variant in perturber.variants(tokens)]
        drawn = continue_within(
            target.rollout,
            [variant.tokens for _, variant in tried],
            keys=[fresh_key(prompts[number][0]) for number, _ in tried],
            samples=samples,
            sampler=sampler,
            max_length=max_length,
            progress=progress,
        )
        for (number, variant), continuations in zip(tried, drawn, strict=True):
            hits = sum(bool(np.isin(tokens, watch).any()) for tokens in continuations)
            rows.append(PerturbedHits(number, variant.identifier, variant.change, samples, hits))
    return rows


def _values(tokenizer: Tokenizer, name: str, *, counts: NDArray[np.integer]) -> list[int]:
    """Return the ids of a static field's values, the commonest first."""
    entry = tokenizer.spec.static[name]
    match = re.compile(fnmatch.translate(entry.codes if isinstance(entry, StaticField) else entry))
    ids = [
        number
        for token, number in tokenizer.vocabulary.ids.items()
        if match.match(token) and number < len(counts) and counts[number] > 0
    ]
    return sorted(ids, key=lambda number: (-int(counts[number]), number))


def _first(prompt: Tokens, ids: Iterable[int]) -> int | None:
    """Return where the first of some tokens stands in a prompt: a field's is in the prefix only."""
    places = np.flatnonzero(np.isin(prompt, list(ids)))
    return int(places[0]) if len(places) else None


def _replaced(prompt: Tokens, place: int, token: int) -> Tokens:
    changed = prompt.copy()
    changed[place] = token
    return changed
