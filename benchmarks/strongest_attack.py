"""The learned membership score against what it should and should not find, and what it costs.

*nobody*: models of patients who are neither members nor nonmembers. The attack must say 0.5 within
its interval, and so must the learner that sees nothing of the model; over 20 cohorts at most so
many intervals may miss as chance allows.

*lira*: the demo's sound recipe against the strongest attack that full knowledge buys, LiRA (Carlini
et al. 2022, arXiv 2112.03570) with 32 shadow models of the same recipe on random halves of members
and nonmembers, Gaussians of a record's mean log-probability with a variance that all records share.
AUROC and true-positive rate at 1 % of both attacks are shown on the same patients.

*cost*: CPU seconds of the learned score's jobs, and of looking for pieces of both splits' records
(the control's jobs and the check's, tables and the checker's own reference included), over those of
one scoring pass: the model reads every record of both splits once, as `score: loss` has it. All in
one run.

    nice python -m benchmarks.strongest_attack nobody --seeds 20 --beside 2
    nice python -m benchmarks.strongest_attack lira --keep shadows --shadows 32 --beside 2 4 8
    nice python -m benchmarks.strongest_attack cost --patients 4000

`--keep` holds what every shadow model says, so that a study can be done in parts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import meds
import numpy as np
import pyarrow as pa
import torch
import yaml
from numpy.typing import NDArray
from scipy.stats import norm

from checker import stats
from checker.attacks.membership_inference.features import (
    TokenColumns,
    attack_features,
    blind_features,
    means,
)
from checker.attacks.membership_inference.learner import learned_scores
from checker.attacks.membership_inference.plan import SHADOW_RECIPE
from checker.attacks.membership_inference.run import shadow_features
from checker.demo.cohort import write_cohort
from checker.demo.training import SOUND
from checker.demo.walkthrough import SPECIALS, Demonstration, Settings
from checker.planning import Job
from checker.planning.reference_patients import RECIPE
from checker.policy import load_target
from checker.policy.documents import DataSpec
from checker.records.cohort import load_cohort
from checker.records.tokenization import Tokenizer, load_vocabulary
from checker.resources import resource
from checker.run.prepare import prepare
from checker.run.running import run_audit
from checker.stats.estimate import Estimate
from checker.targets import Tokens, TokenScores
from checker.targets.engine.reference import ReferenceModel, train_reference, train_shadow
from checker.targets.engine.scoring import ForwardPass
from checker.targets.engine.training import Recipe, SpecialIds, one_thread, train_model

Array = NDArray[np.float64]

CONFIDENCE: Final = 0.975  # of each bound: an interval that misses in 1 of 20
CONTEXT: Final = 128


@dataclass(frozen=True, slots=True)
class World:
    """A cohort as tokens, and what models of it need to know.

    Args:
        members, nonmembers, tuning: records.
        vocabulary_size: number of token ids.
        specials: of the vocabulary.
    """

    members: list[Tokens]
    nonmembers: list[Tokens]
    tuning: list[Tokens]
    vocabulary_size: int
    specials: SpecialIds

    @classmethod
    def of(cls, folder: Path, *, seed: int, patients: int, tuning: int) -> World:
        """Write a cohort of the demo's kind, and read it as its models do."""
        demo = Demonstration(Settings(folder, seed, patients=patients), say=lambda text: None)
        if not folder.exists():
            demo.prepare()
        if tuning != 120:  # more patients who are neither members nor nonmembers
            other = folder / f"tuning-{tuning}"
            if not other.exists():
                write_cohort(
                    other, seed=seed + 1000, members=tuning, nonmembers=tuning, tuning=10,
                    positives=tuning // 8,
                )  # fmt: skip
        spec = load_target(demo.target_path("sound")).document.spec.tokenization
        vocabulary = load_vocabulary(folder / "vocab.json")
        tokenizer = Tokenizer(spec, vocabulary=vocabulary, base=folder)

        def read(path: str, split: str) -> tuple[list[Tokens], list[Tokens]]:
            data = DataSpec(path=path, members=split, nonmembers=meds.held_out_split)
            cohort = load_cohort(data, base=folder)
            both = []
            for patients in (cohort.members, cohort.nonmembers):
                records = tokenizer.encode(patients, cohort.codes)
                found = (records.record(i).tokens[:CONTEXT] for i in range(len(records)))
                both.append([np.ascontiguousarray(one) for one in found])
            return both[0], both[1]

        ids = vocabulary.ids
        apart = ("cohort", meds.tuning_split) if tuning == 120 else (f"tuning-{tuning}", "train")
        members, nonmembers = read("cohort", meds.train_split)
        return cls(
            members,
            nonmembers,
            read(*apart)[0],
            len(vocabulary.tokens),
            SpecialIds(ids[SPECIALS["bos"]], ids[SPECIALS["eos"]], ids[SPECIALS["pad"]]),
        )

    def model(self, sequences: Sequence[Tokens], *, seed: int, recipe: Recipe) -> ForwardPass:
        """Train a model on records."""
        model, _ = train_model(
            sequences,
            vocabulary_size=self.vocabulary_size,
            specials=self.specials,
            context_length=CONTEXT,
            seed=seed,
            recipe=recipe,
        )
        return self.forward(model)

    def forward(self, model: Any) -> ForwardPass:
        """Return the forward pass of a trained model."""
        model.config.pad_token_id = None  # batches are padded on the right, where nothing looks
        forward = ForwardPass(model, vocabulary_size=self.vocabulary_size, pad_id=self.specials.pad)
        forward.is_chunked = True
        return forward


