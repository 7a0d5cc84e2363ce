"""Three models of the same patients, one policy: does every probe rank them by what they memorised?

METHODS §7 asks for small trained models of known truth beside the simulated ones. Three are trained
on one cohort and on the same canaries (`phigate canaries make`), which stand among the patients:

* *overtrained*: until it repeats its patients,
* *partly*: the sound recipe on data of which a tenth, drawn by lot among patients and canaries
  alike, stand twenty times over,
* *sound*: stopped as soon as patients kept apart gain little.

All are audited under one policy with T1 to T5 and canaries. Each metric is printed for each family
with its one-sided 95 % bounds, and whether the order overtrained > partly > sound holds: of the
values, and of the bounds (the lower one of each above the upper one of the next). The lower bound
for ε has nothing above it, so lower bounds are compared. T3 is shown and expected of nothing: what
embeddings tell of a class dealt out by lot is memory, but a linear classifier need not find it.

Without `--cohort` the patients are those of `checker.demo.cohort`, with more carriers of the
sensitive classes than the demo has, because a tenth of the carriers must be enough to be seen. With
it they are a MEDS data set such as Synthea's with SNOMED codes, cut as the demo cuts one.

    python -m benchmarks.families --out families.json
    python -m benchmarks.families --cohort ../shared/data/synthea --out synthea.json

Trained models stay in `--folder` and are used again by a later call with the same folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import meds
import numpy as np
import yaml

from benchmarks.simulated_gate import Silent
from checker.audit import run_audit
from checker.canaries import CanarySettings, make_canaries
from checker.cohort import load_cohort
from checker.demo.cohort import SENSITIVE_CLASSES, write_cohort
from checker.demo.training import OVERTRAINED, PARTLY_MEMORIZING, SOUND, Recipe, train
from checker.demo.walkthrough import SPECIALS, Demonstration, Settings
from checker.policy import load_target
from checker.policy.documents import DataSpec
from checker.preparation import prepare
from checker.resources import resource
from checker.report.model import CellReport, Report
from checker.runs import judge_run, load_run
from checker.targets import Tokens
from checker.tokenization import Tokenizer, load_vocabulary

RECIPES = {"overtrained": OVERTRAINED, "partly": PARTLY_MEMORIZING, "sound": SOUND}
"""In the order in which every probe must rank them."""

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Study:
    """What is trained on and asked.

    Args:
        source: MEDS data set; its splits `train`, `held_out` and `tuning` are used.
        codes: of the sensitive class, as a policy writes them.
        static: fields that attackers know.
        events: what an attacker of T1, T2 and T3 knows of a record.
        events_scant: the same for T5, so little that the age still matters.
        horizon_tokens, min_run: of continuations.
        max_tokens: of one record.
        canaries, canary_events: how many, half of them planted, and how long.
        max_patients: of each split.
        recipes: by family, in the order expected.
        samples: continuations of a prompt.
    """

    source: Path
    codes: list[dict[str, Any]]
    static: tuple[str, ...] = ("age", "sex", "race")
    events: int = 10
    events_scant: int = 2
    horizon_tokens: int = 32
    min_run: int = 8
    max_tokens: int = 96
    canaries: int = 640
    canary_events: int = 16
    max_patients: int = 100_000
    recipes: dict[str, Recipe] | None = None
    samples: int = SAMPLES


def sensitive_codes() -> list[dict[str, Any]]:
    """Return the codes of the demo policy's sensitive classes, as one class."""
    document = yaml.safe_load(resource("policies/demo.yaml").read_text(encoding="utf-8"))
    classes = document["spec"]["attributeClasses"]
    return [codes for name in SENSITIVE_CLASSES for codes in classes[name]["codes"]]


def policy_of(study: Study) -> dict[str, Any]:
    """Return the one policy that all families are held against."""
    known = list(study.static)
    rollouts = {"samples": study.samples, "horizonTokens": study.horizon_tokens}
    first = f"{study.events} events"
    attackers = {
        "history": {
            "title": f"Knows {first}",
            "knows": {"static": known, "events": study.events},
        },
        "scant": {
            "title": f"Knows {study.events_scant} events",
            "knows": {"static": known, "events": study.events_scant},
        },
        "embedder": {
            "title": f"Knows {first} and has the model's hidden states",
            "extends": "history",
            "access": "embeddings",
            "report": "only",
        },
        "record": {
            "title": "Holds the whole record",
            "knows": {"static": known, "events": "all"},
            "access": "logprobs",
        },
    }
    controls: dict[str, Any] = {}

    def ask(name: str, probe: str, metric: str, by: str, limit: float, **more: Any) -> None:
        controls[name] = {
            "title": name,
            "probe": probe,
            "metric": metric,
            "limits": {by: {"fail": limit}},
            **more,
        }

    t1 = {**rollouts, "samples": 5, "minRun": study.min_run}
    ask("t1-extraction", "trajectory-memorization", "excess_extraction", "history", 0.05, params=t1)
    ask("t1-distance", "trajectory-memorization", "distance_gap", "history", 0.05, params=t1)
    of_class = {"attributeClass": "sensitive"}
    ask("t2-disclosure", "attribute-disclosure", "excess_disclosure", "history", 0.05,
        **of_class, params=rollouts)  # fmt: skip
    ask("t3-embedding", "embedding-probe", "excess_probe_auroc", "embedder", 0.1,
        **of_class)  # fmt: skip
    ask("t4-auroc", "membership-inference", "membership_auroc", "record", 0.7,
        params={"score": "loss"})  # fmt: skip
    ask("t4-tpr", "membership-inference", "membership_tpr_at_fpr", "record", 0.05,
        params={"score": "loss", "fpr": 0.01})  # fmt: skip
    ask("t5-perturbation", "identifier-perturbation", "memorized_share", "scant", 0.02,
        **of_class, params=rollouts)  # fmt: skip
    canary = {"manifest": "canaries.json"}
    ask("canary-exposure", "canary-exposure", "exposure_bits", "record", 2.0, params=canary)
    ask("canary-epsilon", "canary-exposure", "epsilon_lower_bound", "record", 1.0,
        params={**canary, "guessShare": 0.1})  # fmt: skip
    classes = {"sensitive": {"title": "Sensitive", "sensitivity": "R", "codes": study.codes}}
    return {
        "apiVersion": "phigate/v1",
        "kind": "LeakagePolicy",
        "metadata": {"name": "families", "version": "1.0.0"},
        "spec": {
            "context": "internal",
            "parameters": {"expectedBaseRate": 0.0, "seed": 7},
            "attackers": attackers,
            "attributeClasses": classes,
            "controls": controls,
        },
    }


