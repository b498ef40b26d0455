"""The run screen as a person reads it, at the sizes it is made for."""

from __future__ import annotations

import dataclasses
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run.alerts import look
from tuiftune.run.store import transaction
from tuiftune.run.telemetry_db import TelemetryReader
from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.gpu_history import GpuHistory
from tuiftune.tui.log_levels import PLAIN
from tuiftune.tui.panes.log_lines import LogLines
from tuiftune.tui.screens.confirm import ConfirmScreen

from .conftest import GIB, screen_text, until

SMALL, MEDIUM, LARGE = (80, 24), (120, 40), (200, 60)


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_a_running_run_shows_stages_curves_machine_samples_and_log(make: Any, shown: Any, size: Any) -> None:
    recorded = make.running(372)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=size) as pilot:
        text = await shown(
            pilot,
            recorded.run.id,
            "● running",
            "372/600 steps",
            "4.375",
            "✓ text",
            "✓ tokenize cached",
            "▶ causal_lm",
            "· perplexity",
            "62%",
            " left",
            "loss  ",
            "smoothed",
            "base",
            "CPU",
            "no NVIDIA driver",
            "samples  after step 300",
            "there was a king",
            "log  worker.log",
            "12:00:05 step 372",
            "s Stop",
            "q Leave",
        )
        assert ("learning rate" in text) == (size != SMALL)
        assert ("figures" in text) == (size != SMALL)


async def test_a_finished_run_shows_its_result_and_how_to_use_it(make: Any, shown: Any) -> None:
    recorded = make.finished()
    app = TuiftuneApp(make.workspace, recorded.run.id)
    async with app.run_test(size=SMALL) as pilot:
        text = await shown(pilot, "✓ finished", "x Chart")
        assert "perplexity 26.31 → 4.156  84% below baseline" in text
        assert "tokens/s   600/600 steps" in text
        assert f"runs/{recorded.run.id}/model" in text
        assert f'tuiftune generate {recorded.run.id} "Once upon a time"' in text
        assert "s Stop" not in text
        assert "r Resume" not in text


async def test_a_failed_run_gives_the_reason_and_can_be_resumed(make: Any, shown: Any) -> None:
    recorded = make.running(50)
    recorded.stage(2, finished=3.0, error="x")
    recorded.finish("failed", "train stage 'causal_lm': out of memory. Use a smaller batch: --set train.batch_size=1")
    app = TuiftuneApp(make.workspace, "latest")
    async with app.run_test(size=SMALL) as pilot:
        text = await shown(pilot, "✗ failed", "✗ causal_lm", "r Resume")
        assert "out of memory. Use a smaller batch" in " ".join(text.split())


async def test_a_run_whose_processes_are_gone_is_interrupted_and_says_how_to_go_on(make: Any, shown: Any) -> None:
    recorded = make.running(50)
    recorded.release()
    app = TuiftuneApp(make.workspace, "latest")
    async with app.run_test(size=MEDIUM) as pilot:
        await shown(pilot, "! interrupted", "■ causal_lm", f"tuiftune resume {recorded.run.id}", "r Resume")


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
@pytest.mark.parametrize(
    ("state", "sign", "reason", "said"),
    [
        ("queued", "○", "waits for GPU 0", "waits for GPU 0"),
        ("pausing", "◒", "paused as asked", "at the end of its step: paused as asked"),
        ("paused", "‖", "gpu0 has 91 °C", "gpu0 has 91 °C"),
        ("healing", "✚", "out of memory", "a new worker goes on; the one before: out of memory"),
        ("stopping", "◑", None, "it writes a checkpoint first, then it ends"),
        ("released", "□", "paused at step 372", "paused at step 372"),
    ],
)
async def test_a_run_that_does_not_train_says_why_at_every_size(
    make: Any, shown: Any, size: Any, state: str, sign: str, reason: str | None, said: str
) -> None:
    recorded = make.running(372)
    if state == "healing":
        recorded.stage(2, finished=3.0, error="x")
    recorded.state(state, reason=reason)
    if state == "released":
        recorded.release()
    app = TuiftuneApp(make.workspace, recorded.run.id)
    async with app.run_test(size=size) as pilot:
        text = await shown(pilot, f"{sign} {state}", said, "q Leave", "samples  after step 300")
        assert "✗" not in text
        assert " left" not in text, "nothing tells when it goes on"
        assert ("s Stop" in text) == (state != "released")
        assert ("r Resume" in text) == (state in ("pausing", "paused", "released"))
        assert "space Pause" not in text


