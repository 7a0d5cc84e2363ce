"""A target by itself: what must be shown of it before any audit means something (METHODS §5).

An audit makes the same checks before it asks a model anything. Made alone they take a minute and no
policy, so that whoever describes a model learns whether it was described rightly.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from checker.errors import TargetError
from checker.evidence import KEY_BYTES, Pseudonyms
from checker.policy import Located, load_policy
from checker.policy.documents import AuditTarget, LeakagePolicy
from checker.report.wording.reasons import reason_words
from checker.run.execution import Execution
from checker.run.executors.worker import ReadyJob, Worker, usage_of
from checker.run.prepare import Prepared, prepare_documents
from checker.targets.backends.generations import is_recorded
from checker.targets.conformance import ConformanceError, Usage, tolerance_of
from checker.verdict.admissibility import admissibility_checks
from checker.verdict.instrument import REASONS_OF

HORIZON = 100
"""Tokens that are drawn where no policy says how many: as many as the paper's longest tests."""

DESCRIBED = {"attack-not-shown-to-work": "attack-not-shown-to-work", **REASONS_OF}
"""The checks that tell whether the description is the model's, with the reason each one gives."""

_KINDS = (
    "prompt-format",
    "other-descriptions",
    "record-parts",
    "expected-tokens",
    "expected-loss",
)

Answer = Literal["shown", "not shown", "wrong"]

_SCORES = {
    "later-tokens": "A token's score does not depend on what follows it",
    "record-length": "A token's score does not depend on how long the record goes on",
    "batch-composition": "Scores do not depend on the other records of a batch",
    "sampled-scores": "A sampler's probabilities are those of the model, after top-p",
    "probability-sum": "Probabilities of the next token sum to one",
    "chunked-head": "The output layer gives the same in chunks",
    "one-pass": "Whole passes know the beginning of a long record no better than steps",
    "cached-decoding": "Decoding in steps gives the scores of whole passes",
    "left-padding": "Prompts of different lengths are decoded together as each alone",
    "seeded-draws": "Tokens are those that seed, key and sample give",
    "watched-classes": "A step names a class as likely as its tokens",
}
_DRAWS = {
    "same-key": "The same seed and key draw the same",
    "batch-draws": "Draws do not depend on the other prompts of a batch",
}
_AGREEMENT = {
    "end-of-record": "Records end as often as the end is likely",
    "drawn-against-scored": "What is drawn is what is scored",
    "first-tokens": "First tokens are drawn as often as they are likely",
    "repetition": "Continuations are equal as often as they should be",
}
_RECORDED = (
    "Let the model be asked where that can be done (docs/targets.md): draws from a file can fail a"
    " release, and nothing passes by them."
)
_TITLES = _SCORES | _DRAWS | _AGREEMENT

_QUESTIONS = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: target-test, version: "1", title: Questions to a model, owner: phigate}
spec:
  context: internal
  attackers:
    record:
      title: Whoever holds the record
      knows: {static: all, events: all}
      access: logprobs
  controls:
    membership:
      title: Whether the model knows its members
      probe: membership-inference
      metric: membership_auroc
      params: {score: loss}
      limits: {record: {fail: 0.9}}
"""


@dataclass(frozen=True, slots=True)
class TargetCheck:
    """One thing that was to be shown of a target.

    Args:
        name: in kebab case.
        title: as it reads when it holds.
        answer: "shown", "not shown" (there was too little to go by) or "wrong".
        found: in a sentence.
        next_step: what to do about it; empty where it was shown.
    """

    name: str
    title: str
    answer: Answer
    found: str
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class TargetExamination:
    """What was shown of a target.

    Args:
        target: its name and version.
        model_sha256: digest of the model's files.
        environment: what its numbers depend on: backend, device, format of numbers, libraries.
        capabilities: what it can be asked, sorted.
        usage: the lengths that were gone through.
        checks: in the order they were made; nothing is asked of a model that contradicts itself.
    """

    target: str
    model_sha256: str | None
    environment: dict[str, Any]
    capabilities: tuple[str, ...]
    usage: Usage
    checks: tuple[TargetCheck, ...]

    @property
    def answer(self) -> Answer:
        """The worst of the checks' answers."""
        answers = {check.answer for check in self.checks}
        if "wrong" in answers:
            return "wrong"
        return "not shown" if "not shown" in answers else "shown"


def examine_target(
    target: Located[AuditTarget],
    *,
    policy: Located[LeakagePolicy] | None = None,
    device: str | None = None,
    advance: Callable[[int], None] = lambda tokens: None,
) -> TargetExamination:
    """Open a target's model and check it, and its description, as an audit would.

    Args:
        target: what to test.
        policy: whose prompts and horizons decide how long the sequences are that are compared;
            without one whole records are, and `HORIZON` tokens after the longest prompt that fits.
        device: overrides the target's `model.device`.
        advance: called with the number of tokens done since the last call.

    Raises:
        DocumentError: policy and target do not fit each other.
        DataError: the patients or the vocabulary cannot be used.
        TargetError: the model cannot be opened, or fails at what it is asked.
    """
    prepared = prepare_documents(policy or _questions(), target, device=device)
    execution = Execution(
        prepared.plan, prepared.audit.workload, Pseudonyms(secrets.token_bytes(KEY_BYTES))
    )
    model = prepared.open_target()
    worker = Worker(execution, {"target": lambda: model})
    environment = worker.open(["target"])
    usage = usage_of(execution) if policy is not None else _widest(usage_of(execution), prepared)
    capabilities = frozenset(prepared.plan.target.capabilities)
    try:
        found, refused = worker.preflight(usage), None
    except ConformanceError as error:
        found, refused = error.found, error
    checks = _conformance(
        found,
        capabilities,
        dtype=environment["dtype"],
        refused=refused,
        recorded=is_recorded(model),
    )
    if refused is None:
        checks += _description(prepared, worker, advance)
    head = prepared.target.document.metadata
    return TargetExamination(
        target=f"{head.name} {head.version}",
        model_sha256=prepared.plan.target.model_sha256,
        environment=environment,
        capabilities=tuple(sorted(capabilities)),
        usage=usage,
        checks=tuple(checks),
    )


