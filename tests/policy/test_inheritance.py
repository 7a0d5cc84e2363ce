"""Policies that extend others: what is inherited, what is refused, and where everything stands."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest
from command_line import Command
from policy_texts import HOSPITAL, LADDER, REGION, TIGHTER, WAIVERS, WARD

from checker.errors import DocumentError, Problem
from checker.policy import Located, load_documents, load_only, load_policy, resolve_attacker
from checker.policy.documents import LeakagePolicy


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def ward(folder: Path, body: str = "", *, hospital: str = HOSPITAL) -> Located[LeakagePolicy]:
    write(folder, "hospital.yaml", hospital)
    return load_policy(write(folder, "ward.yaml", WARD + body))


def refused(folder: Path, body: str, *, hospital: str = HOSPITAL) -> tuple[Problem, ...]:
    with pytest.raises(DocumentError) as caught:
        ward(folder, body, hospital=hospital)
    return caught.value.problems


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


# --- what is inherited --------------------------------------------------------------------------


def test_what_is_omitted_is_inherited(tmp_path: Path) -> None:
    parent = load_policy(write(tmp_path, "hospital.yaml", HOSPITAL)).document.spec
    child = ward(tmp_path).document
    assert child.metadata.name == "ward"
    written = load_only(LeakagePolicy, tmp_path / "ward.yaml").document
    assert [one.ref for one in written.spec.extends] == ["hospital@1.4"]
    assert child.spec.extends == []  # as it is judged by, nothing is left to look up
    assert child.spec.model_copy(update={"extends": []}) == parent


def test_every_field_knows_the_file_and_line_it_came_from(tmp_path: Path) -> None:
    policy = ward(
        tmp_path,
        "  controls:\n    disclosure:\n      limits:\n        broker: {fail: 0.02}\n",
    )
    control = ("spec", "controls", "disclosure")
    mine, theirs = str(tmp_path / "ward.yaml"), str(tmp_path / "hospital.yaml")
    assert policy.place((*control, "limits", "broker", "fail")) == (mine, 9, 18)
    assert policy.place((*control, "metric")) == (theirs, 22, 7)
    assert policy.place(("spec", "gate", "failOn", 1)) == (theirs, 28, 29)
    # the control stands in both; the nearer document answers for it
    assert policy.place(control) == (mine, 7, 5)
    assert policy.problem((*control, "severity"), "is odd").file == mine
    problem = policy.problem((*control, "probe"), "is odd")
    assert str(problem) == f"{theirs}:20:7: spec.controls.disclosure.probe: is odd"


def test_the_documents_it_rests_on_are_named_with_their_digests(tmp_path: Path) -> None:
    policy = ward(tmp_path)
    (origin,) = policy.origins
    assert (origin.kind, origin.name, origin.version) == ("LeakagePolicy", "hospital", "1.4.2")
    assert origin.file == str(tmp_path / "hospital.yaml")
    assert origin.sha256 == hashlib.sha256(HOSPITAL.encode()).hexdigest()
    assert policy.sha256 == hashlib.sha256(WARD.encode()).hexdigest()


def test_grandparents_are_inherited_too(tmp_path: Path) -> None:
    write(tmp_path, "hospital.yaml", HOSPITAL)
    write(tmp_path, "ward.yaml", WARD + "  gate: {maxEvidenceAge: P30D}\n")
    text = WARD.replace("name: ward", "name: team").replace("hospital@1.4", "ward@1")
    policy = load_policy(write(tmp_path, "team.yaml", text))
    assert policy.document.spec.gate.max_evidence_age == timedelta(days=30)
    assert policy.place(("spec", "gate", "maxEvidenceAge")).file == str(tmp_path / "ward.yaml")
    assert policy.place(("spec", "context")).file == str(tmp_path / "hospital.yaml")
    assert [origin.name for origin in policy.origins] == ["ward", "hospital"]


def test_everything_may_be_tightened(tmp_path: Path) -> None:
    spec = ward(tmp_path, TIGHTER).document.spec
    assert (spec.context, spec.parameters.confidence, spec.parameters.min_cell) == (
        "internal", 0.99, 20,
    )  # fmt: skip
    assert spec.attackers["broker"].knows.static == ["age", "sex", "race"]
    assert spec.attackers["relative"].knows.events == 20
    assert spec.attackers["relative"].report == "gate"
    assert list(spec.attackers) == ["broker", "relative", "insider"]
    # B20 is new, C46 was suggestive and is definitive now, B59 stays
    held = [(one.tier, one.values) for one in spec.attribute_classes["hiv"].codes]
    assert held == [
        ("definitive", ["042", "V08"]), ("suggestive", ["B59"]), ("definitive", ["B20", "C46"]),
    ]  # fmt: skip
    control = spec.controls["disclosure"]
    # warn cannot stay at 0.03 above fail
    assert (control.limits["broker"].warn, control.limits["broker"].fail) == (0.02, 0.02)
    assert control.limits["relative"].fail == 0.05
    # a control that names no subgroup is judged on all patients; others are added to them
    assert control.subgroups == ["all", "rare_code"]
    assert (control.severity, control.enforcement) == ("critical", "absolute")
    assert control.cites == ["a-law", "a-study"]
    assert list(spec.controls) == ["disclosure", "membership"]
    assert spec.gate.fail_on == ["critical", "high", "medium"]


def test_writing_again_what_is_inherited_changes_nothing(tmp_path: Path) -> None:
    again = HOSPITAL.split("spec:\n")[1]
    parent = load_policy(write(tmp_path, "hospital.yaml", HOSPITAL)).document.spec
    assert ward(tmp_path, again).document.spec.model_copy(update={"extends": []}) == parent


# --- what is refused ----------------------------------------------------------------------------


def control(key: str) -> str:
    return f"  controls:\n    disclosure:\n      {key}\n"


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        (
            control("limits: {broker: {fail: 0.06}}"), "controls.disclosure.limits.broker.fail",
            "0.06 is looser than 0.05, {}:24:30: limits only fall",
        ),
        (
            control("limits: {broker: {warn: 0.04}}"), "controls.disclosure.limits.broker.warn",
            "0.04 is looser than 0.03, {}:24:18: limits only fall",
        ),
        (
            control("severity: medium"), "controls.disclosure.severity",
            "medium is looser than high, the default of {}:17:5: severity only rises",
        ),
        (
            control("enforcement: advisory"), "controls.disclosure.enforcement",
            "advisory is looser than mandatory, the default of {}:17:5: enforcement only rises",
        ),
        (
            control("onInconclusive: warn"), "controls.disclosure.onInconclusive",
            "warn is looser than the default of {}:17:5: an inconclusive result that blocks keeps"
            " blocking",
        ),
        (
            control("metric: excess_mean_q"), "controls.disclosure.metric",
            "excess_mean_q cannot take the place of excess_disclosure, {}:22:7: the metric of an"
            " inherited control cannot change; write a new control",
        ),
        (
            control("params: {samples: 40}"), "controls.disclosure.params.samples",
            "40 cannot take the place of 20, {}:21:16",
        ),
        (
            control("params: {threshold: 0.4}"), "controls.disclosure.params.threshold",
            "0.4 cannot take the place of 0.5, the default of {}:21:7",
        ),
        (
            "  gate: {failOn: [critical]}\n", "gate.failOn",
            "high is missing here, but demanded in {}:28:10: severities that block only grow",
        ),
        (
            "  gate: {maxEvidenceAge: P91D}\n", "gate.maxEvidenceAge",
            "P91D is looser than P90D, {}:28:36: evidence age only falls",
        ),
        (
            "  parameters: {confidence: 0.9}\n", "parameters.confidence",
            "0.9 is looser than 0.95, {}:6:16: confidence only rises",
        ),
        (
            "  parameters: {minCell: 10}\n", "parameters.minCell",
            "10 is looser than 11, {}:6:34: minimum counts only rise",
        ),
        (
            "  parameters: {admissibilityTolerance: 0.2}\n", "parameters.admissibilityTolerance",
            "0.2 is looser than 0.10, {}:6:47: the tolerance only falls",
        ),
        (
            "  parameters: {maxNearDuplicates: 0.2}\n", "parameters.maxNearDuplicates",
            "0.2 is looser than 0.05, the default of {}:6:3: the share of near-",
        ),
        (
            "  parameters: {seed: 8}\n", "parameters.seed",
            "8 cannot take the place of 7, the default of {}:6:3: another seed is another draw",
        ),
        (
            "  context: public-weights\n", "context",
            "public-weights is looser than gated, {}:5:3: the context only narrows",
        ),
        (
            "  attackers: {relative: {knows: {events: 5}}}\n", "attackers.relative.knows.events",
            "5 is looser than 10, {}:9:58: an attacker's knowledge only grows",
        ),
        (
            "  citations: {a-law: {basis: guidance}}\n", "citations.a-law.basis",
            "guidance cannot take the place of legal-duty, {}:27:27: a citation keeps its basis",
        ),
    ],
)  # fmt: skip
def test_loosening_is_refused_with_both_lines(
    tmp_path: Path, body: str, path: str, message: str
) -> None:
    (problem,) = refused(tmp_path, body)
    assert problem.path == f"spec.{path}"
    assert (problem.file, problem.line) == (str(tmp_path / "ward.yaml"), 5 + body.count("\n"))
    assert problem.message.startswith(message.format(tmp_path / "hospital.yaml"))


def test_an_expectation_that_is_required_stays_required(tmp_path: Path) -> None:
    asking = "  gate: {requireExpectation: true}\n"
    assert ward(tmp_path, asking).document.spec.gate.require_expectation
    strict = changed(HOSPITAL, "  gate: {", "  gate: {requireExpectation: true, ")
    assert ward(tmp_path, hospital=strict).document.spec.gate.require_expectation
    (problem,) = refused(tmp_path, asking.replace("true", "false"), hospital=strict)
    assert problem.path == "spec.gate.requireExpectation"
    assert "an expectation that is required stays required" in problem.message


def test_a_code_cannot_get_a_weaker_tier(tmp_path: Path) -> None:
    body = (
        "  attributeClasses:\n    hiv:\n      codes:\n"
        '        - {system: icd9cm, tier: suggestive, values: ["V15", "V08"]}\n'
    )
    (problem,) = refused(tmp_path, body)
    parent = tmp_path / "hospital.yaml"
    assert problem.message == (
        f"the code 'V08' is inherited as definitive ({parent}:14:62) and cannot become suggestive:"
        " codes only grow"
    )
    assert (problem.line, problem.file) == (9, str(tmp_path / "ward.yaml"))


CHOOSY = changed(
    HOSPITAL, "knows: {events: 10}, report: only}",
    "knows: {events: 10, random: 20, codeTypes: [LAB//*]}, access: logprobs}\n"
    "    colleague: {title: Colleague, extends: relative, knows: {events: 12}}",
)  # fmt: skip


def test_an_attacker_cannot_lose_what_it_has_from_the_one_it_extends(tmp_path: Path) -> None:
    body = "  attackers: {colleague: {extends: broker}}\n"
    problems = refused(tmp_path, body, hospital=CHOOSY)
    parent, line = tmp_path / "hospital.yaml", f"{tmp_path / 'ward.yaml'}:6:27"
    at = "spec.attackers.colleague.extends: with this, 'colleague'"
    assert [str(problem) for problem in problems] == [
        f"{line}: {at} has access samples, not logprobs, {parent}:9:104: an attacker's access only"
        " rises",
        f"{line}: {at} no longer has knows.codeTypes LAB//*, {parent}:9:82: an attacker's knowledge"
        " only grows",
        f"{line}: {at} no longer has knows.random 20, {parent}:9:70: an attacker's knowledge only"
        " grows",
    ]


def test_what_an_attacker_loses_is_not_said_again_of_those_that_extend_it(tmp_path: Path) -> None:
    (problem,) = refused(
        tmp_path, "  attackers: {relative: {knows: {random: 5}}}\n", hospital=CHOOSY
    )
    assert problem.path == "spec.attackers.relative.knows.random"


def test_an_attacker_that_comes_to_know_all_events_needs_no_choice_of_them(tmp_path: Path) -> None:
    spec = ward(
        tmp_path, "  attackers: {relative: {knows: {events: all}}}\n", hospital=CHOOSY
    ).document.spec
    for name in ("relative", "colleague"):
        known = resolve_attacker(spec, name).knows
        assert (known.events, known.random, known.code_types) == ("all", None, None)
    assert spec.attackers["relative"].knows.random is None


def test_an_attacker_that_comes_to_know_more_raises_those_that_extend_it(tmp_path: Path) -> None:
    spec = ward(
        tmp_path, "  attackers: {relative: {knows: {events: 30}}}\n", hospital=CHOOSY
    ).document.spec
    assert resolve_attacker(spec, "colleague").knows.events == 30


def test_what_a_policy_writes_itself_beside_all_events_is_told(tmp_path: Path) -> None:
    body = "  attackers: {relative: {knows: {events: all, random: 30}}}\n"
    (problem,) = refused(tmp_path, body, hospital=CHOOSY)
    assert problem.message == "'events: all' is every event already; remove 'random'"
    assert problem.file == str(tmp_path / "ward.yaml")


def test_a_severity_cannot_rise_out_of_the_gate(tmp_path: Path) -> None:
    # raised to critical, the control would no longer be among what blocks
    hospital = changed(HOSPITAL, "failOn: [critical, high]", "failOn: [high]")
    (problem,) = refused(tmp_path, control("severity: critical"), hospital=hospital)
    assert problem.path == "spec.controls.disclosure.blocks"
    assert "this control would no longer block a release, as it does in" in problem.message
    body = control("severity: critical") + "  gate: {failOn: [high, critical]}\n"
    assert ward(tmp_path, body, hospital=hospital).document.spec.gate.fail_on[1] == "critical"


def test_a_count_may_replace_a_share_only_where_it_proves_as_much(tmp_path: Path) -> None:
    # at 95 % no hit among 59 proves a rate of at most 0.05, no hit among 58 does not
    hospital = changed(HOSPITAL, "metric: excess_disclosure", "metric: disclosure_rate")
    body = control("limits: {broker: {maxCount: 0, minN: 59}}")
    limit = ward(tmp_path, body, hospital=hospital).document.spec.controls["disclosure"].limits
    assert (limit["broker"].max_count, limit["broker"].min_n) == (0, 59)
    assert limit["broker"].fail is None
    (problem,) = refused(tmp_path, changed(body, "59", "58"), hospital=hospital)
    assert problem.message.startswith("maxCount: 0, minN: 58 cannot take the place of warn: 0.03")


def test_a_share_cannot_replace_a_count(tmp_path: Path) -> None:
    hospital = changed(HOSPITAL, "metric: excess_disclosure", "metric: disclosure_rate")
    hospital = changed(hospital, "{warn: 0.03, fail: 0.05}", "{maxCount: 0, minN: 300}")
    (problem,) = refused(tmp_path, control("limits: {broker: {fail: 0.001}}"), hospital=hospital)
    assert "cannot take the place of" in problem.message or "is looser than" in problem.message


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    body = (
        "  gate: {maxEvidenceAge: P91D}\n  controls:\n    disclosure:\n"
        "      severety: critical\n      limits: {brokr: {fail: 0.01}}\n"
    )
    messages = [problem.message for problem in refused(tmp_path, body)]
    assert any("is looser than P90D" in one for one in messages)
    assert any("did you mean 'severity'" in one for one in messages)
    assert any("did you mean 'broker'" in one for one in messages)
    assert len(messages) == 3


@pytest.mark.parametrize(
    ("body", "path", "sentence"),
    [
        (
            "  controls:\n    disclosur: {title: Other}\n",
            "spec.controls.disclosur",
            "a control of this name, and a new one needs limits, metric, probe; "
            "did you mean 'disclosure'?",
        ),
        (
            "  controls:\n    no-disclosure-of-hiv: {title: Other}\n",
            "spec.controls.no-disclosure-of-hiv",
            "a control of this name, and a new one needs limits, metric, probe; "
            "did you mean 'disclosure'?",
        ),
        (
            "  controls:\n    other: {title: Other}\n",
            "spec.controls.other",
            "a control of this name, and a new one needs limits, metric, probe",
        ),
        (
            "  attackers:\n    brokr: {report: only}\n",
            "spec.attackers.brokr",
            "an attacker of this name, and a new one needs title; did you mean 'broker'?",
        ),
    ],
)
def test_a_stranger_that_lacks_what_a_new_one_needs_is_one_problem(
    tmp_path: Path, body: str, path: str, sentence: str
) -> None:
    """It was misspelt more likely than begun anew."""
    (problem,) = refused(tmp_path, body)
    assert (problem.path, problem.file) == (path, str(tmp_path / "ward.yaml"))
    assert problem.message == f"nothing that this policy extends has {sentence}"


def test_a_misspelt_extends_is_one_problem(tmp_path: Path) -> None:
    """Nothing is missing but what would be inherited."""
    path = tmp_path / "ward.yaml"
    text = (
        "apiVersion: phigate/v1\nkind: LeakagePolicy\nmetadata: {name: w, version: '1'}\nspec:\n"
        "  extendz: [{ref: baseline-gated@2}]\n  waivers: {maxDuration: P90D}\n"
    )
    path.write_text(text)
    with pytest.raises(DocumentError) as caught:
        load_policy(path)
    (problem,) = caught.value.problems
    assert problem.message == "unknown key 'extendz'; did you mean 'extends'?"
    # what is wrong besides is still told, and so is what no parent could bring
    for old, new in (("maxDuration: P90D", "maxDuration: soon"), (", version: '1'", "")):
        path.write_text(text.replace(old, new))
        with pytest.raises(DocumentError) as caught:
            load_policy(path)
        assert len(caught.value.problems) == 2


def test_an_attacker_s_misspelt_extends_hides_nothing_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "ward.yaml"
    path.write_text(
        "apiVersion: phigate/v1\nkind: LeakagePolicy\nmetadata: {name: w, version: '1'}\nspec:\n"
        "  attackers: {thief: {title: T, extendz: other}}\n"
    )
    with pytest.raises(DocumentError) as caught:
        load_policy(path)
    found = {one.path for one in caught.value.problems}
    assert {"spec.attackers.thief.extendz", "spec.controls"} <= found


# --- which file a reference leads to ------------------------------------------------------------


def child(reference: str, name: str = "child") -> str:
    text = WARD.replace("name: ward", f"name: {name}")
    return changed(text, '{ref: "hospital@1.4"}', f'{{ref: "{reference}"}}')


def loaded(folder: Path, reference: str) -> Located[LeakagePolicy]:
    return load_policy(write(folder, "child.yaml", child(reference)))


def only_problem(path: Path) -> Problem:
    with pytest.raises(DocumentError) as caught:
        load_policy(path)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("reference", ["hospital@1", "hospital@1.4", "hospital@1.4.2"])
def test_a_version_is_matched_from_its_front(tmp_path: Path, reference: str) -> None:
    write(tmp_path, "hospital.yaml", HOSPITAL)
    assert loaded(tmp_path, reference).origins[0].version == "1.4.2"


@pytest.mark.parametrize("reference", ["hospital@2", "hospital@1.4.20", "hospital@1.40"])
def test_another_version_is_refused_and_named(tmp_path: Path, reference: str) -> None:
    parent = write(tmp_path, "hospital.yaml", HOSPITAL)
    problem = only_problem(write(tmp_path, "child.yaml", child(reference)))
    assert problem.message == f"there is no policy {reference}: {parent} holds hospital@1.4.2"
    assert (problem.line, problem.column, problem.path) == (5, 14, "spec.extends[0].ref")


def test_of_several_versions_the_newest_that_fits_is_taken(tmp_path: Path) -> None:
    for version in ("1.9.0", "1.10.0", "2.0.0"):
        text = changed(HOSPITAL, "1.4.2", version)
        write(tmp_path, f"hospital@{version}.yaml", text)
    assert loaded(tmp_path, "hospital@1").origins[0].version == "1.10.0"
    assert loaded(tmp_path, "hospital@1.9").origins[0].version == "1.9.0"


def test_a_path_is_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "wards").mkdir()
    write(tmp_path, "base.yaml", HOSPITAL)
    path = write(tmp_path / "wards", "child.yaml", child("../base.yaml"))
    assert load_policy(path).origins[0].file == str(tmp_path / "base.yaml")


def test_a_shipped_policy_is_found_by_name(tmp_path: Path) -> None:
    policy = loaded(tmp_path, "demo@2")
    assert (policy.origins[0].name, policy.document.metadata.name) == ("demo", "child")
    assert policy.document.spec.controls


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hospitl@1.4", "there is no policy hospitl@1.4: no hospitl.yaml stands beside this file"),
        ("hospital", "'hospital' is no reference to a policy; write name@version, such as"),
        (
            "baseline-gatd@1",
            "there is no policy baseline-gatd@1: no baseline-gatd.yaml stands beside this file;"
            " did you mean 'baseline-gated@1'?",
        ),
        ("base.yaml", "there is no file "),
        ("/etc/base.yaml", "write a path relative to this file"),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere_says_so(
    tmp_path: Path, reference: str, message: str
) -> None:
    problem = only_problem(write(tmp_path, "child.yaml", child(reference)))
    assert problem.message.startswith(message)
    assert problem.path == "spec.extends[0].ref"


@pytest.mark.parametrize(
    ("extends", "meant"),
    [
        ("baseline-gated@1", "found 'baseline-gated@1'; write [{ref: \"baseline-gated@1\"}]"),
        ("[baseline-gated@1]", "found 'baseline-gated@1'; write {ref: \"baseline-gated@1\"}"),
    ],
)
def test_a_reference_in_short_is_explained_and_nothing_else_is_missed(
    tmp_path: Path, extends: str, meant: str
) -> None:
    text = changed(WARD, '[{ref: "hospital@1.4"}]', extends)
    problem = only_problem(write(tmp_path, "ward.yaml", text))
    assert problem.message.endswith(meant)
    assert problem.line == 5


def test_a_limit_in_short_is_explained(tmp_path: Path) -> None:
    body = "  controls: {disclosure: {limits: {broker: 0.01}}}\n"
    (problem,) = refused(tmp_path, body)
    assert problem.message == (
        "expected a mapping with warn, fail, maxCount or minN, but found 0.01; write {fail: 0.01}"
    )


def test_a_circle_is_named(tmp_path: Path) -> None:
    write(tmp_path, "one.yaml", child("two.yaml", "one"))
    write(tmp_path, "two.yaml", child("one.yaml", "two"))
    problem = only_problem(tmp_path / "one.yaml")
    assert problem.message == "policies extend in a circle: one.yaml → two.yaml → one.yaml"
    assert (problem.file, problem.line) == (str(tmp_path / "two.yaml"), 5)
    write(tmp_path, "self.yaml", child("self.yaml"))
    assert only_problem(tmp_path / "self.yaml").message.endswith("self.yaml → self.yaml")


def test_generations_are_bounded(tmp_path: Path) -> None:
    write(tmp_path, "p0.yaml", HOSPITAL)
    for i in range(1, 10):
        write(tmp_path, f"p{i}.yaml", child(f"p{i - 1}.yaml", f"p{i}"))
    assert len(load_policy(tmp_path / "p8.yaml").origins) == 8
    assert "more than 8 generations" in only_problem(tmp_path / "p9.yaml").message


def test_a_pin_holds_the_parent_to_its_bytes(tmp_path: Path) -> None:
    parent = write(tmp_path, "hospital.yaml", HOSPITAL)
    digest = hashlib.sha256(HOSPITAL.encode()).hexdigest()
    pinned = changed(WARD, '"hospital@1.4"', f'"hospital@1.4", sha256: "{digest}"')
    path = write(tmp_path, "ward.yaml", pinned)
    assert load_only(LeakagePolicy, path).document.spec.extends[0].sha256 == digest
    write(tmp_path, "hospital.yaml", HOSPITAL + "# nothing but a comment\n")
    problem = only_problem(path)
    assert problem.path == "spec.extends[0].sha256"
    assert problem.message.startswith(f"{parent} has the SHA-256 ")
    write(tmp_path, "ward.yaml", changed(WARD, '"hospital@1.4"', '"hospital@1.4", sha256: "12"'))
    assert load_problem_paths(tmp_path / "ward.yaml") >= {"spec.extends[0].sha256"}


def load_problem_paths(path: Path) -> set[str]:
    with pytest.raises(DocumentError) as caught:
        load_policy(path)
    return {problem.path for problem in caught.value.problems}


def test_what_is_wrong_with_a_parent_is_said_at_its_line(tmp_path: Path) -> None:
    broken = changed(HOSPITAL, "metric: excess_disclosure", "metric: excess_disclsure")
    parent = write(tmp_path, "hospital.yaml", broken)
    problem = only_problem(write(tmp_path, "ward.yaml", WARD))
    assert (problem.file, problem.line) == (str(parent), 22)


def test_a_target_is_no_parent(tmp_path: Path) -> None:
    target = Path(__file__).parents[2] / "policies" / "starter" / "target.yaml"
    write(tmp_path, "hospital.yaml", target.read_text())
    problem = only_problem(write(tmp_path, "ward.yaml", WARD))
    assert problem.message == "this is of kind AuditTarget, but a LeakagePolicy belongs here"


# --- several parents ----------------------------------------------------------------------------


def both(folder: Path, *, region: str = REGION) -> Located[LeakagePolicy]:
    write(folder, "hospital.yaml", HOSPITAL)
    write(folder, "region.yaml", region)
    text = changed(WARD, '[{ref: "hospital@1.4"}]', "[{ref: hospital@1.4}, {ref: region@2}]")
    return load_policy(write(folder, "ward.yaml", text))


def test_of_several_parents_the_strictest_wins(tmp_path: Path) -> None:
    policy = both(tmp_path)
    spec = policy.document.spec
    assert spec.context == "internal"
    assert spec.parameters.min_cell == 11
    assert spec.parameters.admissibility_tolerance == 0.05
    assert spec.attackers["broker"].knows.static == ["age", "sex", "race"]
    assert spec.attackers["broker"].title == "Broker"  # wording: the first parent's
    assert list(spec.attackers) == ["broker", "relative", "payer"]
    # V08 and C46 get the stronger tier, each code stands once
    held = {(one.system, one.tier): one.values for one in spec.attribute_classes["hiv"].codes}
    assert held == {
        ("icd9cm", "definitive"): ["042", "V08"],
        ("icd9cm", "strong"): ["079.53"],
        ("icd10cm", "suggestive"): ["B59"],
        ("icd10cm", "definitive"): ["C46"],
    }
    control = spec.controls["disclosure"]
    # of each the lower: warn 0.01 of the region, fail 0.05 of the hospital
    assert (control.limits["broker"].warn, control.limits["broker"].fail) == (0.01, 0.05)
    assert control.limits["payer"].fail == 0.09
    assert control.severity == "critical"
    assert control.subgroups == ["all", "rare_code"]
    assert spec.gate.fail_on == ["critical", "high", "medium"]
    assert spec.gate.max_evidence_age == timedelta(days=90)
    assert policy.place(("spec", "context")).file == str(tmp_path / "region.yaml")
    limit = ("spec", "controls", "disclosure", "limits", "broker")
    assert policy.place((*limit, "warn")) == (str(tmp_path / "region.yaml"), 23, 18)
    assert policy.place((*limit, "fail")) == (str(tmp_path / "hospital.yaml"), 24, 30)
    assert [origin.name for origin in policy.origins] == ["hospital", "region"]


def test_parents_that_cannot_be_brought_together_are_named_with_both_lines(tmp_path: Path) -> None:
    region = changed(REGION, "metric: excess_disclosure", "metric: excess_mean_q")
    with pytest.raises(DocumentError) as caught:
        both(tmp_path, region=region)
    (problem,) = caught.value.problems
    assert problem.path == "spec.extends"
    assert problem.message.startswith(
        "its parents disagree about spec.controls.disclosure.metric"
        f" ({tmp_path / 'hospital.yaml'}:22:7 and {tmp_path / 'region.yaml'}:21:7)"
    )


EXPOSED = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: NAME, version: 1.0.0}
spec:
  context: internal
  attackers:
    insider: {title: Insider, knows: {static: all, events: all}, access: logprobs}
  controls:
    exposed:
      title: Canaries stay hidden
      probe: canary-exposure
      params: {manifest: MANIFEST}
      metric: exposure_bits
      limits: {insider: {fail: 3.0}}
"""


