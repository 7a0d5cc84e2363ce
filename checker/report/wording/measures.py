"""What reports say of each attack and metric, asked of the attacks themselves.

What no attack that is installed here has words for is shown by its name, as a plain number: a
report may have been written elsewhere.
"""

from __future__ import annotations

from dataclasses import replace

from checker.attacks.api import attack_names, load_attack
from checker.attacks.families import Family
from checker.attacks.wording import Against, AttackWords, MetricWords, Unit
from checker.errors import PluginError
from checker.report.wording.plain import plain

AGAINST: dict[Against, str] = {
    "excess": "an excess: the same attack on patients the model never saw is subtracted",
    "members-alone": (
        "members alone: nothing is subtracted, so that what the model merely knows of medicine"
        " counts as well"
    ),
    "separation": "members against nonmembers: how well the attack tells them apart",
    "set": (
        "an excess: the same comparison with the records of as many patients the model never saw"
        " is subtracted"
    ),
    "perturbation": (
        "perturbation only: members' own prompts with identifiers changed, and no nonmembers"
    ),
    "coin": (
        "planted patients against equals that a fair coin left out: no split has to be comparable"
    ),
}


def measure_of(name: str) -> MetricWords:
    """Return a metric, or a number reported beside one, in words."""
    for probe in attack_names():
        found = _in_words(probe, name)
        if found is not None:
            return replace(found, title=plain(found.title))
    return MetricWords(plain(name), plain(name), "number", "")


def _in_words(probe: str, name: str) -> MetricWords | None:
    """Return what an attack calls one of its metrics, or a number that it reports beside one."""
    metric = load_attack(probe).metrics.get(name)
    if metric is not None:
        return metric.words
    words = _words_of(probe)
    return words.number(name) if words is not None else None


def probe_words(name: str) -> AttackWords:
    """Return an attack in words; one that has none, or is not installed here, by its name."""
    words = _words_of(name) if name in attack_names() else None
    text = "An attack from outside phigate; see its own documentation."
    return words or AttackWords(plain(name), text, "", plain(name))


def reports_precision(name: str) -> bool:
    """Whether an attack names patients, so that one may ask how many of them truly have it."""
    return name in attack_names() and "precision" in load_attack(name).metrics


def measures_patients(name: str) -> bool:
    """Whether an attack is on patients, as one that is not installed here is taken to be."""
    return name not in attack_names() or load_attack(name).measures_patients


def family_known(probe: str, name: str) -> Family[object] | None:
    """Return the family of an attack's metric; None where either is not known here."""
    metric = load_attack(probe).metrics.get(name) if probe in attack_names() else None
    return None if metric is None else metric.family


def unit_of(name: str) -> Unit:
    """Return the unit of a metric, or of a number reported beside one."""
    return measure_of(name).unit


def is_share(name: str) -> bool:
    """Whether a number is a share of something, read as a percentage."""
    return unit_of(name) == "share"


def _words_of(name: str) -> AttackWords | None:
    attack = load_attack(name)
    try:
        return attack.part("words", AttackWords)
    except PluginError as error:  # a built-in attack has words: a test looks
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and cause.name == f"{attack.package}.words":
            return None
        raise
