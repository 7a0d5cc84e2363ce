"""What became of each code that a review of the attribute classes found missing, wrong or uneven.

`class_findings.csv` answers the review row by row: `mended` where the class in question, or another
that owns the code, now says what it should; `answered` where it was left or put elsewhere, with the
reason. `checked` names the codes by which a test sees that the answer is true, and `standing` what
the owner makes of them. A row of the review that speaks of two classes has a line for each.

    python -m benchmarks.class_findings
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from checker.codes import CodeSystem

ANSWERS: Final = Path(__file__).parent / "class_findings.csv"
_SYSTEMS: Final = {str(system): system for system in get_args(CodeSystem)}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one finding of the review, for one class.

    Args:
        classes: as the review names them, `NEW:` before one that it asks for, `+` between two.
        system: of the code.
        code: as the review writes it.
        finding: `missing`, `wrong` or `tier`.
        answer: `mended` or `answered`.
        owner: the class that holds the code now, or is to be free of it.
        checked: codes that stand for the finding; a drug's is text of a record.
        standing: what the owner makes of each of them; "none" for nothing.
        reason: why it was answered so; may be empty where it was just mended.
    """

    classes: str
    system: CodeSystem
    code: str
    finding: str
    answer: str
    owner: str
    checked: tuple[str, ...]
    standing: str
    reason: str


def read_answers(path: Path = ANSWERS) -> list[Answer]:
    """Read all answers, in the review's order."""
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            Answer(
                classes=row["class"],
                system=_SYSTEMS[row["system"]],
                code=row["code"],
                finding=row["finding"],
                answer=row["answer"],
                owner=row["owner"],
                checked=tuple(row["checked"].split(";")),
                standing=row["standing"],
                reason=row["reason"],
            )
            for row in csv.DictReader(stream)
        ]


def count(answers: Sequence[Answer]) -> Counter[tuple[str, str, str]]:
    """Count answers by class, finding and answer."""
    return Counter((one.classes, one.finding, one.answer) for one in answers)


def main() -> None:
    """Print how many findings of each class were mended and how many answered, and these."""
    answers = read_answers()
    findings = {(one.classes, one.system, one.code) for one in answers}
    print(f"{len(findings)} findings, {len(answers)} answers")
    for (name, finding, answer), number in sorted(count(answers).items()):
        print(f"{name:32} {finding:8} {answer:9} {number:4}")
    for one in answers:
        if one.answer == "answered":
            print(
                f"{one.classes} {one.system} {one.code}:"
                f" in {one.owner} {one.standing}. {one.reason}"
            )


if __name__ == "__main__":
    main()
