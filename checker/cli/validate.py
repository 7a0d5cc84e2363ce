"""The command validate: documents on their own and together."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from checker.cli.console import emit_json, say, write
from checker.cli.options import File, as_of_option, json_option, others_option, read_moment
from checker.errors import DocumentError, ExitCode, Problem, UsageError
from checker.report.wording.plain import plain

if TYPE_CHECKING:
    from checker.policy import Located


@click.command()
@click.argument("files", metavar="FILE|FOLDER...", type=File, nargs=-1, required=True)
@others_option
@as_of_option
@json_option
def validate(files: tuple[Path, ...], skip_others: bool, as_of: str | None, as_json: bool) -> None:
    """Check documents; all problems of a file at once, each with its line.

    Given together, a policy and its target or its waivers are also checked against each other. Of
    a folder, all YAML files in it that speak of phigate are checked.
    """
    from checker.policy import check_pair, load_documents
    from checker.policy.documents import AuditTarget, LeakagePolicy
    from checker.policy.lint import lint
    from checker.policy.loading import texts_cut_off_in
    from checker.policy.newer import newer_versions
    from checker.policy.recognition import files_in, kinds_named
    from checker.policy.waivers import check_together

    moment = read_moment(as_of)
    found = {place: tuple(files_in(place)) for place in files}
    for place, inside in found.items():
        if not (inside or skip_others):
            raise UsageError(f"{place}: no file in this folder is one of phigate's")
    files = tuple(dict.fromkeys(file for inside in found.values() for file in inside))
    if skip_others:
        files = tuple(file for file in files if kinds_named(file) is not None)
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
    for name in dict.fromkeys(document.file for document in located):
        warnings += texts_cut_off_in(name)
    warnings += lint(located, on=moment.astimezone(UTC).date())
    warnings += (one for policy in policies for one in newer_versions(policy))
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
            say(plain(problem))
        for warning in warnings:
            say(plain(f"warning: {warning}"))
        wrong = {problem.file for problem in problems}
        for document in located:
            if document.file not in wrong:
                meta, kind = document.document.metadata, document.document.kind
                write(f"{document.file}: {kind} {meta.name} {meta.version} is valid")
    if problems:
        raise click.exceptions.Exit(int(ExitCode.USAGE))
