"""phigate's numbers against those of the paper's toolkit, on the same tokens and continuations.

Takes a target and a run of the policy `paper-t1-t6` on it, and computes from the run's own evidence
what the toolkit's definitions give (`benchmarks.paper_reference`):

* T4: Min-20% of some members and nonmembers, one call of the model a position as the toolkit does,
  in float64 on both sides, and what float32 and what it adds to each probability leave beside that;
  and the AUROC of everybody with the records padded as it pads them.
* T1: distances of some patients by a general solver, from phigate's cosines and clock; and with the
  toolkit's clock and its time tokens among the codes.
* T2: AUROC, AUPRC, precision and recall of a hundred continuations of the toolkit's own, counted
  behind prompts as they stand, of members who are positive wherever the class stands; and the
  paired difference to what ranks them here.

A class of which a split has too few for phigate's average precision is left without it: the demo
has 80 of each, so `--demo FOLDER` trains its two models on a cohort of 240.

    python -m benchmarks.paper_figures --demo demo
    phigate check paper-t1-t6@1 demo/target-sound.yaml --out run
    python -m benchmarks.paper_figures demo/target-sound.yaml run --out figures.json

What another tool says of extraction is in `benchmarks.peers.demo`.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from transformers import AutoModelForCausalLM

from benchmarks.end_to_end import evidence_of
from benchmarks.paper_reference import (
    generate,
    position_by_position,
    toolkit_attribute,
    toolkit_clock,
    toolkit_min_k,
    toolkit_share,
    toolkit_transport,
)
from benchmarks.simulated_gate import AS_OF
from checker.attacks.api import load_attack
from checker.attacks.attribute_disclosure import AttributeDisclosureParams
from checker.attacks.rollouts import naming_shares
from checker.attacks.trajectory_memorization.code_labels import LEXICAL, label_vectors
from checker.attacks.trajectory_memorization.trajectories import TrajectoryReader
from checker.demo.walkthrough import Demonstration, Settings
from checker.evidence import Pseudonyms
from checker.kinds import score_column
from checker.planning import Cell
from checker.run.prepare import prepare
from checker.run.stored import load_run
from checker.stats.estimate import Estimate
from checker.stats.naming import naming_probabilities
from checker.stats.scores import min_k
from checker.targets import Sampler, Tokens
from checker.targets.compensator import watch_of, watched_rollouts
from checker.verdict import judge

POLICY = Path("paper-t1-t6@1")
RECORDS_AT_ONCE = 64
POSITIVES = 240
"""Of each class in either split of the demo that is trained here: average precision takes 100."""

HELD_AGAINST = "ten-codes"
"""The attacker whose T1 and T2 are looked at."""


@dataclass(frozen=True)
class Compared:
    """A target's run, opened.

    Args:
        target: the document's file.
        run: on it.
        policy: of the run: `paper-t1-t6`, or some of its controls.
        patients: of each split, whom one by one is looked at.
        lot: members for whom is drawn as the toolkit draws, by lot.
    """

    target: Path
    run: Path
    policy: Path
    patients: int
    lot: int

    @cached_property
    def _prepared(self) -> Any:
        return prepare(self.policy, self.target)

    @cached_property
    def _workload(self) -> Any:
        return self._prepared.audit.workload

    @cached_property
    def _stored(self) -> Any:
        return load_run(self.run)

    @cached_property
    def _evidence(self) -> dict[str, pa.Table]:
        return evidence_of(self.run)

    @cached_property
    def _model(self) -> Any:
        spec = self._prepared.audit.plan.target.document.spec.model
        return AutoModelForCausalLM.from_pretrained(self.target.parent / spec.path).eval()

    def _special(self, name: str) -> int:
        specials = self._prepared.audit.plan.target.document.spec.tokenization.specials
        return int(self._workload.tokenizer.vocabulary.ids[getattr(specials, name)])

    def _names(self) -> dict[str, tuple[bool, int]]:
        """Return who a pseudonym of the run stands for: split and place."""
        names, cohort = Pseudonyms.of_run(self.run), self._workload.cohort
        return {
            names.of("patient", str(int(subject)).encode()): (is_member, i)
            for is_member, split in ((True, cohort.members), (False, cohort.nonmembers))
            for i, subject in enumerate(split.subject_id.tolist())
        }

    def _cell(self, control: str) -> Cell:
        name = f"{control}/{HELD_AGAINST}/all"
        cells: dict[str, Cell] = {cell.id: cell for cell in self._stored.plan.cells}
        return cells[name]

    def _drawn(self) -> dict[str, list[Tokens]]:
        """Return the continuations of each prompt, of whichever job has most of them."""
        found: dict[str, list[Tokens]] = {}
        for job in self._stored.plan.jobs_of("rollouts"):
            own: dict[str, list[Tokens]] = defaultdict(list)
            table = self._evidence[job.digest]
            for prompt, tokens in zip(
                table["prompt"].to_pylist(), table["tokens"].to_pylist(), strict=True
            ):
                own[prompt].append(np.array(tokens, dtype=np.int32))
            for prompt, drawn in own.items():
                if len(drawn) > len(found.get(prompt, ())):
                    found[prompt] = drawn
        return found

    # --- T4 -------------------------------------------------------------------------------------

    def membership(self) -> dict[str, Any]:
        """Hold Min-20% against the toolkit's, a patient at a time.

        Definitions are compared in float64 on both sides: whole records at once here, a call for
        each position there. Beside it stands what an audit has, which reads in float32.
        """
        ours: dict[tuple[bool, int], float] = {}
        who = self._names()
        for job in self._stored.plan.jobs_of("scores"):
            table = self._evidence[job.digest]
            column = table[score_column("min-k", 20)].to_pylist()
            ours |= {
                who[name]: score
                for name, score in zip(table["patient"].to_pylist(), column, strict=True)
            }
        exact = copy.deepcopy(self._model).double()
        far: dict[str, list[float]] = defaultdict(list)
        for is_member in (True, False):
            for i in range(min(self.patients, len(self._workload.split(is_member)))):
                tokens = self._workload.split(is_member).record(i).tokens
                single, double = (
                    np.exp(position_by_position(model, tokens)) for model in (self._model, exact)
                )
                own, told = ours[is_member, i], toolkit_min_k(double, least=0.0)
                definition = min_k(log_probabilities(exact, tokens), k_percent=20)
                far["definitions, float64"].append(definition - told)
                far["as audited, against float64"].append(own - told)
                far["both in float32"].append(own - toolkit_min_k(single, least=0.0))
                far["toolkit in float32, against float64"].append(
                    toolkit_min_k(single, least=0.0) - told
                )
                far["with 1e-10 added"].append(own - toolkit_min_k(double))
        everybody = sorted(ours)
        split = [side for side, _ in everybody]
        padded = self._padded(everybody)
        return {
            "patients": len(far["definitions, float64"]),
            "largest difference, nats": {
                name: float(np.abs(each).max()) for name, each in far.items()
            },
            "AUROC here": float(roc_auc_score(split, [ours[one] for one in everybody])),
            "AUROC with padding": float(roc_auc_score(split, padded)),
        }

    @torch.inference_mode()
    def _padded(self, everybody: Iterable[tuple[bool, int]]) -> list[float]:
        """Score records padded to the context, padding counted as tokens of theirs."""
        records = [self._workload.split(side).record(i).tokens for side, i in everybody]
        length, scores = max(map(len, records)), []
        for start in range(0, len(records), RECORDS_AT_ONCE):
            part = records[start : start + RECORDS_AT_ONCE]
            ids = torch.full((len(part), length), self._special("pad"))
            for row, own in enumerate(part):
                ids[row, : len(own)] = torch.from_numpy(own.astype(np.int64))
            likely = self._model(ids).logits[:, :-1].float().softmax(-1)
            told = likely.gather(-1, ids[:, 1:, None])[..., 0].numpy()
            scores += [toolkit_min_k(row) for row in told]
        return scores

    # --- T1 -------------------------------------------------------------------------------------

    def trajectories(self) -> dict[str, Any]:
        """Hold distances against those of a general solver, and of the toolkit's clock."""
        workload, cell = self._workload, self._cell("t1-distance")
        reader = TrajectoryReader(workload.tokenizer)
        labels = label_vectors(
            LEXICAL,
            cohort=workload.cohort,
            tokenizer=workload.tokenizer,
            code_systems=workload.code_systems,
            base=self.target.parent,
        )
        who, drawn, found = self._names(), self._drawn(), workload.labels[str(cell.labels)]
        words = workload.tokenizer.vocabulary.tokens
        samples, horizon = cell.params["samples"], cell.params["horizonTokens"]
        rows: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
        (job,) = (j for j in self._stored.plan.jobs_of("trajectories") if j.digest in cell.jobs)
        table = self._evidence[job.digest]
        for name, prompt, distance in zip(
            *(table[column].to_pylist() for column in ("patient", "prompt", "distance")),
            strict=True,
        ):
            is_member, i = who[name]
            if len(rows[is_member]) >= self.patients:
                continue
            start, end = found.split(is_member).behind[i].tolist()
            truth = workload.split(is_member).tokens[start : min(end, start + horizon)]
            others = [own[:horizon] for own in drawn[prompt][:samples]]
            equal, theirs = [], []
            true_events = reader.read(truth)
            for own in others:
                events = reader.read(own)
                assert true_events.days is not None  # the demo's targets tell the time
                assert events.days is not None
                longest = (d.max(initial=0.0) for d in (true_events.days, events.days))
                span = max(longest) or 1.0
                cosine = labels.cosines(true_events.tokens, events.tokens)
                clocks = true_events.days / span, events.days / span
                equal.append(toolkit_transport(cosine, clocks) if any(cosine.shape) else 0.0)
                plain = [one[one != self._special("eos")] for one in (truth, own)]
                first, second = (toolkit_clock([words[token] for token in one]) for one in plain)
                theirs.append(toolkit_transport(labels.cosines(*plain), (first, second)))
            rows[is_member].append((distance, float(np.mean(equal)), float(np.mean(theirs))))
        inside, outside = np.array(rows[True]), np.array(rows[False])
        every = np.concatenate([inside, outside])
        means = {
            name: {
                "members": float(inside[:, column].mean()),
                "nonmembers": float(outside[:, column].mean()),
            }
            for name, column in (("here", 0), ("the toolkit's clock and tokens", 2))
        }
        return {
            "patients": len(every),
            "largest difference, equal cosines and clock": float(
                np.abs(every[:, 0] - every[:, 1]).max()
            ),
            "mean distance": means,
            "rank correlation": float(spearmanr(every[:, 0], every[:, 2]).statistic),
        }

    # --- T2 -------------------------------------------------------------------------------------

    def attributes(self) -> dict[str, Any]:
        """Hold AUROC, AUPRC, precision and recall against the toolkit's.

        The toolkit's are of continuations of its own, as many as it draws, counted, from prompts as
        they stand. Ours are those of the audit, which takes fewer, and of as many drawn anew. All
        are had of the same members, so their difference is paired: its interval is that of members
        drawn again, with the chance of both draws in it.
        """
        whole = self._stored
        judgement = judge(whole.policy, plan=whole.plan, evidence=self._evidence, as_of=AS_OF)
        measured = {one.cell.id: one.measurement for one in judgement.findings}
        found: dict[str, Any] = {}
        for name in whole.plan.classes:
            ranked, cell = self._cell(f"t2-{name}"), self._cell(f"t2-{name}-precision")
            auroc, auprc = measured[ranked.id], measured[cell.id]
            if auroc is None:
                continue  # too few of the class for bounds
            watch = whole.plan.classes[name].watch
            asked = self._asked(ranked)
            has_class = np.array(
                [np.isin(self._records.record(i).tokens, watch).any() for i in asked.member]
            )
            counted = np.array(
                [toolkit_share(own, watch) for own in self._drawn_anew(asked.member, ranked)]
            )
            as_many = self._estimated_anew(name, asked.member, ranked)
            drawn = self._drawn()
            same = np.array([toolkit_share(drawn[prompt], watch) for prompt in asked.prompt])
            found[name] = {
                "members": len(asked.member),
                "positive": int(has_class.sum()),
                "positive for one alone": int((has_class != asked.eligible).sum()),
                "told it in the prompt": int(
                    sum(np.isin(own, watch).any() for own in self._told(asked.member))
                ),
                "here, of all": {
                    "auroc": _bounds(auroc.members),
                    "auprc": None if auprc is None else _bounds(auprc.members),
                    "precision": _bounds(auroc.reported.get("precision")),
                    "recall": _bounds(auroc.reported.get("recall")),
                },
                "here, by its functions": toolkit_attribute(has_class, asked.q),
                "here, from as many as the toolkit": toolkit_attribute(has_class, as_many),
                "toolkit": toolkit_attribute(has_class, counted),
                "here less toolkit": paired_difference(has_class, asked.q, counted),
                "here less toolkit, from as many": paired_difference(has_class, as_many, counted),
                "our continuations, counted": toolkit_attribute(has_class, same),
            }
        return found

    @property
    def _records(self) -> Any:
        return self._workload.split(True)

    def _asked(self, cell: Cell) -> _Asked:
        """Return the members of the lot whom a cell ranks, with the q that it ranks them by."""
        labels, params = self._evidence[str(cell.labels)], cell.params
        kinds = {job.digest: job.kind for job in self._stored.plan.jobs}
        own = load_attack(cell.probe).params.model_validate(params)
        assert isinstance(own, AttributeDisclosureParams)
        shares = naming_shares(
            [self._evidence[digest] for digest in cell.jobs if kinds[digest] == "rollouts"],
            self._stored.plan.classes[str(cell.attribute_class)].watch,
            samples=own.samples,
            estimation_samples=own.estimation_samples,
            decision_samples=own.decision_samples,
            threshold=own.threshold,
        )
        who = self._names()
        lot = set(np.random.default_rng(0).permutation(len(self._records))[: self.lot].tolist())
        rows = [
            (who[patient][1], prompt, shares.q[prompt], eligible)
            for patient, member, positive, eligible, prompt in zip(
                *(
                    labels[column].to_pylist()
                    for column in ("patient", "member", "positive", "eligible", "prompt")
                ),
                strict=True,
            )
            if member
            and who[patient][1] in lot
            and prompt in shares.q
            and (eligible or not positive)
        ]
        member, prompts, q, eligible = zip(*rows, strict=True)
        return _Asked(member, prompts, np.array(q), np.array(eligible))

    def _told(self, members: Sequence[int]) -> list[Tokens]:
        """Return the first tokens of records as they stand."""
        known = int(self._stored.policy.spec.attackers[HELD_AGAINST].knows.tokens)
        return [self._records.record(i).tokens[:known] for i in members]

    def _sampler(self, cell: Cell, *, room: int, more: int) -> Sampler:
        """Return a cell's sampler with a seed that the audit did not draw with."""
        return Sampler(
            temperature=cell.params["temperature"],
            top_p=cell.params["topP"],
            horizon_tokens=min(room, cell.params["horizonTokens"]),
            seed=self._stored.plan.seed + more,
        )

    def _estimated_anew(self, name: str, members: Sequence[int], cell: Cell) -> NDArray[np.float64]:
        """Estimate q of a class from as many continuations as the toolkit draws, by phigate."""
        names = list(self._stored.plan.classes)
        if lacking := [i for i in members if i not in self._expected]:
            told, count = self._told(lacking), cell.params["samples"]
            watch = watch_of(
                [self._stored.plan.classes[one].watch for one in names],
                vocabulary_size=self._stored.plan.target.vocabulary_size,
            )
            room = int(self._workload.max_length) - max(map(len, told))
            drawn = watched_rollouts(
                self._prepared.open_target(),
                told,
                keys=lacking,
                samples=count,
                sampler=self._sampler(cell, room=room, more=2),
                watch=watch,
            )
            for i, own in zip(lacking, drawn, strict=True):
                hits = np.array([watch[:, one.tokens].any(axis=1) for one in own])
                expected = np.array([one.expected for one in own], dtype=np.float64)
                group = np.zeros(count, dtype=np.int64)
                self._expected[i] = [
                    float(naming_probabilities(hits[:, c], expected[:, c], group)[0])
                    for c in range(len(names))
                ]
        return np.array([self._expected[i][names.index(name)] for i in members])

    @cached_property
    def _expected(self) -> dict[int, list[float]]:
        """What was estimated anew: of each member q of each class."""
        return {}

    def _drawn_anew(self, members: Sequence[int], cell: Cell) -> list[list[Tokens]]:
        """Draw as the toolkit does, behind the first tokens as they stand."""
        for i, prompt in zip(members, self._told(members), strict=True):
            if i not in self._anew:
                room = int(self._workload.max_length) - len(prompt)
                self._anew[i] = generate(
                    self._model,
                    prompt,
                    key=i,
                    samples=cell.params["samples"],
                    sampler=self._sampler(cell, room=room, more=1),
                    eos_id=self._special("eos"),
                    pad_id=self._special("pad"),
                )
        return [self._anew[i] for i in members]

    @cached_property
    def _anew(self) -> dict[int, list[Tokens]]:
        """What was drawn anew, by member, for all classes."""
        return {}


