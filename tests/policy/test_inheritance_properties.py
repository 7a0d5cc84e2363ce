"""Random parents and children: whatever is accepted demands at least as much as every parent.

What "as much" means is written here a second time, by hand and without the table that inheritance
and `diff` share, so that a wrong entry there does not go unnoticed.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from checker.errors import DocumentError
from checker.policy import Located, load_policy, resolve_attacker
from checker.policy.documents import LeakagePolicy, Limit, PolicySpec
from checker.policy.explanation import compare

Plain = dict[str, Any]

SEVERITIES = ["low", "medium", "high", "critical"]
ENFORCEMENTS = ["advisory", "mandatory", "absolute"]
ACCESS = ["samples", "logprobs", "embeddings"]
CONTEXTS = ["public-weights", "gated", "internal"]
TIERS = ["exposure", "suggestive", "strong", "definitive"]
CODES = ["042", "V08", "079.53", "136.3"]
DRUGS = ["lamivudine", "tenofovir"]
GLOBS = ["LAB//*", "MEDICATION//*"]


# --- what a policy demands, by hand -------------------------------------------------------------


def looser(parent: PolicySpec, child: PolicySpec) -> list[str]:
    """Name every way in which the child demands less than the parent."""
    checks: dict[str, bool] = {
        "context": CONTEXTS.index(child.context) >= CONTEXTS.index(parent.context),
        "confidence": child.parameters.confidence >= parent.parameters.confidence,
        "minCell": child.parameters.min_cell >= parent.parameters.min_cell,
        "tolerance": child.parameters.admissibility_tolerance
        <= parent.parameters.admissibility_tolerance,
        "seed": child.parameters.seed == parent.parameters.seed,
        "failOn": set(child.gate.fail_on) >= set(parent.gate.fail_on),
        "evidence age": parent.gate.max_evidence_age is None
        or (
            child.gate.max_evidence_age is not None
            and child.gate.max_evidence_age <= parent.gate.max_evidence_age
        ),
        "waivers": child.waivers is None
        or (
            parent.waivers is not None
            and set(child.waivers.approver_roles) <= set(parent.waivers.approver_roles)
            and child.waivers.min_approvers >= parent.waivers.min_approvers
            and child.waivers.max_duration <= parent.waivers.max_duration
        ),
    }
    for name in parent.attackers:
        checks[f"attacker {name}"] = name in child.attackers and _knows_more(parent, child, name)
    for name in parent.attribute_classes:
        checks[f"class {name}"] = name in child.attribute_classes and _catches_more(
            parent, child, name
        )
    for name in parent.controls:
        checks[f"control {name}"] = name in child.controls
        if name in child.controls:
            checks |= _control(parent, child, name)
    return [name for name, holds in checks.items() if not holds]


def _knows_more(parent: PolicySpec, child: PolicySpec, name: str) -> bool:
    before, after = resolve_attacker(parent, name), resolve_attacker(child, name)
    fields = after.knows.static == "all" or (
        before.knows.static != "all"
        and set(after.knows.static or ()) >= set(before.knows.static or ())
    )

    def extent(events: Any) -> float:
        return 1e9 if events == "all" else -1.0 if events is None else float(events)

    chosen = after.knows.events == "all" or (
        (after.knows.random or 0) >= (before.knows.random or 0)
        and set(after.knows.code_types or ()) >= set(before.knows.code_types or ())
    )
    return (
        fields
        and chosen
        and extent(after.knows.events) >= extent(before.knows.events)
        and ACCESS.index(after.access) >= ACCESS.index(before.access)
        and (after.gating or not before.gating)
    )


def _catches_more(parent: PolicySpec, child: PolicySpec, name: str) -> bool:
    def tiers(spec: PolicySpec) -> dict[str, int]:
        held: dict[str, int] = {}
        for one in spec.attribute_classes[name].codes:
            for value in one.values:
                held[value] = max(held.get(value, -1), TIERS.index(one.tier))
        return held

    def hidden(spec: PolicySpec) -> set[str]:
        return {v for one in spec.attribute_classes[name].proxies for v in one.values}

    def excluded(spec: PolicySpec) -> set[str]:
        return {v for one in spec.attribute_classes[name].exclude for v in one.values}

    before, after = tiers(parent), tiers(child)
    return (
        all(after.get(code, -1) >= tier for code, tier in before.items())
        and hidden(child) >= hidden(parent)
        and excluded(child) <= excluded(parent)
    )


def _control(parent: PolicySpec, child: PolicySpec, name: str) -> dict[str, bool]:
    before, after = parent.controls[name], child.controls[name]
    waits = ["warn", None, "block"]
    checks = {
        f"{name} measures": (before.probe, before.metric, before.attribute_class, before.contrast)
        == (after.probe, after.metric, after.attribute_class, after.contrast),
        # 20 is the probe's default
        f"{name} samples": before.params.get("samples", 20) == after.params.get("samples", 20),
        f"{name} severity": SEVERITIES.index(after.severity) >= SEVERITIES.index(before.severity),
        f"{name} enforcement": ENFORCEMENTS.index(after.enforcement)
        >= ENFORCEMENTS.index(before.enforcement),
        f"{name} inconclusive": waits.index(after.on_inconclusive)
        >= waits.index(before.on_inconclusive),
        f"{name} subgroups": all(one in after.subgroups for one in before.subgroups),
        f"{name} cites": set(after.cites) >= set(before.cites),
        f"{name} blocks": _blocks(child, name) or not _blocks(parent, name),
    }
    for attacker, limit in before.limits.items():
        key = f"{name} limit of {attacker}"
        checks[key] = attacker in after.limits
        if attacker in after.limits:
            now = after.limits[attacker]
            checks[key] = _allows_no_more(limit, now, parent.parameters.confidence)
            checks[f"{key}, warn"] = _warns_from(now) <= _warns_from(limit)
    return checks


def _allows_no_more(limit: Limit, now: Limit, confidence: float) -> bool:
    if limit.fail is not None and now.fail is not None:
        return now.fail <= limit.fail
    if limit.fail is None:
        return now.min_n is not None and now.min_n >= (limit.min_n or 0)
    # no hit among n patients proves a share p where (1 - p)^n <= 1 - confidence
    enough = math.log(1 - confidence) / math.log(1 - limit.fail)
    return now.min_n is not None and now.min_n >= enough


def _warns_from(limit: Limit) -> float:
    """Return what is remarked on or refused; a warning at the limit itself is none."""
    if limit.fail is None:
        return 0.0
    return limit.fail if limit.warn is None else min(limit.warn, limit.fail)


def _blocks(spec: PolicySpec, name: str) -> bool:
    control = spec.controls[name]
    return control.enforcement != "advisory" and control.severity in spec.gate.fail_on


# --- random policies ----------------------------------------------------------------------------


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Plain]:
    """A mapping with any of the keys."""
    return st.fixed_dictionaries({}, optional=keys)


def chosen(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


def limits(limit: st.SearchStrategy[Plain]) -> st.SearchStrategy[Plain]:
    return st.dictionaries(st.sampled_from(["a1", "a2"]), limit, min_size=1)


RATES = [0.01, 0.02, 0.05, 0.09]
SHARE = st.one_of(
    st.builds(lambda fail: {"fail": fail}, st.sampled_from(RATES)),
    st.builds(
        lambda warn, more: {"warn": warn, "fail": min(1.0, warn + more)},
        st.sampled_from(RATES),
        st.sampled_from([0.0, 0.03]),
    ),
)
COUNT = st.builds(lambda n: {"maxCount": 0, "minN": n}, st.sampled_from([50, 149, 299]))
PARAMETERS = some(
    confidence=st.sampled_from([0.9, 0.95, 0.99]),
    minCell=st.sampled_from([5, 11, 20]),
    admissibilityTolerance=st.sampled_from([0.05, 0.1, 0.2]),
    expectedBaseRate=st.sampled_from([0.0, 0.05]),
)
KNOWS_ALL = some(static=chosen(["age", "sex", "race"]), events=st.just("all"))
KNOWS_SOME = some(static=st.one_of(st.just("all"), chosen(["age", "sex", "race"])),
             events=st.sampled_from([0, 5, 10]), random=st.sampled_from([5, 20]),
             codeTypes=chosen(GLOBS))  # fmt: skip
KNOWS = st.one_of(KNOWS_SOME, KNOWS_ALL)
SEES = {"access": st.sampled_from(ACCESS), "report": st.sampled_from(["gate", "only"])}
EXTENDS = {"extends": st.sampled_from(["a2", "a3"])}
FREE_ATTACKER = some(knows=KNOWS, **SEES)
HEIR = some(knows=some(static=chosen(["age", "race"])), **SEES, **EXTENDS)
"""One that adds nothing which those it extends may know more of."""
ATTACKER = some(knows=KNOWS, **SEES, **EXTENDS)
CLASS = some(
    codes=st.lists(
        st.builds(
            lambda tier, values: {"system": "icd9cm", "tier": tier, "values": values},
            st.sampled_from(TIERS),
            chosen(CODES),
        ),
        min_size=1,
        max_size=2,
    ),
    proxies=chosen(DRUGS).map(lambda names: [{"system": "drug", "values": names}]),
    exclude=chosen(["136.30", "136.31"]).map(lambda them: [{"system": "icd9cm", "values": them}]),
)
CONTROL = some(
    limits=limits(st.one_of(SHARE, COUNT)),
    subgroups=chosen(["all", "rare_code"]),
    severity=st.sampled_from(SEVERITIES),
    enforcement=st.sampled_from(ENFORCEMENTS),
    onInconclusive=st.sampled_from(["block", "warn"]),
    cites=chosen(["x", "y"]),
    contrast=st.sampled_from(["nonmembers", "reference"]),
)
GATE = some(failOn=chosen(SEVERITIES), maxEvidenceAge=st.sampled_from(["P30D", "P90D"]))
WAIVERS = st.fixed_dictionaries(
    {
        "approverRoles": chosen(["officer", "chair"]),
        "minApprovers": st.sampled_from([1, 2]),
        "maxDuration": st.sampled_from(["P30D", "P90D"]),
    }
)
MEASURES = some(
    params=st.just({"samples": 40}), metric=st.just("disclosure_rate"), title=st.just("Other")
)


def document(name: str, spec: Plain) -> Plain:
    head = {"apiVersion": "phigate/v1", "kind": "LeakagePolicy"}
    return {**head, "metadata": {"name": name, "version": "1"}, "spec": spec}


@st.composite
def whole_spec(draw: Callable[..., Any]) -> Plain:
    """A complete policy's body."""
    own = draw(CLASS)
    codes = own.get("codes", [{"system": "icd9cm", "tier": "strong", "values": ["042"]}])
    seen: set[str] = set()
    for one in codes:  # a code stands once
        one["values"] = [value for value in one["values"] if value not in seen]
        seen |= set(one["values"])
    control = {
        "title": "C",
        "attributeClass": "k",
        "probe": "attribute-disclosure",
        **draw(CONTROL),
        # only a share of patients can be counted, and only an excess has a contrast
        **draw(
            st.one_of(
                st.fixed_dictionaries(
                    {"metric": st.just("excess_disclosure"), "limits": limits(SHARE)}
                ),
                st.fixed_dictionaries(
                    {
                        "metric": st.just("disclosure_rate"),
                        "limits": limits(st.one_of(SHARE, COUNT)),
                        "contrast": st.just("nonmembers"),
                    }
                ),
            )
        ),
    }
    spec = {
        "context": draw(st.sampled_from(CONTEXTS)),
        "parameters": draw(PARAMETERS),
        "attackers": {
            "a1": {"title": "A1", **draw(st.one_of(FREE_ATTACKER, HEIR))},
            "a2": {"title": "A2", **draw(FREE_ATTACKER)},
            "a3": {"title": "A3", **draw(FREE_ATTACKER)},
        },
        "attributeClasses": {
            "k": {**own, "title": "K", "codes": [o for o in codes if o["values"]]}
        },
        "controls": {"c": control},
        "citations": {key: {"title": key, "basis": "evidence"} for key in ("x", "y")},
        "gate": draw(GATE),
    }
    return {**spec, **draw(some(waivers=WAIVERS))}


