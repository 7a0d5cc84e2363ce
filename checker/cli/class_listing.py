"""Attribute classes for people and machines: which there are, and what each says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from checker.cli.console import plain_table, told
from checker.errors import UsageError
from checker.plugins import nearest_or_all
from checker.policy import load_only
from checker.policy.class_review import review_state
from checker.policy.documents import (
    AttributeClassSpec,
    LeakagePolicy,
    LibraryClassSpec,
    PolicyClassSpec,
)
from checker.policy.library import library_class, library_classes


def choose_classes(policy: Path | None, names: Sequence[str] = ()) -> dict[str, AttributeClassSpec]:
    """Return the classes of a policy, or of the library, by name.

    Args:
        policy: a policy file; its own classes, and those it takes from a library.
        names: of the wanted classes; all, where none is given. Of the library, `NAME@1` is a
            version that was superseded.

    Raises:
        UsageError: there is no class of such a name.
        DocumentError: the policy is invalid.
    """
    known: dict[str, AttributeClassSpec]
    if policy is None:
        known = {name: one.document.spec for name, one in library_classes().items()}
        known |= {name: _versioned(name) for name in names if "@" in name or "/" in name}
    else:
        known = dict(load_only(LeakagePolicy, policy).document.spec.attribute_classes)
    for name in names:
        if name not in known:
            where = "the library" if policy is None else str(policy)
            raise UsageError(f"{where} has no class '{name}'{nearest_or_all(name, known)}")
    return {name: known[name] for name in names or known}


def _versioned(name: str) -> AttributeClassSpec:
    try:
        return library_class(f"library/{name.removeprefix('library/')}").document.spec
    except ValueError as error:
        raise UsageError(str(error)) from error


def choose_coded(policy: Path | None, names: Sequence[str] = ()) -> dict[str, AttributeClassSpec]:
    """Return classes that have codes: those of `choose_classes`, and for a pool its classes."""
    known = choose_classes(policy)
    chosen: dict[str, AttributeClassSpec] = {}
    for name, spec in choose_classes(policy, names).items():
        pool = spec.any_of if isinstance(spec, PolicyClassSpec) else None
        chosen |= {one: known[one] for one in pool} if pool else {name: spec}
    return chosen


def list_json(classes: Mapping[str, AttributeClassSpec]) -> list[dict[str, Any]]:
    """Return one line a class."""
    return [
        {
            "name": name,
            "title": spec.title,
            "sensitivity": spec.sensitivity,
            "confidentiality": spec.confidentiality,
            "benign": spec.benign,
            "review": review_state(spec, _policy_classes(classes)),
            "anyOf": spec.any_of if isinstance(spec, PolicyClassSpec) else None,
            "values": {
                tier: sum(len(one.values) for one in spec.codes if one.tier == tier)
                for tier in ("definitive", "strong", "suggestive", "exposure")
            }
            | {"proxy": sum(len(one.values) for one in spec.proxies)},
        }
        for name, spec in classes.items()
    ]


def _policy_classes(
    classes: Mapping[str, AttributeClassSpec],
) -> dict[str, PolicyClassSpec]:
    return {name: one for name, one in classes.items() if isinstance(one, PolicyClassSpec)}


def print_classes(classes: Mapping[str, AttributeClassSpec], console: Console) -> None:
    """Print one line a class, with how many values it has in each tier."""
    counted = ("definitive", "strong", "suggestive", "exposure", "proxy")
    table = plain_table("class", "title", "HL7", *counted, "review", numbers=counted)
    for row in list_json(classes):
        codes = "/".join(filter(None, (row["sensitivity"], row["confidentiality"])))
        table.add_row(
            row["name"],
            told(row["title"]),
            told(codes),
            *(str(row["values"][one] or "") for one in counted),
            row["review"] + (f", any of {len(row['anyOf'])}" if row["anyOf"] else ""),
        )
    console.print(table)


def class_json(name: str, spec: AttributeClassSpec) -> dict[str, Any]:
    """Return a class as its document says it."""
    return {"name": name, **spec.model_dump(mode="json", by_alias=True, exclude_none=True)}


def print_class(name: str, spec: AttributeClassSpec, console: Console) -> None:
    """Print all that a class says."""
    console.print(f"[bold]{name}[/]: {told(spec.title)}")
    codes = ", ".join(filter(None, (spec.sensitivity, *spec.also_sensitive)))
    hl7 = f"HL7 sensitivity {codes or 'none'}, confidentiality {spec.confidentiality or 'not said'}"
    console.print(told(hl7) + ("; benign, audited for comparison" if spec.benign else ""))
    if spec.description:
        console.print(told(spec.description))
    if isinstance(spec, PolicyClassSpec) and spec.any_of:
        console.print(told(f"a pool: who has any of {', '.join(spec.any_of)}"))
        return
    table = plain_table("", "system", "values", "note")
    for one in spec.codes:
        table.add_row(one.tier, one.system, _values(one.values, one.exclude), _text(one.note))
    for proxy in spec.proxies:
        table.add_row("proxy", proxy.system, _values(proxy.values, proxy.exclude), _text(proxy.why))
    for excluded in spec.exclude:
        table.add_row("never", excluded.system, _values(excluded.values), _text(excluded.why))
    console.print(table)
    if spec.traps:
        traps = plain_table("trap", "system", "is", "why")
        for trap in spec.traps:
            traps.add_row(told(trap.code), trap.system, trap.expect, told(trap.why))
        console.print(traps)
    for note in spec.notes:
        console.print(f"note: {told(note)}")
    if isinstance(spec, LibraryClassSpec):
        for source in spec.sources:
            terms = "; ".join(filter(None, (source.publisher, source.licence)))
            title = f"{source.title} ({terms})" if terms else source.title
            console.print(told(f"source of {', '.join(source.systems)}: {title}"))
        for citation in spec.citations.values():
            note_text = f": {citation.note}" if citation.note else ""
            seen = f" ({citation.seen})" if citation.seen not in (None, "text") else ""
            console.print(told(f"{citation.basis}: {citation.title}{seen}{note_text}"))
        review = spec.review
        console.print(told(f"derived by {review.by}. {review.note or ''}".rstrip()))
    console.print(told(sign_off(spec)))


def sign_off(spec: AttributeClassSpec) -> str:
    """Say in a sentence who has signed a class off, or that nobody has."""
    signed, state = spec.reviewed, review_state(spec)
    if signed is None:
        return "draft: nobody has signed it off"
    who = f"{signed.by}, {signed.role}, on {signed.date}, version {signed.version}"
    if state == "reviewed":
        return f"reviewed by {who}"
    return f"draft: its codes changed since it was signed off by {who}"


def _values(values: Sequence[str], exclude: Sequence[str] = ()) -> str:
    return told(", ".join(values) + (f"; not {', '.join(exclude)}" if exclude else ""))


def _text(text: str | None) -> str:
    return told(text or "")
