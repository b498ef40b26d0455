"""A question that is answered with a line of text."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import Input

from tuiftune.text import plain
from tuiftune.tui.screens.window import Window


class AskScreen(Window[str]):
    """Asks for a value; enter gives it, escape gives nothing."""

    DEFAULT_CSS = """
    AskScreen {
        & > #window { max-width: 76; }
        & #answer { height: 1; border: none; padding: 0 1; margin: 1 0 0 0; background: $foreground 8%; }
        & #answer:focus { border: none; background-tint: transparent 0%; }
    }
    """
    AUTO_FOCUS = "#answer"
    BINDINGS = [Binding("escape", "dismiss", "Cancel")]

    def __init__(self, title: str, body_lines: Sequence[str], placeholder: str, value: str = "") -> None:
        """`value`: what stands there to be changed."""
        body = Content("\n").join([Content(plain(line)) for line in body_lines])
        super().__init__(title, body, [("enter", "go on"), ("esc", "cancel")])
        self._placeholder, self._value = placeholder, value

    def below(self) -> ComposeResult:
        yield Input(self._value, placeholder=self._placeholder, id="answer")

    @on(Input.Submitted)
    def _given(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.dismiss(event.value.strip())
