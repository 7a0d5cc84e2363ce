"""One audit with every probe, both contrasts, canaries and subgroups, on a leaking target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from auditing import three_classes
from judging import AS_OF

from checker.attacks.canary_exposure.making import make_canaries
from checker.attacks.canary_exposure.manifest import CanarySettings
from checker.attacks.canary_exposure.planted import open_canaries
from checker.policy import load_target
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.report.model import Report
from checker.run.prepare import prepare
from checker.run.running import run_audit
from checker.run.stored import judge_run, load_run, write_reports
from checker.testing.simulated import SimulatedModel
from checker.testing.toy_targets import TOKENIZATION, write_targets

CANARIES = 400

ATTACKERS: dict[str, Any] = {
    "nobody": {"title": "Somebody who knows nothing", "knows": {}},
    "relative": {
        "title": "Relative or employer",
        "knows": {"static": ["age", "sex"], "events": 10},
    },
    "insider": {
        "title": "Insider with the record",
        "knows": {"static": "all", "events": "all"},
        "access": "logprobs",
    },
    "engineer": {
        "title": "Engineer who sees hidden states",
        "knows": {"static": ["age", "sex"], "events": 5},
        "access": "embeddings",
    },
}
_HORIZON = {"horizonTokens": 24}


def controls(common: str) -> dict[str, Any]:
    """Return a control for every metric that reads differently in a report."""
    told = {"attributeClass": common, "probe": "attribute-disclosure"}
    repeated = {"probe": "trajectory-memorization", "severity": "high"}
    return {
        "told": {
            "title": "The model must not tell a member's condition",
            **told,
            "params": {"samples": 8, "probabilitySamples": 8},
            "metric": "excess_disclosure",
            "limits": {"relative": {"fail": 0.1}},
            "subgroups": ["all", {"ageOver": 119}, {"ageOver": 80}],
        },
        "told-beyond-reference": {
            "title": "Nor tell it beyond a model that never saw the members",
            **told,
            "params": {"samples": 8, "probabilitySamples": 8},
            "metric": "excess_disclosure",
            "contrast": "reference",
            "limits": {"relative": {"fail": 0.1}},
        },
        "ranked": {
            "title": "Nor rank members by it",
            **told,
            "params": {"samples": 8, "probabilitySamples": 8},
            "metric": "excess_attribute_auroc",
            "limits": {"relative": {"fail": 0.1}},
        },
        "own-age": {
            "title": "Nor tell it only under a member's own age",
            "attributeClass": common,
            "probe": "identifier-perturbation",
            "params": {"samples": 8},
            "metric": "memorized_share",
            "limits": {"relative": {"fail": 0.9}},
        },
        "embedded": {
            "title": "Nor hold it in its hidden states",
            "attributeClass": common,
            "probe": "embedding-probe",
            "metric": "excess_probe_auroc",
            "limits": {"engineer": {"fail": 0.05}},
        },
        "near": {
            "title": "Continuations must not come nearer to the truth of members",
            **repeated,
            "params": {**_HORIZON, "minRun": 6, "samples": 1},
            "metric": "distance_gap",
            "limits": {"relative": {"fail": 0.1}},
        },
        "repeated": {
            "title": "Nobody's record may be repeated",
            **repeated,
            "params": {**_HORIZON, "minRun": 6, "samples": 60},
            "metric": "regurgitation_excess",
            "limits": {"nobody": {"fail": 0.05}},
        },
        "membership": {
            "title": "Nobody may tell who was in the training data",
            "probe": "membership-inference",
            "params": {"score": "reference-ratio"},
            "metric": "membership_auroc",
            "limits": {"insider": {"fail": 0.6}},
        },
        "recognized": {
            "title": "Nor be sure of single members",
            "probe": "membership-inference",
            "metric": "membership_tpr_at_fpr",
            "limits": {"insider": {"fail": 0.1}},
        },
        "exposed": {
            "title": "Records that stood there once must not be kept",
            "probe": "canary-exposure",
            "params": {"manifest": "manifest.json"},
            "metric": "exposure_bits",
            "limits": {"insider": {"fail": 3.0}},
        },
        "epsilon": {
            "title": "No ε above five may be shown",
            "probe": "canary-exposure",
            "params": {"manifest": "manifest.json"},
            "metric": "epsilon_lower_bound",
            "limits": {"insider": {"fail": 5.0}},
            "onInconclusive": "warn",
        },
    }


def write_audit(
    folder: Path, *, sampling: dict[str, bool] | None = None, learned: bool = True
) -> tuple[Path, Path]:
    """Write cohort, targets, canaries and policy; return the policy's and the target's file.

    Args:
        folder: of all of them.
        sampling: the policy's.
        learned: whether one score is learned, for which a reference is trained: without it, no
            process of the audit loads torch.
    """
    write_targets(folder, seed=0)
    target = yaml.safe_load((folder / "leaking.yaml").read_text())
    target["spec"]["reference"] = {"backend": "simulated", "path": "sound.json"}
    path = folder / "target.yaml"
    path.write_text(yaml.safe_dump(target, sort_keys=False))
    _plant(folder, path)
    policy = yaml.safe_load(three_classes())
    spec = policy["spec"]
    spec["attackers"], spec["controls"] = ATTACKERS, controls("common-chronic")
    if not learned:
        spec["controls"]["recognized"]["params"] = {"score": "min-k"}
    spec["attributeClasses"] = {"common-chronic": spec["attributeClasses"]["common-chronic"]}
    spec["parameters"] |= {"sampling": sampling or {}}
    spec.pop("citations", None)
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    return folder / "policy.yaml", path


def _plant(folder: Path, target: Path) -> None:
    """Draw canaries and teach the leaking model half of those that were included."""
    make_canaries(
        load_target(target).document.spec,
        base=folder,
        settings=CanarySettings(seed=1, count=CANARIES, events=8, beacons=10, repeats=20),
        out=folder / "shard",
        manifest=folder / "manifest.json",
    )
    vocabulary = load_vocabulary(folder / "vocab.json")
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate(TOKENIZATION), vocabulary=vocabulary, base=folder
    )
    cohort = load_cohort(DataSpec(path="cohort"), base=folder)
    planted = open_canaries(
        folder / "manifest.json", cohort=cohort, tokenizer=tokenizer, max_length=None
    )
    model = json.loads((folder / "leaking.json").read_text())
    kept = np.flatnonzero(planted.included & (planted.beacon | (np.arange(len(planted)) % 2 == 0)))
    model["memorized"] += [
        {"tokens": planted.sequences[i].tolist(), "from": 4, "weight": 0.6} for i in kept.tolist()
    ]
    (folder / "leaking.json").write_text(json.dumps(model))
    SimulatedModel.model_validate(model)


def audited(folder: Path, *, sampling: dict[str, bool] | None = None) -> Report:
    """Audit the leaking target in a folder and write its reports."""
    policy, target = write_audit(folder, sampling=sampling)
    prepared = prepare(policy, target)
    run_audit(
        prepared.audit,
        run=folder / "run",
        open_target=prepared.open_target,
        open_reference=prepared.open_reference,
        command="phigate check policy.yaml target.yaml --out run",
    )
    report = judge_run(load_run(folder / "run"), as_of=AS_OF)
    write_reports(folder / "run", report, formats=("json", "html"), audience="internal")
    return report
