"""Are the codes of the classes in use read as the data set means them?

A class that misses part of its codes is measured on the rest, and its verdict speaks for all. So
before anything is planned a cohort's codes are counted that are not read (`records.code_census`),
and two things are refused for a single code, for a class has few of them:

* a code that is not read, and that would be of a class in use if its zeros or its characters were
  what they seem;
* `codeSystems` of the target that read a code of a class as something else, and a table of codes
  (`data.codes`) that adds to a code what the class excludes. A target says how its data are spelled
  and what stands above them; what belongs to a class is the policy's to say, and it can exclude a
  code.

Nor may a target give the token of a code of a class another meaning, as padding, as time or as the
end, for such a token is no code and is not looked for (`check_named`).

Where a token table stands in for rules, it says which events a record tells, and so who has a
class: there nobody may lack a class that his own record has (`check_told`).

A policy without classes looks for no codes, and nothing is checked.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from checker.codes import (
    RANK_STRONG,
    ClassMatcher,
    CodeReader,
    Reading,
    find_matches,
    kind_of,
    read_code,
    words,
)
from checker.errors import DataError, DocumentError, Problem
from checker.planning.classes import ClassRanks
from checker.planning.overlap import ComparedCohort
from checker.planning.untold import codes_told, who_has, who_is_told
from checker.policy import Located
from checker.policy.classes import class_matcher, pooled
from checker.policy.documents import (
    AuditTarget,
    CodeSystemSpec,
    LeakagePolicy,
    PolicySpec,
    StaticField,
)
from checker.records.code_census import (
    EXAMPLES,
    CodeCensus,
    check_census,
    cohort_reader,
    event_counts,
    patient_counts,
    take_census,
)
from checker.records.cohort import Cohort
from checker.records.tokenization import STATIC_TIME, Tokenizer
from checker.records.tokenization.made_records import STRANGE_SHARE
from checker.yaml import KeyPath, short

_MOST_ENDS_INSIDE = 0.05
"""Share of the codes named as a record's end that may have other events behind them."""

_ICD10 = re.compile(r"[A-Z][0-9][0-9A-Z](?:\.?[0-9A-Z]{1,4})?")


def check_codes(
    policy: Located[LeakagePolicy], target: Located[AuditTarget], *, cohort: Cohort
) -> CodeCensus | None:
    """Count what of a cohort's codes is not read, and refuse what would hide a class.

    Args:
        policy: its classes are those in use.
        target: its `codeSystems` say how codes are spelled.
        cohort: members and nonmembers.

    Returns:
        What was counted; None where no control looks for a class.

    Raises:
        DataError: too much is unread, ICD-9 codes have lost their zeros, or a code that is not read
            may be of a class in use.
        DocumentError: `codeSystems` or `data.codes` takes codes out of a class in use.
    """
    matchers = _matchers(policy.document.spec)
    if not matchers:
        return None
    systems = target.document.spec.code_systems
    reader = cohort_reader(systems, cohort)
    census = take_census(cohort, reader)
    check_census(census)
    occurs = np.zeros(len(cohort.codes), dtype=np.bool_)
    occurs[cohort.members.code] = True
    occurs[cohort.nonmembers.code] = True
    _check_garbled(matchers, reader, cohort, occurs)
    problems = list(_hidden(matchers, reader, target, cohort, occurs))
    if problems:
        raise DocumentError(problems)
    return census


