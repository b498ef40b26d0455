"""Keys that come in one packet are done in their order, whatever field they are typed into."""

from __future__ import annotations

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.widgets import Input, TextArea

from tuiftune.tui.widgets.in_order import LineField, TextField

PACKET = [
    *"qx",
    "backspace",
    "backspace",
    *"abd",
    "left",
    "c",
    "end",
    *"ez",
    "backspace",
    "ctrl+a",
    "home",
    "delete",
    *"A",
]
"""What comes of it: Abcde."""


class Fields(App[None]):
    def __init__(self, field: Input | TextArea) -> None:
        super().__init__()
        self.field = field

    def compose(self) -> ComposeResult:
        yield self.field


@pytest.mark.parametrize("kind", [LineField, TextField])
async def test_a_packet_of_keys_is_typed_in_its_order(kind: type[LineField | TextField]) -> None:
    app = Fields(kind())
    async with app.run_test(size=(60, 10)) as pilot:
        app.field.focus()
        await pilot.pause()
        for key in PACKET:
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await pilot.pause(0.3)
        text = app.field.value if isinstance(app.field, Input) else app.field.text
        assert text == "Abcde"
        assert app.field.has_focus
        assert app.field.outer_size.height == (3 if kind is LineField else 10), "it is drawn as Textual's own"


async def test_enter_in_a_packet_gives_what_was_typed_before_it() -> None:
    given: list[str] = []

    class Asking(Fields):
        def on_input_submitted(self, event: Input.Submitted) -> None:
            given.append(event.value)

    app = Asking(LineField())
    async with app.run_test(size=(60, 10)) as pilot:
        app.field.focus()
        await pilot.pause()
        for key in [*"mails", "enter", *"xx"]:
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await pilot.pause(0.3)
    assert given == ["mails"]
