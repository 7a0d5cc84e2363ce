"""Waivers: what they keep from blocking, up to where, until when, and by whose leave."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
import yaml
from auditing import three_classes
from command_line import Command
from hypothesis import given
from hypothesis import strategies as st
from judging import Bench, policy
from properties import examples
from waiver_texts import located_waiver, waiver, waiver_text

from checker.cli import cli
from checker.errors import DocumentError, ExitCode
from checker.policy.documents import LeakagePolicy, Limit
from checker.policy.waivers import WaiverUse, ceiling_warnings, check_waivers, is_in_force
from checker.verdict import Judgement

RULES = {
    "approverRoles": ["privacy-officer", "irb-chair"],
    "minApprovers": 1,
    "maxDuration": "P92D",
}
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def demands(rules: dict[str, Any] | None = RULES, **control: Any) -> LeakagePolicy:
    """The policy of `judging`, with rules for waivers and changes to its control."""
    document = policy().model_dump(mode="json", exclude_none=True)
    if rules is not None:
        document["spec"]["waivers"] = rules
    document["spec"]["controls"]["c"].update(control)
    return LeakagePolicy.model_validate_json(json.dumps(document))


def leaking(hits: int = 40, **cell: Any) -> Bench:
    """A bench of one cell with `hits` of 80 members told on; its id is c/known/all."""
    bench = Bench()
    bench.disclosure("hiv", hits=(hits, 0), n=(80, 80), id="c/known/all", **cell)
    return bench


def judged(bench: Bench, *waivers: Any, **arguments: Any) -> Judgement:
    given = {"policy": demands(), "as_of": NOON, **arguments}
    return bench.judge(waivers=waivers, **given)


def only_use(judgement: Judgement) -> WaiverUse:
    (use,) = judgement.waivers
    return use


# --- what a waiver does -------------------------------------------------------------------------


def test_a_waived_finding_stays_a_failure_and_does_not_block() -> None:
    # 40 of 80 is 0.5; square-and-add bounds are far below 0.7 at this n
    blocked, released = judged(leaking()), judged(leaking(), waiver())
    assert blocked.exit_code is ExitCode.FAIL
    assert released.findings[0].verdict == "fail"
    assert released.findings[0].waiver == "hiv-for-now"
    assert not released.findings[0].blocks
    assert only_use(released).status == "applied"
    assert (released.verdict, released.exit_code) == ("pass", ExitCode.PASS)


def test_the_control_runs_as_before() -> None:
    with_waiver, without = judged(leaking(), waiver()), judged(leaking())
    assert with_waiver.findings[0].measurement == without.findings[0].measurement
    assert with_waiver.findings[0].p_value == without.findings[0].p_value


def test_one_waived_finding_excuses_no_other() -> None:
    bench = leaking()
    bench.disclosure("other", hits=(40, 0), n=(80, 80), id="other/known/all")
    assert judged(bench, waiver()).verdict == "fail"


def test_the_ceiling_is_held_against_the_upper_bound_not_the_estimate() -> None:
    # the estimate is 0.5 in all three, its upper bound about 0.6
    high = judged(leaking()).findings[0].measurement
    assert high is not None
    bound = high.estimate.high
    assert 0.55 < bound < 0.65
    for ceiling, status, code in (
        (0.51, "void", ExitCode.FAIL),
        (bound - 0.001, "void", ExitCode.FAIL),
        (bound + 0.001, "applied", ExitCode.PASS),
    ):
        judgement = judged(leaking(), waiver(ceiling=ceiling))
        assert (only_use(judgement).status, judgement.exit_code) == (status, code)
    assert (
        "above the ceiling of 0.51" in only_use(judged(leaking(), waiver(ceiling=0.51))).explanation
    )


def test_a_void_waiver_is_a_result_and_not_an_error() -> None:
    judgement = judged(leaking(), waiver(ceiling=0.51))
    assert not only_use(judgement).is_error
    assert judgement.findings[0].waiver is None


def test_what_is_not_shown_to_fail_but_blocks_can_be_waived_too() -> None:
    # 4 of 80: the bounds lie on both sides of 0.05. Were only failures waivable, a model that leaks
    # more would be released and one that leaks less would not.
    judgement = judged(leaking(4), waiver(ceiling=0.2))
    assert judgement.findings[0].verdict == "inconclusive"
    assert judgement.verdict == "pass"


def test_no_waiver_stands_in_for_evidence() -> None:
    unlike = leaking()
    unlike.comparable(shift=0.3)
    few = Bench()
    few.disclosure("hiv", hits=(0, 0), n=(0, 0), id="c/known/all")
    missing = leaking()
    del missing.tables["hiv-rollouts"]
    for bench in (unlike, few, missing):
        judgement = judged(bench, waiver(ceiling=0.99))
        assert only_use(judgement).status == "void"
        assert judgement.verdict != "pass"
    crashed = judged(leaking(), waiver(ceiling=0.99), crashed={"hiv-rollouts": "out of memory"})
    assert crashed.exit_code is ExitCode.INCOMPLETE


def test_zero_tolerance_can_be_waived_up_to_a_rate() -> None:
    def bench() -> Bench:
        made = Bench()
        limit = Limit(max_count=0, min_n=50)
        made.disclosure(
            "age", hits=(1, 0), n=(80, 80), limit=limit, metric="disclosure_rate", id="c/known/all"
        )
        return made

    rules = demands(metric="disclosure_rate", limits={"known": {"maxCount": 0, "minN": 50}})
    # 1 of 80: the upper bound is the p with P[Bin(80, p) <= 1] = 0.05, about 0.058
    assert judged(bench(), waiver(ceiling=0.05), policy=rules).verdict == "fail"
    assert judged(bench(), waiver(ceiling=0.06), policy=rules).verdict == "pass"


@examples(8)
@given(hits=st.integers(0, 79), ceiling=st.floats(0.06, 0.99))
def test_more_measured_leakage_never_turns_a_blocked_cell_into_a_waived_one(
    hits: int, ceiling: float
) -> None:
    def is_blocked(count: int) -> bool:
        return judged(leaking(count), waiver(ceiling=ceiling)).findings[0].blocks

    assert is_blocked(hits) <= is_blocked(hits + 1)


# --- when ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_of", "status"),
    [
        ("2026-09-30T23:59:59+00:00", "not-started"),
        ("2026-10-01T00:00:00+00:00", "applied"),
        ("2026-12-31T23:59:59.999999+00:00", "applied"),
        ("2027-01-01T00:00:00+00:00", "expired"),
        # still 31 December in New York, and already over
        ("2026-12-31T20:00:00-05:00", "expired"),
        # 1 January in Tokyo, and still in force
        ("2027-01-01T08:00:00+09:00", "applied"),
    ],
)
def test_days_begin_and_end_in_utc(as_of: str, status: str) -> None:
    judgement = judged(leaking(), waiver(), as_of=datetime.fromisoformat(as_of))
    assert only_use(judgement).status == status
    assert (judgement.verdict == "pass") == (status == "applied")


@examples(50)
@given(
    seconds=st.integers(0, 400 * 86_400),
    offset=st.integers(-24 * 60 + 1, 24 * 60 - 1),
    name=st.none() | st.timezone_keys(allow_prefix=False),
)
def test_a_waiver_does_not_outlive_its_end_in_any_time_zone(
    seconds: int, offset: int, name: str | None
) -> None:
    end = datetime(2027, 1, 1, tzinfo=UTC)  # the first instant after 2026-12-31
    zone = ZoneInfo(name) if name else timezone(timedelta(minutes=offset))
    after = (end + timedelta(seconds=seconds)).astimezone(zone)
    before = (end - timedelta(seconds=1 + seconds % (92 * 86_400))).astimezone(zone)
    assert not is_in_force(waiver(), as_of=after)
    assert is_in_force(waiver(), as_of=before)


def test_a_waiver_ends_at_one_instant_in_every_named_time_zone() -> None:
    end = datetime(2027, 1, 1, tzinfo=UTC)
    zones = sorted(available_timezones())
    assert len(zones) > 400
    granted = waiver()
    for zone in map(ZoneInfo, zones):
        assert not is_in_force(granted, as_of=end.astimezone(zone))
        assert is_in_force(granted, as_of=(end - timedelta(microseconds=1)).astimezone(zone))


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        is_in_force(waiver(), as_of=datetime(2026, 11, 1))  # noqa: DTZ001 - that is the test


def test_a_renewal_that_is_granted_ahead_is_no_error() -> None:
    renewal = waiver(name="renewal", startsOn="2027-01-01", expiresOn="2027-03-31")
    judgement = judged(leaking(), waiver(), renewal)
    assert [use.status for use in judgement.waivers] == ["applied", "not-started"]
    assert judgement.exit_code is ExitCode.PASS


# --- what is an error ---------------------------------------------------------------------------


def test_an_unused_waiver_is_an_error_that_holds_up_a_sound_model() -> None:
    judgement = judged(leaking(0), waiver())
    assert only_use(judgement).status == "unused"
    assert (judgement.verdict, judgement.exit_code) == ("error", ExitCode.USAGE)


def test_a_failure_counts_before_a_waiver_that_does_not_hold() -> None:
    bench = leaking(0)
    bench.disclosure("other", hits=(40, 0), n=(80, 80), id="other/known/all")
    assert judged(bench, waiver()).exit_code is ExitCode.FAIL


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ({"policy": {"ref": "made-up@2"}}, "policy.ref", "this is made-up@1"),
        ({"policy": {"ref": "made-up@1", "sha256": "1" * 64}}, "policy.sha256", "another one"),
        ({"model": {"name": "m", "sha256": "1" * 64}}, "model.sha256", "another model"),
        ({"control": "d"}, "control", "no control 'd'"),
        ({"attacker": "knwon"}, "attacker", "did you mean 'known'?"),
        ({"subgroup": "al"}, "subgroup", "did you mean 'all'?"),
        ({"ceiling": 0.05}, "ceiling", "not above the limit, 0.05"),
        ({"ceiling": 1.01}, "ceiling", "1.01 must be at most 1, as 'excess_disclosure' is"),
        ({"expiresOn": "2027-01-01"}, "expiresOn", "lasts 93 days, but the policy allows 92"),
        ({"expiresOn": "2026-10-31"}, "expiresOn", "expired at the end of 2026-10-31 (UTC)"),
        (
            {"approvals": [{"name": "A", "role": "privacy officer", "on": "2026-10-01"}]},
            "approvals[0].role",
            "did you mean 'privacy-officer'?",
        ),
    ],
)
def test_a_waiver_that_the_policy_does_not_allow_is_refused_at_its_line(
    changes: dict[str, Any], path: str, says: str
) -> None:
    located = located_waiver(**changes)
    with pytest.raises(DocumentError) as caught:
        check_waivers(
            [located],
            policy=demands(),
            policy_sha256="0" * 64,
            as_of=NOON,
            model_sha256="0" * 64,
            cells=["c/known/all"],
        )
    (problem,) = caught.value.problems
    assert problem.path == f"spec.{path}"
    assert problem.line > 1
    assert says in problem.message
    # the judge, which is told later and offline, does not honour it either
    judgement = judged(leaking(), located.document)
    assert only_use(judgement).status in {"refused", "expired"}
    assert judgement.verdict == "fail"


def test_a_ceiling_may_be_as_large_as_its_metric_can_be() -> None:
    assert only_use(judged(leaking(), waiver(ceiling=1.0))).status == "applied"


@pytest.mark.parametrize(
    ("ceiling", "warned"), [(0.6, False), (0.89, False), (0.9, True), (0.99, True), (1.0, True)]
)
def test_a_ceiling_that_hardly_any_model_exceeds_is_warned_of(ceiling: float, warned: bool) -> None:
    found = list(ceiling_warnings([located_waiver(ceiling=ceiling)], demands()))
    assert [one.path for one in found] == (["spec.ceiling"] if warned else [])
    assert all("it accepts whatever else is found" in one.message for one in found)
    # of a control that is not there another message tells
    assert not [*ceiling_warnings([located_waiver(ceiling=1.0, control="other")], demands())]


def test_the_longest_waiver_that_the_policy_allows_is_allowed() -> None:
    # 1 October to 31 December are 31 + 30 + 31 = 92 days
    assert only_use(judged(leaking(), waiver(expiresOn="2026-12-31"))).status == "applied"


def test_absolute_and_advisory_controls_cannot_be_waived() -> None:
    for enforcement, says in (("absolute", "never be waived"), ("advisory", "decides nothing")):
        judgement = judged(leaking(), waiver(), policy=demands(enforcement=enforcement))
        assert only_use(judgement).status == "refused"
        assert says in only_use(judgement).explanation
        assert judgement.findings[0].waiver is None


def test_a_policy_without_rules_for_waivers_grants_none() -> None:
    judgement = judged(leaking(), waiver(), policy=demands(None))
    assert "grants no waivers" in only_use(judgement).explanation
    assert judgement.verdict == "fail"


def test_as_many_must_approve_as_the_policy_asks_for() -> None:
    two = demands({**RULES, "minApprovers": 2})
    officer = {"name": "Petra Officer", "role": "privacy-officer", "on": "2026-10-01"}
    chair = {"name": "Ines Chair", "role": "irb-chair", "on": "2026-09-30"}
    assert judged(leaking(), waiver(), policy=two).verdict == "fail"
    assert judged(leaking(), waiver(approvals=[officer, chair]), policy=two).verdict == "pass"


@pytest.mark.parametrize(
    "approval",
    [
        {"name": "Ravi Team"},
        {"name": "ravi  TEAM"},
        {"name": "Ravi-Team."},
        {"name": "Ravi\u200b Team"},
        {"name": "R. Team", "email": "RAVI@hospital.example"},
    ],
)
def test_the_requester_cannot_approve_under_any_spelling(approval: dict[str, str]) -> None:
    officer = {"role": "privacy-officer", "on": "2026-10-01", **approval}
    with pytest.raises(DocumentError, match="the requester cannot approve"):
        located_waiver(approvals=[officer])


def test_nobody_approves_twice_and_nobody_afterwards() -> None:
    officer = {"name": "Petra Officer", "role": "privacy-officer", "on": "2026-10-01"}
    with pytest.raises(DocumentError, match="approves twice"):
        located_waiver(approvals=[officer, {**officer, "role": "irb-chair"}])
    with pytest.raises(DocumentError, match="approved on 2026-10-02, but the waiver starts on"):
        located_waiver(approvals=[{**officer, "on": "2026-10-02"}])
    with pytest.raises(DocumentError, match="is before startsOn"):
        located_waiver(expiresOn="2026-09-30")


def test_two_waivers_for_one_finding_are_one_too_many() -> None:
    judgement = judged(leaking(), waiver(), waiver(name="again", ceiling=0.9))
    assert [use.status for use in judgement.waivers] == ["applied", "refused"]
    assert "waives c/known/all at that time too" in judgement.waivers[1].explanation


def test_all_that_is_wrong_with_some_waivers_comes_at_once() -> None:
    with pytest.raises(DocumentError) as caught:
        check_waivers(
            [located_waiver(ceiling=0.01, expiresOn="2027-12-31"), located_waiver(control="d")],
            policy=demands(),
            policy_sha256="0" * 64,
            as_of=NOON,
        )
    assert len(caught.value.problems) == 4  # ceiling, duration, control, one name twice


# --- in a run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blocked_run(
    simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A policy that allows waivers, and a leaking model that it blocks; read only."""
    folder = tmp_path_factory.mktemp("waivers") / "work"
    shutil.copytree(simulated_targets, folder)
    text = three_classes()
    assert "waivers:" not in text
    text += "  waivers: {approverRoles: [privacy-officer], maxDuration: P180D}\n"
    (folder / "policy.yaml").write_text(text)
    arguments = [folder / "policy.yaml", folder / "leaking.yaml", "--out", folder / "run"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["phigate"])
        options = ["--format", "json", "--audience", "internal"]
        code = cli.main(["check", *map(str, arguments), *options], standalone_mode=False)
    assert code == ExitCode.FAIL
    internal = folder / "run" / "internal"
    report = json.loads((internal / "report.json").read_text())
    shutil.rmtree(internal)
    return folder, report