def check_named(
    policy: Located[LeakagePolicy],
    target: Located[AuditTarget],
    *,
    compared: ComparedCohort,
    tokenizer: Tokenizer,
) -> None:
    """Refuse a target that names the token of a code of a class in use as something else.

    A token with a meaning of its own is no code, and one that stands for another code is that: in
    either way the model could name a class by a token that nobody looks for. BOS and EOS that are
    codes of the data, of no class, are what some loaders make, and are taken.

    Raises:
        DocumentError: such a token, whatever it is named as; a static field that takes from the
            record what makes a patient positive; padding that is a code of the records; or an end
            behind which they go on.
    """
    matchers = _matchers(policy.document.spec)
    reader = cohort_reader(target.document.spec.code_systems, compared.cohort)
    problems = [
        *_named_otherwise(matchers, reader, target, compared.cohort, tokenizer),
        *_taken_in_front(matchers, reader, target, compared),
    ]
    if not problems:
        problems += _padding_of_records(target, compared, tokenizer)
        problems += _ends_inside(target, compared, tokenizer)
    if problems:
        raise DocumentError(problems)


def check_told(ranks: Mapping[str, ClassRanks], compared: ComparedCohort, *, file: str) -> None:
    """Check that a token table tells the classes of patients whose records have them.

    Whoever writes the table could otherwise choose who counts as a patient with a class, and leave
    those out whom the model repeats. Of members nobody may be missing: they are the ones to be
    protected, and one in a hundred of them is as many as a limit may allow. Codes that it tells of
    nobody are those that a loader leaves out, and are counted elsewhere (`untold`).

    Args:
        ranks: of the classes in use.
        compared: the patients, as the data set and as the table tells them.
        file: the table.

    Raises:
        DataError: a member, or more than one nonmember of a hundred, with a class has it in the
            data set alone.
    """
    cohort, told = compared.cohort, codes_told(compared)
    splits = (
        ("members", cohort.members, compared.members, 0.0),
        ("nonmembers", cohort.nonmembers, compared.nonmembers, STRANGE_SHARE),
    )
    parts = {name: own for found in ranks.values() for name, own in found.parts.items()}
    for name, found in {**ranks, **parts}.items():
        if found.parts:
            continue
        for split, records, survey, allowed in splits:
            own = who_has(found.counted & told, records)
            lacks = len(np.setdiff1d(own, who_is_told(found.counted, survey)))
            if lacks > allowed * len(own):
                raise DataError(
                    f"tells nothing of the class '{name}' in {lacks} of {len(own)} {split} whose"
                    " records in the data set have it, by codes that it tells of others: they would"
                    " count as patients without it. Name the code in every row that tells it; where"
                    " the loader itself leaves such events out, name the data set as it reads it",
                    file=file,
                )


@dataclass(frozen=True, slots=True)
class NearCodes:
    """Codes that look like a class and are not of it.

    Args:
        codes: as the data set spells them, commonest first.
        patients: who have one of them.
    """

    codes: tuple[str, ...] = ()
    patients: int = 0


def near_codes(
    spec: PolicySpec,
    ranks: Mapping[str, ClassRanks],
    *,
    cohort: Cohort,
    census: CodeCensus | None,
) -> dict[str, NearCodes]:
    """Find codes that a class may miss: diagnoses, and codes of no kind, that look like it.

    They name it in words, or name no system and end like an ICD-10 code of it: a table of codes
    may hide a disease under a number of its own. Or they are ICD-9 codes of a column without any
    zero in front, and would be of the class with one. What is excluded is not meant, nor what
    another class catches by its own spelling, nor drugs, procedures and tests: of these `phigate
    classes coverage` tells more.

    Args:
        spec: of the policy; the `words` of its classes are looked for.
        ranks: of the classes in use.
        cohort: members and nonmembers.
        census: of its codes; None where no class is looked for.
    """
    doubtful = {} if census is None else census.doubtful
    events = event_counts(cohort)
    caught = np.zeros(len(cohort.codes), dtype=np.bool_)
    for found in ranks.values():
        caught |= found.in_data > 0
    matchers = {name: class_matcher(spec.attribute_classes[name]) for name in ranks}
    hints = {
        name: [hint for word in spec.attribute_classes[name].words if (hint := words(word))]
        for name in ranks
    }
    named: dict[str, list[int]] = {name: [] for name in ranks}
    for entry in np.flatnonzero(events).tolist():
        spelling = cohort.codes[entry]
        if kind_of(spelling, None) not in (None, "diagnoses"):
            continue
        has_code = bool(CodeReader().read_own(spelling))
        if has_code and caught[entry] and entry not in doubtful:
            continue
        text = words(f"{spelling} {cohort.descriptions[entry] or ''}")
        for name, found in ranks.items():
            if found.in_data[entry] or entry in found.excluded:
                continue
            if (
                any(_names(text, hint) for hint in hints[name])
                or (not has_code and _ends_like(spelling, matchers[name]))
                or _is_counted(doubtful.get(entry, ()), matchers[name])
            ):
                named[name].append(entry)
    near = {}
    for name, entries in named.items():
        entries.sort(key=lambda entry: (-int(events[entry]), entry))
        (patients,) = patient_counts(cohort, [entries])
        near[name] = NearCodes(tuple(cohort.codes[entry] for entry in entries), patients)
    return near


