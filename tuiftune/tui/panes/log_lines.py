"""A log as it is looked at on the whole screen: which lines, from where on, what was searched for. No widget."""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence

from rich.cells import cell_len

from tuiftune.tui.log_levels import ERROR, PLAIN, WARNING
from tuiftune.tui.panes.rows import Row, Span, wrap
from tuiftune.tui.widgets.glyphs import pointer

CLOCK = re.compile(r"\d\d:\d\d:\d\d ")
CLOCK_CELLS = 9
SIGNS = {PLAIN: ("  ", ""), WARNING: ("! ", "warn"), ERROR: ("✗ ", "bad")}
GUTTER = 2
LEAST = {PLAIN: "all lines", WARNING: "warnings and errors", ERROR: "errors"}
"""The least level that is shown, in words."""
ABOVE_HIT = 3
"""Of the rows of the screen, a third is above a hit that was jumped to."""


class LogLines:
    """Lines are known by their number since the log was first looked at: the place one reads at stays where it is while
    others come below it and the oldest are let go above."""

    def __init__(self) -> None:
        self.least = PLAIN
        self.query = ""
        self.hit: int | None = None
        """The number of the line that was jumped to."""
        self._lines: Sequence[str] = ()
        self._levels: Sequence[int] = ()
        self._first = 0
        self._shown: list[int] = []
        """Numbers of the lines that pass the filter."""
        self._hits: list[int] = []
        self._top: tuple[int, int] | None = None
        """Number of the line at the top, and which of its rows; None: the end is followed."""
        self._left_at = 0
        """The number of the next line that would have come when the end was left."""

    # What there is.

    @property
    def follows(self) -> bool:
        return self._top is None

    @property
    def count(self) -> int:
        """Of the lines that pass the filter."""
        return len(self._shown)

    @property
    def hits(self) -> tuple[int, int]:
        """Which of them is jumped to, from 1 on, 0 for none; and how many there are."""
        at = bisect.bisect_left(self._hits, self.hit) + 1 if self.hit in self._hits else 0
        return at, len(self._hits)

    @property
    def fresh(self) -> int:
        """How many lines have come since the end was left."""
        return 0 if self._top is None else len(self._shown) - bisect.bisect_left(self._shown, self._left_at)

    def take(self, lines: Sequence[str], levels: Sequence[int], first: int) -> None:
        """The lines that are kept now; `first` is the number of the first one. Only new ones are looked at."""
        end = self._first + len(self._lines)
        if first < self._first or first + len(lines) < end:  # read anew from the end of the file: other numbers
            self.forget()
            end = 0
        self._lines, self._levels, self._first = lines, levels, first
        del self._shown[: bisect.bisect_left(self._shown, first)]
        del self._hits[: bisect.bisect_left(self._hits, first)]
        self._select_from(max(end, first))

    def forget(self) -> None:
        """What comes is of another log."""
        self._lines, self._levels, self._first = (), (), 0
        self._top, self.hit = None, None
        self._select()

    def filter(self, least: int) -> None:
        self.least = least
        self._select()

    def search(self, query: str) -> None:
        """Mark the lines that have it in them, whatever their case."""
        self.query, self.hit = query, None
        self._select()

    def _select(self) -> None:
        self._shown, self._hits = [], []
        self._select_from(self._first)

    def _select_from(self, number: int) -> None:
        wanted = self.query.lower()
        for place in range(number - self._first, len(self._lines)):
            if self._levels[place] >= self.least:
                self._shown.append(self._first + place)
                if wanted and wanted in self._lines[place].lower():
                    self._hits.append(self._first + place)

    # Where one looks.

    def follow(self) -> None:
        self._top = None

    def stand(self, width: int, height: int) -> None:
        """Stay here while lines come."""
        if self._top is None:
            self._top = self._start(width, height)
            self._left_at = self._first + len(self._lines)

    def to_start(self, width: int, height: int) -> None:
        self.stand(width, height)
        self._top = (self._shown[0], 0) if self._shown else None

    def scroll(self, rows: int, width: int, height: int) -> None:
        """So many rows down, or up where it is negative; at the end it is followed again."""
        self.stand(width, height)
        if self._top is None or not self._shown:
            return
        place, row = self._place(self._top)
        row += rows
        while row < 0 and place > 0:
            place -= 1
            row += self._height(place, width)
        while row > 0 and place < len(self._shown) - 1 and row >= self._height(place, width):
            row -= self._height(place, width)
            place += 1
        self._top = (self._shown[place], max(0, row))
        if rows > 0 and self._top >= self._start(width, height):
            self._top = None

    def jump(self, by: int, width: int, height: int) -> None:
        """To the next hit (1), the one before (-1), or the nearest from the bottom of the screen upwards (0); after the
        last comes the first."""
        if not self._hits:
            self.hit = None
            return
        visible = [number for number, _, _ in self._window(width, height)]
        if self.hit is None or by == 0:
            at = bisect.bisect_right(self._hits, visible[-1] if visible else self._first) - 1
            at = max(0, at)
        else:
            at = bisect.bisect_left(self._hits, self.hit) + by
        self.hit = self._hits[at % len(self._hits)]
        if self.hit not in visible:
            self.stand(width, height)
            self._top = (self.hit, 0)
            self.scroll(-(height // ABOVE_HIT), width, height)

    def _place(self, top: tuple[int, int]) -> tuple[int, int]:
        """Of a line in `_shown`; where it is no longer there, the next one's."""
        place = min(bisect.bisect_left(self._shown, top[0]), len(self._shown) - 1)
        return place, top[1] if self._shown[place] == top[0] else 0

    def _start(self, width: int, height: int) -> tuple[int, int]:
        """The top row when the end is at the bottom."""
        left = height
        for place in range(len(self._shown) - 1, -1, -1):
            rows = self._height(place, width)
            if rows >= left:
                return self._shown[place], rows - left
            left -= rows
        return (self._shown[0], 0) if self._shown else (self._first, 0)

    def _height(self, place: int, width: int) -> int:
        return len(cut(self._lines[self._shown[place] - self._first], width - GUTTER))

    # What is drawn.

    def rows(self, width: int, height: int) -> tuple[list[Row], int]:
        """The rows of the screen, and how many lines are below them."""
        window = self._window(width, height)
        below = len(self._shown) - bisect.bisect_right(self._shown, window[-1][0]) if window else 0
        return [self._row(*one) for one in window], below

    def _window(self, width: int, height: int) -> list[tuple[int, int, str]]:
        """(number of the line, which row of it, text) for each row of the screen."""
        if not self._shown or height < 1:
            return []
        start = self._start(width, height)
        place, row = self._place(min(self._top or start, start))  # a taller screen shows more above
        found: list[tuple[int, int, str]] = []
        while place < len(self._shown) and len(found) < height:
            number = self._shown[place]
            pieces = cut(self._lines[number - self._first], width - GUTTER)
            found += [(number, at, text) for at, text in enumerate(pieces)][min(row, len(pieces) - 1) :]
            place, row = place + 1, 0
        return found[:height]

    def _row(self, number: int, at: int, text: str) -> Row:
        level = self._levels[number - self._first]
        sign, tone = SIGNS[level] if at == 0 else ("  ", "")
        if number == self.hit and at == 0:
            sign, tone = f"{pointer()} ", "accent"
        clock = CLOCK_CELLS if at == 0 and CLOCK.match(text) else 0
        tones: list[Span] = [(sign, tone), (text[:clock], "muted")]
        return [*tones, *_marked(text[clock:], self.query, {ERROR: "bad", WARNING: "warn"}.get(level, ""))]


def cut(line: str, width: int) -> list[str]:
    """A line in as many rows as it takes, its text in a column of its own beside the time of day."""
    if cell_len(line) <= width:
        return [line]
    clock = line[:CLOCK_CELLS] if CLOCK.match(line) and width > 2 * CLOCK_CELLS else ""
    first, *others = wrap(line[len(clock) :], width - len(clock)) or [""]
    return [clock + first, *(" " * len(clock) + other for other in others)]


def _marked(text: str, query: str, tone: str) -> list[Span]:
    """What was searched for stands out; a sign would move the text, so it is drawn in reverse."""
    if not query:
        return [(text, tone)]
    spans: list[Span] = []
    start, low = 0, text.lower()
    while len(low) == len(text) and (at := low.find(query.lower(), start)) >= 0:
        spans += [(text[start:at], tone), (text[at : at + len(query)], "hit")]
        start = at + len(query)
    return [*spans, (text[start:], tone)]
