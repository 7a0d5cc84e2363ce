"""What an institution says of the study behind a model, for those who decide about it.

Authorities, boards and experts ask for more than an audit can measure: where the data came from, on
which ground, who may have the model, who answers for what is left. The owner writes it down once,
here; reports and annexes repeat it as a declaration, and say of what is not here that it was not
declared. Nothing is judged by it, but for a guarantee of differential privacy, which planted
canaries may disprove.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from checker.policy.documents.elements import Day, Element
from checker.yaml import Form

Said = Annotated[
    str, Field(pattern=r"\S", max_length=2000), Form("a text of up to 2000 characters")
]
"""What is blank says nothing, and would answer a question all the same."""


class StudyData(Element):
    """Where the patients' records came from, and what allows their use."""

    source: Said | None = Field(
        None,
        description="which records, of whom, from which systems",
        examples=["Electronic records of all wards of General Hospital"],
    )
    period: Said | None = Field(
        None, description="the time that they span", examples=["2012-01 to 2024-12"]
    )
    selection: Said | None = Field(
        None,
        description="who is in it, who was left out, and why",
        examples=["All adults with two visits or more; staff and objectors left out"],
    )
    legal_basis: Said | None = Field(
        None,
        description="the ground on which they are used",
        examples=["GDPR Art. 6(1)(e) and 9(2)(j) with the state's hospital act, section 25"],
    )
    consent: Said | None = Field(
        None,
        description="of the patients, or why there is none",
        examples=["Waiver of consent, vote 2026-118; objections honoured"],
    )
    conditions: Said | None = Field(
        None,
        description="what data use agreements and registries ask of a model trained on it",
        examples=["Agreement 2026-17: models may be shared within the network"],
    )
    deidentification: Said | None = Field(
        None,
        description="what was removed, blurred or replaced before training, duplicates too",
        examples=["Names and numbers removed, dates shifted by patient, duplicates merged"],
    )


class DifferentialPrivacy(Element):
    """A guarantee that the training gave; an audit can disprove it and cannot show it."""

    epsilon: Annotated[float, Field(gt=0)] = Field(description="its ε", examples=[8.0])
    delta: Annotated[float, Field(gt=0, lt=1)] = Field(description="its δ", examples=[1e-6])
    protects: Literal["patient", "less"] | None = Field(
        None,
        description="what it hides: a patient with all of the record, or less (a visit, a window);"
        " only the former is held against planted canaries",
        examples=["patient"],
    )
    unit: Said = Field(
        description="the same in the owner's words, which reports repeat and nothing is judged by",
        examples=["patient"],
    )


class StudyTraining(Element):
    """How the model was trained, as its trainer knows it."""

    parameters: Annotated[int, Field(ge=1)] | None = Field(
        None, description="how many weights the model has", examples=[120000000]
    )
    patients: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="how many patients it was trained on; shared reports withhold it",
        examples=[48000],
    )
    tokens: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="how many tokens it was trained on, each counted once; shared reports withhold"
        " it",
        examples=[310000000],
    )
    epochs: Annotated[float, Field(gt=0)] | None = Field(
        None, description="how often it saw each", examples=[3]
    )
    other_data: Said | None = Field(
        None,
        description="what else it saw, before these patients or after: other data sets, further"
        " training",
        examples=["Pretrained on MIMIC-IV 3.1; none after"],
    )
    safeguards: Said | None = Field(
        None,
        description="what was done against learning by heart, and what is known of it",
        examples=["Dropout 0.1, weight decay, stopped at the lowest loss on the tuning split"],
    )
    differential_privacy: DifferentialPrivacy | None = Field(
        None, description="the guarantee it was trained with; left out where there is none"
    )


class StudyRelease(Element):
    """Who is to have the model, and what stands between them and its weights."""

    recipients: Said | None = Field(
        None,
        description="who is to have it, by name or by kind",
        examples=["The five hospitals of the network"],
    )
    terms: Said | None = Field(
        None,
        description="what they sign, and what happens to who breaks it",
        examples=["Model use agreement, version 3: no re-identification, no passing on"],
    )
    safeguards: Said | None = Field(
        None,
        description="what guards the model where it runs: filters of its output, limits on queries;"
        " 'none' where its weights are given away",
        examples=["none: weights are given away"],
    )
    other_knowledge: Said | None = Field(
        None,
        description="what recipients and strangers can reasonably have beside the model:"
        " registries, claims, news, records of their own",
        examples=["Recipients hold their own patients' records; the obituaries of the region"],
    )
    effort: Said | None = Field(
        None,
        description="what an attack would cost them, in time, money and skill",
        examples=["A day on one graphics card for who has a patient's record"],
    )
    informed: Said | None = Field(
        None,
        description="what users of the model and patients are told of the risk",
        examples=["The shared report goes with the model; a notice on the hospital's pages"],
    )


