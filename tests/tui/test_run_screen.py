"""The run screen as a person reads it, at the sizes it is made for."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.screens.confirm import ConfirmScreen

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
