"""Which job asks the model which prompt: each prompt once, whoever needs it.

Jobs of one *group* draw in the same way from the same model, but for how many samples they draw.
Samples have numbers, and a sample's number decides the draw: who needs the samples 0 to 9 of a
prompt of which another draws 0 to 19 reads his from these. What an earlier cell needed is never
changed by a later one: a class appended to a policy leaves all earlier jobs as they are, but for
one thing. Where compensators are summed while drawing, every job watches all classes of the policy
that ask for draws like its own, because one class more costs next to nothing there and another pass
over what was drawn otherwise.

Within a job, prompts stand in the order of their tokens. A prompt that is the beginning of another
stands right before it, and those with the longest common beginning stand side by side, so that
whoever runs the job can process a beginning once. Jobs do not mix attackers for that. What a longer
prompt could take over from a shorter one of the same patient is half of all prompts' tokens, but
prompts are a fiftieth of what is generated from them (37 tokens on average at four levels up to 50
events, against 20 continuations of 100), and a policy that names one attacker more would find none
of its evidence again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pydantic.alias_generators import to_camel

from checker.canonical import digest
from checker.targets import Tokens


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How continuations are drawn, as far as a job's digest depends on it.

    `curtailed` is the threshold and the watch sets by which a prompt's remaining samples may be
    left out once every outcome is known, or None where all are drawn. `watch` has the ids of each
    class whose compensators are summed while drawing, or is None where none are. `threshold_test`
    says how many samples every prompt has, and which tests ask for more of it, up to `samples`; it
    is None where all have as many.
    """

    samples: int
    horizon_tokens: int
    temperature: float
    top_p: float
    curtailed: dict[str, Any] | None = None
    watch: list[list[int]] | None = None
    threshold_test: dict[str, Any] | None = None

    @property
    def tokens(self) -> int:
        """Most tokens that are drawn from one prompt."""
        return self.samples * self.horizon_tokens

    def inputs(self) -> dict[str, Any]:
        """Return the settings as part of a job's inputs."""
        named = {to_camel(one.name): getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in named.items() if value is not None}

    def alike(self) -> str:
        """Return the digest of what prompts drawn by several settings must share but the number."""
        return digest({**self.inputs(), "samples": None, "thresholdTest": None})


@dataclass
class PromptAllocation:
    """All prompts of a plan, and the jobs that hold them.

    Args:
        tokens: of every prompt that will be run, by its key.
    """

    tokens: dict[bytes, Tokens] = field(default_factory=dict)
    _keys: dict[bytes, bytes] = field(default_factory=dict)
    _homes: dict[str, dict[int, dict[bytes, int]]] = field(default_factory=dict)
    _jobs: dict[str, int] = field(default_factory=dict)

    def keep(self, key: bytes, tokens: Tokens) -> bytes:
        """Keep a prompt's tokens, once, and return its key, which equal prompts then share."""
        known = self._keys.get(key)
        if known is None:
            self._keys[key] = key
            self.tokens[key] = tokens.copy()  # a view would keep all prompts of its split alive
            return key
        return known

    def fresh(
        self,
        group: str,
        keys: Iterable[bytes],
        *,
        samples: int,
        a_job: int,
        order: Literal["like", "random", "given"],
    ) -> Iterator[list[bytes]]:
        """Yield the prompts that no job of the group draws often enough yet, those of one job each.

        Args:
            group: digest of how is drawn.
            keys: prompts that are needed, in any order.
            samples: how many of each.
            a_job: so many prompts at most make up a job.
            order: like stands by like, jobs are random samples of the prompts, or as given.
        """
        missing = [key for key in dict.fromkeys(keys) if self._home(group, key, samples) is None]
        # keys are hashes, so their order is a random one, and the same in every plan
        if order != "given":
            missing.sort(key=None if order == "random" else self._spelling)
        for start in range(0, len(missing), a_job):
            yield sorted(missing[start : start + a_job], key=self._spelling)

    def put(self, group: str, keys: Iterable[bytes], *, samples: int, job: str) -> None:
        """Note that a job draws so many samples of some prompts."""
        number = self._jobs.setdefault(job, len(self._jobs))
        layer = self._homes.setdefault(group, {}).setdefault(samples, {})
        layer.update(dict.fromkeys(keys, number))

    def homes(self, group: str, keys: Iterable[bytes], *, samples: int) -> list[str]:
        """Return the jobs that hold so many samples of some prompts, in the order of the plan."""
        found = {self._home(group, key, samples) for key in keys}
        jobs = list(self._jobs)
        return [jobs[number] for number in sorted(n for n in found if n is not None)]

    def found(
        self, group: str, keys: Iterable[bytes], *, samples: int
    ) -> tuple[list[str], list[bytes]]:
        """Return the jobs that hold so many samples of some prompts, and the prompts of none."""
        known = {key: self._home(group, key, samples) for key in keys}
        read = self.homes(
            group, [k for k, home in known.items() if home is not None], samples=samples
        )
        return read, [key for key, home in known.items() if home is None]

    def _home(self, group: str, key: bytes, samples: int) -> int | None:
        """Return the job that draws a prompt often enough, and no oftener than need be."""
        for drawn, layer in sorted(self._homes.get(group, {}).items()):
            if drawn >= samples and key in layer:
                return layer[key]
        return None

    def _spelling(self, key: bytes) -> bytes:
        """Return what puts prompts in the order of their tokens, a beginning before the whole."""
        return self.tokens[key].astype(">i4").tobytes()
