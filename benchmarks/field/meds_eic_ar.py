r"""MEDS-EIC-AR end to end: its own commands preprocess and train, phigate describes and audits.

Its package lies in an environment of its own (`pip install MEDS-EIC-AR==0.5.1`), whose folder of
commands is named here. Of each data set every patient's tokens, as its loader wrote them, are
compared one by one with what the target's rules make. Then two models of generated patients are
trained by its command and audited under the policy of `wrong_worlds`: one until it repeats them,
which must fail, and one for four passes, which must not. With `--policy` one of the first data set
is audited under that.

    python -m benchmarks.field.meds_eic_ar --bin eic/bin --work eic \
      --data ../shared/data/synthea --data ../shared/data/mimic_iv_demo
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from benchmarks.field.study import figures_of
from benchmarks.wrong_worlds import Size, policies
from checker.demo.cohort import write_cohort
from checker.importing import init_target
from checker.library import audit, load_policy, load_target, plan
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary

SIZES = (
    "lightning_module.model.gpt_kwargs.num_attention_heads=4",
    "lightning_module.model.gpt_kwargs.attention_head_dim=24",
    "max_seq_len=256",
    "datamodule.batch_size=32",
    "lightning_module.optimizer.lr=2e-3",
    "trainer.overfit_batches=0",
    "trainer.detect_anomaly=false",
    "trainer.max_epochs=100",
    "trainer.val_check_interval=1.0",
    "trainer.check_val_every_n_epoch=1",
)
"""What differs from `_demo_pretrain`, whose eight numbers a token are taught by four patients."""

TRAININGS = {
    "demo": (),
    "stopped": (*SIZES, "max_seq_len=96", "trainer.max_steps=76"),
    "overtrained": (
        *SIZES,
        "max_seq_len=96",
        "trainer.max_steps=900",
        "trainer.callbacks.model_checkpoint.monitor=train/loss",
        "trainer.callbacks.early_stopping.patience=10000",
    ),
    "longer": (*SIZES, "trainer.max_steps=300"),
}
PATIENTS = 600


@dataclass(frozen=True)
class Compared:
    """How many patients' tokens were compared, and of how many they differ."""

    patients: int
    tokens: int
    differing: int


def compare(target: Path, loader: Path) -> Compared:
    """Compare the tokens of all patients of a target's splits with those of the loader's files."""
    spec, base = load_target(target).document.spec, target.parent
    cohort = load_cohort(spec.data, base=base)
    rules = Tokenizer(
        spec.tokenization,
        vocabulary=load_vocabulary(base / spec.tokenization.vocabulary),
        base=base,
    )
    told: dict[int, list[int]] = {}
    for path in sorted((loader / "tokenization/event_seqs").rglob("*.parquet")):
        table = pq.read_table(path, columns=["subject_id", "code"])
        for subject, events in zip(*(column.to_pylist() for column in table.columns), strict=True):
            told[subject] = [token for event in events for token in event]
    patients = tokens = differing = 0
    for records in (cohort.members, cohort.nonmembers, cohort.spare):
        made = rules.encode(records, cohort.codes, partial=True)
        for row, subject in enumerate(records.subject_id.tolist()):
            own = made.record(row).tokens.tolist()
            patients, tokens = patients + 1, tokens + len(own)
            differing += own != told[subject]
    return Compared(patients, tokens, differing)


@dataclass(frozen=True)
class Study:
    """What is trained, compared and audited.

    Args:
        programs: folder of the package's commands.
        work: where everything is kept.
    """

    programs: Path
    work: Path

    def preprocess(self, data: Path) -> Path:
        """Return what `MEICAR_process_data` makes of a data set."""
        out = self.work / data.name / "out"
        if not (out / "tokenization").exists():
            self._run(
                "MEICAR_process_data",
                f"input_dir={data.resolve()}",
                f"intermediate_dir={self.work / data.name / 'intermediate'}",
                f"output_dir={out}",
                "do_demo=True",
                "do_reshard=True",
            )
        return out

    def pretrain(self, loader: Path, name: str) -> Path:
        """Return the folder that `MEICAR_pretrain` leaves."""
        out = loader.parent / name
        if not (out / "best_model.ckpt").exists():
            self._run(
                "MEICAR_pretrain",
                "--config-name=_demo_pretrain",
                f"datamodule.config.tensorized_cohort_dir={loader}",
                f"output_dir={out}",
                *TRAININGS[name],
            )
        return out

    def _run(self, program: str, *arguments: str) -> None:
        began = time.perf_counter()
        places = os.pathsep.join([str(self.programs.resolve()), os.environ["PATH"]])
        path = self.work / f"{program}.log"
        self.work.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            subprocess.run(
                [str(self.programs.resolve() / program), *arguments],
                env={**os.environ, "PATH": places},
                stdout=log,
                stderr=log,
                check=True,
            )
        print(f"{program}: {time.perf_counter() - began:.0f} s; {path}", flush=True)

    def target(self, source: Path, name: str) -> tuple[Path, Compared]:
        """Train, describe and compare; returns the target."""
        loader = self.preprocess(source)
        run = self.pretrain(loader, name)
        out = loader.parent / f"target-{name}"
        done = init_target("meds-eic-ar", run, data=source, loader=loader, out=out, force=True)
        for sentence in (*done.assumed, *done.left):
            print(f"  * {sentence}")
        found = compare(done.target, loader)
        print(f"{source.name}: {json.dumps(asdict(found))}", flush=True)
        return done.target, found

    def audit(self, target: Path, *, policy: str) -> str:
        """Audit as `phigate check` would; returns the verdict."""
        planned = plan(load_policy(policy), load_target(target))
        report = audit(planned, out=target.parent / "run", fresh=True, audience="internal")
        print(f"{target.parent.name}, {policy}: {report.verdict}", flush=True)
        for cell, said in figures_of(report).items():
            print(f"    {cell:<52}{said}", flush=True)
        return report.verdict

    def generated(self) -> Path:
        """Return patients of the demo's kind, and the policy beside them."""
        source = self.work / "patients/generated"
        if not (source / "data").exists():
            write_cohort(
                source, seed=0, members=PATIENTS, nonmembers=PATIENTS, tuning=150, positives=100
            )
        policy = policies(Size(classes=1, score="loss"))["gate"]
        policy["spec"]["attackers"]["demographics"]["knows"] = {}  # static facts are no tokens
        (source / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
        return source


def measure(study: Study, data: Sequence[Path], *, policy: str | None) -> int:
    """Print what was compared and found; returns how much is not as it must be."""
    wrong = 0
    for source in data:
        _, found = study.target(source, "demo")
        wrong += found.differing > 0 or found.patients == 0
    source = study.generated()
    for name in ("overtrained", "stopped"):
        target, _ = study.target(source, name)
        verdict = study.audit(target, policy=str(source / "policy.yaml"))
        wrong += (verdict == "fail") != (name == "overtrained")
    if policy is not None:
        target, _ = study.target(data[0], "longer")
        study.audit(target, policy=policy)
    return wrong


def main() -> int:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bin", type=Path, required=True, help="the folder of its commands")
    parser.add_argument("--work", type=Path, default=Path("eic"))
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--policy", help="asked of a model of the first data set besides")
    asked = parser.parse_args()
    study = Study(asked.bin, asked.work.resolve())
    return 1 if measure(study, asked.data, policy=asked.policy) else 0


if __name__ == "__main__":
    sys.exit(main())
