"""Attribute classes: what leaks, as named sets of codes, in a policy or in the library."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from checker.codes import CodeSystem, Tier
from checker.policy.documents.elements import (
    SHA256_EXAMPLE,
    Citation,
    Day,
    Document,
    Element,
    Exact,
    Name,
    Sha256,
    Text,
)

MOST_POOLED = 32
"""Classes of a pool; nobody reads more, and a patient's take a bit each."""


class Codes(Element):
    """Codes of one system.

    ICD values are prefixes ("F10"), ranges of equally long prefixes ("F10-F16") or patterns of
    fixed length ("T40.[15789]?[14]"), dots ignored; ATC identifiers are prefixes ("J05AE"); `drug`
    values are generic names matched as whole words; `local` values are globs over the data set's
    own spelling; all others are exact codes.
    """

    system: CodeSystem = Field(description="the system that the values are codes of")
    values: Annotated[list[Exact], Field(min_length=1)] = Field(
        description="codes, prefixes, ranges or names", examples=[["F10-F16", "F18", "F19"]]
    )


class CodeSet(Codes):
    """Codes that stand for the class, all of one tier."""

    tier: Tier = Field(
        description="definitive and strong codes make a patient count as having the class;"
        " suggestive and exposure ones never do; all of them leave the prompt"
    )
    exclude: list[Exact] = Field(
        [], description="values that are not meant though `values` cover them", examples=[["D57.3"]]
    )
    note: Text | None = Field(
        None,
        description="why these codes have this tier",
        examples=["Contact, screening, prophylaxis."],
    )


class ExcludedCodes(Codes):
    """Codes that are never of the class, whatever else says so: an exclusion always wins."""

    why: Text | None = Field(
        None,
        description="what they are instead",
        examples=["Treats COVID-19, though it stands among HIV drugs."],
    )


class ProxyCodes(Codes):
    """Codes that hint at the class without belonging to it: they leave the prompt, nothing more."""

    exclude: list[Exact] = Field([], description="values that are not meant though `values` cover")
    why: Text | None = Field(
        None,
        description="what else they may stand for",
        examples=["Alone it prevents HIV; it is part of most treatments."],
    )


class Trap(Element):
    """A code that is easily mistaken, and what the class must make of it; checked when read."""

    system: CodeSystem = Field(description="the system that the code is of")
    code: Exact = Field(
        description="a whole code, the text of a drug, or the data set's own spelling (local)",
        examples=["J05AE30"],
    )
    expect: Literal["none", "proxy", "exposure", "suggestive", "strong", "definitive"] = Field(
        description="the tier, `proxy`, or `none` where it has nothing to do with the class"
    )
    why: Text = Field(
        description="the mistake that is to be avoided", examples=["COVID-19, not HIV."]
    )


class Reviewed(Element):
    """A clinician's or coding specialist's sign-off of a class, bound to the codes that were read.

    `phigate classes review` prints what is to be read, and the digest. Where codes are added or
    taken away later, the digest no longer fits and the class is shown as a draft again.
    """

    by: Text = Field(description="who signed", examples=["Dr. M. Okafor"])
    role: Text = Field(description="as what", examples=["consultant, infectious diseases"])
    date: Day = Field(description="the day it was signed", examples=["2026-10-01"])
    version: Text = Field(description="of the class or policy that was read", examples=["2.0.0"])
    sha256: Sha256 = Field(description="of the codes that were read", examples=[SHA256_EXAMPLE])


