"""The curves of several runs over one another, told apart by a letter and a colour each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tuiftune.run.compare import LETTERS, Compared, Series
from tuiftune.tui.widgets.plot import Chart, Line, within

STYLES = tuple(f"run-{letter.lower()}" for letter in LETTERS)
"""Of each run's line, by its letter."""
COLOURS = ("#56a9e0", "#e69f00", "#0aa37a", "#d55e00", "#cc79a7", "#9a8cf0")
"""That people who see red and green alike can tell apart, by their brightness too."""
LOG_FROM = 20.0
"""Values that differ by more than this factor are drawn on a logarithmic axis."""
LETTERS_A_LINE = 6
NEVER_LOG = ("train/learning_rate", "train/tokens_per_s")
NAME = 14
"""Cells of a run's name in the legend."""


def css(prefix: str) -> str:
    """A rule for the colour of each run's parts: `prefix` and its style are their class."""
    return "\n".join(
        f"& > .{prefix}--{style} {{ color: {colour}; }}" for style, colour in zip(STYLES, COLOURS, strict=True)
    )


Places = Callable[[Compared, Sequence[float]], Sequence[float]]
"""Where steps of a run lie on the x axis."""


def lines_of(
    compared: Sequence[Compared],
    series: Series,
    places: Places | None = None,
    span: tuple[float, float] | None = None,
) -> list[Line]:
    """For each run that has the series its line, and its letter along what of it is shown: `span`, or all."""
    lines: list[Line] = []
    letters: list[Line] = []
    for place, one in enumerate(compared):
        curve, values = one.curves.get(series.key), one.drawn.get(series.key)
        if not curve or not values:
            continue
        style = STYLES[LETTERS.index(one.letter)]
        at = places(one, curve.steps) if places else curve.steps
        line = Line(at, values, style, one.title[:NAME], bad=curve.bad, sign=one.letter)
        lines.append(line)
        shown = line if span is None else within(line, *span)
        if len(shown.steps):
            letters.append(_letters(shown, (place + 0.5) / len(compared)))
    return [*lines, *letters]


def _letters(line: Line, offset: float) -> Line:
    at = list(_places(line.steps, offset))
    steps, values = [line.steps[index] for index in at], [line.values[index] for index in at]
    return replace(line, steps=steps, values=values, label="", points=True, bad=None)


def _places(steps: Sequence[float], offset: float) -> Iterator[int]:
    """Where the letter stands: here and there along the line, at other places for each run, and at its end."""
    last = len(steps) - 1
    wanted = [steps[0] + (steps[-1] - steps[0]) * (part + offset) / LETTERS_A_LINE for part in range(LETTERS_A_LINE)]
    index = 0
    for step in wanted:
        while index < last and steps[index] < step:
            index += 1
        if index < last:
            yield index
    yield last


def wants_log(lines: Sequence[Line], series: Series) -> bool:
    """Whether the values are so far apart that a logarithmic axis shows more of them."""
    if series.key in NEVER_LOG:
        return False
    values = [value for line in lines for value in line.values if math.isfinite(value) and value > 0]
    return bool(values) and max(values) > LOG_FROM * min(values)


def chart_of(
    compared: Sequence[Compared],
    series: Series,
    *,
    log: bool | None = None,
    smoothed: bool = True,
    places: Places | None = None,
    span: tuple[float, float] | None = None,
) -> Chart:
    """Title and unit say what it is, whether it is smoothed, and where the axis is logarithmic (None: as it helps)."""
    lines = lines_of(compared, series, places, span)
    if log is None:
        log = wants_log(lines, series)
    title = f"{series.title}, smoothed" if series.jumps and smoothed else series.title
    unit = ", ".join(filter(None, (series.unit, "logarithmic" if log else "")))
    return Chart(title, unit, lines, (), "step", log, empty=f"no {series.title} in any of them yet", span=span)
