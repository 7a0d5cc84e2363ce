"""On how many threads a model computes on a CPU: one where it is small, else as torch would.

The matrices of a small model are multiplied faster than threads find together. Scoring 200 records
on two cores that others use too took a model of 0.9 M parameters 0.9 s on one thread and 5.1 s on
two, one of 6.1 M 5.9 s and 30 s, to the same bits. Whoever sets OMP_NUM_THREADS has decided.
"""

from __future__ import annotations

import os
from typing import Final

import torch

SMALL: Final = 10_000_000
"""Parameters below which a model counts as small."""


class ThreadChoice:
    """What the models that were opened in this process need, for threads are the process's own.

    Args:
        usual: threads that torch would use.
    """

    def __init__(self, usual: int) -> None:
        self.usual = usual
        self.largest = 0

    def open(self, parameters: int) -> int:
        """Return how many threads to use from now on, with one more model open.

        Args:
            parameters: of the model that is opened on the CPU.
        """
        self.largest = max(self.largest, parameters)
        return 1 if self.largest < SMALL else self.usual


_choice = ThreadChoice(torch.get_num_threads())


def choose_threads(model: torch.nn.Module, device: torch.device) -> None:
    """Set how many threads torch uses, for a model that was just loaded; see this module."""
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(_choice.open(sum(one.numel() for one in model.parameters())))