@pytest.fixture
def waived(blocked_run: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of it, to be changed."""
    folder, report = blocked_run
    shutil.copytree(folder, tmp_path / "work")
    return tmp_path / "work", report


def waivers_for(report: dict[str, Any], **changes: Any) -> str:
    """Waive everything that blocks a run."""
    cells = {cell["id"]: cell for cell in report["cells"]}
    documents = []
    for place, name in enumerate(report["summary"]["blockedBy"]):
        control, attacker, subgroup = name.split("/", 2)
        ceiling = min(1.0, cells[name]["estimate"]["high"] + 0.01)
        documents.append(
            waiver_text(
                name=f"w-{place}",
                policy={"ref": f"{report['policy']['name']}@{report['policy']['version']}"},
                control=control,
                attacker=attacker,
                subgroup=subgroup,
                model={"name": "leaking", "sha256": report["target"]["modelSha256"]},
                ceiling=ceiling,
                **changes,
            )
        )
    return "---\n".join(documents)


def test_a_waived_run_is_released_shown_and_verified(
    phigate: Command, waived: tuple[Path, dict[str, Any]]
) -> None:
    folder, report = waived
    run, file = folder / "run", folder / "waivers.yaml"
    file.write_text(waivers_for(report))
    outcome = phigate("judge", run, "--waivers", file, "--as-of", "2026-11-01", "--json")
    assert outcome.code == ExitCode.PASS, outcome.err
    told = json.loads(outcome.out)
    assert told["verdict"] == "pass"
    assert told["summary"]["waived"] == report["summary"]["blockedBy"]
    assert told["summary"]["waivedUntil"] == "2026-12-31"
    assert {w["status"] for w in told["waivers"]} == {"applied"}
    assert told["waivers"][0]["approvals"][0]["name"] == "Petra Officer"
    failing = [cell for cell in told["cells"] if cell["id"] in told["summary"]["waived"]]
    assert "fail" in {cell["verdict"] for cell in failing}
    page = (run / "report.html").read_text()
    for words in ("Release is allowed by waiver", "Petra Officer", "GOV-12", "2026-12-31"):
        assert words in page
    assert phigate("verify", run).code == ExitCode.PASS
    # judged again without saying so, it is the same; on the last day too, and not a day later
    assert phigate("judge", run, "--as-of", "2026-12-31", "--format", "json").code == ExitCode.PASS
    shown = phigate("judge", run, "--as-of", "2026-11-01").out
    for words in ("waived", "Petra Officer (privacy-officer, 2026-10-01)", "until the end"):
        assert words in shown
    later = phigate("verify", run, "--as-of", "2027-01-01")
    assert later.code == ExitCode.INCOMPLETE
    assert "as of 2027-01-01T00:00:00+00:00 the verdict is fail" in later.out
    assert phigate("judge", run, "--as-of", "2027-01-01", "--format", "json").code == ExitCode.FAIL


def test_waivers_can_be_left_out_of_account(
    phigate: Command, waived: tuple[Path, dict[str, Any]]
) -> None:
    folder, report = waived
    run, file = folder / "run", folder / "waivers.yaml"
    file.write_text(waivers_for(report))
    judging = ("judge", run, "--as-of", "2026-11-01", "--format", "json")
    assert phigate(*judging, "--waivers", file).code == ExitCode.PASS
    outcome = phigate(*judging, "--no-waivers", "--json")
    assert outcome.code == ExitCode.FAIL
    assert json.loads(outcome.out)["waivers"] == []
    assert phigate("verify", run).code == ExitCode.PASS


def test_a_check_takes_only_the_waivers_it_is_given(
    phigate: Command, waived: tuple[Path, dict[str, Any]]
) -> None:
    folder, report = waived
    run, file = folder / "run", folder / "waivers.yaml"
    file.write_text(waivers_for(report))
    arguments = (
        "check", folder / "policy.yaml", folder / "leaking.yaml", "--out", run,
        "--as-of", "2026-11-01", "--format", "json",
    )  # fmt: skip
    assert phigate(*arguments, "--waivers", file).code == ExitCode.PASS
    assert phigate(*arguments).code == ExitCode.FAIL
    assert not (run / "waivers.json").exists()


def test_a_changed_record_of_waivers_is_noticed(
    phigate: Command, waived: tuple[Path, dict[str, Any]]
) -> None:
    folder, report = waived
    run, file = folder / "run", folder / "waivers.yaml"
    file.write_text(waivers_for(report))
    phigate("judge", run, "--waivers", file, "--as-of", "2026-11-01", "--format", "json")
    record = run / "waivers.json"
    record.write_text(record.read_text().replace("Petra Officer", "Somebody Else"))
    outcome = phigate("verify", run)
    assert outcome.code == ExitCode.INCOMPLETE
    assert "waivers.json was changed" in outcome.out
    record.unlink()
    assert "waivers.json is missing" in phigate("verify", run).out


def test_an_expired_waiver_stops_a_check_before_anything_runs(
    phigate: Command, waived: tuple[Path, dict[str, Any]]
) -> None:
    folder, report = waived
    file = folder / "waivers.yaml"
    file.write_text(waivers_for(report))
    outcome = phigate(
        "check", folder / "policy.yaml", folder / "leaking.yaml", "--out", folder / "new",
        "--waivers", file, "--as-of", "2027-01-01",
    )  # fmt: skip
    assert outcome.code == ExitCode.USAGE
    line = next(i for i, t in enumerate(file.read_text().splitlines(), 1) if "expiresOn" in t)
    assert f"{file}:{line}:" in outcome.err
    assert "expired at the end of 2026-12-31 (UTC)" in outcome.err
    assert not (folder / "new").exists()


def test_validate_holds_waivers_against_their_policy_and_the_calendar(
    phigate: Command, waived: tuple[Path, dict[str, Any]]
) -> None:
    folder, report = waived
    file = folder / "waivers.yaml"
    file.write_text(waivers_for(report))
    both = (folder / "policy.yaml", file)
    assert phigate("validate", *both, "--as-of", "2026-11-01").code == ExitCode.PASS
    late = phigate("validate", *both, "--as-of", "2027-01-01")
    assert late.code == ExitCode.USAGE
    assert "expired" in late.err
    assert file.name + ": LeakageWaiver" not in late.out  # which would say that it is valid
    alone = phigate("validate", file, "--as-of", "2026-11-01")
    assert alone.code == ExitCode.PASS
    assert "is not among these files, so the waiver was not compared with it" in alone.err
    assert "expired" in phigate("validate", file, "--as-of", "2027-01-01").err
    text = yaml.safe_load(next(iter(file.read_text().split("---\n"))))
    text["spec"]["ceiling"] = 0.99
    file.write_text(yaml.safe_dump(text))
    wide = phigate("validate", *both, "--as-of", "2026-11-01")
    assert wide.code == ExitCode.PASS
    assert "leaks nearly everything exceeds 0.99: it accepts whatever else is found" in wide.err
    text["spec"]["control"] = "no-such-control"
    file.write_text(yaml.safe_dump(text))
    assert "no control 'no-such-control'" in phigate("validate", *both, "--as-of", "2026-11-01").err


def test_a_file_without_waivers_is_refused(
    phigate: Command, waived: tuple[Path, dict[str, Any]]
) -> None:
    folder, _ = waived
    outcome = phigate("judge", folder / "run", "--waivers", folder / "policy.yaml")
    assert outcome.code == ExitCode.USAGE
    assert "no document of kind LeakageWaiver" in outcome.err
