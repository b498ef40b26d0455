"""The last lines of the run's log; on the whole screen searched, filtered, followed or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding

from tuiftune.run.folder import Run
from tuiftune.text import one_line
from tuiftune.tui.log_levels import PLAIN
from tuiftune.tui.messages import RunView
from tuiftune.tui.panes.log_lines import CLOCK, CLOCK_CELLS, LEAST, LogLines, cut
from tuiftune.tui.panes.rows import Row, Span, fit, joined
from tuiftune.tui.panes.scrolled import Scrolled

WRAPPED_FROM = 8
"""With so many rows the newest lines are shown whole; with fewer, more lines are, each cut to a row."""
QUERY = 200
"""Characters that are searched for, at most."""


class LogPane(Scrolled):
    """Follows the end of the log; on the whole screen with all lines that are kept."""

    help_text: ClassVar[str] = (
        "What the run says: worker.log, or supervisor.log while the worker has said nothing. "
        "l shows it on the whole screen, where arrows and page keys scroll. There / searches, n and N go to the next "
        "and the previous line that has it, v shows all lines, warnings and errors or errors alone (told from their "
        "words: ! and ✗ stand before them), and f follows the end or stays where it is; end follows it again."
    )
    BINDINGS = [
        Binding("slash", "search", "Search", key_display="/"),
        Binding("n", "jump(1)", "Next hit"),
        Binding("N", "jump(-1)", "Previous hit", show=False),
        Binding("v", "level", "Which lines"),
        Binding("f", "follow", "Follow"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._name = "worker.log"
        self._of: tuple[Run, str] | None = None
        self._lines: Sequence[str] = ()
        self._levels: Sequence[int] = ()
        self._first = 0
        self._all = LogLines()
        self._typed: str | None = None
        """What is being typed after /; None while nothing is."""

    def show(self, view: RunView) -> None:
        if (view.run, view.log_name) != self._of:
            self._of = (view.run, view.log_name)
            self._all.forget()
        self._name, self._lines, self._first = view.log_name, view.log, view.log_first
        self._levels = view.log_levels
        self._take()
        self.redraw()

    def _take(self) -> None:
        """Beside other panes nobody searches, and nothing is kept in order for it."""
        if self.full:
            self._all.take(self._lines, self._levels, self._first)

    def set_full(self, full: bool) -> None:
        if full != self.full:
            self._all, self._typed = LogLines(), None
        super().set_full(full)
        self._take()
        self.redraw()

    @property
    def typing(self) -> bool:
        """Whether letters go into what is searched for."""
        return self._typed is not None

    # What is drawn.

    def title(self) -> Row:
        return [("log", "title"), (f"  {self._name}", "muted")]

    def rows(self, width: int, height: int) -> Sequence[Row]:
        if not self.full:
            return super().rows(width, height)
        rows, below = self._all.rows(width, height - 1)
        if not rows:
            rows = [[("nothing yet" if not self._lines else f"no {LEAST[self._all.least]} among them", "muted")]]
        return [self._typing_row(width) if self.typing else self._about(width, below), *rows]

    def _about(self, width: int, below: int) -> Row:
        """The longest form that there is room for."""
        log = self._all
        parts: list[list[Span]] = [list(self.title())]
        if log.query:
            at, count = log.hits
            tone = "warn" if not count else ""
            parts.append([(f"/{one_line(log.query, 40)}  ", "accent"), (f"{at or '—'} of {count:,}", tone)])
        if log.follows:
            parts.append([("follows", "good")])
        else:
            new = f", {log.fresh:,} new" if log.fresh else ""
            parts.append([("stands still", "warn"), (f": {below:,} lines below{new}", "warn" if new else "muted")])
        parts.append([(LEAST[log.least], "strong" if log.least != PLAIN else "muted"), (f" {log.count:,}", "muted")])
        return joined(parts, width)

    def _typing_row(self, width: int) -> Row:
        end = f"  {self._all.hits[1]:,} lines  enter goes there  esc"
        typed = one_line(self._typed or "", QUERY)
        return [("/", "accent"), (fit(typed, max(1, width - len(end) - 2)), ""), (" ", "hit"), (end, "muted")]

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

    # What the keys do.

    @property
    def _room(self) -> tuple[int, int]:
        return self.content_size.width, max(1, self.content_size.height - 1)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that can do nothing now are not in the footer."""
        if self.typing:
            return False
        if action == "jump":
            return bool(self._all.hits[1])
        return super().check_action(action, parameters)

    def on_key(self, event: events.Key) -> None:
        """What is typed is searched for: here and not through bindings, which come later, out of order."""
        if self._typed is None:
            if self.full and event.character == "/":
                self.action_search()
                event.stop()
                event.prevent_default()
            return
        event.stop()
        event.prevent_default()
        if event.key == "enter":
            self._end_typing()
            self._all.jump(0, *self._room)
        elif event.key == "escape":
            self._all.search("")
            self._end_typing()
        elif event.key == "backspace":
            self._type(self._typed[:-1])
        elif event.is_printable:
            self._type(self._typed + (event.character or ""))
        self.redraw()

    def on_paste(self, event: events.Paste) -> None:
        if self._typed is not None:
            self._type(self._typed + one_line(event.text.partition("\n")[0], QUERY))
            event.stop()
            self.redraw()

    def _type(self, text: str) -> None:
        self._typed = text[:QUERY]
        self._all.search(self._typed)

    def _end_typing(self) -> None:
        self._typed = None
        self.screen.refresh_bindings()

    def action_search(self) -> None:
        self._typed = ""
        self.screen.refresh_bindings()
        self.redraw()

    def action_jump(self, by: int) -> None:
        self._all.jump(by, *self._room)
        self.redraw()

    def action_level(self) -> None:
        levels = list(LEAST)
        self._all.filter(levels[(levels.index(self._all.least) + 1) % len(levels)])
        self.redraw()

    def action_follow(self) -> None:
        if self._all.follows:
            self._all.stand(*self._room)
        else:
            self._all.follow()
        self.redraw()

    def action_scroll(self, rows: int) -> None:
        self._all.scroll(rows, *self._room)
        self.redraw()

    def action_edge(self, side: int) -> None:
        if side < 0:
            self._all.to_start(*self._room)
        else:
            self._all.follow()
        self.redraw()


def _whole(line: str, width: int) -> list[Row]:
    first, *others = cut(line, width)
    return [_line(first), *([(other, "")] for other in others)]


def _line(text: str) -> Row:
    """The time of day stands back."""
    if CLOCK.match(text):
        return [(text[:CLOCK_CELLS], "muted"), (text[CLOCK_CELLS:], "")]
    return [(text, "")]
