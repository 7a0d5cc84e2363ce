"""PrivacyGuard and phigate asked the same of the demo's two models, patient by patient.

* *Extraction.* What is the chance that the next twelve tokens, behind the first ten, come out under
  top-p 0.95, and do they come out with chance one half in 1,000 queries? PrivacyGuard answers from
  the logits (`ProbabilisticMemorizationAnalysisFromLogitsNode`), phigate by `extractable_share`,
  which counts besides what is recited greedily, and leaves out what anybody would write.
* *LiRA.* What `benchmarks.strongest_attack lira` keeps of shadow models of the sound recipe goes to
  PrivacyGuard's `LiraAttack` (online, `mix`), and its AUC is held against ours.

PrivacyGuard runs in an environment of its own, see `benchmarks.peers`.

    python -m benchmarks.strongest_attack lira --keep shadows --shadows 32
    python -m benchmarks.peers.demo --keep shadows --python peers-venv/bin/python --out demo.json

trains the two models in `shadows/demo` unless they are there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from benchmarks.end_to_end import Stopwatch, evidence_of
from benchmarks.peers import demo_asking
from benchmarks.simulated_gate import AS_OF
from benchmarks.strongest_attack import World, gaussian_ratio, mean_scores, shadow_scores
from checker import stats
from checker.attacks.trajectory_memorization import TrajectoryMemorizationParams
from checker.attacks.trajectory_memorization.extraction import read_extraction
from checker.demo.walkthrough import MODELS, PATIENTS, Demonstration, Settings
from checker.evidence import Pseudonyms
from checker.planning.extraction import KIND
from checker.run.prepare import prepare
from checker.run.running import run_audit
from checker.run.stored import load_run
from checker.targets import Tokens
from checker.targets.engine.training import one_thread
from checker.verdict import judge

Arrays = dict[str, NDArray[Any]]

SIDES: Final = {"members": True, "nonmembers": False}
_PARAMS: Final = {
    "windows": "cut",
    "length": demo_asking.LENGTH,
    "queries": demo_asking.QUERIES,
    "chance": demo_asking.CHANCE,
    "topP": demo_asking.TOP_P,
}
_POLICY: Final = {
    "apiVersion": "phigate/v1",
    "kind": "LeakagePolicy",
    "metadata": {"name": "extraction", "version": "1.0.0", "owner": "benchmarks"},
    "spec": {
        "context": "internal",
        "parameters": {"sampling": {"patients": "all"}},
        "attackers": {
            "ten": {
                "title": "Ten tokens",
                "knows": {"static": "all", "tokens": 10},
                "access": "logprobs",
            }
        },
        "controls": {
            "extractable": {
                "title": "Extractable",
                "probe": "trajectory-memorization",
                "params": _PARAMS,
                "metric": "excess_extractable",
                "limits": {"ten": {"fail": 0.05}},
                "severity": "low",
                "enforcement": "mandatory",
            }
        },
    },
}
ROUNDING: Final = 1e-5
"""Of a chance, relative to it; where float32 sums to 0.95 or just does not, top-p keeps another
token, and the chance is another one."""


# --- extraction -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Windows:
    """What phigate says of each patient's window, and the window itself.

    Args:
        table: the audit's evidence, a row a patient.
        told: of each, his prompt with the window behind it.
        found: the metric's estimates in either split.
    """

    table: pa.Table
    told: list[Tokens]
    found: dict[str, Any]


def asked_here(target: Path, folder: Path) -> Windows:
    """Audit a target for extraction behind the first ten tokens."""
    policy, run = folder / "policy.yaml", folder / "run"
    policy.write_text(json.dumps(_POLICY), encoding="utf-8")
    prepared = prepare(policy, target)
    run_audit(
        prepared.audit, run=run, open_target=prepared.open_target, progress=Stopwatch(),
        command="benchmark",
    )  # fmt: skip
    whole, evidence = load_run(run), evidence_of(run)
    (finding,) = judge(whole.policy, plan=whole.plan, evidence=evidence, as_of=AS_OF).findings
    workload, names = prepared.audit.workload, Pseudonyms.of_run(run)
    measured, asked = finding.measurement, workload.labels[str(finding.cell.labels)]
    assert measured is not None
    prompts = {
        side: asked.recipe.build(workload.sources[side], everybody=False) for side in SIDES.values()
    }
    who = {
        names.of("patient", str(int(subject)).encode()): (side, i)
        for side, split in ((True, workload.cohort.members), (False, workload.cohort.nonmembers))
        for i, subject in enumerate(split.subject_id.tolist())
    }
    kinds = {job.digest: job.kind for job in whole.plan.jobs}
    table = pa.concat_tables(
        [evidence[digest] for digest in finding.cell.jobs if kinds[digest] == KIND]
    )
    told = []
    for name in table["patient"].to_pylist():
        side, i = who[name]
        start = asked.split(side).behind[i, 0]
        window = workload.split(side).tokens[start : start + demo_asking.LENGTH]
        told.append(np.concatenate([prompts[side].prompt(i), window]))
    found = {"members": measured.members, "nonmembers": measured.nonmembers}
    return Windows(table, told, found)


@torch.inference_mode()
def logits_of(model: Any, told: Sequence[Tokens]) -> Arrays:
    """Return the logits before each token of a window, and the tokens: [n, m, V] and [n, m]."""
    logits, window = [], slice(-demo_asking.LENGTH - 1, -1)
    for tokens in told:  # prompts have several lengths
        ids = torch.from_numpy(tokens.astype(np.int64))[None]
        logits.append(model(ids).logits[0, window].float().numpy())
    return {
        "logits": np.stack(logits),
        "tokens": np.stack([one[-demo_asking.LENGTH :] for one in told]).astype(np.int64),
    }


def beside(windows: Windows, answers: dict[str, Any]) -> dict[str, Any]:
    """Hold the chance of each patient's window, and what is said of it, against PrivacyGuard's."""
    here = read_extraction(windows.table)
    theirs = np.array(answers["probability"])
    discoverable = np.array(answers["discoverable"])
    params = TrajectoryMemorizationParams.model_validate(_PARAMS)
    drawn_alone = params.model_copy(update={"greedy": False})
    # where anybody would write the window the evidence holds no chance
    counted = np.array(windows.table["common"].to_pylist()) == 0
    chance, possible = np.exp(here.log_probability), theirs > 0
    apart, both = np.abs(chance - theirs), counted & possible
    relative = apart[both] / theirs[both]
    rounded = relative < ROUNDING
    result: dict[str, Any] = {
        "chances compared": int(counted.sum()),
        "largest difference of a chance": float(apart[counted].max()),
        "largest relative difference": float(relative.max(initial=0.0)),
        "of how many it is more than rounding": int((~rounded).sum()),
        "largest relative difference of all others": float(relative[rounded].max(initial=0.0)),
        "impossible for one alone": int(((chance > 0) != possible)[counted].sum()),
    }
    for name, side in SIDES.items():
        own = here.member == side
        said, drawn = here.extractable(params)[own], here.extractable(drawn_alone)[own]
        other, anybody = discoverable[own], ~counted[own]
        estimate = windows.found[name]
        result[name] = {
            "patients": int(own.sum()),
            "PrivacyGuard": float(other.mean()),
            "here": {"value": estimate.value, "low": estimate.low, "high": estimate.high},
            "said by both": int((said & other).sum()),
            "PrivacyGuard alone": int((other & ~said).sum()),
            "of these what anybody would write": int((other & ~said & anybody).sum()),
            "of these not so much likelier than references find it": int(
                (other & ~said & ~anybody).sum()
            ),
            "here alone": int((said & ~other).sum()),
            "of these recited greedily": int((said & ~drawn & ~other).sum()),
        }
    return result


# --- LiRA -----------------------------------------------------------------------------------------


def lira_feed(world: World, model: Any, keep: Path, *, shadows: int) -> Arrays:
    """Return of each record what the target and the shadow models say, by PrivacyGuard's names."""
    said, member = shadow_scores(keep, shadows=shadows)
    pool = world.members + world.nonmembers
    inside, outside = np.where(member, said, np.nan), np.where(member, np.nan, said)
    return {
        "is_member": np.arange(len(pool)) < len(world.members),
        "score_orig": mean_scores(world.forward(model), pool),
        "score_mean_in": np.nanmean(inside, axis=0),
        "score_mean_out": np.nanmean(outside, axis=0),
        "score_std_in": np.nanstd(inside, axis=0, ddof=1),
        "score_std_out": np.nanstd(outside, axis=0, ddof=1),
        "said": said,
        "member": member,
    }


