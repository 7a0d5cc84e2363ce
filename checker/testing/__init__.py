"""Targets of known truth and made-up data sets, for tests, benchmarks and plug-in authors.

* `simulated`: a language model made of tables, whose leakage is known exactly;
* `toy_targets`: a synthetic cohort with a leaking and a sound simulated target;
* `hospital`: made-up patients of any number, for what depends on size.

`backend: simulated` is unknown to phigate until `offer_simulated_backend` is called: it then stands
beside the built-in backends as any plug-in does, by the entry point of a distribution.
"""

import os
import sys
from pathlib import Path

__all__ = ["offer_simulated_backend"]

_PLUGINS = str(Path(__file__).parent / "plugins")


def offer_simulated_backend() -> None:
    """Make `backend: simulated` known in this process and in those that it starts.

    Call it before the first plug-in is looked up, for what is installed is looked for only once.
    """
    if _PLUGINS not in sys.path:
        sys.path.append(_PLUGINS)
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if _PLUGINS not in inherited:
        os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, inherited), _PLUGINS])
