"""`phigate new`: what is asked or given becomes a valid file, and nothing else is ever written."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from auditing import MEASURED
from command_line import Checked, Command

from checker.policy import load_policy
from checker.policy.writing import part_put_in

CONTROL = (
    "--title", "It must not be told", "--class", "hiv", "--limit", "k3-ten-events=0.04",
    "--limit", "k2-acquaintance=0.02", "--cites", "institution",
)  # fmt: skip


@pytest.fixture
def policy(phigate: Command, tmp_path: Path) -> Path:
    path = tmp_path / "hospital.yaml"
    made = phigate("new", "policy", path, "--owner", "A: B #1", "--extends", "baseline-gated@1")
    assert made.code == 0, made.err
    return path


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Sit at a terminal and type."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("".join(f"{line}\n" for line in lines)))


def test_a_policy_control_and_class_are_written_and_valid(phigate: Command, policy: Path) -> None:
    policy.write_text(policy.read_text() + "  # the end\n")
    code = ("--code", "local=WARD//PSY", "--code", "icd10cm=F20-F25", "--code", "icd10cm=F28")
    assert phigate("new", "class", policy, "ward", "--title", "Closed ward", *code).code == 0
    assert phigate("new", "class", policy, "hiv-here", "--use", "library/hiv@1").code == 0
    done = phigate("new", "control", policy, "ward-told", *CONTROL[:3], "ward", *CONTROL[4:])
    assert done.code == 0, done.err
    assert phigate("new", "control", policy, "second", *CONTROL).code == 0
    spec = load_policy(policy).document.spec
    assert spec.controls["ward-told"].limits["k3-ten-events"].fail == 0.04
    assert spec.controls["ward-told"].severity == "high"
    values = {one.system: one.values for one in spec.attribute_classes["ward"].codes}
    assert values == {"local": ["WARD//PSY"], "icd10cm": ["F20-F25", "F28"]}
    assert list(spec.controls)[-1] == "ward-told"  # the newest stands first in its file
    assert "# the end" in policy.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ("hiv", *CONTROL),  # the parent has one of the name, whose class it would change
        ("x", *CONTROL[:6]),  # reworded below
        ("x", "--title", "t", "--class", "hivv", "--limit", "k3-ten-events=0.1"),
        ("x", "--title", "t", "--class", "hiv", "--limit", "k3=0.1"),
        ("x", "--title", "t", "--class", "hiv", "--limit", "k3-ten-events=5%"),
        ("x", "--title", "t", "--class", "hiv", "--limit", "k3-ten-events=-1"),
        ("x", "--title", "t", "--class", "hiv", "--limit", "k3-ten-events"),
        ("x", *CONTROL, "--metric", "exces_disclosure"),
        ("x", *CONTROL, "--probe", "membership-inference"),
        ("x", *CONTROL[:-1], "nobody"),
        ("X y", *CONTROL),
    ],
)
def test_what_would_be_invalid_is_not_written(
    phigate: Command, policy: Path, arguments: tuple[str, ...]
) -> None:
    before = policy.read_bytes()
    if arguments == ("x", *CONTROL[:6]):
        arguments = ("x", *CONTROL[:4])  # no limit at all, and nobody to ask
    outcome = phigate("new", "control", policy, *arguments)
    assert outcome.code == 2, outcome.out
    assert policy.read_bytes() == before


def test_what_is_missing_is_named_at_once_where_nobody_can_be_asked(
    phigate: Command, policy: Path, tmp_path: Path
) -> None:
    outcome = phigate("new", "control", policy, "x")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert all(f"--{name}, " in outcome.err for name in ("title", "class", "limit"))
    waiver = phigate("new", "waiver", tmp_path / "w.yaml")
    for name in ("policy", "model", "sha256", "cell", "ceiling", "measure", "approval", "ticket"):
        assert f"--{name}, " in waiver.err
    assert not (tmp_path / "w.yaml").exists()


def test_a_terminal_is_asked_for_what_is_missing(
    phigate: Command, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(
        monkeypatch, "Nobody may learn it", "", "hvi", "hiv", "",
        "k3-ten-events=0.04; k2-acquaintance=0.02", "criticl", "critical",
    )  # fmt: skip
    done = phigate("new", "control", policy, "asked")
    assert done.code == 0, done.err
    assert "did you mean 'hiv'?" in done.err
    assert "did you mean 'critical'?" in done.err
    control = load_policy(policy).document.spec.controls["asked"]
    assert (control.metric, control.severity) == ("excess_disclosure", "critical")
    assert set(control.limits) == {"k3-ten-events", "k2-acquaintance"}


def test_a_shipped_policy_and_a_file_that_is_there_stay_as_they_are(
    phigate: Command, policy: Path
) -> None:
    shipped = phigate("new", "control", "baseline-gated@1", "x", *CONTROL)
    assert shipped.code == 2
    assert "phigate new policy my-policy.yaml --extends baseline-gated@1" in shipped.err
    again = ("new", "policy", policy, "--owner", "x", "--extends", "baseline-internal@1")
    before = policy.read_bytes()
    assert phigate(*again).code == 2
    assert policy.read_bytes() == before
    assert phigate(*again, "--force").code == 0
    assert policy.read_bytes() != before


LAYOUTS = {
    "deep": "spec:\n    x: []\n    controls:\n        # of a ward\n        a:\n            t: 1\n",
    "absent": "spec:\n  context: gated\n  list:\n  - 1\n\n# end\n",
    "no newline": "spec:\n  controls:\n    a: {t: 1}",
    "other first": "kind: X\nspec: {controls: {}}\n---\nkind: LeakagePolicy\nspec:\n  a: 1\n",
    "windows": "spec:\r\n  controls:\r\n    a: {t: 1}\r\n",
    "text": "spec:\n  b: |\n    controls:\n      no: 1\n  c: 1\n",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_part_is_put_in_and_all_else_stays(name: str) -> None:
    text = LAYOUTS[name]
    if name != "other first":
        text = f"kind: LeakagePolicy\r\n{text}" if "\r" in text else f"kind: LeakagePolicy\n{text}"
    changed = part_put_in(text, "controls", "new", {"t": [1, {"u": "042"}]}, file="p.yaml")
    *others, before = list(yaml.safe_load_all(text))
    *kept, after = list(yaml.safe_load_all(changed))
    assert kept == others
    assert after["spec"].pop("controls").pop("new") == {"t": [1, {"u": "042"}]}
    before["spec"].pop("controls", None)
    assert after["spec"] == before["spec"]
    lines = iter(changed.splitlines())
    assert all(any(line == one for one in lines) for line in text.splitlines())  # in their order
    assert ("\r\n" in text) == ("\r\n" in changed)
    assert changed.count("\r\n") in (0, changed.count("\n"))


def test_a_policy_in_braces_is_left_alone_and_the_part_is_shown(
    phigate: Command, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "apiVersion: phigate/v1\nkind: LeakagePolicy\nmetadata: {name: p, version: '1'}\n"
        "spec: {extends: [{ref: baseline-gated@1}]}\n"
    )
    before = path.read_bytes()
    outcome = phigate("new", "control", path, "x", *CONTROL)
    assert outcome.code == 2
    assert "written in braces" in outcome.err
    assert "k3-ten-events:" in outcome.err
    assert path.read_bytes() == before


# --- waivers ------------------------------------------------------------------------------------


def waiver_arguments(run: Path, **changes: str) -> list[str]:
    given = {
        "run": str(run), "cell": "hiv-disclosure/events-10", "ceiling": "0.9",
        "justification": "A pilot", "measure": "Access is logged", "requester": "A. Lindqvist",
        "approval": "Dr. M. Okafor, the 2nd,privacy-officer,2026-10-30", "ticket": "GOV-1",
        "starts": "2026-10-31", "expires": "2026-12-01", **changes,
    }  # fmt: skip
    return [part for name, value in given.items() if value for part in (f"--{name}", value)]


def test_a_waiver_of_a_run_holds_for_it(
    phigate: Command, checked: Callable[[str], Checked], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = checked("leaking")
    path = done.folder / "pilot.yaml"
    refused = phigate("new", "waiver", path, *waiver_arguments(done.run))
    assert refused.code == 2  # the policy lets nothing be waived
    assert not path.exists()
    rules = "\n  waivers: {approverRoles: [privacy-officer], maxDuration: P180D}\n  attackers:"
    policy = done.folder / "policy.yaml"
    policy.write_text(policy.read_text().replace("\n  attackers:", rules, 1))
    judged = phigate("judge", done.run, "--policy", policy, "--format", "json")
    assert judged.code == 1, judged.err
    (run,) = (one.parent for one in done.run.rglob("plan.json") if one.parent != done.run)
    for change in ({"cell": "hiv-disclosure/nobody"}, {"approval": "A. Lindqvist,privacy-officer,"
                   "2026-10-30"}, {"expires": "2027-12-01"}, {"ceiling": "much"},
                   {"cell": "hiv"}, {"approval": "X"}, {"sha256": "0" * 64}):  # fmt: skip
        assert phigate("new", "waiver", path, *waiver_arguments(run, **change)).code == 2, change
        assert not path.exists()
    made = phigate("new", "waiver", path, *waiver_arguments(run))
    assert made.code == 0, made.err
    waived = phigate("judge", run, "--waivers", path, "--as-of", "2026-11-01", "--json")
    cells = {one["id"]: one for one in json.loads(waived.out)["cells"]}
    cell = cells["hiv-disclosure/events-10/all"]
    assert cell["verdict"] == "fail"
    assert cell["waiver"] is not None
    spec = yaml.safe_load(path.read_text())["spec"]
    assert spec["approvals"][0]["name"] == "Dr. M. Okafor, the 2nd"
    assert MEASURED.date().isoformat() == spec["startsOn"]


def test_what_is_missing_comes_with_what_there_is_to_choose_from(
    phigate: Command, tmp_path: Path
) -> None:
    path = tmp_path / "p.yaml"
    assert phigate("new", "policy", path, "--owner", "A", "--extends", "demo@2").code == 0
    missing = phigate("new", "control", path, "again", "--title", "Again").err
    assert re.search(r"--class, .*\bhiv\b.*; --limit, .*\bevents-10\b", missing), missing
