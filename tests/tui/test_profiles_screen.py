"""The menu of profiles, driven by keys and read as a person reads it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from textual import events
from textual.app import App
from textual.binding import Binding
from textual.pilot import Pilot

from tuiftune.catalog import Catalog, PluginInfo, ProfileInfo, StageInfo
from tuiftune.errors import Problem
from tuiftune.run.summary import RunSummary
from tuiftune.tui.palette import KeyedCommands, keyed_actions
from tuiftune.tui.screens.problems import ProblemsScreen
from tuiftune.tui.screens.profiles import ProfileChosen, ProfilesMarked, ProfilesScreen, RunOpened
from tuiftune.tui.widgets.filter import Filter
from tuiftune.tui.widgets.profile_list import ProfileList
from tuiftune.tui.widgets.run_list import RunList

PIPELINE = ["text", "tokenize", "causal_lm", "perplexity"]
BROKEN_PLUGIN = "plugins/chat.py:3: plugin 'chat': ModuleNotFoundError: No module named 'orjson'"


def profile(name: str, source: str = "shipped", description: str = "", **more: Any) -> ProfileInfo:
    return ProfileInfo(name, f"/shipped/{name}.toml", source, description, PIPELINE, **{"runnable": True, **more})


def plugin(problem: str | None) -> PluginInfo:
    return PluginInfo("chat", "drop-in", "plugins/chat.py", "1", [], 1.0, problem)


def catalog(*profiles: ProfileInfo, problem: str | None = None) -> Catalog:
    stages = [StageInfo("text", "dataset", "tuiftune.stages.text", "One text file.", [])]
    return Catalog([plugin(problem)], stages, {}, list(profiles))


def run(run_id: str, profile_name: str, state: str, **more: Any) -> RunSummary:
    fields: dict[str, Any] = {
        "name": None,
        "reason": None,
        "step": 120,
        "total_steps": 400,
        "started": time.time() - 7500,
        "ended": time.time() - 7300 if state in ("finished", "failed") else None,
        "baseline": {"perplexity": 18.25},
        "best": {"perplexity": 9.8125},
        "last": {"perplexity": 9.8125},
        "tokens_per_s": 4821.0,
        "peak_vram_bytes": None,
        "path": "",
        "made_up": False,
    }
    return RunSummary(id=run_id, profile=profile_name, state=state, **{**fields, **more})


MANY = catalog(
    profile("base", description="What the others extend", runnable=False),
    profile("quickstart", description="A small model in a minute"),
    profile("gpt2-text", description="GPT-2 small on one text file"),
    profile("poems", "workspace", "GPT-2 on poems"),
    profile("notes", "user", "My notes"),
)


class MenuApp(App[None]):
    COMMANDS = {KeyedCommands}
    BINDINGS = [Binding("q", "leave", "Leave")]

    def __init__(self) -> None:
        super().__init__()
        self.menu = ProfilesScreen()
        self.posted: list[str] = []

    def on_mount(self) -> None:
        self.push_screen(self.menu)

    def on_profile_chosen(self, message: ProfileChosen) -> None:
        self.posted.append(f"run {message.name}")

    def on_profiles_marked(self, message: ProfilesMarked) -> None:
        self.posted.append(f"queue {' '.join(message.names)}")

    def on_run_opened(self, message: RunOpened) -> None:
        self.posted.append(f"open {message.run_id}")

    def action_leave(self) -> None:
        self.posted.append("left")

    @property
    def text(self) -> str:
        rows = self.screen._compositor.render_strips(self.size)
        return "\n".join(strip.text.rstrip() for strip in rows)


@asynccontextmanager
async def menu(
    content: Catalog | None = MANY, size: tuple[int, int] = (80, 24), error: str | None = None, **results: RunSummary
) -> AsyncIterator[tuple[MenuApp, Pilot[None]]]:
    app = MenuApp()
    async with app.run_test(size=size) as pilot:
        app.menu.show_catalog(content, error)
        app.menu.show_runs(list(results.values()))
        await pilot.pause()
        yield app, pilot


def listed(app: MenuApp) -> list[str]:
    """The list as its rows stand there."""
    return [str(option.prompt).rstrip() for option in app.menu.query_one(ProfileList).options]


def chosen(app: MenuApp) -> str | None:
    highlighted = app.menu.query_one(ProfileList).profile
    return highlighted.name if highlighted else None


async def test_profiles_are_grouped_yours_first_and_the_ones_to_build_on_last() -> None:
    async with menu() as (app, _):
        assert listed(app) == [
            "yours",
            "  poems       GPT-2 on poems",
            "  notes       My notes",
            "\nshipped",
            "  quickstart  A small model in a minute",
            "  gpt2-text   GPT-2 small on one text file",
            "\nto build on",
            "  base        What the others extend",
        ]
        assert chosen(app) == "poems"


async def test_enter_runs_the_highlighted_profile() -> None:
    async with menu() as (app, pilot):
        await pilot.press("down", "down", "enter")
        assert app.posted == ["run quickstart"]


async def test_a_profile_to_build_on_is_not_run_and_says_why() -> None:
    async with menu() as (app, pilot):
        await pilot.press("end", "enter")
        await pilot.pause()
        assert app.posted == []
        assert 'build on it with extends = "base"' in app.text


async def test_typing_filters_at_once_and_enter_runs_the_best_match() -> None:
    async with menu() as (app, pilot):
        await pilot.press("g", "p", "t")
        assert app.menu.query_one(Filter).value == "gpt"
        assert [row.split()[0] for row in listed(app) if row.startswith("  ")] == ["poems", "gpt2-text"]
        assert chosen(app) == "gpt2-text", "a name that begins with it goes before a description that has it"
        await pilot.press("up")
        assert chosen(app) == "poems"
        await pilot.press("down", "enter")
        assert app.posted == ["run gpt2-text"]


async def test_every_word_of_the_filter_must_match_name_description_or_pipeline() -> None:
    async with menu() as (app, pilot):
        await pilot.press("slash", *"TEXT causal file")
        assert [row for row in listed(app) if row.startswith("  ")] == ["  gpt2-text  GPT-2 small on one text file"]


async def test_escape_clears_the_filter_and_goes_back_to_the_list() -> None:
    async with menu() as (app, pilot):
        await pilot.press("slash", *"zzz")
        assert listed(app) == ["no profile matches 'zzz'; escape clears"]
        await pilot.press("enter")
        assert app.posted == []
        await pilot.press("escape")
        assert len(listed(app)) == 8
        assert isinstance(app.focused, ProfileList)


async def test_every_letter_begins_the_filter_and_escape_twice_leaves() -> None:
    async with menu() as (app, pilot):
        keys = app.text.splitlines()[-1].split()
        assert keys[:8] == ["⏎", "Run", "space", "Mark", "d", "Duplicate", "e", "Edit"]
        assert keys[8:12] == ["/", "Filter", "esc", "Leave"]
        await pilot.press(*"quick")
        assert app.menu.query_one(Filter).value == "quick"
        assert chosen(app) == "quickstart"
        await pilot.press("escape")
        assert app.menu.query_one(Filter).value == ""
        await pilot.press("escape")
        assert app.posted == [], "one too many, on the way back"
        await pilot.press("escape")
        assert app.posted == ["left"]


async def test_keys_that_come_in_a_burst_keep_their_order_and_a_paste_is_typed() -> None:
    async with menu() as (app, pilot):
        for letter in "quickly":
            app.post_message(events.Key(letter, letter))
        await pilot.pause()
        assert app.menu.query_one(Filter).value == "quickly"
        await pilot.press("backspace", "backspace")
        assert app.menu.query_one(Filter).value == "quick"
        app.post_message(events.Paste("start\nand more"))
        await pilot.pause()
        assert app.menu.query_one(Filter).value == "quickstart"
        assert "quickstart" in app.text.splitlines()[1]


async def test_after_an_arrow_key_letters_have_their_meaning_again_and_the_filter_stays() -> None:
    async with menu() as (app, pilot):
        await pilot.press("g", "p", "space", "t")
        assert app.menu.query_one(Filter).value == "gp t"
        await pilot.press("backspace", "backspace", "up", "down", "space")
        assert app.menu.query_one(ProfileList).marked == ("gpt2-text",)
        await pilot.press("slash", "2")
        assert app.menu.query_one(Filter).value == "gp2"


async def test_space_marks_profiles_and_enter_queues_them_in_the_order_of_their_marks() -> None:
    async with menu() as (app, pilot):
        await pilot.press("down", "down", "space", "space", "up", "up", "up", "space")
        assert [row[:10] for row in listed(app)[1:6]] == [
            "  poems   ",
            "3 notes   ",
            "\nshipped",
            "1 quicksta",
            "2 gpt2-tex",
        ]
        await pilot.press("space")
        assert app.menu.query_one(ProfileList).marked == ("gpt2-text", "notes"), "a mark is taken away again"
        await pilot.press("end", "space")
        await pilot.press("enter")
        assert app.posted == ["queue gpt2-text notes"], "what is for others to extend is not marked"
        assert app.menu.query_one(ProfileList).marked == ()


async def test_q_pressed_twice_leaves_as_q_does_on_a_run() -> None:
    async with menu() as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
        assert app.posted == []
        assert "q Leave" in app.text.splitlines()[-1]
        await pilot.press("q")
        assert app.posted == ["left"]


async def test_the_card_tells_what_it_does_how_it_checks_and_how_it_went_last() -> None:
    async with menu(size=(120, 40), quickstart=run("r1", "quickstart", "finished")) as (app, pilot):
        await pilot.press("down", "down")
        await pilot.pause()
        for words in (
            "text → tokenize → causal_lm → perplexity",
            "✓ checks clean   enter runs it",
            "last run  ✓ finished · 2 h ago · 120 of 400 steps",
            "perplexity 18.25 → 9.812 · 4821 tokens/s",
            "/shipped/quickstart.toml",
            "One text file.",
        ):
            assert words in app.text


async def test_a_profile_whose_file_is_not_there_yet_is_not_called_clean() -> None:
    absent = [Problem("data/input.txt: no such file (looked for /w/data/input.txt)", where="dataset.path")]
    async with menu(catalog(dataclasses.replace(profile("mine", "workspace"), absent=absent))) as (app, _):
        assert "? no file yet   enter asks for its file and runs it" in app.text
        assert "dataset.path: data/input.txt: no such file" in app.text
        assert "clean" not in app.text


async def test_made_up_figures_are_called_so() -> None:
    async with menu(poems=run("r1", "poems", "finished", made_up=True)) as (app, _):
        assert "18.25 → 9.812 made up" in app.text


async def test_problems_are_counted_listed_with_their_lines_and_shown_whole_on_a_key() -> None:
    problems = [Problem("must be a float", f"/w/p{n}.toml", n, "train.learning_rate") for n in range(1, 31)]
    broken = profile("broken", "workspace", problems=problems, runnable=False)
    async with menu(catalog(broken, problem=BROKEN_PLUGIN)) as (app, pilot):
        assert listed(app)[1].startswith("✗ broken"), "it stays where its owner looks for it"
        assert "✗ 30 problems" in app.text
        assert "/w/p1.toml:1: train.learning_rate: must be a float" in app.text
        await pilot.press("exclamation_mark")
        assert isinstance(app.screen, ProblemsScreen)
        await pilot.press("end")
        await pilot.pause()
        assert "/w/p30.toml:30: train.learning_rate: must be a float" in app.text
        assert BROKEN_PLUGIN.split(": Mod")[0] in app.text
        await pilot.press("escape", "enter")
        assert app.posted == ["run broken"], "the app checks it again"


async def test_a_plugin_that_could_not_be_loaded_is_a_line_at_the_bottom() -> None:
    async with menu(catalog(profile("a"), problem=BROKEN_PLUGIN)) as (app, _):
        assert f"! 1 plugin could not be loaded: {BROKEN_PLUGIN}"[:70] in app.text.splitlines()[-2]
    async with menu(catalog(profile("a"))) as (app, _):
        assert "could not be loaded" not in app.text


async def test_escapes_and_markup_in_files_are_plain_text() -> None:
    evil = profile("x\x1b[31m[red]y", "workspace", "[bold]a[/] \x1b]0;title\x07b\u202e", problems=[])
    summary = run("r1", evil.name, "failed", reason="[/]broken\x1b[2J markup", name="[b]label\x1b[0m")
    async with menu(catalog(evil, problem="p\x1b[31m [/x]")) as (app, pilot):
        app.menu.show_runs([summary])
        await pilot.pause()
        for words in ("x[red]y", "[bold]a[/] b", "[/]broken markup", "[b]label", "p [/x]"):
            assert words in app.text
        assert "\x1b" not in app.text
        await pilot.press("exclamation_mark")
        await pilot.pause()
        assert "p [/x]" in app.text


async def test_while_profiles_are_read_and_where_they_cannot_be_it_says_so() -> None:
    async with menu(None) as (app, pilot):
        assert "reading profiles..." in app.text
        await pilot.press("enter")
        app.menu.show_catalog(None, "plugin 'slow' was still loading after 30 s. Take it out of plugins/")
        await pilot.pause()
        assert "plugin 'slow' was still loading after 30 s. Take it out of plugins/" in app.text
        app.menu.show_catalog(catalog(), None)
        await pilot.pause()
        assert "tuiftune init" in app.text
        assert app.posted == []


async def test_tab_goes_to_the_runs_and_enter_opens_one() -> None:
    async with menu() as (app, pilot):
        assert "Runs" not in app.text.splitlines()[-1]
        app.menu.show_runs([run("poems-1", "poems", "running"), run("quick-2", "quickstart", "finished")])
        await pilot.pause()
        assert "● running   poems       2 h ago  120/400  perplexity 18.25→9.812" in app.text
        assert "● poems" in listed(app)[1]
        await pilot.press("tab", "down", "enter")
        assert app.posted == ["open quick-2"]
        await pilot.press("tab", "enter")
        assert app.posted == ["open quick-2", "run poems"]


async def test_a_failed_run_says_why_in_the_list_and_in_full_on_its_card() -> None:
    reason = "data/mails.txt: no such file. " * 4
    async with menu() as (app, pilot):
        app.menu.show_runs([run("poems-1", "poems", "failed", reason=reason.strip(), best=None, last=None)])
        await pilot.pause()
        assert "✗ failed  poems  2 h ago  120/400  data/mails.txt: no such file." in app.text
        await pilot.press("tab")
        await pilot.pause()
        assert app.text.count("data/mails.txt") >= 5
        assert "enter opens it" in app.text


async def test_a_refresh_keeps_the_highlight_and_draws_nothing_when_nothing_changed() -> None:
    runs = [run("poems-1", "poems", "running"), run("quick-2", "quickstart", "finished")]
    async with menu() as (app, pilot):
        app.menu.show_runs(runs)
        await pilot.press("down", "down", "tab", "down")
        options = app.menu.query_one(ProfileList).options
        app.menu.show_catalog(catalog(*MANY.profiles), None)
        app.menu.show_runs(runs)
        assert app.menu.query_one(ProfileList).options == options
        app.menu.show_runs([run("new-3", "notes", "starting"), *runs])
        await pilot.pause()
        assert chosen(app) == "quickstart"
        assert app.menu.query_one(RunList).run_id == "quick-2"


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (40, 12), (20, 5)])
async def test_it_is_usable_at_any_size(size: tuple[int, int]) -> None:
    last = run("quick-2", "quickstart", "finished")
    async with menu(catalog(*MANY.profiles, problem=BROKEN_PLUGIN), size, quickstart=last) as (app, pilot):
        app.menu.show_runs([last])
        await pilot.press("down", "down")
        await pilot.pause()
        if size[1] >= 12:
            assert "quickstart" in app.text
        if size[1] >= 24:
            assert "✓ checks clean" in app.text
            assert "18.25 → 9.812" in app.text
        await pilot.press("enter")
        assert app.posted == ["run quickstart"]


async def test_the_palette_offers_what_has_a_key_here() -> None:
    async with menu() as (app, _):
        found = [(description, key) for description, key, _, _ in keyed_actions(app.menu)]
        assert ("Run", "⏎") in found
        assert ("Leave", "esc") in found
        assert ("Problems", "!") not in found, "there are none"


async def test_an_action_chosen_in_the_palette_is_done_on_the_menu() -> None:
    async with menu() as (app, pilot):
        await pilot.press("ctrl+p", *"leave")
        palette = app.screen
        await palette.workers.wait_for_complete()
        await pilot.pause()
        await pilot.press("down", "enter")
        for _ in range(200):
            if app.posted:
                break
            await pilot.pause(0.02)
        assert app.posted == ["left"]
