"""From two files to a compiled audit: documents, patients, vocabulary, model description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from checker.attacks.api import load_probe
from checker.attacks.canary_exposure.planted import open_canaries
from checker.plan import CompiledAudit, compile_plan
from checker.plugins import load_plugin
from checker.policy import Located, load_policy, load_target
from checker.policy.documents import AuditTarget, LeakagePolicy, ModelSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, check_fits, load_vocabulary
from checker.targets import TargetBackend, TargetModel

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A compiled audit, and what it was compiled from."""

    policy: Located[LeakagePolicy]
    target: Located[AuditTarget]
    audit: CompiledAudit
    base: Path

    def open_target(self) -> TargetModel:
        """Load the model under audit.

        Raises:
            TargetError: it cannot be loaded.
        """
        return self._open(self.target.document.spec.model)

    @property
    def open_reference(self) -> Callable[[], TargetModel] | None:
        """What loads the reference model, or None where the target names none."""
        model = self.target.document.spec.reference
        return None if model is None else lambda: self._open(model)

    def _open(self, model: ModelSpec) -> TargetModel:
        ids = self.audit.workload.tokenizer.vocabulary.ids
        specials = self.target.document.spec.tokenization.specials
        return _backend(model).open(
            model,
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
    description = _backend(spec.model).describe(spec.model, base)
    vocabulary = load_vocabulary(base / spec.tokenization.vocabulary)
    check_fits(vocabulary, description.vocabulary_size)
    reference = None
    if spec.reference is not None:
        reference = _backend(spec.reference).describe(spec.reference, base)
        check_fits(vocabulary, reference.vocabulary_size)
    tokenizer = Tokenizer(spec.tokenization, vocabulary=vocabulary, base=base)
    cohort = load_cohort(spec.data, base=base)
    audit = compile_plan(
        policy,
        target,
        cohort=cohort,
        tokenizer=tokenizer,
        description=description,
        reference=reference,
        canaries={
            manifest: open_canaries(
                Path(policy.file).resolve().parent / manifest,
                cohort=cohort,
                tokenizer=tokenizer,
                max_length=_smallest(
                    spec.tokenization.max_length,
                    description.context_length,
                    reference.context_length if reference else None,
                ),
            )
            for manifest in _manifests(policy.document)
        },
    )
    return Prepared(policy, target, audit, base)


def _manifests(policy: LeakagePolicy) -> list[str]:
    """Return the manifests of canaries that a policy's controls name, each once."""
    return list(
        dict.fromkeys(
            str(control.params["manifest"])
            for control in policy.spec.controls.values()
            if load_probe(control.probe).observes == "canaries"
        )
    )


def _smallest(*lengths: int | None) -> int | None:
    return min((length for length in lengths if length is not None), default=None)


def _backend(model: ModelSpec) -> TargetBackend:
    return cast("TargetBackend", load_plugin("phigate.targets", model.backend)())


def _on_device(target: Located[AuditTarget], device: str) -> Located[AuditTarget]:
    spec = target.document.spec
    moved = {
        name: type(model).model_validate({**model.model_dump(), "device": device})
        for name, model in (("model", spec.model), ("reference", spec.reference))
        if model is not None
    }
    document = target.document.model_copy(update={"spec": spec.model_copy(update=moved)})
    return replace(target, document=document)
