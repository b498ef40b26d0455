"""The form of a profile: its options line by line, one of them edited in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding
from textual.message import Message

from tuiftune.editing.form import Field, Section
from tuiftune.editing.values import choices_of, is_switch, is_table, written
from tuiftune.toml_lines import KeyPath
from tuiftune.tui.panes.form_drawing import Drawing, source_cells, typed_spans, value_column
from tuiftune.tui.panes.form_lines import Line, lines_of
from tuiftune.tui.panes.rows import Row, Rows, fit
from tuiftune.tui.widgets.line_editor import LineEditor


class FormPane(Rows, can_focus=True):
    """The lines, of which those around the cursor are shown; the value of one may be typed."""

    help_title: ClassVar[str] = "Form"
    help_text: ClassVar[str] = (
        "Each option with its value and who says so: here is this profile, a name that of a parent, default nobody. "
        "A dot marks what differs from the parent, ! a problem, ? a file that is not there yet. Enter edits a value; "
        "there enter, or an arrow up or down, takes it, and escape leaves it as it was. Numbers, arrays and tables are "
        'written as in a profile, e.g. 5e-5 or ["a", "b"]; a text needs no quotes, and \\n in it is a line break. '
        "Where there are choices, arrows left and right step through them, and space switches on and off."
    )
    COMPONENT_CLASSES = {"rows--cursor", "rows--typed"}
    DEFAULT_CSS = """
    FormPane {
        padding: 0 1;
        & > .rows--typed { background: $foreground 12%; }
        & > .rows--cursor { background: $foreground 12%; text-style: reverse; }
    }
    """
    BINDINGS = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "edge(-1)", "Start", show=False),
        Binding("end,G", "edge(1)", "End", show=False),
        Binding("enter", "edit", "Edit"),
        Binding("backspace", "reset", "Back to the parent's", show=False, id="more.reset"),
        Binding("delete", "reset", show=False),
        Binding("left", "step(-1)", "Choice before", show=False),
        Binding("right", "step(1)", "Next choice", show=False),
        Binding("space", "switch", "Switch on or off", show=False, id="more.switch"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("left_square_bracket", "section(-1)", "Section before", show=False, id="more.before", key_display="["),
        Binding("right_square_bracket", "section(1)", "Next section", show=False, id="more.next", key_display="]"),
        Binding("s", "set_only", "Only what is set", show=False, id="more.set"),
    ]
    AT_ONCE: ClassVar[dict[str, str]] = {
        "enter": "edit",
        "space": "switch",
        "left": "step(-1)",
        "right": "step(1)",
        "backspace": "reset",
        "delete": "reset",
        "slash": "filter",
    }
    """Done as the key comes: through bindings it would be done later, after letters that were typed behind it."""

    class Moved(Message):
        """Another line is highlighted."""

    @dataclass
    class Given(Message):
        """A value was typed."""

        field: Field
        text: str

    @dataclass
    class Stepped(Message):
        """Another choice, so many further."""

        field: Field
        by: int

    @dataclass
    class ChoiceWanted(Message):
        """Enter was pressed where there is a list to choose from: of stages where `field` is None."""

        section: Section
        field: Field | None

    @dataclass
    class ResetWanted(Message):
        """Back to what the parent says."""

        path: KeyPath

    def __init__(self) -> None:
        super().__init__()
        self.lines: Sequence[Line] = []
        self.at = 0
        self.message = ""
        """What stands here where there are no lines."""
        self.set_only = False
        self._sections: Sequence[Section] = []
        self._top = 0
        self._signs: Mapping[KeyPath, str] = {}
        self._typing: LineEditor | None = None
        """The value or, without `_edited`, the filter that is being typed."""
        self._edited: Field | None = None
        self._filter = LineEditor()

    # What is shown.

    def show(self, sections: Sequence[Section], path: KeyPath | None = None) -> None:
        """Show these, the cursor on the line of `path`, by default on the one it is on."""
        self._sections = sections
        self._list(path)

    def _list(self, path: KeyPath | None = None) -> None:
        wanted = self.path if path is None else path
        self.lines = lines_of(self._sections, self._filter.text, self.set_only)
        if path and not any(line.path == path for line in self.lines):  # it is filtered out: what is meant goes first
            self._filter, self.set_only = LineEditor(), False
            self.lines = lines_of(self._sections)
        self.at = self._nearest(wanted)
        self.redraw()
        self.post_message(self.Moved())

    def mark(self, signs: Mapping[KeyPath, str]) -> None:
        """Show '!' at these for a problem, '?' for a file that is not there."""
        if signs != self._signs:
            self._signs = signs
            self.redraw()

    @property
    def line(self) -> Line | None:
        return self.lines[self.at] if self.at < len(self.lines) else None

    @property
    def path(self) -> KeyPath:
        return self.line.path if self.line else ()

    def _nearest(self, path: KeyPath) -> int:
        """The line of a path, else of what is around it, else the one at the same height."""
        for length in range(len(path), 0, -1):
            for number, line in enumerate(self.lines):
                if line.can_be_chosen and line.path == path[:length]:
                    return number
        if self._filter.text:
            return next((number for number, line in enumerate(self.lines) if line.field), 0)
        return self._choosable(min(self.at, max(0, len(self.lines) - 1)), 1)

    def _choosable(self, number: int, step: int) -> int:
        """The next line from there that can be chosen; back where there is none."""
        for direction in (step, -step):
            at = number
            while 0 <= at < len(self.lines):
                if self.lines[at].can_be_chosen:
                    return at
                at += direction
        return 0

    @property
    def is_typing(self) -> bool:
        return self._typing is not None

    @property
    def is_filtered(self) -> bool:
        return bool(self._filter.text) or self.set_only

    def rows(self, width: int, height: int) -> Sequence[Row]:
        above = [self._filter_row(width)] if self.is_filtered or self._typing is self._filter else []
        height = max(1, height - len(above))
        if not self.lines:
            message = "no option is called so; escape shows all" if self.is_filtered else self.message
            return [*above, [(message, "muted")]]
        self._scroll(height)
        drawing = Drawing(width, value_column(self.lines, width), source_cells(self.lines, width), self._signs)
        typing = None if self._typing is self._filter else self._typing
        shown = enumerate(self.lines[self._top : self._top + height], start=self._top)
        rows = [drawing.row(line, at == self.at, typing if at == self.at else None) for at, line in shown]
        return [*above, *rows]

    def _scroll(self, height: int) -> None:
        """Have the cursor in sight, with a line around it, and the heading above where that is its section's first."""
        if not self._top - 2 <= self.at < self._top + height + 2:  # a jump
            self._top = self.at - height // 3
        around = min(1, height // 4)
        self._top = max(self.at - height + 1 + around, min(self._top, self.at - around))
        self._top = max(0, min(self._top, len(self.lines) - height))
        if self.at <= 2 < height:
            self._top = 0
        elif self.lines[self._top].section is None:  # a blank
            self._top += 1

    def _filter_row(self, width: int) -> Row:
        count = sum(line.field is not None for line in self.lines)
        everything = sum(len(section.fields) for section in self._sections)
        words = f"  {count} of {everything} options" + (", those that are set" if self.set_only else "")
        room = max(8, min(24, width - cell_len(words) - 2))
        if self._typing is self._filter:
            return [("/ ", "accent"), *typed_spans(self._filter, room), (words, "muted")]
        return [("/ ", "accent"), (fit(self._filter.text, room), "strong"), (words, "muted"), ("  esc", "accent")]

    # What is done.

    def move_to(self, number: int) -> None:
        if number != self.at:
            self.at = number
            self.redraw()
            self.post_message(self.Moved())

    def action_move(self, rows: int) -> None:
        if 0 <= self.at + rows < len(self.lines):
            self.move_to(self._choosable(self.at + rows, 1 if rows > 0 else -1))

    def action_page(self, pages: int) -> None:
        height = max(1, self.content_size.height - 1)
        to = max(0, min(len(self.lines) - 1, self.at + pages * height))
        self.move_to(self._choosable(to, pages))

    def action_edge(self, side: int) -> None:
        self.move_to(self._choosable(0 if side < 0 else len(self.lines) - 1, -side))

    def action_section(self, step: int) -> None:
        """To the first option of the next section, or of this or the one before."""
        starts = [
            self._choosable(number, 1) for number, line in enumerate(self.lines) if line.section and not line.field
        ]
        beyond = [start for start in starts if (start > self.at if step > 0 else start < self.at)]
        if beyond:
            self.move_to(beyond[0] if step > 0 else beyond[-1])

    def on_click(self, event: events.Click) -> None:
        number = self._top + event.y - int(self.is_filtered or self._typing is self._filter)
        if not 0 <= number < len(self.lines) or not self.lines[number].can_be_chosen:
            return
        self._take_or_leave()
        if number == self.at:
            self.action_edit()
        self.move_to(number)

    def on_mouse_scroll_up(self) -> None:
        self.action_move(-1)

    def on_mouse_scroll_down(self) -> None:
        self.action_move(1)

    async def on_key(self, event: events.Key) -> None:
        if self._typing is None:
            action = self.AT_ONCE.get(event.key)
            if action is not None:
                event.stop()
                event.prevent_default()
                await self.run_action(action)
            return
        if event.key in ("enter", "up", "down", "tab"):
            self._take_or_leave()
            self.action_move({"up": -1, "down": 1}.get(event.key, 0))
        elif event.key == "escape":
            if self._typing is self._filter:
                self._filter = LineEditor()
            self._stop_typing()
            self._list()
        elif self._typing.key(event.key, event.character):
            self._text_changed()
        elif event.is_printable is False:
            return  # ctrl+s and the like have their meaning
        event.stop()
        event.prevent_default()

    def on_paste(self, event: events.Paste) -> None:
        if self._typing is not None:
            self._typing.insert(event.text)
            self._text_changed()
            event.stop()

    def _text_changed(self) -> None:
        if self._typing is self._filter:
            self._list()
        else:
            self.redraw()

    def _stop_typing(self) -> None:
        self._typing = self._edited = None
        self.redraw()

    def take(self) -> Given | None:
        """End the typing; what was typed for an option."""
        given = None
        if self._typing is not None and self._edited is not None:
            given = self.Given(self._edited, self._typing.text)
        if self._typing is not None:
            self._stop_typing()
        return given

    def _take_or_leave(self) -> None:
        given = self.take()
        if given is not None:
            self.post_message(given)

    def type(self, field: Field, text: str) -> None:
        """Have the value of the highlighted option typed, beginning with `text`."""
        self._edited, self._typing = field, LineEditor(text)
        self.redraw()

    def action_edit(self) -> None:
        line = self.line
        if line is None or line.section is None:
            return
        if line.field is None or (choices_of(line.field.option) and not is_switch(line.field.option)):
            self.post_message(self.ChoiceWanted(line.section, line.field))
        elif is_switch(line.field.option):
            self.post_message(self.Stepped(line.field, 1))
        else:
            self.type(line.field, typed(line.field))

    def action_switch(self) -> None:
        if self.line and self.line.field and is_switch(self.line.field.option):
            self.post_message(self.Stepped(self.line.field, 1))

    def action_step(self, by: int) -> None:
        if self.line and self.line.field and choices_of(self.line.field.option):
            self.post_message(self.Stepped(self.line.field, by))

    def action_reset(self) -> None:
        if self.line is not None and self.line.section is not None:
            self.post_message(self.ResetWanted(self.path))

    def action_filter(self) -> None:
        self._typing = self._filter
        self.redraw()

    def action_set_only(self) -> None:
        """Show only what somebody has set, or everything again."""
        self.set_only = not self.set_only
        self._list()

    def clear_filter(self) -> None:
        """Show everything, the cursor where it is."""
        self._filter, self.set_only = LineEditor(), False
        self._list()


def typed(field: Field) -> str:
    """Its value as it would be typed; empty for one that is left out, and for a table, to which entries are added."""
    if is_table(field.option):
        return ""
    return "" if field.value is None else written(field.value, field.option)
