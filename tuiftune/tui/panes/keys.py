"""The keys in force, in the last row."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual import events
from textual.dom import DOMNode
from textual.screen import Screen

from tuiftune.tui.palette import keyed_actions
from tuiftune.tui.panes.rows import Row, Rows, Span, joined

Action = tuple[str, str, DOMNode, str]
"""Description, key, node, action: as keyed_actions has them."""
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
        parts: list[list[Span]] = []
        self._places.clear()
        column = 0
        actions, gap = self._fitting(width)
        for description, key, node, action in actions:
            parts.append([(key, "accent"), (f" {description}", "")])
            last = column + cell_len(f"{key} {description}")
            self._places.append((column, last, action, node))
            column = last + len(gap)
        return [joined(parts, width, gap)][:height]

    def _fitting(self, width: int) -> tuple[list[Action], str]:
        """Those that fit into a row, and the gap between them. Where not all do, the palette goes first, then the last
        of the screen's own: how to leave stays the longest."""
        shown = list(keyed_actions(self.screen))
        palette = self.screen.active_bindings.get(self.app.COMMAND_PALETTE_BINDING)
        if palette is not None:
            key = self.app.get_key_display(palette.binding)
            whole = [*shown, ("Palette", key, palette.node, palette.binding.action)]
            if _cells(whole, GAP) <= width:
                return whole, GAP
        while shown:
            for gap in (GAP, TIGHT):
                if _cells(shown, gap) <= width:
                    return shown, gap
            of_screen = [action for action in shown if action[2] is not self.app]
            shown.remove((of_screen or shown)[-1])
        return [], GAP

    async def on_click(self, event: events.Click) -> None:
        """Keys can be clicked too."""
        column = event.x - 1  # the padding
        for first, last, action, node in self._places:
            if first <= column < last:
                await self.app.run_action(action, node)


def _cells(actions: Sequence[Action], gap: str) -> int:
    return sum(cell_len(f"{key} {what}{gap}") for what, key, _, _ in actions) - len(gap)
