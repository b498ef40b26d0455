"""A line chart: what is drawn, what survives, and how little is repainted."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time

import pytest
from textual.app import App, ComposeResult
from textual.strip import Strip

from tuiftune.tui.widgets.axes import Extent, View, view_for
from tuiftune.tui.widgets.chart import HLine, Line, LineChart
from tuiftune.tui.widgets.plot import ASCII, BRAILLE, Chart, Signs, as_text, draw, view_of

STEPS = list(range(0, 101, 5))
FALLING = [4 - 3 * step / 100 for step in STEPS]


def drawn(chart: Chart, width: int, height: int, signs: Signs = BRAILLE) -> list[str]:
    return [row.rstrip() for row in as_text(draw(chart, view_of(chart), width, height, signs))]


def loss(*lines: Line, marks: tuple[HLine, ...] = (), log_y: bool = False) -> Chart:
    return Chart("Loss", "", lines, marks, "step", log_y)


def test_the_smallest_chart_shows_title_value_line_and_axes() -> None:
    assert drawn(loss(Line(STEPS, FALLING, "smooth", "train")), 24, 5) == [
        "Loss  ━ train 1",
        "4┤⠉⠒⠒⠤⠤⣀⡀",
        "2┤      ⠈⠉⠑⠒⠤⠤⣀⣀",
        " │              ⠉⠑⠒⠢⠤⢄⡀",
        " └ 0 ────────────── step",
    ]


def test_a_larger_chart_has_more_ticks_points_over_lines_and_a_dotted_baseline() -> None:
    chart = loss(
        Line(STEPS, FALLING, "smooth", "train"),
        Line([0, 50, 100], [3.5, 2.0, 1.5], "eval", "eval", points=True),
        marks=(HLine(3.75, "baseline", "baseline"),),
    )
    assert drawn(chart, 50, 9) == [
        "Loss  ━ train 1  ● eval 1.5  ┈ baseline 3.75",
        "    4┤⠉⠒⠢⠤⣀⡀⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄⠄",
        "     │●    ⠈⠉⠒⠢⠤⣀⡀",
        "     │           ⠈⠉⠒⠢⠤⣀⡀",
        "     │                 ⠈⠉⠒⠤⢄⣀",
        "    2┤                    ●  ⠉⠑⠒⠤⢄⣀",
        "     │                             ⠉⠑⠒⠤⢄⣀     ●",
        "     │                                   ⠉⠑⠒⠤⢄⡀",
        "     └ 0 ─────────────── 50 ───────────────── step",
    ]


def test_a_spike_at_the_start_does_not_flatten_what_follows_and_is_marked() -> None:
    values = [11.0, 8.0, *(2 - step / 100 for step in range(98))]
    spiked = loss(Line(list(range(100)), values, "raw", "train"))
    view = view_of(spiked)
    assert view is not None
    assert view.y_high == 3
    assert drawn(spiked, 60, 9)[1].startswith("    3┤▲")
    fell = loss(Line(list(range(100)), [11 - step / 10 for step in range(100)], "raw", "train"))
    assert "▲" not in "".join(drawn(fell, 60, 9))


def test_a_thick_line_has_two_dots_where_a_thin_one_has_one() -> None:
    flat = [1.0] * len(STEPS)
    thin = drawn(loss(Line(STEPS, flat, "smooth", "train")), 40, 5)[2]
    thick = drawn(loss(Line(STEPS, flat, "smooth", "train", thick=True)), 40, 5)[2]
    assert "⠤⠤⠤" in thin
    assert "⠶⠶⠶" in thick


def test_charts_beside_one_another_have_one_x_axis() -> None:
    short = dataclasses.replace(loss(Line([0, 50], [2.0, 1.0], "eval", "eval")), reach=100)
    assert view_of(short) == view_of(loss(Line([0, 100], [2.0, 1.0], "raw", "train")))


def test_the_best_value_differs_by_its_sign_too() -> None:
    assert "◆" in drawn(loss(Line([50], [2.0], "best", "best", points=True)), 40, 6)[0]


def test_a_terminal_without_utf_8_gets_ascii() -> None:
    chart = loss(
        Line([0, 30, 40, 100], [4.0, 2.0, math.nan, 1.0], "raw", "train"),
        Line([50], [2.5], "eval", "eval", points=True),
    )
    assert drawn(chart, 40, 7, ASCII) == [
        "Loss  - train 1  o eval 2.5",
        "    4+'-_",
        "     |  ''._",
        "     |     ''._      o",
        "    2+        '-",
        "     |                              _",
        "     + 0 ---------x 50 ------------ step",
    ]


def test_the_only_high_value_among_ten_thousand_is_drawn_and_so_is_the_only_low_one() -> None:
    values = [2.0] * 10_000
    values[5_000], values[7_500] = 9.0, 0.5
    rows = drawn(loss(Line(range(10_000), values, "raw", "train")), 80, 16)
    top = next(row for row in rows[1:-1] if row[6:].strip())
    bottom = next(row for row in reversed(rows[1:-1]) if row[6:].strip())
    assert len(top[6:].split()) == 1
    assert rows.index(top) < 3
    assert len(bottom[6:].split()) == 1
    assert rows.index(bottom) > 12
    assert top.index(top[6:].strip()) < bottom.index(bottom[6:].strip())


def test_the_lowest_and_highest_of_a_thinned_bucket_are_drawn() -> None:
    thinned = Line([0, 50, 100], [2.0, 2.0, 2.0], "raw", "train", band=([2.0, 1.0, 2.0], [2.0, 3.0, 2.0]))
    assert drawn(loss(thinned), 40, 10)[1:-1] == [
        "    3┤               ⡇",
        "     │               ⡇",
        "     │               ⡇",
        "     │               ⡇",
        "    2┤⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⡏⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉",
        "     │               ⡇",
        "     │               ⡇",
        "    1┤               ⡇",
    ]


def test_a_value_that_is_not_a_number_is_a_gap_with_a_cross_below_it() -> None:
    values = [2.0, 2.0, math.nan, 2.0, 2.0]
    rows = drawn(loss(Line([0, 25, 50, 75, 100], values, "raw", "train")), 40, 7)
    line = next(row for row in rows[1:-1] if row[6:].strip())
    cross = rows[-1].index(BRAILLE.bad)
    assert line[6] != " "
    assert line[cross - 2 : cross + 3] == "     "
    assert line[cross:].strip()


def test_a_run_that_diverged_shows_nan_and_where_it_began() -> None:
    values = [2.0] * 50 + [math.nan] * 51
    rows = drawn(loss(Line(range(101), values, "raw", "train")), 60, 8)
    assert rows[0] == "Loss  ─ train nan"
    assert rows[-1].count(BRAILLE.bad) > 20
    assert " 0 " in rows[-1]


def test_values_that_are_all_bad_still_make_a_chart() -> None:
    rows = drawn(loss(Line([1, 2, 3], [math.inf, math.nan, -math.inf], "raw", "train")), 40, 7)
    assert rows[0] == "Loss  ─ train -inf"
    assert BRAILLE.bad in rows[-1]


def test_a_logarithmic_axis_has_a_tick_a_power_and_marks_what_it_cannot_draw() -> None:
    line = Line([0, 1, 2, 3, 4], [1000.0, 100.0, 10.0, 1.0, 0.0], "eval", "perplexity")
    rows = drawn(loss(line, log_y=True), 60, 14)
    labels = [row[:5].strip() for row in rows[1:-1]]
    assert [label for label in labels if label] == ["1000", "100", "10", "1"]
    places = [labels.index(label) for label in ("1000", "100", "10", "1")]
    gaps = [after - before for before, after in itertools.pairwise(places)]
    assert max(gaps) - min(gaps) <= 1
    assert BRAILLE.bad in rows[-1]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.0, 5e-5], {"0", "2e-5", "4e-5"}),
        ([4600.0, 5000.0], {"4600", "4800", "5000"}),
        ([0.0, 48_000.0], {"0", "20k", "40k"}),
        ([2.01, 2.09], {"2.02", "2.04", "2.06", "2.08"}),
    ],
)
def test_y_labels_are_neat_and_tell_the_ticks_apart(values: list[float], labels: set[str]) -> None:
    rows = drawn(loss(Line([0, 100], values, "rate", "")), 60, 14)
    assert labels <= {row[:6].rstrip("┤│").strip() for row in rows[1:-1]}


def test_a_title_row_without_room_drops_names_then_the_raw_value_and_never_wraps() -> None:
    chart = loss(
        Line(STEPS, FALLING, "raw", "train"),
        Line(STEPS, FALLING, "smooth", "smoothed"),
        Line(STEPS, FALLING, "eval", "eval", points=True),
    )
    assert drawn(chart, 60, 6)[0] == "Loss  ─ train 1  ━ smoothed 1  ● eval 1"
    assert drawn(chart, 32, 6)[0] == "Loss  ━ smoothed 1  ● eval 1"
    assert drawn(chart, 20, 6)[0] == "Loss ─ 1 ━ 1 ● 1"
    assert drawn(chart, 15, 6)[0] == "Loss ━ 1 ● 1"


def test_a_chart_without_values_says_so() -> None:
    rows = drawn(loss(Line([], [], "raw", "train")), 40, 7)
    assert rows[0] == "Loss"
    assert [row.strip() for row in rows if row.strip()] == ["Loss", "no values yet"]


def test_escapes_in_a_label_do_not_reach_the_screen() -> None:
    row = drawn(loss(Line([1], [2.0], "raw", "x\x1b[31m\x1b]0;gone\x07\n[b]y")), 60, 6)[0]
    assert row == "Loss  ─ x [b]y 2"


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 8, 20, 50])
def test_every_size_is_filled_exactly(height: int) -> None:
    chart = loss(
        Line(STEPS, FALLING, "raw", "train"),
        Line([3, 60], [9.0, math.nan], "eval", "eval", points=True),
        marks=(HLine(3.0, "baseline", "baseline"),),
    )
    view = view_of(chart)
    for width in (1, 2, 8, 16, 17, 24, 39, 80, 200):
        rows = as_text(draw(chart, view, width, height))
        assert len(rows) == height
        assert {len(row) for row in rows} == {width}


def test_axes_move_in_jumps_while_a_run_of_ten_thousand_steps_grows() -> None:
    view, views = None, set()
    for step in range(1, 10_001):
        view = view_for(Extent(1, step, 2 - step / 10_000, 2.0), view, log_y=False)
        assert view.x_low <= 1
        assert view.x_high >= step
        assert view.y_low <= 2 - step / 10_000 + 1e-6
        views.add(view)
    assert len(views) < 90


def test_axes_shrink_again_when_another_run_is_shown() -> None:
    before = view_for(Extent(0, 10_000, 0, 100), None, log_y=False)
    assert view_for(Extent(0, 50, 1, 2), before, log_y=False) == View(0, 55, 1, 2)


def test_a_million_steps_thinned_by_their_reader_are_drawn_in_a_moment() -> None:
    points = 800  # some four a cell
    steps = [bucket * 1250.0 for bucket in range(points)]
    values = [2 + math.sin(bucket) for bucket in range(points)]
    band = ([value - 0.5 for value in values], [value + 0.5 for value in values])
    chart = loss(Line(steps, values, "raw", "train", band=band), Line(steps, values, "smooth", "smoothed"))
    begin = time.process_time()
    for _ in range(5):
        draw(chart, view_of(chart), 200, 50)
    assert (time.process_time() - begin) / 5 < 0.15  # 12 ms on a quiet machine


class Counted(LineChart):
    """Counts the rows that are painted."""

    painted = 0

    def render_line(self, y: int) -> Strip:
        self.painted += 1
        return super().render_line(y)


class ChartApp(App[None]):
    def compose(self) -> ComposeResult:
        yield Counted(title="Loss", id="chart")


async def test_a_new_value_repaints_the_rows_it_changes_and_no_others() -> None:
    app = ChartApp()
    async with app.run_test(size=(100, 30)) as pilot:
        chart = app.query_one(Counted)
        steps = list(range(400))
        values = [1 + 3 * math.exp(-step / 100) for step in steps]
        chart.show([Line(steps[:361], values[:361], "smooth", "train")])
        await pilot.pause()
        chart.painted = 0
        for count in range(362, 372):
            chart.show([Line(steps[:count], values[:count], "smooth", "train")])
            await pilot.pause()
        assert 1 <= chart.painted <= 30, "ten refreshes of a chart of 30 rows"
        chart.painted = 0
        chart.show([Line(steps[:371], values[:371], "smooth", "train")])
        await pilot.pause()
        assert chart.painted == 0, "nothing changed"


async def test_a_chart_takes_the_size_and_the_theme_it_is_given() -> None:
    app = ChartApp()
    async with app.run_test(size=(100, 30)) as pilot:
        chart = app.query_one(Counted)
        chart.show([Line(STEPS, FALLING, "smooth", "train")], marks=[HLine(3.0, "best", "best")])
        await pilot.resize_terminal(24, 5)
        await pilot.pause()
        assert len(chart.text) == 5
        assert chart.text[0].startswith("Loss ━ 1 ┈ 3")
        app.theme = "textual-light"
        await pilot.pause()
        chart.log_y = True
        await pilot.pause()
        assert chart.log_y
        assert len(chart.text) == 5


async def test_a_terminal_of_another_encoding_gets_an_ascii_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    app = ChartApp()
    async with app.run_test(size=(60, 10)) as pilot:
        chart = app.query_one(Counted)
        chart.show([Line(STEPS, FALLING, "smooth", "train")])
        await pilot.pause()
        assert "\n".join(chart.text).isascii()


@pytest.mark.parametrize(
    "values",
    [[911.5732839445255, 911.5732839445254], [1e16, 1e16 + 2], [3.0, 1e217], [1e130], [0.0, 0.0], [1e-300]],
)
@pytest.mark.parametrize("log_y", [False, True])
def test_values_that_differ_by_rounding_or_explode_are_drawn(values: list[float], log_y: bool) -> None:
    line = Line(list(range(1, len(values) + 1)), values, "raw", "train")
    for width, height in ((16, 4), (38, 9), (100, 30)):
        assert len(drawn(loss(line, log_y=log_y), width, height)) == height


async def test_a_chart_that_fails_says_so_and_recovers() -> None:
    chart = LineChart(title="Loss")

    class Charts(App[None]):
        def compose(self) -> ComposeResult:
            yield chart

    async with Charts().run_test(size=(60, 12)) as pilot:
        chart.show([Line([1, 2], [1.7e308, -1.7e308], "raw", "train")])
        await pilot.pause()
        assert chart.text[0].startswith("Loss: cannot be drawn: OverflowError")
        chart.show([Line([1, 2], [2.0, 1.0], "raw", "train")])
        await pilot.pause()
        assert chart.text[0].startswith("Loss  ─ train 1")
