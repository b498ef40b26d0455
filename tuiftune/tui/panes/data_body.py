"""The body of the data screen: one of a list of profiles, a few sentences, and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Container
from textual.widget import Widget

from tuiftune.tui.panes.data import NotePane, Part, ReportPane, SubjectPane, figure_parts, step_part
from tuiftune.tui.panes.rows import Span
from tuiftune.tui.widgets.profile_choice import ProfileChoice

TWO_COLUMNS = 100
"""From this width on the first step stands beside the figures."""
CHOICE, NOTE, REPORT = "choice", "note", "report"


class DataBody(Container):
    """Shows CHOICE, NOTE or REPORT below whose data it is."""

    DEFAULT_CSS = """
    DataBody {
        height: 1fr;
        & > ProfileChoice, & > NotePane, & > #both { display: none; height: 1fr; }
        &.-choice > ProfileChoice, &.-note > NotePane, &.-report > #both { display: block; }
        & > #both { layout: horizontal; }
        & #figures { width: 1fr; }
        & #step { width: 1fr; display: none; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self.shown = ""
        """CHOICE, NOTE or REPORT."""
        self.subject = SubjectPane()
        self.choice = ProfileChoice(id="choice")
        self.note = NotePane()
        self.figures = ReportPane("figures")
        self.step = ReportPane("step")

    def compose(self) -> ComposeResult:
        yield self.subject
        yield self.choice
        yield self.note
        with Container(id="both"):
            yield self.figures
            yield self.step

    def turn_to(self, what: str) -> None:
        """Show one of the three, and give it the keys."""
        if what != self.shown:
            self.shown = what
            for name in (CHOICE, NOTE, REPORT):
                self.set_class(name == what, f"-{name}")
        wanted: dict[str, Sequence[Widget]] = {CHOICE: [self.choice], REPORT: [self.figures, self.step]}
        focused = wanted.get(what, [])
        if self.screen.focused not in focused:
            self.screen.set_focus(focused[0] if focused else None)
        self.screen.refresh_bindings()

    def tell(self, lines: Sequence[Span]) -> None:
        """Sentences in place of a report."""
        self.turn_to(NOTE)
        self.note.show(lines)

    @property
    def has_two_columns(self) -> bool:
        return self.app.size.width >= TWO_COLUMNS

    def show_report(self, report: Mapping[str, Any], apart: bool, *, from_top: bool) -> None:
        """The sections, and beside them or as the last of them the first step."""
        two = self.has_two_columns

        def figures(width: int) -> list[Part]:
            return [*figure_parts(report, width), *([] if two else [step_part(report, width, apart)])]

        def step(width: int) -> list[Part]:
            return [step_part(report, width, apart)] if two else []

        self.turn_to(REPORT)
        self.figures.show(figures, from_top=from_top)
        self.step.show(step, from_top=from_top)

    def next_part(self, direction: int) -> None:
        (self.step if self.screen.focused is self.step else self.figures).next_part(direction)

    def next_row(self, direction: int) -> None:
        (self.step if self.has_two_columns else self.figures).next_row(direction)
