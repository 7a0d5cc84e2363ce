"""A local text encoder that reads the labels of codes; it is no model under audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from checker.targets.engine.batches import numbers_of
from checker.targets.engine.loading import check_weights, vendor

TEXTS_AT_ONCE = 64


def embed_texts(directory: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts with a local text encoder: the mean of its last hidden states over real tokens.

    It reads the labels of codes, on the CPU, in float32.

    Args:
        directory: a transformer and its tokenizer, saved with safetensors; nothing is fetched and
            no code of its own is run.
        texts: n texts; longer ones than the encoder takes are cut.

    Returns:
        [n, width] float32.

    Raises:
        TargetError: it cannot be loaded, or gives no numbers.
    """
    only_local = {"local_files_only": True, "trust_remote_code": False}
    with vendor(f"{directory}: embedding labels"), torch.inference_mode():
        tokenizer = AutoTokenizer.from_pretrained(directory, **only_local)
        model, loading = AutoModel.from_pretrained(
            directory,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **only_local,
        )
        # encoders are saved with or without the heads of their pretraining, and a pooler is not
        # used here: only weights of the layers themselves must not be missing
        missing = [name for name in loading["missing_keys"] if "pooler" not in name]
        check_weights(directory, {**loading, "missing_keys": missing, "unexpected_keys": ()})
        longest = getattr(model.config, "max_position_embeddings", None)
        means = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            batch = tokenizer(
                list(texts[start : start + TEXTS_AT_ONCE]),
                padding=True,
                truncation=longest is not None,
                max_length=longest,
                return_tensors="pt",
            )
            hidden = model.eval()(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None]
            means.append(numbers_of((hidden * mask).sum(1) / mask.sum(1)))
    return np.concatenate(means)