def sometimes(strategy: st.SearchStrategy[Plain]) -> st.SearchStrategy[Plain]:
    """At most one key of a random mapping: what changes less is accepted more often."""
    return st.one_of(
        st.just({}),
        strategy.flatmap(
            lambda full: (
                st.sampled_from(sorted(full)).map(lambda key: {key: full[key]})
                if full
                else st.just({})
            )
        ),
    )


FRAGMENT = some(
    context=st.sampled_from(CONTEXTS),
    parameters=sometimes(PARAMETERS),
    attackers=st.fixed_dictionaries({"a1": sometimes(ATTACKER)}),
    attributeClasses=st.fixed_dictionaries({"k": CLASS}),
    controls=st.fixed_dictionaries({"c": st.one_of(sometimes(CONTROL), MEASURES)}),
    gate=sometimes(GATE),
    waivers=WAIVERS,
)


def resolved(folder: str, parents: list[Plain], child: Plain) -> Located[LeakagePolicy]:
    """Load a child of some parents; an invalid parent is none that anybody asks about."""
    for index, parent in enumerate(parents):
        path = Path(folder) / f"p{index}.yaml"
        path.write_text(yaml.safe_dump(document(f"p{index}", parent)))
        try:
            load_policy(path)
        except DocumentError:
            assume(False)
    spec = {"extends": [{"ref": f"p{i}.yaml"} for i in range(len(parents))], **child}
    path = Path(folder) / "child.yaml"
    path.write_text(yaml.safe_dump(document("child", spec)))
    return load_policy(path)


