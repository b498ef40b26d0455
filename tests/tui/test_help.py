"""The windows over a screen: help, problems and questions."""

from __future__ import annotations

from typing import ClassVar

import pytest
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Input, Static

from tuiftune.tui.screens.confirm import ConfirmScreen
from tuiftune.tui.screens.help import HelpScreen, Section, sections_of
from tuiftune.tui.screens.problems import ProblemsScreen


class LossPane(Static, can_focus=True):
    help_text: ClassVar[str] = "The loss of each step."
    BINDINGS = [Binding("l", "log", "Logarithmic"), Binding("x", "log", "Hidden", show=False)]

    def action_log(self) -> None: ...


class RunScreen(Screen[None]):
    TITLE = "run"
    help_text: ClassVar[str] = "A run while it goes on."
    BINDINGS = [Binding("s", "stop", "Stop")]

    def compose(self) -> ComposeResult:
        yield LossPane("one")
        yield LossPane("two")

    def action_stop(self) -> None: ...


class WindowApp(App[None]):
    BINDINGS = [Binding("question_mark", "help", "Help", key_display="?"), Binding("q", "quit", "Leave")]

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[bool | None] = []

    def on_mount(self) -> None:
        self.push_screen(RunScreen())

    def action_help(self) -> None:
        self.push_screen(HelpScreen.of(self.screen))

    @property
    def text(self) -> str:
        return "\n".join(strip.text.rstrip() for strip in self.screen._compositor.render_strips(self.size))


async def test_help_collects_the_words_and_the_shown_keys_of_the_screen_below() -> None:
    app = WindowApp()
    async with app.run_test(size=(80, 30)) as pilot:
        assert list(sections_of(app.screen)) == [
            Section("", "A run while it goes on."),
            Section("Keys here", keys=[("l", "Logarithmic"), ("s", "Stop")]),
            Section("Keys anywhere", keys=[("?", "Help"), ("q", "Leave"), ("^p", "Every action by its name")]),
            Section("Loss", "The loss of each step."),
        ]
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        for words in ("Help: run", "A run while it goes on.", "l   Logarithmic", "The loss of each step.", "esc close"):
            assert words in app.text


@pytest.mark.parametrize("key", ["escape", "question_mark", "q", "enter"])
async def test_help_closes_with_the_key_at_hand(key: str) -> None:
    app = WindowApp()
    async with app.run_test() as pilot:
        await pilot.press("question_mark")
        await pilot.press(key)
        assert isinstance(app.screen, RunScreen)


async def test_long_help_scrolls_and_keeps_its_keys_in_sight_in_a_small_terminal() -> None:
    app = WindowApp()
    async with app.run_test(size=(60, 16)) as pilot:
        app.push_screen(HelpScreen("Help", [Section(f"Part {number}", "words") for number in range(40)]))
        await pilot.pause()
        assert "Part 0" in app.text
        assert "esc close" in app.text
        await pilot.press("end")
        await pilot.pause()
        assert "Part 39" in app.text
        assert "esc close" in app.text


@pytest.mark.parametrize(("key", "answer"), [("y", True), ("enter", True), ("n", False), ("escape", False)])
async def test_a_question_is_answered_by_one_key(key: str, answer: bool) -> None:
    app = WindowApp()
    async with app.run_test() as pilot:
        app.push_screen(ConfirmScreen("Stop it?", ["It can be resumed."], "stop it"), app.answers.append)
        await pilot.pause()
        assert "enter stop it   esc cancel" in app.text
        await pilot.press(key)
        assert app.answers == [answer]
        assert isinstance(app.screen, RunScreen)


async def test_problems_are_shown_as_they_are_written_without_escapes_and_markup() -> None:
    app = WindowApp()
    async with app.run_test(size=(80, 24)) as pilot:
        lines = ["profiles/x.toml:7: [dataset]: not\x1b[31m an option. Did you mean '[/b]'?", "second"]
        app.push_screen(ProblemsScreen("Two [problems]\x07", lines))
        await pilot.pause()
        assert "Two [problems]" in app.text
        assert "profiles/x.toml:7: [dataset]: not an option. Did you mean '[/b]'?" in app.text
        assert "second" in app.text
        await pilot.press("escape")
        assert isinstance(app.screen, RunScreen)


async def test_help_opens_over_a_screen_whose_field_has_the_focus() -> None:
    app = WindowApp()
    async with app.run_test() as pilot:
        await app.screen.mount(Input())
        app.screen.query_one(Input).focus()
        await pilot.press("question_mark")
        assert app.screen.query_one(Input).value == "?", "in a field it is a letter"
