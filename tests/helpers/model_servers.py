"""Model servers in a thread of this process, and in processes of their own.

In a thread nothing is imported anew, so a wrong answer costs milliseconds; that a process is
started, ends and is ended takes one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checker.policy.documents import ModelSpec
from checker.targets import TargetBackend, TargetModel
from checker.targets.adapter.phigate_adapter import TOKEN_VARIABLE, NextToken, Server

TOKEN = "a secret of the tests"


class Table(NextToken):
    """A table of logits by the last token, with an end of records."""

    vocabulary_size = 12
    context_length = 40

    def __init__(self, *, seed: int = 0) -> None:
        self.table = np.random.default_rng(seed).normal(size=(12, 12)).astype(np.float32)

    def logits(self, tokens: Any, channels: Mapping[str, Any]) -> Any:
        """Return the rows of the tokens."""
        return self.table[tokens]


class Deferred:
    """A model of phigate's own, opened when an audit begins.

    Args:
        backend: that opens it.
        path: where it lies.
    """

    def __init__(self, backend: TargetBackend, path: Path) -> None:
        self._backend, self._spec = backend, ModelSpec(path=str(path))
        self.info = backend.describe(self._spec, Path("/"))

    def begin(self, *, pad_id: int | None, eos_id: int | None) -> TargetModel:
        """Open the model."""
        return self._backend.open(self._spec, Path("/"), pad_id=pad_id, eos_id=eos_id)


@contextmanager
def served(
    model: Any, files: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Iterator[ModelSpec]:
    """Serve a model from a thread; gives what a target says of it."""
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    server = Server(model, files=files, token=TOKEN)
    worker = threading.Thread(target=server.work, daemon=True)
    worker.start()
    try:
        yield ModelSpec(backend="flight", options={"location": server.location, **options})
    finally:
        server.close()


SCRIPT = """
import os, sys, time
import numpy as np
import phigate_adapter

class Model(phigate_adapter.NextToken):
    vocabulary_size, context_length = 12, 40
    def logits(self, tokens, channels):
        {trouble}
        return np.zeros((*tokens.shape, 12))

phigate_adapter.serve(Model(), files=sys.argv[1])
"""


def started(folder: Path, *, trouble: str = "pass", script: str = SCRIPT) -> ModelSpec:
    """Write a server's script and return what a target says of a model that it serves.

    Args:
        folder: for the script and the model's file.
        trouble: a statement that is run whenever the model is asked.
        script: another one.
    """
    (folder / "weights").write_bytes(b"of a model")
    (folder / "serve.py").write_text(script.replace("{trouble}", trouble))
    command = [sys.executable, "serve.py", "weights"]
    return ModelSpec(backend="flight", path="weights", options={"command": command, "timeout": 60})
