"""The Plugins place: what is there, what is wrong with it, and a plugin of one's own in a few keys."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

from tuiftune.catalog import Catalog, OptionInfo, PluginInfo, StageInfo, read_catalog
from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.editor import editor_command
from tuiftune.tui.panes.plugin import PluginPane
from tuiftune.tui.screens.plugins import PluginsScreen
from tuiftune.tui.screens.problems import ProblemsScreen

from .conftest import screen_text, until

TWO = '''\
import tuiftune
class Mbox(tuiftune.DatasetLoader):
    """Mails, one a document. \x1b[31m[red]"""
    name = "mbox"
    class Options(tuiftune.Options):
        path: str = tuiftune.Field(description="the file of mails")
        share: float = tuiftune.Field(0.5, gt=0, le=1, description="how many of them")
    def run(self, ctx):
        yield "a"
class Signature(tuiftune.Preprocessor):
    name = "signature"
    def run(self, ctx):
        return ctx.input
@tuiftune.hookimpl
def register_stages():
    return [Mbox, Signature]
'''


class PluginsApp(App[None]):
    """The one screen, and the reading of plugins that the dashboard does for it."""

    HORIZONTAL_BREAKPOINTS = TuiftuneApp.HORIZONTAL_BREAKPOINTS
    VERTICAL_BREAKPOINTS = TuiftuneApp.VERTICAL_BREAKPOINTS

    def __init__(self, workspace: Path) -> None:
        super().__init__()
        self.workspace = workspace
        self.plugins = PluginsScreen(workspace)
        self.read = 0
        self._known: tuple[list[tuple[str, int]], Catalog] | None = None

    def on_mount(self) -> None:
        self.push_screen(self.plugins)
        self.plugins.about(None)

    def on_catalog_wanted(self) -> None:
        self.read += 1
        files = [(path.name, path.stat().st_mtime_ns) for path in sorted((self.workspace / "plugins").iterdir())]
        if self._known is None or self._known[0] != files:
            self._known = (files, read_catalog(self.workspace))
        self.plugins.show_catalog(self._known[1], None)


async def until_true(pilot: Pilot[Any], condition: Callable[[], bool], deadline_s: float = 15.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, screen_text(pilot.app)
        await pilot.pause(0.02)


async def test_plugins_are_shown_with_all_there_is_to_know_and_one_is_begun(workspace: Path) -> None:
    (workspace / "plugins" / "broken.py").write_text("import tuiftune\nimport not_installed\n")
    (workspace / "plugins" / "two.py").write_text(TWO)
    app = PluginsApp(workspace)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        text = await until(pilot, "✗ broken", "ModuleNotFoundError")
        assert "✗ 1 not loaded" in text
        assert "e opens it in your editor, r reads it again" in " ".join(app.plugins.query_one(PluginPane).text)

        await pilot.press("slash", *"mbox")  # e, n and r are letters here
        text = await until(pilot, "/mbox█", "dataset stage", "float, more than 0 and at most 1;")
        assert "plugins/two.py" in text
        assert "string; required" in text
        assert "the file of mails" in text
        assert "causal_lm" not in text
        assert "\x1b" not in text
        assert "[red]" in text
        await pilot.press("enter", "escape", "slash", *"nothing like it")
        await until(pilot, "nothing matches 'nothing like it'")
        await pilot.press("escape")

        app.plugins.about("run")
        await until(pilot, "[run]", "keep_checkpoints", "rows below")
        await pilot.press("enter", "end")
        text = await until(pilot, "max_temperature")
        assert "rows below" not in text
        await pilot.press("left", "e")
        app.plugins.about("causal_lm")
        await until(pilot, "causal_lm  train stage")
        await pilot.press("e")
        await until(pilot, "is not yours")
        app.clear_notifications()

        await pilot.press("n")
        await until(pilot, "What is the new plugin called?")
        await pilot.press(*"two", "enter", "enter")
        await until_true(pilot, lambda: isinstance(app.screen, ProblemsScreen))
        await until(pilot, "'two' is a plugin already")
        await pilot.press("escape", "n")
        await until(pilot, "What is the new plugin called?")
        await pilot.press(*"mails", "enter", "down", "enter")
        await until(pilot, "mails  preprocess stage", "min_chars", "plugins/mails.py")
        assert "tuiftune.Preprocessor" in (workspace / "plugins" / "mails.py").read_text()

        await pilot.press("e")
        await until_true(pilot, lambda: isinstance(app.screen, ProblemsScreen))
        assert "r reads it again" in " ".join(screen_text(app).split())
        await pilot.press("escape")
        (workspace / "plugins" / "broken.py").unlink()
        read = app.read
        await pilot.press("r")
        await until_true(pilot, lambda: app.read > read and "broken" not in screen_text(app))

        app.plugins.show_catalog(None, "plugin 'two' was still loading after 30 s. Take it out of plugins/")
        await until(pilot, "the plugins could not be read", "was still loading")


async def test_a_stage_can_be_opened_and_left_at_any_size(workspace: Path) -> None:
    option = OptionInfo("stride", "integer", None, False, "windows", "at least 1")
    app = PluginsApp(workspace)
    app.on_catalog_wanted = lambda: None  # type: ignore[method-assign]
    async with app.run_test(size=(200, 60)) as pilot:
        app.plugins.about("perplexity")
        found = [PluginInfo(name, "built-in", "", "1", [f"evaluate/{name}"], 1.0) for name in ("loss", "perplexity")]
        stages = [StageInfo(name, "evaluate", name, "Measures.", [option]) for name in ("loss", "perplexity")]
        app.plugins.show_catalog(Catalog(found, stages, {}, []), None)
        for width, height in ((200, 60), (40, 12), (20, 5)):
            await pilot.resize_terminal(width, height)
            await pilot.press("enter")
            await until(pilot, "perplexity  eval")
            assert app.plugins.query_one("#plugin").has_focus
            await pilot.press("left")
            assert app.plugins.query_one("#plugins").has_focus


async def test_the_editor_gets_the_terminal_and_the_line_that_is_to_blame(
    workspace: Path, tmp_path: Path, open_terminal: Callable[..., Any], interpreter: str
) -> None:
    """In a real terminal, through the whole dashboard."""
    (workspace / "plugins" / "broken.py").write_text("import tuiftune\nimport not_installed\n")
    editor = tmp_path / "nano"
    editor.write_text('#!/bin/sh\necho "$@" > "$0.said"\necho "import tuiftune" > "$2"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    terminal = open_terminal([interpreter, "-P", "-m", "tuiftune.cli"], workspace, EDITOR=str(editor))
    await asyncio.to_thread(terminal.wait_for, "Plugins")
    terminal.type("6")
    await asyncio.to_thread(terminal.wait_for, "1 not loaded", "could not be loaded")
    terminal.type("e")
    await asyncio.to_thread(terminal.wait_for, "and watches nothing")
    said = editor.with_name("nano.said").read_text().split()
    assert said == ["+2", str(workspace / "plugins" / "broken.py")]
    terminal.type("q")
    assert terminal.wait() == 0


def test_the_editor_is_the_users_own_else_one_that_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert editor_command({"VISUAL": "code --wait", "EDITOR": "vi"}) == ["code", "--wait"]
    assert editor_command({"VISUAL": "", "EDITOR": "vi"}) == ["vi"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert editor_command({}) is None
    (tmp_path / "vi").write_text("#!/bin/sh\n")
    (tmp_path / "vi").chmod(0o755)
    assert editor_command({}) == ["vi"]
