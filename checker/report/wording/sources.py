"""What is said of a source beside its title: what it is a basis for, whose it is, who has seen it.

A citation reads as if somebody had read it. So what was not seen is printed as not seen, wherever
the source is named, and what nobody says was seen is printed as that.
"""

from __future__ import annotations

from checker.policy.documents.elements import Seen
from checker.report.model import CitationText
from checker.report.wording.terms import BASES

SEEN: dict[Seen, str] = {
    "text": "text seen",
    "quoted": "seen as quoted by others",
    "secondary": "seen in secondary sources only",
    "not-seen": "text not seen",
}
NOT_SAID = "nobody says that the text was seen"


def seen_words(citation: CitationText) -> str | None:
    """Return how what is said of a source is known; None for a decision of one's own."""
    if citation.seen is not None:
        return SEEN[citation.seen]
    return None if citation.basis == "institutional-choice" else NOT_SAID


def basis_words(citation: CitationText) -> str:
    """Return what a source is a basis for, and, unless its text was seen, that it was not."""
    basis = BASES.get(citation.basis, citation.basis)
    seen = None if citation.seen == "text" else seen_words(citation)
    return f"{basis}; {seen}" if seen else basis


def scope_words(citation: CitationText) -> str | None:
    """Return where a source applies, to whom, and up to which day that is known; None if unsaid.

    The words of the policy in it are text of somebody else, to be escaped.
    """
    verb = "binds" if citation.basis == "legal-duty" else "addressed to"
    parts = [
        citation.jurisdiction,
        f"{verb} {citation.addressee}" if citation.addressee else None,
        f"as of {citation.as_of}" if citation.as_of else None,
    ]
    said = "; ".join(part for part in parts if part)
    return said or None
