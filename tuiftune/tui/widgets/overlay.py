"""A chart of several runs' curves over one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tuiftune.run.compare import Compared, Series
from tuiftune.tui.widgets.chart import LineChart
from tuiftune.tui.widgets.overlaid import STYLES, chart_of, css


class OverlayChart(LineChart):
    """Each run has a colour, and a letter that stands along its line: it can be told without the colour."""

    help_title: ClassVar[str] = "Curves"
    help_text: ClassVar[str] = (
        "Every run's curve with its letter along it; what jumps from step to step is smoothed. The axis is logarithmic "
        "where the values are far apart. x shows the next figure."
    )
    COMPONENT_CLASSES = {f"line-chart--{name}" for name in STYLES}
    DEFAULT_CSS = f"OverlayChart {{ {css('line-chart')} }}"

    def show_series(self, compared: Sequence[Compared], series: Series) -> None:
        """Draw a series of all runs that have it."""
        chart = chart_of(compared, series)
        if chart.title != self._chart.title:
            self._view = None
        self._chart = chart
        self._redraw()
