"""Where a prompt is typed: Enter asks, up and down walk through what was asked before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding
from textual.message import Message

from tuiftune.tui.widgets.in_order import TextField


class Prompt(TextField):
    """Several lines of text; what was typed last is kept while older prompts are looked at."""

    help_title = "Prompt"
    help_text: ClassVar[str] = (
        "The model goes on from this text. Enter asks, ctrl+j begins a line, up in the first line and down in the last "
        "walk through the prompts of this run. Letters and digits are text here: escape leaves the prompt, then "
        "digits lead to other places again; so do F1, F2 and so on, and alt with a digit, from here too."
    )
    BINDINGS = [
        Binding("enter", "submit", "Ask"),
        Binding("ctrl+j,shift+enter,alt+enter", "new_line", "New line", show=False),  # few terminals tell the last two
        Binding("ctrl+y", "screen.copy", "Copy"),
        Binding("pageup", "screen.scroll(-1)", show=False),
        Binding("pagedown", "screen.scroll(1)", show=False),
    ]
    DEFAULT_CSS = """
    Prompt {
        height: auto;
        max-height: 6;
        border: none;
        padding: 0;
        background: transparent;
        scrollbar-size-vertical: 1;
        &:focus { border: none; background-tint: transparent 0%; }
    }
    """

    @dataclass
    class Submitted(Message):
        """Enter was pressed."""

        text: str

    def __init__(self) -> None:
        super().__init__(compact=True, highlight_cursor_line=False, placeholder="a prompt; enter asks")
        self._older: list[str] = []
        self._at: int | None = None
        """Which of the older prompts is shown; None: what is being typed."""
        self._typed = ""

    def remember(self, prompts: Sequence[str]) -> None:
        """What was asked before, the newest last."""
        self._older, self._at = list(prompts), None

    def add(self, prompt: str) -> None:
        """It was asked now."""
        self._older = [one for one in self._older if one != prompt] + [prompt]
        self._at = None

    def action_submit(self) -> None:
        self.post_message(self.Submitted(self.text))

    def action_new_line(self) -> None:
        self.insert("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        if select or not self.navigator.is_first_wrapped_line(self.cursor_location):
            super().action_cursor_up(select)
        else:
            self._walk(-1)

    def action_cursor_down(self, select: bool = False) -> None:
        if select or not self.navigator.is_last_wrapped_line(self.cursor_location):
            super().action_cursor_down(select)
        else:
            self._walk(1)

    def _walk(self, by: int) -> None:
        """To an older (-1) or newer prompt; after the newest comes what was being typed."""
        if self._at is None:
            if by > 0 or not self._older:
                return
            self._typed, at = self.text, len(self._older) - 1
            if self._older[at] == self.text and at > 0:
                at -= 1  # it is still there from the asking
        else:
            at = self._at + by
        if at < 0:
            return
        self._at = at if at < len(self._older) else None
        self.text = self._typed if self._at is None else self._older[self._at]
        self.move_cursor(self.document.end)
