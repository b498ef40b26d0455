"""The profile editor, driven by keys and read as a person reads it."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.app import App
from textual.pilot import Pilot

from tuiftune.catalog import Catalog, read_catalog
from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.edit import duplicate_profile, edit_profile
from tuiftune.tui.screens.editor import EditorScreen

Shown = Callable[..., Awaitable[str]]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Of a workspace without plugins and profiles of its own."""
    return read_catalog(tmp_path_factory.mktemp("workspace"))


class EditorApp(App[None]):
    HORIZONTAL_BREAKPOINTS = TuiftuneApp.HORIZONTAL_BREAKPOINTS
    VERTICAL_BREAKPOINTS = TuiftuneApp.VERTICAL_BREAKPOINTS

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str | None] = []


@asynccontextmanager
async def editing(
    workspace: Path, catalog: Catalog, profile: str, size: tuple[int, int] = (80, 24), by: Any = edit_profile
) -> AsyncIterator[Pilot[None]]:
    app = EditorApp()
    async with app.run_test(size=size, notifications=True) as pilot:
        by(app, workspace, profile, catalog, app.done.append)
        yield pilot
        await pilot.pause()


async def at(pilot: Pilot[Any], *path: str | int) -> None:
    """Put the cursor on an option, as `/`, its name and enter do, without the filter."""
    form = pilot.app.screen.form  # type: ignore[attr-defined]
    form.move_to(next(number for number, line in enumerate(form.lines) if line.path == path))
    await pilot.pause()


async def test_a_profile_is_extended_changed_checked_undone_and_saved_by_keys(
    workspace: Path, catalog: Catalog, shown: Shown
) -> None:
    async with editing(workspace, catalog, "quickstart") as pilot:
        seen = await shown(pilot, "a new profile   extends quickstart", "checks clean")
        assert "no differences   not saved" in seen

        # A number, and what is wrong with another, in the words of tuiftune check.
        await pilot.press(*"/epochs", "enter")
        await shown(pilot, "1 of 5", "float, more than 0", "quickstart.toml:22   default 3.0")
        await pilot.press("enter", "ctrl+u", *"abc", "enter")
        await shown(pilot, "! train.epochs: must be a number, got the string 'abc'", "! epochs")
        await pilot.press("enter", "ctrl+u", "5", "enter")
        await shown(pilot, "checks clean", "● epochs", "1 difference   not saved", "parent 2 (quickstart)")
        await pilot.press("u")
        await shown(pilot, "! train.epochs", "abc")
        await pilot.press("ctrl+r", "escape")
        await shown(pilot, "● epochs", "overflow", "warmup_steps", "checks clean")

        # The text, in place of the form.
        await pilot.press("v")
        await shown(pilot, "effective  difference  file", "epochs = 5.0", "this profile")
        await pilot.press("v")
        await shown(pilot, "train.epochs  2 → 5")
        await pilot.press("v")
        await shown(pilot, 'extends = "quickstart"', "epochs = 5")
        await pilot.press("v")

        # Choices, switches, a table, and back to the parent's.
        await at(pilot, "train", "schedule")
        await pilot.press("right")
        await shown(pilot, "< cosine >")
        await pilot.press("enter")
        await shown(pilot, "linear    the default", "constant")
        await pilot.press("down", "enter")
        await shown(pilot, "< constant >", "parent linear (base)")
        await pilot.press("backspace")
        await shown(pilot, "< linear >", "from")
        await at(pilot, "train", "compile")
        await pilot.press("space")
        await shown(pilot, "< true >", "2 differences")
        await at(pilot, "model", "config")
        await pilot.press("enter", *"n_layer = 3", "enter")
        await shown(pilot, "config.n_layer", "! model.config: only for a model made from scratch")
        await pilot.press("exclamation_mark", "u")
        await shown(pilot, "2 differences", "checks clean")

        # Leaving asks; so does a new profile for its name, one that is taken once more.
        (workspace / "profiles" / "taken.toml").write_text("")
        await pilot.press("escape")
        await shown(pilot, "It is not saved")
        await pilot.press("enter")
        await shown(pilot, "What is the profile to be called?", "my-quickstart")
        await pilot.press("ctrl+u", *"taken", "enter")
        await shown(pilot, "Choose another name", "taken")
        await pilot.press("ctrl+u", *"mine", "enter")
        while not pilot.app.done:  # type: ignore[attr-defined]
            await pilot.pause(0.02)
        assert pilot.app.done == ["mine"]  # type: ignore[attr-defined]
    written = tomllib.loads((workspace / "profiles" / "mine.toml").read_text())
    assert written == {"extends": "quickstart", "train": {"epochs": 5, "compile": True}}

    async with editing(workspace, catalog, "mine") as pilot:  # what the form wrote is changed in place
        await shown(pilot, "mine   extends quickstart", "2 differences   saved")
        await at(pilot, "description")
        await pilot.press("enter", *"Mine, all mine", "w", "enter", "ctrl+s")
        await shown(pilot, "mine is saved", "3 differences   saved")
        await pilot.press("q")
        await pilot.pause()
        assert pilot.app.done == ["mine"]  # type: ignore[attr-defined]
    assert 'description = "Mine, all minew"\n' in (workspace / "profiles" / "mine.toml").read_text()


