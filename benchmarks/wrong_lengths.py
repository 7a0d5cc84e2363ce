"""Rows of `wrong_instruments` for models that are other ones beyond 64 tokens.

Patients have records of about 100 tokens, and the attacker is told a record up to the class. A
window and a chunk are applied through the mask alone, positions switch as LongRoPE's do, beyond all
records or within (`long_models`); plug-ins do the same to models of either kind without saying so.
A model of which one pass over a record knows more than it does when it draws is refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.wrong_cases import Bend, Case, Draft, confirmed, plugin
from benchmarks.wrong_plugins import OTHER
from benchmarks.wrong_worlds import LENGTHS, Kind

_NO_ATTENTION: Mapping[Kind, str] = {"table": "a table has no attention and no positions"}
_MOVED = {"window": 96, "chunk": 96, "rope": 96, "crossed": 120}
"""What a configuration says instead."""

_GROUPS = {
    "window": "a window beyond 64 tokens",
    "chunk": "a chunk beyond 64 tokens",
    "rope": "a rope switch beyond 64 tokens",
    "crossed": "a rope switch within records",
}
_KEYS = {
    "window": "sliding_window",
    "chunk": "attention_chunk_size",
    "rope": "original_max_position_embeddings",
    "crossed": "original_max_position_embeddings",
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


def _angles(config: dict[str, Any]) -> dict[str, Any]:
    (found,) = (one for one in config.values() if isinstance(one, dict) and "long_factor" in one)
    return found


def _never_turned(config: dict[str, Any]) -> None:
    """One set of angles for all lengths."""
    angles = _angles(config)
    angles["long_factor"] = angles["short_factor"]


def _exchanged(config: dict[str, Any]) -> None:
    """Short records by the angles of long ones, and the reverse."""
    angles = _angles(config)
    angles["long_factor"], angles["short_factor"] = angles["short_factor"], angles["long_factor"]


def _unswitched(config: dict[str, Any]) -> None:
    """The switch lies where the context ends."""
    config[_KEYS["crossed"]] = config["max_position_embeddings"]


def _answered_unswitched(backend: str) -> Bend:
    """A plug-in that draws, or scores, by the same weights without the switch."""

    def bend(draft: Draft) -> None:
        plain = draft.folder / "unswitched"
        shutil.copytree(draft.folder / draft.spec["model"]["path"], plain)
        path = plain / "config.json"
        config = json.loads(path.read_text())
        _unswitched(config)
        path.write_text(json.dumps(config))
        draft.spec["model"]["backend"] = backend
        (draft.folder / OTHER).write_text(f"{plain.name}\n")

    return bend


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
        "rope-unswitched",
        "rope",
        "the configuration has one set of angles",
        _configured(_never_turned),
    ),
    _case(
        "crossed-unnamed",
        "crossed",
        "the configuration has the switch where the context ends",
        _configured(_unswitched),
    ),
    _case(
        "crossed-moved",
        "crossed",
        f"the configuration says {_MOVED['crossed']} and not {LENGTHS['crossed']}",
        _configured(_set(_KEYS["crossed"], _MOVED["crossed"])),
    ),
    _case(
        "crossed-one-set",
        "crossed",
        "the configuration has one set of angles",
        _configured(_never_turned),
    ),
    _case(
        "crossed-exchanged",
        "crossed",
        "the two sets of angles are exchanged",
        _configured(_exchanged),
    ),
    _case(
        "draws-unswitched",
        "crossed",
        "a plug-in draws as if positions never switched",
        _answered_unswitched("draws-another"),
    ),
    _case(
        "scores-unswitched",
        "crossed",
        "a plug-in scores as if positions never switched",
        _answered_unswitched("scores-another"),
    ),
    _case(
        "trained-in-one-pass",
        "crossed",
        "trained on whole records, unlike it draws",
        confirmed,
        model="whole-leaking",
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