@pytest.mark.parametrize("size", [SMALL, MEDIUM, LARGE])
async def test_a_failed_run_shows_its_card_and_all_of_it_on_the_whole_screen(make: Any, shown: Any, size: Any) -> None:
    recorded = make.running(60)
    recorded.stage(2, finished=3.0, error="x")
    recorded.metrics.metric(61, {"train/loss": math.nan}, time.time())
    recorded.gpus(1)
    recorded.healed("out of memory; going on with 2,048 tokens at once")
    recorded.log("12:00:09 \x1b[31mthe last words")
    recorded.finish("failed", "train stage 'causal_lm': the loss is no number", kind="nan")
    app = TuiftuneApp(make.workspace, recorded.run.id)
    async with app.run_test(size=size) as pilot:
        text = await shown(
            pilot,
            "✗ failed",
            "the loss is no number",
            "why  a loss that is no number",
            "61 of 600; loss finite until step 60 (",
            "Start another run with a lower learning rate.",
            "w Why",
        )
        assert "samples  after" not in text
        await pilot.press("w")
        await shown(pilot, "ended by      a loss that is no number (nan)", "healed        ", "gpu0 NVIDIA GeForce RTX")
        await pilot.press("end")
        text = await shown(pilot, "12:00:09 the last words", f"tuiftune resume {recorded.run.id}")
        assert "smoothed" not in text
        await pilot.press("m")
        await shown(pilot, "samples   text 2 of 2", "there was a king")
        await pilot.press("escape")
        await shown(pilot, "why  a loss that is no number", "smoothed")


async def test_a_run_that_was_healed_says_so_while_it_goes_on(make: Any, shown: Any) -> None:
    recorded = make.running(60)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        assert "w Why" not in await shown(pilot, "60/600 steps", "figures", "space Pause")
        recorded.healed("out of memory", 12)
        recorded.healed("the worker was killed (signal 9)", 40)
        recorded.host()
        await shown(pilot, "healed     2 times, last at ", "w Why")
        await pilot.press("w")
        await shown(pilot, "at step 12: out of memory", "at step 40: the worker was killed (signal 9)")
        await pilot.resize_terminal(*SMALL)
        await pilot.press("escape")
        text = await shown(pilot, "space Pause c Save w Why l Log m Samples x Chart g GPU", "q Leave", "smoothed")
        assert "^p Palette" not in text, "where not all keys fit, the palette goes first"


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_alerts_stay_until_somebody_has_read_them(make: Any, shown: Any, size: Any) -> None:
    recorded = make.running(60)
    recorded.healed("out of memory; going on with 2,048 tokens at once", 12)
    recorded.metrics.event("plugin_error", {"plugin": "chat", "error": "plugin 'chat': [b]boom"}, time.time())
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=size) as pilot:
        await shown(pilot, "! 2 alerts  ", "plugin 'chat': [b]boom", "a reads them", "! 2 ● 1")
        await pilot.press("a")
        await shown(pilot, f"Alerts of {recorded.run.id}", "step 12 · new", "going on with 2,048 tokens")
        deadline = time.monotonic() + 10
        while any(not alert.seen for alert in look(recorded.run)):
            assert time.monotonic() < deadline
            await pilot.pause(0.02)
        await pilot.press("escape")
        while "2 alerts" in await shown(pilot, "60/600 steps"):
            assert time.monotonic() < deadline
        recorded.metrics.metric(61, {"train/loss": math.nan}, time.time())
        await shown(pilot, "the loss is no number at step 61", "a reads it")
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=size) as pilot:
        assert "alerts" not in await shown(pilot, "60/600 steps", "! ", "the loss is no number at step 61")