PROPERTY = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
ACCEPTED: list[bool] = []


@PROPERTY
@given(parent=whole_spec(), child=FRAGMENT)
def test_what_is_accepted_demands_at_least_as_much_as_its_parent(
    parent: Plain, child: Plain
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            policy = resolved(folder, [parent], child)
        except DocumentError:
            ACCEPTED.append(False)
            return
        ACCEPTED.append(True)
        before = load_policy(Path(folder) / "p0.yaml")
        assert looser(before.document.spec, policy.document.spec) == []
        comparison = compare(before, policy)
        assert {c.direction for c in comparison.changes} <= {"tighter", "neutral"}


def test_enough_was_accepted_and_refused_to_mean_something() -> None:
    # runs after the test above; alone it has nothing to say
    if not ACCEPTED:
        pytest.skip("needs the test before it")
    assert ACCEPTED.count(True) >= 10
    assert ACCEPTED.count(False) >= 10


@PROPERTY
@given(parents=st.lists(whole_spec(), min_size=2, max_size=3))
def test_parents_together_demand_at_least_as_much_as_each(parents: list[Plain]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        refused: set[str] = set()
        try:
            policy = resolved(folder, parents, {})
        except DocumentError as error:
            refused = {problem.path.rpartition(".")[2] for problem in error.problems}
        if refused:
            # a severity may rise out of one parent's gate, and two lists of roles share nobody
            assert refused <= {"blocks", "extends"}
            return
        for index in range(len(parents)):
            parent = load_policy(Path(folder) / f"p{index}.yaml").document.spec
            assert looser(parent, policy.document.spec) == []


@PROPERTY
@given(parent=whole_spec(), child=FRAGMENT)
def test_resolving_again_changes_nothing(parent: Plain, child: Plain) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            once = resolved(folder, [parent], child)
        except DocumentError:
            return
        whole = once.document.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        whole.pop("extends")
        # the whole as a policy of its own, and once more over its parent
        alone = resolved(folder, [], whole)
        again = resolved(folder, [parent], whole)
        for other in (alone, again):
            assert (
                other.document.spec.model_copy(update={"extends": once.document.spec.extends})
                == once.document.spec
            )
        assert compare(once, again).changes == ()


@PROPERTY
@given(spec=whole_spec())
def test_a_policy_does_not_differ_from_itself(spec: Plain) -> None:
    with tempfile.TemporaryDirectory() as folder:
        policy = resolved(folder, [], spec)
        assert compare(policy, policy).changes == ()
        assert looser(policy.document.spec, policy.document.spec) == []


@PROPERTY
@given(old=whole_spec(), new=whole_spec())
@example(old={}, new={})
def test_diff_calls_looser_whatever_demands_less(old: Plain, new: Plain) -> None:
    """Two unrelated policies: what the definition by hand finds, diff finds too, and back."""
    assume(old and new)
    with tempfile.TemporaryDirectory() as folder:
        before = resolved(folder, [], old)
        after = resolved(folder, [], new)
        found = {c.direction for c in compare(before, after).changes}
        back = {c.direction for c in compare(after, before).changes}
        by_hand = looser(before.document.spec, after.document.spec)
        by_hand = [name for name in by_hand if not name.endswith("cites")]  # citing demands nothing
        assert bool(by_hand) == bool(found & {"looser", "incomparable"})
        assert ("looser" in found) == ("tighter" in back)
        assert ("incomparable" in found) == ("incomparable" in back)
