"""What a YAML parser could not read, in the words of somebody who has made the mistake before.

A parser says where it gave up, which is where the mistake shows and not where it was made: a space
missing after a colon shows on the next line, a line that is indented wrongly when its neighbours
go on. Here the lines above are looked at again for the few mistakes that people make.
"""

from __future__ import annotations

import re

import yaml

from checker.yaml.source import short

_HINTS = {
    "mapping values are not allowed": "a text that holds ': ' must be quoted",
    "cannot start any token": "a text that starts with '@', '`' or '%' must be quoted",
    "did not find expected key": "check the indentation and the quotes above",
    "expected <block end>": "check the indentation and the quotes above",
}
_KEY = r"[A-Za-z][A-Za-z0-9_.-]*"
_GLUED = re.compile(rf"\s*(?:- )?({_KEY}):([^\s/:].*)")
_WITHOUT_COLON = re.compile(rf"\s*(?:- )?({_KEY})(?:\s*=\s*|\s+)(\S.*)")


def explain(error: yaml.MarkedYAMLError, text: str) -> tuple[int, int, str]:
    """Say where a text stopped being YAML, and what was probably meant.

    Args:
        error: what the parser raised.
        text: what it was given.

    Returns:
        Line and column from 1, and a sentence.
    """
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = error.problem or error.context or "it cannot be parsed"
    lines = text.split("\n")
    here = lines[line - 1] if line <= len(lines) else ""
    if "\t" in here[:column] and not here[: column - 1].strip():
        return line, column, "this line is indented with a tab; YAML wants spaces"
    start = error.context_mark
    if start is not None and "could not find expected ':'" in problem:
        colon = _colon(lines[start.line] if start.line < len(lines) else "")
        if colon is not None:
            return start.line + 1, start.column + 1, colon
    indented = _indentation(lines, line) if _is_structural(problem) else None
    if indented is not None:
        return line, column, indented
    since = f" ({error.context}, line {start.line + 1})" if error.context and start else ""
    hint = next((f"; {hint}" for part, hint in _HINTS.items() if part in problem), "")
    return line, column, f"this is not YAML: {problem}{since}{hint}"


def missing_space(text: str) -> str | None:
    """Return what was meant by a key and value with no space between them, or None.

    >>> missing_space("seed:7")
    'seed: 7'
    """
    glued = _GLUED.fullmatch(text)
    return f"{glued[1]}: {short(glued[2])}" if glued else None


def continued_item(lines: list[str], first: int, last: int) -> int | None:
    """Return the line (from 0) on which an unquoted text swallows what looks like a list item.

    Args:
        lines: of the file.
        first: on which the text begins.
        last: on which it ends.
    """
    for number in range(first + 1, min(last + 1, len(lines))):
        if re.match(r"\s*- \S", lines[number]):
            return number
    return None


def _is_structural(problem: str) -> bool:
    return any(
        words in problem
        for words in ("did not find expected key", "expected <block end>", "mapping values are not")
    )


def _colon(line: str) -> str | None:
    """Explain a line that should be a key with its value."""
    glued = missing_space(_uncommented(line))
    if glued is not None:
        return f"a space is missing after the colon; write {glued}"
    bare = _WITHOUT_COLON.fullmatch(_uncommented(line))
    if bare is not None and ":" not in line:
        return f"the colon is missing; write {bare[1]}: {short(bare[2])}"
    return None


def _indentation(lines: list[str], line: int) -> str | None:
    """Explain a line that begins at none of the columns at which something is open above it."""
    here = _indent(lines[line - 1]) if line <= len(lines) else None
    if here is None or "- " in lines[line - 1][: here + 2]:
        return None
    above = None
    for number in range(line - 1, 0, -1):
        indent = _indent(lines[number - 1])
        if indent is None:
            continue
        if indent == here:
            return None
        if indent < here:  # what the line belongs to: had it children at another column?
            opens = _uncommented(lines[number - 1]).endswith((":", "|", ">", "-"))
            if above is not None:
                return _uneven(here, above, f"under line {number}")
            return None if opens else _homeless(here, number, indent)
        if above is None or indent < above[1]:
            above = (number, indent)
    return _uneven(here, above, "at the top of a document") if above else None


def _uneven(here: int, above: tuple[int, int], where: str) -> str:
    number, indent = above
    return (
        f"the indentation is uneven: this line begins after {_spaces(here)}, line {number} after"
        f" {_spaces(indent)}; what stands {where} begins at one column"
    )


def _homeless(here: int, number: int, indent: int) -> str:
    return (
        f"the indentation is uneven: this line begins after {_spaces(here)}, but line {number}"
        f" above it, after {_spaces(indent)}, opens nothing; move it to the column of its"
        " neighbours, or quote a text that holds ': '"
    )


def _indent(line: str) -> int | None:
    """Return the spaces before a line's content, or None where it has none."""
    content = line.strip()
    return None if not content or content.startswith("#") else len(line) - len(line.lstrip(" "))


def _uncommented(line: str) -> str:
    return re.sub(r"\s+#.*", "", line).rstrip()


def _spaces(count: int) -> str:
    return "1 space" if count == 1 else f"{count or 'no'} spaces"
