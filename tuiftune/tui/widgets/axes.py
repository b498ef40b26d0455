"""Axes of a chart: ranges that move in jumps, neat 1-2-5 ticks and their labels."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

X_STEPS = 10
"""The x axis grows to the next tenth or so of its length: some 120 jumps in a run of a million steps."""
Y_STEPS = 8
LEAST_X = 10.0
"""Steps are whole numbers."""
SHRINK_BELOW = 0.4
"""Axes are made anew when the values fill less of them: another run, or steps that were taken back."""

LONG, START, SPIKE = 40, 0.1, 3.0
"""Of a series of so many values, the start is that part; a spike is so many times as high as all that follows."""

FLAT = 1e-9
"""Values that differ by less of their size are one: rounding alone makes a mean differ from its values."""


@dataclass(frozen=True)
class Extent:
    """The ranges that values cover."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float


@dataclass(frozen=True)
class View:
    """The ranges a chart shows. On a logarithmic axis y is kept as log10 of the value."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    log_y: bool = False

    def y(self, value: float) -> float:
        """Where a value lies, from 0 (bottom) to 1 (top); NaN where it cannot be drawn."""
        return self.heights((value,))[0]

    def heights(self, values: Sequence[float]) -> list[float]:
        """`y` of each value."""
        low, span = self.y_low, self.y_high - self.y_low
        if self.log_y:
            return [(on_axis(value, log_y=True) - low) / span for value in values]
        return [(value - low) / span if value - value == 0 else math.nan for value in values]  # inf - inf is NaN

    def x(self, step: float) -> float:
        """Where a step lies, from 0 (left) to 1 (right)."""
        return (step - self.x_low) / (self.x_high - self.x_low)


def on_axis(value: float, log_y: bool) -> float:
    """The value as its axis measures it; NaN where it cannot be drawn."""
    if not math.isfinite(value):
        return math.nan
    if not log_y:
        return value
    return math.log10(value) if value > 0 else math.nan


def extent_of(steps: Iterable[Sequence[float]], values: Iterable[Sequence[float]], log_y: bool) -> Extent | None:
    """The ranges of all series together; None without a step. Without a drawable value y is 0 to 1."""
    ends = [end for series in steps if len(series) for end in (series[0], series[-1])]
    if not ends:
        return None
    x_low, x_high = min(ends), max(ends)
    y_low, y_high = math.inf, -math.inf
    for series in values:
        drawable = [value for value in series if value - value == 0 and (value > 0 or not log_y)]
        if drawable:
            y_low, y_high = min(y_low, min(drawable)), max(y_high, max(drawable))
    if y_low > y_high:
        y_low, y_high = (1.0, 10.0) if log_y else (0.0, 1.0)
    return Extent(x_low, x_high, on_axis(y_low, log_y), on_axis(y_high, log_y))


def without_start(steps: Sequence[float], values: Sequence[float]) -> float | None:
    """Up to where a y axis reaches that does not let a spike at the start flatten all that follows; None where
    the start is no such spike."""
    first = bisect.bisect_right(steps, steps[0] + START * (steps[-1] - steps[0])) if len(steps) >= LONG else 0
    later = [value for value in values[first:] if math.isfinite(value)]
    if not first or not later:
        return None
    low, high = min(later), max(later)
    top = high + (high - low)
    highest = max((value for value in values[:first] if math.isfinite(value)), default=high)
    return top if highest - low > SPIKE * (high - low) > 0 else None


def view_for(extent: Extent, before: View | None, log_y: bool, least_x: float = LEAST_X) -> View:
    """Axes that hold `extent`: those of `before` as long as they hold it and it fills them. The x axis is at least
    `least_x` long."""
    if before is not None and before.log_y == log_y:
        x = (before.x_low, before.x_high)
        y = (before.y_low, before.y_high)
        if not _holds(x, extent.x_low, extent.x_high):
            x = _x_range(extent.x_low, extent.x_high, least_x)
        if not _holds(y, extent.y_low, extent.y_high):
            y = _y_range(extent.y_low, extent.y_high, log_y)
        return View(*x, *y, log_y)
    return View(*_x_range(extent.x_low, extent.x_high, least_x), *_y_range(extent.y_low, extent.y_high, log_y), log_y)


def _holds(axis: tuple[float, float], low: float, high: float) -> bool:
    return axis[0] <= low and high <= axis[1] and high - low >= SHRINK_BELOW * (axis[1] - axis[0])


def _x_range(low: float, high: float, least: float) -> tuple[float, float]:
    start = 0.0 if 0 <= low <= max(least / 10, high / 8) else low
    step = max(least / 10, nice_step(high - start, X_STEPS))
    return start, start + max(least, math.ceil((high - start) / step + 0.2) * step)


def _y_range(low: float, high: float, log_y: bool) -> tuple[float, float]:
    if high - low <= FLAT * max(abs(low), abs(high), float(log_y)):  # a flat line lies in the middle
        margin = 0.3 if log_y else abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    step = nice_step(high - low, Y_STEPS)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def nice_step(span: float, count: int) -> float:
    """The 1-2-5 step that cuts `span` into at most `count` parts."""
    raw = span / max(1, count)
    if raw <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if raw <= factor * power * (1 + 1e-9))


def ticks(low: float, high: float, count: int) -> list[float]:
    """At most `count + 1` neat values from `low` to `high`."""
    step = nice_step(high - low, count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


CLOCK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def clock_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """At most `count + 1` neat moments from `low` to `high` seconds, with their labels: `0:30`, `1:15`, `2 h`."""
    raw = (high - low) / max(1, count)
    step = next((step for step in CLOCK_STEPS_S if step >= raw), 86400 * math.ceil(raw / 86400))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(number * step, clock_label(number * step, step)) for number in range(first, last + 1)]


def clock_label(seconds: float, step: float = 1.0) -> str:
    """A moment since the start; whole hours and days where nothing between them is told apart."""
    whole = round(seconds)
    if whole == 0:
        return "0"
    if step >= 86400 and whole % 86400 == 0:
        return f"{whole // 86400} d"
    if step >= 3600 and whole % 3600 == 0:
        return f"{whole // 3600} h"
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def y_ticks(view: View, count: int) -> list[tuple[float, str]]:
    """Values to label on the y axis, in the values' own measure, with their labels."""
    low, high = (10**view.y_low, 10**view.y_high) if view.log_y else (view.y_low, view.y_high)
    neat = _log_ticks(low, high, count) if view.log_y else []
    if len(neat) > 1:
        return [(value, tick_labels([value])[0]) for value in neat]
    values: list[float] = []
    for more in range(3):  # a neat step may be so long that only one tick falls into the axis
        values = [value for value in ticks(low, high, count + more) if value > 0 or not view.log_y]
        if len(values) > 1:
            break
    else:  # so low a chart that no neat values fall into it: its ends
        values = [low, high]
    return list(zip(values, tick_labels(values), strict=True))


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    """1, 2 and 5 of each power of ten where there is room, else powers alone; none on a narrow axis."""
    if high / low < 5:
        return []
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = math.ceil(len(powers) / max(1, count))
    factors = (1, 2, 5) if 3 * math.log10(high / low) <= count + 1 else (1,)
    values = [factor * 10.0**power for power in powers if power % every == 0 for factor in factors]
    return [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """The ticks' labels, all with as many decimals as tell them apart."""
    if not values:
        return []
    gap = min((b - a for a, b in itertools.pairwise(values)), default=abs(values[0]) or 1.0)
    size = max(abs(value) for value in values)
    if 0 < size < 1e-2 or size >= 1e12:
        return [_scientific(value, _digits(abs(value), gap)) if value else "0" for value in values]
    for divisor, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= 10 * divisor or (size >= divisor and gap >= divisor / 10 and divisor > 1e3):
            decimals = _decimals(gap / divisor)
            return [f"{value / divisor:.{decimals}f}{suffix}" if value else "0" for value in values]
    decimals = _decimals(gap)
    return [f"{value:.{decimals}f}" for value in values]


def _decimals(gap: float) -> int:
    return max(0, -math.floor(math.log10(gap) + 1e-9))


def _digits(value: float, gap: float) -> int:
    """Decimals of the mantissa that show a difference of `gap`."""
    return max(0, math.floor(math.log10(value) + 1e-9) - math.floor(math.log10(gap) + 1e-9))


def _scientific(value: float, decimals: int) -> str:
    """`5e-5`, `2.5e-5`: no padding zeros, neither in the mantissa nor in the exponent."""
    mantissa, exponent = f"{value:.{decimals}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"
