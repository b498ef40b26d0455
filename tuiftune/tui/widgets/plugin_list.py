"""The list of plugins and their stages: yours first, then the installed and the built-in ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tuiftune.catalog import Catalog, PluginInfo, StageInfo
from tuiftune.text import one_line, plain

GROUPS = {"drop-in": "yours", "not found": "yours", "entry point": "installed", "built-in": "built in"}
"""Source of a plugin -> its heading, in the order shown."""
CORE = "tables of every profile"
LONGEST_NAME = 24


@dataclass(frozen=True)
class Entry:
    """A row that can be opened: a plugin, one of its stages, or a table that the core reads."""

    plugin: PluginInfo | None = None
    stage: StageInfo | None = None
    section: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays the same when plugins are read again."""
        stage = f"{self.stage.kind}/{self.stage.name}" if self.stage else ""
        return (self.plugin.name if self.plugin else "", stage, self.section)

    @property
    def name(self) -> str:
        if self.stage is not None:
            return self.stage.name
        return self.plugin.name if self.plugin is not None else self.section

    @property
    def is_about(self) -> tuple[str, ...]:
        """Names by which somebody asks for it."""
        return (self.name, self.plugin.name if self.plugin else "")


Line = tuple[Entry | None, str, str, str]
"""Entry (None for a heading), text, what stands behind it, and the tone of its mark: 'bad' or ''."""


class PluginList(OptionList):
    """Plugins and stages to look at."""

    help_title: ClassVar[str] = "Plugins"
    help_text: ClassVar[str] = (
        "A plugin is a Python file or a package that brings stages, the steps of a training. 'Yours' are the files in "
        "plugins/ of this workspace. ✗ marks one that could not be loaded: the rest works without it."
    )
    BINDINGS = [Binding("enter", "select", "Open"), Binding("right,l", "select", "Open", show=False)]
    DEFAULT_CSS = """
    PluginList {
        height: 1fr;
        border: none;
        padding: 0;
        background: transparent;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        scrollbar-size-vertical: 1;
        & > .option-list--option { padding: 0 1; }
        & > .option-list--option-highlighted { background: $primary 15%; color: $foreground; text-style: none; }
        & > .option-list--option-hover { background: $primary 8%; }
        & > .option-list--option-disabled { color: $foreground; }
        &:focus {
            border: none;
            background-tint: transparent 0%;
            & > .option-list--option-highlighted { background: $primary 35%; color: $foreground; text-style: none; }
        }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, markup=False)
        self._listed: list[Line] = []
        self._words: tuple[str, ...] = ()

    @property
    def entry(self) -> Entry | None:
        """The highlighted one."""
        index = self.highlighted
        return None if index is None or index >= len(self._listed) else self._listed[index][0]

    def show(self, catalog: Catalog | None, *, query: str = "", message: str = "", wanted: str | None = None) -> None:
        """List what matches every word of `query`; `message` stands where nothing does.

        The highlight stays where it is, or goes to what is called `wanted`.
        """
        words = tuple(query.lower().split())
        lines = list(lines_of(catalog, words)) if catalog else []
        lines = lines or [(None, message, "", "")]
        keep = self.entry.key if self.entry else None
        if lines != self._listed or words != self._words:
            self._listed, self._words = lines, words
            width = min(LONGEST_NAME, max([cell_len(text) for entry, text, *_ in lines if entry], default=0))
            self.set_options([Option(_drawn(line, width, words), disabled=line[0] is None) for line in lines])
            self.highlighted = self._best(keep, words[0] if words else "")
        if wanted is not None:
            names = [index for index, (entry, *_) in enumerate(lines) if entry and wanted in entry.is_about]
            self.highlighted = names[0] if names else self.highlighted

    def _best(self, keep: tuple[str, str, str] | None, word: str) -> int | None:
        """The row to highlight: the one it was on, else one whose name begins with the word, else one whose name has
        it, else the first."""

        def fit(entry: Entry) -> int:
            name = entry.name.lower()
            return 4 if entry.key == keep and word in name else 2 * name.startswith(word) + (word in name)

        rows = [(fit(entry), -index) for index, (entry, *_) in enumerate(self._listed) if entry]
        return -max(rows)[1] if rows else None


def lines_of(catalog: Catalog, words: Sequence[str]) -> Iterator[Line]:
    """Headings and entries, in order."""
    stages = {f"{stage.kind}/{stage.name}": stage for stage in catalog.stages}
    gap = ""
    for heading in dict.fromkeys(GROUPS.values()):
        found: list[Line] = []
        for plugin in (one for one in catalog.plugins if GROUPS.get(one.source, "yours") == heading):
            found += _of_plugin(plugin, [stages[name] for name in plugin.stages if name in stages], words)
        if found:
            yield (None, gap + heading, "", "")
            yield from found
            gap = "\n"
    tables = [name for name in catalog.sections if _matches([name, CORE], words)]
    if tables:
        yield (None, gap + CORE, "", "")
        yield from ((Entry(section=name), name, "", "") for name in tables)


def _of_plugin(plugin: PluginInfo, stages: Sequence[StageInfo], words: Sequence[str]) -> Iterator[Line]:
    """One row where the plugin is its only stage; else it, and its stages below it."""
    about = [plugin.name, plugin.source]
    matching = [stage for stage in stages if _matches([*about, stage.name, stage.kind, stage.summary], words)]
    if len(stages) == 1 and matching:
        yield (Entry(plugin, stages[0]), stages[0].name, stages[0].kind, "")
    elif len(stages) > 1 and matching:
        yield (Entry(plugin), plugin.name, f"{len(stages)} stages", "")
        yield from ((Entry(plugin, stage), f"  {stage.name}", stage.kind, "") for stage in matching)
    elif not stages and _matches([*about, plugin.problem or "watches"], words):
        yield (Entry(plugin), plugin.name, "not loaded" if plugin.problem else "watches", "bad" * bool(plugin.problem))


def _matches(texts: Sequence[str], words: Sequence[str]) -> bool:
    text = " ".join(texts).lower()
    return all(word in text for word in words)


def _drawn(line: Line, width: int, words: Sequence[str]) -> Content:
    entry, text, behind, tone = line
    if entry is None:
        return Content.styled(plain(text), "$foreground 50%")
    name = Content(set_cell_size(one_line(text), width)).stylize("bold")
    for word in words:
        at = name.plain.lower().find(word)
        if at >= 0:
            name = name.stylize("bold underline $text-accent", at, at + len(word))
    mark = ("✗ ", "$text-error") if tone else ("  ", "")
    return Content.assemble(mark, name, "  ", (one_line(behind), "$text-error" if tone else "$foreground 60%"))
