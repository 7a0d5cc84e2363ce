"""What the rows of a table of evidence say of each other: nobody twice, no part above its whole.

Every value can be one that a run observes (`checker.evidence_columns`) and the table none that any
run writes: a patient who stands in it twice counts twice, a prompt with one continuation too many
hits more often than it was asked, and a format that was compared on other patients than the rest
is better or worse by those. Libraries below say of some of it in their own words that it cannot be,
and of the rest nothing. Kinds of plug-ins are theirs to check.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from checker.kinds import OF_A_DRAW

_CHANGED_AGE = r"^[+-][0-9]{1,3}$"
_ROUNDING = 1e-9


def strange_rows(table: pa.Table, *, kind: str) -> str | None:
    """Say what of a table's rows no run writes, or None where a run may have written them all.

    Args:
        table: with the kind's columns, each of which is what it should be.
        kind: of the job that it answers.
    """
    check = _CHECKS.get(kind)
    return None if check is None else next(check(table), None)


# --- by kind ------------------------------------------------------------------------------------


def _labels(table: pa.Table) -> Iterator[str]:
    yield from _nobody_twice(table)
    eligible, asked = _flags(table, "eligible"), table["prompt"].is_valid().to_numpy()
    if (eligible & ~asked).any():
        yield f"{int((eligible & ~asked).sum())} eligible patients have no prompt"
    scored = table["base_score"].is_valid().to_numpy()
    if scored.any() and (eligible & ~scored).any():
        yield f"{int((eligible & ~scored).sum())} eligible patients have no base score"
    for name in OF_A_DRAW:
        if name in table.column_names:
            unsaid = int((eligible & table[name].is_null().to_numpy()).sum())
            if unsaid:
                yield f"of {unsaid} eligible patients it lacks '{name}'"
    held = pc.list_value_length(table["holds"])
    if held.null_count < table.num_rows:  # of a pool; of one class nobody is said to have which
        unlike = held.fill_null(-1).to_numpy() != 0
        unlike = (unlike != _flags(table, "positive")) | held.is_null().to_numpy()
        if unlike.any():
            many = int(unlike.sum())
            yield f"of {many} patients it does not say which classes of a pool they have"


def _rollouts(table: pa.Table) -> Iterator[str]:
    yield from _numbered_samples(table)


def _scores(table: pa.Table) -> Iterator[str]:
    yield from _nobody_twice(table)


def _extraction(table: pa.Table) -> Iterator[str]:
    yield from _nobody_twice(table)
    if (table["common"].to_numpy() > table["windows"].to_numpy()).any():
        yield "it counts more windows that anybody would write than there are"


def _reference_training(table: pa.Table) -> Iterator[str]:
    yield from _nothing_twice(table, ("tensor",), "a tensor")
    lengths = pc.list_value_length(table["values"]).to_pylist()
    if [math.prod(shape) for shape in table["shape"].to_pylist()] != lengths:
        yield "a tensor has not as many values as its shape says"


def _membership_shadows(table: pa.Table) -> Iterator[str]:
    yield from _nobody_twice(table)
    lengths = pc.unique(pc.list_value_length(table["logprob"])).to_pylist()
    if len(lengths) > 1 or lengths == [0]:
        yield "it has not as many passes of every record"


def _membership_tokens(table: pa.Table) -> Iterator[str]:
    yield from _nobody_twice(table)
    lengths = [pc.list_value_length(table[name]).to_numpy() for name in ("logprob", "mean", "std")]
    if (lengths[0] < 1).any():
        yield "it scores a record without tokens"
    if any(not np.array_equal(lengths[0], one) for one in lengths[1:]):
        yield "it has not as many means or deviations of a record as log-probabilities"


def _membership_features(table: pa.Table) -> Iterator[str]:
    yield from _nobody_twice(table)
    if table.num_rows and not any(name.startswith("feature@") for name in table.column_names):
        yield "it has no feature"


def _membership_scores(table: pa.Table) -> Iterator[str]:
    yield from _nobody_twice(table)
    if "score@strongest" not in table.column_names:  # written even where it is of nobody
        yield "it has no learned score"


def _embeddings(table: pa.Table) -> Iterator[str]:
    yield from _nothing_twice(table, ("prompt",), "a prompt")
    lengths = pc.unique(pc.list_value_length(table["embedding"])).to_pylist()
    if len(lengths) > 1 or lengths == [0]:
        yield "its vectors are not all of one length"


def _overlap(table: pa.Table) -> Iterator[str]:
    yield from _one_row(table)
    row = table.to_pylist()[0]
    for part in ("exact", "near", "compared"):
        if row[part] > row["nonmembers"]:
            yield f"it counts {row[part]} nonmembers as {part}, of {row['nonmembers']}"
    if row["same_codes"] > row["near"]:
        yield f"it counts {row['same_codes']} nonmembers with a member's codes, of {row['near']}"
    aside = row["set_aside"]
    if len(set(aside)) < len(aside) or len(aside) > row["near"]:
        yield f"it sets {len(aside)} nonmembers aside, where {row['near']} nearly equal a member"


def _prompt_format(table: pa.Table) -> Iterator[str]:
    yield from _nothing_twice(table, ("patient", "variant"), "a patient in one format")
    patients = np.array(table["patient"].to_pylist(), dtype=object)
    variants = np.array(table["variant"].to_pylist(), dtype=object)
    first = None
    for name in dict.fromkeys(variants.tolist()):
        own = patients[variants == name].tolist()
        if first is None:
            first = own
        if own != first:
            yield "it compares formats on different patients"
    floors = [table[name].is_valid().to_numpy() for name in ("unigram", "bigram")]
    if not np.array_equal(*floors):
        yield "it has the losses of one of two tables"
    for name in dict.fromkeys(variants.tolist()):
        if len(set(floors[0][variants == name].tolist())) > 1:
            yield "it has the losses of tables for some patients of a format"


def _expected_tokens(table: pa.Table) -> Iterator[str]:
    yield from _one_row(table)
    row = table.to_pylist()[0]
    if row["different"] > row["compared"]:
        yield f"{row['different']} sequences differ, of {row['compared']}"
    if not row["different"] == row["place"] == row["position"] == 0 and not all(
        (row["different"], row["place"], row["position"])
    ):
        yield "it does not say where the first sequence differs"


def _canaries(table: pa.Table) -> Iterator[str]:
    if not np.array_equal(table["canary"].to_numpy(), np.arange(table.num_rows)):
        yield "its canaries are not numbered from 0 on"
    beacon, included = _flags(table, "beacon"), _flags(table, "included")
    if (beacon & ~included).any() or (np.diff(beacon.astype(np.int8)) < 0).any():
        yield "beacons are not those that come last and were all included"


def _perturbations(table: pa.Table) -> Iterator[str]:
    yield from _nothing_twice(
        table, ("prompt", "identifier", "change"), "a prompt under one change"
    )
    if (table["hits"].to_numpy() > table["samples"].to_numpy()).any():
        yield "it counts more hits than samples"
    ages = table["change"].filter(pc.equal(table["identifier"], "age"))
    if not pc.all(pc.match_substring_regex(ages, _CHANGED_AGE), min_count=0).as_py():
        yield "it changes an age by what is no number of years"
    unchanged = pc.and_(
        pc.equal(table["identifier"], "none"), pc.equal(table["change"], "unchanged")
    )
    asked = pc.count_distinct(table["prompt"]).as_py()
    if pc.count_distinct(table["prompt"].filter(unchanged)).as_py() != asked:
        yield "a prompt was not asked unchanged"


def _regurgitation(table: pa.Table) -> Iterator[str]:
    yield from _nothing_twice(table, ("prompt", "sample"), "a continuation")
    for name in ("groups", "nonmembers"):
        if pc.count_distinct(table[name]).as_py() > 1:
            yield f"its rows differ in {name}"
    for name, whole, more in (
        ("member_groups", "groups", 0),
        ("nonmember_groups", "groups", 0),
        ("repeated", "nonmembers", 1),  # larger groups are compared with one nonmember more
        ("half_a", "nonmembers", 0),
        ("half_b", "nonmembers", 0),
    ):
        if (table[name].to_numpy() > table[whole].to_numpy() + more).any():
            yield f"it counts more in {name} than there are {whole}"


def _spare_tables(table: pa.Table) -> Iterator[str]:
    for name in ("unigram", "bigram"):
        if (table[f"{name}_min_k"].to_numpy() > table[name].to_numpy() + _ROUNDING).any():
            yield f"the least likely tokens are likelier than all ({name})"


_CHECKS: Mapping[str, Callable[[pa.Table], Iterator[str]]] = {
    "labels": _labels,
    "rollouts": _rollouts,
    "scores": _scores,
    "spare-scores": _scores,
    "extraction": _extraction,
    "other-descriptions": lambda table: _nothing_twice(
        table, ("patient", "telling"), "a patient told in one way"
    ),
    "record-parts": lambda table: _nothing_twice(
        table, ("patient", "part"), "a part of a patient's record"
    ),
    "reference-training": _reference_training,
    "membership-shadows": _membership_shadows,
    "membership-tokens": _membership_tokens,
    "membership-features": _membership_features,
    "membership-scores": _membership_scores,
    "embeddings": _embeddings,
    "overlap": _overlap,
    "comparability": lambda table: _nobody_twice(table),
    "spare-tables": _spare_tables,
    "prompt-format": _prompt_format,
    "expected-tokens": _expected_tokens,
    "expected-loss": lambda table: _nobody_twice(table),
    "canaries": _canaries,
    "probe-scores": lambda table: _nobody_twice(table),
    "perturbations": _perturbations,
    "trajectories": lambda table: _nobody_twice(table),
    "regurgitation": _regurgitation,
}

CHECKED_KINDS = frozenset(_CHECKS)
"""Kinds of jobs whose rows are known here; those of plug-ins are not."""


# --- what several kinds share -------------------------------------------------------------------


def _flags(table: pa.Table, name: str) -> NDArray[np.bool_]:
    column: NDArray[np.bool_] = table[name].to_numpy().astype(np.bool_)
    return column


def _one_row(table: pa.Table) -> Iterator[str]:
    if table.num_rows != 1:
        yield f"it has {table.num_rows} rows, and one is written"


def _nobody_twice(table: pa.Table) -> Iterator[str]:
    yield from _nothing_twice(table, ("patient",), "a patient")


def _nothing_twice(table: pa.Table, columns: Sequence[str], what: str) -> Iterator[str]:
    if len(columns) == 1:
        distinct = pc.count_distinct(table[columns[0]]).as_py()
    else:
        distinct = table.select(columns).group_by(list(columns)).aggregate([]).num_rows
    if distinct < table.num_rows:
        yield f"it speaks of {what} twice ({table.num_rows - distinct} rows too many)"


def _numbered_samples(table: pa.Table) -> Iterator[str]:
    """A prompt's samples stand together, numbered from 0 on, and a prompt stands there once."""
    sample = table["sample"].to_numpy()
    prompts = table["prompt"].combine_chunks().dictionary_encode()
    prompt = prompts.indices.to_numpy()
    begins = np.ones(len(prompt), dtype=np.bool_)
    begins[1:] = prompt[1:] != prompt[:-1]
    firsts = np.flatnonzero(begins)
    if len(firsts) > len(prompts.dictionary):
        yield "the samples of a prompt do not stand together"
    number = np.arange(len(prompt)) - np.repeat(firsts, np.diff([*firsts, len(prompt)]))
    if not np.array_equal(sample, number):
        yield "the samples of a prompt are not numbered from 0 on"
