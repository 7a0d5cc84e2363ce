"""What an attacker knows of a patient: its selectors, and all that the rest of phigate asks of one.

A selector says itself how it adds up along a chain of attackers, whether it grows like a set or
rises like a number, and how readers are told of it. Inheritance, validation, the identity of a
prompt and the report's threat model go through all selectors there are: one that was added here and
forgotten there would give one attacker another's prompts, and a wrong pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from checker.policy.documents.elements import Element, Exact

Extent = int | Literal["all"] | None
"""How much is known of something that can be known in part."""


def extent(value: Extent) -> float:
    """Order what is known: nothing below any number, every number below all."""
    return float("inf") if value == "all" else -1.0 if value is None else float(value)


@dataclass(frozen=True, slots=True)
class Selector:
    """What one key of `knows` means, beside its type.

    Args:
        words: what is told of it in the report's threat model, from its value.
        grows: "set" where several values add up to their union, "number" where the largest counts.
        chooses: it picks single events, so `events: all` leaves nothing to it.
    """

    words: Callable[[Any], str]
    grows: Literal["set", "number"]
    chooses: bool = False

    def joined(self, values: Sequence[Any]) -> Any:
        """Return what several values make together, the inherited ones first."""
        told = [value for value in values if value is not None]
        if "all" in told or not told:
            return "all" if told else None
        if self.grows == "number":
            return max(told)
        return list(dict.fromkeys(item for value in told for item in value))


def _static(value: Any) -> str:
    return "all static facts" if value == "all" else ", ".join(value)


def _last(value: Any) -> str:
    return f"the last {value} events before what is to be told"


def _events(value: Any) -> str:
    if value == "all":
        return "the whole record but the class in question"
    return f"the first {value} events" if value else ""


class Knowledge(Element):
    """What an attacker knows of a patient: it becomes the prompt.

    The keys add up. `last`, `random` and `codeTypes` choose among the events that lie before what
    is to be told, which is the class's first definitive or strong code.
    """

    static: Annotated[list[Exact] | Literal["all"] | None, Selector(_static, "set")] = Field(
        None,
        description="'age' and names of the target's tokenization.static fields, or 'all'",
        examples=[["age", "sex"], "all"],
    )
    events: Annotated[
        Annotated[int, Field(ge=0)] | Literal["all"] | None, Selector(_events, "number")
    ] = Field(
        None,
        description="the first N events, or 'all' but the class in question",
        examples=[10, "all"],
    )
    tokens: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Selector(lambda n: f"what the first {n} tokens hold", "number"),
    ] = Field(
        None,
        description="the events that lie whole within the model's first N tokens of the record, its"
        " beginning, static facts and time tokens counted; prompts of N codes are counted so where"
        " records are token sequences",
        examples=[20],
    )
    last: Annotated[Annotated[int, Field(ge=1)] | None, Selector(_last, "number", chooses=True)] = (
        Field(
            None,
            description="the last N events before what is to be told, as somebody knows them who"
            " met the patient lately; a model that repeats whole records often fails to from these"
            " alone, so they are reported beside `events: all` and decide nothing by themselves",
            examples=[10],
        )
    )
    random: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Selector(lambda n: f"{n} events drawn at random", "number", chooses=True),
    ] = Field(
        None, description="N events more, drawn at random with the policy's seed", examples=[20]
    )
    code_types: Annotated[
        Annotated[list[Exact], Field(min_length=1)] | None,
        Selector(lambda globs: f"all events like {', '.join(globs)}", "set", chooses=True),
    ] = Field(
        None,
        description="all events whose code matches one of these globs over the data set's spelling",
        examples=[["MEDICATION//*"]],
    )

    @classmethod
    def selectors(cls) -> dict[str, Selector]:
        """Return the selectors by the name of their field.

        Raises:
            TypeError: a field is not described by a `Selector`.
        """
        found = {}
        for name, field in cls.model_fields.items():
            own = [one for one in field.metadata if isinstance(one, Selector)]
            if len(own) != 1:
                raise TypeError(f"Knowledge.{name} needs one Selector")
            found[name] = own[0]
        return found

    @classmethod
    def joined(cls, several: Iterable[Knowledge]) -> Knowledge:
        """Return what several pieces of knowledge make together, the inherited ones first."""
        pieces = list(several)
        values = {
            name: selector.joined([getattr(piece, name) for piece in pieces])
            for name, selector in cls.selectors().items()
        }
        if values["events"] == "all":  # nothing is left to be known beside
            values |= dict.fromkeys(cls.parts())
        return cls.model_validate(values)

    @classmethod
    def choices(cls) -> tuple[str, ...]:
        """Return the fields that choose single events."""
        return tuple(name for name, one in cls.selectors().items() if one.chooses)

    @classmethod
    def parts(cls) -> tuple[str, ...]:
        """Return the fields to which `events: all` leaves nothing."""
        return ("tokens", *cls.choices())

    @property
    def chooses_events(self) -> bool:
        """Whether events are known by more than their place at the beginning of the record."""
        return self.events == "all" or any(getattr(self, name) for name in self.choices())

    @property
    def includes_events(self) -> bool:
        """Whether any event at all may be known, and not only static facts."""
        return self.chooses_events or bool(self.events or self.tokens)

    def in_words(self) -> str:
        """Return what is known, for a reader of the report."""
        told = [
            selector.words(value)
            for name, selector in self.selectors().items()
            if (value := getattr(self, name))
        ]
        return " and ".join(told) or "nothing"
