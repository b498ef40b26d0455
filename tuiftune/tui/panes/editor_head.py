"""Which profile is edited, what it extends, and whether it is saved."""

from __future__ import annotations

from collections.abc import Sequence

from tuiftune.text import one_line
from tuiftune.tui.panes.rows import Row, Rows, Span, beside, row_cells


class EditorHead(Rows):
    """One row."""

    DEFAULT_CSS = "EditorHead { height: 1; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._left: Sequence[Span] = ()
        self._right: Sequence[Span] = ()

    def show(self, name: str, extends: str | None, changes: int, unsaved: bool) -> None:
        self._left = [
            (one_line(name) or "a new profile", "title"),
            (f"   extends {one_line(extends)}" if extends else "   extends nothing", "muted"),
        ]
        count = f"{changes or 'no'} difference{'' if changes == 1 else 's'}"
        self._right = [
            (count, "muted"),
            ("   not saved" if unsaved else "   saved" if name else "", "accent" if unsaved else "muted"),
        ]
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:  # noqa: ARG002
        if not self._left:
            return []
        room = row_cells(self._left) + row_cells(self._right)
        return [beside(self._left, self._right if room < width else self._right[1:], width)]
