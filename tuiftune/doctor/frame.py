"""The findings as lines of text."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence

from tuiftune.doctor.finding import BAD, GOOD, WARNING, Finding, counted
from tuiftune.text import is_unicode

SIGNS = {GOOD: "✓", WARNING: "!", BAD: "✗"}
ASCII_SIGNS = {GOOD: "ok", WARNING: "!", BAD: "x"}


def signs() -> dict[str, str]:
    """The sign of each level, in letters that standard output has."""
    return SIGNS if is_unicode(sys.stdout) else ASCII_SIGNS


def frame(found: Sequence[Finding], width: int) -> str:
    """A group after the other, what to do below what is not good, and how many there are of each level."""
    return "\n".join([*_lines(found, max(40, width)), "", counted(found)])


def _lines(found: Sequence[Finding], width: int) -> Iterator[str]:
    sign, group = signs(), ""
    column = max((len(finding.name) for finding in found), default=0)
    for finding in found:
        if finding.group != group:
            if group:
                yield ""
            group = finding.group
            yield group
        head = f"  {sign[finding.level]:<2} {finding.name:<{column}}  "
        yield from textwrap.wrap(finding.fact, width, initial_indent=head, subsequent_indent=" " * len(head))
        if finding.remedy:
            text = f"{'→' if sign is SIGNS else '->'} {finding.remedy}"
            room = " " * len(head)
            yield from textwrap.wrap(text, width, initial_indent=room, subsequent_indent=f"{room}  ")
