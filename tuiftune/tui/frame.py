"""One look at a run as plain lines, what the run screen shows: printed by `tuiftune watch --once`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tuiftune.run.folder import Run
from tuiftune.run.follow import ending, standing
from tuiftune.signs import ascii_only, in_ascii
from tuiftune.text import one_line
from tuiftune.tui.messages import RunView
from tuiftune.tui.panes.devices import DevicesPane, lines_wanted
from tuiftune.tui.panes.pipeline import strip
from tuiftune.tui.panes.rows import Row, fit
from tuiftune.tui.reading import RunReader
from tuiftune.tui.watch import POINTS
from tuiftune.tui.widgets.plot import ASCII, BRAILLE, Chart, Line, as_text, draw, view_of

CHART_ROWS = 10
LOG_LINES = 5
CHART_CELLS = 100
"""A wider chart of so few rows would be flat."""


def frame(run: Run, width: int) -> str:
    """State, figures, pipeline, loss, devices and the newest log lines, at most `width` cells wide but for what has to
    be whole: sentences, and commands to copy. Raises RunNotFound where the folder is gone."""
    reader = RunReader(run, POINTS)
    try:
        view = reader.look()
    finally:
        reader.close()
    assert view is not None  # noqa: S101 - the first look always sees something
    head = standing(run) if view.state.active else ending(run, view.state)
    blocks = [head.splitlines(), list(_below(view, width)), _chart(view, width), _devices(view, width)]
    text = "\n\n".join("\n".join(line.rstrip() for line in block) for block in [*blocks, _log(view, width)] if block)
    return in_ascii(text) if ascii_only() else text


def _below(view: RunView, width: int) -> Iterator[str]:
    """The stages, and what it was healed from or stumbles over."""
    if view.stages:
        yield _text(strip(view.stages, width))
    for healed in view.healed[-1:]:
        yield fit(one_line(f"healed: {healed.sentence}"), width)
    if view.problem:
        yield one_line(view.problem)


def _chart(view: RunView, width: int) -> list[str]:
    """The loss, smoothed, with what evaluations found; nothing before the first value."""
    lines = []
    curve, evaluated = view.curves.get("train/loss"), view.curves.get("eval/loss")
    if curve:
        values = view.smoothed.get("train/loss") or curve.means
        lines.append(Line(curve.steps, values, "smooth", "smoothed", bad=curve.bad))
    if evaluated:
        lines.append(Line(evaluated.steps, evaluated.means, "eval", "eval", points=True, bad=evaluated.bad))
    if not lines:
        return []
    chart = Chart(title="loss", unit="", lines=lines, marks=[], x_label="step")
    signs = ASCII if ascii_only() else BRAILLE
    return as_text(draw(chart, view_of(chart), min(width, CHART_CELLS), CHART_ROWS, signs))


def _devices(view: RunView, width: int) -> list[str]:
    """A line a GPU; CPU and memory where there is none."""
    if not view.devices:
        return []
    pane = DevicesPane()
    pane.show(view.readings)
    return [fit(_text(row), width) for row in pane.rows(width, lines_wanted(view.devices))]


def _log(view: RunView, width: int) -> list[str]:
    newest = [fit(one_line(line), width) for line in view.log[-LOG_LINES:]]
    return [f"the end of {view.log_name}", *newest] if newest else []


def _text(row: Row | Sequence[tuple[str, str]]) -> str:
    return "".join(text for text, _ in row)
