"""What is installed only where it is asked for, and how whoever lacks it is told.

`pip install phigate` reads documents, plans, judges, reports and verifies; what measures a model,
spreads an audit or draws pages is an extra of the distribution, named here with the packages that
it brings.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

from checker.errors import MissingExtra

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "audit": ("torch", "transformers", "sklearn", "threadpoolctl"),
    "ray": ("ray",),
    "pdf": ("weasyprint", "pypdf"),
}
"""The extras that users install, with the modules that each brings."""


def install_command(extra: str) -> str:
    """Return what to type to get an extra.

    >>> install_command("audit")
    "pip install 'phigate[audit]'"
    """
    return f"pip install 'phigate[{extra}]'"


def require_extra(extra: str, what: str, *, only: Sequence[str] = ()) -> None:
    """Refuse what cannot be done without an extra, before anything is begun.

    Args:
        extra: of EXTRAS.
        what: cannot be done without it, as a sentence begins ("asking a model").
        only: the modules of the extra that it takes; default: all.

    Raises:
        MissingExtra: one of the extra's packages is not installed.
    """
    missing = [name for name in only or EXTRAS[extra] if not is_installed(name)]
    if missing:
        raise MissingExtra(
            f"{what} takes {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'}"
            f" not installed; install the extra '{extra}' and run the same command again:"
            f" {install_command(extra)}"
        )


def is_installed(module: str) -> bool:
    """Whether a module of an extra can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a module that was taken out of reach on purpose
        return False
