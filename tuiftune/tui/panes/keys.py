"""The keys in force, in the last row."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual import events
from textual.dom import DOMNode
from textual.screen import Screen

from tuiftune.tui.palette import keyed_actions
from tuiftune.tui.panes.rows import Row, Rows, Span, joined

GAP, TIGHT = "  ", " "
"""Between two keys; the second where not all of them fit with the first."""


class KeysPane(Rows):
    """What Textual's Footer shows, as one row: that one is made anew at every change of the keys, and the whole
    screen with it, 21 kB at 120x40."""

    DEFAULT_CSS = """
    KeysPane {
        dock: bottom;
        height: 1;
        padding: 0 1;
        background: $footer-background;
        color: $footer-description-foreground;
        & > .rows--accent { color: $footer-key-foreground; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._places: list[tuple[int, int, str, DOMNode]] = []
        """First and last column of each key, and what it does where."""

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, _screen: Screen[object]) -> None:
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        palette = self.screen.active_bindings.get(self.app.COMMAND_PALETTE_BINDING)
        actions = list(keyed_actions(self.screen))
        if palette is not None:
            key = self.app.get_key_display(palette.binding)
            actions.append(("Palette", key, palette.node, palette.binding.action))
        parts: list[list[Span]] = []
        self._places.clear()
        column = 0
        gap = GAP if sum(cell_len(f"{key} {what}{GAP}") for what, key, _, _ in actions) <= width else TIGHT
        for description, key, node, action in actions:
            parts.append([(key, "accent"), (f" {description}", "")])
            last = column + cell_len(f"{key} {description}")
            self._places.append((column, last, action, node))
            column = last + len(gap)
        return [joined(parts, width, gap)][:height]

    async def on_click(self, event: events.Click) -> None:
        """Keys can be clicked too."""
        column = event.x - 1  # the padding
        for first, last, action, node in self._places:
            if first <= column < last:
                await self.app.run_action(action, node)
