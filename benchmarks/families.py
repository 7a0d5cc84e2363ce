"""Three models of the same patients under one policy: does each probe rank them by their memory?

METHODS §7 asks for small trained models of known truth beside the simulated ones. Three are trained
on one cohort, with canaries (`phigate canaries make`) standing among the patients:

* *overtrained*: until it repeats its patients (the demo's recipe);
* *partly*: as *sound* and for as many passes, on data of which a tenth, drawn by lot among patients
  and canaries alike, stand twenty times over;
* *sound*: until another pass would gain little for patients kept apart.

The sound recipe is the demo's without dropout, because with it even eighty passes do not teach so
small a model a record by heart, and then the second family would be no second family.

All three are audited under one policy with T1 to T5 and canaries. Each metric is printed for each
family with its one-sided 95 % bounds, and whether overtrained > partly > sound holds for the values
("ranked") and for the bounds: each lower one above the upper one of the next ("apart"). Nothing
bounds ε from above, so there "ranked" and "apart" speak of the lower bounds. A probe tells the
families apart when all its metrics rank them and one sets them apart; the exit code is 1 if one of
T1, T2, T4, T5 and canaries does not. T3 is shown for information.

T5 is measured on a common class and after very few events. Sensitive codes never stand among the
first ten events, and by then the events themselves identify a patient: whether the age is right no
longer matters, which T5 cannot tell from a sound model.

Without `--cohort` the patients are those of `checker.demo.cohort`, more of them than in the demo
and more of them with a sensitive code, because a tenth of these must be enough to be seen. With it
they are Synthea's, whose SNOMED codes the classes name, cut as the demo cuts a data set.

    python -m benchmarks.families --out families.json
    python -m benchmarks.families --cohort ../shared/data/synthea --out synthea.json

Models and evidence stay in `--folder`, if one is named, and a later call takes up from there.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
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
from checker.demo.cohort import EVENTS_KNOWN, SENSITIVE_CLASSES, write_cohort
from checker.demo.training import OVERTRAINED, SOUND, Recipe, train
from checker.demo.walkthrough import SPECIALS, Demonstration, Settings
from checker.policy import load_target
from checker.policy.documents import DataSpec
from checker.preparation import prepare
from checker.report.model import Report
from checker.resources import resource
from checker.runs import judge_run, load_run
from checker.targets import Tokens
from checker.tokenization import Tokenizer, load_vocabulary

FAMILIES = ("overtrained", "partly", "sound")
"""In the order in which every probe must rank them."""

EXPECTED = ("T1", "T2", "T4", "T5", "canaries")
REPEATED_SHARE, REPEATS = 0.1, 20
AS_OF = datetime(2026, 11, 1, tzinfo=UTC)

Codes = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Study:
    """What is trained on, how, and what is asked.

    Args:
        source: MEDS data set with the splits `train`, `held_out` and `tuning`.
        sensitive: codes of the class of T2 and T3, as a policy writes them.
        common: codes of the class of T5.
        events: what the attacker of T1, T2 and T3 knows of a record.
        few_events: what the attacker of T5 knows.
        horizon_tokens, min_run: of T1's and T2's continuations.
        short_horizon_tokens: of T5's: so near that only who has the age right can be sure.
        max_tokens: of one record.
        samples: continuations a prompt; T1 takes a quarter of it.
        canaries: m, of which a coin plants half.
        overtrained, sound: recipes.
    """

    source: Path
    sensitive: Codes
    common: Codes
    events: int = EVENTS_KNOWN
    few_events: int = 2
    horizon_tokens: int = 32
    min_run: int = 8
    short_horizon_tokens: int = 8
    max_tokens: int = 96
    samples: int = 20
    canaries: int = 640
    overtrained: Recipe = OVERTRAINED
    sound: Recipe = replace(SOUND, dropout=0.0, least_gain=0.1)  # noqa: RUF009  a frozen value


def generated(folder: Path, *, seed: int) -> Study:
    """Write patients with known secrets, and ask of the demo policy's classes."""
    if not folder.exists():
        write_cohort(folder, seed=seed, members=1000, nonmembers=1000, tuning=150, positives=120)
    return Study(
        folder, sensitive=_demo_codes(*SENSITIVE_CLASSES), common=_demo_codes("common-chronic")
    )


def _demo_codes(*classes: str) -> Codes:
    document = yaml.safe_load(resource("policies/demo.yaml").read_text(encoding="utf-8"))
    known = document["spec"]["attributeClasses"]
    return [codes for name in classes for codes in known[name]["codes"]]


def synthea(source: Path) -> Study:
    """Ask of injuries, which nothing before them foretells, and of metabolic disease for T5."""
    return Study(
        source,
        sensitive=_local("CONDITION//SNOMED//", SYNTHEA_INJURIES),
        common=_local("CONDITION//SNOMED//", SYNTHEA_METABOLIC),
        horizon_tokens=64,
        min_run=20,
        max_tokens=128,
        canaries=640,
    )


def _local(prefix: str, codes: str) -> Codes:
    return [
        {"system": "local", "tier": "definitive", "values": [prefix + c for c in codes.split()]}
    ]