async def test_nothing_is_drawn_anew_while_nothing_changes(make: Any, shown: Any, monkeypatch: Any) -> None:
    recorded = make.running(60)
    recorded.finish("failed", "the data", kind="data")
    app = TuiftuneApp(make.workspace, recorded.run.id)
    async with app.run_test(size=MEDIUM) as pilot:
        await shown(pilot, "✗ failed", "why  the data")
        painted: list[object] = []
        for pane in (app.run_screen.why, app.run_screen.header, app.run_screen.facts):
            monkeypatch.setattr(pane, "refresh", lambda *regions, **_: painted.append(regions))
        app.run_screen._draw(app.run_screen._view)
        await pilot.pause()
        assert painted == []


@pytest.mark.parametrize("pane", ["l", "m"])
async def test_a_pane_on_the_whole_screen_takes_all_of_it(make: Any, shown: Any, pane: str) -> None:
    recorded = make.running(60)
    recorded.log(*(f"12:00:00 line {number}" for number in range(60)))
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        await shown(pilot, "line 59")
        await pilot.press(pane)
        await pilot.pause()
        widget = app.run_screen.log_pane if pane == "l" else app.run_screen.samples
        assert widget.size.height > 25


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_the_log_is_searched_filtered_and_followed_or_not(make: Any, shown: Any, size: Any) -> None:
    recorded = make.running(60)
    recorded.log(*(f"12:01:{n % 60:02} {'ERROR: 3q' if n % 97 == 0 else 'step'} {n}" for n in range(1, 400)))
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=size) as pilot:
        await shown(pilot, "step 399")
        await pilot.press("l")
        await shown(pilot, "log  worker.log   follows   all lines 401", "/ Search", "v Which lines")
        await pilot.press("/", "3", "q", " ", "1")  # a digit and a letter that lead elsewhere else
        assert "s Stop" not in await shown(pilot, "/3q 1", "1 lines")
        await pilot.press("enter")
        await shown(pilot, "/3q 1  1 of 1", "› 12:01:14 ERROR: 3q 194", "stands still: ", "n Next hit")  # noqa: RUF001
        recorded.log("12:02:00 the newest")
        assert "the newest" not in await shown(pilot, " lines below, 1 new", "3q 194")
        await pilot.press("v", "v")
        text = await shown(pilot, "✗ 12:01:37 ERROR: 3q 97", "✗ 12:01:28 ERROR: 3q 388", "errors 4")
        assert "step" not in text.partition("errors 4")[2]
        await pilot.press("v", "end")
        await shown(pilot, "follows", "the newest")
        await pilot.press("f")
        recorded.log("12:02:01 the very newest")
        assert "the very newest" not in await shown(pilot, "1 lines below, 1 new")
        await pilot.press("escape")
        await shown(pilot, "the very newest", "smoothed")


async def test_samples_are_compared_step_by_step_on_the_whole_screen(make: Any, shown: Any) -> None:
    recorded = make.running(300)
    recorded.sample(100, " there was a dog")
    recorded.sample(0, "x y z", "Then")
    recorded.sample(100, "the second prompt", "Then")
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, "300/600 steps")
        await pilot.press("m")
        await shown(pilot, "prompt 1 of 2   text 3 of 3", "(base) ─ 300 ─ [100]", "step 100  perplexity 8.171")
        await pilot.press("left", "b", "right")
        await shown(pilot, "base ─ (300) ─ [100]", "there was a king", "there was a dog")
        await pilot.press("down")
        await shown(pilot, "prompt 2 of 2", "Then", "base ─ [(100)]", "the second prompt")
        await pilot.press("b")
        await shown(pilot, "(base) ─ [100]", "x y z")
        assert app.run_screen.charts.look.cursor is None, "the arrows are the pane's"


async def test_a_run_without_metrics_yet_shows_its_plan(make: Any, shown: Any) -> None:
    make.new(ago_s=1)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SMALL) as pilot:
        text = await shown(pilot, "starting", "· text → · tokenize → · causal_lm → · perplexity")
        assert "comes with the first step" in text
        assert "none yet" in text


async def test_the_curve_grows_while_one_watches(make: Any, shown: Any) -> None:
    recorded = make.running(100)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, "100/600 steps")
        recorded.train(101, 250)
        recorded.log("12:01:00 half way")
        await shown(pilot, "250/600 steps", "12:01:00 half way")
        recorded.finish("stopped", "stopped by the user")
        await shown(pilot, "■ stopped", "stopped by the user", "r Resume")