def _questions() -> Located[LeakagePolicy]:
    return load_policy(Path("target-test.yaml"), text=_QUESTIONS)


def _widest(usage: Usage, prepared: Prepared) -> Usage:
    """Let the draws, too, come to every length that the records have."""
    limit = prepared.audit.workload.max_length
    longest = usage.longest_record + HORIZON
    longest = longest if limit is None else min(longest, limit)
    horizon = min(HORIZON, max(1, longest // 2))
    return replace(usage, longest_prompt=max(1, longest - horizon), horizon_tokens=horizon)


def _conformance(
    found: dict[str, float],
    capabilities: frozenset[str],
    *,
    dtype: str,
    refused: ConformanceError | None,
    recorded: bool,
) -> list[TargetCheck]:
    """Say what a model's comparison with itself showed."""
    checks = []
    # a backend may make checks of its own, and name them as it likes
    titles = _TITLES | {name: _untitled(name) for name in found if name not in _TITLES}
    for name, title in titles.items():
        if refused is not None and name == refused.check:
            continue
        if name in found:
            checks.append(TargetCheck(name, title, "shown", _deviation(name, found[name], dtype)))
        elif recorded and name in _DRAWS:
            found_out = "The draws come from a file, so nobody can draw them anew and compare."
            checks.append(TargetCheck(name, title, "not shown", found_out, _RECORDED))
        elif refused is None and (lacks := _lacks(name, capabilities)):
            checks.append(
                TargetCheck(
                    name,
                    title,
                    "not shown",
                    f"The backend offers no {lacks}, so nobody can tell.",
                    f"Offer '{lacks}' in the backend if the model can do it; what needs it in a"
                    " policy ends inconclusive.",
                )
            )
    if refused is not None:
        step = (
            "The model, or the backend that opens it, contradicts itself, so no audit can rest on"
            " it. Correct the backend; of a checkpoint, compare its configuration with the one it"
            " was trained with."
        )
        title = titles.get(refused.check) or _untitled(refused.check)
        checks.append(TargetCheck(refused.check, title, "wrong", str(refused), step))
    return checks


def _untitled(name: str) -> str:
    return f"The backend's own check holds: {name}"


def _lacks(name: str, capabilities: frozenset[str]) -> str | None:
    """Return the capability that a check needs and the model lacks.

    What only some backends can be asked, because only they decode through a cache, is no lack.
    """
    if name in _DRAWS or name in _AGREEMENT:
        if "samples" not in capabilities:
            return "samples"
        return "logprobs" if name in _AGREEMENT and "logprobs" not in capabilities else None
    asked_of_all = name in ("later-tokens", "record-length", "batch-composition")
    return "logprobs" if asked_of_all and "logprobs" not in capabilities else None


def _deviation(name: str, value: float, dtype: str) -> str:
    if name == "probability-sum":
        allowed = tolerance_of(name, dtype)
        return f"largest deviation from one {value:.2g}; {allowed:g} is allowed"
    if name in ("watched-classes", "seeded-draws"):
        allowed = tolerance_of(name, dtype)
        return f"largest deviation of a probability {value:.2g}; {allowed:g} is allowed"
    if name not in _TITLES:
        return f"largest deviation {value:.2g}; {tolerance_of(name, dtype):g} is allowed"
    if name in _SCORES:
        return f"largest deviation {value:.2g} nats; {tolerance_of(name, dtype):g} are allowed"
    if name in _DRAWS:
        return f"{value:.2%} of draws differ"
    return f"{value:.2f} standard errors from what is expected"


def _description(
    prepared: Prepared, worker: Worker, advance: Callable[[int], None]
) -> list[TargetCheck]:
    """Say whether the description is the model's."""
    evidence = {}
    crashes = {}
    for job in prepared.plan.jobs:
        if job.kind in _KINDS:
            outcome = worker.run(ReadyJob(job, {}, advance))
            if outcome.table is None:
                crashes[job.kind] = outcome.crash
            else:
                evidence[job.digest] = outcome.table
    if crashes:
        raise TargetError("; ".join(f"{kind}: {why}" for kind, why in crashes.items()))
    parameters = prepared.policy.document.spec.parameters
    judged = admissibility_checks(
        prepared.plan,
        evidence,
        tolerance=parameters.admissibility_tolerance,
        max_near=parameters.max_near_duplicates,
        confidence=parameters.confidence,
        require_expectation=True,
    )
    answers: dict[bool | None, Answer] = {True: "shown", None: "not shown", False: "wrong"}
    return [
        TargetCheck(
            one.name,
            one.title,
            answers[one.holds],
            one.explanation,
            "" if one.holds else reason_words(DESCRIBED[one.name]).next_step,
        )
        for one in judged
        if one.name in DESCRIBED
    ]