@pytest.mark.parametrize(
    ("manifests", "allowed"),
    [
        (("canaries.json", "canaries.json"), False),
        (("../canaries.json", "../canaries.json"), True),  # one file
        (("ROOT/canaries.json", "ROOT/canaries.json"), True),
    ],
)
def test_one_path_in_two_parents_is_one_file_or_refused(
    tmp_path: Path, manifests: tuple[str, str], allowed: bool
) -> None:
    for name, manifest in zip(("north", "south"), manifests, strict=True):
        (tmp_path / name).mkdir()
        text = EXPOSED.replace("NAME", name).replace("MANIFEST", manifest)
        (tmp_path / name / "policy.yaml").write_text(text.replace("ROOT", str(tmp_path)))
    child = tmp_path / "child.yaml"
    extends = "[{ref: north/policy.yaml}, {ref: south/policy.yaml}]"
    child.write_text(
        "apiVersion: phigate/v1\nkind: LeakagePolicy\nmetadata: {name: both, version: 1.0.0}\n"
        f"spec:\n  extends: {extends}\n"
    )
    if allowed:
        assert load_policy(child).document.spec.controls["exposed"].params["manifest"]
        return
    with pytest.raises(DocumentError) as caught:
        load_policy(child)
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("spec.extends", 5)
    assert "its parents disagree about spec.controls.exposed.params.manifest" in problem.message
    for name in ("north", "south"):
        assert str(tmp_path / name / "canaries.json") in problem.message
        assert f"{tmp_path / name / 'policy.yaml'}:12:" in problem.message