async def test_stages_are_added_moved_removed_and_chosen(workspace: Path, catalog: Catalog, shown: Shown) -> None:
    async with editing(workspace, catalog, "quickstart", (160, 45), duplicate_profile) as pilot:
        await shown(pilot, "extends quickstart", "seed = 42", "checks clean")  # the text stands beside the form
        await at(pilot, "preprocess", 0)
        await pilot.press("a")
        await shown(pilot, "Add which preprocess stage?", "Tidy whitespace")
        await pilot.press("down", "enter")
        await shown(pilot, "preprocess 2", "1 difference", "checks clean", "[[preprocess]]")
        draft = pilot.app.screen._opened.draft  # type: ignore[attr-defined]
        added = draft.merged["preprocess"][1]["stage"]
        await pilot.press("K")
        await pilot.pause()
        assert [stage["stage"] for stage in draft.merged["preprocess"]] == [added, "tokenize"]
        await pilot.press("x")
        await pilot.pause()
        assert draft.own == {}
        await at(pilot, "train")
        await pilot.press("x")
        await shown(pilot, "only preprocess and evaluate")
        await pilot.press("enter")
        await shown(pilot, "Which train stage?", "demo")
        await pilot.press("end", "enter")
        await shown(pilot, "● ", "seconds_per_step")
        assert draft.own == {"train": {"stage": "demo"}}
        await pilot.press("escape")
        await shown(pilot, "It is not saved")
        await pilot.press("down", "enter")
        await pilot.pause()
        assert pilot.app.done == [None]  # type: ignore[attr-defined]


async def test_keys_that_come_in_a_burst_go_where_they_were_meant(
    workspace: Path, catalog: Catalog, shown: Shown
) -> None:
    async with editing(workspace, catalog, "quickstart") as pilot:
        await shown(pilot, "extends quickstart")
        keys = ["slash", *"quit", *["backspace"] * 4, *"grad_acc", "enter", "enter", "backspace", *"12", "enter"]
        for key in keys:
            character = key if len(key) == 1 else {"slash": "/"}.get(key)
            pilot.app.post_message(events.Key("underscore" if key == "_" else key, character))
        await shown(pilot, "● grad_accum", "12", "1 of 5")
        await pilot.press("enter")
        pilot.app.screen.form.post_message(events.Paste("3\n"))  # type: ignore[attr-defined]
        await pilot.press("left", "7", "up")
        await shown(pilot, "1273", "1 difference")


async def test_a_file_written_by_hand_is_opened_in_an_editor_or_extended(
    workspace: Path, catalog: Catalog, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "profiles" / "poems.toml").write_text('# mine\nextends = "quickstart"\nseed = 3\n')
    monkeypatch.setenv("EDITOR", "true --quickly")
    async with editing(workspace, catalog, "poems") as pilot:
        await shown(pilot, "poems was written by hand", "in true, as it was written")
        await pilot.press("enter")
        await shown(pilot, "This terminal cannot be given to another program.", "tuiftune edit poems")
        await pilot.press("escape")
        edit_profile(pilot.app, workspace, "poems", catalog, pilot.app.done.append)  # type: ignore[attr-defined]
        await shown(pilot, "poems was written by hand")
        await pilot.press("down", "enter")
        await shown(pilot, "a new profile   extends poems", "profile")
        (workspace / "profiles" / "poems.toml").unlink()
        await pilot.press("down", "enter", "7", "enter")
        await shown(pilot, "! extends: there is no profile 'poems'")  # it stays, and says so
        edit_profile(pilot.app, workspace, "no-such", catalog, pilot.app.done.append)  # type: ignore[attr-defined]
        await shown(pilot, "no-such cannot be edited", "there is no profile 'no-such'")


async def test_it_is_whole_on_any_terminal(workspace: Path, catalog: Catalog, shown: Shown) -> None:
    async with editing(workspace, catalog, "scratch-small", (30, 10)) as pilot:
        await shown(pilot, "▸   descripti…  —", "seed        42")
        for size in ((20, 5), (80, 24), (200, 60), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        seen = await shown(
            pilot,
            "a new profile   extends scratch-small",
            "? scratch-small.toml:20: dataset.path: data/input.txt: no such file",
        )
        assert "this pane cannot be drawn" not in seen
        screen = pilot.app.screen
        assert isinstance(screen, EditorScreen)
        await pilot.press("end", "s", "home", "right_square_bracket", "pagedown", "left_square_bracket")
        await shown(pilot, "those that are set")
