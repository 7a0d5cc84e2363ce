"""Commands on documents alone: init, validate, explain, diff, test and schema."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from checker.cli.console import emit_json, say, show, write
from checker.cli.options import File, as_of_option, json_option, read_moment
from checker.errors import DocumentError, ExitCode, Problem, UsageError
from checker.plugins import suggestion

if TYPE_CHECKING:  # commands import what they need when they run: help and errors come at once
    from checker.policy import Located

__all__ = ["diff", "explain", "init", "run_policy_tests", "schema", "validate"]


@click.command()
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
    from checker.cli.published_schemas import write_schemas
    from checker.policy.shipped import starter_files

    files = starter_files(baseline)
    for name in files:
        if (folder / name).exists() and not force:
            raise UsageError(f"{folder / name}: is there already; --force overwrites it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
            write(f"wrote {folder / name}")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    for path in write_schemas(folder / "schemas"):
        write(f"wrote {path}, for editors that know yaml-language-server")
    both = shlex.join([str(folder / "policy.yaml"), str(folder / "target.yaml")])
    tests = shlex.quote(str(folder / "policy-tests.yaml"))
    write(f"next: edit them, then `phigate validate {both}` and `phigate test {tests}`")


@click.command()
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

    moment = read_moment(as_of)
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
        emit_json(
            {
                "valid": not problems,
                "problems": [{f: getattr(p, f) for f in fields} for p in problems],
                "warnings": [{f: getattr(p, f) for f in fields} for p in warnings],
            }
        )
    else:
        for problem in problems:
            say(str(problem))
        for warning in warnings:
            say(f"warning: {warning}")
        wrong = {problem.file for problem in problems}
        for document in located:
            if document.file not in wrong:
                meta, kind = document.document.metadata, document.document.kind
                write(f"{document.file}: {kind} {meta.name} {meta.version} is valid")
    if problems:
        raise click.exceptions.Exit(int(ExitCode.USAGE))


@click.command()
@click.argument("policy", type=File)
@click.argument("control", required=False)
@json_option
def explain(policy: Path, control: str | None, as_json: bool) -> None:
    """Show every field of a policy, with the document and line it came from.

    Give a CONTROL to see only what decides about that one.
    """
    from checker.cli.policy_tables import print_explanation
    from checker.policy import load_only
    from checker.policy.documents import LeakagePolicy
    from checker.policy.explanation import explain

    explanation = explain(load_only(LeakagePolicy, policy), control=control)
    if as_json:
        emit_json(explanation.as_json())
    else:
        show(lambda console: print_explanation(explanation, console))


@click.command()
@click.argument("old", type=File)
@click.argument("new", type=File)
@json_option
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Say field by field whether NEW is tighter or looser than OLD.

    Exits with 1 when anything is looser, so that a pipeline can refuse it.
    """
    from checker.cli.policy_tables import print_comparison
    from checker.policy import load_only
    from checker.policy.documents import LeakagePolicy
    from checker.policy.explanation import compare

    comparison = compare(load_only(LeakagePolicy, old), load_only(LeakagePolicy, new))
    if as_json:
        emit_json(comparison.as_json())
    else:
        show(lambda console: print_comparison(comparison, console))
    if comparison.count("looser"):
        raise click.exceptions.Exit(int(ExitCode.FAIL))


@click.command("test")
@click.argument("files", metavar="FILE|FOLDER...", type=File, nargs=-1, required=True)
@click.option("--policy", type=File, help="Test this policy instead of the one the tests name.")
@json_option
def run_policy_tests(files: tuple[Path, ...], policy: Path | None, as_json: bool) -> None:
    """Run policy tests: made-up results, and the verdicts that a policy must give.

    Needs neither model nor patients. Running no test at all is a failure.
    """
    from checker.cli.terminal import print_policy_tests
    from checker.policy import load_policy
    from checker.verdict.policy_tests import find_tests, policy_under_test, run_policy_test

    given = load_policy(policy) if policy is not None else None
    results = [
        result
        for test in find_tests(files)
        for result in run_policy_test(test, policy=given or policy_under_test(test))
    ]
    if as_json:
        emit_json(
            {
                "passed": bool(results) and all(r.holds for r in results),
                "cases": [{**asdict(r), "holds": r.holds} for r in results],
            }
        )
    else:
        show(lambda console: print_policy_tests(results, console))
    if not results:
        say("no policy tests were found, so nothing was tested")
    if not results or not all(result.holds for result in results):
        raise click.exceptions.Exit(int(ExitCode.FAIL))


@click.command()
@click.argument("kind", required=False)
@click.option("--write", "folder", type=File, help="Write all schemas into this folder.")
def schema(kind: str | None, folder: Path | None) -> None:
    """Print the JSON Schema of KIND, or write all of them."""
    from checker.cli.published_schemas import published_schemas, write_schemas

    if folder is not None:
        for path in write_schemas(folder):
            write(f"wrote {path}")
        return
    schemas = published_schemas()
    if kind is None:
        raise UsageError(f"name a schema: {', '.join(schemas)}; or --write FOLDER")
    if kind not in schemas:
        raise UsageError(f"there is no schema '{kind}'{suggestion(kind, schemas)}")
    emit_json(schemas[kind])
