"""Sees to it that a model with channels is never asked without them.

A sequence that lost its channels on the way would be read as one of other ages or segments, and a
model that is asked so leaks nothing. So what a target declares is compared with what the model
takes when it is opened, and every sequence with it before it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from checker.errors import TargetError
from checker.targets.channels import channels_of, exact_channels
from checker.targets.protocol import TargetModel, Tokens


class ChannelGuard:
    """A model, each verb of which looks at the sequences first.

    They are its first argument, of verbs yet to come too: one that takes others is refused here
    until it is told apart.

    Args:
        model: takes every channel that is declared.
        declared: names of the channels, in order; at least one.
    """

    def __init__(self, model: TargetModel, declared: Sequence[str]) -> None:
        self._model, self._declared = model, tuple(declared)

    def __getattr__(self, name: str) -> Any:
        """Return the model's own attribute; of a verb, one that looks first."""
        found = getattr(self._model, name)
        if not callable(found) or name.startswith("__"):
            return found
        if name == "gain_of_one_pass":
            return lambda tokens: found(*self._checked([tokens]))

        def verb(sequences: Sequence[Tokens], *others: Any, **settings: Any) -> Any:
            return found(self._checked(sequences), *others, **settings)

        return verb

    def _checked(self, sequences: Sequence[Tokens]) -> Sequence[Tokens]:
        for number, tokens in enumerate(sequences):
            names = tuple(rule.name for rule in channels_of(tokens))
            # one more may be tried
            if names[: len(self._declared)] != self._declared:
                raise TargetError(
                    f"sequence {number} reached the model without the channels"
                    f" {', '.join(self._declared)}; this is a mistake in phigate, or in the attack"
                    " that asks"
                )
            if not np.isfinite(exact_channels(tokens)).all():
                raise TargetError(f"sequence {number} has channels that are no numbers")
        return sequences


def guarded(model: TargetModel, declared: Sequence[str], *, where: str) -> TargetModel:
    """Return a model that is asked with the declared channels only.

    Args:
        model: as its backend opened it.
        declared: names of the target's channels; of none the model is returned as it is.
        where: the model's path, for errors.

    Raises:
        TargetError: it does not take one of them, or requires another.
    """
    takes, required = model.info.channels, model.info.required
    if lacking := sorted(required - set(declared)):
        raise TargetError(
            f"{where}: the model takes '{lacking[0]}' beside token ids, and without it is another"
            " model than the one that was trained; declare it in tokenization.channels"
        )
    if not declared:
        return model
    for name in declared:
        if name not in takes:
            raise TargetError(
                f"{where}: the model takes no channel '{name}' (tokenization.channels) beside token"
                f" ids; it takes {', '.join(sorted(takes)) or 'none'}"
            )
    return cast("TargetModel", ChannelGuard(model, declared))
