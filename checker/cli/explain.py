"""The command explain: where each field of a policy comes from."""

from __future__ import annotations

from pathlib import Path

import click

from checker.cli.console import emit_json, show
from checker.cli.options import File, json_option


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
