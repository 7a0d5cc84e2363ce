"""Code of somebody else that fails while it is asked what was found: its cells end in error.

A plug-in's measuring is run by whoever judges, long after the model was asked. Where it raises, or
returns what is no number, nothing is known of the cell, so that it can neither pass nor fail; the
others are judged all the same. What phigate itself gets wrong is not hidden here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from checker.attacks.api import GROUP
from checker.attacks.families import Measurement
from checker.errors import InsufficientData, PhigateError
from checker.plugins import BUILT_IN
from checker.stats.estimate import Estimate

_LONGEST = 200
REASON = "measure-crashed"


class MeasureCrash(Exception):
    """An attack's own code failed; its text says which and how, in one line."""


@contextmanager
def confined(attack: str) -> Iterator[None]:
    """Turn whatever an attack of somebody else raises into a `MeasureCrash`.

    That there is too little to measure is an answer and no failure; built-in attacks have none.

    Args:
        attack: by name.
    """
    if attack in BUILT_IN[GROUP]:
        yield
        return
    try:
        yield
    except (InsufficientData, MeasureCrash):
        raise
    except (Exception, SystemExit) as error:  # who leaves the process would choose its exit code
        kind = "" if isinstance(error, PhigateError) else f"{type(error).__name__}: "
        text = " ".join(f"{kind}{error}".split())[:_LONGEST]
        raise MeasureCrash(f"The attack '{attack}' failed on what was observed: {text}") from error


def refuse_other(measured: object, *, attack: str) -> None:
    """Refuse what is no measurement: only an `Estimate` is known to have bounds in order, no NaN.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(measured, Measurement) or type(measured.estimate) is not Estimate:
        raise TypeError(f"'{attack}' measures no Measurement with an Estimate")
