"""The command completion: what lets a shell complete commands, options and files."""

from __future__ import annotations

import click

from checker.cli.console import tell
from checker.cli.options import json_option

_WHERE = {
    "bash": 'eval "$(phigate completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(phigate completion zsh)" in ~/.zshrc',
    "fish": "phigate completion fish > ~/.config/fish/completions/phigate.fish",
}


@click.command(epilog="; ".join(_WHERE.values()))
@click.argument("shell", type=click.Choice(list(_WHERE)))
@json_option
def completion(shell: str, as_json: bool) -> None:
    """Print the script that completes phigate's commands and options in a SHELL."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # click knows all three
    program = click.get_current_context().find_root().command
    script = kind(program, {}, "phigate", "_PHIGATE_COMPLETE").source()
    tell(script, as_json, shell=shell, script=script)
