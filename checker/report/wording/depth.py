"""How deep an audit looked, in words: whom and what no attacker of the policy reaches."""

from __future__ import annotations

from checker.report.model import AttributeClassText, Report, TargetRef
from checker.report.wording.declared import listed
from checker.report.wording.numbers import grouped, share


def beyond_words(report: Report) -> str:
    """Say of which sensitive classes more than a few are out of reach, or nothing."""
    deciding = {cell.attribute_class for cell in report.cells if cell.gating}
    classes: dict[bool, list[str]] = {}
    for one in report.policy.attribute_classes:
        if one.partly_beyond and not one.benign:
            classes.setdefault(one.id in deciding, []).append(one.id)
    if not classes:
        return ""
    whom = [
        f"whose {listed(names)} no attacker{' who decides' if decides else ''} could reach"
        for decides, names in classes.items()
    ]
    return (
        f"It says nothing of patients {' or '.join(whom)}: the codes lie further on in their"
        " records than continuations were drawn, or no token names them."
    )


def class_depth_words(one: AttributeClassText) -> str:
    """Say how many who have a class are out of reach, as far as the audience may know it."""
    found = one.depth
    if found is None:
        return "more than a few" if one.partly_beyond else "–"
    inside, outside = found.members_beyond_deciding, found.nonmembers_beyond_deciding
    return (
        f"{grouped(inside)} of {grouped(found.members)} members, {grouped(outside)} of"
        f" {grouped(found.nonmembers)} nonmembers"
    )


def token_words(target: TargetRef) -> str:
    """Say which part of the members' records was looked at, or nothing."""
    shares = target.token_shares
    if shares is None:
        return ""
    beyond = f"at {share(shares.beyond)} no attack of the policy looks"
    if shares.continued is None or shares.scored is None:
        return f"Of the tokens of the members' records, {beyond}."
    return (
        f"Of the tokens of the members' records, {share(shares.continued)} may be told by"
        f" continuations, {share(shares.scored)} are only scored as part of whole records, and"
        f" {beyond}."
    )
