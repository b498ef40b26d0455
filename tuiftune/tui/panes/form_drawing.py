"""How a row of the form of a profile is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from tuiftune.editing.form import Field, Section
from tuiftune.editing.values import choices_of, written
from tuiftune.layers import DRAFT
from tuiftune.text import one_line
from tuiftune.toml_lines import KeyPath
from tuiftune.tui.panes.form_lines import Line
from tuiftune.tui.panes.rows import Row, Span, fit
from tuiftune.tui.widgets.line_editor import LineEditor

SIGNS = 4
"""Cells before the name: the cursor, and the sign of a change or a problem."""
HEADING = 2
"""Cells before the heading of a section."""
SOURCE = 18
"""Most cells of who wrote it, at the right."""
WIDE = 50
"""With fewer cells nobody is named."""
LEAST_VALUE, MOST_VALUE = 8, 48
"""Cells of a value: beyond the most, who wrote it would stand too far away."""
ABSENT = "—"
"""The value of an option that is left out."""


def value_column(lines: Sequence[Line], width: int) -> int:
    """The first cell of the values."""
    names = [cell_len(one_line(line.field.label)) for line in lines if line.field]
    longest = min(max(names, default=0), max(8, width // 2 - SIGNS))
    return SIGNS + max(longest, 10) + 2


def source_cells(lines: Sequence[Line], width: int) -> int:
    """So many cells of who wrote it; none where there is no room."""
    if width < WIDE:
        return 0
    return min(SOURCE, max((cell_len(one_line(line.field.source)) for line in lines if line.field), default=0))


@dataclass(frozen=True)
class Drawing:
    """What the rows have in common."""

    width: int
    column: int
    """The first cell of the values."""
    source: int
    """Cells of who wrote it."""
    signs: Mapping[KeyPath, str]
    """'!' for a problem, '?' for a file that is not there."""

    def row(self, line: Line, here: bool, typing: LineEditor | None) -> Row:
        """`here`: the cursor is on it; `typing`: its value is being typed."""
        if line.section is None:
            return []
        if line.field is None:
            return self._heading(line.section, here)
        field = line.field
        label = fit(one_line(field.label), self.column - SIGNS - 2).ljust(self.column - SIGNS)
        head: list[Span] = [_cursor(here), self._sign(field.path, field.changed), (" ", "")]
        head.append((label, "strong" if here else "muted"))
        if typing is not None:
            return [*head, *typed_spans(typing, self.width - self.column)]
        return [*head, *self._value(field, here)]

    def _value(self, field: Field, here: bool) -> list[Span]:
        """The value with its unit, and who wrote it."""
        room = max(LEAST_VALUE, min(MOST_VALUE, self.width - self.column - self.source - 1))
        text, tone = _in_words(field, here)
        text = fit(text, room)
        unit = f" {one_line(field.option.unit)}" if field.option.unit and field.value is not None else ""
        unit = unit if cell_len(text) + cell_len(unit) <= room else ""
        source = fit(one_line(field.source), self.source)
        return [
            (text, tone),
            (unit.ljust(room + 1 - cell_len(text)), "muted"),
            (source, "accent" if field.origin == DRAFT else "muted"),
        ]

    def _heading(self, section: Section, here: bool) -> Row:
        title = fit(section.title, self.column - HEADING - 2).ljust(self.column - HEADING)
        head: list[Span] = [_cursor(here), (title, "title")]
        if section.stage is None:
            return head
        stage = one_line(section.stage) or ("none" if section.count == 0 else "none yet")
        words = one_line(section.summary) if section.installed else "not installed"
        room = max(0, self.width - self.column - cell_len(stage) - 3)
        return [
            *head,
            (stage, "strong" if section.stage else "muted"),
            (" ", ""),
            self._sign(section.path, section.changed),
            (f" {fit(words, room)}", "muted" if section.installed else "bad"),
        ]

    def _sign(self, path: KeyPath, changed: bool) -> Span:
        bad = self.signs.get(path)
        if bad:
            return bad, "bad" if bad == "!" else "warn"
        return "●" if changed else " ", "accent"


def _cursor(here: bool) -> Span:
    return ("▸ " if here else "  ", "accent")


def _in_words(field: Field, here: bool) -> tuple[str, str]:
    """A value as it is shown, and its tone."""
    if field.value is None:
        return ("required", "warn") if field.option.required else (ABSENT, "rest")
    if isinstance(field.value, dict):
        entries = len(field.value)
        return (
            f"{entries} entr{'y' if entries == 1 else 'ies'}" if entries else ABSENT
        ), "muted" if entries else "rest"
    text = one_line(written(field.value, field.option), 300) or '""'
    if here and choices_of(field.option):
        text = f"< {text} >"
    if field.changed:
        return text, "accent"
    return text, "strong" if here else "" if field.is_written else "muted"


def typed_spans(editor: LineEditor, width: int) -> list[Span]:
    """A line that is being typed, with its cursor."""
    before, at, after = editor.view(width)
    used = cell_len(before) + cell_len(at) + cell_len(after)
    return [(before, "typed"), (at, "cursor"), (after + " " * max(0, width - used), "typed")]
