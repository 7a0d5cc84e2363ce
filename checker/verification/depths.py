"""How many of a class no attacker reaches, counted again from the evidence."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from checker.attacks.tables import booleans
from checker.planning import AuditPlan
from checker.planning.depth import Reach, class_depth, depth_labels
from checker.verification.samples import Tables


def strange_depths(plan: AuditPlan, tables: Tables) -> Iterator[str]:
    """Yield what a plan says of its depth and the evidence does not bear out."""
    labels = depth_labels(plan.cells, plan.jobs)
    for name in plan.depth.classes.keys() - labels.keys():
        yield f"says how deep {name} is looked for, which no continuation is asked for"
    tokens = plan.depth.tokens
    if tokens is not None:
        for name in labels.keys() - plan.depth.classes.keys():
            yield f"does not say how deep {name} is looked for"
        if tokens.members != plan.data.lot[0] or tokens.continued + tokens.scored > tokens.tokens:
            yield "looks at more tokens, or at other members, than there are"
    for name, said in plan.depth.classes.items():
        found = [(tables(job), decides) for job, decides in labels.get(name, {}).items()]
        reaches = [_reach(table, decides) for table, decides in found if table is not None]
        if reaches and len(reaches) == len(found) and class_depth(reaches) != said:
            yield f"how deep {name} is looked for is not what the evidence has"


def _reach(labels: pa.Table, decides: bool) -> Reach:
    drawn = labels["drawn"].is_valid().to_numpy() if "drawn" in labels.column_names else None
    return Reach(
        member=booleans(labels, "member"),
        positive=booleans(labels, "positive"),
        eligible=booleans(labels, "eligible"),
        asked=drawn,
        decides=decides,
    )
