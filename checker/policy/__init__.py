"""What an institution demands, read from its YAML: documents, their lines, and their rules."""

from __future__ import annotations

from checker.policy.attackers import ResolvedAttacker, resolve_attacker
from checker.policy.json_schema import document_schema, json_schema_of
from checker.policy.loading import (
    load_all,
    load_documents,
    load_only,
    load_policy,
    load_target,
    parse_documents,
)
from checker.policy.located import Located, Origin
from checker.policy.parsing import DOCUMENT_KINDS, problems_in
from checker.policy.target_validation import check_pair

__all__ = [
    "DOCUMENT_KINDS",
    "Located",
    "Origin",
    "ResolvedAttacker",
    "check_pair",
    "document_schema",
    "json_schema_of",
    "load_all",
    "load_documents",
    "load_only",
    "load_policy",
    "load_target",
    "parse_documents",
    "problems_in",
    "resolve_attacker",
]
