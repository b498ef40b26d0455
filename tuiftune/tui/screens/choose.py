"""A question that is answered by choosing from a list."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList

from tuiftune.text import one_line, plain
from tuiftune.tui.screens.window import Window


class ChooseScreen(Window[str]):
    """Gives the name that enter was pressed on; escape gives nothing."""

    DEFAULT_CSS = """
    ChooseScreen {
        & > #window { max-width: 84; }
        & OptionList {
            height: auto; max-height: 50vh; border: none; padding: 0; background: $surface; scrollbar-size-vertical: 1;
        }
        & OptionList:focus { border: none; }
    }
    """
    AUTO_FOCUS = "#choices"
    BINDINGS = [Binding("escape,q", "dismiss", "Cancel")]

    def __init__(
        self, title: str, body_lines: Sequence[str], choices: Sequence[tuple[str, str]], chosen: str = ""
    ) -> None:
        """`choices`: names, and a word about each; `chosen`: the one that is highlighted."""
        body = Content("\n").join([Content(plain(line)) for line in body_lines])
        super().__init__(title, body, [("enter", "choose"), ("esc", "cancel")])
        self._choices, self._chosen = choices, chosen

    def below(self) -> ComposeResult:
        width = max((cell_len(one_line(name)) for name, _ in self._choices), default=0)
        drawn = [
            Content.assemble(one_line(name).ljust(width), "  ", (one_line(about), "$foreground 60%"))
            for name, about in self._choices
        ]
        listed = OptionList(*drawn, id="choices")
        names = [name for name, _ in self._choices]
        listed.highlighted = names.index(self._chosen) if self._chosen in names else 0
        yield listed

    @on(OptionList.OptionSelected, "#choices")
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[event.option_index][0])
