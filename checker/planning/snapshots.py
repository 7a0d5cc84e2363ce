"""What a plan was compiled from, kept in it: no file has to be found again to judge or verify."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np

from checker.canonical import digest
from checker.planning.classes import ClassRanks
from checker.planning.code_checks import NearCodes, near_codes
from checker.planning.drawn import Draw
from checker.planning.model import (
    ClassSnapshot,
    DataSnapshot,
    DrawnPatients,
    PolicySnapshot,
    ProxyCode,
    TargetSnapshot,
    UnreadVocabulary,
)
from checker.planning.overlap import ComparedCohort
from checker.planning.untold import Tellings, Untold, codes_told
from checker.planning.workload import scored_tokens
from checker.plugins import backend_version
from checker.policy import Located
from checker.policy.documents import AuditTarget, LeakagePolicy, PolicySpec, as_json
from checker.records.code_census import EXAMPLES, ClaimedCodes, CodeCensus
from checker.records.proxies import find_proxies
from checker.records.tokenization import TokenizedRecords, Tokenizer, Vocabulary
from checker.targets import TargetDescription

UNEXPLAINED_SHOWN = 20


def policy_snapshot(policy: Located[LeakagePolicy]) -> PolicySnapshot:
    """Keep a policy whole, with the lines of its controls and the documents it rests on.

    Folders stay out: equal inputs give equal plans, wherever they are.
    """
    places = {
        name: policy.place(("spec", "controls", name)) for name in policy.document.spec.controls
    }
    return PolicySnapshot(
        document=policy.document,
        document_sha256=digest(as_json(policy.document)),
        sha256=policy.sha256,
        file=Path(policy.file).name,
        lines={name: place.line for name, place in places.items()},
        files={
            name: Path(place.file).name
            for name, place in places.items()
            if place.file != policy.file
        },
        prompts=dict(_prompt_places(policy)),
        origins=[
            one.model_copy(update={"file": Path(one.file).name, "review_by": None})
            for one in policy.origins
        ],
    )


def _prompt_places(policy: Located[LeakagePolicy]) -> Iterator[tuple[str, str]]:
    """Yield where the numbers stand that make prompts long."""
    spec = policy.document.spec
    for name, attacker in spec.attackers.items():
        for key in ("events", "tokens", "last", "random"):
            value = getattr(attacker.knows, key)
            if value is not None:
                place = policy.place(("spec", "attackers", name, "knows", key))
                told = f"attackers.{name}.knows.{key}: {value}"
                yield f"{name}.{key}", f"{told} ({Path(place.file).name}, line {place.line})"


def target_snapshot(
    target: Located[AuditTarget],
    description: TargetDescription,
    *,
    reference: TargetDescription | None,
    vocabulary: Vocabulary,
) -> TargetSnapshot:
    """Keep a target whole, with the digests of its model and vocabulary."""
    spec = target.document.spec
    return TargetSnapshot(
        document=target.document,
        document_sha256=digest(as_json(target.document)),
        sha256=target.sha256,
        backend=backend_version(spec.model.backend),
        reference_backend=backend_version(spec.reference.backend) if spec.reference else None,
        model_sha256=description.sha256,
        model_files=description.files,
        vocabulary_sha256=vocabulary.sha256,
        vocabulary_size=description.vocabulary_size,
        context_length=description.context_length,
        capabilities=sorted(description.capabilities),
        reference_sha256=reference.sha256 if reference else None,
    )


def data_snapshot(
    compared: ComparedCohort,
    asked: Mapping[bool, TokenizedRecords],
    draw: Draw,
    *,
    tokenizer: Tokenizer,
    vocabulary_size: int,
    max_length: int | None,
    window: str,
    census: CodeCensus | None,
    patients: Literal["auto", "all"] | int,
) -> DataSnapshot:
    """Keep a cohort in numbers: everybody, and who was drawn of them."""
    both, overlap, cohort = tuple(asked.values()), compared.overlap, compared.cohort
    tokens = sum(len(split.tokens) for split in both)
    seen = sum(
        int(scored_tokens(split, max_length=max_length, window=window).sum()) for split in both
    )
    coverage = compared.members.coverage + compared.nonmembers.coverage
    used = np.zeros(vocabulary_size, dtype=np.bool_)
    for split in both:
        used[split.tokens] = True
    if not draw.is_whole:
        for survey in (compared.members, compared.nonmembers):
            used[np.flatnonzero(survey.used)] = True
    known = set(cohort.codes)
    unexplained = [
        code
        for token, code in enumerate(tokenizer.vocabulary_codes())
        if code is not None and not used[token] and code not in known
    ]
    return DataSnapshot(
        name=cohort.name,
        sha256=cohort.sha256,
        members=len(compared.members),
        nonmembers=len(compared.nonmembers),
        patients=patients,
        drawn=None if draw.is_whole else _drawn(draw),
        near_duplicates=overlap.near,
        set_aside=len(overlap.set_aside),
        same_codes=overlap.same_codes,
        copied=overlap.exact,
        spare=len(compared.spare),
        events=coverage.events,
        tokens=tokens,
        tokens_left_out=tokens - seen,
        unknown_events=coverage.unknown,
        unknown_share=coverage.unknown_share,
        commonest_unknown=dict(coverage.commonest),
        unused_tokens=np.flatnonzero(~used).tolist(),
        unexplained_tokens=unexplained[:UNEXPLAINED_SHOWN],
        unread=[] if census is None else [_unread(one) for one in census.claims],
        suspect=[] if census is None else list(census.suspect),
    )


def _drawn(draw: Draw) -> DrawnPatients:
    members, nonmembers = draw.splits[True], draw.splits[False]
    return DrawnPatients(
        members=members.lot,
        nonmembers=nonmembers.lot,
        spare=draw.spare.lot,
        asked_members=len(members.patients),
        asked_nonmembers=len(nonmembers.patients),
    )


def _unread(one: ClaimedCodes) -> UnreadVocabulary:
    return UnreadVocabulary.model_validate({**asdict(one), "examples": list(one.examples)})


def class_snapshots(
    spec: PolicySpec,
    ranks: Mapping[str, ClassRanks],
    *,
    compared: ComparedCohort,
    census: CodeCensus | None,
    tokenizer: Tokenizer,
) -> dict[str, ClassSnapshot]:
    """Keep what each class in use matched, what makes a hit, and what and whom it may miss."""
    parts = {part: own for found in ranks.values() for part, own in found.parts.items()}
    coded = {name: found for name, found in ranks.items() if not found.parts}
    near = near_codes(spec, {**parts, **coded}, cohort=compared.cohort, census=census)
    tellings = Tellings(compared, tokenizer)
    cohort = compared.cohort
    proxies = find_proxies(
        {name: found.in_data for name, found in {**parts, **coded}.items()},
        cohort.nonmembers,
        cohort.codes,
        told=codes_told(compared),
    )

    def kept(name: str, found: ClassRanks) -> ClassSnapshot:
        missed = near.get(name, NearCodes())  # a pool misses what its classes miss
        left_out = Untold() if found.parts else tellings.untold(found)
        return ClassSnapshot(
            title=spec.attribute_classes[name].title,
            codes_in_data=int(found.counted.sum()),
            watch=found.watch,
            unmatched=found.unmatched,
            near=list(missed.codes[:EXAMPLES]),
            near_codes=len(missed.codes),
            near_patients=missed.patients,
            proxies=[ProxyCode.model_validate(asdict(one)) for one in proxies.get(name, ())],
            untold=list(left_out.codes),
            untold_patients=left_out.patients,
            patients=left_out.of,
            parts={part: kept(part, own) for part, own in found.parts.items()},
        )

    return {name: kept(name, found) for name, found in ranks.items()}
