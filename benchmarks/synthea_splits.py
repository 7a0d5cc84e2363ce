"""Sound models of Synthea's patients, audited whole under the shipped baselines.

The splits are the shipped one, and lots of 500, 1,000 and 2,000 patients, half of them members. The
model follows which token follows which: among patients who are in neither split, or, where hardly
anybody is left, among everybody, so that it knows members no better than others. Each audit goes
through documents, plan, evidence and judge, by `baseline-gated@2`, and its evidence is judged by
`baseline-internal@2` again. Beside each outcome stands what the plan had announced, and which tests
kept the model from release.

Synthea's diagnoses are SNOMED CT, which no class names. With `--map` the owner's dictionary is
declared (`phigate classes map`), made here from words of titles. `--trained` audits small GPT-2s
that are trained on the members instead: a sound one, which stops when patients of neither split no
longer gain, and one that goes on.

    python -m benchmarks.synthea_splits ../shared/data/synthea --keep synthea.jsonl [--map]

`--told` asks what is told of classes alone, without membership and extraction, which train a model:
a tenth of the time.
With `--keep` it goes on where it stopped; `--minutes` bounds one turn.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks import deciding_alone
from benchmarks.wrong_worlds import OLDEST, SPECIALS, STATIC, TIME, population_tables
from checker import audit, judge, load_policy, load_target, plan
from checker.planning import AuditPlan
from checker.planning.release import blocks, can_pass_with
from checker.policy.documents import DataSpec, TokenizationSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import TokenizedRecords, Tokenizer, load_vocabulary
from checker.report.model import Report
from checker.run.foreseen import foreseen
from checker.testing import offer_simulated_backend
from checker.testing.simulated import write_simulated
from checker.testing.toy_targets import write_sample

SIZES: Final = (500, 1000, 2000)
LOTS: Final = 20
ENOUGH: Final = 500
"""Patients in neither split who can teach a population; of fewer everybody does."""

VALIDATED: Final = 120
"""Patients in neither split who say when training ends."""

LENGTH: Final = 512
"""Tokens of a record that the model sees: the first."""

STRICT, LOOSE = "baseline-gated@2", "baseline-internal@2"

# Words of a title, and the ICD-10-CM or ICD-10-PCS code that an owner might put beside it.
DICTIONARY: Final = (
    ("alcoholism", "ICD10CM/F10.20"),
    ("opioid abuse", "ICD10CM/F11.10"),
    ("drug addiction", "ICD10CM/F19.20"),
    ("drug rehabilitation", "ICD10PCS/HZ2ZZZZ"),
    ("suicid", "ICD10CM/T14.91XA"),
    ("induced termination of pregnancy", "ICD10CM/Z33.2"),
    ("pregnancy termination", "ICD10CM/Z33.2"),
    ("alzheimer", "ICD10CM/G30.9"),
    ("dement", "ICD10CM/F03.90"),
    ("lung cancer (disorder)", "ICD10CM/C34.90"),
    ("carcinoma", "ICD10CM/C80.1"),
    ("malignant neoplasm", "ICD10CM/C80.1"),
    ("cancer care", "ICD10CM/C80.1"),
    ("pregnancy", "ICD10CM/Z33.1"),
    ("miscarriage", "ICD10CM/O03.9"),
    ("contracepti", "ICD10CM/Z30.9"),
    ("depress", "ICD10CM/F32.9"),
    ("stress disorder", "ICD10CM/F43.10"),
    ("epilep", "ICD10CM/G40.909"),
    ("seizure", "ICD10CM/R56.9"),
)


Model = Literal["table", "sound", "overtrained"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one policy said of one audit.

    Args:
        split: "shipped", or size and number of a lot.
        policy: by name.
        mapped: the owner's dictionary was declared.
        announced: by the plan, the chance of a release; None where it could not say.
        verdict: of the whole.
        hopeless: tests that keep a model from release and of which the plan knew that they cannot
            pass.
        others: the chance, by the plan, that all others pass and no check stops them.
        stopped: those of the others that did not pass, each with its reason.
        aside: nonmembers who were set aside as near-duplicates.
        failed: checks that did not hold.
        seconds: of the processor, for both policies.
        model: that was audited.
        whole: membership and extraction were asked, too.
    """

    split: str
    policy: str
    mapped: bool
    announced: float | None
    verdict: str
    hopeless: tuple[str, ...]
    others: float
    stopped: tuple[tuple[str, str], ...]
    aside: int
    failed: tuple[str, ...]
    seconds: float
    model: Model = "table"
    whole: bool = True


