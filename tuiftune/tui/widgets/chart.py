"""A live line chart that repaints only the rows that changed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tuiftune.tui.panes.rows import PLAIN
from tuiftune.tui.widgets.axes import LEAST_X, View
from tuiftune.tui.widgets.glyphs import ascii_only
from tuiftune.tui.widgets.plot import ASCII, BRAILLE, STYLES, Chart, HLine, Line, Row, as_text, draw, failed, view_of

__all__ = ["HLine", "Line", "LineChart", "XAxis"]


@dataclass(frozen=True)
class XAxis:
    """What the x axis measures, and which part of it is shown."""

    label: str = "step"
    least: float = LEAST_X
    clock: bool = False
    """In seconds, labelled as a clock."""
    span: tuple[float, float] | None = None
    cursor: float | None = None


class LineChart(Widget):
    """Lines over steps, with their newest values in the first row.

    Textual repaints dirty regions without comparing cells, so rows are compared here: a refresh costs
    3 ms and 0.2 KB where repainting the whole chart costs 8 ms and 9 KB. Hand it series already thinned
    to some two points a column of dots (four a cell): that is what makes a long run cheap.
    """

    help_title: ClassVar[str] = "A chart"
    help_text: ClassVar[str] = (
        "Values over optimizer steps. Where several steps share a column, the line reaches from the lowest to "
        "the highest. A cross on the x axis marks a step whose value was not a number, a triangle at the top one "
        "above the axis: a spike at the start would flatten all that follows."
    )
    ALLOW_SELECT = False
    COMPONENT_CLASSES = {f"line-chart--{name}" for name in (*STYLES, "axis", "title", "legend", "bad", "cursor", PLAIN)}
    DEFAULT_CSS = """
    LineChart {
        width: 1fr;
        height: 1fr;
        min-height: 1;
        padding: 0 1 0 0;
        & > .line-chart--title { color: $foreground; text-style: bold; }
        & > .line-chart--axis { color: $foreground 45%; }
        & > .line-chart--legend { color: $foreground 80%; }
        & > .line-chart--raw { color: $primary; }
        & > .line-chart--smooth { color: $text-accent; }
        & > .line-chart--eval { color: $text-success; }
        & > .line-chart--best { color: $success; }
        & > .line-chart--speed { color: $text-primary; }
        & > .line-chart--rate { color: $text-secondary; }
        & > .line-chart--baseline { color: $foreground 60%; }
        & > .line-chart--cursor { color: $text-warning; }
        & > .line-chart--bad { color: $text-error; text-style: bold; }
    }
    """

    def __init__(
        self,
        *,
        title: str,
        unit: str = "",
        empty: str = "no values yet",
        id: str | None = None,  # noqa: A002
    ) -> None:
        super().__init__(id=id)
        self._chart = Chart(title, unit, (), (), "step", empty=empty)
        self._view: View | None = None
        self._rows: list[Row] = []
        self._drawn_for: tuple[int, int] = (0, 0)
        """The width and the height that they were drawn for."""
        self._styles: dict[str, Style] = {}
        self._styled: str | None = None
        """The theme that they are of."""

    def show(
        self,
        lines: Sequence[Line],
        *,
        marks: Sequence[HLine] = (),
        reach: float = -math.inf,
        axis: XAxis | None = None,
    ) -> None:
        """Draw these lines, the later ones over the earlier; `marks` lie below them all. The x axis goes at least
        to `reach`."""
        axis = axis or XAxis()
        self._chart = dataclasses.replace(
            self._chart,
            lines=lines,
            marks=marks,
            reach=reach,
            x_label=axis.label,
            least_x=axis.least,
            clock=axis.clock,
            span=axis.span,
            cursor=axis.cursor,
        )
        self._redraw()

    @property
    def title(self) -> str:
        """What stands at its head."""
        return self._chart.title

    @title.setter
    def title(self, title: str) -> None:
        self._chart = dataclasses.replace(self._chart, title=title)

    @property
    def unit(self) -> str:
        """What its values are in."""
        return self._chart.unit

    @unit.setter
    def unit(self, unit: str) -> None:
        self._chart = dataclasses.replace(self._chart, unit=unit)

    @property
    def shown(self) -> tuple[float, float] | None:
        """The part of the x axis that is drawn; None without values."""
        return None if self._view is None else (self._view.x_low, self._view.x_high)

    @property
    def log_y(self) -> bool:
        """Whether the y axis is logarithmic."""
        return self._chart.log_y

    @log_y.setter
    def log_y(self, log_y: bool) -> None:
        if log_y == self.log_y:
            return
        self._chart = dataclasses.replace(self._chart, log_y=log_y)
        self._redraw()

    @property
    def text(self) -> list[str]:
        """The rows as they stand on the screen."""
        return as_text(self._rows)

    def on_resize(self) -> None:
        self._redraw()

    def _redraw(self) -> None:
        width, height = self.content_size
        if not width or not height:  # hidden, or not laid out yet
            return
        before, drawn_for = self._rows, self._drawn_for
        self._draw()
        if self._drawn_for != drawn_for:
            self.refresh()
            return
        changed = [y for y, (old, new) in enumerate(zip(before, self._rows, strict=True)) if old != new]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def _draw(self) -> None:
        width, height = self._drawn_for = self.content_size
        try:
            self._view = view_of(self._chart, self._view)
            self._rows = draw(self._chart, self._view, width, height, ASCII if ascii_only() else BRAILLE)
        except Exception as error:  # shown here; the app stays up
            self.log.error(repr(error))
            self._view = None
            self._rows = failed(self._chart.title, error, width, height)

    def render_line(self, y: int) -> Strip:
        if self._drawn_for != self.content_size:  # a frame that comes before `on_resize` shows it all the same
            self._draw()
        width = self.content_size.width
        if self._styled != self.app.theme:
            self._styled, self._styles = self.app.theme, {}
        if y >= len(self._rows):
            return Strip.blank(width, self._style(PLAIN))
        return Strip([Segment(text, self._style(name or PLAIN)) for text, name in self._rows[y]], width)

    def _style(self, name: str) -> Style:
        """Of a part; kept, for Textual forgets it at each refresh, and reckons a tenth of a frame's time at them all.
        Only another theme makes it another: no rule here asks for a class or a state."""
        if name not in self._styles:
            self._styles[name] = self.get_component_rich_style(f"line-chart--{name}")
        return self._styles[name]

    def notify_style_update(self) -> None:
        self._styles = {}
        super().notify_style_update()