def test_what_follows_from_a_disagreement_is_not_said_too(tmp_path: Path) -> None:
    # a count fits the region's own metric, and not the hospital's
    region = changed(REGION, "metric: excess_disclosure", "metric: disclosure_rate")
    region = changed(region, "payer: {fail: 0.09}", "payer: {maxCount: 0, minN: 299}")
    with pytest.raises(DocumentError) as caught:
        both(tmp_path, region=region)
    assert [problem.path for problem in caught.value.problems] == ["spec.extends"]


def test_of_parents_one_of_which_lets_an_attacker_know_all_events_that_one_counts(
    tmp_path: Path,
) -> None:
    region = changed(REGION, "payer: {title: Payer", "relative: {title: R, knows: {random: 9}}\n"
                             "    payer: {title: Payer")  # fmt: skip
    write(tmp_path, "hospital.yaml", changed(HOSPITAL, "events: 10", "events: all"))
    write(tmp_path, "region.yaml", region)
    text = changed(WARD, '[{ref: "hospital@1.4"}]', "[{ref: region@2}, {ref: hospital@1.4}]")
    spec = load_policy(write(tmp_path, "ward.yaml", text)).document.spec
    assert spec.attackers["relative"].knows.events == "all"
    assert spec.attackers["relative"].knows.random is None