def dictionary(data: Path) -> list[str]:
    """Return the owner's map as rows of CSV: what the words of a SNOMED code's title stand for."""
    table = pq.read_table(data / meds.code_metadata_filepath)
    titled = zip(table["code"].to_pylist(), table["description"].to_pylist(), strict=True)
    rows = ["code,parent"]
    for code, title in titled:
        found = next((to for words, to in DICTIONARY if words in (title or "").lower()), None)
        if found is not None and "SNOMED" in code:
            rows.append(f"{code},{found}")
    return rows


def write_map(data: Path) -> None:
    """Declare the dictionary for a copy of the data, as `phigate classes map` does."""
    path = data.parent / "dictionary.csv"
    path.write_text("\n".join(dictionary(data)) + "\n", encoding="utf-8")
    command = ["classes", "map", str(data), "--map", str(path)]
    subprocess.run([sys.executable, "-m", "checker.cli", *command], check=True, capture_output=True)


def deal(data: Path, *, patients: int | None, number: int) -> None:
    """Deal a copy's patients by lot to members, nonmembers and the rest; None leaves its split."""
    if patients is None:
        return
    path = data / meds.subject_splits_filepath
    subject = pq.read_table(path)["subject_id"].to_numpy()
    lot = np.random.default_rng([patients, number]).permutation(subject)
    split = np.full(len(lot), meds.tuning_split, dtype=object)
    split[: patients // 2] = meds.train_split
    split[patients // 2 : patients] = meds.held_out_split
    table = pa.table(
        {"subject_id": pa.array(lot, pa.int64()), "split": pa.array(split.tolist(), pa.string())}
    )
    pq.write_table(meds.SubjectSplitSchema.align(table), path)


def write_audit(folder: Path, *, mapped: bool, model: Model) -> Path:
    """Write vocabulary, model and target beside the patients; returns the target's file."""
    splits = (meds.train_split, meds.held_out_split, meds.tuning_split)
    own = [
        load_cohort(DataSpec(path="cohort", members=one, nonmembers=other), base=folder)
        for one, other in zip(splits, (*splits[1:], splits[0]), strict=True)
    ]
    codes = sorted({code for one in own for code in one.codes} - {meds.birth_code})
    tokens = [
        *SPECIALS.values(),
        *(f"AGE//{years}" for years in range(OLDEST + 1)),
        *(entry["token"] for entry in TIME),
        *codes,
    ]
    ids = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(ids))
    said: dict[str, Any] = {
        "vocabulary": "vocab.json",
        "specials": dict(SPECIALS),
        "static": dict(STATIC),
        "age": "AGE//{years}",
        "maxLength": LENGTH,
        "time": [dict(entry) for entry in TIME],
    }
    tokenizer = Tokenizer(
        TokenizationSpec.model_validate(said),
        vocabulary=load_vocabulary(folder / "vocab.json"),
        base=folder,
    )
    records = [tokenizer.encode(one.members, one.codes) for one in own]
    if model == "table":
        taught = records[2:] if len(records[2]) >= ENOUGH else records
        told = (one.record(i).tokens[:LENGTH] for one in taught for i in range(len(one)))
        write_simulated(
            folder / "model.json",
            vocabulary_size=len(ids),
            context_length=LENGTH,
            **population_tables(told, size=len(ids)),
            bos_token_id=ids[SPECIALS["bos"]],
        )
        path = {"backend": "simulated", "path": "model.json"}
    else:
        _train(folder / "model", records, ids=ids, model=model)
        path = {"path": "model"}
    write_sample(folder / "sample.parquet", own[0].members.subject_id, records[0])
    data: dict[str, Any] = {
        "path": "cohort",
        "members": meds.train_split,
        "nonmembers": meds.held_out_split,
        "assignment": "random",
        "assignedBy": "this benchmark's lot",
    }
    if mapped:
        data["codes"] = "metadata/codes.mapped.parquet"
    target = {
        "apiVersion": "phigate/v1",
        "kind": "AuditTarget",
        "metadata": {"name": model, "version": "1"},
        "spec": {
            "model": {**path, "device": "cpu"},
            "tokenization": said,
            "data": data,
            "expect": {"tokens": "sample.parquet"},
        },
    }
    (folder / "target.yaml").write_text(yaml.safe_dump(target, sort_keys=False))
    return folder / "target.yaml"


def _train(
    out: Path, records: Sequence[TokenizedRecords], *, ids: Mapping[str, int], model: Model
) -> None:
    """Train on the members; who is in neither split says when a sound model is done."""
    from checker.demo import training  # torch is loaded only where a model is trained

    members, _, others = (
        [one.record(i).tokens[:LENGTH] for i in range(len(one))] for one in records
    )
    training.train(
        members,
        vocabulary_size=len(ids),
        bos_id=ids[SPECIALS["bos"]],
        eos_id=ids[SPECIALS["eos"]],
        pad_id=ids[SPECIALS["pad"]],
        context_length=LENGTH,
        out=out,
        seed=0,
        # Synthea's records are much alike: only at a far lower loss are they known by heart
        recipe=training.SOUND
        if model == "sound"
        else replace(training.OVERTRAINED, target_loss=0.1, max_epochs=80),
        validation=others[:VALIDATED] if model == "sound" else (),
    )


# --- one audit ------------------------------------------------------------------------------------


def deciding(name: str, folder: Path, *, whole: bool = True) -> Path:
    """Write a shipped policy without what only advises; returns its file.

    Args:
        name: of the policy.
        folder: to write to.
        whole: membership and extraction are asked, too.
    """
    document = deciding_alone(load_policy(name))
    if not whole:
        controls = document["spec"]["controls"]
        document["spec"]["controls"] = {
            key: one for key, one in controls.items() if one["probe"] == "attribute-disclosure"
        }
    path = folder / f"{name.partition('@')[0]}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def audits(
    base: Path, split: str, *, mapped: bool, model: Model = "table", whole: bool = True
) -> list[Outcome]:
    """Audit one split whole, and judge it by both policies.

    Args:
        base: a copy of the data, with the dictionary where it is declared.
        split: "shipped", or "PATIENTS-NUMBER".
        mapped: the dictionary is declared.
        model: that is audited.
        whole: membership and extraction are asked, too.
    """
    began = time.process_time()
    size, _, number = split.partition("-")
    with tempfile.TemporaryDirectory() as written:
        folder = Path(written)
        shutil.copytree(base, folder / "cohort")
        shipped = split == "shipped"
        deal(folder / "cohort", patients=None if shipped else int(size), number=int(number or 0))
        target = load_target(write_audit(folder, mapped=mapped, model=model))
        planned = plan(load_policy(deciding(STRICT, folder, whole=whole)), target)
        loose = load_policy(deciding(LOOSE, folder, whole=whole))
        reports = [audit(planned, out=folder / "run"), judge(folder / "run", policy=loose)]
        plans = [foreseen(planned.audit), foreseen(plan(loose, target).audit)]
    took = round(time.process_time() - began, 1)
    found = [_outcome(split, mapped, *both) for both in zip(plans, reports, strict=True)]
    return [replace(one, seconds=took, model=model, whole=whole) for one in found]


