"""What is made once in a session and only looked at, whichever worker asks for it first."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

Made = TypeVar("Made")


def built_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> Made:
    """Make something, or wait for the worker that makes it, and return it.

    Args:
        factory: of this session's folders.
        name: of what is made; equal names stand for equal things.
        make: is given a folder to write to, which does not exist yet; what it returns is handed on
            by pickle.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # a worker's folder lies in the session's
    place = base / "built-once" / name
    place.mkdir(parents=True, exist_ok=True)
    kept, folder = place / "made.pickle", place / "work"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed
        if not kept.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            kept.write_bytes(pickle.dumps(make(folder)))
    made: Made = pickle.loads(kept.read_bytes())
    return made
