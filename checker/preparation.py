"""From two files to a compiled audit: documents, patients, vocabulary, model description."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from checker.cohort import load_cohort
from checker.plan import CompiledAudit, compile_plan
from checker.plugins import load_plugin
from checker.policy import Located, load_policy, load_target
from checker.policy.documents import AuditTarget, LeakagePolicy
from checker.targets import TargetBackend, TargetModel
from checker.tokenization import Tokenizer, check_fits, load_vocabulary

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A compiled audit, and what it was compiled from."""

    policy: Located[LeakagePolicy]
    target: Located[AuditTarget]
    audit: CompiledAudit
    backend: TargetBackend
    base: Path

    def open_target(self) -> TargetModel:
        """Load the model.

        Raises:
            TargetError: it cannot be loaded.
        """
        spec = self.target.document.spec
        ids = self.audit.workload.tokenizer.vocabulary.ids
        specials = spec.tokenization.specials
        return self.backend.open(
            spec.model,
            self.base,
            pad_id=ids[specials.pad] if specials.pad else None,
            eos_id=ids[specials.eos] if specials.eos else None,
        )


def prepare(policy_path: Path, target_path: Path, *, device: str | None = None) -> Prepared:
    """Read and compile; no model is loaded.

    Args:
        policy_path: a file with a LeakagePolicy.
        target_path: a file with an AuditTarget; its paths are relative to it.
        device: overrides the target's `model.device`.

    Raises:
        DocumentError: a document is invalid, or the two do not fit each other.
        DataError: the patients or the vocabulary cannot be used.
        TargetError: the model's folder cannot be used.
    """
    policy = load_policy(policy_path)
    target = load_target(target_path)
    if device is not None:
        target = _on_device(target, device)
    spec, base = target.document.spec, target_path.resolve().parent
    backend = cast("TargetBackend", load_plugin("phigate.targets", spec.model.backend)())
    description = backend.describe(spec.model, base)
    vocabulary = load_vocabulary(base / spec.tokenization.vocabulary)
    check_fits(vocabulary, description.vocabulary_size)
    tokenizer = Tokenizer(spec.tokenization, vocabulary=vocabulary, base=base)
    audit = compile_plan(
        policy,
        target,
        cohort=load_cohort(spec.data, base=base),
        tokenizer=tokenizer,
        description=description,
    )
    return Prepared(policy, target, audit, backend, base)


def _on_device(target: Located[AuditTarget], device: str) -> Located[AuditTarget]:
    spec = target.document.spec
    model = type(spec.model).model_validate({**spec.model.model_dump(), "device": device})
    document = target.document.model_copy(update={"spec": spec.model_copy(update={"model": model})})
    return replace(target, document=document)
