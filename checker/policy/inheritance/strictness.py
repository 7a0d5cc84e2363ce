"""Which way every field of a policy may move: one table, for inheritance and for `phigate diff`.

A policy demands something in each of its fields, and for each field it is settled here what
demanding *more* means: a limit falls, a confidence rises, a list of controls grows, a metric stays
what it is. `changes` compares two complete policies field by field. Inheritance refuses a policy
that is looser than its parent in any field, or different where nothing can be compared; `diff`
shows the same list to people.

Policies are compared as they are judged, not as they are written: defaults are filled in, a probe's
parameters too, and an attacker has the knowledge of those it extends. Wording (titles, rationales,
citations) demands nothing and is *neutral*.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from checker.attacks.api import load_attack
from checker.errors import PluginError
from checker.policy.attackers import ACCESS, resolve_attacker
from checker.policy.documents import Knowledge, PolicySpec, extent
from checker.policy.inheritance.rules import (
    Asked,
    Change,
    CodesRule,
    Fixed,
    Free,
    Grows,
    LimitRule,
    Named,
    Ordered,
    Parts,
    Permission,
    Selections,
    Shrinks,
    falls,
    rank,
    rises,
)

# --- the table ----------------------------------------------------------------------------------


_TEXT = Free()
_WORDS = Grows("this demands nothing", neutral=True)


def _fixed(what: str) -> Fixed:
    return Fixed(f"the {what} of an inherited control cannot change; write a new control")


def _adjustable(*keys: str) -> Permission:
    """What heirs may shorten, down to a number that only rises."""
    law = "what heirs may shorten only shrinks"
    least = Ordered(law, lambda value: float("inf") if value is None else float(value))
    return Permission(law, Parts("", dict.fromkeys(keys, least)))


_PARAMETERS = Fixed(
    "the parameters of an inherited control cannot change (more samples can make a disclosure"
    " rarer); write a new control"
)

ATTRIBUTE_CLASS = Parts(
    "classes only grow",
    {
        "use": Fixed("what a class is taken from cannot change", may_be_added=True),
        "title": _TEXT,
        "sensitivity": Fixed("a class keeps its sensitivity", may_be_added=True),
        "alsoSensitive": Grows("sensitivities only grow"),
        "confidentiality": Ordered("confidentiality only rises", rank(None, *"ULMNRV")),
        "description": _TEXT,
        "benign": Ordered("a class cannot become benign", rank(True, False)),
        "codes": CodesRule("codes only grow"),
        # one more common class would thin out the patients of whom something is told
        "anyOf": Fixed("a pool keeps its classes; make another pool of others"),
        "exclude": CodesRule("exclusions only shrink", inverse=True),
        "proxies": CodesRule("proxies only grow"),
        # what patients have anyway would thin out what the class alone shows
        "countProxies": Fixed("a class keeps what counts as telling it; make another class"),
        "traps": Grows("traps only grow"),
        "notes": _WORDS,
        "words": _WORDS,
        "reviewed": _TEXT,  # which is bound to the codes by their digest
    },
)

_ATTACKER = Parts(
    "attackers only grow",
    {
        "title": _TEXT,
        "extends": Fixed("an attacker keeps the one it extends", may_be_added=True),
        "knows": Selections(
            "an attacker's knowledge only grows",
            {
                to_camel(name): Grows("an attacker's knowledge only grows")
                if selector.grows == "set"
                else Ordered("an attacker's knowledge only grows", extent)
                for name, selector in Knowledge.selectors().items()
            },
        ),
        "access": Ordered("an attacker's access only rises", rank(*ACCESS)),
        "report": Ordered("an attacker that decides keeps deciding", rank("only", "gate")),
        "adjustable": _adjustable("events", "last"),
        "shortened": _TEXT,
        "cites": _WORDS,
    },
)

_CONTROL = Parts(
    "controls only grow",
    {
        "title": _TEXT,
        "attributeClass": _fixed("class"),
        "probe": _fixed("probe"),
        "params": Parts("", {}, otherwise=_PARAMETERS),
        "adjustable": _adjustable("horizonTokens"),
        "shortened": _TEXT,
        "metric": _fixed("metric"),
        "contrast": _fixed("contrast"),
        "limits": Named("limits only grow", LimitRule("limits only fall")),
        "subgroups": Grows("subgroups only grow", default=("all",)),
        "severity": Ordered("severity only rises", rank("low", "medium", "high", "critical")),
        "enforcement": Ordered("enforcement only rises", rank("advisory", "mandatory", "absolute")),
        "onInconclusive": Ordered(
            "an inconclusive result that blocks keeps blocking", rank("warn", None, "block")
        ),
        "blocks": Ordered("a control that can block keeps blocking", rank(False, True)),
        "rationale": _TEXT,
        "remediation": _WORDS,
        "cites": _WORDS,
    },
)

POLICY = Parts(
    "",
    {
        "extends": _TEXT,
        "abstract": _TEXT,
        "context": Ordered(
            "the context only narrows: public-weights, gated, internal",
            rank("public-weights", "gated", "internal"),
        ),
        "parameters": Parts(
            "",
            {
                "confidence": rises("confidence only rises"),
                "minCell": rises("minimum counts only rise"),
                "expectedBaseRate": Free("this only helps to plan"),
                "admissibilityTolerance": falls("the tolerance only falls"),
                "maxNearDuplicates": falls("the share of near-duplicates only falls"),
                "seed": Fixed(
                    "another seed is another draw, so it stays as inherited", may_be_added=True
                ),
                "sampling": Parts(
                    "",
                    {
                        "patients": Asked(
                            "the number of patients who are asked only rises: a number, then all"
                        ),
                        "curtailed": Free("this decides nothing"),
                        "sequential": Free("this decides nothing"),
                    },
                ),
            },
        ),
        "attackers": Named("attackers only grow", _ATTACKER),
        "attributeClasses": Named("classes only grow", ATTRIBUTE_CLASS),
        "controls": Named("controls only grow", _CONTROL),
        "prerequisites": Named(
            "prerequisites only grow",
            Parts(
                "",
                {
                    "title": Fixed("a prerequisite keeps what it demands; write another one"),
                    "rationale": _TEXT,
                    "maxAge": falls("the age of declarations only falls"),
                    "cites": _WORDS,
                },
            ),
        ),
        "citations": Named(
            "this demands nothing",
            Parts(
                "",
                {
                    "title": Fixed("a citation keeps its source; give another one another name"),
                    "basis": Fixed("a citation keeps its basis; give another one another name"),
                    "everyPerson": Ordered(
                        "what asks something for everybody keeps asking it", rank(False, True)
                    ),
                    **dict.fromkeys(
                        ("jurisdiction", "addressee", "asOf", "seen", "url", "note"), _TEXT
                    ),
                },
            ),
            neutral=True,
        ),
        "gate": Parts(
            "",
            {
                "failOn": Grows("severities that block only grow", additive=False),
                "maxEvidenceAge": falls("evidence age only falls"),
                "requireExpectation": Ordered(
                    "an expectation that is required stays required", rank(False, True)
                ),
                "requireLedger": Ordered(
                    "a ledger that is required stays required", rank(False, True)
                ),
            },
        ),
        "waivers": Permission(
            "a policy without waivers grants none, and neither do those that extend it",
            Parts(
                "",
                {
                    "approverRoles": Shrinks("roles that may approve only shrink"),
                    "minApprovers": rises("minimum counts only rise"),
                    "maxDuration": falls("waiver duration only falls"),
                },
            ),
        ),
    },
)
"""The rules of a policy's `spec`, key by key."""


