"""Plans: a policy, a target and its cohort, compiled into cells and jobs.

Compiling pays twice. *Correctness*: before any GPU time, the plan knows for each cell how many
positives there are and which cells cannot pass, and says what sample would be needed. *Speed*:
cells share jobs, and a prompt that several cells need is run once.
"""

from checker.planning.attempts import at_attempt
from checker.planning.compile import CompiledAudit, compile_plan
from checker.planning.model import (
    AuditPlan,
    Cell,
    ClassSnapshot,
    Job,
)
from checker.planning.rejudge import demanded_cells, with_policy
from checker.planning.workload import Workload

__all__ = [
    "AuditPlan",
    "Cell",
    "ClassSnapshot",
    "CompiledAudit",
    "Job",
    "Workload",
    "at_attempt",
    "compile_plan",
    "demanded_cells",
    "with_policy",
]