def _ends_like(spelling: str, matcher: ClassMatcher) -> bool:
    """Say whether a code without a system ends like an ICD-10 code of a class."""
    last = re.split(r"[/|:]+", spelling)[-1].strip().upper()
    return _ICD10.fullmatch(last) is not None and _is_counted([read_code("icd10cm", last)], matcher)


def _is_counted(readings: Sequence[Reading], matcher: ClassMatcher) -> bool:
    return any(matcher.standing([one], "") in ("definitive", "strong") for one in readings)


def _names(text: str, hint: str) -> bool:
    # a word is meant by its beginning, a number as it is: cd 4 is not cd 45
    return (hint if hint[-2:-1].isdigit() else hint.rstrip()) in text


def _check_garbled(
    matchers: Mapping[str, ClassMatcher],
    reader: CodeReader,
    cohort: Cohort,
    occurs: NDArray[np.bool_],
) -> None:
    """Refuse codes that are not read and may be of a class."""
    for entry in np.flatnonzero(occurs).tolist():
        spelling, parents = cohort.codes[entry], cohort.parents[entry]
        meant = reader.candidates(spelling, parents=parents)
        if not meant or reader.read(spelling, parents=parents):
            continue
        for name, matcher in matchers.items():
            for one in meant:
                if matcher.standing([one], "") in ("definitive", "strong"):
                    claim = reader.claim(spelling)
                    why = claim.detail if claim is not None and claim.detail else "zeros are lost"
                    raise DataError(
                        f"the code '{short(spelling)}' is not read and may be {one.system}"
                        f" {one.code} of the class '{name}' ({why}). Correct it in the data, or say"
                        " in parent_codes of metadata/codes.parquet which code it is"
                    )


def _hidden(
    matchers: Mapping[str, ClassMatcher],
    reader: CodeReader,
    target: Located[AuditTarget],
    cohort: Cohort,
    occurs: NDArray[np.bool_],
) -> Iterator[Problem]:
    """Yield what takes codes out of a class: `codeSystems`, what `data.codes` adds, or both."""
    systems = target.document.spec.code_systems
    if not systems and cohort.usual is None:
        return
    declared = _ranks(matchers, reader, cohort)
    read = "phigate reads them as codes of it"
    without: list[tuple[str, Cohort, Sequence[CodeSystemSpec], str]] = []
    if systems:
        without.append(("codeSystems", cohort, [], read))
    if cohort.usual is not None:
        descriptions, parents = cohort.usual
        usual = replace(cohort, descriptions=descriptions, parents=parents)
        named = "by the usual table they are codes of it"
        without.append(("data.codes", usual, systems, named))
        if systems:
            # what each of the two alone would hide, neither shows without the other
            both = f"by the usual table {read}"
            without.append(("codeSystems and data.codes", usual, [], both))
    told = {name: np.zeros(len(cohort.codes), dtype=np.bool_) for name in matchers}
    for key, other, read_by, why in without:
        plain = _ranks(matchers, cohort_reader(read_by, other), other)
        for name in matchers:
            hidden = (plain[name] >= RANK_STRONG) & (declared[name] < RANK_STRONG) & occurs
            hidden &= ~told[name]
            told[name] |= hidden
            if hidden.any():
                codes = _some([cohort.codes[i] for i in np.flatnonzero(hidden)])
                message = (
                    f"{key} {'take' if ' and ' in key else 'takes'} {int(hidden.sum())} codes out"
                    f" of the class '{name}', such as {codes}: {why}, and so they would not be"
                    " looked for. Correct the entry; where they really mean something else, the"
                    " policy says so (exclude, with system 'local')"
                )
                yield target.problem(("spec", *key.split(" ")[0].split(".")), message)


