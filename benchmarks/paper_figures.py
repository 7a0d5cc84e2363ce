"""phigate's numbers against those of the paper's toolkit, on the same tokens and continuations.

Takes a target and a run of the policy `paper-t1-t6` on it, and computes from the run's own evidence
what the toolkit's definitions give (`benchmarks.paper_reference`):

* T4: Min-20% of some members and nonmembers, one call of the model a position as the toolkit does,
  with and without what it adds to each probability; and the AUROC of everybody with the records
  padded as it pads them.
* T1: distances of some patients by a general solver, from phigate's cosines and clock; and with the
  toolkit's clock and its time tokens among the codes.
* T2: AUROC, AUPRC, precision and recall of counted hits among members, who are positive wherever
  the class stands; and of continuations drawn anew from prompts that the class is left in.
* Extraction: the share of members and of nonmembers whose next twelve tokens, after the first ten,
  come out at least once in two times of 1,000 queries (PrivacyGuard 0.0.2,
  `ProbabilisticMemorizationAnalysisNode`), beside `extractable_share` of the same windows, which
  leaves out what anybody would write and counts what is recited greedily.

    phigate check paper-t1-t6@1 target.yaml --out run
    python -m benchmarks.paper_figures target.yaml run --out figures.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from transformers import AutoModelForCausalLM

from benchmarks.end_to_end import Stopwatch, evidence_of
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
from checker.attacks.trajectory_memorization.code_labels import LEXICAL, label_vectors
from checker.attacks.trajectory_memorization.trajectories import TrajectoryReader
from checker.evidence import Pseudonyms
from checker.kinds import score_column
from checker.planning import Cell
from checker.run.prepare import prepare
from checker.run.running import run_audit
from checker.run.stored import load_run
from checker.stats.estimate import Estimate
from checker.targets import Sampler, Tokens
from checker.verdict import judge

POLICY = Path("paper-t1-t6@1")
RECORDS_AT_ONCE = 64
_KNOWN, _LENGTH, _QUERIES, _TOP_P = 10, 12, 1000, 0.95
_EXTRACTION = {
    "apiVersion": "phigate/v1",
    "kind": "LeakagePolicy",
    "metadata": {"name": "extraction", "version": "1.0.0", "owner": "benchmarks"},
    "spec": {
        "context": "internal",
        "attackers": {
            "ten": {
                "title": "Ten tokens",
                "knows": {"static": "all", "tokens": _KNOWN},
                "access": "logprobs",
            }
        },
        "controls": {
            "extractable": {
                "title": "Extractable",
                "probe": "trajectory-memorization",
                "params": {"length": _LENGTH, "queries": _QUERIES, "chance": 0.5, "topP": _TOP_P},
                "metric": "excess_extractable",
                "limits": {"ten": {"fail": 0.05}},
                "severity": "low",
                "enforcement": "mandatory",
            }
        },
    },
}
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
    """

    target: Path
    run: Path
    policy: Path
    patients: int

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
        """Hold Min-20% against the toolkit's."""
        ours: dict[tuple[bool, int], float] = {}
        who = self._names()
        for job in self._stored.plan.jobs_of("scores"):
            table = self._evidence[job.digest]
            column = table[score_column("min-k", 20)].to_pylist()
            ours |= {
                who[name]: score
                for name, score in zip(table["patient"].to_pylist(), column, strict=True)
            }
        apart = {"as it is": 0.0, "without 1e-10": 0.0, "without 1e-10, relative": 0.0}
        for is_member in (True, False):
            for i in range(min(self.patients, len(self._workload.split(is_member)))):
                tokens = self._workload.split(is_member).record(i).tokens
                likely = np.exp(position_by_position(self._model, tokens))
                own = ours[is_member, i]
                for name, least in (("as it is", 1e-10), ("without 1e-10", 0.0)):
                    far = abs(toolkit_min_k(likely, least=least) - own)
                    apart[name] = max(apart[name], far)
                apart["without 1e-10, relative"] = max(
                    apart["without 1e-10, relative"], far / abs(own)
                )
        everybody = sorted(ours)
        split = [side for side, _ in everybody]
        padded = self._padded(everybody)
        return {
            "patients": 2 * self.patients,
            "largest difference, nats": apart,
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
        """Hold AUROC, AUPRC, precision and recall against the toolkit's."""
        whole = self._stored
        judgement = judge(whole.policy, plan=whole.plan, evidence=self._evidence, as_of=AS_OF)
        measured = {one.cell.id: one.measurement for one in judgement.findings}
        drawn = self._drawn()
        found: dict[str, Any] = {}
        for name in whole.plan.classes:
            ranked, cell = self._cell(f"t2-{name}"), self._cell(f"t2-{name}-precision")
            auroc, auprc = measured[ranked.id], measured[cell.id]
            if auroc is None:
                continue  # too few of the class for bounds
            ours = {
                "auroc": _bounds(auroc.members),
                "auprc": None if auprc is None else _bounds(auprc.members),
                "precision": _bounds(auroc.reported.get("precision")),
                "recall": _bounds(auroc.reported.get("recall")),
            }
            labels = self._evidence[str(ranked.labels)]
            rows = [
                (positive, toolkit_share(drawn[prompt], whole.plan.classes[name].watch))
                for member, positive, prompt in zip(
                    *(labels[c].to_pylist() for c in ("member", "positive", "prompt")), strict=True
                )
                if member and prompt in drawn
            ]
            has_class, share = (np.array(column) for column in zip(*rows, strict=True))
            found[name] = {
                "members": len(rows),
                "positive": int(has_class.sum()),
                "here": ours,
                "same continuations, counted": toolkit_attribute(has_class, share),
                "class left in the prompt": self._left_in(name, ranked),
            }
        return found

    # --- extraction -----------------------------------------------------------------------------

    def extraction(self) -> dict[str, Any]:
        """Hold the share that can be extracted against PrivacyGuard's."""
        with tempfile.TemporaryDirectory() as folder:
            policy, run = Path(folder) / "policy.yaml", Path(folder) / "run"
            policy.write_text(json.dumps(_EXTRACTION), encoding="utf-8")
            prepared = prepare(policy, self.target)
            run_audit(
                prepared.audit, run=run, open_target=prepared.open_target, progress=Stopwatch(),
                command="phigate run",
            )  # fmt: skip
            whole = load_run(run)
            found = judge(
                whole.policy, plan=whole.plan, evidence=evidence_of(run), as_of=AS_OF
            ).findings
        (cell,) = found
        assert cell.measurement is not None
        return {
            "here": {
                "members": _bounds(cell.measurement.members),
                "nonmembers": _bounds(cell.measurement.nonmembers),
            },
            "discoverable": {
                name: self._discoverable(is_member)
                for name, is_member in (("members", True), ("nonmembers", False))
            },
        }

    @torch.inference_mode()
    def _discoverable(self, is_member: bool) -> float:
        """Return PrivacyGuard's share, of everybody who has so many tokens."""
        records, share = self._workload.split(is_member), []
        first, last = _KNOWN, _KNOWN + _LENGTH
        own = [records.record(i).tokens[:last] for i in range(len(records))]
        ids = torch.from_numpy(np.stack([one for one in own if len(one) == last]).astype(np.int64))
        for start in range(0, len(ids), RECORDS_AT_ONCE):
            part = ids[start : start + RECORDS_AT_ONCE]
            weights = self._model(part).logits[:, first - 1 : -1].float().softmax(-1)
            ranked = weights.sort(-1, descending=True).values
            inside = ranked.cumsum(-1) - ranked < _TOP_P
            least = ranked.masked_fill(~inside, torch.inf).amin(-1, keepdim=True)
            weights = weights.masked_fill(weights < least, 0.0)
            weights /= weights.sum(-1, keepdim=True)
            told = weights.gather(-1, part[:, first:, None])[..., 0].double().prod(-1)
            share += (1 - (1 - told) ** _QUERIES >= 0.5).tolist()
        return float(np.mean(share))

    def _left_in(self, name: str, cell: Cell) -> dict[str, float]:
        """Draw from the first tokens as they stand, for some members with the class and without."""
        spec = self._stored.policy.spec
        known = int(spec.attackers[HELD_AGAINST].knows.tokens)
        watch = self._stored.plan.classes[name].watch
        records = self._workload.split(True)
        has = np.array(
            [np.isin(records.record(i).tokens, watch).any() for i in range(len(records))]
        )
        long = np.diff(records.offsets) > known + 1
        rng = np.random.default_rng(0)
        chosen = [
            i
            for side in (True, False)
            for i in rng.permutation(np.flatnonzero((has == side) & long))[: self.patients].tolist()
        ]
        params = cell.params
        sampler = Sampler(
            temperature=params["temperature"],
            top_p=params["topP"],
            horizon_tokens=params["horizonTokens"],
            seed=self._stored.plan.seed,
        )
        shares = []
        for i in chosen:
            prompt = records.record(i).tokens[:known]
            room = int(self._workload.max_length) - len(prompt)
            drawn = generate(
                self._model,
                prompt,
                key=i,
                samples=params["probabilitySamples"],
                sampler=replace(sampler, horizon_tokens=min(room, sampler.horizon_tokens)),
                eos_id=self._special("eos"),
                pad_id=self._special("pad"),
            )
            shares.append(toolkit_share(drawn, watch))
        return {
            **toolkit_attribute(has[chosen], np.array(shares)),
            "members": len(chosen),
            "told it in the prompt": float(
                np.mean(
                    [
                        np.isin(records.record(i).tokens[:known], watch).any()
                        for i in chosen
                        if has[i]
                    ]
                )
            ),
        }


def _bounds(estimate: Estimate | None) -> dict[str, float] | None:
    if estimate is None:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def show(found: dict[str, Any]) -> None:
    """Print what was held against what."""
    for part, numbers in found.items():
        print(f"\n{part}")
        print(json.dumps(numbers, indent=2))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, help="write the JSON here")
    parser.add_argument("--policy", type=Path, default=POLICY, help="of the run")
    parser.add_argument("--parts", nargs="+", default=["T4", "T1", "T2", "extraction"])
    parser.add_argument("--patients", type=int, default=100, help="of each split, one by one")
    arguments = parser.parse_args()
    compared = Compared(arguments.target, arguments.run, arguments.policy, arguments.patients)
    parts = {
        "T4": compared.membership,
        "T1": compared.trajectories,
        "T2": compared.attributes,
        "extraction": compared.extraction,
    }
    found = {name: part() for name, part in parts.items() if name in arguments.parts}
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    show(found)


if __name__ == "__main__":
    main()
