"""Families of metrics: one object each that knows how its numbers behave.

`counted` has shares of patients, `ranked` what orders patients, `exposed` who stands out of them,
`repeated` what continuations hold of records, `resampled` distances, bits and ε. To add a family,
write a class beside these or in an attack's own folder and name it in a metric: nothing else has to
know of it.

A family is part of an attack's face, which every policy is checked against, so that these modules
load neither NumPy nor SciPy before a number is asked for.
"""

from checker.attacks.families.base import Family, Measurement, Power, QFrom, Sample
from checker.attacks.families.counted import (
    DifferenceInDifferences,
    MeanDifference,
    Rate,
    RateDifference,
)
from checker.attacks.families.exposed import ExposedMembers
from checker.attacks.families.ranked import (
    Auroc,
    AurocDifference,
    AveragePrecision,
    AveragePrecisionDifference,
    SplitAuroc,
    TruePositiveRate,
)
from checker.attacks.families.repeated import SetDifference
from checker.attacks.families.resampled import Bits, Epsilon, Gap

__all__ = [
    "Auroc",
    "AurocDifference",
    "AveragePrecision",
    "AveragePrecisionDifference",
    "Bits",
    "DifferenceInDifferences",
    "Epsilon",
    "ExposedMembers",
    "Family",
    "Gap",
    "MeanDifference",
    "Measurement",
    "Power",
    "QFrom",
    "Rate",
    "RateDifference",
    "Sample",
    "SetDifference",
    "SplitAuroc",
    "TruePositiveRate",
]
