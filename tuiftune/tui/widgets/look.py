"""What the charts of a run have in common: what x measures, which part is shown, the cursor, log scale, smoothing."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from textual.binding import Binding

from tuiftune.run.metrics_db import EPOCHS, Curve
from tuiftune.tui.widgets.chart import LineChart, XAxis

AXES = ("step", "epoch", "time")
SMOOTHINGS = (1.0, 4.0, 16.0, 0.0)
"""Factors of the usual half-life; 0 is none."""
SCALES = (None, True, False)
"""Logarithmic where it helps, always, never."""
NARROWEST = 1 / 10_000
"""Of the whole x axis, the least that a zoom shows."""

LOOK_KEYS = (
    ("h", "h", "axis", 0, "X axis: steps, epochs, time"),
    ("y", "y", "scale", 0, "Y axis: logarithmic or not"),
    ("z", "z", "smoothing", 0, "Smooth more, less or not at all"),
    ("left", "←", "cursor", -1, "Cursor to the left"),
    ("right", "→", "cursor", 1, "Cursor to the right"),
    ("shift+left", "shift ←", "cursor", -10, "Cursor far to the left"),
    ("shift+right", "shift →", "cursor", 10, "Cursor far to the right"),
    ("plus,equals_sign", "+", "zoom", 0.5, "Zoom in"),
    ("minus", "-", "zoom", 2.0, "Zoom out"),
    ("left_parenthesis", "(", "pan", -0.25, "Pan to the left"),
    ("right_parenthesis", ")", "pan", 0.25, "Pan to the right"),
    ("0", "0", "all", 0, "Whole curves, no cursor"),
)
"""Key, how it is called, what it changes and by how much, and what that is in words."""

One = TypeVar("One")
Table = tuple[Sequence[float], Sequence[float]]
"""Steps that do not decrease, and what x is at each."""


class Timed(Protocol):
    """What is known of a run's steps: RunView, and Compared."""

    @property
    def curves(self) -> Mapping[str, Curve]: ...

    @property
    def clock(self) -> Table:
        """Steps, and at how many seconds since the run's start each was."""
        ...


def look_bindings(prefix: str) -> list[Binding]:
    """A binding for each of LOOK_KEYS, to the action `chart(what, amount)`."""
    return [
        Binding(key, f"chart({what!r}, {amount})", words, show=False, id=f"{prefix}{what}{amount}", key_display=display)
        for key, display, what, amount, words in LOOK_KEYS
    ]


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

    def changed(self, what: str, amount: float, chart: LineChart, whole: float, runs: Sequence[Timed]) -> Look:
        """As one of LOOK_KEYS asks for it. `whole`: where on the x axis the last value is."""
        shown = chart.shown
        if what == "axis":
            return self.next_axis(runs)
        if what == "scale":
            return dataclasses.replace(self, log=_next(SCALES, self.log))
        if what == "smoothing":
            return dataclasses.replace(self, smoothing=_next(SMOOTHINGS, self.smoothing))
        if what == "all":
            return dataclasses.replace(self, span=None, cursor=None)
        if shown is None:
            return self
        if what == "cursor":
            return self.moved(amount / max(1, chart.size.width - 8), shown, whole)
        return self.panned(amount, shown) if what == "pan" else self.zoomed(amount, shown, whole)

    def next_axis(self, runs: Sequence[Timed]) -> Look:
        """The next thing that x can measure in one of the runs; the part and the cursor are those of another unit."""
        known = [axis for axis in AXES if axis == "step" or any(table_of(run, axis)[0] for run in runs)]
        at = known.index(self.axis) if self.axis in known else -1
        return dataclasses.replace(self, axis=known[(at + 1) % len(known)], span=None, cursor=None)

    def moved(self, fraction: float, shown: tuple[float, float], whole: float) -> Look:
        """The cursor so far of what is shown to the right; it begins at the last value. The part follows it."""
        low, high = shown[0], max(shown[0], min(shown[1], whole))
        before = high if self.cursor is None else self.cursor
        cursor = min(whole, before + fraction * (shown[1] - low))
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
        """The part made shorter or longer, about the cursor, else its right edge. The last value is at `whole`."""
        low, high = shown
        length = max(whole * NARROWEST, (high - low) * factor)
        if length >= whole:
            return dataclasses.replace(self, span=None)
        middle = high if self.cursor is None else self.cursor
        share = (middle - low) / (high - low)
        start = min(max(0.0, middle - share * length), whole - length)
        return dataclasses.replace(self, span=(start, start + length))

    def window(self, run: Timed) -> tuple[int, int] | None:
        """The steps that the part covers, for who reads them finer than the whole."""
        if self.span is None:
            return None
        if self.axis == "step":
            low, high = self.span
        else:
            steps, places = table_of(run, self.axis)
            if not steps:
                return None
            low, high = interpolated(self.span, (places, steps))
        return int(low), int(high) + 1


def table_of(run: Timed, axis: str) -> Table:
    """How steps become epochs or seconds since the run's start; empty where the run does not tell."""
    if axis == "time":
        return run.clock
    epochs = run.curves.get(EPOCHS)
    return (epochs.steps, epochs.means) if axis == "epoch" and epochs else ((), ())


def places(run: Timed, axis: str, steps: Sequence[float]) -> Sequence[float]:
    """Where steps lie on the x axis."""
    return steps if axis == "step" else interpolated(steps, table_of(run, axis))


def times_on(run: Timed, axis: str, times: Sequence[float]) -> Sequence[float]:
    """Where moments, in seconds since the run's start, lie on the x axis."""
    if axis == "time":
        return times
    steps, seconds = run.clock
    return places(run, axis, interpolated(times, (seconds, steps)))


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
