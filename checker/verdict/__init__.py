"""Judge evidence against a policy: pure, without model, clock, GPU or network (METHODS §6).

For a limit "metric ≤ τ" a cell *passes* when the upper bound is at most τ and so is the bound that
zero hits would give at this n; it *fails* when the lower bound is above τ, also after Holm's
correction over all cells judged; otherwise it is *inconclusive*, with a reason. What is missing,
untested or not shown to be comparable is never a pass.

The release claim "every cell is within its limit" is an intersection–union test, each cell at α.
Naming the cells that fail is the opposite, hence the correction there.

A further attempt at the same release is judged at less than α (`stats.attempt_confidence`). What
has to be *shown* for a verdict is shown at the attempt's level: bounds, zero-hit bounds, Holm, that
the split is comparable, that base rates are alike, that canaries are found. Alarms that only take a
verdict away, the placebo and the test for a better prompt format, keep the policy's level: at a
smaller α they would sound less often, and a second try would be let off more lightly than a first.

`finding` says what a verdict is, `limits` compares numbers with a limit, `cell_judge` judges one
cell, `judging` all of them.
"""

from checker.verdict.finding import Finding, Judgement, Verdict, overall_verdict, worst
from checker.verdict.judging import judge, settled_cells
from checker.verdict.limits import compare_with_limit

__all__ = [
    "Finding",
    "Judgement",
    "Verdict",
    "compare_with_limit",
    "judge",
    "overall_verdict",
    "settled_cells",
    "worst",
]