# --- two policies -------------------------------------------------------------------------------


def changes(old: PolicySpec, new: PolicySpec) -> list[Change]:
    """Compare two complete policies.

    Args:
        old: what was demanded.
        new: what is demanded now.

    Returns:
        What differs, in the order of the table, with paths from the document's root; nothing for
        equal policies.
    """
    confidence = old.parameters.confidence
    return list(POLICY.changes(("spec",), effective(old), effective(new), confidence=confidence))


def effective(spec: PolicySpec) -> dict[str, Any]:
    """Return a policy as it is judged: with defaults, and attackers with all they know.

    Each control also says whether it `blocks`: a severity that rises out of the gate's list would
    let through what it let not through before.
    """
    plain = filled_in(spec)
    for name, attacker in plain["attackers"].items():
        resolved = resolve_attacker(spec, name)
        attacker.pop("extends", None)
        attacker["access"] = resolved.access
        attacker["knows"] = resolved.knows.model_dump()
    for name, control in plain["controls"].items():
        one = spec.controls[name]
        control["blocks"] = one.enforcement != "advisory" and one.severity in spec.gate.fail_on
    for key in ("extends", "abstract"):
        plain.pop(key, None)
    return plain


def filled_in(spec: PolicySpec) -> dict[str, Any]:
    """Return a policy as plain values, with every default written out."""
    plain: dict[str, Any] = spec.model_dump(by_alias=True, exclude_none=True)
    for control in plain["controls"].values():
        control["params"] = _effective_params(control["probe"], control["params"])
    return plain


def _effective_params(probe: str, params: dict[str, Any]) -> dict[str, Any]:
    """Fill in a probe's defaults; what is wrong with them is for validation to say."""
    try:
        model = load_attack(probe).params
        return dict(model.model_validate(params).model_dump(by_alias=True))
    except (PluginError, ValidationError):
        return params