def test_one_parent_through_two_others_is_no_circle(tmp_path: Path) -> None:
    write(tmp_path, "hospital.yaml", HOSPITAL)
    write(tmp_path, "a.yaml", child("hospital@1", "a") + "  parameters: {minCell: 12}\n")
    write(tmp_path, "b.yaml", child("hospital@1", "b") + "  parameters: {confidence: 0.99}\n")
    text = changed(WARD, '[{ref: "hospital@1.4"}]', "[{ref: a.yaml}, {ref: b.yaml}]")
    policy = load_policy(write(tmp_path, "ward.yaml", text))
    numbers = policy.document.spec.parameters
    assert (numbers.min_cell, numbers.confidence) == (12, 0.99)
    assert [origin.name for origin in policy.origins] == ["a", "b", "hospital"]


def test_the_same_parent_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "hospital.yaml", HOSPITAL)
    text = changed(WARD, '[{ref: "hospital@1.4"}]', "[{ref: hospital@1}, {ref: hospital.yaml}]")
    assert only_problem(write(tmp_path, "ward.yaml", text)).message.endswith("is extended twice")


# --- waivers, abstract policies, classes --------------------------------------------------------


def test_rules_of_waivers_only_tighten(tmp_path: Path) -> None:
    hospital = HOSPITAL + WAIVERS
    tighter = "  waivers: {approverRoles: [chair], minApprovers: 3, maxDuration: P30D}\n"
    rules = ward(tmp_path, tighter, hospital=hospital).document.spec.waivers
    assert rules is not None
    assert (rules.approver_roles, rules.min_approvers) == (["chair"], 3)
    looser = "  waivers: {approverRoles: [chair, me], minApprovers: 1, maxDuration: P91D}\n"
    paths = [p.path for p in refused(tmp_path, looser, hospital=hospital)]
    assert sorted(paths) == [
        "spec.waivers.approverRoles", "spec.waivers.maxDuration", "spec.waivers.minApprovers",
    ]  # fmt: skip


