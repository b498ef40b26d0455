"""Scrollbars for a terminal that has no eighths of a cell."""

from __future__ import annotations

from textual.scrollbar import ScrollBarRender


class WholeCells(ScrollBarRender):
    """Its ends are whole cells: nothing but blanks is drawn, in two colours, and reversed where there are none."""

    VERTICAL_BARS = HORIZONTAL_BARS = [" "] * len(ScrollBarRender.VERTICAL_BARS)