def mean_scores(model: ForwardPass, records: list[Tokens]) -> Array:
    """Return the mean log-probability of each record."""
    columns = scored(model.score, records)
    return means(columns.logprob, columns.offsets)


def passes(count: int) -> Recipe:
    """Return the demo's sound recipe, ended after so many passes."""
    return replace(SOUND, until_validated=False, max_epochs=count)


def scored(score: Callable[[Sequence[Tokens]], list[TokenScores]], records: list[Tokens]) -> Any:
    """Return token columns of records under a model."""
    found: list[TokenScores] = []
    with torch.inference_mode(), one_thread():
        for start in range(0, len(records), 64):
            found += score(records[start : start + 64])
    firsts = [one.first for one in found if one.first is not None]
    return TokenColumns(
        np.concatenate([one.logprob for one in found]).astype(np.float64),
        np.concatenate([one.mean for one in found]).astype(np.float64),
        np.concatenate([one.std for one in found]).astype(np.float64),
        np.concatenate(firsts),
        np.concatenate([[0], np.cumsum([len(one.logprob) for one in found])]).astype(np.int64),
    )


@dataclass(frozen=True, slots=True)
class Attacked:
    """A learned attack on one model.

    Args:
        records: members, then nonmembers who did not teach the reference.
        member: [n] bool.
        judged: [n] bool, whom the classifier was not fitted on.
        scores: [judged] float64.
        blind: [judged] float64, of the learner that sees nothing of the model.
    """

    records: list[Tokens]
    member: NDArray[np.bool_]
    judged: NDArray[np.bool_]
    scores: Array
    blind: Array

    def auroc(self, scores: Array) -> Estimate:
        """How well scores of the judged tell members from the others."""
        member = self.member[self.judged]
        return stats.auroc(scores[member], scores[~member], confidence=CONFIDENCE)


