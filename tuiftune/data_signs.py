"""Spans of text with a tone, and the signs that data is shown with: for the screen and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuiftune.text import one_line

Span = tuple[str, str]
"""Text and its tone, as tuiftune.tui.panes.rows has them; the command line leaves the tone out."""
Row = Sequence[Span]

EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Signs:
    """What the terminal can show."""

    open: str = "⟦"
    """Before tokens whose loss is not counted."""
    close: str = "⟧"
    apart: str = "│"
    """Between two tokens."""
    nothing: str = "▫"
    """For a token that shows nothing by itself: a part of a character, or a control sign."""
    line_break: str = "⏎"
    tab: str = "⇥"
    carriage_return: str = "␍"
    cut: str = "…"
    here: str = "▸"
    arrow: str = "→"
    bars: bool = True
    """Whether there are blocks to draw bars with, to an eighth of a cell."""

    def visible(self, text: str) -> str:
        """On one line, line breaks and tabs seen, nothing in it that could steer the terminal."""
        for sign, shown in (("\r", self.carriage_return), ("\n", self.line_break), ("\t", self.tab)):
            text = text.replace(sign, shown)
        return one_line(text, len(text) + 1)

    def bar(self, part: float, width: int) -> str:
        """A bar of `part` of `width` cells; what is there at all is seen."""
        if not self.bars:
            return "#" * max(1 if part else 0, round(part * width))
        eighths = round(part * width * 8)
        if part and not eighths:
            eighths = 1
        return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


UNICODE = Signs()
ASCII = Signs("[[", "]]", "|", "_", "\\n", "\\t", "\\r", "...", ">", "->", bars=False)


def text_of(row: Row) -> str:
    """A row without its tones."""
    return "".join(text for text, _ in row).rstrip()


def percent(share: float) -> str:
    """`12.3%`; what is there, but too little to be seen, as `<0.1%`."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def many(number: int, what: str, plural: str = "s") -> str:
    return f"{number:,} {what}{'' if number == 1 else plural}"
