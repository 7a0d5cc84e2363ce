"""What the parts of a document say of each other, and a policy of its target."""

from __future__ import annotations

from pathlib import Path

import pytest

from checker.errors import DocumentError, Problem
from checker.policy import (
    ResolvedAttacker,
    check_pair,
    load_policy,
    load_target,
    resolve_attacker,
)
from checker.policy.documents import Knowledge

POLICY = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: ward, version: "1.0"}
spec:
  context: internal
  attackers:
    broker: {title: Broker, knows: {static: [age, sex]}, cites: [a-study]}
    relative: {title: Relative, extends: broker, knows: {events: 10}, report: only}
    insider:
      title: Insider
      extends: relative
      knows: {static: [race, age], events: all}
      access: logprobs
      cites: [a-law]
  attributeClasses:
    hiv:
      title: HIV
      codes:
        - {system: icd9cm, tier: definitive, values: ["042", "V08"]}
        - {system: icd10cm, tier: strong, values: ["B20", "O98.7"]}
  controls:
    disclosure:
      title: Tell no HIV status
      attributeClass: hiv
      probe: attribute-disclosure
      params: {samples: 20}
      metric: excess_disclosure
      limits:
        broker: {fail: 0.01}
        relative: {fail: 0.05}
      subgroups: [all, {static: race}]
      cites: [a-law]
    membership:
      title: Tell no members
      probe: membership-inference
      metric: membership_auroc
      limits:
        insider: {fail: 0.6}
      cites: [a-law]
  citations:
    a-law: {title: A law, basis: legal-duty}
    a-study: {title: A study, basis: evidence}
"""

TARGET = """\
apiVersion: phigate/v1
kind: AuditTarget
metadata: {name: model, version: "1"}
spec:
  model: {backend: huggingface, path: ./model}
  tokenization:
    vocabulary: ./vocab.json
    static: {sex: "GENDER//*", race: {codes: "RACE//*"}}
    age: "AGE//{years}"
    prefixOrder: [age, sex, race]
    time: [{upTo: 1d, token: T0}, {upTo: 1w, token: T1}, {token: T2}]
    values: {bins: ./bins.parquet, token: "Q{bin}"}
  codeSystems: [{match: "ICD//10//{code}", system: icd10cm}]
  data: {path: ./cohort, members: train, nonmembers: held_out}
