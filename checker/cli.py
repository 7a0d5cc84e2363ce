"""The command `phigate`: one verb a command, each a few lines over the library.

Results go to standard output for people, or as JSON for machines with `--json`; progress and errors
go to standard error. Exit codes are the same for every format: 0 pass, 1 fail, 2 usage or invalid
document, 3 inconclusive that blocks, 4 the audit could not be completed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from checker import __version__
from checker.errors import (
    DocumentError,
    EvidenceError,
    ExitCode,
    PhigateError,
    PluginError,
    Problem,
    UsageError,
)
from checker.plugins import BUILT_IN, load_plugin, plugin_names, suggestion

if TYPE_CHECKING:  # commands import what they need when they run: help and errors come at once
    from rich.console import Console
    from securesystemslib.signer import CryptoSigner, Key

    from checker.executors import Executor
    from checker.ledger import Attempt
    from checker.plan import AuditPlan
    from checker.policy import Located
    from checker.policy.documents import LeakagePolicy, LeakageWaiver
    from checker.preparation import Prepared
    from checker.report.model import Audience, Report
    from checker.verification import Statement

__all__ = ["cli", "main"]

File = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="phigate")
def cli() -> None:
    """The release gate for clinical foundation models.

    Write a policy, describe the model, and run `phigate check POLICY TARGET`.
    """


def main() -> None:
    """Run the command line; whatever happens, the user sees a sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a label that cannot be shown must not end a run
    try:
        sys.exit(cli.main(standalone_mode=False))
    except PhigateError as error:
        _say(str(error))
        sys.exit(int(error.exit_code))
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(int(ExitCode.USAGE))
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted; jobs that were finished are kept")
        sys.exit(130)
    except Exception as error:
        if os.environ.get("PHIGATE_DEBUG"):
            raise
        _say(
            f"phigate itself failed ({type(error).__name__}: {error}). Please report it;"
            " PHIGATE_DEBUG=1 shows where it happened"
        )
        sys.exit(int(ExitCode.INCOMPLETE))


def _say(message: str) -> None:
    """Tell the user something on standard error, if there is one."""
    if sys.stderr is not None:
        click.echo(_printable(message), err=True)


def _write(text: str) -> None:
    """Write a result to standard output.

    A reader that has gone away (`| head`) is no error; a result that cannot be written is.
    """
    if sys.stdout is None:
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        sys.stdout = None  # what is left in its buffer must not fail again at exit
        raise PhigateError(
            f"standard output cannot be written: {error.strerror or error}"
        ) from error


def _show(draw: Callable[[Console], None]) -> None:
    """Write what is drawn for people: with colours on a terminal, plain and wide elsewhere."""
    from rich.console import Console

    at_terminal = sys.stdout is not None and sys.stdout.isatty()
    # a log has no width of its own: tables must not wrap in it
    console = Console(highlight=False, width=None if at_terminal else 160)
    with console.capture() as drawn:
        draw(console)
    _write(drawn.get().rstrip("\n"))


def _printable(text: str) -> str:
    """Keep control characters of hostile documents off the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def _err() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _emit_json(value: Any) -> None:
    _write(json.dumps(value, indent=2, ensure_ascii=False))


def _moment(text: str | None) -> datetime:
    """Read `--as-of`; without one it is now."""
    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"--as-of {text}: write an ISO 8601 time like 2026-10-01T12:00Z"
        ) from error
    if not 1970 <= moment.year <= 9000:
        raise UsageError(f"--as-of {text}: is not a time anybody could mean")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _formats(text: str) -> list[str]:
    """Read `--format`; JSON is always written, for `verify` and `report` read it.

    What a format lacks is said before anything is measured, and not when it is to be written.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = plugin_names("phigate.reports")
    for name in names:
        if name not in known:
            raise UsageError(
                f"--format {name}: there is no such format; there are {', '.join(known)}"
            )
        lacking = load_plugin("phigate.reports", name).lacking()
        if lacking is not None:
            raise PluginError(f"--format {name}: {lacking}")
    return list(dict.fromkeys(["json", *names]))


json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
as_of_option = click.option("--as-of", metavar="TIME", help="Judge for this time (ISO 8601).")
format_option = click.option(
    "--format",
    "formats",
    default="html,json",
    show_default=True,
    help=f"Reports, comma-separated: {', '.join(sorted(BUILT_IN['phigate.reports']))}.",
)
out_option = click.option(
    "--out", type=File, required=True, help="The run's folder; a run there is resumed."
)


audience_option = click.option(
    "--audience",
    type=click.Choice(["shared", "internal"]),
    default="shared",
    show_default=True,
    help="internal shows small cells too, for the audit team, in a folder of its own.",
)


