"""Runs side by side: their curves over one another, their results, and the settings that differ."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.message import Message

from tuiftune.comparison import GAP, GridRow, grid, starred
from tuiftune.errors import TuiftuneError
from tuiftune.run.compare import LETTERS, SERIES, Compared, Comparing, Result, Window, caution, differing, results
from tuiftune.run.folder import ACTIVE, Run
from tuiftune.text import one_line
from tuiftune.tui.palette import MORE
from tuiftune.tui.panes.rows import Row, Span, fit, row_cells, wrap
from tuiftune.tui.panes.scrolled import Scrolled
from tuiftune.tui.screens.place import Place
from tuiftune.tui.widgets.glyphs import STATE_MARKS
from tuiftune.tui.widgets.look import Look, look_bindings, places
from tuiftune.tui.widgets.overlaid import STYLES, css
from tuiftune.tui.widgets.overlay import OverlayChart
from tuiftune.tui.widgets.run_columns import tone_of

LOOK_S = 3.0
"""While one of them goes on, they are read again so often."""
POINTS = 1024
"""A curve is thinned to at most so many."""
READING = "reading the runs..."
SAME = "no setting differs: only chance does, or what became of them"


@dataclass
class ComparisonRead(Message):
    """A look at the runs; `error` says why there is none."""

    compared: Sequence[Compared]
    asked: tuple[Mapping[str, Window | None], float]
    """Which part of each run, and how much smoothed."""
    error: str | None = None

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, ComparisonRead)


class ComparePane(Scrolled):
    """What came of each run and what it was set to, a column a run; it scrolls."""

    help_title: ClassVar[str] = "Side by side"
    help_text: ClassVar[str] = (
        "Results, the best value of a row marked with a star, and below them only the settings that are not the same "
        "in all. The arrow keys scroll. tuiftune compare prints the same."
    )
    COMPONENT_CLASSES = {f"rows--{style}" for style in STYLES}
    DEFAULT_CSS = f"ComparePane {{ {css('rows')} }}"

    def __init__(self) -> None:
        super().__init__()
        self.full = self.can_focus = True
        self._compared: Sequence[Compared] = ()
        self._error: str | None = None

    def show(self, compared: Sequence[Compared], error: str | None) -> None:
        self._compared, self._error = compared, error
        self.redraw()

    def title(self) -> Row:
        count = len(self._compared)
        return [("side by side", "title"), (f"  {count} runs" if count else "", "muted")]

    def few_rows(self, width: int, height: int) -> Sequence[Row]:
        return self.all_rows(width)[:height]

    def all_rows(self, width: int) -> Sequence[Row]:
        if self._error:
            return [[(line, "bad")] for line in wrap(self._error, width)]
        if not self._compared:
            return [[(READING, "muted")]]
        found = results(self._compared)
        set_otherwise = differing([one.settings for one in self._compared])
        rows: list[Row] = [*self._runs(width), [], *self._results(found, width)]
        if warning := caution(self._compared):
            rows += [[(line, "warn")] for line in wrap(warning, width)]
        return [*rows, [], *self._settings(set_otherwise, width)]

    def _runs(self, width: int) -> Iterator[Row]:
        widest = max(cell_len(one.summary.id) for one in self._compared)
        for one in self._compared:
            run, style = one.summary, _style(one)
            sign = STATE_MARKS.get(run.state, ("·", ""))[0]
            head: list[Span] = [(one.letter, style), ("  ", ""), (run.id.ljust(widest), "strong"), ("  ", "")]
            used = row_cells(head) + cell_len(f"{sign} {run.state}  ")
            name = fit(one_line(run.name or "", 60), max(0, width - used))
            yield [*head, (f"{sign} {run.state}  ", tone_of(run)), (name, "")]
            if one.problem:
                yield [("   ", ""), (fit(one_line(one.problem), width - 3), "bad")]

    def _results(self, found: Sequence[Result], width: int) -> Iterator[Row]:
        head = ("results", [f"{one.letter} " for one in self._compared])
        for row in grid([head, *starred(found)], width):
            best = found[row.source - 1].best if row.source else frozenset()
            yield self._row(row, best)

    def _settings(self, rows: Sequence[tuple[str, Sequence[str]]], width: int) -> Iterator[Row]:
        if not rows:
            yield [("settings", "title"), (f"  {SAME}", "muted")]
            return
        for row in grid([("settings that differ", [one.letter for one in self._compared]), *rows], width):
            yield self._row(row, frozenset())

    def _row(self, row: GridRow, best: frozenset[int]) -> Row:
        head = row.source == 0
        if row.run is not None:
            one = self._compared[row.run]
            return [("  ", ""), (one.letter, _style(one)), ("  ", ""), (row.cells[0], "")]
        spans: list[Span] = [(row.label, "title" if head else "muted")]
        for at, cell in enumerate(row.cells):
            tone = _style(self._compared[at]) if head else "good" if at in best else ""
            spans += [(GAP, ""), (cell, tone)]
        return spans


def _end_of(one: Compared, axis: str) -> float:
    """Where on the x axis its last value is."""
    return max(places(one, axis, one.clock[0][-1:]), default=0.0)


def _style(one: Compared) -> str:
    return STYLES[LETTERS.index(one.letter)]


class CompareScreen(Place):
    """The chart above and the columns below it, or beside each other where there is the width."""

    TITLE = "compare"
    help_text: ClassVar[str] = (
        "Runs side by side. Their curves lie over one another, each with its letter; runs that go on are read again "
        "every few seconds. escape goes back to the table."
    )
    AUTO_FOCUS = "ComparePane"
    BINDINGS = [
        Binding("x", "next(1)", "Next curve"),
        Binding("X", "next(-1)", "Curve before", show=False),
        Binding("f", "full", "Whole screen"),
        Binding("escape", "close", "Back"),
        *look_bindings(MORE),
    ]
    CSS = """
    CompareScreen {
        & #compare-body { height: 1fr; padding: 0 1; }
        & OverlayChart { height: 1fr; min-height: 6; padding: 0; }
        & ComparePane { height: 1fr; border-top: solid $foreground 20%; }
        &.-flat ComparePane { display: none; }
        &.-tall #compare-body, &.-high #compare-body { padding: 1 1 0 1; }
        &.-wide #compare-body { layout: horizontal; }
        &.-wide OverlayChart { width: 3fr; height: 1fr; margin-right: 3; }
        &.-wide ComparePane { width: 2fr; min-width: 64; height: 1fr; border-top: none; }
        &.-full ComparePane { display: none; }
    }
    """

    def __init__(self, workspace: Path, runs: Sequence[Run]) -> None:
        super().__init__(workspace)
        self._comparing = Comparing(runs, POINTS)
        self._reading = threading.Lock()
        """The readers belong to one thread at a time."""
        self._ended = False
        self._asked: tuple[Mapping[str, Window | None], float] = ({}, 1.0)
        """What is looked at."""
        self.look = Look()
        self._at = 0
        self._compared: Sequence[Compared] = ()
        self._error: str | None = None
        self.chart = OverlayChart(title=SERIES[0].title, empty=READING)
        self.pane = ComparePane()

    def body(self) -> ComposeResult:
        with Container(id="compare-body"):
            yield self.chart
            yield self.pane

    def on_mount(self) -> None:
        super().on_mount()
        self._look()
        self.set_interval(LOOK_S, self._look_again)

    def on_unmount(self) -> None:
        self._ended = True
        threading.Thread(target=self._end, name="compare", daemon=True).start()  # a look may be under way

    def _look_again(self) -> None:
        """Ended runs stay as they are."""
        goes_on = any(one.summary.state in ACTIVE for one in self._compared)
        if self.is_current and (goes_on or self._error):
            self._look()

    def _look(self) -> None:
        asked = self._asked
        self.run_worker(lambda: self._read(asked), thread=True, exit_on_error=False)

    def _read(self, asked: tuple[Mapping[str, Window | None], float]) -> None:
        """In a thread, which gives up where another one reads: what is wanted by then is read once that has told."""
        if not self._reading.acquire(blocking=False):
            return
        found: Sequence[Compared] = ()
        error: str | None = None
        try:
            if self._ended:
                return
            found = tuple(self._comparing.look(*asked))
        except TuiftuneError as raised:
            error = str(raised)
        finally:
            self._reading.release()
        self.post_message(ComparisonRead(found, asked, error))

    def _end(self) -> None:
        with self._reading:
            self._comparing.close()

    def on_comparison_read(self, message: ComparisonRead) -> None:
        """Where a run was deleted meanwhile, what was seen last stays, and it is said."""
        self._error = message.error
        self._compared = message.compared or self._compared
        if message.asked != self._asked:  # another part is wanted by now
            self._look()
        self._draw()

    def _draw(self) -> None:
        self.pane.show(self._compared, self._error)
        if self._compared:
            self.chart.show_series(self._compared, SERIES[self._at], self.look, self._whole())

    def action_next(self, steps: int) -> None:
        """The next figure that any of them has."""
        for _ in SERIES:
            self._at = (self._at + steps) % len(SERIES)
            if any(one.curves.get(SERIES[self._at].key) for one in self._compared):
                break
        self._draw()

    def action_chart(self, what: str, amount: float) -> None:
        """Look at the curves otherwise."""
        self.look = self.look.changed(what, amount, self.chart, self._whole(), self._compared)
        asked = ({one.letter: self.look.window(one) for one in self._compared}, self.look.smoothing)
        if asked != self._asked:
            self._asked = asked
            self._look()
        self._draw()

    def _whole(self) -> float:
        """Where on the x axis the last value of all is."""
        return max((_end_of(one, self.look.axis) for one in self._compared), default=0.0)

    def action_full(self) -> None:
        self.toggle_class("-full")

    def action_close(self) -> None:
        """Out of the whole screen, then back to the table."""
        if self.has_class("-full"):
            self.remove_class("-full")
        else:
            self.dismiss()
