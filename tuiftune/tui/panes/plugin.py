"""All about one plugin or stage: where it came from, what is wrong with it, and every option with its help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding

from tuiftune.catalog import Catalog, OptionInfo, PluginInfo, StageInfo
from tuiftune.output import default_words, type_and_bounds
from tuiftune.text import one_line, plain
from tuiftune.tui.panes.rows import Row, wrap
from tuiftune.tui.panes.scrolled import Scrolled
from tuiftune.tui.widgets.plugin_list import Entry

LABEL = 9
"""Cells of the labels."""
NAMES_AT_MOST = 24
BESIDE_FROM = 56
"""With fewer cells an option's help stands below its name, not beside it."""
SECTIONS = {
    "model": "Which model is trained, and what it starts from.",
    "run": "What sees to the run is told: checkpoints, GPUs, limits.",
}
SOURCES = {
    "built-in": "ships with tuiftune",
    "entry point": "an installed package",
    "drop-in": "a file of this workspace",
    "not found": "named in TUIFTUNE_PLUGINS, and nowhere to be found",
}


class PluginPane(Scrolled):
    """The entry that is highlighted in the list."""

    help_title: ClassVar[str] = "Stage"
    help_text: ClassVar[str] = (
        "What a stage does and every option it takes: its type, what its value must keep to, and what holds where a "
        "profile does not name it. The arrow keys scroll; left or escape goes back to the list."
    )
    BINDINGS = [Binding("left", "screen.close", "Back"), Binding("h", "screen.close", "Back", show=False)]

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__()
        self.id = id
        self.full = self.can_focus = True
        self._entry: Entry | None = None
        self._catalog: Catalog | None = None
        self._message = ""

    def show(self, entry: Entry | None, catalog: Catalog | None, message: str = "") -> None:
        """Show an entry from its top; `message` where there is none."""
        if entry != self._entry:
            self._away = 0
        self._entry, self._catalog, self._message = entry, catalog, message
        self.redraw()

    def title(self) -> Row:
        entry = self._entry
        if entry is None:
            return [("the plugins could not be read", "bad")] if self._message else []
        if entry.stage is not None:
            return [(one_line(entry.stage.name), "title"), (f"  {entry.stage.kind} stage", "muted")]
        if entry.plugin is not None:
            return [(one_line(entry.plugin.name), "title"), ("  plugin", "muted")]
        return [(f"[{entry.section}]", "title"), ("  table", "muted")]

    def all_rows(self, width: int) -> Sequence[Row]:
        entry = self._entry
        if entry is None:
            return [[(line, "")] for line in wrap(plain(self._message), width)]
        rows: list[Row] = []
        if entry.stage is not None:
            rows += [*_paragraph(entry.stage.summary or "It says nothing about itself: its class has no docstring.")]
        elif entry.section:
            rows += [*_paragraph(SECTIONS.get(entry.section, ""))]
        if entry.plugin is not None:
            rows += [[], *_about(entry.plugin, entry.stage)]
        rows = [line for row in rows for line in _wrapped(row, width)]
        if entry.plugin is not None and entry.plugin.problem:
            rows += [[], [("could not be loaded", "bad")]]
            rows += [[(line, "")] for line in wrap(plain(entry.plugin.problem), width)]
            rows += [[], *([(line, "muted")] for line in wrap(_remedy(entry.plugin), width))]
        if entry.stage is not None and entry.plugin is not None:
            rows += [[], *_options(entry.stage.options, f"[{_table(entry.stage)}]", width)]
        elif entry.section and self._catalog is not None:
            rows += [[], *_options(self._catalog.sections[entry.section], f"[{entry.section}]", width)]
        elif entry.plugin is not None and not entry.plugin.problem:
            rows += [[], *_brings(entry.plugin, width)]
        return rows


def _paragraph(text: str) -> Iterator[Row]:
    yield [(one_line(text, 2000), "")]


def _about(plugin: PluginInfo, stage: StageInfo | None) -> Iterator[Row]:
    """Where it came from, labels first."""
    if stage is not None and stage.name != plugin.name:
        yield _fact("plugin", plugin.name)
    yield _fact("from", SOURCES.get(plugin.source, plugin.source))
    if plugin.path:
        yield _fact("file", plugin.path)
    if plugin.version:
        yield _fact("version", plugin.version + (", of its content" if plugin.source == "drop-in" else ""))
    if plugin.source != "not found":
        yield _fact("loaded in" if not plugin.problem else "tried for", f"{plugin.import_ms:,.1f} ms")


def _fact(label: str, text: str) -> Row:
    return [(label.ljust(LABEL + 1), "muted"), (one_line(text), "")]


def _wrapped(row: Row, width: int) -> Iterator[Row]:
    """A row in as many as it takes; what comes after a label hangs below itself."""
    if len(row) != 2:
        yield from ([(line, tone)] for text, tone in row for line in wrap(text, width)) if row else [[]]
        return
    (label, label_tone), (text, tone) = row
    for number, line in enumerate(wrap(text, width - len(label))):
        yield [(label if number == 0 else " " * len(label), label_tone), (line, tone)]


def _remedy(plugin: PluginInfo) -> str:
    if plugin.source == "drop-in":
        return "Everything else works without it. e opens it in your editor, r reads it again."
    if plugin.source == "entry point":
        return "Everything else works without it. Update or remove its package, or load others with TUIFTUNE_PLUGINS."
    return "Everything else works without it."


def _table(stage: StageInfo) -> str:
    """How a profile writes it: one dataset and one trainer, any number of the others."""
    return stage.kind if stage.kind in ("dataset", "train") else f"[{stage.kind}]"


def _brings(plugin: PluginInfo, width: int) -> Iterator[Row]:
    """Of a plugin that is no stage by itself."""
    if plugin.stages:
        yield [("stages", "strong")]
        yield from ([(one_line(name), "")] for name in plugin.stages)
        return
    words = "It brings no stage"
    words += f": it watches runs ({', '.join(plugin.hooks)})." if plugin.hooks else ", and watches nothing."
    yield from ([(line, "")] for line in wrap(one_line(words), width))


def _options(options: Sequence[OptionInfo], table: str, width: int) -> Iterator[Row]:
    count = f"{len(options)} option{'s' if len(options) != 1 else ''}" if options else "no options"
    yield [(count, "strong"), (f"  under {table}", "muted")]
    names = 2 + min(NAMES_AT_MOST, max([cell_len(option.name) for option in options], default=0))
    beside = width >= BESIDE_FROM
    column = names if beside else 2
    for option in options:
        yield []
        name = one_line(option.name)
        said = one_line(f"{type_and_bounds(option)}; {default_words(option)}", 300)
        lines = wrap(said, width - column)
        if beside and cell_len(name) < names:
            yield [(name.ljust(names), "accent"), (lines.pop(0), "muted")]
        else:
            yield [(name, "accent")]
        yield from ([(" " * column, ""), (line, "muted")] for line in lines)
        for line in wrap(one_line(option.description or "not described", 2000), width - column):
            yield [(" " * column, ""), (line, "")]
