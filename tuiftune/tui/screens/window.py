"""The small windows over a screen: a heading, a text that scrolls, and the keys that answer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.css.styles import RulesMap
from textual.geometry import Size
from textual.screen import ModalScreen, Screen
from textual.strip import Strip
from textual.style import Style
from textual.visual import RenderOptions, Visual
from textual.widget import Widget
from textual.widgets import Static

from tuiftune.text import one_line


class Below(Visual):
    """The screen below a window, as it is. Textual's own way leads through Rich: half the time a window takes."""

    def __init__(self, screen: Screen[Any]) -> None:
        self._screen = screen

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:  # noqa: ARG002
        size = Size(width, height or self._screen.size.height)
        return self._screen._compositor.render_strips(size)

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:  # noqa: ARG002
        return container_width

    def get_height(self, rules: RulesMap, width: int) -> int:  # noqa: ARG002
        return self._screen.size.height


Answer = TypeVar("Answer")


class Window(ModalScreen[Answer]):
    """Base of the help, the problems and the questions."""

    DEFAULT_CSS = """
    Window {
        align: center middle;
        background: transparent;
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
            scrollbar-gutter: stable;
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
        self.auto_links = False
        self._heading, self._body, self._keys = one_line(title), body, keys

    def compose(self) -> ComposeResult:
        with Vertical(id="window"):
            yield Static(Content(self._heading), id="window-title")
            with VerticalScroll(id="window-scroll") as scroll:
                scroll.styles.max_height = self._most_rows(self.app.size.height)
                yield self.body(self._body)
            yield from self.below()
            yield Static(keys_line(self._keys), id="window-keys")

    def render(self) -> Visual:  # type: ignore[override]  # Textual draws a Visual as well
        stack = self.app.screen_stack
        return Below(stack[stack.index(self) - 1])

    def body(self, text: Content) -> Widget:
        """The text, which scrolls; whoever marks some of it with the mouse can copy it."""
        return Static(text, id="window-body")

    def below(self) -> ComposeResult:
        """What a window has between its text and its keys."""
        yield from ()

    def on_resize(self, event: events.Resize) -> None:
        self.query_one("#window-scroll").styles.max_height = self._most_rows(event.size.height)

    def _most_rows(self, height: int) -> int:
        return max(1, self.rows_for_text(height - self.AROUND))

    def rows_for_text(self, rows: int) -> int:
        """How many of the rows that text and what is below it may have are for the text."""
        return rows


def keys_line(keys: Sequence[tuple[str, str]]) -> Content:
    """`enter start   esc back`: what the keys do, as a row."""
    parts = [Content.assemble((one_line(key), "bold $text-accent"), f" {one_line(what)}") for key, what in keys]
    return Content("   ").join(parts)
