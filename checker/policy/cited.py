"""What is probably wrong about sources: whom a duty binds, what guidance asks, where a link leads.

A citation lends a limit the weight of whoever wrote the source, so three things are asked of it. A
duty names who has it. What asks something for *every person* does not stand beside a limit that
some share of people may be told on: the EDPB's opinion on AI models does not support 33 %. And a
link leads somewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from checker.policy.documents.elements import Citation
from checker.policy.documents.policy import LeakagePolicy, PolicySpec
from checker.policy.located import Located
from checker.yaml import KeyPath

_Warning = tuple[KeyPath, str]


def citation_warnings(citations: Mapping[str, Citation]) -> Iterator[_Warning]:
    """Yield what is to be thought about of each source, whatever cites it."""
    for name, one in citations.items():
        path: KeyPath = ("spec", "citations", name)
        if one.basis == "legal-duty" and one.addressee is None:
            yield (
                (*path, "basis"),
                f"'{name}' is called a legal duty without saying whose (addressee); a reader takes"
                " it for everybody's, and hardly any law binds everybody",
            )
        if one.url is not None and not leads_somewhere(one.url):
            yield (
                (*path, "url"),
                f"the address of '{name}' is none that a browser could open; write https://, the"
                " host and the path, or leave it out",
            )


def contradicted_limits(policy: Located[LeakagePolicy]) -> Iterator[_Warning]:
    """Yield limits that tolerate a share beside a source that speaks of every person.

    Of what a policy inherits it is warned where it is written: where its own limit or its own
    citation brings the two together.
    """
    spec: PolicySpec = policy.document.spec
    for name, control in spec.controls.items():
        asked = [one for one in control.cites if spec.citations[one].every_person]
        for attacker, limit in control.limits.items():
            path: KeyPath = ("spec", "controls", name, "limits", attacker)
            places = (policy.place(path), policy.place(("spec", "controls", name, "cites")))
            if asked and limit.allowed > 0 and any(one.file == policy.file for one in places):
                yield (
                    path,
                    f"{' and '.join(asked)} asks something for every single person, and this limit"
                    f" allows {limit.allowed:g}; cite what the number does rest on, or allow"
                    " nothing (maxCount: 0)",
                )


def leads_somewhere(url: str) -> bool:
    """Whether an address has the form of one on the web: https or http, a host, no blanks."""
    try:
        parts = urlsplit(url)
        port_is_sound = parts.port is None or parts.port > 0
    except ValueError:
        return False
    host = parts.hostname or ""
    return (
        parts.scheme in {"http", "https"}
        and port_is_sound
        and parts.username is None
        and "." in host.strip(".")
        and not any(one.isspace() for one in url)
    )
