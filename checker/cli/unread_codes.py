"""Codes that claim a vocabulary and are not read as they stand, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console

from checker.cli.console import told
from checker.planning.model import UnreadVocabulary
from checker.records.code_census import ClaimedCodes
from checker.yaml import short

_SAYS: Final = {
    "unread": "not read",
    "malformed": "not read, no codes of that system",
    "lost-zeros": "not read, their zeros are lost",
    "restored": "read with the zeros that they lost",
    "declared": "declared by the target to be local",
}


def print_claims(
    claims: Sequence[ClaimedCodes | UnreadVocabulary],
    lost: Sequence[str],
    suspect: Sequence[str],
    console: Console,
    *,
    shown: int,
) -> None:
    """Print what claims a vocabulary and is not read as it stands, at most so many lines."""

    def line(text: str) -> None:
        # not wrapped: no line may begin in the midst of what a data set says
        console.print(told(text), soft_wrap=True)

    for one in claims[:shown]:
        detail = f" ({short(one.detail)})" if one.detail else ""
        examples = ", ".join(short(code) for code in one.examples)
        line(
            f"{short(one.vocabulary)}: {_SAYS[one.problem]}: {one.codes:,} codes, {one.events:,}"
            f" events of {one.patients:,} patients, such as {examples}{detail}"
        )
    if len(claims) > shown:
        line(f"and {len(claims) - shown:,} more vocabularies that are not read")
    for head in lost:
        line(f"{short(head)}…: ICD-9 codes have lost their leading zeros; an audit refuses them")
    for head in suspect:
        line(
            f"{short(head)}…: none of many ICD-9 codes begins with a zero, as some should: were"
            " they ever numbers?"
        )