waivers_option = click.option(
    "--waivers", type=File, multiple=True, metavar="FILE", help="Waivers to judge with; repeatable."
)
ledger_option = click.option(
    "--ledger",
    type=File,
    envvar="PHIGATE_LEDGER",
    show_envvar=True,
    help="The institution's attempt ledger; a further attempt is judged more strictly.",
)
no_waivers_option = click.option(
    "--no-waivers", is_flag=True, help="Judge as if nothing were waived."
)


def _device(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", value):
        raise UsageError(f"--device {value}: write auto, cpu, cuda or cuda:N")
    return value


device_option = click.option(
    "--device", callback=_device, help="auto, cpu, cuda or cuda:N; default: the target's."
)
fresh_option = click.option(
    "--resume/--fresh", default=True, show_default=True, help="Go on, or measure everything anew."
)


def executor_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where jobs run; `_executor` takes them all."""
    options = (
        click.option(
            "--executor",
            type=click.Choice(["serial", "ray"]),
            default="serial",
            show_default=True,
            help="Run jobs one after another, or on several workers (extra: ray).",
        ),
        click.option(
            "--ray-address",
            metavar="HOST:PORT",
            help="A Ray cluster's head node; default: workers on this machine only.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            metavar="N",
            help="Each holds patients and model in memory; default: one a GPU, or a CPU.",
        ),
        click.option(
            "--threads-per-worker",
            type=click.IntRange(min=1),
            metavar="N",
            help="CPU threads of each; default: 1.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("folder", type=File, default=Path())
@click.option(
    "--baseline",
    metavar="NAME",
    default="starter",
    show_default=True,
    help="A shipped policy, such as baseline-gated; a name that is none lists them.",
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
def init(folder: Path, baseline: str, force: bool) -> None:
    """Write a commented policy, its tests and a target into FOLDER, to be changed."""
    from checker.baselines import starter_files
    from checker.schemas import write_schemas

    files = starter_files(baseline)
    for name in files:
        if (folder / name).exists() and not force:
            raise UsageError(f"{folder / name}: is there already; --force overwrites it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
            _write(f"wrote {folder / name}")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    for path in write_schemas(folder / "schemas"):
        _write(f"wrote {path}, for editors that know yaml-language-server")
    both = shlex.join([str(folder / "policy.yaml"), str(folder / "target.yaml")])
    tests = shlex.quote(str(folder / "policy-tests.yaml"))
    _write(f"next: edit them, then `phigate validate {both}` and `phigate test {tests}`")


@cli.command()
@click.argument("files", type=File, nargs=-1, required=True)
@as_of_option
@json_option
def validate(files: tuple[Path, ...], as_of: str | None, as_json: bool) -> None:
    """Check documents; all problems of a file at once, each with its line.

    Given together, a policy and its target or its waivers are also held against each other.
    """
    from checker.policy import check_pair, load_documents
    from checker.policy.documents import AuditTarget, LeakagePolicy
    from checker.policy.lint import lint
    from checker.policy.waivers import check_together

    moment = _moment(as_of)
    problems: list[Problem] = []
    located: list[Located[Any]] = []
    for file in files:
        try:
            located += load_documents(file)
        except DocumentError as error:
            problems += error.problems
    policies = [d for d in located if isinstance(d.document, LeakagePolicy)]
    targets = [d for d in located if isinstance(d.document, AuditTarget)]
    for policy in policies:
        for target in targets:
            try:
                check_pair(policy, target)
            except DocumentError as error:
                problems += error.problems
    warnings = [warning for document in located for warning in document.warnings]
    try:
        warnings += check_together(located, as_of=moment)
    except DocumentError as error:
        problems += error.problems
    warnings += lint(located, on=moment.astimezone(UTC).date())
    if as_json:
        fields = ("file", "line", "column", "path", "message")
        _emit_json(
            {
                "valid": not problems,
                "problems": [{f: getattr(p, f) for f in fields} for p in problems],
                "warnings": [{f: getattr(p, f) for f in fields} for p in warnings],
            }
        )
    else:
        for problem in problems:
            _say(str(problem))
        for warning in warnings:
            _say(f"warning: {warning}")
        wrong = {problem.file for problem in problems}
        for document in located:
            if document.file not in wrong:
                meta, kind = document.document.metadata, document.document.kind
                _write(f"{document.file}: {kind} {meta.name} {meta.version} is valid")
    if problems:
        raise click.exceptions.Exit(int(ExitCode.USAGE))


@cli.command()
@click.argument("policy", type=File)
@click.argument("control", required=False)
@json_option
def explain(policy: Path, control: str | None, as_json: bool) -> None:
    """Show every field of a policy, with the document and line it came from.

    Give a CONTROL to see only what decides about that one.
    """
    from checker.policy import load_policy
    from checker.policy.display import print_explanation
    from checker.policy.explanation import explain

    explanation = explain(load_policy(policy, abstract=True), control=control)
    if as_json:
        _emit_json(explanation.to_json())
    else:
        _show(lambda console: print_explanation(explanation, console))


@cli.command()
@click.argument("old", type=File)
@click.argument("new", type=File)
@json_option
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Say field by field whether NEW is tighter or looser than OLD.

    Exits with 1 when anything is looser, so that a pipeline can refuse it.
    """
    from checker.policy import load_policy
    from checker.policy.display import print_comparison
    from checker.policy.explanation import compare

    comparison = compare(load_policy(old, abstract=True), load_policy(new, abstract=True))
    if as_json:
        _emit_json(comparison.to_json())
    else:
        _show(lambda console: print_comparison(comparison, console))
    if comparison.count("looser"):
        raise click.exceptions.Exit(int(ExitCode.FAIL))


@cli.command()
@click.argument("policy", type=File)
@click.argument("target", type=File)
@ledger_option
@json_option
def plan(policy: Path, target: Path, ledger: Path | None, as_json: bool) -> None:
    """Show what an audit would measure, what cannot pass, and what it costs; runs no model.

    With a ledger, for the attempt that it would be; nothing is registered.
    """
    from checker.ledger import upcoming_attempt
    from checker.plan import at_attempt
    from checker.preparation import prepare
    from checker.terminal import print_plan

    compiled = prepare(policy, target).audit.plan
    if ledger is not None:
        number = upcoming_attempt(ledger, plan=compiled)
        compiled = at_attempt(compiled, attempt=number)
        _say(f"attempt {number} by the ledger: bounds at {100 * compiled.confidence:.10g} %")
    if as_json:
        _write(compiled.to_bytes().decode().rstrip("\n"))
    else:
        _show(lambda console: print_plan(compiled, console))


@cli.command()
@click.argument("policy", type=File)
@click.argument("target", type=File)
@out_option
@format_option
@audience_option
@device_option
@executor_options
@fresh_option
@waivers_option
@no_waivers_option
@ledger_option
@as_of_option
@json_option
def check(
    policy: Path,
    target: Path,
    out: Path,
    formats: str,
    audience: Audience,
    device: str | None,
    resume: bool,
    waivers: tuple[Path, ...],
    no_waivers: bool,
    ledger: Path | None,
    as_of: str | None,
    as_json: bool,
    **where: Any,
) -> None:
    """Plan, run, judge and report; the exit code is the verdict."""
    from checker.preparation import prepare
    from checker.runs import judge_run, load_run, record_waivers

    names, moment = _formats(formats), _moment(as_of) if as_of else None
    executor = _executor(policy, target, device, **where)
    prepared = prepare(policy, target, device=device)
    granted = _granted(
        () if no_waivers else waivers,
        policy=prepared.policy.document,
        plan=prepared.audit.plan,
        as_of=moment or _moment(None),
    )
    attempt = _attempt(ledger, plan=prepared.audit.plan, folder=out)
    _run(prepared, out, resume=resume, executor=executor, attempt=attempt)
    record = record_waivers(out, granted)
    report = judge_run(
        load_run(out), as_of=moment or _moment(None), waivers=record, attempt=attempt
    )
    _remember(ledger, attempt, plan=prepared.audit.plan, report=report)
    _finish(report, out, names, audience=audience, as_json=as_json)


def _attempt(ledger: Path | None, *, plan: AuditPlan, folder: Path) -> Attempt | None:
    """Register an attempt before anything is asked of a model, or take what a run was before."""
    from checker.ledger import load_attempt, register_attempt

    if ledger is not None:
        return register_attempt(ledger, plan=plan, at=_moment(None))
    known = load_attempt(folder)
    return known if known is not None and known.speaks_of(plan) else None


def _remember(
    ledger: Path | None, attempt: Attempt | None, *, plan: AuditPlan, report: Report
) -> None:
    """Add the verdict to the ledger, where one is kept."""
    from checker.ledger import record_verdict

    if ledger is not None and attempt is not None:
        record_verdict(
            ledger,
            attempt=attempt,
            plan=plan,
            verdict=report.verdict,
            as_of=report.provenance.as_of,
            at=_moment(None),
        )


def _granted(
    files: tuple[Path, ...], *, policy: LeakagePolicy, plan: AuditPlan, as_of: datetime
) -> list[Located[LeakageWaiver]]:
    """Read waivers, and refuse what cannot hold before anything is measured."""
    from checker.policy.documents import LeakageWaiver
    from checker.policy.loading import load_all
    from checker.policy.waivers import check_waivers

    waivers = load_all(LeakageWaiver, files)
    check_waivers(
        waivers,
        policy=policy,
        policy_sha256=plan.policy.sha256,
        as_of=as_of,
        model_sha256=plan.target.model_sha256,
        cells=[cell.id for cell in plan.cells],
    )
    return waivers


@cli.command()
@click.argument("policy", type=File)
@click.argument("target", type=File)
@out_option
@device_option
@executor_options
@fresh_option
@ledger_option
def run(
    policy: Path,
    target: Path,
    out: Path,
    device: str | None,
    resume: bool,
    ledger: Path | None,
    **where: Any,
) -> None:
    """Plan and run, without judging; `phigate judge` does the rest."""
    from checker.preparation import prepare

    executor = _executor(policy, target, device, **where)
    prepared = prepare(policy, target, device=device)
    attempt = _attempt(ledger, plan=prepared.audit.plan, folder=out)
    _run(prepared, out, resume=resume, executor=executor, attempt=attempt)
    _write(f"evidence is in {out}; next: `phigate judge {shlex.quote(str(out))}`")


def _executor(
    policy: Path,
    target: Path,
    device: str | None,
    *,
    executor: str,
    ray_address: str | None,
    workers: int | None,
    threads_per_worker: int | None,
) -> Executor:
    """Choose where jobs run; what cannot be meant is refused before anything is read."""
    from checker.executors import choose_executor
    from checker.preparation import prepare

    return choose_executor(
        executor,
        partial(prepare, policy.resolve(), target.resolve(), device=device),
        address=ray_address,
        workers=workers,
        threads=threads_per_worker,
        notice=_say,
    )


def _run(
    prepared: Prepared,
    out: Path,
    *,
    resume: bool,
    executor: Executor,
    attempt: Attempt | None,
) -> None:
    from checker.audit import run_audit
    from checker.report.json import load_report
    from checker.terminal import TerminalProgress

    if resume and (out / "report.json").exists():
        before = load_report(out / "report.json").policy
        if before.sha256 != prepared.policy.sha256:
            _say(
                f"{out} holds a report under {before.name} {before.version}, another policy; it is"
                " replaced, and the evidence that serves both is used again"
            )
    with TerminalProgress(_err()) as progress:
        manifest = run_audit(
            prepared.audit,
            run=out,
            open_target=prepared.open_target,
            open_reference=prepared.open_reference,
            executor=executor,
            progress=progress,
            command=_printable(shlex.join(["phigate", *sys.argv[1:]])),
            attempt=attempt,
            fresh=not resume,
        )
    for job, message in manifest.crashed.items():
        _say(f"job {job[:12]} could not be completed: {message}")


@cli.command()
@click.argument("folder", metavar="RUN", type=File)
@click.option("--policy", type=File, help="Judge by another policy, in a folder below RUN.")
@format_option
@audience_option
@waivers_option
@no_waivers_option
@ledger_option
@as_of_option
@json_option
def judge(
    folder: Path,
    policy: Path | None,
    formats: str,
    audience: Audience,
    waivers: tuple[Path, ...],
    no_waivers: bool,
    ledger: Path | None,
    as_of: str | None,
    as_json: bool,
) -> None:
    """Judge a run's evidence again, without the model.

    Waivers that the run was judged with before count again, unless others are given; so does the
    attempt that it was registered as.
    """
    from checker.ledger import record_attempt
    from checker.policy import load_policy
    from checker.runs import derive_run, judge_run, load_run, load_waivers, record_waivers

    names, run, moment = _formats(formats), load_run(folder), _moment(as_of)
    if policy is not None:
        run = derive_run(run, load_policy(policy))
    attempt = _attempt(ledger, plan=run.plan, folder=run.folder)
    if attempt is not None:
        record_attempt(run.folder, attempt)
    record = None
    if waivers and not no_waivers:
        granted = _granted(waivers, policy=run.policy, plan=run.plan, as_of=moment)
        record = record_waivers(run.folder, granted)
    elif not no_waivers:
        record = load_waivers(run.folder)
    report = judge_run(run, as_of=moment, waivers=record, attempt=attempt)
    _remember(ledger, attempt, plan=run.plan, report=report)
    _finish(report, run.folder, names, audience=audience, as_json=as_json)


@cli.command()
@click.argument("folder", metavar="RUN", type=File)
@format_option
@audience_option
@click.option(
    "--compare",
    "earlier",
    type=File,
    metavar="OLD_RUN",
    help="Say what got better or worse since another run, and write comparison.html and .json.",
)
@json_option
def report(
    folder: Path, formats: str, audience: Audience, earlier: Path | None, as_json: bool
) -> None:
    """Write a run's reports again, or compare it with an earlier run.

    Shared reports are made from report.json alone, internal ones from the evidence.
    """
    from checker.runs import write_reports

    names, written = _formats(formats), _report_for(folder, audience)
    if earlier is not None:
        _compare(folder, earlier, audience=audience, as_json=as_json)
        return
    paths = write_reports(folder, written, formats=names, audience=audience)
    if as_json:
        _emit_json({"written": [str(path) for path in paths]})
    else:
        _write("\n".join(_printable(f"wrote {path}") for path in paths))


def _report_for(folder: Path, audience: Audience) -> Report:
    """Read a run's shared report, or judge it again for the audit team."""
    from checker.report.json import load_report
    from checker.runs import judge_run_again, load_run

    shared = load_report(folder / "report.json")
    return shared if audience == "shared" else judge_run_again(load_run(folder), shared)


def _compare(folder: Path, earlier: Path, *, audience: Audience, as_json: bool) -> None:
    from checker.report.comparison import compare_reports
    from checker.report.comparison_views import print_comparison, render_comparison
    from checker.runs import write_comparison

    found = compare_reports(_report_for(earlier, audience), _report_for(folder, audience))
    paths = write_comparison(folder, found, page=render_comparison(found))
    if as_json:
        _write(found.to_bytes().decode().rstrip("\n"))
    else:
        _show(lambda console: print_comparison(found, console))
        _write("\n".join(_printable(f"wrote {path}") for path in paths))


def _finish(
    report: Report, folder: Path, formats: list[str], *, audience: Audience, as_json: bool
) -> None:
    from checker.report.console import print_report
    from checker.report.json import render_json
    from checker.report.suppression import for_audience
    from checker.runs import write_reports

    paths = write_reports(folder, report, formats=formats, audience=audience)
    shown = for_audience(report, audience)
    try:
        if as_json:
            _write(render_json(shown).rstrip("\n"))
        else:
            _show(lambda console: print_report(shown, console))
            _write("\n".join(_printable(f"report: {path}") for path in paths))
    except PhigateError as error:  # the verdict stands, whether or not it can be shown
        _say(str(error))
    raise click.exceptions.Exit(report.summary.exit_code)


@cli.command()
@click.argument("folder", metavar="[RUN]", type=File, required=False)
@click.option("--as-of", metavar="TIME", help="Ask too whether the verdict holds at this time.")
@click.option(
    "--key",
    "keys",
    type=File,
    multiple=True,
    metavar="PUBLIC",
    help="Who must have signed; repeatable, and then each must have.",
)
@click.option("--attestation", type=File, help="The signature, where it is not in RUN.")
@click.option(
    "--model", type=File, metavar="PATH", help="Ask too whether this is the model that was audited."
)
@ledger_option
@json_option
def verify(
    folder: Path | None,
    as_of: str | None,
    keys: tuple[Path, ...],
    attestation: Path | None,
    model: Path | None,
    ledger: Path | None,
    as_json: bool,
) -> None:
    """Recompute a run's digests and verdicts, and compare them with its report.

    Says of the signature, the attempt and the model what can be said; needs no network.

    Without RUN, an --attestation alone is checked with --key, as whoever is given a model can; the
    exit code is then the verdict that was signed.
    """
    from checker.verification import verify_attestation, verify_run

    if folder is None:
        if attestation is None or not keys or as_of:
            raise UsageError(
                "name the folder of a run, or an --attestation and the --key it was signed with"
                " (and no --as-of, for only the evidence can be judged again)"
            )
        said, verdict = verify_attestation(
            attestation, keys=_public_keys(keys), model=model, ledger=ledger
        )
        _state(said, as_json=as_json)
        codes = {
            "pass": ExitCode.PASS,
            "fail": ExitCode.FAIL,
            "inconclusive": ExitCode.INCONCLUSIVE,
        }
        raise click.exceptions.Exit(int(codes.get(str(verdict), ExitCode.INCOMPLETE)))
    statements = verify_run(
        folder,
        as_of=_moment(as_of) if as_of else None,
        keys=_public_keys(keys),
        attestation=attestation,
        ledger=ledger,
        model=model,
    )
    _state(statements, as_json=as_json)


def _public_keys(paths: tuple[Path, ...]) -> list[Key]:
    if not paths:
        return []
    from checker.attestation import load_public_key

    return [load_public_key(path) for path in paths]


def _state(statements: list[Statement], *, as_json: bool) -> None:
    """Print one line for each thing that was looked at; exits 4 when one does not hold."""
    if as_json:
        _emit_json([{"holds": s.holds, "text": s.text} for s in statements])
    else:
        words = {True: "holds  ", False: "BROKEN ", None: "open   "}
        for statement in statements:
            _write(_printable(f"{words[statement.holds]} {statement.text}"))
    if any(statement.holds is False for statement in statements):
        raise click.exceptions.Exit(int(ExitCode.INCOMPLETE))


@cli.command()
@click.argument("folder", metavar="RUN", type=File)
@click.option(
    "--key",
    type=File,
    required=True,
    metavar="PRIVATE",
    help="From `phigate keys make`. Its passphrase, if it has one, is asked for, or taken from"
    " PHIGATE_KEY_PASSPHRASE.",
)
@click.option("--out", type=File, help="The signature; default: attestation.json in RUN.")
@click.option("--url", help="Where the run can be looked at, such as the pipeline's page.")
def sign(folder: Path, key: Path, out: Path | None, url: str | None) -> None:
    """Sign what the report of RUN says of the model; only a run that verifies is signed.

    Others who sign the same report afterwards are added. The exit code is not the verdict: a
    failure is signed as well.
    """
    from checker.attestation import ATTESTATION_FILE, sign_statement
    from checker.verification import attest_run, verify_run

    signer = _private_key(key)
    broken = [one.text for one in verify_run(folder, signed=False) if one.holds is False]
    if broken:
        raise EvidenceError(f"{folder}: is not signed, because it does not hold: {broken[0]}")
    path = out or folder / ATTESTATION_FILE
    signed = attest_run(folder, url=url)
    holders = sign_statement(path, signed, signer)
    result = signed["predicate"]["result"]
    others = f", as {len(holders) - 1} others did before" if len(holders) > 1 else ""
    _write(_printable(f"wrote {path}: {result}, signed with {signer.public_key.keyid}{others}"))


def _private_key(path: Path) -> CryptoSigner:
    """Load a private key; a passphrase is asked for only where somebody can answer."""
    from checker.attestation import PassphraseNeeded, load_private_key

    given = os.environ.get("PHIGATE_KEY_PASSPHRASE")
    try:
        return load_private_key(path, passphrase=given)
    except PassphraseNeeded:
        if given or sys.stdin is None or not sys.stdin.isatty():
            raise
    return load_private_key(path, passphrase=click.prompt("Passphrase", hide_input=True, err=True))


@cli.group()
def keys() -> None:
    """Keys to sign reports with."""


@keys.command("make")
@click.argument("name", type=File)
@click.option(
    "--passphrase",
    "with_passphrase",
    is_flag=True,
    help="Encrypt the private key; asked for, or taken from PHIGATE_KEY_PASSPHRASE.",
)
def make_key_pair(name: Path, with_passphrase: bool) -> None:
    """Make an ed25519 pair: NAME.key to sign with, and NAME.pub to give to all who verify."""
    from checker.attestation import make_keys

    passphrase = None
    if with_passphrase:
        passphrase = os.environ.get("PHIGATE_KEY_PASSPHRASE") or click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=True, err=True
        )
    private, public = (name.with_name(f"{name.name}{end}") for end in (".key", ".pub"))
    key_id = make_keys(private, public, passphrase=passphrase)
    locked = "encrypted" if passphrase else "not encrypted"
    _write(
        f"wrote {private}: keep it to yourself (mode 0600, {locked})\n"
        f"wrote {public}: for `phigate verify RUN --key`\n"
        f"key id {key_id}"
    )


