"""A recorded run of every state in every place that shows runs, and every place at every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.messages import GoTo
from tuiftune.tui.places import PLACES
from tuiftune.tui.widgets.glyphs import STATE_MARKS

from .conftest import Recorded, screen_text, until

REASONS = {
    "queued": "waits for GPU 0, which run other uses",
    "pausing": "at the end of step 60",
    "paused": "waiting at step 60: somebody asked for it",
    "healing": "out of memory; trying again with a quarter of the tokens",
    "stopped": "stopped by a request at step 60",
    "released": "paused with its memory given back",
    "failed": "out of memory: 3 restarts came no further",
}
ENDED = ("finished", "stopped", "released", "failed")
SIZES = [(250, 70), (160, 50), (120, 40), (80, 24), (60, 16), (40, 12), (20, 5), (80, 24)]
NOT_DRAWN = ("cannot be drawn", "Traceback", "A bug in tuiftune")


@pytest.fixture
def every_state(make: Any) -> dict[str, Recorded]:
    """State -> a run in it, as the processes of a run leave its folder; 'healed' is one that runs again."""
    found: dict[str, Recorded] = {}
    for state in [*STATE_MARKS, "healed"]:
        recorded = make.new(f"p-{state}") if state in ("queued", "starting") else make.running(60, f"p-{state}")
        if state == "healed":
            recorded.healed("out of memory; going on with half as many tokens at once")
        elif state == "interrupted":  # its processes are gone
            recorded.release()
        elif state == "finished":
            recorded.model()
            recorded.finish()
        elif state in ENDED:
            recorded.finish(state, REASONS[state])
        else:
            recorded.state(state, reason=REASONS.get(state))
        found[state] = recorded
    return found


def state_on_screen(state: str) -> str:
    name = "running" if state == "healed" else state
    return f"{STATE_MARKS[name][0]} {name}"


def nothing_failed(text: str) -> None:
    assert not any(words in text for words in NOT_DRAWN), text


@pytest.mark.parametrize("size", [(80, 24), pytest.param((120, 40), marks=pytest.mark.long)])
async def test_a_run_of_every_state_is_shown_with_its_state_and_why(
    make: Any, every_state: dict[str, Recorded], size: tuple[int, int]
) -> None:
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=size) as pilot:
        await until(pilot, "? Help")
        for state, recorded in every_state.items():
            app.post_message(GoTo("run", recorded.run.id))
            why = REASONS.get(state, "").partition(";")[0]
            nothing_failed(await until(pilot, recorded.run.id, state_on_screen(state), why))
            if state == "healed":
                await until(
                    pilot, "out of memory: a new worker" if size[0] == 80 else "out of memory: a new worker was"
                )
            for key in ("l", "m", "g", "w"):  # a pane on the whole screen and back, whatever there is to show
                await pilot.press(key)
                await pilot.pause()
                nothing_failed(screen_text(app))
                if app.run_screen._full is not None:
                    await pilot.press("escape")
            await until(pilot, recorded.run.id)


async def test_a_run_of_every_state_is_in_the_tables_compared_and_asked(
    make: Any, every_state: dict[str, Recorded]
) -> None:
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(200, 60)) as pilot:
        await until(pilot, "? Help")
        await pilot.press("3")
        seen = await until(pilot, "runs  13", *(f"p-{state} " for state in every_state))
        for state, recorded in every_state.items():
            assert any(f"p-{state} " in row and state_on_screen(state) in row for row in seen.splitlines()), state
            app.post_message(GoTo("runs", recorded.run.id))
            nothing_failed(await until(pilot, "course", f" {recorded.run.id}"))
        runs = list(every_state.values())
        for some in (runs[:6], runs[6:12], runs[-2:]):
            for recorded in some:
                app.post_message(GoTo("runs", recorded.run.id))
                await until(pilot, f" {recorded.run.id}")
                await pilot.press("space")
            await pilot.press("c")
            nothing_failed(await until(pilot, "x Next curve", *(recorded.run.id[:20] for recorded in some)))
            await pilot.press("escape")
            await until(pilot, "o Sort")
            for recorded in some:
                app.post_message(GoTo("runs", recorded.run.id))
                await pilot.pause()
                await pilot.press("space")
        for recorded in runs:
            app.post_message(GoTo("playground", recorded.run.id))
            nothing_failed(await until(pilot, recorded.run.id))


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
async def test_every_place_is_drawn_at_every_size_and_whole_again(
    make: Any, place: Any, until_read: Callable[..., Any]
) -> None:
    make.finished()
    make.running()
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, "? Help")
        await pilot.press(place.key)
        before = await until_read(pilot, place.name)
        for columns, rows in SIZES:
            await pilot.resize_terminal(columns, rows)
            await pilot.pause()
            await pilot.press("question_mark")
            await pilot.pause()
            nothing_failed(screen_text(app))
            await pilot.press("escape")
            await pilot.pause()
            seen = screen_text(app)
            nothing_failed(seen)
            lines = seen.splitlines()
            assert all(len(line) <= columns for line in lines)
            if rows >= 16 and columns >= 60:
                assert "? Help" in lines[-1] or "esc Leave prompt" in lines[-1], (
                    f"the keys at {columns} x {rows}:\n{seen}"
                )
        after = screen_text(app)
        assert after.splitlines()[0].split("  ")[0] == before.splitlines()[0].split("  ")[0]
        assert app.current_mode == place.name


@pytest.fixture
def until_read() -> Callable[..., Any]:
    """Wait until a place has what it shows."""
    words = {
        "profiles": "quickstart",
        "run": "loss",
        "runs": "figures",
        "data": "quickstart",
        "playground": "prompt",
        "plugins": "causal_lm",
        "system": "CPU",
    }

    async def wait(pilot: Any, name: str) -> str:
        return await until(pilot, words[name])

    return wait
