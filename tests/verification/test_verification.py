"""`phigate verify`: every way to say more than the evidence does is found, each in a line."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from auditing import AS_OF, phigate, write_policy
from signed_runs import Signed, make_signed

from checker.attestation import load_private_key, make_statement, sign_statement
from checker.canonical import canonical_json, digest, sha256_hex
from checker.errors import EvidenceError, ExitCode
from checker.planning import AuditPlan
from checker.report.formats.json import load_report


@pytest.fixture(scope="module")
def whole(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A leaking model under a waiver, registered, judged and signed; read only."""
    return make_signed(tmp_path_factory.mktemp("verification") / "work", simulated_targets)


@pytest.fixture
def signed(whole: Signed, tmp_path: Path) -> Signed:
    """A copy of it, to be tampered with."""
    shutil.copytree(whole.folder, tmp_path / "work")
    return Signed(tmp_path / "work")


def test_what_nobody_touched_holds_in_every_line(whole: Signed) -> None:
    code, holds, broken = whole.verify("--as-of", "2026-12-31")
    assert (code, broken) == (ExitCode.PASS, [])
    for words in (
        "plan.json is the one", "manifest.json is the one", "waivers.json is the one",
        "cells are what the plan's policy asks for", "all jobs are what their digests say",
        "evidence files are those of the manifest", "registers attempt 1, as the report says",
        "policy.yaml is the policy that the run was judged by", "attempt 1 is line 1 of 3",
        "the ledger has this verdict",
        "gives the same report.json: pass", "the verdict is the same", "report.html is what",
        "was signed with the key", "speaks of this report",
        "leaking.json: its 1 files are the model that was audited",
    ):  # fmt: skip
        assert any(words in line for line in holds), words


def test_what_was_not_given_is_said_to_be_open_and_not_to_hold(whole: Signed) -> None:
    code, out = whole.unsigned()
    assert code == ExitCode.PASS
    opened = [line for line in out.splitlines() if line.startswith("open")]
    assert len(opened) == 6
    assert any("no model was looked at" in line for line in opened)
    assert "no policy was looked at" in opened[0]
    assert "nothing in the run can contradict: the data set's name" in opened[1]
    assert "no ledger was looked at" in opened[2]
    assert "says that it was signed with" in opened[3]
    assert "without a signature that was checked (--key) a run cannot show" in opened[4]
    told = json.loads(phigate("verify", whole.run, "--json")[1])
    assert [one["holds"] for one in told].count(None) == 6


def test_an_unsigned_run_without_a_ledger_says_so(signed: Signed) -> None:
    (signed.run / "attestation.json").unlink()
    (signed.run / "attempt.json").unlink()
    settings = ("--as-of", AS_OF, "--format", "json")
    phigate("judge", signed.run, "--no-waivers", *settings)
    assert not (signed.run / "report.html").exists()  # it told of the judgement before
    code, out = signed.unsigned()
    assert code == ExitCode.PASS
    assert "open    attempt unknown: the report was judged without a ledger" in out
    assert "open    the report is not signed" in out
    # asked for, both are missing
    _, _, broken = signed.verify()
    assert any("judged without a ledger" in line and "attempt 1" in line for line in broken)
    assert any("is not signed" in line for line in broken)


# --- one test for each way to cheat -------------------------------------------------------------


def test_a_flipped_bit_in_the_evidence(signed: Signed) -> None:
    for number, path in enumerate(sorted((signed.run / "evidence").glob("*.parquet"))):
        content = bytearray(path.read_bytes())
        place = (number * 7919) % len(content)  # anywhere: header, data or footer
        content[place] ^= 1 << (number % 8)
        path.write_bytes(content)
        code, _, broken = signed.verify()
        assert code == ExitCode.INCOMPLETE
        assert f"{path.name}: was changed after the run" in broken[0]
        assert "not judged again: the files above do not hold" in broken
        content[place] ^= 1 << (number % 8)
        path.write_bytes(content)
    assert signed.verify()[0] == ExitCode.PASS


def loosen(plan: dict[str, Any]) -> None:
    for cell in plan["cells"]:
        cell["limit"]["fail"] = 0.95


def test_a_changed_limit_in_the_plan(signed: Signed) -> None:
    signed.edit("plan.json", loosen)
    code, _, broken = signed.verify()
    assert code == ExitCode.INCOMPLETE
    assert "manifest.json belongs to another plan.json" in broken[0]
    # the forger goes on, and makes the rest fit
    signed.judge_as_if_nothing_were()
    code, out = signed.unsigned()
    assert code == ExitCode.INCOMPLETE
    assert "BROKEN  plan.json: limit of membership/record/all is not what" in out


