"""The table of runs: of any number only the rows on the screen are made, and of those only what changed is sent."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.strip import Strip

from tuiftune.run.summary import RunSummary
from tuiftune.text import one_line
from tuiftune.tui.panes.rows import Row, Rows, Span, beside
from tuiftune.tui.widgets.glyphs import pointer
from tuiftune.tui.widgets.run_columns import BY_NAME, SORTED, Layout, Told, found_by, in_order, layout

ABOVE = 2
"""Rows of the title and of the columns' titles."""
SIGNS = 2
"""Cells before the columns: where one is, and what is marked."""
CURSOR: Span = ("", "cursor")
READING = "reading the runs..."
NO_RUNS = "no runs yet. 1 leads to the profiles: choose one and press enter"


class RunTable(Rows, can_focus=True):
    """Rows of runs, one of them highlighted, some of them marked."""

    help_title: ClassVar[str] = "Table of runs"
    help_text: ClassVar[str] = (
        "All runs of the workspace; what goes on comes first. o sorts by the next column, O turns the order round, a "
        "click on a title does both. / filters: every word must be in the id, the profile, the name, the note or the "
        "state. Space marks runs, for c (compare), e (export) and D (delete). BEST PPL is the lowest perplexity "
        "after step 0, TOOK the time from start to end, PEAK VRAM the most on any one GPU, of all processes together."
    )
    BINDINGS = [
        Binding("enter", "open", "Open"),
        Binding("space", "mark", "Mark"),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "edge(0)", "First", show=False),
        Binding("end,G", "edge(1)", "Last", show=False),
    ]
    COMPONENT_CLASSES = {"rows--cursor"}
    DEFAULT_CSS = """
    RunTable {
        padding: 0 1;
        & > .rows--cursor { background: $primary 15%; }
        &:focus > .rows--cursor { background: $primary 35%; }
    }
    """

    class Highlighted(Message):
        """Another run is highlighted, or what is told of it has changed."""

    class Opened(Message):
        """Enter was pressed on the highlighted run, or it was clicked twice."""

    class MarksChanged(Message):
        """Other runs are marked."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._runs: Sequence[RunSummary] | None = None
        self._shown: list[RunSummary] = []
        self._sizes: Mapping[str, int] = {}
        self._queue: Sequence[str] = ()
        self._layout = Layout(())
        self._laid_out: tuple[object, ...] = ()
        self._at, self._top = 0, 0
        self._chosen = False
        """Whether a person has moved the highlight; until then it stays at the top, whichever run comes there."""
        self._by, self._backwards = SORTED[0], False
        self._marks: dict[str, None] = {}
        self._query, self._typing = "", False

    # ------------------------------------------------------------------------------------------ what it has

    @property
    def run(self) -> RunSummary | None:
        """The highlighted one."""
        return self._shown[self._at] if self._at < len(self._shown) else None

    @property
    def marked(self) -> list[RunSummary]:
        """In the order they were marked."""
        by_id = {run.id: run for run in self._runs or ()}
        return [by_id[name] for name in self._marks if name in by_id]

    def show(self, runs: Sequence[RunSummary], sizes: Mapping[str, int], queue: Sequence[str]) -> None:
        """These runs, what each takes on the disk as far as that is known, and the ids of those that wait, the next
        one first. The highlight stays on the run it was moved to."""
        self._runs, self._sizes, self._queue = runs, sizes, queue
        there = {run.id for run in runs}
        gone = [name for name in self._marks if name not in there]
        for name in gone:
            del self._marks[name]
        if gone:
            self.post_message(self.MarksChanged())
        self._arrange()

    def show_sizes(self, sizes: Mapping[str, int]) -> None:
        """What each takes on the disk, as far as that is known."""
        self._sizes = sizes
        if self._by == "size":
            self._arrange()
        else:
            self.redraw()

    def filter(self, query: str, typing: bool) -> None:
        """Show only those that match; `typing`: letters go there, so it has a cursor."""
        changed = query != self._query
        self._query, self._typing = query, typing
        if changed:
            self._arrange(keep=False)
        else:
            self.redraw()

    def select(self, run_id: str) -> None:
        """Highlight a run, if it is shown."""
        found = next((place for place, run in enumerate(self._shown) if run.id == run_id), None)
        if found is not None:
            self._go(found)

    def clear_marks(self) -> None:
        if self._marks:
            self._marks.clear()
            self.redraw()
            self.post_message(self.MarksChanged())

    def _arrange(self, keep: bool = True) -> None:
        """Filter and sort: some 15 ms for 5,000 runs."""
        before = self.run
        runs = found_by(self._runs or (), self._query)
        self._shown = in_order(runs, self._by, self._backwards, self._sizes, self._queue)
        at = 0
        if keep and self._chosen and before is not None:
            at = next((place for place, run in enumerate(self._shown) if run.id == before.id), self._at)
        self._at = max(0, min(at, len(self._shown) - 1))
        self.redraw()
        if self.run != before:
            self.post_message(self.Highlighted())

    # ----------------------------------------------------------------------------------------- how it looks

    def rows(self, width: int, height: int) -> Sequence[Row]:
        self._lay_out(width - SIGNS)
        room = max(1, height - ABOVE)
        self._top = max(0, min(self._top, len(self._shown) - room, self._at), self._at - room + 1)
        now = time.time()
        places = range(self._top, min(len(self._shown), self._top + room))
        rows = [self._row(place, now) for place in places]
        return [self._title(width, room), [("  ", ""), *self._layout.header(self._by, self._sign())], *rows] + (
            [[(f"  {self._nothing()}", "muted")]] if not rows else []
        )

    def _lay_out(self, width: int) -> None:
        wanted = (width, self._runs)
        if not (self._laid_out and self._laid_out[0] == width and self._laid_out[1] is self._runs):
            self._layout, self._laid_out = layout(width, self._runs or ()), wanted

    def _title(self, width: int, room: int) -> Row:
        everything, shown = len(self._runs or ()), len(self._shown)
        left: list[Span] = [("runs", "title"), (f"  {everything:,}" if everything else "", "muted")]
        if self._query or self._typing:
            left += [
                ("   / ", "accent"),
                (one_line(self._query, 60), "strong"),
                ("_" if self._typing else "", "accent"),
            ]
            left += [(f"   {shown:,} found", "muted")]
        if self._marks:
            left += [(f"   {len(self._marks)} marked", "accent")]
        seen = f"{self._top + 1:,}-{min(shown, self._top + room):,} of {shown:,}" if shown > room else ""
        order = f"by {BY_NAME[self._by].title.lower()}{', turned round' if self._backwards else ''}"
        return beside(left, [(f"{seen}   " if seen else "", "muted"), (order, "muted")], width)

    def _sign(self) -> str:
        down = BY_NAME[self._by].highest_first != self._backwards
        return "▾" if down else "▴"

    def _row(self, place: int, now: float) -> Row:
        run = self._shown[place]
        here, marked = place == self._at, run.id in self._marks
        signs: list[Span] = [
            (pointer() if here else " ", "accent"),
            ("*" if marked else " ", "accent"),
        ]
        cells = self._layout.spans(Told(run, self._sizes.get(run.id), now))
        return [CURSOR, *signs, *cells] if here else [*signs, *cells]

    def _nothing(self) -> str:
        if self._runs is None:
            return READING
        return f"no run matches {one_line(self._query, 60)!r}; escape clears" if self._runs else NO_RUNS

    def render_line(self, y: int) -> Strip:
        strip = super().render_line(y)
        if y < len(self._drawn) and self._drawn[y] and self._drawn[y][0] == CURSOR:
            back = Style(bgcolor=self.get_component_rich_style("rows--cursor").bgcolor)
            strip = Strip([Segment(text, (style or Style()) + back, control) for text, style, control in strip])
        return strip

    # ------------------------------------------------------------------------------------------ what it does

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While letters go into the filter only the arrow keys are ours."""
        return not self._typing if action in ("open", "mark") else super().check_action(action, parameters)

    def _go(self, place: int) -> None:
        place = max(0, min(place, len(self._shown) - 1))
        self._chosen = True
        if place != self._at:
            self._at = place
            self.redraw()
            self.post_message(self.Highlighted())

    def action_move(self, rows: int) -> None:
        self._go(self._at + rows)

    def action_page(self, pages: int) -> None:
        self._go(self._at + pages * max(1, self.content_size.height - ABOVE - 1))

    def action_edge(self, end: int) -> None:
        self._go(end * len(self._shown))

    def action_open(self) -> None:
        if self.run is not None:
            self.post_message(self.Opened())

    def action_mark(self) -> None:
        """Mark the highlighted run, or take its mark away; then the next one."""
        if self.run is None:
            return
        if self.run.id in self._marks:
            del self._marks[self.run.id]
        else:
            self._marks[self.run.id] = None
        self.post_message(self.MarksChanged())
        at = self._at
        self._go(at + 1)
        if at == self._at:
            self.redraw()

    def sort(self, by: str) -> None:
        """By a column; once more by the same turns it round."""
        self._backwards = by == self._by and not self._backwards
        self._by = by
        self._arrange()

    def sort_by_next(self) -> None:
        """By the next of the columns on the screen, and by when at last."""
        seen = [name for name in SORTED if name in [column.name for column, _ in self._layout.columns]]
        at = seen.index(self._by) if self._by in seen else -1
        self._by, self._backwards = seen[(at + 1) % len(seen)], False
        self._arrange()

    def turn_round(self) -> None:
        self._backwards = not self._backwards
        self._arrange()

    def on_click(self, event: events.Click) -> None:
        x, y = event.x - 1, event.y  # the padding
        if y == 1:
            column = self._layout.column_at(x - SIGNS)
            if column is not None:
                self.sort(column)
        elif y >= ABOVE and self._top + y - ABOVE < len(self._shown):
            self._go(self._top + y - ABOVE)
            if event.chain == 2:
                self.action_open()

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-3)

    def on_mouse_scroll_down(self) -> None:
        self.action_move(3)
