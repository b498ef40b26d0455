"""The profile beside its form: as it will run, as it differs from its parent, and as its file will say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len

from tuiftune.layers import DRAFT
from tuiftune.sections import dotted
from tuiftune.text import one_line, plain
from tuiftune.toml_lines import KeyPath
from tuiftune.tui.panes.rows import Row, Span, fit, wrap
from tuiftune.tui.panes.scrolled import Scrolled

VIEWS = ("effective", "difference", "file")


class ProfileText(Scrolled):
    """One of the views; it scrolls, and follows the form."""

    help_title: ClassVar[str] = "Text"
    help_text: ClassVar[str] = (
        "v goes through: effective is every value the run is started with, defaults filled in, and where it comes "
        "from; difference is what the parent says otherwise; file is what is saved. tab goes there, and arrows scroll."
    )

    DEFAULT_CSS = "ProfileText { padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self.full = self.can_focus = True
        self.view = VIEWS[0]
        self._effective: Sequence[tuple[str, str, str]] = ()
        self._waiting = ""
        self._changes: Sequence[tuple[KeyPath, str, str]] = ()
        self._file = ""
        self._key = ""
        self._to_follow = False
        self._extends = ""

    def show_effective(self, lines: Sequence[tuple[str, str, str]], waiting: str = "") -> None:
        """Key, text and origin of each line; `waiting` says why there are none."""
        self._effective, self._waiting = lines, waiting
        self.redraw()

    def show_draft(self, changes: Sequence[tuple[KeyPath, str, str]], file: str, extends: str) -> None:
        """What `editing.form.differences` found, and what the file will say."""
        self._changes, self._file, self._extends = changes, file, extends
        self.redraw()

    def follow(self, path: KeyPath) -> None:
        """Have the line of that key in sight."""
        self._key, self._to_follow = dotted(path), True
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        if self._to_follow:
            self._to_follow = False
            number = next((number for number, (key, _, _) in enumerate(self._effective) if key == self._key), None)
            hidden = number is not None and not self._away <= number < self._away + height - 1
            if self.view == VIEWS[0] and number is not None and hidden:
                self._away = max(0, number - height // 3)
        return super().rows(width, height)

    def next_view(self) -> None:
        self.view = VIEWS[(VIEWS.index(self.view) + 1) % len(VIEWS)]
        self._away, self._to_follow = 0, True
        self.redraw()

    def title(self) -> Row:
        row: list[Span] = []
        for view in VIEWS:
            row += [(view, "title" if view == self.view else "muted"), ("  ", "")]
        return [*row, ("v", "accent"), (" next", "muted")]

    def few_rows(self, width: int, height: int) -> Sequence[Row]:
        return self.all_rows(width)[:height]

    def all_rows(self, width: int) -> Sequence[Row]:
        if self.view == "file":
            return [
                [(part, "muted" if line.startswith("#") else "")]
                for line in self._lines()
                for part in _cut(line, width)
            ]
        if self.view == "difference":
            return self._difference(width)
        if self._waiting:
            return [[(line, "muted")] for line in wrap(self._waiting, width)]
        return [self._effective_row(*line, width) for line in self._effective]

    def _lines(self) -> list[str]:
        return plain(self._file).rstrip("\n").split("\n")

    def _effective_row(self, key: str, text: str, origin: str, width: int) -> Row:
        if text.startswith("["):
            return [(fit(text, width), "title")]
        tone = "strong" if key == self._key else "accent" if origin == DRAFT else "muted" if origin == "default" else ""
        room = width - cell_len(text) - 2
        note = origin.rpartition("/")[2]
        if not origin or room < cell_len(note) + 2:
            return [(fit(text, width), tone)]
        return [(text, tone), (note.rjust(width - cell_len(text)), "rest" if origin == "default" else "muted")]

    def _difference(self, width: int) -> list[Row]:
        if not self._changes:
            words = f"nothing: it is {one_line(self._extends)} by another name" if self._extends else "it says nothing"
            return [[(line, "muted")] for line in wrap(words, width)]
        column = max(cell_len(dotted(path)) for path, _, _ in self._changes) + 2
        rows: list[Row] = []
        for path, before, after in self._changes:
            key, before, after = dotted(path), one_line(before), one_line(after)
            tone = "strong" if key == self._key else ""
            if column + cell_len(before) + cell_len(after) + 3 <= width:
                rows.append([(key.ljust(column), tone), (before, "muted"), (" → ", "muted"), (after, "accent")])
                continue
            rows.append([(fit(key, width), tone)])
            rows += [[("  - ", "muted"), (line, "muted")] for line in wrap(before, width - 4)]
            rows += [[("  + ", "accent"), (line, "accent")] for line in wrap(after, width - 4)]
        return rows


def _cut(line: str, width: int) -> list[str]:
    return wrap(line, width) or [""]
