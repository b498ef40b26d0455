"""The short history of a figure, drawn in blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tuiftune.tui.widgets.glyphs import ascii_only

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS = "_.:-=+*#"


def blocks(
    values: Sequence[float | None],
    width: int,
    low: float | None = None,
    high: float | None = None,
    rows: int = 1,
) -> list[str]:
    """The newest `width` values as blocks in so many rows, the newest at the right; None and NaN are blanks.

    Without `low` and `high` the values' own range is used; a value outside of it is drawn at its end.
    """
    shown = [math.nan if value is None else float(value) for value in values[-width:]] if width > 0 else []
    finite = [value for value in shown if math.isfinite(value)]
    if not finite:
        return [" " * max(0, width)] * rows
    bottom = min(finite) if low is None else low
    span = (max(finite) if high is None else high) - bottom
    levels = ASCII_BLOCKS if ascii_only() else BLOCKS
    heights = [_height(value, bottom, span, len(levels) * rows) for value in shown]
    return [
        "".join(_cell(height - row * len(levels), levels) for height in heights).rjust(width)
        for row in reversed(range(rows))
    ]


def _height(value: float, bottom: float, span: float, count: int) -> int:
    """1 to `count`; 0 where there is no value."""
    if not math.isfinite(value):
        return 0
    at = (value - bottom) / span if span > 0 else 0.0
    return 1 + min(count - 1, max(0, int(at * count)))


def _cell(height: int, levels: str) -> str:
    return levels[min(height, len(levels)) - 1] if height > 0 else " "
