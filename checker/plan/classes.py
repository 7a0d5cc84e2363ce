"""Attribute classes against this data set and this model's vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from checker.codes import RANK_STRONG, CodeReader, find_matches, match_codes
from checker.cohort import Cohort
from checker.errors import DocumentError
from checker.policy import Located
from checker.policy.classes import class_matcher
from checker.policy.documents import AuditTarget, LeakagePolicy
from checker.tokenization import Tokenizer

__all__ = ["ClassRanks", "match_classes", "unmatched_classes"]


@dataclass(frozen=True, slots=True)
class ClassRanks:
    """How strongly each code stands for a class; ranks as in `checker.codes`.

    Args:
        in_data: [codes of the data set] int8; any rank leaves the prompt, `strong` and
            `definitive` make a positive.
        in_vocabulary: [tokens of the model] int8; `strong` and `definitive` make a hit.
        unmatched: values of the policy that match no code of the data set.
    """

    in_data: NDArray[np.int8]
    in_vocabulary: NDArray[np.int8]
    unmatched: list[str]

    @property
    def removed(self) -> NDArray[np.bool_]:
        """Codes that leave the prompt: all tiers, and proxies."""
        return self.in_data > 0

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Codes that make a patient positive."""
        return self.in_data >= RANK_STRONG

    @property
    def watch(self) -> list[int]:
        """Token ids that make a continuation a hit."""
        return np.flatnonzero(self.in_vocabulary >= RANK_STRONG).tolist()


def match_classes(
    policy: Located[LeakagePolicy],
    target: Located[AuditTarget],
    *,
    cohort: Cohort,
    tokenizer: Tokenizer,
) -> dict[str, ClassRanks]:
    """Match the classes that controls use, by name.

    Raises:
        DocumentError: a class matches no definitive or strong code of the data or of the
            vocabulary. It would be found to leak nothing.
    """
    ranks = _ranks(policy, target, cohort=cohort, tokenizer=tokenizer)
    _refuse_empty(policy, ranks, data_set=cohort.name)
    return ranks


def unmatched_classes(
    policy: Located[LeakagePolicy],
    target: Located[AuditTarget],
    *,
    cohort: Cohort,
    tokenizer: Tokenizer,
) -> list[str]:
    """Return the names of classes in use that match nothing in the data or the vocabulary."""
    ranks = _ranks(policy, target, cohort=cohort, tokenizer=tokenizer)
    return [name for name, found in ranks.items() if not (found.counted.any() and found.watch)]


def _ranks(
    policy: Located[LeakagePolicy],
    target: Located[AuditTarget],
    *,
    cohort: Cohort,
    tokenizer: Tokenizer,
) -> dict[str, ClassRanks]:
    spec = policy.document.spec
    used = dict.fromkeys(c.attribute_class for c in spec.controls.values() if c.attribute_class)
    matchers = {name: class_matcher(spec.attribute_classes[name]) for name in used}
    reader = CodeReader([(s.match, s.system) for s in target.document.spec.code_systems])
    in_data = find_matches(
        matchers,
        cohort.codes,
        reader=reader,
        descriptions=cohort.descriptions,
        parents=cohort.parents,
    )
    # a token is matched as the code it stands for, with what the data set says of that code
    place = {code: i for i, code in enumerate(cohort.codes)}
    spelled = tokenizer.vocabulary_codes()
    places = [place.get(code, -1) if code is not None else -1 for code in spelled]
    in_vocabulary = match_codes(
        matchers,
        [code or "" for code in spelled],
        reader=reader,
        descriptions=[cohort.descriptions[i] if i >= 0 else None for i in places],
        parents=[cohort.parents[i] if i >= 0 else () for i in places],
    )
    return {
        name: ClassRanks(found.ranks, in_vocabulary[name], found.unmatched)
        for name, found in in_data.items()
    }


def _refuse_empty(
    policy: Located[LeakagePolicy], ranks: dict[str, ClassRanks], *, data_set: str
) -> None:
    problems = []
    for name, found in ranks.items():
        path = ("spec", "attributeClasses", name)
        if not found.counted.any():
            message = (
                f"attribute class '{name}' matches no definitive or strong code among the"
                f" {len(found.in_data)} codes of {data_set}; check its code systems, or say in the"
                " target's codeSystems how this data set spells them"
            )
            problems.append(policy.problem(path, message))
        elif not found.watch:
            message = (
                f"attribute class '{name}' has no definitive or strong code in the model's"
                " vocabulary, so the model cannot be asked for it; check tokenization"
            )
            problems.append(policy.problem(path, message))
    if problems:
        raise DocumentError(problems)
