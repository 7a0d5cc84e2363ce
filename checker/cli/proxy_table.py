"""Codes that tell a class without being counted, and the line that counts them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console

from checker.cli.console import plain_table, told
from checker.codes.patterns import GLOB_CHARACTERS
from checker.planning.model import ProxyCode
from checker.records.proxies import Proxy


def print_proxies(
    name: str, proxies: Sequence[Proxy | ProxyCode], console: Console, *, shown: int
) -> None:
    """Print a class's proxies, at most so many, those that tell most for certain first."""
    if not proxies:
        return
    table = plain_table(
        f"proxy of {name}", "patients", "have the class", "", numbers=("patients", "have the class")
    )
    for one in proxies[:shown]:
        table.add_row(
            told(one.code),
            f"{one.patients:,}",
            f"{one.positives / one.patients:.0%} ({one.low:.0%} to {one.high:.0%})",
            "leaves the prompt" if one.leaves_prompt else "may stand in the prompt",
        )
    console.print(table)
    more = f", {len(proxies) - shown:,} of them not shown here" if len(proxies) > shown else ""
    console.print(
        told(
            f"These tell {name} of patients whom the model never saw, and are not counted{more}."
            " With these lines in a class of its own they leave the prompt and count as telling it:"
        ),
        soft_wrap=True,
    )
    console.print(told(f"  {proxy_line(proxies[:shown])}"), soft_wrap=True)
    console.print("  countProxies: true")


def proxy_line(proxies: Sequence[Proxy | ProxyCode]) -> str:
    """Return the line of a class that names them: globs that match their spellings alone."""
    globs = [GLOB_CHARACTERS.sub(r"[\g<0>]", one.code) for one in proxies]
    return f"proxies: [{{system: local, values: {json.dumps(globs, ensure_ascii=False)}}}]"
