"""Help for the screen below: its words and its keys, collected from the widgets themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from textual.binding import Binding
from textual.content import Content
from textual.geometry import Size
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from tuiftune.text import one_line, plain
from tuiftune.tui.palette import keyed_actions
from tuiftune.tui.screens.window import Window


@dataclass(frozen=True)
class Section:
    """A heading with a paragraph, or with keys and what they do."""

    heading: str
    text: str = ""
    keys: Sequence[tuple[str, str]] = ()


class Page(Widget):
    """A long text, wrapped once for a width, of which only the rows in sight are made."""

    ALLOW_SELECT = False

    def __init__(self, text: Content, *, id: str) -> None:  # noqa: A002
        super().__init__(id=id)
        self._text = text
        self._wrapped: tuple[int, list[Content]] = (0, [])

    def _lines(self, width: int) -> list[Content]:
        if self._wrapped[0] != width:
            self._wrapped = (width, self._text.wrap(max(2, width)))
        return self._wrapped[1]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002
        return len(self._lines(width))

    def render_line(self, y: int) -> Strip:
        width = self.content_size.width
        lines = self._lines(width)
        if y >= len(lines):
            return Strip.blank(width, self.rich_style)
        return Strip(lines[y].render_segments(self.visual_style)).adjust_cell_length(width, self.rich_style)


class HelpScreen(Window[None]):
    """Shows sections of help; escape, ?, enter or q closes it."""

    BINDINGS = [Binding("escape,question_mark,enter,q", "dismiss", "Close")]

    def __init__(self, title: str, sections: Sequence[Section]) -> None:
        super().__init__(title, Content("\n\n").join(_drawn(sections)), [("esc", "close"), ("↑ ↓", "scroll")])

    def body(self, text: Content) -> Widget:
        """All that there is to know: a hundred lines and more, which would take most of the time it takes to come."""
        return Page(text, id="window-body")

    @classmethod
    def of(cls, screen: Screen[Any]) -> HelpScreen:
        """Help for a screen: its own `help_text`, its keys, and its widgets' `help_text`s."""
        return cls(f"Help: {screen.title or type(screen).__name__}", list(sections_of(screen)))


def sections_of(screen: Screen[Any]) -> Iterator[Section]:
    """What a screen and the widgets on it say about themselves, each text once, and the keys in force."""
    words = getattr(screen, "help_text", "")
    if words:
        yield Section("", words)
    keys: dict[str, list[tuple[str, str]]] = {"Keys here": [], "Keys anywhere": []}
    for description, key, node, _ in keyed_actions(screen, hidden_too=True):
        keys["Keys anywhere" if node is screen.app else "Keys here"].append((key, description))
    keys["Keys anywhere"] += _palette_key(screen)
    for heading, found in keys.items():
        if found:
            yield Section(heading, keys=found)
    seen = {words}
    for widget in screen.query("*"):
        text = getattr(widget, "help_text", "")
        if text and text not in seen and widget.display:
            seen.add(text)
            yield Section(_name_of(widget), text)


def _palette_key(screen: Screen[Any]) -> list[tuple[str, str]]:
    """The command palette's, which its binding does not show: the footer has a place of its own for it."""
    bindings = [active.binding for active in screen.active_bindings.values()]
    return [
        (screen.app.get_key_display(binding), "Every action by its name")
        for binding in bindings
        if binding.action.endswith("command_palette")
    ]


def _name_of(widget: Widget) -> str:
    """What a widget is called on the screen: `help_title`, else its title, else its class in words."""
    named = getattr(widget, "help_title", "") or str(widget.border_title or "")
    return named or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(widget).__name__.removesuffix("Pane"))


def _drawn(sections: Sequence[Section]) -> list[Content]:
    """Each section as text, the keys of all of them in one column."""
    width = max([cell_len(key) for section in sections for key, _ in section.keys], default=0)
    return [_drawn_section(section, width) for section in sections]


def _drawn_section(section: Section, width: int) -> Content:
    lines = [Content.styled(one_line(section.heading), "bold $text-primary")] if section.heading else []
    if section.text:
        lines.append(Content(plain(section.text)))
    for key, what in section.keys:
        padding = " " * (width - cell_len(key))
        lines.append(Content.assemble((one_line(key) + padding, "$text-accent"), "  ", one_line(what)))
    return Content("\n").join(lines)