"""


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def policy_problems(old: str, new: str) -> tuple[Problem, ...]:
    with pytest.raises(DocumentError) as caught:
        load_policy(Path("p.yaml"), text=changed(POLICY, old, new))
    return caught.value.problems


def target_problems(old: str, new: str) -> tuple[Problem, ...]:
    with pytest.raises(DocumentError) as caught:
        load_target(Path("t.yaml"), text=changed(TARGET, old, new))
    return caught.value.problems


def test_sound_documents_have_neither_problems_nor_warnings() -> None:
    policy = load_policy(Path("p.yaml"), text=POLICY)
    target = load_target(Path("t.yaml"), text=TARGET)
    assert policy.warnings == target.warnings == ()
    check_pair(policy, target)


# --- attackers ----------------------------------------------------------------------------------


def test_an_attacker_has_the_knowledge_of_those_it_extends() -> None:
    spec = load_policy(Path("p.yaml"), text=POLICY).document.spec
    assert resolve_attacker(spec, "relative") == ResolvedAttacker(
        name="relative",
        title="Relative",
        knows=Knowledge(static=["age", "sex"], events=10),
        access="samples",
        gating=False,
        cites=("a-study",),
    )
    assert resolve_attacker(spec, "insider") == ResolvedAttacker(
        name="insider",
        title="Insider",
        knows=Knowledge(static=["age", "sex", "race"], events="all"),
        access="logprobs",
        gating=True,  # `report: only` is not knowledge, so it is not passed on
        cites=("a-law", "a-study"),
    )


def test_an_attacker_never_has_less_access_than_the_one_it_extends() -> None:
    text = changed(POLICY, "title: Broker,", "title: Broker, access: embeddings,")
    spec = load_policy(Path("p.yaml"), text=text).document.spec
    assert resolve_attacker(spec, "insider").access == "embeddings"


def test_all_static_fields_include_those_named() -> None:
    text = changed(POLICY, "static: [age, sex]", "static: all")
    spec = load_policy(Path("p.yaml"), text=text).document.spec
    assert resolve_attacker(spec, "insider").knows.static == "all"
    assert resolve_attacker(spec, "broker").knows.events is None


def test_chosen_events_add_up_along_the_chain_until_all_are_known() -> None:
    text = changed(
        POLICY, "static: [age, sex]}", 'static: [age, sex], random: 8, codeTypes: ["MED//*"]}'
    )
    text = changed(
        text, "knows: {events: 10}", 'knows: {random: 20, codeTypes: ["LAB//*", "MED//*"]}'
    )
    spec = load_policy(Path("p.yaml"), text=text).document.spec
    broker, relative, insider = (
        resolve_attacker(spec, name).knows for name in ("broker", "relative", "insider")
    )
    assert broker == Knowledge(static=["age", "sex"], random=8, code_types=["MED//*"])
    # the 8 of the broker are among the 20: a draw of more holds one of fewer
    assert (relative.random, relative.code_types) == (20, ["MED//*", "LAB//*"])
    assert (insider.events, insider.random, insider.code_types) == ("all", None, None)
    assert broker.chooses_events
    assert broker.includes_events
    assert insider.chooses_events


# --- a policy's references ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "line", "path", "message"),
    [
        (
            "probe: attribute-disclosure",
            "probe: atribute-disclosure",
            25,
            "controls.disclosure.probe",
            "unknown probe 'atribute-disclosure'; did you mean 'attribute-disclosure'?",
        ),
        (
            "metric: excess_disclosure",
            "metric: exces_disclosure",
            27,
            "controls.disclosure.metric",
            "unknown metric 'exces_disclosure'; did you mean 'excess_disclosure'?"
            " attribute-disclosure measures disclosure_rate, excess_disclosure, excess_mean_q,"
            " attribute_auroc, excess_attribute_auroc, attribute_auprc, excess_attribute_auprc",
        ),
        (
            "metric: excess_disclosure",
            "metric: precision",
            27,
            "controls.disclosure.metric",
            "'precision' is only ever reported and takes no limit; limit one of disclosure_rate,"
            " excess_disclosure, excess_mean_q, attribute_auroc, excess_attribute_auroc,"
            " attribute_auprc, excess_attribute_auprc",
        ),
        (
            "{samples: 20}",
            "{sample: 20}",
            26,
            "controls.disclosure.params.sample",
            "unknown key 'sample'; did you mean 'samples'?",
        ),
        (
            "{samples: 20}",
            "{samples: 0}",
            26,
            "controls.disclosure.params.samples",
            "0 must be at least 1",
        ),
        (
            "{samples: 20}",
            '{threshold: "5e-1"}',
            26,
            "controls.disclosure.params.threshold",
            "expected a number, but found '5e-1'; remove the quotes",
        ),
        (
            "      attributeClass: hiv\n",
            "",
            22,
            "controls.disclosure",
            "'attributeClass' is missing: attribute-disclosure asks what leaks",
        ),
        (
            "attributeClass: hiv",
            "attributeClass: hvi",
            24,
            "controls.disclosure.attributeClass",
            "unknown attribute class 'hvi'; did you mean 'hiv'?",
        ),
        (
            "title: Tell no members",
            "attributeClass: hiv\n      title: Tell no members",
            34,
            "controls.membership.attributeClass",
            "membership-inference takes no attributeClass; remove it",
        ),
        (
            "        relative: {fail: 0.05}",
            "        relatve: {fail: 0.05}",
            30,
            "controls.disclosure.limits.relatve",
            "unknown attacker 'relatve'; did you mean 'relative'?",
        ),
        (
            "extends: broker",
            "extends: nobody",
            8,
            "attackers.relative.extends",
            "unknown attacker 'nobody'; there are broker, insider",
        ),
        (
            "title: Broker,",
            "title: Broker, extends: broker,",
            7,
            "attackers.broker.extends",
            "attackers extend in a circle: broker → broker",
        ),
        (
            "static: [age, sex]}",
            "static: [age, sex], events: 20}",
            8,
            "attackers.relative.knows.events",
            "'relative' would know fewer events than 'broker', which it extends (20)",
        ),
        (
            "knows: {events: 10}",
            "knows: {events: 10, random: 0}",
            8,
            "attackers.relative.knows.random",
            "0 must be at least 1",
        ),
        (
            "knows: {events: 10}",
            "knows: {codeTypes: []}",
            8,
            "attackers.relative.knows.codeTypes",
            "this must not be empty",
        ),
        (
            "knows: {events: 10}",
            'knows: {codeTypes: ["MED//*", "LAB//*", "MED//*"]}',
            8,
            "attackers.relative.knows.codeTypes[2]",
            "'MED//*' stands here twice",
        ),
        (
            "static: [race, age], events: all}",
            'static: [race, age], events: all, codeTypes: ["MED//*"]}',
            12,
            "attackers.insider.knows.codeTypes",
            "'events: all' is every event already; remove 'codeTypes'",
        ),
        (
            "access: logprobs",
            "access: samples",
            38,
            "controls.membership.limits.insider",
            "attacker 'insider' has access to samples, but membership-inference needs logprobs;"
            " limit an attacker with 'access: logprobs'",
        ),
        (
            "events: all",
            "events: 50",
            38,
            "controls.membership.limits.insider",
            "membership-inference needs the whole record, but attacker 'insider' does not know it;"
            " limit an attacker with 'knows: {events: all}'",
        ),
        (
            "      cites: [a-law]\n  attributeClasses",
            "      cites: [a-lw]\n  attributeClasses",
            14,
            "attackers.insider.cites[0]",
            "unknown citation 'a-lw'; did you mean 'a-law'?",
        ),
        (
            "      cites: [a-law]\n    membership",
            "      cites: [a-law, b]\n    membership",
            32,
            "controls.disclosure.cites[1]",
            "unknown citation 'b'; there are a-law, a-study",
        ),
        (
            "relative: {fail: 0.05}",
            "relative: {maxCount: 0, minN: 60}",
            30,
            "controls.disclosure.limits.relative.maxCount",
            "'excess_disclosure' is not a share of patients, so there is nothing to count;"
            " use 'fail'",
        ),
        (
            "[all, {static: race}]",
            "[all, {static: race}, all]",
            31,
            "controls.disclosure.subgroups[2]",
            "this subgroup is named twice",
        ),
        (
            '"O98.7"',
            '"O98.7", "O987"',
            20,
            "attributeClasses.hiv.codes[1].values[2]",
            "the code 'O987' stands here twice, first as strong",
        ),
    ],
)
def test_a_reference_that_leads_nowhere_is_found_at_its_line(
    old: str, new: str, line: int, path: str, message: str
) -> None:
    (problem,) = policy_problems(old, new)
    assert problem.message == message
    assert problem.path == f"spec.{path}"
    assert problem.line == line


def test_a_count_limit_suits_a_rate() -> None:
    text = changed(POLICY, "metric: excess_disclosure", "metric: disclosure_rate")
    text = changed(text, "relative: {fail: 0.05}", "relative: {maxCount: 0, minN: 60}")
    policy = load_policy(Path("p.yaml"), text=text)
    assert policy.document.spec.controls["disclosure"].limits["relative"].min_n == 60


@pytest.mark.parametrize("value", ["B20-C9", "re:^B20", "B2*", "42.0"])
def test_a_code_that_its_system_cannot_have_is_found(value: str) -> None:
    (problem,) = policy_problems('"B20"', f'"{value}"')
    assert problem.path == "spec.attributeClasses.hiv.codes[1].values[0]"
    assert value in problem.message


def test_attackers_that_extend_in_a_circle_are_each_named_and_nothing_hangs() -> None:
    problems = policy_problems("title: Broker,", "title: Broker, extends: insider,")
    assert [p.message for p in problems] == [
        "attackers extend in a circle: broker → insider → relative → broker",
        "attackers extend in a circle: relative → broker → insider → relative",
        "attackers extend in a circle: insider → relative → broker → insider",
    ]


def test_a_review_before_the_policy_begins_is_an_error() -> None:
    (problem,) = policy_problems(
        'version: "1.0"}', 'version: "1.0", effectiveFrom: 2030-02-01, reviewBy: 2030-01-31}'
    )
    assert problem.message == "2030-01-31 is before effectiveFrom, 2030-02-01"


def test_all_references_are_checked_at_once() -> None:
    text = changed(POLICY, "probe: membership-inference", "probe: membership")
    text = changed(text, "metric: excess_disclosure", "metric: nonsense")
    text = changed(text, "extends: broker", "extends: nobody")
    with pytest.raises(DocumentError) as caught:
        load_policy(Path("p.yaml"), text=text)
    assert [p.line for p in caught.value.problems] == [8, 27, 35]


def test_random_events_never_become_fewer_and_nothing_is_added_to_all_events() -> None:
    text = changed(POLICY, "static: [age, sex]}", "static: [age, sex], random: 20}")
    text = changed(text, "knows: {events: 10}", "knows: {random: 10}")
    with pytest.raises(DocumentError) as caught:
        load_policy(Path("p.yaml"), text=text)
    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (8, "spec.attackers.relative.knows.random")
    assert problem.message == (
        "'relative' would know fewer random events than 'broker', which it extends (20)"
    )
    problems = policy_problems(
        "    insider:\n",
        "    late: {title: L, extends: insider, knows: {random: 3}}\n    insider:\n",
    )
    assert [(p.path, p.message) for p in problems] == [
        (
            "spec.attackers.late.knows.random",
            "'insider', which 'late' extends, knows all events already; remove 'random'",
        )
    ]


# --- what is probably not meant -----------------------------------------------------------------


def test_a_weaker_attacker_with_a_looser_limit_is_a_warning() -> None:
    text = changed(POLICY, "broker: {fail: 0.01}", "broker: {fail: 0.06}")
    (warning,) = load_policy(Path("p.yaml"), text=text).warnings
    assert (warning.line, warning.path) == (29, "spec.controls.disclosure.limits.broker")
    assert "attacker 'broker' knows less than 'relative' but is allowed more" in warning.message


def test_equal_limits_are_no_warning() -> None:
    text = changed(POLICY, "broker: {fail: 0.01}", "broker: {fail: 0.05}")
    assert load_policy(Path("p.yaml"), text=text).warnings == ()


def test_what_no_control_asks_for_is_a_warning() -> None:
    start = POLICY.index("    disclosure:\n")
    text = POLICY[:start] + POLICY[POLICY.index("    membership:\n") :]
    text = changed(text, "extends: relative", "extends: broker")
    warnings = load_policy(Path("p.yaml"), text=text).warnings
    assert [w.path for w in warnings] == ["spec.attackers.relative", "spec.attributeClasses.hiv"]
    assert all("so it is not audited" in w.message for w in warnings)


# --- a target -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        (
            "backend: huggingface",
            "backend: hugingface",
            "model.backend",
            "unknown backend 'hugingface'; did you mean 'huggingface'?",
        ),
        (
            "[age, sex, race]",
            "[age, sex]",
            "tokenization.prefixOrder",
            "prefixOrder leaves out race",
        ),
        (
            "[age, sex, race]",
            "[age, sex, race, sex]",
            "tokenization.prefixOrder[3]",
            "'sex' stands here twice",
        ),
        (
            "[age, sex, race]",
            "[age, sex, race, zip]",
            "tokenization.prefixOrder[3]",
            "unknown field 'zip'; there are age, sex, race",
        ),
        (
            "AGE//{years}",
            "AGE//{year}",
            "tokenization.age",
            "the age token needs {years} where the age stands: AGE//{years}",
        ),
        (
            "Q{bin}",
            "Q",
            "tokenization.values.token",
            "a value's token needs {bin} where the bin stands",
        ),
        (
            "upTo: 1w",
            "upTo: 24h",
            "tokenization.time[1].upTo",
            "time bins must ascend, but 24h is not above 1d",
        ),
        (
            "{upTo: 1w, token: T1}",
            "{token: T1}",
            "tokenization.time[1]",
            "only the last time bin may have no upTo",
        ),
        (
            "{token: T2}",
            "{upTo: 1y, token: T2}",
            "tokenization.time[2]",
            "the last time bin must have no upTo, so that it takes all the rest",
        ),
        (
            '"GENDER//*"',
            '" "',
            "tokenization.static.sex",
            "static field 'sex' has no codes; write a glob",
        ),
        (
            "ICD//10//{code}",
            "ICD//{code}//{code}",
            "codeSystems[0].match",
            "{code} must stand here exactly once",
        ),
        (
            "nonmembers: held_out",
            "nonmembers: train",
            "data.nonmembers",
            "members and nonmembers are both 'train'; compare two splits",
        ),
        (
            "nonmembers: held_out",
            "nonmembers: held_out}\n  expect: {",
            "expect",
            "an expectation names tokens, loss or both; this one is empty",
        ),
    ],
)
def test_a_target_that_contradicts_itself_is_found(
    old: str, new: str, path: str, message: str
) -> None:
    (problem,) = target_problems(old, new)
    assert (problem.path, problem.message) == (f"spec.{path}", message)
    assert problem.line > 1


def test_a_static_field_may_not_take_the_name_of_age() -> None:
    problems = target_problems('sex: "GENDER//*"', 'age: "GENDER//*"')
    assert "a static field cannot be called 'age'; rename it" in [p.message for p in problems]


# --- a policy and a target ----------------------------------------------------------------------


def test_fields_that_the_target_lacks_are_found_at_the_policys_lines() -> None:
    policy = load_policy(Path("p.yaml"), text=POLICY)
    text = changed(TARGET, "race: {", "ethnicity: {")
    text = changed(text, '    age: "AGE//{years}"\n    prefixOrder: [age, sex, race]\n', "")
    with pytest.raises(DocumentError) as caught:
        check_pair(policy, load_target(Path("t.yaml"), text=text))
    assert [(p.line, p.path, p.message) for p in caught.value.problems] == [
        (
            7,
            "spec.attackers.broker.knows.static[0]",
            "attacker 'broker' knows 'age', but t.yaml has no tokenization.age",
        ),
        (
            12,
            "spec.attackers.insider.knows.static[0]",
            "attacker 'insider' knows 'race', which t.yaml does not define in tokenization.static;"
            " it defines sex, ethnicity",
        ),
        (
            12,
            "spec.attackers.insider.knows.static[1]",
            "attacker 'insider' knows 'age', but t.yaml has no tokenization.age",
        ),
        (
            31,
            "spec.controls.disclosure.subgroups[1]",
            "the subgroups are by 'race', which t.yaml does not define in tokenization.static;"
            " it defines sex, ethnicity",
        ),
    ]


def test_age_is_no_field_to_slice_by() -> None:
    text = changed(POLICY, "{static: race}]", "{static: age}]")
    with pytest.raises(DocumentError, match=r"use a subgroup \{ageOver: N\}"):
        check_pair(load_policy(Path("p.yaml"), text=text), load_target(Path("t.yaml"), text=TARGET))


def test_an_identifier_to_be_changed_must_be_one_that_the_target_tells() -> None:
    start = POLICY.index("    membership:\n")
    control = """\
    memory:
      title: Remember nobody
      attributeClass: hiv
      probe: identifier-perturbation
      params: {identifiers: [age, language]}
      metric: memorized_share
      limits: {relative: {fail: 0.05}}
"""
    target = load_target(Path("t.yaml"), text=TARGET)
    policy = load_policy(Path("p.yaml"), text=POLICY[:start] + control + POLICY[start:])
    with pytest.raises(DocumentError) as caught:
        check_pair(policy, target)
    (problem,) = caught.value.problems
    assert problem.path == "spec.controls.memory.params.identifiers[1]"
    assert problem.message == (
        "the probe would change 'language', which t.yaml does not define in tokenization.static;"
        " it defines age, sex, race"
    )
    # those it would change of its own accord need not all be there
    without = control.replace("      params: {identifiers: [age, language]}\n", "")
    text = changed(TARGET, ', race: {codes: "RACE//*"}', "")
    text = changed(text, "[age, sex, race]", "[age, sex]")
    attackers = changed(POLICY, "static: [race, age]", "static: [age]")
    attackers = changed(attackers, "[all, {static: race}]", "[all]")
    start = attackers.index("    membership:\n")
    policy = load_policy(Path("p.yaml"), text=attackers[:start] + without + attackers[start:])
    check_pair(policy, load_target(Path("t.yaml"), text=text))