@dataclass(frozen=True)
class _Asked:
    """Members whom a cell ranks: place in the split, prompt, q and whether the code is in reach."""

    member: tuple[int, ...]
    prompt: tuple[str, ...]
    q: NDArray[np.float64]
    eligible: NDArray[np.bool_]


@torch.inference_mode()
def log_probabilities(model: Any, tokens: Tokens) -> NDArray[np.float64]:
    """Return log p of every token after the first from one pass, in the model's own format."""
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    logs = model(ids).logits[0, :-1].log_softmax(-1)
    found: NDArray[np.float64] = logs.gather(-1, ids[0, 1:, None])[:, 0].double().numpy()
    return found


def paired_difference(
    has_class: NDArray[np.bool_],
    here: NDArray[np.float64],
    toolkit: NDArray[np.float64],
    *,
    draws: int = 2000,
) -> dict[str, dict[str, float]]:
    """Return by how much AUROC and AUPRC of two rankings of the same patients differ.

    Args:
        has_class: [n].
        here: [n], what ranks them here.
        toolkit: [n], what ranks them there.
        draws: of n patients each, as many with the class and without.

    Returns:
        Of either the difference, and the interval in which 95 % of the draws lie.
    """
    rng = np.random.default_rng(0)
    sizes = int(has_class.sum()), int((~has_class).sum())
    rankings = [np.unique(-share, return_inverse=True)[1] for share in (here, toolkit)]

    def difference(weight: NDArray[np.int64]) -> tuple[float, float]:
        first, second = (_ranked(place, has_class, weight) for place in rankings)
        return first[0] - second[0], first[1] - second[1]

    weights = np.empty((draws, len(has_class)), dtype=np.int64)
    for side, size in zip((has_class, ~has_class), sizes, strict=True):
        weights[:, side] = rng.multinomial(size, np.full(size, 1 / size), draws)
    low, high = np.quantile([difference(one) for one in weights], (0.025, 0.975), axis=0)
    value = difference(np.ones(len(has_class), dtype=np.int64))
    return {
        name: {"value": value[i], "low": float(low[i]), "high": float(high[i])}
        for i, name in enumerate(("auroc", "auprc"))
    }


