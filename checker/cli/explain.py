"""The command explain: where each field of a policy comes from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from checker.cli.console import emit_json, show
from checker.cli.options import File, json_option

if TYPE_CHECKING:
    from rich.console import Console

    from checker.planning.operating import CellNeed


@click.command()
@click.argument("policy", type=File)
@click.argument("control", required=False)
@click.option("--all", "everything", is_flag=True, help="Every field; otherwise at most a screen.")
@json_option
def explain(policy: Path, control: str | None, everything: bool, as_json: bool) -> None:
    """Say what a policy demands, and with --all the document and line of every field.

    Give a CONTROL to see only what decides about that one.
    """
    from checker.cli.policy_summary import print_summary
    from checker.cli.policy_tables import print_control, print_explanation
    from checker.policy import load_only
    from checker.policy.documents import LeakagePolicy
    from checker.policy.explanation import explain

    located = load_only(LeakagePolicy, policy)
    explanation = explain(located, control=control)
    needed: list[CellNeed] = []
    if control is not None and (as_json or everything):  # of all `phigate power` tells
        from checker.planning.operating import patients_needed

        needed = patients_needed(located.document.spec, control=control)
    if as_json:
        takes = {} if not needed else {"takes": [asdict(one) for one in needed]}
        emit_json({**explanation.as_json(), **takes})
        return

    def print_all(console: Console) -> None:
        if everything:
            print_explanation(explanation, console)
        elif control is not None:
            print_control(explanation, console)
        else:
            print_summary(located, explanation, console, named=str(policy))
        if needed:
            from checker.cli.power import print_needed

            console.print()
            print_needed(needed, console)

    show(print_all)
