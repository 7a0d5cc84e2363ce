"""What a valid policy allows but probably does not mean."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from command_line import Command

from checker.errors import DocumentError
from checker.policy import load_documents, load_policy
from checker.policy.lint import lint

POLICY = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: ward, version: "1.0", reviewBy: 2030-01-31}
spec:
  context: internal
  attackers:
    broker: {title: Broker, knows: {static: [age]}}
    insider: {title: Insider, extends: broker, knows: {events: all}, access: logprobs}
  attributeClasses:
    hiv:
      title: HIV
      codes:
        - {system: icd9cm, tier: definitive, values: ["042", "V08"]}
  controls:
    disclosure:
      title: Tell no HIV status
      attributeClass: hiv
      probe: attribute-disclosure
      metric: disclosure_rate
      limits:
        broker: {fail: 0.01}
      cites: [a-law]
    membership:
      title: Tell no members
      probe: membership-inference
      metric: membership_auroc
      limits:
        insider: {fail: 0.6}
      cites: [a-law]
  citations:
    a-law: {title: A law, basis: legal-duty, addressee: hospitals, url: "https://law.org/1"}
  gate: {failOn: [critical, high, medium]}
"""


def changed(old: str, new: str, text: str = POLICY) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def warned(text: str, *, on: date = date(2029, 1, 1)) -> list[tuple[int, str, str]]:
    policy = load_policy(Path("p.yaml"), text=text)
    return [(w.line, w.path, w.message) for w in (*policy.warnings, *lint([policy], on=on))]


def test_a_sound_policy_is_not_warned_of() -> None:
    assert warned(POLICY) == []


SECOND = """\
    stricter:
      title: Tell hardly any HIV status
      attributeClass: hiv
      probe: attribute-disclosure
      metric: disclosure_rate
      limits:
        broker: {fail: 0.02}
      cites: [a-law]
"""


COUNTED = """\
    standing-out:
      title: Let few stand out
      probe: membership-inference
      metric: exposed_members
      limits: {insider: {fail: 12}}
      cites: [a-law]
"""
COUNTING = changed("  citations:\n", COUNTED + "  citations:\n")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{fail: 12}", "{fail: 10}", None),
        ("{fail: 12}", "{fail: 9}", "at most 9 people stand out, and minCell lets no number below"),
        (
            "  citations:",
            COUNTED.replace("standing-out", "again").replace("12", "15") + "  citations:",
            "people are counted by 'standing-out' (insider) too, with another limit or rank",
        ),
        (
            "  citations:",
            COUNTED.replace("standing-out", "again").replace(
                "metric", "params: {rank: 2}\n      metric"
            )
            + "  citations:",
            "people are counted by 'standing-out' (insider) too, with another limit or rank",
        ),
        ("  citations:", COUNTED.replace("standing-out", "again") + "  citations:", None),
    ],
    ids=["at minCell", "below minCell", "another limit", "another rank", "the same"],
)
def test_limits_that_tell_how_many_people_stand_out_are_warned_of(
    old: str, new: str, told: str | None
) -> None:
    found = [message for _, _, message in warned(changed(old, new, COUNTING))]
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


def test_people_are_counted_without_a_limit_to_warn_at() -> None:
    text = changed("{fail: 12}", "{fail: 12, warn: 10}", COUNTING)
    with pytest.raises(DocumentError, match="a warned pass would tell that they are between two"):
        load_policy(Path("p.yaml"), text=text)


def test_two_limits_of_one_number_are_warned_of() -> None:
    text = changed("    membership:\n", f"{SECOND}    membership:\n")
    ((_, path, message),) = warned(text)
    assert path == "spec.controls.stricter.limits.broker"
    assert "'disclosure' has another limit for the same number" in message
    for other in (
        "metric: disclosure_rate\n      params: {threshold: 0.9}",
        "metric: attribute_auroc",
    ):
        changed_text = text.replace("metric: disclosure_rate", other, 1)
        assert not [one for one in warned(changed_text) if "same number" in one[2]]
    assert warned(text.replace("fail: 0.02", "fail: 0.01")) == []