def test_where_a_parent_grants_no_waivers_its_children_grant_none(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, WAIVERS)
    assert problem.path == "spec.waivers"
    assert problem.message.endswith(
        "a policy without waivers grants none, and neither do those that extend it"
    )
    # of two parents, one of which grants none
    assert both(tmp_path, region=REGION + WAIVERS).document.spec.waivers is None


def test_an_abstract_policy_is_extended_and_never_judged_by(tmp_path: Path) -> None:
    path = write(tmp_path, "ladder.yaml", LADDER)
    assert load_documents(path)[0].warnings == ()
    assert only_problem(path).message.startswith("this policy is abstract")
    assert list(load_only(LeakagePolicy, path).document.spec.attackers) == ["k1", "k3"]
    text = child("ladder@1") + HOSPITAL.split("  context: gated\n")[1] + WAIVERS
    text = changed(text, "  parameters: {confidence: 0.95,", "  parameters: {confidence: 0.9,")
    # what the ladder does not say binds nobody: confidence, gate, waivers
    policy = load_policy(write(tmp_path, "child.yaml", text))
    assert list(policy.document.spec.attackers) == ["k1", "k3", "broker", "relative"]
    assert policy.document.spec.parameters.confidence == 0.9
    assert not policy.document.spec.abstract
    # relative has no limit in the policy itself; that k1 and k3 have none is not its business
    assert [w.path for w in policy.warnings] == ["spec.attackers.relative"]


