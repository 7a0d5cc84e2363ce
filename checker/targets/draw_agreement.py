"""Whether what a model draws follows from seed and key, and is what it scores.

An audit draws with one verb and scores with another. A target that draws nothing, or noise, or
from another model than it scores looks safe to every attack that draws, whatever the model knows.
`score` says of each token how likely it was and what log-probability was to be expected, which is
enough to tell, with no more than a few hundred continuations at temperature 1 and top-p 1:

*Martingale.* Given what came before, the log-probability of a drawn token minus its expectation has
mean zero and the variance that `score` gives, whether or not the record ends on the way. So the sum
over all draws, divided by the root of the summed variances, is about standard normal (the central
limit theorem for martingales: Brown 1971).

*Frequencies.* Scores that are all alike have no variance, and the martingale no power. So the first
tokens that one round draws are scored, and a second round of other keys must draw those tokens as
often as they are likely; records must end as often as the end is likely; and two continuations of
one prompt must be equal as often as the first is likely.

Rare events are not normal: one token of probability 1e-5 among a thousand that are certain would be
ten standard errors. So each sum's error is widened by its largest summand, as in Bernstein's
inequality, and where a sum is still beyond the bound, everything is drawn once more with other
keys, and only what is beyond it again is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from checker.errors import TargetError
from checker.targets.protocol import Sampler, TargetModel, Tokens

MOST_STANDARD_ERRORS = 4.0
"""What a sum may be from zero; exceeded twice by chance in fewer than one of 10^6 audits."""

SAMPLES = 8
"""Continuations of a prompt in each round."""

FIRST_TOKENS = 64
"""Further continuations of a prompt, of one token, whose frequency is compared with its scores."""

DRAWN_TOKENS = 32
"""At most so many tokens are drawn of each continuation."""

_ROUNDING = {"float16": 1e-2, "bfloat16": 3e-2}
"""Nats a token by which score and draw may differ in their rounding; 1e-4 elsewhere."""

_FLIPS = {"float16": 0.02, "bfloat16": 0.05}
"""Share of draws that rounding may turn into another token; 2e-4 elsewhere. It is at most half the
difference between two ways to the same log-probabilities."""

_LARGEST = 30.0  # nats; a token of probability 1e-13 is not drawn by chance
_MOST = 1e6  # standard errors; stands for infinity in a manifest
_LOOKED_AT = (1, 3, 7, 15, 31)  # drawn tokens before which the end's probability is asked for

Rollouts = list[list[Tokens]]


class DrawsDisagree(Exception):
    """A check failed; never leaves `checker.targets`.

    Args:
        name: of the check.
        value: what it found.
        reason: in a sentence.
    """

    def __init__(self, name: str, value: float, reason: str) -> None:
        super().__init__(reason)
        self.name, self.value, self.reason = name, value, reason


@dataclass(frozen=True, slots=True)
class _Sum:
    """A sum whose expectation is zero where draws and scores are of one model.

    Args:
        total: the sum.
        variance: summed over its terms, each given what came before.
        rounding: how far numbers of the model's format may shift it.
        reason: given the size in standard errors, what it means.
        largest: absolute term.
    """

    total: float
    variance: float
    rounding: float
    reason: Callable[[str], str]
    largest: float = 1.0

    @property
    def standard_errors(self) -> float:
        beyond = max(0.0, abs(self.total) - self.rounding)
        return standard_errors(beyond, variance=self.variance, largest=self.largest)


def standard_errors(total: float, *, variance: float, largest: float) -> float:
    """Return how many standard errors a sum of martingale differences lies from zero.

    Args:
        total: the sum.
        variance: summed over its terms, each given what came before.
        largest: absolute term; by a third of its product with the sum the variance is widened, as
            in Bernstein's inequality, because rare events are not normal.
    """
    beyond = abs(total)
    widened = variance + largest * beyond / 3.0
    return min(_MOST, beyond / math.sqrt(max(widened, 1e-12)))


class DrawExamination:
    """Draws continuations of a few prompts and compares them with each other and the scores.

    Args:
        model: offers "samples", and "logprobs" where draws are compared with scores.
        prompts: n distinct prompts that leave room for the horizon.
        horizon_tokens: of each continuation.
        eos_id: ends a continuation; None means that nothing does.
        seed: of the sampler.
    """

    def __init__(
        self,
        model: TargetModel,
        prompts: Sequence[Tokens],
        *,
        horizon_tokens: int,
        eos_id: int | None,
        seed: int,
    ) -> None:
        self._model, self._prompts, self._eos_id = model, list(prompts), eos_id
        self._sampler = Sampler(
            temperature=1.0, top_p=1.0, horizon_tokens=horizon_tokens, seed=seed
        )

    def run(self) -> dict[str, float]:
        """Return what each check found.

        Raises:
            DrawsDisagree: a check failed.
            TargetError: the model fails.
        """
        first = self._drawn(0)
        self._require_sound(first)
        found = {"same-key": self._same_key(first), "batch-draws": self._batches(first)}
        if "logprobs" not in self._model.info.capabilities:
            self._require_content(first)
            return found
        sums = self._sums(first, 1)
        if any(one.standard_errors > MOST_STANDARD_ERRORS for one in sums.values()):
            again = self._sums(self._drawn(2), 3)
            for name, one in sums.items():
                sums[name] = min(one, again[name], key=lambda which: which.standard_errors)
            self._refuse(sums, drew_nothing=not any(len(row) for rows in first for row in rows))
        return found | {name: one.standard_errors for name, one in sums.items()}

    def _refuse(self, sums: dict[str, _Sum], *, drew_nothing: bool) -> None:
        """Refuse the model for the sum that is furthest beyond the bound, if any is."""
        worst = max(sums, key=lambda name: sums[name].standard_errors)
        if sums[worst].standard_errors <= MOST_STANDARD_ERRORS:
            return
        if drew_nothing and sums["end-of-record"].standard_errors > MOST_STANDARD_ERRORS:
            worst = "end-of-record"
        size = sums[worst].standard_errors
        raise DrawsDisagree(worst, size, sums[worst].reason(f"{size:.3g} standard errors"))

    # --- what is drawn ------------------------------------------------------------------------

    def _rollout(
        self,
        rows: Sequence[int],
        round_: int,
        *,
        samples: int = SAMPLES,
        sampler: Sampler | None = None,
    ) -> Rollouts:
        return self._model.rollout(
            [self._prompts[row] for row in rows],
            keys=[(round_ << 32) | row for row in rows],
            samples=samples,
            sampler=sampler or self._sampler,
        )

    def _firsts(self, round_: int) -> list[NDArray[np.int64]]:
        """Return the first tokens of further continuations of each prompt, the end included."""
        drawn = self._rollout(
            range(len(self._prompts)),
            round_ | 1 << 16,  # keys of their own
            samples=FIRST_TOKENS,
            sampler=replace(self._sampler, horizon_tokens=1),
        )
        return [np.array([self._first(row) for row in rows], dtype=np.int64) for rows in drawn]

    def _drawn(self, round_: int) -> Rollouts:
        return self._rollout(range(len(self._prompts)), round_)

    def _require_sound(self, drawn: Rollouts) -> None:
        """Check that continuations are what `rollout` promises, before anything is made of them."""
        counts = [len(rows) for rows in drawn]
        if counts != [SAMPLES] * len(self._prompts):
            raise DrawsDisagree(
                "same-key",
                float(abs(sum(counts) - SAMPLES * len(self._prompts))),
                f"of {len(self._prompts)} prompts {SAMPLES} continuations each were asked for, and "
                f"{sum(counts)} of {len(counts)} came; rollout returns `samples` arrays for each",
            )
        horizon, size = self._sampler.horizon_tokens, self._model.info.vocabulary_size
        for row in (row for rows in drawn for row in rows):
            if len(row) > horizon or (len(row) and (int(row.min()) < 0 or int(row.max()) >= size)):
                raise DrawsDisagree(
                    "same-key",
                    float(len(row)),
                    f"a continuation holds {len(row)} tokens or ids that do not exist; the horizon "
                    f"was {horizon}, and ids run from 0 to {size - 1}",
                )
            if self._eos_id is None and len(row) < horizon:
                raise DrawsDisagree(
                    "end-of-record",
                    float(horizon - len(row)),
                    f"a continuation ended after {len(row)} of {horizon} tokens, but the target "
                    "names no token that ends a record (tokenization.specials.eos)",
                )
            if self._eos_id is not None and (row == self._eos_id).any():
                raise DrawsDisagree(
                    "end-of-record",
                    float((row == self._eos_id).sum()),
                    "a continuation goes on after the end-of-record token; rollout returns neither "
                    "that token nor what follows it",
                )

    def _require_content(self, drawn: Rollouts) -> None:
        """Refuse continuations that say nothing, where no scores can explain them."""
        distinct = {row.tobytes() for rows in drawn for row in rows}
        if len(distinct) == 1 and len(self._prompts) > 1:
            what = "empty" if distinct == {b""} else "one and the same"
            raise DrawsDisagree(
                "repetition",
                _MOST,
                f"all continuations of {len(self._prompts)} prompts are {what}, and there are no "
                "scores that could explain it",
            )

    # --- keys and batches -----------------------------------------------------------------------

    def _same_key(self, first: Rollouts) -> float:
        """Return the share of continuations that come out differently when drawn once more."""
        flips, _ = _disagreements(first, self._drawn(0))
        total = SAMPLES * len(self._prompts)
        if flips:
            raise DrawsDisagree(
                "same-key",
                flips / total,
                f"{flips} of {total} continuations changed when the same prompts were continued "
                "under the same seed, keys and samples; a draw must follow from these alone",
            )
        return 0.0

    def _batches(self, first: Rollouts) -> float:
        """Return the share of draws that change with the batch and with how many are asked for."""
        rows = list(range(len(self._prompts)))
        batches = [rows[:1], rows[:0:-2], rows[-2:0:-2]]
        flips = draws = 0
        for batch in filter(None, batches):
            other = self._rollout(batch, 0, samples=SAMPLES // 2)
            ours = [first[row][: SAMPLES // 2] for row in batch]
            found = _disagreements(ours, other)
            flips, draws = flips + found[0], draws + found[1]
        rate = _FLIPS.get(self._model.info.dtype, 2e-4)
        if flips > rate * draws + MOST_STANDARD_ERRORS * (rate * draws) ** 0.5:
            raise DrawsDisagree(
                "batch-draws",
                flips / max(draws, 1),
                f"{flips} continuations changed with the other prompts of the batch, their order "
                "or the number of samples; a draw must follow from seed, key and sample alone",
            )
        return flips / max(draws, 1)

    # --- draws against scores -------------------------------------------------------------------

    def _sums(self, first: Rollouts, round_: int) -> dict[str, _Sum]:
        second, firsts = self._drawn(round_), self._firsts(round_)
        scored = [self._scored(drawn) for drawn in (first, second)]
        return {
            "end-of-record": self._ends(second, firsts),
            "drawn-against-scored": self._martingale(scored, [first, second]),
            "first-tokens": self._frequency(first, firsts),
            "repetition": self._repetition(second, scored[1]),
        }

    def _whole(self, prompt: Tokens, drawn: Tokens) -> Tokens:
        """Return prompt and continuation with the end, where it was drawn."""
        if self._eos_id is None or len(drawn) == self._sampler.horizon_tokens:
            return np.concatenate([prompt, drawn]).astype(np.int32)
        return np.concatenate([prompt, drawn, [self._eos_id]]).astype(np.int32)

    def _scored(self, drawn: Rollouts) -> list[list[tuple[NDArray[np.float64], ...]]]:
        """Return log-probability, its mean and its spread at each drawn token, end included."""
        pairs = [(p, row) for p, rows in zip(self._prompts, drawn, strict=True) for row in rows]
        scores = self._model.score([self._whole(prompt, row) for prompt, row in pairs])
        parts = [
            tuple(
                np.asarray(column[len(prompt) - 1 :], dtype=np.float64)
                for column in (one.logprob, one.mean, one.std)
            )
            for (prompt, _), one in zip(pairs, scores, strict=True)
        ]
        return [parts[i : i + SAMPLES] for i in range(0, len(parts), SAMPLES)]

    def _martingale(
        self,
        scored: Sequence[list[list[tuple[NDArray[np.float64], ...]]]],
        drawn: Sequence[Rollouts],
    ) -> _Sum:
        columns = [row for half in scored for rows in half for row in rows]
        logprob, mean, std = (np.concatenate([row[i] for row in columns]) for i in range(3))
        total = float((logprob - mean).sum())
        per_token = total / max(len(logprob), 1)
        lengths = np.array([len(row) for half in drawn for rows in half for row in rows])
        below = "less" if total < 0 else "more"
        return _Sum(
            total,
            float((std**2).sum()),
            self._rounding * len(logprob),
            lambda size: (
                f"what it draws is not what it scores: the {int(lengths.sum())} tokens that it "
                f"drew are {abs(per_token):.3g} nats {below} likely a token than its own scores "
                f"expect ({size}); rollout and score must be of one model"
            ),
            largest=float(np.abs(logprob - mean).max(initial=0.0).clip(max=_LARGEST)),
        )

    def _frequency(self, first: Rollouts, firsts: list[NDArray[np.int64]]) -> _Sum:
        """Return whether first tokens that the one round drew come as often in the other."""
        tokens = [sorted({self._first(row) for row in rows}) for rows in first]
        chances = self._chances(
            [(p, t) for p, some in zip(self._prompts, tokens, strict=True) for t in some]
        )
        ends = np.cumsum([len(some) for some in tokens])[:-1]
        expected = np.array([part.sum() for part in np.split(chances, ends)])
        hits = sum(
            int(np.isin(drawn, some).sum()) for some, drawn in zip(tokens, firsts, strict=True)
        )
        drawn = FIRST_TOKENS * len(self._prompts)
        wanted = float(FIRST_TOKENS * expected.sum())
        return _Sum(
            hits - wanted,
            float(FIRST_TOKENS * (expected * (1.0 - expected)).clip(min=0.0).sum()),
            self._rounding * drawn,
            lambda size: (
                f"first tokens that its scores expect in {wanted:.1f} of {drawn} draws came in "
                f"{hits} ({size}); rollout and score must be of one model"
            ),
        )

    def _ends(self, second: Rollouts, firsts: list[NDArray[np.int64]]) -> _Sum:
        """Return whether records end as often as the end is likely.

        Where it is asked for depends on nothing drawn later, so the differences are a martingale.
        """
        if self._eos_id is None:
            return _Sum(0.0, 0.0, 0.0, str)
        places: list[tuple[Tokens, int, int]] = []  # what was seen, how often, how often it ended
        for prompt, rows, drawn in zip(self._prompts, second, firsts, strict=True):
            places.append((prompt, len(drawn), int((drawn == self._eos_id).sum())))
            for row in rows[:2]:
                places += [
                    (np.concatenate([prompt, row[:at]]), 1, int(len(row) == at))
                    for at in _LOOKED_AT
                    if at <= len(row) and at < self._sampler.horizon_tokens
                ]
        chances = self._chances([(seen, self._eos_id) for seen, _, _ in places])
        times = np.array([times for _, times, _ in places])
        ended = sum(ended for _, _, ended in places)
        asked, expected = int(times.sum()), float((times * chances).sum())
        what = (
            "all continuations are empty"
            if not any(len(row) for rows in second for row in rows)
            else f"records ended at {ended} of {asked} places"
        )
        return _Sum(
            ended - expected,
            float((times * chances * (1.0 - chances)).clip(min=0.0).sum()),
            self._rounding * asked,
            lambda size: (
                f"{what}, though its scores expect {expected:.1f} ends at {asked} places ({size})"
            ),
        )

    def _repetition(
        self, drawn: Rollouts, scored: list[list[tuple[NDArray[np.float64], ...]]]
    ) -> _Sum:
        """Return whether pairs of continuations are equal as often as the first is likely."""
        total = variance = 0.0
        equal = 0
        for rows, columns in zip(drawn, scored, strict=True):
            for one in range(0, SAMPLES, 2):
                chance = min(1.0, float(np.exp(columns[one][0].sum())))
                same = np.array_equal(rows[one], rows[one + 1])
                equal += same
                total += same - chance
                variance += chance * (1.0 - chance)
        pairs = len(drawn) * (SAMPLES // 2)
        return _Sum(
            total,
            variance,
            self._rounding * self._sampler.horizon_tokens**0.5 * (equal - total),
            lambda size: (
                f"{equal} of {pairs} pairs of continuations are equal, where its scores expect "
                f"{equal - total:.1f} ({size}); samples of one key must be independent draws"
            ),
        )

    # --- helpers ------------------------------------------------------------------------------

    @property
    def _rounding(self) -> float:
        return _ROUNDING.get(self._model.info.dtype, 1e-4)

    def _first(self, row: Tokens) -> int:
        """Return what was drawn first, the end included."""
        if len(row):
            return int(row[0])
        assert self._eos_id is not None  # `_require_sound` has seen to it
        return self._eos_id

    def _chances(self, asked: Sequence[tuple[Tokens, int]]) -> NDArray[np.float64]:
        """Return the probability of a token after each of some histories."""
        sequences = [np.append(seen, token).astype(np.int32) for seen, token in asked]
        logprobs = [float(one.logprob[-1]) for one in self._model.score(sequences)]
        chances: NDArray[np.float64] = np.exp(np.minimum(np.array(logprobs), 0.0))
        return chances


def _disagreements(left: Rollouts, right: Rollouts) -> tuple[int, int]:
    """Return how many continuations differ, and how many draws were compared until they did."""
    flips = draws = 0
    if [len(rows) for rows in left] != [len(rows) for rows in right]:
        raise TargetError("preflight: rollout returned another number of continuations than asked")
    for ours, theirs in zip(left, right, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            shared = min(len(a), len(b))
            apart = np.flatnonzero(a[:shared] != b[:shared])
            differs = bool(len(apart)) or len(a) != len(b)
            flips += differs
            draws += (int(apart[0]) if len(apart) else shared) + 1
    return flips, draws
