"""Canary exposure: does the model tell planted patients from their twins that were left out?

Canaries are made-up patients of whom a fair coin decided which were trained on, so included and
left-out ones differ in nothing else, and no split has to be shown comparable. Reported are the
exposure of Carlini et al. (2019, USENIX Security '19:267) and a lower bound for ε from one training
run (Steinke, Nasr & Jagielski 2023, arXiv 2305.08846).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from checker.attacks.api import Attack, Metric, Params, by_name
from checker.attacks.families import Bits, Epsilon
from checker.attacks.wording import MetricWords

__all__ = ["ATTACK", "CanaryExposureParams"]


class CanaryExposureParams(Params):
    """Parameters of `canary-exposure`."""

    manifest: Annotated[str, Field(min_length=1)] = Field(
        description="the auditor's manifest of `phigate canaries make`, relative to the file"
        " that says so",
        examples=["./canaries.json"],
    )
    score: Literal["loss", "reference-ratio"] = Field(
        "loss", description="what tells canaries apart; reference-ratio needs a reference model"
    )
    delta: Annotated[float, Field(ge=0, lt=1)] = Field(
        1e-5, description="of the (ε, δ) that the bound speaks of"
    )
    threshold_selection: Literal["pre-registered", "split"] = Field(
        "pre-registered",
        description="guess on guessShare of the canaries, or choose the share on one half of them"
        " and count on the other",
    )
    guess_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.2,
        description="share of the canaries that is guessed on, half of it as included and half as"
        " left out",
    )

    @property
    def needs_reference(self) -> bool:
        """Whether the score is a ratio to a reference model's."""
        return self.score == "reference-ratio"

    @property
    def paths(self) -> frozenset[str]:
        """The manifest's."""
        return frozenset({"manifest"})


ATTACK = Attack(
    name="canary-exposure",
    package=__name__,
    access="logprobs",
    params=CanaryExposureParams,
    needs_whole_record=True,
    measures_patients=False,
    kinds={"canaries": ("canary", "included", "beacon", "natural", "score")},
    metrics=by_name(
        Metric(
            "exposure_bits",
            Bits(),
            "exposure",
            words=MetricWords(
                "mean exposure of planted canaries",
                "mean exposure; 1.44 bits is chance",
                "bits",
                "How high planted canaries rank among those left out: each bit halves the rank. A"
                " model that keeps nothing has about 1.44 bits.",
                "coin",
            ),
        ),
        Metric(
            "epsilon_lower_bound",
            Epsilon(),
            "guesses",
            can_pass=False,
            words=MetricWords(
                "lower bound of ε",
                "ε at the least; 0 shows nothing",
                "epsilon",
                "The ε of differential privacy that the guesses rule out everything below of."
                " Nothing bounds it from above.",
                "coin",
            ),
        ),
    ),
)