def test_a_class_without_a_definitive_code_is_warned_of() -> None:
    ((line, path, message),) = warned(changed("tier: definitive", "tier: strong"))
    assert (line, path) == (10, "spec.attributeClasses.hiv")
    assert "no code of 'hiv' is definitive" in message


def test_limits_that_cite_nothing_are_warned_of() -> None:
    text = POLICY.replace("      cites: [a-law]\n    membership", "    membership")
    ((line, path, message),) = warned(text)
    assert (line, path) == (15, "spec.controls.disclosure")
    assert "cite nothing" in message


def test_a_gate_with_a_gap_is_warned_of() -> None:
    ((_, path, message),) = warned(changed("[critical, high, medium]", "[high, low]"))
    assert path == "spec.gate.failOn"
    assert message == "medium and critical controls do not block a release, though low ones do"


@pytest.mark.parametrize(("cell", "warnings"), [(30, 0), (31, 1)])
def test_a_cell_so_wide_that_subgroups_go_unjudged_is_warned_of(cell: int, warnings: int) -> None:
    wide = changed(
        "  context: internal\n", f"  context: internal\n  parameters: {{minCell: {cell}}}\n"
    )
    assert warned(wide) == []  # no subgroup is lost
    found = warned(changed("      cites: [a-law]\n    membership", "      cites: [a-law]\n"
                           "      subgroups: [all, rare_code]\n    membership", wide))  # fmt: skip
    assert [path for _, path, _ in found] == ["spec.parameters.minCell"] * warnings


@pytest.mark.parametrize("limits", ["{fail: 0.001}", "{maxCount: 0, minN: 3000}"])
def test_a_limit_that_three_thousand_can_show_is_not_warned_of(limits: str) -> None:
    # no hit among n gives the bound 1 - 0.05 ** (1 / n); at n = 2,995 it is 0.0009997
    assert warned(changed("{fail: 0.01}", limits)) == []


@pytest.mark.parametrize(
    ("limits", "needed"),
    [
        ("{fail: 0.0009}", "3,328"),  # log 0.05 / log 0.9991 = 3,327.0…, rounded up
        ("{maxCount: 0, minN: 3001}", "3,001"),
    ],
)
def test_a_limit_that_no_realistic_sample_can_show_is_warned_of(limits: str, needed: str) -> None:
    ((line, path, message),) = warned(changed("{fail: 0.01}", limits))
    assert (line, path) == (21, "spec.controls.disclosure.limits.broker")
    assert message.startswith(f"a pass needs at least {needed} eligible patients with the attr")


