"""Where the files that phigate ships are: in a checkout, or inside the wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(relative: str) -> Path:
    """Return the path of a shipped file or folder such as `policies/demo.yaml`.

    Raises:
        FileNotFoundError: phigate ships no such file.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        if (root / relative).exists():
            return root / relative
    raise FileNotFoundError(f"phigate ships no {relative}")