def _outcome(split: str, mapped: bool, planned: AuditPlan, report: Report) -> Outcome:
    cells = {cell.id: cell for cell in planned.cells if blocks(cell)}
    hopeless = tuple(name for name, cell in cells.items() if not can_pass_with(planned, cell))
    stopped = tuple(
        (one.id, one.reason or one.verdict)
        for one in report.cells
        if one.id in cells and one.id not in hopeless and one.verdict != "pass"
    )
    chances = [one.power.pass_probability for name, one in cells.items() if name not in hopeless]
    checks = 1.0 if planned.release is None else planned.release.checks
    return Outcome(
        split=split,
        policy=planned.policy.document.metadata.name,
        mapped=mapped,
        announced=None if planned.release is None else planned.release.chance,
        verdict=report.verdict,
        hopeless=hopeless,
        others=checks * math.prod(one for one in chances if one is not None),
        stopped=stopped,
        aside=planned.data.set_aside,
        failed=tuple(check.name for check in report.admissibility if check.holds is not True),
        seconds=0.0,
    )


# --- all of them ----------------------------------------------------------------------------------


def names(sizes: Iterable[int] = SIZES, *, lots: int = LOTS) -> list[str]:
    """Return the splits: the shipped one, and then lot by lot so many of each size."""
    return ["shipped", *(f"{size}-{number}" for number in range(lots) for size in sizes)]


