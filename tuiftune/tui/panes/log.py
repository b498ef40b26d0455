"""The last lines of the run's log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len

from tuiftune.tui.messages import RunView
from tuiftune.tui.panes.rows import Row, fit, wrap
from tuiftune.tui.panes.scrolled import Scrolled

CLOCK = re.compile(r"\d\d:\d\d:\d\d ")
CLOCK_CELLS = 9
WRAPPED_FROM = 8
"""With so many rows the newest lines are shown whole; with fewer, more lines are, each cut to a row."""


class LogPane(Scrolled):
    """Follows the end of the log; on the whole screen with all lines that are kept."""

    help_text: ClassVar[str] = (
        "What the run says: worker.log, or supervisor.log while the worker has said nothing. "
        "l shows it on the whole screen, where arrows and page keys scroll."
    )
    follows_end: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._name = "worker.log"
        self._lines: Sequence[str] = ()

    def show(self, view: RunView) -> None:
        self._name, self._lines = view.log_name, view.log
        self.redraw()

    def title(self) -> Row:
        return [("log", "title"), (f"  {self._name}", "muted")]

    def few_rows(self, width: int, height: int) -> Sequence[Row]:
        if not self._lines:
            return [[("nothing yet", "muted")]]
        shown = self._lines[-height:] if height > 0 else []
        whole = [_whole(line, width) for line in shown]
        if height >= WRAPPED_FROM:
            while sum(map(len, whole)) > height:
                whole = whole[1:]
        if sum(map(len, whole)) <= height:
            return [row for rows in whole for row in rows]
        return [_line(fit(line, width)) for line in shown]

    def all_rows(self, width: int) -> Sequence[Row]:
        rows: list[Row] = []
        for line in self._lines:
            rows += _whole(line, width)
        return rows


def _whole(line: str, width: int) -> list[Row]:
    """A line in as many rows as it takes, its text in a column of its own beside the time of day."""
    if cell_len(line) <= width:
        return [_line(line)]
    clock = line[:CLOCK_CELLS] if CLOCK.match(line) else ""
    first, *others = wrap(line[len(clock) :], width - len(clock))
    return [_line(clock + first), *([(" " * len(clock) + other, "")] for other in others)]


def _line(text: str) -> Row:
    """The time of day stands back."""
    if CLOCK.match(text):
        return [(text[:CLOCK_CELLS], "muted"), (text[CLOCK_CELLS:], "")]
    return [(text, "")]