@cli.group()
def ledger() -> None:
    """The attempt ledger: how often each model was audited, by an institution's own record.

    Name it to check, run and judge with --ledger, or once for all in PHIGATE_LEDGER.
    """


ledger_argument = click.argument("path", metavar="[FILE]", type=File, envvar="PHIGATE_LEDGER")


@ledger.command("make")
@ledger_argument
def make_empty_ledger(path: Path) -> None:
    """Start an empty ledger; keep it where all audits of the institution can write to it."""
    from checker.ledger import make_ledger

    make_ledger(path)
    _write(f"wrote {path}: name it with --ledger, or in PHIGATE_LEDGER")


@ledger.command("list")
@ledger_argument
@json_option
def list_ledger(path: Path, as_json: bool) -> None:
    """List attempts and verdicts, oldest first."""
    from checker.ledger import read_ledger
    from checker.terminal import print_ledger

    found = read_ledger(path)
    if as_json:
        _emit_json([line.entry.model_dump(mode="json") for line in found.lines])
    else:
        _show(partial(print_ledger, found))
    if found.problem is not None:
        raise EvidenceError(f"{path}: {found.problem}")


@ledger.command("verify")
@ledger_argument
@click.option(
    "--holds",
    "noted",
    multiple=True,
    metavar="SHA256",
    help="A digest noted earlier that must still stand in it; repeatable.",
)
@json_option
def verify_ledger(path: Path, noted: tuple[str, ...], as_json: bool) -> None:
    """Follow the chain from the first line to the last, and say the last one's digest."""
    from checker.verification import verify_ledger_file

    _state(verify_ledger_file(path, noted=noted), as_json=as_json)


