"""The findings as lines of text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from tuiftune.doctor.finding import BAD, GOOD, WARNING, Finding, counted

SIGNS = {GOOD: "✓", WARNING: "!", BAD: "✗"}


def frame(found: Sequence[Finding], width: int) -> str:
    """A group after the other, what to do below what is not good, and how many there are of each level."""
    return "\n".join([*_lines(found, max(40, width)), "", counted(found)])


def _lines(found: Sequence[Finding], width: int) -> Iterator[str]:
    group = ""
    column = max((len(finding.name) for finding in found), default=0)
    for finding in found:
        if finding.group != group:
            if group:
                yield ""
            group = finding.group
            yield group
        head = f"  {SIGNS[finding.level]} {finding.name:<{column}}  "
        yield from textwrap.wrap(finding.fact, width, initial_indent=head, subsequent_indent=" " * len(head))
        if finding.remedy:
            room = " " * len(head)
            yield from textwrap.wrap(f"→ {finding.remedy}", width, initial_indent=room, subsequent_indent=f"{room}  ")