def _ranked(
    place: NDArray[np.int64], has_class: NDArray[np.bool_], weight: NDArray[np.int64]
) -> tuple[float, float]:
    """Return AUROC and AUPRC, as `toolkit_attribute` has them, of patients who count so often."""
    count = int(place.max()) + 1
    inside, outside = (
        np.bincount(place[side], weights=weight[side], minlength=count)
        for side in (has_class, ~has_class)
    )
    found, false = inside.cumsum(), outside.cumsum()
    below = false[-1] - false + outside / 2
    precision = found / np.maximum(found + false, 1)
    total = found[-1]
    return float(inside @ below / (total * false[-1])), float(inside @ precision / total)


def _bounds(estimate: Estimate | None) -> dict[str, float] | None:
    if estimate is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def show(found: dict[str, Any]) -> None:
    """Print what was held against what."""
    for part, numbers in found.items():
        print(f"\n{part}")
        print(json.dumps(numbers, indent=2))


def make_demo(folder: Path) -> None:
    """Train the demo's two models on patients of whom enough have each class."""
    demo = Demonstration(Settings(folder, 0, positives=POSITIVES), say=print)
    demo.prepare()
    demo.train(lambda model, epoch, loss: None)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", type=Path, nargs="?")
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--demo", type=Path, help="train the demo's models here, and end")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    parser.add_argument("--policy", type=Path, default=POLICY, help="of the run")
    parser.add_argument("--parts", nargs="+", default=["T4", "T1", "T2"])
    parser.add_argument("--patients", type=int, default=100, help="of each split, one by one")
    parser.add_argument("--lot", type=int, default=750, help="members for whom T2 draws anew")
    arguments = parser.parse_args()
    if arguments.demo is not None:
        make_demo(arguments.demo)
        return
    if arguments.run is None:
        parser.error("a target and a run of it are missing")
    compared = Compared(
        arguments.target, arguments.run, arguments.policy, arguments.patients, arguments.lot
    )
    parts = {
        "T4": compared.membership,
        "T1": compared.trajectories,
        "T2": compared.attributes,
    }
    found = {name: part() for name, part in parts.items() if name in arguments.parts}
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    show(found)


if __name__ == "__main__":
    main()