def test_only_an_abstract_policy_may_lack_controls(tmp_path: Path) -> None:
    write(tmp_path, "ladder.yaml", LADDER)
    path = write(tmp_path, "child.yaml", child("ladder@1"))
    assert only_problem(path).message.startswith("'controls' is missing")


def test_an_abstract_policy_extends_abstract_ones_only(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "  abstract: true\n")
    assert problem.path == "spec.abstract"


def test_a_class_is_taken_from_the_library_and_may_grow(tmp_path: Path) -> None:
    body = HOSPITAL.split("spec:\n")[1]
    a, b = body.index("    hiv:\n"), body.index("  controls:\n")
    used = '    hiv:\n      use: "library/hiv@1"\n'
    more = '      codes:\n        - {system: local, tier: strong, values: ["CLINIC//HIV"]}\n'
    head = HOSPITAL.split("spec:\n")[0] + "spec:\n"
    policy = load_policy(write(tmp_path, "p.yaml", head + body[:a] + used + more + body[b:]))
    held = policy.document.spec.attribute_classes["hiv"]
    assert held.sensitivity == "HIV"
    assert held.codes[-1].values == ["CLINIC//HIV"]
    assert len(held.codes) > 1
    path = ("spec", "attributeClasses", "hiv")
    assert policy.place((*path, "codes", 0)).file.endswith("hiv@1.yaml")
    assert policy.place((*path, "codes", len(held.codes) - 1)).file == str(tmp_path / "p.yaml")
    assert [(o.kind, o.name) for o in policy.origins] == [("AttributeClassLibrary", "hiv")]


