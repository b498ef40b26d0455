"""Fields in which keys that come in one packet, as over a slow line, are done in the order they were typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events
from textual.widgets import Input, TextArea

if TYPE_CHECKING:
    from textual.widget import Widget
else:
    Widget = object  # Textual takes styles and bindings from the first base that is a widget


class InOrder(Widget):
    """Textual hands a key with a binding on to the app, and does it when the letters after it are typed already: a
    backspace then takes the wrong one. Here the field does it by itself, at once."""

    async def _on_key(self, event: events.Key) -> None:
        for binding in self._bindings.key_to_bindings.get(event.key, ()):
            event.stop()
            event.prevent_default()  # nor do the classes below look at it
            await self.run_action(binding.action)
            return


class LineField(InOrder, Input):
    """A line."""

    def on_mount(self) -> None:
        self.cursor_blink = False  # it would be sent to the terminal twice a second, for as long as nobody answers


class TextField(InOrder, TextArea):
    """Several lines."""

    def on_mount(self) -> None:
        self.cursor_blink = False
