"""A question that is answered with yes or no."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding
from textual.content import Content

from tuiftune.text import plain
from tuiftune.tui.screens.window import Window


class ConfirmScreen(Window[bool]):
    """Asks before something is done: y or enter is yes, n or escape no."""

    DEFAULT_CSS = "ConfirmScreen > #window { max-width: 76; }"
    BINDINGS = [
        Binding("y,enter", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
    ]

    def __init__(self, title: str, body_lines: Sequence[str], confirm_label: str) -> None:
        body = Content("\n").join([Content(plain(line)) for line in body_lines])
        super().__init__(title, body, [("enter", confirm_label), ("esc", "cancel")])

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)
