"""Attribute classes against this data set and this model's vocabulary.

A class that the data set has no code of is nobody's fault: the disease may be absent. Its cells are
planned without jobs and end inconclusive. Where no class of a policy matches anything, codes are
read wrongly, and that is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from checker.codes import RANK_STRONG, ClassMatcher, ClassMatches, find_matches
from checker.errors import DataError, DocumentError, Problem
from checker.planning.model import ClassSnapshot
from checker.policy import Located
from checker.policy.classes import class_matcher, pooled
from checker.policy.documents import AuditTarget, LeakagePolicy
from checker.records.code_census import cohort_reader
from checker.records.cohort import Cohort
from checker.records.tokenization import Tokenizer


@dataclass(frozen=True, slots=True)
class ClassRanks:
    """How strongly each code stands for a class; ranks as in `checker.codes`.

    Args:
        in_data: [codes of the data set] int8; any rank leaves the prompt, `strong` and
            `definitive` make a positive.
        in_vocabulary: [tokens of the model] int8; `strong` and `definitive` make a hit, and so do
            the proxies of a class that counts them.
        unmatched: values of the policy that match no code of the data set.
        excluded: codes of the data set, by place, that an exclusion takes out.
        parts: of a pool its classes, by name; of a class none.
    """

    in_data: NDArray[np.int8]
    in_vocabulary: NDArray[np.int8]
    unmatched: list[str]
    excluded: frozenset[int] = frozenset()
    parts: Mapping[str, ClassRanks] = field(default_factory=dict)

    @classmethod
    def of_pool(cls, parts: Mapping[str, ClassRanks]) -> ClassRanks:
        """Return what stands for any of several classes."""
        ranks = [one.in_data for one in parts.values()]
        return cls(
            in_data=np.maximum.reduce(ranks),
            in_vocabulary=np.maximum.reduce([one.in_vocabulary for one in parts.values()]),
            unmatched=list(dict.fromkeys(v for one in parts.values() for v in one.unmatched)),
            parts=dict(parts),
        )

    @property
    def removed(self) -> NDArray[np.bool_]:
        """Codes that leave the prompt: all tiers, and proxies."""
        return self.in_data > 0

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Codes that make a patient positive."""
        return self.in_data >= RANK_STRONG

    @property
    def is_absent(self) -> bool:
        """Whether nobody can have the class here, or the model has no word for it."""
        return not (self.counted.any() and self.watch)

    @property
    def watch(self) -> list[int]:
        """Token ids that make a continuation a hit."""
        return np.flatnonzero(self.in_vocabulary >= RANK_STRONG).tolist()


def pool_watch(parts: Mapping[str, ClassRanks | ClassSnapshot], held: int) -> list[int]:
    """Return the token ids that make a hit for a patient of a pool, ascending.

    Args:
        parts: the pool's classes.
        held: which of them he has, a bit each in their order.
    """
    own = (part.watch for bit, part in enumerate(parts.values()) if held >> bit & 1)
    return sorted({token for watch in own for token in watch})


def match_classes(
    policy: Located[LeakagePolicy],
    target: Located[AuditTarget],
    *,
    cohort: Cohort,
    tokenizer: Tokenizer,
) -> dict[str, ClassRanks]:
    """Match the classes that controls use, by name.

    Returns:
        All of them, absent ones too (`ClassRanks.is_absent`): these are not to be measured, for
        they would be found to leak nothing.

    Raises:
        DocumentError: every class is absent.
        DataError: a code of a class is told in tokens that only together stand for it.
    """
    ranks = _ranks(policy, target, cohort=cohort, tokenizer=tokenizer)
    if ranks and all(found.is_absent for found in ranks.values()):
        raise DocumentError(_absences(policy, ranks, data_set=cohort.name))
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
    return [name for name, found in ranks.items() if found.is_absent]


_Matches = dict[str, tuple[ClassMatches, NDArray[np.int8]]]
"""By class, what matches the data set's codes, and how strongly tokens stand for it."""


