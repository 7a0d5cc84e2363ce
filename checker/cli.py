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
from checker.errors import DocumentError, ExitCode, PhigateError, Problem, UsageError
from checker.plugins import plugin_names, suggestion

if TYPE_CHECKING:  # commands import what they need when they run: help and errors come at once
    from rich.console import Console

    from checker.plan import AuditPlan
    from checker.policy import Located
    from checker.policy.documents import LeakagePolicy, LeakageWaiver
    from checker.preparation import Prepared
    from checker.report.model import Report

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
    """Read `--format`; JSON is always written, for `verify` and `report` read it."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = plugin_names("phigate.reports")
    for name in names:
        if name not in known:
            raise UsageError(
                f"--format {name}: there is no such format; there are {', '.join(known)}"
            )
    return list(dict.fromkeys(["json", *names]))


json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
as_of_option = click.option("--as-of", metavar="TIME", help="Judge for this time (ISO 8601).")
format_option = click.option(
    "--format", "formats", default="html,json", show_default=True, help="Reports, comma-separated."
)
out_option = click.option(
    "--out", type=File, required=True, help="The run's folder; a run there is resumed."
)


waivers_option = click.option(
    "--waivers", type=File, multiple=True, metavar="FILE", help="Waivers to judge with; repeatable."
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
@json_option
def plan(policy: Path, target: Path, as_json: bool) -> None:
    """Show what an audit would measure, what cannot pass, and what it costs; runs no model."""
    from checker.preparation import prepare
    from checker.terminal import print_plan

    compiled = prepare(policy, target).audit.plan
    if as_json:
        _write(compiled.to_bytes().decode().rstrip("\n"))
    else:
        _show(lambda console: print_plan(compiled, console))


@cli.command()
@click.argument("policy", type=File)
@click.argument("target", type=File)
@out_option
@format_option
@device_option
@fresh_option
@waivers_option
@no_waivers_option
@as_of_option
@json_option
def check(
    policy: Path,
    target: Path,
    out: Path,
    formats: str,
    device: str | None,
    resume: bool,
    waivers: tuple[Path, ...],
    no_waivers: bool,
    as_of: str | None,
    as_json: bool,
) -> None:
    """Plan, run, judge and report; the exit code is the verdict."""
    from checker.preparation import prepare
    from checker.runs import judge_run, load_run, record_waivers

    names, moment = _formats(formats), _moment(as_of) if as_of else None
    prepared = prepare(policy, target, device=device)
    granted = _granted(
        () if no_waivers else waivers,
        policy=prepared.policy.document,
        plan=prepared.audit.plan,
        as_of=moment or _moment(None),
    )
    _run(prepared, out, resume=resume)
    record = record_waivers(out, granted)
    report = judge_run(load_run(out), as_of=moment or _moment(None), waivers=record)
    _finish(report, out, names, as_json=as_json)


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
@fresh_option
def run(policy: Path, target: Path, out: Path, device: str | None, resume: bool) -> None:
    """Plan and run, without judging; `phigate judge` does the rest."""
    from checker.preparation import prepare

    _run(prepare(policy, target, device=device), out, resume=resume)
    _write(f"evidence is in {out}; next: `phigate judge {shlex.quote(str(out))}`")


def _run(prepared: Prepared, out: Path, *, resume: bool) -> None:
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
            progress=progress,
            command=_printable(shlex.join(["phigate", *sys.argv[1:]])),
            fresh=not resume,
        )
    for job, message in manifest.crashed.items():
        _say(f"job {job[:12]} could not be completed: {message}")


@cli.command()
@click.argument("folder", metavar="RUN", type=File)
@click.option("--policy", type=File, help="Judge by another policy, in a folder below RUN.")
@format_option
@waivers_option
@no_waivers_option
@as_of_option
@json_option
def judge(
    folder: Path,
    policy: Path | None,
    formats: str,
    waivers: tuple[Path, ...],
    no_waivers: bool,
    as_of: str | None,
    as_json: bool,
) -> None:
    """Judge a run's evidence again, without the model.

    Waivers that the run was judged with before count again, unless others are given.
    """
    from checker.policy import load_policy
    from checker.runs import derive_run, judge_run, load_run, load_waivers, record_waivers

    names, run, moment = _formats(formats), load_run(folder), _moment(as_of)
    if policy is not None:
        run = derive_run(run, load_policy(policy))
    record = None
    if waivers and not no_waivers:
        granted = _granted(waivers, policy=run.policy, plan=run.plan, as_of=moment)
        record = record_waivers(run.folder, granted)
    elif not no_waivers:
        record = load_waivers(run.folder)
    report = judge_run(run, as_of=moment, waivers=record)
    _finish(report, run.folder, names, as_json=as_json)


@cli.command()
@click.argument("folder", metavar="RUN", type=File)
@format_option
def report(folder: Path, formats: str) -> None:
    """Write a run's reports again from its report.json."""
    from checker.report.json import load_report
    from checker.runs import write_reports

    for path in write_reports(
        folder, load_report(folder / "report.json"), formats=_formats(formats)
    ):
        _write(f"wrote {path}")


def _finish(report: Report, folder: Path, formats: list[str], *, as_json: bool) -> None:
    from checker.report.console import print_report
    from checker.report.json import render_json
    from checker.runs import write_reports

    paths = write_reports(folder, report, formats=formats)
    try:
        if as_json:
            _write(render_json(report).rstrip("\n"))
        else:
            _show(lambda console: print_report(report, console))
            _write("\n".join(_printable(f"report: {path}") for path in paths))
    except PhigateError as error:  # the verdict stands, whether or not it can be shown
        _say(str(error))
    raise click.exceptions.Exit(report.summary.exit_code)


@cli.command()
@click.argument("folder", metavar="RUN", type=File)
@click.option("--as-of", metavar="TIME", help="Ask too whether the verdict holds at this time.")
@json_option
def verify(folder: Path, as_of: str | None, as_json: bool) -> None:
    """Recompute a run's digests and verdicts, and compare them with its report."""
    from checker.verification import verify_run

    statements = verify_run(folder, as_of=_moment(as_of) if as_of else None)
    if as_json:
        _emit_json([{"holds": s.holds, "text": s.text} for s in statements])
    else:
        for statement in statements:
            _write(_printable(f"{'holds  ' if statement.holds else 'BROKEN '} {statement.text}"))
    if not all(statement.holds for statement in statements):
        raise click.exceptions.Exit(int(ExitCode.INCOMPLETE))


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
        _show(partial(print_report, report))
        _write(_printable(f"report: {show.run_path(model) / 'report.html'}\n"))
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
