"""The documents an institution writes, as types: one module a kind, and what all are made of.

References inside a document (an attacker named in a limit, a citation, a probe's parameters) are
checked in `checker.policy.validation`, which knows the lines they stand on.
"""

from __future__ import annotations

from checker.policy.documents.attribute_class import (
    AttributeClassLibrary,
    AttributeClassSpec,
    CodeSet,
    ExcludedCodes,
    LibraryClassSpec,
    PolicyClassSpec,
    ProxyCodes,
)
from checker.policy.documents.elements import (
    API_VERSION,
    AsJson,
    Document,
    Element,
    Metadata,
    as_json,
)
from checker.policy.documents.knowledge import Knowledge, Selector, extent
from checker.policy.documents.policy import (
    AbstractPolicy,
    AttackerSpec,
    ControlSpec,
    LeakagePolicy,
    Limit,
    Parameters,
    PolicySpec,
    PrerequisiteSpec,
    Sampling,
    Severity,
    Subgroup,
)
from checker.policy.documents.policy_test import (
    Expected,
    MadeUpCell,
    MadeUpEstimate,
    PolicyCase,
    PolicyTest,
    counted,
)
from checker.policy.documents.study import Study
from checker.policy.documents.submission import Submission
from checker.policy.documents.target import (
    AuditTarget,
    ChannelSpec,
    ChannelTime,
    CodeSystemSpec,
    DataSpec,
    Declaration,
    ModelSpec,
    StaticField,
    TargetSpec,
    TimeBin,
    TokenizationSpec,
)
from checker.policy.documents.waiver import (
    LeakageWaiver,
    Person,
)

__all__ = [
    "API_VERSION",
    "AbstractPolicy",
    "Approval",
    "AsJson",
    "AttackerSpec",
    "AttributeClassLibrary",
    "AttributeClassSpec",
    "AuditTarget",
    "ChannelSpec",
    "ChannelTime",
    "CodeSet",
    "CodeSystemSpec",
    "ControlSpec",
    "DataSpec",
    "Declaration",
    "Document",
    "Element",
    "ExcludedCodes",
    "Expected",
    "Knowledge",
    "LeakagePolicy",
    "LeakageWaiver",
    "LibraryClassSpec",
    "Limit",
    "MadeUpCell",
    "MadeUpEstimate",
    "Metadata",
    "ModelSpec",
    "Parameters",
    "Person",
    "PolicyCase",
    "PolicyClassSpec",
    "PolicySpec",
    "PolicyTest",
    "PrerequisiteSpec",
    "ProxyCodes",
    "Sampling",
    "Selector",
    "Severity",
    "StaticField",
    "Study",
    "Subgroup",
    "Submission",
    "TargetSpec",
    "TimeBin",
    "TokenizationSpec",
    "as_json",
    "counted",
    "extent",
]
