"""From two files to a compiled audit: documents, patients, vocabulary, model description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from checker.attacks.api import load_attack
from checker.errors import DocumentError, TargetError
from checker.planning import AuditPlan, CompiledAudit, compile_plan
from checker.planning.protocol import folder_of, planning_of
from checker.plugins import load_plugin
from checker.policy import Located, load_policy, load_target
from checker.policy.documents import AuditTarget, LeakagePolicy, ModelSpec, TargetSpec
from checker.records.cohort import Cohort, load_cohort
from checker.records.sample import TokenSample, read_sample
from checker.records.tokenization import Tokenizer, check_fits, load_vocabulary, make_tokenizer
from checker.targets import TargetBackend, TargetDescription, TargetModel
from checker.targets.channel_guard import guarded
from checker.yaml import short


@dataclass(frozen=True, slots=True)
class Prepared:
    """A compiled audit, and what it was compiled from."""

    policy: Located[LeakagePolicy]
    target: Located[AuditTarget]
    audit: CompiledAudit
    base: Path

    @property
    def plan(self) -> AuditPlan:
        """What will be run and judged."""
        return self.audit.plan

    @property
    def model_paths(self) -> list[Path]:
        """Where the model and, if there is one, the reference model lie, and their adapters."""
        spec = self.target.document.spec
        models = [one for one in (spec.model, spec.reference) if one is not None]
        paths = [path for one in models for path in (one.path, one.adapter) if path]
        return [self.base / path for path in paths]

    def open_target(self) -> TargetModel:
        """Load the model under audit.

        Raises:
            TargetError: it cannot be loaded, or its files are not those that were hashed.
        """
        return self._open("target", self.target.document.spec.model, self.plan.target.model_sha256)

    @property
    def open_reference(self) -> Callable[[], TargetModel] | None:
        """What loads the reference model, or None where the target names none."""
        model, sha256 = self.target.document.spec.reference, self.plan.target.reference_sha256
        return None if model is None else lambda: self._open("reference", model, sha256)

    def _open(self, who: str, model: ModelSpec, sha256: str | None) -> TargetModel:
        ids = self.audit.workload.tokenizer.vocabulary.ids
        specials = self.target.document.spec.tokenization.specials
        backend = _backend(model)
        opened = backend.open(
            model,
            self.base,
            pad_id=ids[specials.pad] if specials.pad else None,
            eos_id=ids[specials.eos] if specials.eos else None,
        )
        # hashed again once it is loaded: what was read may have been put there since the plan
        described = backend.describe(model, self.base)
        # what else answers is part of every job that asks the model
        asked = [job.inputs for job in self.plan.jobs if job.runs_on == who]
        codes = {inputs["code"] for inputs in asked if "code" in inputs}
        if described.sha256 != sha256 or codes - {described.code}:
            name = self.base / model.path if model.path else f"the {model.backend} model"
            raise TargetError(
                f"{name}: was changed after the audit was planned, so what was"
                " loaded is not what was hashed; leave the model alone and run the same command"
                " again"
            )
        declared = [rule.name for rule in self.audit.workload.tokenizer.channels]
        return guarded(opened, declared, where=str(self.base / model.path))


def prepare(policy: Path, target: Path, *, device: str | None = None) -> Prepared:
    """Read a policy's and a target's file, and compile them; see `prepare_documents`."""
    return prepare_documents(load_policy(policy), load_target(target), device=device)


def prepare_documents(
    policy: Located[LeakagePolicy], target: Located[AuditTarget], *, device: str | None = None
) -> Prepared:
    """Read the patients and compile an audit; no model is loaded.

    Args:
        policy: resolved; paths in it are relative to its file.
        target: paths in it are relative to its file.
        device: overrides the target's `model.device`.

    Raises:
        DocumentError: the two do not fit each other.
        DataError: the patients or the vocabulary cannot be used.
        TargetError: the model's folder cannot be used.
    """
    if device is not None:
        target = _on_device(target, device)
    spec, base = target.document.spec, Path(target.file).resolve().parent
    description = _described(spec.model, base)
    vocabulary = load_vocabulary(base / spec.tokenization.vocabulary)
    check_fits(vocabulary, description.vocabulary_size)
    reference = None
    if spec.reference is not None:
        reference = _described(spec.reference, base)
        check_fits(vocabulary, reference.vocabulary_size)
    tokenizer = make_tokenizer(spec.tokenization, vocabulary=vocabulary, base=base)
    cohort = load_cohort(spec.data, base=base)
    audit = compile_plan(
        policy,
        target,
        cohort=cohort,
        tokenizer=tokenizer,
        description=description,
        reference=reference,
        files=_read_files(
            policy,
            cohort=cohort,
            tokenizer=tokenizer,
            max_length=_smallest(
                spec.tokenization.max_length,
                description.context_length,
                reference.context_length if reference else None,
            ),
        ),
        sample=_read_sample(spec, base),
    )
    return Prepared(policy, target, audit, base)


def _read_sample(spec: TargetSpec, base: Path) -> TokenSample | None:
    tokens = spec.expect.tokens if spec.expect is not None else None
    if tokens is None:
        return None
    return read_sample(base / tokens, channels=tuple(spec.tokenization.channels))


def _read_files(
    policy: Located[LeakagePolicy], *, cohort: Cohort, tokenizer: Tokenizer, max_length: int | None
) -> dict[tuple[str, str], Any]:
    """Read the files that a policy's attacks read, each once for each attack that names it.

    Raises:
        DocumentError: two controls mean different files by one path, so that nobody could tell
            which was measured from what the policy says.
    """
    files: dict[tuple[str, str], Any] = {}
    folders: dict[tuple[str, str], Path] = {}
    for name, control in policy.document.spec.controls.items():
        attack = load_attack(control.probe)
        planning = planning_of(attack)
        path = planning.path(attack.params.model_validate(control.params))
        if path is None:
            continue
        folder, key = folder_of(policy, name, path), (attack.name, path)
        if folders.setdefault(key, folder) != folder:
            message = (
                f"'{short(path)}' is another file here, below {folder}, than in an earlier control,"
                f" below {folders[key]}; rename one of them"
            )
            raise DocumentError([policy.problem(("spec", "controls", name, "params"), message)])
        if key not in files:
            files[key] = planning.read(
                folder / path, cohort=cohort, tokenizer=tokenizer, max_length=max_length
            )
    return files


def _smallest(*lengths: int | None) -> int | None:
    return min((length for length in lengths if length is not None), default=None)


def _backend(model: ModelSpec) -> TargetBackend:
    return cast("TargetBackend", load_plugin("phigate.targets", model.backend)())


def _described(model: ModelSpec, base: Path) -> TargetDescription:
    backend = _backend(model)
    connecting = getattr(backend, "connecting", ())
    options = {key: one for key, one in (model.options or {}).items() if key not in connecting}
    return replace(backend.describe(model, base), options=options)


def _on_device(target: Located[AuditTarget], device: str) -> Located[AuditTarget]:
    spec = target.document.spec
    moved = {
        name: type(model).model_validate({**model.model_dump(), "device": device})
        for name, model in (("model", spec.model), ("reference", spec.reference))
        if model is not None
    }
    document = target.document.model_copy(update={"spec": spec.model_copy(update=moved)})
    return replace(target, document=document)
