"""The curves: loss, perplexity, learning rate, speed and gradient norm, over one x axis."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.containers import Container
from textual.timer import Timer

from tuiftune.tui.messages import CurvesWanted, GpusWanted, RunView
from tuiftune.tui.widgets.chart import HLine, Line, LineChart
from tuiftune.tui.widgets.look import Look, places, times_on

LOG_FROM = 20.0
"""Perplexities that differ by more than this factor are drawn on a logarithmic axis."""

SHOWN_FROM = {"perplexity": "-narrow", "rate": "-tall", "speed": "-tall", "grad_norm": "-alone", "gpu": "-alone"}
"""Charts that need room, with the class for it (app.tcss); the last ones are only shown on the whole screen."""
AT_MOST_EVERY_S = 0.75
"""Curves of a run that goes on: drawing them is most of what a look costs, and half a second moves them by no cell."""
AT_LAST_S = 1.2
"""What was passed over is drawn after this long, where nothing newer came."""
AFTER_STEP_1 = "comes with the first step"
DOTS_TO = 40
"""Up to so many evaluations each has a dot of its own."""
NAMED_FROM = 44
"""Narrower than that the legend has no room for 'baseline'."""


class ChartsPane(Container):
    """All charts at once, or one of them on the whole screen."""

    DEFAULT_CSS = "ChartsPane { layout: grid; grid-size: 2; grid-gutter: 0 2; }"
    help_text: ClassVar[str] = (
        "x shows one chart after the other on the whole screen, then all of them again. All have one x axis: h lets "
        "it measure steps, epochs or time. The left and right arrows move a cursor, and the legends tell the values "
        "there (with shift in large steps); + and - zoom about it, ( and ) pan, 0 shows all again. y makes the y "
        "axes logarithmic, z smooths more or less. g shows the speed and below it what the GPU did: "
        "its temperature, how busy it was, its power as a share of its limit; a cross on the x axis marks where "
        "heat or its power supply slowed it down. With several GPUs g goes from one to the next."
    )

    def __init__(self) -> None:
        super().__init__()
        self._charts = {
            "loss": LineChart(title="loss", empty=AFTER_STEP_1, id="chart-loss"),
            "perplexity": LineChart(title="perplexity", empty="of the untouched model first", id="chart-perplexity"),
            "rate": LineChart(title="learning rate", empty=AFTER_STEP_1, id="chart-rate"),
            "speed": LineChart(title="speed", unit="tokens/s", empty=AFTER_STEP_1, id="chart-speed"),
            "grad_norm": LineChart(title="gradient norm", empty=AFTER_STEP_1, id="chart-grad-norm"),
            "gpu": LineChart(title="GPU", empty="no readings of a GPU", id="chart-gpu"),
        }
        for name, when in SHOWN_FROM.items():
            self._charts[name].add_class(when)
        self._view: RunView | None = None
        self._shown: Sequence[Any] = ()
        self._drawn_at = -math.inf
        self._at_last: Timer | None = None
        self._asked_for = False
        """Whether a key waits for curves that are on their way."""
        self._full: str | None = None
        self._gpu: int | None = None
        """Which GPU is shown below the speed, of those that there are."""
        self._whole = 0.0
        """How long the whole x axis is."""
        self.look = Look()

    def compose(self) -> ComposeResult:
        yield from self._charts.values()

    @property
    def full(self) -> str | None:
        """The chart on the whole screen, or None."""
        return self._full

    def cycle(self) -> str | None:
        """The next chart on the whole screen; after the last one all of them."""
        names: list[str | None] = [None, *(name for name in self._charts if name != "gpu")]
        self.set_full(names[(names.index(self._full) + 1) % len(names)])
        return self._full

    def set_full(self, name: str | None) -> None:
        self._full = name
        self._show_only([name] if name is not None else [])
        self._want_gpu(None)

    def cycle_gpu(self) -> bool:
        """The speed, and below it the next GPU; False after the last one."""
        known = 1 if self._view is None else max(1, sum(one.name.startswith("gpu") for one in self._view.devices))
        after = 0 if self._gpu is None else self._gpu + 1
        if after >= known:
            return False
        self._full = "speed"
        self._show_only(["speed", "gpu"])
        self._want_gpu(after)
        return True

    def _show_only(self, names: Sequence[str]) -> None:
        """These charts; without a name those that there is room for."""
        self.styles.grid_size_columns = 1 if names else None
        for key, chart in self._charts.items():
            chart.styles.display = None if not names else "block" if key in names else "none"
        self.call_after_refresh(self._show_anew)

    def _want_gpu(self, number: int | None) -> None:
        if (number is None) != (self._gpu is None):
            self._asked_for = True
            self.post_message(GpusWanted(number is not None))
        self._gpu = number

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_anew)

    # How they are looked at.

    def change(self, what: str, amount: float = 0.0) -> None:
        """Another axis, scale, smoothing, cursor, zoom or part: what a key asks for."""
        chart = self._charts[self._full or "loss"]
        runs = [self._view] if self._view is not None else []
        self._look(self.look.changed(what, amount, chart, self._whole, runs))

    def _look(self, look: Look) -> None:
        before, self.look = self.look, look
        self._show_anew()
        if self._view is not None and (look.span, look.smoothing) != (before.span, before.smoothing):
            self._asked_for = True
            self.post_message(CurvesWanted(look.window(self._view), look.smoothing))

    def for_another_run(self) -> None:
        """Its curves are looked at from the start."""
        self._wait_no_longer()
        self._view, self._shown = None, ()
        if self.look != Look():
            self.look = Look()
            self.post_message(CurvesWanted(None, self.look.smoothing))

    # What is drawn.

    def _show_anew(self) -> None:
        """How much the legends can say depends on the width."""
        if self._view is not None:
            self._shown = ()
            self._show(self._view)

    def show(self, view: RunView) -> None:
        """Draw the curves of a run, where they differ from those drawn; of one that goes on not at every look."""
        asked_for, self._asked_for = self._asked_for, self._asked_for and not self._is_answer(view)
        if not asked_for and self._shown and view.state.active and time.monotonic() - self._drawn_at < AT_MOST_EVERY_S:
            self._view = view
            self._at_last = self._at_last or self.set_timer(AT_LAST_S, self._show_at_last)
        else:
            self._show(view)

    def _is_answer(self, view: RunView) -> bool:
        """Whether a view is of the curves that were asked for."""
        looked_at = (self.look.window(view), self.look.smoothing)
        return view.looked_at == looked_at and bool(view.gpu_curves) == (self._gpu is not None)

    def _show_at_last(self) -> None:
        self._wait_no_longer()
        if self._view is not None:
            self._show(self._view)

    def _wait_no_longer(self) -> None:
        if self._at_last is not None:
            self._at_last.stop()
            self._at_last = None

    def _show(self, view: RunView) -> None:
        self._wait_no_longer()
        gpus = view.gpu_curves if self._gpu is not None else None
        shown = (view.run, *view.curves.values(), *view.smoothed.values(), view.baseline, view.best, gpus)
        if len(shown) == len(self._shown) and all(a is b for a, b in zip(shown, self._shown, strict=True)):
            return
        self._view, self._shown, self._drawn_at = view, shown, time.monotonic()
        ends = [curve.steps[-1] for curve in view.curves.values() if curve]
        reach = max(places(view, self.look.axis, sorted(ends)), default=0)
        self._whole = reach if self.look.span is None else max(reach, self._whole)
        self._draw("loss", _loss(view), reach)
        self._show_perplexity(view, reach)
        self._draw("rate", _plain(view, "train/learning_rate", "rate"), reach)
        self._charts["speed"].unit = "tokens/s" if view.mfu is None else f"tokens/s, MFU {view.mfu:.0%}"
        self._draw("speed", _jumping(view, "train/tokens_per_s", "speed"), reach)
        self._draw("grad_norm", _jumping(view, "train/grad_norm", "smooth"), reach)
        if self._gpu is not None:
            self._show_gpu(view, reach)

    def _show_gpu(self, view: RunView, reach: float) -> None:
        if self._gpu is None or self._gpu >= len(view.gpu_curves):
            return
        curve = view.gpu_curves[self._gpu]
        chart = self._charts["gpu"]
        chart.title = f"GPU {curve.device.removeprefix('gpu')}"
        at = times_on(view, self.look.axis, curve.times)
        marks = [HLine(curve.slowdown_c, "baseline", "slowdown °C")] if curve.slowdown_c else []
        lines = [
            Line(at, curve.utilization_percent, "raw", "util %"),
            Line(at, curve.power_percent, "rate", "power %"),
            Line(at, curve.temperature_c, "smooth", "°C", thick=True),
        ]
        slowed = [place for place, is_slowed in zip(at, curve.slowed, strict=True) if is_slowed]
        if slowed:  # a line of its own: a value marked as bad would be a gap in the temperature
            lines.append(Line(slowed, [math.nan] * len(slowed), "smooth", ""))
        chart.show(lines, reach=reach, axis=self.look.x_axis(), marks=marks)

    def _draw(self, name: str, lines: Iterator[Line], reach: float, log: bool = False, **more: Any) -> None:
        chart = self._charts[name]
        chart.log_y = log if self.look.log is None else self.look.log
        chart.show([self._placed(line) for line in lines], reach=reach, axis=self.look.x_axis(), **more)

    def _placed(self, line: Line) -> Line:
        """Over epochs or time in place of steps."""
        if self.look.axis == "step" or self._view is None:
            return line
        return line.over(places(self._view, self.look.axis, line.steps))

    def _show_perplexity(self, view: RunView, reach: float) -> None:
        lines = list(_plain(view, "eval/perplexity", "eval"))
        if lines and len(lines[0].steps) <= DOTS_TO:
            lines.append(Line(lines[0].steps, lines[0].values, "eval", "", points=True))
        if view.best is not None:  # named where it is not the newest one
            label = "" if lines and lines[0].steps[-1] == view.best.step else "best"
            lines.append(Line([view.best.step], [view.best.value], "best", label, points=True))
        known = [view.baseline] if view.baseline is not None else []
        word = "baseline" if self._charts["perplexity"].size.width >= NAMED_FROM else "base"
        marks = [HLine(value, "baseline", word) for value in known]
        values = [value for line in lines for value in line.values if value > 0] + known
        log = bool(values) and max(values) > LOG_FROM * min(values)
        self._draw("perplexity", iter(lines), reach, log, marks=marks)


def _loss(view: RunView) -> Iterator[Line]:
    """The training loss as it is, smoothed, and what the evaluations found."""
    yield from _jumping(view, "train/loss", "smooth")
    evaluated = view.curves.get("eval/loss")
    if evaluated:
        yield Line(evaluated.steps, evaluated.means, "eval", "eval", points=True, bad=evaluated.bad)


def _jumping(view: RunView, series: str, style: str) -> Iterator[Line]:
    """A series that jumps from step to step: as it is, and over that smoothed."""
    curve = view.curves.get(series)
    if curve:
        label = "train" if series == "train/loss" else ""
        yield Line(curve.steps, curve.means, "raw", label, band=(curve.lows, curve.highs), bad=curve.bad)
        smoothed = view.smoothed.get(series)
        if smoothed:
            yield Line(curve.steps, smoothed, style, "smoothed", thick=True)


def _plain(view: RunView, series: str, style: str) -> Iterator[Line]:
    curve = view.curves.get(series)
    if curve:
        yield Line(curve.steps, curve.means, style, "now", band=(curve.lows, curve.highs), bad=curve.bad)
