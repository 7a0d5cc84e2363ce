"""Rows of `wrong_instruments` for models that are other ones beyond 64 tokens.

Patients have records of about 100 tokens, and the attacker is told a record up to the class. A
window and a chunk are applied through the mask alone, positions switch as LongRoPE's do
(`long_models`); plug-ins do the same to models of either kind without saying so. A model whose
positions switch is rightly described where nothing in use is longer than the switch, and refused
where records go on, because its scores of a beginning change with what follows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.wrong_cases import Bend, Case, Draft, confirmed, plugin
from benchmarks.wrong_worlds import LENGTHS, Kind

_NO_ATTENTION: Mapping[Kind, str] = {"table": "a table has no attention and no positions"}
_MOVED = {"window": 96, "chunk": 96, "rope": 96}
"""What a configuration says instead."""

_GROUPS = {
    "window": "a window beyond 64 tokens",
    "chunk": "a chunk beyond 64 tokens",
    "rope": "a rope switch beyond 64 tokens",
}
_KEYS = {
    "window": "sliding_window",
    "chunk": "attention_chunk_size",
    "rope": "original_max_position_embeddings",
}


def _configured(change: Callable[[dict[str, Any]], None]) -> Bend:
    """The configuration says otherwise than the model was trained."""

    def bend(draft: Draft) -> None:
        path = draft.copy_model() / "config.json"
        config = json.loads(path.read_text())
        change(config)
        path.write_text(json.dumps(config))

    return bend


def _set(key: str, value: int | None) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        assert key in config
        config[key] = value

    return change


def _never_turned(config: dict[str, Any]) -> None:
    """One set of angles for all lengths."""
    (turned,) = (one for one in config.values() if isinstance(one, dict) and "long_factor" in one)
    turned["long_factor"] = turned["short_factor"]


def _case(name: str, shape: str, title: str, bend: Bend, **more: Any) -> Case:
    more = {"model": f"{shape}-leaking", "inapplicable": _NO_ATTENTION} | more
    return Case(name, _GROUPS[shape], title, bend, policy="long", **more)


LONG_CONTROLS = (
    Case(
        "leaking-long",
        "rightly described",
        "the leaking model, of long records",
        confirmed,
        policy="long",
        expected="fail",
    ),
    Case(
        "sound-long",
        "rightly described",
        "the sound model, of long records",
        confirmed,
        model="sound",
        policy="long",
        expected="pass",
    ),
    *(
        _case(
            f"{shape}-{model}",
            shape,
            f"rightly described, the {model} model",
            confirmed,
            model=f"{shape}-{model}",
            expected=expected,
        )
        for shape in _GROUPS
        for model, expected in (("leaking", "fail"), ("sound", "pass"))
    ),
)
"""Audits of long records of which the verdict is known."""

LONG_WRONG = (
    _case(
        "window-unnamed",
        "window",
        "the configuration names none",
        _configured(_set(_KEYS["window"], None)),
    ),
    _case(
        "window-moved",
        "window",
        f"the configuration says {_MOVED['window']} and not {LENGTHS['window']}",
        _configured(_set(_KEYS["window"], _MOVED["window"])),
    ),
    _case(
        "draws-in-a-window",
        "window",
        "a plug-in draws after the last 64 tokens of a prompt",
        plugin("draws-in-a-window"),
        model="leaking",
        inapplicable={},
    ),
    _case(
        "chunk-unnamed",
        "chunk",
        "the configuration names one of the whole context",
        _configured(_set(_KEYS["chunk"], 128)),
    ),
    _case(
        "chunk-moved",
        "chunk",
        f"the configuration says {_MOVED['chunk']} and not {LENGTHS['chunk']}",
        _configured(_set(_KEYS["chunk"], _MOVED["chunk"])),
    ),
    _case(
        "draws-in-chunks",
        "chunk",
        "a plug-in draws after the last block of a prompt",
        plugin("draws-in-chunks"),
        model="leaking",
        inapplicable={},
    ),
    _case(
        "rope-moved",
        "rope",
        f"the configuration says {_MOVED['rope']}, and records go on beyond",
        _configured(_set(_KEYS["rope"], _MOVED["rope"])),
    ),
    _case(
        "rope-moved-sound",
        "rope",
        "the same of a sound model",
        _configured(_set(_KEYS["rope"], _MOVED["rope"])),
        model="rope-sound",
    ),
    _case(
        "rope-unswitched",
        "rope",
        "the configuration has one set of angles",
        _configured(_never_turned),
    ),
    _case(
        "switches-beyond",
        "rope",
        "a plug-in scores and draws by a sound model beyond 64 tokens",
        plugin("switches-beyond"),
        model="leaking",
        inapplicable={},
    ),
)
"""What must never end in a pass, of long records."""
