"""Which prompts an audit has continued, for models that draw elsewhere."""

from __future__ import annotations

from pathlib import Path

from checker.errors import TargetError, UsageError
from checker.planning.task import sampler_of
from checker.policy import Located
from checker.policy.documents import AuditTarget, LeakagePolicy
from checker.run.prepare import prepare_documents
from checker.targets.backends.generations import AskedDraw, GenerationsBackend, write_asked
from checker.targets.horizons import within


def write_asked_draws(
    policy: Located[LeakagePolicy], target: Located[AuditTarget], *, out: Path
) -> int:
    """Write the prompts that an audit asks about, and return how many continuations that is.

    Args:
        policy: decides who is asked, and how.
        target: of the backend `generations`.
        out: the file; whoever reads it sees patients' records.

    Raises:
        DocumentError: policy and target do not fit each other.
        DataError: the patients or the vocabulary cannot be used.
        TargetError: the target's model is asked otherwise.
        EvidenceError: the file cannot be written.
        UsageError: there is such a file already, which draws may have been made for.
    """
    if out.exists():
        raise UsageError(
            f"{out} is there already, and is never overwritten; write to another --out"
        )
    model = target.document.spec.model
    if model.backend != GenerationsBackend.name:
        raise TargetError(
            f"{target.file}: the backend {model.backend} asks its model itself; prompts are written"
            f" for {GenerationsBackend.name}"
        )
    prepared = prepare_documents(policy, target)
    workload = prepared.audit.workload
    asked = []
    for job in prepared.plan.jobs_of("rollouts"):
        if job.runs_on != "target":
            continue
        sampler = sampler_of(job)
        for key, tokens in workload.prompts[job.digest]:
            asked.append(
                AskedDraw(
                    tokens,
                    int.from_bytes(key[:8], "little"),
                    int(job.inputs["samples"]),
                    within(sampler, len(tokens), max_length=workload.max_length),
                )
            )
    write_asked(asked, out)
    return sum({one.name: one.samples for one in asked}.values())
