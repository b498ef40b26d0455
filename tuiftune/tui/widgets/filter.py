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
        self._writing = False

    @property
    def writing(self) -> bool:
        """Whether letters go here: then there is a cursor."""
        return self._writing

    @writing.setter
    def writing(self, writing: bool) -> None:
        if writing != self._writing:
            self._writing = writing
            self._draw()

    @property
    def value(self) -> str:
        return self._value

    @value.setter
    def value(self, value: str) -> None:
        if value == self._value:
            return
        self._value = value
        self._draw()
        self.post_message(self.Changed())

    def _draw(self) -> None:
        filled = bool(self._value) or self._writing
        self.set_class(filled, "-filled")
        cursor = (" ", "reverse") if self._writing else ("", "")
        self.update(Content.assemble(one_line(self._value), cursor) if filled else Content(HINT), layout=False)