@ledger.command()
@ledger_argument
def mend(path: Path) -> None:
    """Take off a last line that was cut short when writing it was interrupted."""
    from checker.ledger import mend_ledger

    torn = mend_ledger(path)
    if torn is None:
        _write(f"{path}: the last line is whole; nothing was changed")
    else:
        _write(_printable(f"{path}: took off {len(torn)} bytes: {torn.decode(errors='replace')}"))


@cli.command("test")
@click.argument("files", metavar="FILE|FOLDER...", type=File, nargs=-1, required=True)
@click.option("--policy", type=File, help="Test this policy instead of the one the tests name.")
@json_option
def run_policy_tests(files: tuple[Path, ...], policy: Path | None, as_json: bool) -> None:
    """Run policy tests: made-up results, and the verdicts that a policy must give.

    Needs neither model nor patients. Running no test at all is a failure.
    """
    from checker.policy import load_policy
    from checker.policy_testing import find_tests, policy_under_test, run_policy_test
    from checker.terminal import print_policy_tests

    given = load_policy(policy) if policy is not None else None
    results = [
        result
        for test in find_tests(files)
        for result in run_policy_test(test, policy=given or policy_under_test(test))
    ]
    if as_json:
        _emit_json(
            {
                "passed": bool(results) and all(r.holds for r in results),
                "cases": [{**asdict(r), "holds": r.holds} for r in results],
            }
        )
    else:
        _show(lambda console: print_policy_tests(results, console))
    if not results:
        _say("no policy tests were found, so nothing was tested")
    if not results or not all(result.holds for result in results):
        raise click.exceptions.Exit(int(ExitCode.FAIL))


