"""The run's own files: are they those that the report speaks of, and do they fit together?"""

from __future__ import annotations

from collections.abc import Iterator

from checker.attacks.api import columns_of
from checker.canonical import digest, sha256_hex
from checker.errors import EvidenceError
from checker.evidence import EvidenceStore, read_file
from checker.planning import Job
from checker.report.model import Report
from checker.run.stored import Run
from checker.verification.statement import Statement


def check_digests(run: Run, report: Report) -> Iterator[Statement]:
    """The files that the report was judged with are the ones it names by digest."""
    said = {
        "plan.json": report.provenance.plan_sha256,
        "manifest.json": report.provenance.manifest_sha256,
    }
    if report.provenance.run_sha256 is not None:
        said["run.json"] = report.provenance.run_sha256
    if report.provenance.waivers_sha256 is not None:
        said["waivers.json"] = report.provenance.waivers_sha256
    for name, sha256 in said.items():
        if not (run.folder / name).exists():
            yield Statement(False, f"{name} is missing, and the report was judged with it")
            continue
        found = sha256_hex(read_file(run.folder / name))
        if found == sha256:
            yield Statement(True, f"{name} is the one the report speaks of ({sha256[:12]}…)")
        else:
            yield Statement(
                False, f"{name} was changed: the report says {sha256[:12]}…, it is {found[:12]}…"
            )


def check_jobs(run: Run) -> Iterator[Statement]:
    """A job is named by all it depends on, so its name says which model was asked what."""
    renamed = [job for job in run.plan.jobs if not _is_named_by_its_inputs(job)]
    strangers = [
        job
        for job in run.plan.jobs
        if job.runs_on == "target" and job.inputs.get("model") != run.plan.target.model_sha256
    ]
    for jobs, text in (
        (renamed, "of the plan are not what their digests say"),
        (strangers, "of the plan were run on another model than the one it names"),
    ):
        if jobs:
            names = ", ".join(job.digest[:12] for job in jobs[:5])
            yield Statement(False, f"{len(jobs)} jobs {text}: {names}")
    files = run.plan.target.model_files
    if digest(files) != run.plan.target.model_sha256:
        yield Statement(False, "the plan's model files are not those that its model's digest names")
        return
    if not renamed and not strangers:
        model = run.plan.target.model_sha256[:12]
        yield Statement(True, f"all jobs are what their digests say, on the model {model}…")


def _is_named_by_its_inputs(job: Job) -> bool:
    try:
        return job.digest == digest(job.inputs)
    except ValueError:  # a number that JSON does not have
        return False


def check_evidence(run: Run) -> Iterator[Statement]:
    """Each evidence file is the manifest's, and each job of the plan has one or says why not."""
    store = EvidenceStore(run.folder, columns_of)
    wrong = 0
    for entry in run.manifest.entries:
        try:
            rows = store.load(entry).num_rows
            if rows != entry.rows:
                text = f"has {rows} rows, and the manifest says {entry.rows}"
                raise EvidenceError(f"{run.folder / entry.file}: {text}")
        except EvidenceError as error:
            wrong += 1
            yield Statement(False, str(error))
    if not wrong:
        count = len(run.manifest.entries)
        yield Statement(True, f"all {count} evidence files are those of the manifest")
    left_out = set(run.manifest.left_out)  # judging again shows whether the cells need them
    present = {entry.job for entry in run.manifest.entries} | left_out | set(run.manifest.crashed)
    missing = [job for job in run.plan.jobs if job.digest not in present]
    if missing:
        names = ", ".join(job.digest[:12] for job in missing)
        yield Statement(False, f"{len(missing)} jobs of the plan have no evidence: {names}")
