"""Text that somebody put into a policy, a waiver or a data set to make a report do something."""

from __future__ import annotations

from typing import Any

from checker.report.model import Report

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "entity": "&lt;b&gt; &xxe; &#x41; <!ENTITY xxe SYSTEM 'file:///etc/passwd'> ]]>",
    "xml": "\x00\x08\x0b\x1f\x85\ufffe\uffff\ufdd0",
    "terminal": "\x1b[31mfail\x1b[0m\x07\x9b31m",
    "direction": "a\u202egnp.exe\u2066\u200f\ufeff\u200b",
    "lines": "x\r\n\r\n# Heading\u2028---\u2029- item\n| a | b |\n```\n",
    "markdown": "[x](javascript:alert(1)) ![p](http://evil.example/p) **b** _i_ `c` ~~s~~ $m$ |",
    "reference": "[x][1] [^1] <http://evil.example> http://evil.example www.evil.example",
    "mention": "@admin @org/team #12 !34 GH-56 ABC-78 %9 ~bug $1 &2 a@evil.example :shipit: :+1:",
    "commands": "/close /approve",
    "yaml": "x: {a: &a [*a, !!python/object:os.system ls]} # c\n---\n... ' \" % @ ` | > -",
    "sarif": "{0} {arguments} [text](1) [file](file:///etc/passwd)",
    "template": "{{ 7*7 }} {% raw %} ${7*7} <%= 7*7 %>",
    "other scripts": "مرحبا 测试 🩺",
    "long": "x" * 10_000,
    "long markup": "<@#[`" * 2_000,
}

# what phigate itself writes, and a closed set of words or a time; nobody else has a say in it
_OURS = {
    "seen", "release", "review",
    "verdict", "schemaVersion", "audience", "metric", "contrast", "status", "boundSide", "asOf",
    "started", "finished", "expiresOn", "startsOn", "withheld",
}  # fmt: skip
_FREE_KEYS = {"params", "reported", "environment", "preflight"}


def poisoned(report: Report, payload: str) -> Report:
    """Put a payload at the end of every text of a report, and of every name that is not ours."""

    def walk(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            tail = payload if key in _FREE_KEYS else ""
            return {name + tail: walk(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner, key) for inner in value]
        if not isinstance(value, str) or key in _OURS or (key, value) == ("subgroup", "all"):
            return value
        return value + payload

    return Report.model_validate(walk(report.model_dump(mode="python", by_alias=True)))
