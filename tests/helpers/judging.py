"""Made-up evidence with known truth, for tests of the judge: no model, no patients."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from checker.attacks.families import Power, Sample
from checker.planning import AuditPlan, Cell, Job
from checker.planning.model import Cost, DataSnapshot, PolicySnapshot, TargetSnapshot
from checker.planning.nonmembers import extraction_settings
from checker.policy import load_target
from checker.policy.documents import LeakagePolicy, Limit
from checker.resources import resource
from checker.verdict import Judgement, judge

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
WATCHED, HARMLESS, FOREIGN = 7, 1, 3
SAMPLES = 10
TARGET = load_target(resource("policies/starter/target.yaml")).document


def policy(**gate: Any) -> LeakagePolicy:
    """A policy whose demands the cells of `Bench` carry."""
    return LeakagePolicy.model_validate_json(
        LeakagePolicy.model_validate(
            {
                "apiVersion": "phigate/v1",
                "kind": "LeakagePolicy",
                "metadata": {"name": "made-up", "version": "1"},
                "spec": {
                    "context": "internal",
                    "attackers": {"known": {"title": "Someone", "knows": {"events": 10}}},
                    "controls": {
                        "c": {
                            "title": "C",
                            "probe": "attribute-disclosure",
                            "metric": "excess_disclosure",
                            "limits": {"known": {"fail": 0.05}},
                        }
                    },
                    "gate": gate,
                },
            }
        ).model_dump_json()
    )


@dataclass
class Bench:
    """A plan under construction with the evidence that answers it."""

    cells: list[Cell] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    tables: dict[str, pa.Table] = field(default_factory=dict)
    confidence: float = 0.95

    def __post_init__(self) -> None:
        self.comparable()
        self.right_format()
        self.told()
        self.parts()
        self.overlap()
        self.nonmembers()

    def overlap(
        self, *, exact: int = 0, near: int = 0, same_codes: int = 0, set_aside: int | None = None
    ) -> None:
        """How many of 100 nonmembers have a member's record, and how many nearly so."""
        counts = {"exact": exact, "near": near, "same_codes": same_codes}
        counts |= {"members": 9, "nonmembers": 100, "compared": 9}
        aside = [f"aside {number}" for number in range(near if set_aside is None else set_aside)]
        table = {name: [count] for name, count in counts.items()} | {"set_aside": [aside]}
        self._add("overlap", "overlap", table)

    def nonmembers(self, *, known: int = 0, n: int = 100) -> None:
        """How many of n nonmembers a piece comes out of the model of."""
        self._add(
            "nonmembers",
            "extraction",
            {
                "patient": [f"outside {number}" for number in range(n)],
                "member": [False] * n,
                "subgroups": pa.array([[]] * n, pa.list_(pa.string())),
                "prompt": [f"outside {number}" for number in range(n)],
                "windows": [5] * n,
                "common": [1] * n,
                "log_probability": pa.array([-1.0] * known + [-30.0] * (n - known), pa.float64()),
                "greedy": [False] * n,
                "telling_log_probability": pa.array([None] * n, pa.float64()),
                "telling_greedy": [False] * n,
                "rare_log_probability": pa.array(
                    [-1.0] * known + [None] * (n - known), pa.float64()
                ),
                "rare_greedy": [False] * n,
            },
            inputs={**extraction_settings(12).inputs(), "member": False},
            runs_on="target",
        )

    def _add(self, name: str, kind: str, table: Any, **job: Any) -> str:
        self.jobs[name] = Job.model_validate(
            {"digest": name, "kind": kind, "title": name, "inputs": {}, **job}
        )
        self.tables[name] = table if isinstance(table, pa.Table) else pa.table(table)
        return name

    def comparable(self, *, shift: float = 0.0, n: int = 400) -> None:
        """Classifier scores of n members and n nonmembers, members higher by `shift`."""
        ladder = np.arange(n) / n
        self._add(
            "comparability",
            "comparability",
            {
                "patient": ["p"] * (2 * n),
                "member": [True] * n + [False] * n,
                # half a step between the two ladders: AUROC 0.5 without ties when shift is 0
                "score": np.concatenate([ladder + shift, ladder + 0.0001]).astype(np.float32),
            },
        )

    def right_format(
        self, *, better: str | None = None, unigram: float = 2.0, bigram: float = 1.5
    ) -> None:
        """Losses of the declared format and of two variants, one of them better if named.

        Args:
            better: the variant.
            unigram: loss of a table of tokens; the model's is about 1.02.
            bigram: the same of which follows which.
        """
        declared = 1.0 + 0.001 * np.arange(50)
        losses = {"declared": declared, "no BOS": declared + 0.5, "age +1": declared + 0.2}
        if better is not None:
            losses[better] = declared * 0.8 - 0.001 * (np.arange(50) % 3)
        self._add(
            "prompt-format",
            "prompt-format",
            {
                "patient": [str(i) for _ in losses for i in range(50)],
                "variant": [name for name in losses for _ in range(50)],
                "loss": np.concatenate(list(losses.values())),
                "unigram": pa.array(self._floor(losses, unigram), pa.float64()),
                "bigram": pa.array(self._floor(losses, bigram), pa.float64()),
            },
        )

    def told(self, *, recognised: int = 0, gain: float = 20.0, patients: int = 50) -> None:
        """Losses of beginnings as declared and as told otherwise, at most 5 nats likelier.

        Args:
            recognised: so many patients are likelier by `gain` when they are five years older.
            gain: in nats, of the whole beginning.
            patients: of the sample.
        """
        rows = [
            (str(i), telling, 60.0 + change)
            for i in range(patients)
            for telling, change in (
                ("declared", 0.0),
                ("age +5", -gain if i < recognised else 3.0),
                ("BOS: [CLS]", -5.0 + 0.1 * i),
            )
        ]
        patient, telling, loss = (list(column) for column in zip(*rows, strict=True))
        self._add(
            "other-descriptions",
            "other-descriptions",
            {"patient": patient, "telling": telling, "tokens": [20] * len(rows), "loss": loss},
        )

    def parts(self, **higher: float) -> None:
        """Losses of the parts of a record, which are a table's but for what is named.

        Args:
            higher: by part, nats a token by which the model's loss is above the table's.
        """
        rows = [
            (str(i), part, 2.0 + 0.01 * (i % 7) + higher.get(part, 0.0), 2.0 + 0.01 * (i % 5))
            for i in range(100)
            for part in ("static", "time", "end", "diagnoses", "other events")
        ]
        patient, part, loss, table = (list(column) for column in zip(*rows, strict=True))
        columns = {"patient": patient, "part": part, "loss": loss, "table": table}
        self._add("record-parts", "record-parts", columns)

    @staticmethod
    def _floor(losses: dict[str, Any], level: float) -> list[float | None]:
        return [
            level + 0.002 * (i % 7) if name == "declared" else None
            for name in losses
            for i in range(50)
        ]

    def disclosure(
        self,
        name: str,
        *,
        hits: tuple[int, int],
        n: tuple[int, int],
        limit: Limit | None = None,
        metric: str = "excess_disclosure",
        shared_by: int = 1,
        positive_only: int = 0,
        **cell: Any,
    ) -> None:
        """A cell with `hits` of `n` disclosed eligible members and nonmembers.

        Args:
            shared_by: so many patients have one prompt.
            positive_only: so many more members have the class beyond the horizon.
        """
        member: list[bool] = []
        eligible: list[bool] = []
        prompts: list[str | None] = []
        disclosed: dict[str, bool] = {}
        for split, (x, count) in enumerate(zip(hits, n, strict=True)):
            for i in range(count):
                prompt = f"{name}-{split}-{i // shared_by}"
                member.append(split == 0)
                eligible.append(True)
                prompts.append(prompt)
                disclosed[prompt] = i // shared_by < x
        member += [True] * positive_only
        eligible += [False] * positive_only
        prompts += [None] * positive_only
        rows = len(member)
        labels = pa.table(
            {
                "patient": [f"{name}-{i}" for i in range(rows)],
                "member": pa.array(member, pa.bool_()),
                "positive": pa.array([True] * rows, pa.bool_()),
                "eligible": pa.array(eligible, pa.bool_()),
                "prompt": pa.array(prompts, pa.string()),
                "subgroups": pa.array([[]] * rows, pa.list_(pa.string())),
                "base_score": pa.nulls(rows, pa.float32()),
            }
        )
        tokens = [
            [WATCHED if hit else HARMLESS] for hit in disclosed.values() for _ in range(SAMPLES)
        ]
        rollouts = pa.table(
            {
                "prompt": [prompt for prompt in disclosed for _ in range(SAMPLES)],
                "sample": pa.array(list(range(SAMPLES)) * len(disclosed), pa.int32()),
                "tokens": pa.array(tokens, pa.list_(pa.int32())),
            }
        )
        self.cells.append(
            _cell(
                name,
                metric=metric,
                probe="attribute-disclosure",
                attribute_class="secret",
                params={"samples": SAMPLES},
                limit=limit or Limit(fail=0.05),
                labels=self._add(f"{name}-labels", "labels", labels),
                jobs=[self._add(f"{name}-rollouts", "rollouts", rollouts)],
                sample=Sample(
                    members=n[0],
                    nonmembers=n[1],
                    members_positive=n[0] + positive_only,
                    nonmembers_positive=n[1],
                ),
                **cell,
            )
        )

    def membership(self, name: str, *, shift: float, n: int = 300, **cell: Any) -> None:
        """A membership cell; members score higher by `shift` of the nonmembers' range."""
        ladder = np.arange(n) / n
        scores = np.concatenate([ladder + shift, ladder + 0.0001]).astype(np.float32)
        table = pa.table(
            {
                "patient": [str(i) for i in range(2 * n)],
                "member": pa.array([True] * n + [False] * n, pa.bool_()),
                "subgroups": pa.array([[]] * (2 * n), pa.list_(pa.string())),
                "tokens": [20] * (2 * n),
                "loss": scores,
                "min-k@20.0": scores,
                "min-k++@20.0": scores,
            }
        )
        self.cells.append(
            _cell(
                name,
                metric="membership_auroc",
                probe="membership-inference",
                attribute_class=None,
                params={"score": "min-k"},
                limit=Limit(fail=0.6),
                labels=None,
                jobs=[self._add(f"{name}-scores", "scores", table)],
                sample=Sample(members=n, nonmembers=n),
                **cell,
            )
        )

    def learned(
        self,
        name: str,
        *,
        shift: float = 0.0,
        blind: float = 0.0,
        halves: float = 0.0,
        declared: float | None = None,
        n: int = 300,
        **cell: Any,
    ) -> None:
        """A cell of the learned membership score.

        Args:
            shift: by how much of the nonmembers' range members score higher.
            blind: the same of what the learner says without the model.
            halves: the same of one half of the nonmembers against the other.
            declared: the same of what the learner says from a declared reference alone.
            n: members, and nonmembers, who are judged.
        """
        ladder = np.arange(n) / n
        table = pa.table(
            {
                "patient": [str(i) for i in range(2 * n)],
                "member": pa.array([True] * n + [False] * n, pa.bool_()),
                "subgroups": pa.array([[]] * (2 * n), pa.list_(pa.string())),
                "half": pa.array([i % 2 == 0 for i in range(2 * n)], pa.bool_()),
                "blind": np.concatenate([ladder + blind, ladder + 0.0001]),
                "placebo": np.tile(ladder + halves * (np.arange(n) % 2 == 0), 2),
                "score@strongest": np.concatenate([ladder + shift, ladder + 0.0001]),
                "score@loss": np.concatenate([ladder + shift / 2, ladder + 0.0001]),
            }
        )
        if declared is not None:
            column = pa.array(np.concatenate([ladder + declared, ladder + 0.0001]))
            table = table.append_column("declared", column)
        self.cells.append(
            _cell(
                name,
                metric="membership_auroc",
                probe="membership-inference",
                attribute_class=None,
                params={"score": "strongest"},
                limit=Limit(fail=0.6),
                labels=None,
                jobs=[self._add(f"{name}-scores", "membership-scores", table)],
                sample=Sample(members=n, nonmembers=n),
                **cell,
            )
        )

    @property
    def plan(self) -> AuditPlan:
        """The plan so far."""
        return AuditPlan(
            policy=PolicySnapshot(
                document=policy(), document_sha256="0" * 64, sha256="0" * 64, lines={}
            ),
            target=TargetSnapshot(
                document=TARGET,
                document_sha256="0" * 64,
                sha256="0" * 64,
                model_sha256="0" * 64,
                model_files={},
                vocabulary_sha256="0" * 64,
                vocabulary_size=10,
                context_length=None,
                capabilities=["samples", "logprobs"],
            ),
            data=DataSnapshot(
                name="made up",
                sha256="0" * 64,
                members=9,
                nonmembers=9,
                events=9,
                tokens=9,
                tokens_left_out=0,
                unknown_events=0,
                unknown_share=0.0,
                commonest_unknown={},
                unused_tokens=[FOREIGN],
                unexplained_tokens=["TIME//1"],
            ),
            classes={
                "secret": {
                    "title": "Secret",
                    "codes_in_data": 1,
                    "watch": [WATCHED],
                    "unmatched": [],
                }
            },
            cells=self.cells,
            jobs=list(self.jobs.values()),
            comparability=Power(can_pass=True),
            nonmember_jobs=["nonmembers"],
            cost=Cost(
                forward_tokens=0,
                forward_tokens_unshared=0,
                rollout_tokens=0,
                rollout_tokens_unshared=0,
            ),
            seed=7,
            confidence=self.confidence,
        )

    def judge(self, **arguments: Any) -> Judgement:
        """Judge it."""
        settings: dict[str, Any] = {"evidence": self.tables, "as_of": AS_OF, **arguments}
        return judge(settings.pop("policy", policy()), plan=self.plan, **settings)


def _cell(name: str, **fields: Any) -> Cell:
    defaults: dict[str, Any] = {
        "id": f"{name}/known/all",
        "control": "c",
        "attacker": "known",
        "subgroup": "all",
        "params": {},
        "severity": "high",
        "gating": True,
        "on_inconclusive": "block",
        "measurement": name,
        "power": Power(can_pass=True),
    }
    return Cell(**{**defaults, **fields})