class StudyGovernance(Element):
    """Who looked at it, who answers for what is left, and what happens afterwards."""

    impact_assessment: Said | None = Field(
        None,
        description="the data protection impact assessment, or why there is none",
        examples=["DPIA 2026-31 of 2026-10-02"],
    )
    officer_advice: Said | None = Field(
        None,
        description="what the data protection officer advised, and where it is kept",
        examples=["Advice of 2026-10-12, file 4711"],
    )
    reviews: Said | None = Field(
        None,
        description="who reviewed the design and the tests, and when",
        examples=["Design review 2026-09-15, information security"],
    )
    auditors: Said | None = Field(
        None,
        description="who ran this audit, and whether they are independent of who trained the model",
        examples=["Data office; no part in training"],
    )
    residual_risk: Said | None = Field(
        None,
        description="what is left, in plain words, and who accepts it",
        examples=["Membership is guessed a little better than by chance; the board accepts it"],
    )
    retests: Said | None = Field(
        None,
        description="when it is tested again, and what brings that forward",
        examples=["Every 12 months, and when a new attack is published"],
    )
    incidents: Said | None = Field(
        None,
        description="what happens when a leak is found: who is told, how the model is called back",
        examples=["Incident plan 12; recipients delete within 7 days"],
    )
    withdrawal: Said | None = Field(
        None,
        description="what happens when a patient objects or withdraws",
        examples=["Left out of the next training; the model is not trained anew before"],
    )
    retention: Said | None = Field(
        None,
        description="who keeps these papers, and how long",
        examples=["Release office, ten years"],
    )


class StudyExpert(Element):
    """What an expert adds who determines the risk of identification (45 CFR 164.514(b)(1))."""

    name: Said | None = Field(None, description="the expert", examples=["Dr. N. Abara"])
    experience: Said | None = Field(
        None,
        description="what makes them one: knowledge of and experience with accepted methods",
        examples=["Statistician; twelve determinations since 2018"],
    )
    method: Said | None = Field(
        None,
        description="which principles and methods were applied, and why they are accepted",
        examples=["Uniqueness in the source population, beside the attacks of this audit"],
    )
    identification: Said | None = Field(
        None,
        description="how what was measured (attributes told, membership) bears on the risk that"
        " somebody is identified",
        examples=["Who is not told apart by a continuation is not identified by it: see section 3"],
    )
    very_small: Said | None = Field(
        None,
        description="what risk they take for very small, and why",
        examples=["0.05 % of the patients, because of what recipients hold"],
    )
    other_identifiers: Said | None = Field(
        None,
        description="what is left of the listed identifiers, of relatives too, and what the owner"
        " knows that would identify somebody",
        examples=["None; no actual knowledge"],
    )
    expires: Day | None = Field(
        None, description="the day on which the determination ends", examples=["2027-11-01"]
    )


class StudyEthics(Element):
    """What an ethics committee asks beyond that."""

    benefit: Said | None = Field(
        None,
        description="what the release is good for, and for whom",
        examples=["Smaller hospitals can predict readmission without data of their own"],
    )
    harms: Said | None = Field(
        None,
        description="what a leak would do to a person, by what it tells of them",
        examples=["HIV: loss of work and family ties; addiction: prosecution"],
    )
    communities: Said | None = Field(
        None,
        description="whom a leak could harm beside the patients: relatives, small communities",
        examples=["Relatives, by genetic disease; two villages with a founder variant"],
    )


class Study(Element):
    """The study behind the model, in the owner's words."""

    title: Said | None = Field(
        None, description="of the study", examples=["A model of hospital stays"]
    )
    protocol: Said | None = Field(
        None, description="its protocol's number", examples=["HS-2026-041, version 2"]
    )
    principal_investigator: Said | None = Field(
        None, description="who leads it", examples=["Prof. E. Lindqvist"]
    )
    sponsor: Said | None = Field(
        None, description="who answers for it and pays", examples=["General Hospital"]
    )
    site: Said | None = Field(
        None, description="where it is done", examples=["General Hospital, data office"]
    )
    contact: Said | None = Field(
        None,
        description="whom to ask; it stands in every report",
        examples=["release-office@hospital.example"],
    )
    intended_use: Said | None = Field(
        None,
        description="what the model is for, and what it is not for",
        examples=["Predicting readmission; not for making records of patients up"],
    )
    data: StudyData = Field(StudyData(), description="the records, and what allows their use")
    training: StudyTraining = Field(StudyTraining(), description="how the model was trained")
    release: StudyRelease = Field(StudyRelease(), description="who is to have it, and how")
    governance: StudyGovernance = Field(
        StudyGovernance(), description="who looked at it and who answers for what is left"
    )
    expert: StudyExpert = Field(
        StudyExpert(), description="what an expert adds who determines the risk (HIPAA)"
    )
    ethics: StudyEthics = Field(StudyEthics(), description="what an ethics committee asks beyond")
