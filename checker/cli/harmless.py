"""A console on which text from outside can only be read.

Names of codes, titles and files come from data sets, policies and whoever sent them. Some terminals
do what control characters say: move the cursor, set the title, answer as if typed; direction
characters show a line in another order than it is in. Whatever reaches this console is rid of them,
wherever it came from; colours are rich's own and are added behind it.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from checker.report.wording.plain import plain_lines


class HarmlessConsole(Console):
    """A rich console that replaces what is not printable in every text it draws."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as rich does, with harmless text."""
        for segment in super().render(renderable, options):
            if segment.control:  # rich's own: to draw a bar anew, say
                yield segment
            else:
                yield Segment(plain_lines(segment.text), segment.style)
