"""Where jobs run: in this process one after another, or on the workers of a Ray cluster.

An executor decides where and when, never what: observations depend on the job, the patients, the
models and the environment that is part of every key, so any executor leaves the same evidence, byte
for byte. What may run next, and what is kept, `checker.run` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from checker.errors import UsageError
from checker.extras import install_command
from checker.run.execution import Execution
from checker.run.executors.ray_network import choose_network
from checker.run.executors.serial import SerialExecutor
from checker.run.executors.worker import Openers, Outcome, ReadyJob, Take, cpu_environment

if TYPE_CHECKING:
    from checker.run.prepare import Prepared

__all__ = [
    "EXECUTORS",
    "Executor",
    "Openers",
    "Outcome",
    "ReadyJob",
    "SerialExecutor",
    "Take",
    "choose_executor",
    "cpu_environment",
]

EXECUTORS = ("serial", "ray")


class Executor(Protocol):
    """Runs the jobs of one plan."""

    def open(
        self, execution: Execution, *, openers: Openers, models: Sequence[str]
    ) -> dict[str, Any]:
        """Get ready, and load models wherever jobs will run.

        Args:
            execution: of the plan; its patients and its pseudonyms are in this process.
            openers: load the models in this process; workers elsewhere load them themselves.
            models: names of those that jobs run on; may be empty.

        Returns:
            The environment of the models, part of the key of everything measured on them. It is the
            same wherever a job runs.

        Raises:
            TargetError: a model cannot be loaded.
            ExecutorError: there is nowhere to run.
        """
        ...

    def preflight(self) -> dict[str, float]:
        """Check the loaded models against themselves; returns the deviations by check.

        Raises:
            TargetError: a check is beyond its tolerance.
        """
        ...

    def run(self, take: Take) -> Iterator[Outcome]:
        """Run jobs until `take` has none left, and yield what becomes of each.

        An outcome is recorded before the next is asked for, so `take` always knows all of them.

        Raises:
            EvidenceError: evidence was changed or is missing.
            ExecutorError: there is nowhere left to run.
        """
        ...

    def close(self) -> None:
        """End whatever was started; jobs at work are given up."""
        ...


def choose_executor(
    name: str,
    prepare: Callable[[], Prepared],
    *,
    address: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    notice: Callable[[str], None],
) -> Executor:
    """Return the executor of a name; nothing is started yet.

    Args:
        name: of EXECUTORS.
        prepare: reads the documents and the patients again, in another process; picklable.
        address: of a Ray cluster, HOST:PORT; by default one is started on this machine.
        workers: how many hold the patients and the models; default: one a GPU or a CPU share.
        threads: of each worker; 1 by default.
        notice: is told what the user should know, such as that a worker was lost.

    Raises:
        UsageError: Ray is not installed, or options do not belong together.
    """
    if name == "serial":
        given = {"--ray-address": address, "--workers": workers, "--threads-per-worker": threads}
        for option, value in given.items():
            if value is not None:
                raise UsageError(f"{option}: belongs to --executor ray, and the executor is serial")
        return SerialExecutor()
    choose_network(address)
    try:
        from checker.run.executors.ray_executor import RayExecutor
    except ImportError as error:
        raise UsageError(
            "--executor ray: Ray is not installed; it comes with the extra"
            f" ({install_command('ray')})"
        ) from error
    return RayExecutor(
        prepare, address=address, workers=workers, threads=threads or 1, notice=notice
    )
