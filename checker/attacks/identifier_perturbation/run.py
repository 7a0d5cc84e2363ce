"""T5: the prompts of disclosed members once more, with age, sex or race changed.

What is run depends on what was seen: only members whose first continuations disclose the class are
tried (METHODS §2, T5).
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pyarrow as pa

from checker.attacks.identifier_perturbation.perturbed_prompts import Perturber, perturbed_hits
from checker.attacks.rollouts import hit_shares
from checker.planning.task import Running, Task, sampler_of
from checker.targets import Tokens


def perturbations(task: Task) -> pa.Table:
    """How often each disclosed member's prompt and its variants make the model name the class."""
    inputs, workload = task.job.inputs, task.workload
    prompts = _disclosed(task)
    perturber = Perturber(
        workload.tokenizer,
        identifiers=inputs["identifiers"],
        counts=np.bincount(workload.members.tokens, minlength=task.plan.target.vocabulary_size),
    )
    rows = perturbed_hits(
        task.model,
        prompts,
        perturber=perturber,
        watch=inputs["watch"],
        samples=int(inputs["samples"]),
        sampler=sampler_of(task.job),
        max_length=workload.max_length,
        progress=task.advance,
    )
    names = [task.prompt_name(key) for key, _ in prompts]
    types = {
        "prompt": pa.string(),
        "identifier": pa.string(),
        "change": pa.string(),
        "samples": pa.int32(),
        "hits": pa.int32(),
    }
    return pa.Table.from_pylist(
        [asdict(row) | {"prompt": names[row.prompt]} for row in rows],
        schema=pa.schema(list(types.items())),
    )


def _disclosed(task: Task) -> list[tuple[bytes, Tokens]]:
    """Return key and tokens of the eligible members' prompts that disclose the class."""
    inputs = task.job.inputs
    labels = task.workload.labels[task.labels_digest()].members
    shares = hit_shares(task.needed("rollouts"), inputs["watch"], samples=int(inputs["samples"]))
    tokens = {
        key: prompt for job in task.job.needs for key, prompt in task.workload.prompts.get(job, ())
    }
    chosen = dict.fromkeys(
        key
        for index in np.flatnonzero(labels.eligible).tolist()
        if (key := labels.keys[index]) is not None
        and shares.get(task.prompt_name(key), 0.0) > inputs["threshold"]
    )
    return [(key, tokens[key]) for key in chosen]


RUN = Running({"perturbations": perturbations})