async def test_a_loss_that_is_not_a_number_leaves_the_screen_up(make: Any, shown: Any) -> None:
    recorded = make.running(60)
    recorded.metrics.metric(61, {"train/loss": math.nan, "train/grad_norm": math.inf}, time.time())
    recorded.metrics.metric(61, {"eval/loss": math.nan, "eval/perplexity": math.inf}, time.time())
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        text = await shown(pilot, "● running", "60/600 steps")
        assert "cannot be drawn" not in text
        assert "×" in text  # noqa: RUF001 - the chart's mark of a step without a number


async def test_markup_and_escapes_in_data_are_shown_as_harmless_text(make: Any, shown: Any) -> None:
    recorded = make.running(60)
    recorded.sample(60, "[bold red]not markup[/] \x1b[31mplain\x1b]0;stolen title\x07")
    recorded.log("[link=file:///x]click[/link] \x1b[2J[/]")
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        text = await shown(pilot, "[bold red]not markup[/] plain", "[link=file:///x]click[/link]")
        assert "\x1b" not in text
        assert "stolen" not in text


async def test_figures_of_the_demo_trainer_are_said_to_be_made_up(make: Any, shown: Any) -> None:
    recorded = make.running(60)
    recorded.metrics.fact({"made_up": True})
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, "MADE-UP FIGURES (demo)")


async def test_every_gpu_has_a_block(make: Any, shown: Any) -> None:
    recorded = make.running(60)
    recorded.gpus(2, seconds=60)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        text = await shown(pilot, "GPU 0  NVIDIA GeForce RTX 4070 Ti", "GPU 1")
        assert text.count("VRAM   5.2/12.0 GiB") == 2
        assert "62 °C" in text
        assert "/285 W" in text
        await pilot.resize_terminal(*SMALL)
        await shown(pilot, "GPU 1  63 °C", "util 91 %")


@pytest.mark.parametrize(("key", "there", "gone"), [("l", "12:00:05 step 120", "samples"), ("m", "base model", "log")])
async def test_log_and_samples_take_the_whole_screen_and_give_it_back(
    make: Any, shown: Any, key: str, there: str, gone: str
) -> None:
    make.running(120)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, "120/600 steps")
        await pilot.press(key)
        await pilot.pause()
        text = await shown(pilot, there)
        assert "smoothed" not in text
        assert f"\n {gone}" not in text
        await pilot.press("escape")
        await shown(pilot, "smoothed", f"\n {gone}")


async def test_one_chart_after_the_other_takes_the_whole_screen(make: Any, shown: Any) -> None:
    make.running(120)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        await shown(pilot, "120/600 steps", "learning rate")
        for title in ("loss", "perplexity", "learning rate", "speed", "gradient norm"):
            await pilot.press("x")
            await pilot.pause()
            text = await shown(pilot, f" {title}  " if title != "speed" else " speed tokens/s")
            assert "worker.log" not in text
        await pilot.press("x")
        await shown(pilot, "worker.log", "speed", "loss")


@pytest.mark.parametrize("size", [(20, 5), (59, 15), (80, 12), (200, 20), (60, 60), (1, 1)])
async def test_any_size_is_drawn_without_a_failure(make: Any, shown: Any, size: Any) -> None:
    make.running(60)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, "60/600 steps")
        await pilot.resize_terminal(*size)
        await pilot.pause()
        await pilot.resize_terminal(*SMALL)
        await shown(pilot, "60/600 steps", "worker.log")


async def test_nothing_is_drawn_under_a_question(make: Any, shown: Any) -> None:
    recorded = make.running(60)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        await shown(pilot, "60/600 steps")
        await pilot.press("s")
        await shown(pilot, f"Stop {recorded.run.id}?")
        assert isinstance(app.screen, ConfirmScreen)
        before = app.run_screen.pipeline.text
        recorded.train(61, 90)
        deadline = time.monotonic() + 10
        while app.run_screen._view.stages[2].done != 90:
            assert time.monotonic() < deadline
            await pilot.pause(0.05)
        assert app.run_screen.pipeline.text == before
        await pilot.press("escape")
        await shown(pilot, "90/600 steps")