def _ranks(
    policy: Located[LeakagePolicy],
    target: Located[AuditTarget],
    *,
    cohort: Cohort,
    tokenizer: Tokenizer,
) -> dict[str, ClassRanks]:
    spec = policy.document.spec
    used = dict.fromkeys(c.attribute_class for c in spec.controls.values() if c.attribute_class)
    classes = {name: pooled(spec.attribute_classes, name) for name in used}
    specs = {name: one for own in classes.values() for name, one in own.items()}
    reader = cohort_reader(target.document.spec.code_systems, cohort)
    # a token is matched as the code it stands for, with what the data set says of that code
    place = {code: i for i, code in enumerate(cohort.codes)}
    spelled = tokenizer.vocabulary_codes()
    places = [place.get(code, -1) if code is not None else -1 for code in spelled]

    def matched(matchers: Mapping[str, ClassMatcher]) -> _Matches:
        in_data = find_matches(
            matchers,
            cohort.codes,
            reader=reader,
            descriptions=cohort.descriptions,
            parents=cohort.parents,
        )
        in_vocabulary = find_matches(
            matchers,
            [code or "" for code in spelled],
            reader=reader,
            descriptions=[cohort.descriptions[i] if i >= 0 else None for i in places],
            parents=[cohort.parents[i] if i >= 0 else () for i in places],
        )
        return {name: (found, in_vocabulary[name].ranks) for name, found in in_data.items()}

    found = matched({name: class_matcher(one) for name, one in specs.items()})
    # who has a class is what it was; what tells it may be its proxies too
    told = found | matched(
        {
            name: class_matcher(one, proxies="strong")
            for name, one in specs.items()
            if one.count_proxies
        }
    )
    ranks = {
        name: ClassRanks(
            in_data.ranks,
            of_parts(name, told[name][0].ranks, told[name][1], place, tokenizer),
            in_data.unmatched,
            _excluded(in_data),
        )
        for name, (in_data, _) in found.items()
    }
    return {
        name: ClassRanks.of_pool({part: ranks[part] for part in own})
        if spec.attribute_classes[name].any_of
        else ranks[name]
        for name, own in classes.items()
    }


def of_parts(
    name: str,
    in_data: NDArray[np.int8],
    in_vocabulary: NDArray[np.int8],
    place: Mapping[str, int],
    tokenizer: Tokenizer,
) -> NDArray[np.int8]:
    """Return how strongly tokens stand for a class that are parts of several codes.

    A part stands for it as weakly as the weakest of its codes does. A code that is told in parts of
    which none stands for the class would be named by the model without a hit, so it is refused.

    Raises:
        DataError: a code of the class has no part that stands for it.
    """
    ranks = in_vocabulary.copy()
    best: dict[str, int] = {}
    for token, codes in tokenizer.told_codes.items():
        if len(codes) > 1:
            of_codes = (in_data[place[code]] if code in place else 0 for code in codes)
            ranks[token] = min(of_codes)
        for code in codes:
            best[code] = max(best.get(code, 0), int(ranks[token]))
    lost = sorted(
        code
        for code, rank in best.items()
        if rank < RANK_STRONG and code in place and in_data[place[code]] >= RANK_STRONG
    )
    if lost:
        raise DataError(
            f"{len(lost)} codes of class '{name}' (such as '{lost[0]}') are told in tokens each of"
            " which stands for other codes too, so that no token that the model draws shows that"
            " it named the class; take them out of the class to measure the rest of it"
        )
    return ranks


def _excluded(found: ClassMatches) -> frozenset[int]:
    rows = zip(found.excludes, found.entries, strict=True)
    return frozenset(entry for excludes, entries in rows if excludes for entry in entries)


def _absences(
    policy: Located[LeakagePolicy], ranks: dict[str, ClassRanks], *, data_set: str
) -> list[Problem]:
    """Say of each class where it is missing, when all of them are."""
    problems = []
    for name, found in ranks.items():
        if not found.counted.any():
            message = (
                f"attribute class '{name}' matches no definitive or strong code among the"
                f" {len(found.in_data)} codes of {data_set}, and neither does any other class; say"
                " in the target's codeSystems how this data set spells its codes"
            )
        else:
            message = (
                f"attribute class '{name}' has no definitive or strong code in the model's"
                " vocabulary, so the model cannot be asked for it, nor for any other class; check"
                " tokenization"
            )
        problems.append(policy.problem(("spec", "attributeClasses", name), message))
    return problems
