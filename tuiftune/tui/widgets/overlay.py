"""A chart of several runs' curves over one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from tuiftune.run.compare import Compared, Series
from tuiftune.tui.widgets.chart import LineChart
from tuiftune.tui.widgets.look import Look, places, table_of
from tuiftune.tui.widgets.overlaid import STYLES, chart_of, css


class OverlayChart(LineChart):
    """Each run has a colour, and a letter that stands along its line: it can be told without the colour."""

    help_title: ClassVar[str] = "Curves"
    help_text: ClassVar[str] = (
        "Every run's curve with its letter along it; what jumps from step to step is smoothed. The axis is logarithmic "
        "where the values are far apart. x shows the next figure. The left and right arrows move a cursor, and the "
        "legend tells each run's value there; + and - zoom about it, ( and ) pan, 0 shows all again. h lets the x axis "
        "measure steps, epochs or time since each run's start, y makes the y axis logarithmic, z smooths more or less."
    )
    COMPONENT_CLASSES = {f"line-chart--{name}" for name in STYLES}
    DEFAULT_CSS = f"OverlayChart {{ {css('line-chart')} }}"

    def __init__(self, *, title: str, empty: str) -> None:
        super().__init__(title=title, empty=empty)
        self._drawn: tuple[str, str] | None = None
        """The figure that is drawn, and over what: another one has axes of its own."""

    def show_series(self, compared: Sequence[Compared], series: Series, look: Look, reach: float) -> None:
        """Draw a series of all runs that have it, and of which it is known where on the x axis its steps are; the
        axis goes to `reach` at least, whatever the figure."""
        axis = look.x_axis()
        chart = chart_of(
            [one for one in compared if look.axis == "step" or table_of(one, look.axis)[0]],
            series,
            log=look.log,
            smoothed=bool(look.smoothing),
            places=lambda one, steps: places(one, look.axis, steps),
            span=look.span,
        )
        if (series.title, axis.label) != self._drawn:
            self._drawn, self._view = (series.title, axis.label), None
        self._chart = dataclasses.replace(
            chart, x_label=axis.label, least_x=axis.least, clock=axis.clock, cursor=axis.cursor, reach=reach
        )
        self._redraw()