class AttributeClassSpec(Element):
    """What leaks: a named set of codes with a sensitivity."""

    title: Text = Field(description="a few words", examples=["HIV infection"])
    sensitivity: Text | None = Field(
        None, description="HL7 v3 ActCode, information sensitivity", examples=["HIV", "ETH"]
    )
    also_sensitive: list[Text] = Field(
        [], description="further HL7 sensitivity codes that fit", examples=[["PREGNANT"]]
    )
    confidentiality: Literal["U", "L", "M", "N", "R", "V"] | None = Field(
        None, description="HL7 v3 Confidentiality: unrestricted, low, moderate, normal, restricted,"
        " very restricted"
    )  # fmt: skip
    description: Text | None = Field(
        None,
        description="what belongs to the class, and what not",
        examples=["Infection with HIV, its complications, and its treatment."],
    )
    benign: bool = Field(False, description="audited for context: an excess here means that the"
                         " model memorises whole records")  # fmt: skip
    words: list[Text] = Field(
        [], description="beginnings of words in descriptions; they match nothing, but make `phigate"
        " classes coverage` point at codes that the class may have missed",
        examples=[["alcohol", "ethanol"]],
    )  # fmt: skip
    codes: Annotated[list[CodeSet], Field(min_length=1)] = Field(
        description="the codes that stand for the class, by system and tier"
    )
    exclude: list[ExcludedCodes] = Field([], description="never of the class; wins over `codes`")
    proxies: list[ProxyCodes] = Field(
        [], description="leave the prompt with the class, and never count: drugs, laboratory tests"
        " and procedures that hint at it"
    )  # fmt: skip
    traps: list[Trap] = Field([], description="codes easily mistaken, as tests of the class")
    notes: list[Text] = Field([], description="what a reader must know before using the class")
    reviewed: Reviewed | None = Field(
        None, description="who signed the class off; without it, it is a draft"
    )


class PolicyClassSpec(AttributeClassSpec):
    """An attribute class of a policy; one that is taken from a library may add to it.

    A *pool* names other classes instead of codes (METHODS §1, *Pools*).
    """

    codes: list[CodeSet] = Field(
        [], description="the codes that stand for the class, by system and tier"
    )
    any_of: Annotated[list[Name], Field(min_length=2, max_length=MOST_POOLED)] | None = Field(
        None,
        description="a pool: classes of this policy instead of codes. Who has any of them counts,"
        " and what must not be told of a patient is those that he has",
        examples=[["hiv", "sud-alcohol", "suicidality"]],
    )

    count_proxies: bool | None = Field(
        None,
        description="a proxy that the model names counts as telling the class; who has the class is"
        " what it was. A class of its own, beside the one without: what most patients have hides a"
        " leak in what is subtracted",
    )

    use: Text | None = Field(
        None,
        description="take this class from the shipped library, or from a file; everything else that"
        " is written here adds to it",
        examples=["library/hiv@1", "./classes/local-hiv.yaml"],
    )


class ClassSource(Element):
    """Where codes were taken from, and under which terms."""

    systems: Annotated[list[CodeSystem], Field(min_length=1)] = Field(
        description="every entry of these systems comes from here", examples=[["icd10cm"]]
    )
    title: Text = Field(
        description="of the release that was used",
        examples=["ICD-10-CM, fiscal year 2026, April release"],
    )
    publisher: Text | None = Field(
        None, description="who publishes it", examples=["CDC/NCHS and CMS"]
    )
    licence: Text | None = Field(
        None, description="the terms it may be used under", examples=["public domain"]
    )
    url: Text | None = Field(
        None, description="where it can be had", examples=["https://loinc.org/license"]
    )


class Review(Element):
    """Who stands behind a class of a library."""

    status: Literal["draft", "reviewed"] = Field(
        description="`reviewed` only where a clinician has signed the class off, which `reviewed`"
        " beside it then tells"
    )
    by: Text = Field(
        description="who derived it, or who signed it off",
        examples=["Dr. M. Okafor, infectious diseases"],
    )
    on: Day | None = Field(None, description="the day it was signed off", examples=["2026-10-01"])
    note: Text | None = Field(
        None,
        description="what is still open",
        examples=["Drug names are still to be reviewed by a pharmacist."],
    )


class LibraryClassSpec(AttributeClassSpec):
    """An attribute class with its provenance."""

    sources: Annotated[list[ClassSource], Field(min_length=1)] = Field(
        description="of the codes; every system in use has one"
    )
    review: Review = Field(description="who stands behind the class")
    citations: dict[Name, Citation] = Field(
        {}, description="law and guidance that singles the class out; none of it sets a number"
    )


class AttributeClassLibrary(Document):
    """One attribute class of a library; `library/NAME@N` refers to major version N of it."""

    kind: Literal["AttributeClassLibrary"] = Field(description="what kind of document this is")
    spec: LibraryClassSpec = Field(description="the class, its codes and where they are from")