def _named_otherwise(
    matchers: Mapping[str, ClassMatcher],
    reader: CodeReader,
    target: Located[AuditTarget],
    cohort: Cohort,
    tokenizer: Tokenizer,
) -> Iterator[Problem]:
    """Yield where tokens that are spelled as codes of a class are said to be something else."""
    if not matchers:
        return
    spelled, codes = tokenizer.vocabulary.tokens, tokenizer.vocabulary_codes()
    named, told = tokenizer.named_tokens, tokenizer.told_codes

    def is_other(token: int, text: str) -> bool:
        # what is a part of several codes `classes.of_parts` looks into
        return len(told.get(token, ())) < 2 and not _tells(text, codes[token], reader)

    asked = [
        token
        for token, text in enumerate(spelled)
        if text is not None and (token in named or is_other(token, text))
    ]
    by_text = _ranks(matchers, reader, cohort, [spelled[token] for token in asked])
    by_code = _ranks(matchers, reader, cohort, [codes[token] for token in asked])
    rest = ("values", "bins") if target.document.spec.tokenization.values else ("records",)
    seen: set[KeyPath] = set()
    for name in matchers:
        for at, token in enumerate(asked):
            least = 0 if token in named else by_code[name][at]
            path = named.get(token, rest)
            if path in seen or max(by_text[name][at], by_code[name][at]) <= least:
                continue
            seen.add(path)
            yield target.problem(
                ("spec", "tokenization", *path),
                f"the token '{short(str(spelled[token]))}' is that of a code of the class '{name}',"
                " and what it means here takes it out of what is looked for: a model that draws it"
                " would tell the class, and nobody would see it. Name the token that the model was"
                " trained with; if it is this one, spell it otherwise in the vocabulary",
            )


def _tells(text: str, code: str | None, reader: CodeReader) -> bool:
    """Whether a token is spelled as its code, or as that with a bin behind it and no other code."""
    if code is None or not text.startswith(code):
        return False
    behind = text[len(code) :]
    return not behind or not (behind[0].isalnum() or reader.read_own(text))


def _taken_in_front(
    matchers: Mapping[str, ClassMatcher],
    reader: CodeReader,
    target: Located[AuditTarget],
    compared: ComparedCohort,
) -> Iterator[Problem]:
    """Yield static fields that hold dated codes by which patients have a class."""
    fields, cohort = target.document.spec.tokenization.static, compared.cohort
    if not fields or not matchers:
        return
    dated = np.zeros(len(cohort.codes), dtype=np.bool_)
    for records in (cohort.members, cohort.nonmembers):
        dated[records.code[records.time_us != STATIC_TIME]] = True
    dated &= ~codes_told(compared)
    for class_name, ranks in _ranks(matchers, reader, cohort).items():
        lost = [cohort.codes[i] for i in np.flatnonzero(dated & (ranks >= RANK_STRONG))]
        for field, entry in fields.items():
            glob = entry.codes if isinstance(entry, StaticField) else entry
            own = [code for code in lost if fnmatch.fnmatchcase(code, glob)]
            if own:
                yield target.problem(
                    ("spec", "tokenization", "static", field),
                    f"the field '{field}' takes {len(own)} codes of the class '{class_name}' out of"
                    f" the records' course, such as {_some(own)}, and whoever has them would not be"
                    " asked. Let the glob match the field's own codes alone",
                )


