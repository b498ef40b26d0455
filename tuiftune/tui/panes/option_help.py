"""What the highlighted line of the form is about: its meaning, its bounds, and what it goes back to."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from tuiftune.catalog import OptionInfo
from tuiftune.editing.form import Field, Section, source_name
from tuiftune.editing.values import written
from tuiftune.errors import Problem
from tuiftune.text import one_line, plain
from tuiftune.tui.panes.rows import Row, Rows, Span, fit, joined, wrap

LEAST = 5
"""Rows that it takes, its line above counted: a heading, two of words, and the values."""


class OptionHelp(Rows):
    """A heading, problems, what it does, and its other values; as high as that needs, up to a part of the screen."""

    DEFAULT_CSS = "OptionHelp { height: 5; padding: 0 1; border-top: solid $foreground 20%; }"

    def __init__(self) -> None:
        super().__init__()
        self._section: Section | None = None
        self._field: Field | None = None
        self._problems: Sequence[Problem] = ()
        self._least = self._most = LEAST

    def show(self, section: Section | None, field: Field | None, problems: Sequence[Problem] = ()) -> None:
        self._section, self._field, self._problems = section, field, problems
        self.fit_in(self._least, self._most)

    def fit_in(self, least: int, most: int) -> None:
        """Take at least and at most so many rows."""
        self._least, self._most = least, max(least, most)
        head, text, last = self._parts(self.likely_width)
        wanted = max(self._least, min(self._most, 1 + len(head) + len(text) + len(last)))
        if self.styles.height is None or self.styles.height.value != wanted:
            self.styles.height = wanted
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        head, text, last = self._parts(width)
        room = max(0, height - len(head) - len(last))
        if len(text) > room > 0:
            words, tone = text[room - 1][0]
            text = [*text[: room - 1], [(fit(f"{words} …", width), tone)]]
        return [*head, *text[:room], *last]

    def _parts(self, width: int) -> tuple[list[Row], list[Row], list[Row]]:
        """What stands above, between and below."""
        if self._field is not None:
            return self._of_field(self._field, width)
        return self._of_section(self._section, width) if self._section is not None else ([], [], [])

    def _of_field(self, field: Field, width: int) -> tuple[list[Row], list[Row], list[Row]]:
        head: list[list[Span]] = [[(field.key, "title")], [(type_words(field.option), "muted")]]
        text = [*self._said(width), *_paragraph(field.option.description, width, "")]
        return [joined(head, width, "  ")], text, self._values(field, width)

    def _values(self, field: Field, width: int) -> list[Row]:
        """What is in force and what else is known, on one row."""
        parts: list[list[Span]] = []
        if field.changed:
            before = f"{_shown(field.inherited, field.option)} ({source_name(field.inherited_origin)})"
            parts.append([("parent ", "muted"), (fit(before, width // 2), "")])
        elif field.origin not in ("default", "this profile"):
            parts.append([("from ", "muted"), (_place(field.origin, width), "")])
        default = "required" if field.option.required else _shown(field.option.default, field.option)
        if field.known:
            parts.append([("default ", "muted"), (fit(default, width // 2), "")])
        return [joined(parts, width)] if parts else []

    def _of_section(self, section: Section, width: int) -> tuple[list[Row], list[Row], list[Row]]:
        kinds = {"dataset": "where the text comes from", "preprocess": "what is done to it before training"}
        kinds |= {"train": "how the model is trained", "evaluate": "what is measured, before, during and after"}
        title = f"{section.kind} stage {one_line(section.stage or '')}".rstrip()
        head: list[list[Span]] = [[(title, "title")], [(kinds.get(section.kind, ""), "muted")]]
        text = [*self._said(width), *_paragraph(one_line(section.summary), width, "")]
        keys = [("enter", "another stage")] if section.count else []
        if section.in_list:
            keys += [("a", "add"), *([("x", "remove"), ("J K", "move")] if section.count else [])]
        row = joined([[(key, "accent"), (f" {words}", "muted")] for key, words in keys], width)
        return [joined(head, width, "  ")], text, [row]

    def _said(self, width: int) -> list[Row]:
        return [row for problem in self._problems for row in _paragraph(_words(problem), width, "bad")]


def type_words(option: OptionInfo) -> str:
    """`integer, at least 1, in tokens`: what it may be."""
    kinds = [part.strip("'") for part in option.type.split(" | ")]
    words = kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} or {kinds[-1]}"
    unit = f"in {one_line(option.unit)}" if option.unit else ""
    return ", ".join(part for part in (one_line(words), option.bounds, unit) if part)


def _words(problem: Problem) -> str:
    """Without its key, which stands above."""
    return f"{problem.what.removesuffix('.')}. {problem.hint}" if problem.hint else problem.what


def _shown(value: object, option: OptionInfo) -> str:
    return "left out" if value is None or value == {} else one_line(written(value, option), 200) or '""'


def _place(origin: str, width: int) -> str:
    """The file and line; of a file far away the name alone."""
    text = one_line(origin)
    return text if cell_len(text) <= width // 2 else text.rpartition("/")[2]


def _paragraph(text: str, width: int, tone: str) -> list[Row]:
    return [[(line, tone)] for line in wrap(plain(text), width) if cell_len(line)]
