"""A question that is answered with a line of text."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from tuiftune.text import one_line, plain
from tuiftune.tui.file_names import Completed, complete
from tuiftune.tui.screens.window import Window
from tuiftune.tui.widgets.in_order import LineField

MOST_NAMES = 12


@dataclass
class NamesFound(Message):
    """What Tab found for what had been typed by then."""

    typed: str
    found: Completed


class AskScreen(Window[str]):
    """Asks for a value; enter gives it, escape gives nothing."""

    DEFAULT_CSS = """
    AskScreen {
        & > #window { max-width: 76; }
        & #answer { height: 1; border: none; padding: 0 1; margin: 1 0 0 0; background: $foreground 8%; }
        & #names { height: auto; max-height: 3; padding: 0 1; color: $foreground 60%; }
        & #answer:focus { border: none; background-tint: transparent 0%; }
    }
    """
    AUTO_FOCUS = "#answer"
    BINDINGS = [
        Binding("escape", "dismiss", "Cancel"),
        Binding("tab,shift+tab", "complete", "Complete", show=False, priority=True),
    ]

    def __init__(
        self, title: str, body_lines: Sequence[str], placeholder: str, value: str = "", *, files: bool = False
    ) -> None:
        """`value`: what stands there to be changed. `files`: a file is asked for, whose name Tab completes."""
        body = Content("\n").join([Content(plain(line)) for line in body_lines])
        keys = [("enter", "go on"), ("esc", "cancel")]
        super().__init__(title, body, [*keys, ("tab", "completes the name")] if files else keys)
        self._placeholder, self._value, self._files = placeholder, value, files

    def below(self) -> ComposeResult:
        yield LineField(self._value, placeholder=self._placeholder, id="answer")
        if self._files:
            yield Static(id="names")

    def action_complete(self) -> None:
        """Tab is of no other use here: there is nothing else to go to."""
        if self._files:
            typed = self.query_one(Input).value
            # Of its own: the exit waits for Textual's threads, and a network's folder may not answer.
            threading.Thread(target=self._complete, args=(typed,), name="names", daemon=True).start()

    def _complete(self, typed: str) -> None:
        self.post_message(NamesFound(typed, complete(typed, Path.cwd())))

    def on_names_found(self, message: NamesFound) -> None:
        answer = self.query_one(Input)
        if answer.value != message.typed:  # more was typed meanwhile
            return
        answer.value = message.found.text
        answer.cursor_position = len(answer.value)
        names = message.found.names
        shown = "  ".join(one_line(name, 60) for name in names[:MOST_NAMES])
        more = f"  and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
        words = f"{shown}{more}" if len(names) > 1 else "" if names else "no file begins so"
        self.query_one("#names", Static).update(Content(words))

    @on(Input.Submitted)
    def _given(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.dismiss(event.value.strip())
