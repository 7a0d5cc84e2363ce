"""T4, membership inference: can one tell that a patient was in the training data?

Tonekaboni et al. (arXiv 2510.12950), test T4. Scores of the whole record's tokens are the loss,
Min-K% (Shi et al. 2024, arXiv 2310.16789), Min-K%++ (Zhang et al. 2024, arXiv 2404.02936) and,
where the target names a reference model, the ratio of the two models' likelihoods per token
(Carlini et al. 2021, arXiv 2012.07805, section 5.2 "comparing to another model"). `strongest`, the
default, is learned: from all of these and more, beside a reference model that phigate trains
itself (decision 16).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from checker.attacks.api import Attack, Metric, Params, by_name
from checker.attacks.families import ExposedMembers, SplitAuroc, TruePositiveRate
from checker.attacks.wording import MetricWords

__all__ = ["ATTACK", "STRONGEST", "MembershipInferenceParams"]

STRONGEST = "strongest"


class MembershipInferenceParams(Params):
    """Parameters of `membership-inference`."""

    score: Literal["strongest", "loss", "min-k", "min-k++", "reference-ratio"] = Field(
        "strongest",
        description="what tells members apart; strongest is learned from a third of the patients,"
        " reference-ratio needs a reference model",
    )
    k: Annotated[float, Field(gt=0, le=100)] = Field(20.0, description="percent of tokens")
    fpr: Annotated[float, Field(gt=0, lt=1)] = Field(0.01, description="of membership_tpr_at_fpr")
    rank: Annotated[int, Field(ge=1, le=20)] = Field(
        1,
        description="of exposed_members: above which nonmember, from the top, a member has to"
        " score; 1 is the highest, and a later one is less easily hidden behind",
    )
    references: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="how many reference models phigate trains for score strongest"
    )
    shadows: Annotated[int, Field(ge=0, le=64, multiple_of=2)] = Field(
        0,
        description="how many models beside phigate trains for score strongest, each on half of the"
        " very patients who are asked about: who has their records can do that too",
    )

    @property
    def needs_reference(self) -> bool:
        """Whether the score is a ratio to a reference model's."""
        return self.score == "reference-ratio"

    @property
    def reads_reference(self) -> bool:
        """Whether features of a declared reference stand beside those of phigate's own."""
        return self.score == STRONGEST

    @property
    def compares_splits(self) -> bool:
        """Whether the score is learned, and can be learned again without the model."""
        return self.score == STRONGEST


ATTACK = Attack(
    name="membership-inference",
    package=__name__,
    access="logprobs",
    params=MembershipInferenceParams,
    needs_whole_record=True,
    kinds={
        # mean log-probability after each pass, of a model that was taught half of the patients
        "membership-shadows": ("patient", "member", "taught", "logprob"),
        # token scores of a declared reference model, records of one job in the order of the lot
        "membership-tokens": ("patient", "logprob", "mean", "std"),
        # and a column for each feature: "classic@NAME", "feature@NAME", "blind@NAME"
        "membership-features": ("patient", "member", "subgroups", "tokens", "fitted", "half"),
        # and a column for each score: "score@NAME"
        "membership-scores": ("patient", "member", "subgroups", "half", "blind", "placebo"),
    },
    metrics=by_name(
        Metric(
            "membership_auroc",
            SplitAuroc(),
            words=MetricWords(
                "AUROC between members and nonmembers",
                "AUROC, 0.5 is chance",
                "auroc",
                "How often the score puts a member above a nonmember.",
                "separation",
                told="Shown a patient that the model was trained on and one that it never saw, an"
                " attacker tells which is which {times} times out of 100; guessing is 50.",
            ),
        ),
        Metric(
            "membership_tpr_at_fpr",
            TruePositiveRate(),
            words=MetricWords(
                "members recognized at a fixed false-positive rate",
                "of members recognized",
                "share",
                "Share of members above a score that only so many nonmembers exceed.",
                "separation",
                told="an attacker who accuses few others wrongly recognizes {size}",
            ),
        ),
        Metric(
            "exposed_members",
            ExposedMembers(),
            words=MetricWords(
                "members who stand out one by one",
                "members who stand out",
                "people",
                "Number of members who were judged and score above all nonmembers, or all but the"
                " first few, beyond what chance gives. Of more than twice as many members as"
                " nonmembers a sample is looked at.",
                "separation",
            ),
        ),
    ),
)