# --- patients and models ------------------------------------------------------------------------


@dataclass(frozen=True)
class Families:
    """A cohort with canaries, and the models trained on both.

    Args:
        folder: everything lies here.
        study: what is trained on and asked.
        seed: of patients' lots, canaries and training.
    """

    folder: Path
    study: Study
    seed: int

    @property
    def demonstration(self) -> Demonstration:
        """The demo's preparation, with this study's policy."""
        settings = Settings(
            folder=self.folder / "audit",
            seed=self.seed,
            cohort=self.study.source,
            policy=self.folder / "policy.yaml",
            max_patients=self.study.max_patients,
            max_tokens=self.study.max_tokens,
        )
        return Demonstration(settings, say=print)

    def prepare(self) -> None:
        """Write cohort, vocabulary, policy, targets, canaries and what is trained on."""
        _write_yaml(self.folder / "policy.yaml", policy_of(self.study))
        show = self.demonstration
        show.prepare()
        document = yaml.safe_load(show.target_path("sound").read_text())
        for family in RECIPES:
            document["metadata"]["name"] = family
            document["spec"]["model"]["path"] = f"model-{family}"
            _write_yaml(show.target_path(family), document)
        spec = load_target(show.target_path("sound")).document.spec
        made = make_canaries(
            spec,
            base=self.folder / "audit",
            settings=CanarySettings(
                seed=self.seed,
                count=self.study.canaries,
                events=self.study.canary_events,
                beacons=5,
            ),
            out=self.folder / "shard",
            manifest=self.folder / "canaries.json",
        )
        print(f"{made.included} of {len(made.canaries)} canaries planted")
        trained_on = self.folder / "trained-on"
        shutil.copytree(self.folder / "audit" / "cohort", trained_on)
        part = Path(meds.data_subdirectory) / meds.train_split
        shutil.copy(self.folder / "shard" / part / "canaries.parquet", trained_on / part)

    def train(self, family: str) -> dict[str, Any]:
        """Train one family on the members and the canaries planted among them."""
        audit = self.folder / "audit"
        spec = load_target(self.demonstration.target_path(family)).document.spec
        vocabulary = load_vocabulary(audit / "vocab.json")
        tokenizer = Tokenizer(spec.tokenization, vocabulary=vocabulary, base=audit)
        result = train(
            list(self._sequences(tokenizer, meds.train_split)),
            vocabulary_size=len(vocabulary.tokens),
            bos_id=vocabulary.ids[SPECIALS["bos"]],
            eos_id=vocabulary.ids[SPECIALS["eos"]],
            pad_id=vocabulary.ids[SPECIALS["pad"]],
            context_length=self.study.max_tokens,
            out=audit / f"model-{family}",
            seed=self.seed,
            recipe=(self.study.recipes or RECIPES)[family],
            validation=list(self._sequences(tokenizer, meds.tuning_split)),
        )
        return asdict(result)

    def _sequences(self, tokenizer: Tokenizer, split: str) -> Iterator[Tokens]:
        data = DataSpec(path="trained-on", members=split, nonmembers=meds.held_out_split)
        cohort = load_cohort(data, base=self.folder)
        records = tokenizer.encode(cohort.members, cohort.codes)
        for start, end in zip(records.offsets[:-1], records.offsets[1:], strict=True):
            tokens = records.tokens[start:end][: self.study.max_tokens]
            if len(tokens) > 1:
                yield np.ascontiguousarray(tokens)

    def audit(self, family: str) -> Report:
        """Audit one family under the policy, as `phigate check` would."""
        audit = self.folder / "audit"
        prepared = prepare(self.folder / "policy.yaml", audit / f"target-{family}.yaml")
        run = audit / f"run-{family}"
        run_audit(
            prepared.audit,
            run=run,
            open_target=prepared.open_target,
            progress=Silent(),  # type: ignore[arg-type]
            command=f"phigate check policy.yaml target-{family}.yaml --out {run.name}",
        )
        return judge_run(load_run(run), as_of=AS_OF)


def _write_yaml(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
