"""Draws as many patients as a policy's cells take, before anybody is tokenized for good.

Needs are known before the data (`checker.planning.needs`); who is within an attacker's reach is
not. So patients are looked at in the order of the lot, a part at a time, until each label set has
as many of them as its cells take, and only those who were drawn are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checker.planning.classes import ClassRanks
from checker.planning.drawn import (
    AskedFor,
    Draw,
    DrawnSplit,
    LabelKey,
    lot_order,
    ranks_of,
)
from checker.planning.needs import (
    FEWEST_OF_ALL,
    alike_needed,
    is_deciding,
    patients_of_each,
    patients_to_ask,
    power_wanted,
)
from checker.planning.overlap import ComparedCohort
from checker.planning.protocol import DrawnFrom, PlannedCell, planning_of
from checker.planning.reference_patients import spare_needed
from checker.planning.workload import PromptRecipe
from checker.policy.documents import AuditTarget, PolicySpec
from checker.records.prompts import ClassPlaces, PromptSource, prompt_key
from checker.records.prompts.shared import sharers
from checker.records.tokenization import Records, Tokenizer

EXAMINED = 5_000
"""Of those whom a label set is about, so many are looked at to see whether their prompts differ."""

EVENTS_AT_ONCE = 1 << 20

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """So many patients of a subgroup; None where all have to be asked."""

    count: int | None
    piece: Mapping[bool, Flags]


@dataclass
class _Demands:
    """What the cells of a policy take.

    Args:
        of_all: of a split's patients, members under True.
        by_labels: of those whom a label set is about and who are within reach.
        recipes: how the prompts of those label sets are made.
        every_member: some test that nobody may fail asks all members, beside the lot.
    """

    of_all: dict[bool, list[_Wanted]] = field(default_factory=lambda: {True: [], False: []})
    by_labels: dict[LabelKey, list[_Wanted]] = field(default_factory=dict)
    recipes: dict[LabelKey, PromptRecipe] = field(default_factory=dict)
    every_member: bool = False


def draw_patients(
    spec: PolicySpec,
    target: AuditTarget,
    cells: Sequence[PlannedCell[Any]],
    *,
    compared: ComparedCohort,
    tokenizer: Tokenizer,
    ranks: Mapping[str, ClassRanks],
    max_length: int | None,
    model: str,
) -> Draw:
    """Draw whom an audit asks.

    Args:
        spec: of the policy; its `sampling.patients` says how.
        target: says how the splits were made.
        cells: all that are to be judged, with their subgroups of everybody.
        compared: everybody.
        tokenizer: of the target.
        ranks: of the classes in use.
        max_length: most tokens of a sequence.
        model: digest of its files, so that nobody knows before it is trained who will be asked.
    """
    cohort, seed = compared.cohort, spec.parameters.seed
    if spec.parameters.sampling.patients == "all":
        return Draw.of_all(cohort, seed=seed, model=model)
    demands = _demands(spec, target, cells, compared=compared, ranks=ranks)
    window = target.spec.tokenization.window
    orders = {
        side: lot_order(digests, seed=seed, model=model)
        for side, digests in (
            (True, compared.digests.members),
            (False, compared.digests.nonmembers),
        )
    }
    asked: dict[LabelKey, dict[bool, AskedFor]] = {key: {} for key in demands.by_labels}
    lots: dict[bool, int] = {}
    for side, records in ((True, cohort.members), (False, cohort.nonmembers)):
        lots[side] = _lot(demands.of_all[side], orders[side], side)
        for class_name in dict.fromkeys(key.class_name for key in demands.by_labels):
            keys = [key for key in demands.by_labels if key.class_name == class_name]
            search = _Search(
                records,
                cohort.codes,
                tokenizer=tokenizer,
                seed=seed,
                max_length=max_length,
                window=window,
                order=_about(records, orders[side], ranks, class_name),
            )
            for key, own in search.find(
                {key: demands.recipes[key] for key in keys},
                {key: demands.by_labels[key] for key in keys},
                side,
            ).items():
                asked[key][side] = own
    spare = lot_order(compared.digests.spare, seed=seed, model=model)
    spared = min(max(lots.values()), len(spare))
    sizes = [len(orders[True]), len(orders[False]), len(spare)]
    if [lots[True], lots[False], spared] == sizes:
        return replace(Draw.of_all(cohort, seed=seed, model=model, orders=orders), asked=asked)
    beside = {
        side: [own[side].patients for own in asked.values()]
        + ([orders[side]] if side and demands.every_member else [])
        for side in (True, False)
    }
    splits = {side: _split(orders[side], lots[side], beside[side]) for side in (True, False)}
    return Draw(splits, _split(spare, spared, []), seed, model, asked, demands.every_member)


# --- what is asked for --------------------------------------------------------------------------


def _demands(
    spec: PolicySpec,
    target: AuditTarget,
    cells: Sequence[PlannedCell[Any]],
    *,
    compared: ComparedCohort,
    ranks: Mapping[str, ClassRanks],
) -> _Demands:
    found = _Demands()
    everybody = {True: np.ones(len(compared.members), np.bool_)}
    everybody[False] = np.ones(len(compared.nonmembers), np.bool_)
    assignment = target.spec.data.assignment
    by_need = spec.parameters.sampling.patients == "auto"
    power = power_wanted(spec, cells)
    # enough for all of them are enough for those who are drawn
    has_spare = len(compared.spare) >= spare_needed(len(compared.nonmembers))
    least = FEWEST_OF_ALL if by_need else patients_of_each(spec)
    taken = [least]
    if by_need and assignment != "random" and any(c.metric.rests_on_split for c in cells):
        parameters = spec.parameters
        alike = alike_needed(
            parameters.admissibility_tolerance,
            assignment=assignment,
            confidence=parameters.confidence,
            power=power,
        )
        taken.append(alike)
    for side, wanted in found.of_all.items():
        wanted += [_Wanted(count, {side: everybody[side]}) for count in taken]
    for cell in cells:
        name = cell.control.attribute_class
        if name is not None and ranks[name].is_absent:
            continue
        drawn = planning_of(cell.attack).drawn_from(cell.params, cell.metric, has_spare=has_spare)
        decides = is_deciding(spec, cell)
        if not (decides or cell.piece.name == "all"):
            continue  # what is only reported of a subgroup is told of those who were drawn anyway
        needed = patients_to_ask(spec, cell, assignment=assignment, power=power)
        _add(found, cell, drawn, needed, decides=decides, compared=compared, ranks=ranks)
    return found


def _add(
    found: _Demands,
    cell: PlannedCell[Any],
    drawn: DrawnFrom | None,
    needed: int | None,
    *,
    decides: bool,
    compared: ComparedCohort,
    ranks: Mapping[str, ClassRanks],
) -> None:
    """Note what one cell takes."""
    piece = {True: cell.piece.members, False: cell.piece.nonmembers}
    if drawn is not None and drawn.of == "nobody":
        return
    if drawn is not None and drawn.of in ("class", "records"):
        name = cell.control.attribute_class if drawn.of == "class" else None
        key = LabelKey(name, cell.attacker.name, drawn.horizon_tokens, drawn.min_tokens)
        if needed is None and not decides:
            needed = FEWEST_OF_ALL
        found.by_labels.setdefault(key, []).append(_Wanted(needed, piece))
        found.recipes[key] = (
            PromptRecipe.of_class(ranks[name], cell.attacker, horizon_tokens=drawn.horizon_tokens)
            if name is not None
            else PromptRecipe.of_records(
                cell.attacker,
                n_codes=len(compared.cohort.codes),
                horizon_tokens=drawn.horizon_tokens,
                min_tokens=drawn.min_tokens or 1,
            )
        )
        return
    if not decides:
        return
    if drawn is None:
        for side in (True, False):
            # by number, a policy has said how many stand for all, whatever is measured of them
            found.of_all[side].append(_Wanted(needed, {side: piece[side]}))
        return
    if drawn.beside_lot and needed is None and cell.control.limits[cell.attacker.name].fail is None:
        found.every_member = True
        return
    surveys = {True: compared.members, False: compared.nonmembers}
    for side, judged in ((True, drawn.judged[0]), (False, drawn.judged[1])):
        count = None if needed is None else max(drawn.fewest, int(np.ceil(needed / judged)) + 1)
        long = np.diff(surveys[side].event_offsets) >= drawn.min_events
        found.of_all[side].append(_Wanted(count, {side: piece[side] & long}))


def _lot(wanted: Iterable[_Wanted], order: NDArray[np.int64], side: bool) -> int:
    """Return how many patients, in the order of the lot, give everybody what he wants."""
    return max(
        (
            len(order) if one.count is None else _nth(one.piece[side][order], one.count)
            for one in wanted
        ),
        default=len(order),
    )


def _nth(flags: Flags, count: int) -> int:
    """Return how many places hold the first `count` that are true, or all places."""
    at = np.flatnonzero(flags)
    return int(at[count - 1]) + 1 if 0 < count <= len(at) else 0 if count == 0 else len(flags)


def _about(
    records: Records,
    order: NDArray[np.int64],
    ranks: Mapping[str, ClassRanks],
    class_name: str | None,
) -> NDArray[np.int64]:
    """Return, in the order of the lot, all who have a class, or everybody where none is asked."""
    if class_name is None:
        return order
    has = np.zeros(len(records), dtype=np.bool_)
    counted = ranks[class_name].counted
    for start in range(0, len(records.code), EVENTS_AT_ONCE):
        at = np.flatnonzero(counted[records.code[start : start + EVENTS_AT_ONCE]]) + start
        has[np.searchsorted(records.offsets, at, side="right") - 1] = True
    return order[has[order]]


def _split(order: NDArray[np.int64], lot: int, drawn: Sequence[NDArray[np.int64]]) -> DrawnSplit:
    rank = ranks_of(order)
    beside = np.unique(np.concatenate([np.empty(0, np.int64), *(rank[own] for own in drawn)]))
    ranks = np.concatenate([np.arange(lot), beside[beside >= lot]])
    return DrawnSplit(order[ranks], ranks, lot, len(order))


# --- who is within reach ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Search:
    """The patients a label set is about, looked at in the order of the lot.

    Args:
        records: of the whole split; `records.code` indexes `codes`.
        order: [n] int64, places in `records` of those it is about.
    """

    records: Records
    codes: Sequence[str]
    tokenizer: Tokenizer
    seed: int
    max_length: int | None
    window: Any
    order: NDArray[np.int64]

    def find(
        self,
        recipes: Mapping[LabelKey, PromptRecipe],
        wanted: Mapping[LabelKey, Sequence[_Wanted]],
        side: bool,
    ) -> dict[LabelKey, AskedFor]:
        """Return whom each label set asks."""
        prompts: dict[LabelKey, list[bytes | None]] = {key: [] for key in recipes}
        done = 0
        lengths = np.diff(self.records.offsets)[self.order]
        ends = np.cumsum(lengths)
        while done < len(self.order) and (
            done < EXAMINED
            or not all(self._is_enough(prompts[k], wanted[k], side) for k in recipes)
        ):
            before = int(ends[done - 1]) if done else 0
            end = int(np.searchsorted(ends, before + EVENTS_AT_ONCE, side="right"))
            end = min(max(end, done + 1), max(EXAMINED, 2 * done), len(self.order))
            for key, own in self._prompts(self.order[done:end], recipes).items():
                prompts[key] += own
            done = end
        return {key: self._asked(prompts[key], wanted[key], side) for key in recipes}

    def _prompts(
        self, patients: NDArray[np.int64], recipes: Mapping[LabelKey, PromptRecipe]
    ) -> dict[LabelKey, list[bytes | None]]:
        """Return the key of each patient's prompt; None of who is out of reach."""
        own = self.records.select(patients)
        source = PromptSource(
            self.tokenizer.encode(own, self.codes, partial=True),
            subject_id=own.subject_id,
            codes=self.codes,
            tokenizer=self.tokenizer,
            seed=self.seed,
            max_length=self.max_length,
            window=self.window,
        )
        found = {}
        standing: ClassPlaces | None = None
        for key, recipe in recipes.items():
            if standing is None:
                standing = ClassPlaces.of(source, counted=recipe.counted, watch=recipe.watch)
            prompts = recipe.build(source, everybody=False, standing=standing)
            found[key] = [
                prompt_key(prompts.prompt(i)) if eligible else None
                for i, eligible in enumerate(prompts.eligible.tolist())
            ]
        return found

    def _last(
        self, prompts: Sequence[bytes | None], wanted: Iterable[_Wanted], side: bool
    ) -> int | None:
        """Return how many patients give every cell what it takes; None where they do not."""
        within = np.array([key is not None for key in prompts], dtype=np.bool_)
        last = 0
        for one in wanted:
            inside = within & one.piece[side][self.order[: len(within)]]
            if one.count is None or inside.sum() < one.count:
                return None
            last = max(last, _nth(inside, one.count))
        return last

    def _is_enough(
        self, prompts: Sequence[bytes | None], wanted: Iterable[_Wanted], side: bool
    ) -> bool:
        return self._last(prompts, wanted, side) is not None

    def _asked(
        self, prompts: Sequence[bytes | None], wanted: Sequence[_Wanted], side: bool
    ) -> AskedFor:
        last = self._last(prompts, wanted, side)
        last = len(prompts) if last is None else last
        within = np.array([key is not None for key in prompts], dtype=np.bool_)
        asked = [key for key in prompts if key is not None]
        # as many of all are within reach as of those who were looked at
        everybody = round(len(asked) * len(self.order) / max(len(prompts), 1))
        shared = np.full(len(prompts), np.nan)
        shared[within] = sharers(asked, everybody=max(everybody, len(asked)))
        return AskedFor(self.order[:last], len(self.order), shared[:last])
