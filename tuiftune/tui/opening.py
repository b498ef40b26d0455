"""The first frame: the top row alone, on screen before anything else is imported. What is typed meanwhile is kept."""

from __future__ import annotations

from collections.abc import Callable

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen

from tuiftune.tui.panes.top import TopPane


class Opening(Screen[None]):
    """Stands until the first place is ready; `painted` is called once its frame is out."""

    def __init__(self, painted: Callable[[], object]) -> None:
        super().__init__()
        self.top = TopPane()
        self._typed: list[events.Key | events.Paste] | None = []
        """Meant for the place to come; None once it is there."""
        self._painted = painted

    def compose(self) -> ComposeResult:
        yield self.top

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self._painted)

    def on_key(self, event: events.Key) -> None:
        self._hand_over(events.Key(event.key, event.character))  # one that has been sent on is not sent on again
        event.stop()
        event.prevent_default()

    def on_paste(self, event: events.Paste) -> None:
        self._hand_over(events.Paste(event.text))
        event.stop()

    def place_is_there(self) -> None:
        """It gets what was typed, and what comes here only now: keys wait while this screen makes way."""
        typed, self._typed = self._typed or [], None
        for event in typed:
            self._hand_over(event)

    def _hand_over(self, event: events.Key | events.Paste) -> None:
        if self._typed is None:
            self.app.post_message(event)
        else:
            self._typed.append(event)
