"""The command explain: where each field of a policy comes from."""

from __future__ import annotations

from pathlib import Path

import click

from checker.cli.console import emit_json, show
from checker.cli.options import File, json_option


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
    if as_json:
        emit_json(explanation.as_json())
    elif everything:
        show(lambda console: print_explanation(explanation, console))
    elif control is not None:
        show(lambda console: print_control(explanation, console))
    else:
        show(lambda console: print_summary(located, explanation, console, named=str(policy)))
