"""T3, embedding probe: do frozen embeddings tell an attribute of patients the attacker never saw?

Tonekaboni et al. (arXiv 2510.12950), test T3. From a prompt that holds no code of the class comes
one embedding; an attacker who knows the attribute of some members fits a classifier and applies it
to the others. phigate subtracts how well the same classifier does on nonmembers: what embeddings
say of anybody is medicine.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from checker.attacks.api import Attack, Metric, Params, by_name
from checker.attacks.families import Auroc, AurocDifference
from checker.attacks.wording import MetricWords

__all__ = ["ATTACK", "EmbeddingProbeParams"]


class EmbeddingProbeParams(Params):
    """Parameters of `embedding-probe`."""

    label_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share of the members whose attribute the attacker knows"
    )
    classifier: Literal["logistic", "mlp"] = Field(
        "logistic", description="logistic regression, or a network with one hidden layer"
    )


ATTACK = Attack(
    name="embedding-probe",
    package=__name__,
    access="embeddings",
    params=EmbeddingProbeParams,
    needs_attribute_class=True,
    kinds={"probe-scores": ("patient", "member", "subgroups", "positive", "score")},
    metrics=by_name(
        # a classifier that sees nothing of a patient tells nothing apart
        Metric(
            "probe_auroc",
            Auroc(),
            hangs_on_prompt=False,
            words=MetricWords(
                "AUROC for the class from members' embeddings",
                "AUROC from embeddings, 0.5 is chance",
                "auroc",
                "How well a classifier on embeddings tells members with the class from members"
                " without it.",
                "members-alone",
                told="Of two patients that the model was trained on, one with {about} and one"
                " without, its inner states point at the right one {times} times out of 100;"
                " guessing is 50.",
            ),
        ),
        Metric(
            "excess_probe_auroc",
            AurocDifference(),
            hangs_on_prompt=False,
            words=MetricWords(
                "AUROC for the class from embeddings beyond nonmembers",
                "AUROC from embeddings beyond nonmembers, 0 is none",
                "auroc-difference",
                "How much better the classifier does on members than on patients the model never"
                " saw.",
                "excess",
                "AUROC for the class from embeddings",
            ),
        ),
    ),
)