def _padding_of_records(
    target: Located[AuditTarget], compared: ComparedCohort, tokenizer: Tokenizer
) -> Iterator[Problem]:
    """Yield padding that is a code of some record, unless it has another meaning besides."""
    specials = target.document.spec.tokenization.specials
    pad = specials.pad
    if pad is None or pad in (*specials.leading, specials.eos, specials.unk):
        return
    token = tokenizer.vocabulary.ids[pad]
    if target.document.spec.tokenization.records is not None:
        occurs = token in tokenizer.told_codes
    else:
        occurs = bool(compared.members.used[token] or compared.nonmembers.used[token])
    if occurs:
        yield target.problem(
            ("spec", "tokenization", "specials", "pad"),
            f"the token '{short(pad)}' stands in patients' records, so it is no padding; name the"
            " token that only fills up batches, or none",
        )


def _ends_inside(
    target: Located[AuditTarget], compared: ComparedCohort, tokenizer: Tokenizer
) -> Iterator[Problem]:
    """Yield an end of records behind which records go on, for draws would end there too."""
    eos = target.document.spec.tokenization.specials.eos
    if eos is None:
        return
    token, inside, of = tokenizer.vocabulary.ids[eos], 0, 0
    for survey in (compared.members, compared.nonmembers):
        is_end = np.array([code == eos for code in compared.cohort.codes])[survey.event_code]
        has_more = np.ones(len(survey.event_code), dtype=np.bool_)
        has_more[survey.event_offsets[1:][np.diff(survey.event_offsets) > 0] - 1] = False
        inside, of = inside + int((is_end & has_more).sum()), of + int(is_end.sum())
    # the dead may have a bill or two
    if inside > _MOST_ENDS_INSIDE * of or token in tokenizer.inner_tokens:
        yield target.problem(
            ("spec", "tokenization", "specials", "eos"),
            f"the token '{short(eos)}' stands inside patients' records, so it does not end them,"
            " and continuations would be cut there, before what they tell; name the token that"
            " only ends records, or none",
        )


def _matchers(spec: PolicySpec) -> dict[str, ClassMatcher]:
    """Return what matches the classes that controls use, those of pools by themselves."""
    used = dict.fromkeys(c.attribute_class for c in spec.controls.values() if c.attribute_class)
    coded = {k: one for name in used for k, one in pooled(spec.attribute_classes, name).items()}
    return {name: class_matcher(one) for name, one in coded.items()}


def _ranks(
    matchers: Mapping[str, ClassMatcher],
    reader: CodeReader,
    cohort: Cohort,
    codes: Sequence[str | None] | None = None,
) -> dict[str, NDArray[np.int8]]:
    """Return how strongly codes stand for classes: the data set's, or these, of which it may know.

    Args:
        matchers: by class.
        reader: of the data set's codes.
        cohort: what its table of codes says of a code counts.
        codes: of which None is no code.
    """
    descriptions, parents = cohort.descriptions, cohort.parents
    if codes is not None:
        place = {code: i for i, code in enumerate(cohort.codes)}
        places = [place.get(code or "", -1) for code in codes]
        descriptions = tuple(None if i < 0 else cohort.descriptions[i] for i in places)
        parents = tuple(() if i < 0 else cohort.parents[i] for i in places)
    found = find_matches(
        matchers,
        cohort.codes if codes is None else [code or "" for code in codes],
        reader=reader,
        descriptions=descriptions,
        parents=parents,
    )
    return {name: matches.ranks for name, matches in found.items()}


def _some(codes: Sequence[str]) -> str:
    return ", ".join(f"'{short(code)}'" for code in codes[:EXAMPLES])
