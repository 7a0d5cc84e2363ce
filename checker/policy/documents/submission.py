"""What goes with a report to those who decide: its number, and who signed which decision.

The verdict follows from the evidence; whether a model is released is decided by people. What they
decided, and who has yet to sign, stands on the report's first page, beside the verdict and never
instead of it. A decision that somebody signed names the model and the verdict that they read, so
that it cannot be put under another report.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from checker.policy.documents.elements import SHA256_EXAMPLE, Day, Document, Element, Sha256
from checker.yaml import Form

Line = Annotated[str, Field(pattern=r"\S", max_length=300), Form("a text of up to 300 characters")]


class Signature(Element):
    """A line to sign: empty until `on` says when somebody did."""

    role: Line = Field(description="as what", examples=["Privacy officer"])
    name: Line | None = Field(None, description="who signs, or signed", examples=["Dr. M. Okafor"])
    on: Day | None = Field(
        None,
        description="the day on which they did; left out where nobody has",
        examples=["2026-12-01"],
    )


class DecidedReport(Element):
    """The report that the decision is about; another one is refused."""

    verdict: Literal["pass", "fail", "inconclusive", "error"] = Field(
        description="its verdict", examples=["pass"]
    )
    model_sha256: Sha256 = Field(
        description="of the model's files: the report's target.modelSha256",
        examples=[SHA256_EXAMPLE],
    )


class SubmissionSpec(Element):
    """The body of a submission; all of it is repeated as entered, and nothing is judged by it."""

    number: Line | None = Field(
        None, description="of the report in the institution's files", examples=["MR-2026-014"]
    )
    document_version: Line | None = Field(
        None, description="of the report under this number", examples=["1.0"]
    )
    replaces: Line | None = Field(
        None, description="the report that this one takes the place of", examples=["MR-2026-009"]
    )
    decision: Line | None = Field(
        None,
        description="what was decided, in a sentence; it changes no verdict",
        examples=["Released to the five hospitals of the network until 2027-06-30"],
    )
    about: DecidedReport | None = Field(
        None,
        description="what the decision and the signatures are about; has to be there with them",
    )
    signatures: Annotated[list[Signature], Field(max_length=12)] = Field(
        default_factory=list, description="the lines to sign, signed or not"
    )


class Submission(Document):
    """What goes with a report to those who decide, and what they decided."""

    kind: Literal["Submission"] = Field(description="what kind of document this is")
    spec: SubmissionSpec = Field(description="number, decision and signatures")