@pytest.mark.parametrize(
    ("key", "path", "message"),
    [
        ("sensitivity: STD", "sensitivity", "STD cannot take the place of HIV, "),
        ("benign: true", "benign", "true is looser than false, the default of "),
        (
            "codes: [{system: icd10cm, tier: exposure, values: [B20]}]",
            "codes[0].values[0]", "the code 'B20' is inherited as definitive (",
        ),
    ],
)  # fmt: skip
def test_a_class_from_the_library_cannot_shrink(
    tmp_path: Path, key: str, path: str, message: str
) -> None:
    body = f'  attributeClasses:\n    mine:\n      use: "library/hiv@1"\n      {key}\n'
    (problem,) = refused(tmp_path, body)
    assert problem.path == f"spec.attributeClasses.mine.{path}"
    assert problem.message.startswith(message)
    assert f"{Path('older') / 'hiv@1.yaml'}:" in problem.message


def test_exclusions_of_a_class_cannot_grow(tmp_path: Path) -> None:
    body = (
        '  attributeClasses:\n    mine:\n      use: "library/hiv@1"\n'
        "      exclude: [{system: local, values: [A]}]\n"
    )
    found = {p.path: p.message for p in refused(tmp_path, body)}
    assert found["spec.attributeClasses.mine.exclude"].startswith("local A is added here, but ")


def test_a_class_may_come_from_a_file_beside_the_policy(tmp_path: Path) -> None:
    library = Path(__file__).parents[2] / "policies" / "library" / "hiv.yaml"
    write(tmp_path, "local-hiv.yaml", library.read_text())
    policy = ward(tmp_path, "  attributeClasses: {mine: {use: ./local-hiv.yaml}}\n")
    place = policy.place(("spec", "attributeClasses", "mine", "title"))
    assert place.file == str(tmp_path / "local-hiv.yaml")


def test_a_class_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, '  attributeClasses: {mine: {use: "library/hvi@1"}}\n')
    assert problem.path == "spec.attributeClasses.mine.use"
    assert "did you mean 'library/hiv@1'?" in problem.message


# --- from the policy to the verdict -------------------------------------------------------------


def test_a_policy_that_extends_is_planned_judged_and_verified(
    phigate: Command, workspace: Path
) -> None:
    (workspace / "policy.yaml").rename(workspace / "three-classes.yaml")
    text = child("three-classes@1", "ward") + (
        "  controls:\n    hiv-disclosure:\n      limits: {events-10: {fail: 0.04}}\n"
    )
    policy, run = write(workspace, "ward.yaml", text), workspace / "run"
    assert phigate("validate", policy, workspace / "sound.yaml").code == 0
    assert phigate("check", policy, workspace / "sound.yaml", "--out", run).code == 0
    plan = json.loads((run / "plan.json").read_text())
    limits = {cell["id"]: cell["limit"]["fail"] for cell in plan["cells"]}
    assert limits["hiv-disclosure/events-10/all"] == 0.04
    assert limits["hiv-disclosure/demographics/all"] == 0.05
    parent = (workspace / "three-classes.yaml").read_text()
    (origin,) = plan["policy"]["origins"]
    assert origin["file"] == "three-classes.yaml"
    assert origin["sha256"] == hashlib.sha256(parent.encode()).hexdigest()
    assert plan["policy"]["lines"]["hiv-disclosure"] == 7
    line = parent.splitlines().index("    membership:") + 1
    assert plan["policy"]["lines"]["membership"] == line
    assert plan["policy"]["files"]["membership"] == "three-classes.yaml"
    assert "hiv-disclosure" not in plan["policy"]["files"]
    assert origin["sha256"] in (run / "report.html").read_text()
    report = json.loads((run / "report.json").read_text())
    (membership,) = [one for one in report["controls"] if one["id"] == "membership"]
    assert (membership["line"], membership["file"]) == (line, "three-classes.yaml")
    # a change of the parent alone is another policy
    other = write(workspace, "three-classes.yaml", parent.replace("0.70}", "0.51}"))
    assert phigate("judge", run, "--policy", policy, "--format", "json").code != 0
    other.write_text(parent)
    assert phigate("judge", run, "--policy", policy, "--format", "json").code == 0
    folders = [path for path in run.iterdir() if path.name.startswith("judged-by-ward-1.0-")]
    assert len(folders) == 2
    assert phigate("verify", folders[0]).code == 0


