"""Numbers beyond a model's embeddings, said before they are looked up.

Torch says of them that an index is out of range, and on a GPU loses the whole device. Whoever has
declared a channel wants to know which embeddings it exceeds, and with what.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from checker.errors import TargetError


class EmbeddingBounds:
    """Looks at what a model's embeddings are asked for, while it is wanted.

    It waits for the device at each look, so that ids alone, which are checked before, go without.

    Args:
        model: a loaded model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._hooks: list[Any] = []

    def watch(self, *, wanted: bool) -> None:
        """Look from now on, or no longer."""
        if wanted and not self._hooks:
            self._hooks = [
                module.register_forward_pre_hook(_looking(name))
                for name, module in self._model.named_modules()
                # others add to what they are given, or are given something else
                if type(module).forward is nn.Embedding.forward
            ]
        elif not wanted:
            while self._hooks:
                self._hooks.pop().remove()


def _looking(name: str) -> Any:
    def look(module: nn.Embedding, given: tuple[Any, ...]) -> None:
        if not given or not given[0].numel():
            return
        low, high = (int(bound) for bound in given[0].aminmax())
        if low < 0 or high >= module.num_embeddings:
            raise TargetError(
                f"the model is told {low if low < 0 else high}, but its {name} knows 0 to"
                f" {module.num_embeddings - 1} only; bound the channel in tokenization.channels"
                " ('most', 'modulo'), or correct its rule or unit"
            )

    return look
