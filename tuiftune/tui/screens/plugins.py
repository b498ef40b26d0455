"""The plugins: what each brings, where it came from, what is wrong with it; edit one, begin a new one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import OptionList

from tuiftune import new_plugin
from tuiftune.catalog import Catalog, PluginInfo, read_catalog
from tuiftune.errors import TuiftuneError
from tuiftune.paths import plugin_folder
from tuiftune.text import one_line, plain
from tuiftune.tui.editor import edit
from tuiftune.tui.panes.plugin import PluginPane
from tuiftune.tui.panes.rows import Row, Rows, beside
from tuiftune.tui.screens.ask import AskScreen
from tuiftune.tui.screens.choose import ChooseScreen
from tuiftune.tui.screens.place import Place
from tuiftune.tui.screens.problems import ProblemsScreen
from tuiftune.tui.widgets.glyphs import short_path
from tuiftune.tui.widgets.plugin_list import PluginList

READING = "reading plugins..."
KINDS = {
    "dataset": "brings documents from a file or a data base",
    "preprocess": "changes, drops or adds documents or rows",
    "train": "trains the model",
    "evaluate": "tells figures of a model",
}
NOTICE_S = 6.0


@dataclass
class CatalogWanted(Message):
    """Plugins and profiles are to be read again."""


@dataclass
class PluginMade(Message):
    """A new file is there."""

    path: Path


@dataclass
class PluginRefused(Message):
    """Why a new plugin was not made."""

    lines: Sequence[str]


class PluginsTitle(Rows):
    """How many there are, and what they are filtered by."""

    DEFAULT_CSS = "PluginsTitle { height: 1; padding: 0 1; margin: 0 0 1 0; } .-flat PluginsTitle { margin: 0; }"

    def __init__(self) -> None:
        super().__init__()
        self._catalog: Catalog | None = None
        self._state = ("", False, False)

    def show(self, catalog: Catalog | None, query: str, typing: bool, reading: bool) -> None:
        self._catalog, self._state = catalog, (query, typing, reading)
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:  # noqa: ARG002
        query, typing, reading = self._state
        left: Row = [("plugins", "title")]
        if self._catalog is not None:
            broken = sum(1 for plugin in self._catalog.plugins if plugin.problem)
            words = f"  {_count(len(self._catalog.plugins), 'plugin')}, {_count(len(self._catalog.stages), 'stage')}"
            left = [*left, *([(f"  ✗ {broken} not loaded", "bad")] if broken else []), (words, "muted")]
        if reading and self._catalog is not None:
            left = [*left, ("  reading...", "muted")]
        if query or typing:
            right: Row = [("/", "accent"), (one_line(query), "strong"), ("█" if typing else "", "accent")]
        else:
            right = [("/", "accent"), (" filters", "muted")]
        return [beside(left, right, width)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


class PluginsScreen(Place):
    """The list at the left, the highlighted plugin or stage at the right."""

    TITLE = "plugins"
    help_text: ClassVar[str] = (
        "Every plugin with its stages. The arrow keys go through the list; Enter goes into a stage, where they scroll "
        "through its options. n begins a plugin of your own from a template that works; e opens one of yours in your "
        "editor ($EDITOR); r reads all of them again. / filters: every word must be in a name, a kind or a summary."
    )
    AUTO_FOCUS = "#plugins"
    BINDINGS = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("e", "edit", "Edit"),
        Binding("n", "new", "New"),
        Binding("r", "read", "Read again"),
        Binding("escape", "clear", "Clear", show=False),
    ]
    CSS = """
    PluginsScreen {
        & > #body { height: 1fr; }
        & #plugins { width: 36; }
        & #plugin { width: 1fr; height: 1fr; padding: 0 1 0 2; border-left: solid $foreground 20%; }
        & #plugin:focus { border-left: solid $primary; }

        &.-wide #plugins { width: 48; }
        &.-wide #plugin { max-width: 120; }
        &.-tiny #plugins { width: 1fr; }
        &.-tiny #plugin { display: none; border-left: none; padding: 0 1; }
        &.-tiny.-open #plugins { display: none; }
        &.-tiny.-open #plugin { display: block; }
    }
    """

    def __init__(self, workspace: Path | None = None) -> None:
        super().__init__(workspace)
        self._catalog: Catalog | None = None
        self._error: str | None = None
        self._reading = True
        self._query = ""
        self._typing = False
        self._wanted: str | None = None

    def body(self) -> ComposeResult:
        yield PluginsTitle()
        with Horizontal(id="body"):
            yield PluginList(id="plugins")
            yield PluginPane(id="plugin")

    def on_mount(self) -> None:
        self._draw()

    # What is shown.

    def about(self, subject: str | None) -> None:
        """Show the plugin or stage of that name; whoever comes finds what is there now."""
        self._wanted = subject
        self.action_read()

    def show_catalog(self, catalog: Catalog | None, error: str | None) -> None:
        """Show these plugins; where they cannot be read, why, beside those that were."""
        self._reading = catalog is None and error is None
        self._catalog, self._error = catalog or self._catalog, error
        self._draw()

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        message = READING if self._catalog is None else f"nothing matches {one_line(self._query)!r}; escape clears"
        if self._error is not None and self._catalog is None:
            message = "plugins could not be read"
        listed = self.query_one(PluginList)
        listed.show(self._catalog, query=self._query, message=message, wanted=self._wanted)
        if self._catalog is not None:
            self._wanted = None
        self._draw_title()
        self._draw_plugin()

    def _draw_title(self) -> None:
        self.query_one(PluginsTitle).show(self._catalog, self._query, self._typing, self._reading)

    def _draw_plugin(self) -> None:
        entry = self.query_one(PluginList).entry
        error = self._error
        self.query_one(PluginPane).show(None if error else entry, self._catalog, plain(error or ""))
        self.refresh_bindings()

    @property
    def _plugin(self) -> PluginInfo | None:
        entry = self.query_one(PluginList).entry
        return entry.plugin if entry else None

    @on(OptionList.OptionHighlighted, "#plugins")
    def _highlighted(self) -> None:
        self._draw_plugin()

    # Where the keys are.

    @on(OptionList.OptionSelected, "#plugins")
    def _opened(self) -> None:
        self.add_class("-open")
        self.query_one(PluginPane).focus()

    def action_close(self) -> None:
        """Back to the list."""
        self.remove_class("-open")
        self.query_one(PluginList).focus()

    def on_key(self, event: events.Key) -> None:
        """What is typed goes into the filter, here and not through bindings: those come later, out of order."""
        if not self._typing:
            return
        if event.key == "backspace":
            self._set_query(self._query[:-1])
        elif event.key == "enter":
            self._typing = False
            self._draw_title()
        elif event.is_printable and event.character:
            self._set_query(self._query + event.character)
        else:
            self._typing = self._typing and event.key not in ("up", "down", "tab")
            self._draw_title()
            return
        event.stop()

    def on_paste(self, event: events.Paste) -> None:
        if self._typing:
            self._set_query(self._query + event.text.partition("\n")[0])
            event.stop()

    def _set_query(self, query: str) -> None:
        self._query = query
        self._draw()

    def action_filter(self) -> None:
        self.action_close()
        self._typing = True
        self._draw_title()

    async def action_clear(self) -> None:
        """Out of the filter, else out of the stage, else where one came from."""
        if self._typing or self._query:
            self._typing = False
            self._set_query("")
        elif isinstance(self.focused, PluginPane):
            self.action_close()
        else:
            await self.run_action("app.back")

    # What is done.

    def action_read(self) -> None:
        self._reading = True
        if self.is_mounted:
            self._draw_title()
        self.post_message(CatalogWanted())

    def action_edit(self) -> None:
        """Open the highlighted plugin in the user's editor, at the line that is to blame."""
        plugin = self._plugin
        if plugin is None:
            return
        if plugin.source != "drop-in":
            where = f" ({short_path(plugin.path)})" if plugin.path else ""
            words = f"{plugin.name} is not yours{where}. n begins one of your own"
            self.notify(words, title="Not opened", timeout=NOTICE_S, markup=False)
            return
        path = plugin_folder(self.workspace) / f"{plugin.name}.py"
        problem = edit(self.app, path, _line(plugin.problem))
        if problem:
            self.app.push_screen(ProblemsScreen(f"{plugin.name} was not edited", [problem]))
        self.action_read()

    def action_new(self) -> None:
        """Ask for a name and a kind, then write the file."""

        def named(name: str | None) -> None:
            if name is None:
                return

            def chosen(kind: str | None) -> None:
                if kind is not None:
                    self._make(name, kind)

            title = f"What does {one_line(name, 40)} do?"
            lines = ["The template of that kind is written; all of it can be changed."]
            self.app.push_screen(ChooseScreen(title, lines, list(KINDS.items())), chosen)

        lines = ["A file of that name is written into plugins/, with a small stage that works."]
        self.app.push_screen(AskScreen("What is the new plugin called?", lines, "my_data"), named)

    @work(thread=True, exit_on_error=False, exclusive=True, group="new-plugin")
    def _make(self, name: str, kind: str) -> None:
        try:
            path = new_plugin.make(self.workspace, name, kind, read_catalog(self.workspace))
        except TuiftuneError as error:
            self.post_message(PluginRefused(str(error).splitlines()))
        else:
            self.post_message(PluginMade(path))

    def on_plugin_made(self, message: PluginMade) -> None:
        words = f"{short_path(str(message.path))} is written; e opens it"
        self.notify(words, title="New plugin", timeout=NOTICE_S, markup=False)
        self._query, self._wanted = "", message.path.stem
        self.action_read()

    def on_plugin_refused(self, message: PluginRefused) -> None:
        self.app.push_screen(ProblemsScreen("No plugin was made", message.lines))


def _line(problem: str | None) -> int | None:
    """The line that a problem names: `plugins/chat.py:3: plugin 'chat': ...`."""
    found = re.match(r"[^:]+:(\d+): ", problem or "")
    return int(found[1]) if found else None
