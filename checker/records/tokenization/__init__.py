"""Events become the model's tokens, and tokens are read back as codes.

`records` holds the columns (patients before and after), `event_positions` where events are in them,
`vocabulary` the model's tokens and ids, `tokenizer` the rules of a target's `tokenization`,
`made_records` what stands in their place: a table that the trainer's own loader wrote, which
`token_tables` reads.
"""

from checker.records.tokenization.event_positions import EventPositions
from checker.records.tokenization.made_records import MadeRecords, make_tokenizer
from checker.records.tokenization.records import (
    KIND_EVENT,
    KIND_MARK,
    KIND_SPECIAL,
    KIND_STATIC,
    KIND_TIME,
    STATIC_TIME,
    Coverage,
    Records,
    Survey,
    TokenizedRecord,
    TokenizedRecords,
    leading_specials,
)
from checker.records.tokenization.tokenizer import UNKNOWN_LIMIT, Tokenizer
from checker.records.tokenization.vocabulary import Vocabulary, check_fits, load_vocabulary

__all__ = [
    "KIND_EVENT",
    "KIND_MARK",
    "KIND_SPECIAL",
    "KIND_STATIC",
    "KIND_TIME",
    "STATIC_TIME",
    "UNKNOWN_LIMIT",
    "Coverage",
    "EventPositions",
    "MadeRecords",
    "Records",
    "Survey",
    "TokenizedRecord",
    "TokenizedRecords",
    "Tokenizer",
    "Vocabulary",
    "check_fits",
    "leading_specials",
    "load_vocabulary",
    "make_tokenizer",
]
