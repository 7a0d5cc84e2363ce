"""What ids in a report stand for: titles, requirements, sources, evidence, and where links lead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from checker.report.matrix import worst_first
from checker.report.model import CellReport, CitationText, ControlReport, Report, WaiverReport
from checker.report.wording.decision import level_words
from checker.report.wording.measures import probe_words


def needs_attention(cell: CellReport) -> bool:
    """Whether a cell is a finding: whatever did not simply pass."""
    return cell.verdict != "pass" or cell.warned or cell.waiver is not None


@dataclass(frozen=True, slots=True)
class ReportIndex:
    """An index of a report.

    Args:
        attackers: titles by id.
        classes: titles by id.
        controls: by id.
        citations: by id, with their number among the references.
        evidence: by job, digest or file, the number of the manifest's entry and its title.
        anchors: by cell, where it stands in the page.
        worst: by control, the worst of its findings, which carries remedies and basis for all.
        waivers: by id, those that apply, with where they stand.
        resting_on: by number of a manifest's entry, the cells that rest on it.
        about: "about " before numbers of patients where they are rounded.
        level: at which confidence each bound holds, such as "95 %".
    """

    attackers: Mapping[str, str]
    classes: Mapping[str, str]
    controls: Mapping[str, ControlReport]
    citations: Mapping[str, tuple[int, CitationText]]
    evidence: Mapping[str, tuple[int, str]]
    anchors: Mapping[str, str]
    worst: Mapping[str, str]
    waivers: Mapping[str, tuple[str, WaiverReport]]
    resting_on: Mapping[int, tuple[CellReport, ...]]
    about: str
    level: str

    @classmethod
    def of(cls, report: Report) -> ReportIndex:
        """Index a report."""
        evidence: dict[str, tuple[int, str]] = {}
        for place, entry in enumerate(report.provenance.evidence, start=1):
            for name in (entry.job, entry.sha256, entry.file):
                evidence.setdefault(name, (place, entry.title))
        resting_on: dict[int, list[CellReport]] = {}
        for cell in report.cells:
            for place in {evidence[name][0] for name in cell.evidence if name in evidence}:
                resting_on.setdefault(place, []).append(cell)
        return cls(
            attackers={item.id: item.title for item in report.policy.attackers},
            classes={item.id: item.title for item in report.policy.attribute_classes},
            controls={item.id: item for item in report.controls},
            citations={
                item.id: (place, item)
                for place, item in enumerate(report.policy.citations, start=1)
            },
            evidence=evidence,
            anchors={
                cell.id: f"{'finding' if needs_attention(cell) else 'passing'}-{place}"
                for place, cell in enumerate(report.cells, start=1)
            },
            worst={
                cell.control: cell.id
                for cell in reversed(worst_first(report.cells))
                if needs_attention(cell)
            },
            waivers={
                item.id: (f"waiver-{place}", item)
                for place, item in enumerate(report.waivers, start=1)
                if item.status == "applied"
            },
            resting_on={place: tuple(cells) for place, cells in resting_on.items()},
            about="about " if report.audience == "shared" and report.policy.min_cell > 1 else "",
            level=level_words(report),
        )

    def title_of(self, cell: CellReport) -> str:
        """Return the requirement of a cell in the policy's words."""
        control = self.controls.get(cell.control)
        return control.title if control is not None else cell.control

    def class_of(self, item: CellReport | ControlReport) -> str:
        """Return the class that something is about in words, or the attack where it is none."""
        if item.attribute_class is None:
            return probe_words(item.probe).title
        return self.classes.get(item.attribute_class, item.attribute_class)

    def attacker_of(self, cell: CellReport) -> str:
        """Return the attacker of a cell in words."""
        return self.attackers.get(cell.attacker, cell.attacker)
