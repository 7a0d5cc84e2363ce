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
they are Synthea's, whose SNOMED codes the classes name, cut to the beginnings of their records.

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
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from checker.attacks.canary_exposure.making import make_canaries
from checker.attacks.canary_exposure.manifest import CanarySettings
from checker.demo.cohort import EVENTS_KNOWN, SENSITIVE_CLASSES, write_cohort
from checker.demo.training import OVERTRAINED, SOUND, train
from checker.demo.walkthrough import SPECIALS, Demonstration, Settings
from checker.policy import load_target
from checker.policy.documents import DataSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.report.model import Report
from checker.resources import resource
from checker.run.prepare import prepare
from checker.run.running import run_audit
from checker.run.stored import judge_run, load_run
from checker.targets import Tokens
from checker.targets.engine.training import Recipe

FAMILIES = ("overtrained", "partly", "sound")
"""In the order in which every probe must rank them."""

EXPECTED = ("T1", "T2", "T4", "T5", "canaries")
ASKED = (*EXPECTED, "T3")
REPEATED_SHARE, REPEATS = 0.1, 20
AS_OF = datetime(2026, 11, 1, tzinfo=UTC)

Codes = list[dict[str, Any]]

# Synthea's own SNOMED codes. Injuries come at random there: nothing before foretells them.
INJURIES = (
    "110030002 127295002 15724005 16114001 1734006 239720000 262574004 263102004 283371005"
    " 283385000 284549007 284551006 307731004 30832001 33737001 359817006 370247008 39848009"
    " 403190006 403191005 403192003 444448004 444470001 44465007 48333001 58150001 62106007"
    " 62564004 65966004 70704007"
)
METABOLIC = (
    "127013003 1501000119109 1551000119108 157141000119108 15777000 162864005 237602007 271737000"
    " 302870006 368581000119106 408512008 422034002 44054006 80394007 90781000119102 97331000119101"
)
DIABETES_CARE_PLAN = "698360004"


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
        insider_horizon_tokens: of T2's continuations for an attacker who knows all that comes
            before the class.
        guess_share: of the canaries, that ε is guessed on.
        samples: continuations a prompt; T1 takes a quarter of it.
        canaries: m, of which a coin plants half.
        beacons: records that are planted twenty times each.
        overtrained, sound: recipes.
        asked: tests of the policy.
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
    insider_horizon_tokens: int = 32
    guess_share: float = REPEATED_SHARE
    samples: int = 20
    canaries: int = 640
    beacons: int = 5
    overtrained: Recipe = replace(OVERTRAINED, target_loss=0.5)  # noqa: RUF009  a frozen value
    sound: Recipe = replace(SOUND, dropout=0.0, least_gain=0.1)  # noqa: RUF009  a frozen value
    asked: tuple[str, ...] = ASKED


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


def synthea(source: Path, folder: Path) -> Study:
    """Cut records to their beginnings, and ask of injuries, and for T5 of metabolic disease.

    Injuries come at any time; metabolic disease begins early in many records. Synthea's records are
    much alike: panels and immunisations alone make a run of twenty codes common property, and only
    at a far lower loss than with the generated patients are they known by heart. Canaries are so
    unlike them that even the sound model finds most, hence ε is guessed on all.
    """
    if not folder.exists():
        _write_beginnings(source, folder, events=80)
    return Study(
        folder,
        sensitive=[_snomed("definitive", INJURIES)],
        common=[_snomed("definitive", METABOLIC), _snomed("suggestive", DIABETES_CARE_PLAN)],
        horizon_tokens=64,
        min_run=40,
        max_tokens=160,
        insider_horizon_tokens=16,
        guess_share=1.0,
        overtrained=replace(OVERTRAINED, target_loss=0.1, max_epochs=80),
    )


def _write_beginnings(source: Path, folder: Path, *, events: int) -> None:
    """Copy a MEDS data set with the first events of each patient only."""
    for path in sorted((source / meds.data_subdirectory).rglob("*.parquet")):
        table = pq.read_table(path)
        subject = table["subject_id"].to_numpy()
        first = np.flatnonzero(np.diff(subject, prepend=subject[0] - 1))
        number = np.arange(len(subject)) - np.repeat(first, np.diff(first, append=len(subject)))
        out = folder / path.relative_to(source)
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.filter(pa.array(number < events)), out)
    shutil.copytree(source / "metadata", folder / "metadata")


def _snomed(tier: str, codes: str) -> dict[str, Any]:
    return {"system": "snomed", "tier": tier, "values": codes.split()}


# --- what is asked ------------------------------------------------------------------------------