# --- what heirs may shorten ---------------------------------------------------------------------

ADJUSTABLE = changed(
    changed(HOSPITAL, "knows: {events: 10}", "adjustable: {events: 4}, knows: {events: 10}"),
    "      params: {samples: 20}\n",
    "      params: {samples: 20, horizonTokens: 80}\n      adjustable: {horizonTokens: 40}\n",
)
SHORTER = (
    "  attackers:\n    relative: {knows: {events: 5}}\n"
    "  controls:\n    disclosure: {params: {horizonTokens: 50}}\n"
)


def test_an_heir_shortens_what_its_parent_allows_and_says_so(tmp_path: Path) -> None:
    spec = ward(tmp_path, SHORTER, hospital=ADJUSTABLE).document.spec
    assert resolve_attacker(spec, "relative").knows.events == 5
    assert spec.controls["disclosure"].params == {"samples": 20, "horizonTokens": 50}
    assert spec.attackers["relative"].shortened == {"events": 10}
    assert spec.controls["disclosure"].shortened == {"horizonTokens": 80}
    whole = ward(tmp_path, hospital=ADJUSTABLE).document.spec
    assert not whole.attackers["relative"].shortened
    assert not whole.controls["disclosure"].shortened


@pytest.mark.parametrize(
    "body",
    [
        "  attackers:\n    relative: {knows: {events: 3}}\n",
        "  controls:\n    disclosure: {params: {horizonTokens: 39}}\n",
        "  controls:\n    disclosure: {params: {horizonTokens: 81}}\n",
        "  controls:\n    disclosure: {params: {samples: 10}}\n",
        "  attackers:\n    relative: {adjustable: {events: 2}}\n",
        "  attackers:\n    broker: {adjustable: {last: 2}}\n",
        "  controls:\n    disclosure: {adjustable: {horizonTokens: 10}}\n",
    ],
    ids=["events", "horizon", "longer", "samples", "floor", "permission", "horizon's floor"],
)
def test_nothing_beyond_that_is_allowed(tmp_path: Path, body: str) -> None:
    assert refused(tmp_path, body, hospital=ADJUSTABLE)


@pytest.mark.parametrize("body", SHORTER.split("  controls", 1), ids=["events", "horizon"])
def test_nothing_is_shortened_that_is_not_adjustable(tmp_path: Path, body: str) -> None:
    assert refused(tmp_path, body if "attackers" in body else f"  controls{body}")


def test_an_attacker_who_extends_a_shortened_one_is_shortened_with_it(tmp_path: Path) -> None:
    hospital = changed(
        ADJUSTABLE, "  attributeClasses:", "    boss: {title: Boss, extends: relative}\n"
        "  attributeClasses:",
    )  # fmt: skip
    spec = ward(tmp_path, SHORTER, hospital=hospital).document.spec
    assert resolve_attacker(spec, "boss").knows.events == 5


def test_a_permission_goes_on_to_heirs_of_heirs_and_no_further_than_it_was(tmp_path: Path) -> None:
    ward(tmp_path, SHORTER, hospital=ADJUSTABLE)
    head = WARD.replace("name: ward", "name: bed").replace("hospital@1.4", "ward@1.0")
    bed = "  attackers:\n    relative: {knows: {events: 4}}\n"
    spec = load_policy(write(tmp_path, "bed.yaml", head + bed)).document.spec
    assert spec.attackers["relative"].shortened == {"events": 10}  # as it was first
    with pytest.raises(DocumentError):
        load_policy(write(tmp_path, "bed.yaml", head + bed.replace("4", "3")))


def test_parents_have_to_agree_to_what_is_shortened(tmp_path: Path) -> None:
    write(tmp_path, "hospital.yaml", ADJUSTABLE)
    second = HOSPITAL.replace("name: hospital", "name: region")
    write(tmp_path, "region.yaml", changed(second, "  attackers:", "  attackers:  # none"))
    head = WARD.replace('[{ref: "hospital@1.4"}]', '[{ref: "hospital@1.4"}, {ref: "region@1.4"}]')
    events = "  attackers:\n    relative: {knows: {events: 5}}\n"
    with pytest.raises(DocumentError):
        load_policy(write(tmp_path, "ward.yaml", head + events))
    both = ADJUSTABLE.replace("name: hospital", "name: region").replace("events: 4", "events: 6")
    write(tmp_path, "region.yaml", both)
    with pytest.raises(DocumentError):
        load_policy(write(tmp_path, "ward.yaml", head + events))
    spec = load_policy(write(tmp_path, "ward.yaml", head + events.replace("5", "6"))).document.spec
    assert spec.attackers["relative"].knows.events == 6


def test_nobody_claims_to_have_shortened_anything_by_hand(tmp_path: Path) -> None:
    body = "  attackers:\n    relative: {shortened: {events: 90}}\n"
    (problem,) = refused(tmp_path, body, hospital=ADJUSTABLE)
    assert "phigate writes this itself" in problem.message
    assert problem.line == 7


# --- how strong an attack is --------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 6])
def test_another_number_of_models_beside_is_another_attack(tmp_path: Path, count: int) -> None:
    """More of them can hide a few who are known; a policy that wants more asks that too."""
    text = f"""\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {{name: ours, version: "1.0"}}
spec:
  extends: [{{ref: "baseline-public-weights@2"}}]
  controls:
    membership-beside-models: {{params: {{shadows: {count}}}}}
"""
    with pytest.raises(DocumentError, match=r"parameters .* cannot change"):
        load_policy(write(tmp_path, "ours.yaml", text))