def test_a_shipped_policy_is_checked_without_what_loads_longer_than_that_takes() -> None:
    code = """
import sys
from checker.cli import run_command
sys.argv = ["phigate", "validate", "baseline-gated@2.2"]
assert run_command() == 0
print({"scipy.stats", "matplotlib", "torch", "pyarrow"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("limit", ["0.5", "0.49"])
def test_an_auroc_limit_at_chance_level_is_warned_of(limit: str) -> None:
    ((line, _, message),) = warned(changed("{fail: 0.6}", f"{{fail: {limit}}}"))
    assert line == 28
    assert "even where nothing leaks" in message


def test_a_true_positive_rate_no_higher_than_the_false_one_is_warned_of() -> None:
    text = changed("metric: membership_auroc", "metric: membership_tpr_at_fpr")
    assert warned(changed("{fail: 0.6}", "{fail: 0.02}", text)) == []
    ((_, path, _),) = warned(changed("{fail: 0.6}", "{fail: 0.01}", text))
    assert path == "spec.controls.membership.limits.insider"


def test_a_review_is_due_until_its_day_is_over() -> None:
    assert warned(POLICY, on=date(2030, 1, 31)) == []
    ((line, path, message),) = warned(POLICY, on=date(2030, 2, 1))
    assert (line, path) == (3, "metadata.reviewBy")
    assert message == "its review was due by 2030-01-31; 2030-02-01 is later"


def test_a_parent_whose_review_is_overdue_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "ward.yaml").write_text(POLICY)
    text = POLICY.split("metadata:")[0] + 'metadata: {name: team, version: "1"}\n'
    (tmp_path / "team.yaml").write_text(text + "spec: {extends: [{ref: ward@1}]}\n")
    (document,) = load_documents(tmp_path / "team.yaml")
    (warning,) = lint([document], on=date(2031, 1, 1))
    assert warning.message.startswith("it rests on ward 1.0 (")


def test_only_what_a_policy_writes_itself_is_warned_of(tmp_path: Path) -> None:
    text = POLICY.replace("      cites: [a-law]\n    membership", "    membership")
    text = changed(
        "insider: {fail: 0.6}", "insider: {fail: 0.6}\n        broker: {fail: 0.6}", text
    )
    text = changed("access: logprobs", "access: logprobs", text)
    text = changed("knows: {static: [age]}}", "knows: {static: [age], events: all}, access: "
                   "logprobs}", text)  # fmt: skip
    (tmp_path / "ward.yaml").write_text(text)
    assert [w.path for w in load_policy(tmp_path / "ward.yaml").warnings] == [
        "spec.controls.disclosure"
    ]
    head = POLICY.split("metadata:")[0] + 'metadata: {name: team, version: "1"}\n'
    body = "spec:\n  extends: [{ref: ward@1}]\n"
    (tmp_path / "team.yaml").write_text(head + body)
    assert load_policy(tmp_path / "team.yaml").warnings == ()
    # tightening the stronger attacker's limit leaves the weaker one's, inherited, behind
    body += "  controls: {membership: {limits: {insider: {fail: 0.55}}}}\n"
    (tmp_path / "team.yaml").write_text(head + body)
    (warning,) = load_policy(tmp_path / "team.yaml").warnings
    assert warning.message.startswith("attacker 'broker' knows less than 'insider'")
    assert warning.file == str(tmp_path / "ward.yaml")


def test_validate_takes_the_day_from_as_of(phigate: Command, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(POLICY)
    late = phigate("validate", path, "--as-of", "2030-02-01T00:00Z", "--json")
    assert late.code == 0
    (warning,) = json.loads(late.out)["warnings"]
    assert warning["path"] == "metadata.reviewBy"
    # 23:30 on the last day west of Greenwich is the next day in UTC
    west = phigate("validate", path, "--as-of", "2030-01-31T23:30-05:00")
    assert "its review was due by 2030-01-31" in west.err
    assert "review" not in phigate("validate", path, "--as-of", "2030-01-31T23:59Z").err


def test_an_attacker_of_the_last_events_who_decides_alone_is_warned_of() -> None:
    lately = changed(
        "    insider: {title",
        "    lately: {title: Met lately, knows: {static: [age], last: 10}}\n    insider: {title",
    )
    alone = lately.replace("broker: {fail: 0.01}", "lately: {fail: 0.01}")
    messages = [(path, message) for _, path, message in warned(alone) if "last events" in message]
    assert [path for path, _ in messages] == ["spec.controls.disclosure.limits.lately"]
    assert "report: only" in messages[0][1]
    beside = alone.replace(
        "lately: {fail: 0.01}", "lately: {fail: 0.01}\n        insider: {fail: 0.02}"
    )
    assert not [one for one in warned(beside) if "last events" in one[2]]
    reported = alone.replace("last: 10}}", "last: 10}, report: only}")
    assert not [one for one in warned(reported) if "last events" in one[2]]


def test_a_legal_duty_without_an_addressee_is_warned_of() -> None:
    ((line, path, message),) = warned(changed(", addressee: hospitals", ""))
    assert (line, path) == (31, "spec.citations.a-law.basis")
    assert "without saying whose" in message
    assert warned(changed("legal-duty, addressee: hospitals", "context")) == []


def test_an_address_that_leads_nowhere_is_warned_of() -> None:
    ((_, path, message),) = warned(changed("https://law.org/1", "law.org"))
    assert path == "spec.citations.a-law.url"
    assert "none that a browser could open" in message


def test_a_share_beside_what_is_asked_for_every_person_is_warned_of() -> None:
    text = changed("basis: legal-duty", "everyPerson: true, basis: legal-duty")
    found = warned(text)
    assert [path for _, path, _ in found] == [
        "spec.controls.disclosure.limits.broker",
        "spec.controls.membership.limits.insider",
    ]
    assert "a-law asks something for every single person, and this limit allows 0.01" in found[0][2]
    nothing = text.replace("{fail: 0.01}", "{maxCount: 0, minN: 299}")
    assert [path for _, path, _ in warned(nothing)] == ["spec.controls.membership.limits.insider"]


def test_an_heir_is_warned_of_the_guidance_that_it_sets_beside_an_inherited_limit(
    tmp_path: Path,
) -> None:
    (tmp_path / "ward.yaml").write_text(POLICY)
    heir = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: team, version: "1.0"}
spec:
  extends: [{ref: ./ward.yaml}]
  controls: {disclosure: {cites: [an-opinion]}}
  citations: {an-opinion: {title: An opinion, basis: guidance, everyPerson: true}}
"""
    (tmp_path / "team.yaml").write_text(heir)
    found = lint(load_documents(tmp_path / "team.yaml"), on=date(2029, 1, 1))
    assert [one.path for one in found] == ["spec.controls.disclosure.limits.broker"]
    assert "an-opinion asks something for every single person" in found[0].message