def lira_beside(feed: Arrays, answers: dict[str, Any]) -> dict[str, float]:
    """Hold our LiRA against PrivacyGuard's of the same scores."""
    ours, is_member = (
        gaussian_ratio(feed["score_orig"], feed["said"], feed["member"]),
        feed["is_member"],
    )
    auroc = stats.auroc(ours[is_member], ours[~is_member], confidence=0.975)
    return {
        "here": auroc.value,
        "low": auroc.low,
        "high": auroc.high,
        **{f"PrivacyGuard, {name}": value for name, value in answers.items()},
    }


# --- both -----------------------------------------------------------------------------------------


def study(keep: Path, python: Path, *, shadows: int, models: Sequence[str]) -> dict[str, Any]:
    """Ask both of some of the models."""
    folder = keep / "demo"
    demo = Demonstration(Settings(folder, 0, patients=PATIENTS), say=print)
    if not folder.exists():
        demo.prepare()
    if lacking := [name for name in models if not (folder / f"model-{name}").exists()]:
        demo.train(lambda model, epoch, loss: None, models=lacking)
    world = World.of(folder, seed=0, patients=PATIENTS, tuning=120)
    found: dict[str, Any] = {}
    for name in models:
        model = AutoModelForCausalLM.from_pretrained(folder / f"model-{name}").eval()
        with tempfile.TemporaryDirectory() as scratch:
            windows = asked_here(demo.target_path(name), Path(scratch))
            with one_thread():
                feed = logits_of(model, windows.told)
                if shadows:
                    feed |= lira_feed(world, model, keep, shadows=shadows)
            path = Path(scratch) / "feed.npz"
            np.savez(path, allow_pickle=False, **feed)
            said = subprocess.run(
                [python, demo_asking.__file__, path], check=True, capture_output=True, text=True
            ).stdout
        answers = json.loads(said)
        found[name] = {"extraction": beside(windows, answers["extraction"])}
        if shadows:
            found[name]["lira"] = lira_beside(feed, answers["lira"])
        print(name, json.dumps(found[name], indent=2), flush=True)
    return found


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", type=Path, required=True, help="of strongest_attack lira")
    parser.add_argument("--shadows", type=int, default=32, help="0 for extraction alone")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--python", type=Path, required=True, help="where PrivacyGuard is")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    asked = parser.parse_args()
    found = study(asked.keep, asked.python, shadows=asked.shadows, models=asked.models)
    if asked.out is not None:
        asked.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