def policy_of(study: Study) -> dict[str, Any]:
    """Return the one policy that all families are judged by.

    Its limits are of no consequence for the order; they lie where a tenth of the patients should
    exceed them and none should not.
    """
    known = ["age", "sex", "race"]
    attackers = {
        "history": {
            "title": f"Knows the first {study.events} events",
            "knows": {"static": known, "events": study.events},
        },
        "scant": {
            "title": f"Knows the first {study.few_events} events",
            "knows": {"static": known, "events": study.few_events},
        },
        "insider": {
            "title": "Knows everything up to what is asked",
            "knows": {"static": known, "events": "all"},
        },
        "embedder": {
            "title": f"Has the hidden states after {study.events} events",
            "extends": "history",
            "access": "embeddings",
            "report": "only",
        },
        "record": {
            "title": "Holds the whole record, and the model's probabilities",
            "knows": {"static": known, "events": "all"},
            "access": "logprobs",
        },
    }
    classes = {
        "sensitive": {"title": "Sensitive", "sensitivity": "R", "codes": study.sensitive},
        "common": {"title": "Common", "benign": True, "codes": study.common},
    }
    return {
        "apiVersion": "phigate/v1",
        "kind": "LeakagePolicy",
        "metadata": {"name": "families", "version": "1.0.0"},
        "spec": {
            "context": "internal",
            "parameters": {"expectedBaseRate": 0.0},
            "attackers": attackers,
            "attributeClasses": classes,
            "controls": _controls(study),
        },
    }


