"""What a chart is about, in the policy's words."""

from __future__ import annotations

from checker.report.model import ControlReport, Report
from checker.report.wording.measures import probe_words
from checker.report.wording.plain import plain, shorten


def title_of(report: Report, control: ControlReport) -> str:
    """Return the attribute class a control is about, or the attack where it is about none."""
    if control.attribute_class is None:
        return probe_words(control.probe).title
    classes = {item.id: item.title for item in report.policy.attribute_classes}
    return plain(classes.get(control.attribute_class, control.attribute_class))


def attacker_titles(report: Report) -> dict[str, str]:
    """Return the attackers' titles by id, short enough for a caption."""
    return {attacker.id: shorten(attacker.title, 60) for attacker in report.policy.attackers}
