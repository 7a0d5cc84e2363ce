"""An attack is a folder and one line in a table: nothing else names it, or what it observes."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from module_graph import imports, trees

from checker.attacks.api import GROUP, Attack, Measuring, by_name, columns_of, load_attack, owner_of
from checker.attacks.wording import AttackWords
from checker.errors import PluginError
from checker.kinds import SHARED
from checker.planning.protocol import planning_of
from checker.planning.task import Running
from checker.plugins import BUILT_IN, plugin_names
from checker.report.wording.measures import measure_of, probe_words
from checker.run.execution import SHARED_JOBS

ATTACKS = [load_attack(name) for name in BUILT_IN[GROUP]]
NAMES = {"probe", "kind"}
NEVER = {"family", "observes"}
"""What is an object, or is gone: compared with no word at all."""

WORDS = {
    *SHARED,
    *BUILT_IN[GROUP],
    *(kind for attack in ATTACKS for kind in attack.kinds),
}


def comparisons(tree: ast.AST) -> Iterator[str]:
    """Yield what compares a probe, kind, family or observation with its name written out."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        inner = [one for side in (node.left, *node.comparators) for one in ast.walk(side)]
        asked = {one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "")
                 for one in inner}  # fmt: skip
        words = {one.value for one in inner if isinstance(one, ast.Constant)}
        if (asked & NEVER and any(isinstance(one, str) for one in words)) or (
            asked & NAMES and words & WORDS
        ):
            yield ast.unparse(node)


def test_no_code_compares_names_of_attacks_kinds_or_families() -> None:
    found = {name: list(comparisons(tree)) for name, tree in trees().items()}
    assert not {name: texts for name, texts in found.items() if texts}


@pytest.mark.parametrize(
    "code",
    [
        "cell.probe == 'canary-exposure'",
        "job.kind in ('x', 'rollouts')",
        "'canaries' != kind",
        "load_attack(cell.probe).metrics[m].family == 'rate'",
    ],
)
def test_such_a_comparison_would_be_seen(code: str) -> None:
    assert list(comparisons(ast.parse(code)))


def test_no_attack_imports_another() -> None:
    folders = {attack.package for attack in ATTACKS}
    for name, others in imports().items():
        own = next((f for f in folders if name == f or name.startswith(f"{f}.")), None)
        strangers = {f for o in others for f in folders if o == f or o.startswith(f"{f}.")} - {own}
        assert own is None or not strangers, name


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_has_all_its_parts(attack: Attack) -> None:
    assert isinstance(attack.measuring, Measuring)
    assert planning_of(attack)
    words = attack.part("words", AttackWords)
    assert words.meaning
    assert all(metric.words for metric in attack.metrics.values())
    assert not set(attack.metrics) & set(words.numbers)  # of two, one would be forgotten
    if attack.kinds:
        assert attack.part("run", Running).kinds.keys() == attack.kinds.keys()
    assert all(owner_of(kind) is attack for kind in attack.kinds)


def test_every_shared_kind_of_job_is_run() -> None:
    assert SHARED_JOBS.keys() == SHARED.keys()
    assert columns_of("rollouts") == SHARED["rollouts"]


def test_attacks_share_no_name() -> None:
    for names in (
        [*SHARED, *(kind for attack in ATTACKS for kind in attack.kinds)],
        [metric for attack in ATTACKS for metric in attack.metrics],
    ):
        assert len(set(names)) == len(names)


def test_a_kind_that_nobody_has_is_refused() -> None:
    with pytest.raises(PluginError, match="no attack that is installed has jobs of kind 'rolouts'"):
        columns_of("rolouts")


@pytest.fixture
def plugged_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes something an installed attack called "toy"."""

    class Entry:
        name, group = "toy", GROUP

        def __init__(self, value: Any) -> None:
            self.value = value

        def load(self) -> Any:
            return self.value

    def plug_in(value: Any) -> None:
        monkeypatch.setattr("checker.plugins._third_party", lambda group: (
            {"toy": Entry(value)} if group == GROUP else {}
        ))  # fmt: skip

    return plug_in


def toy(**changes: Any) -> Attack:
    face = ATTACKS[0]
    return Attack(**{"name": "toy", "package": "toy_attack", "access": "samples",
                     "params": face.params, "metrics": {}, **changes})  # fmt: skip


def test_an_attack_from_outside_is_loaded_by_its_name(plugged_in: Any) -> None:
    plugged_in(toy(kinds={"toys": ("toy",)}))
    assert "toy" in plugin_names(GROUP)
    assert columns_of("toys") == ("toy",)
    assert owner_of("toys") == load_attack("toy")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (object, "plug-in 'toy' of phigate.probes is of type type, not an"),
        (toy(name="other"), "plug-in 'toy' of phigate.probes calls itself 'other'"),
        (toy(kinds={"rollouts": ()}), "'toy' has a kind of job called 'rollouts', and so has"),
        (toy(kinds={"canaries": ()}), "'toy' has a kind of job called 'canaries', and so has"),
        (
            toy(metrics=by_name(ATTACKS[0].metrics["recall"])),
            "'toy' has a metric called 'recall', and so has another; rename it",
        ),
        (
            toy(metrics={"toys": ATTACKS[0].metrics["recall"]}),
            "attack 'toy' lists its metric 'recall' as 'toys'; use by_name",
        ),
    ],
)
def test_what_is_no_attack_of_its_own_is_refused(
    plugged_in: Any, value: Any, complaint: str
) -> None:
    plugged_in(value)
    with pytest.raises(PluginError, match=complaint):
        load_attack("toy")


def test_whatever_a_plug_in_does_when_it_is_imported_is_said_of_it(
    plugged_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(name: str) -> ModuleType:
        raise RuntimeError("no licence")

    monkeypatch.setattr("importlib.import_module", fails)
    for ask in (lambda: load_attack("canary-exposure"), lambda: toy().measuring):
        with pytest.raises(PluginError, match="cannot be imported: RuntimeError: no licence"):
            ask()


def test_a_part_that_is_missing_or_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match="the measure part of attack 'toy' cannot be imported"):
        _ = toy().measuring
    module = ModuleType("toy_attack.measure")
    module.MEASURE = "by eye"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toy_attack", ModuleType("toy_attack"))
    monkeypatch.setitem(sys.modules, "toy_attack.measure", module)
    with pytest.raises(PluginError, match="MEASURE is of type str, not a Measuring"):
        _ = toy().measuring


def test_an_attack_without_words_is_shown_by_its_name(plugged_in: Any) -> None:
    wordless = replace(ATTACKS[0].metrics["recall"], name="toys", words=None)
    plugged_in(toy(package="json", metrics=by_name(wordless)))
    assert probe_words("toy").title == "toy"
    assert measure_of("toys").title == "toys"
    assert measure_of("recall").title.startswith("recall")
    assert probe_words("of another hospital").meaning.startswith("An attack from outside phigate")