# --- codes and texts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "advice"),
    [
        ('{system: icd10cm, tier: definitive, values: ["B2O", "F10"]}', "write 'B20'"),
        ('{system: icd10cm, tier: definitive, values: ["F10-F1L"]}', "write 'F11'"),
        ('{system: icd10cm, tier: definitive, values: ["zl1"]}', "write 'z11'"),
        ('{system: icd10pcs, tier: definitive, values: ["O2100"]}', "write '02100'"),
        ('{system: snomed, tier: definitive, values: ["86406080"]}', "it matches nobody"),
        ('{system: loinc, tier: definitive, values: ["5448-4"]}', "it matches nobody"),
    ],
)
def test_a_code_that_gives_itself_away_is_warned_of_and_the_advice_holds(
    codes: str, advice: str
) -> None:
    original = '{system: icd9cm, tier: definitive, values: ["042", "V08"]}'
    text = changed(original, codes)
    ((line, path, message),) = warned(text)
    assert (line, path) == (13, "spec.attributeClasses.hiv.codes[0].values[0]")
    assert advice in message
    if "write" in advice:
        wrong = message.split("'")[1]
        assert warned(text.replace(wrong, advice.split("'")[1])) == []


@pytest.mark.parametrize(
    "codes",
    [
        '{system: icd10cm, tier: definitive, values: ["C4A", "O99", "I10-I15", "T40.[15]?1"]}',
        '{system: icd10cm, tier: definitive, values: ["S72.001A", "I1A.0", "Z3A"]}',
        '{system: icd10pcs, tier: definitive, values: ["0LB", "B24"]}',
        '{system: snomed, tier: definitive, values: ["86406008", "165816005"]}',
        '{system: loinc, tier: definitive, values: ["4548-4", "LP14092-4", "75622-1"]}',
        '{system: rxnorm, tier: definitive, values: ["195085"]}',
        '{system: local, tier: definitive, values: ["LOCAL//OIL"]}',
    ],
)
def test_codes_that_there_are_are_not_warned_of(codes: str) -> None:
    original = '{system: icd9cm, tier: definitive, values: ["042", "V08"]}'
    assert warned(changed(original, codes)) == []


def test_a_text_that_a_number_sign_cuts_off_is_warned_of(phigate: Command, tmp_path: Path) -> None:
    def said(title: str) -> str:
        path = tmp_path / "p.yaml"
        path.write_text(changed("title: Tell no members", f"title: {title}"))
        outcome = phigate("validate", path)
        assert outcome.code == 0
        return outcome.err

    for title in ("Tell no members of ward #3", "Ticket # 7", "Our #1 rule # so they say"):
        shown = said(title)
        assert ":24:" in shown
        assert "put all of the text in quotes" in shown
        assert said(f'"{title}"') == ""
    for sound in ("Tell no members # as the board said", "Tell C#sharp", "Tell  # TODO: reword"):
        assert said(sound) == ""


@pytest.mark.parametrize("limit", ["0.89", "0.9", "1.0"])
def test_a_limit_that_next_to_nothing_exceeds_is_warned_of(limit: str) -> None:
    found = warned(changed("broker: {fail: 0.01}", f"broker: {{fail: {limit}}}"))
    told = [message for _, _, message in found if "hardly stops a model" in message]
    assert len(told) == (limit != "0.89")