@cli.group()
def classes() -> None:
    """Attribute classes: what there is, what a class says, and what it catches.

    Of the library that phigate ships, or of a policy with --policy.
    """


policy_option = click.option(
    "--policy", type=File, help="The classes of this policy, instead of the library's."
)


@classes.command("list")
@policy_option
@json_option
def list_classes(policy: Path | None, as_json: bool) -> None:
    """List the classes, with how many values each has in its tiers."""
    from checker.class_tables import choose_classes, list_json, print_classes

    chosen = choose_classes(policy)
    if as_json:
        _emit_json(list_json(chosen))
    else:
        _show(partial(print_classes, chosen))


@classes.command("show")
@click.argument("name", metavar="CLASS")
@policy_option
@json_option
def show_class(name: str, policy: Path | None, as_json: bool) -> None:
    """Show all that a class says: codes, exclusions, proxies, traps, sources, review."""
    from checker.class_tables import choose_classes, class_json, print_class

    spec = choose_classes(policy, [name])[name]
    if as_json:
        _emit_json(class_json(name, spec))
    else:
        _show(partial(print_class, name, spec))


@classes.command("match")
@click.argument("codes", metavar="CODE...", nargs=-1, required=True)
@click.option("--system", help="Of bare codes; default: every system whose shape they have.")
@policy_option
@json_option
def match_codes(
    codes: tuple[str, ...], system: str | None, policy: Path | None, as_json: bool
) -> None:
    """Say which classes codes, spellings of a data set or texts of drugs belong to."""
    from checker.class_tables import (
        choose_classes,
        code_system,
        match_texts,
        matches_json,
        print_matches,
    )

    wanted = None if system is None else code_system(system)
    matches = match_texts(choose_classes(policy), codes, system=wanted)
    if as_json:
        _emit_json(matches_json(matches))
    else:
        _show(partial(print_matches, matches))


