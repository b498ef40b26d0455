"""What the charts of a run have in common: what x measures, which part is shown, the cursor, log scale, smoothing."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tuiftune.tui.messages import RunView
from tuiftune.tui.widgets.chart import XAxis

AXES = ("step", "epoch", "time")
SMOOTHINGS = (1.0, 4.0, 16.0, 0.0)
"""Factors of the usual half-life; 0 is none."""
SCALES = (None, True, False)
"""Logarithmic where it helps, always, never."""
NARROWEST = 1 / 10_000
"""Of the whole x axis, the least that a zoom shows."""

One = TypeVar("One")
Table = tuple[Sequence[float], Sequence[float]]
"""Steps that do not decrease, and what x is at each."""


@dataclass(frozen=True)
class Look:
    """How somebody looks at the curves."""

    axis: str = "step"
    span: tuple[float, float] | None = None
    """The part of the x axis that is shown, in its own unit; None for all of it."""
    cursor: float | None = None
    log: bool | None = None
    smoothing: float = 1.0

    def x_axis(self) -> XAxis:
        if self.axis == "time":
            return XAxis("time", 10.0, clock=True, span=self.span, cursor=self.cursor)
        if self.axis == "epoch":
            return XAxis("epoch", 0.1, span=self.span, cursor=self.cursor)
        return XAxis(span=self.span, cursor=self.cursor)

    def next_axis(self, view: RunView | None) -> Look:
        """The next thing that x can measure in this run; the part and the cursor are those of another unit."""
        known = [axis for axis in AXES if axis == "step" or (view is not None and table_of(view, axis)[0])]
        at = known.index(self.axis) if self.axis in known else -1
        return dataclasses.replace(self, axis=known[(at + 1) % len(known)], span=None, cursor=None)

    def next_scale(self) -> Look:
        return dataclasses.replace(self, log=_next(SCALES, self.log))

    def next_smoothing(self) -> Look:
        return dataclasses.replace(self, smoothing=_next(SMOOTHINGS, self.smoothing))

    def moved(self, fraction: float, shown: tuple[float, float]) -> Look:
        """The cursor so far of what is shown to the right; it begins at the right edge. The part follows it."""
        low, high = shown
        before = high if self.cursor is None else self.cursor
        cursor = before + fraction * (high - low)
        look = dataclasses.replace(self, cursor=cursor)
        if self.span is None:
            return dataclasses.replace(look, cursor=min(high, max(low, cursor)))
        if cursor < low or cursor > high:
            return look.panned(-0.25 if cursor < low else 0.25, shown)
        return look

    def panned(self, fraction: float, shown: tuple[float, float]) -> Look:
        """The part that is shown, moved by a fraction of its length."""
        if self.span is None:
            return self
        by = fraction * (shown[1] - shown[0])
        low = max(0.0, shown[0] + by)
        return dataclasses.replace(self, span=(low, low + shown[1] - shown[0]))

    def zoomed(self, factor: float, shown: tuple[float, float], whole: float) -> Look:
        """The part made shorter or longer, about the cursor, else about the right edge. `whole`: how long all is."""
        low, high = shown
        length = max(whole * NARROWEST, (high - low) * factor)
        if length >= whole:
            return dataclasses.replace(self, span=None)
        middle = high if self.cursor is None else self.cursor
        share = (middle - low) / (high - low)
        start = min(max(0.0, middle - share * length), whole - length)
        return dataclasses.replace(self, span=(start, start + length))

    def window(self, view: RunView) -> tuple[int, int] | None:
        """The steps that the part covers, for who reads them finer than the whole."""
        if self.span is None:
            return None
        if self.axis == "step":
            low, high = self.span
        else:
            steps, places = table_of(view, self.axis)
            low, high = interpolated(self.span, (places, steps))
        return int(low), int(high) + 1


def table_of(view: RunView, axis: str) -> Table:
    """How steps become epochs or seconds since the run's start; empty where the run does not tell."""
    if axis == "time":
        return view.clock
    epochs = view.curves.get("train/epoch")
    return (epochs.steps, epochs.means) if axis == "epoch" and epochs else ((), ())


def places(view: RunView, axis: str, steps: Sequence[float]) -> Sequence[float]:
    """Where steps lie on the x axis."""
    return steps if axis == "step" else interpolated(steps, table_of(view, axis))


def times_on(view: RunView, axis: str, times: Sequence[float]) -> Sequence[float]:
    """Where moments, in seconds since the run's start, lie on the x axis."""
    if axis == "time":
        return times
    steps, seconds = view.clock
    return places(view, axis, interpolated(times, (seconds, steps)))


def interpolated(steps: Sequence[float], table: Table) -> list[float]:
    """Straight lines between the known places, the outermost beyond them."""
    known, values = table
    if not known:
        return [0.0] * len(steps)
    found = []
    for step in steps:
        after = bisect.bisect_left(known, step)
        if after == 0 or after == len(known):
            found.append(float(values[min(after, len(known) - 1)]))
            continue
        low, high = known[after - 1], known[after]
        share = (step - low) / (high - low) if high > low else 0.0
        found.append(values[after - 1] + share * (values[after] - values[after - 1]))
    return found


def _next(all_of_them: Sequence[One], this: One) -> One:
    return all_of_them[(all_of_them.index(this) + 1) % len(all_of_them)]
