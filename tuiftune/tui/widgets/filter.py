"""What was typed on the menu."""

from __future__ import annotations

from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from tuiftune.text import one_line

HINT = "type to filter"


class Filter(Static):
    """Shows the words that profiles are filtered by; who has the keys hands them on.

    Not an Input: keys that come in a burst, as pasted or over a slow line, would be dealt out between it and the
    list while the focus moves, and arrive out of order.
    """

    DEFAULT_CSS = "Filter { width: 1fr; height: 1; color: $foreground 45%; &.-filled { color: $foreground; } }"

    class Changed(Message):
        """The words are others now."""

    def __init__(self, id: str | None = None) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(HINT, id=id)
        self._value = ""

    @property
    def value(self) -> str:
        return self._value

    @value.setter
    def value(self, value: str) -> None:
        if value == self._value:
            return
        self._value = value
        self.set_class(bool(value), "-filled")
        shown = Content.assemble(one_line(value), (" ", "reverse")) if value else Content(HINT)
        self.update(shown, layout=False)
        self.post_message(self.Changed())
