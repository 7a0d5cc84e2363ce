"""What an attacker knows of a patient, as tokens: the prompt π_K(x, A) of METHODS §1.

A prompt is the static prefix the attacker knows, then the events that he knows before the cut,
without any code of the class under test. *Removed, not masked*: positions close up, and a time
token tells the gap to the event that now stands before it. A positive is *eligible* when a
definitive or strong code of the class lies within the horizon behind the cut: a code 2,000 tokens
away cannot be reached in 100, and codes removed from the prompt need never recur.

Where the cut stands:

* `events: N`: behind the first N events, whatever they are; `tokens: N`: behind the last event that
  lies whole within the first N tokens of the record.
* `events: all`, `last`, `random`, `codeTypes`: these choose among the events before the class's
  first definitive or strong code (the first one behind the N events, where N are known too),
  because what is to be told must still lie ahead. The cut is behind the last event known, not right
  before the code: a model that repeats the record goes on from what it was told, so what the
  attacker does not know in between counts against the horizon.
* A patient without such a code has no first one to cut before. His cut is made where that of a
  positive is: before the event at whose index a randomly drawn positive's first code stands, among
  those whose index his record reaches, as controls of a matched study get an index date. Otherwise
  the length of the prompt alone would tell who has the class, and AUROCs would measure that.
* Where no class is in question, the choice is among the first half of the record, so that there is
  something left to be repeated.

A record longer than the model's context was learned in pieces (`windows`). A positive whose code
lies in none of them has nothing that could leak and is not eligible; who is told all events is told
those of the code's own piece, behind the static prefix; and no continuation goes beyond its piece,
nor beyond the context. A prompt that fills the context, as the first N events may, is not asked.

What is drawn depends on the audit's seed, the patient and the event's index only: the random events
of a smaller N are among those of a larger one.

A cut is found by looking up places, and only what stands before it is read, some million tokens at
a time: a prompt of ten events costs the same in a record of a hundred as in one of a million.

`source` says who the patients are and where a class stands in their records, `knowledge` which
events an attacker knows, `encoding` which tokens that makes; `building` puts them together.
"""

from checker.records.prompts.building import (
    DISTINCT_PROMPTS_NEEDED,
    TOO_LONG_ALLOWED,
    Prompts,
    build_prompts,
    prompt_key,
)
from checker.records.prompts.source import ClassPlaces, PromptSource

__all__ = [
    "DISTINCT_PROMPTS_NEEDED",
    "TOO_LONG_ALLOWED",
    "ClassPlaces",
    "PromptSource",
    "Prompts",
    "build_prompts",
    "prompt_key",
]
