"""What a family of metrics estimates from: the observations of one split, whatever the attack."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from checker.errors import InsufficientData


@dataclass(frozen=True, slots=True)
class Clusters:
    """Outcomes by prompt with the number of patients who share it: the sampling units (METHODS §1).

    Args:
        value: [k] float64, one per distinct prompt: in [0, 1], or of two models the difference of
            such outcomes in [-1, 1].
        size: [k] int64, patients with that prompt.
        of: who the patients are, for the message when there is nobody.
        partial: more are planned, so bounds have to hold at whatever number sampling stops.
    """

    value: NDArray[np.float64]
    size: NDArray[np.int64]
    of: str = "patients"
    partial: bool = False

    @classmethod
    def by_prompt(
        cls,
        value: NDArray[np.float64] | NDArray[np.bool_],
        prompt: NDArray[np.int64],
        *,
        of: str = "patients",
    ) -> Clusters:
        """Take the mean over the patients of each prompt.

        Args:
            value: [n] in [0, 1], one per patient.
            prompt: [n] int64, equal for equal prompts.
            of: who they are.
        """
        _, row, size = np.unique(prompt, return_inverse=True, return_counts=True)
        return cls(np.bincount(row, weights=value, minlength=len(size)) / size, size, of)

    @classmethod
    def of_counts(cls, hits: int, n: int, *, of: str = "patients") -> Clusters:
        """Return n patients of whom the first `hits` were hit, each with a prompt of their own."""
        return cls((np.arange(n) < hits).astype(np.float64), np.ones(n, dtype=np.int64), of)

    def counted(self) -> tuple[float, int]:
        """Return hits and patients that carry as much information as the clusters do.

        The rate is over patients; its n is Kish's effective sample size (Σm)² / Σm² for outcomes
        that are equal within a prompt, rounded down. With one patient a prompt it is the number of
        patients, with equally many it is the number of prompts.

        Raises:
            InsufficientData: there is nobody.

        Reference:
            Kish 1965, Survey Sampling, section 5.4 (design effect at intraclass correlation 1).
        """
        patients = int(self.size.sum())
        if patients == 0:
            raise InsufficientData(self.of, needed=1, got=0)
        n = int(patients**2 // int((self.size**2).sum()))
        return float(self.value @ self.size) / patients * n, n

    def discordant(self) -> tuple[float, float, int]:
        """Return how often each of two models hit alone, where the values are differences, and n.

        Raises:
            InsufficientData: there is nobody.
        """
        target, n = replace(self, value=np.maximum(self.value, 0)).counted()
        reference, _ = replace(self, value=np.maximum(-self.value, 0)).counted()
        return target, reference, n

    def halves(self, rng: np.random.Generator) -> tuple[Clusters, Clusters]:
        """Cut the prompts in two at random."""
        chosen = np.zeros(len(self.size), dtype=np.bool_)
        chosen[rng.permutation(len(chosen))[: len(chosen) // 2]] = True
        first, second = (
            replace(self, value=self.value[at], size=self.size[at]) for at in (chosen, ~chosen)
        )
        return first, second


@dataclass(frozen=True, slots=True)
class Ranked:
    """Patients of one split, ranked by a score that should tell who has the class.

    Args:
        score: [n] float64, higher is more like the class.
        positive: [n] bool, has the class and counts.
        negative: [n] bool, does not have it; a patient may be neither.
        prevalence: of the class, which an average precision depends on; None takes the split's own.
    """

    score: NDArray[np.float64]
    positive: NDArray[np.bool_]
    negative: NDArray[np.bool_]
    prevalence: float | None = None

    @property
    def positives(self) -> NDArray[np.float64]:
        """Scores of those who have the class."""
        return self.score[self.positive]

    @property
    def negatives(self) -> NDArray[np.float64]:
        """Scores of those who do not."""
        return self.score[self.negative]

    def halves(self, rng: np.random.Generator) -> tuple[Ranked, Ranked]:
        """Cut the patients in two at random."""
        order = rng.permutation(len(self.score))
        first, second = (
            replace(
                self, score=self.score[at], positive=self.positive[at], negative=self.negative[at]
            )
            for at in (order[::2], order[1::2])
        )
        return first, second


@dataclass(frozen=True, slots=True)
class RepeatedRecords:
    """Whose records R rollouts repeat.

    Members stand in `groups` random groups, each compared with an equally large set of nonmembers.
    With no memorization `member_groups` and `nonmember_groups` have the same expectation, and so
    have the two columns of `halves`.

    Args:
        member_groups: [R] int64, groups of members of which the rollout holds a run that no
            nonmember of the set has.
        nonmember_groups: [R] int64, groups against which the rollout holds a run of a nonmember of
            the set that no member of the group has.
        repeated: [R] int64, whose runs those of nonmembers are: 0 where there are none, k >= 1
            where all are the k-th nonmember's alone (in random order), -1 where more have them.
            Which patients are in the set is chance, and this says how much hangs on each.
        halves: [R, 2] int64, the same of the runs that only one random half of the nonmembers has:
            the placebo.
        groups: how many groups there are, >= 1.
        nonmembers: size of the set of nonmembers, and of each group but for one patient.
    """

    member_groups: NDArray[np.int64]
    nonmember_groups: NDArray[np.int64]
    repeated: NDArray[np.int64]
    halves: NDArray[np.int64]
    groups: int
    nonmembers: int


@dataclass(frozen=True, slots=True)
class Guesses:
    """Guesses which canaries were planted, some of them right.

    Args:
        correct: of the guesses.
        n: guesses, the others abstained from.
        canaries: planted and left out, a fair coin having decided which.
        delta: of the (ε, δ) that the bound speaks of.
        chosen: how their number was, for the method.
    """

    correct: int
    n: int
    canaries: int
    delta: float
    chosen: str
