"""Precision through a whole audit: of those whom the model would name, how many truly have it."""

from __future__ import annotations

from pathlib import Path

import pytest
from auditing import Audit, audit, phigate, write_policy

from checker.errors import DocumentError, ExitCode
from checker.policy import load_policy

CONTROL = "hiv-disclosure"


def audited(folder: Path, target: str, *, everybody: bool) -> Audit:
    params = {"samples": 20, "horizonTokens": 32, "threshold": 0.5}
    params |= {"askEverybody": True} if everybody else {}
    policy = write_policy(
        folder / "policy.yaml",
        {CONTROL: {"params": params, "limits": {"events-10": {"fail": 0.05}}}},
    )
    return audit(policy, folder / f"{target}.yaml", folder / f"run-{target}-{everybody}")


def test_the_leaking_model_is_right_about_those_it_names(workspace: Path) -> None:
    found = audited(workspace, "leaking", everybody=True)
    cell = found.cell(CONTROL)
    precision = cell["reported"]["precision"]
    # it repeats members whom it remembers, and names nobody who has not the class
    assert precision["value"] > 0.9
    assert precision["low"] > 0.5
    assert precision["n"] >= 11
    code, out = phigate("verify", found.run)
    assert code == ExitCode.PASS, out


def test_the_verdict_is_the_same_whether_or_not_the_others_are_asked(workspace: Path) -> None:
    with_others = audited(workspace, "leaking", everybody=True).cell(CONTROL)
    alone = audited(workspace, "leaking", everybody=False).cell(CONTROL)
    for name in ("verdict", "reason", "estimate", "members", "nonmembers", "placebo"):
        assert with_others[name] == alone[name], name
    assert "precision" not in alone["reported"]


def test_a_pool_cannot_ask_those_who_have_none_of_it(workspace: Path) -> None:
    path = write_policy(
        workspace / "policy.yaml",
        {"told": {
            "attributeClass": "gravest", "probe": "attribute-disclosure",
            "metric": "excess_mean_q", "params": {"askEverybody": True},
            "limits": {"events-10": {"fail": 0.05}},
        }},
    )  # fmt: skip
    text = path.read_text().replace(
        "  attributeClasses:\n",
        "  attributeClasses:\n    gravest: {title: Any, anyOf: [hiv, substance-use]}\n",
    )
    with pytest.raises(DocumentError, match="any class of a pool is not known"):
        load_policy(Path("p.yaml"), text=text)