def _controls(study: Study) -> dict[str, Any]:
    drawn = {"samples": study.samples, "horizonTokens": study.horizon_tokens}
    controls: dict[str, Any] = {}

    def ask(
        test: str, probe: str, metric: str, limits: dict[str, float], *, of: str | None = None,
        **params: Any,
    ) -> None:  # fmt: skip
        name = "-".join([test.lower(), metric.replace("_", "-"), *limits])
        controls[name] = {
            "title": test,
            "probe": probe,
            "metric": metric,
            "params": params,
            "limits": {attacker: {"fail": limit} for attacker, limit in limits.items()},
            **({"attributeClass": of} if of else {}),
        }

    t1: dict[str, Any] = {**drawn, "samples": max(1, study.samples // 4), "minRun": study.min_run}
    ask("T1", "trajectory-memorization", "excess_extraction", {"history": 0.03}, **t1)
    ask("T1", "trajectory-memorization", "distance_gap", {"history": 0.03}, **t1)
    ask("T2", "attribute-disclosure", "excess_disclosure", {"history": 0.03}, of="sensitive",
        **drawn)  # fmt: skip
    ask("T2", "attribute-disclosure", "excess_disclosure", {"insider": 0.03}, of="sensitive",
        samples=study.samples, horizonTokens=study.insider_horizon_tokens)  # fmt: skip
    ask("T3", "embedding-probe", "excess_probe_auroc", {"embedder": 0.1}, of="sensitive")
    ask("T4", "membership-inference", "membership_auroc", {"record": 0.7}, score="loss")
    ask("T4", "membership-inference", "membership_tpr_at_fpr", {"record": 0.07},
        score="loss", fpr=0.01)  # fmt: skip
    ask("T5", "identifier-perturbation", "memorized_share", {"scant": 0.01}, of="common",
        samples=study.samples, horizonTokens=study.short_horizon_tokens)  # fmt: skip
    planted = {"manifest": "canaries.json"}
    ask("canaries", "canary-exposure", "exposure_bits", {"record": 3.0}, **planted)
    # By default so many are guessed on as included as are planted and repeated, a twentieth of all,
    # and as many as left out.
    ask("canaries", "canary-exposure", "epsilon_lower_bound", {"record": 1.0},
        guessShare=study.guess_share, **planted)  # fmt: skip
    return {name: own for name, own in controls.items() if own["title"] in study.asked}


# --- patients and models ------------------------------------------------------------------------


@dataclass(frozen=True)
class Families:
    """A cohort with canaries, the models trained on both, and their audits.

    Args:
        folder: everything lies here, and what is there is not made again.
        study: what is trained on and asked.
        seed: of lots, canaries and training.
    """

    folder: Path
    study: Study
    seed: int

    def prepare(self) -> None:
        """Write cohort, vocabulary, policy, targets, canaries, and what is trained on."""
        _write_yaml(self.folder / "policy.yaml", policy_of(self.study))
        manifest, trained_on = self.folder / "canaries.json", self.folder / "trained-on"
        if trained_on.exists():
            return
        settings = Settings(
            folder=self.folder / "audit",
            seed=self.seed,
            cohort=self.study.source,
            policy=self.folder / "policy.yaml",
            max_patients=100_000,
            max_tokens=self.study.max_tokens,
        )
        show = Demonstration(settings, say=print)
        show.prepare()
        document = yaml.safe_load(show.target_path("sound").read_text(encoding="utf-8"))
        for family in FAMILIES:
            document["metadata"]["name"] = family
            document["spec"]["model"]["path"] = f"model-{family}"
            _write_yaml(self._target(family), document)
        shard = self.folder / "shard"
        made = make_canaries(
            load_target(self._target("sound")).document.spec,
            base=self.folder / "audit",
            settings=CanarySettings(
                seed=self.seed,
                count=self.study.canaries,
                events=16,
                beacons=self.study.beacons,
            ),
            out=shard,
            manifest=manifest,
        )
        print(f"{made.included} of {len(made.canaries)} canaries are planted")
        shutil.copytree(self.folder / "audit" / "cohort", trained_on)
        part = Path(meds.data_subdirectory) / meds.train_split
        shutil.copy(shard / part / "canaries.parquet", trained_on / part)

    def train(self) -> dict[str, Any]:
        """Train all families, the sound one first: it says how many passes the partly one takes."""
        sound = self._train("sound", self.study.sound)
        partly = replace(
            self.study.sound,
            until_validated=False,
            max_epochs=sound["kept"],
        )
        return {
            "overtrained": self._train("overtrained", self.study.overtrained),
            "partly": self._train("partly", partly, repeated_share=REPEATED_SHARE),
            "sound": sound,
        }

    def _train(self, family: str, recipe: Recipe, *, repeated_share: float = 0.0) -> dict[str, Any]:
        record = self.folder / f"training-{family}.json"
        if record.exists():
            return dict(json.loads(record.read_text()))
        base, started = self.folder / "audit", time.process_time()
        spec = load_target(self._target(family)).document.spec.tokenization
        vocabulary = load_vocabulary(base / "vocab.json")
        tokenizer = Tokenizer(spec, vocabulary=vocabulary, base=base)
        sequences = list(self._sequences(tokenizer, meds.train_split))
        repeated = _drawn(len(sequences), share=repeated_share, seed=self.seed)
        copies = [sequences[i] for i in repeated] * (REPEATS - 1)
        result = train(
            [*sequences, *copies],
            vocabulary_size=len(vocabulary.tokens),
            bos_id=vocabulary.ids[SPECIALS["bos"]],
            eos_id=vocabulary.ids[SPECIALS["eos"]],
            pad_id=vocabulary.ids[SPECIALS["pad"]],
            context_length=self.study.max_tokens,
            out=base / f"model-{family}",
            seed=self.seed,
            recipe=recipe,
            validation=list(self._sequences(tokenizer, meds.tuning_split)),
        )
        last = result.epochs[result.kept - 1]
        found = {
            "epochs": len(result.epochs),
            "kept": result.kept,
            "reached": result.reached,
            "loss": last.loss,
            "validation_loss": last.validation_loss,
            "repeated": len(repeated),
            "cpu_s": round(time.process_time() - started, 1),
            "recipe": asdict(recipe),
            "repeats": REPEATS if repeated else 1,
        }
        record.write_text(json.dumps(found, indent=2) + "\n")
        return found

    def _sequences(self, tokenizer: Tokenizer, split: str) -> Iterator[Tokens]:
        data = DataSpec(path="trained-on", members=split, nonmembers=meds.held_out_split)
        cohort = load_cohort(data, base=self.folder)
        records = tokenizer.encode(cohort.members, cohort.codes)
        for start, end in pairwise(records.offsets):
            tokens = records.tokens[start:end][: self.study.max_tokens]
            if len(tokens) > 1:
                yield np.ascontiguousarray(tokens)

    def audit(self, family: str) -> Report:
        """Audit one family under the policy, as `phigate check` would."""
        prepared = prepare(self.folder / "policy.yaml", self._target(family))
        run = self.folder / "audit" / f"run-{family}"
        run_audit(
            prepared.audit,
            run=run,
            open_target=prepared.open_target,
            command=f"phigate check policy.yaml target-{family}.yaml --out {run.name}",
            clock=lambda: AS_OF,
        )
        return judge_run(load_run(run), as_of=AS_OF)

    def _target(self, family: str) -> Path:
        return self.folder / "audit" / f"target-{family}.yaml"


def _drawn(count: int, *, share: float, seed: int) -> list[int]:
    """Draw a share of `count` places at random, ascending; one stream for this and nothing else."""
    rng = np.random.default_rng([seed, 0xD0B])
    return sorted(rng.permutation(count)[: round(share * count)].tolist())


def _write_yaml(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


# --- what came of it ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """A family's estimate; `high` is None where nothing bounds it."""

    value: float
    low: float
    high: float | None
    n: int | None
    verdict: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """One metric for one attacker, by family; None where it could not be measured."""

    test: str
    metric: str
    attacker: str
    numbers: dict[str, Number | None]

    @property
    def ranked(self) -> bool:
        """Whether the values, or the lower bounds where there are no others, are in order."""
        found = self._in_order()
        return found is not None and all(
            (a.value if a.high is not None else a.low) > (b.value if b.high is not None else b.low)
            for a, b in pairwise(found)
        )

    @property
    def apart(self) -> bool:
        """Whether each lower bound is above the upper bound of the next family."""
        found = self._in_order()
        return found is not None and all(
            a.low > (b.low if b.high is None else b.high) for a, b in pairwise(found)
        )

    def _in_order(self) -> list[Number] | None:
        found = [number for family in FAMILIES if (number := self.numbers[family]) is not None]
        return found if len(found) == len(FAMILIES) else None


def rows_of(reports: Mapping[str, Report]) -> list[Row]:
    """Put the families' findings side by side."""
    cells = {family: {cell.id: cell for cell in r.cells} for family, r in reports.items()}
    rows = []
    for identity, first in cells[FAMILIES[0]].items():
        numbers: dict[str, Number | None] = {}
        for family in FAMILIES:
            cell = cells[family][identity]
            if (e := cell.estimate) is None:
                numbers[family] = None
                continue
            bounded = e.high is not None and math.isfinite(e.high)
            numbers[family] = Number(
                e.value, e.low, e.high if bounded else None, e.n, cell.verdict, cell.reason
            )
        test = first.control.partition("-")[0]
        test = test if test == "canaries" else test.upper()
        rows.append(Row(test, first.metric, first.attacker, numbers))
    return rows


def told_apart(rows: list[Row]) -> dict[str, bool]:
    """Return for each test whether all its metrics rank the families and one sets them apart."""
    by_test = {test: [row for row in rows if row.test == test] for test in EXPECTED}
    return {
        test: bool(own) and all(row.ranked for row in own) and any(row.apart for row in own)
        for test, own in by_test.items()
    }


def print_rows(rows: list[Row]) -> None:
    width = max(len(f"{row.test} {row.metric}, {row.attacker}") for row in rows)
    print(f"\n{'':<{width}}" + "".join(f"{family:>25}" for family in FAMILIES) + "  ranked apart")
    for row in rows:
        line = f"{f'{row.test} {row.metric}, {row.attacker}':<{width}}"
        for family in FAMILIES:
            number = row.numbers[family]
            line += f"{'not measured' if number is None else _shown(number):>25}"
        print(f"{line}  {'yes' if row.ranked else 'no':<6} {'yes' if row.apart else 'no'}")


def _shown(number: Number) -> str:
    if number.high is None:
        return f"at least {number.low:.3f}"
    return f"{number.value:.3f} ({number.low:.3f} to {number.high:.3f})"


def measure(families: Families) -> dict[str, Any]:
    """Train, audit and compare; return what is written as JSON, with `rows` as they are."""
    families.prepare()
    trained = families.train()
    for family in FAMILIES:
        found = trained[family]
        print(
            f"{family}: {found['kept']} epochs, loss {found['loss']:.2f} nats a token, on patients"
            f" kept apart {found['validation_loss']:.2f}; {found['cpu_s']:.0f} s"
        )
    reports, seconds = {}, {}
    for family in FAMILIES:
        started = time.process_time()
        reports[family] = families.audit(family)
        seconds[family] = round(time.process_time() - started, 1)
        print(f"{family}: audited in {seconds[family]:.0f} s, {reports[family].verdict}")
    return {
        "seed": families.seed,
        "trained": trained,
        "audit_cpu_s": seconds,
        "verdicts": {family: report.verdict for family, report in reports.items()},
        "checks": {
            family: {check.name: check.holds for check in report.admissibility}
            for family, report in reports.items()
        },
        "rows": rows_of(reports),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cohort", type=Path, help="Synthea, as MEDS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep everything here and take up from it")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        study = (
            generated(folder / "source", seed=arguments.seed)
            if arguments.cohort is None
            else synthea(arguments.cohort.resolve(), folder / "source")
        )
        found = measure(Families(folder / "work", study, arguments.seed))
    rows = found["rows"]
    print_rows(rows)
    apart = told_apart(rows)
    print()
    for test, holds in apart.items():
        print(f"{test}: {'tells' if holds else 'does not tell'} the families apart, in this order")
    if arguments.out:
        found["rows"] = [{**asdict(row), "ranked": row.ranked, "apart": row.apart} for row in rows]
        found["told_apart"] = apart
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if all(apart.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
