"""A list of problems, each a sentence with its file and line."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding
from textual.content import Content

from tuiftune.text import plain
from tuiftune.tui.screens.window import Window


class ProblemsScreen(Window[None]):
    """Shows `lines` under `title`; escape, enter or q closes it."""

    DEFAULT_CSS = "ProblemsScreen > #window { border: round $error; }"
    BINDINGS = [Binding("escape,enter,q", "dismiss", "Close")]

    def __init__(self, title: str, lines: Sequence[str]) -> None:
        body = Content("\n\n").join([Content(plain(line)) for line in lines])
        super().__init__(title, body, [("esc", "close")])