async def test_light_and_dark_themes_both_draw(make: Any, shown: Any) -> None:
    make.running(60)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        await shown(pilot, "60/600 steps")
        dark = app.run_screen.header.rich_style.bgcolor
        app.theme = "textual-light"
        await pilot.pause()
        assert app.run_screen.header.rich_style.bgcolor != dark
        await shown(pilot, "60/600 steps")


def heated(recorded: Any, seconds: int = 66) -> None:
    """A GPU that grows hot: from the middle on it is slowed down."""
    for second in range(seconds):
        heat = 48 + 40 * second / seconds
        slowed = "heat" if second > seconds / 2 else ""
        device = {"temperature_c": heat, "utilization_percent": 97, "power_w": 280 - second, "power_limit_w": 285}
        device |= {"memory_used_bytes": 9 * GIB, "memory_total_bytes": 12 * GIB, "throttle": slowed, "slowdown_c": 90}
        device |= {"name": "NVIDIA GeForce RTX 4070 Ti", "sm_clock_mhz": 2610, "memory_clock_mhz": 10501}
        other = {**device, "temperature_c": 40 + second % 3, "throttle": "", "utilization_percent": 3}
        sample = {"gpu0": {**device, "fan_percent": 70, "processes": 1}, "gpu1": other, "host": {"cpu_percent": 20.0}}
        recorded.telemetry.sample(recorded.began + second, sample)


@pytest.mark.parametrize("axis", ["step", "epoch", "time"])
async def test_a_key_shows_the_gpus_over_the_same_axis_as_the_speed(workspace: Path, make: Any, axis: str) -> None:
    recorded = make.running()
    heated(recorded)
    async with TuiftuneApp(workspace).run_test(size=(120, 40)) as pilot:
        await until(pilot, "GPU 0", "loss")
        for _ in range(["step", "epoch", "time"].index(axis)):
            await pilot.press("h")
        await pilot.press("g")
        seen = await until(pilot, "speed tokens/s", "°C 87", "power %", "slowdown °C 90")
        assert "learning rate" not in seen
        crosses = [line for line in seen.splitlines() if line.count("×") > 3]  # noqa: RUF001
        assert len(crosses) == 1, "where it was slowed down, and nowhere on the speed's chart"
        assert re.search(f"{axis}$|{axis} ", seen), "the crosses may stand on the name of the lower axis"
        assert "clocks 2610 MHz" in seen
        await pilot.press("g")
        seen = await until(pilot, "util % 3")
        await pilot.press("g")
        await until(pilot, "learning rate", "perplexity")
        await pilot.press("g")
        await until(pilot, "slowdown °C 90")
        await pilot.press("escape")
        await until(pilot, "learning rate")


def test_what_gpus_did_over_a_night_is_thinned_and_keeps_its_extremes_of_time(make: Any) -> None:
    recorded = make.new()
    history = GpuHistory()
    reader = TelemetryReader(recorded.run.telemetry_file)
    for hour in range(9):
        samples = [(recorded.began + 3600 * hour + second, float(40 + hour)) for second in range(0, 3600, 2)]
        with transaction(recorded.telemetry._db):
            recorded.telemetry._db.executemany(
                "INSERT INTO telemetry VALUES(?,'gpu0','temperature_c',?)", [(when, heat) for when, heat in samples]
            )
            recorded.telemetry._db.execute("INSERT INTO telemetry VALUES(?,'gpu0','throttle','heat')", samples[5][:1])
            recorded.telemetry._db.execute("INSERT INTO telemetry VALUES(?,'gpu0','slowdown_c',90)", samples[-1][:1])
            recorded.telemetry._db.execute("INSERT INTO telemetry VALUES(?,'host','cpu_percent',5)", samples[-1][:1])
        history.update(reader)
    (curve,) = history.curves(recorded.began)
    assert 256 < len(curve.times) <= 1024
    assert curve.times == tuple(sorted(curve.times))
    assert curve.times[0] == pytest.approx(0, abs=64)
    assert curve.times[-1] == pytest.approx(9 * 3600, abs=64)
    assert (curve.temperature_c[0], curve.temperature_c[-1]) == (40, 48)
    assert sum(curve.slowed) == 9
    assert all(math.isnan(value) for value in curve.power_percent), "the limit is not known"


