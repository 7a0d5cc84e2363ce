"""Targets written from what trainers leave in their folders.

A trainer's own files say most of what a target has to: which code has which id, where values are
cut, who was trained on. What they do not say is taken for granted in words, and shown or refuted by
`phigate target test`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from checker.errors import UsageError
from checker.importing import hf_ehr, huggingface, meds_eic_ar, token_table
from checker.importing.converting import Conversion, convert
from checker.importing.draft import TargetDraft, WrittenTarget, write_draft

_DRAFTS: Final[dict[str, Callable[..., TargetDraft]]] = {
    hf_ehr.KIND: hf_ehr.draft_target,
    huggingface.KIND: huggingface.draft_target,
    meds_eic_ar.KIND: meds_eic_ar.draft_target,
    token_table.KIND: token_table.draft_target,
}
KINDS: Final = tuple(sorted(_DRAFTS))


def init_target(
    kind: str,
    source: Path,
    *,
    out: Path,
    data: Path | None = None,
    loader: Path | None = None,
    force: bool = False,
) -> WrittenTarget:
    """Write a target from a trainer's folder.

    Args:
        kind: of KINDS.
        source: the folder.
        out: where the target and its files go; made where it is not there.
        data: the MEDS data set, where the kind needs it told.
        loader: what the trainer's data loader wrote, where the kind has such a thing.
        force: overwrite files that are there.

    Raises:
        UsageError: there is no such folder, or a file is there already.
        DataError, TargetError, DocumentError: the folder does not hold what the kind has there.
    """
    for folder in (source, data):
        if folder is not None and not folder.is_dir():
            raise UsageError(f"{folder}: there is no such folder")
    if loader is not None and not loader.exists():
        raise UsageError(f"{loader}: there is no such file or folder")
    draft = _DRAFTS[kind](source, data=data, loader=loader, out=out)
    return write_draft(draft, out, force=force)


__all__ = ["KINDS", "Conversion", "WrittenTarget", "convert", "init_target"]
