"""How curves are looked at: over steps, epochs or time, zoomed, with a cursor."""

from __future__ import annotations

from typing import Any

import pytest

from tuiftune.run.metrics_db import Curve
from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.messages import RunView
from tuiftune.tui.widgets.axes import clock_ticks
from tuiftune.tui.widgets.look import Look, interpolated, places
from tuiftune.tui.widgets.plot import Chart, Line, as_text, draw, value_at, view_of

STEPS = list(range(0, 101, 5))
FALLING = [4 - 3 * step / 100 for step in STEPS]


def drawn(**more: Any) -> list[str]:
    chart = Chart("loss", "", [Line(STEPS, FALLING, "smooth", "train")], (), "step", **more)
    return [row.rstrip() for row in as_text(draw(chart, view_of(chart), 40, 6))]


def test_a_zoom_shows_that_part_and_the_line_reaches_its_edges() -> None:
    rows = drawn(span=(40.0, 60.0))
    assert "└ 40 " in rows[-1]
    assert rows[1][6] != " "
    assert rows[-2][-1] != " "
    assert "no values between here" in "".join(drawn(span=(1e6, 2e6)))


def test_a_cursor_is_a_line_and_the_legend_has_the_values_there() -> None:
    rows = drawn(cursor=50.0)
    assert rows[0] == "loss at step 50  ━ train 2.5"
    assert sum("│" in row[10:] for row in rows[1:-1]) >= 3
    assert value_at(Line(STEPS, FALLING, "", ""), 52.4) == 2.5
    assert value_at(Line([], [], "", ""), 1.0) is None
    assert value_at(Line(STEPS, FALLING, "", ""), 104.9) == 1.0
    assert value_at(Line(STEPS, FALLING, "", ""), 106.0) is None, "the line has ended by then"
    assert drawn(cursor=130.0)[0].endswith("train —")


def test_time_has_the_labels_of_a_clock() -> None:
    assert [text for _, text in clock_ticks(0, 100, 4)] == ["0", "0:30", "1:00", "1:30"]
    assert [text for _, text in clock_ticks(0, 3 * 3600, 3)] == ["0", "1 h", "2 h", "3 h"]
    assert clock_ticks(0, 5 * 86400, 5)[-1] == (5 * 86400, "5 d")
    assert [text for _, text in clock_ticks(3500, 3700, 4)] == ["59:00", "1:00:00", "1:01:00"]


def test_steps_lie_in_their_epoch_and_at_their_time_also_between_those_that_are_known() -> None:
    assert interpolated([0, 5, 10, 99], ([0, 10], [1.0, 2.0])) == [1.0, 1.5, 2.0, 2.0]
    curve = Curve([0, 100], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0], [False, False])
    view = RunView(None, None, 0.0, curves={"train/epoch": curve}, clock=([0, 100], [7.0, 57.0]))  # type: ignore[arg-type]
    assert places(view, "epoch", [50]) == [1.0]
    assert places(view, "time", [50]) == [32.0]
    look = Look().next_axis([view])
    assert [look.axis, look.next_axis([view]).axis, look.next_axis([view]).next_axis([view]).axis] == [
        "epoch",
        "time",
        "step",
    ]
    assert Look("epoch", span=(0.5, 1.0)).window(view) == (25, 51)
    assert Look().next_axis([]).axis == "step", "no run yet"


def test_zooming_keeps_the_cursor_in_place_and_ends_at_the_whole() -> None:
    look = Look(cursor=25.0).zoomed(0.5, (0.0, 100.0), 100.0)
    assert look.span == (12.5, 62.5)
    assert look.zoomed(2.0, (12.5, 62.5), 100.0).span is None
    assert Look().zoomed(0.5, (0.0, 100.0), 100.0).span == (50.0, 100.0), "without one about the newest"
    assert look.panned(-1.0, (12.5, 62.5)).span == (0.0, 50.0)
    assert Look(span=(10.0, 20.0), cursor=19.5).moved(0.1, (10.0, 20.0), 100.0).span == (12.5, 22.5), "the part follows"
    assert Look().moved(-0.1, (0.0, 100.0), 100.0).cursor == pytest.approx(90.0)
    assert Look().moved(-0.1, (0.0, 100.0), 75.0).cursor == pytest.approx(65.0), "it begins at the last value"
    assert Look().moved(0.1, (0.0, 100.0), 75.0).cursor == 75.0


async def test_keys_change_axis_cursor_zoom_scale_and_smoothing_of_a_run(make: Any, shown: Any) -> None:
    make.running(372)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(pilot, "372/600 steps", "smoothed")
        await pilot.press("h")
        await shown(pilot, "─ epoch ", "1.86")
        await pilot.press("h")
        await shown(pilot, " time ", "0:30")
        await pilot.press("h", "shift+left", "shift+left")
        await shown(pilot, "loss at step ", "speed at step ")
        await pilot.press("plus", "plus")
        text = await shown(pilot, "loss at step ")
        assert "└ 0 " not in text
        await pilot.press("0", "z", "z", "z")
        assert "smoothed" not in await shown(pilot, "└ 0 ", "train ")
        await pilot.press("z")
        await shown(pilot, "smoothed")
        await pilot.press("y")
        assert app.run_screen.charts.query("#chart-loss").first().log_y  # type: ignore[attr-defined]


def test_a_part_of_a_long_run_is_read_as_fine_as_it_can_be_drawn(make: Any) -> None:
    from tuiftune.tui.reading import RunReader

    recorded = make.running(3000)
    reader = RunReader(recorded.run, 256)
    view = reader.look()
    assert view is not None
    assert len(view.curves["train/loss"]) <= 256
    reader.looked_at = ((1000, 1100), 4.0)
    closer = reader.look()
    assert closer is not None
    steps = closer.curves["train/loss"].steps
    assert steps == list(range(988, 1113)), "every step, and some on both sides"
    assert len(closer.smoothed["train/loss"]) == len(steps)
    assert closer.clock[0] == view.clock[0]
    assert closer.clock[1][-1] == pytest.approx(5 + 2944 * 0.16, abs=60)
    reader.close()