async def test_the_share_of_the_peak_stands_beside_the_speed(make: Any, shown: Any) -> None:
    recorded = make.running(200)
    recorded.metrics.fact({"flops_per_token": 6e9, "peak_flops": 1e14})
    async with TuiftuneApp(make.workspace).run_test(size=LARGE) as pilot:
        seen = await shown(pilot, "speed tokens/s, MFU ", " MFU 4")
        assert re.search(r"tokens/s   MFU 4\d%", seen), "about 8,200 of the 16,667 tokens/s that the peak would be"


async def test_another_run_is_opened_whole_and_alerts_are_asked_for_where_there_are_none(make: Any, shown: Any) -> None:
    first, second = make.running(100), make.running(200)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        await shown(pilot, second.run.id, "loss")
        await pilot.press("m")
        await until_gone(pilot, "learning rate")
        app.go("run", first.run.id)
        await shown(pilot, first.run.id, "learning rate", "loss")
        await pilot.press("a")
        await shown(pilot, f"Alerts of {first.run.id}", "nothing happened that you should know of")


async def until_gone(pilot: Any, words: str) -> None:
    end = time.monotonic() + 10
    while words in screen_text(pilot.app):
        assert time.monotonic() < end
        await pilot.pause(0.02)


def test_a_busy_gpu_at_its_power_limit_is_not_slowed_and_a_lost_one_keeps_its_limits(make: Any) -> None:
    recorded = make.new()
    for second, reason in enumerate(["power limit", "", "power limit, heat", "heat"]):
        figures = {"power_w": 200.0, "power_limit_w": 250.0, "slowdown_c": 90.0, "throttle": reason}
        recorded.telemetry.sample(recorded.began + 10 * second, {"gpu0": figures, "host": {"cpu_percent": 1.0}})
    lost = dict.fromkeys(("power_w", "power_limit_w", "slowdown_c", "throttle"))
    recorded.telemetry.sample(recorded.began + 50, {"gpu0": {**lost, "error": "lost"}, "host": {"cpu_percent": 1.0}})
    history = GpuHistory()
    history.update(TelemetryReader(recorded.run.telemetry_file))
    (curve,) = history.curves(recorded.began)
    assert [curve.slowed[place] for place in range(4)] == [False, False, True, True]
    assert curve.power_percent[0] == pytest.approx(80)
    assert curve.slowdown_c == 90


def test_a_log_that_is_read_anew_is_shown_anew() -> None:
    """As when one leaves a run with the log on the whole screen and comes back: its numbers begin at another line."""
    lines = LogLines()
    lines.take([f"line {number}" for number in range(100)], [PLAIN] * 100, 5_000)
    lines.stand(40, 10)
    lines.take(["line 1", "line 2"], [PLAIN] * 2, 0)
    lines.scroll(-1, 40, 10)
    rows, _ = lines.rows(40, 10)
    assert "line 2" in "".join(text for text, _ in rows[-1])


BASELINE = re.compile(r"(base(line)?|┈) +26\.31")
"""In the legend of the perplexity's curve."""


@pytest.mark.parametrize("height", [14, 24, 40])
async def test_a_pane_has_the_whole_screen_however_low_it_is_and_gives_it_back(
    make: Any, shown: Any, height: int
) -> None:
    make.running(372)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(100, height)) as pilot:
        await shown(pilot, "372/600 steps", "loss", "smoothed")
        for key, words in (("l", "1,200 documents"), ("m", "Once upon a time"), ("x", "loss")):
            await pilot.press(key)
            text = await shown(pilot, words)
            assert not BASELINE.search(text), f"{key}: the baseline stands with the perplexity's curve"
            await pilot.press("escape")
            text = await shown(pilot, "372/600 steps", "loss", "smoothed")
            assert BASELINE.search(text), key


async def test_curves_that_were_passed_over_are_drawn_a_moment_later_though_nothing_comes(
    make: Any, shown: Any
) -> None:
    make.running(372)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(pilot, "372/600 steps", "base 26.31")
        charts, view = app.run_screen.charts, app.run_screen._view
        app._watcher.stop()
        for baseline in (31.0, 32.0):
            charts.show(dataclasses.replace(view, baseline=baseline - 0.5))  # type: ignore[type-var]
            charts.show(dataclasses.replace(view, baseline=baseline))  # type: ignore[type-var]
            await shown(pilot, f"base {baseline:g}")
