"""Run a plan: which jobs are left, in which order, and what is kept when something stops it.

Kill a run anywhere and start it again: finished jobs are found by their key and not repeated. A
job that fails is recorded, and the others go on; the cells judged from it end in *error*. Where
jobs run is an executor's business (`checker.run.executors`), and makes no difference to what is
kept.
"""

from checker.run.running import RunProgress, run_audit

__all__ = ["RunProgress", "run_audit"]
