"""What documents of every kind are made of: strictness, names, days, and the head of each.

The words of the YAML are the words of the classes (camelCase there, snake_case here). Everything
is frozen and strict: an unknown key, a number where text belongs or a misspelt enumeration is an
error, because a requirement that is read as something else is a requirement that is not enforced.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainSerializer

from checker.canonical import ClosedModel
from checker.yaml import Form, misleading_character, short

API_VERSION = "phigate/v1"

NAME = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
VERSION = r"^[A-Za-z0-9][A-Za-z0-9.+_-]*$"
SHA256_EXAMPLE = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""Of an empty file."""


def _as_it_seems(text: str) -> str:
    if (strange := misleading_character(text)) is not None:
        raise ValueError(f"'{short(text)}' is not what it seems: {strange}")
    return text


Name = Annotated[
    str,
    Field(pattern=NAME, max_length=80, description="lower-case letters, digits, hyphens and dots"),
]
Text = Annotated[str, Field(min_length=1, max_length=10_000)]
Exact = Annotated[Text, AfterValidator(_as_it_seems)]
"""What is compared character by character: codes, names that a plug-in or a data set gives, globs.

What cannot be seen in it, or looks like another character, is refused."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[
    str, Field(pattern=r"^[0-9a-f]{64}$"), Form("a SHA-256, 64 hexadecimal digits in lower case")
]


def _day(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        if re.fullmatch("[0-9-]{10}", value):  # Python reads 20261001 and 2026-W40-4 too
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError(f"'{short(value)}' is not a date such as 2026-10-01")


def _duration(value: Any) -> Any:
    """Take ISO 8601 only: a bare 90 would be read as 90 seconds."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"P(?=.)[0-9.DHMSTWY]{1,30}", value):
        raise ValueError("a duration is written like P90D (90 days)")
    return value


def _above_zero(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("a duration must be longer than nothing")
    return value


Day = Annotated[date, BeforeValidator(_day)]
Duration = Annotated[
    timedelta,
    AfterValidator(_above_zero),
    Field(strict=False, examples=["P90D"]),
    BeforeValidator(_duration),
]


class Element(ClosedModel):
    """Base of every part of a document: closed like every file, and strict about types."""

    model_config = ConfigDict(strict=True)


class Metadata(Element):
    """Who answers for a document, and since when."""

    name: Name = Field(
        description="lower-case letters, digits, hyphens and dots; others refer to it by this name",
        examples=["general-hospital-release"],
    )
    version: Annotated[
        str,
        Field(
            pattern=VERSION,
            max_length=40,
        ),
        Form("letters, digits, dots, plus signs, underscores and hyphens"),
    ] = Field(
        description="in quotes; of a policy, loosening any limit is a new major version",
        examples=["2.1.0"],
    )
    title: Text | None = Field(
        None, description="a few words for readers", examples=["Release of clinical models"]
    )
    description: Text | None = Field(
        None,
        description="what a reader should know before using it",
        examples=["For models that leave the hospital under an agreement."],
    )
    owner: Text | None = Field(
        None, description="who answers for the document", examples=["model-release-committee"]
    )
    effective_from: Day | None = Field(
        None, description="the day from which it is in force", examples=["2026-10-01"]
    )
    review_by: Day | None = Field(
        None, description="the day by which somebody looks at it again", examples=["2027-10-01"]
    )

    @property
    def major(self) -> str:
        """The first number of the version, by which references name it."""
        return self.version.partition(".")[0]


class Adoption(Element):
    """Who put a policy in force; without it, it is a draft."""

    by: Text = Field(description="the committee or person", examples=["Model release committee"])
    role: Text | None = Field(
        None, description="as what", examples=["for the board of the hospital"]
    )
    on: Day = Field(description="the day of the decision", examples=["2026-10-01"])
    version: Text = Field(
        description="of the policy that was adopted; another version is a draft again",
        examples=["2.1.0"],
    )
    document: Text | None = Field(
        None, description="where the decision is recorded", examples=["Minutes 2026-10, item 4"]
    )


class PolicyMetadata(Metadata):
    """Who answers for a policy, and whether anybody has adopted it."""

    adopted: Adoption | None = Field(
        None,
        description="who adopted it; left out, every report says on its first page that the policy"
        " is a draft",
    )

    def is_adopted(self, *, as_of: date) -> bool:
        """Whether this version was adopted by a day, and not one before it."""
        found = self.adopted
        return found is not None and found.version == self.version and found.on <= as_of


class Document(Element):
    """The head of every document; each kind adds its `kind` and its `spec`."""

    api_version: Literal["phigate/v1"] = Field(description="the version of this format")
    kind: str = Field(description="what kind of document this is")
    metadata: Metadata = Field(description="its name and version, and who answers for it")


def as_json(document: Document) -> dict[str, Any]:
    """Return a document as what is written to a JSON file; what is left out is not there."""
    return document.model_dump(mode="json", exclude_none=True)


AsJson = PlainSerializer(as_json, return_type=dict[str, Any])
"""Beside the type of a document that is part of a JSON file."""


Basis = Literal["legal-duty", "guidance", "evidence", "analogy", "context", "institutional-choice"]
Seen = Literal["text", "quoted", "secondary", "not-seen"]


class Citation(Element):
    """A source, and what it is a basis for. No regulation known sets a numeric limit."""

    title: Text = Field(description="as one would cite it", examples=["N.Y. Pub. Health Law §2782"])
    basis: Basis = Field(
        description="what kind of basis it is; a number borrowed from elsewhere is an analogy, and"
        " what explains without asking anything of whoever releases a model is context"
    )
    jurisdiction: Text | None = Field(
        None, description="where it applies", examples=["New York (USA)"]
    )
    addressee: Text | None = Field(
        None,
        description="whom it binds or advises; a duty binds somebody, and seldom everybody",
        examples=["whoever obtained the information while providing a health service"],
    )
    as_of: Day | None = Field(
        None,
        description="the day up to which its state is known; what changed later is not",
        examples=["2026-09-26"],
    )
    seen: Seen | None = Field(
        None,
        description="how what is said of it is known: the text was read (of an article its abstract"
        " at least), quoted by somebody who names the paragraph, told by a secondary source, or"
        " not seen at all; left out, reports say that nobody says so",
    )
    every_person: bool = Field(
        False,
        description="it asks something for every single person, so that a limit on a share of"
        " people contradicts it",
    )
    url: Text | None = Field(
        None,
        description="where it can be read",
        examples=["https://www.ecfr.gov/current/title-45/section-164.514"],
    )
    note: Text | None = Field(
        None,
        description="what it says and what it does not; what is still to be confirmed",
        examples=["It sets no limit for models."],
    )
