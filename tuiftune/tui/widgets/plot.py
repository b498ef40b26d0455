"""Draw lines as rows of text: braille dots, or plain ASCII where braille cannot be shown.

Every function here is pure: data and a size in, rows of (text, style) out. A style is a key such as
'smooth' that the widget gives a colour; '' is blank.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from tuiftune import units
from tuiftune.text import one_line
from tuiftune.tui.widgets.axes import (
    LEAST_X,
    View,
    clock_label,
    clock_ticks,
    extent_of,
    tick_labels,
    ticks,
    view_for,
    without_start,
    y_ticks,
)

Row = tuple[tuple[str, str], ...]
"""Text and style key, from left to right; together as wide as the chart."""

STYLES = ("raw", "smooth", "eval", "best", "speed", "rate", "baseline")
"""What a Line or an HLine may be drawn as."""
MIN_WIDTH, MIN_HEIGHT = 16, 4
"""Below this only the title row with its figures is drawn."""
LAST = 5
"""So many of the last values tell how far apart they come."""
NOTHING = "—"
"""In the legend: there is no value where the cursor is."""
INSIDE = 1 + 1e-6
"""Up to this height a value is inside of the chart; rounding may lift one over 1."""
ALIGNED_LABELS = 5
"""Width of the y labels where there is room, so that charts above one another line up."""


@dataclass(frozen=True)
class Line:
    """One series: values over steps that do not decrease."""

    steps: Sequence[float]
    values: Sequence[float]
    """NaN and infinities are gaps, marked on the x axis."""
    style: str
    label: str
    """Named with its newest value in the title row; '' leaves it out there."""
    points: bool = False
    """Each value as a dot of its own, over all lines."""
    band: tuple[Sequence[float], Sequence[float]] | None = None
    """Lowest and highest value of the bucket each point stands for, where the series was thinned."""
    thick: bool = False
    """Two dots thick, so that it differs from the line below it without colour too."""
    sign: str = ""
    """Stands for its points and before its name; '' is the chart's own sign."""
    bad: Sequence[bool] | None = None
    """Whether such a bucket held a NaN or an infinity although its mean is finite."""

    def over(self, places: Sequence[float]) -> Line:
        """The same values over something else than steps."""
        return dataclasses.replace(self, steps=places)


@dataclass(frozen=True)
class HLine:
    """A dotted line across the chart, such as the baseline."""

    value: float
    style: str
    label: str


@dataclass(frozen=True)
class Signs:
    """The characters a chart is made of."""

    dots: str
    """256 characters, one for each pattern of a cell's eight dots."""
    point: str
    best: str
    above: str
    bad: str
    mark: str
    raw: str
    smooth: str
    vertical: str
    tick: str
    corner: str
    horizontal: str


LEFT, RIGHT = (0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80)
"""Braille bits of a cell's left and right dots, from the top."""


def _span(bits: Sequence[int], top: int, bottom: int) -> int:
    return sum(bits[top : bottom + 1])


SPANS = [[[_span(bits, top, bottom) for bottom in range(4)] for top in range(4)] for bits in (LEFT, RIGHT)]
"""Bits of the dots from `top` to `bottom`: SPANS[side][top][bottom]."""


def _ascii_dot(mask: int) -> str:
    """The plain character nearest to a pattern of dots."""
    rows = [row for row in range(4) if mask & (LEFT[row] | RIGHT[row])]
    if not rows:
        return " "
    if rows[-1] - rows[0] >= 2:
        return "|"
    return "'-._"[rows[0]]


BRAILLE = Signs(" " + "".join(map(chr, range(0x2801, 0x2900))), "●", "◆", "▲", "×", "┈", "─", "━", "│", "┤", "└", "─")  # noqa: RUF001
ASCII = Signs("".join(map(_ascii_dot, range(256))), "o", "*", "^", "x", ".", "-", "=", "|", "+", "+", "-")


@dataclass(frozen=True)
class Chart:
    """What is to be drawn."""

    title: str
    unit: str
    lines: Sequence[Line]
    marks: Sequence[HLine]
    x_label: str
    log_y: bool = False
    reach: float = -math.inf
    """The x axis goes at least so far: that charts above and beside one another have one axis."""
    empty: str = "no values yet"
    """What stands there without a value."""
    least_x: float = LEAST_X
    """The x axis is at least so long."""
    clock: bool = False
    """Whether x is in seconds and labelled as a clock."""
    span: tuple[float, float] | None = None
    """Only what lies between is shown."""
    cursor: float | None = None
    """Where a vertical line stands; the legend then has the values there."""


