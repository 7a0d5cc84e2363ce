"""At which threshold each tool speaks of a leak, and the tables of `docs/zoo.md` that say so."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.zoo.entries import ENTRIES, Entry
from benchmarks.zoo.study import Outcome, share_of, write_between

ALPHA: Final = 0.05
SHOWN: Final = (
    "one-in-ten", "one-in-twenty", "one-in-thirty", "one-in-a-hundred", "one-person",
    "more-faintly", "one-in-five-greedily", "one-class-in-part", "one-class-told",
    "one-class-told-in-part", "whispers-one-class", "whispers-three-classes", "canaries",
    "late-of-some", "two-tokens", "population", "medicine-tells", "medicine-tells-all",
)  # fmt: skip
"""Table-driven entries that get a row: few, faint or sound. Sums count all that were asked."""

Asked = tuple[str, int]
"""An entry and its seed."""

Said = dict[str, Any]
"""By tool, what was said of one entry, and under "phigate" by policy its verdict."""


@dataclass(frozen=True)
class Instrument:
    """A number of a tool, and when it means a leak.

    Args:
        name: of the tool and the number.
        rule: when it means a leak, in words.
        is_own: the rule is the tool's own; others are made here, by the tool's own interval where
            it has one, and an error rate of 5 %.
        shown: the number.
        leaks: whether it means a leak.
    """

    name: str
    rule: str
    is_own: bool
    shown: Callable[[Said], str]
    leaks: Callable[[Said], bool]


def _span(bounds: Sequence[float]) -> str:
    return f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def _verdict(policy: str) -> Instrument:
    return Instrument(
        f"phigate, {policy}", "fail", True,
        lambda said: said["phigate"].get(policy, "–"),
        lambda said: said["phigate"].get(policy) == "fail",
    )  # fmt: skip


INSTRUMENTS: Final = (
    _verdict("internal"),
    _verdict("gated"),
    Instrument(
        "memaudit, membership", "TPR at 1 % FPR of at least 0.10", True,
        lambda said: f"{said['memaudit']['tpr']:.2f}",
        lambda said: said["memaudit"]["leaks_by_membership"],
    ),
    Instrument(
        "memaudit, regurgitation", "anybody completed from a quarter or half", True,
        lambda said: "{regurgitated_member} / {regurgitated_nonmember}".format(**said["memaudit"]),
        lambda said: said["memaudit"]["leaks_by_regurgitation"],
    ),
    Instrument(
        "memaudit, set level", "p below 0.05", False,
        lambda said: f"{said['memaudit']['p_value']:.2g}",
        lambda said: said["memaudit"]["p_value"] < ALPHA,
    ),
    Instrument(
        "PrivacyGuard, RMIA", "AUC's interval above 0.5", False,
        lambda said: _span(said["privacyguard"]["rmia"]["auc_ci"]),
        lambda said: said["privacyguard"]["rmia"]["auc_ci"][0] > 0.5,
    ),
    Instrument(
        "PrivacyGuard, ε at 1 % TPR", "interval of loss's above 0", False,
        lambda said: _span(said["privacyguard"]["loss"]["eps"]),
        lambda said: said["privacyguard"]["loss"]["eps"][0] > 0.0,
    ),
    Instrument(
        "PrivacyGuard, extraction", "anybody comes out in 1,000 draws at one half", False,
        lambda said: "{member} / {nonmember}".format(**said["privacyguard"]["discoverable"]),
        lambda said: said["privacyguard"]["discoverable"]["member"] > 0,
    ),
    Instrument(
        "sacroml, worst case", "its report supports rejection", True,
        lambda said: f"{said['sacroml']['auc']:.2f}",
        lambda said: bool(said["sacroml"]["rejects"]),
    ),
    Instrument(
        "toolkit, T4", "AUROC's interval above 0.5", False,
        lambda said: _span(said["toolkit"]["t4"][1:]),
        lambda said: said["toolkit"]["t4"][1] > 0.5,
    ),
    Instrument(
        "toolkit, T2", "more members than others named, p below 0.05", False,
        lambda said: " / ".join(
            "{} of {}".format(*said["toolkit"]["t2"][who]) for who in ("members", "nonmembers")
        ),
        lambda said: said["toolkit"]["t2"]["p_value"] < ALPHA,
    ),
)  # fmt: skip


def read(path: Path) -> dict[Asked, Said]:
    """Return what was said; a line that a kill cut short is left out."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["entry"] in ENTRIES:
            found[row.pop("entry"), row.pop("seed")] = row
    return found


def beside(said: Mapping[Asked, Said], outcomes: Iterable[Outcome]) -> dict[Asked, Said]:
    """Put phigate's verdicts of the same models beside what the tools say."""
    verdicts: dict[Asked, dict[str, str]] = defaultdict(dict)
    for one in outcomes:
        verdicts[one.entry, one.seed][one.policy] = one.verdict
    return {asked: {**own, "phigate": verdicts[asked]} for asked, own in said.items()}


def rows(said: Mapping[Asked, Said], *, seed: int = 0) -> str:
    """Return what everybody says of the trained entries and some others, in Markdown."""
    lines = [
        "| model | right | " + " | ".join(one.name for one in INSTRUMENTS) + " |",
        "|" + "---|" * (2 + len(INSTRUMENTS)),
    ]
    for entry in ENTRIES.values():
        own = said.get((entry.name, seed))
        if own is not None and (entry.know is None or entry.name in SHOWN):
            cells = [_cell(one, own) for one in INSTRUMENTS]
            lines.append(f"| {entry.title} | {entry.right} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(one: Instrument, said: Said) -> str:
    shown = one.shown(said)
    return f"**{shown}**" if one.leaks(said) else shown


_GROUPS: Final[tuple[tuple[str, Callable[[Entry], bool]], ...]] = (
    ("leaks found, trained", lambda entry: entry.leaks and entry.know is None),
    ("leaks found, table", lambda entry: entry.leaks and entry.know is not None),
    ("sound said to leak, trained", lambda entry: not entry.leaks and entry.know is None),
    ("sound said to leak, table", lambda entry: not entry.leaks and entry.know is not None),
)


def sums(said: Mapping[Asked, Said]) -> str:
    """Say of how many each number means a leak, with exact intervals of 95 %."""
    lines = [
        "| instrument | means a leak | " + " | ".join(name for name, _ in _GROUPS) + " |",
        "|" + "---|" * (2 + len(_GROUPS)),
    ]
    for one in INSTRUMENTS:
        counts = [
            share_of([one.leaks(own) for (name, _), own in said.items() if belongs(ENTRIES[name])])
            for _, belongs in _GROUPS
        ]
        rule = one.rule if one.is_own else f"{one.rule} (ours)"
        lines.append(f"| {one.name} | {rule} | " + " | ".join(counts) + " |")
    return "\n".join(lines)


_MARKS: Final = ("<!-- what others say -->", "<!-- end of what others say -->")


def write_page(path: Path, said: Mapping[Asked, Said]) -> None:
    """Put both tables between the page's marks."""
    write_between(path, _MARKS, f"{sums(said)}\n\n{rows(said)}")
