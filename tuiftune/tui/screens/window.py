"""The small windows over a screen: a heading, a text that scrolls, and the keys that answer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from tuiftune.text import one_line

Answer = TypeVar("Answer")


class Window(ModalScreen[Answer]):
    """Base of the help, the problems and the questions."""

    DEFAULT_CSS = """
    Window {
        align: center middle;
        background: $background 60%;
        & > #window {
            width: 90%;
            max-width: 92;
            height: auto;
            background: $surface;
            border: round $primary;
            padding: 0 2;
        }
        & #window-title { text-style: bold; height: auto; margin: 0 0 1 0; }
        & #window-scroll {
            height: auto;
            background: $surface;
            scrollbar-size-vertical: 1;
        }
        & #window-body { height: auto; color: $foreground 90%; }
        & #window-keys { height: 1; margin: 1 0 0 0; color: $foreground 60%; }
    }
    """
    AUTO_FOCUS = "#window-scroll"
    AROUND = 8
    """Rows for the border, the heading, the keys, the blanks between and a little of the screen below."""

    def __init__(self, title: str, body: Content, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._heading, self._body, self._keys = one_line(title), body, keys

    def compose(self) -> ComposeResult:
        with Vertical(id="window"):
            yield Static(Content(self._heading), id="window-title")
            with VerticalScroll(id="window-scroll"):
                yield Static(self._body, id="window-body")
            yield from self.below()
            yield Static(keys_line(self._keys), id="window-keys")

    def below(self) -> ComposeResult:
        """What a window has between its text and its keys."""
        yield from ()

    def on_resize(self, event: events.Resize) -> None:
        rows = event.size.height - self.AROUND
        self.query_one("#window-scroll").styles.max_height = max(1, self.rows_for_text(rows))

    def rows_for_text(self, rows: int) -> int:
        """How many of the rows that text and what is below it may have are for the text."""
        return rows


def keys_line(keys: Sequence[tuple[str, str]]) -> Content:
    """`enter start   esc back`: what the keys do, as a row."""
    parts = [Content.assemble((one_line(key), "bold $text-accent"), f" {one_line(what)}") for key, what in keys]
    return Content("   ").join(parts)
