"""A pane that shows a part of something long, and all of it, scrolled, when it has the whole screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding

from tuiftune.tui.panes.rows import Row, Rows, row_cells

SCROLL_ROWS = 3
"""A notch of the mouse wheel."""


class Scrolled(Rows):
    """A title row, and below it a window on `all_rows`."""

    BINDINGS = [
        Binding("up,k", "scroll(-1)", "Up", show=False),
        Binding("down,j", "scroll(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown,space", "page(1)", "Page down", show=False),
        Binding("home,g", "edge(-1)", "Start", show=False),
        Binding("end,G", "edge(1)", "End", show=False),
    ]
    below_text: ClassVar[str] = "   {:,} rows below"
    """What the title row says of rows below those that are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self._away = 0
        """Rows above the first one that is shown."""

    def title(self) -> Row:
        """The row above."""
        raise NotImplementedError

    def few_rows(self, width: int, height: int) -> Sequence[Row]:
        """What is shown beside other panes: at most `height` rows."""
        raise NotImplementedError

    def all_rows(self, width: int) -> Sequence[Row]:
        """Everything, for the whole screen."""
        raise NotImplementedError

    def set_full(self, full: bool) -> None:
        """Take the whole screen, and the keys that scroll, or give them back."""
        self.full, self._away = full, 0
        self.can_focus = full
        if full:
            self.focus()
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        title = self.title()
        if not self.full:
            return [title, *self.few_rows(width, height - 1)]
        everything = self.all_rows(width)
        hidden = max(0, len(everything) - (height - 1))
        self._away = max(0, min(self._away, hidden))
        below = hidden - self._away
        title = [*title, *self._said_below(below, width - row_cells(title))]
        return [title, *everything[self._away : self._away + height - 1]]

    def _said_below(self, below: int, room: int) -> Row:
        """How much is below, in the longest form that there is room for."""
        forms = (self.below_text.format(below), f"   {below:,} below", f"  +{below:,}") if below else ()
        return next(([(form, "muted")] for form in forms if len(form) <= room), [])

    def action_scroll(self, rows: int) -> None:
        self._away += rows
        self.redraw()

    def action_page(self, pages: int) -> None:
        self.action_scroll(pages * max(1, self.content_size.height - 2))

    def action_edge(self, side: int) -> None:
        self.action_scroll(side * 1_000_000)

    def on_mouse_scroll_up(self) -> None:
        if self.full:
            self.action_scroll(-SCROLL_ROWS)

    def on_mouse_scroll_down(self) -> None:
        if self.full:
            self.action_scroll(SCROLL_ROWS)
