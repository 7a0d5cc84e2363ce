"""A GPT-2 that is told ages and visits beside token ids, as models of the BEHRT family are.

The file is copied beside the weights, whose `config.json` names it: the model is opened by
`trustRemoteCode`, as those of the field are that no library has.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

MONTHS = 1600


class AgedGPT(GPT2LMHeadModel):  # type: ignore[misc]
    """Adds embeddings of `ages` (months) and `visits` (0 or 1, in turn) to those of tokens."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.age = nn.Embedding(MONTHS, config.n_embd)
        self.visit = nn.Embedding(2, config.n_embd)
        self.post_init()

    def forward(
        self,
        input_ids: Any = None,
        ages: Any = None,
        visits: Any = None,
        **others: Any,
    ) -> Any:
        """Predict as GPT-2 does; without channels nothing is added."""
        embedded: torch.Tensor = self.transformer.wte(input_ids)
        if ages is not None:
            embedded = embedded + self.age(ages)
        if visits is not None:
            embedded = embedded + self.visit(visits)
        return super().forward(inputs_embeds=embedded, **others)
