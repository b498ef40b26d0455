"""The place of all runs, and runs side by side, by keys alone."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tuiftune.run import launch, notes, queue, trash
from tuiftune.run.folder import Run
from tuiftune.run.summary import RunSummary
from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.screens.runs import RunsScreen
from tuiftune.tui.widgets.glyphs import pointer
from tuiftune.tui.widgets.overlay import OverlayChart
from tuiftune.tui.widgets.run_columns import SORTED, in_order, layout
from tuiftune.tui.widgets.run_table import RunTable

SMALL, MEDIUM, LARGE = (80, 24), (120, 40), (200, 60)
PROFILE = {
    "dataset": {"stage": "text", "path": "text.txt"},
    "train": {"stage": "demo", "steps": 600},
}


def ended(make: Any, steps: int, name: str | None = None, how: str = "finished", **more: Any) -> Any:
    """A run that came to an end after so many steps."""
    recorded = make.running(steps)
    recorded.run.profile_file.write_text(tomli_w.dumps({**PROFILE, "seed": steps}))
    if name:
        notes.rename(recorded.run, name)
    recorded.finish(how, **more)
    return recorded


def queued(make: Any, reason: str) -> Any:
    recorded = make.new("later")
    recorded.state("queued", reason=reason)
    queue.join(recorded.run)
    return recorded


def rows(app: TuiftuneApp) -> list[str]:
    """The rows of the table, below its titles."""
    return [row for row in app.screen.query_one(RunTable).text[2:] if row.strip()]


async def test_runs_are_named_noted_deleted_put_back_and_exported(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    old = ended(make, 100, "first of all")
    failed = ended(make, 60, how="failed", reason="out of memory. Use a smaller batch", kind="oom")
    going = make.running(200)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        await shown(pilot, going.run.id)
        await pilot.press("3")
        await shown(pilot, "runs  3", "● running", "✗ failed", "✓ finished  ", "first of all", f"{pointer()} ● running")
        assert [row.split()[0 if row[0] == " " else 1] for row in rows(app)] == ["●", "✗", "✓"]

        await pilot.press("down")
        await shown(pilot, "why       out of memory. Use a smaller batch", "r Resume")
        await pilot.press("w")
        await shown(pilot, f"Why {failed.run.id}", "ended by", "memory that ran out (oom)")
        await pilot.press("escape", "n", *"the big one", "enter")
        await shown(pilot, "the big one", "Name of")
        await pilot.press("t", *"watch the VRAM", "enter")
        await shown(pilot, "note      watch the VRAM")
        assert notes.read_notes(failed.run) == notes.Notes("the big one", "watch the VRAM")

        await pilot.press("D", *"yes", "enter")
        await shown(pilot, "nothing is deleted before 'delete' or its id stands there")
        assert failed.run.path.is_dir()
        await pilot.press("backspace", "backspace", "backspace", *"delete", "enter")
        await shown(pilot, "runs  2", "u Undo delete")
        assert [one.id for one in trash.contents(make.workspace)] == [failed.run.id]
        await pilot.press("u")
        await shown(pilot, "runs  3", "the big one")
        assert failed.run.path.is_dir()

        await pilot.press("up", "e", "up", "enter")
        await shown(pilot, "Exported")
        exported = tmp_path / failed.run.id
        assert json.loads((exported / "summary.json").read_text())["note"] == "watch the VRAM"
        await pilot.press("e", "enter")
        await shown(pilot, "was not exported", "is there already")
        await pilot.press("escape", "g", "D")
        assert type(app.screen) is RunsScreen, "what goes on is not deleted"
        await pilot.press("enter")
        await shown(pilot, "step 200", going.run.id)
        assert app.current_mode == "run"
    assert old.run.path.is_dir()


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_filter_sort_and_marks_lead_to_a_comparison_at_every_size(make: Any, shown: Any, size: Any) -> None:
    ended(make, 150, "small batch")
    ended(make, 300, "large batch")
    ended(make, 50, how="stopped", reason="stopped as asked")
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=size) as pilot:
        await shown(pilot, "quickstart")
        await pilot.press("3")
        await shown(pilot, "runs  3", "batch", "■ stopped", "by when")
        await pilot.press(*"/batch s3")
        await shown(pilot, "no run matches 'batch s3'; escape clears")
        await pilot.press("backspace", "backspace", "backspace", "enter")
        await shown(pilot, "/ batch   2 found")
        await pilot.press("space", "space")
        await shown(pilot, "2 marked", "c Compare", "*")
        while "by done" not in await shown(pilot, "runs  3"):
            await pilot.press("o")
        assert ["large batch" in row for row in rows(app)] == [True, False]
        await pilot.press("O")
        await shown(pilot, "turned round")
        assert ["large batch" in row for row in rows(app)] == [False, True]

        await pilot.press("c")
        text = await shown(pilot, "training loss, smoothed", "A large batch", "B small batch", "best perplexity")
        assert "1 Profiles" in text
        assert text.count("A") > 3, "the letters stand along the lines"
        await pilot.press("end")
        await shown(pilot, "settings that differ", "seed", "300  150")
        await pilot.press("shift+left", "shift+left")
        text = await shown(pilot, "training loss, smoothed at step ", "A large batch 1.", "B small batch —")
        assert int(text.partition("at step ")[2].split()[0]) in range(150, 300), "where the shorter one has ended"
        await pilot.press("h")
        await shown(pilot, " epoch")
        await pilot.press("h")
        await shown(pilot, " time", "0:30")
        await pilot.press("h", *["plus"] * 5)
        assert "└ 0 " not in await shown(pilot, "step")
        chart = app.screen.query_one(OverlayChart).text
        assert "".join(chart[1:]).count("A") > 1, "the letters stand along the part that is shown"
        await pilot.press("z", "z", "z")
        await shown(pilot, "training loss  A large batch")
        await pilot.press("z", "0", "x")
        await shown(pilot, "perplexity  A large batch")
        await pilot.press("escape")
        await shown(pilot, "2 found", "2 marked")
        await pilot.press("escape")
        await shown(pilot, "■ stopped", "2 marked")
        await pilot.press("escape")
        assert "marked" not in await shown(pilot, "■ stopped")
        await pilot.press("escape")
        await shown(pilot, "type to filter")


async def test_the_queue_is_shown_in_its_order_and_changed(make: Any, shown: Any) -> None:
    first = queued(make, "next in the queue; waits for gpu0, taken by another")
    second = queued(make, "2nd in the queue, after the first")
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        await shown(pilot, "○ queued")
        await pilot.press("3")
        text = await shown(pilot, "queue  2 wait", "waits for gpu0, taken by another", "after the first")
        assert text.index("waits for gpu0") < text.index("after the first")
        await pilot.press("down")
        await shown(pilot, "[ Sooner", f"{pointer()} 2  {second.run.id}")
        await pilot.press("[")
        await shown(pilot, f"{pointer()} 1  {second.run.id}")
        assert [one.run.id for one in queue.waiting(make.workspace)] == [second.run.id, first.run.id]
        await pilot.press("J")
        await shown(pilot, f"{pointer()} 2  {second.run.id}")


async def test_a_run_is_started_again_with_changes_that_were_checked(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (make.workspace / "text.txt").write_text("a line\n" * 20)
    recorded = ended(make, 100)
    started: list[tuple[Any, Sequence[str]]] = []

    def start(_workspace: Path, resolved: Any, **more: Any) -> Run:
        started.append((resolved.effective["train"], more["command"]))
        run: Run = make.running(5).run
        return run

    monkeypatch.setattr(launch, "start", start)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SMALL) as pilot:
        await shown(pilot, "quickstart")
        await pilot.press("3")
        await shown(pilot, "text.txt")
        await pilot.press("R")
        await shown(pilot, f"Run {recorded.run.id} again?", "dataset.path")
        await pilot.press("+")
        await shown(pilot, "Another value")
        await pilot.press(*"train.stepss=7", "enter")
        await shown(pilot, f"{recorded.run.id} cannot be started so", "not an option of train stage 'demo'")
        await pilot.press("escape")
        await shown(pilot, "again?")
        await pilot.press("+")
        await shown(pilot, "Another value")
        await pilot.press(*"train.steps=7", "enter")
        await shown(pilot, "▸ dataset.path", "train.steps", "changed here")
        assert started == []
        await pilot.press("enter", "enter")
        await shown(pilot, "step 5")
    ((train, command),) = started
    assert train["steps"] == 7
    assert list(command) == ["tuiftune", "rerun", recorded.run.id, "--set", "train.steps=7"]


def many(count: int) -> list[RunSummary]:
    now = time.time()
    return [
        RunSummary(
            id=f"tales-20261125-094701-{number:05d}",
            profile="tales",
            name=f"number {number}" if number % 3 else None,
            state="finished",
            reason=None,
            step=number,
            total_steps=count,
            started=now - 60 * number - 60,
            ended=now - 60 * number,
            baseline=None,
            best={"perplexity": float("nan") if number % 7 == 0 else float(number)},
            last=None,
            tokens_per_s=None if number % 5 == 0 else float(number),
            peak_vram_bytes=None,
            path=f"/nowhere/{number}",
            made_up=False,
        )
        for number in range(count)
    ]


async def test_of_5000_runs_only_the_rows_on_the_screen_are_made_and_only_changed_ones_are_sent(
    make: Any, shown: Any
) -> None:
    runs = many(5000)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        await pilot.press("3")
        screen = app.screen
        assert isinstance(screen, RunsScreen)
        await shown(pilot, "no runs yet")
        began = time.process_time()
        screen.show_runs(runs)
        await shown(pilot, "runs  5,000", "of 5,000")
        await pilot.press("G")
        await shown(pilot, "number 4999", "5,000 of 5,000")
        await pilot.press(*"/4321", "enter")
        await shown(pilot, "1 found", "number 4321")
        assert time.process_time() - began < 3.0
        await pilot.press("escape", "g")
        await shown(pilot, "number 1 ")
        repainted: list[Any] = []
        refresh = screen.table.refresh
        screen.table.refresh = lambda *regions, **more: repainted.extend(regions) or refresh(*regions, **more)  # type: ignore[method-assign]
        screen.show_runs([runs[0], dataclasses.replace(runs[1], step=4999), *runs[2:]])
        assert [region.y for region in repainted] == [3], "the row of the run whose progress changed"


def test_what_is_not_known_comes_last_however_it_is_sorted() -> None:
    runs = many(30)
    for by in SORTED:
        for backwards in (False, True):
            assert len(in_order(runs, by, backwards, {})) == 30
    best = [run.best["perplexity"] for run in in_order(runs, "best", True, {}) if run.best]
    assert best[0] == 29.0
    assert all(value != value for value in best[-5:])
    assert [run.step for run in in_order(runs, "speed", False, {})][:2] == [29, 28]
    assert [run.id for run in in_order(runs, "size", False, {runs[4].id: 10, runs[9].id: 20})][:2] == [
        runs[9].id,
        runs[4].id,
    ]


@pytest.mark.parametrize("width", [20, 58, 76, 116, 196])
def test_columns_fit_any_width(width: int) -> None:
    found = layout(width, many(20))
    assert sum(size for _, size in found.columns) + 2 * (len(found.columns) - 1) <= max(width, 30)
    assert found.columns[0][0].name == "state"


async def test_a_run_that_was_deleted_under_the_comparison_is_said(make: Any, shown: Any) -> None:
    one, other = ended(make, 100, "one"), make.running(120)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        await shown(pilot, other.run.id)
        await pilot.press("3")
        await shown(pilot, "runs  2")
        await pilot.press("space", "space", "c")
        await shown(pilot, "training loss, smoothed", "side by side  2 runs")
        one.run.path.rename(make.workspace / "gone")
        await shown(pilot, "cannot be read")
        await pilot.press("3")
        await shown(pilot, "runs  1")


async def test_a_run_that_checks_no_longer_is_run_again_with_another_value(make: Any, shown: Any) -> None:
    (make.workspace / "text.txt").write_text("a line\n" * 20)
    recorded = ended(make, 100)
    profile = recorded.run.profile_file
    profile.write_text(profile.read_text().replace("steps = 600", "steps = 0"))
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=MEDIUM) as pilot:
        await shown(pilot, "quickstart")
        await pilot.press("3")
        await shown(pilot, "step 100 of 600")
        await pilot.press("R")
        await shown(pilot, "again?", "train.steps", "Another value, as in")
        await pilot.press(*"train.steps=7", "enter")
        await shown(pilot, "again?", "train.steps", "7  changed here")