def drop_cells(plan: dict[str, Any]) -> None:
    plan["cells"] = [cell for cell in plan["cells"] if cell["control"] == "membership"]


def open_gates(plan: dict[str, Any]) -> None:
    for cell in plan["cells"]:
        cell["gating"] = False


def let_pass_what_is_open(plan: dict[str, Any]) -> None:
    for cell in plan["cells"]:
        cell["onInconclusive"] = "warn"


def doubt_more(plan: dict[str, Any]) -> None:
    plan["confidence"] = 0.9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop_cells, "lacks what its policy asks for: hiv-disclosure/events-10/all"),
        (open_gates, "gating of membership/record/all is not what its policy says"),
        (let_pass_what_is_open, "on_inconclusive of membership/record/all is not what its policy"),
        (doubt_more, "its confidence is not that of its policy"),
    ],
)
def test_a_plan_that_asks_for_less_than_its_policy(
    signed: Signed, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    signed.edit("plan.json", change)
    signed.fit_manifest()
    code, out = signed.unsigned()
    assert code == ExitCode.INCOMPLETE
    assert f"BROKEN  plan.json: {said}" in out


@pytest.mark.parametrize(("times", "is_found"), [(1 - 1e-11, False), (0.9, True)])
def test_what_a_plan_announced_is_that_of_here_but_for_rounding(
    signed: Signed, times: float, is_found: bool
) -> None:
    def announce(plan: dict[str, Any]) -> None:
        chances = [one for cell in plan["cells"] if (one := cell["power"])["passProbability"]]
        assert chances
        for one in chances:
            one["passProbability"] *= times

    signed.edit("plan.json", announce)
    signed.fit_manifest()
    _, out = signed.unsigned()
    assert ("BROKEN  plan.json: power of" in out) is is_found
    assert ("cells are what the plan's policy asks for" in out) is not is_found


def test_a_plan_without_a_control_of_its_policy_cannot_be_judged(signed: Signed) -> None:
    signed.edit("plan.json", drop_cells)
    signed.fit_manifest()
    with pytest.raises(EvidenceError, match="has no cell of hiv-disclosure"):
        signed.judge_as_if_nothing_were()


@pytest.fixture(scope="module")
def sliced(simulated_targets: Path, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A leaking model, judged among women and among men as well; read only."""
    folder = tmp_path_factory.mktemp("sliced") / "work"
    shutil.copytree(simulated_targets, folder)
    controls = {
        name: {"limits": {"events-10": {"fail": 0.05}}, "subgroups": ["all", {"static": "sex"}]}
        for name in ("hiv-disclosure", "substance-use-disclosure")
    }
    policy = write_policy(folder / "policy.yaml", controls)
    settings = ("--as-of", AS_OF, "--format", "json")
    documents = (policy, folder / "leaking.yaml", "--out", folder / "run")
    assert phigate("check", *documents, *settings)[0] == ExitCode.FAIL
    code, out = phigate("verify", folder / "run", "--policy", policy)
    assert code == ExitCode.PASS, out
    return Signed(folder)


def watch_nothing(plan: dict[str, Any]) -> None:
    for found in plan["classes"].values():
        found["watch"] = [0]


def judge_from_another_class(plan: dict[str, Any]) -> None:
    cells = {cell["id"]: cell for cell in plan["cells"]}
    other = cells["substance-use-disclosure/events-10/all"]
    cells["hiv-disclosure/events-10/all"].update(labels=other["labels"], jobs=other["jobs"])


def judge_from_no_job(plan: dict[str, Any]) -> None:
    plan["cells"][0]["jobs"] = ["0" * 64]


def call_women_nobody(plan: dict[str, Any]) -> None:
    for cell in plan["cells"]:
        if cell["subgroup"] == "sex=F":
            cell["sample"]["subgroupMembers"] = 0


def drop_women(plan: dict[str, Any]) -> None:
    plan["cells"] = [cell for cell in plan["cells"] if cell["subgroup"] != "sex=F"]


def try_another_seed(plan: dict[str, Any]) -> None:
    plan["seed"] += 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (watch_nothing, "is judged from a job of other watch"),
        (judge_from_another_class, "hiv-disclosure/events-10/all is judged from a job of other"),
        (judge_from_no_job, "is judged from a job it does not have"),
        (call_women_nobody, "sex=F of hiv-disclosure/events-10/sex=F is not empty"),
        (drop_women, "lacks what its policy asks for: hiv-disclosure/events-10/sex=F"),
        (try_another_seed, "its seed is not that of job"),
    ],
)
def test_a_plan_that_is_judged_from_something_else(
    sliced: Signed, tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    forged = Signed(shutil.copytree(sliced.folder, tmp_path / "work"))
    forged.edit("plan.json", change)
    forged.judge_as_if_nothing_were()
    code, out = phigate("verify", forged.run, "--policy", forged.folder / "policy.yaml")
    assert code == ExitCode.INCOMPLETE
    assert said in out
    assert "BROKEN  plan.json" in out


def in_policy(plan: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = plan["policy"]["document"]["spec"]
    return spec


NONSENSE: dict[str, Callable[[dict[str, Any]], None]] = {
    "params": lambda plan: in_policy(plan)["controls"]["hiv-disclosure"].update(
        params={"threshold": []}
    ),
    "metric": lambda plan: in_policy(plan)["controls"]["hiv-disclosure"].update(metric="nope"),
    "probe": lambda plan: in_policy(plan)["controls"]["hiv-disclosure"].update(probe="nope"),
    "class": lambda plan: in_policy(plan)["attributeClasses"].pop("hiv"),
    "attacker": lambda plan: in_policy(plan)["attackers"].pop("record"),
    "target": lambda plan: plan["target"]["document"].pop("metadata"),
    "watch": lambda plan: plan["classes"]["hiv"].update(watch=[10**18]),
    "seed": lambda plan: plan.update(seed=-1),
    "input": lambda plan: plan["jobs"][0]["inputs"].update(method=float("nan")),
}


@pytest.mark.parametrize("change", NONSENSE.values(), ids=NONSENSE)
def test_a_plan_of_nonsense_is_broken_and_no_failure_of_phigate(
    signed: Signed, change: Callable[[dict[str, Any]], None]
) -> None:
    signed.edit("plan.json", change)
    signed.fit_manifest()
    code, out = signed.unsigned()
    assert code == ExitCode.INCOMPLETE
    assert "BROKEN" in out


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("run.json", lambda times: times["measured"].update(
            dict.fromkeys(times["measured"], "0001-01-01T00:00:00+14:00"))),
        ("manifest.json", lambda manifest: manifest["entries"][0].update(file="\0")),
    ],
)  # fmt: skip
def test_other_files_of_nonsense_are_broken_too(
    signed: Signed, name: str, change: Callable[[dict[str, Any]], None]
) -> None:
    signed.edit(name, change)
    code, out = signed.unsigned()
    assert code == ExitCode.INCOMPLETE
    assert "BROKEN" in out


def test_a_field_that_the_plan_s_phigate_did_not_know_makes_no_other_policy(
    signed: Signed,
) -> None:
    def forget(plan: dict[str, Any]) -> None:
        del in_policy(plan)["parameters"]["sampling"]["curtailed"]

    signed.edit("plan.json", forget)
    signed.fit_manifest()
    _, out = phigate("verify", signed.run, "--policy", signed.folder / "policy.yaml")
    assert "holds   policy.yaml is the policy that the run was judged by" in out


def test_a_policy_that_was_only_written_anew_is_the_same(signed: Signed) -> None:
    path = signed.folder / "policy.yaml"
    path.write_text("# kept by the privacy office\n" + path.read_text())
    code, holds, broken = signed.verify()
    assert (code, broken) == (ExitCode.PASS, [])
    assert any("policy.yaml was written anew since" in line for line in holds)
    path.write_text("no policy")
    assert phigate("verify", signed.run, "--policy", path)[0] == ExitCode.USAGE


def test_evidence_that_is_said_to_be_younger_than_it_is(signed: Signed) -> None:
    def renew(times: dict[str, Any]) -> None:
        times["measured"] = dict.fromkeys(times["measured"], "2031-01-01T00:00:00+00:00")

    signed.edit("run.json", renew)
    code, _, broken = signed.verify()
    assert code == ExitCode.INCOMPLETE
    assert any("run.json was changed" in line for line in broken)
    run = sha256_hex((signed.run / "run.json").read_bytes())
    signed.edit("report.json", lambda report: report["provenance"].update(runSha256=run))
    _, _, broken = signed.verify()
    assert any("is before the newest measurement, 2031-01-01" in line for line in broken)


def test_a_changed_limit_in_plan_and_policy(signed: Signed) -> None:
    def loosen_both(plan: dict[str, Any]) -> None:
        loosen(plan)
        for control in plan["policy"]["document"]["spec"]["controls"].values():
            for limit in control["limits"].values():
                limit["fail"] = 0.95
        policy = plan["policy"]
        policy["documentSha256"] = digest(policy["document"])

    signed.edit("plan.json", loosen_both)
    signed.judge_as_if_nothing_were()
    (signed.run / "report.html").unlink()
    assert "BROKEN" not in signed.unsigned()[1].replace("BROKEN  attestation.json", "")
    # all of it fits together: what finds it is outside the run: policy, signature and ledger
    code, _, broken = signed.verify()
    assert code == ExitCode.INCOMPLETE
    assert any(
        "policy.yaml is not the policy that the run was judged by: they differ in"
        " spec.controls.membership.limits.record.fail" in line
        for line in broken
    )
    assert any("speaks of another configuration (manifest.json, plan.json)" in b for b in broken)
    assert any("speaks of another report" in line for line in broken)
    assert any("the ledger has no verdict on this plan" in line for line in broken)


def test_a_swapped_model_digest_in_the_report(signed: Signed) -> None:
    signed.edit("report.json", lambda report: report["target"].update(modelSha256="5" * 64))
    code, _, broken = signed.verify()
    assert code == ExitCode.INCOMPLETE
    assert any("they differ in target" in line for line in broken)
    assert any("attestation.json speaks of another report" in line for line in broken)


def test_a_swapped_model_digest_everywhere(signed: Signed) -> None:
    def swap(plan: dict[str, Any]) -> None:
        files = {"sound.json": sha256_hex((signed.folder / "sound.json").read_bytes())}
        plan["target"].update(modelFiles=files, modelSha256=digest(files))

    signed.edit("plan.json", swap)
    signed.judge_as_if_nothing_were()
    assert "were run on another model than the one it names" in signed.unsigned()[1]
    code, _, broken = signed.verify()
    assert code == ExitCode.INCOMPLETE
    assert "attestation.json speaks of another model than this run" in broken
    assert any("registers another model" in line for line in broken)
    assert any("leaking.json: is not the file that was audited" in line for line in broken)


def test_another_model_s_files(signed: Signed) -> None:
    (signed.folder / "leaking.json").write_bytes((signed.folder / "sound.json").read_bytes())
    code, _, broken = signed.verify()
    assert (code, len(broken)) == (ExitCode.INCOMPLETE, 1)
    assert "is not the file that was audited" in broken[0]
    (signed.folder / "leaking.json").unlink()
    assert signed.verify() == (ExitCode.USAGE, [], [])  # named, and not there


def test_an_edited_report(signed: Signed) -> None:
    signed.edit("report.json", lambda report: report["cells"][0].update(verdict="pass"))
    code, _, broken = signed.verify()
    assert code == ExitCode.INCOMPLETE
    assert any("they differ in cells" in line for line in broken)
    assert any("attestation.json speaks of another report" in line for line in broken)
    assert any("report.html is not what report.json renders to" in line for line in broken)


def test_a_report_that_says_the_same_in_other_bytes(signed: Signed) -> None:
    path = signed.run / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    _, _, broken = signed.verify()
    assert any("they differ in their bytes" in line for line in broken)


def test_a_removed_job(signed: Signed) -> None:
    removed = {}

    def remove(manifest: dict[str, Any]) -> None:
        removed.update(next(e for e in manifest["entries"] if e["kind"] == "scores"))
        manifest["entries"].remove(removed)

    signed.edit("manifest.json", remove)
    code, _, broken = signed.verify()
    assert code == ExitCode.INCOMPLETE
    assert any("manifest.json was changed" in line for line in broken)
    assert any(f"jobs of the plan have no evidence: {removed['job'][:12]}" in b for b in broken)
    (signed.run / removed["file"]).unlink()
    signed.judge_as_if_nothing_were()
    code, out = signed.unsigned()
    assert code == ExitCode.INCOMPLETE
    assert "1 jobs of the plan have no evidence" in out


def test_a_foreign_key(signed: Signed) -> None:
    code, _, broken = signed.verify(key="stranger.pub")
    assert (code, len(broken)) == (ExitCode.INCOMPLETE, 1)
    assert "was not signed with the key" in broken[0]
    # a stranger signs, and calls the signature the officer's
    path = signed.run / "attestation.json"
    officer = json.loads(path.read_text())["signatures"][0]
    path.unlink()
    phigate("sign", signed.run, "--key", signed.folder / "stranger.key")
    envelope = json.loads(path.read_text())
    envelope["signatures"][0]["keyid"] = officer["keyid"]
    path.write_text(json.dumps(envelope))
    code, _, broken = signed.verify()
    assert (code, len(broken)) == (ExitCode.INCOMPLETE, 1)
    assert "was changed after it was signed with the key" in broken[0]


def test_an_edited_statement(signed: Signed) -> None:
    path = signed.run / "attestation.json"
    envelope = json.loads(path.read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"].update(result="PASSED", failedTests=[], warnedTests=[])
    envelope["payload"] = base64.b64encode(canonical_json(statement)).decode()
    path.write_text(json.dumps(envelope))
    code, _, broken = signed.verify()
    assert code == ExitCode.INCOMPLETE
    assert any("was changed after it was signed" in line for line in broken)
    assert "attestation.json speaks of another result than this run" in broken


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"payload":' * 100_000,
        b'{"payload": "!", "payloadType": "x", "signatures": []}',
        b'{"payload": "e30=", "payloadType": "text/plain", "signatures": []}',
        b'{"payload": "e30=", "payloadType": "x", "signatures": [{"keyid": 1, "sig": 2}]}',
        b'{"payload": "%s", "payloadType": "application/vnd.in-toto+json", "signatures": []}'
        % base64.b64encode(b'{"a":' * 100_000),
    ],
    ids=range(9),
)
def test_what_is_no_attestation(whole: Signed, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "attestation.json"
    path.write_bytes(content)
    key = whole.folder / "officer.pub"
    code, out = phigate("verify", whole.run, "--key", key, "--attestation", path)
    assert code == ExitCode.INCOMPLETE
    assert "BROKEN " in out


def test_a_waiver_that_has_run_out_since(signed: Signed) -> None:
    assert signed.verify("--as-of", "2026-12-31T23:59:59Z")[0] == ExitCode.PASS
    code, _, broken = signed.verify("--as-of", "2027-01-01T00:00:00Z")
    assert code == ExitCode.INCOMPLETE
    assert "the waiver w-0 has run out, on 2026-12-31 (UTC)" in broken[0]
    assert "the verdict is fail" in broken[-1]


def test_a_changed_or_removed_waiver(signed: Signed) -> None:
    def prolong(record: dict[str, Any]) -> None:
        for waiver in record["waivers"]:
            waiver["document"]["spec"]["expiresOn"] = "2027-03-01"

    signed.edit("waivers.json", prolong)
    assert any("waivers.json was changed" in line for line in signed.verify()[2])
    (signed.run / "waivers.json").unlink()
    assert any("waivers.json is missing" in line for line in signed.verify()[2])


# --- the attempt --------------------------------------------------------------------------------


def test_a_changed_or_removed_ledger_entry(signed: Signed) -> None:
    lines = signed.ledger.read_bytes().splitlines(keepends=True)
    for content, words in (
        (lines[0].replace(b"leaking", b"weeping") + b"".join(lines[1:]), "line 2 does not follow"),
        (b"".join(lines[1:]), "line 1 does not follow from the beginning"),
        (lines[0].replace(b"leaking", b"weeping"), "lacks the line"),  # and all behind it
        (b"", "lacks the line"),
        (b"".join(lines[:2]), "the ledger has another verdict, fail"),
        (b"".join(lines[:1]), "the ledger has no verdict on this plan"),
        (b"".join(lines) + lines[0][:9], "is cut short"),
    ):
        signed.ledger.write_bytes(content)
        code, _, broken = signed.verify()
        assert (code, len(broken)) == (ExitCode.INCOMPLETE, 1), broken
        assert words in broken[0]
    signed.ledger.unlink()
    code, _, broken = signed.verify()
    assert (code, broken) == (ExitCode.USAGE, [])  # named, and not there


def test_verdicts_in_the_ledger_that_contradict_each_other(signed: Signed) -> None:
    lines = signed.ledger.read_bytes().splitlines()

    def add(**changes: Any) -> None:
        entry = {**json.loads(lines[-1]), "previous": sha256_hex(lines[-1]), **changes}
        whole = [*lines, canonical_json(entry)]
        signed.ledger.write_bytes(b"".join(line + b"\n" for line in whole))

    add(verdict="fail")
    code, _, broken = signed.verify()
    assert code == ExitCode.INCOMPLETE
    assert any("lines 3 and 4 contradict each other: pass and fail" in line for line in broken)
    # the verdict of the report stands there, but on other evidence or as of another time
    for changes in ({"manifestSha256": "5" * 64}, {"asOf": "2026-11-02T00:00:00+00:00"}):
        entry = {**json.loads(lines[-1]), **changes}
        signed.ledger.write_bytes(b"\n".join([*lines[:-1], canonical_json(entry), b""]))
        code, _, broken = signed.verify()
        assert (code, len(broken)) == (ExitCode.INCOMPLETE, 1)
        assert "the verdict pass on this plan, but on other evidence or waivers" in broken[0]


def test_an_attempt_that_is_made_the_first_again(signed: Signed) -> None:
    plan = AuditPlan.model_validate_json((signed.run / "plan.json").read_bytes())
    line = json.loads((signed.run / "attempt.json").read_text())
    assert line["modelSha256"] == plan.target.model_sha256
    (signed.run / "attempt.json").write_bytes(canonical_json({**line, "attempt": 4}) + b"\n")
    assert any("attempt.json was changed" in line for line in signed.verify()[2])
    signed.judge_as_if_nothing_were()  # the report now says so too
    code, _, broken = signed.verify()
    assert code == ExitCode.INCOMPLETE
    assert any("lacks the line" in line and "attempt 4" in line for line in broken)
    (signed.run / "attempt.json").unlink()
    assert any("attempt.json is missing" in line for line in signed.verify()[2])
    (signed.run / "attempt.json").write_text("{}\n")
    assert any("is not the line of an attempt ledger" in line for line in signed.verify()[2])


# --- without the evidence -----------------------------------------------------------------------


def test_whoever_is_given_a_model_can_check_its_attestation_alone(signed: Signed) -> None:
    attestation = shutil.move(signed.run / "attestation.json", signed.folder)
    shutil.rmtree(signed.run)
    alone = ("verify", "--attestation", attestation, "--key", signed.folder / "officer.pub")
    model = ("--model", signed.folder / "leaking.json")
    code, out = phigate(*alone, *model, "--ledger", signed.ledger)
    assert code == ExitCode.PASS
    assert "it says WARNED: pass, judged as of 2026-11-01T00:00:00Z, attempt 1" in out
    assert "leaking.json: its 1 files are the model that was audited" in out
    assert "attempt 1 is line 1 of 3" in out
    code, out = phigate(*alone, "--model", signed.folder / "sound.json")
    assert (code, "is not the file that was audited" in out) == (ExitCode.INCOMPLETE, True)
    signed.ledger.write_bytes(b"")
    code, out = phigate(*alone, "--ledger", signed.ledger)
    assert (code, "lacks the line" in out) == (ExitCode.INCOMPLETE, True)
    stranger = ("verify", "--attestation", attestation, "--key", signed.folder / "stranger.pub")
    code, out = phigate(*stranger, *model)
    assert (code, "it says" in out) == (
        ExitCode.INCOMPLETE,
        False,
    )  # what is not signed is not read
    for incomplete in (
        ("verify",),
        ("verify", "--attestation", attestation),
        alone[:1] + alone[3:],
    ):
        assert phigate(*incomplete)[0] == ExitCode.USAGE
    assert phigate(*alone, "--as-of", AS_OF)[0] == ExitCode.USAGE


@pytest.mark.parametrize("verdict", ["fail", "inconclusive", "error"])
def test_the_exit_code_of_an_attestation_alone_is_the_verdict_that_was_signed(
    signed: Signed, tmp_path: Path, verdict: str
) -> None:
    report = load_report(signed.run / "report.json").model_copy(update={"verdict": verdict})
    statement = make_statement(report, report_sha256="0" * 64, model_files={})
    path = tmp_path / "attestation.json"
    sign_statement(path, statement, load_private_key(signed.folder / "officer.key"))
    code, out = phigate("verify", "--attestation", path, "--key", signed.folder / "officer.pub")
    assert f"it says FAILED: {verdict}" in out
    assert code == {"fail": 1, "inconclusive": 3, "error": 4}[verdict]