def view_of(chart: Chart, before: View | None = None) -> View | None:
    """The axes for a chart, near to those it had; None while it has no values."""
    if chart.span is not None:
        return _zoomed(chart, chart.span, before)
    values = [line.values for line in chart.lines]
    values += [side for line in chart.lines if line.band for side in line.band]
    values.append([mark.value for mark in chart.marks])
    extent = extent_of([line.steps for line in chart.lines], values, chart.log_y)
    if extent is None:
        return None
    top = _top(chart)
    if top < extent.y_high:
        extent = dataclasses.replace(extent, y_high=top)
    extent = dataclasses.replace(extent, x_high=max(extent.x_high, chart.reach))
    return view_for(extent, before, chart.log_y, chart.least_x)


def _zoomed(chart: Chart, span: tuple[float, float], before: View | None) -> View | None:
    """Exactly that part of the x axis, the y axis for what lies in it; None where nothing does."""
    part = dataclasses.replace(chart, lines=[within(line, *span) for line in chart.lines], span=None, reach=-math.inf)
    if not any(len(line.steps) for line in part.lines):
        return None
    kept = before if before is not None and (before.x_low, before.x_high) == span else None
    view = view_of(part, kept)
    return None if view is None else dataclasses.replace(view, x_low=span[0], x_high=span[1])


def within(line: Line, low: float, high: float) -> Line:
    """What of a line lies between two steps; a line is cut where it crosses them, points are left out."""
    first, last = bisect.bisect_left(line.steps, low), bisect.bisect_right(line.steps, high)
    inside = slice(first, last)
    steps, values = list(line.steps[inside]), list(line.values[inside])
    bands = [list(side[inside]) for side in line.band] if line.band else []
    bad = list(line.bad[inside]) if line.bad is not None else None
    for edge, at, place in ((low, first, 0), (high, last, len(steps))):
        crossed = _crossing(line, at, edge)
        if crossed is not None:
            place = place and len(steps)
            steps.insert(place, edge)
            for column in (values, *bands):
                column.insert(place, crossed)
            if bad is not None:
                bad.insert(place, False)
    band = (bands[0], bands[1]) if bands else None
    return dataclasses.replace(line, steps=steps, values=values, band=band, bad=bad)


def _crossing(line: Line, after: int, edge: float) -> float | None:
    """Where a line crosses a step, between entry `after` and the one before it."""
    if line.points or not 0 < after < len(line.steps) or line.steps[after - 1] == edge:
        return None
    (left, right), (low, high) = line.steps[after - 1 : after + 1], line.values[after - 1 : after + 1]
    found = low + (high - low) * (edge - left) / (right - left)
    return found if math.isfinite(found) else None


def value_at(line: Line, step: float) -> float | None:
    """The value at the step nearest to `step`; None further from the line than its last values are apart."""
    steps = line.steps
    at = bisect.bisect_left(steps, step)
    near = [index for index in (at - 1, at) if 0 <= index < len(line.values)]
    gaps = [after - before for before, after in itertools.pairwise(steps[-LAST:])]
    if not near or (gaps and not steps[0] <= step <= steps[-1] + max(gaps)):
        return None
    return line.values[min(near, key=lambda index: abs(steps[index] - step))]


def _top(chart: Chart) -> float:
    """The highest value that the y axis has to hold; infinite where all have to be. The lines tell it, those left out
    that only follow another."""
    telling = [line for line in chart.lines if not line.points and not line.thick and len(line.steps)]
    tops = [without_start(line.steps, line.values) for line in telling]
    if chart.log_y or all(top is None for top in tops):
        return math.inf
    whole = [
        max((value for value in line.values if math.isfinite(value)), default=-math.inf) if top is None else top
        for line, top in zip(telling, tops, strict=True)
    ]
    return max([*whole, *(mark.value for mark in chart.marks)])


def draw(chart: Chart, view: View | None, width: int, height: int, signs: Signs = BRAILLE) -> list[Row]:
    """The chart as `height` rows, each `width` cells wide: title, plot, x axis."""
    rows: list[Row] = [title_row(chart, width, signs)]
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        return (rows + [_blank(width)] * height)[:height]
    if view is None:
        words = chart.empty if chart.span is None else "no values between here"
        return rows + _sentence(one_line(words), width, height - 1)
    if chart.span is not None:
        chart = dataclasses.replace(chart, lines=[within(line, *chart.span) for line in chart.lines])
    return rows + _plot(chart, view, width, height - 2, signs)