def attack(world: World, model: ForwardPass, *, seed: int, shadows: int = 0) -> Attacked:
    """Attack a model as the audit does, with so many shadow models of the audit's own kind."""
    rng = np.random.default_rng([seed, 16])
    order = rng.permutation(len(world.nonmembers))
    cut = len(order) // 3
    taught = [world.nonmembers[i] for i in order[:cut]]
    records = world.members + [world.nonmembers[i] for i in order[cut:]]
    known = np.unique(np.concatenate(world.members + world.nonmembers)).astype(np.int32)
    apart = max(1, cut // 10)
    reference = ReferenceModel(
        train_reference(taught[apart:], taught[:apart], known=known, recipe=RECIPE, seed=seed)
    )
    target, own = scored(model.score, records), scored(reference.score, records)
    features = attack_features(target, {"own": own}, percents=[20.0])
    member = np.arange(len(records)) < len(world.members)
    fitted = np.zeros(len(records), dtype=np.bool_)
    for chosen in (np.flatnonzero(member), np.flatnonzero(~member)):
        fitted[rng.permutation(chosen)[: len(chosen) // 3]] = True
    matrix = np.stack(list(features.values()), axis=1)
    unseen = blind_features({"own": own}, percents=[20.0])
    blind = np.stack(list(unseen.values()), axis=1)
    alone: list[int] = []
    if shadows:
        own_loss = means(target.logprob, target.offsets)
        seen, without = _beside(
            records, member, fitted, own_loss, known=known, seed=seed, count=shadows
        )
        alone = list(range(matrix.shape[1], matrix.shape[1] + seen.shape[1]))
        matrix, blind = np.hstack([matrix, seen]), np.hstack([blind, without])
    found = learned_scores(matrix, member, fitted, alone=alone)
    return Attacked(records, member, ~fitted, found, learned_scores(blind, member, fitted))


def _beside(
    records: list[Tokens],
    member: NDArray[np.bool_],
    fitted: NDArray[np.bool_],
    own: Array,
    *,
    known: NDArray[np.int32],
    seed: int,
    count: int,
) -> tuple[Array, Array]:
    """Return features of the target beside shadow models as the audit trains them, and without."""
    names = [str(number) for number in range(len(records))]
    tables = []
    for number in range(count):
        if number % 2 == 0:
            half = np.zeros(len(records), dtype=np.bool_)
            for kind in (np.flatnonzero(member), np.flatnonzero(~member)):
                rng = np.random.default_rng([seed, 17, number])
                half[rng.permutation(kind)[: len(kind) // 2]] = True
        taught = half if number % 2 == 0 else ~half
        passes: list[list[float]] = []

        def keep(scores: list[TokenScores], passes: list[list[float]] = passes) -> None:
            passes.append([float(one.logprob.mean()) for one in scores])

        train_shadow(
            [records[i] for i in np.flatnonzero(taught)],
            records,
            known=known,
            recipe=SHADOW_RECIPE,
            seed=seed + number,
            each=keep,
        )
        logprob = np.array(passes).T.tolist()
        tables.append(
            pa.table(
                {
                    "patient": names,
                    "taught": taught,
                    "logprob": pa.array(logprob, pa.list_(pa.float32())),
                }
            )
        )
    table = pa.table({"patient": names, "classic@loss": own})
    return shadow_features(table, tables, fitted & ~member)


def nobody(*, seeds: Sequence[int], patients: int, shadows: int = 0) -> list[dict[str, float]]:
    """Attack models that saw neither members nor nonmembers, with so many shadow models."""
    rows = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            world = World.of(Path(folder) / "demo", seed=seed, patients=patients, tuning=patients)
            model = world.model(world.tuning, seed=seed, recipe=passes(4))
            found = attack(world, model, seed=seed, shadows=shadows)
        row: dict[str, float] = {"seed": seed}
        for name, scores in (("", found.scores), ("blind ", found.blind)):
            one = found.auroc(scores)
            row |= {f"{name}value": one.value, f"{name}low": one.low, f"{name}high": one.high}
        rows.append(row)
        print(f"seed {seed}: " + ", ".join(
            f"{words} {row[f'{name}value']:.3f} ({row[f'{name}low']:.3f} to"
            f" {row[f'{name}high']:.3f})"
            for name, words in (("", "AUROC"), ("blind ", "without the model"))
        ))  # fmt: skip
        sys.stdout.flush()
    for name, words in (("", "with the model"), ("blind ", "without it")):
        missed = sum(not row[f"{name}low"] <= 0.5 <= row[f"{name}high"] for row in rows)
        print(f"{words}: {missed} of {len(rows)} intervals miss 0.5; their mean is"
              f" {np.mean([row[f'{name}value'] for row in rows]):.3f}")  # fmt: skip
    return rows


def lira(
    *, keep: Path, shadows: int, patients: int, at_most: int, beside: Sequence[int] = ()
) -> dict[str, float] | None:
    """Compare with LiRA; None where shadow models are left to be trained.

    Args:
        keep: what shadow models say is kept there.
        shadows: of LiRA, with the target's own recipe.
        patients: in each split.
        at_most: shadow models that one call trains.
        beside: shadow models of the audit's own, which the learned score sees, a row each.
    """
    keep.mkdir(parents=True, exist_ok=True)
    world = World.of(keep / "demo", seed=0, patients=patients, tuning=120)
    pool = world.members + world.nonmembers
    recipe = passes(3)  # what the demo's sound model keeps

    trained = 0
    for number in range(shadows):
        path = keep / f"shadow-{number}.npz"
        if path.exists():
            continue
        if trained == at_most:
            print(f"{number} of {shadows} shadow models are trained; run again for more")
            return None
        half = np.random.default_rng([7, number]).permutation(len(pool))[: len(pool) // 2]
        model = world.model([pool[i] for i in half], seed=100 + number, recipe=recipe)
        member = np.zeros(len(pool), dtype=np.bool_)
        member[half] = True
        np.savez(path, member=member, logprob=mean_scores(model, pool))
        trained += 1
    model = world.model(world.members, seed=0, recipe=recipe)
    own = mean_scores(model, pool)
    score = gaussian_ratio(own, *shadow_scores(keep, shadows=shadows))
    found = attack(world, model, seed=0)
    attacked = {"learned": found}
    for count in beside:
        attacked[f"beside {count}"] = attack(world, model, seed=0, shadows=count)
    # the learned attack's patients, so that both are judged on the same
    place = {one.tobytes(): i for i, one in enumerate(pool)}
    judged = [one for one, yes in zip(found.records, found.judged, strict=True) if yes]
    at = np.array([place[one.tobytes()] for one in judged])
    is_member = found.member[found.judged]
    result: dict[str, float] = {}
    shown = {name: one.scores for name, one in attacked.items()}
    for name, values in (shown | {"lira": score[at], "loss": own[at]}).items():
        inside, outside = values[is_member], values[~is_member]
        auroc = stats.auroc(inside, outside, confidence=CONFIDENCE)
        threshold = np.quantile(outside, 0.99)
        tpr = float((inside > threshold).mean())
        result |= {f"{name} auroc": auroc.value, f"{name} tpr": tpr}
        print(f"{name:9} AUROC {auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f}),"
              f" TPR at 1 % {tpr:.3f}")  # fmt: skip
    return result


def shadow_scores(keep: Path, *, shadows: int) -> tuple[Array, NDArray[np.bool_]]:
    """Return what shadow models say of each record, and which of them were taught it: [k, n]."""
    files = [np.load(keep / f"shadow-{number}.npz") for number in range(shadows)]
    said, member = (np.stack([one[name] for one in files]) for name in ("logprob", "member"))
    return said, member


def gaussian_ratio(own: Array, said: Array, member: NDArray[np.bool_]) -> Array:
    """Return LiRA's log likelihood ratio with one variance for all records inside, one outside."""
    inside, outside = np.where(member, said, np.nan), np.where(member, np.nan, said)
    spread = [np.sqrt(np.nanmean((x - np.nanmean(x, axis=0)) ** 2)) for x in (inside, outside)]
    ratio: Array = norm.logpdf(own, np.nanmean(inside, axis=0), spread[0]) - norm.logpdf(
        own, np.nanmean(outside, axis=0), spread[1]
    )
    return ratio


class _Stopwatch:
    """Adds up the CPU seconds of jobs by their kind."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._began: dict[str, float] = {}

    def start(self, jobs: list[Job], *, reused: int) -> None:
        pass

    def job(self, job: Job) -> Callable[[int], None]:
        self._began[job.digest] = time.process_time()
        return lambda tokens: None

    def done(self, job: Job) -> None:
        if job.digest in self._began:
            self.seconds[job.kind] += time.process_time() - self._began[job.digest]


def cost(*, patients: int, layers: int = 2, width: int = 96) -> dict[str, float]:
    """Time a classic and the learned score, and extraction, in one audit of a small model.

    Args:
        patients: of either split.
        layers: of the model; by default it is as small as the reference itself.
        width: of the same model.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "demo"
        demo = Demonstration(Settings(folder, 0, patients=patients), say=lambda text: None)
        demo.prepare()
        vocabulary = load_vocabulary(folder / "vocab.json")
        world = World.of(folder, seed=0, patients=patients, tuning=120)
        model, _ = train_model(
            world.tuning,
            vocabulary_size=len(vocabulary.tokens),
            specials=world.specials,
            context_length=CONTEXT,
            seed=0,
            recipe=replace(passes(1), layers=layers, width=width),
        )
        model.save_pretrained(folder / "model-sound")
        document = yaml.safe_load(resource("policies/demo.yaml").read_text(encoding="utf-8"))
        control = document["spec"]["controls"]["membership"]
        document["spec"]["controls"] = {
            "learned": control,
            "classic": control | {"params": {"score": "loss"}},
            "recited": control
            | {
                "probe": "trajectory-memorization",
                "params": {"windows": "any"},
                "metric": "extractable_share",
            },
        }
        policy = folder / "cost.yaml"
        policy.write_text(yaml.safe_dump(document))
        prepared = prepare(policy, demo.target_path("sound"))
        watch = _Stopwatch()
        run_audit(
            prepared.audit,
            run=folder / "run",
            open_target=prepared.open_target,
            progress=watch,
            command="benchmark",
        )
    seconds = watch.seconds
    learned = seconds["membership-features"] + seconds["membership-scores"]
    found = {
        "patients": float(patients),
        "one scoring pass": seconds["scores"],
        "features": seconds["membership-features"],
        "learner": seconds["membership-scores"],
        "training": seconds["reference-training"],
        "ratio": learned / seconds["scores"],
        "extraction": seconds["extraction"],
        # whoever is scored is looked for: members and nonmembers, by the control and by the check
        "extraction over one pass": seconds["extraction"] / seconds["scores"],
    }
    print(json.dumps(found, indent=2))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", choices=("nobody", "lira", "cost"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed")
    parser.add_argument("--patients", type=int)
    parser.add_argument("--layers", type=int, default=2, help="of the model whose cost is taken")
    parser.add_argument("--width", type=int, default=96, help="of the same model")
    parser.add_argument("--shadows", type=int, default=32)
    parser.add_argument("--at-most", type=int, default=1000, help="shadow models trained at once")
    parser.add_argument(
        "--beside", type=int, nargs="*", default=[], help="shadow models of the audit's own"
    )
    parser.add_argument("--keep", type=Path, default=Path("shadows"))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found: Any
    if asked.study == "nobody":
        seeds = range(asked.first, asked.first + asked.seeds)
        found = nobody(
            seeds=seeds, patients=asked.patients or 400, shadows=max(asked.beside, default=0)
        )
    elif asked.study == "lira":
        found = lira(
            keep=asked.keep,
            shadows=asked.shadows,
            patients=asked.patients or 1500,
            at_most=asked.at_most,
            beside=asked.beside,
        )
    else:
        found = cost(patients=asked.patients or 4000, layers=asked.layers, width=asked.width)
    if asked.out is not None and found is not None:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