@classes.command("coverage")
@click.argument("target", type=File)
@click.option("--class", "names", multiple=True, metavar="CLASS", help="Only this; repeatable.")
@click.option("--all", "everything", is_flag=True, help="Show whole lists, not their beginning.")
@policy_option
@json_option
def class_coverage(
    target: Path, names: tuple[str, ...], everything: bool, policy: Path | None, as_json: bool
) -> None:
    """Show what classes catch of a data set, what never matches, and what they may miss.

    TARGET is a target's file or the folder of a MEDS data set.
    """
    from checker.class_tables import choose_classes, coverage_json, coverage_of, print_coverage

    chosen = [*choose_classes(policy, names)]
    measured = coverage_of(choose_classes(policy), target, only=chosen)
    if as_json:
        _emit_json(coverage_json(measured))
    else:
        shown = sys.maxsize if everything else 8
        _show(partial(print_coverage, measured, shown=shown))


@cli.command()
@click.argument("kind", required=False)
@click.option("--write", "folder", type=File, help="Write all schemas into this folder.")
def schema(kind: str | None, folder: Path | None) -> None:
    """Print the JSON Schema of KIND, or write all of them."""
    from checker.schemas import published_schemas, write_schemas

    if folder is not None:
        for path in write_schemas(folder):
            _write(f"wrote {path}")
        return
    schemas = published_schemas()
    if kind is None:
        raise UsageError(f"name a schema: {', '.join(schemas)}; or --write FOLDER")
    if kind not in schemas:
        raise UsageError(f"there is no schema '{kind}'{suggestion(kind, schemas)}")
    _emit_json(schemas[kind])