def failed(title: str, error: Exception, width: int, height: int) -> list[Row]:
    """Rows that say why there is no chart."""
    words = one_line(f"{title}: cannot be drawn: {type(error).__name__}: {error}")
    return [((set_cell_size(words, width), "bad"),), *[_blank(width)] * (height - 1)]


def _blank(width: int) -> Row:
    return ((" " * width, ""),)


def _sentence(text: str, width: int, height: int) -> list[Row]:
    rows = [_blank(width)] * height
    rows[(height - 1) // 2] = ((text[:width].center(width), "axis"),)
    return rows


# ----------------------------------------------------------------------------------------- title and legend


def title_row(chart: Chart, width: int, signs: Signs) -> Row:
    """Title, unit, and each line's sign, name and newest value; shorter forms where it is narrow."""
    title = one_line(chart.title, 60) + ("" if chart.cursor is None else f" at {x_word(chart, chart.cursor)}")
    unit = f" {one_line(chart.unit, 30)}" if chart.unit else ""
    entries = _legend(chart, signs)
    full = [(sign, f" {label} {value}", style) for sign, label, value, style in entries]
    short = [(sign, f" {value}", style) for sign, _, value, style in entries]
    forms = [(title + unit, full, 2), (title, full, 2), (title, _without_raw(full), 2), (title, short, 1)]
    for head, parts, gap in forms:
        if cell_len(head) + sum(gap + cell_len(sign + text) for sign, text, _ in parts) <= width:
            return _fit_title(head, len(title), parts, gap, width)
    return _fit_title(title, len(title), _without_raw(short), 1, width)


def x_word(chart: Chart, at: float) -> str:
    """A place on the x axis in words: `step 1,200`, `epoch 0.35`, `12:30`."""
    if chart.clock:
        return clock_label(at)
    return f"{chart.x_label} {at:,.0f}" if chart.least_x >= LEAST_X else f"{chart.x_label} {at:.2f}"


def _without_raw(parts: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The noisiest figure goes first where there is no room for all."""
    return [part for part in parts if part[2] != "raw"]


def _legend(chart: Chart, signs: Signs) -> list[tuple[str, str, str, str]]:
    """(sign, label, newest value, style) of each named line."""
    found = []
    for line in chart.lines:
        if line.label and len(line.values):
            usual = _point(line, signs) if line.points else signs.raw if line.style == "raw" else signs.smooth
            value = line.values[-1] if chart.cursor is None else value_at(line, chart.cursor)
            text = NOTHING if value is None else units.figure(value)
            found.append((line.sign or usual, one_line(line.label, 30), text, line.style))
    for mark in chart.marks:
        if mark.label:
            found.append((signs.mark, one_line(mark.label, 30), units.figure(mark.value), mark.style))
    return found


def _point(line: Line, signs: Signs) -> str:
    return line.sign or (signs.best if line.style == "best" else signs.point)


def _fit_title(head: str, title_length: int, parts: list[tuple[str, str, str]], gap: int, width: int) -> Row:
    """Title and as many entries as there is room for."""
    head = head if cell_len(head) <= width else set_cell_size(head, width)
    row = [(head[:title_length], "title"), (head[title_length:], "axis")]
    used = cell_len(head)
    for sign, text, style in parts:
        size = gap + cell_len(sign + text)
        if used + size > width:
            break
        bad = text.strip().endswith(("nan", "inf"))
        row += [(" " * gap, ""), (sign, style), (text, "bad" if bad else "legend")]
        used += size
    row.append((" " * (width - used), ""))
    return tuple((text, style) for text, style in row if text)


# ------------------------------------------------------------------------------------------------ the plot


@dataclass
class Slot:
    """What falls into one column of dots."""

    first: float
    low: float
    high: float
    last: float
    broken: bool
    """A value that is not finite lies between this column and the one before."""


def _plot(chart: Chart, view: View, width: int, height: int, signs: Signs) -> list[Row]:
    labels = _y_labels(view, height)
    gutter = max([len(text) for text in labels.values()] + [ALIGNED_LABELS if width >= 40 else 1])
    columns = width - gutter - 1
    canvas = Canvas(columns, height)
    for mark in chart.marks:
        canvas.dotted(view.y(mark.value), mark.style)
    bad: set[int] = set()
    for line in chart.lines:
        slots, bad_columns = fold(line, view, columns * 2)
        bad |= {column // 2 for column in bad_columns}
        if line.points:
            canvas.points(line, view, _point(line, signs), signs.above)
        else:
            canvas.line(slots, line.style, line.thick)
            canvas.above(slots, signs.above)
    cursor = None if chart.cursor is None else _column(view, chart.cursor, columns)
    if cursor is not None:
        canvas.vertical(cursor, signs.vertical)
    rows = []
    for number, cells in enumerate(canvas.rows(signs)):
        label = labels.get(number)
        edge = signs.vertical if label is None else signs.tick
        rows.append((((label or "").rjust(gutter) + edge, "axis"), *cells))
    corner = (" " * gutter + signs.corner, "axis")
    rows.append((corner, *_x_axis(chart, view, columns, bad, signs)))
    return rows


def _column(view: View, at: float, columns: int) -> int | None:
    """The column of cells of a place on the x axis; None where it is not shown."""
    where = view.x(at)
    return min(columns - 1, int(where * columns)) if 0 <= where <= 1 else None


def _y_labels(view: View, height: int) -> dict[int, str]:
    """Row of the plot -> label."""
    found = y_ticks(view, max(1, height * 2 // 5))
    return {_dot(view.y(value), height) // 4: text for value, text in found}


def _dot(at: float, height: int) -> int:
    """The row of dots, from the top, of a height between 0 (bottom) and 1 (top)."""
    last = height * 4 - 1
    return min(last, max(0, round((1 - at) * last)))


def fold(line: Line, view: View, columns: int) -> tuple[list[Slot | None], set[int]]:
    """The line's values by column of dots, lowest and highest kept, as heights from 0 to 1; and the
    columns with a value that cannot be drawn."""
    slots: list[Slot | None] = [None] * columns
    bad: set[int] = set()
    broken = False
    heights = view.heights(line.values)
    lows, highs = (view.heights(line.band[0]), view.heights(line.band[1])) if line.band else (heights, heights)
    scale = columns / (view.x_high - view.x_low)
    for index, (step, height) in enumerate(zip(line.steps, heights, strict=False)):
        column = min(columns - 1, int((step - view.x_low) * scale))
        if height != height or (line.bad is not None and line.bad[index]):  # NaN is not itself
            bad.add(column)
            broken = True
        if height != height:
            continue
        low, high = height, height
        if line.band is not None:  # min and max pass over a NaN that comes second
            low, high = min(height, lows[index]), max(height, highs[index])
        slot = slots[column]
        if slot is None:
            slots[column] = Slot(height, low, high, height, broken)
            broken = False
        else:
            slot.last = height
            if low < slot.low:
                slot.low = low
            if high > slot.high:
                slot.high = high
    return slots, bad


class Canvas:
    """Cells of two by four dots in layers; the topmost layer with a dot in a cell has the cell."""

    def __init__(self, columns: int, height: int) -> None:
        self.columns, self.height = columns, height
        self.layers: list[tuple[str, list[bytearray]]] = []
        self.signs: dict[tuple[int, int], tuple[str, str]] = {}
        """(row, column) of a point -> its sign and style."""
        self.behind: dict[tuple[int, int], tuple[str, str]] = {}
        """The same of what stands only where nothing else does."""

    def _layer(self, style: str) -> list[bytearray]:
        masks = [bytearray(self.columns) for _ in range(self.height)]
        self.layers.append((style, masks))
        return masks

    def dotted(self, at: float, style: str) -> None:
        """A dot a cell across the whole width."""
        if math.isnan(at):
            return
        dot = _dot(at, self.height)
        self._layer(style)[dot // 4][:] = bytes([LEFT[dot % 4]]) * self.columns

    def above(self, slots: Sequence[Slot | None], sign: str) -> None:
        """A sign in the first row where a line leaves the chart through its top."""
        for column, slot in enumerate(slots):
            if slot is not None and slot.high > INSIDE:
                self.signs[0, column // 2] = (sign, "axis")

    def vertical(self, column: int, sign: str) -> None:
        """A line from top to bottom behind all others."""
        for row in range(self.height):
            self.behind[row, column] = (sign, "cursor")

    def points(self, line: Line, view: View, sign: str, above: str) -> None:
        for step, at in zip(line.steps, view.heights(line.values), strict=False):
            if not math.isnan(at):
                column = min(self.columns - 1, int(view.x(step) * self.columns))
                self.signs[_dot(at, self.height) // 4, column] = (above if at > INSIDE else sign, line.style)

    def line(self, slots: Sequence[Slot | None], style: str, thick: bool = False) -> None:
        """Bars from the lowest to the highest value of each column, joined over empty ones."""
        masks = self._layer(style)
        before: tuple[int, Slot] | None = None
        for column, slot in enumerate(slots):
            if slot is None:
                continue
            top, bottom = _dot(slot.high, self.height), _dot(slot.low, self.height)
            if before is not None and not slot.broken:
                end = self._join(masks, before[0], before[1].last, column, slot.first, thick)
                top, bottom = min(top, end + 1), max(bottom, end - 1)
            self._bar(masks, column, max(0, top - thick), bottom)
            before = (column, slot)

    def _join(self, masks: list[bytearray], start: int, start_at: float, end: int, end_at: float, thick: bool) -> int:
        """A straight line over the columns between two, each dot touching the next; returns its last dot."""
        slope = (end_at - start_at) / (end - start)
        last = _dot(start_at, self.height)
        for column in range(start + 1, end):
            dot = _dot(start_at + slope * (column - start), self.height)
            self._bar(masks, column, max(0, min(dot, last + 1) - thick), max(dot, last - 1))
            last = dot
        return last

    @staticmethod
    def _bar(masks: list[bytearray], column: int, top: int, bottom: int) -> None:
        """Every dot of a column from `top` to `bottom`."""
        spans, cell = SPANS[column & 1], column >> 1
        first, last = top >> 2, bottom >> 2
        for row in range(first, last + 1):
            masks[row][cell] |= spans[top & 3 if row == first else 0][bottom & 3 if row == last else 3]

    def rows(self, signs: Signs) -> list[list[tuple[str, str]]]:
        return [self._row(number, signs) for number in range(self.height)]

    def _row(self, number: int, signs: Signs) -> list[tuple[str, str]]:
        texts, styles = [" "] * self.columns, [""] * self.columns
        for (row, column), (sign, style) in self.behind.items():
            if row == number:
                texts[column], styles[column] = sign, style
        for style, masks in self.layers:
            for column, mask in enumerate(masks[number]):
                if mask:
                    texts[column], styles[column] = signs.dots[mask], style
        for (row, column), (sign, style) in self.signs.items():
            if row == number:
                texts[column], styles[column] = sign, style
        return runs(texts, styles)


def runs(texts: Sequence[str], styles: Sequence[str]) -> list[tuple[str, str]]:
    """Neighbours of one style joined; a blank takes the style before it."""
    found: list[tuple[str, str]] = []
    start = 0
    for column in range(1, len(texts) + 1):
        if column == len(texts) or (styles[column] != styles[start] and texts[column] != " "):
            found.append(("".join(texts[start:column]), styles[start]))
            start = column
    return found


# ----------------------------------------------------------------------------------------------- the x axis


def _x_axis(chart: Chart, view: View, columns: int, bad: set[int], signs: Signs) -> list[tuple[str, str]]:
    """A line with step numbers set into it and a mark where a value could not be drawn."""
    name = one_line(chart.x_label, 20)
    texts, styles = [signs.horizontal] * columns, ["axis"] * columns
    taken = set(bad)
    end = f" {name}"
    if len(end) + 6 <= columns and not taken & set(range(columns - len(end), columns)):
        _write(texts, columns - len(end), end)
        taken |= set(range(columns - len(end), columns))
    for value, label in _x_ticks(chart, view, max(1, columns // 10)):
        text = f" {label} "
        at = int(view.x(value) * columns) - len(text) // 2
        at = max(0, min(at, columns - len(text)))
        place = set(range(at, at + len(text)))
        if not place & taken and len(text) <= columns:
            _write(texts, at, text)
            taken |= place
    for column in bad:
        texts[column], styles[column] = signs.bad, "bad"
    return runs(texts, styles)


def _x_ticks(chart: Chart, view: View, count: int) -> list[tuple[float, str]]:
    if chart.clock:
        return clock_ticks(view.x_low, view.x_high, count)
    values = ticks(view.x_low, view.x_high, count)
    return list(zip(values, tick_labels(values), strict=True))


def _write(texts: list[str], at: int, text: str) -> None:
    texts[at : at + len(text)] = text


def as_text(rows: Sequence[Row]) -> list[str]:
    """The rows without their styles."""
    return ["".join(text for text, _ in row) for row in rows]