def measure(
    source: Path,
    splits: Iterable[str],
    *,
    mapped: bool,
    model: Model = "table",
    whole: bool = True,
    keep: Path | None = None,
    seconds: float = float("inf"),
) -> list[Outcome]:
    """Audit what is left of some splits, and return all that is known of them."""
    offer_simulated_backend()
    end = time.monotonic() + seconds
    asked = mapped, model, whole
    found = [one for one in read(keep) if (one.mapped, one.model, one.whole) == asked]
    done = {one.split for one in found}
    with tempfile.TemporaryDirectory() as written:
        base = Path(written) / "base"
        shutil.copytree(source, base)
        if mapped:
            write_map(base)
        for split in splits:
            if split in done:
                continue
            if time.monotonic() >= end:
                break
            new = audits(base, split, mapped=mapped, model=model, whole=whole)
            found += new
            if keep is not None:
                with keep.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(asdict(one)) + "\n" for one in new)
            said = ", ".join(f"{one.policy} {one.verdict}" for one in new)
            print(f"{split}: {said}, {new[0].seconds} s", file=sys.stderr, flush=True)
    return found


def read(path: Path | None) -> list[Outcome]:
    """Return what an earlier turn kept."""
    if path is None or not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        row |= {name: tuple(row[name]) for name in ("hopeless", "failed")}
        row["stopped"] = tuple(map(tuple, row["stopped"]))
        found.append(Outcome(**row))
    return found


def table(found: Sequence[Outcome]) -> str:
    """Return, by policy and size, what was released, what was announced and what stopped others."""
    lines = []
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for one in found:
        groups.setdefault((one.policy, one.split.partition("-")[0]), []).append(one)
    for (policy, size), own in sorted(groups.items()):
        said = [one.announced for one in own if one.announced is not None]
        mean = f"{sum(said) / len(said):.1%}" if said else "not known"
        verdicts = Counter(one.verdict for one in own)
        lines.append(
            f"{policy}, {size}: {len(own)} audits, "
            + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
            + f"; announced {mean} on average; near-duplicates in"
            f" {sum(one.aside > 0 for one in own)}, at most {max(one.aside for one in own)}"
        )
        lines.append(
            f"  all that can pass passed in {sum(not one.stopped for one in own)} of {len(own)},"
            f" announced {sum(one.others for one in own) / len(own):.1%}"
        )
        for title, counts in (
            ("could not pass", Counter(name for one in own for name in one.hopeless)),
            ("did not pass", Counter(" ".join(pair) for one in own for pair in one.stopped)),
            ("checks that did not hold", Counter(name for one in own for name in one.failed)),
        ):
            lines += [f"  {title}: {name} ({count})" for name, count in counts.most_common()]
    return "\n".join(lines)


def main() -> None:
    """Audit, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="Synthea, as MEDS")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--lots", type=int, default=LOTS)
    parser.add_argument("--map", action="store_true", help="declare the owner's dictionary")
    parser.add_argument("--trained", choices=("sound", "overtrained"), default="table")
    parser.add_argument("--told", action="store_true", help="classes alone")
    parser.add_argument("--shipped", action="store_true", help="the shipped split alone")
    parser.add_argument("--keep", type=Path, help="a file to go on from")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of this turn")
    asked = parser.parse_args()
    found = measure(
        asked.data,
        names(lots=0) if asked.shipped else names(asked.sizes, lots=asked.lots),
        mapped=asked.map,
        model=asked.trained,
        whole=not asked.told,
        keep=asked.keep,
        seconds=60 * asked.minutes,
    )
    print(table(found))


if __name__ == "__main__":
    main()