@cli.command()
@click.option(
    "--out", type=File, default=Path("runs/demo"), show_default=True, help="Everything goes here."
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--cohort", type=File, help="A MEDS data set, instead of synthetic patients.")
@click.option("--policy", type=File, help="Instead of the demo policy.")
@click.option("--max-patients", type=click.IntRange(min=2), default=500, show_default=True)
@click.option("--max-tokens", type=click.IntRange(min=16), default=128, show_default=True)
def demo(
    out: Path,
    seed: int,
    cohort: Path | None,
    policy: Path | None,
    max_patients: int,
    max_tokens: int,
) -> None:
    """Train an over-trained and a sound model on the same patients, and audit both."""
    from checker.demo.walkthrough import MODELS, Demonstration, Settings
    from checker.report.console import print_report
    from checker.report.suppression import for_audience
    from checker.runs import report_folder
    from checker.terminal import TerminalProgress, TrainingProgress

    settings = Settings(out, seed, cohort, policy, max_patients, max_tokens)
    show = Demonstration(settings, say=lambda text: _say(f"  {text}"))
    _say(f"patients, vocabulary, targets and policy, in {out}")
    show.prepare()
    _say("training two models")
    with TrainingProgress(_err()) as training:
        show.train(training.epoch)
    verdicts = {}
    for model in MODELS:
        _say(f"auditing the {model} model")
        with TerminalProgress(_err()) as progress:
            report = show.audit(model, progress=progress, as_of=_moment(None))
        verdicts[model] = report.verdict
        _show(partial(print_report, for_audience(report, "shared")))
        shared = show.run_path(model) / "report.html"
        internal = report_folder(show.run_path(model), "internal") / "report.html"
        _write(_printable(f"report: {shared}\nfor the audit team: {internal}\n"))
    if settings.is_standard and verdicts != {"overtrained": "fail", "sound": "pass"}:
        raise PhigateError(
            f"the demonstration did not show what it should with seed {seed}: {verdicts};"
            " please report it"
        )


@cli.group()
def canaries() -> None:
    """Plant made-up patients before training, to audit what the model keeps of them."""


@canaries.command("make")
@click.argument("target", type=File)
@click.option("--out", type=File, required=True, help="Folder of the shard to train on.")
@click.option(
    "--manifest", type=File, required=True, help="The auditor's file, kept from whoever trains."
)
@click.option("--count", type=click.IntRange(20, 100_000), default=1000, show_default=True)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    help="To make them again; who guesses it knows who was left out. Default: drawn by lot.",
)
@click.option(
    "--events", type=click.IntRange(4, 1000), default=32, show_default=True, help="In each."
)
@click.option(
    "--beacons",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Further ones that are certainly planted, and that a working attack must find.",
)
@click.option(
    "--repeats", type=click.IntRange(1, 1000), default=20, show_default=True, help="Of a beacon."
)
def make(
    target: Path,
    out: Path,
    manifest: Path,
    count: int,
    seed: int | None,
    events: int,
    beacons: int,
    repeats: int,
) -> None:
    """Draw canaries for TARGET, throw a coin for each, and write a MEDS shard of those included."""
    from checker.canaries import CanarySettings, make_canaries
    from checker.policy import load_target

    spec = load_target(target).document.spec
    settings = CanarySettings(
        seed=secrets.randbits(63) if seed is None else seed,
        count=count,
        events=events,
        beacons=beacons,
        repeats=repeats,
    )
    made = make_canaries(
        spec, base=target.resolve().parent, settings=settings, out=out, manifest=manifest
    )
    copies = f", and {beacons} beacons {repeats} times each" if beacons else ""
    _write(
        f"wrote {out}: {made.included} of {count} canaries{copies}, to train on with split"
        f" '{made.split}'; see README.txt in it\n"
        f"wrote {manifest}: who was left out, and the seed; for the auditor only (mode 0600)"
    )


if __name__ == "__main__":
    main()
